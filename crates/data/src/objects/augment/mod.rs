//! Random changes of a picture together with the boxes, masks and key points of its objects.
//!
//! Every step takes a scene that is sound, see [`sanitise`], and makes another one; classes and their order stay.

mod flip;
mod sound;

use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Scene;
use crate::{Error, Result};

pub use flip::HorizontalFlip;
pub use sound::sanitise;

/// One random change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Left and right swapped.
    Hflip(HorizontalFlip),
}

/// The names that text has for a step, with what each stands for.
const NAMES: [(&str, fn() -> Step); 1] = [("hflip", || Step::Hflip(HorizontalFlip::default()))];

/// Where a step takes a second picture from, if there is one.
pub type Others<'a> = dyn Fn(&mut ChaCha8Rng) -> Result<Option<Scene>> + 'a;

impl Step {
    fn check(&self) -> cirio_vision::Result<()> {
        match self {
            Self::Hflip(flip) => within("probability", flip.probability, 0.0, 1.0),
        }
    }

    fn apply(&self, scene: Scene, rng: &mut ChaCha8Rng) -> cirio_vision::Result<Scene> {
        match self {
            Self::Hflip(flip) => flip.apply(scene, rng),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Hflip(_) => "hflip",
        }
    }
}

fn within(name: &str, value: f64, least: f64, most: f64) -> cirio_vision::Result<()> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(cirio_vision::Error::Setting(format!("{name} is {value}, expected {least} … {most}"))),
    }
}

impl FromStr for Step {
    type Err = Error;

    /// A name, with its usual strength.
    fn from_str(text: &str) -> Result<Self> {
        let known = || NAMES.map(|(name, _)| name).join(", ");
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, make)| make()).ok_or_else(|| Error::option("augmentation", format!("`{text}`"), known()))
    }
}

/// Random changes, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Augmentation {
    /// The changes, in order.
    pub steps: Vec<Step>,
}

impl Augmentation {
    /// Whether all steps make sense: they come from files and flags.
    ///
    /// # Errors
    /// With the setting that does not.
    pub fn check(&self) -> Result<()> {
        self.steps.iter().try_for_each(Step::check).map_err(Error::Preprocess)
    }

    /// The same changes for objects with key points of these names: `left` and `right` change places where a picture is mirrored.
    #[must_use]
    pub fn with_keypoints(mut self, names: &[String]) -> Self {
        for step in &mut self.steps {
            let Step::Hflip(mirroring) = step;
            mirroring.swaps = flip::pairs(names);
        }
        self
    }

    /// Changes a scene by each step in turn. `others` gives second pictures to steps that need one.
    ///
    /// # Errors
    /// When a setting is out of its range, a mask does not have its picture's size, or a picture would become too large.
    pub fn apply(&self, scene: Scene, rng: &mut ChaCha8Rng, _others: &Others) -> Result<Scene> {
        self.check()?;
        let sound = sanitise(scene).map_err(Error::Preprocess)?;
        self.steps.iter().try_fold(sound, |scene, step| step.apply(scene, rng)).map_err(Error::Preprocess)
    }
}

impl FromStr for Augmentation {
    type Err = Error;

    /// Names between commas; `none` for no change.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::default()),
            _ => Ok(Self { steps: text.split(',').map(|name| name.trim().parse()).collect::<Result<_>>()? }),
        }
    }
}

impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.steps.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&self.steps.iter().map(Step::name).collect::<Vec<_>>().join(",")),
        }
    }
}
