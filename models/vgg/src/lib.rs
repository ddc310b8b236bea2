//! VGG (Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015) in the four
//! depths that were published, and its forms for pictures of 32×32.
//!
//! Blocks of 3×3 convolutions, a 2×2 max pool behind each block, and linear layers at the end.
//!
//! ```no_run
//! use candle_core::{Device, Tensor};
//! use cirio_nn::Weights;
//! use cirio_vgg::Vgg;
//!
//! let weights = Weights::open("vgg16_bn.safetensors")?; // torchvision's names
//! let network = Vgg::vgg16_bn().layers().load(&weights, &Device::Cpu)?.for_inference()?;
//! let images = Tensor::zeros((1, 3, 224, 224), candle_core::DType::F32, &Device::Cpu)?; // ImageNet's mean and deviation
//! let class = network.forward(&images)?.argmax(1)?;
//! # Ok::<(), cirio_nn::Error>(())
//! ```
#![forbid(unsafe_code)]

use cirio_nn::Layers;
use cirio_nn::init::{Fan, Init};
use cirio_nn::layer::{AdaptiveAvgPool2d, Conv2d, Dropout, Flatten, Layer, Linear, Relu, batch_norm, conv, linear, max_pool};

/// The tensors, so that a program needs this crate alone.
pub use candle_core;
/// The layers and the files of weights, so that a program needs this crate alone.
pub use cirio_nn;

/// The filters of each convolution, block by block.
pub type Blocks = &'static [&'static [usize]];

/// Configuration A: 8 convolutions.
pub const A: Blocks = &[&[64], &[128], &[256, 256], &[512, 512], &[512, 512]];
/// Configuration B: 10 convolutions.
pub const B: Blocks = &[&[64, 64], &[128, 128], &[256, 256], &[512, 512], &[512, 512]];
/// Configuration D: 13 convolutions.
pub const D: Blocks = &[&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];
/// Configuration E: 16 convolutions.
pub const E: Blocks = &[&[64, 64], &[128, 128], &[256, 256, 256, 256], &[512, 512, 512, 512], &[512, 512, 512, 512]];

/// What is behind the last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// As published: maps brought to 7×7, linear layers of 4096, 4096 and K, with dropout.
    Published,
    /// The mean of each map, then one linear layer.
    Mean,
    /// One linear layer on all values.
    Flat,
}

/// A network of VGG's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vgg {
    /// The filters of each convolution, block by block.
    pub blocks: Blocks,
    /// Whether batch norm is between a convolution and its ReLU.
    pub batch_norm: bool,
    /// What is behind the last block.
    pub head: Head,
    /// `[C, H, W]` of the images.
    pub input: [usize; 3],
    /// K, the number of classes.
    pub classes: usize,
}

impl Vgg {
    /// For ImageNet: 224×224, 1000 classes.
    const fn imagenet(blocks: Blocks, batch_norm: bool) -> Self {
        Self { blocks, batch_norm, head: Head::Published, input: [3, 224, 224], classes: 1000 }
    }

    /// VGG-11, 132,863,336 parameters.
    pub const fn vgg11() -> Self {
        Self::imagenet(A, false)
    }

    /// VGG-11 with batch norm.
    pub const fn vgg11_bn() -> Self {
        Self::imagenet(A, true)
    }

    /// VGG-13, 133,047,848 parameters.
    pub const fn vgg13() -> Self {
        Self::imagenet(B, false)
    }

    /// VGG-13 with batch norm.
    pub const fn vgg13_bn() -> Self {
        Self::imagenet(B, true)
    }

    /// VGG-16, 138,357,544 parameters.
    pub const fn vgg16() -> Self {
        Self::imagenet(D, false)
    }

    /// VGG-16 with batch norm.
    pub const fn vgg16_bn() -> Self {
        Self::imagenet(D, true)
    }

    /// VGG-19, 143,667,240 parameters.
    pub const fn vgg19() -> Self {
        Self::imagenet(E, false)
    }

    /// VGG-19 with batch norm.
    pub const fn vgg19_bn() -> Self {
        Self::imagenet(E, true)
    }

    /// VGG-16's convolutions with batch norm for pictures of 32×32 and ten classes: five pools leave one pixel, and one linear
    /// layer is behind it. 14,728,266 parameters.
    pub const fn vgg16_bn_cifar() -> Self {
        Self { blocks: D, batch_norm: true, head: Head::Mean, input: [3, 32, 32], classes: 10 }
    }

    /// A small one for pictures of 32×32 and ten classes: eight convolutions of 32 to 256 filters with batch norm.
    /// 1,176,746 parameters.
    pub const fn small() -> Self {
        const BLOCKS: Blocks = &[&[32, 32], &[64, 64], &[128, 128], &[256, 256]];
        Self { blocks: BLOCKS, ..Self::vgg16_bn_cifar() }
    }

    /// The network of Stanford's course CS231n for CIFAR-10: \[conv-relu-conv-relu-pool\]×3-fc-softmax with ten filters
    /// everywhere, 17 layers, 6,440 parameters. The softmax is in the loss and in what reads the logits.
    pub const fn cs231n_cifar() -> Self {
        const BLOCKS: Blocks = &[&[10, 10], &[10, 10], &[10, 10]];
        Self { blocks: BLOCKS, batch_norm: false, head: Head::Flat, input: [3, 32, 32], classes: 10 }
    }

