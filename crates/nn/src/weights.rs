//! Files of weights: safetensors, read by memory map and written whole or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use candle_core::safetensors::Load;
use candle_core::{Device, Tensor};
use safetensors::tensor::{TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;

use crate::{Error, Result};

/// What the index of a set of files is called, by the custom of Hugging Face.
const INDEX: &str = "model.safetensors.index.json";

/// The tensors of a safetensors file, or of a set of them, read one by one when they are asked for.
#[derive(Clone)]
pub struct Weights {
    path: PathBuf,
    shapes: Arc<BTreeMap<String, Vec<usize>>>,
    places: Arc<BTreeMap<String, Place>>,
    metadata: Arc<BTreeMap<String, String>>,
}

/// Where a tensor lies.
#[derive(Clone)]
struct Place {
    file: Arc<memmap2::Mmap>,
    dtype: Dtype,
    bytes: Range<usize>,
}

/// Which file of a set has which tensor; what else an index has, such as the size of all, is not needed.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weights").field("path", &self.path).field("tensors", &self.shapes.len()).finish()
    }
}

impl Weights {
    /// Opens a safetensors file; or a set of them by its index, `model.safetensors.index.json`, or by the folder with that index.
    /// Headers are checked: lengths, types and offsets must agree with the file's size.
    ///
    /// # Errors
    /// When a file cannot be read or is no sound safetensors file, or the files of a set are not those that its index tells.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match path {
            folder if folder.is_dir() => Self::open_set(&folder.join(INDEX)),
            index if index.extension().is_some_and(|end| end == "json") => Self::open_set(index),
            file => Self::open_file(file),
        }
    }

    fn open_file(path: &Path) -> Result<Self> {
        let failed = |reason: String| failed(path, reason);
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
        let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        let file = Arc::new(bytes);
        let tensors = header.tensors();
        let shapes = tensors.iter().map(|(name, info)| (name.clone(), info.shape.clone())).collect();
        let place = |info: &TensorInfo| {
            let (begin, end) = info.data_offsets;
            Place { file: file.clone(), dtype: info.dtype, bytes: data + begin..data + end }
        };
        let places = tensors.iter().map(|(name, info)| (name.clone(), place(info))).collect();
        Ok(Self { path: path.to_owned(), shapes: Arc::new(shapes), places: Arc::new(places), metadata: Arc::new(metadata) })
    }

    /// Opens the files that an index names; they lie in its folder.
    fn open_set(path: &Path) -> Result<Self> {
        const LONGEST: u64 = 64 << 20;
        let mut text = String::new();
        let file = File::open(path).map_err(|error| failed(path, error.to_string()))?;
        file.take(LONGEST).read_to_string(&mut text).map_err(|error| failed(path, error.to_string()))?;
        let index: Index =
            serde_json::from_str(&text).map_err(|error| failed(path, format!("not the index of a set of safetensors files: {error}")))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut files = BTreeMap::new();
        for name in index.weight_map.values() {
            if !files.contains_key(name) {
                if Path::new(name).components().ne([Component::Normal(name.as_ref())]) {
                    return Err(failed(path, format!("{name:?} is not the name of a file beside the index")));
                }
                files.insert(name.clone(), Self::open_file(&folder.join(name))?);
            }
        }
        let (mut shapes, mut places) = (BTreeMap::new(), BTreeMap::new());
        for (name, file) in index.weight_map {
            let found = files.get(&file).and_then(|file| Some((file.shapes.get(&name)?, file.places.get(&name)?)));
            let (shape, place) = found.ok_or_else(|| failed(path, format!("tensor `{name}` should be in {file}, and is not")))?;
            shapes.insert(name.clone(), shape.clone());
            places.insert(name, place.clone());
        }
        let metadata = files.into_values().flat_map(|file| (*file.metadata).clone()).collect();
        Ok(Self { path: path.to_owned(), shapes: Arc::new(shapes), places: Arc::new(places), metadata: Arc::new(metadata) })
    }

    /// The same tensors under other names and in other shapes: for each, `respell` tells both from what they are in the file.
    ///
    /// # Errors
    /// When two tensors get the same name, or a shape has another number of values.
    pub fn respelled(&self, respell: impl Fn(&str, &[usize]) -> (String, Vec<usize>)) -> Result<Self> {
        let (mut shapes, mut places) = (BTreeMap::new(), BTreeMap::new());
        for (old, given) in self.shapes.iter() {
            let (name, shape) = respell(old, given);
            let count = |shape: &[usize]| shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side));
            if count(&shape) != count(given) {
                return Err(failed(&self.path, format!("tensor `{old}` of {given:?} cannot be `{name}` of {shape:?}")));
            }
            if let Some(place) = self.places.get(old) {
                places.insert(name.clone(), place.clone());
            }
            if shapes.insert(name.clone(), shape).is_some() {
                return Err(failed(&self.path, format!("two tensors would be `{name}`, one of them `{old}`")));
            }
        }
        Ok(Self { path: self.path.clone(), shapes: Arc::new(shapes), places: Arc::new(places), metadata: self.metadata.clone() })
    }

    /// The file, or the index of the set.
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
        let tensor = self.view(name)?.load(device)?;
        self.let_go(name);
        Ok(tensor)
    }

    /// One tensor as it lies in the file: its type, shape and bytes. [`Self::let_go`] when done with it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn view(&self, name: &str) -> Result<TensorView<'_>> {
        let failed = |error| failed(&self.path, format!("tensor `{name}`: {error}"));
        let (Some(shape), Some(place)) = (self.shapes.get(name), self.places.get(name)) else {
            return Err(failed(SafeTensorError::TensorNotFound(name.to_owned())));
        };
        TensorView::new(place.dtype, shape.clone(), &place.file[place.bytes.clone()]).map_err(failed)
    }

    /// Tells the system that a tensor's part of the file is not needed in memory any more: else large files would count twice, as
    /// they are mapped and as tensors. What is asked for again is read again.
    pub fn let_go(&self, name: &str) {
        const LARGE: usize = 1 << 20;
        #[cfg(unix)]
        if let Some(Place { file, bytes, .. }) = self.places.get(name).filter(|place| place.bytes.len() >= LARGE) {
            // SAFETY: the map is of a file and read-only, so what is let go comes back as it was.
            #[allow(unsafe_code)]
            let _ = unsafe { file.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
        }
    }
}

fn failed(path: &Path, reason: String) -> Error {
    Error::File { path: path.to_owned(), reason }
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
