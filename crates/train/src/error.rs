//! What can go wrong in training, said with the place, what was given and what was expected.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// A file of a run is not what training wrote there.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A run cannot go on under another configuration.
    #[error("{}: the checkpoint was made with {key} = {theirs}, the run has {key} = {ours}", path.display())]
    OtherConfig {
        /// The checkpoint.
        path: PathBuf,
        /// The setting that differs.
        key: String,
        /// Its value in the checkpoint.
        theirs: String,
        /// Its value now.
        ours: String,
    },
    /// A setting that makes no sense.
    #[error("{key}: found {found}, expected {expected}")]
    Config {
        /// The setting.
        key: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// The loss or a weight is no longer a finite number.
    #[error("{what} at epoch {epoch}, step {step}, learning rate {learning_rate}: lower the learning rate; {kept}")]
    Diverged {
        /// What was seen, e.g. `the loss is NaN`.
        what: String,
        /// The epoch, from 1.
        epoch: u64,
        /// The step, from 1, counted from the beginning of the run.
        step: u64,
        /// The learning rate of that step.
        learning_rate: f64,
        /// Which checkpoint is left.
        kept: String,
    },
    /// A label that is no class of the network.
    #[error("the label {label} is none of the {classes} classes (0 to {})", classes.saturating_sub(1))]
    Label {
        /// The label.
        label: usize,
        /// K.
        classes: usize,
    },
    /// A network and a data set with other numbers of classes.
    #[error("the network has {network} classes, the data set {data}")]
    Classes {
        /// K of the network.
        network: usize,
        /// K of the data set.
        data: usize,
    },
    /// Nothing to train or to evaluate with.
    #[error("{0}")]
    Empty(String),
    /// A network that gives no finite numbers.
    #[error("the network gives a loss of {0} over the evaluated pictures: its weights are not sound")]
    NotFinite(f64),
    /// A batch of pictures that a detector cannot learn from.
    #[error("{pictures}: {error}")]
    Batch {
        /// The picture, or those of the batch.
        pictures: String,
        /// Why.
        error: Box<cirio_detection::Error>,
    },
    /// An error of a detector.
    #[error(transparent)]
    Detector(Box<cirio_detection::Error>),
    /// An evaluation that cannot be.
    #[error(transparent)]
    Evaluation(#[from] cirio_coco::Error),
    /// An error of a network.
    #[error(transparent)]
    Network(#[from] cirio_nn::Error),
    /// A picture that cannot be made a tensor.
    #[error(transparent)]
    Picture(#[from] cirio_vision::Error),
    /// An error of a data set.
    #[error(transparent)]
    Data(#[from] cirio_data::Error),
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl From<cirio_detection::Error> for Error {
    fn from(error: cirio_detection::Error) -> Self {
        Self::Detector(Box::new(error))
    }
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |reason| Self::Io { path: path.to_owned(), reason }
    }

    pub(crate) fn file(path: &Path, reason: impl ToString) -> Self {
        Self::File { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn config(key: &'static str, found: impl ToString, expected: &'static str) -> Self {
        Self::Config { key, found: found.to_string(), expected }
    }
}
