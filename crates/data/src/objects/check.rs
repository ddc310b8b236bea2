//! Looks for everything that is wrong with labelled pictures.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use cirio_coco::Rle;
use cirio_vision::Image;

use super::{Category, Edges, Object, ObjectSet, Outline, Picture, Problem, Subject, open};
use crate::files::guard;
use crate::parallel::in_parallel;
use crate::{Error, Format, Result, Split};

/// How far beyond the picture a box may reach without a word, in pixels: what rounding makes.
const ROUNDING: f64 = 1.0;

/// How far the edges of box and mask may be from each other without a word: pixels, and a part of the box's side.
const FAR: [f64; 2] = [2.0, 0.1];

/// How far an object's area may be from that of its mask, or above that of its box, without a word: pixels, and a factor.
const OTHER_AREA: [f64; 2] = [16.0, 2.0];

/// The part of its box that an object without a mask has at least: its area may be that of a mask that was not kept.
const LEAST_OF_BOX: f64 = 0.02;

/// What [`check`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The format.
    pub format: Format,
    /// The names of the K classes.
    pub classes: Vec<String>,
    /// The parts that there are.
    pub parts: Vec<CheckedPart>,
    /// What is wrong, part by part: what the files say, then the pictures and their objects.
    pub problems: Vec<Problem>,
}

/// A part of a set that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedPart {
    /// Which.
    pub split: Split,
    /// The number of pictures.
    pub pictures: usize,
    /// The number of pictures without objects.
    pub without_objects: usize,
    /// The objects of each of the K classes, crowds among them.
    pub objects: Vec<usize>,
    /// Objects with a mask or polygons.
    pub outlined: usize,
    /// Crowds.
    pub crowds: usize,
}

/// Reads the labels of all parts of the data set at `path`, decodes every picture on all cores, and draws every mask.
///
/// Errors are what cannot be learnt from: pictures that are missing, cannot be decoded or have another size; boxes that are empty or outside; classes
/// and pictures that are not in the lists; masks that cannot be drawn; negative areas; ids that are used twice, and 0, which evaluation takes for
/// "none". Warnings are what is odd: boxes that reach out, boxes and areas far from their masks, the same object twice, classes without objects or
/// with the same name, a picture in two parts, labels of a picture that is not there.
///
/// # Errors
/// When no format is recognised, or a file of labels cannot be read at all.
pub fn check(path: &Path) -> Result<Checked> {
    let (format, sources) = open::require(path)?;
    let mut checked = Checked { format, classes: Vec::new(), parts: Vec::new(), problems: Vec::new() };
    let mut seen: HashMap<PathBuf, Split> = HashMap::new();
    for (split, source) in sources.iter() {
        let set = source.read()?;
        let file = PathBuf::from(&set.name);
        if checked.parts.is_empty() {
            checked.classes = set.categories.iter().map(|category| category.name.clone()).collect();
            checked.problems.extend(namesakes(&set.categories, &file));
        }
        checked.parts.push(counts(&set, split));
        checked.problems.extend(problems(&set, &file));
        for picture in &set.pictures {
            match seen.insert(picture.path.clone(), split) {
                Some(other) if other != split => {
                    let reason = format!("is in the parts {} and {}", other.name(), split.name());
                    checked.problems.push(Problem::warning(&picture.path, Subject::Picture(picture.id), reason));
                }
                _ => {}
            }
        }
        // Without names there are as many classes as a part uses.
        let names: Vec<&str> = set.categories.iter().map(|category| category.name.as_str()).collect();
        if names.len() > checked.classes.len() || names.iter().zip(&checked.classes).any(|(name, known)| name != known) {
            let reason = format!("the part {} has other classes than the part {}", split.name(), Split::Train.name());
            checked.problems.push(Problem::error(&file, None, reason));
        }
    }
    if let Some(train) = checked.parts.first() {
        let empty = checked.classes.iter().zip(&train.objects).filter(|(_, count)| **count == 0);
        let warning = |(name, _): (&String, _)| Problem::warning(path, None, format!("no object to learn from has the class {name}"));
        checked.problems.extend(empty.map(warning));
    }
    Ok(checked)
}

