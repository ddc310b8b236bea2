//! Mirroring and cutting at random places.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Image, Result, crop, pad, resize};

/// A mirroring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// The part of the pictures that are mirrored, 0 … 1.
    pub probability: f64,
}

impl Default for Flip {
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

impl Flip {
    pub(super) fn apply(&self, image: &Image, flip: fn(&Image) -> Image, rng: &mut ChaCha8Rng) -> Result<Image> {
        Ok(if rng.random::<f64>() < self.probability { flip(image) } else { image.clone() })
    }
}

/// Padding on all sides, then a cut of the old size at a random place: a move by up to `padding` pixels each way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomCrop {
    /// Pixels added on each side.
    pub padding: usize,
    /// Their value.
    #[serde(default)]
    pub fill: u8,
}

impl Default for RandomCrop {
    /// 4 pixels of black, as is usual for pictures of 32×32.
    fn default() -> Self {
        Self { padding: 4, fill: 0 }
    }
}

impl RandomCrop {
    pub(super) fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Result<Image> {
        let padded = pad(image, [self.padding; 4], self.fill)?;
        let (left, top) = (rng.random_range(0..=2 * self.padding), rng.random_range(0..=2 * self.padding));
        crop(&padded, left, top, image.width(), image.height())
    }
}

/// A part of random area and proportions, brought back to the picture's size (Szegedy et al. 2015), as torchvision draws it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// Least and greatest area, as parts of the whole.
    pub scale: [f64; 2],
    /// Least and greatest width / height.
    pub ratio: [f64; 2],
}

impl Default for RandomResizedCrop {
    fn default() -> Self {
        Self { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl RandomResizedCrop {
    pub(super) fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Result<Image> {
        self.apply_to(image, image.width(), image.height(), rng)
    }

    /// The part, brought to `width`×`height`.
    pub(crate) fn apply_to(&self, image: &Image, width: usize, height: usize, rng: &mut ChaCha8Rng) -> Result<Image> {
        let [part_width, part_height] = self.part(image.width(), image.height(), rng);
        let (left, top) = (rng.random_range(0..=image.width() - part_width), rng.random_range(0..=image.height() - part_height));
        resize(&crop(image, left, top, part_width, part_height)?, width, height)
    }

    /// Ten tries at a part that fits; else the largest with allowed proportions.
    fn part(&self, width: usize, height: usize, rng: &mut ChaCha8Rng) -> [usize; 2] {
        let between = |rng: &mut ChaCha8Rng, [low, high]: [f64; 2]| low + (high - low) * rng.random::<f64>();
        for _ in 0..10 {
            let area = (width * height) as f64 * between(rng, self.scale);
            let ratio = between(rng, self.ratio.map(f64::ln)).exp();
            let (w, h) = ((area * ratio).sqrt().round() as usize, (area / ratio).sqrt().round() as usize);
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                return [w, h];
            }
        }
        let whole = width as f64 / height as f64;
        let ratio = whole.clamp(self.ratio[0].min(self.ratio[1]), self.ratio[1].max(self.ratio[0]));
        match ratio < whole {
            true => [((height as f64 * ratio).round() as usize).clamp(1, width), height],
            false => [width, ((width as f64 / ratio).round() as usize).clamp(1, height)],
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_crop_moves_by_at_most_its_padding() -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let dot = pad(&Image::filled(1, 1, 1, 255)?, [4; 4], 0)?;
        let mut seen = std::collections::HashSet::new();
        for _ in 0..300 {
            let moved = RandomCrop { padding: 2, fill: 0 }.apply(&dot, &mut rng)?;
            let at = moved.data().iter().position(|&v| v == 255).expect("the dot stays inside");
            seen.insert((at / 9, at % 9));
        }
        assert!(seen.iter().all(|&(row, column)| (2..=6).contains(&row) && (2..=6).contains(&column)));
        assert_eq!(seen.len(), 25, "every place is reached");
        Ok(())
    }

    #[test]
    fn nothing_to_do_changes_nothing() -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let image = Image::new(3, 2, 1, vec![1, 2, 3, 4, 5, 6])?;
        assert_eq!(RandomCrop { padding: 0, fill: 9 }.apply(&image, &mut rng)?, image);
        assert_eq!(RandomResizedCrop { scale: [1.0; 2], ratio: [1.5; 2] }.apply(&image, &mut rng)?, image);
        assert_eq!(Flip { probability: 0.0 }.apply(&image, crate::flip_horizontal, &mut rng)?, image);
        Ok(())
    }

    #[test]
    fn areas_and_proportions_stay_in_range() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..200 {
            let [width, height] = RandomResizedCrop { scale: [0.25, 0.5], ratio: [0.75, 4.0 / 3.0] }.part(200, 160, &mut rng);
            let (area, ratio) = ((width * height) as f64 / 32_000.0, width as f64 / height as f64);
            assert!((0.24..0.51).contains(&area) && (0.74..1.36).contains(&ratio), "{width}×{height}");
        }
        // No part of a line has these proportions: the fallback is used.
        assert_eq!(RandomResizedCrop { scale: [0.5, 1.0], ratio: [0.75, 1.25] }.part(100, 1, &mut rng), [1, 1]);
    }
}
