//! From JSON to an [`ObjectSet`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use serde::{Deserialize, Deserializer};

use super::open_json;
use super::segmentation::Segmentation;
use crate::objects::open::below;
use crate::objects::{Category, Edges, Keypoint, Object, ObjectSet, Outline, Picture, Problem, Subject};
use crate::{Error, Result};

/// The most numbers in the polygons of one object: half as many points.
const MAX_NUMBERS: usize = 1 << 20;

/// The file, as far as it is used. It is read from front to back, piece by piece; only this is kept.
#[derive(Deserialize)]
struct File {
    images: Vec<ImageRecord>,
    categories: Vec<CategoryRecord>,
    /// What there is to find in test pictures is often kept secret.
    #[serde(default)]
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct ImageRecord {
    id: u64,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Deserialize)]
struct CategoryRecord {
    id: u64,
    name: String,
    #[serde(default)]
    keypoints: Vec<String>,
}

#[derive(Deserialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    category_id: u64,
    bbox: Option<Vec<f64>>,
    segmentation: Option<Segmentation>,
    area: Option<f64>,
    #[serde(default, deserialize_with = "flag")]
    iscrowd: bool,
    keypoints: Option<Vec<f64>>,
}

/// 0 or 1, or what other programs write for them.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Number(f64),
        Truth(bool),
        Nothing(()),
    }
    Ok(match Flag::deserialize(deserializer)? {
        Flag::Number(number) => number != 0.0,
        Flag::Truth(truth) => truth,
        Flag::Nothing(()) => false,
    })
}

/// Reads the labels in `file` of the pictures in the folder `pictures`. No picture is looked at.
///
/// An object of an unknown picture or class, or without box and outline, is left out; so is an outline that cannot be believed, and the points of
/// an object that has another number of them than the set has names. All of it is said in [`ObjectSet::problems`].
///
/// # Errors
/// When the file cannot be read, or is not COCO's JSON; with the line and the column.
pub fn read(file: &Path, pictures: &Path) -> Result<ObjectSet> {
    read_in(file, &[pictures])
}

/// As [`read`], where the pictures lie in the first of some folders that has one of them, else in the last.
pub(super) fn read_in(file: &Path, folders: &[&Path]) -> Result<ObjectSet> {
    let reader = open_json(file)?;
    let parsed: File = serde_json::from_reader(reader).map_err(|error| match error.is_io() {
        true => Error::io(file, error.into()),
        false => Error::format(file, error.to_string(), "COCO's JSON, an object with the lists images, categories and annotations"),
    })?;
    let mut set = ObjectSet { name: file.display().to_string(), ..ObjectSet::default() };
    let classes = add_categories(&mut set, file, parsed.categories);
    let places = add_pictures(&mut set, file, folder_of(&parsed.images, folders), parsed.images);
    for annotation in parsed.annotations {
        let id = annotation.id;
        if let Err(reason) = add_object(&mut set, file, &classes, &places, annotation) {
            set.problems.push(Problem::error(file, Subject::Object(id), reason));
        }
    }
    Ok(set)
}

/// Adds the classes in the order of their ids; returns the class of each id.
fn add_categories(set: &mut ObjectSet, file: &Path, mut records: Vec<CategoryRecord>) -> HashMap<u64, usize> {
    records.sort_by_key(|record| record.id);
    let mut classes = HashMap::new();
    for CategoryRecord { id, name, keypoints } in records {
        match classes.entry(id) {
            Entry::Occupied(_) => {
                set.problems.push(Problem::error(file, Subject::Category(id), format!("{name:?} has the id of another category")));
            }
            Entry::Vacant(entry) => {
                entry.insert(set.categories.len());
                set.categories.push(Category { id, name });
            }
        }
        match set.keypoints.is_empty() {
            true => set.keypoints = keypoints,
            false if keypoints.is_empty() || keypoints == set.keypoints => {}
            false => {
                let reason = "has other names of key points than an earlier category, whose names are taken";
                set.problems.push(Problem::warning(file, Subject::Category(id), reason));
            }
        }
    }
    classes
}

/// The first folder that has one of the first pictures, else the last.
fn folder_of<'a>(records: &[ImageRecord], folders: &[&'a Path]) -> &'a Path {
    const LOOKED_AT: usize = 16;
    let has_one =
        |folder: &&&Path| records.iter().take(LOOKED_AT).any(|record| below(folder, &record.file_name).is_some_and(|path| path.is_file()));
    folders.iter().find(has_one).or(folders.last()).copied().unwrap_or(Path::new(""))
}

