//! Convolution as networks compute it: cross-correlation with a bank of filters.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Tensor};
use cirio_kernels::{Conv2d, Conv2dShape, ShapeError};

use super::backend::{Backend, backend};
use super::check::{alike, error, maps, vector};
use super::kernels::Then;
use super::{kernels, portable, relu};

/// How a bank of filters slides over its input; pairs are rows, columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Zeros added on each side.
    pub padding: [usize; 2],
    /// Pixels from one of a filter's taps to the next; 1 when they touch.
    pub dilation: [usize; 2],
    /// Channels and filters are split into this many groups that do not see one another.
    pub groups: usize,
}

impl Default for Conv2dConfig {
    /// Stride 1, no padding, taps that touch, one group.
    fn default() -> Self {
        Self { stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1 }
    }
}

/// Convolution without flipping the filters, as torch's `conv2d`:
///
/// ```text
/// y[o, i, j] = bias[o] + Σ over c, r, s of w[o, c, r, s] · x[c, i·stride - padding + r·dilation, j·stride - padding + s·dilation]
/// ```
///
/// A side of the output is ⌊(input + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1.
///
/// # Shapes
/// x (N, C, H, W), w (filters, C / groups, kernel rows, kernel columns), bias (filters); the result (N, filters, rows, columns).
///
/// # Errors
/// When shapes, types or devices do not fit one another, or the dilated kernel is larger than the padded input.
pub fn conv2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, config: &Conv2dConfig) -> Result<Tensor> {
    convolve(x, w, bias, config, Then::Nothing)
}

/// max(y, 0) of [`conv2d`]'s y, in one operation; its derivative at 0 is 0.
///
/// # Errors
/// As for [`conv2d`].
pub fn conv2d_relu(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, config: &Conv2dConfig) -> Result<Tensor> {
    convolve(x, w, bias, config, Then::Relu)
}

fn convolve(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, config: &Conv2dConfig, then: Then) -> Result<Tensor> {
    let (n, shape) = check(x, w, bias, config)?;
    let plan = plan(shape).map_err(|reason| error("conv2d", reason))?;
    let [rows, columns] = plan.output();
    let output = [n, shape.c_out, rows, columns];
    if n == 0 {
        return Tensor::zeros(&output, x.dtype(), x.device());
    }
    match backend(x) {
        Backend::Kernels => kernels::weighted(plan, n, x, w, bias, &output, then),
        Backend::Portable => {
            let y = if candle_is_right(x, &shape) { by_candle(x, w, &shape)? } else { by_im2col(x, w, &shape)? };
            let y = bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(&bias.reshape((1, (), 1, 1))?))?;
            if then == Then::Relu { relu(&y) } else { Ok(y) }
        }
    }
}

/// The plan for a shape. Those that were met are kept: to make one takes as long as a small convolution.
fn plan(shape: Conv2dShape) -> std::result::Result<Arc<Conv2d>, ShapeError> {
    const KEPT: usize = 256;
    static PLANS: LazyLock<Mutex<HashMap<Conv2dShape, Arc<Conv2d>>>> = LazyLock::new(Mutex::default);
    let plans = || PLANS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(plan) = plans().get(&shape) {
        return Ok(plan.clone());
    }
    let plan = Arc::new(Conv2d::new(shape)?);
    let mut plans = plans();
    if plans.len() >= KEPT {
        plans.clear();
    }
    plans.insert(shape, plan.clone());
    Ok(plan)
}

fn check(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, config: &Conv2dConfig) -> Result<(usize, Conv2dShape)> {
    let [n, c_in, height, width] = maps("conv2d", x)?;
    alike("conv2d", x, "weight", w)?;
    let [c_out, group, rows, columns] = *w.dims() else {
        let message = format!("the weight has the shape {:?}, expected (filters, C / groups, rows, columns)", w.shape());
        return Err(error("conv2d", message));
    };
    let &Conv2dConfig { stride, padding, dilation, groups } = config;
    if group.checked_mul(groups) != Some(c_in) {
        let (plural, expected) = (if groups == 1 { "" } else { "s" }, group.saturating_mul(groups));
        let message = format!("the input has {c_in} channels, the weight {:?} with {groups} group{plural} expects {expected}", w.dims());
        return Err(error("conv2d", message));
    }
    if let Some(bias) = bias {
        vector("conv2d", x, "bias", bias, c_out)?;
    }
    Ok((n, Conv2dShape { c_in, c_out, h: height, w: width, kernel: [rows, columns], stride, padding, dilation, groups }))
}

/// Where candle's convolution can be used: its stride and dilation are the same for rows and columns, its groups are a
/// loop, on Metal its gradient to the weights is wrong, and the CPU has none for bf16.
fn candle_is_right(x: &Tensor, shape: &Conv2dShape) -> bool {
    let square = shape.stride[0] == shape.stride[1] && shape.dilation[0] == shape.dilation[1];
    let device = match x.device() {
        Device::Cpu => x.dtype() != DType::BF16,
        Device::Cuda(_) => true,
        Device::Metal(_) => false,
    };
    square && shape.groups == 1 && device
}

