//! The exponential function and the hyperbolic tangent of f32, without branches, so that loops over them become vectors where
//! their caller is [`vectorised`](crate::simd::vectorised).
//!
//! Reduction and polynomials are those of Moshier's Cephes library (`expf.c`, `tanhf.c`). Only sums and products are used:
//! the bits are the same on every machine.
#![allow(clippy::excessive_precision)] // the constants are written as Cephes has them

/// 1.5·2²³: a small number that is added to it is rounded to a whole one, which stands in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// e^x within 2 units in the last place (3 where the result is below the normal numbers); e^-∞ = 0, NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Beyond these bounds the result is 0 or ∞.
    let x = if x < -105.0 { -105.0 } else { x };
    let x = if x > 90.0 { 90.0 } else { x };
    // e^x = 2^whole · e^rest, |rest| <= ln 2 / 2; ln 2 in two parts, of which the first has few digits.
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let rest = x - whole * 0.693_359_375 + whole * 2.121_944_40e-4;
    let mut sum = 1.987_569_150_0e-4;
    for coefficient in [1.398_199_950_7e-3, 8.333_451_907_3e-3, 4.166_579_589_4e-2, 1.666_666_545_9e-1, 5.000_000_120_1e-1] {
        sum = sum * rest + coefficient;
    }
    let power = sum * rest * rest + rest + 1.0;
    // 2^whole in two factors: one alone may be too large or too small for an f32.
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = exponent >> 1;
    power * two_to(half) * two_to(exponent.wrapping_sub(half))
}

/// 2^exponent, for -126 … 127.
#[inline(always)]
fn two_to(exponent: i32) -> f32 {
    f32::from_bits((exponent.wrapping_add(127) << 23) as u32)
}

/// tanh x within 3 units in the last place; NaN stays NaN.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let square = x * x;
    let mut sum = -5.704_988_727_45e-3;
    for coefficient in [2.063_908_879_54e-2, -5.373_971_555_31e-2, 1.333_144_220_36e-1, -3.333_328_194_22e-1] {
        sum = sum * square + coefficient;
    }
    let near = sum * square * size + size;
    let far = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    if size < 0.625 { near } else { far }.copysign(x)
}

/// 1 / (1 + e^-x) within 4 units in the last place; NaN stays NaN.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let small = exp(-x.abs()); // never ∞
    let above = if x < 0.0 { small } else { 1.0 };
    above / (1.0 + small)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance from `exact` in units in the last place of an f32 of its size.
    fn units(got: f32, exact: f64) -> f64 {
        let next = f32::from_bits((exact.abs() as f32).to_bits() + 1);
        (f64::from(got) - exact).abs() / (f64::from(next) - exact.abs() as f32 as f64)
    }

    /// Every 997th f32 that `range` holds, of both signs.
    fn check(function: fn(f32) -> f32, exact: fn(f64) -> f64, range: std::ops::Range<f32>, allowed: f64) {
        for bits in (range.start.to_bits()..range.end.to_bits()).step_by(997) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let (got, exact) = (function(x), exact(x.into()));
                assert!(units(got, exact) <= allowed, "of {x}: {got}, {exact} is right");
            }
        }
    }

    #[test]
    fn all_are_right_to_a_few_units_in_the_last_place() {
        check(exp, f64::exp, 0.0..87.3, 2.0);
        check(exp, f64::exp, 87.3..88.7, 3.0);
        check(tanh, f64::tanh, 0.0..1000.0, 3.0);
        check(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 0.0..104.0, 4.0);
    }

    #[test]
    fn the_ends_are_exact() {
        assert_eq!([f32::NEG_INFINITY, -1e9, 0.0, -0.0, 1e9, f32::INFINITY].map(exp), [0.0, 0.0, 1.0, 1.0, f32::INFINITY, f32::INFINITY]);
        assert_eq!([f32::NEG_INFINITY, -50.0, 0.0, 50.0, f32::INFINITY].map(tanh), [-1.0, -1.0, 0.0, 1.0, 1.0]);
        assert!(tanh(-0.0).is_sign_negative());
        assert_eq!([f32::NEG_INFINITY, 0.0, 50.0, f32::INFINITY].map(sigmoid), [0.0, 0.5, 1.0, 1.0]);
        assert!([exp, tanh, sigmoid].iter().all(|function| function(f32::NAN).is_nan()));
    }
}
