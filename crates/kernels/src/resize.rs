//! Enlarging and shrinking maps, with torch's rules (`interpolate`) and no antialiasing. Each channel on its own.

use crate::error::{ShapeError, expect, expect_positive, volume};
use crate::parallel::for_each_pair;
use crate::simd::vectorised;

/// Where the pixels of a resized map lie in the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlignCorners {
    /// The centres of the first and the last pixels fall on one another.
    Yes,
    /// The outer edges of the maps do, and a pixel is a square (torch's default).
    No,
}

/// What a new pixel is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// One old pixel, see [`nearest`].
    Nearest,
    /// A weighted mean of the four old ones around it, see [`neighbours`].
    Bilinear(AlignCorners),
}

/// The old pixel that each new one is, along one axis: ⌊place · (old side / new side)⌋. As torch also in computing it in single
/// precision: for some pairs of sizes, such as 2 to 82, one pixel is rounded to another place.
pub fn nearest(old: usize, new: usize) -> impl Iterator<Item = usize> {
    let scale = old as f32 / new as f32;
    (0..new).map(move |place| ((place as f32 * scale) as usize).min(old - 1))
}

/// The two old pixels beside a new one, along one axis, and their shares.
pub fn neighbours(place: usize, old: usize, new: usize, corners: AlignCorners) -> [(usize, f64); 2] {
    let source = match corners {
        AlignCorners::Yes => place as f64 * (old - 1) as f64 / new.saturating_sub(1).max(1) as f64,
        AlignCorners::No => ((place as f64 + 0.5) * old as f64 / new as f64 - 0.5).max(0.0),
    };
    let first = (source as usize).min(old - 1);
    let share = source - first as f64;
    [(first, 1.0 - share), ((first + 1).min(old - 1), share)]
}

/// The sizes of a resizing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resize2dShape {
    /// C, channels.
    pub c: usize,
    /// H, rows of the input.
    pub h: usize,
    /// W, columns of the input.
    pub w: usize,
    /// Rows and columns of the output.
    pub output: [usize; 2],
    /// What a new pixel is made of.
    pub interpolation: Interpolation,
}

/// The plan for a resizing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize2d {
    shape: Resize2dShape,
}

impl Resize2d {
    /// The plan for a shape.
    ///
    /// # Errors
    /// When a size is 0.
    pub fn new(shape: Resize2dShape) -> Result<Self, ShapeError> {
        let Resize2dShape { c, h, w, output: [rows, columns], .. } = shape;
        expect_positive(&[
            ("the number of channels", c),
            ("the input's height", h),
            ("the input's width", w),
            ("the output's height", rows),
            ("the output's width", columns),
        ])?;
        volume(&[c, h, w])?;
        volume(&[c, rows, columns])?;
        Ok(Self { shape })
    }

    /// The shape that the plan is for.
    pub fn shape(&self) -> &Resize2dShape {
        &self.shape
    }

    /// y, the resized maps.
    ///
    /// # Shapes
    /// x (N, C, H, W), y (N, C, rows, columns).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward(&self, n: usize, x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
        let Resize2dShape { c, h, w, output: [rows, columns], interpolation } = self.shape;
        expect("x", x, &[n, c, h, w])?;
        expect("y", y, &[n, c, rows, columns])?;
        if n == 0 {
            return Ok(());
        }
        let planes = [h * w, rows * columns];
        match interpolation {
            Interpolation::Nearest => {
                let [rows, columns] = self.places();
                for_each_pair(x, y, planes, |x, y| vectorised!(|| nearest_plane(w, &rows, &columns, x, y)));
            }
            Interpolation::Bilinear(corners) => {
                let [rows, columns] = self.mixes(corners);
                for_each_pair(x, y, planes, |x, y| vectorised!(|| bilinear_plane(w, &rows, &columns, x, y)));
            }
        }
        Ok(())
    }

    /// dx, the gradient to the input: each new pixel gives its gradient to the old ones it is made of, by their shares. What
    /// stands in `dx` is replaced.
    ///
    /// # Shapes
    /// dy (N, C, rows, columns), dx (N, C, H, W).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward(&self, n: usize, dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
        let Resize2dShape { c, h, w, output: [rows, columns], interpolation } = self.shape;
        expect("dy", dy, &[n, c, rows, columns])?;
        expect("dx", dx, &[n, c, h, w])?;
        if n == 0 {
            return Ok(());
        }
        let planes = [rows * columns, h * w];
        match interpolation {
            Interpolation::Nearest => {
                let [rows, columns] = self.places();
                for_each_pair(dy, dx, planes, |dy, dx| nearest_plane_backward(w, &rows, &columns, dy, dx));
            }
            Interpolation::Bilinear(corners) => {
                let [rows, columns] = self.mixes(corners);
                for_each_pair(dy, dx, planes, |dy, dx| vectorised!(|| bilinear_plane_backward(w, &rows, &columns, dy, dx)));
            }
        }
        Ok(())
    }

    /// The old row of each new one, and the columns.
    fn places(&self) -> [Vec<usize>; 2] {
        let Resize2dShape { h, w, output, .. } = self.shape;
        [nearest(h, output[0]).collect(), nearest(w, output[1]).collect()]
    }

    /// The old rows of each new one, and the columns.
    fn mixes(&self, corners: AlignCorners) -> [Vec<Mix>; 2] {
        let Resize2dShape { h, w, output, .. } = self.shape;
        let along = |old: usize, new: usize| {
            let mix = |place| {
                let [(first, _), (second, share)] = neighbours(place, old, new, corners);
                Mix { first, second, share: share as f32 }
            };
            (0..new).map(mix).collect()
        };
        [along(h, output[0]), along(w, output[1])]
    }
}

