//! What is in a region: its features from the right level of a pyramid, its class and its exact box (Girshick, "Fast R-CNN", 2015).

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use cirio_nn::init::{Fan, Init};
use cirio_nn::layer::{BatchNorm, Conv2d, Dropout, Flatten, Relu, conv, linear};
use cirio_nn::loss::{Loss, Targets};
use cirio_nn::ops::{self, RoiAlignConfig, RoiPoolConfig};
use cirio_nn::{Layers, Parameter};
use rand_chacha::ChaCha8Rng;

use crate::boxes::{self, Xyxy};
use crate::loss::smooth_l1;
use crate::part::join;
use crate::{
    Batch, BoxCoder, Detection, Error, Losses, Mask, Match, Matcher, Mode, Part, PixelBranch, PixelConfig, Proposal, Result, Sampler,
    Target, batched_nms, box_voting,
};

/// Where smooth L1 goes over from a parabola to a line.
const BETA: f64 = 1.0 / 9.0;

/// The shortest side of a detection, in pixels.
const SHORTEST: f32 = 1e-2;

/// A region of an image of the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Which image, from 0.
    pub image: usize,
    /// In pixels of the resized picture.
    pub bounds: Xyxy,
}

/// The proposals of each image as one list.
pub fn regions(images: &[Vec<Proposal>]) -> Vec<Region> {
    let of_image = |(image, found): (usize, &Vec<Proposal>)| -> Vec<Region> {
        found.iter().map(|proposal| Region { image, bounds: proposal.bounds }).collect()
    };
    images.iter().enumerate().flat_map(of_image).collect()
}

/// The boxes of the objects found in each image as one list.
pub(crate) fn regions_of(images: &[Vec<Detection>]) -> Vec<Region> {
    let of_image = |(image, found): (usize, &Vec<Detection>)| -> Vec<Region> {
        found.iter().map(|detection| Region { image, bounds: detection.bounds }).collect()
    };
    images.iter().enumerate().flat_map(of_image).collect()
}

/// The regions as a tensor (R, 5), as [`ops::roi_align`] takes them.
pub(crate) fn to_tensor(regions: impl ExactSizeIterator<Item = (usize, Xyxy)>, device: &Device) -> Result<Tensor> {
    let count = regions.len();
    let rows: Vec<f32> = regions.flat_map(|(image, [a, b, c, d])| [image as f32, a, b, c, d]).collect();
    Ok(Tensor::from_vec(rows, (count, 5), device)?)
}

/// RoIAlign over the levels of a pyramid: large regions from coarse levels (Lin et al., "Feature pyramid networks", 2017, equation 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionAlign {
    /// Rows and columns of the features of a region.
    pub side: usize,
}

impl RegionAlign {
    /// The features of regions, (R, C, side, side), from levels (N, C, H, W) of the batch's images.
    ///
    /// As in torchvision: two samples a bin and axis, and pixels' centres at their corners.
    ///
    /// # Errors
    /// When there is no level, or a region is in no image or not finite.
    pub fn forward(&self, levels: &[Tensor], batch: &Batch, regions: &[Region]) -> Result<Tensor> {
        of_levels(levels, batch, regions, self.side, |level, boxes, spatial_scale| {
            ops::roi_align(level, boxes, &RoiAlignConfig { output: [self.side; 2], spatial_scale, sampling_ratio: 2, aligned: false })
        })
    }
}

/// RoIPool (Girshick, "Fast R-CNN", 2015, section 2.1), the largest value of each bin; on a pyramid as [`RegionAlign`] chooses levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionMax {
    /// Rows and columns of the features of a region.
    pub side: usize,
}

impl RegionMax {
    /// The features of regions, (R, C, side, side), from levels (N, C, H, W) of the batch's images.
    ///
    /// # Errors
    /// As [`RegionAlign::forward`].
    pub fn forward(&self, levels: &[Tensor], batch: &Batch, regions: &[Region]) -> Result<Tensor> {
        of_levels(levels, batch, regions, self.side, |level, boxes, spatial_scale| {
            ops::roi_pool(level, boxes, &RoiPoolConfig { output: [self.side; 2], spatial_scale })
        })
    }
}

