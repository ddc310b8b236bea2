//! In the place of `download` where the feature is off: nothing is kept, nothing is fetched.

use std::path::PathBuf;

use crate::{Address, Error, Failure, Progress, Remote, Result, folder};

/// Settings of downloads. This program was built without the feature `download`.
#[derive(Clone, Debug)]
pub struct Downloads {
    /// Fetch nothing.
    pub offline: bool,
    /// The folder for conversions of torch's files.
    pub cache: PathBuf,
}

impl Downloads {
    /// The settings of this machine: `CIRIO_CACHE`.
    pub fn from_env() -> Self {
        Self { offline: true, cache: folder::cache() }
    }

    /// The file of an address, if it was fetched before.
    pub fn cached(&self, _: &Address) -> Option<PathBuf> {
        None
    }

    /// Fetches a file.
    ///
    /// # Errors
    /// Always: the feature is off.
    pub fn fetch(&self, remote: &Remote, _: Progress) -> Result<PathBuf> {
        Err(Error::Download { address: remote.address.to_string(), failure: Failure::NotBuiltIn })
    }
}