/// Classes that have the name of an earlier one.
fn namesakes(categories: &[Category], file: &Path) -> Vec<Problem> {
    let (mut ids, mut problems) = (HashMap::new(), Vec::new());
    for Category { id, name } in categories {
        let first = *ids.entry(name).or_insert(*id);
        if first != *id {
            problems.push(Problem::warning(file, Subject::Category(*id), format!("has the name {name:?} of category {first}")));
        }
    }
    problems
}

fn counts(set: &ObjectSet, split: Split) -> CheckedPart {
    let mut objects = vec![0; set.categories.len()];
    let all = || set.pictures.iter().flat_map(|picture| &picture.objects);
    for object in all() {
        objects.get_mut(object.class).into_iter().for_each(|count| *count += 1);
    }
    CheckedPart {
        split,
        pictures: set.len(),
        without_objects: set.pictures.iter().filter(|picture| picture.objects.is_empty()).count(),
        objects,
        outlined: all().filter(|object| object.outline.is_some()).count(),
        crowds: all().filter(|object| object.crowd).count(),
    }
}

/// What is wrong with a set whose labels are in `file`.
fn problems(set: &ObjectSet, file: &Path) -> Vec<Problem> {
    let mut problems = set.problems.clone();
    problems.extend(used_twice(set, file));
    let each = |picture: &Picture| {
        let mut problems: Vec<Problem> = of_picture(picture).into_iter().collect();
        problems.extend(picture.objects.iter().flat_map(|object| of_object(picture, object, file)));
        problems.extend(the_same(picture, file));
        problems
    };
    let found = in_parallel(set.len(), |indices| set.pictures[indices].iter().flat_map(each).collect::<Vec<_>>());
    problems.extend(found.into_iter().flatten());
    problems
}

/// Ids and files that are there twice, and the id 0.
fn used_twice(set: &ObjectSet, file: &Path) -> Vec<Problem> {
    let (mut ids, mut files) = (HashSet::new(), HashSet::new());
    let mut problems = Vec::new();
    for picture in &set.pictures {
        if !files.insert(&picture.path) {
            problems.push(Problem::error(&picture.path, Subject::Picture(picture.id), "is listed twice"));
        }
        for object in &picture.objects {
            if !ids.insert(object.id) {
                problems.push(Problem::error(file, Subject::Object(object.id), "has the id of another object"));
            }
            if object.id == 0 {
                problems.push(Problem::error(file, Subject::Object(0), "has the id 0, which pycocotools takes for no object"));
            }
        }
    }
    problems
}

/// Why a picture cannot be used.
fn of_picture(picture: &Picture) -> Option<Problem> {
    let name = || picture.path.display().to_string();
    let decoded = guard(name, || Image::open(&picture.path).map_err(|error| Error::picture(name(), error)));
    match decoded {
        Ok(image) => Some(Problem::error(&picture.path, Subject::Picture(picture.id), picture.differs(&image)?)),
        Err(error) => Some(Problem::left_out(&picture.path, picture.id, error)),
    }
}