/// The features of regions, each pooled from its own level: `pool` takes the level, the boxes (R, 5) and the level's scale.
fn of_levels(
    levels: &[Tensor],
    batch: &Batch,
    regions: &[Region],
    side: usize,
    pool: impl Fn(&Tensor, &Tensor, f32) -> candle_core::Result<Tensor>,
) -> Result<Tensor> {
    let exponents = exponents(levels, batch)?;
    let (Some(first), [finest, ..], [.., coarsest]) = (levels.first(), exponents.as_slice(), exponents.as_slice()) else {
        return Err(Error::Config("regions have no level to take features from".into()));
    };
    // Levels of one scale, as MobileNet's, are one: the first of them takes all.
    let last = (finest - coarsest).clamp(0.0, (levels.len() - 1) as f64) as usize;
    let assigned: Vec<usize> = regions.iter().map(|region| level(region.bounds, *finest, last)).collect();
    let (mut features, mut order) = (Vec::new(), Vec::with_capacity(regions.len()));
    for (index, (level, exponent)) in levels.iter().zip(&exponents).enumerate() {
        let members: Vec<usize> = (0..regions.len()).filter(|&region| assigned[region] == index).collect();
        if members.is_empty() {
            continue;
        }
        let boxes = to_tensor(members.iter().map(|&member| (regions[member].image, regions[member].bounds)), level.device())?;
        features.push(pool(level, &boxes.to_dtype(level.dtype())?, exponent.exp2() as f32)?);
        order.extend(members);
    }
    match features.len() {
        0 => Ok(Tensor::zeros((0, first.dim(1)?, side, side), first.dtype(), first.device())?),
        1 => Ok(features.swap_remove(0)),
        _ => {
            let mut places = vec![0u32; order.len()];
            order.iter().enumerate().for_each(|(place, &region)| places[region] = place as u32);
            Ok(Tensor::cat(&features, 0)?.index_select(&Tensor::new(places, first.device())?, 0)?)
        }
    }
}

/// The power of two nearest to each level's size over that of the batch's tallest picture, as an exponent.
fn exponents(levels: &[Tensor], batch: &Batch) -> Result<Vec<f64>> {
    let tallest = batch.sizes.iter().map(|size| size[0]).max().unwrap_or(1).max(1);
    levels.iter().map(|level| Ok((level.dim(2)? as f64 / tallest as f64).log2().round())).collect()
}

/// Which level a region's features come from, `last` at most: for a region of 224×224 pixels, the size of ImageNet's pictures, the one with
/// the stride 16; the next one for each doubling. `finest` is the exponent of the first level's scale.
fn level(bounds: Xyxy, finest: f64, last: usize) -> usize {
    let exact = 4.0 + (boxes::area(bounds).sqrt() / 224.0).log2() + 1e-6;
    // Levels are numbered by their strides, 2^level.
    let first = -finest as f32;
    (exact.floor().clamp(first, first + last as f32) - first) as usize
}

/// How a region's features are taken from maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionPooling {
    /// See [`RegionAlign`].
    Align,
    /// See [`RegionMax`].
    Max,
}

/// What comes between a region's features and the predictions.
#[derive(Clone, Debug, PartialEq)]
pub enum BoxHead {
    /// Two fully connected layers: `fc6` and `fc7`.
    Linear {
        /// F, the values that each of them puts out.
        features: usize,
        /// The probability with which each value is left out in training.
        dropout: f64,
    },
    /// 3×3 convolutions with norms, then one fully connected layer. Of four convolutions the weights are `0.0` … `3.1` and `5`.
    Convolutions {
        /// Rows and columns of a region's features are 7 times this, and the first convolution goes in such strides: with 2 it sees a region
        /// more finely, for about the same work.
        stride: usize,
        /// The filters of each convolution.
        filters: Vec<usize>,
        /// F, the values that the last layer puts out.
        features: usize,
        /// The norm behind each convolution.
        norm: BatchNorm,
    },
}