/// (1 - share) · first + share · second, for two places along an axis.
struct Mix {
    first: usize,
    second: usize,
    share: f32,
}

fn nearest_plane(w: usize, rows: &[usize], columns: &[usize], x: &[f32], y: &mut [f32]) {
    for (place, &row) in rows.iter().enumerate() {
        let (above, y) = y.split_at_mut(place * columns.len());
        let y = &mut y[..columns.len()];
        if place > 0 && rows[place - 1] == row {
            y.copy_from_slice(&above[(place - 1) * columns.len()..]);
        } else {
            let x = &x[row * w..][..w];
            y.iter_mut().zip(columns).for_each(|(y, &column)| *y = x[column]);
        }
    }
}

fn nearest_plane_backward(w: usize, rows: &[usize], columns: &[usize], dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for (&row, dy) in rows.iter().zip(dy.chunks_exact(columns.len())) {
        let dx = &mut dx[row * w..][..w];
        columns.iter().zip(dy).for_each(|(&column, dy)| dx[column] += dy);
    }
}

#[inline(always)]
fn bilinear_plane(w: usize, rows: &[Mix], columns: &[Mix], x: &[f32], y: &mut [f32]) {
    let mut line = vec![0.0; w];
    for (row, y) in rows.iter().zip(y.chunks_exact_mut(columns.len())) {
        let (first, second) = (&x[row.first * w..][..w], &x[row.second * w..][..w]);
        for ((line, first), second) in line.iter_mut().zip(first).zip(second) {
            *line = (1.0 - row.share) * first + row.share * second;
        }
        for (y, mix) in y.iter_mut().zip(columns) {
            *y = (1.0 - mix.share) * line[mix.first] + mix.share * line[mix.second];
        }
    }
}

#[inline(always)]
fn bilinear_plane_backward(w: usize, rows: &[Mix], columns: &[Mix], dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    let mut line = vec![0.0; w];
    for (row, dy) in rows.iter().zip(dy.chunks_exact(columns.len())) {
        line.fill(0.0);
        for (mix, dy) in columns.iter().zip(dy) {
            line[mix.first] += (1.0 - mix.share) * dy;
            line[mix.second] += mix.share * dy;
        }
        for (place, share) in [(row.first, 1.0 - row.share), (row.second, row.share)] {
            dx[place * w..][..w].iter_mut().zip(&line).for_each(|(dx, line)| *dx += share * line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_one_and_stay_inside() {
        for corners in [AlignCorners::Yes, AlignCorners::No] {
            for (old, new) in (1..9).flat_map(|old| (1..20).map(move |new| (old, new))) {
                for place in 0..new {
                    let [(first, a), (second, b)] = neighbours(place, old, new, corners);
                    assert!(first < old && second < old && a >= 0.0 && b >= 0.0 && a + b == 1.0, "{old} {new} {place} {corners:?}");
                }
            }
        }
    }

    /// `F.interpolate(torch.arange(2.).reshape(1, 1, 2, 1), size=(82, 1)).flatten()[40:43]` is 0, 0, 1: torch's place 41 · 2/82
    /// is a little less than 1.
    #[test]
    fn nearest_rounds_as_torch_does() {
        assert_eq!(nearest(2, 82).skip(40).take(3).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!(nearest(3, 7).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(nearest(7, 3).collect::<Vec<_>>(), [0, 2, 4]);
    }
}
