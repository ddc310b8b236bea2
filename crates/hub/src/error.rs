//! What can go wrong between a name and a checked file. Each message is one line.

use std::io;
use std::path::PathBuf;

use crate::Failure;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A manifest is not what it must be.
    #[error("{}, line {line}: {reason}", .path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with its key.
        reason: String,
    },
    /// A file is no sound safetensors file.
    #[error("{} is not a sound safetensors file: {reason}", .path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the tensor's name where it is about one.
        reason: String,
    },
    /// A text beside the tensors of a file is not what it must be.
    #[error("{}: `{key}` in its __metadata__: {reason}", .path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The key of the text.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The manifest names a file that is not there.
    #[error("{} is missing; the manifest names it for {name}", .path.display())]
    Missing {
        /// The full name of the weights.
        name: String,
        /// Where the file should be.
        path: PathBuf,
    },
    /// A file has not the size that the manifest states.
    #[error("{} has {found} bytes, the manifest says {expected}; fetch it again or correct the manifest", .path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// A file has not the hash that the manifest states.
    #[error("{} has SHA-256 {found}, the manifest says {expected}; fetch it again or correct the manifest", .path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// The hash by the manifest, in lower-case hex.
        expected: String,
        /// The hash of the file, in lower-case hex.
        found: String,
    },
    /// The weights of that name are for another model.
    #[error("{name} are weights for {theirs}, not for {asked}")]
    OtherModel {
        /// The full name of the weights.
        name: String,
        /// The model that they are for.
        theirs: String,
        /// The model asked for.
        asked: String,
    },
    /// A name that several weights have.
    #[error("`{name}` may be {}: write one of them, or name the model", .candidates.join(" or "))]
    Ambiguous {
        /// The name asked for.
        name: String,
        /// The full names that it may mean.
        candidates: Vec<String>,
    },
    /// Neither weights of that name nor a path.
    #[error("there are no weights `{name}`{} and no such path{}; {}", for_model(.model), did_you_mean(.near), there_are(.known))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The model asked for, if one was named.
        model: Option<String>,
        /// Names that are spelled nearly so.
        near: Vec<String>,
        /// The full names that there are.
        known: Vec<String>,
    },
    /// A path to nothing.
    #[error("{} does not exist", .path.display())]
    NoSuchPath {
        /// The path.
        path: PathBuf,
    },
    /// A folder without weights of a run.
    #[error("the folder {} holds neither best.safetensors nor last.safetensors, so it is no run", .path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// What should be an address on the network is none.
    #[error("`{}` is no address of weights: {reason}", .address.escape_debug())]
    Address {
        /// The address as it was given.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// A file was not fetched.
    #[error("{address}: {failure}")]
    Download {
        /// The address.
        address: String,
        /// Why not.
        failure: Failure,
    },
    /// Weights could be fetched from none of their sources.
    #[error("{name} cannot be fetched: {}", .reasons.join("; "))]
    NoSource {
        /// The full name of the weights.
        name: String,
        /// The error of each source.
        reasons: Vec<String>,
    },
    /// A file of torch that is unsound, is refused, or has no weights.
    #[error("{} cannot be converted: {reason}", .path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of weights that cannot be read or written; the message has its path.
    #[error(transparent)]
    Weights(#[from] cirio_nn::Error),
}

fn for_model(model: &Option<String>) -> String {
    model.as_ref().map(|model| format!(" for {model}")).unwrap_or_default()
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!(" (did you mean {}?)", near.join(" or ")),
    }
}

fn there_are(known: &[String]) -> String {
    match known {
        [] => "no weights folder with entries was found (CIRIO_WEIGHTS may name one)".to_owned(),
        known => format!("there are {}", known.join(", ")),
    }
}
