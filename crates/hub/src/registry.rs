//! From what a user writes to a checked file.

use std::fs;
use std::path::{Path, PathBuf};

use cirio_vision::Preprocess;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::convert::{is_torch, to_safetensors};
use crate::folder::{self, MANIFEST};
use crate::near::near;
use crate::{Address, Downloads, Entry, Error, Failure, Header, Manifest, Progress, Remote, Result, check_header, verify};

/// The index of a set of safetensors files, by the custom of Hugging Face.
const INDEX: &str = "model.safetensors.index.json";

/// A folder of weights and its manifest, and the way to weights that others publish.
#[derive(Clone, Debug)]
pub struct Registry {
    folder: PathBuf,
    manifest: Manifest,
    downloads: Downloads,
}

/// Where weights were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By their name, or by the path of a file that the manifest knows.
    Registry,
    /// In the folder of a training run.
    Run,
    /// In a file that the manifest does not know.
    File,
    /// At an address that the manifest does not know.
    Network,
}

/// Where the file of an entry is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// In the folder of the registry.
    Here,
    /// Fetched before, and kept.
    Cached,
    /// To be fetched.
    Remote,
    /// It should be in the folder and is not.
    Missing,
}

impl Presence {
    /// The word for it: `here`, `cached`, `remote` or `missing`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Cached => "cached",
            Self::Remote => "remote",
            Self::Missing => "missing",
        }
    }
}

/// Weights that were found and checked, with what is known of them: from the manifest, or else from the file itself.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The safetensors file.
    pub path: PathBuf,
    /// The file that was named: `path`, or the file of torch that it was made from.
    pub given: PathBuf,
    /// The model that they are for.
    pub model: Option<String>,
    /// The names of the K classes, in the order of the outputs.
    pub classes: Option<Vec<String>>,
    /// The way from a picture to the model's input, where it is known; a detector needs none.
    pub preprocessing: Option<Preprocess>,
    /// The manifest's entry.
    pub entry: Option<Entry>,
    /// Where they were found.
    pub source: Source,
}

impl Resolved {
    /// What to call them: the full name, or the path.
    pub fn name(&self) -> String {
        self.entry.as_ref().map_or_else(|| self.given.display().to_string(), Entry::full_name)
    }
}

impl Registry {
    /// The registry of this machine: the folder that the environment variable `CIRIO_WEIGHTS` names; else the nearest
    /// `weights/` with a manifest in the current folder or above it; else beside the program or above it; else in the
    /// checkout that the program was built from. Where there is none, a registry without entries, which still opens paths.
    ///
    /// # Errors
    /// When the manifest found cannot be read or is wrong.
    pub fn locate() -> Result<Self> {
        folder::locate().map_or_else(|| Ok(Self::empty()), Self::open)
    }

    /// A registry without entries, with this machine's settings of downloads.
    pub fn empty() -> Self {
        Self { folder: PathBuf::new(), manifest: Manifest::default(), downloads: Downloads::from_env() }
    }

