//! The losses of detectors beside cross entropy.

use candle_core::{Result, Tensor};
use cirio_nn::ops::log_softmax;

/// The sum of -t·log σ(x) - (1 - t)·log(1 - σ(x)), a scalar; for any x without overflow.
///
/// # Shapes
/// logits (M) and targets (M) in 0 … 1.
pub(crate) fn binary_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    // σ(x) is the softmax of (x, 0).
    let both = log_softmax(&Tensor::stack(&[logits, &logits.zeros_like()?], 1)?)?;
    let shares = Tensor::stack(&[targets, &targets.affine(-1.0, 1.0)?], 1)?;
    (both * shares)?.sum_all()?.neg()
}

/// The sum of d²/2β where |d| < β, else |d| - β/2, a scalar (Girshick, "Fast R-CNN", 2015, equation 3).
///
/// # Shapes
/// a and b of any shape, the same.
pub(crate) fn smooth_l1(a: &Tensor, b: &Tensor, beta: f64) -> Result<Tensor> {
    let distance = (a - b)?.abs()?;
    let (near, far) = ((distance.sqr()? * (0.5 / beta))?, (&distance - 0.5 * beta)?);
    distance.lt(beta)?.where_cond(&near, &far)?.sum_all()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    fn check(values: [f64; 4], loss: impl Fn(&Tensor) -> Result<Tensor>, by_hand: impl Fn(f64, usize) -> f64) -> Result<()> {
        let x = Var::new(&values, &Device::Cpu)?;
        let found = loss(&x)?;
        let expected: f64 = values.iter().enumerate().map(|(index, &x)| by_hand(x, index)).sum();
        assert!((found.to_scalar::<f64>()? - expected).abs() < 1e-12 * expected.abs().max(1.0), "{found} {expected}");
        let gradient = found.backward()?.get(&x).expect("a gradient").to_vec1::<f64>()?;
        for (index, (gradient, x)) in gradient.into_iter().zip(values).enumerate() {
            let numeric = (by_hand(x + 1e-5, index) - by_hand(x - 1e-5, index)) / 2e-5;
            assert!((gradient - numeric).abs() < 1e-6, "{index}: {gradient} {numeric}");
        }
        Ok(())
    }

    #[test]
    fn values_and_gradients_by_hand() -> Result<()> {
        let targets = [0.0, 1.0, 0.25, 1.0];
        let entropy = |x: f64, index: usize| targets[index] * (-x).exp().ln_1p() + (1.0 - targets[index]) * x.exp().ln_1p();
        check([0.0, -2.0, 0.5, 3.0], |x| binary_cross_entropy(x, &Tensor::new(&targets, &Device::Cpu)?), entropy)?;
        let smooth = |x: f64, _| if x.abs() < 0.5 { x * x } else { x.abs() - 0.25 };
        check([0.1, -0.3, 2.0, -4.0], |x| smooth_l1(x, &x.zeros_like()?, 0.5), smooth)
    }

    #[test]
    fn large_logits_do_not_overflow() -> Result<()> {
        let (logits, targets) = (Tensor::new(&[1e4f32, -1e4], &Device::Cpu)?, Tensor::new(&[1f32, 0.0], &Device::Cpu)?);
        assert_eq!(binary_cross_entropy(&logits, &targets)?.to_scalar::<f32>()?, 0.0);
        assert_eq!(binary_cross_entropy(&logits, &targets.affine(-1.0, 1.0)?)?.to_scalar::<f32>()?, 2e4);
        let none = Tensor::zeros(0, DType::F32, &Device::Cpu)?;
        assert_eq!(smooth_l1(&none, &none, 0.5)?.to_scalar::<f32>()?, 0.0);
        Ok(())
    }
}
