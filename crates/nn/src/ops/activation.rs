//! Activation functions, and softmax over classes.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, D, Layout, MetalStorage, Result, Shape, Tensor};
use cirio_kernels::Tanh;

use super::backend::{Backend, backend};
use super::check::{error, float};
use super::kernels;

/// max(x, 0); its derivative at 0 is 0, as in torch, and NaN stays NaN.
///
/// # Shapes
/// Any, and the result has the same.
///
/// # Errors
/// When x has no floating-point values.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    float("relu", x)?;
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    match backend(x) {
        Backend::Kernels => kernels::unary(kernels::Relu, x.elem_count(), x, x.shape()),
        Backend::Portable => {
            let zeros = x.zeros_like()?;
            x.le(&zeros)?.where_cond(&zeros, x)
        }
    }
}

/// What of a gradient passes back through max(x, 0), to see which pixels made an activation. Other activations (tanh, hard swish) pass gradients
/// as always, whatever the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rectifier {
    /// The derivative: what belongs to positive inputs.
    #[default]
    Gradient,
    /// What is positive itself, wherever the input was: a deconvnet (Zeiler & Fergus, "Visualizing and understanding convolutional
    /// networks", 2014, section 2.1).
    Deconvnet,
    /// Both: guided backpropagation (Springenberg, Dosovitskiy, Brox & Riedmiller, "Striving for simplicity", 2015, section 3.4).
    Guided,
}

/// max(x, 0), whose gradient passes by another rule.
///
/// # Shapes
/// Any, and the result has the same.
///
/// # Errors
/// When x has no floating-point values.
pub fn rectified(x: &Tensor, rule: Rectifier) -> Result<Tensor> {
    let y = relu(x)?;
    match rule {
        Rectifier::Gradient => Ok(y),
        Rectifier::Guided => y.apply_op1(PositiveGradient),
        // The sum is y to the bit, and its gradient that of x.
        Rectifier::Deconvnet => (x + (y - x)?.detach())?.apply_op1(PositiveGradient),
    }
}

/// Passes values on as they are, and of gradients what is positive.
struct PositiveGradient;

impl CustomOp1 for PositiveGradient {
    fn name(&self) -> &'static str {
        "positive gradient"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn metal_fwd(&self, storage: &MetalStorage, layout: &Layout) -> Result<(MetalStorage, Shape)> {
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        relu(dy).map(Some)
    }
}

/// tanh x.
///
/// # Shapes
/// Any, and the result has the same.
///
/// # Errors
/// When x has no floating-point values.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    float("tanh", x)?;
    match backend(x) {
        Backend::Kernels => kernels::unary(Tanh::PLAIN, x.elem_count(), x, x.shape()),
        Backend::Portable => x.tanh(),
    }
}

/// 1.7159·tanh(2x/3), the squashing function of LeNet-5: f(±1) = ±1 (LeCun, Bottou, Bengio & Haffner, "Gradient-based
/// learning applied to document recognition", 1998, appendix A).
///
/// # Shapes
/// Any, and the result has the same.
///
/// # Errors
/// When x has no floating-point values.
pub fn scaled_tanh(x: &Tensor) -> Result<Tensor> {
    float("scaled_tanh", x)?;
    match backend(x) {
        Backend::Kernels => kernels::unary(Tanh::LENET, x.elem_count(), x, x.shape()),
        Backend::Portable => (x * (2.0 / 3.0))?.tanh()? * 1.7159,
    }
}

/// 1 / (1 + e^-x), the logistic function.
///
/// # Shapes
/// Any, and the result has the same.
///
/// # Errors
/// When x has no floating-point values.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    float("sigmoid", x)?;
    match backend(x) {
        Backend::Kernels => kernels::unary(kernels::Sigmoid, x.elem_count(), x, x.shape()),
        Backend::Portable => candle_nn::ops::sigmoid(x),
    }
}

/// min(max(x/6 + 1/2, 0), 1), a logistic function of three straight lines (Howard et al., "Searching for MobileNetV3", 2019,
/// section 5.2). Its derivative at ±3 is 0, and NaN stays NaN.
///
/// # Shapes
/// Any, and the result has the same.
///
/// # Errors
/// When x has no floating-point values.
pub fn hard_sigmoid(x: &Tensor) -> Result<Tensor> {
    float("hard_sigmoid", x)?;
    match backend(x) {
        Backend::Kernels => kernels::unary(kernels::HardSigmoid, x.elem_count(), x, x.shape()),
        Backend::Portable => straight_lines(x, |x| x.affine(1.0 / 6.0, 0.5), &x.ones_like()?),
    }
}

/// x · min(max(x/6 + 1/2, 0), 1) (Howard et al., "Searching for MobileNetV3", 2019, section 5.2). Its derivative is 0 at -3 and 1
/// at 3, and NaN stays NaN.
///
/// # Shapes
/// Any, and the result has the same.
///
/// # Errors
/// When x has no floating-point values.
pub fn hard_swish(x: &Tensor) -> Result<Tensor> {
    float("hard_swish", x)?;
    match backend(x) {
        Backend::Kernels => kernels::unary(kernels::HardSwish, x.elem_count(), x, x.shape()),
        Backend::Portable => straight_lines(x, |x| x * x.affine(1.0 / 6.0, 0.5)?, x),
    }
}

