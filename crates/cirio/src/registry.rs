//! The models by name. A new model is a line in [`MODELS`].

use candle_nn::VarBuilder;
use cirio_nn::loss::Loss;
use cirio_nn::{Layers, Stack};
use cirio_vision::Preprocess;

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
    layers: fn(classes: usize) -> Layers,
    preprocess: fn() -> Preprocess,
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

/// Every model of this build.
pub const MODELS: &[Model] = &[
    #[cfg(feature = "lenet")]
    Model {
        name: "lenet5",
        task: Task::Classify,
        about: "LeNet-5 as it is written today: ReLU, max pooling, a linear output",
        paper: "LeCun, Bottou, Bengio & Haffner 1998",
        classes: 10,
        loss: Loss::CrossEntropy { label_smoothing: 0.0 },
        learning_rate: 0.05,
        layers: |classes| cirio_lenet::LeNet5 { classes, ..cirio_lenet::LeNet5::modern() }.layers(),
        preprocess: lenet_input,
    },
    #[cfg(feature = "lenet")]
    Model {
        name: "lenet5_paper",
        task: Task::Classify,
        about: "LeNet-5 as in the paper: partial C3, trainable subsampling, RBF output",
        paper: "LeCun, Bottou, Bengio & Haffner 1998",
        classes: 10,
        loss: Loss::MaximumPosterior { rubbish: 0.1 },
        learning_rate: 0.002,
        layers: |classes| cirio_lenet::LeNet5 { classes, ..cirio_lenet::LeNet5::paper() }.layers(),
        preprocess: lenet_input,
    },
];

/// Grey pictures of 28×28 in the middle of 32×32, background -0.1 and foreground 1.175 (LeCun et al. 1998, section II.B).
#[cfg(feature = "lenet")]
fn lenet_input() -> Preprocess {
    Preprocess {
        channels: 1,
        resize: cirio_vision::Resize::Exact { height: 28, width: 28 },
        crop: None,
        pad: 2,
        fill: 0,
        mean: vec![0.1 / 1.275],
        std: vec![1.0 / 1.275],
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