    /// The registry in a folder, with this machine's settings of downloads ([`Downloads::from_env`]).
    ///
    /// # Errors
    /// When its manifest cannot be read or is wrong.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        Ok(Self { manifest: Manifest::load(folder.join(MANIFEST))?, folder, downloads: Downloads::from_env() })
    }

    /// The same with other settings of downloads.
    pub fn with_downloads(self, downloads: Downloads) -> Self {
        Self { downloads, ..self }
    }

    /// All entries, in the order of the manifest.
    pub fn entries(&self) -> &[Entry] {
        &self.manifest.weights
    }

    /// The file of an entry that has one in the folder.
    fn path(&self, entry: &Entry) -> Option<PathBuf> {
        entry.file.as_ref().map(|file| self.folder.join(file))
    }

    /// Where the file of an entry is now.
    pub fn presence(&self, entry: &Entry) -> Presence {
        match self.path(entry) {
            Some(path) if path.is_file() => Presence::Here,
            Some(_) => Presence::Missing,
            None if self.cached(&entry.sources).is_some() => Presence::Cached,
            None => Presence::Remote,
        }
    }

    /// The file of the first source that was fetched before.
    fn cached(&self, sources: &[Remote]) -> Option<PathBuf> {
        sources.iter().find_map(|source| self.downloads.cached(&source.address))
    }

    /// Finds weights by what a user wrote, and checks the file: its size and hash where the manifest knows them, its
    /// header always. A file from the network was checked so when it came; later its header is.
    ///
    /// `spec` is a full name (`lenet5/fashion-mnist`), a name or alias that is unique or belongs to `model`, the path of a
    /// safetensors file or of one of torch, the folder of a run, or an [`Address`]. Names go before paths; `./name` is always a path. A file may
    /// be for another model than `model`: loading it says which tensors fit.
    ///
    /// # Errors
    /// When there is no such name or path, the name is ambiguous or for another model, a file is not here and cannot be
    /// fetched, or it is not what it should be.
    pub fn find(&self, model: Option<&str>, spec: &str) -> Result<Resolved> {
        self.find_with(model, spec, &mut |_| {})
    }

    /// As [`Self::find`]; `progress` is told how far a transfer is.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_with(&self, model: Option<&str>, spec: &str, progress: Progress) -> Result<Resolved> {
        if spec.contains("://") {
            return self.at_address(spec.parse()?, progress);
        }
        match self.entry(model, spec)? {
            Some(entry) => match self.path(entry) {
                Some(path) => resolve(entry, path),
                None => self.fetch(entry, &entry.sources, progress),
            },
            None => self.at_path(model, spec),
        }
    }

    /// The entry that a name means, if it is a name; its file is not looked for.
    ///
    /// # Errors
    /// When the name is ambiguous or for another model than `model`.
    pub fn entry(&self, model: Option<&str>, spec: &str) -> Result<Option<&Entry>> {
        let (owner, name) = match spec.split_once('/') {
            Some((owner, name)) => (Some(owner), name),
            None => (None, spec),
        };
        let named = |entry: &&Entry| owner.is_none_or(|owner| owner == entry.model) && entry.names().any(|known| known == name);
        let all: Vec<&Entry> = self.entries().iter().filter(named).collect();
        let fitting: Vec<&Entry> = all.iter().copied().filter(|entry| model.is_none_or(|model| model == entry.model)).collect();
        match (fitting.as_slice(), all.as_slice()) {
            ([entry], _) => Ok(Some(entry)),
            ([], [other]) => {
                let asked = model.unwrap_or_default().to_owned();
                Err(Error::OtherModel { name: other.full_name(), theirs: other.model.clone(), asked })
            }
            ([], []) => Ok(None),
            ([], _) => Err(self.unknown(model, spec)),
            (several, _) => {
                Err(Error::Ambiguous { name: spec.to_owned(), candidates: several.iter().map(|entry| entry.full_name()).collect() })
            }
        }
    }

    /// Weights in a file or in the folder of a run.
    fn at_path(&self, model: Option<&str>, spec: &str) -> Result<Resolved> {
        let path = Path::new(spec);
        if path.is_dir() {
            let file = ["best.safetensors", "last.safetensors", INDEX].map(|name| path.join(name)).into_iter().find(|file| file.is_file());
            let file = file.ok_or_else(|| Error::NotARun { path: path.to_owned() })?;
            return described(file, Source::Run);
        }
        if !path.exists() {
            let clearly_a_path =
                path.has_root() || spec.starts_with('.') || path.extension().is_some_and(|end| end == "safetensors") || is_torch(path);
            return Err(match clearly_a_path {
                true => Error::NoSuchPath { path: path.to_owned() },
                false => self.unknown(model, spec),
            });
        }
        let whole = fs::canonicalize(path).ok();
        let same = |entry: &&Entry| whole.is_some() && self.path(entry).and_then(|path| fs::canonicalize(path).ok()) == whole;
        match self.entries().iter().find(same) {
            Some(entry) => resolve(entry, path.to_owned()),
            None => Ok(Resolved { given: path.to_owned(), ..described(self.to_safetensors(path.to_owned())?, Source::File)? }),
        }
    }

    /// Weights at an address; the manifest may know it.
    fn at_address(&self, address: Address, progress: Progress) -> Result<Resolved> {
        for entry in self.entries() {
            if let Some(at) = entry.sources.iter().position(|source| source.address == address) {
                return self.fetch(entry, &entry.sources[at..=at], progress);
            }
        }
        let path = self.to_safetensors(self.downloads.fetch(&address.into(), progress)?)?;
        described(path, Source::Network)
    }

    /// A file of torch, converted; any other as it is.
    fn to_safetensors(&self, path: PathBuf) -> Result<PathBuf> {
        to_safetensors(path, &self.downloads.cache)
    }

    /// The weights of an entry that others publish: as they were kept, or from the first source that gives them.
    fn fetch(&self, entry: &Entry, sources: &[Remote], progress: Progress) -> Result<Resolved> {
        if let Some(path) = self.cached(sources) {
            return resolve(entry, self.to_safetensors(path)?);
        }
        let mut reasons = Vec::new();
        for source in sources {
            match self.downloads.fetch(source, progress).and_then(|path| self.to_safetensors(path)) {
                Ok(path) => return resolve(entry, path),
                // Another source would not help.
                Err(error @ Error::Download { failure: Failure::NotBuiltIn | Failure::Offline | Failure::Disk(_), .. }) => {
                    return Err(error);
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(Error::NoSource { name: entry.full_name(), reasons })
    }

    fn unknown(&self, model: Option<&str>, spec: &str) -> Error {
        let full: Vec<String> = self.entries().iter().map(Entry::full_name).collect();
        let short = self.entries().iter().flat_map(Entry::names);
        let candidates = full.iter().map(String::as_str).filter(|_| spec.contains('/')).chain(short.filter(|_| !spec.contains('/')));
        Error::Unknown { name: spec.to_owned(), model: model.map(str::to_owned), near: near(spec, candidates), known: full }
    }
}

/// A file that the manifest knows.
fn resolve(entry: &Entry, path: PathBuf) -> Result<Resolved> {
    verify(&path, entry)?;
    check_header(&path)?;
    Ok(Resolved {
        given: path.clone(),
        path,
        model: Some(entry.model.clone()),
        classes: Some(entry.classes.clone()),
        preprocessing: entry.preprocessing.clone(),
        entry: Some(entry.clone()),
        source: Source::Registry,
    })
}

/// A file that the manifest does not know, with what its own texts say: `model`, `classes` (a JSON list of names) and
/// `preprocess` (JSON), as training writes them.
fn described(path: PathBuf, source: Source) -> Result<Resolved> {
    // An index is no safetensors file; its files are checked when they are opened.
    let is_index = path.extension().is_some_and(|end| end == "json");
    let header = if is_index { Header::default() } else { check_header(&path)? };
    let preprocessing: Option<Preprocess> = json(&header, "preprocess", &path)?;
    if let Some(Err(error)) = preprocessing.as_ref().map(Preprocess::check) {
        return Err(Error::Metadata { path, key: "preprocess", reason: error.to_string() });
    }
    Ok(Resolved {
        model: header.metadata.get("model").cloned(),
        classes: json(&header, "classes", &path)?,
        preprocessing,
        entry: None,
        source,
        given: path.clone(),
        path,
    })
}

fn json<T: DeserializeOwned>(header: &Header, key: &'static str, path: &Path) -> Result<Option<T>> {
    let failed = |error: serde_json::Error| Error::Metadata { path: path.to_owned(), key, reason: error.to_string() };
    header.metadata.get(key).map(|text| serde_json::from_str(text).map_err(failed)).transpose()
}
