//! Functions of each value alone: the rectified linear unit, tanh, the logistic function, and its piecewise linear relatives.

use crate::error::{ShapeError, expect};
use crate::exp;
use crate::parallel::{CHUNK, for_each_pair, for_each_triple};
use crate::simd::vectorised;

/// What a convolution or a fully connected layer does with its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// See [`relu`].
    Relu,
    /// See [`hard_sigmoid`].
    HardSigmoid,
    /// See [`hard_swish`].
    HardSwish,
}

impl Activation {
    /// A value of which it makes 0.
    pub fn zero(self) -> f32 {
        if self == Self::HardSigmoid { -3.0 } else { 0.0 }
    }

    /// Each value is replaced by the function's.
    pub fn in_place(self, x: &mut [f32]) {
        match self {
            Self::Identity => {}
            Self::Relu => relu_in_place(x),
            Self::HardSigmoid => vectorised!(|| x.iter_mut().for_each(|x| *x = hard_sigmoid_of(*x))),
            Self::HardSwish => vectorised!(|| x.iter_mut().for_each(|x| *x = hard_swish_of(*x))),
        }
    }
}

/// y = max(x, 0); NaN stays NaN.
///
/// # Errors
/// When the slices differ in length.
pub fn relu(x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
    expect("y", y, &[x.len()])?;
    for_each_pair(x, y, [CHUNK; 2], |x, y| {
        vectorised!(|| y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x <= 0.0 { 0.0 } else { x }));
    });
    Ok(())
}

/// max(x, 0) in place of x; NaN stays NaN.
pub fn relu_in_place(x: &mut [f32]) {
    vectorised!(|| x.iter_mut().for_each(|x| *x = if *x <= 0.0 { 0.0 } else { *x }));
}

/// dx = dy where x > 0, else 0; the derivative at 0 is 0, as in torch. `x` may be the input or the output of [`relu`].
///
/// # Errors
/// When the slices differ in length.
pub fn relu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
    expect("dy", dy, &[x.len()])?;
    expect("dx", dx, &[x.len()])?;
    for_each_triple(x, dy, dx, [CHUNK; 2], |x, dy, dx| {
        vectorised!(|| dx.iter_mut().zip(x).zip(dy).for_each(|((dx, &x), &dy)| *dx = if x <= 0.0 { 0.0 } else { dy }));
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
            vectorised!(|| y.iter_mut().zip(x).for_each(|(y, &x)| *y = amplitude * exp::tanh(slope * x)));
        });
        Ok(())
    }

    /// dx = dy · amplitude · slope · (1 - (y / amplitude)²) from the output; what stands in `dx` is replaced.
    ///
    /// # Errors
    /// When the slices differ in length.
    pub fn backward(self, y: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
        let (most, square) = (self.amplitude * self.slope, self.slope / self.amplitude);
        times_slope(y, dy, dx, |y| most - square * y * y)
    }
}

/// y = 1 / (1 + e^-x), the logistic function, within 4 units in the last place; NaN stays NaN.
///
/// # Errors
/// When the slices differ in length.
pub fn sigmoid(x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
    expect("y", y, &[x.len()])?;
    for_each_pair(x, y, [CHUNK; 2], |x, y| {
        vectorised!(|| y.iter_mut().zip(x).for_each(|(y, &x)| *y = exp::sigmoid(x)));
    });
    Ok(())
}

/// dx = dy · y · (1 - y), from the output of [`sigmoid`]; what stands in `dx` is replaced.
///
/// # Errors
/// When the slices differ in length.
pub fn sigmoid_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
    times_slope(y, dy, dx, |y| y * (1.0 - y))
}

/// y = min(max(x/6 + 1/2, 0), 1), a logistic function of three straight lines (Howard et al., "Searching for MobileNetV3", 2019,
/// section 5.2); NaN stays NaN.
///
/// # Errors
/// When the slices differ in length.
pub fn hard_sigmoid(x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
    expect("y", y, &[x.len()])?;
    for_each_pair(x, y, [CHUNK; 2], |x, y| {
        vectorised!(|| y.iter_mut().zip(x).for_each(|(y, &x)| *y = hard_sigmoid_of(x)));
    });
    Ok(())
}