/// By candle's convolution, on an input that is padded before and whose unused rows and columns are cut off: then the
/// size that candle's backward pass takes from the rows alone is that of the columns too.
fn by_candle(x: &Tensor, w: &Tensor, shape: &Conv2dShape) -> Result<Tensor> {
    let mut x = padded(x, shape)?;
    let output = shape.output();
    for axis in [0, 1] {
        let used = (output[axis] - 1) * shape.stride[axis] + (shape.kernel[axis] - 1) * shape.dilation[axis] + 1;
        x = x.narrow(2 + axis, 0, used)?;
    }
    x.contiguous()?.conv2d(&w.contiguous()?, 0, shape.stride[0], shape.dilation[0], 1)
}

/// The windows laid out as a matrix (taps, windows) for each group, and multiplied with the weights.
fn by_im2col(x: &Tensor, w: &Tensor, shape: &Conv2dShape) -> Result<Tensor> {
    let mut x = padded(x, shape)?;
    let (n, [rows, columns]) = (x.dim(0)?, shape.output());
    let &Conv2dShape { c_in, c_out, kernel, groups, .. } = shape;
    for (axis, outputs) in [(0, rows), (1, columns)] {
        let (stride, dilation) = (shape.stride[axis], shape.dilation[axis]);
        let places = (0..kernel[axis]).flat_map(|tap| (0..outputs).map(move |output| output * stride + tap * dilation));
        x = portable::select(&x, 2 + axis, places)?;
    }
    let taps = c_in / groups * kernel[0] * kernel[1];
    let windows = x
        .reshape(&[n, groups, c_in / groups, kernel[0], rows, kernel[1], columns])?
        .permute([1, 2, 3, 5, 0, 4, 6])?
        .reshape((groups, taps, n * rows * columns))?;
    let y = w.contiguous()?.reshape((groups, c_out / groups, taps))?.matmul(&windows)?;
    y.reshape((c_out, n, rows, columns))?.transpose(0, 1)?.contiguous()
}

fn padded(x: &Tensor, shape: &Conv2dShape) -> Result<Tensor> {
    let [rows, columns] = shape.padding;
    x.pad_with_zeros(2, rows, rows)?.pad_with_zeros(3, columns, columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Conv2dConfig = Conv2dConfig { stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1 };

    fn ones(shape: &[usize]) -> Tensor {
        Tensor::ones(shape, DType::F64, &Device::Cpu).unwrap()
    }

    #[test]
    fn both_portable_ways_agree() -> Result<()> {
        let x = Tensor::arange(0f64, 2.0 * 3.0 * 7.0 * 8.0, &Device::Cpu)?.sin()?.reshape((2, 3, 7, 8))?;
        let w = Tensor::arange(0f64, 4.0 * 3.0 * 3.0 * 2.0, &Device::Cpu)?.cos()?.reshape((4, 3, 3, 2))?;
        for (stride, padding, dilation) in [(1, 0, 1), (2, 1, 1), (3, 2, 2)] {
            let shape = Conv2dShape {
                c_in: 3,
                c_out: 4,
                h: 7,
                w: 8,
                kernel: [3, 2],
                stride: [stride; 2],
                padding: [padding; 2],
                dilation: [dilation; 2],
                groups: 1,
            };
            assert!(candle_is_right(&x, &shape));
            let difference = (by_candle(&x, &w, &shape)? - by_im2col(&x, &w, &shape)?)?.abs()?.max_all()?.to_scalar::<f64>()?;
            assert!(difference < 1e-12, "{difference}");
        }
        Ok(())
    }

    #[test]
    fn errors_say_what_was_given_and_expected() -> Result<()> {
        let message =
            |x: &Tensor, w: &Tensor, bias: Option<&Tensor>, config: Conv2dConfig| conv2d(x, w, bias, &config).unwrap_err().to_string();
        let (x, w) = (ones(&[1, 3, 5, 5]), ones(&[6, 3, 5, 5]));
        assert_eq!(
            message(&x, &ones(&[6, 1, 5, 5]), None, PLAIN),
            "conv2d: the input has 3 channels, the weight [6, 1, 5, 5] with 1 group expects 1"
        );
        assert_eq!(message(&ones(&[3, 5, 5]), &w, None, PLAIN), "conv2d: the input has the shape [3, 5, 5], expected (N, C, H, W)");
        assert_eq!(
            message(&x, &ones(&[6, 3]), None, PLAIN),
            "conv2d: the weight has the shape [6, 3], expected (filters, C / groups, rows, columns)"
        );
        assert_eq!(message(&x, &w, Some(&ones(&[5])), PLAIN), "conv2d: the bias has the shape [5], expected (6)");
        assert_eq!(message(&x, &w.to_dtype(DType::F32)?, None, PLAIN), "conv2d: the input is F64, the weight F32");
        assert_eq!(
            message(&x, &ones(&[4, 1, 1, 1]), None, Conv2dConfig { groups: 3, ..PLAIN }),
            "conv2d: 3 input channels and 4 filters do not split into 3 groups"
        );
        assert_eq!(
            message(&x, &w, None, Conv2dConfig { stride: [0, 1], ..PLAIN }),
            "conv2d: the stride of rows is 0, it must be at least 1"
        );
        assert_eq!(
            message(&x, &ones(&[6, 3, 7, 5]), None, Conv2dConfig { padding: [0, 1], ..PLAIN }),
            "conv2d: a window of 7 rows does not fit into 5 with a padding of 0 on both sides"
        );
        assert!(message(&x, &w, None, Conv2dConfig { groups: 0, ..PLAIN }).starts_with("conv2d: "));
        Ok(())
    }
}
