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

/// The sum of the products, in an order that depends on the length alone.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    struct Dot<'a>(&'a [f32], &'a [f32]);
    impl WithSimd for Dot<'_> {
        type Output = f32;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let (a, a_tail) = S::as_simd_f32s(self.0);
            let (b, b_tail) = S::as_simd_f32s(self.1);
            let mut sums = [simd.splat_f32s(0.0); 4];
            let (a, a_rest) = pulp::as_arrays::<4, _>(a);
            let (b, b_rest) = pulp::as_arrays::<4, _>(b);
            for (a, b) in a.iter().zip(b) {
                for lane in 0..4 {
                    sums[lane] = simd.mul_add_e_f32s(a[lane], b[lane], sums[lane]);
                }
            }
            for (&a, &b) in a_rest.iter().zip(b_rest) {
                sums[0] = simd.mul_add_e_f32s(a, b, sums[0]);
            }
            let (a, b) = (simd.partial_load_f32s(a_tail), simd.partial_load_f32s(b_tail));
            sums[1] = simd.mul_add_e_f32s(a, b, sums[1]);
            let [first, second, third, fourth] = sums;
            simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(first, second), simd.add_f32s(third, fourth)))
        }
    }
    Arch::new().dispatch(Dot(a, b))
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
