//! One pass through the data.

use std::sync::Arc;

use super::Source;
use super::batch::{Batch, Prepared};
use crate::Result;
use crate::dataset::Skipped;
use crate::ordered::{Ordered, Plan};

/// The batches of one epoch, in order.
///
/// A batch that cannot be made comes as an error at its place; the batches after it can still be
/// taken. Dropping the epoch stops its threads and waits for them, at most for the picture that each
/// has under way.
pub struct Epoch {
    source: Arc<Source>,
    batches: Ordered<Prepared>,
}

impl Epoch {
    pub(super) fn start(source: Arc<Source>, epoch: u64, order: Vec<usize>, first: usize, batches: usize) -> Self {
        let config = &source.config;
        let (name, size) = (source.dataset.name().to_owned(), config.batch);
        let plan = Plan { name, pieces: first..batches, workers: config.workers, prefetch: config.prefetch };
        let worker = source.clone();
        let prepare = move |batch: usize, stopped: &_| {
            let pictures = batch * size..((batch + 1) * size).min(order.len());
            worker.prepare(epoch, &order[pictures], stopped)
        };
        Self { source, batches: Ordered::start(plan, prepare) }
    }

    /// The pictures that were left out so far because they could not be read.
    pub fn skipped(&self) -> &[Skipped] {
        self.batches.skipped()
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, prepared) = self.batches.next()?;
        let (shape, device) = (self.source.preprocess.output_shape(), &self.source.config.device);
        Some(prepared.and_then(|prepared| prepared.into_batch(number, shape, device)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.batches.size_hint()
    }
}
