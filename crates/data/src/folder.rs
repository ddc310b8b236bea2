//! Image folders: one subfolder a class, as torchvision's `ImageFolder` reads them.
//!
//! Either `D/class/picture.png`, or `D/train/class/…` with `D/val/class/…` or `D/test/class/…` beside it.
//! Classes are the sorted names of the subfolders; pictures are found recursively, in sorted order, by
//! their extension; two files whose names differ in the extension alone are two pictures. Hidden files and folders are not looked at.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use cirio_vision::{Image, is_picture};

use crate::dataset::{Dataset, OpenOptions, Sample, Skipped, Split, Strictness};
use crate::files::{entries, guard};
use crate::parallel::in_parallel;
use crate::parts::{Parts, Place};
use crate::subset::hold_out;
use crate::{Error, Result};

/// A data set whose pictures are files. Only their names are held in memory.
pub struct ImageFolder {
    name: String,
    classes: Vec<String>,
    paths: Vec<PathBuf>,
    labels: Vec<u32>,
    skipped: Vec<Skipped>,
    notes: Vec<String>,
}

impl ImageFolder {
    /// Lists the pictures of one split of `dir`, and reads the header of each.
    ///
    /// The classes are those of the training part, whatever the split. `Val` takes the folder `val`, else the folder
    /// `test`, else what is held out of the training part by the seed of `options`; if a fraction is asked for there, the
    /// folder `test` is kept for the end. `Test` takes the folder `test`, else `val`. The set's name says which it is.
    ///
    /// # Errors
    /// If there are no classes, only one to train with, one without pictures, or one in `val` that `train` does not have;
    /// if there is nothing to test with; under [`Strictness::Strict`], if the header of a picture cannot be read.
    pub fn open(dir: &Path, split: Split, options: &OpenOptions) -> Result<Self> {
        let parts = parts(dir)?;
        let root = &parts.train;
        let folders = subfolders(root)?;
        if split == Split::Train && folders.len() == 1 {
            return Err(one_class(root, &folders));
        }
        let classes = class_names(root, &folders, options.class_names.as_deref())?;

        let place = parts.place(dir, split, options)?;
        let (files, name, notes) = match place {
            Place::Whole(folder) => {
                only_known(folder, root, &folders)?;
                let files = list(folder, &folders)?;
                let notes = twins(&files.paths);
                (files, folder.display().to_string(), notes)
            }
            Place::Drawn(fraction) => {
                let files = list(root, &folders)?;
                refuse_empty(root, &folders, &files.labels)?;
                let (train, val) = hold_out(&files.labels, fraction, options.seed);
                let notes = twins(&files.paths);
                let percent = (1000.0 * fraction).round() / 10.0;
                match split {
                    Split::Train => (files.choose(train), format!("{} without the {percent} % held out", root.display()), notes),
                    // They have been said of the whole.
                    _ => (files.choose(val), format!("{percent} % held out of {}", root.display()), None),
                }
            }
        };
        let (files, skipped) = readable(files, options.strictness)?;
        if split == Split::Train {
            refuse_empty(root, &folders, &files.labels)?;
        }
        if files.paths.is_empty() {
            return Err(Error::layout(dir, format!("has no picture for {} that can be read", split.name())));
        }
        Ok(Self { name, classes, paths: files.paths, labels: files.labels, skipped, notes: notes.into_iter().collect() })
    }

    /// The files, in the order of the set.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Dataset for ImageFolder {
    fn name(&self) -> &str {
        &self.name
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let label = self.label(index)?;
        let path = &self.paths[index];
        let image = Image::open(path).map_err(|e| Error::picture(path.display().to_string(), e))?;
        Ok(Sample { image, label })
    }

    fn picture_name(&self, index: usize) -> String {
        self.paths.get(index).map_or_else(|| format!("picture {index}"), |path| path.display().to_string())
    }

    fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Whether `dir` has a subfolder that is not hidden.
pub(crate) fn has_subfolder(dir: &Path) -> Result<bool> {
    Ok(!subfolders(dir)?.is_empty())
}

/// A folder `train` that itself has subfolders makes a split layout; else `train` is a class like any other.
fn parts(dir: &Path) -> Result<Parts<PathBuf>> {
    let part = |names: &[&str]| names.iter().map(|name| dir.join(name)).find(|path| path.is_dir());
    let train = dir.join("train");
    if train.is_dir() && has_subfolder(&train)? {
        return Ok(Parts { train, val: part(&["val", "valid", "validation"]), test: part(&["test"]) });
    }
    Ok(Parts::whole(dir.to_path_buf()))
}

/// Picture files with their labels.
struct Files {
    paths: Vec<PathBuf>,
    labels: Vec<u32>,
}

impl Files {
    fn choose(self, indices: Vec<usize>) -> Self {
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        let paths = indices.iter().map(|&index| self.paths[index].clone()).collect();
        Self { paths, labels }
    }
}

/// The pictures of the class folders of `root`; a folder that is not there has none.
fn list(root: &Path, folders: &[OsString]) -> Result<Files> {
    let (mut paths, mut labels) = (Vec::new(), Vec::new());
    for (label, folder) in folders.iter().enumerate() {
        let class = root.join(folder);
        if class.is_dir() {
            pictures_below(&class, &mut paths)?;
        }
        labels.resize(paths.len(), label as u32);
    }
    Ok(Files { paths, labels })
}

/// Appends all pictures below `class`, sorted by path.
pub(crate) fn pictures_below(class: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    files_below(class, is_picture, paths)
}

/// Appends all files below `folder` of which `fits` says so, sorted by path. Links are followed, but no folder is entered
/// twice, nor one that `folder` itself lies in, so that a loop of links ends.
pub(crate) fn files_below(folder: &Path, fits: impl Fn(&Path) -> bool, paths: &mut Vec<PathBuf>) -> Result<()> {
    let real = |dir: &Path| fs::canonicalize(dir).map_err(|e| Error::io(dir, e));
    let mut entered: BTreeSet<PathBuf> = real(folder)?.ancestors().map(Path::to_path_buf).collect();
    let first = paths.len();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in entries(&dir)? {
            let path = dir.join(entry);
            // A link that leads nowhere, or in a circle, has no metadata. A pipe or a device is no picture.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_file() && fits(&path) {
                paths.push(path);
            } else if metadata.is_dir() && entered.insert(real(&path)?) {
                waiting.push(path);
            }
        }
    }
    paths[first..].sort_unstable();
    Ok(())
}

/// What is to be said of files that differ in their endings alone, `a.jpg` and `a.png`: torchvision takes them for two pictures
/// too, but they may be one, and then in two parts of the data.
fn twins(paths: &[PathBuf]) -> Option<String> {
    let mut stems = BTreeSet::new();
    let twins: Vec<&PathBuf> = paths.iter().filter(|path| !stems.insert(path.with_extension(""))).collect();
    let first = twins.first()?.display();
    let count = twins.len();
    Some(format!(
        "{count} of the pictures have the name of another one but for its ending, first {first}; each counts as a picture of its own"
    ))
}

/// The sorted names of the folders in `dir`.
fn subfolders(dir: &Path) -> Result<Vec<OsString>> {
    let mut names = entries(dir)?;
    names.retain(|name| dir.join(name).is_dir());
    Ok(names)
}

/// Leaves out the pictures whose header cannot be read, or refuses them all.
fn readable(files: Files, strictness: Strictness) -> Result<(Files, Vec<Skipped>)> {
    let check = |path: &PathBuf| {
        let name = || path.display().to_string();
        guard(name, || Image::dimensions(path).map_err(|e| Error::picture(name(), e))).err()
    };
    let checked = in_parallel(files.paths.len(), |indices| files.paths[indices].iter().map(check).collect::<Vec<_>>());
    let mut good = Files { paths: Vec::new(), labels: Vec::new() };
    let mut skipped = Vec::new();
    for ((path, label), error) in files.paths.into_iter().zip(files.labels).zip(checked.into_iter().flatten()) {
        match (error, strictness) {
            (None, _) => {
                good.paths.push(path);
                good.labels.push(label);
            }
            (Some(Error::Picture { picture, reason }), Strictness::Lenient) => skipped.push(Skipped { picture, reason }),
            (Some(error), _) => return Err(error),
        }
    }
    Ok((good, skipped))
}

/// The names for the class folders of `root`: their own, or those given.
fn class_names(root: &Path, folders: &[OsString], given: Option<&[String]>) -> Result<Vec<String>> {
    match given {
        None => Ok(folders.iter().map(|folder| folder.to_string_lossy().into_owned()).collect()),
        Some(names) if names.len() == folders.len() => Ok(names.to_vec()),
        Some(names) => {
            let problem = format!("was given {} class names, expected {}, one a class folder", names.len(), folders.len());
            Err(Error::layout(root, problem))
        }
    }
}

fn refuse_empty(root: &Path, folders: &[OsString], labels: &[u32]) -> Result<()> {
    let mut full = vec![false; folders.len()];
    for &label in labels {
        full[label as usize] = true;
    }
    let empty: Vec<String> =
        folders.iter().zip(full).filter(|(_, full)| !full).map(|(folder, _)| folder.to_string_lossy().into_owned()).collect();
    if empty.is_empty() {
        return Ok(());
    }
    if empty.len() == folders.len() {
        return Err(Error::layout(root, "has class folders, but no pictures in them that can be read"));
    }
    Err(Error::layout(root, format!("has no pictures that can be read in the class folder {}", empty.join(", "))))
}

fn only_known(folder: &Path, train: &Path, known: &[OsString]) -> Result<()> {
    match subfolders(folder)?.iter().find(|name| !known.contains(name)) {
        Some(name) => {
            Err(Error::layout(folder, format!("has the class folder {}, which {} does not have", name.to_string_lossy(), train.display())))
        }
        None => Ok(()),
    }
}

fn one_class(root: &Path, folders: &[OsString]) -> Error {
    let name = folders.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Error::layout(
        root,
        format!("has one class folder, {name}; training takes two or more (if the classes are folders inside {name}, give that folder)"),
    )
}
