//! What can go wrong, said with the place, what was given and what was expected.

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An image that a detector cannot take.
    #[error("image {index}: {reason}")]
    Image {
        /// Which one of the batch, from 0.
        index: usize,
        /// What was given and what was expected.
        reason: String,
    },
    /// Wrong answers to learn from.
    #[error("target of image {index}: {reason}")]
    Target {
        /// Which one of the batch, from 0.
        index: usize,
        /// What was given and what was expected.
        reason: String,
    },
    /// A detector that cannot be put together.
    #[error("{0}")]
    Config(String),
    /// A mask that cannot be.
    #[error("{0}")]
    Mask(String),
    /// Runs that are no mask.
    #[error(transparent)]
    Rle(#[from] cirio_coco::Error),
    /// A key point that cannot be found.
    #[error("{0}")]
    Keypoint(String),
    /// An error of the layers.
    #[error(transparent)]
    Network(#[from] cirio_nn::Error),
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
