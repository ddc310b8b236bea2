//! Pictures as a user names them: files, folders, patterns and standard input.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cirio_vision::{Image, is_picture};

/// How standard input is called.
const STDIN: &str = "-";

/// The largest picture that is read from standard input, in bytes.
const LARGEST: u64 = 1 << 29;

/// The files named, the pictures in the folders named, and what patterns such as `*.jpg` match where the shell has left them, in the order of
/// their names; `-`, for standard input, stays.
pub fn list(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for path in given {
        match path.to_str().filter(|text| text.contains(['*', '?', '['])) {
            _ if path.is_dir() => paths.append(&mut inside(path)?),
            Some(pattern) if !path.exists() => paths.append(&mut matching(pattern)?),
            _ => paths.push(path.clone()),
        }
    }
    Ok(paths)
}

fn inside(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut inside: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    inside.retain(|path| path.is_file() && is_picture(path));
    if inside.is_empty() {
        bail!("there are no pictures in the folder {}", folder.display());
    }
    inside.sort();
    Ok(inside)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let found = glob::glob(pattern).with_context(|| format!("the pattern {pattern}"))?;
    let mut files = found.collect::<Result<Vec<PathBuf>, _>>()?;
    files.retain(|path| path.is_file());
    if files.is_empty() {
        bail!("no file matches {pattern}");
    }
    Ok(files)
}

/// Reads a picture; `-` is standard input.
pub fn open(path: &Path) -> Result<Image> {
    if path != Path::new(STDIN) {
        return Ok(Image::open(path)?);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes).context("standard input")?;
    if bytes.len() as u64 > LARGEST {
        bail!("standard input has more than {LARGEST} bytes");
    }
    Image::decode(&bytes).context("standard input")
}

/// The name of a picture without folder and ending.
pub fn stem(path: &Path) -> String {
    match path.file_stem() {
        Some(stem) if path != Path::new(STDIN) => stem.to_string_lossy().into_owned(),
        _ => "stdin".to_owned(),
    }
}

/// Names of the files to be written into a folder: those of the pictures, with numbers where two would be the same. No picture that is read is
/// written over.
pub struct Files {
    folder: PathBuf,
    taken: BTreeSet<PathBuf>,
}

impl Files {
    pub fn new(folder: &Path, pictures: &[PathBuf]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let taken = pictures.iter().filter_map(|picture| fs::canonicalize(picture).ok()).collect();
        Ok(Self { folder: folder.to_owned(), taken })
    }

    /// The file for a picture.
    pub fn next(&mut self, picture: &Path) -> PathBuf {
        self.free(&stem(picture), "png")
    }

    /// `stem.ending` in the folder, or with a number where that is taken.
    pub fn free(&mut self, stem: &str, ending: &str) -> PathBuf {
        let whole = fs::canonicalize(&self.folder).unwrap_or_else(|_| self.folder.clone());
        let names = std::iter::once(format!("{stem}.{ending}")).chain((2..).map(|number| format!("{stem}-{number}.{ending}")));
        let mut free = names.filter(|name| self.taken.insert(whole.join(name)));
        self.folder.join(free.next().unwrap_or_default())
    }
}
