//! The manifest: what is known of every file of weights.
//!
//! ```toml
//! [[weights]]
//! model = "lenet5"                            # as `cirio list` names it
//! name = "fashion-mnist"                      # unique for the model; the full name is lenet5/fashion-mnist
//! aliases = ["fmnist"]                        # optional
//! file = "lenet5-fashion-mnist.safetensors"   # relative to the manifest
//! bytes = 247924
//! sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//! licence = "MIT OR Apache-2.0"
//! data = "Fashion-MNIST, 60,000 training pictures"
//! classes = ["T-shirt/top", "trouser"]        # in the order of the outputs
//! trained = "cirio train --model lenet5 --data fashion-mnist --seed 1"
//! measured = { accuracy = 0.92, count = 10000, data = "Fashion-MNIST test" }
//! note = "…"                                  # optional
//! [weights.preprocessing]                     # a `cirio_vision::Preprocess`
//! channels = 1
//! resize = { exact = { height = 28, width = 28 } }
//! pad = 2
//! mean = [0.0784]
//! std = [0.7843]
//! ```
//!
//! Weights that others publish have, instead of `file`, `bytes` and `sha256`, places on the network to fetch them from, the
//! best first; and long lists of classes stand in a file of their own, one class a line:
//!
//! ```toml
//! sources = [
//!   { address = "hf://owner/repo/model.safetensors" },
//!   { address = "https://example.org/resnet18-f37072fd.pth", sha256_prefix = "f37072fd", mib = 44.7 },
//! ]
//! classes_file = "imagenet-classes.txt"       # relative to the manifest
//! ```
//!
//! Weights of a detector have no preprocessing, their first class is the background, and what was measured is `box_ap`, `mask_ap` and
//! `keypoint_ap`. `frozen_eps = 1e-5` is said where frozen norms have another eps than their model's others.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use cirio_vision::Preprocess;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::address::Place;
use crate::{Address, Error, Result};

/// The longest file of classes, bytes.
const LONGEST_CLASSES: u64 = 1 << 20;

/// All entries of a registry, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// The entries; no two have the same model and name.
    pub weights: Vec<Entry>,
}

/// One file of weights.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The model that it is for, `lenet5`.
    #[serde(deserialize_with = "word")]
    pub model: String,
    /// Its name among the model's weights, `fashion-mnist`.
    #[serde(deserialize_with = "word")]
    pub name: String,
    /// Other names for it.
    #[serde(default, deserialize_with = "words")]
    pub aliases: Vec<String>,
    /// The file, relative to the folder of the manifest and inside it; none where there are `sources`.
    #[serde(default, deserialize_with = "inside", skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its SHA-256: 64 digits of lower-case hex.
    #[serde(default, deserialize_with = "digest", skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Where it can be fetched, the best place first; none where there is a `file`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Remote>,
    /// The licence of the weights, as an SPDX expression where there is one.
    #[serde(deserialize_with = "text")]
    pub licence: String,
    /// What it was trained on.
    #[serde(deserialize_with = "text")]
    pub data: String,
    /// The names of the K classes, in the order of the outputs.
    #[serde(default, deserialize_with = "classes")]
    pub classes: Vec<String>,
    /// The file that has them, one a line; taken into `classes` when a manifest is read.
    #[serde(default, deserialize_with = "inside", skip_serializing)]
    classes_file: Option<PathBuf>,
    /// The way from a picture to the model's input; none for a detector, which takes pictures as they are.
    #[serde(default, deserialize_with = "steps", skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocess>,
    /// The eps of a detector's frozen norms, where it is not the model's own.
    #[serde(default, deserialize_with = "some_fraction", skip_serializing_if = "Option::is_none")]
    pub frozen_eps: Option<f64>,
    /// The command that made it, or what is known of its training.
    #[serde(deserialize_with = "text")]
    pub trained: String,
    /// How good it is.
    pub measured: Measured,
    /// Anything else worth knowing.
    #[serde(default)]
    pub note: Option<String>,
}

/// How good weights are, and on what that was measured: the accuracy of a classifier, or a detector's average precision.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The part of the pictures whose first class is right, 0 … 1.
    #[serde(default, deserialize_with = "some_fraction", skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The part of the pictures whose class is among the first five, 0 … 1.
    #[serde(default, deserialize_with = "some_fraction", skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// COCO's average precision of boxes, over the IoU 0.5 to 0.95, 0 … 1.
    #[serde(default, deserialize_with = "some_fraction", skip_serializing_if = "Option::is_none")]
    pub box_ap: Option<f64>,
    /// The same of masks.
    #[serde(default, deserialize_with = "some_fraction", skip_serializing_if = "Option::is_none")]
    pub mask_ap: Option<f64>,
    /// The same of key points, over the similarity of COCO's, 0 … 1.
    #[serde(default, deserialize_with = "some_fraction", skip_serializing_if = "Option::is_none")]
    pub keypoint_ap: Option<f64>,
    /// The number of pictures.
    pub count: u64,
    /// The pictures.
    pub data: String,
}

