//! Parts of a data set: chosen pictures, a sample, what is held out for validation.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::seq::SliceRandom;

use crate::dataset::{Dataset, Sample, Skipped};
use crate::{Error, Purpose, Result, derived_rng};

/// Chosen pictures of another data set, with its classes.
pub struct Subset {
    whole: Arc<dyn Dataset>,
    indices: Vec<usize>,
    labels: Vec<u32>,
}

impl Subset {
    /// The pictures `indices` of `whole`, in that order.
    ///
    /// # Errors
    /// If there is no picture with one of the numbers.
    pub fn new(whole: Arc<dyn Dataset>, indices: Vec<usize>) -> Result<Self> {
        let all = whole.labels();
        let len = all.len();
        let labels = indices.iter().map(|&index| all.get(index).copied().ok_or(Error::Index { index, len })).collect::<Result<_>>()?;
        Ok(Self { whole, indices, labels })
    }

    /// At most `count` pictures of `whole`, drawn with `seed`, in their old order.
    ///
    /// # Errors
    /// If `count` is 0.
    pub fn sample(whole: Arc<dyn Dataset>, count: usize, seed: u64) -> Result<Self> {
        at_least_one("pictures in all", count)?;
        let mut indices: Vec<usize> = (0..whole.len()).collect();
        indices.shuffle(&mut derived_rng(seed, 0, Purpose::Sample, u64::MAX));
        indices.truncate(count);
        Ok(Self::drawn(whole, indices))
    }

    /// At most `count` pictures of every class of `whole`, drawn with `seed`, in their old order.
    ///
    /// # Errors
    /// If `count` is 0.
    pub fn per_class(whole: Arc<dyn Dataset>, count: usize, seed: u64) -> Result<Self> {
        at_least_one("pictures per class", count)?;
        let classes = shuffled_classes(whole.labels(), seed);
        let indices = classes.into_iter().flat_map(|class| class.into_iter().take(count)).collect();
        Ok(Self::drawn(whole, indices))
    }

    /// `indices` are numbers of pictures of `whole`.
    fn drawn(whole: Arc<dyn Dataset>, mut indices: Vec<usize>) -> Self {
        indices.sort_unstable();
        let labels = indices.iter().map(|&index| whole.labels()[index]).collect();
        Self { whole, indices, labels }
    }
}

impl Dataset for Subset {
    fn name(&self) -> &str {
        self.whole.name()
    }

    fn classes(&self) -> &[String] {
        self.whole.classes()
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let len = self.indices.len();
        self.whole.get(*self.indices.get(index).ok_or(Error::Index { index, len })?)
    }

    fn picture_name(&self, index: usize) -> String {
        self.whole.picture_name(self.indices.get(index).copied().unwrap_or(index))
    }

    fn skipped(&self) -> &[Skipped] {
        self.whole.skipped()
    }

    fn notes(&self) -> &[String] {
        self.whole.notes()
    }
}

fn at_least_one(option: &'static str, count: usize) -> Result<()> {
    if count == 0 { Err(Error::option(option, count, "at least 1")) } else { Ok(()) }
}

/// Divides the pictures with these labels into (to train with, held out), each in rising order.
///
/// `fraction` of every class is held out, rounded, but at least one picture and never all; the one
/// picture of a class that has no other is trained with. With a fraction of 0 nothing is held out.
pub fn hold_out(labels: &[u32], fraction: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let (mut train, mut held) = (Vec::new(), Vec::new());
    for class in shuffled_classes(labels, seed) {
        let most = class.len().saturating_sub(1);
        let count = match fraction > 0.0 {
            true => ((class.len() as f64 * fraction).round() as usize).max(1).min(most),
            false => 0,
        };
        held.extend_from_slice(&class[..count]);
        train.extend_from_slice(&class[count..]);
    }
    train.sort_unstable();
    held.sort_unstable();
    (train, held)
}

/// The numbers of each class's pictures, each class in an order of its own. A class without pictures is not there.
fn shuffled_classes(labels: &[u32], seed: u64) -> Vec<Vec<usize>> {
    let mut members: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, &label) in labels.iter().enumerate() {
        members.entry(label).or_default().push(index);
    }
    for (&class, indices) in &mut members {
        indices.shuffle(&mut derived_rng(seed, 0, Purpose::Sample, u64::from(class)));
    }
    members.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn held_out_and_kept_are_the_whole(
            labels in prop::collection::vec(0u32..7, 0..200),
            fraction in 0.0f64..1.0,
            seed: u64,
        ) {
            let (train, held) = hold_out(&labels, fraction, seed);
            let mut all = [train.clone(), held.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
            for class in 0..7 {
                let count = |part: &[usize]| part.iter().filter(|&&i| labels[i] == class).count();
                let (kept, held) = (count(&train), count(&held));
                if kept + held > 0 {
                    prop_assert!(kept > 0);
                    let exact = (kept + held) as f64 * fraction;
                    prop_assert!((held as f64 - exact).abs() <= 1.0, "{} of {}", held, kept + held);
                }
            }
        }
    }

    #[test]
    fn the_seed_decides() {
        let labels: Vec<u32> = (0..100).map(|i| i % 4).collect();
        assert_eq!(hold_out(&labels, 0.2, 3), hold_out(&labels, 0.2, 3));
        assert_ne!(hold_out(&labels, 0.2, 3), hold_out(&labels, 0.2, 4));
        assert_eq!(hold_out(&labels, 0.2, 3).1.len(), 20);
    }
}
