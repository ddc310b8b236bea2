//! The rectified linear unit.

use crate::error::{ShapeError, expect};
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
