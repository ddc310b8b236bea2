//! AlexNet (Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks", NIPS 2012),
//! as in the paper and in one tower (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014).
//!
//! ```no_run
//! use candle_core::{Device, Tensor};
//! use cirio_alexnet::AlexNet;
//! use cirio_nn::Weights;
//!
//! let weights = Weights::open("alexnet.safetensors")?; // torchvision's names
//! let network = AlexNet::one_tower().layers().load(&weights, &Device::Cpu)?.for_inference()?;
//! let images = Tensor::zeros((1, 3, 224, 224), candle_core::DType::F32, &Device::Cpu)?; // ImageNet's mean and deviation
//! let class = network.forward(&images)?.argmax(1)?;
//! # Ok::<(), cirio_nn::Error>(())
//! ```
#![forbid(unsafe_code)]

use cirio_nn::Layers;
use cirio_nn::init::Init;
use cirio_nn::layer::{AdaptiveAvgPool2d, Conv2d, Dropout, Flatten, Linear, Lrn, MaxPool2d, Relu, conv, linear, max_pool};
use cirio_nn::ops::{LrnConfig, Pool2dConfig};

/// The tensors, so that a program needs this crate alone.
pub use candle_core;
/// The layers and the files of weights, so that a program needs this crate alone.
pub use cirio_nn;

/// The two forms of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As in the paper: two groups, response normalisation, the paper's initial values.
    Paper,
    /// In one tower, without normalisation.
    OneTower,
}

/// AlexNet for images of 3×224×224.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlexNet {
    /// Which of the two forms.
    pub form: Form,
    /// K, the number of classes.
    pub classes: usize,
}

impl AlexNet {
    /// As in the paper, sections 3 and 5: two groups as on its two GPUs, response normalisation, overlapping pools, initial
    /// values; 60,965,224 parameters. Weights: `conv1` … `conv5`, `fc6`, `fc7`, `fc8`.
    ///
    /// The paper says that its pictures have 224×224 pixels; only with two rows of zeros on each side does its first layer
    /// give the 55×55 positions that it prints.
    pub const fn paper() -> Self {
        Self { form: Form::Paper, classes: 1000 }
    }

    /// In one tower, as torchvision has it under the name `alexnet`; 61,100,840 parameters, torchvision's names.
    pub const fn one_tower() -> Self {
        Self { form: Form::OneTower, classes: 1000 }
    }

    /// The list of layers.
    pub fn layers(&self) -> Layers {
        match self.form {
            Form::Paper => self.paper_layers(),
            Form::OneTower => self.one_tower_layers(),
        }
    }

    fn paper_layers(&self) -> Layers {
        Layers::new([3, 224, 224])
            .count_neurons()
            .note("conv1: the paper prints 253,440 neurons; its own 96 maps of 55×55 are 290,400. The other counts are as printed.")
            .then("conv1", Conv2d { stride: [4; 2], padding: [2; 2], ..normal(96, 11, 0.0) })
            .then("relu1", Relu)
            .then("norm1", Lrn(LrnConfig::default()))
            .then("pool1", overlapping_pool())
            .then("conv2", Conv2d { padding: [2; 2], groups: 2, ..normal(256, 5, 1.0) })
            .then("relu2", Relu)
            .then("norm2", Lrn(LrnConfig::default()))
            .then("pool2", overlapping_pool())
            .then("conv3", Conv2d { padding: [1; 2], ..normal(384, 3, 0.0) })
            .then("relu3", Relu)
            .then("conv4", Conv2d { padding: [1; 2], groups: 2, ..normal(384, 3, 1.0) })
            .then("relu4", Relu)
            .then("conv5", Conv2d { padding: [1; 2], groups: 2, ..normal(256, 3, 1.0) })
            .then("relu5", Relu)
            .then("pool5", overlapping_pool())
            .then("flatten", Flatten)
            .then("drop6", Dropout(0.5))
            .then("fc6", normal_linear(4096, 1.0))
            .then("relu6", Relu)
            .then("drop7", Dropout(0.5))
            .then("fc7", normal_linear(4096, 1.0))
            .then("relu7", Relu)
            .then("fc8", normal_linear(self.classes, 0.0))
    }

    fn one_tower_layers(&self) -> Layers {
        Layers::new([3, 224, 224])
            .then("features.0", Conv2d { stride: [4; 2], padding: [2; 2], ..conv(64, 11) })
            .then("features.1", Relu)
            .then("features.2", overlapping_pool())
            .then("features.3", Conv2d { padding: [2; 2], ..conv(192, 5) })
            .then("features.4", Relu)
            .then("features.5", overlapping_pool())
            .then("features.6", Conv2d { padding: [1; 2], ..conv(384, 3) })
            .then("features.7", Relu)
            .then("features.8", Conv2d { padding: [1; 2], ..conv(256, 3) })
            .then("features.9", Relu)
            .then("features.10", Conv2d { padding: [1; 2], ..conv(256, 3) })
            .then("features.11", Relu)
            .then("features.12", overlapping_pool())
            .then("avgpool", AdaptiveAvgPool2d([6; 2]))
            .then("flatten", Flatten)
            .then("classifier.0", Dropout(0.5))
            .then("classifier.1", linear(4096))
            .then("classifier.2", Relu)
            .then("classifier.3", Dropout(0.5))
            .then("classifier.4", linear(4096))
            .then("classifier.5", Relu)
            .then("classifier.6", linear(self.classes))
    }
}

/// 3×3 with stride 2 (section 3.4).
fn overlapping_pool() -> MaxPool2d {
    MaxPool2d(Pool2dConfig { stride: [2; 2], ..max_pool(3).0 })
}

/// Weights normal with deviation 0.01, a bias of 0 or 1 (section 5).
fn normal(filters: usize, kernel: usize, bias: f64) -> Conv2d {
    Conv2d { init: Init::Normal(0.01), bias: Some(Init::Constant(bias)), ..conv(filters, kernel) }
}

/// As [`normal`].
fn normal_linear(outputs: usize, bias: f64) -> Linear {
    Linear { init: Init::Normal(0.01), bias: Some(Init::Constant(bias)), ..linear(outputs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_published() -> cirio_nn::Result<()> {
        assert_eq!(AlexNet::paper().layers().table()?.parameters(), 60_965_224);
        assert_eq!(AlexNet::one_tower().layers().table()?.parameters(), 61_100_840);
        Ok(())
    }

    /// Section 3.5: 253,440–186,624–64,896–64,896–43,264–4096–4096–1000 neurons, the first of which is 55·55·96 = 290,400.
    #[test]
    fn the_papers_neurons() -> cirio_nn::Result<()> {
        let table = AlexNet::paper().layers().table()?;
        let neurons: Vec<usize> = table.rows.iter().filter(|row| row.parameters > 0).map(|row| row.output.len()).collect();
        assert_eq!(neurons, [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]);
        let text = table.to_string();
        assert!(text.contains("186,624") && text.contains("the paper prints 253,440 neurons"), "{text}");
        Ok(())
    }

    #[test]
    fn a_picture_too_small_is_an_error_with_the_layers_name() -> cirio_nn::Result<()> {
        AlexNet::one_tower().layers().with_input([3, 63, 63]).table()?;
        let error = AlexNet::one_tower().layers().with_input([3, 62, 62]).table().unwrap_err().to_string();
        assert!(error.contains("`features.12` (max pool 3×3, stride 2)"), "{error}");
        Ok(())
    }
}
