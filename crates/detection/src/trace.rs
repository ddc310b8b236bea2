//! What the stages of a detector saw: from which place of which map a box comes.

use candle_core::{DType, Tensor};
use cirio_nn::ops;

use crate::roi::Candidates;
use crate::{Batch, Detection, Error, Objectness, Proposal, Result, boxes};

/// What every stage saw in one picture.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Rows and columns of the picture as it was given.
    pub original: [usize; 2],
    /// Rows and columns of the resized picture, which the network saw; [`boxes::resize`] takes a box from one to the other.
    pub size: [usize; 2],
    /// Rows and columns with the filling at the right and below; these are what the maps of the levels cover.
    pub padded: [usize; 2],
    /// What was seen on each level, from fine to coarse.
    pub levels: Vec<Level>,
    /// Where there may be objects, from the most probable on, in pixels of the picture as it was given.
    pub proposals: Vec<Proposal>,
    /// What [`Detector::detect`](crate::Detector::detect) gives; [`Detection::proposal`] is a place among the proposals.
    pub detections: Vec<Detection>,
}

/// What was seen on a level.
#[derive(Clone, Debug)]
pub struct Level {
    /// (C, h, w): the maps that the heads look at.
    pub features: Tensor,
    /// (A, h, w), in f32: the probability of an object at each anchor. The anchors of the place (row, column) lie around
    /// (row · ⌊H/h⌋, column · ⌊W/w⌋) of the padded picture's H×W, see [`Anchors::grid`](crate::Anchors::grid).
    pub objectness: Tensor,
}

/// What the stages before the choice of objects give for a batch of pictures.
pub(crate) struct View {
    pub batch: Batch,
    /// (N, C, h, w) each.
    pub levels: Vec<Tensor>,
    pub said: Objectness,
    /// Of each picture, in pixels of the resized one; so are the candidates.
    pub proposals: Vec<Vec<Proposal>>,
    pub candidates: Vec<Candidates>,
}

impl View {
    /// What was seen in the only picture, with the objects that were found in it.
    pub(crate) fn trace(mut self, mut detections: Vec<Vec<Detection>>) -> Result<Trace> {
        let (Some(proposals), Some(detections), [size], [original]) =
            (self.proposals.pop(), detections.pop(), self.batch.sizes.as_slice(), self.batch.originals.as_slice())
        else {
            return Err(Error::Config(format!("a trace is of one picture, the batch has {}", self.batch.sizes.len())));
        };
        let level = |(features, logits): (&Tensor, &Tensor)| -> Result<Level> {
            let objectness = ops::sigmoid(&logits.get(0)?)?.to_dtype(DType::F32)?;
            Ok(Level { features: features.get(0)?, objectness })
        };
        let given = |edges| boxes::resize(edges, *size, *original);
        let as_given = |proposal: Proposal| Proposal { bounds: given(proposal.bounds), anchor: given(proposal.anchor), ..proposal };
        Ok(Trace {
            original: *original,
            size: *size,
            padded: self.batch.padded(),
            levels: self.levels.iter().zip(&self.said.logits).map(level).collect::<Result<_>>()?,
            proposals: proposals.into_iter().map(as_given).collect(),
            detections,
        })
    }
}
