//! The operations of `cirio_nn::ops`, held against four things:
//! - [`gradients`]: the portable way's gradients against finite differences, in f64;
//! - [`reference`]: both ways against numbers from torch;
//! - [`kernels`]: the kernels against the portable way, on random shapes and layouts;
//! - [`candle`]: the cases that candle 0.11.1 itself refuses or gets wrong.

mod candle;
mod gradients;
mod kernels;
mod reference;

use candle_core::{Device, Result, Tensor};
use cirio_nn::ops::with_portable;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Runs the same check by the kernels and by the portable way.
fn both(check: impl Fn() -> Result<()>) -> Result<()> {
    check()?;
    with_portable(check)
}

/// f64 values between -1 and 1 in random order, evenly spaced: no two are equal and none is 0, so that a small step changes
/// neither which is the largest nor a sign.
fn spread(seed: u64, shape: &[usize]) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let mut values: Vec<f64> = (0..count).map(|index| (2.0 * index as f64 + 1.0) / count as f64 - 1.0 + 1e-3).collect();
    values.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// All values in reading order, as f64.
fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1()
}

/// That two tensors have the same shape, and values whose difference is at most `tolerance` times the largest, or 1.
fn assert_close(what: &str, given: &Tensor, expected: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(given.dims(), expected.dims(), "{what}");
    let (given, expected) = (values(given)?, values(expected)?);
    let scale = expected.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
    for (place, (given, expected)) in given.iter().zip(&expected).enumerate() {
        let difference = (given - expected).abs();
        assert!(difference <= tolerance * scale, "{what}, value {place}: {given} where {expected} is right");
    }
    Ok(())
}
