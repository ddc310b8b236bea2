//! Pooling: the largest value or the mean of each window.

use std::fmt;
use std::str::FromStr;

use super::{Matrix, by_channel};
use crate::{Error, Image, Result};

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Its largest value.
    Max,
    /// The mean of its values.
    Average,
}

/// Square windows, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// What becomes of a window.
    pub kind: PoolKind,
    /// Its rows and columns.
    pub side: usize,
    /// Places from one window to the next.
    pub stride: usize,
}

impl FromStr for Pool {
    type Err = Error;

    /// `max:2` or `avg:2`: windows of 2×2 side by side; `max:3:2`: windows of 3×3, 2 places apart.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Setting(format!("a pool is max:SIDE or avg:SIDE, and :STRIDE where it is not the side, not `{text}`"));
        let mut parts = text.split(':');
        let kind = match parts.next() {
            Some("max") => PoolKind::Max,
            Some("avg") => PoolKind::Average,
            _ => return Err(wrong()),
        };
        let numbers = parts.map(|part| part.parse::<usize>().ok().filter(|&number| number > 0).ok_or_else(wrong));
        match numbers.collect::<Result<Vec<_>>>()?[..] {
            [side] => Ok(Self { kind, side, stride: side }),
            [side, stride] => Ok(Self { kind, side, stride }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            PoolKind::Max => "max",
            PoolKind::Average => "average",
        };
        write!(f, "{kind} pool {0}×{0}, stride {1}", self.side, self.stride)
    }
}

/// Pools a matrix.
///
/// # Errors
/// When side or stride are 0, or the window is larger than the matrix.
pub fn pool(input: &Matrix, pool: Pool) -> Result<Matrix> {
    let Pool { kind, side, stride } = pool;
    if side == 0 || stride == 0 {
        return Err(Error::Setting(format!("a {pool}: both are at least 1")));
    }
    let outputs = |length: usize| length.checked_sub(side).map(|slack| slack / stride + 1);
    let (Some(rows), Some(columns)) = (outputs(input.rows), outputs(input.columns)) else {
        return Err(Error::Shape(format!("a window of {side}×{side} to pool does not fit into {}×{}", input.rows, input.columns)));
    };
    let value = |place: usize| {
        let (top, left) = (place / columns * stride, place % columns * stride);
        let window = (top..top + side).flat_map(|row| &input.values[row * input.columns + left..][..side]);
        match kind {
            PoolKind::Max => window.copied().fold(f64::NEG_INFINITY, f64::max),
            PoolKind::Average => window.sum::<f64>() / (side * side) as f64,
        }
    };
    Matrix::new(rows, columns, (0..rows * columns).map(value).collect())
}

/// Pools each channel of a picture; means are rounded half up.
///
/// # Errors
/// As [`fn@pool`].
pub fn pool_image(image: &Image, windows: Pool) -> Result<Image> {
    by_channel(image, |plane| pool(plane, windows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_and_mean() -> Result<()> {
        let input: Matrix = "1 2 3 4; 5 6 7 8; 9 10 11 12; 13 14 15 -16".parse()?;
        assert_eq!(pool(&input, "max:2".parse()?)?, "6 8; 14 15".parse()?);
        assert_eq!(pool(&input, "avg:2".parse()?)?, "3.5 5.5; 11.5 5.5".parse()?);
        assert_eq!(pool(&input, "max:3:1".parse()?)?, "11 12; 15 15".parse()?);
        assert_eq!(pool(&input, "max:3:2".parse()?)?, "11".parse()?, "what the stride leaves over is not used");
        let picture = Image::new(2, 2, 1, vec![1, 2, 3, 4])?;
        assert_eq!(pool_image(&picture, "avg:2".parse()?)?.data(), [3]);
        Ok(())
    }

    #[test]
    fn what_is_no_pool() {
        for text in ["", "max", "min:2", "max:0", "avg:2:0", "max:2:2:2", "max:two", "max:-1"] {
            let error = text.parse::<Pool>().expect_err(text).to_string();
            assert!(error.contains("max:SIDE"), "{error}");
        }
        let error = "1 2".parse().and_then(|input| pool(&input, "max:2".parse()?)).expect_err("too large").to_string();
        assert!(error.contains("2×2") && error.contains("1×2"), "{error}");
        let none = Pool { kind: PoolKind::Max, side: 0, stride: 1 };
        assert!("1 2".parse().and_then(|input| pool(&input, none)).is_err());
    }
}
