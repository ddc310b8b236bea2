//! The key points of each object (He, Gkioxari, Dollár & Girshick, "Mask R-CNN", 2017, section 5).

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use cirio_nn::init::{Fan, Init};
use cirio_nn::layer::{Conv2d, ConvTranspose2d, Relu, Upsample, UpsampleMode, conv, conv_transpose};
use cirio_nn::loss::{Loss, Targets};
use cirio_nn::ops::AlignCorners;
use cirio_nn::{Layers, Parameter};

use crate::keypoints::{peak, place};
use crate::part::join;
use crate::roi::regions_of;
use crate::{Batch, Detection, Error, Mode, Part, Region, RegionAlign, Result, Sampled, Target};

/// Rows and columns of a region's features.
const FEATURES: usize = 14;

/// Rows and columns of a point's map: enlarged twice, by a transposed convolution and by interpolation.
const SIDE: usize = 4 * FEATURES;

/// The sizes of a branch of key points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeypointConfig {
    /// P, the points of an object.
    pub points: usize,
    /// The filters of each convolution before the maps.
    pub filters: Vec<usize>,
}

impl KeypointConfig {
    /// Eight convolutions of 512 filters, as in the paper and in torchvision.
    pub fn new(points: usize) -> Self {
        Self { points, filters: vec![512; 8] }
    }
}

/// 3×3 convolutions on 14×14 features of a region, a transposed one to 28×28, and the logits of where each point is, interpolated to 56×56.
///
/// Weights: `keypoint_head.0`, `keypoint_head.2`, …, `keypoint_predictor.kps_score_lowres`.
pub struct KeypointBranch {
    head: Part,
    predictor: Part,
    align: RegionAlign,
    points: usize,
}

impl KeypointBranch {
    /// On a pyramid whose levels have `channels`.
    ///
    /// # Errors
    /// When an object has no points, or a weight is missing or has another shape.
    pub fn new(channels: usize, config: &KeypointConfig, weights: VarBuilder) -> Result<Self> {
        if config.points == 0 {
            return Err(Error::Config("a branch of key points has at least one point".into()));
        }
        let (zero, init) = (Some(Init::Constant(0.0)), Init::KaimingNormal(Fan::Out));
        let features = |channels| Layers::new([channels, FEATURES, FEATURES]);
        let head = config.filters.iter().enumerate().fold(features(channels), |layers, (index, &filters)| {
            let filters = Conv2d { padding: [1; 2], bias: zero, init, ..conv(filters, 3) };
            layers.then((2 * index).to_string(), filters).then((2 * index + 1).to_string(), Relu)
        });
        let predictor = features(config.filters.last().copied().unwrap_or(channels))
            .then("kps_score_lowres", ConvTranspose2d { padding: [1; 2], bias: zero, init, ..conv_transpose(config.points, 4, 2) })
            .then("up", Upsample { factor: 2, mode: UpsampleMode::Bilinear(AlignCorners::No) });
        Ok(Self {
            head: Part::new(&head, weights.pp("keypoint_head"))?,
            predictor: Part::new(&predictor, weights.pp("keypoint_predictor"))?,
            align: RegionAlign { side: FEATURES },
            points: config.points,
        })
    }

    /// P, the points of an object.
    pub fn points(&self) -> usize {
        self.points
    }

    /// The logits of where in each region each point is.
    ///
    /// # Shapes
    /// levels (N, C, H, W), without the additional one; the result (R, P, 56, 56).
    ///
    /// # Errors
    /// As [`RegionAlign::forward`].
    pub fn forward(&self, levels: &[Tensor], batch: &Batch, regions: &[Region], mode: Mode) -> Result<Tensor> {
        let features = self.align.forward(levels, batch, regions)?;
        if regions.is_empty() {
            return Ok(Tensor::zeros((0, self.points, SIDE, SIDE), features.dtype(), features.device())?);
        }
        self.predictor.forward(&self.head.forward(&features, mode)?, mode)
    }

    /// Adds key points, in pixels of the pictures as they were given, to the objects that were found in each image, whose boxes are in pixels
    /// of the resized pictures.
    ///
    /// # Errors
    /// As [`forward`](Self::forward) and [`peak`].
    pub fn add(&self, levels: &[Tensor], batch: &Batch, found: &mut [Vec<Detection>]) -> Result<()> {
        let regions = regions_of(found);
        let logits: Vec<f32> = self.forward(levels, batch, &regions, Mode::Evaluation)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let maps = logits.chunks_exact(self.points * SIDE * SIDE);
        for ((detection, region), maps) in found.iter_mut().flatten().zip(&regions).zip(maps) {
            let (size, original) = (batch.sizes[region.image], batch.originals[region.image]);
            let points = maps.chunks_exact(SIDE * SIDE).map(|map| Ok(peak(map, SIDE, region.bounds)?.resize(size, original)));
            detection.keypoints = Some(points.collect::<Result<_>>()?);
        }
        Ok(())
    }

