//! The region proposal network (Ren, He, Girshick & Sun, "Faster R-CNN", 2015, section 3.1): where there may be objects.

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use cirio_nn::init::Init;
use cirio_nn::layer::{Conv2d, Relu, conv};
use cirio_nn::{Layers, Parameter};
use rand_chacha::ChaCha8Rng;

use crate::boxes::{self, Xyxy};
use crate::loss::{binary_cross_entropy, smooth_l1};
use crate::part::join;
use crate::{Anchors, Batch, BoxCoder, Error, Losses, Match, Matcher, Mode, Part, Result, Sampler, Target, batched_nms, top_k};

/// The shortest side of a proposal, in pixels.
const SHORTEST: f32 = 1e-3;

/// Where smooth L1 goes over from a parabola to a line.
const BETA: f64 = 1.0 / 9.0;

/// The rules by which proposals are made and learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct RpnConfig {
    /// The anchors of each level, from fine to coarse; as many at each place.
    pub anchors: Vec<Anchors>,
    /// 3×3 convolutions before the predictions.
    pub convolutions: usize,
    /// The most proposals of a level that go into suppression, and of an image that come out, in evaluation.
    pub evaluation: Limits,
    /// The same in training.
    pub training: Limits,
    /// The IoU from which on the better of two proposals of a level suppresses the other.
    pub overlap: f64,
    /// The least probability of an object.
    pub score: f32,
    /// What an anchor is to learn.
    pub matcher: Matcher,
    /// Which anchors are learnt from.
    pub sampler: Sampler,
}

/// How many proposals are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of each level, before suppression.
    pub before: usize,
    /// Of each image, after it.
    pub after: usize,
}

impl Default for RpnConfig {
    /// For a pyramid of five levels with strides of 4 to 64: torchvision's.
    fn default() -> Self {
        let level = |size: f32| Anchors { sizes: vec![size], ratios: vec![0.5, 1.0, 2.0] };
        Self {
            anchors: [32.0, 64.0, 128.0, 256.0, 512.0].map(level).to_vec(),
            convolutions: 1,
            evaluation: Limits { before: 1000, after: 1000 },
            training: Limits { before: 2000, after: 2000 },
            overlap: 0.7,
            score: 0.0,
            matcher: Matcher::ANCHORS,
            sampler: Sampler::ANCHORS,
        }
    }
}

/// Where there may be an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// Inside of the picture, in its pixels: those of the resized one, unless something else is said.
    pub bounds: Xyxy,
    /// The probability of an object.
    pub objectness: f32,
    /// The level that it was found on, from the finest, 0, on.
    pub level: usize,
    /// The anchor that it was measured from, in the same pixels; anchors may reach beyond the picture.
    pub anchor: Xyxy,
}

/// What the head says of each anchor, a tensor a level.
pub struct Objectness {
    /// (N, A, H, W): the logit that there is an object.
    pub logits: Vec<Tensor>,
    /// (N, 4A, H, W): four offsets for each anchor in turn.
    pub offsets: Vec<Tensor>,
}

/// The head: 3×3 convolutions with ReLU, then two 1×1 convolutions.
///
/// Weights: `conv.I.0`, `cls_logits`, `bbox_pred`.
pub struct RpnHead {
    shared: Part,
    logits: Part,
    offsets: Part,
}

impl RpnHead {
    /// A head with `anchors` at each place of maps with `channels`.
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn new(channels: usize, anchors: usize, convolutions: usize, weights: VarBuilder) -> Result<Self> {
        let filters = |count, kernel: usize| Conv2d {
            padding: [kernel / 2; 2],
            bias: Some(Init::Constant(0.0)),
            init: Init::Normal(0.01),
            ..conv(count, kernel)
        };
        let maps = Layers::new([channels, 1, 1]);
        let deeper =
            |layers: Layers, index| layers.then(format!("conv.{index}.0"), filters(channels, 3)).then(format!("conv.{index}.1"), Relu);
        let one = |name: &str, count| Part::new(&maps.clone().then(name, filters(count, 1)), weights.clone());
        Ok(Self {
            shared: Part::new(&(0..convolutions).fold(maps.clone(), deeper), weights.clone())?,
            logits: one("cls_logits", anchors)?,
            offsets: one("bbox_pred", 4 * anchors)?,
        })
    }

