//! Transposed convolution, which makes maps larger by filters that are learnt.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use cirio_kernels::{ConvTranspose2d, ConvTranspose2dShape};

use super::backend::{Backend, backend};
use super::check::{alike, error, maps, vector};
use super::conv::{Conv2dConfig, conv2d};
use super::kernels::{self, Then};
use super::portable;

const NAME: &str = "conv_transpose2d";

/// How the pixels of a [`conv_transpose2d`] are spread over its output; pairs are rows, columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTranspose2dConfig {
    /// Pixels of the output from one pixel of the input to the next.
    pub stride: [usize; 2],
    /// Pixels of the output that are cut off on each side.
    pub padding: [usize; 2],
    /// Pixels that the output has more at its far ends; less than the stride.
    pub output_padding: [usize; 2],
    /// Pixels from one of a filter's taps to the next; 1 when they touch.
    pub dilation: [usize; 2],
    /// Input and output channels are split into this many groups that do not see one another.
    pub groups: usize,
}

impl Default for ConvTranspose2dConfig {
    /// Stride 1, no paddings, taps that touch, one group.
    fn default() -> Self {
        Self { stride: [1; 2], padding: [0; 2], output_padding: [0; 2], dilation: [1; 2], groups: 1 }
    }
}

/// Transposed convolution, as torch's `conv_transpose2d`: the gradient of a convolution to its input, as an operation of its own.
///
/// ```text
/// y[o, i·stride - padding + r·dilation, j·stride - padding + s·dilation] += x[c, i, j] · w[c, o, r, s],  and + bias[o] everywhere
/// ```
///
/// A side of the output is (input - 1)·stride - 2·padding + dilation·(kernel - 1) + output padding + 1.
///
/// # Shapes
/// x (N, C, H, W), w (C, output channels / groups, kernel rows, kernel columns), bias (output channels); the result (N, output channels,
/// rows, columns).
///
/// # Errors
/// When shapes, types or devices do not fit one another, the output would have no pixel, or the output padding is not less than the
/// stride.
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, config: &ConvTranspose2dConfig) -> Result<Tensor> {
    let [n, c_in, h, width] = maps(NAME, x)?;
    alike(NAME, x, "weight", w)?;
    let &[c, of_group, rows, columns] = w.dims() else {
        let message = format!("the weight has the shape {:?}, expected (C, output channels / groups, rows, columns)", w.shape());
        return Err(error(NAME, message));
    };
    if c != c_in {
        return Err(error(NAME, format!("the input has {c_in} channels, the weight {:?} expects {c}", w.dims())));
    }
    let &ConvTranspose2dConfig { stride, padding, output_padding, dilation, groups } = config;
    let c_out = of_group.saturating_mul(groups);
    if let Some(bias) = bias {
        vector(NAME, x, "bias", bias, c_out)?;
    }
    let kernel = [rows, columns];
    let shape = ConvTranspose2dShape { c_in, c_out, h, w: width, kernel, stride, padding, output_padding, dilation, groups };
    let plan = ConvTranspose2d::new(shape).map_err(|reason| error(NAME, reason))?;
    let [rows, columns] = plan.output();
    let output = [n, c_out, rows, columns];
    if n == 0 {
        return Tensor::zeros(&output, x.dtype(), x.device());
    }
    match backend(x) {
        Backend::Kernels => kernels::weighted(Arc::new(plan), n, x, w, bias, &output, Then::Nothing),
        Backend::Portable => by_convolution(x, w, bias, &shape),
    }
}

/// By a convolution with the filters turned by half a circle, over the pixels with zeros between and around them.
fn by_convolution(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, shape: &ConvTranspose2dShape) -> Result<Tensor> {
    let &ConvTranspose2dShape { c_in, c_out, kernel, stride, padding, dilation, groups, .. } = shape;
    let (mut x, mut w) = (x.clone(), w.clone());
    for axis in [0, 1] {
        let (side, reach) = ([shape.h, shape.w][axis], dilation[axis] * (kernel[axis] - 1));
        // The row behind the last one is zeros.
        let place = |place: usize| match (place + padding[axis]).checked_sub(reach) {
            Some(from) if from % stride[axis] == 0 && from / stride[axis] < side => from / stride[axis],
            _ => side,
        };
        x = portable::select(&x.pad_with_zeros(2 + axis, 0, 1)?, 2 + axis, (0..shape.output()[axis] + reach).map(place))?;
        w = portable::select(&w, 2 + axis, (0..kernel[axis]).rev())?;
    }
    let w = w.reshape((groups, c_in / groups, c_out / groups, kernel[0], kernel[1]))?.transpose(1, 2)?;
    let w = w.reshape((c_out, c_in / groups, kernel[0], kernel[1]))?;
    conv2d(&x, &w, bias, &Conv2dConfig { dilation, groups, ..Conv2dConfig::default() })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn errors_say_what_was_given_and_expected() -> Result<()> {
        let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu);
        let (x, w, plain) = (ones(&[1, 4, 5, 5])?, ones(&[4, 3, 2, 2])?, ConvTranspose2dConfig::default());
        let message = |w: &Tensor, bias: Option<&Tensor>, config| conv_transpose2d(&x, w, bias, &config).unwrap_err().to_string();
        assert_eq!(
            message(&ones(&[3, 4, 2, 2])?, None, plain.clone()),
            "conv_transpose2d: the input has 4 channels, the weight [3, 4, 2, 2] expects 3"
        );
        assert_eq!(
            message(&ones(&[4, 3])?, None, plain.clone()),
            "conv_transpose2d: the weight has the shape [4, 3], expected (C, output channels / groups, rows, columns)"
        );
        let grouped = ConvTranspose2dConfig { groups: 2, ..plain.clone() };
        assert_eq!(message(&w, Some(&ones(&[3])?), grouped), "conv_transpose2d: the bias has the shape [3], expected (6)");
        let wide = ConvTranspose2dConfig { output_padding: [1, 0], ..plain.clone() };
        assert_eq!(message(&w, None, wide), "conv_transpose2d: an output padding of 1 rows is not less than the stride of 1");
        let none = ConvTranspose2dConfig { padding: [0, 3], ..plain };
        assert_eq!(message(&w, None, none), "conv_transpose2d: the output's width is 0, it must be at least 1");
        Ok(())
    }
}