    /// `loss_keypoint`, a scalar: the mean cross entropy over the places of a map, of the labelled points of the true boxes that sampled regions
    /// stand for, where they lie in the region; 0 where none does. The targets are those of the resized pictures, with key points.
    ///
    /// # Errors
    /// When a target that is learnt from has no key points, or an object of it another number of them.
    pub fn loss(&self, levels: &[Tensor], batch: &Batch, sampled: &Sampled, targets: &[Target], mode: Mode) -> Result<Tensor> {
        let positive = sampled.positive();
        let regions: Vec<Region> = positive.iter().map(|(region, ..)| *region).collect();
        let (mut maps, mut places) = (Vec::new(), Vec::new());
        for (index, (region, _, truth)) in positive.iter().enumerate() {
            for (which, &point) in self.points_of(targets, region.image, *truth)?.iter().enumerate() {
                if let Some(place) = place(point, SIDE, region.bounds) {
                    maps.push((index * self.points + which) as u32);
                    places.push(place as u32);
                }
            }
        }
        let logits = self.forward(levels, batch, &regions, mode)?;
        let (count, device) = (places.len(), logits.device());
        if count == 0 {
            // Times zeros and not times 0, where candle's backward pass ends: all weights have gradients.
            return Ok((&logits * logits.zeros_like()?)?.sum_all()?);
        }
        let chosen =
            logits.reshape((regions.len() * self.points, SIDE * SIDE))?.index_select(&Tensor::from_vec(maps, count, device)?, 0)?;
        let places = Targets::Labels(Tensor::from_vec(places, count, device)?);
        Ok(Loss::CrossEntropy { label_smoothing: 0.0 }.mean(&chosen, &places)?)
    }

