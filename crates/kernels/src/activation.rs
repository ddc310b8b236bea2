//! Functions of each value alone: the rectified linear unit, tanh, the logistic function.

use crate::error::{ShapeError, expect};
use crate::exp;
use crate::parallel::{CHUNK, for_each_pair, for_each_triple};
use crate::simd::vectorised;

/// y = max(x, 0); NaN stays NaN.
///
/// # Errors
/// When the slices differ in length.
pub fn relu(x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
    expect("y", y, &[x.len()])?;
    for_each_pair(x, y, [CHUNK; 2], |x, y| {
        vectorised(|| y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x <= 0.0 { 0.0 } else { x }));
    });
    Ok(())
}

/// max(x, 0) in place of x; NaN stays NaN.
pub fn relu_in_place(x: &mut [f32]) {
    vectorised(|| x.iter_mut().for_each(|x| *x = if *x <= 0.0 { 0.0 } else { *x }));
}

/// dx = dy where x > 0, else 0; the derivative at 0 is 0, as in torch. `x` may be the input or the output of [`relu`].
///
/// # Errors
/// When the slices differ in length.
pub fn relu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
    expect("dy", dy, &[x.len()])?;
    expect("dx", dx, &[x.len()])?;
    for_each_triple(x, dy, dx, [CHUNK; 2], |x, dy, dx| {
        vectorised(|| dx.iter_mut().zip(x).zip(dy).for_each(|((dx, &x), &dy)| *dx = if x <= 0.0 { 0.0 } else { dy }));
    });
    Ok(())
}

/// y = amplitude · tanh(slope · x).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tanh {
    /// What y tends to; not 0.
    pub amplitude: f32,
    /// What x is multiplied by.
    pub slope: f32,
}

impl Tanh {
    /// tanh itself.
    pub const PLAIN: Self = Self { amplitude: 1.0, slope: 1.0 };

    /// 1.7159 · tanh(2x/3): ±1 stay ±1 (LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document
    /// recognition", 1998, appendix A).
    pub const LENET: Self = Self { amplitude: 1.7159, slope: 2.0 / 3.0 };

    /// y from x, within 4 units in the last place; NaN stays NaN.
    ///
    /// # Errors
    /// When the slices differ in length.
    pub fn forward(self, x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
        let Self { amplitude, slope } = self;
        expect("y", y, &[x.len()])?;
        for_each_pair(x, y, [CHUNK; 2], |x, y| {
            vectorised(|| y.iter_mut().zip(x).for_each(|(y, &x)| *y = amplitude * exp::tanh(slope * x)));
        });
        Ok(())
    }

    /// dx = dy · amplitude · slope · (1 - (y / amplitude)²) from the output; what stands in `dx` is replaced.
    ///
    /// # Errors
    /// When the slices differ in length.
    pub fn backward(self, y: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
        let (most, square) = (self.amplitude * self.slope, self.slope / self.amplitude);
        from_output(y, dy, dx, |y| most - square * y * y)
    }
}

/// y = 1 / (1 + e^-x), the logistic function, within 4 units in the last place; NaN stays NaN.
///
/// # Errors
/// When the slices differ in length.
pub fn sigmoid(x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
    expect("y", y, &[x.len()])?;
    for_each_pair(x, y, [CHUNK; 2], |x, y| {
        vectorised(|| y.iter_mut().zip(x).for_each(|(y, &x)| *y = exp::sigmoid(x)));
    });
    Ok(())
}

/// dx = dy · y · (1 - y), from the output of [`sigmoid`]; what stands in `dx` is replaced.
///
/// # Errors
/// When the slices differ in length.
pub fn sigmoid_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
    from_output(y, dy, dx, |y| y * (1.0 - y))
}

/// dx = dy · slope(y).
fn from_output(y: &[f32], dy: &[f32], dx: &mut [f32], slope: impl Fn(f32) -> f32 + Sync) -> Result<(), ShapeError> {
    expect("dy", dy, &[y.len()])?;
    expect("dx", dx, &[y.len()])?;
    for_each_triple(y, dy, dx, [CHUNK; 2], |y, dy, dx| {
        vectorised(|| dx.iter_mut().zip(y).zip(dy).for_each(|((dx, &y), dy)| *dx = dy * slope(y)));
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_no_slope_and_nan_is_kept() -> Result<(), ShapeError> {
        let x = [-1.0, 0.0, 2.0, f32::NAN, f32::INFINITY];
        let (mut y, mut dx) = ([9.0; 5], [9.0; 5]);
        relu(&x, &mut y)?;
        assert_eq!(y[..3], [0.0, 0.0, 2.0]);
        assert!(y[3].is_nan() && y[4] == f32::INFINITY);
        relu_backward(&x, &[1.0; 5], &mut dx)?;
        assert_eq!(dx, [0.0, 0.0, 1.0, 1.0, 1.0]);
        Ok(())
    }

    #[test]
    fn lengths_must_agree() {
        assert_eq!(relu(&[1.0], &mut []).unwrap_err().to_string(), "y holds 0 values, its shape [1] has 1");
    }

    #[test]
    fn many_values_on_many_threads() -> Result<(), ShapeError> {
        let x: Vec<f32> = (0..3 * CHUNK + 5).map(|index| (index % 7) as f32 - 3.0).collect();
        let (mut y, mut dx) = (vec![9.0; x.len()], vec![9.0; x.len()]);
        relu(&x, &mut y)?;
        relu_backward(&x, &x, &mut dx)?;
        assert!(x.iter().zip(&y).all(|(x, y)| *y == x.max(0.0)) && dx == y);
        Ok(())
    }
}
