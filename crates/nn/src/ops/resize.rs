//! Enlarging and shrinking maps, with torch's rules and no antialiasing.

use candle_core::{Result, Tensor};
use cirio_kernels::resize::{nearest, neighbours};
use cirio_kernels::{AlignCorners, Interpolation, Resize2d, Resize2dShape};

use super::backend::{Backend, backend};
use super::check::{error, maps};
use super::kernels;
use super::portable::{self, Mixing};

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
    match backend(x) {
        Backend::Kernels => by_kernel("upsample_nearest2d", x, size, Interpolation::Nearest),
        Backend::Portable => portable::select(&portable::select(x, 2, nearest(h, size[0]))?, 3, nearest(w, size[1])),
    }
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
    match backend(x) {
        Backend::Kernels => by_kernel("upsample_bilinear2d", x, size, Interpolation::Bilinear(corners)),
        Backend::Portable => {
            let weights = |old: usize, new: usize| Mixing::new(old, new, |place| neighbours(place, old, new, corners));
            portable::mix(x, &weights(h, size[0]), &weights(w, size[1]))
        }
    }
}

/// The kernel's way.
fn by_kernel(op: &str, x: &Tensor, output: [usize; 2], interpolation: Interpolation) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let plan = Resize2d::new(Resize2dShape { c, h, w, output, interpolation }).map_err(|reason| error(op, reason))?;
    kernels::unary(plan, n, x, (n, c, output[0], output[1]))
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
    fn errors_say_what_was_given_and_expected() -> Result<()> {
        let x = Tensor::ones((1, 2, 3, 4), DType::F32, &Device::Cpu)?;
        let message = upsample_nearest2d(&x, [0, 4]).unwrap_err().to_string();
        assert_eq!(message, "upsample_nearest2d: maps of 3×4 cannot be resized to 0×4");
        let message = upsample_bilinear2d(&x.flatten_all()?, [6, 8], AlignCorners::No).unwrap_err().to_string();
        assert_eq!(message, "upsample_bilinear2d: the input has the shape [24], expected (N, C, H, W)");
        Ok(())
    }
}
