//! Batch normalisation (Ioffe & Szegedy, "Batch normalization: accelerating deep network training by reducing internal
//! covariate shift", 2015).

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use cirio_kernels::{BatchNorm, ScaleShift};

use super::backend::{Backend, backend};
use super::check::{error, float, vector};
use super::kernels::Then;
use super::{kernels, relu};

/// y = (x - mean) / √(variance + eps) · weight + bias for each channel, with statistics that are given: those kept from
/// training, or a frozen layer's.
///
/// # Shapes
/// x (N, C, …), usually (N, C, H, W) or (N, C); weight, bias, running_mean, running_var (C). The result is like x.
///
/// # Errors
/// When shapes, types or devices do not fit one another.
pub fn batch_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, running_mean: &Tensor, running_var: &Tensor, eps: f64) -> Result<Tensor> {
    by_given(x, [weight, bias, running_mean, running_var], eps, Then::Nothing)
}

/// max(y, 0) of [`batch_norm`]'s y, in one operation; its derivative at 0 is 0.
///
/// # Errors
/// As for [`batch_norm`].
pub fn batch_norm_relu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    running_mean: &Tensor,
    running_var: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    by_given(x, [weight, bias, running_mean, running_var], eps, Then::Relu)
}

fn by_given(x: &Tensor, [weight, bias, running_mean, running_var]: [&Tensor; 4], eps: f64, then: Then) -> Result<Tensor> {
    const NAME: &str = "batch_norm";
    let channels = channels(NAME, x)?;
    for (name, tensor) in [("weight", weight), ("bias", bias), ("running mean", running_mean), ("running variance", running_var)] {
        vector(NAME, x, name, tensor, channels)?;
    }
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let scale = (weight / (running_var + eps)?.sqrt()?)?;
    let shift = (bias - (running_mean * &scale)?)?;
    match backend(x) {
        Backend::Kernels => {
            let plan = ScaleShift::new(channels, pixels(x)).map_err(|reason| error(NAME, reason))?;
            kernels::weighted(Arc::new(plan), x.dim(0)?, x, &scale, Some(&shift), x.shape(), then)
        }
        Backend::Portable => {
            let of_channels = per_channel(x);
            let y = x.broadcast_mul(&scale.reshape(of_channels.as_slice())?)?.broadcast_add(&shift.reshape(of_channels.as_slice())?)?;
            if then == Then::Relu { relu(&y) } else { Ok(y) }
        }
    }
}

