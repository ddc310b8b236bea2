//! Small helpers for files that nobody vouches for.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::{Error, Result};

/// The most that a text file of class names may hold, in bytes.
const MAX_NAMES: u64 = 1 << 20;

/// Opens a regular file and tells its length. A pipe or a device, which might never end, is refused.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64)> {
    // Looked at before opening: opening a pipe with nobody at its other end would wait for ever.
    let metadata = fs::metadata(path).map_err(|e| Error::io(path, e))?;
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
    let text = read_text(path, MAX_NAMES, "a list of class names")?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Error::format(path, "no names", "class names, one a line"));
    }
    Ok(names)
}

/// The names "0", "1", … for classes that have none.
pub(crate) fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

/// The sorted names of what is in `dir`, without the hidden ones.
pub(crate) fn entries(dir: &Path) -> Result<Vec<OsString>> {
    let io = |e| Error::io(dir, e);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a file's name ends as `.ending`, in any case.
pub(crate) fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// A text file whole, if it has at most `most` bytes; what is no UTF-8 is replaced.
pub(crate) fn read_text(path: &Path, most: u64, what: &str) -> Result<String> {
    let (file, length) = open_regular(path)?;
    if length > most {
        return Err(Error::format(path, format!("{length} bytes"), format!("{what} of at most {most} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
