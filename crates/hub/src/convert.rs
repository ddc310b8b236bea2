//! From torch's files, or other safetensors files, to one safetensors file that a model of the zoo can load.
//!
//! Tensors go from the one file to the other piece by piece: whatever the size of the network, some megabytes of memory are enough.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cirio_nn::{Weights, files};
use half::f16;
use safetensors::Dtype;
use serde::{Serialize, Serializer};

use crate::verify::sha256;
use crate::{Error, Result, pth, spelling};

/// What to do beside copying.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The entry of a checkpoint that is the weights; none to find it.
    pub key: Option<String>,
    /// Whether to write f32 and f64 as f16, in half the size or less.
    pub half: bool,
    /// Names and shapes of a model's weights, for any number of classes: other spellings are changed to them.
    pub model: Option<BTreeMap<String, Vec<usize>>>,
    /// Texts to write beside the tensors; those of a safetensors file are kept where these do not replace them.
    pub texts: BTreeMap<String, String>,
}

/// What came of a conversion.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file that was read.
    pub input: PathBuf,
    /// The file that was written.
    pub output: PathBuf,
    /// The format of the first, in words.
    pub format: &'static str,
    /// The entry of the checkpoint that was taken; none where the weights are the whole file.
    pub key: Option<String>,
    /// What was taken away before every name, `module.`; mostly empty.
    pub wrapper: &'static str,
    /// The tensors, by their names in the file that was written.
    pub tensors: Vec<Converted>,
    /// What was left out, each with the reason.
    pub dropped: Vec<String>,
    /// The number of all values.
    pub values: u64,
    /// The size of the file that was written.
    pub bytes: u64,
}

/// How converted tensors fit a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// Names that the model has and the file lacks. `num_batches_tracked` does not count, which old files lack.
    pub missing: Vec<String>,
    /// Names that the file has and the model lacks.
    pub unused: Vec<String>,
    /// Names that both have in different shapes.
    pub mismatched: Vec<String>,
}

/// One tensor of a conversion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Converted {
    /// Its name in the file that was written.
    pub name: String,
    /// Its name in the file that was read.
    pub from: String,
    /// Its type in the file that was written, as safetensors spells it.
    #[serde(serialize_with = "spelled")]
    pub dtype: Dtype,
    /// Its shape in the file that was written.
    pub shape: Vec<usize>,
    /// Its type and shape in the file that was read.
    #[serde(skip)]
    read: (Dtype, Vec<usize>),
}

impl Report {
    /// How the tensors fit a model with weights of these names and shapes.
    pub fn fit(&self, model: &BTreeMap<String, Vec<usize>>) -> Fit {
        let has = |name: &str| self.tensors.iter().any(|tensor| tensor.name == name);
        let optional = |name: &str| name.ends_with("num_batches_tracked");
        let mismatch = |tensor: &Converted| {
            let wanted = model.get(&tensor.name).filter(|wanted| **wanted != tensor.shape)?;
            Some(format!("{} is {:?} in the file, {wanted:?} in the model", tensor.name, tensor.shape))
        };
        Fit {
            missing: model.keys().filter(|name| !has(name) && !optional(name)).cloned().collect(),
            unused: self.tensors.iter().map(|tensor| &tensor.name).filter(|name| !model.contains_key(*name)).cloned().collect(),
            mismatched: self.tensors.iter().filter_map(mismatch).collect(),
        }
    }
}

impl Converted {
    /// Whether its shape was changed.
    pub fn is_reshaped(&self) -> bool {
        self.shape != self.read.1
    }
}

fn spelled<S: Serializer>(dtype: &Dtype, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(dtype)
}

/// The safetensors file for a file of weights: itself, or for one of torch (`NAME.pth`, `NAME.pt`) its conversion, which is made
/// once and kept in `cache`.
///
/// # Errors
/// As [`convert`]; when the cache cannot be written.
pub(crate) fn to_safetensors(path: PathBuf, cache: &Path) -> Result<PathBuf> {
    if !is_torch(&path) {
        return Ok(path);
    }
    let unread = |source| Error::Read { path: path.clone(), source };
    let folder = cache.join("converted");
    let converted = folder.join(kept_as(&path).map_err(unread)?);
    if !converted.is_file() {
        let unmade = |error| Error::Torch { path: path.clone(), reason: format!("{} cannot be made: {error}", folder.display()) };
        std::fs::create_dir_all(&folder).map_err(unmade)?;
        convert(&path, &converted, &Options::default())?;
    }
    Ok(converted)
}

/// The name that a file's conversion is kept under: it depends on the file's place, size and time, so that a changed file is
/// converted again.
fn kept_as(path: &Path) -> io::Result<String> {
    let place = path.canonicalize()?;
    let metadata = place.metadata()?;
    let since = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut all = place.as_os_str().as_encoded_bytes().to_vec();
    all.extend(metadata.len().to_le_bytes());
    all.extend(since.as_nanos().to_le_bytes());
    let hash = sha256(&mut all.as_slice())?;
    Ok(format!("{}-{}.safetensors", path.file_stem().unwrap_or_default().to_string_lossy(), &hash[..16]))
}

/// Whether a file is torch's by its name.
pub(crate) fn is_torch(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "pth" || end == "pt")
}

