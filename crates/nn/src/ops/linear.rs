//! The fully connected layer.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use cirio_kernels::Linear;

use super::backend::{Backend, backend};
use super::check::{alike, error, float, vector};
use super::kernels::Then;
use super::{kernels, relu};

/// y = x·wᵀ + bias.
///
/// # Shapes
/// x (…, inputs), w (outputs, inputs), bias (outputs); the result (…, outputs).
///
/// # Errors
/// When shapes, types or devices do not fit one another, or there are no inputs or outputs.
pub fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    multiply(x, w, bias, Then::Nothing)
}

/// max(y, 0) of [`linear`]'s y, in one operation; its derivative at 0 is 0.
///
/// # Errors
/// As for [`linear`].
pub fn linear_relu(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    multiply(x, w, bias, Then::Relu)
}

fn multiply(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, then: Then) -> Result<Tensor> {
    float("linear", x)?;
    alike("linear", x, "weight", w)?;
    let [outputs, inputs] = *w.dims() else {
        return Err(error("linear", format!("the weight has the shape {:?}, expected (outputs, inputs)", w.shape())));
    };
    let leading = match x.dims() {
        [leading @ .., last] if *last == inputs => leading,
        _ => {
            return Err(error(
                "linear",
                format!("the input has the shape {:?}, the weight {:?} expects (…, {inputs})", x.shape(), w.dims()),
            ));
        }
    };
    if let Some(bias) = bias {
        vector("linear", x, "bias", bias, outputs)?;
    }
    let plan = Linear::new(inputs, outputs).map_err(|reason| error("linear", reason))?;
    let output = [leading, &[outputs]].concat();
    let n = leading.iter().product();
    if n == 0 {
        return Tensor::zeros(output, x.dtype(), x.device());
    }
    match backend(x) {
        Backend::Kernels => kernels::weighted(Arc::new(plan), n, x, w, bias, output, then),
        Backend::Portable => {
            let y = x.contiguous()?.reshape((n, inputs))?.matmul(&w.t()?)?;
            let y = if let Some(bias) = bias { y.broadcast_add(bias)? } else { y };
            let y = if then == Then::Relu { relu(&y)? } else { y };
            y.reshape(output)
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn errors_say_what_was_given_and_expected() {
        let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let w = ones(&[10, 84]);
        let message = |x: &[usize], w: &Tensor, bias: Option<&Tensor>| linear(&ones(x), w, bias).unwrap_err().to_string();
        assert_eq!(message(&[2, 80], &w, None), "linear: the input has the shape [2, 80], the weight [10, 84] expects (…, 84)");
        assert_eq!(message(&[], &w, None), "linear: the input has the shape [], the weight [10, 84] expects (…, 84)");
        assert_eq!(message(&[2, 84], &w, Some(&ones(&[84]))), "linear: the bias has the shape [84], expected (10)");
        assert_eq!(message(&[2, 84], &ones(&[84]), None), "linear: the weight has the shape [84], expected (outputs, inputs)");
        assert_eq!(message(&[2, 0], &ones(&[10, 0]), None), "linear: the number of inputs is 0, it must be at least 1");
    }
}
