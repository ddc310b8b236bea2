//! Features as places in a plane, so that one can see which pictures a network takes for alike.
//!
//! The features are those of a layer, a row of D values a picture. [`pca()`] turns them so that the first coordinates tell the most, without
//! bending anything; [`Tsne`] bends, and keeps neighbours together.

mod eigen;
mod pca;
mod tsne;

use candle_core::{DType, Tensor};

use crate::{Error, Result};

pub use pca::{Pca, pca};
pub use tsne::{Layout, Tsne};

/// The most pictures that t-SNE places, and the most that [`pca()`] takes of the lesser of M and D: both need a matrix of as many rows and
/// columns.
pub const MOST: usize = 5000;

/// Rows of the same length, one behind the other, in double precision.
struct Rows {
    values: Vec<f64>,
    /// D, the length of each; at least 1.
    length: usize,
}

impl Rows {
    /// Features (M, D) of any type as they are in f32. There must be `least` pictures or more.
    fn of(features: &Tensor, least: usize) -> Result<Self> {
        let &[count, length] = features.dims() else {
            return Err(Error::Setting(format!("features of shape {:?}, expected (pictures, values)", features.dims())));
        };
        if count < least || length == 0 {
            return Err(Error::Setting(format!(
                "features of {count} pictures with {length} values each, expected at least {least} with 1"
            )));
        }
        let values: Vec<f32> = features.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            let (picture, index, value) = (place / length, place % length, values[place]);
            return Err(Error::Setting(format!("value {index} of picture {picture}'s features is {value}, expected finite numbers")));
        }
        Ok(Self { values: values.into_iter().map(f64::from).collect(), length })
    }

    fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.length)
    }

    /// M, the number of rows.
    fn count(&self) -> usize {
        self.values.len() / self.length
    }

    /// The columns as rows.
    fn transposed(&self) -> Self {
        let column = |index: usize| self.values.iter().skip(index).step_by(self.length).copied();
        Self { values: (0..self.length).flat_map(column).collect(), length: self.count().max(1) }
    }
}

/// Σ aᵢ bᵢ, in an order that the length alone decides.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn features_that_cannot_be_are_named() -> Result<()> {
        let of = |values: Vec<f32>, shape: (usize, usize)| Tensor::from_vec(values, shape, &Device::Cpu);
        let message = |features: &Tensor| Rows::of(features, 2).err().expect("an error").to_string();
        assert!(message(&of(vec![1.0, 2.0], (1, 2))?).contains("1 pictures with 2 values each, expected at least 2"));
        assert!(message(&of(vec![], (3, 0))?).contains("3 pictures with 0 values"));
        assert!(message(&of(vec![1.0; 4], (2, 2))?.unsqueeze(0)?).contains("shape [1, 2, 2], expected (pictures, values)"));
        assert!(message(&of(vec![1.0, 2.0, 3.0, f32::NAN], (2, 2))?).contains("value 1 of picture 1's features is NaN"));
        let large = Tensor::new(&[[1e300f64], [0.0]], &Device::Cpu)?;
        assert!(message(&large).contains("value 0 of picture 0's features is inf"), "it is none of f32");
        Ok(())
    }

    #[test]
    fn sums_and_transposes_by_hand() {
        let numbers: Vec<f64> = (0..19).map(f64::from).collect();
        assert_eq!(dot(&numbers, &numbers), 18.0 * 19.0 * 37.0 / 6.0);
        assert_eq!(dot(&[], &[]), 0.0);
        let rows = Rows { values: numbers[..6].to_vec(), length: 3 };
        let turned = rows.transposed();
        assert_eq!((turned.values, turned.length), (vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0], 2));
    }
}
