//! Max pooling by windows of 2×2 pixels that lie side by side, vectorised.

use crate::simd::vectorised;

/// The next maximum: the first wins a tie, a NaN wins always.
#[inline(always)]
fn larger(max: f32, value: f32) -> f32 {
    if value > max || value.is_nan() { value } else { max }
}

/// One channel; `width` is the input's.
pub(crate) fn max(x: &[f32], y: &mut [f32], width: usize) {
    vectorised(|| {
        for (rows, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width / 2)) {
            let (upper, lower) = rows.split_at(width);
            for ((y, a), b) in y.iter_mut().zip(upper.chunks_exact(2)).zip(lower.chunks_exact(2)) {
                *y = larger(larger(larger(a[0], a[1]), b[0]), b[1]);
            }
        }
    });
}

/// One channel; rows and columns that no window covers get 0.
pub(crate) fn max_backward(x: &[f32], dy: &[f32], dx: &mut [f32], width: usize) {
    vectorised(|| {
        let mut gradients = dx.chunks_exact_mut(2 * width);
        for ((rows, dy), dx) in x.chunks_exact(2 * width).zip(dy.chunks_exact(width / 2)).zip(&mut gradients) {
            let (upper, lower) = rows.split_at(width);
            let (dx_upper, dx_lower) = dx.split_at_mut(width);
            let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
            let places = dx_upper.chunks_exact_mut(2).zip(dx_lower.chunks_exact_mut(2));
            for ((dy, (a, b)), (dx_a, dx_b)) in dy.iter().zip(pairs).zip(places) {
                let (mut max, mut place) = (a[0], 0u32);
                for (candidate, value) in [(1, a[1]), (2, b[0]), (3, b[1])] {
                    place = if value > max || value.is_nan() { candidate } else { place };
                    max = larger(max, value);
                }
                let share = |candidate| if place == candidate { *dy } else { 0.0 };
                (dx_a[0], dx_a[1], dx_b[0], dx_b[1]) = (share(0), share(1), share(2), share(3));
            }
            if width % 2 == 1 {
                (dx_upper[width - 1], dx_lower[width - 1]) = (0.0, 0.0);
            }
        }
        gradients.into_remainder().fill(0.0);
    });
}