    /// The points of a true object.
    fn points_of<'a>(&self, targets: &'a [Target], index: usize, truth: usize) -> Result<&'a [[f32; 3]]> {
        let wrong = |reason| Err(Error::Target { index, reason });
        let Some(objects) = targets.get(index).and_then(|target| target.keypoints.as_ref()) else {
            return wrong("it has no key points to learn from".into());
        };
        match objects.get(truth) {
            Some(points) if points.len() == self.points => Ok(points),
            points => wrong(format!("object {truth} has {} key points, expected {}", points.map_or(0, Vec::len), self.points)),
        }
    }

    /// The form for evaluation alone.
    ///
    /// # Errors
    /// When the layers cannot be planned.
    pub fn for_inference(self) -> Result<Self> {
        Ok(Self { head: self.head.for_inference()?, predictor: self.predictor.for_inference()?, ..self })
    }

    /// All tensors, `prefix` and a dot before their names.
    pub fn parameters(&self, prefix: &str) -> Vec<Parameter> {
        let (head, predictor) = (format!("{prefix}.keypoint_head"), format!("{prefix}.keypoint_predictor"));
        join([self.head.parameters(&head), self.predictor.parameters(&predictor)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use cirio_nn::Store;

    use super::*;

    /// Two images of 64×64, one level of three channels with the stride 4.
    fn level() -> Result<(Tensor, Batch)> {
        let wave = |index: usize| ((index * 37 % 101) as f64 / 50.0) - 1.0;
        let level = Tensor::from_vec((0..2 * 3 * 256).map(wave).collect::<Vec<f64>>(), (2, 3, 16, 16), &Device::Cpu)?;
        let images = Tensor::zeros((2, 3, 64, 64), DType::F64, &Device::Cpu)?;
        Ok((level, Batch { images, sizes: vec![[64; 2]; 2], originals: vec![[32; 2], [128, 64]] }))
    }

    fn branch() -> Result<KeypointBranch> {
        let config = KeypointConfig { points: 2, filters: vec![4, 5] };
        KeypointBranch::new(3, &config, Store::new(5, DType::F64, &Device::Cpu).var_builder())
    }

    /// Two true boxes in the second image; a region for each, one of them twice, and background.
    fn sampled() -> (Sampled, Vec<Target>) {
        let regions = [(0, [1.0, 1.0, 9.0, 9.0]), (1, [8.0, 4.0, 40.0, 60.0]), (1, [30.0, 30.0, 50.0, 50.0]), (1, [12.0, 2.0, 42.0, 58.0])];
        let sampled = Sampled {
            regions: regions.map(|(image, bounds)| Region { image, bounds }).to_vec(),
            labels: vec![0, 1, 1, 1],
            truths: vec![None, Some(1), Some(0), Some(1)],
        };
        let small = vec![[31.0, 44.0, 1.0], [20.0, 40.0, 2.0]]; // the second one is outside
        let large = vec![[40.0, 20.0, 2.0], [25.0, 30.0, 0.0]]; // the second one is not labelled
        let target = Target { boxes: vec![[30.0, 30.0, 50.0, 50.0], [10.0, 4.0, 40.0, 60.0]], labels: vec![1, 1], ..Target::default() };
        (sampled, vec![Target::default(), Target { keypoints: Some(vec![small, large]), ..target }])
    }

    /// The mean over three maps, each by the definition of cross entropy.
    #[test]
    fn the_loss_is_the_mean_over_labelled_points_inside() -> Result<()> {
        let ((level, batch), branch, (sampled, targets)) = (level()?, branch()?, sampled());
        let loss = branch.loss(std::slice::from_ref(&level), &batch, &sampled, &targets, Mode::Training)?.to_scalar::<f64>()?;
        let maps = branch.forward(&[level], &batch, &sampled.regions, Mode::Training)?;
        assert_eq!(maps.dims(), [4, 2, 56, 56]);
        let mut expected = 0.0;
        // Region, point, row and column: (40 - 8) / 32, (20 - 4) / 56; (31 - 30) / 20, (44 - 30) / 20; (40 - 12) / 30, (20 - 2) / 56.
        for (region, [row, column]) in [(1, [16, 55]), (2, [39, 2]), (3, [18, 52])] {
            let map: Vec<f64> = maps.get(region)?.get(0)?.flatten_all()?.to_vec1()?;
            expected += map.iter().map(|logit| logit.exp()).sum::<f64>().ln() - map[row * 56 + column];
        }
        assert!((loss - expected / 3.0).abs() < 1e-10, "{loss} {}", expected / 3.0);
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_finite_differences() -> Result<()> {
        let ((level, batch), branch, (sampled, targets)) = (level()?, branch()?, sampled());
        let loss = || branch.loss(std::slice::from_ref(&level), &batch, &sampled, &targets, Mode::Training);
        let gradients = loss()?.backward()?;
        for parameter in branch.parameters("roi_heads") {
            let var = parameter.var()?.expect("a variable");
            let gradient: Vec<f64> = gradients.get(&var).expect("a gradient").flatten_all()?.to_vec1()?;
            let values: Vec<f64> = var.flatten_all()?.to_vec1()?;
            let moved = |index: usize, by: f64| -> Result<f64> {
                let mut values = values.clone();
                values[index] += by;
                var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu)?)?;
                Ok(loss()?.to_scalar()?)
            };
            for index in [0, values.len() / 2, values.len() - 1] {
                let numeric = (moved(index, 1e-5)? - moved(index, -1e-5)?) / 2e-5;
                moved(index, 0.0)?;
                assert!((numeric - gradient[index]).abs() < 1e-6, "{} {index}: {} {numeric}", parameter.name, gradient[index]);
            }
        }
        Ok(())
    }

    /// The points of the resized picture, brought to the picture as it was given.
    #[test]
    fn points_are_added_in_pixels_of_the_picture() -> Result<()> {
        let ((level, batch), branch) = (level()?, branch()?);
        let detection = |bounds| Detection { bounds, label: 1, score: 1.0, proposal: 0, mask: None, keypoints: None };
        let mut found = vec![vec![], vec![detection([8.0, 4.0, 40.0, 60.0]), detection([30.0, 30.0, 50.0, 50.0])]];
        let regions = regions_of(&found);
        branch.add(std::slice::from_ref(&level), &batch, &mut found)?;
        let maps = branch.forward(&[level], &batch, &regions, Mode::Evaluation)?.to_dtype(DType::F32)?;
        for (index, detection) in found[1].iter().enumerate() {
            for (which, point) in detection.keypoints.as_ref().expect("points").iter().enumerate() {
                let map: Vec<f32> = maps.get(index)?.get(which)?.flatten_all()?.to_vec1()?;
                let expected = peak(&map, 56, detection.bounds)?;
                assert_eq!([point.x, point.y, point.score], [expected.x, 2.0 * expected.y, expected.score]);
            }
        }
        assert!(found[0].is_empty() && found[1].iter().all(|detection| detection.keypoints.as_ref().is_some_and(|found| found.len() == 2)));
        branch.add(&[], &batch, &mut [vec![]]).expect_err("no level");
        Ok(())
    }
}