/// y = (x - mean) / √(variance + eps) · weight + bias with the statistics of the batch itself, and these statistics to keep.
///
/// Gives y, the mean, and the variance as torch keeps it: of N·H·W values divided by N·H·W - 1, where y's is divided by
/// N·H·W. The gradient of y goes through mean and variance; the statistics that are given back carry none.
///
/// # Shapes
/// x (N, C, …), usually (N, C, H, W) or (N, C); weight, bias and both statistics (C). y is like x.
///
/// # Errors
/// When shapes, types or devices do not fit one another, or a channel has fewer than two values.
pub fn batch_norm_train(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<(Tensor, Tensor, Tensor)> {
    by_batch(x, weight, bias, eps, Then::Nothing)
}

/// As [`batch_norm_train`] with max(y, 0) of its y, in one operation; its derivative at 0 is 0.
///
/// # Errors
/// As for [`batch_norm_train`].
pub fn batch_norm_train_relu(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<(Tensor, Tensor, Tensor)> {
    by_batch(x, weight, bias, eps, Then::Relu)
}

fn by_batch(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64, then: Then) -> Result<(Tensor, Tensor, Tensor)> {
    const NAME: &str = "batch_norm_train";
    let channels = channels(NAME, x)?;
    vector(NAME, x, "weight", weight, channels)?;
    vector(NAME, x, "bias", bias, channels)?;
    let count = x.elem_count() / channels.max(1);
    if count < 2 {
        return Err(error(NAME, format!("the input {:?} has {count} values in a channel, a variance needs at least 2", x.dims())));
    }
    let bessel = count as f64 / (count - 1) as f64;
    match backend(x) {
        Backend::Kernels => {
            let plan = BatchNorm::new(channels, pixels(x), eps as f32).map_err(|reason| error(NAME, reason))?;
            let plan = if then == Then::Relu { plan.with_relu() } else { plan };
            let (y, [mean, variance]) = kernels::batch_norm(plan, x.dim(0)?, x, weight, bias)?;
            let unbiased = variance.into_iter().map(|variance| (f64::from(variance) * bessel) as f32).collect();
            let kept = |statistic: Vec<f32>| Tensor::from_vec(statistic, channels, &Device::Cpu);
            Ok((y, kept(mean)?, kept(unbiased)?))
        }
        Backend::Portable => {
            let (y, mean, variance) = normalised(x, weight, bias, eps)?;
            let y = if then == Then::Relu { relu(&y)? } else { y };
            let kept = |statistic: Tensor| statistic.detach().flatten_all()?.to_dtype(x.dtype());
            Ok((y, kept(mean)?, kept((variance * bessel)?)?))
        }
    }
}

/// y, mean and variance by candle's operations; both statistics (1, C, 1), in f32 for f16 and bf16.
fn normalised(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<(Tensor, Tensor, Tensor)> {
    let (channels, count) = (weight.elem_count(), x.elem_count() / weight.elem_count());
    let wide = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 }; // sums in f16 would overflow
    let column = |tensor: &Tensor| tensor.to_dtype(wide)?.reshape((1, channels, 1));
    let mean_of = |values: &Tensor| values.sum_keepdim(2)?.sum_keepdim(0)? / count as f64;

    let flat = x.reshape((x.dim(0)?, channels, ()))?.to_dtype(wide)?;
    let mean = mean_of(&flat)?;
    let centred = flat.broadcast_sub(&mean)?;
    let variance = mean_of(&centred.sqr()?)?;
    let scale = (column(weight)? / (&variance + eps)?.sqrt()?)?;
    let y = centred.broadcast_mul(&scale)?.broadcast_add(&column(bias)?)?;
    Ok((y.to_dtype(x.dtype())?.reshape(x.shape())?, mean, variance))
}

fn channels(op: &str, x: &Tensor) -> Result<usize> {
    float(op, x)?;
    match *x.dims() {
        [_, channels, ..] => Ok(channels),
        _ => Err(error(op, format!("the input has the shape {:?}, expected (N, C, …)", x.shape()))),
    }
}

/// The values of one channel of one image.
fn pixels(x: &Tensor) -> usize {
    x.dims().iter().skip(2).product()
}

/// The shape (1, C, 1, …) that a vector of channels is broadcast from.
fn per_channel(x: &Tensor) -> Vec<usize> {
    x.dims().iter().enumerate().map(|(axis, &side)| if axis == 1 { side } else { 1 }).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn ones(shape: &[usize]) -> Tensor {
        Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
    }

    #[test]
    fn errors_say_what_was_given_and_expected() {
        let (two, three) = (ones(&[2]), ones(&[3]));
        let message = batch_norm_train(&ones(&[1, 2, 1, 1]), &two, &two, 1e-5).unwrap_err().to_string();
        assert_eq!(message, "batch_norm_train: the input [1, 2, 1, 1] has 1 values in a channel, a variance needs at least 2");
        let message = batch_norm(&ones(&[4, 2]), &two, &two, &three, &two, 1e-5).unwrap_err().to_string();
        assert_eq!(message, "batch_norm: the running mean has the shape [3], expected (2)");
        let message = batch_norm(&ones(&[4]), &two, &two, &two, &two, 1e-5).unwrap_err().to_string();
        assert_eq!(message, "batch_norm: the input has the shape [4], expected (N, C, …)");
        assert!(batch_norm_train(&ones(&[0, 2]), &two, &two, 1e-5).is_err());
    }

    #[test]
    fn the_statistics_carry_no_gradient() -> Result<()> {
        let x = candle_core::Var::from_tensor(&ones(&[3, 2]))?;
        let (y, mean, variance) = batch_norm_train(&x, &ones(&[2]), &ones(&[2]), 1e-5)?;
        assert!(y.track_op() && !mean.track_op() && !variance.track_op());
        Ok(())
    }

    /// 100,000 ones: their sum is more than f16 can hold.
    #[test]
    fn half_precision_does_not_overflow() -> Result<()> {
        let x = ones(&[100_000, 1]).to_dtype(DType::F16)?;
        let one = ones(&[1]).to_dtype(DType::F16)?;
        let (y, mean, _) = batch_norm_train(&x, &one, &one, 1e-5)?;
        assert_eq!(mean.to_dtype(DType::F32)?.to_vec1::<f32>()?, [1.0]);
        assert_eq!(y.to_dtype(DType::F32)?.max_all()?.to_scalar::<f32>()?, 1.0);
        Ok(())
    }
}
