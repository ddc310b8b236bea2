//! Random erasing (Zhong et al. 2020).

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Image, crop};

/// A rectangle of random place, area and proportions gets one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// The part of the pictures that are changed, 0 … 1.
    pub probability: f64,
    /// Least and greatest area, as parts of the whole.
    pub scale: [f64; 2],
    /// Least and greatest height / width.
    pub ratio: [f64; 2],
    /// The value.
    #[serde(default)]
    pub fill: u8,
}

impl Default for Erase {
    fn default() -> Self {
        Self { probability: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3], fill: 0 }
    }
}

impl Erase {
    pub(super) fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image {
        if rng.random::<f64>() >= self.probability {
            return image.clone();
        }
        let (width, height, channels) = (image.width(), image.height(), image.channels());
        // Ten tries at a rectangle that is smaller than the picture, as torchvision makes them.
        for _ in 0..10 {
            let between = |rng: &mut ChaCha8Rng, [low, high]: [f64; 2]| low + (high - low) * rng.random::<f64>();
            let area = (width * height) as f64 * between(rng, self.scale);
            let ratio = between(rng, self.ratio.map(f64::ln)).exp();
            let (h, w) = ((area * ratio).sqrt().round() as usize, (area / ratio).sqrt().round() as usize);
            if h < height && w < width {
                let (top, left) = (rng.random_range(0..=height - h), rng.random_range(0..=width - w));
                let mut data = image.data().to_vec();
                for row in data.chunks_exact_mut(width * channels).skip(top).take(h) {
                    row[left * channels..(left + w) * channels].fill(self.fill);
                }
                return crop::rebuilt(image, data);
            }
        }
        image.clone()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn about_the_given_area_is_erased() {
        let image = Image::filled(40, 30, 1, 200).expect("a picture");
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for _ in 0..50 {
            let erase = Erase { probability: 1.0, scale: [0.1, 0.2], ratio: [0.5, 2.0], fill: 0 };
            let gone = erase.apply(&image, &mut rng).data().iter().filter(|&&value| value == 0).count() as f64 / 1200.0;
            assert!((0.09..0.22).contains(&gone), "{gone}");
        }
        assert_eq!(Erase { probability: 0.0, ..Erase::default() }.apply(&image, &mut rng), image);
    }
}
