//! What can go wrong with a data set. Every message says where, what was found and what was expected.

use std::io;
use std::path::{Path, PathBuf};

use crate::objects::Problem;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate. The messages are whole: nothing further is found in `source()`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file.
    #[error("{}: {reason}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// A file's content is not what its format asks for.
    #[error("{}: found {found}, expected {expected}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the file has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// A folder is not laid out as a data set, or a part of the set is missing.
    #[error("{}: {problem}", .path.display())]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// A picture cannot be decoded or prepared.
    #[error("{picture}: {reason}")]
    Picture {
        /// The picture's file, or its place in a file.
        picture: String,
        /// Why.
        reason: String,
    },
    /// Labels of objects that cannot be used.
    #[error("{0}")]
    Labels(Box<Problem>),
    /// A picture was asked for that the set does not have.
    #[error("picture {index} was asked of a set of {len} (the first is 0)")]
    Index {
        /// The number asked for.
        index: usize,
        /// The number of pictures in the set.
        len: usize,
    },
    /// An option has a value that makes no sense.
    #[error("{option}: found {found}, expected {expected}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// The value given.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// The steps from a picture to a network's input make no sense.
    #[error("preprocessing: {0}")]
    Preprocess(cirio_vision::Error),
    /// A tensor could not be made.
    #[error("{0}")]
    Tensor(candle_core::Error),
}

impl Error {
    pub(crate) fn io(path: &Path, reason: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), reason }
    }

    pub(crate) fn format(path: &Path, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Format { path: path.to_path_buf(), found: found.into(), expected: expected.into() }
    }

    pub(crate) fn layout(path: &Path, problem: impl Into<String>) -> Self {
        Self::Layout { path: path.to_path_buf(), problem: problem.into() }
    }

    /// An error about one picture; its name is not said twice.
    pub(crate) fn picture(picture: impl Into<String>, error: cirio_vision::Error) -> Self {
        let reason = match error {
            cirio_vision::Error::File { reason, .. } => reason,
            other => other.to_string(),
        };
        Self::Picture { picture: picture.into(), reason }
    }

    pub(crate) fn option(option: &'static str, found: impl ToString, expected: impl Into<String>) -> Self {
        Self::Option { option, found: found.to_string(), expected: expected.into() }
    }
}
