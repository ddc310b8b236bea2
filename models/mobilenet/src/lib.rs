//! MobileNetV3-Large (Howard et al., "Searching for MobileNetV3", ICCV 2019): blocks that widen, look at each channel by itself, weigh
//! the channels by what all of them hold, and narrow again.
//!
//! ```no_run
//! use candle_core::{Device, Tensor};
//! use cirio_mobilenet::MobileNetV3;
//! use cirio_nn::Weights;
//!
//! let weights = Weights::open("mobilenet_v3_large.safetensors")?; // torchvision's names
//! let network = MobileNetV3::large().layers().load(&weights, &Device::Cpu)?.for_inference()?;
//! let images = Tensor::zeros((1, 3, 224, 224), candle_core::DType::F32, &Device::Cpu)?; // ImageNet's mean and deviation
//! let class = network.forward(&images)?.argmax(1)?;
//! # Ok::<(), cirio_nn::Error>(())
//! ```
#![forbid(unsafe_code)]

use cirio_nn::init::{Fan, Init};
use cirio_nn::layer::{
    AdaptiveAvgPool2d, BatchNorm, Conv2d, Dropout, Flatten, HardSigmoid, HardSwish, Linear, Relu, batch_norm, conv, linear, residual,
    squeeze_excitation,
};
use cirio_nn::{Layers, Sequence};

/// The tensors, so that a program needs this crate alone.
pub use candle_core;
/// The layers and the files of weights, so that a program needs this crate alone.
pub use cirio_nn;

/// Maps behind the first convolution.
const STEM: usize = 16;

/// One inverted residual block (figure 4 of the paper): 1×1 filters that widen, filters that see a channel each, squeeze-and-excitation, 1×1
/// filters that narrow. Where it keeps size and channels, its input is added to its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The side of the filters that see a channel each.
    pub kernel: usize,
    /// Their number; where there are as many channels already, nothing is widened.
    pub wide: usize,
    /// Channels that the block puts out.
    pub outputs: usize,
    /// Whether it has squeeze-and-excitation.
    pub squeeze: bool,
    /// Its activations.
    pub activation: Activation,
    /// Pixels from one window to the next.
    pub stride: usize,
}

/// What is behind the norms of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0), in the first blocks.
    Relu,
    /// x · min(max(x/6 + 1/2, 0), 1).
    HardSwish,
}

/// MobileNetV3-Large: table 1 of the paper.
pub const LARGE: &[Block] = &[
    block(3, 16, 16, false, Activation::Relu, 1),
    block(3, 64, 24, false, Activation::Relu, 2),
    block(3, 72, 24, false, Activation::Relu, 1),
    block(5, 72, 40, true, Activation::Relu, 2),
    block(5, 120, 40, true, Activation::Relu, 1),
    block(5, 120, 40, true, Activation::Relu, 1),
    block(3, 240, 80, false, Activation::HardSwish, 2),
    block(3, 200, 80, false, Activation::HardSwish, 1),
    block(3, 184, 80, false, Activation::HardSwish, 1),
    block(3, 184, 80, false, Activation::HardSwish, 1),
    block(3, 480, 112, true, Activation::HardSwish, 1),
    block(3, 672, 112, true, Activation::HardSwish, 1),
    block(5, 672, 160, true, Activation::HardSwish, 2),
    block(5, 960, 160, true, Activation::HardSwish, 1),
    block(5, 960, 160, true, Activation::HardSwish, 1),
];

const fn block(kernel: usize, wide: usize, outputs: usize, squeeze: bool, activation: Activation, stride: usize) -> Block {
    Block { kernel, wide, outputs, squeeze, activation, stride }
}

/// A network of MobileNetV3's kind for images of 3×224×224.
#[derive(Clone, Debug, PartialEq)]
pub struct MobileNetV3 {
    /// The blocks between the first convolution, of 16 filters, and the last, of six times as many as the last block puts out.
    pub blocks: &'static [Block],
    /// Features of the classifier.
    pub features: usize,
    /// The normalisation behind each convolution: its eps, and whether its statistics are frozen, as detectors have them.
    pub norm: BatchNorm,
    /// K, the number of classes.
    pub classes: usize,
}

impl MobileNetV3 {
    /// MobileNetV3-Large for ImageNet, 5,483,032 parameters.
    pub fn large() -> Self {
        Self { blocks: LARGE, features: 1280, norm: BatchNorm { eps: 1e-3, momentum: 0.01, ..batch_norm() }, classes: 1000 }
    }

