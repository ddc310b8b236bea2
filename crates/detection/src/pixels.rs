//! A second opinion on what is in a region, from its pixels alone (after Cheng et al., "Revisiting RCNN: on awakening the classification power of
//! Faster RCNN", 2018).
//!
//! The features of a pyramid have to serve finding and outlining too. A small network of its own, which sees a region's pixels brought to one
//! size, errs in other cases, and both together err less.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use cirio_nn::layer::{AdaptiveAvgPool2d, BatchNorm, Flatten, conv, linear, max_pool};
use cirio_nn::ops::{self, RoiAlignConfig};
use cirio_nn::{Layers, Parameter};

use crate::boxes::Xyxy;
use crate::roi::{convolution, to_tensor};
use crate::{Batch, Error, Mode, Part, Region, Result};

/// The sizes of a network that sees pixels of regions.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelConfig {
    /// Rows and columns that a region's pixels are brought to.
    pub side: usize,
    /// How many times as long and as wide as the region is what is seen.
    pub context: f32,
    /// The filters of each 3×3 convolution, stage by stage; a max pool of 2×2 is between stages.
    pub stages: Vec<Vec<usize>>,
    /// The norm behind each convolution.
    pub norm: BatchNorm,
}

impl PixelConfig {
    /// The layers from (R, channels, side, side) to a logit for each of `names`, the classes without the background.
    ///
    /// Weights: `0.0.weight` and `0.1.…` of the first convolution and its norm, then `1.0.weight`, and so on, and `cls_score.…`.
    pub fn layers(&self, channels: usize, names: usize) -> Layers {
        let (mut layers, mut index) = (Layers::new([channels, self.side, self.side]), 0);
        for (stage, filters) in self.stages.iter().enumerate() {
            if stage > 0 {
                layers = layers.then(format!("pool{stage}"), max_pool(2));
            }
            for &filters in filters {
                layers = convolution(layers, index, conv(filters, 3), Some(&self.norm));
                index += 1;
            }
        }
        layers.then("avgpool", AdaptiveAvgPool2d([1; 2])).then("flatten", Flatten).then("cls_score", linear(names))
    }
}

/// The network with its weights, `pixel_head.…`.
pub struct PixelBranch {
    head: Part,
    side: usize,
    context: f32,
    classes: usize,
}

impl PixelBranch {
    /// For pictures of `channels`, and K classes with the background.
    ///
    /// # Errors
    /// When there are no classes beside the background, what is seen is no finite rectangle, the pixels are too few for the stages, or a weight
    /// is missing or has another shape.
    pub fn new(channels: usize, classes: usize, config: &PixelConfig, weights: VarBuilder) -> Result<Self> {
        if classes < 2 || !(config.context.is_finite() && config.context > 0.0) {
            let (context, expected) = (config.context, "expected at least 2, and a finite number above 0");
            return Err(Error::Config(format!("pixels of {classes} classes are seen {context} times as wide as regions; {expected}")));
        }
        let head = Part::new(&config.layers(channels, classes - 1), weights.pp("pixel_head"))?;
        Ok(Self { head, side: config.side, context: config.context, classes })
    }

    /// The pixels of regions, (R, C, side, side), from the batch's normalised images.
    ///
    /// # Errors
    /// When a region is in no image or not finite.
    pub fn pixels(&self, batch: &Batch, regions: &[Region]) -> Result<Tensor> {
        let seen = regions.iter().map(|region| (region.image, around(region.bounds, self.context)));
        let seen = to_tensor(seen, batch.images.device())?.to_dtype(batch.images.dtype())?;
        let config = RoiAlignConfig { output: [self.side; 2], spatial_scale: 1.0, sampling_ratio: 2, aligned: true };
        Ok(ops::roi_align(&batch.images, &seen, &config)?)
    }

    /// Logits (R, K) of regions, whose mean with those from the features is what counts: log-probabilities of the classes, one of which it is taken
    /// to be, and 0 for the background. Where the two opinions disagree, it is the background that gains. With a single class there is nothing to say.
    ///
    /// # Errors
    /// When pixels have another shape.
    pub fn opinion(&self, pixels: &Tensor, mode: Mode) -> Result<Tensor> {
        let regions = pixels.dim(0)?;
        if regions == 0 {
            return Ok(Tensor::zeros((0, self.classes), pixels.dtype(), pixels.device())?);
        }
        let names = ops::log_softmax(&self.head.forward(pixels, mode)?)?;
        let background = Tensor::zeros((regions, 1), names.dtype(), names.device())?;
        Ok(Tensor::cat(&[&background, &names], 1)?)
    }