/// Writes the weights in `input` as the safetensors file `output`, whole or not at all. `input` is a file of torch, a safetensors
/// file, the index of a set of them, or a folder with that index.
///
/// # Errors
/// When the input cannot be read or is unsound, two tensors get the same name, a value does not fit into half precision, or the
/// output cannot be written.
pub fn convert(input: &Path, output: &Path, options: &Options) -> Result<Report> {
    let mut source = Source::open(input, options.key.as_deref())?;
    let (tensors, wrapper) = plan(&source.tensors(), options).map_err(|reason| Error::Torch { path: input.to_owned(), reason })?;
    let mut texts = source.texts();
    texts.extend(options.texts.clone());
    let planned = tensors.iter().map(|(name, tensor)| (name.clone(), (tensor.dtype, tensor.shape.clone()))).collect();
    files::write_streamed(output, &planned, &texts, |name, file| {
        let Some(tensor) = tensors.get(name) else { return Ok(()) };
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: tensor `{}`: {error}", input.display(), tensor.from));
        let written = match tensor.dtype == tensor.read.0 {
            true => source.copy(&tensor.from, &mut |bytes| file.write_all(bytes)),
            false => source.copy(&tensor.from, &mut |bytes| file.write_all(&halved(bytes, tensor.read.0)?)),
        };
        written.map_err(failed)
    })?;
    let bytes = std::fs::metadata(output).map_err(|source| Error::Read { path: output.to_owned(), source })?.len();
    let tensors: Vec<Converted> = tensors.into_values().collect();
    Ok(Report {
        input: input.to_owned(),
        output: output.to_owned(),
        format: source.format(),
        key: source.key(),
        wrapper,
        dropped: source.dropped(),
        values: tensors.iter().map(|tensor| tensor.shape.iter().map(|&side| side as u64).product::<u64>()).sum(),
        tensors,
        bytes,
    })
}

/// Where tensors come from.
enum Source {
    Torch(pth::Checkpoint),
    Safetensors(Weights),
}

impl Source {
    fn open(path: &Path, key: Option<&str>) -> Result<Self> {
        let is_safetensors = path.is_dir() || path.extension().is_some_and(|end| end == "safetensors" || end == "json");
        match is_safetensors {
            true => Ok(Self::Safetensors(Weights::open(path)?)),
            false => Ok(Self::Torch(pth::open(path, key)?)),
        }
    }

    fn tensors(&self) -> Vec<(String, Dtype, Vec<usize>)> {
        match self {
            Self::Torch(checkpoint) => checkpoint.tensors().map(|(name, dtype, shape)| (name.to_owned(), dtype, shape.to_vec())).collect(),
            Self::Safetensors(weights) => weights
                .shapes()
                .iter()
                .filter_map(|(name, shape)| Some((name.clone(), weights.view(name).ok()?.dtype(), shape.clone())))
                .collect(),
        }
    }

    fn copy(&mut self, name: &str, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        const PIECE: usize = 1 << 20;
        match self {
            Self::Torch(checkpoint) => checkpoint.copy(name, sink),
            Self::Safetensors(weights) => {
                let view = weights.view(name).map_err(io::Error::other)?;
                view.data().chunks(PIECE).try_for_each(sink)?;
                weights.let_go(name);
                Ok(())
            }
        }
    }

    fn texts(&self) -> BTreeMap<String, String> {
        match self {
            Self::Torch(_) => BTreeMap::new(),
            Self::Safetensors(weights) => weights.metadata().clone(),
        }
    }

    fn format(&self) -> &'static str {
        match self {
            Self::Torch(checkpoint) => checkpoint.format(),
            Self::Safetensors(_) => "safetensors",
        }
    }

    fn key(&self) -> Option<String> {
        match self {
            Self::Torch(checkpoint) => checkpoint.key().map(str::to_owned),
            Self::Safetensors(_) => None,
        }
    }

    fn dropped(&self) -> Vec<String> {
        match self {
            Self::Torch(checkpoint) => checkpoint.dropped().to_vec(),
            Self::Safetensors(_) => vec![],
        }
    }
}

/// Names, types and shapes in the file to be written, and the wrapper whose name was taken away.
fn plan(tensors: &[(String, Dtype, Vec<usize>)], options: &Options) -> Result<(BTreeMap<String, Converted>, &'static str), String> {
    let wrapper = spelling::wrapper(tensors.iter().map(|(name, ..)| name.as_str()));
    let mut plan = BTreeMap::new();
    for (from, read, old) in tensors {
        let name = from.strip_prefix(wrapper).unwrap_or(from);
        let (name, shape) = match &options.model {
            Some(model) => spelling::respell(name, old, model),
            None => (name.to_owned(), old.clone()),
        };
        let dtype = match read {
            Dtype::F32 | Dtype::F64 if options.half => Dtype::F16,
            other => *other,
        };
        let converted = Converted { name: name.clone(), from: from.clone(), dtype, shape, read: (*read, old.clone()) };
        if let Some(other) = plan.insert(name.clone(), converted) {
            return Err(format!("both `{}` and `{from}` would be `{name}`", other.from));
        }
    }
    Ok((plan, wrapper))
}

/// Numbers as f16, rounded to the nearest.
fn halved(bytes: &[u8], from: Dtype) -> io::Result<Vec<u8>> {
    let size = from.bitsize() / 8;
    let number = |bytes: &[u8]| match *bytes {
        [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => f64::NAN,
    };
    let mut halves = Vec::with_capacity(bytes.len() / size * 2);
    for number in bytes.chunks_exact(size).map(number) {
        let half = f16::from_f64(number);
        if half.is_infinite() && number.is_finite() {
            return Err(io::Error::other(format!("{number:e} is beyond half precision, whose largest number is {}", f16::MAX)));
        }
        halves.extend_from_slice(&half.to_le_bytes());
    }
    Ok(halves)
}
