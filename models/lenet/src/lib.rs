//! LeNet-5 (LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", Proceedings of
//! the IEEE, 1998), as in the paper and as it is written today.
//!
//! ```no_run
//! use candle_core::{Device, Tensor};
//! use cirio_lenet::LeNet5;
//! use cirio_nn::Weights;
//!
//! let weights = Weights::open("weights/lenet5-fashion-mnist.safetensors")?;
//! let network = LeNet5::modern().layers().load(&weights, &Device::Cpu)?;
//! let pixels = vec![0f32; 28 * 28]; // 0 = black … 1 = white
//! let image = LeNet5::prepare(&Tensor::from_vec(pixels, (1, 1, 28, 28), &Device::Cpu)?)?;
//! let class = network.forward(&image)?.argmax(1)?;
//! # Ok::<(), cirio_nn::Error>(())
//! ```
#![forbid(unsafe_code)]

mod partial_conv;
mod rbf;
mod subsample;

use candle_core::{Result, Tensor};
use cirio_nn::Layers;
use cirio_nn::init::Init;
use cirio_nn::layer::{Conv2d, Flatten, Linear, Relu, ScaledTanh, conv, linear, max_pool};

/// The tensors, so that a program needs this crate alone.
pub use candle_core;
/// The layers and the files of weights, so that a program needs this crate alone.
pub use cirio_nn;

pub use partial_conv::PartialConv;
pub use rbf::Rbf;
pub use subsample::Subsample;

/// Maps of S2 that feed each map of C3 (the paper's table I).
pub const C3_TABLE: [&[usize]; 16] = [
    &[0, 1, 2],
    &[1, 2, 3],
    &[2, 3, 4],
    &[3, 4, 5],
    &[4, 5, 0],
    &[5, 0, 1],
    &[0, 1, 2, 3],
    &[1, 2, 3, 4],
    &[2, 3, 4, 5],
    &[3, 4, 5, 0],
    &[4, 5, 0, 1],
    &[5, 0, 1, 2],
    &[0, 1, 3, 4],
    &[1, 2, 4, 5],
    &[0, 2, 3, 5],
    &[0, 1, 2, 3, 4, 5],
];

/// The two forms of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is written today.
    Modern,
    /// As in the paper.
    Paper,
}

/// LeNet-5 for images of C×32×32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeNet5 {
    /// Which of the two forms.
    pub form: Form,
    /// C, channels of the input; 1 for grey.
    pub channels: usize,
    /// K, the number of classes; the paper's form has a bitmap for ten.
    pub classes: usize,
}

impl LeNet5 {
    /// As it is written today: ReLU, max pooling, every map of C3 connected to all of S2, a linear output; 61,706
    /// parameters. Weights: `conv1`, `conv2`, `fc1`, `fc2`, `fc3`.
    pub fn modern() -> Self {
        Self { form: Form::Modern, channels: 1, classes: 10 }
    }

    /// As in the paper, section II.B: trainable subsampling, the partial table of C3, squashing by 1.7159·tanh(2x/3), and
    /// Euclidean RBF units on fixed bitmaps; 60,000 trainable parameters, 340,908 connections.
    ///
    /// The logits are the negated penalties of the RBF units. Train it with
    /// [`Loss::MaximumPosterior`](cirio_nn::loss::Loss::MaximumPosterior). Weights: `c1`, `s2`, `c3`, `s4`, `c5`, `f6`.
    pub fn paper() -> Self {
        Self { form: Form::Paper, ..Self::modern() }
    }

    /// The list of layers.
    pub fn layers(&self) -> Layers {
        match self.form {
            Form::Modern => self.modern_layers(),
            Form::Paper => self.paper_layers(),
        }
    }

    /// From pixels in 0 … 1, (N, C, 28, 28), to what the network takes, (N, C, 32, 32): the picture in the middle, the
    /// background at -0.1 and the foreground at 1.175, so that the mean is about 0 and the variance about 1 (section II.B).
    pub fn prepare(pixels: &Tensor) -> Result<Tensor> {
        pixels.pad_with_zeros(2, 2, 2)?.pad_with_zeros(3, 2, 2)?.affine(1.275, -0.1)
    }

    fn modern_layers(&self) -> Layers {
        Layers::new([self.channels, 32, 32])
            .then("conv1", conv(6, 5))
            .then("relu1", Relu)
            .then("pool1", max_pool(2))
            .then("conv2", conv(16, 5))
            .then("relu2", Relu)
            .then("pool2", max_pool(2))
            .then("flatten", Flatten)
            .then("fc1", linear(120))
            .then("relu3", Relu)
            .then("fc2", linear(84))
            .then("relu4", Relu)
            .then("fc3", linear(self.classes))
    }

    fn paper_layers(&self) -> Layers {
        let conv = |maps| Conv2d { init: Init::LeCun, bias: Some(Init::LeCun), ..conv(maps, 5) };
        Layers::new([self.channels, 32, 32])
            .count_connections()
            .then("c1", conv(6))
            .then("squash1", ScaledTanh)
            .then("s2", Subsample)
            .then("squash2", ScaledTanh)
            .then("c3", PartialConv { kernel: 5, table: &C3_TABLE })
            .then("squash3", ScaledTanh)
            .then("s4", Subsample)
            .then("squash4", ScaledTanh)
            .then("c5", conv(120))
            .then("squash5", ScaledTanh)
            .then("flatten", Flatten)
            .then("f6", Linear { init: Init::LeCun, bias: Some(Init::LeCun), ..linear(84) })
            .then("squash6", ScaledTanh)
            .then("output", Rbf { classes: self.classes })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, IndexOp};
    use cirio_nn::Store;