/// A place on the network that has a file of weights.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// Where it is.
    pub address: Address,
    /// The file's SHA-256, where it is known: 64 digits of lower-case hex.
    #[serde(default, deserialize_with = "digest", skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The first 8 digits of it, as torch has them in the names of its files.
    #[serde(default, deserialize_with = "prefix", skip_serializing_if = "Option::is_none")]
    pub sha256_prefix: Option<String>,
    /// About how large the file is, in units of 2^20 bytes; a file that is clearly larger is not fetched.
    #[serde(default, deserialize_with = "size", skip_serializing_if = "Option::is_none")]
    pub mib: Option<f64>,
}

impl Remote {
    /// What the file's SHA-256 begins with, where anything is known of it.
    pub fn hash(&self) -> Option<&str> {
        self.sha256.as_deref().or(self.sha256_prefix.as_deref())
    }
}

impl From<Address> for Remote {
    /// A place of which nothing else is known.
    fn from(address: Address) -> Self {
        Self { address, sha256: None, sha256_prefix: None, mib: None }
    }
}

impl Entry {
    /// `lenet5/fashion-mnist`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.model, self.name)
    }

    /// Its name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(String::as_str)
    }

    /// What no single key can tell: which keys go together.
    fn check(&self) -> Result<(), String> {
        match (&self.file, self.sources.as_slice()) {
            (Some(_), [_, ..]) => return Err("an entry has `file` or `sources`, not both".to_owned()),
            (None, []) => return Err("missing field `file`, or `sources`".to_owned()),
            (Some(_), []) if self.bytes.is_none() => return Err("missing field `bytes`".to_owned()),
            (Some(_), []) if self.sha256.is_none() => return Err("missing field `sha256`".to_owned()),
            (None, _) if self.bytes.is_some() || self.sha256.is_some() => {
                return Err("`bytes` and `sha256` belong to a `file`; each source has its own".to_owned());
            }
            _ => {}
        }
        match (self.measured.accuracy, self.measured.box_ap) {
            (None, None) => return Err("key `measured`: missing field `accuracy`, or `box_ap`".to_owned()),
            (Some(_), Some(_)) => return Err("key `measured`: `accuracy` is a classifier's and `box_ap` a detector's, not both".to_owned()),
            (Some(_), None) if self.preprocessing.is_none() => return Err("missing field `preprocessing`".to_owned()),
            _ => {}
        }
        // The hub states the hash of what it holds; other servers do not.
        let unknown = |source: &&Remote| matches!(source.address.0, Place::Web(_)) && source.hash().is_none();
        if let Some(source) = self.sources.iter().find(unknown) {
            return Err(format!("key `sources`: {} needs sha256 or sha256_prefix", source.address));
        }
        match (self.classes.is_empty(), &self.classes_file) {
            (false, Some(_)) => Err("an entry has `classes` or `classes_file`, not both".to_owned()),
            (true, None) => Err("missing field `classes`, or `classes_file`".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Manifest {
    /// Reads a manifest from its text; files of classes are looked for in the current folder. Unknown keys are refused.
    ///
    /// # Errors
    /// When it is no TOML, a key is missing, unknown or has a bad value, a file of classes cannot be read, or two entries have
    /// the same name; with line and key.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_file(text, Path::new("manifest.toml"))
    }

    /// Reads a manifest from its file.
    ///
    /// # Errors
    /// As [`Self::parse`], and when the file cannot be read or is not UTF-8; with the file's path.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let text = std::str::from_utf8(&bytes).map_err(|error| Error::Manifest {
            path: path.to_owned(),
            line: line_at(&bytes, error.valid_up_to()),
            reason: "not UTF-8".to_owned(),
        })?;
        Self::parse_file(text, path)
    }

    fn parse_file(text: &str, path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Document {
            #[serde(default)]
            weights: Vec<Spanned<Entry>>,
        }

        let failed = |at: usize, reason| Error::Manifest { path: path.to_owned(), line: line_at(text.as_bytes(), at), reason };
        let document: Document = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let reason = error.message().lines().collect::<Vec<_>>().join("; ");
            match key_at(text, at) {
                Some(key) if !reason.contains(&format!("`{key}`")) => failed(at, format!("key `{key}`: {reason}")),
                _ => failed(at, reason),
            }
        })?;
        let mut weights: Vec<Entry> = Vec::with_capacity(document.weights.len());
        for spanned in document.weights {
            let at = spanned.span().start;
            let mut entry = spanned.into_inner();
            entry.check().map_err(|reason| failed(at, reason))?;
            if let Some(file) = entry.classes_file.take() {
                entry.classes = read_classes(&path.with_file_name(file)).map_err(|reason| failed(at, reason))?;
            }
            for name in entry.names() {
                if weights.iter().any(|other| other.model == entry.model && other.names().any(|taken| taken == name)) {
                    return Err(failed(at, format!("key `name` or `aliases`: there are already weights {}/{name}", entry.model)));
                }
            }
            weights.push(entry);
        }
        Ok(Self { weights })
    }
}