    /// The form for evaluation alone.
    ///
    /// # Errors
    /// When a norm's tensors cannot be read.
    pub fn for_inference(self) -> Result<Self> {
        Ok(Self { head: self.head.for_inference()?, ..self })
    }

    /// All tensors, `prefix` and a dot before their names.
    pub fn parameters(&self, prefix: &str) -> Vec<Parameter> {
        self.head.parameters(&format!("{prefix}.pixel_head"))
    }
}

/// A box with the same centre, `times` as long and as wide.
fn around(bounds: Xyxy, times: f32) -> Xyxy {
    let [x, y, width, height] = [bounds[0] + bounds[2], bounds[1] + bounds[3], bounds[2] - bounds[0], bounds[3] - bounds[1]];
    [(x - times * width) / 2.0, (y - times * height) / 2.0, (x + times * width) / 2.0, (y + times * height) / 2.0]
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use cirio_nn::Store;
    use cirio_nn::layer::batch_norm;

    use super::*;

    /// A picture whose pixels hold the number of their column, and a network that sees half as much again as a region.
    fn seen() -> Result<(PixelBranch, Batch)> {
        let config = PixelConfig { side: 4, context: 1.5, stages: vec![vec![3], vec![2, 5]], norm: batch_norm() };
        let branch = PixelBranch::new(3, 4, &config, Store::new(0, DType::F32, &Device::Cpu).var_builder())?;
        let columns = Tensor::arange(0f32, 16.0, &Device::Cpu)?.broadcast_as((1, 3, 16, 16))?.contiguous()?;
        Ok((branch, Batch { images: columns, sizes: vec![[16; 2]], originals: vec![[16; 2]] }))
    }

    #[test]
    fn pixels_are_those_around_a_region() -> Result<()> {
        let (branch, batch) = seen()?;
        let pixels = branch.pixels(&batch, &[Region { image: 0, bounds: [4.0, 6.0, 12.0, 10.0] }])?;
        assert_eq!(pixels.dims(), [1, 3, 4, 4]);
        // From 2 to 14 in four steps; a pixel's value is that of its middle.
        assert_eq!(pixels.get(0)?.get(2)?.to_vec2::<f32>()?, vec![vec![3.0, 6.0, 9.0, 12.0]; 4]);
        assert!(branch.pixels(&batch, &[Region { image: 1, bounds: [4.0, 6.0, 12.0, 10.0] }]).is_err());
        Ok(())
    }

    #[test]
    fn the_classes_share_one_and_the_background_stays() -> Result<()> {
        let (branch, batch) = seen()?;
        let regions = [[0.0, 0.0, 5.0, 9.0], [3.0, 3.0, 16.0, 12.0]].map(|bounds| Region { image: 0, bounds });
        for row in branch.opinion(&branch.pixels(&batch, &regions)?, Mode::Evaluation)?.to_vec2::<f32>()? {
            let total: f32 = row[1..].iter().map(|log| log.exp()).sum();
            assert!(row.len() == 4 && row[0] == 0.0 && (total - 1.0).abs() < 1e-5, "{row:?}");
        }
        assert_eq!(branch.opinion(&branch.pixels(&batch, &[])?, Mode::Evaluation)?.dims(), [0, 4]);
        Ok(())
    }

    #[test]
    fn too_few_pixels_for_the_stages_are_refused() {
        let config = PixelConfig { side: 2, context: 1.0, stages: vec![vec![3]; 4], norm: batch_norm() };
        let error =
            PixelBranch::new(3, 4, &config, Store::new(0, DType::F32, &Device::Cpu).var_builder()).err().expect("2 pixels, 3 pools");
        assert!(error.to_string().contains("pool2"), "{error}");
        let one = PixelConfig { stages: vec![vec![3]], ..config };
        for (classes, context) in [(0, 1.0), (1, 1.0), (4, 0.0), (4, f32::NAN)] {
            let config = PixelConfig { context, ..one.clone() };
            assert!(PixelBranch::new(3, classes, &config, Store::new(0, DType::F32, &Device::Cpu).var_builder()).is_err());
        }
    }
}
