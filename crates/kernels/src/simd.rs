//! Loops over slices, compiled for the best instruction set that the machine turns out to have (crate `pulp`).

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

use crate::activation::Activation;

/// The vectors to use: the best of this machine, or at most what the environment variable `CIRIO_VECTORS` says when the program
/// starts: `avx2`, or `none` for plain numbers. It is there to test and to compare.
pub(crate) fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(|| match std::env::var("CIRIO_VECTORS").as_deref() {
        Ok("none") => Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        Ok("avx2") => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        _ => Arch::new(),
    })
}

/// Runs a closure, whose loops the compiler may turn into vectors of this machine. A macro, since the closure must be inlined: else it may become
/// a function of its own, which does not know them. One that has its slices by `move` is faster: no other reference could lead to them.
macro_rules! vectorised {
    (|| $work:expr) => {
        $crate::simd::arch().dispatch(
            #[inline(always)]
            || $work,
        )
    };
    (move || $work:expr) => {
        $crate::simd::arch().dispatch(
            #[inline(always)]
            move || $work,
        )
    };
}
pub(crate) use vectorised;

/// to += from.
pub(crate) fn add(to: &mut [f32], from: &[f32]) {
    vectorised!(|| to.iter_mut().zip(from).for_each(|(to, from)| *to += from));
}

/// The sums of the products of R rows with each of N vectors of their length, which lie one after the other; each in an order that
/// depends on the length alone.
pub(crate) fn dots<const R: usize, const N: usize>(rows: [&[f32]; R], vectors: &[f32]) -> [[f32; R]; N] {
    struct Dots<'a, const R: usize, const N: usize>([&'a [f32]; R], &'a [f32]);
    impl<const R: usize, const N: usize> WithSimd for Dots<'_, R, N> {
        type Output = [[f32; R]; N];
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> [[f32; R]; N] {
            // Loops, not closures: those might become functions that do not know this machine's vectors.
            let length = self.0[0].len();
            let whole = length / S::F32_LANES;
            let mut rows = [S::as_simd_f32s(self.0[0]); R];
            for r in 0..R {
                rows[r] = S::as_simd_f32s(&self.0[r][..length]);
            }
            let mut vectors = [S::as_simd_f32s(self.1); N];
            for n in 0..N {
                vectors[n] = S::as_simd_f32s(&self.1[n * length..][..length]);
            }
            let mut sums = [[simd.splat_f32s(0.0); R]; N];
            for place in 0..whole {
                for n in 0..N {
                    let x = vectors[n].0[place];
                    for r in 0..R {
                        sums[n][r] = simd.mul_add_e_f32s(rows[r].0[place], x, sums[n][r]);
                    }
                }
            }
            let mut out = [[0.0; R]; N];
            for n in 0..N {
                let x = simd.partial_load_f32s(vectors[n].1);
                for r in 0..R {
                    let sum = simd.mul_add_e_f32s(simd.partial_load_f32s(rows[r].1), x, sums[n][r]);
                    out[n][r] = simd.reduce_sum_f32s(sum);
                }
            }
            out
        }
    }
    arch().dispatch(Dots::<R, N>(rows, vectors))
}

/// max(x, 0), NaN stays NaN. (The maximum of two vectors treats NaN differently from machine to machine.)
#[inline(always)]
fn relu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.less_than_or_equal_f32s(x, zero), zero, x)
}

/// min(max(x/6 + 1/2, 0), 1); NaN stays NaN.
#[inline(always)]
fn hard_sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let [zero, half, one, sixth] = [0.0, 0.5, 1.0, 1.0 / 6.0].map(|value| simd.splat_f32s(value));
    let y = simd.mul_add_e_f32s(x, sixth, half);
    let y = simd.select_f32s(simd.greater_than_or_equal_f32s(y, one), one, y);
    simd.select_f32s(simd.less_than_or_equal_f32s(y, zero), zero, y)
}

/// An activation of a vector.
#[inline(always)]
pub(crate) fn activate<S: Simd>(simd: S, activation: Activation, x: S::f32s) -> S::f32s {
    match activation {
        Activation::Identity => x,
        Activation::Relu => relu(simd, x),
        Activation::HardSigmoid => hard_sigmoid(simd, x),
        // The part below 0 alone would make NaN of -∞.
        Activation::HardSwish => {
            let (zero, below) = (simd.splat_f32s(0.0), simd.less_than_or_equal_f32s(x, simd.splat_f32s(-3.0)));
            simd.select_f32s(below, zero, simd.mul_f32s(x, hard_sigmoid(simd, x)))
        }
    }
}

/// Asks for the line of memory at an address to be brought near, while something else is computed. The address may be any.
#[inline(always)]
#[allow(unsafe_code)] // an instruction of the processor
pub(crate) fn prefetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every processor of this kind has it; it is a hint, which reads nothing and fails at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// The sum of the values, in an order that depends on the length alone.
pub(crate) fn sum(values: &[f32]) -> f32 {
    struct Sum<'a>(&'a [f32]);
    impl WithSimd for Sum<'_> {
        type Output = f32;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let (values, tail) = S::as_simd_f32s(self.0);
            let mut sums = [simd.splat_f32s(0.0); 4];
            let (values, rest) = pulp::as_arrays::<4, _>(values);
            for values in values {
                for lane in 0..4 {
                    sums[lane] = simd.add_f32s(values[lane], sums[lane]);
                }
            }
            for &value in rest {
                sums[0] = simd.add_f32s(value, sums[0]);
            }
            sums[1] = simd.add_f32s(simd.partial_load_f32s(tail), sums[1]);
            let [first, second, third, fourth] = sums;
            simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(first, second), simd.add_f32s(third, fourth)))
        }
    }
    arch().dispatch(Sum(values))
}

/// Some sums in parts, whose order depends on the lengths alone: the bits are the same on every machine. Its functions become
/// vectors where their caller is [`vectorised`].
pub(crate) struct Sums<const COUNT: usize>([[f32; PARTS]; COUNT]);

/// Numbers that a sum is kept in.
const PARTS: usize = 32;

impl<const COUNT: usize> Default for Sums<COUNT> {
    fn default() -> Self {
        Self([[0.0; PARTS]; COUNT])
    }
}

impl<const COUNT: usize> Sums<COUNT> {
    /// Adds the `terms` of each pair of values, one to each sum.
    #[inline(always)]
    pub(crate) fn add(&mut self, a: &[f32], b: &[f32], terms: impl Fn(f32, f32) -> [f32; COUNT]) {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<PARTS>(), b.as_chunks::<PARTS>());
        let mut sums = self.0;
        for (a, b) in a.iter().zip(b) {
            for lane in 0..PARTS {
                let terms = terms(a[lane], b[lane]);
                for index in 0..COUNT {
                    sums[index][lane] += terms[index];
                }
            }
        }
        for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
            let terms = terms(a, b);
            for index in 0..COUNT {
                sums[index][lane] += terms[index];
            }
        }
        self.0 = sums;
    }

    /// The sums of all that was added.
    #[inline(always)]
    pub(crate) fn totals(mut self) -> [f32; COUNT] {
        let mut totals = [0.0; COUNT];
        for index in 0..COUNT {
            for half in [16, 8, 4, 2, 1] {
                for lane in 0..half {
                    self.0[index][lane] += self.0[index][lane + half];
                }
            }
            totals[index] = self.0[index][0];
        }
        totals
    }
}

/// Floats of a vector on this machine.
pub(crate) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) -> usize {
            S::F32_LANES
        }
    }
    arch().dispatch(Lanes)
}
