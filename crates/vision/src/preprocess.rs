//! The whole way from a picture to a network's input.

use std::borrow::Cow;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Error, Image, Result, center_crop, pad, resize, resize_short_side, to_chw};

/// The size that a picture is brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Resize {
    /// The size that it has.
    None,
    /// The shorter side has this many pixels, the longer one is in proportion.
    ShortSide(usize),
    /// This size, whatever the proportions were.
    Exact {
        /// H, rows.
        height: usize,
        /// W, columns.
        width: usize,
    },
}

/// The steps from a picture to a network's input, in this order: grey or RGB, resize, crop the middle, pad, and
/// (value/255 - mean) / std.
///
/// It stands in manifests, run folders and files of weights as TOML or JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// C: 1 for grey, 3 for RGB.
    pub channels: usize,
    /// The size before the crop.
    pub resize: Resize,
    /// `[height, width]` of the middle that is kept; everything where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<[usize; 2]>,
    /// Pixels added on each side after that.
    #[serde(default)]
    pub pad: usize,
    /// Their value, 0 … 255.
    #[serde(default)]
    pub fill: u8,
    /// Of each channel, in units of 0 … 1.
    pub mean: Vec<f32>,
    /// Of each channel, in units of 0 … 1.
    pub std: Vec<f32>,
}

/// The longest side that an input may have.
const LONGEST: usize = 16_384;

impl Preprocess {
    /// What the networks of ImageNet take: the shorter side at 256, the middle 224×224, mean and deviation of ImageNet.
    pub fn imagenet() -> Self {
        Self {
            channels: 3,
            resize: Resize::ShortSide(256),
            crop: Some([224; 2]),
            pad: 0,
            fill: 0,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
        }
    }

    /// `[C, H, W]` of the result, for steps that [`Self::check`] lets pass.
    pub fn output_shape(&self) -> [usize; 3] {
        let [height, width] = match (self.crop, self.resize) {
            (Some(size), _) => size,
            (None, Resize::Exact { height, width }) => [height, width],
            (None, Resize::ShortSide(side)) => [side; 2],
            (None, Resize::None) => [0; 2],
        };
        let padded = |side: usize| side.saturating_add(self.pad.saturating_mul(2));
        [self.channels, padded(height), padded(width)]
    }