/// dx = dy / 6 where -3 < x < 3, else 0; `x` is the input of [`hard_sigmoid`].
///
/// # Errors
/// When the slices differ in length.
pub fn hard_sigmoid_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
    times_slope(x, dy, dx, |x| if x <= -3.0 || x >= 3.0 { 0.0 } else { 1.0 / 6.0 })
}

/// y = x · min(max(x/6 + 1/2, 0), 1) (Howard et al., "Searching for MobileNetV3", 2019, section 5.2); 0 for -∞, and NaN stays NaN.
///
/// # Errors
/// When the slices differ in length.
pub fn hard_swish(x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
    expect("y", y, &[x.len()])?;
    for_each_pair(x, y, [CHUNK; 2], |x, y| {
        vectorised!(|| y.iter_mut().zip(x).for_each(|(y, &x)| *y = hard_swish_of(x)));
    });
    Ok(())
}

/// dx = dy · (x/3 + 1/2) where -3 < x < 3, 0 below and dy above; `x` is the input of [`hard_swish`].
///
/// # Errors
/// When the slices differ in length.
pub fn hard_swish_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
    times_slope(x, dy, dx, |x| match x * (1.0 / 3.0) + 0.5 {
        _ if x <= -3.0 => 0.0,
        _ if x >= 3.0 => 1.0,
        between => between,
    })
}

#[inline(always)]
fn hard_sigmoid_of(x: f32) -> f32 {
    match x * (1.0 / 6.0) + 0.5 {
        _ if x <= -3.0 => 0.0,
        _ if x >= 3.0 => 1.0,
        between => between,
    }
}

#[inline(always)]
fn hard_swish_of(x: f32) -> f32 {
    if x <= -3.0 { 0.0 } else { x * hard_sigmoid_of(x) }
}

/// dx = dy · slope(v), where v is the function's input or its output.
fn times_slope(v: &[f32], dy: &[f32], dx: &mut [f32], slope: impl Fn(f32) -> f32 + Sync) -> Result<(), ShapeError> {
    expect("dy", dy, &[v.len()])?;
    expect("dx", dx, &[v.len()])?;
    for_each_triple(v, dy, dx, [CHUNK; 2], |v, dy, dx| {
        vectorised!(|| dx.iter_mut().zip(v).zip(dy).for_each(|((dx, &v), dy)| *dx = dy * slope(v)));
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
    fn straight_lines_by_hand() -> Result<(), ShapeError> {
        let x = [f32::NEG_INFINITY, -3.0, -1.5, 0.0, 1.5, 3.0, 7.0, f32::NAN];
        let (mut sigmoid, mut swish, mut slopes) = ([9.0; 8], [9.0; 8], [9.0; 8]);
        hard_sigmoid(&x, &mut sigmoid)?;
        assert_eq!(sigmoid[..7], [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        hard_swish(&x, &mut swish)?;
        assert_eq!(swish[..7], [0.0, 0.0, -0.375, 0.0, 1.125, 3.0, 7.0]);
        assert!(sigmoid[7].is_nan() && swish[7].is_nan());
        hard_sigmoid_backward(&x, &[6.0; 8], &mut slopes)?;
        assert_eq!(slopes[..7], [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        hard_swish_backward(&x, &[2.0; 8], &mut slopes)?;
        assert_eq!(slopes[..7], [0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 2.0]);
        for (activation, expected) in [(Activation::Identity, x), (Activation::HardSigmoid, sigmoid), (Activation::HardSwish, swish)] {
            let mut values = x;
            activation.in_place(&mut values);
            let mut zero = [activation.zero()];
            activation.in_place(&mut zero);
            assert_eq!(zero, [0.0], "{activation:?}");
            assert_eq!(values[..7], expected[..7], "{activation:?}");
        }
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
