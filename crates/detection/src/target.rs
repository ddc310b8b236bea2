//! What a detector is told, and what it tells.

use candle_core::{DType, Tensor};

use crate::boxes::{self, Xyxy};
use crate::keypoints::Keypoint;
use crate::{Error, Mask, Result};

/// An object that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// In pixels of the image.
    pub bounds: Xyxy,
    /// Its class, from 1; 0 is the background.
    pub label: usize,
    /// The probability of the class; from some networks with masks, times the mask's certainty, see [`MaskConfig::in_score`](crate::MaskConfig).
    pub score: f32,
    /// Which of its image's proposals it came from, from 0: the place in what [`Rpn::proposals`](crate::Rpn::proposals) gave. Where boxes vote, it
    /// is the one that gave it this probability.
    pub proposal: usize,
    /// Where it is inside of the box, from networks that tell.
    pub mask: Option<Mask>,
    /// Its points, in pixels of the image, from networks that tell.
    pub keypoints: Option<Vec<Keypoint>>,
}

/// The objects of an image to learn from.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// In pixels of the image.
    pub boxes: Vec<Xyxy>,
    /// The class of each, from 1 to K - 1.
    pub labels: Vec<u32>,
    /// Their pixels, 1 inside: (G, H, W). Only for networks that learn masks.
    pub masks: Option<Tensor>,
    /// The points of each: x and y in pixels of the image, and over 0 where the point is labelled (COCO's visibility). Only for networks that
    /// learn key points.
    pub keypoints: Option<Vec<Vec<[f32; 3]>>>,
}

impl Target {
    /// That it can be learnt from, by a network of `classes` classes with the background, in an image of `[rows, columns]`.
    pub(crate) fn check(&self, index: usize, classes: usize, [rows, columns]: [usize; 2]) -> Result<()> {
        let wrong = |reason: String| Err(Error::Target { index, reason });
        if self.boxes.len() != self.labels.len() {
            return wrong(format!("{} boxes have {} labels", self.boxes.len(), self.labels.len()));
        }
        if let Some((which, edges)) = self.boxes.iter().enumerate().find(|(_, edges)| !boxes::is_sound(edges)) {
            return wrong(format!("box {which} is {edges:?}, expected finite edges x1 < x2, y1 < y2"));
        }
        if let Some(label) = self.labels.iter().find(|label| !(1..classes).contains(&(**label as usize))) {
            return wrong(format!("the label {label} is none of the classes 1 to {}; 0 is the background", classes.saturating_sub(1)));
        }
        if let Some(objects) = &self.keypoints {
            if objects.len() != self.boxes.len() {
                return wrong(format!("{} boxes have the key points of {} objects", self.boxes.len(), objects.len()));
            }
            let strange = |point: &&[f32; 3]| !point.iter().all(|number| number.is_finite());
            if let Some(point) = objects.iter().flatten().find(strange) {
                return wrong(format!("a key point is {point:?}, expected finite numbers"));
            }
        }
        match self.masks.as_ref().map(Tensor::dims) {
            Some(given) if given != [self.boxes.len(), rows, columns] => {
                wrong(format!("masks of shape {given:?}, expected [{}, {rows}, {columns}]", self.boxes.len()))
            }
            _ => Ok(()),
        }
    }

    /// The same objects in an image that is resized from `[rows, columns]` to others.
    pub(crate) fn resize(&self, from: [usize; 2], to: [usize; 2]) -> Result<Self> {
        let masks = match &self.masks {
            Some(masks) if masks.dim(0)? > 0 => {
                let maps = masks.to_dtype(DType::F32)?.unsqueeze(1)?;
                Some(cirio_nn::ops::upsample_nearest2d(&maps, to)?.squeeze(1)?)
            }
            _ => None,
        };
        let [down, across] = [0, 1].map(|axis| to[axis] as f32 / from[axis] as f32);
        let scaled = |points: &Vec<[f32; 3]>| points.iter().map(|&[x, y, visibility]| [across * x, down * y, visibility]).collect();
        Ok(Self {
            boxes: self.boxes.iter().map(|&edges| boxes::resize(edges, from, to)).collect(),
            labels: self.labels.clone(),
            masks,
            keypoints: self.keypoints.as_ref().map(|objects| objects.iter().map(scaled).collect()),
        })
    }
}

/// The losses of a pass in training, each a scalar with torchvision's name.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// Name and value.
    pub terms: Vec<(&'static str, Tensor)>,
}

impl Losses {
    /// Their sum, a scalar.
    ///
    /// # Errors
    /// When there is none.
    pub fn total(&self) -> Result<Tensor> {
        let mut terms = self.terms.iter().map(|(_, term)| term);
        let first = terms.next().ok_or_else(|| Error::Config("there are no losses to add up".into()))?;
        Ok(terms.try_fold(first.clone(), |sum, term| sum + term)?)
    }
}
