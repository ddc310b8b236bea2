//! The innermost loop of all convolutions: rows of values times columns of vectors, summed in registers.
#![allow(unsafe_code)] // it reads without checks

use pulp::Simd;

use crate::simd::prefetch;

/// Vectors of filters that are computed together at most: what leaves room for the sums of several pixels in the registers.
pub(crate) const fn most_vectors(lanes: usize) -> usize {
    if lanes == 8 { 2 } else { 4 } // AVX2 has 16 registers, AVX-512 and NEON have 32
}

/// Writes `$body` down for each of the numbers that are less than `$count`. A loop would do the same, but the compiler does not
/// unroll it as far as is needed to keep all sums in registers.
macro_rules! each {
    ($index:ident in [$($number:literal)*], less than $count:ident: $body:block) => {
        $(if $number < $count { const $index: usize = $number; $body })*
    };
}
pub(crate) use each;

/// Filters that are computed together at most, with the longest vectors.
pub(crate) const MOST_FILTERS: usize = 4 * 16;

/// What is wanted next, and brought near while something else is computed: a line at each tap, and so not all of it where taps are few. Many
/// lines at once would stand in the way of what is wanted now.
pub(crate) struct Ahead {
    next: *const u8,
    /// Bytes from one call to the next.
    of_a_call: usize,
    /// Bytes from one tap to the next.
    of_a_tap: usize,
}

impl Ahead {
    /// Values that are wanted after `calls` calls of [`accumulate`], each of `taps` taps.
    #[inline(always)]
    pub(crate) fn new<T>(values: &[T], calls: usize, taps: usize) -> Self {
        let of_a_call = size_of_val(values) / calls.max(1);
        Self { next: values.as_ptr().cast(), of_a_call, of_a_tap: of_a_call.div_ceil(taps.max(1)) }
    }

    /// What the next call brings near.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Lines {
        let lines = Lines { next: self.next, step: self.of_a_tap };
        self.next = self.next.wrapping_add(self.of_a_call);
        lines
    }
}

/// The lines of memory that are brought near by one call of [`accumulate`].
#[derive(Clone, Copy)]
pub(crate) struct Lines {
    next: *const u8,
    /// Bytes from a tap's line to the next one's. A line may come several times, or be passed over: that costs less than a branch and the
    /// registers that it needs.
    step: usize,
}

impl Lines {
    /// A line that is near already, so that nothing more comes.
    #[inline(always)]
    pub(crate) fn near(values: &[f32]) -> Self {
        Self { next: values.as_ptr().cast(), step: 0 }
    }
}

/// sums[p][f] += Σ over the taps k of rows[p][taps[k]] · w[k·step + f·gap ..], for P rows of values and F vectors. Meanwhile, what lies
/// `ahead` is brought near.
///
/// # Safety
/// `rows[p] + tap` is readable for each row and tap, and a vector at `w + k·step + f·gap` for each tap's index k and each f.
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd, const P: usize, const F: usize>(
    simd: S,
    rows: [*const f32; P],
    taps: &[u32],
    mut w: *const f32,
    [step, gap]: [usize; 2],
    mut ahead: Lines,
    mut sums: [[S::f32s; F]; P],
) -> [[S::f32s; F]; P] {
    // Four taps a turn, so that counting them is a small part of the work.
    let (fours, rest) = taps.as_chunks::<4>();
    // SAFETY: as the caller promises.
    unsafe {
        for four in fours {
            for (index, &tap) in four.iter().enumerate() {
                prefetch(ahead.next);
                ahead.next = ahead.next.wrapping_add(ahead.step);
                sums = add(simd, rows, tap as usize, w.add(index * step), gap, sums);
            }
            w = w.wrapping_add(4 * step);
        }
        for &tap in rest {
            sums = add(simd, rows, tap as usize, w, gap, sums);
            w = w.wrapping_add(step);
        }
    }
    sums
}

/// One tap of [`accumulate`], whose rules hold here: sums[p][f] += rows[p][tap] · w[f·gap ..].
///
/// # Safety
/// As for [`accumulate`], of this tap.
#[inline(always)]
pub(crate) unsafe fn add<S: Simd, const P: usize, const F: usize>(
    simd: S,
    rows: [*const f32; P],
    tap: usize,
    w: *const f32,
    gap: usize,
    mut sums: [[S::f32s; F]; P],
) -> [[S::f32s; F]; P] {
    const { assert!(P <= 8 && F <= 4, "more than is written down here") };
    let mut weights = [simd.splat_f32s(0.0); F];
    each!(VECTOR in [0 1 2 3], less than F: {
        // SAFETY: the caller promises that this is readable; a vector of floats is plain data of that many floats.
        weights[VECTOR] = unsafe { w.add(VECTOR * gap).cast::<S::f32s>().read_unaligned() };
    });
    each!(ROW in [0 1 2 3 4 5 6 7], less than P: {
        // SAFETY: as above.
        let value = simd.splat_f32s(unsafe { *rows[ROW].add(tap) });
        each!(VECTOR in [0 1 2 3], less than F: {
            sums[ROW][VECTOR] = simd.mul_add_e_f32s(value, weights[VECTOR], sums[ROW][VECTOR]);
        });
    });
    sums
}

/// Calls `$plan.$tiles::<S, pixels, fewer of them for the rest, vectors>($arguments)` for a number of vectors that is known only now. The
/// numbers of pixels are such that their sums, the vectors and one value fit into the registers.
macro_rules! for_vectors {
    ($vectors:expr, $plan:ident.$tiles:ident::<$simd:ty>($($argument:expr),*)) => {
        match $vectors {
            1 => $plan.$tiles::<$simd, 8, 4, 1>($($argument),*),
            2 if <$simd>::F32_LANES == 8 => $plan.$tiles::<$simd, 6, 4, 2>($($argument),*),
            2 => $plan.$tiles::<$simd, 8, 4, 2>($($argument),*),
            3 => $plan.$tiles::<$simd, 8, 4, 3>($($argument),*),
            _ => $plan.$tiles::<$simd, 6, 4, 4>($($argument),*),
        }
    };
}
pub(crate) use for_vectors;
