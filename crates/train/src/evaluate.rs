//! How good a network is on a data set.

use candle_core::Tensor;
use cirio_data::{Loader, Skipped};
use cirio_nn::loss::{Loss, Targets};

use crate::{Confusion, Error, Result, Scores, Tally};

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
        if logits.dims2()?.1 != classes {
            return Err(Error::Empty(format!("the network has {} classes, the data set {classes}", logits.dims2()?.1)));
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