/// Adds the pictures in the file's order; returns the place of each id.
fn add_pictures(set: &mut ObjectSet, file: &Path, folder: &Path, records: Vec<ImageRecord>) -> HashMap<u64, usize> {
    let mut places = HashMap::new();
    for ImageRecord { id, file_name, width, height } in records {
        let problem = match (below(folder, &file_name), places.entry(id)) {
            (_, Entry::Occupied(_)) => Some(format!("{file_name:?} has the id of another picture")),
            (None, _) => Some(format!("the name {file_name:?} leads out of the folder of pictures")),
            (Some(path), Entry::Vacant(entry)) => {
                entry.insert(set.pictures.len());
                set.pictures.push(Picture { id, path, labels: None, size: [height, width], objects: Vec::new() });
                None
            }
        };
        set.problems.extend(problem.map(|reason| Problem::error(file, Subject::Picture(id), reason)));
    }
    places
}

/// Adds an object to its picture, or says why not.
fn add_object(
    set: &mut ObjectSet,
    file: &Path,
    classes: &HashMap<u64, usize>,
    places: &HashMap<u64, usize>,
    annotation: Annotation,
) -> Result<(), String> {
    let Annotation { id, image_id, category_id, bbox, segmentation, area, iscrowd: crowd, keypoints } = annotation;
    let &class = classes.get(&category_id).ok_or_else(|| format!("its category {category_id} is not in the list"))?;
    let &place = places.get(&image_id).ok_or_else(|| format!("its picture {image_id} is not in the list"))?;
    let picture = set.pictures.get_mut(place).ok_or_else(|| format!("its picture {image_id} is not in the list"))?;
    let mut problem = |reason| set.problems.push(Problem::error(file, Subject::Object(id), reason));
    let outline = segmentation.and_then(|segmentation| {
        outline(segmentation, picture.size).unwrap_or_else(|reason| {
            problem(format!("its mask is left out: {reason}"));
            None
        })
    });
    let edges = edges(bbox.as_deref(), outline.as_ref())?;
    let keypoints = points(keypoints.as_deref(), set.keypoints.len()).unwrap_or_else(|reason| {
        problem(reason);
        Vec::new()
    });
    let area = area.unwrap_or_else(|| outline.as_ref().map_or((edges[2] - edges[0]) * (edges[3] - edges[1]), Outline::area));
    picture.objects.push(Object { id, place: None, class, edges, outline, keypoints, area, crowd });
    Ok(())
}

/// The outline, where there is one; or why it cannot be that of an object in a picture of this size.
fn outline(segmentation: Segmentation, [rows, columns]: [usize; 2]) -> Result<Option<Outline>, String> {
    match segmentation {
        Segmentation::Polygons(polygons) => {
            let numbers: usize = polygons.iter().map(Vec::len).sum();
            match polygons.iter().find(|polygon| polygon.len() % 2 == 1) {
                _ if polygons.is_empty() => Ok(None),
                _ if numbers > MAX_NUMBERS => Err(format!("its polygons have {numbers} numbers, more than {MAX_NUMBERS}")),
                Some(odd) => Err(format!("a polygon has {} numbers, but points have two each", odd.len())),
                None => Ok(Some(Outline::Polygons(polygons))),
            }
        }
        Segmentation::Runs(runs) => {
            let runs = runs.believed().map_err(|error| error.to_string())?;
            match runs.size() == [rows, columns] {
                true => Ok(Some(Outline::Runs(runs))),
                false => Err(format!("it is {}×{}, but the picture {rows}×{columns} (rows × columns)", runs.size()[0], runs.size()[1])),
            }
        }
    }
}

/// The box from `bbox`, or around the outline.
fn edges(bbox: Option<&[f64]>, outline: Option<&Outline>) -> Result<Edges, String> {
    match bbox {
        Some(&[x, y, width, height]) => Ok([x, y, x + width, y + height]),
        None | Some([]) => outline.and_then(Outline::bounds).ok_or_else(|| "it has neither a box nor a mask".to_owned()),
        Some(bbox) => Err(format!("its box has {} numbers, not x, y, width and height", bbox.len())),
    }
}

/// The points, each x, y and how it is seen.
fn points(numbers: Option<&[f64]>, names: usize) -> Result<Vec<Keypoint>, String> {
    let numbers = numbers.unwrap_or_default();
    match numbers.len() == 3 * names {
        _ if numbers.is_empty() => Ok(Vec::new()),
        true => Ok(numbers.as_chunks().0.iter().map(|&[x, y, visibility]| Keypoint { x, y, visibility: visibility as u8 }).collect()),
        false => Err(format!("its points have {} numbers, expected 3 for each of {names} names", numbers.len())),
    }
}
