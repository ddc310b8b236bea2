//! What can go wrong with a picture.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A picture that cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Bytes that are no picture.
    #[error("{0}")]
    Decode(String),
    /// Sizes or values that do not fit together.
    #[error("{0}")]
    Shape(String),
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
    /// Text that is no matrix or kernel.
    #[error("line {line}, column {column}: {reason}")]
    Text {
        /// The line, from 1.
        line: usize,
        /// The number in its line, from 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
