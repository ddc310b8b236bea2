//! Enlarging and shrinking maps, with torch's rules and no antialiasing.

use candle_core::{Result, Tensor};

use super::check::{error, maps};
use super::portable::{self, Mixing};

/// Where the pixels of a resized map lie in the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlignCorners {
    /// The centres of the first and the last pixels fall on one another.
    Yes,
    /// The outer edges of the maps do, and a pixel is a square (torch's default).
    No,
}

/// Each new pixel is the old one at ⌊place · (old side / new side)⌋. As torch's `interpolate` with mode `nearest`, also in
/// computing the place in single precision: for some pairs of sizes, such as 2 to 82, one pixel is rounded to another place.
///
/// # Shapes
/// x (N, C, H, W); the result (N, C, rows, columns).
///
/// # Errors
/// When x is not (N, C, H, W), or a side of it or of the result is 0.
pub fn upsample_nearest2d(x: &Tensor, size: [usize; 2]) -> Result<Tensor> {
    let Some([h, w]) = sides("upsample_nearest2d", x, size)? else { return empty(x, size) };
    portable::select(&portable::select(x, 2, nearest(h, size[0]))?, 3, nearest(w, size[1]))
}

/// Each new pixel is a weighted mean of the four old ones around it. As torch's `interpolate` with mode `bilinear`.
///
/// # Shapes
/// x (N, C, H, W); the result (N, C, rows, columns).
///
/// # Errors
/// When x is not (N, C, H, W), or a side of it or of the result is 0.
pub fn upsample_bilinear2d(x: &Tensor, size: [usize; 2], corners: AlignCorners) -> Result<Tensor> {
    let Some([h, w]) = sides("upsample_bilinear2d", x, size)? else { return empty(x, size) };
    let weights = |old: usize, new: usize| Mixing::new(old, new, |place| neighbours(place, old, new, corners));
    portable::mix(x, &weights(h, size[0]), &weights(w, size[1]))
}

/// The old pixel that each new one is, along one axis.
fn nearest(old: usize, new: usize) -> impl Iterator<Item = usize> {
    let scale = old as f32 / new as f32;
    (0..new).map(move |place| ((place as f32 * scale) as usize).min(old - 1))
}

/// The two old pixels beside a new one, along one axis, and their shares.
fn neighbours(place: usize, old: usize, new: usize, corners: AlignCorners) -> [(usize, f64); 2] {
    let source = match corners {
        AlignCorners::Yes => place as f64 * (old - 1) as f64 / new.saturating_sub(1).max(1) as f64,
        AlignCorners::No => ((place as f64 + 0.5) * old as f64 / new as f64 - 0.5).max(0.0),
    };
    let first = (source as usize).min(old - 1);
    let share = source - first as f64;
    [(first, 1.0 - share), ((first + 1).min(old - 1), share)]
}

/// H and W, or nothing when there are no images or channels.
fn sides(op: &str, x: &Tensor, [rows, columns]: [usize; 2]) -> Result<Option<[usize; 2]>> {
    let [n, c, h, w] = maps(op, x)?;
    if [h, w, rows, columns].contains(&0) {
        return Err(error(op, format!("maps of {h}×{w} cannot be resized to {rows}×{columns}")));
    }
    Ok((n * c > 0).then_some([h, w]))
}

fn empty(x: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor> {
    Tensor::zeros((x.dim(0)?, x.dim(1)?, rows, columns), x.dtype(), x.device())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

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

    #[test]
    fn errors_say_what_was_given_and_expected() -> Result<()> {
        let x = Tensor::ones((1, 2, 3, 4), DType::F32, &Device::Cpu)?;
        let message = upsample_nearest2d(&x, [0, 4]).unwrap_err().to_string();
        assert_eq!(message, "upsample_nearest2d: maps of 3×4 cannot be resized to 0×4");
        let message = upsample_bilinear2d(&x.flatten_all()?, [6, 8], AlignCorners::No).unwrap_err().to_string();
        assert_eq!(message, "upsample_bilinear2d: the input has the shape [24], expected (N, C, H, W)");
        Ok(())
    }
}
