//! Dropout (Srivastava et al. 2014), its mask from the network's seed.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{Forward, Layer, Shaped, Step};
use crate::pass::Pass;
use crate::{Volume, ops};

/// In training each value is 0 with this probability and the others are divided by 1 - p; else nothing is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout(pub f64);

impl Layer for Dropout {
    fn kind(&self) -> String {
        format!("dropout {}", self.0)
    }

    fn output(&self, input: &Volume) -> Shaped {
        if !(0.0..1.0).contains(&self.0) {
            return Err(format!("the probability {} is not in 0 ≤ p < 1", self.0));
        }
        Ok(*input)
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        Ok(Box::new(*self))
    }
}

impl Forward for Dropout {
    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        match pass.dropout() {
            Some(mut generator) => ops::dropout(input, self.0, &mut generator),
            None => Ok(input.clone()),
        }
    }

    fn is_recordable(&self) -> bool {
        true
    }

    fn step(&self) -> Step<'_> {
        Step::Nothing
    }
}
