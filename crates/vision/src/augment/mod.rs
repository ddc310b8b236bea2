//! Random changes of pictures that do not change what is on them; each draws from a generator that the caller seeds.

mod affine;
mod color;
mod erase;
mod mix;
mod photometric;
mod place;

use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Error, Image, Result};

pub use affine::Affine;
pub use color::{ColorJitter, PcaColor};
pub use erase::Erase;
pub use mix::{cutmix, mixup};
pub use photometric::Photometric;
pub use place::{Flip, RandomCrop, RandomResizedCrop};

/// One random change. The picture's size stays as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Augment {
    /// Left and right swapped.
    Flip(Flip),
    /// Top and bottom swapped.
    VerticalFlip(Flip),
    /// Padded, then cut back at a random place.
    Crop(RandomCrop),
    /// A random part, brought to the whole size; in training it is a part of the whole picture, see
    /// [`Preprocess::augmented`](crate::Preprocess::augmented).
    ResizedCrop(RandomResizedCrop),
    /// Turned, moved, scaled, squeezed and sheared.
    Affine(Affine),
    /// Brighter or darker, more or less contrast and colour, other hues.
    ColorJitter(ColorJitter),
    /// AlexNet's shift along the principal components of colour.
    PcaColor(PcaColor),
    /// A random rectangle of one value.
    Erase(Erase),
}

type Make = fn() -> Augment;

/// The names that text has for them, with what each stands for.
const NAMES: [(&str, Make); 8] = [
    ("flip", || Augment::Flip(Flip::default())),
    ("vertical-flip", || Augment::VerticalFlip(Flip::default())),
    ("crop", || Augment::Crop(RandomCrop::default())),
    ("resized-crop", || Augment::ResizedCrop(RandomResizedCrop::default())),
    ("affine", || Augment::Affine(Affine::default())),
    ("color-jitter", || Augment::ColorJitter(ColorJitter::default())),
    ("pca-color", || Augment::PcaColor(PcaColor::default())),
    ("erase", || Augment::Erase(Erase::default())),
];

impl Augment {
    /// Changes a picture.
    ///
    /// # Errors
    /// When a strength is out of its range, which the message names.
    pub fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Result<Image> {
        self.check()?;
        match self {
            Self::Flip(flip) => flip.apply(image, crate::flip_horizontal, rng),
            Self::VerticalFlip(flip) => flip.apply(image, crate::flip_vertical, rng),
            Self::Crop(crop) => crop.apply(image, rng),
            Self::ResizedCrop(crop) => crop.apply(image, rng),
            Self::Affine(affine) => affine.apply(image, rng),
            Self::ColorJitter(jitter) => Ok(jitter.apply(image, rng)),
            Self::PcaColor(shift) => Ok(shift.apply(image, rng)),
            Self::Erase(erase) => Ok(erase.apply(image, rng)),
        }
    }

    /// Whether all strengths are in their ranges: they come from files and flags.
    ///
    /// # Errors
    /// With the one that is not.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Flip(flip) | Self::VerticalFlip(flip) => within("probability", flip.probability, 1.0),
            Self::Crop(RandomCrop { padding, fill: _ }) => within("padding", *padding as f64, STEEPEST),
            Self::ResizedCrop(RandomResizedCrop { scale, ratio }) => {
                span("scale", *scale, 1.0).and_then(|()| span("ratio", *ratio, STEEPEST))
            }
            Self::Affine(Affine { rotation, translation, scale, squeeze, shear, fill: _ }) => within("rotation", *rotation, 360.0)
                .and_then(|()| within("translation", *translation, 1.0))
                .and_then(|()| within("scale", *scale, 1.0))
                .and_then(|()| within("squeeze", *squeeze, 1.0))
                .and_then(|()| within("shear", *shear, STEEPEST)),
            Self::ColorJitter(ColorJitter { brightness, contrast, saturation, hue }) => within("brightness", *brightness, 1.0)
                .and_then(|()| within("contrast", *contrast, 1.0))
                .and_then(|()| within("saturation", *saturation, 1.0))
                .and_then(|()| within("hue", *hue, 0.5)),
            Self::PcaColor(PcaColor { deviation, eigenvalues: _, eigenvectors: _ }) => within("deviation", *deviation, STEEPEST),
            Self::Erase(Erase { probability, scale, ratio, fill: _ }) => within("probability", *probability, 1.0)
                .and_then(|()| span("scale", *scale, 1.0))
                .and_then(|()| span("ratio", *ratio, STEEPEST)),
        }
    }
}

/// The greatest ratio of sides, tangent of a shear, deviation, or number of pixels of padding.
const STEEPEST: f64 = 1000.0;

fn within(name: &str, value: f64, most: f64) -> Result<()> {
    match (0.0..=most).contains(&value) {
        true => Ok(()),
        false => Err(Error::Setting(format!("{name} is {value}, expected 0 … {most}"))),
    }
}

fn span(name: &str, [low, high]: [f64; 2], most: f64) -> Result<()> {
    match 0.0 < low && low <= high && high <= most {
        true => Ok(()),
        false => Err(Error::Setting(format!("{name} is [{low}, {high}], expected 0 < least ≤ greatest ≤ {most}"))),
    }
}