    /// What the head says of the levels (N, C, H, W).
    ///
    /// # Errors
    /// When they have other channels.
    pub fn forward(&self, levels: &[Tensor], mode: Mode) -> Result<Objectness> {
        let shared = levels.iter().map(|level| self.shared.forward(level, mode)).collect::<Result<Vec<Tensor>>>()?;
        let each = |part: &Part| shared.iter().map(|maps| part.forward(maps, mode)).collect::<Result<Vec<Tensor>>>();
        Ok(Objectness { logits: each(&self.logits)?, offsets: each(&self.offsets)? })
    }
}

/// The region proposal network. Weights: `head.…`, see [`RpnHead`].
pub struct Rpn {
    head: RpnHead,
    config: RpnConfig,
}

impl Rpn {
    /// On a pyramid whose levels have `channels`.
    ///
    /// # Errors
    /// When levels have different numbers of anchors, or a weight is missing or has another shape.
    pub fn new(channels: usize, config: &RpnConfig, weights: VarBuilder) -> Result<Self> {
        let counts: Vec<usize> = config.anchors.iter().map(Anchors::count).collect();
        let Some(&count) = counts.first().filter(|first| **first > 0 && counts.iter().all(|count| count == *first)) else {
            return Err(Error::Config(format!("levels have {counts:?} anchors at each place, expected as many for all")));
        };
        Ok(Self { head: RpnHead::new(channels, count, config.convolutions, weights.pp("head"))?, config: config.clone() })
    }

    /// What the head says of the levels (N, C, H, W).
    ///
    /// # Errors
    /// When there are not as many levels as have anchors, or they have other channels.
    pub fn forward(&self, levels: &[Tensor], mode: Mode) -> Result<Objectness> {
        if levels.len() != self.config.anchors.len() {
            return Err(Error::Config(format!("{} levels are given, {} have anchors", levels.len(), self.config.anchors.len())));
        }
        self.head.forward(levels, mode)
    }

    /// The proposals of each image, from the best on, in pixels of the resized picture. There may be none.
    ///
    /// # Errors
    /// When tensors cannot be read.
    pub fn proposals(&self, said: &Objectness, batch: &Batch, mode: Mode) -> Result<Vec<Vec<Proposal>>> {
        let limits = match mode {
            Mode::Evaluation => self.config.evaluation,
            Mode::Training => self.config.training,
        };
        let mut candidates: Vec<Candidates> = batch.sizes.iter().map(|_| Candidates::default()).collect();
        for (level, ((logits, offsets), anchors)) in said.logits.iter().zip(&said.offsets).zip(self.anchors(said, batch)?).enumerate() {
            let (logits, offsets) = (on_host(logits)?, on_host(offsets)?);
            let places = anchors.len() / self.config.anchors[level].count();
            for (index, candidates) in candidates.iter_mut().enumerate() {
                let logits = &logits[index * anchors.len()..][..anchors.len()];
                let offsets = &offsets[index * 4 * anchors.len()..][..4 * anchors.len()];
                candidates.add(level, &anchors, logits, offsets, places, limits.before);
            }
        }
        Ok(candidates.into_iter().zip(&batch.sizes).map(|(candidates, &size)| candidates.best(&self.config, size, limits.after)).collect())
    }

