//! Max pooling of one channel, vectorised along the rows of the output.

use super::Pool2dShape;
use crate::columns::Columns;
use crate::simd::vectorised;

/// Outputs of a row that are computed together.
const TOGETHER: usize = 64;

/// The next maximum: the first wins a tie, a NaN wins always.
#[inline(always)]
fn larger(max: f32, value: f32) -> f32 {
    if value > max || value.is_nan() { value } else { max }
}

/// The maxima of some neighbouring windows and their places in the channel; room for more than there are.
struct Maxima {
    max: [f32; TOGETHER],
    place: [u32; TOGETHER],
}

impl Maxima {
    /// Of the `count` windows from (row, first) on. Places are wanted only where PLACES.
    #[inline(always)]
    fn new<const PLACES: bool>(shape: &Pool2dShape, x: &[f32], row: usize, first: usize, count: usize) -> Self {
        let &Pool2dShape { h, w, kernel, stride, padding, .. } = shape;
        let mut maxima = Self { max: [f32::NEG_INFINITY; TOGETHER], place: [0; TOGETHER] };
        let top = (row * stride[0]).saturating_sub(padding[0]);
        let bottom = (row * stride[0] + kernel[0] - padding[0]).min(h);
        if PLACES {
            // Where all values are -∞, the window's first pixel stands.
            for (index, place) in maxima.place[..count].iter_mut().enumerate() {
                *place = (top * w + ((first + index) * stride[1]).saturating_sub(padding[1])) as u32;
            }
        }
        for line in top..bottom {
            for s in 0..kernel[1] {
                let columns = Columns::new(count, w, stride[1], first * stride[1] + s, padding[1]);
                match columns.stride {
                    1 => maxima.meet::<PLACES, 1>(&columns, x, line * w, w),
                    2 => maxima.meet::<PLACES, 2>(&columns, x, line * w, w),
                    _ => maxima.meet::<PLACES, 0>(&columns, x, line * w, w),
                }
            }
        }
        maxima
    }

    /// Compares the maxima with the pixels that one column of their windows has in the row from `start` on. STRIDE is that of the columns, or 0 for any.
    #[inline(always)]
    fn meet<const PLACES: bool, const STRIDE: usize>(&mut self, columns: &Columns, x: &[f32], start: usize, width: usize) {
        let stride = if STRIDE == 0 { columns.stride } else { STRIDE };
        let count = columns.valid.len();
        if count == 0 {
            return;
        }
        let row = &x[start + columns.first..start + width][..(count - 1) * stride + 1];
        let first = (start + columns.first) as u32;
        let (max, place) = (&mut self.max[columns.valid.clone()], &mut self.place[columns.valid.clone()]);
        for index in 0..count {
            let value = row[index * stride];
            if PLACES {
                place[index] = if value > max[index] || value.is_nan() { first + (index * stride) as u32 } else { place[index] };
            }
            max[index] = larger(max[index], value);
        }
    }
}

/// y = the maxima.
pub(super) fn forward(shape: &Pool2dShape, x: &[f32], y: &mut [f32]) {
    let [_, width] = shape.output();
    vectorised(|| {
        for (row, y) in y.chunks_exact_mut(width).enumerate() {
            for (index, y) in y.chunks_mut(TOGETHER).enumerate() {
                let maxima = Maxima::new::<false>(shape, x, row, index * TOGETHER, y.len());
                y.copy_from_slice(&maxima.max[..y.len()]);
            }
        }
    });
}

/// dx = the gradients, at the places of the maxima.
pub(super) fn backward(shape: &Pool2dShape, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let [_, width] = shape.output();
    dx.fill(0.0);
    vectorised(|| {
        for (row, dy) in dy.chunks_exact(width).enumerate() {
            for (index, dy) in dy.chunks(TOGETHER).enumerate() {
                let maxima = Maxima::new::<true>(shape, x, row, index * TOGETHER, dy.len());
                for (dy, &place) in dy.iter().zip(&maxima.place) {
                    dx[place as usize] += dy;
                }
            }
        }
    });
}

/// The same for windows of 2×2 pixels side by side; `width` is the input's.
pub(super) fn forward_2x2(x: &[f32], y: &mut [f32], width: usize) {
    vectorised(|| {
        for (rows, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width / 2)) {
            let (upper, lower) = rows.split_at(width);
            for ((y, a), b) in y.iter_mut().zip(upper.chunks_exact(2)).zip(lower.chunks_exact(2)) {
                *y = larger(larger(larger(a[0], a[1]), b[0]), b[1]);
            }
        }
    });
}

/// The same for windows of 2×2 pixels side by side; rows and columns that no window covers get 0.
pub(super) fn backward_2x2(x: &[f32], dy: &[f32], dx: &mut [f32], width: usize) {
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
