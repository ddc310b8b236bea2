//! From one format of labels to another, with the pictures.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use cirio_vision::write_whole;

use super::{Category, ObjectSet, Outline, coco, open, voc, yolo};
use crate::export::make_empty;
use crate::{Error, Format, Result};

/// What [`convert`] has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// The number of pictures.
    pub pictures: usize,
    /// The number of objects.
    pub objects: usize,
    /// What the new format cannot say, or could not be read, and how often; a line each.
    pub losses: Vec<String>,
}

/// Writes all parts of the data set at `from` in another format, with copies of its pictures, into the folder `out`, which is absent or empty.
///
/// COCO: `out/train/a.png` and `out/annotations/instances_train.json`. VOC: `out/JPEGImages/a.png`, `out/Annotations/a.xml` and
/// `out/ImageSets/Main/train.txt`. YOLO: `out/images/train/a.png`, `out/labels/train/a.txt` and `out/data.yaml`, whose classes are those of the first
/// part and those of other names in later ones. Where two pictures have the same name, the second gets a number behind it.
///
/// # Errors
/// When `to` is none of COCO's, VOC's and YOLO's, `out` holds something, labels or pictures cannot be read, or the disk refuses.
pub fn convert(from: &Path, to: Format, out: &Path) -> Result<Converted> {
    if !matches!(to, Format::Coco | Format::Voc | Format::Yolo) {
        return Err(Error::option("new format", to.name(), "coco, voc or yolo"));
    }
    let (_, sources) = open::require(from)?;
    make_empty(out)?;
    let (mut converted, mut losses, mut taken) = (Converted::default(), Losses::default(), HashSet::new());
    let (mut parts, mut categories) = (Vec::new(), Vec::new());
    for (split, source) in sources.iter() {
        let part = split.name();
        let folder = match to {
            Format::Voc => out.join("JPEGImages"),
            Format::Yolo => out.join("images").join(part),
            _ => out.join(part),
        };
        let mut set = source.read()?;
        losses.unread += set.problems.len();
        copy_pictures(&mut set, &folder, &mut taken)?;
        converted.pictures += set.len();
        converted.objects += set.pictures.iter().map(|picture| picture.objects.len()).sum::<usize>();
        match to {
            Format::Voc => {
                voc::write(&set, &folder_in(out, "Annotations")?, &folder_in(out, "ImageSets/Main")?.join(format!("{part}.txt")))?
            }
            Format::Yolo => {
                join(&mut categories, &mut set);
                yolo::write(&set, &folder_in(out, &format!("labels/{part}"))?)?;
            }
            _ => coco::write(&set, &folder_in(out, "annotations")?.join(format!("instances_{part}.json")), &folder)?,
        }
        losses.add(&set, to);
        parts.push(split);
    }
    if to == Format::Yolo {
        yolo::write_config(&parts, &categories, &out.join("data.yaml"))?;
    }
    converted.losses = losses.lines(to);
    Ok(converted)
}

/// Gives the objects of a part the classes of the same names among `categories`, to which those of new names are added.
fn join(categories: &mut Vec<Category>, set: &mut ObjectSet) {
    if categories.is_empty() || categories.starts_with(&set.categories) {
        // Two classes of a part may have the same name.
        categories.extend(set.categories.iter().skip(categories.len()).cloned());
        return;
    }
    let mut class = |category: &Category| {
        categories.iter().position(|known| known.name == category.name).unwrap_or_else(|| {
            categories.push(category.clone());
            categories.len() - 1
        })
    };
    let classes: Vec<usize> = set.categories.iter().map(&mut class).collect();
    for object in set.pictures.iter_mut().flat_map(|picture| &mut picture.objects) {
        object.class = classes.get(object.class).copied().unwrap_or(object.class);
    }
}

fn folder_in(out: &Path, name: &str) -> Result<PathBuf> {
    let folder = out.join(name);
    fs::create_dir_all(&folder).map_err(|error| Error::io(&folder, error))?;
    Ok(folder)
}

/// Copies the pictures into a folder; no two get names that differ in their endings alone.
fn copy_pictures(set: &mut ObjectSet, folder: &Path, taken: &mut HashSet<PathBuf>) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    for picture in &mut set.pictures {
        let bytes = fs::read(&picture.path).map_err(|error| Error::io(&picture.path, error))?;
        let stem = picture.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let names = std::iter::once(stem.clone()).chain((2..).map(|number| format!("{stem}-{number}")));
        let mut free = names.map(|name| folder.join(name)).filter(|path| taken.insert(path.clone()));
        let mut path = free.next().unwrap_or_default().into_os_string();
        if let Some(ending) = picture.path.extension() {
            path.push(".");
            path.push(ending);
        }
        picture.path = path.into();
        write_whole(&picture.path, &bytes).map_err(|error| Error::io(&picture.path, error))?;
    }
    Ok(())
}

/// How often something is lost.
#[derive(Default)]
struct Losses {
    unread: usize,
    masks: usize,
    polygons: usize,
    points: usize,
    crowds: usize,
    rounded: usize,
}

impl Losses {
    fn add(&mut self, set: &ObjectSet, to: Format) {
        for object in set.pictures.iter().flat_map(|picture| &picture.objects) {
            match (&object.outline, to) {
                (Some(Outline::Runs(_)), Format::Yolo) | (Some(_), Format::Voc) => self.masks += 1,
                (Some(Outline::Polygons(polygons)), Format::Yolo) if polygons.len() > 1 => self.polygons += 1,
                _ => {}
            }
            self.points += usize::from(to != Format::Coco && !object.keypoints.is_empty());
            self.crowds += usize::from(to == Format::Yolo && object.crowd);
            self.rounded += usize::from(to == Format::Voc && object.edges.iter().any(|edge| edge.fract() != 0.0));
        }
    }

    fn lines(&self, to: Format) -> Vec<String> {
        let format = to.name();
        let lines = [
            (self.unread, "pictures or objects could not be read and are left out; `cirio data check` says why".to_owned()),
            (self.masks, format!("masks are lost, only their boxes are written: {format} has none of them")),
            (self.polygons, format!("objects of several polygons are written as boxes: {format} has one polygon an object")),
            (self.points, format!("objects have lost their key points: {format} has none here")),
            (self.crowds, format!("crowds are left out: {format} has none")),
            (self.rounded, format!("boxes are rounded to whole pixels, as {format} has them")),
        ];
        lines.into_iter().filter(|(count, _)| *count > 0).map(|(count, line)| format!("{count} {line}")).collect()
    }
}
