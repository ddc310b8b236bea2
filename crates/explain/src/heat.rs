//! Values over a picture.

use candle_core::{DType, Tensor};

use crate::Result;

/// H×W values, row by row: a map of a layer, or how much each place of a picture counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// H, rows.
    pub height: usize,
    /// W, columns.
    pub width: usize,
    /// The values, row by row.
    pub values: Vec<f32>,
}

impl Heat {
    /// The values of (H, W).
    ///
    /// # Errors
    /// When the tensor has other axes.
    pub fn from_tensor(values: &Tensor) -> Result<Self> {
        let (height, width) = values.dims2()?;
        Ok(Self { height, width, values: values.to_dtype(DType::F32)?.flatten_all()?.to_vec1()? })
    }

    /// Row and column of the largest value, the first of several; `None` where there is no number.
    pub fn strongest(&self) -> Option<[usize; 2]> {
        let at = largest(&self.values)?;
        Some([at / self.width, at % self.width])
    }

    /// Whether there is nothing to see: no value is above 0.
    pub fn is_dead(&self) -> bool {
        !self.values.iter().any(|&value| value > 0.0)
    }
}

/// The place of the largest value, the first of several; NaN is none.
pub fn largest(values: &[f32]) -> Option<usize> {
    let numbers = (0..values.len()).filter(|&at| !values[at].is_nan());
    numbers.reduce(|best, at| if values[at] > values[best] { at } else { best })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_strongest_is_the_first_of_the_largest() -> Result<()> {
        let heat = Heat::from_tensor(&Tensor::new(&[[0f32, 2.0, 1.0], [2.0, -1.0, 0.0]], &Device::Cpu)?)?;
        assert_eq!((heat.height, heat.width, heat.strongest()), (2, 3, Some([0, 1])));
        assert!(!heat.is_dead());
        let dead = Heat { height: 1, width: 2, values: vec![0.0; 2] };
        assert!(dead.is_dead() && dead.strongest() == Some([0, 0]));
        assert_eq!(Heat { height: 0, width: 0, values: vec![] }.strongest(), None);
        assert_eq!((largest(&[f32::NAN, -1.0, 3.0, 3.0]), largest(&[f32::NAN])), (Some(2), None));
        assert!(Heat { height: 1, width: 2, values: vec![-1.0, f32::NAN] }.is_dead());
        Ok(())
    }
}
