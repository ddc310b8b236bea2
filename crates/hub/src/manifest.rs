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

use std::fs;
use std::path::{Component, Path, PathBuf};

use cirio_vision::Preprocess;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::{Error, Result};

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
    /// The file, relative to the folder of the manifest and inside it.
    #[serde(deserialize_with = "inside")]
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256: 64 digits of lower-case hex.
    #[serde(deserialize_with = "digest")]
    pub sha256: String,
    /// The licence of the weights, as an SPDX expression where there is one.
    #[serde(deserialize_with = "text")]
    pub licence: String,
    /// What it was trained on.
    #[serde(deserialize_with = "text")]
    pub data: String,
    /// The names of the K classes, in the order of the outputs.
    #[serde(deserialize_with = "classes")]
    pub classes: Vec<String>,
    /// The way from a picture to the model's input.
    #[serde(deserialize_with = "steps")]
    pub preprocessing: Preprocess,
    /// The command that made it.
    #[serde(deserialize_with = "text")]
    pub trained: String,
    /// How good it is.
    pub measured: Measured,
    /// Anything else worth knowing.
    #[serde(default)]
    pub note: Option<String>,
}

/// How good weights are, and on what that was measured.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The part of the pictures whose first class is right, 0 … 1.
    #[serde(deserialize_with = "fraction")]
    pub accuracy: f64,
    /// The number of pictures.
    pub count: u64,
    /// The pictures.
    pub data: String,
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
}

impl Manifest {
    /// Reads a manifest from its text. Unknown keys are refused.
    ///
    /// # Errors
    /// When it is no TOML, a key is missing, unknown or has a bad value, or two entries have the same name; with line and key.
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
            let entry = spanned.into_inner();
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
fn inside<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::from(text(from)?);
    match path.components().all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(path),
        false => Err(D::Error::custom(format_args!("{path:?} must be a path inside the folder of the manifest"))),
    }
}

fn digest<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let digest = String::deserialize(from)?;
    match digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        true => Ok(digest),
        false => Err(D::Error::custom(format_args!("a SHA-256 is 64 digits of lower-case hex, this is {digest:?}"))),
    }
}

fn classes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let classes = Vec::<String>::deserialize(from)?;
    match classes.is_empty() {
        false => Ok(classes),
        true => Err(D::Error::custom("there must be at least one class")),
    }
}

fn steps<'de, D: Deserializer<'de>>(from: D) -> Result<Preprocess, D::Error> {
    let steps = Preprocess::deserialize(from)?;
    steps.check().map_err(|error| D::Error::custom(format_args!("key `preprocessing`: {error}")))?;
    Ok(steps)
}

fn fraction<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let fraction = f64::deserialize(from)?;
    match (0.0..=1.0).contains(&fraction) {
        true => Ok(fraction),
        false => Err(D::Error::custom(format_args!("must lie in 0 … 1, this is {fraction}"))),
    }
}
