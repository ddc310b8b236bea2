//! Files that are written whole or not at all: to a temporary file beside, flushed to the disk, then renamed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use candle_core::Tensor;
use safetensors::{Dtype, View};
use serde::Serialize;

use crate::{Error, Result};

/// What the names of temporary files begin with.
const TEMPORARY: &str = ".cirio-";

/// Writes a file through `content`.
///
/// # Errors
/// When the disk refuses; what was there before stays whole.
pub fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || -> io::Result<()> {
        let mut file = temporary(folder)?;
        let mut writer = BufWriter::new(file.as_file_mut());
        content(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder(folder)
    };
    write().map_err(|error| failed(path, format_args!("cannot be written: {error}")))
}

/// Writes tensors and texts as safetensors, in an order that depends on nothing but their names and types, so that equal
/// contents are equal files.
pub fn write_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>, texts: &BTreeMap<String, String>) -> Result<()> {
    let plan = |(name, tensor): (&String, &Tensor)| (name.clone(), (View::dtype(tensor), tensor.dims().to_vec()));
    write_streamed(path, &tensors.iter().map(plan).collect(), texts, |name, file| match tensors.get(name) {
        Some(tensor) => file.write_all(&View::data(tensor)),
        None => Ok(()),
    })
}

/// As [`write_tensors`], for tensors that need not be in memory: `plan` has their types and shapes by name, and `content` writes
/// the bytes of the one that it is asked for, row-major and lowest byte first.
///
/// # Errors
/// When the disk or `content` refuses, or `content` writes another number of bytes than was planned.
pub fn write_streamed(
    path: &Path,
    plan: &BTreeMap<String, (Dtype, Vec<usize>)>,
    texts: &BTreeMap<String, String>,
    mut content: impl FnMut(&str, &mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    // The widest type first keeps every tensor aligned, as the format asks of writers.
    let mut ordered: Vec<(&String, &(Dtype, Vec<usize>))> = plan.iter().collect();
    ordered.sort_by_key(|(_, (dtype, _))| std::cmp::Reverse(dtype.bitsize()));
    let header = header(&ordered, texts).map_err(|error| failed(path, error))?;
    write(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for (name, (dtype, shape)) in ordered {
            let mut counted = Counted { to: file, bytes: 0 };
            content(name, &mut counted)?;
            let (written, planned) = (counted.bytes, bytes(*dtype, shape)?);
            if written != planned {
                return Err(io::Error::other(format!("tensor `{name}` of {planned} bytes came with {written}")));
            }
        }
        Ok(())
    })
}

/// The bytes of a tensor.
fn bytes(dtype: Dtype, shape: &[usize]) -> io::Result<usize> {
    let bits = shape.iter().try_fold(dtype.bitsize(), |bits, &side| bits.checked_mul(side));
    bits.map(|bits| bits / 8).ok_or_else(|| io::Error::other(format!("a tensor of {shape:?} has more bytes than can be counted")))
}

/// A writer that counts.
struct Counted<'a> {
    to: &'a mut dyn Write,
    bytes: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn failed(path: &Path, reason: impl ToString) -> Error {
    Error::File { path: path.to_owned(), reason: reason.to_string() }
}

/// The description of a tensor in the header.
#[derive(Serialize)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// <https://github.com/huggingface/safetensors#format>: JSON, padded with spaces to a multiple of eight bytes.
fn header(tensors: &[(&String, &(Dtype, Vec<usize>))], texts: &BTreeMap<String, String>) -> io::Result<Vec<u8>> {
    let mut entries = serde_json::Map::new();
    entries.insert("__metadata__".to_owned(), serde_json::to_value(texts)?);
    let mut begin = 0;
    for (name, (dtype, shape)) in tensors {
        let end = begin + bytes(*dtype, shape)?;
        let entry = Entry { dtype: *dtype, shape: shape.clone(), data_offsets: [begin, end] };
        entries.insert((*name).clone(), serde_json::to_value(entry)?);
        begin = end;
    }
    let mut header = serde_json::to_vec(&entries)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// Removes what a killed process left half-written in a folder.
pub fn remove_temporaries(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            fs::remove_file(entry.path()).map_err(|error| failed(&entry.path(), error))?;
        }
    }
    Ok(())
}

fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    // Temporary files are private; what becomes of this one has the usual permissions.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Makes a renaming outlive a loss of power.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(folder)?.sync_all(),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Weights;
    use candle_core::{DType, Device};

    fn io(error: io::Error) -> Error {
        failed(Path::new("a temporary folder"), error)
    }

    #[test]
    fn tensors_come_back_and_equal_contents_are_equal_files() -> Result<()> {
        let folder = tempfile::tempdir().map_err(io)?;
        let path = |name: &str| folder.path().join(name);
        let tensors = BTreeMap::from([
            ("a.half".to_owned(), Tensor::ones(3, DType::F16, &Device::Cpu)?),
            ("b.float".to_owned(), Tensor::arange(0f32, 6.0, &Device::Cpu)?.reshape((2, 3))?),
            ("c.count".to_owned(), Tensor::new(5i64, &Device::Cpu)?),
        ]);
        let texts = BTreeMap::from([("model".to_owned(), "test".to_owned()), ("classes".to_owned(), "[\"ä\"]".to_owned())]);
        write_tensors(&path("1"), &tensors, &texts)?;
        write_tensors(&path("2"), &tensors, &texts)?;
        let read = |name: &str| fs::read(path(name)).map_err(io);
        assert_eq!(read("1")?, read("2")?);

        let weights = Weights::open(path("1"))?;
        assert_eq!(weights.metadata(), &texts);
        assert_eq!(weights.tensor("b.float", &Device::Cpu)?.to_vec2::<f32>()?, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        assert_eq!(weights.tensor("c.count", &Device::Cpu)?.to_scalar::<i64>()?, 5);
        assert_eq!(weights.shapes().len(), 3);
        Ok(())
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() -> Result<()> {
        let folder = tempfile::tempdir().map_err(io)?;
        let path = folder.path().join("file");
        write(&path, |file| file.write_all(b"old"))?;
        let full = |file: &mut dyn Write| {
            file.write_all(b"new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let error = write(&path, full).unwrap_err().to_string();
        assert!(error.contains("file: cannot be written: no storage space"), "{error}");
        assert_eq!(fs::read(&path).map_err(io)?, b"old");
        assert_eq!(fs::read_dir(folder.path()).map_err(io)?.count(), 1);
        Ok(())
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() -> Result<()> {
        let folder = tempfile::tempdir().map_err(io)?;
        for name in [".cirio-Xy12", "last.safetensors", ".hidden"] {
            fs::write(folder.path().join(name), "x").map_err(io)?;
        }
        remove_temporaries(folder.path())?;
        let mut left: Vec<_> = fs::read_dir(folder.path()).map_err(io)?.flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, [".hidden", "last.safetensors"]);
        Ok(())
    }
}
