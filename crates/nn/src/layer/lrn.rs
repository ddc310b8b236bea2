//! Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3).

use candle_core::Result;
use candle_nn::VarBuilder;

use super::{Forward, Layer, Pure, Shaped, Step};
use crate::Volume;
use crate::ops::{self, LrnConfig};

/// Each value divided by (k + α·Σ a²)^β, the sum over neighbouring channels at the same place.
#[derive(Clone, Debug, PartialEq)]
pub struct Lrn(pub LrnConfig);

impl Layer for Lrn {
    fn kind(&self) -> String {
        format!("response norm over {}", self.0.size)
    }

    fn output(&self, input: &Volume) -> Shaped {
        input.expect_maps().map(Volume::maps)
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let config = self.0.clone();
        Ok(Box::new(Pure(Step::Other, move |x: &_| ops::lrn(x, &config))))
    }
}
