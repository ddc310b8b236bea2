//! Generators that depend on a seed and a place, not on who asks first.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The generator for one thing of one epoch: a picture's augmentation, a batch's mixup, the order.
///
/// The three numbers fill the generator's key, so different places have unrelated generators, and
/// a place has the same one however the work is shared among threads.
pub fn derived_rng(seed: u64, epoch: u64, purpose: Purpose, number: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (bytes, value) in key.chunks_exact_mut(8).zip([seed, epoch, purpose as u64, number]) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// What a derived generator is for. Different purposes never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The order of an epoch; `number` is 0.
    Order = 0,
    /// The augmentation of one picture; `number` is its index in the set.
    Picture = 1,
    /// What is done to a whole batch, such as mixup; `number` is the batch's place in the epoch.
    Batch = 2,
    /// Which pictures are held out or drawn from a class; `number` is the class.
    Sample = 3,
    /// A scene that is made; `number` is its place in its part, which stands in for the epoch.
    Scene = 4,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn every_coordinate_changes_the_numbers() {
        let first = |seed, epoch, purpose, number| derived_rng(seed, epoch, purpose, number).random::<u64>();
        let here = first(1, 2, Purpose::Picture, 3);
        assert_eq!(here, first(1, 2, Purpose::Picture, 3));
        for other in [
            first(2, 2, Purpose::Picture, 3),
            first(1, 3, Purpose::Picture, 3),
            first(1, 2, Purpose::Batch, 3),
            first(1, 2, Purpose::Picture, 4),
        ] {
            assert_ne!(here, other);
        }
    }
}
