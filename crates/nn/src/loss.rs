//! Losses of classifiers, and the choice among them.

use candle_core::{D, DType, Result, Tensor};

use crate::ops::log_softmax;

/// What the network should have said.
#[derive(Clone, Debug)]
pub enum Targets {
    /// The right class of each image: (N), u32.
    Labels(Tensor),
    /// A share for each class that add up to 1, as mixup makes them: (N, K).
    Soft(Tensor),
}

/// A loss over logits (N, K), a mean over the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// -Σ t_k·log softmax(x)_k.
    CrossEntropy {
        /// This share of each target is spread evenly over all classes (Szegedy et al. 2016, section 7); 0 for none.
        label_smoothing: f64,
    },
    /// The loss of LeCun et al. (1998), equation 9: the penalty of the right class plus log(e^-j + Σ e^-y_i). The logits
    /// are the negated penalties, x = -y. The constant e^-j keeps the penalties of wrong classes from growing for ever.
    MaximumPosterior {
        /// j, the penalty of a "rubbish" class; 0.1 in the paper.
        rubbish: f64,
    },
}

impl Loss {
    /// The mean loss of a batch, a scalar.
    ///
    /// # Errors
    /// When the targets do not have the logits' shape, or a label is no class.
    pub fn mean(&self, logits: &Tensor, targets: &Targets) -> Result<Tensor> {
        match logits.dims2()? {
            // The mean of nothing is 0, not NaN.
            (0, _) => Tensor::zeros((), logits.dtype(), logits.device()),
            _ => self.each(logits, targets)?.mean_all(),
        }
    }

    /// The mean loss of a batch whose classes count by `class_weights` (K), a scalar; as torch's
    /// `cross_entropy(weight=…)` has it.
    ///
    /// Cross-entropy is -Σ w_k·t_k·log softmax(x)_k, summed over the images; another loss is multiplied by Σ w_k·t_k. The sum
    /// is divided by the weights of the right classes; for soft targets by N.
    ///
    /// # Errors
    /// As [`Self::mean`], and when there is not one weight a class.
    pub fn weighted_mean(&self, logits: &Tensor, targets: &Targets, class_weights: &Tensor) -> Result<Tensor> {
        let (images, classes) = logits.dims2()?;
        if class_weights.dims() != [classes] {
            candle_core::bail!("{classes} classes have weights of shape {:?}, expected ({classes})", class_weights.dims());
        }
        if images == 0 {
            return self.mean(logits, targets);
        }
        let class_weights = class_weights.to_dtype(logits.dtype())?;
        let of_images = weighted(&class_weights.broadcast_as(logits.shape())?.contiguous()?, targets)?;
        let losses = match *self {
            Self::CrossEntropy { label_smoothing } => {
                cross_entropy(&log_softmax(logits)?.broadcast_mul(&class_weights)?, targets, label_smoothing)?
            }
            Self::MaximumPosterior { .. } => (self.each(logits, targets)? * &of_images)?,
        };
        match targets {
            Targets::Labels(_) => losses.sum_all()? / of_images.sum_all()?,
            Targets::Soft(_) => losses.mean_all(),
        }
    }

    /// The loss of each image, (N).
    pub fn each(&self, logits: &Tensor, targets: &Targets) -> Result<Tensor> {
        match *self {
            Self::CrossEntropy { label_smoothing } => cross_entropy(&log_softmax(logits)?, targets, label_smoothing),
            Self::MaximumPosterior { rubbish } => {
                let (images, _) = logits.dims2()?;
                let constant = Tensor::full(-rubbish, (images, 1), logits.device())?.to_dtype(logits.dtype())?;
                let all = Tensor::cat(&[logits, &constant], 1)?.log_sum_exp(D::Minus1)?;
                all - weighted(logits, targets)?
            }
        }
    }
}

/// -Σ t_k·s_k for each image, (N), the targets smoothed; the scores s (N, K) are logarithms of shares.
fn cross_entropy(scores: &Tensor, targets: &Targets, label_smoothing: f64) -> Result<Tensor> {
    let right = weighted(scores, targets)?;
    match label_smoothing {
        0.0 => right.neg(),
        share => ((right * (1.0 - share))? + (scores.mean(D::Minus1)? * share)?)?.neg(),
    }
}

