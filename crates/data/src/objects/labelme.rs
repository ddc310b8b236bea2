//! Labelme's JSON: one file of labels a picture (Wada, "Labelme: image polygonal annotation with Python",
//! <https://github.com/wkentaro/labelme>).
//!
//! `a.json` has the picture's `imagePath`, as from the folder of the file, `imageWidth` and `imageHeight`, and `shapes`, each with a `label`, a
//! `shape_type`, `points` (x and y in pixels from the upper left corner of the upper left pixel) and a `group_id`: shapes of one label and one group
//! are one object. The picture is the file beside; its copy in `imageData` is passed over.
//!
//! A `polygon` and an `oriented_rectangle` (`rotation` in X-AnyLabeling) are their corners, a `circle` is a polygon, a `mask` has pixels. A `rectangle`
//! is a box and no mask, unless other shapes are of the same group. A `point`, a `line` and a `linestrip` have no area: they are problems.
//!
//! Each part is a folder `train`, `valid`, `test` with files of labels, or all of them are in the folder itself, in `annotations` or in `labels`.
//! Classes are the sorted labels of all parts, but for `__ignore__` and `_background_`, which labelme's own examples leave out. Labelme turns pictures
//! as EXIF says, which is not done here: labels of such a picture do not fit its size.

mod shape;

use std::collections::{BTreeSet, HashMap};
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use cirio_vision::Image;
use serde::Deserialize;

use self::shape::{Region, Shape};
use super::{Category, Object, ObjectSet, Picture, Problem, Subject, open};
use crate::files::{entries, guard, has_ending, open_regular};
use crate::parallel::in_parallel;
use crate::parts::Parts;
use crate::{Error, Result};

/// The largest file of labels, in bytes; there may be a picture in it.
const MAX_BYTES: u64 = 1 << 30;

/// Keys of which a file of labels has one in its beginning.
const KEYS: [&str; 3] = ["\"shapes\"", "\"imagePath\"", "\"imageData\""];

/// Labels that are no classes.
const NO_CLASSES: [&str; 2] = ["__ignore__", "_background_"];

/// A file, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotation {
    image_path: Option<String>,
    image_height: Option<usize>,
    image_width: Option<usize>,
    shapes: Vec<Shape>,
}

/// Where the labels of a part lie.
#[derive(Clone)]
pub(crate) struct Labels {
    /// The folder of the data set, in which the pictures are.
    root: PathBuf,
    /// The folder of labels.
    folder: PathBuf,
    /// The folders of labels of all parts, for the names of the classes.
    all: Vec<PathBuf>,
}

/// The parts of the set in the folder `dir`; `None` where it is none of labelme's.
pub(super) fn parts(dir: &Path) -> Result<Option<Parts<Labels>>> {
    let mut folders = open::part_folders(dir, has_labels)?;
    for whole in [dir.to_owned(), dir.join("annotations"), dir.join("labels")] {
        if folders.is_none() && has_labels(&whole)? {
            folders = Some(Parts::whole(whole));
        }
    }
    let Some(folders) = folders else { return Ok(None) };
    let all: Vec<PathBuf> = folders.iter().map(|(_, folder)| folder.clone()).collect();
    Ok(Some(folders.map(|folder| Labels { root: dir.to_owned(), folder, all: all.clone() })))
}

/// Whether the folder has a file of labels.
fn has_labels(folder: &Path) -> Result<bool> {
    Ok(folder.is_dir() && files_of(folder)?.iter().any(|file| open::is_json_with(file, &KEYS)))
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().map(|name| folder.join(name)).filter(|file| has_ending(file, "json")).collect())
}

impl Labels {
    pub(super) fn read(&self) -> Result<ObjectSet> {
        let (mut names, mut ours) = (BTreeSet::new(), Vec::new());
        for folder in &self.all {
            let files = files_of(folder)?;
            let read = in_parallel(files.len(), |indices| files[indices].iter().map(|file| read(file)).collect::<Vec<_>>());
            let read: Vec<_> = read.into_iter().flatten().collect();
            names.extend(read.iter().flatten().flat_map(|annotation| &annotation.shapes).map(|shape| shape.label.clone()));
            if *folder == self.folder {
                ours = files.into_iter().zip(read).collect();
            }
        }
        names.retain(|name| !NO_CLASSES.contains(&name.as_str()));
        let categories = (1..).zip(names).map(|(id, name)| Category { id, name }).collect();
        let mut set = ObjectSet { name: self.folder.display().to_string(), categories, ..ObjectSet::default() };
        let mut sound = Vec::new();
        for ((file, annotation), id) in ours.into_iter().zip(1..) {
            match annotation {
                Ok(annotation) => sound.push((id, file, annotation)),
                Err(error) => set.problems.push(Problem::left_out(&file, id, error)),
            }
        }
        let picture = |(id, file, annotation): &(u64, PathBuf, Annotation)| self.picture(*id, file, annotation, &set.categories);
        let pictures = in_parallel(sound.len(), |indices| sound[indices].iter().map(picture).collect::<Vec<_>>());
        let mut ids = 1..;
        for ((id, file, _), picture) in sound.iter().zip(pictures.into_iter().flatten()) {
            match picture {
                Ok((mut picture, mut problems)) => {
                    picture.objects.iter_mut().zip(&mut ids).for_each(|(object, id)| object.id = id);
                    set.pictures.push(picture);
                    set.problems.append(&mut problems);
                }
                Err(error) => set.problems.push(Problem::left_out(file, *id, error)),
            }
        }
        Ok(set)
    }

