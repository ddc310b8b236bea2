//! Where the files of a COCO data set lie.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::read::read_in;
use crate::files::{entries, has_ending};
use crate::objects::{ObjectSet, open};
use crate::parts::Parts;
use crate::{Error, Result, Split};

/// Files that are labels of a folder's pictures whatever the part.
const WHOLE: [&str; 4] = ["_annotations.coco.json", "annotations.json", "labels.json", "instances.json"];

/// Beginnings of files that lie beside the labels of objects, and are none.
const OTHERS: [&str; 4] = ["captions", "image_info", "panoptic", "stuff"];

/// A file of labels, and the folders in which its pictures may lie.
pub(crate) struct Labels {
    file: PathBuf,
    folders: Vec<PathBuf>,
}

impl Labels {
    /// The labels in `file` of the part that is called `part`.
    fn new(file: PathBuf, part: &str) -> Self {
        let parent = file.parent().unwrap_or(Path::new(""));
        let root = match parent.file_name() {
            Some(name) if name == "annotations" => parent.parent().unwrap_or(parent),
            _ => parent,
        };
        let stem = file.file_stem().map(OsStr::to_string_lossy).unwrap_or_default();
        let year = ["instances_", "person_keypoints_"].iter().find_map(|kind| stem.strip_prefix(kind)).unwrap_or(&stem);
        let names = [year, part].into_iter().flat_map(|name| [root.join("images").join(name), root.join(name)]);
        let folders = names.chain([root.join("images"), root.join("data"), root.to_owned()]).collect();
        Self { file, folders }
    }

    pub(in crate::objects) fn read(&self) -> Result<ObjectSet> {
        let folders: Vec<&Path> = self.folders.iter().map(PathBuf::as_path).collect();
        read_in(&self.file, &folders)
    }
}

/// The parts of the set at `path`, a folder or a file; `None` where it is none of COCO's.
pub(in crate::objects) fn parts(path: &Path) -> Result<Option<Parts<Labels>>> {
    if path.is_file() {
        return Ok(has_ending(path, "json").then(|| Parts::whole(Labels::new(path.to_owned(), ""))));
    }
    let part = |split| labels_of(path, split);
    if let Some(train) = part(Split::Train)? {
        return Ok(Some(Parts { train, val: part(Split::Val)?, test: part(Split::Test)? }));
    }
    let whole = WHOLE.iter().map(|name| path.join(name)).find(|file| is_labels(file));
    let whole = whole.or(one(&path.join("annotations"), |_| true)?);
    Ok(whole.map(|file| Parts::whole(Labels::new(file, ""))))
}

/// The labels of a part of the folder `dir`.
fn labels_of(dir: &Path, split: Split) -> Result<Option<Labels>> {
    for name in open::names(split) {
        let folder = dir.join(name);
        if let Some(file) = WHOLE.iter().map(|file| folder.join(file)).find(|file| is_labels(file)) {
            return Ok(Some(Labels { file, folders: vec![folder.join("images"), folder.join("data"), folder] }));
        }
        let beside = |stem: &str| stem == *name || (stem.starts_with("instances") && has_word(stem, name));
        let found = one(&dir.join("annotations"), |stem| has_word(stem, name))?.or(one(dir, beside)?);
        if let Some(file) = found {
            return Ok(Some(Labels::new(file, name)));
        }
    }
    Ok(None)
}

/// Whether a file begins as labels of COCO's do: with an object that has one of their lists.
fn is_labels(file: &Path) -> bool {
    open::is_json_with(file, &["\"images\"", "\"annotations\"", "\"categories\"", "\"info\"", "\"licenses\""])
}

/// The one JSON file of the folder whose name is as it should be; those that begin with `instances` go before others.
fn one(folder: &Path, fits: impl Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let fits = |path: &PathBuf| has_ending(path, "json") && fits(&stem(path)) && !OTHERS.iter().any(|other| stem(path).starts_with(other));
    let mut files: Vec<PathBuf> =
        entries(folder)?.into_iter().map(|name| folder.join(name)).filter(fits).filter(|file| is_labels(file)).collect();
    if files.iter().any(|file| stem(file).starts_with("instances")) {
        files.retain(|file| stem(file).starts_with("instances"));
    }
    match &files[..] {
        [_, _, ..] => {
            let names: Vec<String> = files.iter().filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect();
            Err(Error::layout(folder, format!("has more than one file of labels for a part: {}; give the file itself", names.join(", "))))
        }
        _ => Ok(files.pop()),
    }
}

/// Whether one of the words of a file's name is this one: `instances_train2017` has `instances` and `train`.
fn has_word(stem: &str, word: &str) -> bool {
    stem.split(|letter: char| !letter.is_alphabetic()).any(|part| part.eq_ignore_ascii_case(word))
}
