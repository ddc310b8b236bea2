//! What can go wrong, said with the place, what was given and what was expected.

use std::path::PathBuf;

use crate::{LoadReport, Volume};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A layer cannot take the volume that the layers before it give.
    #[error("layer `{layer}` ({kind}) cannot take an input of {input}: {reason}")]
    Layer {
        /// The layer's name in its list.
        layer: String,
        /// What the layer is, e.g. `conv 5×5`.
        kind: String,
        /// What the layers before it give.
        input: Volume,
        /// What the layer expected.
        reason: String,
    },
    /// Two layers of one list have the same name.
    #[error("two layers are named `{0}`: names must differ, since weights are found by them")]
    DuplicateName(String),
    /// A tap that is no layer of the list.
    #[error("there is no layer `{name}`; the layers are {known}")]
    UnknownLayer {
        /// The name asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// Weights that do not fit the model.
    #[error("the weights do not fit the model: {0}")]
    Weights(LoadReport),
    /// A file of weights that cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A size that the arithmetic of convolution does not allow.
    #[error("{0}")]
    Size(String),
    /// A device that was asked for and cannot be had.
    #[error("{0}")]
    Device(String),
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            other => Self::wrap(other),
        }
    }
}
