//! Pascal VOC's XML: one file of labels a picture (Everingham et al., "The Pascal visual object classes challenge", 2010).
//!
//! `Annotations/000001.xml` has the picture's `filename` and `size` and an `object` each, with `name`, `bndbox` (`xmin`, `ymin`, `xmax`, `ymax`) and
//! `difficult`, which makes it a crowd here: VOC neither asks for such objects nor counts them as wrong. Pictures lie in `JPEGImages/`; the lists
//! `ImageSets/Main/train.txt`, `val.txt`, `trainval.txt` and `test.txt` say which belong to a part. Or each part is a folder `train`, `valid`, `test`
//! with pictures and files of labels side by side. Classes are the sorted names of all parts. Masks and parts of bodies are not read.
//!
//! VOC's own edges are whole pixels from 1, the last one inside: its first pixel is 1, 1, 1, 1. Other programs write edges from 0. They are taken as they
//! are, as torchvision does, so VOC's own are off by half a pixel: smaller by one pixel, and moved by one at the left and the upper edge.

mod write;

use std::collections::BTreeSet;
use std::ops::RangeFrom;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Category, Object, ObjectSet, Picture, Problem, Subject, open};
use crate::files::{entries, has_ending, read_text};
use crate::parallel::in_parallel;
use crate::parts::Parts;
use crate::{Error, Result};

pub(super) use write::write;

/// The largest file of labels, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// The largest list of names, in bytes.
const MAX_LIST: u64 = 64 << 20;

/// A file, as far as it is used.
#[derive(Deserialize)]
struct Annotation {
    filename: Option<String>,
    size: Size,
    #[serde(default)]
    object: Vec<ObjectRecord>,
}

#[derive(Deserialize)]
struct Size {
    width: usize,
    height: usize,
}

#[derive(Deserialize)]
struct ObjectRecord {
    name: String,
    bndbox: Bounds,
    #[serde(default)]
    difficult: u8,
}

#[derive(Deserialize)]
struct Bounds {
    xmin: f64,
    ymin: f64,
    xmax: f64,
    ymax: f64,
}

/// Where the labels of a part lie.
#[derive(Clone)]
pub(crate) struct Labels {
    /// The folder of labels.
    folder: PathBuf,
    /// The folder of pictures.
    pictures: PathBuf,
    /// The list of names of this part; without one it is the whole folder.
    list: Option<PathBuf>,
    /// The folders of labels of all parts, for the names of the classes.
    all: Vec<PathBuf>,
}

/// The parts of the set in the folder `dir`; `None` where it is none of VOC's.
pub(super) fn parts(dir: &Path) -> Result<Option<Parts<Labels>>> {
    let folder = dir.join("Annotations");
    if has_labels(&folder)? {
        let labels = Labels { folder: folder.clone(), pictures: dir.join("JPEGImages"), list: None, all: vec![folder] };
        let list = |name: &str| Some(dir.join("ImageSets/Main").join(format!("{name}.txt"))).filter(|list| list.is_file());
        let part = |name: &str| list(name).map(|list| Labels { list: Some(list), ..labels.clone() });
        let (train, val) = (part("train"), part("val"));
        // Where only the two together are listed, a part is held out of them.
        let both = if train.is_none() { part("trainval") } else { None };
        return Ok(Some(Parts { train: train.or(both).unwrap_or(labels.clone()), val, test: part("test") }));
    }
    let Some(folders) = open::part_folders(dir, has_labels)? else { return Ok(None) };
    let all: Vec<PathBuf> = folders.iter().map(|(_, folder)| folder.clone()).collect();
    Ok(Some(folders.map(|folder| Labels { folder: folder.clone(), pictures: folder, list: None, all: all.clone() })))
}

/// Whether the folder has files of labels.
fn has_labels(folder: &Path) -> Result<bool> {
    Ok(folder.is_dir() && entries(folder)?.iter().any(|name| has_ending(Path::new(name), "xml")))
}