/// Rows and columns of the features of a region, where a head does not look more finely.
const SIDE: usize = 7;

impl BoxHead {
    /// F, the features that predictions are made from.
    pub fn features(&self) -> usize {
        match self {
            Self::Linear { features, .. } | Self::Convolutions { features, .. } => *features,
        }
    }

    /// Rows and columns of the features of a region.
    pub fn side(&self) -> usize {
        match self {
            Self::Linear { .. } => SIDE,
            Self::Convolutions { stride, .. } => SIDE * stride,
        }
    }

    /// The layers from (R, channels, side, side) to (R, F).
    pub fn layers(&self, channels: usize) -> Layers {
        let layers = Layers::new([channels, self.side(), self.side()]);
        match self {
            Self::Linear { features, dropout } => ["6", "7"].iter().fold(layers.then("flatten", Flatten), |layers, number| {
                let layers = layers.then(format!("fc{number}"), linear(*features)).then(format!("relu{number}"), Relu);
                if *dropout > 0.0 { layers.then(format!("dropout{number}"), Dropout(*dropout)) } else { layers }
            }),
            Self::Convolutions { stride, filters, features, norm } => {
                let number = |behind: usize| (filters.len() + behind).to_string();
                let strides = std::iter::once(*stride).chain(std::iter::repeat(1));
                let convolutions = filters.iter().zip(strides).enumerate().fold(layers, |layers, (index, (&filters, stride))| {
                    convolution(layers, index, Conv2d { stride: [stride; 2], ..conv(filters, 3) }, Some(norm))
                });
                convolutions.then(number(0), Flatten).then(number(1), linear(*features)).then(number(2), Relu)
            }
        }
    }
}

/// A 3×3 convolution with a padding of 1, its norm if it has one, and ReLU, as torchvision numbers them.
pub(crate) fn convolution(layers: Layers, index: usize, filters: Conv2d, norm: Option<&BatchNorm>) -> Layers {
    let filters =
        Conv2d { padding: [1; 2], bias: norm.is_none().then_some(Init::Constant(0.0)), init: Init::KaimingNormal(Fan::Out), ..filters };
    let layers = layers.then(format!("{index}.0"), filters);
    match norm {
        Some(norm) => layers.then(format!("{index}.1"), norm.clone()).then(format!("{index}.2"), Relu),
        None => layers.then(format!("{index}.1"), Relu),
    }
}

/// The rules by which objects are found in regions, and learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct RoiConfig {
    /// K, the number of classes with the background, which is class 0.
    pub classes: usize,
    /// How features are taken from the levels.
    pub pooling: RegionPooling,
    /// What comes between features and predictions.
    pub head: BoxHead,
    /// A second opinion on classes from the pixels; none in torchvision's detectors.
    pub pixels: Option<PixelConfig>,
    /// A detection's probability is over this; its score is too, where masks count in it.
    pub score: f32,
    /// The IoU from which on the better of two detections of a class suppresses the other.
    pub overlap: f64,
    /// The IoU from which on the other boxes of its class, suppressed ones among them, have a say in where a detection is, see
    /// [`box_voting`]; none leaves it where its own proposal put it, as in torchvision.
    pub voting: Option<f64>,
    /// The most detections of an image.
    pub detections: usize,
    /// What a proposal is to learn.
    pub matcher: Matcher,
    /// Which proposals are learnt from.
    pub sampler: Sampler,
}

impl RoiConfig {
    /// torchvision's rules for pyramids.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            pooling: RegionPooling::Align,
            head: BoxHead::Linear { features: 1024, dropout: 0.0 },
            pixels: None,
            score: 0.05,
            overlap: 0.5,
            voting: None,
            detections: 100,
            matcher: Matcher::PROPOSALS,
            sampler: Sampler::PROPOSALS,
        }
    }
}

/// What is seen of R regions.
pub struct RegionFeatures {
    /// (R, C, side, side), from the levels.
    pub levels: Tensor,
    /// (R, 3, side, side), from the images, where there is a second opinion.
    pub pixels: Option<Tensor>,
}