    /// The list of layers, with torchvision's names.
    ///
    /// Initial values are torchvision's as well: convolutions by He et al. (2015) for their outputs, linear layers normal with deviation 0.01,
    /// biases 0.
    pub fn layers(&self) -> Layers {
        let features = self.features();
        Layers::new(features.input())
            .then_all("features.", features.sequence())
            .then("avgpool", AdaptiveAvgPool2d([1; 2]))
            .then("flatten", Flatten)
            .then("classifier.0", fc(self.features))
            .then("classifier.1", HardSwish)
            .then("classifier.2", Dropout(0.2))
            .then("classifier.3", fc(self.classes))
    }

    /// All but the classifier, named `0` … `16` as in torchvision's detectors. The taps `2`, `4`, `7`, `13` and `16` of the large one are maps
    /// of a quarter to a thirty-second of the image's sides, the last two of them of the same size.
    pub fn features(&self) -> Layers {
        let stem =
            Sequence::new().then("0", Conv2d { stride: [2; 2], ..filters(STEM, 3) }).then("1", self.norm.clone()).then("2", HardSwish);
        let (mut layers, mut inputs) = (Layers::new([3, 224, 224]).then_all("0.", &stem), STEM);
        for (index, block) in (1..).zip(self.blocks) {
            let body = self.body(block, inputs);
            layers = match block.stride == 1 && block.outputs == inputs {
                true => layers.then(index.to_string(), residual(body)),
                false => layers.then_all(&format!("{index}."), &body),
            };
            inputs = block.outputs;
        }
        let last = Sequence::new().then("0", filters(6 * inputs, 1)).then("1", self.norm.clone()).then("2", HardSwish);
        layers.then_all(&format!("{}.", self.blocks.len() + 1), &last)
    }

    /// The layers of a block for maps of so many channels: `block.K.…`, where K counts what there is.
    fn body(&self, block: &Block, inputs: usize) -> Sequence {
        let &Block { kernel, wide, outputs, squeeze, activation, stride } = block;
        let convolution = |layer: Conv2d, behind: Option<Activation>| {
            let layers = Sequence::new().then("0", layer).then("1", self.norm.clone());
            match behind {
                Some(Activation::Relu) => layers.then("2", Relu),
                Some(Activation::HardSwish) => layers.then("2", HardSwish),
                None => layers,
            }
        };
        let mut body = Sequence::new();
        let mut index = 0;
        let mut name = || {
            index += 1;
            format!("block.{}", index - 1)
        };
        if wide != inputs {
            body = body.then_all(&(name() + "."), &convolution(filters(wide, 1), Some(activation)));
        }
        let each = Conv2d { stride: [stride; 2], groups: wide, ..filters(wide, kernel) };
        body = body.then_all(&(name() + "."), &convolution(each, Some(activation)));
        if squeeze {
            body = body.then(name(), squeeze_excitation(wide, squeezed(wide), HardSigmoid));
        }
        body.then_all(&(name() + "."), &convolution(filters(outputs, 1), None))
    }
}

/// A quarter of the channels, rounded to a multiple of 8, but not down by more than a tenth.
fn squeezed(channels: usize) -> usize {
    let quarter = channels / 4;
    let rounded = ((quarter + 4) / 8 * 8).max(8);
    if 10 * rounded < 9 * quarter { rounded + 8 } else { rounded }
}

/// Filters that keep the size, without a bias: the normalisation behind them has one.
fn filters(count: usize, kernel: usize) -> Conv2d {
    Conv2d { padding: [kernel / 2; 2], bias: None, init: Init::KaimingNormal(Fan::Out), ..conv(count, kernel) }
}

fn fc(outputs: usize) -> Linear {
    Linear { init: Init::Normal(0.01), bias: Some(Init::Constant(0.0)), ..linear(outputs) }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use cirio_nn::Store;

    use super::*;

    #[test]
    fn parameters_and_multiply_adds_are_as_published() -> cirio_nn::Result<()> {
        let table = MobileNetV3::large().layers().table()?;
        assert_eq!(table.parameters(), 5_483_032);
        assert_eq!(table.macs(), 216_589_760); // the paper says 219 million
        assert_eq!([16, 64, 72, 120, 480, 672, 960].map(squeezed), [8, 16, 24, 32, 120, 168, 240]);
        Ok(())
    }

    #[test]
    fn the_taps_of_the_detectors() -> cirio_nn::Result<()> {
        let stack = MobileNetV3::large().features().build(Store::new(0, DType::F32, &Device::Cpu).var_builder())?;
        let images = Tensor::zeros((1, 3, 64, 96), DType::F32, &Device::Cpu)?;
        let taps = stack.forward_taps(&images, &["2", "4", "7", "13", "16"])?;
        let shapes: Vec<&[usize]> = taps.iter().map(Tensor::dims).collect();
        assert_eq!(shapes, [[1, 24, 16, 24], [1, 40, 8, 12], [1, 80, 4, 6], [1, 160, 2, 3], [1, 960, 2, 3]]);
        Ok(())
    }
}
