//! Dropout (Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014).

use candle_core::{Result, Tensor};
use cirio_kernels::Scratch;
use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use super::backend::{Backend, backend};
use super::check::{error, float};
use super::kernels::{self, Done, Seen, Unary};

/// Each value becomes 0 with the probability `p`, and the others are divided by 1 - p, so that the mean stays.
///
/// The mask is drawn on the host, in the order of the values: one seed gives one mask on every device. With p = 0 nothing
/// is drawn.
///
/// # Shapes
/// Any, and the result has the same.
///
/// # Errors
/// When p is not in 0 ≤ p < 1, or x has no floating-point values.
pub fn dropout(x: &Tensor, p: f64, generator: &mut ChaCha8Rng) -> Result<Tensor> {
    float("dropout", x)?;
    if !(0.0..1.0).contains(&p) {
        return Err(error("dropout", format!("the probability {p} is not in 0 ≤ p < 1")));
    }
    if p == 0.0 || x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let dropped = (p * 2f64.powi(32)) as u32; // of the 2³² numbers that may be drawn
    let kept: Vec<u8> = (0..x.elem_count()).map(|_| u8::from(generator.next_u32() >= dropped)).collect();
    match backend(x) {
        Backend::Kernels => kernels::unary(Kept { kept, factor: (1.0 / (1.0 - p)) as f32 }, x.elem_count(), x, x.shape()),
        Backend::Portable => {
            let kept = Tensor::from_vec(kept, x.shape(), x.device())?;
            kept.where_cond(&(x / (1.0 - p))?, &x.zeros_like()?)
        }
    }
}

/// Which values are kept, and what they are multiplied with; the same is done with their gradients.
struct Kept {
    kept: Vec<u8>,
    factor: f32,
}

impl Kept {
    fn apply(&self, from: &[f32], to: &mut [f32]) -> Done {
        for ((to, from), kept) in to.iter_mut().zip(from).zip(&self.kept) {
            *to = if *kept == 0 { 0.0 } else { from * self.factor };
        }
        Ok(())
    }
}

impl Unary for Kept {
    const NAME: &'static str = "dropout";
    const SEEN: Seen = Seen::Nothing;

    fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.apply(x, y)
    }

    fn backward(&self, _n: usize, _seen: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.apply(dy, dx)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use rand::SeedableRng;

    use super::*;

    fn drop_ones(count: usize, p: f64, seed: u64) -> Result<Vec<f32>> {
        let x = Tensor::ones(count, DType::F32, &Device::Cpu)?;
        dropout(&x, p, &mut ChaCha8Rng::seed_from_u64(seed))?.to_vec1()
    }

    #[test]
    fn a_share_is_dropped_and_the_mean_stays() -> Result<()> {
        for p in [0.1, 0.5, 0.9] {
            let y = drop_ones(20_000, p, 3)?;
            let kept = y.iter().filter(|&&value| value != 0.0).count() as f64 / y.len() as f64;
            // Four standard deviations of a share of 20,000.
            assert!((kept - (1.0 - p)).abs() < 4.0 * (p * (1.0 - p) / 20_000.0).sqrt(), "{kept} {p}");
            assert!(y.iter().all(|&value| value == 0.0 || (value - 1.0 / (1.0 - p) as f32).abs() < 1e-5));
        }
        Ok(())
    }

    #[test]
    fn a_seed_gives_one_mask() -> Result<()> {
        assert_eq!(drop_ones(64, 0.5, 1)?, drop_ones(64, 0.5, 1)?);
        assert_ne!(drop_ones(64, 0.5, 1)?, drop_ones(64, 0.5, 2)?);
        assert_eq!(drop_ones(64, 0.0, 1)?, [1.0; 64]);
        Ok(())
    }

    /// By the portable way in f64, by the kernel in f32.
    #[test]
    fn the_gradient_has_the_same_mask() -> Result<()> {
        for dtype in [DType::F64, DType::F32] {
            let x = Var::ones(50, dtype, &Device::Cpu)?;
            let y = dropout(&x, 0.3, &mut ChaCha8Rng::seed_from_u64(7))?;
            let gradient = y.backward()?.get(&x).expect("a gradient").clone();
            let [gradient, y] = [&gradient, &y].map(|tensor| tensor.to_dtype(DType::F64)?.to_vec1::<f64>());
            assert_eq!(gradient?, y?, "on ones, the slope is the value");
        }
        Ok(())
    }

    #[test]
    fn probabilities_outside_are_refused() {
        assert_eq!(drop_ones(1, 1.0, 0).unwrap_err().to_string(), "dropout: the probability 1 is not in 0 ≤ p < 1");
        assert!(drop_ones(1, f64::NAN, 0).is_err() && drop_ones(1, -0.1, 0).is_err());
    }
}
