//! The changes of light and colour with which detectors are trained.

use std::array::from_fn;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::color::{brighten, colourful, contrast, turn_hues};
use super::{span, within};
use crate::{Image, Result, crop};

/// Brightness, contrast, saturation, hue and the order of the channels, each changed in some of the pictures (Liu et al., "SSD", 2016, section
/// 2.2), as torchvision's `RandomPhotometricDistort` does, only that nothing is rounded in between. A coin decides whether the contrast is
/// changed before saturation and hue or after them. Grey pictures have neither saturation nor hue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Photometric {
    /// The part of the pictures of which a property is changed, for each property by itself, 0 … 1.
    pub probability: f64,
    /// Least and greatest factor, 1 for no change.
    pub brightness: [f64; 2],
    /// Least and greatest factor, 1 for no change.
    pub contrast: [f64; 2],
    /// Least and greatest factor, 1 for no change.
    pub saturation: [f64; 2],
    /// The most that hues are turned by, either way, as a part of the circle, 0 … 0.5.
    pub hue: f64,
}

impl Default for Photometric {
    fn default() -> Self {
        Self { probability: 0.5, brightness: [0.875, 1.125], contrast: [0.5, 1.5], saturation: [0.5, 1.5], hue: 0.05 }
    }
}

impl Photometric {
    /// Whether all strengths are in their ranges.
    ///
    /// # Errors
    /// With the one that is not.
    pub fn check(&self) -> Result<()> {
        let Self { probability, brightness, contrast, saturation, hue } = *self;
        within("probability", probability, 1.0)
            .and_then(|()| span("brightness", brightness, STRONGEST))
            .and_then(|()| span("contrast", contrast, STRONGEST))
            .and_then(|()| span("saturation", saturation, STRONGEST))
            .and_then(|()| within("hue", hue, 0.5))
    }

    /// Changes a picture.
    pub fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image {
        let first = rng.random::<bool>();
        let [bright, contrasted, saturated, turned, permuted] = from_fn(|_| rng.random::<f64>() < self.probability);
        let mut between = |[low, high]: [f64; 2]| low + (high - low) * rng.random::<f64>();
        let [brightness, strength, saturation] = [self.brightness, self.contrast, self.saturation].map(&mut between);
        let part = between([-self.hue, self.hue]);

        let channels = image.channels();
        let mut values: Vec<f64> = image.data().iter().map(|&value| f64::from(value)).collect();
        if bright {
            brighten(&mut values, brightness, channels);
        }
        if contrasted && first {
            contrast(&mut values, strength, channels);
        }
        if saturated {
            colourful(&mut values, saturation, channels);
        }
        if turned {
            turn_hues(&mut values, part, channels);
        }
        if contrasted && !first {
            contrast(&mut values, strength, channels);
        }
        if permuted {
            permute(&mut values, channels, rng);
        }
        crop::rebuilt(image, values.into_iter().map(|value| value.round() as u8).collect())
    }
}

/// The greatest factor.
const STRONGEST: f64 = 1000.0;

/// The channels in a random order.
fn permute(values: &mut [f64], channels: usize, rng: &mut ChaCha8Rng) {
    for last in (1..channels).rev() {
        let other = rng.random_range(0..=last);
        values.chunks_exact_mut(channels).for_each(|pixel| pixel.swap(last, other));
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const NONE: Photometric = Photometric { probability: 0.0, brightness: [1.0; 2], contrast: [1.0; 2], saturation: [1.0; 2], hue: 0.0 };

    fn picture() -> Result<Image> {
        Image::new(5, 3, 3, (0..45).map(|i| (i * 31 + i * i * 7) as u8).collect())
    }

    /// The mean of `function` over many seeds.
    fn mean(photometric: &Photometric, image: &Image, function: impl Fn(&Image) -> f64) -> f64 {
        (0..400).map(|seed| function(&photometric.apply(image, &mut ChaCha8Rng::seed_from_u64(seed)))).sum::<f64>() / 400.0
    }

    #[test]
    fn each_property_is_changed_in_some_of_the_pictures() -> Result<()> {
        let image = picture()?;
        assert_eq!(NONE.apply(&image, &mut ChaCha8Rng::seed_from_u64(0)), image);
        let same = |changed: &Image| if *changed == image { 1.0 } else { 0.0 };
        for only in [
            Photometric { brightness: [0.8; 2], ..NONE },
            Photometric { contrast: [0.7; 2], ..NONE },
            Photometric { saturation: [0.5; 2], ..NONE },
        ] {
            // Half is left alone by the change, and of the rest one sixth of half by the order of channels: 1/2 · (1/2 + 1/12).
            let unchanged = mean(&Photometric { probability: 0.5, ..only.clone() }, &image, same);
            assert!((unchanged - 7.0 / 24.0).abs() < 0.08, "{only:?}: {unchanged}");
        }
        Ok(())
    }

    /// With a brightness of 0.5 and a contrast of 0.5 values become v/4 + mean/4 either way.
    #[test]
    fn brightness_and_contrast_are_blends() -> Result<()> {
        let image = Image::new(2, 1, 1, vec![40, 200])?;
        let both = Photometric { probability: 1.0, brightness: [0.5; 2], contrast: [0.5; 2], ..NONE };
        assert_eq!(both.apply(&image, &mut ChaCha8Rng::seed_from_u64(1)).data(), [40, 80]);
        Ok(())
    }

    #[test]
    fn channels_are_permuted_alike_in_all_pixels() -> Result<()> {
        let image = Image::new(2, 1, 3, vec![1, 2, 3, 11, 12, 13])?;
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..60 {
            let changed = Photometric { probability: 1.0, ..NONE }.apply(&image, &mut ChaCha8Rng::seed_from_u64(seed));
            assert!(changed.data()[..3].iter().zip(&changed.data()[3..]).all(|(one, other)| one + 10 == *other), "{changed:?}");
            seen.insert(changed.into_data());
        }
        assert_eq!(seen.len(), 6);
        Ok(())
    }

    #[test]
    fn strengths_out_of_range_are_errors() {
        for bad in [f64::NAN, -0.1, 2000.0] {
            for (photometric, name) in [
                (Photometric { probability: bad, ..NONE }, "probability"),
                (Photometric { brightness: [0.5, bad], ..NONE }, "brightness"),
                (Photometric { contrast: [bad, 1.0], ..NONE }, "contrast"),
                (Photometric { saturation: [bad; 2], ..NONE }, "saturation"),
                (Photometric { hue: bad, ..NONE }, "hue"),
            ] {
                let error = photometric.check().unwrap_err().to_string();
                assert!(error.starts_with(name), "{error}");
            }
        }
        assert!(Photometric::default().check().is_ok());
    }
}
