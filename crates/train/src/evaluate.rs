//! How good a network is on a data set.

use candle_core::Tensor;
use cirio_data::{Loader, Skipped};
use cirio_nn::loss::{Loss, Targets};
use cirio_nn::ops::log_softmax;

use crate::{Confusion, Error, Result, Scores, Tally};

/// One prediction for each picture from those for its views: logits (N·V, K) to the logarithms (N, K) of the mean of the V softmaxes
/// (Krizhevsky et al. 2012, section 4.1). One view is left as it is.
///
/// # Errors
/// When the rows are no multiple of V.
pub fn average_views(logits: &Tensor, views: usize) -> candle_core::Result<Tensor> {
    if views == 1 {
        return Ok(logits.clone());
    }
    let (_, classes) = logits.dims2()?;
    // The logarithm of the sum, without shares that are too small for their type.
    log_softmax(logits)?.reshape(((), views, classes))?.log_sum_exp(1)? - (views as f64).ln()
}

/// Loss, accuracy, top-5 and confusion matrix over all pictures of a loader, and the pictures that could not be read. `network` gives
/// the logits (N, K) of images (N, C, H, W).
///
/// # Errors
/// When no picture could be read, a label is no class of the network, or the loss is no finite number.
pub fn evaluate(
    network: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
    loss: Loss,
    loader: &Loader,
) -> Result<(Scores, Confusion, Vec<Skipped>)> {
    let classes = loader.dataset().classes().len();
    let mut tally = Tally::new(classes);
    let mut epoch = loader.epoch(0);
    for batch in epoch.by_ref() {
        let batch = batch?;
        let labels = batch.labels_tensor()?;
        let logits = network(&batch.images)?;
        let (_, network) = logits.dims2()?;
        if network != classes {
            return Err(Error::Classes { network, data: classes });
        }
        tally.add(&logits, &labels, &loss.each(&logits, &Targets::Labels(labels.clone()))?)?;
    }
    if tally.count() == 0 {
        return Err(Error::Empty("there is no picture to evaluate with".into()));
    }
    let scores = tally.scores();
    match scores.loss.is_finite() {
        true => Ok((scores, tally.into_confusion(), epoch.skipped().to_vec())),
        false => Err(Error::NotFinite(scores.loss)),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// `log(mean(softmax(x), 0))` of each two rows, by hand: shares 1/4 and 3/4, then 1/2 and 1/2.
    #[test]
    fn views_are_averaged_as_shares() -> candle_core::Result<()> {
        let logits = Tensor::new(&[[0f64, 3f64.ln()], [5.0, 5.0], [1.0, 1.0], [2.0, 2.0]], &Device::Cpu)?;
        let shares = average_views(&logits, 2)?.exp()?.to_vec2::<f64>()?;
        let expected = [[0.375, 0.625], [0.5, 0.5]];
        assert!(shares.iter().flatten().zip(expected.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-12), "{shares:?}");
        assert_eq!(average_views(&logits, 1)?.to_vec2::<f64>()?, logits.to_vec2::<f64>()?);
        assert!(average_views(&logits, 3).is_err());
        Ok(())
    }
}
