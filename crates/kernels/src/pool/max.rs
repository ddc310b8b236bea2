//! Max pooling of one channel, vectorised along the rows of the output.

use pulp::{Simd, WithSimd};

use super::Pool2dShape;
use crate::columns::Columns;
use crate::simd::{arch, vectorised};

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
    vectorised!(move || {
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
    vectorised!(move || {
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
    vectorised!(move || {
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
    arch().dispatch(Backward { x, dy, dx, width });
}

/// A type: the compiler makes it twice as fast as the same in a closure.
struct Backward<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    width: usize,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { x, dy, dx, width } = self;
        let windows = width / 2;
        for (row, of_row) in (0..dy.len()).step_by(windows).enumerate() {
            let [upper, lower] = [2 * row * width, (2 * row + 1) * width];
            for first in (0..windows).step_by(WINDOWS) {
                // The last windows of a long row are shared out once more; of a short row some belong to the next rows, which then replace them.
                let first = first.min(windows.saturating_sub(WINDOWS));
                let [above, below, at] = [upper + 2 * first, lower + 2 * first, of_row + first];
                if let (Some(pixels_above), Some(pixels_below), Some(dy)) = (chunk(x, above), chunk(x, below), chunk(dy, at)) {
                    let [dx_above, dx_below] = share(pixels_above, pixels_below, dy);
                    dx[above..][..2 * WINDOWS].copy_from_slice(&dx_above);
                    dx[below..][..2 * WINDOWS].copy_from_slice(&dx_below);
                } else {
                    let (some, mut pixels, mut gradients) = (windows.min(WINDOWS), [[0.0; 2 * WINDOWS]; 2], [0.0; WINDOWS]);
                    pixels[0][..2 * some].copy_from_slice(&x[above..][..2 * some]);
                    pixels[1][..2 * some].copy_from_slice(&x[below..][..2 * some]);
                    gradients[..some].copy_from_slice(&dy[at..][..some]);
                    let [dx_above, dx_below] = share(&pixels[0], &pixels[1], &gradients);
                    dx[above..][..2 * some].copy_from_slice(&dx_above[..2 * some]);
                    dx[below..][..2 * some].copy_from_slice(&dx_below[..2 * some]);
                }
            }
            if width % 2 == 1 {
                (dx[upper + width - 1], dx[lower + width - 1]) = (0.0, 0.0);
            }
        }
        dx[2 * (dy.len() / windows) * width..].fill(0.0);
    }
}

/// Windows that are taken together.
const WINDOWS: usize = 16;

/// The next N values from a place on, where there are as many.
#[inline(always)]
fn chunk<const N: usize>(values: &[f32], place: usize) -> Option<&[f32; N]> {
    values.get(place..)?.first_chunk()
}

/// What the gradients of some windows are to their pixels, the upper ones and the lower ones.
#[inline(always)]
fn share(upper: &[f32; 2 * WINDOWS], lower: &[f32; 2 * WINDOWS], dy: &[f32; WINDOWS]) -> [[f32; 2 * WINDOWS]; 2] {
    // An array for each corner, and a loop for each step: so the compiler makes vectors of them.
    let (mut a, mut b, mut c, mut d) = ([0.0; WINDOWS], [0.0; WINDOWS], [0.0; WINDOWS], [0.0; WINDOWS]);
    for window in 0..WINDOWS {
        (a[window], b[window]) = (upper[2 * window], upper[2 * window + 1]);
        (c[window], d[window]) = (lower[2 * window], lower[2 * window + 1]);
    }
    let (mut of_a, mut of_b, mut of_c, mut of_d) = ([0.0; WINDOWS], [0.0; WINDOWS], [0.0; WINDOWS], [0.0; WINDOWS]);
    for window in 0..WINDOWS {
        let is_b = (b[window] > a[window]) | b[window].is_nan();
        let max = if is_b { b[window] } else { a[window] };
        let is_c = (c[window] > max) | c[window].is_nan();
        let max = if is_c { c[window] } else { max };
        let is_d = (d[window] > max) | d[window].is_nan();
        let left = dy[window];
        of_d[window] = if is_d { left } else { 0.0 };
        let left = if is_d { 0.0 } else { left };
        of_c[window] = if is_c { left } else { 0.0 };
        let left = if is_c { 0.0 } else { left };
        of_b[window] = if is_b { left } else { 0.0 };
        of_a[window] = if is_b { 0.0 } else { left };
    }
    let (mut above, mut below) = ([0.0; 2 * WINDOWS], [0.0; 2 * WINDOWS]);
    for window in 0..WINDOWS {
        (above[2 * window], above[2 * window + 1]) = (of_a[window], of_b[window]);
    }
    for window in 0..WINDOWS {
        (below[2 * window], below[2 * window + 1]) = (of_c[window], of_d[window]);
    }
    [above, below]
}
