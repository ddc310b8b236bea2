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

use super::{Category, Object, ObjectSet, Picture, Problem, open};
use crate::files::{entries, has_ending, read_text};
use crate::parallel::in_parallel;
use crate::parts::Parts;
use crate::{Error, Result, Split};

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
    let part = |split| -> Result<Option<PathBuf>> {
        for name in open::names(split) {
            if has_labels(&dir.join(name))? {
                return Ok(Some(dir.join(name)));
            }
        }
        Ok(None)
    };
    let (train, val, test) = (part(Split::Train)?, part(Split::Val)?, part(Split::Test)?);
    let all: Vec<PathBuf> = [&train, &val, &test].into_iter().flatten().cloned().collect();
    let labels = |folder: PathBuf| Labels { folder: folder.clone(), pictures: folder, list: None, all: all.clone() };
    Ok(train.map(|train| Parts { train, val, test }.map(labels)))
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
                    let (path, size, objects) = picture(file, &self.pictures, annotation, &set.categories, &mut ids);
                    set.pictures.push(Picture { id, path, size, objects });
                }
                Err(error) => set.problems.push(Problem::error(file, None, error.to_string())),
            }
        }
        Ok(set)
    }

    /// The files of a list: a name a line; what follows it says whether a class is there.
    fn listed(&self, list: &Path) -> Result<Vec<PathBuf>> {
        let text = read_text(list, MAX_LIST, "a list of pictures")?;
        let file = |(number, line): (usize, &str)| {
            let name = line.split_whitespace().next()?;
            let outside =
                || Error::format(list, format!("{name:?} in line {}", number + 1), "the name of a picture without folder and ending");
            Some(open::below(&self.folder, &format!("{name}.xml")).ok_or_else(outside))
        };
        text.lines().enumerate().filter_map(file).collect()
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

/// The picture that a file labels, and its objects, which get the next ids.
fn picture(
    file: &Path,
    pictures: &Path,
    annotation: Annotation,
    categories: &[Category],
    ids: &mut RangeFrom<u64>,
) -> (PathBuf, [usize; 2], Vec<Object>) {
    let path = annotation.filename.and_then(|name| open::below(pictures, &name)).filter(|path| path.is_file());
    // Who renames pictures and files of labels often forgets the name inside.
    let path = path.unwrap_or_else(|| pictures.join(file.with_extension("jpg").file_name().unwrap_or_default()));
    let object = |ObjectRecord { name, bndbox: Bounds { xmin, ymin, xmax, ymax }, difficult }| {
        let class = categories.binary_search_by(|category| category.name.cmp(&name)).ok()?;
        let (edges, area) = ([xmin, ymin, xmax, ymax], (xmax - xmin) * (ymax - ymin));
        Some(Object { id: ids.next()?, class, edges, outline: None, keypoints: Vec::new(), area, crowd: difficult != 0 })
    };
    let objects = annotation.object.into_iter().filter_map(object).collect();
    (path, [annotation.size.height, annotation.size.width], objects)
}