    use super::*;

    /// Output, trainable numbers and connections of each layer, from section II.B of the paper.
    #[test]
    fn every_number_of_the_paper() -> cirio_nn::Result<()> {
        let table = LeNet5::paper().layers().table()?;
        for (name, output, parameters, connections) in [
            ("c1", "6×28×28", 156, 122_304),
            ("s2", "6×14×14", 12, 5_880),
            ("c3", "16×10×10", 1_516, 151_600),
            ("s4", "16×5×5", 32, 2_000),
            ("c5", "120×1×1", 48_120, 48_120),
            ("f6", "84", 10_164, 10_164),
            ("output", "10", 0, 840),
        ] {
            let row = table.rows.iter().find(|row| row.name == name).expect("a row");
            assert_eq!(
                (row.output.to_string().as_str(), row.parameters, row.connections),
                (output, parameters, Some(connections)),
                "{name}"
            );
        }
        assert_eq!((table.parameters(), table.connections()), (60_000, Some(340_908)));
        Ok(())
    }

    #[test]
    fn the_modern_form_has_61706_parameters_and_known_names() -> cirio_nn::Result<()> {
        assert_eq!(LeNet5::modern().layers().table()?.parameters(), 61_706);
        let colour = LeNet5 { channels: 3, ..LeNet5::modern() };
        assert_eq!(colour.layers().table()?.parameters(), 62_006);

        let store = Store::new(0, DType::F32, &Device::Cpu);
        let network = LeNet5::modern().layers().build(store.var_builder())?;
        let shapes: Vec<(String, Vec<usize>)> = network.parameters().into_iter().map(|p| (p.name, p.tensor.dims().to_vec())).collect();
        let expected: [(&str, &[usize]); 10] = [
            ("conv1.weight", &[6, 1, 5, 5]),
            ("conv1.bias", &[6]),
            ("conv2.weight", &[16, 6, 5, 5]),
            ("conv2.bias", &[16]),
            ("fc1.weight", &[120, 400]),
            ("fc1.bias", &[120]),
            ("fc2.weight", &[84, 120]),
            ("fc2.bias", &[84]),
            ("fc3.weight", &[10, 84]),
            ("fc3.bias", &[10]),
        ];
        assert!(shapes.iter().zip(expected).all(|((name, dims), (n, d))| name == n && dims == d), "{shapes:?}");
        Ok(())
    }

    /// The store holds what the table counts: nothing is kept for connections that the paper does not make.
    #[test]
    fn the_papers_weights_are_60000_numbers() -> cirio_nn::Result<()> {
        let store = Store::new(0, DType::F32, &Device::Cpu);
        let network = LeNet5::paper().layers().build(store.var_builder())?;
        assert_eq!(store.tensors().values().map(|tensor| tensor.elem_count()).sum::<usize>(), 60_000);
        let logits = network.forward(&Tensor::zeros((2, 1, 32, 32), DType::F32, &Device::Cpu)?)?;
        assert_eq!(logits.dims(), [2, 10]);
        assert!(logits.max_all()?.to_scalar::<f32>()? < 0.0, "negated squared distances");
        Ok(())
    }

    #[test]
    fn gradients_reach_every_parameter() -> cirio_nn::Result<()> {
        for form in [LeNet5::modern(), LeNet5::paper()] {
            let store = Store::new(3, DType::F32, &Device::Cpu);
            let network = form.layers().build(store.var_builder())?;
            let images = Tensor::arange(0f32, 4096.0, &Device::Cpu)?.affine(0.37, 0.0)?.sin()?.reshape((4, 1, 32, 32))?;
            let gradients = network.forward(&images)?.sqr()?.sum_all()?.backward()?;
            for parameter in network.parameters() {
                let gradient = gradients.get(&parameter.tensor).expect("a gradient");
                assert!(gradient.abs()?.sum_all()?.to_scalar::<f32>()? > 0.0, "{form:?}: {}", parameter.name);
            }
        }
        Ok(())
    }

    #[test]
    fn pictures_are_centred_and_scaled() -> Result<()> {
        let prepared = LeNet5::prepare(&Tensor::ones((1, 1, 28, 28), DType::F64, &Device::Cpu)?)?;
        assert_eq!(prepared.dims(), [1, 1, 32, 32]);
        let at = |row, column| prepared.i((0, 0, row, column))?.to_scalar::<f64>();
        assert!((at(1, 1)? + 0.1).abs() < 1e-12 && (at(2, 2)? - 1.175).abs() < 1e-12 && (at(30, 30)? + 0.1).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn wrong_sizes_are_named() {
        let error = LeNet5::modern().layers().with_input([1, 8, 8]).table().unwrap_err().to_string();
        assert!(error.contains("`conv2` (conv 5×5)") && error.contains("6×2×2"), "{error}");
        let error = LeNet5 { classes: 12, ..LeNet5::paper() }.layers().table().unwrap_err().to_string();
        assert!(error.contains("bitmaps for 10 classes"), "{error}");
    }
}
