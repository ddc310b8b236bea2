//! A loader that prepares batches on threads, in an order that depends on the seed alone.
//!
//! Work is handed out by the batch. Each picture has a generator of its own, derived from the seed,
//! the epoch and the picture's number, so that it does not matter which thread prepares it, or when.

mod batch;
mod epoch;

use std::sync::Arc;

use candle_core::Device;
use cirio_vision::augment::Pipeline;
use cirio_vision::{Preprocess, Views};
use rand::seq::SliceRandom;

use crate::dataset::{Dataset, Strictness};
use crate::{Error, Purpose, Result, derived_rng};

pub use batch::Batch;
pub use epoch::Epoch;

/// In which order an epoch goes through the pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they are numbered.
    #[default]
    Sequential,
    /// Shuffled anew for each epoch, from the seed and the epoch's number.
    Shuffled,
}

/// How to load.
#[derive(Clone, Debug)]
pub struct LoaderConfig {
    /// Pictures in a batch, N; at least 1.
    pub batch: usize,
    /// In which order.
    pub order: Order,
    /// Decides the order and the augmentation.
    pub seed: u64,
    /// Threads that prepare batches. With 0 the thread that asks for a batch prepares it.
    pub workers: usize,
    /// The most batches that are ready or under way, at least 1. It bounds the memory.
    pub prefetch: usize,
    /// Leaves out the last batch if it is smaller than the others.
    pub drop_last: bool,
    /// What to do with a picture that cannot be read.
    pub strictness: Strictness,
    /// The views of each picture; one where pictures are augmented.
    pub views: Views,
    /// Where the pictures' tensors are made.
    pub device: Device,
}

impl Default for LoaderConfig {
    /// Batches of 32 in sequential order, prepared by two threads, four at a time, on the CPU.
    fn default() -> Self {
        Self {
            batch: 32,
            order: Order::Sequential,
            seed: 0,
            workers: 2,
            prefetch: 4,
            drop_last: false,
            strictness: Strictness::Lenient,
            views: Views::One,
            device: Device::Cpu,
        }
    }
}

/// Turns a data set into batches of shape (N, C, H, W).
pub struct Loader {
    source: Arc<Source>,
}

/// What every thread needs to prepare a batch.
struct Source {
    dataset: Arc<dyn Dataset>,
    config: LoaderConfig,
    preprocess: Preprocess,
    augment: Option<Pipeline>,
}

impl Loader {
    /// A loader of `dataset`. Each picture is brought to the network's size, augmented if there is a pipeline, and normalised.
    ///
    /// # Errors
    /// If the batch or the prefetch is 0, there would be no batch at all, the preprocessing makes no sense or has no such views, or
    /// augmented pictures are to have several.
    pub fn new(dataset: Arc<dyn Dataset>, config: LoaderConfig, preprocess: Preprocess, augment: Option<Pipeline>) -> Result<Self> {
        for (option, value) in [("batch", config.batch), ("prefetch", config.prefetch)] {
            if value == 0 {
                return Err(Error::option(option, value, "at least 1"));
            }
        }
        preprocess.check().and_then(|()| preprocess.check_views(config.views)).map_err(Error::Preprocess)?;
        if augment.is_some() && config.views != Views::One {
            return Err(Error::option("views", format!("{:?}", config.views), "one of each augmented picture"));
        }
        let loader = Self { source: Arc::new(Source { dataset, config, preprocess, augment }) };
        if loader.batches() == 0 {
            let found = format!("{} pictures", loader.source.dataset.len());
            let expected = match loader.source.config.drop_last {
                true => format!("at least {}, one whole batch", loader.source.config.batch),
                false => "at least 1".to_owned(),
            };
            return Err(Error::option("data set", found, expected));
        }
        Ok(loader)
    }

    /// The number of batches in an epoch.
    pub fn batches(&self) -> usize {
        let LoaderConfig { batch, drop_last, .. } = self.source.config;
        let pictures = self.source.dataset.len();
        if drop_last { pictures / batch } else { pictures.div_ceil(batch) }
    }

    /// The number of pictures in an epoch.
    pub fn pictures(&self) -> usize {
        self.source.dataset.len().min(self.batches() * self.source.config.batch)
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.source.dataset
    }

    /// How it loads.
    pub fn config(&self) -> &LoaderConfig {
        &self.source.config
    }

    /// Starts the epoch of this number. The same number gives the same batches again.
    pub fn epoch(&self, number: u64) -> Epoch {
        self.epoch_from(number, 0)
    }

    /// Starts an epoch at one of its batches, as if those before it had been taken already.
    pub fn epoch_from(&self, number: u64, first_batch: usize) -> Epoch {
        let mut order: Vec<usize> = (0..self.source.dataset.len()).collect();
        if self.source.config.order == Order::Shuffled {
            order.shuffle(&mut derived_rng(self.source.config.seed, number, Purpose::Order, 0));
        }
        Epoch::start(self.source.clone(), number, order, first_batch, self.batches())
    }
}
