//! Softmax and its logarithm over classes.

use crate::error::{ShapeError, expect, expect_positive};
use crate::exp::exp;
use crate::parallel::{for_each_pair, for_each_triple};
use crate::simd::{Sums, vectorised};

/// y_k = e^x_k / Σ e^x_j over the K classes of each row. A row with a NaN or +∞, or with -∞ alone, gives NaN.
///
/// # Shapes
/// x and y (N, K).
///
/// # Errors
/// When K is 0 or a slice has another length.
pub fn softmax(n: usize, k: usize, x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
    check(n, k, &[("x", x), ("y", y)])?;
    rows(
        k,
        x,
        y,
        #[inline(always)]
        |x, y| {
            let (_, sum) = exponentials(x, y);
            y.iter_mut().for_each(|y| *y /= sum);
        },
    );
    Ok(())
}

/// dx of [`softmax`] from its output: dx_k = y_k·(dy_k - Σ dy_j·y_j); what stands in `dx` is replaced.
///
/// # Shapes
/// y, dy and dx (N, K).
///
/// # Errors
/// When K is 0 or a slice has another length.
pub fn softmax_backward(n: usize, k: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
    check(n, k, &[("y", y), ("dy", dy), ("dx", dx)])?;
    gradient_rows(
        k,
        y,
        dy,
        dx,
        #[inline(always)]
        |y, dy, dx| {
            let sum = sum_of(y, dy, |y, dy| y * dy);
            dx.iter_mut().zip(y).zip(dy).for_each(|((dx, y), dy)| *dx = y * (dy - sum));
        },
    );
    Ok(())
}

/// y_k = x_k - log Σ e^x_j over the K classes of each row. A row with a NaN or +∞, or with -∞ alone, gives NaN.
///
/// # Shapes
/// x and y (N, K).
///
/// # Errors
/// When K is 0 or a slice has another length.
pub fn log_softmax(n: usize, k: usize, x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
    check(n, k, &[("x", x), ("y", y)])?;
    rows(
        k,
        x,
        y,
        #[inline(always)]
        |x, y| {
            let (largest, sum) = exponentials(x, y);
            let log = sum.ln();
            y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - largest) - log);
        },
    );
    Ok(())
}

/// dx of [`log_softmax`] from its output: dx_k = dy_k - e^y_k · Σ dy_j; what stands in `dx` is replaced.
///
/// # Shapes
/// y, dy and dx (N, K).
///
/// # Errors
/// When K is 0 or a slice has another length.
pub fn log_softmax_backward(n: usize, k: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
    check(n, k, &[("y", y), ("dy", dy), ("dx", dx)])?;
    gradient_rows(
        k,
        y,
        dy,
        dx,
        #[inline(always)]
        |y, dy, dx| {
            let sum = sum_of(dy, dy, |dy, _| dy);
            dx.iter_mut().zip(y).zip(dy).for_each(|((dx, &y), dy)| *dx = dy - exp(y) * sum);
        },
    );
    Ok(())
}

/// y = e^(x - the largest x), that largest, and the sum of the y.
#[inline(always)]
fn exponentials(x: &[f32], y: &mut [f32]) -> (f32, f32) {
    let largest = largest(x);
    y.iter_mut().zip(x).for_each(|(y, x)| *y = exp(x - largest));
    (largest, sum_of(y, y, |y, _| y))
}

/// The largest value that is not NaN; -∞ when there is none.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let larger = |most: f32, x: f32| if x > most { x } else { most };
    let (vectors, rest) = x.as_chunks::<16>();
    let mut most = [f32::NEG_INFINITY; 16];
    for x in vectors {
        for lane in 0..16 {
            most[lane] = larger(most[lane], x[lane]);
        }
    }
    most.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger)
}

#[inline(always)]
fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = Sums::default();
    sums.add(a, b, |a, b| [term(a, b)]);
    let [sum] = sums.totals();
    sum
}

fn check(n: usize, k: usize, slices: &[(&'static str, &[f32])]) -> Result<(), ShapeError> {
    expect_positive(&[("the number of classes", k)])?;
    slices.iter().try_for_each(|(what, values)| expect(what, values, &[n, k]))
}

/// Rows that one thread takes together.
const ROWS: usize = 16;

/// Runs `work` on each row of `x` and of `y`.
fn rows(k: usize, x: &[f32], y: &mut [f32], work: impl Fn(&[f32], &mut [f32]) + Sync) {
    for_each_pair(x, y, [ROWS * k; 2], |x, y| vectorised!(|| x.chunks_exact(k).zip(y.chunks_exact_mut(k)).for_each(|(x, y)| work(x, y))));
}

/// Runs `work` on each row of `y`, of `dy` and of `dx`.
fn gradient_rows(k: usize, y: &[f32], dy: &[f32], dx: &mut [f32], work: impl Fn(&[f32], &[f32], &mut [f32]) + Sync) {
    for_each_triple(y, dy, dx, [ROWS * k; 2], |y, dy, dx| {
        vectorised!(|| {
            let gradients = dy.chunks_exact(k).zip(dx.chunks_exact_mut(k));
            y.chunks_exact(k).zip(gradients).for_each(|(y, (dy, dx))| work(y, dy, dx));
        })
    });
}
