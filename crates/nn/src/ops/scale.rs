//! Maps times numbers that were learnt for their channels.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use cirio_kernels::ScaleShift;

use super::backend::{Backend, backend};
use super::check::{alike, error, maps};
use super::kernels::{self, Then};
use super::tape;

/// Each channel of each image times a number of its own: what squeeze-and-excitation does with what it has learnt.
///
/// # Shapes
/// x (N, C, H, W), factors (N, C, 1, 1); the result is like x.
///
/// # Errors
/// When shapes, types or devices do not fit one another.
pub fn scale_channels(x: &Tensor, factors: &Tensor) -> Result<Tensor> {
    const NAME: &str = "scale_channels";
    let [n, c, h, w] = maps(NAME, x)?;
    if factors.dims() != [n, c, 1, 1] {
        return Err(error(NAME, format!("the factors have the shape {:?}, expected {:?}", factors.dims(), [n, c, 1, 1])));
    }
    alike(NAME, x, "factors", factors)?;
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    if tape::is_recording() {
        return Err(error(NAME, "a tape does not record it: a layer that calls it is not recordable"));
    }
    match backend(x) {
        // As many channels of one image.
        Backend::Kernels => {
            let plan = ScaleShift::new(n * c, h * w).map_err(|reason| error(NAME, reason))?;
            kernels::weighted(Arc::new(plan), 1, x, &factors.flatten_all()?, None, x.shape(), Then::Nothing)
        }
        Backend::Portable => x.broadcast_mul(factors),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn factors_that_do_not_fit_are_refused() -> Result<()> {
        let x = Tensor::zeros((2, 3, 4, 5), DType::F32, &Device::Cpu)?;
        let message = |factors: Tensor| scale_channels(&x, &factors).unwrap_err().to_string();
        let error = message(Tensor::zeros((2, 4, 1, 1), DType::F32, &Device::Cpu)?);
        assert_eq!(error, "scale_channels: the factors have the shape [2, 4, 1, 1], expected [2, 3, 1, 1]");
        let error = message(Tensor::zeros((2, 3, 1, 1), DType::F64, &Device::Cpu)?);
        assert_eq!(error, "scale_channels: the input is F32, the factors F64");
        Ok(())
    }
}
