//! Models by name.

use candle_nn::VarBuilder;
use cirio_nn::loss::Loss;
use cirio_nn::{Layers, Stack};
use cirio_vision::Preprocess;

use crate::MODELS;

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
}

impl Task {
    /// The word for it in commands and files: `classify`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
        }
    }
}

/// A model of the zoo.
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

/// The model of this name.
///
/// # Errors
/// When there is none; the error lists those that there are.
pub fn find(name: &str) -> Result<&'static Model> {
    let known = || MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ");
    MODELS.iter().find(|model| model.name == name).ok_or_else(|| Error::UnknownModel { name: name.to_owned(), known: known() })
}

/// Builds a model for K classes by its name, with the weights that a `VarBuilder` gives.
///
/// # Errors
/// When there is no such model, or a weight is missing or has another shape.
pub fn create(name: &str, classes: usize, weights: VarBuilder) -> Result<Stack> {
    Ok(find(name)?.layers(classes).build(weights)?)
}