impl FromStr for Augment {
    type Err = Error;

    /// A name, with its usual strength: `flip`, `affine`; `crop` also with its padding, `crop:2`.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(padding) = text.strip_prefix("crop:") {
            let padding = padding.parse().map_err(|_| Error::Setting(format!("`{padding}` is no number of pixels")))?;
            return Ok(Self::Crop(RandomCrop { padding, ..RandomCrop::default() }));
        }
        let known = || NAMES.map(|(name, _)| name).join(", ");
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, make)| make()).ok_or_else(|| Error::Setting(format!("there is no augmentation `{text}`; there are {}", known())))
    }
}

/// Random changes, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pipeline(pub Vec<Augment>);

impl Pipeline {
    /// Whether all steps make sense.
    ///
    /// # Errors
    /// With the strength that does not.
    pub fn check(&self) -> Result<()> {
        self.0.iter().try_for_each(Augment::check)
    }

    /// Changes a picture by each step in turn.
    pub fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Result<Image> {
        self.0.iter().try_fold(image.clone(), |image, step| step.apply(&image, rng))
    }
}

impl FromStr for Pipeline {
    type Err = Error;

    /// Names between commas, `flip,crop:2`; `none` for no change.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::default()),
            _ => text.split(',').map(|name| name.trim().parse()).collect::<Result<_>>().map(Self),
        }
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |step: &Augment| match step {
            Augment::Crop(crop) => format!("crop:{}", crop.padding),
            other => NAMES
                .iter()
                .find(|(_, make)| std::mem::discriminant(&make()) == std::mem::discriminant(other))
                .map_or_else(String::new, |(name, _)| (*name).to_owned()),
        };
        match self.0.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&self.0.iter().map(name).collect::<Vec<_>>().join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn picture(width: usize, height: usize, channels: usize) -> Image {
        let values = (0..width * height * channels).map(|i| (i * 37 % 251) as u8).collect();
        Image::new(width, height, channels, values).expect("a picture")
    }

    proptest! {
        #[test]
        fn sizes_stay_and_seeds_decide(which in 0usize..NAMES.len(), seed: u64, width in 1usize..24, height in 1usize..24, colour: bool) {
            let image = picture(width, height, if colour { 3 } else { 1 });
            let step = NAMES[which].1();
            let once = step.apply(&image, &mut ChaCha8Rng::seed_from_u64(seed))?;
            let again = step.apply(&image, &mut ChaCha8Rng::seed_from_u64(seed))?;
            prop_assert_eq!(&once, &again);
            prop_assert_eq!((once.width(), once.height(), once.channels()), (width, height, image.channels()));
        }
    }

    #[test]
    fn every_step_changes_something() -> Result<()> {
        let image = picture(16, 16, 3);
        for (name, make) in NAMES {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let changed = (0..20).map(|_| make().apply(&image, &mut rng)).collect::<Result<Vec<_>>>()?;
            assert!(changed.iter().any(|picture| picture != &image), "{name}");
        }
        Ok(())
    }

    #[test]
    fn strengths_out_of_range_are_errors() {
        let image = picture(4, 3, 3);
        for bad in [f64::NAN, f64::INFINITY, -0.1, 2000.0] {
            for (step, name) in [
                (Augment::Flip(Flip { probability: bad }), "probability"),
                (Augment::ResizedCrop(RandomResizedCrop { ratio: [bad; 2], ..RandomResizedCrop::default() }), "ratio"),
                (Augment::ResizedCrop(RandomResizedCrop { scale: [0.5, bad], ..RandomResizedCrop::default() }), "scale"),
                (Augment::Affine(Affine { shear: bad, ..Affine::default() }), "shear"),
                (Augment::ColorJitter(ColorJitter { hue: bad, ..ColorJitter::default() }), "hue"),
                (Augment::PcaColor(PcaColor { deviation: bad, ..PcaColor::default() }), "deviation"),
                (Augment::Erase(Erase { scale: [bad, 1.0], ..Erase::default() }), "scale"),
            ] {
                let error = step.apply(&image, &mut ChaCha8Rng::seed_from_u64(0)).unwrap_err().to_string();
                assert!(error.starts_with(name), "{error}");
            }
        }
        let padding = usize::MAX;
        assert!(Augment::Crop(RandomCrop { padding, fill: 0 }).apply(&image, &mut ChaCha8Rng::seed_from_u64(0)).is_err());
    }

    #[test]
    fn text_and_json_forms() -> Result<()> {
        let pipeline: Pipeline = "flip,crop:2,affine,pca-color".parse()?;
        assert_eq!(pipeline.to_string(), "flip,crop:2,affine,pca-color");
        let json = serde_json::to_string(&pipeline).expect("JSON");
        assert_eq!(serde_json::from_str::<Pipeline>(&json).expect("a pipeline"), pipeline);
        assert_eq!("none".parse::<Pipeline>()?, Pipeline::default());
        let error = "flip,zoom".parse::<Pipeline>().unwrap_err().to_string();
        assert!(error.contains("`zoom`") && error.contains("affine"), "{error}");
        assert!("crop:x".parse::<Augment>().is_err());
        Ok(())
    }
}
