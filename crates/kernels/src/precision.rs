//! Numbers in half precision, made into single precision.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Writes the numbers to as many places.
pub(crate) fn widen(from: &[f16], to: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx") && std::is_x86_feature_detected!("f16c") {
        // SAFETY: the processor has both.
        #[allow(unsafe_code)]
        unsafe {
            x86::widen(from, to);
        }
        return;
    }
    from.convert_to_f32_slice(to);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![allow(unsafe_code)] // vectors of the processor

    use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_storeu_ps};

    use half::f16;

    /// The crate half does the same with a call for each eight numbers, which costs more than their way from memory.
    #[target_feature(enable = "avx,f16c")]
    pub(super) fn widen(from: &[f16], to: &mut [f32]) {
        let (from, from_rest) = from.as_chunks::<8>();
        let (to, to_rest) = to.as_chunks_mut::<8>();
        for (from, to) in from.iter().zip(to) {
            // SAFETY: both are eight numbers long; an f16 is its 16 bits.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast()))) };
        }
        to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = from.to_f32());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_and_every_length() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        for length in [0, 1, 7, 8, 9, 1000, all.len()] {
            let mut to = vec![-1.0; length];
            widen(&all[..length], &mut to);
            for (from, to) in all.iter().zip(to) {
                assert!(from.to_f32() == to || (from.is_nan() && to.is_nan()), "{from}");
            }
        }
    }
}