/// 0 where x ≤ -3, `above` where x ≥ 3, and else `between` of x.
fn straight_lines(x: &Tensor, between: impl FnOnce(&Tensor) -> Result<Tensor>, above: &Tensor) -> Result<Tensor> {
    let (zeros, low, high) = (x.zeros_like()?, x.le(-3.0)?, x.ge(3.0)?);
    // Between has only what lies there, so that no infinity meets a gradient of 0.
    let between = between(&(&low + &high)?.where_cond(&zeros, x)?)?;
    high.where_cond(above, &low.where_cond(&zeros, &between)?)
}

/// e^x_k / Σ e^x_j over the K classes of the last axis.
///
/// # Shapes
/// x (…, K), and so is the result.
///
/// # Errors
/// When x has no axis or no floating-point values.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let classes = classes("softmax", x)?;
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    match backend(x) {
        Backend::Kernels => kernels::unary(kernels::Softmax(classes), x.elem_count() / classes, x, x.shape()),
        Backend::Portable => candle_nn::ops::softmax(x, D::Minus1), // `softmax_last_dim` has no gradient
    }
}

/// x_k - log Σ e^x_j over the K classes of the last axis.
///
/// # Shapes
/// x (…, K), and so is the result.
///
/// # Errors
/// When x has no axis or no floating-point values.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let classes = classes("log_softmax", x)?;
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    match backend(x) {
        Backend::Kernels => kernels::unary(kernels::LogSoftmax(classes), x.elem_count() / classes, x, x.shape()),
        Backend::Portable => candle_nn::ops::log_softmax(x, D::Minus1),
    }
}

/// K of (…, K).
fn classes(op: &str, x: &Tensor) -> Result<usize> {
    float(op, x)?;
    x.dims().last().copied().ok_or_else(|| error(op, "the input is a single number, expected (…, K)"))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::super::with_portable;
    use super::*;

    #[test]
    fn relu_has_no_slope_at_zero_and_keeps_nan() -> Result<()> {
        let x = Var::new(&[-1f32, 0.0, 2.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY], &Device::Cpu)?;
        for y in [relu(&x)?, with_portable(|| relu(&x))?] {
            let gradient = y.backward()?.get(&x).unwrap().to_vec1::<f32>()?;
            assert_eq!(gradient, [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
            let y = y.to_vec1::<f32>()?;
            assert_eq!((&y[..3], &y[4..]), ([0.0, 0.0, 2.0].as_slice(), [f32::INFINITY, 0.0].as_slice()));
            assert!(y[3].is_nan());
        }
        Ok(())
    }

    /// The three rules on every pair of signs, in both of the ways.
    #[test]
    fn gradients_pass_by_the_rule() -> Result<()> {
        let x = Var::new(&[-1f32, -1.0, 2.0, 2.0], &Device::Cpu)?;
        let dy = Tensor::new(&[-3f32, 5.0, -3.0, 5.0], &Device::Cpu)?;
        let cases = [
            (Rectifier::Gradient, [0.0, 0.0, -3.0, 5.0]),
            (Rectifier::Deconvnet, [0.0, 5.0, 0.0, 5.0]),
            (Rectifier::Guided, [0.0, 0.0, 0.0, 5.0]),
        ];
        for (rule, expected) in cases {
            for y in [rectified(&x, rule)?, with_portable(|| rectified(&x, rule))?] {
                assert_eq!(y.to_vec1::<f32>()?, [0.0, 0.0, 2.0, 2.0], "{rule:?}");
                assert_eq!((y * &dy)?.backward()?.get(&x).unwrap().to_vec1::<f32>()?, expected, "{rule:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn corners_have_the_outer_slopes_and_nan_is_kept() -> Result<()> {
        let x = Var::new(&[f32::NEG_INFINITY, -3.0, -1.5, 0.0, 3.0, 5.0, f32::NAN], &Device::Cpu)?;
        let cases = [
            (hard_sigmoid as fn(&Tensor) -> Result<Tensor>, [0.0, 0.0, 0.25, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
            (hard_swish, [0.0, 0.0, -0.375, 0.0, 3.0, 5.0], [0.0, 0.0, 0.0, 3.0, 6.0, 6.0]),
        ];
        for (op, values, slopes) in cases {
            for y in [op(&x)?, with_portable(|| op(&x))?] {
                let gradient = (&y * 6.0)?.backward()?.get(&x).unwrap().to_vec1::<f32>()?;
                assert_eq!(gradient[..6], slopes);
                let y = y.to_vec1::<f32>()?;
                assert!(y[..6] == values && y[6].is_nan(), "{y:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_squashing_function_keeps_one() -> Result<()> {
        let y = scaled_tanh(&Tensor::new(&[-1f64, 0.0, 1.0, 100.0], &Device::Cpu)?)?.to_vec1::<f64>()?;
        for (y, expected) in y.iter().zip([-1.0, 0.0, 1.0, 1.7159]) {
            assert!((y - expected).abs() < 1e-4, "{y} {expected}"); // the paper's constants have five digits
        }
        Ok(())
    }

    #[test]
    fn whole_numbers_are_refused() -> Result<()> {
        let x = Tensor::zeros(3, DType::U8, &Device::Cpu)?;
        let message = "relu: the input has values of type U8, expected floating-point ones";
        assert_eq!(relu(&x).unwrap_err().to_string(), message);
        assert!([tanh, scaled_tanh, sigmoid, hard_sigmoid, hard_swish, softmax, log_softmax].iter().all(|op| op(&x).is_err()));
        let message = "softmax: the input is a single number, expected (…, K)";
        assert_eq!(softmax(&Tensor::new(1f32, &Device::Cpu)?).unwrap_err().to_string(), message);
        Ok(())
    }
}
