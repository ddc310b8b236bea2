//! A fully connected layer.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{Cost, Forward, Layer, Reach, Shaped, Step};
use crate::init::Init;
use crate::ops;
use crate::pass::Pass;
use crate::{ParameterKind, Volume};

/// y = W·x + b over (N, inputs); the number of inputs follows from the list.
///
/// Weights: `weight` (outputs, inputs) and `bias` (outputs).
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// The number of outputs.
    pub outputs: usize,
    /// Whether there is a bias, and the rule for its initial values.
    pub bias: Option<Init>,
    /// The rule for the weights' initial values.
    pub init: Init,
}

/// With a bias and torch's initial values.
pub fn linear(outputs: usize) -> Linear {
    Linear { outputs, bias: Some(Init::Torch), init: Init::Torch }
}

impl Layer for Linear {
    fn kind(&self) -> String {
        "linear".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        input.expect_vector()?;
        if self.outputs == 0 {
            return Err("it has 0 outputs".into());
        }
        Ok(Volume::Vector(self.outputs))
    }

    fn cost(&self, input: &Volume) -> Cost {
        let macs = (input.len() as u64).saturating_mul(self.outputs as u64);
        let parameters = macs.saturating_add(if self.bias.is_some() { self.outputs as u64 } else { 0 });
        Cost { parameters, macs, connections: parameters }
    }

    fn reach(&self, _input: &Volume) -> Reach {
        Reach::All
    }

    fn build(&self, input: &Volume, weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let inputs = input.len();
        let weight = weights.get_with_hints((self.outputs, inputs), "weight", self.init.resolve(inputs, self.outputs))?;
        let bias = self.bias.map(|init| weights.get_with_hints(self.outputs, "bias", init.resolve(inputs, self.outputs))).transpose()?;
        Ok(Box::new(Matrix { weight, bias }))
    }
}

struct Matrix {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Forward for Matrix {
    fn forward(&self, input: &Tensor, _pass: &Pass) -> Result<Tensor> {
        ops::linear(input, &self.weight, self.bias.as_ref())
    }

    fn forward_relu(&self, input: &Tensor, _pass: &Pass) -> Result<Tensor> {
        ops::linear_relu(input, &self.weight, self.bias.as_ref())
    }

    fn tensors(&self) -> Vec<(String, &Tensor, ParameterKind)> {
        let weight = [("weight".to_owned(), &self.weight, ParameterKind::Weight)];
        let bias = self.bias.iter().map(|bias| ("bias".to_owned(), bias, ParameterKind::Bias));
        weight.into_iter().chain(bias).collect()
    }

    fn is_recordable(&self) -> bool {
        true
    }

    fn step(&self) -> Step<'_> {
        Step::Linear { weight: &self.weight, bias: self.bias.as_ref() }
    }
}
