//! Mixing the pictures of a batch: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).
//!
//! Each picture is mixed with another of the batch, and its target in the same proportion. One share is drawn a batch, from
//! Beta(α, α).

use candle_core::{Result, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};

/// `images` (N, C, H, W) and `targets` (N, K), each a weighted mean with those of a shuffled batch.
///
/// # Errors
/// When α is not positive, or the numbers of pictures and targets differ.
pub fn mixup(images: &Tensor, targets: &Tensor, alpha: f64, rng: &mut ChaCha8Rng) -> Result<(Tensor, Tensor)> {
    let share = share(alpha, rng)?;
    let others = shuffled(images, targets, rng)?;
    Ok((blend(images, &images.index_select(&others, 0)?, share)?, blend(targets, &targets.index_select(&others, 0)?, share)?))
}

/// `images` (N, C, H, W) with a rectangle from a shuffled batch, and `targets` (N, K) mixed by its area.
///
/// # Errors
/// When α is not positive, or the numbers of pictures and targets differ.
pub fn cutmix(images: &Tensor, targets: &Tensor, alpha: f64, rng: &mut ChaCha8Rng) -> Result<(Tensor, Tensor)> {
    let share = share(alpha, rng)?;
    let (_, _, height, width) = images.dims4()?;
    let others = shuffled(images, targets, rng)?;
    // A rectangle of the pictures' proportions around a random point, cut off at the border.
    let side = (1.0 - share).sqrt();
    let span = |whole: usize, rng: &mut ChaCha8Rng| {
        let (centre, half) = (rng.random_range(0..whole.max(1)) as f64, side * whole as f64 / 2.0);
        let limit = |at: f64| at.round().clamp(0.0, whole as f64) as usize;
        (limit(centre - half), limit(centre + half))
    };
    let ((top, bottom), (left, right)) = (span(height, rng), span(width, rng));
    let inside = |at: usize| (top..bottom).contains(&(at / width)) && (left..right).contains(&(at % width));
    let mask: Vec<f32> = (0..height * width).map(|at| if inside(at) { 1.0 } else { 0.0 }).collect();
    let kept = 1.0 - ((bottom - top) * (right - left)) as f64 / (height * width).max(1) as f64;
    let mask = Tensor::from_vec(mask, (1, 1, height, width), images.device())?.to_dtype(images.dtype())?;
    let other = images.index_select(&others, 0)?;
    let mixed = (images + (other - images)?.broadcast_mul(&mask)?)?;
    Ok((mixed, blend(targets, &targets.index_select(&others, 0)?, kept)?))
}

fn share(alpha: f64, rng: &mut ChaCha8Rng) -> Result<f64> {
    match Beta::new(alpha, alpha) {
        Ok(beta) => Ok(beta.sample(rng)),
        Err(_) => candle_core::bail!("the strength of mixing is {alpha}, it must be a positive number"),
    }
}

/// A random order of the batch.
fn shuffled(images: &Tensor, targets: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    let count = images.dim(0)?;
    if targets.dim(0)? != count {
        candle_core::bail!("{count} pictures have {} targets", targets.dim(0)?);
    }
    let mut order: Vec<u32> = (0..count as u32).collect();
    for last in (1..count).rev() {
        order.swap(last, rng.random_range(0..=last));
    }
    Tensor::from_vec(order, count, images.device())
}

fn blend(one: &Tensor, other: &Tensor, share: f64) -> Result<Tensor> {
    (one * share)? + (other * (1.0 - share))?
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// Four pictures, number n all n, so that a picture tells its own mixture.
    fn batch() -> Result<(Tensor, Tensor)> {
        let numbers = Tensor::new(&[0f32, 1.0, 2.0, 3.0], &Device::Cpu)?.reshape((4, 1, 1, 1))?;
        let targets = Tensor::new(&[[1f32, 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.]], &Device::Cpu)?;
        Ok((numbers.broadcast_as((4, 3, 6, 8))?.contiguous()?, targets))
    }

    #[test]
    fn targets_are_mixed_as_the_pictures_are() -> Result<()> {
        let (images, targets) = batch()?;
        let numbers = Tensor::new(&[[0f32], [1.0], [2.0], [3.0]], &Device::Cpu)?;
        for (seed, mix) in (0..20).zip([mixup, cutmix].into_iter().cycle()) {
            let (mixed, soft) = mix(&images, &targets, 1.0, &mut ChaCha8Rng::seed_from_u64(seed))?;
            let means = mixed.mean((1, 2, 3))?.to_vec1::<f32>()?;
            let expected = soft.matmul(&numbers)?.flatten_all()?.to_vec1::<f32>()?;
            assert!(means.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{means:?} {expected:?}");
            assert!(soft.sum(1)?.to_vec1::<f32>()?.iter().all(|sum| (sum - 1.0).abs() < 1e-6));
        }
        Ok(())
    }

    #[test]
    fn a_strength_that_is_none_is_refused() -> Result<()> {
        let (images, targets) = batch()?;
        for alpha in [0.0, -1.0, f64::NAN] {
            assert!(mixup(&images, &targets, alpha, &mut ChaCha8Rng::seed_from_u64(0)).is_err());
        }
        assert!(cutmix(&images, &targets.narrow(0, 0, 2)?, 1.0, &mut ChaCha8Rng::seed_from_u64(0)).is_err());
        Ok(())
    }
}
