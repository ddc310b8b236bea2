//! The most multiply-adds that the processor can do, measured: what every kernel is compared with.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use pulp::{Simd, WithSimd};

use crate::simd;

/// Passes of the loop that is timed: a few milliseconds.
const STEPS: usize = 1 << 19;

/// Times that it is timed; the best counts, as others may be using the processor.
const ROUNDS: usize = 8;

/// Floating-point operations a second that `threads` threads (at least one, at most as many as the machine runs at a time) reach together when they do nothing but
/// multiply-adds of f32 vectors in registers; a multiply-add is two operations. It takes some tens of milliseconds.
pub fn fma_peak(threads: usize) -> f64 {
    let threads = threads.clamp(1, std::thread::available_parallelism().map_or(1, usize::from));
    let start = Barrier::new(threads);
    let rounds = || {
        [(); ROUNDS].map(|()| {
            start.wait();
            let begin = Instant::now();
            let operations = simd::arch().dispatch(MultiplyAdds);
            (operations, begin.elapsed().as_secs_f64())
        })
    };
    let measured: Vec<_> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(rounds)).collect();
        let own = rounds();
        others.into_iter().filter_map(|thread| thread.join().ok()).chain([own]).collect()
    });
    let of_round = |round: usize| {
        let operations: f64 = measured.iter().map(|thread| thread[round].0).sum();
        operations / measured.iter().map(|thread| thread[round].1).fold(f64::MIN_POSITIVE, f64::max)
    };
    (0..ROUNDS).map(of_round).fold(0.0, f64::max)
}

/// A loop of multiply-adds that do not wait for one another; its result is the number of operations.
struct MultiplyAdds;

impl WithSimd for MultiplyAdds {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        // A unit takes one each cycle and answers some four cycles later; two registers hold the factors.
        if S::REGISTER_COUNT >= 32 { multiply_adds::<24, S>(simd) } else { multiply_adds::<12, S>(simd) }
    }
}

#[inline(always)]
fn multiply_adds<const SUMS: usize, S: Simd>(simd: S) -> f64 {
    let [a, b] = black_box([0.75f32, 1e-3]).map(|factor| simd.splat_f32s(factor));
    let mut sums = [simd.splat_f32s(0.0); SUMS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = simd.mul_add_e_f32s(a, b, *sum);
        }
    }
    black_box(sums.map(|sum| simd.reduce_sum_f32s(sum)));
    (2 * STEPS * SUMS * S::F32_LANES) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_speed() {
        for threads in [0, 1, 3] {
            let peak = fma_peak(threads);
            assert!(peak.is_finite() && peak > 0.0, "{peak}");
        }
    }
}