    /// Whether the steps make sense; to be called on what was read from a file.
    ///
    /// # Errors
    /// When sizes are 0 or too large, the result's size would depend on the picture, there is not one mean and one
    /// deviation a channel, or a deviation is not positive.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Setting(what));
        if !matches!(self.channels, 1 | 3) {
            return wrong(format!("channels is {}, expected 1 or 3", self.channels));
        }
        let resized = match self.resize {
            Resize::None => None,
            Resize::ShortSide(side) => Some([side; 2]),
            Resize::Exact { height, width } => Some([height, width]),
        };
        if !matches!(self.resize, Resize::Exact { .. }) && self.crop.is_none() {
            return wrong("without an exact resize there is a crop, else the input's size would depend on the picture".into());
        }
        let sides = resized.into_iter().chain(self.crop).flatten();
        if let Some(side) = sides.chain([self.pad.max(1)]).find(|side| !(1..=LONGEST).contains(side)) {
            return wrong(format!("a side or padding of {side} is not in 1 … {LONGEST}"));
        }
        if self.mean.len() != self.channels || self.std.len() != self.channels {
            return wrong(format!("{} channels with {} means and {} deviations", self.channels, self.mean.len(), self.std.len()));
        }
        if self.mean.iter().any(|mean| !mean.is_finite()) || self.std.iter().any(|std| !std.is_finite() || *std <= 0.0) {
            return wrong(format!("means {:?} and deviations {:?}: they are finite, and deviations positive", self.mean, self.std));
        }
        Ok(())
    }

    /// The steps that move pixels: everything but the last. The result has the size of [`Self::output_shape`].
    pub fn apply(&self, image: &Image) -> Result<Image> {
        let image = match image.channels() == self.channels {
            true => Cow::Borrowed(image),
            false => Cow::Owned(image.with_channels(self.channels)?),
        };
        let image = match self.resize {
            Resize::None => image,
            Resize::Exact { height, width } if (height, width) == (image.height(), image.width()) => image,
            Resize::Exact { height, width } => Cow::Owned(resize(&image, width, height)?),
            Resize::ShortSide(side) => Cow::Owned(resize_short_side(&image, side)?),
        };
        let image = match self.crop {
            Some([height, width]) => Cow::Owned(center_crop(&image, width, height)?),
            None => image,
        };
        match self.pad {
            0 => Ok(image.into_owned()),
            side => pad(&image, [side; 4], self.fill),
        }
    }

    /// The last step: the values of a picture that [`Self::apply`] has made, (C, H, W), into `output`.
    pub fn normalise(&self, image: &Image, output: &mut [f32]) -> Result<()> {
        to_chw(image, &self.mean, &self.std, output)
    }

    /// All steps: the input (C, H, W) for one picture, in f32.
    pub fn tensor(&self, image: &Image, device: &Device) -> Result<Tensor> {
        crate::to_tensor(&self.apply(image)?, &self.mean, &self.std, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lenet() -> Preprocess {
        Preprocess {
            channels: 1,
            resize: Resize::Exact { height: 28, width: 28 },
            crop: None,
            pad: 2,
            fill: 0,
            mean: vec![0.1 / 1.275],
            std: vec![1.0 / 1.275],
        }
    }

    /// LeCun et al. 1998, section II.B: 28×28 in the middle of 32×32, background -0.1, foreground 1.175.
    #[test]
    fn lenets_input() -> Result<()> {
        lenet().check()?;
        assert_eq!(lenet().output_shape(), [1, 32, 32]);
        let input = lenet().tensor(&Image::filled(28, 28, 1, 255)?, &Device::Cpu)?;
        let values = input.to_vec3::<f32>()?;
        assert!((values[0][0][0] + 0.1).abs() < 1e-6 && (values[0][2][2] - 1.175).abs() < 1e-6, "{} {}", values[0][0][0], values[0][2][2]);
        Ok(())
    }

    #[test]
    fn imagenets_input_from_any_picture() -> Result<()> {
        let steps = Preprocess::imagenet();
        steps.check()?;
        for (width, height, channels) in [(640, 480, 3), (1, 1, 1), (3, 700, 1), (224, 224, 3)] {
            let input = steps.tensor(&Image::filled(width, height, channels, 124)?, &Device::Cpu)?;
            assert_eq!(input.dims(), steps.output_shape());
        }
        Ok(())
    }

    #[test]
    fn written_and_read_again() {
        let cropped = Preprocess { resize: Resize::None, crop: Some([20, 28]), ..lenet() };
        for steps in [lenet(), cropped, Preprocess::imagenet()] {
            let text = serde_json::to_string(&steps).expect("JSON");
            assert_eq!(serde_json::from_str::<Preprocess>(&text).expect(&text), steps);
            let text = toml::to_string(&steps).expect("TOML");
            assert_eq!(toml::from_str::<Preprocess>(&text).expect(&text), steps);
        }
        // The forms that stand in files: they may not change.
        for (text, resize) in [
            (r#"resize = "none""#, Resize::None),
            ("resize = { short-side = 256 }", Resize::ShortSide(256)),
            ("resize = { exact = { height = 28, width = 30 } }", Resize::Exact { height: 28, width: 30 }),
        ] {
            let text = format!("channels = 1\n{text}\nmean = [0.5]\nstd = [0.5]");
            assert_eq!(toml::from_str::<Preprocess>(&text).expect(&text).resize, resize);
        }
        let text = r#"{"channels":1,"resize":{"exact":{"height":28,"width":28}},"mean":[0],"std":[1],"colour":true}"#;
        assert!(serde_json::from_str::<Preprocess>(text).expect_err("an unknown key").to_string().contains("colour"));
    }

    #[test]
    fn no_resize_keeps_the_pixels() -> Result<()> {
        let steps = Preprocess { resize: Resize::None, crop: Some([2, 3]), pad: 1, ..lenet() };
        steps.check()?;
        assert_eq!(steps.output_shape(), [1, 4, 5]);
        let image = Image::new(3, 2, 1, vec![1, 2, 3, 4, 5, 6])?;
        assert_eq!(steps.apply(&image)?, pad(&image, [1; 4], 0)?);
        Ok(())
    }

    #[test]
    fn steps_that_cannot_be_are_refused() {
        for (wrong, words) in [
            (Preprocess { channels: 2, ..lenet() }, "channels is 2"),
            (Preprocess { resize: Resize::ShortSide(32), ..lenet() }, "there is a crop"),
            (Preprocess { resize: Resize::None, ..lenet() }, "there is a crop"),
            (Preprocess { resize: Resize::Exact { height: 0, width: 5 }, ..lenet() }, "side"),
            (Preprocess { crop: Some([1 << 20, 1]), ..lenet() }, "side"),
            (Preprocess { pad: usize::MAX, ..lenet() }, "side or padding"),
            (Preprocess { mean: vec![0.0; 3], ..lenet() }, "3 means"),
            (Preprocess { std: vec![0.0], ..lenet() }, "deviations"),
            (Preprocess { std: vec![f32::NAN], ..lenet() }, "deviations"),
        ] {
            let error = wrong.check().expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