    /// The list of layers. Names are torchvision's: `features.N` counts convolutions, batch norms, ReLUs and pools alike.
    ///
    /// Initial values are torchvision's as well: convolutions by He et al. (2015) for their outputs, linear layers normal with
    /// deviation 0.01, biases 0.
    pub fn layers(&self) -> Layers {
        let features = self.features();
        match self.head {
            Head::Published => features
                .then("avgpool", AdaptiveAvgPool2d([7; 2]))
                .then("flatten", Flatten)
                .then("classifier.0", fc(4096))
                .then("classifier.1", Relu)
                .then("classifier.2", Dropout(0.5))
                .then("classifier.3", fc(4096))
                .then("classifier.4", Relu)
                .then("classifier.5", Dropout(0.5))
                .then("classifier.6", fc(self.classes)),
            Head::Mean => features.then("avgpool", AdaptiveAvgPool2d([1; 2])).then("flatten", Flatten).then("classifier", fc(self.classes)),
            Head::Flat => features.then("flatten", Flatten).then("classifier", fc(self.classes)),
        }
    }

    /// The convolutions alone, with their pools: (N, C, H, W) to maps.
    pub fn features(&self) -> Layers {
        let body = self.body();
        let pool = format!("features.{}", body.sequence().len());
        Layers::new(self.input).then_all("features.", body.sequence()).then(pool, max_pool(2))
    }

    /// The features without the last pool, each named by its number alone: below a detector. The last layer of VGG-16, `29`, is the ReLU of
    /// conv5_3; its maps have a sixteenth of the image's sides.
    pub fn body(&self) -> Layers {
        let next = |layers: Layers, layer: Conv2d| {
            let layers = numbered(layers, layer);
            numbered(if self.batch_norm { numbered(layers, batch_norm()) } else { layers }, Relu)
        };
        self.blocks.iter().enumerate().fold(Layers::new(self.input), |layers, (index, block)| {
            let layers = if index > 0 { numbered(layers, max_pool(2)) } else { layers };
            block.iter().fold(layers, |layers, &filters| next(layers, conv3(filters)))
        })
    }
}

/// Adds a layer that is named by its place.
fn numbered(layers: Layers, layer: impl Layer) -> Layers {
    let place = layers.sequence().len().to_string();
    layers.then(place, layer)
}

fn conv3(filters: usize) -> Conv2d {
    Conv2d { padding: [1; 2], init: Init::KaimingNormal(Fan::Out), bias: Some(Init::Constant(0.0)), ..conv(filters, 3) }
}

fn fc(outputs: usize) -> Linear {
    Linear { init: Init::Normal(0.01), bias: Some(Init::Constant(0.0)), ..linear(outputs) }
}

#[cfg(test)]
mod tests {
    use cirio_nn::layer::Softmax;

    use super::*;

    /// Published numbers; with batch norm there are two more a filter.
    #[test]
    fn parameters_are_as_published() -> cirio_nn::Result<()> {
        for (network, parameters) in [
            (Vgg::vgg11(), 132_863_336),
            (Vgg::vgg13(), 133_047_848),
            (Vgg::vgg16(), 138_357_544),
            (Vgg::vgg19(), 143_667_240),
            (Vgg::vgg11_bn(), 132_868_840),
            (Vgg::vgg13_bn(), 133_053_736),
            (Vgg::vgg16_bn(), 138_365_992),
            (Vgg::vgg19_bn(), 143_678_248),
            (Vgg::vgg16_bn_cifar(), 14_728_266),
            (Vgg::cs231n_cifar(), 6_440),
        ] {
            assert_eq!(network.layers().table()?.parameters(), parameters, "{network:?}");
        }
        assert!(Vgg::small().layers().table()?.parameters() <= 1_200_000);
        Ok(())
    }

    /// 280 + 5·910 + 1,610 parameters in 3·5 + 2 layers, 32 → 16 → 8 → 4 pixels a side.
    #[test]
    fn the_courses_network() -> cirio_nn::Result<()> {
        let table = Vgg::cs231n_cifar().layers().then("softmax", Softmax).table()?;
        let layers: Vec<_> = table.rows.iter().filter(|row| row.kind != "flatten").collect();
        assert_eq!(layers.len(), 17);
        let parameters: Vec<u64> = layers.iter().map(|row| row.parameters).filter(|&count| count > 0).collect();
        assert_eq!(parameters, [280, 910, 910, 910, 910, 910, 1_610]);
        let pools: Vec<String> = layers.iter().filter(|row| row.kind.contains("pool")).map(|row| row.output.to_string()).collect();
        assert_eq!(pools, ["10×16×16", "10×8×8", "10×4×4"]);
        Ok(())
    }

    #[test]
    fn the_body_of_a_detector_ends_with_conv5_3() -> cirio_nn::Result<()> {
        let body = Vgg::vgg16().body().with_input([3, 64, 96]);
        assert_eq!(body.sequence().iter().last().map(|(name, layer)| (name, layer.kind())), Some(("29", "ReLU".to_owned())));
        assert_eq!(body.output()?.dims(), [512, 4, 6]);
        Ok(())
    }

    #[test]
    fn a_picture_too_small_is_an_error_with_the_layers_name() {
        let error = Vgg::vgg11().layers().with_input([3, 16, 16]).table().unwrap_err().to_string();
        assert!(error.contains("`features.20` (max pool 2×2)"), "{error}");
    }
}
