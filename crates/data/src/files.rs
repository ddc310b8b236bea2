//! Small helpers for files that nobody vouches for.

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::{Error, Result};

/// The most that a text file of class names may hold, in bytes.
const MAX_NAMES: u64 = 1 << 20;

/// Opens a regular file and tells its length. A pipe or a device, which might never end, is refused.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64)> {
    // Looked at before opening: opening a pipe with nobody at its other end would wait for ever.
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if !metadata.is_file() {
        return Err(Error::format(path, "something that is not a file", "a regular file"));
    }
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    Ok((file, metadata.len()))
}

/// What `decode` makes of a picture. A decoder that panics on a hostile file makes an error, like any other that refuses it.
pub(crate) fn guard<T>(name: impl FnOnce() -> String, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(Error::Picture { picture: name(), reason: "its decoder panicked".to_owned() }))
}

/// Class names from a text file, one a line; blank lines are left out.
pub(crate) fn read_names(path: &Path) -> Result<Vec<String>> {
    let (file, length) = open_regular(path)?;
    if length > MAX_NAMES {
        return Err(Error::format(path, format!("{length} bytes"), format!("a list of class names of at most {MAX_NAMES} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_NAMES).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    let names: Vec<String> =
        String::from_utf8_lossy(&bytes).lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Error::format(path, "no names", "class names, one a line"));
    }
    Ok(names)
}

/// The names "0", "1", … for classes that have none.
pub(crate) fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}
