//! What the sweeps share: random values, comparison, finite differences, a choice of threads.
#![allow(dead_code)] // each test program uses some of it

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `count` values in -1 … 1.
pub fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// The numbers 0 … count, shuffled: all differ by at least 1.
pub fn distinct(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values: Vec<f32> = (0..count).map(|value| value as f32).collect();
    (1..count).for_each(|last| values.swap(last, rng.random_range(0..=last)));
    values
}

pub fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

pub fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// That `got` is `exact` up to the rounding of a sum of `terms` products of numbers of about 1.
///
/// Each of the f32 roundings is at most 6e-8 of a partial sum, and partial sums stay below `terms`; in practice they wander,
/// so that the root of `terms` times a few roundings covers them.
pub fn assert_close(what: &str, got: &[f32], exact: &[f64], terms: usize) {
    assert_eq!(got.len(), exact.len(), "{what}");
    let tolerance = 1e-6 * (terms as f64).sqrt() * 2.0 + 1e-6;
    for (place, (&got, &exact)) in got.iter().zip(exact).enumerate() {
        let off = (f64::from(got) - exact).abs();
        assert!(
            off <= tolerance * exact.abs().max(1.0),
            "{what}[{place}] is {got}, {exact} is right (off by {off:e}, allowed {tolerance:e})"
        );
    }
}

/// That `gradient` is the slope of `loss` at `at`, by central differences in a few coordinates.
pub fn assert_slope(what: &str, gradient: &[f32], at: &[f32], step: f64, loss: impl Fn(&[f64]) -> f64) {
    assert_eq!(gradient.len(), at.len(), "{what}");
    let mut point = double(at);
    let stride = (at.len() / 3).max(1);
    for place in (0..at.len()).step_by(stride) {
        let here = point[place];
        point[place] = here + step;
        let above = loss(&point);
        point[place] = here - step;
        let below = loss(&point);
        point[place] = here;
        let slope = (above - below) / (2.0 * step);
        let got = f64::from(gradient[place]);
        assert!((got - slope).abs() <= 1e-4 * slope.abs().max(1.0), "{what}[{place}] is {got}, the slope is {slope}");
    }
}

/// Runs `work` with 1, 2 and 5 threads; the results must be the same bit for bit.
pub fn same_on_any_threads(work: impl Fn() -> Vec<f32> + Send + Sync) {
    let mut first: Option<Vec<u32>> = None;
    for threads in [1, 2, 5, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
        let bits: Vec<u32> = pool.install(&work).into_iter().map(f32::to_bits).collect();
        match &first {
            Some(first) => assert!(*first == bits, "{threads} threads give another result"),
            None => first = Some(bits),
        }
    }
}

/// A slice full of NaN, which shows what was not written.
pub fn unwritten(length: usize) -> Vec<f32> {
    vec![f32::NAN; length]
}
