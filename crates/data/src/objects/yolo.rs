//! YOLO's text: a file of labels for each picture, and the folders and names in `data.yaml` (as <https://docs.ultralytics.com/datasets/detect> has
//! them).
//!
//! The labels of `images/train/a.jpg` are in `labels/train/a.txt`: the last folder `images` becomes `labels`, or both lie side by side. A line is an
//! object: its class, from 0, and four numbers, the middle of its box and its width and height; or its class and at least three points, x and y, of a
//! polygon. All are parts of the picture's width and height. A picture without a file has no objects.
//!
//! `data.yaml` names the folders of the parts `train`, `val` and `test` (or lists of pictures, `.txt`), the folder `path` from which they are counted, and
//! the `names` of the classes. Without it the folders are `images/train` or `train/images` and so on, or `images` alone, and the names are the lines of
//! `classes.txt`. Points of poses (`kpt_shape`) are passed over.

mod config;
mod write;

use std::collections::HashSet;
use std::fs;
use std::ops::RangeFrom;
use std::path::{Path, PathBuf};

use cirio_vision::{Image, is_picture};

use self::config::Config;
use super::{Category, Edges, Object, ObjectSet, Outline, Picture, Problem, Subject, open};
use crate::files::{entries, guard, has_ending, numbers, read_names, read_text};
use crate::folder::{files_below, pictures_below};
use crate::parallel::in_parallel;
use crate::parts::Parts;
use crate::{Error, Result, Split};

pub(super) use write::{write, write_config};

/// The largest file of labels or list of pictures, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// The most classes.
const MAX_CLASSES: usize = 100_000;

/// Where the labels of a part lie.
#[derive(Clone)]
pub(crate) struct Labels {
    /// Folders of pictures, and lists of them.
    pictures: Vec<PathBuf>,
    names: Option<Vec<String>>,
    /// Whether there are points behind the boxes.
    poses: bool,
}

/// The parts of the set at `path`, a folder or a `data.yaml`; `None` where it is none of YOLO's.
pub(super) fn parts(path: &Path) -> Result<Option<Parts<Labels>>> {
    if path.is_file() {
        return if is_yaml(path) { configured(path).map(Some) } else { Ok(None) };
    }
    match ["data.yaml", "data.yml", "dataset.yaml"].iter().map(|name| path.join(name)).find(|file| names_folders(file)) {
        Some(file) => configured(&file).map(Some),
        None => found(path),
    }
}

/// Whether a file says something that YOLO's does; one of that name may say other things.
fn names_folders(file: &Path) -> bool {
    let ours = |line: &str| ["train:", "names:", "path:"].iter().any(|key| line.starts_with(key));
    read_text(file, MAX_BYTES, "names and folders").is_ok_and(|text| text.lines().any(ours))
}

fn is_yaml(path: &Path) -> bool {
    has_ending(path, "yaml") || has_ending(path, "yml")
}

/// The parts that a `data.yaml` names.
fn configured(file: &Path) -> Result<Parts<Labels>> {
    let config =
        Config::parse(&read_text(file, MAX_BYTES, "names and folders")?).map_err(|error| Error::format(file, error, "YOLO's data.yaml"))?;
    let parent = file.parent().unwrap_or(Path::new(""));
    let root = config.path.map(|path| parent.join(path)).filter(|root| root.is_dir()).unwrap_or_else(|| parent.to_owned());
    let part = |places: Vec<String>| -> Result<Option<Labels>> {
        let place = |place: &String| {
            // Some write paths as from a folder beside.
            let below = place.trim_start_matches("../");
            let found = [root.join(place), root.join(below)].into_iter().find(|path| path.exists());
            found.ok_or_else(|| Error::format(file, format!("{place:?}, which is not there"), "folders of pictures"))
        };
        let pictures = places.iter().map(place).collect::<Result<Vec<_>>>()?;
        Ok((!pictures.is_empty()).then(|| Labels { pictures, names: config.names.clone(), poses: config.poses }))
    };
    let train = part(config.train)?.ok_or_else(|| Error::format(file, "no train", "train, the folder of pictures to learn from"))?;
    Ok(Parts { train, val: part(config.val)?, test: part(config.test)? })
}

