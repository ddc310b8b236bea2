//! A loader that prepares batches of pictures with their objects on threads, in an order that depends on the seed alone.
//!
//! Like [`Loader`](crate::Loader): each picture has a generator of its own, derived from the seed, the epoch and the picture's number. A
//! batch is no tensor yet, for its pictures may have different sizes; a detector brings them to one.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Scene;
use super::augment::Augmentation;
use crate::dataset::{Skipped, Strictness};
use crate::files::guard;
use crate::ordered::{Made, Ordered, Plan};
use crate::{Error, Order, Purpose, Result, derived_rng};

/// Groups of proportions between one octave and the next.
const GROUPS_PER_OCTAVE: u32 = 3;

/// N pictures with objects in them.
pub trait Scenes: Send + Sync {
    /// Where the pictures come from, in words.
    fn name(&self) -> &str;

    /// The number of pictures, N.
    fn len(&self) -> usize;

    /// Whether there is no picture.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads picture `index` and its objects.
    ///
    /// # Errors
    /// If there is no such picture or it cannot be decoded.
    fn scene(&self, index: usize) -> Result<Scene>;

    /// What to call picture `index` in a message, most often its file.
    fn picture_name(&self, index: usize) -> String;

    /// Rows and columns of picture `index`, without decoding it.
    fn size(&self, index: usize) -> [usize; 2];
}

/// Which pictures may be in a batch together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// Any.
    Mixed,
    /// Those of similar proportions, so that little is lost where they are padded to one size: width / height lies between the same two of
    /// 2^(-3/3), 2^(-2/3), …, 2^(3/3), as in torchvision's `references/detection`. No picture is left out: what does not fill a batch of its
    /// group comes in a smaller one, at the end of the epoch.
    #[default]
    Proportions,
}

/// How to load pictures with objects.
#[derive(Clone, Debug)]
pub struct SceneLoaderConfig {
    /// Pictures in a batch, N; at least 1.
    pub batch: usize,
    /// In which order.
    pub order: Order,
    /// Which pictures may be in a batch together.
    pub grouping: Grouping,
    /// Decides the order and the augmentation.
    pub seed: u64,
    /// Threads that prepare batches. With 0 the thread that asks for a batch prepares it.
    pub workers: usize,
    /// The most batches that are ready or under way, at least 1. It bounds the memory.
    pub prefetch: usize,
    /// What to do with a picture that cannot be read.
    pub strictness: Strictness,
}

impl Default for SceneLoaderConfig {
    /// Batches of 2 in sequential order, grouped by proportions, prepared by two threads, four at a time.
    fn default() -> Self {
        Self {
            batch: 2,
            order: Order::Sequential,
            grouping: Grouping::default(),
            seed: 0,
            workers: 2,
            prefetch: 4,
            strictness: Strictness::Lenient,
        }
    }
}

/// Up to N pictures with their objects.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneBatch {
    /// Its place in the epoch, from 0.
    pub number: usize,
    /// The pictures.
    pub scenes: Vec<Scene>,
    /// What to call each of them in a message.
    pub names: Vec<String>,
    /// Their numbers in the data set.
    pub indices: Vec<usize>,
}

/// Turns pictures with objects into batches.
pub struct SceneLoader {
    source: Arc<Source>,
    /// The group of each picture.
    groups: Vec<u32>,
}

/// What every thread needs to prepare a batch.
struct Source {
    scenes: Arc<dyn Scenes>,
    config: SceneLoaderConfig,
    augmentation: Augmentation,
}

impl SceneLoader {
    /// A loader of `scenes`, each of them augmented.
    ///
    /// # Errors
    /// If the batch or the prefetch is 0, there is no picture, or the augmentation makes no sense.
    pub fn new(scenes: Arc<dyn Scenes>, config: SceneLoaderConfig, augmentation: Augmentation) -> Result<Self> {
        for (option, value) in [("batch", config.batch), ("prefetch", config.prefetch), ("pictures", scenes.len())] {
            if value == 0 {
                return Err(Error::option(option, value, "at least 1"));
            }
        }
        augmentation.check()?;
        let groups = match config.grouping {
            Grouping::Mixed => vec![0; scenes.len()],
            Grouping::Proportions => (0..scenes.len()).map(|index| group(scenes.size(index))).collect(),
        };
        Ok(Self { source: Arc::new(Source { scenes, config, augmentation }), groups })
    }

    /// The number of batches in an epoch; it is the same for every epoch.
    pub fn batches(&self) -> usize {
        let mut pictures = BTreeMap::<u32, usize>::new();
        for &group in &self.groups {
            *pictures.entry(group).or_default() += 1;
        }
        pictures.into_values().map(|pictures| pictures.div_ceil(self.source.config.batch)).sum()
    }

    /// The pictures.
    pub fn scenes(&self) -> &Arc<dyn Scenes> {
        &self.source.scenes
    }

    /// How it loads.
    pub fn config(&self) -> &SceneLoaderConfig {
        &self.source.config
    }

    /// What is done to each picture.
    pub fn augmentation(&self) -> &Augmentation {
        &self.source.augmentation
    }

    /// Starts the epoch of this number. The same number gives the same batches again.
    pub fn epoch(&self, number: u64) -> SceneEpoch {
        self.epoch_from(number, 0)
    }

