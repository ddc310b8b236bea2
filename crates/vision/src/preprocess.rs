//! The whole way from a picture to a network's input.

use std::borrow::Cow;

use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::augment::{Augment, Pipeline};
use crate::{Error, Image, Result, center_crop, flip_horizontal, pad, resize, resize_short_side, ten_crop, to_chw};

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

/// The views of a picture over which a prediction is averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Views {
    /// The usual one.
    #[default]
    One,
    /// The usual one and its mirror image.
    Flip,
    /// Four corners, the middle, and the mirror images of these: see [`ten_crop`].
    TenCrop,
}

impl Views {
    /// How many there are of one picture.
    pub fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Flip => 2,
            Self::TenCrop => 10,
        }
    }
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
        let [height, width] = self.size();
        let padded = |side: usize| side.saturating_add(self.pad.saturating_mul(2));
        [self.channels, padded(height), padded(width)]
    }

    /// `[height, width]` before the padding.
    fn size(&self) -> [usize; 2] {
        match (self.crop, self.resize) {
            (Some(size), _) => size,
            (None, Resize::Exact { height, width }) => [height, width],
            (None, Resize::ShortSide(side)) => [side; 2],
            (None, Resize::None) => [0; 2],
        }
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
        self.padded(self.cropped(self.resized(image)?)?)
    }

    /// As [`Self::apply`], with random changes: for training.
    ///
    /// The first [`Augment::ResizedCrop`] takes the place of resize and crop: its part is one of the whole picture, as in
    /// torchvision's training recipes. All others change the picture at the size that the network sees, so that a shift of
    /// 2 pixels is one whatever the picture's size was.
    ///
    /// # Errors
    /// When a strength is out of its range.
    pub fn augmented(&self, image: &Image, pipeline: &Pipeline, rng: &mut ChaCha8Rng) -> Result<Image> {
        let cut = pipeline.0.iter().enumerate().find_map(|(place, step)| match step {
            Augment::ResizedCrop(cut) => Some((place, cut)),
            _ => None,
        });
        let Some((place, cut)) = cut else { return pipeline.apply(&self.apply(image)?, rng) };
        pipeline.0[place].check()?;
        let [height, width] = self.size();
        let image = self.in_channels(image)?;
        let image = self.padded(Cow::Owned(cut.apply_to(&image, width, height, rng)?))?;
        let others = pipeline.0.iter().enumerate().filter(|(other, _)| *other != place);
        others.map(|(_, step)| step).try_fold(image, |image, step| step.apply(&image, rng))
    }

    /// Whether pictures have these views under these steps.
    ///
    /// # Errors
    /// When there are to be ten crops of what is not cropped.
    pub fn check_views(&self, views: Views) -> Result<()> {
        match (views, self.crop) {
            (Views::TenCrop, None) => Err(Error::Setting(
                "ten crops need a preprocessing that crops; this one takes the whole picture, of which there is a flip".into(),
            )),
            _ => Ok(()),
        }
    }

    /// The views of a picture, each as [`Self::apply`] gives one; the first of [`Views::Flip`] is the usual one.
    ///
    /// # Errors
    /// As [`Self::check_views`], and when a picture is too small for ten crops.
    pub fn views(&self, image: &Image, views: Views) -> Result<Vec<Image>> {
        self.check_views(views)?;
        let resized = self.resized(image)?;
        match (views, self.crop) {
            (Views::TenCrop, Some([height, width])) => {
                ten_crop(&resized, width, height)?.into_iter().map(|part| self.padded(Cow::Owned(part))).collect()
            }
            (Views::Flip, _) => {
                let one = self.padded(self.cropped(resized)?)?;
                let mirrored = flip_horizontal(&one);
                Ok(vec![one, mirrored])
            }
            _ => Ok(vec![self.padded(self.cropped(resized)?)?]),
        }
    }

    fn in_channels<'a>(&self, image: &'a Image) -> Result<Cow<'a, Image>> {
        match image.channels() == self.channels {
            true => Ok(Cow::Borrowed(image)),
            false => Ok(Cow::Owned(image.with_channels(self.channels)?)),
        }
    }

    /// In the right channels and the size before the crop.
    fn resized<'a>(&self, image: &'a Image) -> Result<Cow<'a, Image>> {
        let image = self.in_channels(image)?;
        match self.resize {
            Resize::None => Ok(image),
            Resize::Exact { height, width } if (height, width) == (image.height(), image.width()) => Ok(image),
            Resize::Exact { height, width } => Ok(Cow::Owned(resize(&image, width, height)?)),
            Resize::ShortSide(side) => Ok(Cow::Owned(resize_short_side(&image, side)?)),
        }
    }

    fn cropped<'a>(&self, image: Cow<'a, Image>) -> Result<Cow<'a, Image>> {
        match self.crop {
            Some([height, width]) => Ok(Cow::Owned(center_crop(&image, width, height)?)),
            None => Ok(image),
        }
    }

    fn padded(&self, image: Cow<'_, Image>) -> Result<Image> {
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

    /// The values of a picture of 60×40 rise by 4 a column, which no centre crop shows whole.
    #[test]
    fn a_random_part_is_one_of_the_whole_picture() -> Result<()> {
        use rand_chacha::rand_core::SeedableRng;
        let image = Image::new(60, 40, 1, (0..2400).map(|at| (at % 60 * 4) as u8).collect())?;
        let steps = Preprocess {
            channels: 3,
            resize: Resize::ShortSide(16),
            crop: Some([8, 8]),
            pad: 1,
            mean: vec![0.0; 3],
            std: vec![1.0; 3],
            ..lenet()
        };
        let whole = "resized-crop".parse::<Pipeline>()?;
        let (mut least, mut greatest) = (255, 0);
        for seed in 0..200 {
            let picture = steps.augmented(&image, &whole, &mut ChaCha8Rng::seed_from_u64(seed))?;
            assert_eq!([picture.channels(), picture.height(), picture.width()], steps.output_shape());
            let middle = crate::crop(&picture, 1, 1, 8, 8)?;
            least = least.min(*middle.data().iter().min().expect("values"));
            greatest = greatest.max(*middle.data().iter().max().expect("values"));
        }
        assert!(least < 8 && greatest > 228, "{least} … {greatest}");
        // The part in the middle has the columns 20 to 40.
        let usual = steps.apply(&image)?;
        let inner = crate::crop(&usual, 1, 1, 8, 8)?;
        assert!(inner.data().iter().all(|value| (60..=180).contains(value)));
        // Without a random part, and for what comes after it, nothing is new: changes at the size that the network sees.
        let flip = "flip,crop:2".parse::<Pipeline>()?;
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        assert_eq!(steps.augmented(&image, &flip, &mut ChaCha8Rng::seed_from_u64(3))?, flip.apply(&usual, &mut rng)?);
        let bad = Pipeline(vec![Augment::ResizedCrop(crate::augment::RandomResizedCrop { scale: [2.0, 3.0], ratio: [1.0; 2] })]);
        assert!(steps.augmented(&image, &bad, &mut rng).is_err());
        Ok(())
    }

    #[test]
    fn views_of_a_picture() -> Result<()> {
        let steps = Preprocess { resize: Resize::None, crop: Some([2, 3]), pad: 1, ..lenet() };
        let image = Image::new(5, 4, 1, (0..20).collect())?;
        assert_eq!(steps.views(&image, Views::One)?, [steps.apply(&image)?]);
        assert_eq!(steps.views(&image, Views::Flip)?, [steps.apply(&image)?, flip_horizontal(&steps.apply(&image)?)]);
        let ten = steps.views(&image, Views::TenCrop)?;
        assert_eq!((ten.len(), &ten[4]), (Views::TenCrop.count(), &steps.apply(&image)?));
        assert_eq!(ten[6], pad(&flip_horizontal(&crate::crop(&image, 0, 0, 3, 2)?), [1; 4], 0)?);
        let error = lenet().views(&image, Views::TenCrop).expect_err("no crop").to_string();
        assert!(error.contains("ten crops need a preprocessing that crops"), "{error}");
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
