//! From a file of torch to a safetensors file.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The safetensors file for a file: itself, unless its name ends in `.pth`.
///
/// # Errors
/// For a `.pth` file: the conversion is not built in. THE SEAM: module `pth` is called here, and the answer is the neighbour
/// `NAME.safetensors`, made once.
pub(crate) fn to_safetensors(path: PathBuf) -> Result<PathBuf> {
    match is_pth(&path) {
        false => Ok(path),
        true => Err(Error::NotConverted { path }),
    }
}

/// Whether a file is torch's by its name.
fn is_pth(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "pth")
}