/// The parts in a folder without `data.yaml`.
fn found(dir: &Path) -> Result<Option<Parts<Labels>>> {
    let list = ["classes.txt", "obj.names", "labels/classes.txt"].iter().map(|name| dir.join(name)).find(|file| file.is_file());
    let labelled = |images: PathBuf| -> Result<Option<Labels>> {
        let labels = beside(&images);
        let has_labels = images.is_dir() && labels.is_dir() && entries(&labels)?.iter().any(|name| has_ending(Path::new(name), "txt"));
        if !has_labels {
            return Ok(None);
        }
        let names = list.as_deref().map(read_names).transpose()?;
        Ok(Some(Labels { pictures: vec![images], names, poses: false }))
    };
    let part = |split| -> Result<Option<Labels>> {
        for name in open::names(split) {
            for images in [dir.join("images").join(name), dir.join(name).join("images")] {
                if let Some(labels) = labelled(images)? {
                    return Ok(Some(labels));
                }
            }
        }
        Ok(None)
    };
    match part(Split::Train)? {
        Some(train) => Ok(Some(Parts { train, val: part(Split::Val)?, test: part(Split::Test)? })),
        None => Ok(labelled(dir.join("images"))?.map(Parts::whole)),
    }
}

/// The folder or file of labels: the last folder `images` of the path becomes `labels`.
fn beside(path: &Path) -> PathBuf {
    let parts: Vec<_> = path.iter().collect();
    let images = parts.iter().rposition(|part| *part == "images");
    parts.iter().enumerate().map(|(index, part)| if Some(index) == images { "labels".as_ref() } else { *part }).collect()
}

/// The file of labels of a picture.
fn labels_of(picture: &Path) -> PathBuf {
    beside(picture).with_extension("txt")
}

/// Whether a file in a folder of labels is one of them, and not a list of names.
fn is_labels(file: &Path) -> bool {
    has_ending(file, "txt") && file.file_name().is_some_and(|name| name != "classes.txt")
}

/// An object of a line: the line's number from 1, the class, the box, the polygon.
struct Line {
    number: u64,
    class: usize,
    edges: Edges,
    outline: Option<Outline>,
}

/// What is known of a picture.
struct Read {
    size: [usize; 2],
    /// Its file of labels, which may not be there.
    labels: PathBuf,
    lines: Vec<Line>,
    problems: Vec<Problem>,
}

impl Labels {
    pub(super) fn read(&self) -> Result<ObjectSet> {
        let mut paths = Vec::new();
        for place in &self.pictures {
            match place.is_dir() {
                true => pictures_below(place, &mut paths)?,
                false => paths.append(&mut listed(place)?),
            }
        }
        let read = in_parallel(paths.len(), |indices| paths[indices].iter().map(|path| self.read_one(path)).collect::<Vec<_>>());
        let name = self.pictures.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
        let mut set = ObjectSet { name, ..ObjectSet::default() };
        let (mut ids, mut most) = (1.., 0);
        for ((path, read), id) in paths.iter().zip(read.into_iter().flatten()).zip(1..) {
            match read {
                Ok(Read { size, labels, lines, mut problems }) => {
                    most = lines.iter().map(|line| line.class + 1).fold(most, usize::max);
                    set.problems.append(&mut problems);
                    set.pictures.push(Picture { id, path: path.clone(), labels: Some(labels), size, objects: numbered(lines, &mut ids) });
                }
                Err(error) => set.problems.push(Problem::left_out(path, id, error)),
            }
        }
        let known: HashSet<PathBuf> = paths.iter().map(|path| labels_of(path)).collect();
        for folder in self.pictures.iter().filter(|place| place.is_dir()).map(|place| beside(place)).filter(|folder| folder.is_dir()) {
            let mut files = Vec::new();
            files_below(&folder, is_labels, &mut files)?;
            let strays = files.iter().filter(|file| !known.contains(*file));
            set.problems.extend(strays.map(|file| Problem::warning(file, None, "labels a picture that is not there")));
        }
        let names = self.names.clone().unwrap_or_else(|| numbers(most));
        set.categories = (1..).zip(names).map(|(id, name)| Category { id, name }).collect();
        Ok(set)
    }

