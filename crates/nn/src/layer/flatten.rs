//! From maps to a vector.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::{Forward, Layer, Pure, Shaped, Step};
use crate::Volume;
use crate::ops::tape;

/// (N, C, H, W) to (N, C·H·W), channel by channel, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten;

impl Layer for Flatten {
    fn kind(&self) -> String {
        "flatten".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        Ok(Volume::Vector(input.len()))
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        Ok(Box::new(Pure(Step::Flatten, tape::flatten)))
    }
}