/// What is predicted for R regions.
pub struct Predictions {
    /// (R, K): the logits of the classes.
    pub logits: Tensor,
    /// (R, 4K): four offsets for each class in turn.
    pub offsets: Tensor,
}

/// Regions to learn from.
#[derive(Clone, Debug, Default)]
pub struct Sampled {
    /// Where they are, image by image.
    pub regions: Vec<Region>,
    /// The class of each, 0 for background.
    pub labels: Vec<u32>,
    /// Which of its image's true boxes each stands for; none for background.
    pub truths: Vec<Option<usize>>,
}

impl Sampled {
    /// The regions that stand for a true box, each with its class and which of its image's boxes that is.
    pub(crate) fn positive(&self) -> Vec<(Region, u32, usize)> {
        let each = self.regions.iter().zip(&self.labels).zip(&self.truths);
        each.filter_map(|((&region, &label), &truth)| Some((region, label, truth?))).collect()
    }
}

/// What may be an object in an image: each proposal as each class that is probable enough.
#[derive(Default)]
pub(crate) struct Candidates {
    bounds: Vec<Xyxy>,
    scores: Vec<f32>,
    labels: Vec<usize>,
    proposals: Vec<usize>,
}

impl Candidates {
    /// Adds those of the image's mirror image, which is as wide; the image itself had `proposals`.
    pub(crate) fn add_mirrored(&mut self, mirrored: Self, width: usize, proposals: usize) {
        self.bounds.extend(mirrored.bounds.into_iter().map(|bounds| boxes::mirror(bounds, width)));
        self.scores.extend(mirrored.scores);
        self.labels.extend(mirrored.labels);
        self.proposals.extend(mirrored.proposals.into_iter().map(|proposal| proposals + proposal));
    }
}

/// The head of boxes and its two predictors. Weights: `box_head.…`, `box_predictor.cls_score`, `box_predictor.bbox_pred`; those of a second
/// opinion `pixel_head.…`.
pub struct BoxBranch {
    head: Part,
    pixels: Option<PixelBranch>,
    logits: Part,
    offsets: Part,
    config: RoiConfig,
}

impl BoxBranch {
    /// On levels that have `channels`.
    ///
    /// # Errors
    /// When there are no classes beside the background, or a weight is missing or has another shape.
    pub fn new(channels: usize, config: &RoiConfig, weights: VarBuilder) -> Result<Self> {
        if config.classes < 2 {
            return Err(Error::Config(format!("a detector has at least 2 classes, the background and one more; given {}", config.classes)));
        }
        let predictor = |name: &str, outputs: usize| {
            let layers = Layers::new([config.head.features(), 1, 1]).then("flatten", Flatten).then(name, linear(outputs));
            Part::new(&layers, weights.pp("box_predictor"))
        };
        Ok(Self {
            head: Part::new(&config.head.layers(channels), weights.pp("box_head"))?,
            pixels: config.pixels.as_ref().map(|pixels| PixelBranch::new(3, config.classes, pixels, weights.clone())).transpose()?,
            logits: predictor("cls_score", config.classes)?,
            offsets: predictor("bbox_pred", 4 * config.classes)?,
            config: config.clone(),
        })
    }

    /// The part between features and predictions: some heads have dropout there.
    pub(crate) fn head(&self) -> &Part {
        &self.head
    }

    /// K, the number of classes with the background.
    pub fn classes(&self) -> usize {
        self.config.classes
    }

    /// The features of regions, (R, C, [side](BoxHead::side), side), from the levels that are for them, see
    /// [`Backbone::for_regions`](crate::Backbone::for_regions), and where there is a second opinion their pixels.
    ///
    /// # Errors
    /// As [`RegionAlign::forward`].
    pub fn features(&self, levels: &[Tensor], batch: &Batch, regions: &[Region]) -> Result<RegionFeatures> {
        let side = self.config.head.side();
        let levels = match self.config.pooling {
            RegionPooling::Align => RegionAlign { side }.forward(levels, batch, regions),
            RegionPooling::Max => RegionMax { side }.forward(levels, batch, regions),
        }?;
        let pixels = self.pixels.as_ref().map(|branch| branch.pixels(batch, regions)).transpose()?;
        Ok(RegionFeatures { levels, pixels })
    }

