//! A balanced choice of the candidates that a loss looks at (Girshick, "Fast R-CNN", 2015, section 2.3).

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::Match;

/// How many candidates of an image are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// The number of all that are taken.
    pub count: usize,
    /// The largest share of them that stand for true boxes. What is missing is filled up with background.
    pub positive: f64,
}

/// The candidates that were taken, by their indices, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Those that stand for true boxes.
    pub positive: Vec<usize>,
    /// Those that are background.
    pub negative: Vec<usize>,
}

impl Sample {
    /// All of them, ascending.
    pub fn all(&self) -> Vec<usize> {
        let mut all = [self.positive.as_slice(), &self.negative].concat();
        all.sort_unstable();
        all
    }
}

impl Sampler {
    /// For anchors: 256, at most half of them positive.
    pub const ANCHORS: Self = Self { count: 256, positive: 0.5 };
    /// For proposals: 512, at most a quarter of them positive.
    pub const PROPOSALS: Self = Self { count: 512, positive: 0.25 };
    /// Takes everything.
    pub const ALL: Self = Self { count: usize::MAX, positive: 1.0 };

    /// A random choice from `matches`; those in between are never taken.
    pub fn sample(&self, matches: &[Match], rng: &mut ChaCha8Rng) -> Sample {
        let which = |wanted: fn(&Match) -> bool| (0..matches.len()).filter(|&index| wanted(&matches[index])).collect();
        let quota = (self.count as f64 * self.positive) as usize;
        let positive = choose(which(|found| matches!(found, Match::Truth(_))), quota.min(self.count), rng);
        let negative = choose(which(|found| *found == Match::Background), self.count - positive.len(), rng);
        Sample { positive, negative }
    }
}

/// `count` of the indices, or all if there are no more, ascending: the beginning of a random permutation.
fn choose(mut indices: Vec<usize>, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    if count >= indices.len() {
        return indices;
    }
    for place in 0..count {
        let other = rng.random_range(place..indices.len());
        indices.swap(place, other);
    }
    indices.truncate(count);
    indices.sort_unstable();
    indices
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::Match::{Background, Between, Truth};

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    #[test]
    fn background_fills_up_what_is_missing() {
        let matches = [Background, Truth(0), Between, Background, Background, Truth(1)];
        let sample = Sampler { count: 4, positive: 0.25 }.sample(&matches, &mut rng(0));
        assert_eq!((sample.positive.len(), sample.negative.as_slice()), (1, [0, 3, 4].as_slice()));
        let everything = Sampler::ALL.sample(&matches, &mut rng(0));
        assert_eq!(everything, Sample { positive: vec![1, 5], negative: vec![0, 3, 4] });
        assert_eq!(everything.all(), [0, 1, 3, 4, 5]);
        assert_eq!(Sampler::ANCHORS.sample(&[], &mut rng(0)), Sample::default());
    }

    #[test]
    fn each_is_as_likely() {
        let sampler = Sampler { count: 3, positive: 0.0 };
        let mut rng = rng(5);
        let mut taken = [0; 10];
        for _ in 0..3000 {
            sampler.sample(&[Background; 10], &mut rng).negative.iter().for_each(|&index| taken[index] += 1);
        }
        // 900 each, with a deviation of 25.
        assert!(taken.iter().all(|&times| (800..1000).contains(&times)), "{taken:?}");
    }

    proptest! {
        #[test]
        fn quotas_hold_and_a_seed_decides(kinds in prop::collection::vec(0..3u8, 0..40), count in 0..20usize, seed in 0..9u64) {
            let matches: Vec<Match> = kinds.iter().map(|kind| [Background, Between, Truth(0)][usize::from(*kind)]).collect();
            let sampler = Sampler { count, positive: 0.5 };
            let sample = sampler.sample(&matches, &mut rng(seed));
            prop_assert_eq!(&sample, &sampler.sample(&matches, &mut rng(seed)));
            prop_assert!(sample.positive.len() <= count / 2 && sample.all().len() <= count);
            prop_assert!(sample.positive.iter().all(|&index| matches[index] == Truth(0)));
            prop_assert!(sample.negative.iter().all(|&index| matches[index] == Background));
            prop_assert!(sample.all().is_sorted_by(|a, b| a < b));
        }
    }
}
