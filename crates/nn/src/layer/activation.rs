//! Functions of each value alone, and softmax over classes.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{Forward, Layer, Pure, Shaped, Step};
use crate::pass::Pass;
use crate::{Volume, ops};

/// max(x, 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relu;

/// tanh x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tanh;

/// 1.7159·tanh(2x/3), the squashing function of LeCun et al. (1998), appendix A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaledTanh;

/// min(max(x/6 + 1/2, 0), 1), see [`ops::hard_sigmoid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardSigmoid;

/// x · min(max(x/6 + 1/2, 0), 1), see [`ops::hard_swish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardSwish;

/// exp(x_k) / Σ exp(x_j) over the K classes of (N, K).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax;

impl Layer for Relu {
    fn kind(&self) -> String {
        "ReLU".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        Ok(*input)
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        Ok(Box::new(Self))
    }
}

impl Forward for Relu {
    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        ops::rectified(input, pass.rectifier())
    }

    fn is_recordable(&self) -> bool {
        true
    }

    fn step(&self) -> Step<'_> {
        Step::Relu
    }
}

impl Layer for Tanh {
    fn kind(&self) -> String {
        "tanh".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        Ok(*input)
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        Ok(Box::new(Pure(Step::Other, ops::tanh)))
    }
}

impl Layer for ScaledTanh {
    fn kind(&self) -> String {
        "1.7159·tanh(2x/3)".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        Ok(*input)
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        Ok(Box::new(Pure(Step::Other, ops::scaled_tanh)))
    }
}

impl Layer for HardSigmoid {
    fn kind(&self) -> String {
        "hard sigmoid".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        Ok(*input)
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        Ok(Box::new(Pure(Step::HardSigmoid, ops::hard_sigmoid)))
    }
}

impl Layer for HardSwish {
    fn kind(&self) -> String {
        "hard swish".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        Ok(*input)
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        Ok(Box::new(Pure(Step::HardSwish, ops::hard_swish)))
    }
}

impl Layer for Softmax {
    fn kind(&self) -> String {
        "softmax".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        input.expect_vector().map(Volume::Vector)
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        Ok(Box::new(Pure(Step::Other, ops::softmax)))
    }
}