    /// What is predicted for the features of R regions.
    ///
    /// # Errors
    /// When they have other channels, or pixels are missing or not asked for.
    pub fn predict(&self, RegionFeatures { levels: features, pixels }: &RegionFeatures, mode: Mode) -> Result<Predictions> {
        let (regions, classes) = (features.dim(0)?, self.config.classes);
        if regions == 0 {
            let none = |width| Tensor::zeros((0, width), features.dtype(), features.device());
            return Ok(Predictions { logits: none(classes)?, offsets: none(4 * classes)? });
        }
        let vectors = self.head.forward(features, mode)?.reshape((regions, self.config.head.features(), 1, 1))?;
        let mut logits = self.logits.forward(&vectors, mode)?;
        match (&self.pixels, pixels) {
            // Both see the same evidence: their sum would be too sure.
            (Some(branch), Some(pixels)) => logits = ((logits + branch.opinion(pixels, mode)?)? / 2.0)?,
            (None, None) => {}
            (Some(_), None) => return Err(Error::Config("the second opinion needs the regions' pixels".into())),
            (None, Some(_)) => return Err(Error::Config("there is no second opinion for the regions' pixels".into())),
        }
        Ok(Predictions { logits, offsets: self.offsets.forward(&vectors, mode)? })
    }

    /// The objects in each image, from the most probable on, in pixels of the resized pictures. The regions are the proposals of the first
    /// image, then those of the second, and so on.
    ///
    /// # Errors
    /// When tensors cannot be read.
    pub fn detections(&self, predictions: &Predictions, regions: &[Region], batch: &Batch) -> Result<Vec<Vec<Detection>>> {
        Ok(self.candidates(predictions, regions, batch)?.iter().map(|candidates| self.best(candidates)).collect())
    }

    /// What may be an object in each image, as [`detections`](Self::detections) takes it.
    pub(crate) fn candidates(&self, predictions: &Predictions, regions: &[Region], batch: &Batch) -> Result<Vec<Candidates>> {
        let classes = self.config.classes;
        let on_host = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let (scores, offsets) = (on_host(&ops::softmax(&predictions.logits)?)?, on_host(&predictions.offsets)?);
        let of_image = |(image, &size): (usize, &[usize; 2])| {
            let mut candidates = Candidates::default();
            let of_image = regions.iter().enumerate().filter(|(_, region)| region.image == image);
            for (proposal, (index, region)) in of_image.enumerate() {
                for label in 1..classes {
                    let (score, from) = (scores[index * classes + label], 4 * (index * classes + label));
                    // A score that is not a number is over nothing.
                    if score > self.config.score {
                        let offsets = [0, 1, 2, 3].map(|which| offsets[from + which]);
                        let decoded = boxes::clip(BoxCoder::DETECTIONS.decode(region.bounds, offsets), size);
                        if boxes::has_sides_of(decoded, SHORTEST) {
                            candidates.bounds.push(decoded);
                            candidates.scores.push(score);
                            candidates.labels.push(label);
                            candidates.proposals.push(proposal);
                        }
                    }
                }
            }
            candidates
        };
        Ok(batch.sizes.iter().enumerate().map(of_image).collect())
    }

    /// The candidates that stay, from the most probable on.
    pub(crate) fn best(&self, candidates: &Candidates) -> Vec<Detection> {
        let Candidates { bounds, scores, labels, proposals } = candidates;
        let best = batched_nms(bounds, scores, labels, self.config.overlap).into_iter().take(self.config.detections);
        best.map(|index| Detection {
            bounds: self.config.voting.map_or(bounds[index], |overlap| box_voting(bounds, scores, labels, index, overlap)),
            label: labels[index],
            score: scores[index],
            proposal: proposals[index],
            mask: None,
            keypoints: None,
        })
        .collect()
    }

