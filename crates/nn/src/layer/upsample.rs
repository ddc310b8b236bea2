//! Enlarging maps.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{Forward, Layer, Pure, Reach, Shaped, Step};
use crate::Volume;
use crate::ops::{self, AlignCorners};

/// How the new pixels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpsampleMode {
    /// The nearest old pixel.
    Nearest,
    /// A weighted mean of the four around.
    Bilinear(AlignCorners),
}

/// Maps enlarged by a whole factor in both directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsample {
    /// New pixels for each old one, along each axis.
    pub factor: usize,
    /// How the new pixels are made.
    pub mode: UpsampleMode,
}

impl Layer for Upsample {
    fn kind(&self) -> String {
        let mode = match self.mode {
            UpsampleMode::Nearest => "nearest",
            UpsampleMode::Bilinear(_) => "bilinear",
        };
        format!("upsample ×{}, {mode}", self.factor)
    }

    fn output(&self, input: &Volume) -> Shaped {
        let [channels, height, width] = input.expect_maps()?;
        match (height.checked_mul(self.factor), width.checked_mul(self.factor)) {
            (Some(height), Some(width)) if self.factor > 0 => Ok(Volume::maps([channels, height, width])),
            _ => Err(format!("the factor {} is out of range", self.factor)),
        }
    }

    fn reach(&self, _input: &Volume) -> Reach {
        Reach::Point
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let (factor, mode) = (self.factor, self.mode);
        Ok(Box::new(Pure(Step::Other, move |x: &Tensor| {
            let (_, _, height, width) = x.dims4()?;
            let size = [height * factor, width * factor];
            match mode {
                UpsampleMode::Nearest => ops::upsample_nearest2d(x, size),
                UpsampleMode::Bilinear(corners) => ops::upsample_bilinear2d(x, size, corners),
            }
        })))
    }
}
