//! Local response normalisation across channels (Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep
//! convolutional neural networks", 2012, section 3.3).

use candle_core::{Result, Tensor};
use cirio_kernels::{Lrn, LrnShape};

use super::backend::{Backend, backend};
use super::check::{error, maps};
use super::{kernels, portable};

/// What α is the factor of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squares {
    /// The sum of squares, as in the paper.
    Sum,
    /// The sum of squares divided by the window's size, as in torch and Caffe.
    Mean,
}

/// The window and the constants of a response normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct LrnConfig {
    /// Channels of a window; it reaches `size / 2` channels back and `(size - 1) / 2` forward.
    pub size: usize,
    /// α, the factor of the squares.
    pub alpha: f64,
    /// β, the exponent.
    pub beta: f64,
    /// k, what is added to the squares; positive.
    pub k: f64,
    /// What α is the factor of.
    pub squares: Squares,
}

impl Default for LrnConfig {
    /// The paper's: 5 channels, α = 10⁻⁴ on the sum, β = 0.75, k = 2.
    fn default() -> Self {
        Self { size: 5, alpha: 1e-4, beta: 0.75, k: 2.0, squares: Squares::Sum }
    }
}

/// y_c = x_c / (k + α · Σ x_d²)^β, the sum over the `size` channels around c that exist.
///
/// # Shapes
/// x (N, C, H, W), and so is the result.
///
/// # Errors
/// When x is not (N, C, H, W) with at least one channel and pixel, `size` is 0 or k is not positive.
pub fn lrn(x: &Tensor, config: &LrnConfig) -> Result<Tensor> {
    let [n, c, h, w] = maps("lrn", x)?;
    let &LrnConfig { size, alpha, beta, k, squares } = config;
    if k.is_nan() || k <= 0.0 {
        return Err(error("lrn", format!("k is {k}, it must be positive")));
    }
    let alpha = match squares {
        Squares::Sum => alpha,
        Squares::Mean => alpha / size.max(1) as f64,
    };
    let shape = LrnShape { c, pixels: h * w, size, alpha: alpha as f32, beta: beta as f32, k: k as f32 };
    let plan = Lrn::new(shape).map_err(|reason| error("lrn", reason))?;
    if n == 0 {
        return Ok(x.clone());
    }
    match backend(x) {
        Backend::Kernels => kernels::unary(plan, n, x, x.shape()),
        Backend::Portable => portable::widened(x, |x| {
            let squares = x.sqr()?.pad_with_zeros(1, size / 2, (size - 1) / 2)?;
            let sum = (1..size).try_fold(squares.narrow(1, 0, c)?, |sum, offset| sum + squares.narrow(1, offset, c)?)?;
            x * sum.affine(alpha, k)?.powf(-beta)?
        }),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn errors_say_what_was_given_and_expected() -> Result<()> {
        let x = Tensor::ones((1, 2, 3, 3), DType::F32, &Device::Cpu)?;
        let message = |config: LrnConfig| lrn(&x, &config).unwrap_err().to_string();
        assert_eq!(message(LrnConfig { size: 0, ..LrnConfig::default() }), "lrn: the window's size is 0, it must be at least 1");
        assert_eq!(message(LrnConfig { k: 0.0, ..LrnConfig::default() }), "lrn: k is 0, it must be positive");
        Ok(())
    }

    /// 300² is more than f16 can hold.
    #[test]
    fn half_precision_does_not_overflow() -> Result<()> {
        let x = Tensor::full(300f32, (1, 1, 1, 1), &Device::Cpu)?;
        let half = lrn(&x.to_dtype(DType::F16)?, &LrnConfig::default())?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let single = lrn(&x, &LrnConfig::default())?.flatten_all()?.to_vec1::<f32>()?;
        assert!((half[0] / single[0] - 1.0).abs() < 1e-3, "{half:?} {single:?}");
        Ok(())
    }
}
