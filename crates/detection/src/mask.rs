//! The mask of each object (He, Gkioxari, Dollár & Girshick, "Mask R-CNN", 2017, section 3).

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use cirio_nn::init::{Fan, Init};
use cirio_nn::layer::{BatchNorm, Conv2d, ConvTranspose2d, Relu, conv, conv_transpose};
use cirio_nn::ops::{self, RoiAlignConfig};
use cirio_nn::{Layers, Parameter};

use crate::loss::binary_cross_entropy;
use crate::part::join;
use crate::roi::{convolution, regions_of, to_tensor};
use crate::{Batch, Detection, Error, Mask, Mode, Part, Region, RegionAlign, Result, Sampled, Target, boxes};

/// The sizes of a mask branch.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskConfig {
    /// K, the number of classes with the background, which has a mask that is never used.
    pub classes: usize,
    /// Convolutions before a mask is enlarged.
    pub convolutions: usize,
    /// The norm behind each of them, which then has no bias.
    pub norm: Option<BatchNorm>,
    /// Whether an object's score is its class's probability times its mask's [certainty](Mask::certainty): what is outlined badly comes later
    /// (Wang et al., "SOLO: segmenting objects by locations", 2020, "maskness"). Not so in torchvision.
    pub in_score: bool,
}

impl MaskConfig {
    /// torchvision's four convolutions without norms.
    pub fn new(classes: usize) -> Self {
        Self { classes, convolutions: 4, norm: None, in_score: false }
    }
}

/// 3×3 convolutions on 14×14 features of a region, a transposed one to 28×28, and the logits of a mask for each class.
///
/// Weights: `mask_head.I.…`, `mask_predictor.conv5_mask`, `mask_predictor.mask_fcn_logits`.
pub struct MaskBranch {
    head: Part,
    predictor: Part,
    align: RegionAlign,
    classes: usize,
    in_score: bool,
}

impl MaskBranch {
    /// On a pyramid whose levels have `channels`.
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn new(channels: usize, config: &MaskConfig, weights: VarBuilder) -> Result<Self> {
        let align = RegionAlign { side: 14 };
        let features = Layers::new([channels, align.side, align.side]);
        let head = (0..config.convolutions)
            .fold(features.clone(), |layers, index| convolution(layers, index, conv(channels, 3), config.norm.as_ref()));
        let init = Init::KaimingNormal(Fan::Out);
        let predictor = features
            .then("conv5_mask", ConvTranspose2d { init, ..conv_transpose(channels, 2, 2) })
            .then("relu", Relu)
            .then("mask_fcn_logits", Conv2d { init, ..conv(config.classes, 1) });
        Ok(Self {
            head: Part::new(&head, weights.pp("mask_head"))?,
            predictor: Part::new(&predictor, weights.pp("mask_predictor"))?,
            align,
            classes: config.classes,
            in_score: config.in_score,
        })
    }

    /// Whether masks count in their objects' scores, see [`BoxBranch::rank_by_masks`](crate::BoxBranch::rank_by_masks).
    pub fn in_score(&self) -> bool {
        self.in_score
    }

    /// The logits of the mask of each region's own class.
    ///
    /// # Shapes
    /// levels (N, C, H, W), without the additional one, and R labels; the result (R, 28, 28).
    ///
    /// # Errors
    /// As [`RegionAlign::forward`]; when a label is no class.
    pub fn forward(&self, levels: &[Tensor], batch: &Batch, regions: &[Region], labels: &[u32], mode: Mode) -> Result<Tensor> {
        if labels.len() != regions.len() || labels.iter().any(|&label| label as usize >= self.classes) {
            return Err(Error::Config(format!(
                "{} regions have the labels {labels:?}, expected one of {} for each",
                regions.len(),
                self.classes
            )));
        }
        let features = self.align.forward(levels, batch, regions)?;
        if regions.is_empty() {
            let side = 2 * self.align.side;
            return Ok(Tensor::zeros((0, side, side), features.dtype(), features.device())?);
        }
        let logits = self.predictor.forward(&self.head.forward(&features, mode)?, mode)?.contiguous()?;
        let (_, _, rows, columns) = logits.dims4()?;
        let of_class = |(region, label): (usize, &u32)| (region * self.classes) as u32 + label;
        let places = Tensor::new(labels.iter().enumerate().map(of_class).collect::<Vec<u32>>(), logits.device())?;
        Ok(logits.reshape((regions.len() * self.classes, rows, columns))?.index_select(&places, 0)?)
    }