    /// Multiplies the scores of an image's objects with their masks' certainties, puts them in order again, and lets those go that are not over
    /// the limit any more.
    pub fn rank_by_masks(&self, found: &mut Vec<Detection>) {
        for detection in found.iter_mut() {
            detection.score *= detection.mask.as_ref().map_or(1.0, Mask::certainty);
        }
        found.retain(|detection| detection.score > self.config.score);
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
    }

    /// Which proposals are learnt from, and as what. The true boxes are proposals too.
    pub fn sample(&self, proposals: &[Vec<Proposal>], targets: &[Target], rng: &mut ChaCha8Rng) -> Sampled {
        let mut sampled = Sampled::default();
        for (image, (proposals, target)) in proposals.iter().zip(targets).enumerate() {
            let proposed = proposals.iter().map(|proposal| proposal.bounds);
            let candidates: Vec<Xyxy> = proposed.chain(target.boxes.iter().copied()).collect();
            let matches = self.config.matcher.matches(&target.boxes, &candidates);
            for index in self.config.sampler.sample(&matches, rng).all() {
                let truth = match matches[index] {
                    Match::Truth(truth) => Some(truth),
                    Match::Background | Match::Between => None,
                };
                sampled.regions.push(Region { image, bounds: candidates[index] });
                sampled.labels.push(truth.map_or(0, |truth| target.labels[truth]));
                sampled.truths.push(truth);
            }
        }
        sampled
    }

    /// `loss_classifier` and `loss_box_reg`, each a scalar, for the predictions of the sampled regions.
    ///
    /// # Errors
    /// When tensors cannot be read.
    pub fn losses(&self, predictions: &Predictions, sampled: &Sampled, targets: &[Target]) -> Result<Losses> {
        let Predictions { logits, offsets } = predictions;
        let (device, count) = (logits.device(), sampled.regions.len());
        let labels = Tensor::from_slice(&sampled.labels, count, device)?;
        let classifier = Loss::CrossEntropy { label_smoothing: 0.0 }.mean(logits, &Targets::Labels(labels))?;
        // The place of each positive's offsets for its class, among those of all regions and classes.
        let (mut places, mut wanted) = (Vec::new(), Vec::new());
        for (index, (region, (truth, label))) in sampled.regions.iter().zip(sampled.truths.iter().zip(&sampled.labels)).enumerate() {
            if let Some(truth) = *truth {
                places.push((index * self.config.classes) as u32 + label);
                wanted.push(BoxCoder::DETECTIONS.encode(region.bounds, targets[region.image].boxes[truth]));
            }
        }
        let each = offsets.reshape((count * self.config.classes, 4))?;
        let of_class = each.index_select(&Tensor::from_slice(&places, places.len(), device)?, 0)?;
        let wanted = Tensor::from_slice(wanted.as_flattened(), (wanted.len(), 4), device)?.to_dtype(logits.dtype())?;
        let boxes = (smooth_l1(&of_class, &wanted, BETA)? / count.max(1) as f64)?;
        Ok(Losses { terms: vec![("loss_classifier", classifier), ("loss_box_reg", boxes)] })
    }

    /// The form for evaluation alone.
    ///
    /// # Errors
    /// When a norm's tensors cannot be read.
    pub fn for_inference(self) -> Result<Self> {
        Ok(Self {
            head: self.head.for_inference()?,
            pixels: self.pixels.map(PixelBranch::for_inference).transpose()?,
            logits: self.logits.for_inference()?,
            offsets: self.offsets.for_inference()?,
            config: self.config,
        })
    }

