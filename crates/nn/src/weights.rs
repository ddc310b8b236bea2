//! Files of weights: safetensors, read by memory map and written whole or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::safetensors::Load;
use candle_core::{Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::{Error, Result};

/// The tensors of a safetensors file, read one by one when they are asked for.
#[derive(Clone)]
pub struct Weights {
    path: PathBuf,
    bytes: Arc<memmap2::Mmap>,
    shapes: Arc<BTreeMap<String, Vec<usize>>>,
    places: Arc<BTreeMap<String, (Dtype, Range<usize>)>>,
    metadata: Arc<BTreeMap<String, String>>,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weights").field("path", &self.path).field("tensors", &self.shapes.len()).finish()
    }
}

impl Weights {
    /// Opens a file. Its header is checked: lengths, types and offsets must agree with the file's size.
    ///
    /// # Errors
    /// When the file cannot be read or is no sound safetensors file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |reason: String| Error::File { path: path.to_owned(), reason };
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let length = file.metadata().map_err(|error| failed(error.to_string()))?.len();
        if length < 8 {
            return Err(failed(format!("a safetensors file has at least 8 bytes, this one has {length}")));
        }
        // SAFETY: the map is only read. Like every reader of mapped files it relies on no other
        // program cutting the file short meanwhile; our own writers replace files by renaming and never change one in place.
        #[allow(unsafe_code)]
        let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(|error| failed(error.to_string()))?;
        let unsound = |error| failed(format!("not a sound safetensors file: {error}"));
        SafeTensors::deserialize(&bytes).map_err(unsound)?;
        let (length, header) = SafeTensors::read_metadata(&bytes).map_err(unsound)?;
        let data = length + size_of::<u64>(); // the header has its length before it
        let tensors = header.tensors();
        let shapes = tensors.iter().map(|(name, info)| (name.clone(), info.shape.clone())).collect();
        let place = |(start, end): (usize, usize)| data + start..data + end;
        let places = tensors.into_iter().map(|(name, info)| (name, (info.dtype, place(info.data_offsets)))).collect();
        let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Self {
            path: path.to_owned(),
            bytes: Arc::new(bytes),
            shapes: Arc::new(shapes),
            places: Arc::new(places),
            metadata: Arc::new(metadata),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names and shapes of its tensors.
    pub fn shapes(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.shapes
    }

    /// The texts that the file carries beside its tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// One tensor, in the type that it has in the file.
    ///
    /// # Errors
    /// When there is none of that name, or candle does not know its type.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let failed = |error| Error::File { path: self.path.clone(), reason: format!("tensor `{name}`: {error}") };
        let (Some(shape), Some((dtype, place))) = (self.shapes.get(name), self.places.get(name)) else {
            return Err(failed(SafeTensorError::TensorNotFound(name.to_owned())));
        };
        let view = TensorView::new(*dtype, shape.clone(), &self.bytes[place.clone()]).map_err(failed)?;
        let tensor = view.load(device)?;
        self.let_go(place);
        Ok(tensor)
    }

    /// Tells the system that a part of the file is not needed in memory any more: else large files would count twice, as they are
    /// mapped and as tensors. What is asked for again is read again.
    fn let_go(&self, place: &Range<usize>) {
        const LARGE: usize = 1 << 20;
        #[cfg(unix)]
        if place.len() >= LARGE {
            // SAFETY: the map is of a file and read-only, so what is let go comes back as it was.
            #[allow(unsafe_code)]
            let _ = unsafe { self.bytes.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, place.start, place.len()) };
        }
    }
}

/// A tensor whose shape in the file is not the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The tensor's name.
    pub name: String,
    /// Its shape in the file.
    pub file: Vec<usize>,
    /// Its shape in the model.
    pub model: Vec<usize>,
}

/// What came of loading a file into a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Names that were taken from the file.
    pub loaded: Vec<String>,
    /// Names that the model has and the file lacks.
    pub missing: Vec<String>,
    /// Names that the file has and the model lacks.
    pub unused: Vec<String>,
    /// Names that both have in different shapes.
    pub mismatched: Vec<Mismatch>,
}

impl LoadReport {
    /// An error unless every weight of the model came from the file and every one of the file was used.
    pub fn complete(&self) -> Result<()> {
        self.complete_except(&[])
    }

    /// As [`Self::complete`], but what begins with one of `prefixes` (a replaced head) may differ.
    pub fn complete_except(&self, prefixes: &[&str]) -> Result<()> {
        let matters = |name: &String| !prefixes.iter().any(|prefix| name.starts_with(prefix));
        let rest = Self {
            loaded: self.loaded.clone(),
            missing: self.missing.iter().filter(|name| matters(name)).cloned().collect(),
            unused: self.unused.iter().filter(|name| matters(name)).cloned().collect(),
            mismatched: self.mismatched.iter().filter(|mismatch| matters(&mismatch.name)).cloned().collect(),
        };
        match rest.missing.is_empty() && rest.unused.is_empty() && rest.mismatched.is_empty() {
            true => Ok(()),
            false => Err(Error::Weights(rest)),
        }
    }
}

impl fmt::Display for LoadReport {
    /// One line: `2 of 10 loaded; missing fc3.bias; unused conv9.weight; fc3.weight is [5, 84] in the file, [10, 84] in the model`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = self.loaded.len() + self.missing.len() + self.mismatched.len();
        write!(f, "{} of {expected} tensors loaded", self.loaded.len())?;
        for (what, names) in [("missing", &self.missing), ("unused", &self.unused)] {
            if !names.is_empty() {
                write!(f, "; {what}: {}", few(names))?;
            }
        }
        let shapes = |m: &Mismatch| format!("{} is {:?} in the file, {:?} in the model", m.name, m.file, m.model);
        match self.mismatched.is_empty() {
            true => Ok(()),
            false => write!(f, "; {}", few(&self.mismatched.iter().map(shapes).collect::<Vec<_>>())),
        }
    }
}

/// The first eight, and how many more.
fn few(texts: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = texts.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match texts.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