/// Σ t_k·x_k for each image, (N).
fn weighted(values: &Tensor, targets: &Targets) -> Result<Tensor> {
    let (images, classes) = values.dims2()?;
    match targets {
        Targets::Labels(labels) => {
            if labels.dims() != [images] {
                candle_core::bail!("{images} images have labels of shape {:?}, expected ({images})", labels.dims());
            }
            check_labels(labels, classes)?;
            values.gather(&labels.to_dtype(DType::U32)?.unsqueeze(1)?, 1)?.squeeze(1)
        }
        Targets::Soft(shares) if shares.dims() == values.dims() => (values * shares.to_dtype(values.dtype())?)?.sum(D::Minus1),
        Targets::Soft(shares) => candle_core::bail!("the targets are {:?}, the logits {:?}", shares.dims(), values.dims()),
    }
}

/// An index beyond the classes reads foreign memory on some devices, so it is looked at first.
fn check_labels(labels: &Tensor, classes: usize) -> Result<()> {
    let highest = match labels.elem_count() {
        0 => return Ok(()),
        _ => labels.to_dtype(DType::U32)?.max(0)?.to_scalar::<u32>()?,
    };
    match (highest as usize) < classes {
        true => Ok(()),
        false => candle_core::bail!("the label {highest} is none of the {classes} classes (0 to {})", classes.saturating_sub(1)),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    const LOGITS: [[f64; 3]; 2] = [[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]];

    fn labels() -> Result<Targets> {
        Ok(Targets::Labels(Tensor::new(&[2u32, 1], &Device::Cpu)?))
    }

    fn mean(loss: Loss, targets: &Targets) -> Result<f64> {
        loss.mean(&Tensor::new(&LOGITS, &Device::Cpu)?, targets)?.to_scalar()
    }

    /// `F.cross_entropy(torch.tensor([[.5,-1,2],[1.5,.25,-.5]]).double(), torch.tensor([2,1]), label_smoothing=s)`
    #[test]
    fn cross_entropy_as_torch() -> Result<()> {
        let plain = mean(Loss::CrossEntropy { label_smoothing: 0.0 }, &labels()?)?;
        let smooth = mean(Loss::CrossEntropy { label_smoothing: 0.1 }, &labels()?)?;
        assert!((plain - 0.921_631_580_229_979_5).abs() < 1e-12, "{plain}");
        assert!((smooth - 0.988_298_246_896_644_7).abs() < 1e-12, "{smooth}");
        Ok(())
    }

    #[test]
    fn soft_targets_that_are_hard_give_the_same() -> Result<()> {
        let soft = Targets::Soft(Tensor::new(&[[0f64, 0.0, 1.0], [0.0, 1.0, 0.0]], &Device::Cpu)?);
        for loss in [Loss::CrossEntropy { label_smoothing: 0.2 }, Loss::MaximumPosterior { rubbish: 0.1 }] {
            assert!((mean(loss, &soft)? - mean(loss, &labels()?)?).abs() < 1e-12);
        }
        Ok(())
    }

    #[test]
    fn the_papers_loss_by_hand() -> Result<()> {
        let by_hand = |row: [f64; 3], right: usize| -row[right] + ((-0.1f64).exp() + row.iter().map(|x| x.exp()).sum::<f64>()).ln();
        let expected = (by_hand(LOGITS[0], 2) + by_hand(LOGITS[1], 1)) / 2.0;
        let found = mean(Loss::MaximumPosterior { rubbish: 0.1 }, &labels()?)?;
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        Ok(())
    }

    /// `F.cross_entropy(x, t, weight=w, label_smoothing=s)` in float64 for w = [.5, 2, 3], t the labels and then the shares, s = 0 and .1:
    /// 0.785567523515415, 0.8304304203807387, 3.034991883315815, 3.0400418180263964
    #[test]
    fn class_weights_as_torch() -> Result<()> {
        let logits = Tensor::new(&LOGITS, &Device::Cpu)?;
        let weights = Tensor::new(&[0.5f64, 2.0, 3.0], &Device::Cpu)?;
        let soft = Targets::Soft(Tensor::new(&[[0.2f64, 0.3, 0.5], [0.0, 0.9, 0.1]], &Device::Cpu)?);
        for (targets, smoothing, expected) in [
            (&labels()?, 0.0, 0.785567523515415),
            (&labels()?, 0.1, 0.8304304203807387),
            (&soft, 0.0, 3.034991883315815),
            (&soft, 0.1, 3.0400418180263964),
        ] {
            let loss = Loss::CrossEntropy { label_smoothing: smoothing };
            let found: f64 = loss.weighted_mean(&logits, targets, &weights)?.to_scalar()?;
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        let error = mean_weighted(Loss::CrossEntropy { label_smoothing: 0.0 }, &logits, &weights.narrow(0, 0, 2)?).unwrap_err().to_string();
        assert!(error.contains("3 classes have weights of shape [2]"), "{error}");
        Ok(())
    }

    fn mean_weighted(loss: Loss, logits: &Tensor, weights: &Tensor) -> Result<f64> {
        loss.weighted_mean(logits, &labels()?, weights)?.to_scalar()
    }

    #[test]
    fn equal_class_weights_change_nothing_and_a_weight_counts_like_copies() -> Result<()> {
        let logits = Tensor::new(&LOGITS, &Device::Cpu)?;
        for loss in [Loss::CrossEntropy { label_smoothing: 0.0 }, Loss::MaximumPosterior { rubbish: 0.1 }] {
            let equal = mean_weighted(loss, &logits, &Tensor::new(&[7f64; 3], &Device::Cpu)?)?;
            assert!((equal - mean(loss, &labels()?)?).abs() < 1e-12);
            // The picture of class 1 three times.
            let thrice = Tensor::new(&[LOGITS[0], LOGITS[1], LOGITS[1], LOGITS[1]], &Device::Cpu)?;
            let copies = Targets::Labels(Tensor::new(&[2u32, 1, 1, 1], &Device::Cpu)?);
            let copied: f64 = loss.mean(&thrice, &copies)?.to_scalar()?;
            let weighted = mean_weighted(loss, &logits, &Tensor::new(&[1f64, 3.0, 1.0], &Device::Cpu)?)?;
            assert!((copied - weighted).abs() < 1e-12, "{loss:?}");
        }
        Ok(())
    }

    #[test]
    fn gradients_are_right() -> Result<()> {
        let soft = Targets::Soft(Tensor::new(&[[0.2f64, 0.3, 0.5], [0.0, 0.9, 0.1]], &Device::Cpu)?);
        for loss in [Loss::CrossEntropy { label_smoothing: 0.1 }, Loss::MaximumPosterior { rubbish: 0.1 }] {
            for (targets, weights) in
                [(&labels()?, None), (&soft, None), (&labels()?, Some([0.5f64, 2.0, 3.0])), (&soft, Some([0.5, 2.0, 3.0]))]
            {
                let mean = |logits: &Tensor| match weights {
                    None => loss.mean(logits, targets),
                    Some(weights) => loss.weighted_mean(logits, targets, &Tensor::new(&weights, &Device::Cpu)?),
                };
                let logits = Var::new(&LOGITS, &Device::Cpu)?;
                let gradients = mean(&logits)?.backward()?;
                let gradient = gradients.get(&logits).expect("a gradient").to_vec2::<f64>()?;
                for (row, column) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
                    let moved = |by: f64| -> Result<f64> {
                        let mut values = LOGITS;
                        values[row][column] += by;
                        mean(&Tensor::new(&values, &Device::Cpu)?)?.to_scalar()
                    };
                    let numeric = (moved(1e-5)? - moved(-1e-5)?) / 2e-5;
                    assert!((gradient[row][column] - numeric).abs() < 1e-8, "{loss:?} {targets:?}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn large_logits_do_not_overflow_and_nothing_gives_zero() -> Result<()> {
        let far = Tensor::new(&[[1e4f32, -1e4, 0.0]], &Device::Cpu)?;
        let target = Targets::Labels(Tensor::new(&[1u32], &Device::Cpu)?);
        let none = Targets::Labels(Tensor::zeros(0, DType::U32, &Device::Cpu)?);
        for loss in [Loss::CrossEntropy { label_smoothing: 0.0 }, Loss::MaximumPosterior { rubbish: 0.1 }] {
            assert_eq!(loss.mean(&far, &target)?.to_scalar::<f32>()?, 2e4);
            assert_eq!(loss.mean(&Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?, &none)?.to_scalar::<f32>()?, 0.0);
        }
        Ok(())
    }

    #[test]
    fn a_label_that_is_no_class_is_an_error() -> Result<()> {
        let wrong = Targets::Labels(Tensor::new(&[2u32, 3], &Device::Cpu)?);
        let error = mean(Loss::CrossEntropy { label_smoothing: 0.0 }, &wrong).unwrap_err().to_string();
        assert!(error.contains("the label 3 is none of the 3 classes"), "{error}");
        Ok(())
    }
}
