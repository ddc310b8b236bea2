//! The learning-rate finder (Smith 2017): the rate rises at each step, and the loss tells how far it can.

use candle_core::{DType, ModuleT, Tensor};
use cirio_data::Loader;
use cirio_nn::loss::{Loss, Targets};
use cirio_nn::{Stack, Store};

use crate::optim::{GroupOptions, Optimizer, Rule, param_groups};
use crate::{Error, Result};

/// What a sweep over learning rates has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Learning rate and smoothed loss of each step.
    pub curve: Vec<(f64, f64)>,
    /// The rate at which the loss fell fastest.
    pub suggestion: f64,
}

/// The first and the last rate of a sweep.
const RATES: (f64, f64) = (1e-5, 10.0);
/// The share of the past in the smoothed loss.
const SMOOTHING: f64 = 0.9;
/// A loss of so many times the best one ends the sweep.
const TOO_HIGH: f64 = 4.0;

/// Trains for `steps` steps with rates from 1e-5 to 10, each a fixed factor above the one before, and puts the weights back
/// as they were.
///
/// # Errors
/// When nothing is to be trained, there are too few steps to see anything, or data cannot be read.
pub fn find_learning_rate(
    network: &Stack,
    store: &Store,
    loss: Loss,
    rule: Rule,
    groups: &GroupOptions,
    loader: &Loader,
    steps: usize,
) -> Result<Finding> {
    let before: Vec<(String, Tensor)> =
        store.tensors().into_iter().map(|(name, tensor)| Ok((name, tensor.copy()?))).collect::<Result<_>>()?;
    let dropout = network.dropout_state();
    let curve = sweep(network, loss, rule, groups, loader, steps);
    network.set_dropout_state(dropout);
    before.iter().try_for_each(|(name, tensor)| store.set(name, tensor))?;
    let curve = curve?;
    match steepest(&curve) {
        Some(suggestion) => Ok(Finding { suggestion, curve }),
        None => Err(Error::Empty(format!("a sweep of {} steps shows nothing: at least 10 are needed", curve.len()))),
    }
}

fn sweep(network: &Stack, loss: Loss, rule: Rule, groups: &GroupOptions, loader: &Loader, steps: usize) -> Result<Vec<(f64, f64)>> {
    let groups = param_groups(&network.parameters(), groups)?;
    let mut optimizer = Optimizer::new(rule, groups)?;
    let factor = (RATES.1 / RATES.0).powf(1.0 / steps.max(2) as f64);
    let (mut rate, mut mean, mut best) = (RATES.0, 0.0, f64::INFINITY);
    let mut curve = Vec::with_capacity(steps);
    let epochs = steps.div_ceil(loader.batches().max(1)) as u64;
    for batch in (0..epochs).flat_map(|epoch| loader.epoch(epoch)).take(steps) {
        let batch = batch?;
        let logits = network.forward_t(&batch.images, true)?;
        let loss = loss.mean(&logits, &Targets::Labels(batch.labels_tensor()?))?;
        let value = f64::from(loss.to_dtype(DType::F32)?.to_scalar::<f32>()?);
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * value;
        // The mean began at 0: it is corrected for that, as Adam's are.
        let smooth = mean / (1.0 - SMOOTHING.powi(curve.len() as i32 + 1));
        if !smooth.is_finite() || smooth > TOO_HIGH * best {
            break;
        }
        best = best.min(smooth);
        curve.push((rate, smooth));
        optimizer.step(&cirio_nn::backward(&loss)?, rate)?;
        rate *= factor;
    }
    Ok(curve)
}

/// The rate where the smoothed loss fell fastest over the logarithm of the rate: between points a tenth of the curve apart,
/// so that the noise of single batches does not decide, and without the first tenth, where the mean is of few steps.
fn steepest(curve: &[(f64, f64)]) -> Option<f64> {
    let tenth = curve.len() / 10;
    let inner = curve.get(tenth..).filter(|_| tenth > 0)?;
    let fall = |pair: &[(f64, f64)]| pair[2 * tenth].1 - pair[0].1;
    let steepest = inner.windows(2 * tenth + 1).min_by(|a, b| fall(a).total_cmp(&fall(b)))?;
    Some(steepest[tenth].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steepest_fall_is_suggested() {
        let curve: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i), 1.0 / (1.0 + (f64::from(i) - 20.0).exp()))).collect();
        assert_eq!(steepest(&curve), Some(20.0));
        assert_eq!(steepest(&curve[..8]), None);
        assert_eq!(steepest(&[]), None);
    }
}