impl Labels {
    pub(super) fn read(&self) -> Result<ObjectSet> {
        let files = match &self.list {
            Some(list) => self.listed(list)?,
            None => files_of(&self.folder)?,
        };
        let name = self.list.as_ref().unwrap_or(&self.folder).display().to_string();
        let mut set = ObjectSet { name, categories: self.categories()?, ..ObjectSet::default() };
        let mut ids = 1..;
        for ((file, annotation), id) in files.iter().zip(read_all(&files)).zip(1..) {
            match annotation {
                Ok(annotation) => {
                    let path = path(file, &self.pictures, annotation.filename.as_deref());
                    let size = [annotation.size.height, annotation.size.width];
                    let objects = objects(annotation.object, &set.categories, &mut ids);
                    set.pictures.push(Picture { id, path, labels: Some(file.clone()), size, objects });
                }
                Err(error) => set.problems.push(Problem::left_out(file, id, error)),
            }
        }
        Ok(set)
    }

    /// The files of a list: a name a line. A number behind it says whether a class is there; but a name may have spaces.
    fn listed(&self, list: &Path) -> Result<Vec<PathBuf>> {
        let text = read_text(list, MAX_LIST, "a list of pictures")?;
        let file = |(number, line): (usize, &str)| {
            let (found, expected) = (format!("{line:?} in line {number}"), "the name of a picture without folder and ending");
            let file = |name: &str| open::below(&self.folder, &format!("{name}.xml")).ok_or_else(|| Error::format(list, &found, expected));
            let whole = file(line)?;
            match line.rsplit_once(char::is_whitespace) {
                Some((name, "-1" | "0" | "1")) if !whole.is_file() => file(name.trim_end()),
                _ => Ok(whole),
            }
        };
        (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty()).map(file).collect()
    }

    /// The sorted names in all files of all parts; what cannot be read has none.
    fn categories(&self) -> Result<Vec<Category>> {
        let mut names = BTreeSet::new();
        for folder in &self.all {
            let found = read_all(&files_of(folder)?).into_iter().flatten();
            names.extend(found.flat_map(|annotation| annotation.object).map(|object| object.name));
        }
        Ok((1..).zip(names).map(|(id, name)| Category { id, name }).collect())
    }
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().map(|name| folder.join(name)).filter(|file| has_ending(file, "xml")).collect())
}

fn read_all(files: &[PathBuf]) -> Vec<Result<Annotation>> {
    in_parallel(files.len(), |indices| files[indices].iter().map(|file| read(file)).collect::<Vec<_>>()).into_iter().flatten().collect()
}

fn read(file: &Path) -> Result<Annotation> {
    let text = read_text(file, MAX_BYTES, "labels")?;
    quick_xml::de::from_str(&text).map_err(|error| Error::format(file, error.to_string(), "the labels of a picture in VOC's XML"))
}

/// The picture that a file labels.
fn path(file: &Path, pictures: &Path, name: Option<&str>) -> PathBuf {
    let named = name.and_then(|name| open::below(pictures, name)).filter(|path| path.is_file());
    // Who renames pictures and files of labels often forgets the name inside.
    named.unwrap_or_else(|| pictures.join(file.with_extension("jpg").file_name().unwrap_or_default()))
}

/// The objects of a file, which get the next ids.
fn objects(records: Vec<ObjectRecord>, categories: &[Category], ids: &mut RangeFrom<u64>) -> Vec<Object> {
    let object = |(number, ObjectRecord { name, bndbox: Bounds { xmin, ymin, xmax, ymax }, difficult }): (u64, ObjectRecord)| {
        let class = categories.binary_search_by(|category| category.name.cmp(&name)).ok()?;
        let (edges, area) = ([xmin, ymin, xmax, ymax], (xmax - xmin) * (ymax - ymin));
        let (id, place) = (ids.next()?, Some(Subject::Object(number)));
        Some(Object { id, place, class, edges, outline: None, keypoints: Vec::new(), area, crowd: difficult != 0 })
    };
    (1..).zip(records).filter_map(object).collect()
}