    /// A picture with its objects, which have no numbers yet, and what is wrong with them.
    fn picture(&self, id: u64, file: &Path, annotation: &Annotation, categories: &[Category]) -> Result<(Picture, Vec<Problem>)> {
        let path = self.path(file, annotation.image_path.as_deref().unwrap_or_default());
        let size = size(&path, annotation)?;
        let (mut objects, mut problems) = (Vec::new(), Vec::new());
        let mut problem = |number, reason| problems.push(Problem::error(file, Subject::Shape(number), reason));
        let mut groups = Groups::default();
        for (number, shape) in (1..).zip(&annotation.shapes) {
            let Ok(class) = categories.binary_search_by(|category| category.name.cmp(&shape.label)) else { continue };
            match shape.region(size) {
                Ok(region) => groups.add(number, class, shape.group_id, region),
                Err(reason) => problem(number, reason),
            }
        }
        for Group { number, class, regions } in groups.list {
            match object(number, class, regions, size) {
                Ok(object) => objects.push(object),
                Err(reason) => problem(number, reason),
            }
        }
        Ok((Picture { id, path, labels: Some(file.to_owned()), size, objects }, problems))
    }

    /// The picture that a file of labels calls `name`.
    fn path(&self, file: &Path, name: &str) -> PathBuf {
        // Windows writes other slashes.
        let name = name.replace('\\', "/");
        let named = self.inside(&name).filter(|path| path.is_file());
        // The name may be that on another computer, or older than that of the file.
        let beside = || Some(self.folder.join(Path::new(&name).file_name()?)).filter(|path| path.is_file());
        let renamed = || file.with_extension(Path::new(&name).extension().unwrap_or("jpg".as_ref()));
        named.or_else(beside).unwrap_or_else(renamed)
    }

    /// What the name means in the folder of labels; `None` where that is not in the folder of the set.
    fn inside(&self, name: &str) -> Option<PathBuf> {
        let mut path = self.folder.clone();
        for component in Path::new(name).components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::CurDir => {}
                Component::ParentDir if path != self.root => drop(path.pop()),
                _ => return None,
            }
        }
        Some(path)
    }
}

fn read(file: &Path) -> Result<Annotation> {
    let (reader, length) = open_regular(file)?;
    if length > MAX_BYTES {
        return Err(Error::format(file, format!("{length} bytes"), format!("labels of at most {MAX_BYTES} bytes")));
    }
    serde_json::from_reader(BufReader::new(reader.take(MAX_BYTES))).map_err(|error| match error.is_io() {
        true => Error::io(file, error.into()),
        false => Error::format(file, error.to_string(), "the labels of a picture in labelme's JSON"),
    })
}

/// Rows and columns of a picture: old files do not tell them.
fn size(picture: &Path, annotation: &Annotation) -> Result<[usize; 2]> {
    if let (Some(height), Some(width)) = (annotation.image_height, annotation.image_width) {
        return Ok([height, width]);
    }
    let name = || picture.display().to_string();
    let (width, height) = guard(name, || Image::dimensions(picture).map_err(|error| Error::picture(name(), error)))?;
    Ok([height, width])
}

/// The shapes of an object.
struct Group {
    /// The number of the first one.
    number: u64,
    class: usize,
    regions: Vec<Region>,
}

/// The objects of a file, in the order of their first shapes.
#[derive(Default)]
struct Groups {
    list: Vec<Group>,
    /// Where the object of a class and a group is.
    places: HashMap<(usize, i64), usize>,
}

impl Groups {
    fn add(&mut self, number: u64, class: usize, group: Option<i64>, region: Region) {
        let new = self.list.len();
        let place = group.map_or(new, |group| *self.places.entry((class, group)).or_insert(new));
        match self.list.get_mut(place) {
            Some(group) => group.regions.push(region),
            None => self.list.push(Group { number, class, regions: vec![region] }),
        }
    }
}

/// The object of a group of shapes, or why there is none.
fn object(number: u64, class: usize, regions: Vec<Region>, size: [usize; 2]) -> Result<Object, String> {
    let boxed = regions.iter().all(|region| matches!(region, Region::Box(_)));
    let outline = shape::outline(regions, size)?;
    let edges = outline.bounds().ok_or("has no pixel in the picture")?;
    let area = if boxed { (edges[2] - edges[0]) * (edges[3] - edges[1]) } else { outline.area() };
    let outline = (!boxed).then_some(outline);
    Ok(Object { id: 0, place: Some(Subject::Shape(number)), class, edges, outline, keypoints: Vec::new(), area, crowd: false })
}