fn of_object(picture: &Picture, object: &Object, file: &Path) -> Vec<Problem> {
    let [rows, columns] = picture.size.map(|side| side as f64);
    let [left, upper, right, lower] = object.edges;
    let words = format!("{left:.1}, {upper:.1} to {right:.1}, {lower:.1}");
    let (name, (file, subject)) = (picture.path.display(), picture.label_of(object, file));
    let error = |reason: String| Problem::error(file, subject, format!("in {name}: {reason}"));
    let warning = |reason: String| Problem::warning(file, subject, format!("in {name}: {reason}"));
    let mut problems = Vec::new();
    let empty = !object.edges.iter().all(|edge| edge.is_finite()) || right <= left || lower <= upper;
    if empty {
        problems.push(error(format!("its box {words} is empty")));
    } else if right <= 0.0 || lower <= 0.0 || left >= columns || upper >= rows {
        problems.push(error(format!("its box {words} is outside of the picture of {columns}×{rows}")));
    } else if left < -ROUNDING || upper < -ROUNDING || right > columns + ROUNDING || lower > rows + ROUNDING {
        problems.push(warning(format!("its box {words} reaches out of the picture of {columns}×{rows}")));
    }
    let outside = |x: f64, y: f64| !((-ROUNDING..=columns + ROUNDING).contains(&x) && (-ROUNDING..=rows + ROUNDING).contains(&y));
    let astray = object.keypoints.iter().filter(|point| point.visibility > 0 && outside(point.x, point.y)).count();
    if astray > 0 {
        problems.push(warning(format!("{astray} of its points are outside of the picture")));
    }
    if let Some(Outline::Polygons(polygons)) = &object.outline {
        let thin = polygons.iter().filter(|polygon| polygon.len() < 6).count();
        if thin > 0 {
            problems.push(error(format!("{thin} of its polygons have fewer than 3 points")));
        }
    }
    if object.area < 0.0 && !empty {
        problems.push(error(format!("its area {} is negative", object.area)));
    }
    match object.outline.as_ref().map(|outline| outline.mask(picture.size)).transpose() {
        Err(reason) => problems.push(error(format!("its mask cannot be drawn: {reason}"))),
        Ok(mask) => problems.extend(odd(object, mask.as_deref()).into_iter().map(warning)),
    }
    problems
}

/// What in box, area and mask does not fit together.
fn odd(object: &Object, mask: Option<&Rle>) -> Vec<String> {
    let [left, upper, right, lower] = object.edges;
    let mut reasons = Vec::new();
    match mask.map(|mask| mask.bounds().map(|edges| edges.map(f64::from))) {
        Some(None) => reasons.push("its mask has no pixel in the picture".to_owned()),
        Some(Some(edges @ [x1, y1, x2, y2])) if far(object.edges, edges) => reasons.push(format!(
            "its box {left:.1}, {upper:.1} to {right:.1}, {lower:.1} is far from its mask, which goes from {x1}, {y1} to {x2}, {y2}"
        )),
        _ => {}
    }
    let (what, pixels, part) = match mask {
        Some(mask) => ("mask", mask.area() as f64, OTHER_AREA[1].recip()),
        None => ("box", ((right - left) * (lower - upper)).max(0.0), LEAST_OF_BOX),
    };
    let near = pixels * part - OTHER_AREA[0]..=pixels * OTHER_AREA[1] + OTHER_AREA[0];
    if object.area >= 0.0 && !near.contains(&object.area) {
        reasons.push(format!("its area {:.1} is far from that of its {what}, {pixels:.1} pixels", object.area));
    }
    reasons
}

/// Whether an edge of the mask is far from that of the box.
fn far(edges: Edges, mask: Edges) -> bool {
    let sides = [edges[2] - edges[0], edges[3] - edges[1]];
    edges.iter().zip(mask).enumerate().any(|(index, (edge, mask))| (edge - mask).abs() > FAR[0] + FAR[1] * sides[index % 2].abs())
}

/// Objects of the same class in the same box.
fn the_same(picture: &Picture, file: &Path) -> Vec<Problem> {
    let mut seen = HashMap::new();
    let twin = |(number, object): (usize, &Object)| {
        let (file, subject) = picture.label_of(object, file);
        let (first, other) = *seen.entry((object.class, object.edges.map(f64::to_bits))).or_insert((number, subject));
        let reason = || format!("in {}: has class and box of {other}", picture.path.display());
        (first != number).then(|| Problem::warning(file, subject, reason()))
    };
    picture.objects.iter().enumerate().filter_map(twin).collect()
}