    /// `loss_objectness` and `loss_rpn_box_reg`, each a scalar. Targets are those of the batch's resized pictures.
    ///
    /// # Errors
    /// When tensors cannot be read.
    pub fn losses(&self, said: &Objectness, batch: &Batch, targets: &[Target], rng: &mut ChaCha8Rng) -> Result<Losses> {
        let anchors = self.anchors(said, batch)?.concat();
        let (mut sampled, mut labels, mut positive, mut wanted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, target) in targets.iter().enumerate() {
            let matches = self.config.matcher.matches(&target.boxes, &anchors);
            let sample = self.config.sampler.sample(&matches, rng);
            let place = |anchor: &usize| (index * anchors.len() + anchor) as u32;
            for &anchor in &sample.positive {
                if let Match::Truth(truth) = matches[anchor] {
                    positive.push(place(&anchor));
                    wanted.push(BoxCoder::PROPOSALS.encode(anchors[anchor], target.boxes[truth]));
                }
            }
            sampled.extend(sample.positive.iter().chain(&sample.negative).map(place));
            labels.extend(sample.positive.iter().map(|_| 1f32).chain(sample.negative.iter().map(|_| 0.0)));
        }
        let count = sampled.len().max(1) as f64;
        let (logits, offsets) = (flat(&said.logits, 1)?.flatten_all()?, flat(&said.offsets, 4)?);
        let device = logits.device();
        let chosen = |places: Vec<u32>| Tensor::from_vec(places.clone(), places.len(), device);
        let labels = Tensor::from_vec(labels, sampled.len(), device)?.to_dtype(logits.dtype())?;
        let wanted = Tensor::from_slice(wanted.as_flattened(), (wanted.len(), 4), device)?.to_dtype(logits.dtype())?;
        let objectness = (binary_cross_entropy(&logits.index_select(&chosen(sampled)?, 0)?, &labels)? / count)?;
        let boxes = (smooth_l1(&offsets.index_select(&chosen(positive)?, 0)?, &wanted, BETA)? / count)?;
        Ok(Losses { terms: vec![("loss_objectness", objectness), ("loss_rpn_box_reg", boxes)] })
    }

    /// The anchors of each level, in the order row, column, anchor.
    fn anchors(&self, said: &Objectness, batch: &Batch) -> Result<Vec<Vec<Xyxy>>> {
        let of = |(anchors, logits): (&Anchors, &Tensor)| {
            let (_, _, rows, columns) = logits.dims4()?;
            Ok(anchors.grid([rows, columns], batch.padded()))
        };
        self.config.anchors.iter().zip(&said.logits).map(of).collect()
    }

    /// The form for evaluation alone.
    ///
    /// # Errors
    /// When tensors cannot be read.
    pub fn for_inference(self) -> Result<Self> {
        let RpnHead { shared, logits, offsets } = self.head;
        let head = RpnHead { shared: shared.for_inference()?, logits: logits.for_inference()?, offsets: offsets.for_inference()? };
        Ok(Self { head, config: self.config })
    }

    /// All tensors, `prefix` and a dot before their names.
    pub fn parameters(&self, prefix: &str) -> Vec<Parameter> {
        let RpnHead { shared, logits, offsets } = &self.head;
        join([shared, logits, offsets].map(|part| part.parameters(&format!("{prefix}.head"))))
    }
}

/// What may become a proposal, of one image.
#[derive(Default)]
struct Candidates(Vec<Proposal>);

impl Candidates {
    /// Adds the best `count` of a level. The logits are (A, places), the offsets (A, 4, places), the anchors (places, A).
    fn add(&mut self, level: usize, anchors: &[Xyxy], logits: &[f32], offsets: &[f32], places: usize, count: usize) {
        let each = anchors.len() / places.max(1);
        let in_order: Vec<f32> = (0..places).flat_map(|place| (0..each).map(move |anchor| logits[anchor * places + place])).collect();
        for index in top_k(&in_order, count) {
            let (place, anchor) = (index / each, index % each);
            let offsets = [0, 1, 2, 3].map(|which| offsets[(4 * anchor + which) * places + place]);
            let objectness = 1.0 / (1.0 + (-in_order[index]).exp());
            let (bounds, anchor) = (BoxCoder::PROPOSALS.decode(anchors[index], offsets), anchors[index]);
            self.0.push(Proposal { bounds, objectness, level, anchor });
        }
    }