    /// All tensors, `prefix` and a dot before their names.
    pub fn parameters(&self, prefix: &str) -> Vec<Parameter> {
        let predictor = format!("{prefix}.box_predictor");
        let pixels = self.pixels.as_ref().map(|pixels| pixels.parameters(prefix));
        let predictors = [self.logits.parameters(&predictor), self.offsets.parameters(&predictor)];
        join([self.head.parameters(&format!("{prefix}.box_head"))].into_iter().chain(pixels).chain(predictors))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn square(side: f32) -> Xyxy {
        [3.0, 5.0, 3.0 + side, 5.0 + side]
    }

    /// Levels with the strides 4, 8, 16 and 32.
    #[test]
    fn a_region_of_224_pixels_is_on_the_level_of_stride_16() {
        for (side, expected) in [(1.0, 0), (111.9, 0), (112.0, 1), (223.9, 1), (224.0, 2), (447.9, 2), (448.0, 3), (5000.0, 3)] {
            assert_eq!(level(square(side), -2.0, 3), expected, "{side}");
        }
        for strange in [[0.0; 4], [f32::NAN; 4], [9.0, 9.0, 1.0, 1.0]] {
            assert_eq!(level(strange, -2.0, 3), 0, "{strange:?}");
        }
        assert_eq!(level(square(448.0), -5.0, 0), 0, "one level takes all");
    }

    /// Two levels that hold their own number everywhere, and regions for each of them.
    #[test]
    fn features_come_in_the_order_of_the_regions() -> Result<()> {
        let level = |value: f32, side: usize| Tensor::full(value, (2, 3, side, side), &Device::Cpu);
        let levels = [level(1.0, 256)?, level(2.0, 128)?];
        let batch = Batch {
            images: Tensor::zeros((2, 3, 1024, 1024), DType::F32, &Device::Cpu)?,
            sizes: vec![[1020, 900]; 2],
            originals: vec![[10, 9]; 2],
        };
        assert_eq!(exponents(&levels, &batch)?, [-2.0, -3.0]);
        let regions = [(0, 200.0), (1, 20.0), (1, 300.0), (0, 30.0)].map(|(image, side)| Region { image, bounds: square(side) });
        let align = RegionAlign { side: 2 };
        let features = align.forward(&levels, &batch, &regions)?;
        assert_eq!(features.dims(), [4, 3, 2, 2]);
        let means: Vec<f32> = features.mean((1, 2, 3))?.to_vec1()?;
        assert!(means.iter().zip([2.0, 1.0, 2.0, 1.0]).all(|(a, b)| (a - b).abs() < 1e-5), "{means:?}");
        let largest = RegionMax { side: 2 }.forward(&levels, &batch, &regions)?;
        assert_eq!(largest.mean((1, 2, 3))?.to_vec1::<f32>()?, [2.0, 1.0, 2.0, 1.0]);
        assert_eq!(align.forward(&levels, &batch, &[])?.dims(), [0, 3, 2, 2]);
        assert!(align.forward(&[], &batch, &regions).is_err());
        assert!(align.forward(&levels, &batch, &[Region { image: 2, bounds: square(9.0) }]).is_err());
        Ok(())
    }

    /// Two levels of one stride: the first takes all, however large.
    #[test]
    fn of_levels_of_one_size_the_first_is_taken() -> Result<()> {
        let level = |value: f32| Tensor::full(value, (1, 3, 64, 64), &Device::Cpu);
        let images = Tensor::zeros((1, 3, 2048, 2048), DType::F32, &Device::Cpu)?;
        let batch = Batch { images, sizes: vec![[2048; 2]], originals: vec![[10; 2]] };
        let regions = [20.0, 500.0, 1900.0].map(|side| Region { image: 0, bounds: square(side) });
        let features = RegionAlign { side: 2 }.forward(&[level(1.0)?, level(2.0)?], &batch, &regions)?;
        assert!(features.mean((1, 2, 3))?.to_vec1::<f32>()?.iter().all(|mean| (mean - 1.0).abs() < 1e-5));
        Ok(())
    }

    proptest! {
        #[test]
        fn a_region_twice_as_large_is_one_level_up(side in 10.0..400f32) {
            let (here, there) = (level(square(side), -2.0, 3), level(square(2.0 * side), -2.0, 3));
            prop_assert!(there == (here + 1).min(3) || (here == 0 && there == 0));
        }
    }
}
