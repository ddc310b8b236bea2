//! Loops over slices, compiled for the best instruction set that the machine turns out to have (crate `pulp`).

use pulp::{Arch, Simd, WithSimd};

/// Runs `work`, whose loops the compiler may turn into vectors of this machine.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(work)
}

/// to += from.
pub(crate) fn add(to: &mut [f32], from: &[f32]) {
    vectorised(|| to.iter_mut().zip(from).for_each(|(to, from)| *to += from));
}

/// The sums of the products of two rows with each of N vectors of their length, which lie one after the other; each in an order
/// that depends on the length alone.
pub(crate) fn dots<const N: usize>(rows: [&[f32]; 2], vectors: &[f32]) -> [[f32; 2]; N] {
    struct Dots<'a, const N: usize>([&'a [f32]; 2], &'a [f32]);
    impl<const N: usize> WithSimd for Dots<'_, N> {
        type Output = [[f32; 2]; N];
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> [[f32; 2]; N] {
            let length = self.0[0].len();
            let parts = |values| S::as_simd_f32s(values);
            let [(first, first_tail), (second, second_tail)] = self.0.map(parts);
            let vectors: [_; N] = std::array::from_fn(|n| parts(&self.1[n * length..(n + 1) * length]));
            let mut sums = [[simd.splat_f32s(0.0); 2]; N];
            for (place, (&a, &b)) in first.iter().zip(second).enumerate() {
                for n in 0..N {
                    let x = vectors[n].0[place];
                    sums[n] = [simd.mul_add_e_f32s(a, x, sums[n][0]), simd.mul_add_e_f32s(b, x, sums[n][1])];
                }
            }
            let [a, b] = [first_tail, second_tail].map(|tail| simd.partial_load_f32s(tail));
            std::array::from_fn(|n| {
                let x = simd.partial_load_f32s(vectors[n].1);
                [simd.mul_add_e_f32s(a, x, sums[n][0]), simd.mul_add_e_f32s(b, x, sums[n][1])].map(|sum| simd.reduce_sum_f32s(sum))
            })
        }
    }
    Arch::new().dispatch(Dots::<N>(rows, vectors))
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
    Arch::new().dispatch(Sum(values))
}

/// A sum in parts, whose order depends on the lengths alone: the bits are the same on every machine. Its functions become
/// vectors where their caller is [`vectorised`].
#[derive(Default)]
pub(crate) struct Sums([f32; Sums::COUNT]);

impl Sums {
    const COUNT: usize = 32;

    /// Adds `term` of each pair of values.
    #[inline(always)]
    pub(crate) fn add(&mut self, a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<{ Self::COUNT }>(), b.as_chunks::<{ Self::COUNT }>());
        let mut sums = self.0;
        for (a, b) in a.iter().zip(b) {
            for lane in 0..Self::COUNT {
                sums[lane] += term(a[lane], b[lane]);
            }
        }
        for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
            *sum += term(a, b);
        }
        self.0 = sums;
    }

    /// The sum of all that was added.
    #[inline(always)]
    pub(crate) fn total(mut self) -> f32 {
        for half in [16, 8, 4, 2, 1] {
            for lane in 0..half {
                self.0[lane] += self.0[lane + half];
            }
        }
        self.0[0]
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
    Arch::new().dispatch(Lanes)
}
