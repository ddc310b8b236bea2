//! ResNet (He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016) with 18, 34, 50 and 101 layers.
//!
//! The deeper ones have their stride in the 3×3 convolution, as torchvision and most of today's weights do (version 1.5); the
//! paper has it in the 1×1 convolution before.
//!
//! ```no_run
//! use candle_core::{Device, Tensor};
//! use cirio_nn::Weights;
//! use cirio_resnet::ResNet;
//!
//! let weights = Weights::open("resnet50.safetensors")?; // torchvision's names
//! let network = ResNet::resnet50().layers().load(&weights, &Device::Cpu)?.for_inference()?;
//! let images = Tensor::zeros((1, 3, 224, 224), candle_core::DType::F32, &Device::Cpu)?; // ImageNet's mean and deviation
//! let class = network.forward(&images)?.argmax(1)?;
//! # Ok::<(), cirio_nn::Error>(())
//! ```
#![forbid(unsafe_code)]

use cirio_nn::init::{Fan, Init};
use cirio_nn::layer::{AdaptiveAvgPool2d, BatchNorm, Conv2d, Flatten, MaxPool2d, Relu, Residual, batch_norm, conv, linear, max_pool};
use cirio_nn::ops::Pool2dConfig;
use cirio_nn::{Layers, Sequence};

/// The tensors, so that a program needs this crate alone.
pub use candle_core;
/// The layers and the files of weights, so that a program needs this crate alone.
pub use cirio_nn;

/// The usual filters of the four stages.
pub const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// The two kinds of residual blocks (figure 5 of the paper).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 and 1×1; the last has four times the filters.
    Bottleneck,
}

impl Block {
    /// Maps that a block of this width puts out.
    fn outputs(self, width: usize) -> usize {
        match self {
            Self::Basic => width,
            Self::Bottleneck => 4 * width,
        }
    }
}

/// A residual network for images of 3×224×224.
#[derive(Clone, Debug, PartialEq)]
pub struct ResNet {
    /// The kind of its blocks.
    pub block: Block,
    /// The number of blocks in each of the four stages.
    pub counts: [usize; 4],
    /// The filters of the four stages, the first as many as the stem; a bottleneck puts out four times as many.
    pub widths: [usize; 4],
    /// The normalisation behind each convolution: its eps, and whether its statistics are frozen, as detectors have them.
    pub norm: BatchNorm,
    /// K, the number of classes.
    pub classes: usize,
}

impl ResNet {
    /// For ImageNet, with batch norm.
    fn imagenet(block: Block, counts: [usize; 4]) -> Self {
        Self { block, counts, widths: WIDTHS, norm: batch_norm(), classes: 1000 }
    }

    /// ResNet-18, 11,689,512 parameters.
    pub fn resnet18() -> Self {
        Self::imagenet(Block::Basic, [2, 2, 2, 2])
    }

    /// ResNet-34, 21,797,672 parameters.
    pub fn resnet34() -> Self {
        Self::imagenet(Block::Basic, [3, 4, 6, 3])
    }

    /// ResNet-50, 25,557,032 parameters.
    pub fn resnet50() -> Self {
        Self::imagenet(Block::Bottleneck, [3, 4, 6, 3])
    }

    /// ResNet-101, 44,549,160 parameters.
    pub fn resnet101() -> Self {
        Self::imagenet(Block::Bottleneck, [3, 4, 23, 3])
    }

    /// The list of layers, with torchvision's names.
    ///
    /// Initial values are torchvision's as well: convolutions by He et al. (2015) for their outputs.
    pub fn layers(&self) -> Layers {
        self.features().then("avgpool", AdaptiveAvgPool2d([1; 2])).then("flatten", Flatten).then("fc", linear(self.classes))
    }

