//! A file against what the manifest says of it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Entry, Error, Result};

/// Checks a file's size, then its SHA-256, against what an entry states of its `file`. The file is read in pieces, never whole.
///
/// # Errors
/// When the file is missing, cannot be read, or differs.
pub fn verify(path: &Path, entry: &Entry) -> Result<()> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing { name: entry.full_name(), path: path.to_owned() },
        _ => read(error),
    })?;
    let found = file.metadata().map_err(read)?.len();
    if let Some(expected) = entry.bytes.filter(|&expected| expected != found) {
        return Err(Error::Size { path: path.to_owned(), expected, found });
    }
    let Some(expected) = &entry.sha256 else { return Ok(()) };
    let found = sha256(&mut file).map_err(read)?;
    match found == *expected {
        true => Ok(()),
        false => Err(Error::Hash { path: path.to_owned(), expected: expected.clone(), found }),
    }
}

/// The SHA-256 of all that a reader gives, in lower-case hex.
pub(crate) fn sha256(reader: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            Ok(read) => hash.update(&piece[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B: "abc", and a million times "a".
    #[test]
    fn the_standards_own_examples() -> io::Result<()> {
        assert_eq!(sha256(&mut &b"abc"[..])?, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let million = vec![b'a'; 1_000_000];
        assert_eq!(sha256(&mut &million[..])?, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
        Ok(())
    }
}