/// A file of classes, one a line.
fn read_classes(path: &Path) -> Result<Vec<String>, String> {
    let failed = |reason: &dyn fmt::Display| format!("key `classes_file`: {}: {reason}", path.display());
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut text = String::new();
    file.take(LONGEST_CLASSES + 1).read_to_string(&mut text).map_err(|error| failed(&error))?;
    if text.len() as u64 > LONGEST_CLASSES {
        return Err(failed(&format_args!("it has more than {LONGEST_CLASSES} bytes")));
    }
    let classes: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    match classes.iter().position(String::is_empty) {
        Some(at) => Err(failed(&format_args!("its line {} is empty", at + 1))),
        None if classes.is_empty() => Err(failed(&"it is empty")),
        None => Ok(classes),
    }
}

/// The line of a byte, from 1.
fn line_at(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|&&byte| byte == b'\n').count()
}

/// The key whose value stands at a byte: that of its line or, inside a value of several lines, of the nearest line above.
fn key_at(text: &str, at: usize) -> Option<&str> {
    let end = text.bytes().enumerate().skip(at).find(|&(_, byte)| byte == b'\n').map_or(text.len(), |(end, _)| end);
    for line in text.get(..end)?.lines().rev() {
        if line.starts_with('[') {
            return None;
        }
        let key = line.split_once('=').map(|(key, _)| key.trim());
        if let Some(key) = key.filter(|key| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))) {
            return Some(key);
        }
    }
    None
}

/// A name in a full name or a command: letters, digits, `-`, `_` and `.`.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let word = String::deserialize(from)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !word.is_empty() && word.chars().all(plain) && !word.starts_with(['.', '-']) {
        true => Ok(word),
        false => Err(D::Error::custom(format_args!("a name has letters, digits, `-`, `_` and `.` alone, this is {word:?}"))),
    }
}

fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    struct Word(#[serde(deserialize_with = "word")] String);
    Ok(Vec::<Word>::deserialize(from)?.into_iter().map(|word| word.0).collect())
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    match text.trim().is_empty() {
        false => Ok(text),
        true => Err(D::Error::custom("must not be empty")),
    }
}

/// A path that stays inside the manifest's folder.
fn inside<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::from(text(from)?);
    match path.components().all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(Some(path)),
        false => Err(D::Error::custom(format_args!("{path:?} must be a path inside the folder of the manifest"))),
    }
}

fn digest<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    hex(from, 64, "a SHA-256 is 64 digits of lower-case hex")
}

fn prefix<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    hex(from, 8, "the beginning of a SHA-256 is 8 digits of lower-case hex")
}

fn hex<'de, D: Deserializer<'de>>(from: D, digits: usize, expected: &str) -> Result<Option<String>, D::Error> {
    let hash = String::deserialize(from)?;
    match hash.len() == digits && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        true => Ok(Some(hash)),
        false => Err(D::Error::custom(format_args!("{expected}, this is {hash:?}"))),
    }
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let mib = f64::deserialize(from)?;
    match mib > 0.0 && mib <= 1e6 {
        true => Ok(Some(mib)),
        false => Err(D::Error::custom(format_args!("a size in MiB lies in 0 < x ≤ 1000000, this is {mib}"))),
    }
}

fn classes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let classes = Vec::<String>::deserialize(from)?;
    match classes.is_empty() {
        false => Ok(classes),
        true => Err(D::Error::custom("there must be at least one class")),
    }
}

fn steps<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Preprocess>, D::Error> {
    let steps = Preprocess::deserialize(from)?;
    steps.check().map_err(|error| D::Error::custom(format_args!("key `preprocessing`: {error}")))?;
    Ok(Some(steps))
}

fn some_fraction<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let fraction = f64::deserialize(from)?;
    match (0.0..=1.0).contains(&fraction) {
        true => Ok(Some(fraction)),
        false => Err(D::Error::custom(format_args!("must lie in 0 … 1, this is {fraction}"))),
    }
}