    /// All but the classifier. The taps `layer1` … `layer4` are maps of a quarter to a thirty-second of the image's sides, with
    /// 64 to 512 channels, or 256 to 2048 of bottlenecks: C2 … C5 of the detectors.
    pub fn features(&self) -> Layers {
        let stem = Layers::new([3, 224, 224])
            .then("conv1", Conv2d { stride: [2; 2], padding: [3; 2], ..filters(self.widths[0], 7) })
            .then("bn1", self.norm.clone())
            .then("relu", Relu)
            .then("maxpool", MaxPool2d(Pool2dConfig { stride: [2; 2], padding: [1; 2], ..max_pool(3).0 }));
        let stages = self.widths.into_iter().zip(self.counts).zip(1..);
        let blocks = stages.flat_map(|((width, count), stage)| (0..count).map(move |index| (stage, width, index)));
        blocks.fold(stem, |layers, (stage, width, index)| {
            let name = format!("layer{stage}.{index}");
            layers.then(&name, self.residual(stage, width, index)).then(format!("{name}.relu"), Relu)
        })
    }

    /// One block. The first of a stage halves the maps, but for stage 1, and brings the shortcut to its own shape.
    fn residual(&self, stage: usize, width: usize, index: usize) -> Residual {
        let first = index == 0;
        let stride = [if first && stage > 1 { 2 } else { 1 }; 2];
        let outputs = self.block.outputs(width);
        let body = match self.block {
            Block::Basic => Sequence::new()
                .then("conv1", Conv2d { stride, padding: [1; 2], ..filters(width, 3) })
                .then("bn1", self.norm.clone())
                .then("relu", Relu)
                .then("conv2", Conv2d { padding: [1; 2], ..filters(width, 3) })
                .then("bn2", self.norm.clone()),
            Block::Bottleneck => Sequence::new()
                .then("conv1", filters(width, 1))
                .then("bn1", self.norm.clone())
                .then("relu1", Relu)
                .then("conv2", Conv2d { stride, padding: [1; 2], ..filters(width, 3) })
                .then("bn2", self.norm.clone())
                .then("relu2", Relu)
                .then("conv3", filters(outputs, 1))
                .then("bn3", self.norm.clone()),
        };
        // The stem puts out as many maps as the basic blocks of stage 1 have.
        let shortcut = match first && !(stage == 1 && outputs == self.widths[0]) {
            true => Sequence::new().then("downsample.0", Conv2d { stride, ..filters(outputs, 1) }).then("downsample.1", self.norm.clone()),
            false => Sequence::new(),
        };
        Residual { body, shortcut }
    }
}

/// Filters without a bias: the normalisation behind them has one.
fn filters(count: usize, kernel: usize) -> Conv2d {
    Conv2d { bias: None, init: Init::KaimingNormal(Fan::Out), ..conv(count, kernel) }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use cirio_nn::layer::Statistics;
    use cirio_nn::{ParameterKind, Store};

    use super::*;

    #[test]
    fn parameters_and_multiply_adds_are_as_published() -> cirio_nn::Result<()> {
        for (network, parameters, giga) in [
            (ResNet::resnet18(), 11_689_512, 1.814),
            (ResNet::resnet34(), 21_797_672, 3.664),
            (ResNet::resnet50(), 25_557_032, 4.089),
            (ResNet::resnet101(), 44_549_160, 7.801),
        ] {
            let table = network.layers().table()?;
            assert_eq!(table.parameters(), parameters, "{network:?}");
            assert!((table.macs() as f64 / 1e9 - giga).abs() < 0.0006, "{network:?}: {}", table.macs());
        }
        Ok(())
    }

    #[test]
    fn the_taps_of_the_detectors() -> cirio_nn::Result<()> {
        let frozen = BatchNorm { eps: 0.0, statistics: Statistics::Frozen, ..batch_norm() };
        let network = ResNet { norm: frozen, ..ResNet::resnet18() };
        let store = Store::new(0, DType::F32, &Device::Cpu);
        let stack = network.features().build(store.var_builder())?;
        assert!(stack.parameters().iter().all(|p| !p.name.contains("num_batches")), "frozen norms count no batches");
        assert!(stack.parameters().iter().filter(|p| p.name.contains("bn")).all(|p| p.kind == ParameterKind::Buffer));
        let images = Tensor::zeros((1, 3, 64, 96), DType::F32, &Device::Cpu)?;
        let taps = stack.forward_taps(&images, &["layer1", "layer2", "layer3", "layer4"])?;
        let shapes: Vec<&[usize]> = taps.iter().map(Tensor::dims).collect();
        assert_eq!(shapes, [[1, 64, 16, 24], [1, 128, 8, 12], [1, 256, 4, 6], [1, 512, 2, 3]]);
        Ok(())
    }
}