    /// A picture's size and its objects.
    fn read_one(&self, path: &Path) -> Result<Read> {
        let name = || path.display().to_string();
        let (width, height) = guard(name, || Image::dimensions(path).map_err(|error| Error::picture(name(), error)))?;
        let labels = labels_of(path);
        let text = if fs::exists(&labels).map_err(|error| Error::io(&labels, error))? {
            read_text(&labels, MAX_BYTES, "labels")?
        } else {
            String::new()
        };
        let (mut lines, mut problems) = (Vec::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            match self.object(line, [width as f64, height as f64]) {
                Ok((class, edges, outline)) => lines.push(Line { number, class, edges, outline }),
                Err(reason) => problems.push(Problem::error(&labels, Subject::Line(number), reason)),
            }
        }
        Ok(Read { size: [height, width], labels, lines, problems })
    }

    /// Class, box and polygon of a line.
    fn object(&self, line: &str, [width, height]: [f64; 2]) -> Result<(usize, Edges, Option<Outline>), String> {
        let mut words = line.split_whitespace();
        let class = words.next().unwrap_or_default();
        let classes = self.names.as_ref().map_or(MAX_CLASSES, Vec::len);
        let class =
            class.parse().ok().filter(|class| *class < classes).ok_or_else(|| format!("{class:?} is no class, 0 to {}", classes - 1))?;
        let number =
            |word: &str| word.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(|| format!("{word:?} is no number"));
        let mut values = words.map(number).collect::<Result<Vec<_>, _>>()?;
        if self.poses {
            values.truncate(4);
        }
        match values[..] {
            [x, y, wide, high] => {
                let (x, y, wide, high) = (x * width, y * height, wide * width / 2.0, high * height / 2.0);
                Ok((class, [x - wide, y - high, x + wide, y + high], None))
            }
            [_, _, _, _, _, _, ..] if values.len() % 2 == 0 => {
                let outline =
                    Outline::Polygons(vec![values.chunks_exact(2).flat_map(|point| [point[0] * width, point[1] * height]).collect()]);
                Ok((class, outline.bounds().unwrap_or_default(), Some(outline)))
            }
            _ => Err(format!("{} numbers after the class, expected 4 of a box, or x and y of at least 3 points", values.len())),
        }
    }
}

/// The objects of lines, which get the next ids.
fn numbered(lines: Vec<Line>, ids: &mut RangeFrom<u64>) -> Vec<Object> {
    let object = |(Line { number, class, edges, outline }, id): (Line, u64)| {
        let area = outline.as_ref().map_or((edges[2] - edges[0]) * (edges[3] - edges[1]), Outline::area);
        Object { id, place: Some(Subject::Line(number)), class, edges, outline, keypoints: Vec::new(), area, crowd: false }
    };
    lines.into_iter().zip(ids).map(object).collect()
}

/// The pictures of a list, a path a line as from the folder of the list.
fn listed(list: &Path) -> Result<Vec<PathBuf>> {
    let folder = list.parent().unwrap_or(Path::new(""));
    let text = read_text(list, MAX_BYTES, "a list of pictures")?;
    let path = |line: &str| {
        let path = open::below(folder, line).filter(|path| is_picture(path));
        path.ok_or_else(|| Error::format(list, format!("the line {line:?}"), "the path of a picture in the same folder or below"))
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(path).collect()
}