    /// Starts an epoch at one of its batches, as if those before it had been taken already.
    pub fn epoch_from(&self, number: u64, first_batch: usize) -> SceneEpoch {
        let config = &self.source.config;
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        if config.order == Order::Shuffled {
            order.shuffle(&mut derived_rng(config.seed, number, Purpose::Order, 0));
        }
        let batches = divided(&order, &self.groups, config.batch);
        let (name, pieces) = (self.source.scenes.name().to_owned(), first_batch..batches.len());
        let plan = Plan { name, pieces, workers: config.workers, prefetch: config.prefetch };
        let source = self.source.clone();
        SceneEpoch(Ordered::start(plan, move |batch, stopped| source.prepare(number, batch, &batches[batch], stopped)))
    }
}

/// The group of a picture of these rows and columns: how many of the edges are at most its width / height.
fn group([rows, columns]: [usize; 2]) -> u32 {
    let ratio = columns as f64 / rows as f64;
    let edge = |step: u32| (f64::from(step) / f64::from(GROUPS_PER_OCTAVE) - 1.0).exp2();
    (0..=2 * GROUPS_PER_OCTAVE).filter(|&step| edge(step) <= ratio).count() as u32
}

/// Batches of up to `size` pictures, each of one group, as they fill up along `order`; those that do not come last.
fn divided(order: &[usize], groups: &[u32], size: usize) -> Vec<Vec<usize>> {
    let mut open = BTreeMap::<u32, Vec<usize>>::new();
    let mut batches = Vec::new();
    for &index in order {
        let batch = open.entry(groups[index]).or_default();
        batch.push(index);
        if batch.len() == size {
            batches.push(take(batch));
        }
    }
    batches.extend(open.into_values().filter(|batch| !batch.is_empty()));
    batches
}

impl Source {
    /// Prepares batch `number` of the pictures `indices`. Gives up when `stopped` is set.
    fn prepare(&self, epoch: u64, number: usize, indices: &[usize], stopped: &AtomicBool) -> Result<Made<SceneBatch>> {
        let mut batch = SceneBatch { number, scenes: Vec::new(), names: Vec::new(), indices: Vec::new() };
        let mut skipped = Vec::new();
        for &index in indices {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            match (self.scene(epoch, index), self.config.strictness) {
                (Ok(scene), _) => {
                    batch.scenes.push(scene);
                    batch.names.push(self.scenes.picture_name(index));
                    batch.indices.push(index);
                }
                (Err(Error::Picture { picture, reason }), Strictness::Lenient) => skipped.push(Skipped { picture, reason }),
                (Err(error), _) => return Err(error),
            }
        }
        Ok(Made { value: (!batch.scenes.is_empty()).then_some(batch), skipped })
    }

    /// Picture `index`, augmented.
    fn scene(&self, epoch: u64, index: usize) -> Result<Scene> {
        let mut rng = derived_rng(self.config.seed, epoch, Purpose::Picture, index as u64);
        let augmented = self.augmentation.apply(self.read(index)?, &mut rng, &|rng| self.other(rng));
        augmented.map_err(|error| match error {
            Error::Preprocess(error) => Error::picture(self.scenes.picture_name(index), error),
            other => other,
        })
    }

    fn read(&self, index: usize) -> Result<Scene> {
        guard(|| self.scenes.picture_name(index), || self.scenes.scene(index))
    }

    /// A random picture to take objects from; none where it cannot be read and need not be.
    fn other(&self, rng: &mut ChaCha8Rng) -> Result<Option<Scene>> {
        match self.read(rng.random_range(0..self.scenes.len())) {
            Err(Error::Picture { .. }) if self.config.strictness == Strictness::Lenient => Ok(None),
            read => read.map(Some),
        }
    }
}

/// The batches of one epoch, in order.
///
/// A batch that cannot be made comes as an error at its place; the batches after it can still be taken. Dropping the epoch stops its
/// threads and waits for them, at most for the picture that each has under way.
pub struct SceneEpoch(Ordered<SceneBatch>);

impl SceneEpoch {
    /// The pictures that were left out so far because they could not be read.
    pub fn skipped(&self) -> &[Skipped] {
        self.0.skipped()
    }
}

impl Iterator for SceneEpoch {
    type Item = Result<SceneBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(_, batch)| batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `bisect.bisect_right((2 ** np.linspace(-1, 1, 7)).tolist(), w / h)`, as torchvision's `group_by_aspect_ratio.py` has it.
    #[test]
    fn groups_as_torchvision() {
        let sizes = [[480, 640], [640, 480], [500, 500], [1, 9], [9, 1], [427, 640], [200, 100], [100, 200], [333, 500], [1000, 999]];
        assert_eq!(sizes.map(group), [5, 2, 4, 7, 0, 5, 1, 7, 5, 3]);
    }

    #[test]
    fn a_batch_is_of_one_group_and_no_picture_is_left_out() {
        let batches = divided(&[4, 2, 0, 1, 3, 5, 6], &[7, 0, 7, 7, 0, 7, 0], 2);
        assert_eq!(batches, [vec![2, 0], vec![4, 1], vec![3, 5], vec![6]]);
    }
}
