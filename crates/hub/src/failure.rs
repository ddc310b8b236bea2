//! Why a file was not fetched.

use std::io;
use std::time::Duration;

/// Why a file was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// This program was built without the feature `download`.
    #[error("it is not here, and this program was built without downloading; fetch the file yourself and give its path")]
    NotBuiltIn,
    /// Downloads are switched off.
    #[error("it is not here, and downloads are off (--offline or HF_HUB_OFFLINE)")]
    Offline,
    /// Status 401.
    #[error("the server asks who you are (401): if the repository is private or gated, set HF_TOKEN; else it may not exist")]
    Unauthorised,
    /// Status 403.
    #[error("the server refuses the file to you (403): its terms may have to be accepted on its page first")]
    Forbidden,
    /// Status 404.
    #[error("there is no such file on the server (404)")]
    NotFound,
    /// The server has too much to do (429) or is not well (5xx).
    #[error("the server cannot answer now ({status}), tried several times")]
    Busy {
        /// The status.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// Any other status.
    #[error("the server answers with status {0}")]
    Status(u16),
    /// No connection came about.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The connection broke off at each try; the next goes on with what came, if the server can.
    #[error("the connection breaks off after {done} bytes: {reason}; what came is kept")]
    Broken {
        /// Bytes that are there.
        done: u64,
        /// What happened.
        reason: String,
    },
    /// An answer that makes no sense.
    #[error("the server's answer makes no sense: {0}")]
    Answer(String),
    /// More bytes than there may be.
    #[error("the server sends {}, expected at most {limit} bytes", .announced.map_or("more".to_owned(), |bytes| format!("{bytes} bytes")))]
    TooLarge {
        /// Bytes that it announces; none if it just goes on.
        announced: Option<u64>,
        /// The most that there may be.
        limit: u64,
    },
    /// Other bytes than there should be.
    #[error("the file has SHA-256 {found}, expected {expected}; it was thrown away")]
    Hash {
        /// The hash, or the beginning of it, in lower-case hex.
        expected: String,
        /// The hash of what came.
        found: String,
    },
    /// What came is not what its name says.
    #[error("what came is not a sound safetensors file: {0}; it was thrown away")]
    Unsound(String),
    /// The file cannot be written here.
    #[error("{}", disk(.0))]
    Disk(#[from] io::Error),
}

fn disk(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full; what came is kept".to_owned(),
        _ => format!("the file cannot be written to the cache: {error}"),
    }
}
