//! Models by name.

use candle_nn::VarBuilder;
use cirio_nn::loss::Loss;
use cirio_nn::{Layers, Stack};
use cirio_vision::Preprocess;

use crate::{DETECTORS, MODELS};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no model of that name.
    #[error("there is no model `{name}`; the models are {known}")]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// The model is a detector, where a classifier is expected.
    #[error("`{name}` is a detector; only classifiers can be used here")]
    Detector {
        /// The name asked for.
        name: &'static str,
    },
    /// The model is a classifier, where a detector is expected.
    #[error("`{name}` is a classifier; only detectors can be used here")]
    Classifier {
        /// The name asked for.
        name: &'static str,
    },
    /// The network cannot be built.
    #[error(transparent)]
    Network(#[from] cirio_nn::Error),
    /// candle cannot compute it.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// What a model does with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Names the class of the whole picture.
    Classify,
    /// Finds objects: their classes and boxes.
    Detect,
    /// Finds objects, and the pixels that are theirs.
    Segment,
    /// Finds objects, and the points of each.
    Keypoints,
}

impl Task {
    /// The word for it in commands and files: `classify`, `detect`, `segment` or `keypoints`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Detect => "detect",
            Self::Segment => "segment",
            Self::Keypoints => "keypoints",
        }
    }
}

/// A classifier of the zoo. Detectors are [`DetectorModel`](crate::DetectorModel)s.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Its name in commands and files.
    pub name: &'static str,
    /// What it does.
    pub task: Task,
    /// One line about it.
    pub about: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// The number of classes of the form that was published.
    pub classes: usize,
    /// The loss that it is trained with.
    pub loss: Loss,
    /// A learning rate for SGD with momentum at batch 128 that has worked for it.
    pub learning_rate: f64,
    pub(crate) layers: fn(classes: usize) -> Layers,
    pub(crate) preprocess: fn() -> Preprocess,
}

impl Model {
    /// Its list of layers for K classes.
    pub fn layers(&self, classes: usize) -> Layers {
        (self.layers)(classes)
    }

    /// The way from a picture to its input, where a file of weights does not say otherwise.
    pub fn preprocess(&self) -> Preprocess {
        (self.preprocess)()
    }
}

/// The classifier of this name.
///
/// # Errors
/// When there is none; the error lists the models that there are, or says that the name is a detector's.
pub fn find(name: &str) -> Result<&'static Model> {
    if let Some(model) = MODELS.iter().find(|model| model.name == name) {
        return Ok(model);
    }
    let names = || MODELS.iter().map(|model| model.name).chain(DETECTORS.iter().map(|model| model.name));
    Err(match DETECTORS.iter().find(|model| model.name == name) {
        Some(model) => Error::Detector { name: model.name },
        None => Error::UnknownModel { name: name.to_owned(), known: names().collect::<Vec<_>>().join(", ") },
    })
}

/// Builds a classifier for K classes by its name, with the weights that a `VarBuilder` gives.
///
/// # Errors
/// When there is no such model, or a weight is missing or has another shape.
pub fn create(name: &str, classes: usize, weights: VarBuilder) -> Result<Stack> {
    Ok(find(name)?.layers(classes).build(weights)?)
}