    /// The best `count` that are inside of the picture, large and probable enough, and not suppressed by a better one of their level.
    fn best(self, config: &RpnConfig, size: [usize; 2], count: usize) -> Vec<Proposal> {
        let clipped = self.0.into_iter().map(|proposal| Proposal { bounds: boxes::clip(proposal.bounds, size), ..proposal });
        let is_good = |proposal: &Proposal| boxes::has_sides_of(proposal.bounds, SHORTEST) && proposal.objectness >= config.score;
        let good: Vec<Proposal> = clipped.filter(is_good).collect();
        let boxes: Vec<Xyxy> = good.iter().map(|proposal| proposal.bounds).collect();
        let scores: Vec<f32> = good.iter().map(|proposal| proposal.objectness).collect();
        let levels: Vec<usize> = good.iter().map(|proposal| proposal.level).collect();
        batched_nms(&boxes, &scores, &levels, config.overlap).into_iter().take(count).map(|index| good[index]).collect()
    }
}

fn on_host(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// Levels (N, A·V, H, W) as one (N · anchors of all levels, V), in the order row, column, anchor.
fn flat(levels: &[Tensor], values: usize) -> Result<Tensor> {
    let level = |level: &Tensor| {
        let (n, channels, rows, columns) = level.dims4()?;
        let apart = level.reshape((n, channels / values, values, rows * columns))?;
        apart.permute((0, 3, 1, 2))?.reshape((n, rows * columns * channels / values, values))
    };
    let levels = levels.iter().map(level).collect::<candle_core::Result<Vec<Tensor>>>()?;
    Ok(Tensor::cat(&levels, 1)?.flatten(0, 1)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// One place after the other, and at each one anchor after the other: what channels hold apart lies side by side.
    #[test]
    fn levels_are_put_in_the_order_of_anchors() -> Result<()> {
        // 2 anchors of 2 values each at 1×3 places: hundreds are the anchor, tens the value, ones the place.
        let numbers: Vec<f32> = (0..2).flat_map(|a| (0..2).flat_map(move |v| (0..3).map(move |p| (100 * a + 10 * v + p) as f32))).collect();
        let maps = Tensor::from_vec(numbers, (1, 4, 1, 3), &Device::Cpu)?;
        let expected = [[0.0, 10.0], [100.0, 110.0], [1.0, 11.0], [101.0, 111.0], [2.0, 12.0], [102.0, 112.0]];
        assert_eq!(flat(std::slice::from_ref(&maps), 2)?.to_vec2::<f32>()?, expected);
        assert_eq!(flat(&[maps.clone(), maps], 2)?.dims(), [12, 2]);
        Ok(())
    }

    #[test]
    fn the_best_of_each_level_by_hand() {
        let config = RpnConfig { overlap: 0.5, ..RpnConfig::default() };
        // Two places with one anchor each; no offsets.
        let anchors = [[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 20.0, 8.0]];
        let mut candidates = Candidates::default();
        candidates.add(0, &anchors, &[1.0, 2.0], &[0.0; 8], 2, 2);
        // The same boxes on another level suppress nothing; the third is cut off.
        candidates.add(1, &[anchors[0], anchors[1], anchors[1]], &[3.0, f32::NAN, -1.0], &[0.0; 12], 3, 2);
        let clipped = [8.0, 0.0, 16.0, 8.0];
        let best = candidates.best(&config, [8, 16], 10);
        let found: Vec<(Xyxy, usize, Xyxy)> = best.iter().map(|proposal| (proposal.bounds, proposal.level, proposal.anchor)).collect();
        let [first, second] = anchors;
        assert_eq!(found, [(first, 1, first), (clipped, 0, second), (first, 0, first), (clipped, 1, second)]);
        let logits = [3.0f32, 2.0, 1.0, -1.0];
        assert!(best.iter().zip(logits).all(|(proposal, logit)| (proposal.objectness - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6));
    }

    #[test]
    fn what_is_outside_or_has_no_numbers_is_no_proposal() {
        let config = RpnConfig::default();
        let mut candidates = Candidates::default();
        let anchors = [[30.0, 0.0, 40.0, 8.0], [0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 8.0]];
        let mut offsets = [0.0; 12];
        offsets[1] = f32::NAN; // dx of the second
        candidates.add(0, &anchors, &[3.0, 2.0, f32::NEG_INFINITY], &offsets, 3, 3);
        let found: Vec<Xyxy> = candidates.best(&config, [8, 16], 10).iter().map(|proposal| proposal.bounds).collect();
        assert_eq!(found, [anchors[2]]);
    }
}
