//! Random changes of a picture together with the boxes, masks and key points of its objects.
//!
//! Every step takes a scene that is sound, see [`sanitise`], and makes a sound one of it. What is drawn depends on the generator alone.
//!
//! ```
//! use cirio_data::objects::augment::Augmentation;
//! use cirio_data::objects::{Instance, Scene};
//! use cirio_vision::Image;
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//!
//! let dog = Instance { edges: [8.0, 4.0, 24.0, 20.0], class: 0, mask: None, keypoints: Vec::new() };
//! let scene = Scene { image: Image::filled(32, 24, 3, 200)?, instances: vec![dog] };
//! let augmentation: Augmentation = "photometric,scale-jitter:64,hflip".parse()?;
//! let nothing_to_paste = |_: &mut ChaCha8Rng| Ok(None);
//! let changed = augmentation.apply(scene, &mut ChaCha8Rng::seed_from_u64(7), &nothing_to_paste)?;
//! assert_eq!((changed.image.width(), changed.image.height()), (64, 64));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod copy_paste;
mod flip;
mod geometry;
mod iou_crop;
mod resize;
mod sound;
mod text;
mod zoom_out;

use cirio_vision::augment::Photometric;
use cirio_vision::{Error as VisionError, Result as VisionResult};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Scene;
use crate::{Error, Result};

pub use copy_paste::CopyPaste;
pub use flip::HorizontalFlip;
pub use iou_crop::IouCrop;
pub use resize::{ScaleJitter, ShortestSide};
pub use sound::sanitise;
pub use zoom_out::ZoomOut;

/// The colour of ground that no picture covers: the mean over ImageNet, which networks take for 0.
pub const GROUND: [u8; 3] = [123, 117, 104];

/// One random change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Left and right swapped.
    Hflip(HorizontalFlip),
    /// Other light and colours.
    Photometric(Photometric),
    /// On a larger ground.
    ZoomOut(ZoomOut),
    /// A part that overlaps with an object.
    IouCrop(IouCrop),
    /// Scaled at random, then cut or filled up to a square.
    ScaleJitter(ScaleJitter),
    /// The shortest side brought to one of several sizes.
    ShortestSide(ShortestSide),
    /// Objects of another picture pasted onto it.
    CopyPaste(CopyPaste),
}

impl Step {
    fn check(&self) -> VisionResult<()> {
        match self {
            Self::Hflip(flip) => flip.check(),
            Self::Photometric(photometric) => photometric.check(),
            Self::ZoomOut(zoom) => zoom.check(),
            Self::IouCrop(crop) => crop.check(),
            Self::ScaleJitter(jitter) => jitter.check(),
            Self::ShortestSide(side) => side.check(),
            Self::CopyPaste(paste) => within("probability", paste.probability, 0.0, 1.0),
        }
    }

    /// The change, except for one that needs a second picture.
    fn apply(&self, scene: Scene, rng: &mut ChaCha8Rng) -> VisionResult<Scene> {
        let changed = match self {
            Self::Hflip(flip) => flip.apply(scene, rng)?,
            Self::Photometric(photometric) => Scene { image: photometric.apply(&scene.image, rng), ..scene },
            Self::ZoomOut(zoom) => zoom.apply(scene, rng)?,
            Self::IouCrop(crop) => crop.apply(scene, rng)?,
            Self::ScaleJitter(jitter) => jitter.apply(&scene, rng)?,
            Self::ShortestSide(side) => side.apply(&scene, rng)?,
            Self::CopyPaste(_) => scene,
        };
        sanitise(changed)
    }
}

/// Random changes, one after the other.
///
/// As text they are names between commas, `photometric,zoom-out,iou-crop,hflip`, or `none`. Two names take a value: `scale-jitter:512` for the
/// square's side, and `shortest-side:160/192/224` for the sizes to choose from. The presets of torchvision's `references/detection` are names
/// too:
///
/// | name | steps |
/// |---|---|
/// | `hflip` | itself |
/// | `multiscale`, or with sizes as above | `shortest-side,hflip` |
/// | `lsj`, or with a side as above | `scale-jitter,hflip` |
/// | `ssd` | `photometric,zoom-out,iou-crop,hflip` |
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Augmentation {
    /// The changes, in order.
    pub steps: Vec<Step>,
}

/// Gives a random picture to take objects from; None where there is none to be had.
pub type Others<'a> = dyn Fn(&mut ChaCha8Rng) -> Result<Option<Scene>> + 'a;

impl Augmentation {
    /// Whether all steps make sense: they come from files and flags.
    ///
    /// # Errors
    /// With the setting that does not.
    pub fn check(&self) -> Result<()> {
        self.steps.iter().try_for_each(Step::check).map_err(Error::Preprocess)
    }

    /// The same changes for objects with key points of these names: where a picture is mirrored, those that differ in `left` and `right` alone
    /// change places.
    #[must_use]
    pub fn with_keypoints(mut self, names: &[String]) -> Self {
        for step in &mut self.steps {
            if let Step::Hflip(flip) = step {
                flip.swaps = flip::pairs(names);
            }
        }
        self
    }

    /// Changes a scene by each step in turn; what comes out is sound, see [`sanitise`]. `others` is asked where objects are to be pasted, and
    /// its picture goes through the steps before that one.
    ///
    /// # Errors
    /// When a setting is out of its range, a mask does not have its picture's size, a picture would become too large, or `others` fails.
    pub fn apply(&self, scene: Scene, rng: &mut ChaCha8Rng, others: &Others) -> Result<Scene> {
        self.check()?;
        let mut scene = sanitise(scene).map_err(Error::Preprocess)?;
        for (place, step) in self.steps.iter().enumerate() {
            scene = match step {
                Step::CopyPaste(paste) if rng.random::<f64>() < paste.probability => match others(rng)? {
                    Some(other) => pasted(scene, other, &self.steps[..place], rng),
                    None => Ok(scene),
                },
                _ => step.apply(scene, rng),
            }
            .map_err(Error::Preprocess)?;
        }
        Ok(scene)
    }
}

/// `scene` with objects of `other`, which goes through the steps `before` first.
fn pasted(scene: Scene, other: Scene, before: &[Step], rng: &mut ChaCha8Rng) -> VisionResult<Scene> {
    let other = before.iter().try_fold(sanitise(other)?, |other, step| step.apply(other, rng))?;
    copy_paste::pasted(scene, &other, rng)
}

/// A number between two, all alike.
fn between([low, high]: [f64; 2], rng: &mut ChaCha8Rng) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

fn within(name: &str, value: f64, least: f64, most: f64) -> VisionResult<()> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(VisionError::Setting(format!("{name} is {value}, expected {least} … {most}"))),
    }
}

fn span(name: &str, [low, high]: [f64; 2], least: f64, most: f64) -> VisionResult<()> {
    match least <= low && low <= high && high <= most {
        true => Ok(()),
        false => Err(VisionError::Setting(format!("{name} is [{low}, {high}], expected {least} ≤ least ≤ greatest ≤ {most}"))),
    }
}

/// Whether there is a value to choose, and all are in their range.
fn listed(name: &str, values: impl ExactSizeIterator<Item = f64>, least: f64, most: f64) -> VisionResult<()> {
    if values.len() == 0 {
        return Err(VisionError::Setting(format!("{name} is empty, expected numbers of {least} … {most}")));
    }
    values.into_iter().try_for_each(|value| within(name, value, least, most))
}
