//! The layers that a list is made of. One file a family; a new layer is a new file, or lives in its model's crate.
//!
//! A [`Layer`] is a description: it holds no weights, knows how a volume passes through it and what that costs, and
//! builds its working form, a [`Forward`], from named weights.

mod activation;
mod conv;
mod conv_transpose;
mod dropout;
mod flatten;
mod gate;
mod linear;
mod lrn;
mod norm;
mod pool;
mod residual;
mod upsample;

use std::any::Any;
use std::fmt;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

pub use activation::{HardSigmoid, HardSwish, Relu, ScaledTanh, Softmax, Tanh};
pub use conv::{Conv2d, conv};
pub use conv_transpose::{ConvTranspose2d, conv_transpose};
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use gate::{Gate, squeeze_excitation};
pub use linear::{Linear, linear};
pub use lrn::Lrn;
pub use norm::{BatchNorm, Statistics, batch_norm};
pub use pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d, avg_pool, max_pool};
pub use residual::{Residual, residual};
pub use upsample::{Upsample, UpsampleMode};

use crate::ops::{Conv2dConfig, CountPadding, Pool2dConfig};
use crate::pass::Pass;
use crate::stack::Stack;
use crate::{ParameterKind, Volume};

/// What a layer costs for one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Trainable numbers.
    pub parameters: u64,
    /// Multiply-adds of a forward pass; biases and comparisons are not counted.
    pub macs: u64,
    /// Connections as LeCun et al. (1998) count them: for each output one a multiplication or addend, bias included.
    pub connections: u64,
}

/// The volume after a layer, or the reason why the layer cannot take what comes before it.
pub type Shaped = std::result::Result<Volume, String>;

/// How a layer's window slides over its input, `[rows, columns]`; it decides the receptive field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// Pixels that the window spans (dilation counted).
    pub extent: [usize; 2],
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns of padding that the first window begins in.
    pub padding: [usize; 2],
    /// Rows and columns at the far end that no window reaches.
    pub unused: [usize; 2],
}

/// How far into its input one output of a layer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The value at its own place.
    Point,
    /// A window.
    Window(Sliding),
    /// Everything.
    All,
}

/// A layer's description.
pub trait Layer: Any + fmt::Debug + Send + Sync {
    /// What it is, with its numbers: `conv 5×5`.
    fn kind(&self) -> String;

    /// The volume that it makes of `input`, or the reason why it cannot take it.
    fn output(&self, input: &Volume) -> Shaped;

    /// What it costs on an input that [`Self::output`] accepts.
    fn cost(&self, _input: &Volume) -> Cost {
        Cost::default()
    }

    /// How far into its input one output sees, on an input that [`Self::output`] accepts.
    fn reach(&self, _input: &Volume) -> Reach {
        Reach::Point
    }

    /// The lists inside this layer, for tables: a residual block has two, a gate one.
    fn inner(&self) -> Vec<&crate::Sequence> {
        Vec::new()
    }

    /// The working form, with the weights that `weights` has under this layer's name.
    fn build(&self, input: &Volume, weights: VarBuilder) -> Result<Box<dyn Forward>>;
}

/// A layer with its weights.
pub trait Forward: Send + Sync {
    /// (N, …) to (N, …), as the description's `output` says.
    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor>;

    /// [`forward`](Self::forward), then max(y, 0); for layers that can do both in one operation.
    fn forward_relu(&self, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        crate::ops::relu(&self.forward(input, pass)?)
    }

    /// Its tensors: the last part of each name, the tensor, and what it is for.
    fn tensors(&self) -> Vec<(String, &Tensor, ParameterKind)> {
        Vec::new()
    }

    /// Whether its [`forward`](Self::forward) is made of this crate's kernels alone, in training too, so that it and its neighbours can be
    /// one operation for candle. One that draws from [`Pass::dropout`] must have no [`step`](Self::step) but [`Step::Nothing`] or
    /// [`Step::Other`].
    fn is_recordable(&self) -> bool {
        false
    }

    /// What it computes in evaluation, if that is one of the things that the inference form knows how to fuse or to pack.
    fn step(&self) -> Step<'_> {
        Step::Other
    }
}

/// What a layer computes in evaluation, see [`Stack::for_inference`].
#[derive(Clone)]
pub enum Step<'a> {
    /// See [`ops::conv2d`](crate::ops::conv2d).
    Conv {
        /// (filters, C / groups, rows, columns).
        weight: &'a Tensor,
        /// (filters).
        bias: Option<&'a Tensor>,
        /// How the filters slide.
        config: Conv2dConfig,
    },
    /// See [`ops::linear`](crate::ops::linear).
    Linear {
        /// (outputs, inputs).
        weight: &'a Tensor,
        /// (outputs).
        bias: Option<&'a Tensor>,
    },
    /// See [`ops::batch_norm`](crate::ops::batch_norm): weight, bias, mean and variance of the channels, and eps.
    Norm([&'a Tensor; 4], f64),
    /// max(x, 0).
    Relu,
    /// See [`ops::hard_sigmoid`](crate::ops::hard_sigmoid).
    HardSigmoid,
    /// See [`ops::hard_swish`](crate::ops::hard_swish).
    HardSwish,
    /// See [`ops::max_pool2d`](crate::ops::max_pool2d).
    MaxPool(Pool2dConfig),
    /// See [`ops::avg_pool2d`](crate::ops::avg_pool2d).
    AvgPool(Pool2dConfig, CountPadding),
    /// See [`ops::adaptive_avg_pool2d`](crate::ops::adaptive_avg_pool2d).
    AdaptiveAvgPool([usize; 2]),
    /// (N, C, H, W) to (N, C·H·W).
    Flatten,
    /// The input, as it is.
    Nothing,
    /// The sum of two stacks.
    Residual {
        /// What learns the difference.
        body: &'a Stack,
        /// What brings the input to the body's shape.
        shortcut: &'a Stack,
    },
    /// The input, each channel times a number.
    Gate {
        /// What makes those numbers of the input.
        body: &'a Stack,
    },
    /// Something else: the layer's own [`Forward::forward`] is run.
    Other,
}

/// A layer without weights and without a state: a function on tensors.
pub(crate) struct Pure<F>(pub Step<'static>, pub F);

impl<F: Fn(&Tensor) -> Result<Tensor> + Send + Sync> Forward for Pure<F> {
    fn forward(&self, input: &Tensor, _pass: &Pass) -> Result<Tensor> {
        (self.1)(input)
    }

    fn is_recordable(&self) -> bool {
        matches!(self.0, Step::HardSigmoid | Step::HardSwish | Step::MaxPool(_) | Step::AvgPool(..) | Step::Flatten)
    }

    fn step(&self) -> Step<'_> {
        self.0.clone()
    }
}

/// `3×3`, or `3×5` for rows and columns that differ.
pub(crate) fn by([rows, columns]: [usize; 2]) -> String {
    format!("{rows}×{columns}")
}

/// `, NAME A` or `, NAME A×B`, and nothing where the value is the usual one.
pub(crate) fn unless(usual: usize, name: &str, [rows, columns]: [usize; 2]) -> String {
    match (rows, columns) {
        (r, c) if r == usual && c == usual => String::new(),
        (r, c) if r == c => format!(", {name} {r}"),
        _ => format!(", {name} {rows}×{columns}"),
    }
}