    /// Adds masks, which are of the pictures as they were given, to the objects that were found in each image, whose boxes are in pixels of
    /// the resized pictures.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn add(&self, levels: &[Tensor], batch: &Batch, found: &mut [Vec<Detection>]) -> Result<()> {
        let probabilities = self.probabilities(levels, batch, found)?;
        self.attach(batch, found, &probabilities)
    }

    /// The same, each mask the mean of what is seen in the picture and in its mirror image; both views with their batch and levels.
    pub(crate) fn add_of_both(&self, [view, mirrored]: [(&[Tensor], &Batch); 2], found: &mut [Vec<Detection>]) -> Result<()> {
        let mut probabilities = self.probabilities(view.0, view.1, found)?;
        let mut turned = found.to_vec();
        for (found, size) in turned.iter_mut().zip(&mirrored.1.sizes) {
            found.iter_mut().for_each(|detection| detection.bounds = boxes::mirror(detection.bounds, size[1]));
        }
        let others = self.probabilities(mirrored.0, mirrored.1, &turned)?;
        let side = 2 * self.align.side;
        for (row, other) in probabilities.chunks_exact_mut(side).zip(others.chunks_exact(side)) {
            row.iter_mut().zip(other.iter().rev()).for_each(|(here, there)| *here = (*here + there) / 2.0);
        }
        self.attach(view.1, found, &probabilities)
    }

    /// How probably each pixel of each object's mask is the object's: (R, 28, 28).
    fn probabilities(&self, levels: &[Tensor], batch: &Batch, found: &[Vec<Detection>]) -> Result<Vec<f32>> {
        let labels: Vec<u32> = found.iter().flatten().map(|detection| detection.label as u32).collect();
        let logits = self.forward(levels, batch, &regions_of(found), &labels, Mode::Evaluation)?;
        Ok(ops::sigmoid(&logits)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }

    fn attach(&self, batch: &Batch, found: &mut [Vec<Detection>], probabilities: &[f32]) -> Result<()> {
        let (side, regions) = (2 * self.align.side, regions_of(found));
        for ((detection, region), mask) in found.iter_mut().flatten().zip(&regions).zip(probabilities.chunks_exact(side * side)) {
            let (size, original) = (batch.sizes[region.image], batch.originals[region.image]);
            detection.mask = Some(Mask::new(mask.to_vec(), side, boxes::resize(region.bounds, size, original), original)?);
        }
        Ok(())
    }

    /// `loss_mask`, a scalar, for the sampled regions that stand for a true box; 0 where none does. The targets are those of the resized
    /// pictures, with masks.
    ///
    /// # Errors
    /// When a target has no masks.
    pub fn loss(&self, levels: &[Tensor], batch: &Batch, sampled: &Sampled, targets: &[Target], mode: Mode) -> Result<Tensor> {
        let positive = sampled.positive();
        let regions: Vec<Region> = positive.iter().map(|(region, ..)| *region).collect();
        let labels: Vec<u32> = positive.iter().map(|(_, label, _)| *label).collect();
        let logits = self.forward(levels, batch, &regions, &labels, mode)?;
        let mut wanted = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            let members = positive.iter().filter(|(region, ..)| region.image == index);
            let boxes: Vec<_> = members.map(|(region, _, truth)| (*truth, region.bounds)).collect();
            if boxes.is_empty() {
                continue;
            }
            let Some(masks) = &target.masks else {
                return Err(Error::Target { index, reason: "it has no masks to learn from".into() });
            };
            let config = RoiAlignConfig { output: [2 * self.align.side; 2], spatial_scale: 1.0, sampling_ratio: 0, aligned: false };
            let (maps, boxes) = (masks.unsqueeze(1)?.to_dtype(logits.dtype())?, to_tensor(boxes.into_iter(), logits.device())?);
            wanted.push(ops::roi_align(&maps, &boxes.to_dtype(logits.dtype())?, &config)?.squeeze(1)?);
        }
        if wanted.is_empty() {
            return Ok(logits.sum_all()?); // of nothing: 0
        }
        let count = logits.elem_count() as f64;
        Ok((binary_cross_entropy(&logits.flatten_all()?, &Tensor::cat(&wanted, 0)?.flatten_all()?)? / count)?)
    }

    /// The form for evaluation alone.
    ///
    /// # Errors
    /// When a norm's tensors cannot be read.
    pub fn for_inference(self) -> Result<Self> {
        Ok(Self { head: self.head.for_inference()?, predictor: self.predictor.for_inference()?, ..self })
    }

    /// All tensors, `prefix` and a dot before their names.
    pub fn parameters(&self, prefix: &str) -> Vec<Parameter> {
        join([self.head.parameters(&format!("{prefix}.mask_head")), self.predictor.parameters(&format!("{prefix}.mask_predictor"))])
    }
}
