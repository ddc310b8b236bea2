//! From an [`ObjectSet`] to JSON.

use std::path::Path;

use cirio_vision::write_whole;
use serde::Serialize;

use crate::objects::{Object, ObjectSet, Outline, Picture};
use crate::{Error, Result};

#[derive(Serialize)]
struct File<'a> {
    info: Info<'a>,
    images: Vec<ImageRecord>,
    categories: Vec<CategoryRecord<'a>>,
    annotations: Vec<Annotation<'a>>,
}

#[derive(Serialize)]
struct Info<'a> {
    description: &'a str,
}

#[derive(Serialize)]
struct ImageRecord {
    id: u64,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Serialize)]
struct CategoryRecord<'a> {
    id: u64,
    name: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    keypoints: &'a [String],
}

#[derive(Serialize)]
struct Annotation<'a> {
    id: u64,
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    area: f64,
    iscrowd: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    segmentation: Option<Segmentation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_keypoints: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keypoints: Vec<f64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Segmentation<'a> {
    Polygons(&'a [Vec<f64>]),
    Runs { size: [usize; 2], counts: String },
}

/// Writes the labels of `set` to `file`, whole or not at all; the names of the pictures begin at the folder `pictures`. Ids stay what they are.
///
/// # Errors
/// When a picture is not in that folder, a class has no category, a box is not finite, or the disk refuses.
pub fn write(set: &ObjectSet, file: &Path, pictures: &Path) -> Result<()> {
    let annotations = set.pictures.iter().flat_map(|picture| picture.objects.iter().map(|object| annotation(set, picture, object)));
    let document = File {
        info: Info { description: &set.name },
        images: set.pictures.iter().map(|picture| image(picture, pictures)).collect::<Result<_>>()?,
        categories: set
            .categories
            .iter()
            .map(|category| CategoryRecord { id: category.id, name: &category.name, keypoints: &set.keypoints })
            .collect(),
        annotations: annotations.collect::<Result<_>>()?,
    };
    let bytes = serde_json::to_vec(&document).map_err(|error| Error::io(file, error.into()))?;
    write_whole(file, &bytes).map_err(|error| Error::io(file, error))
}

fn image(picture: &Picture, folder: &Path) -> Result<ImageRecord> {
    let name = picture
        .path
        .strip_prefix(folder)
        .map_err(|_| Error::layout(&picture.path, format!("is not in the folder {}", folder.display())))?;
    let parts: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
    let [height, width] = picture.size;
    Ok(ImageRecord { id: picture.id, file_name: parts.join("/"), width, height })
}

fn annotation<'a>(set: &ObjectSet, picture: &Picture, object: &'a Object) -> Result<Annotation<'a>> {
    let category = set
        .categories
        .get(object.class)
        .ok_or_else(|| Error::option("class", object.class, format!("less than {}", set.categories.len())))?;
    let [left, upper, right, lower] = object.edges;
    // JSON has no word for what is not a number.
    if !object.edges.iter().chain([&object.area]).all(|number| number.is_finite()) {
        return Err(Error::option("box", format!("{:?} of object {}", object.edges, object.id), "finite numbers"));
    }
    let segmentation = object.outline.as_ref().map(|outline| match outline {
        Outline::Polygons(polygons) => Segmentation::Polygons(polygons),
        Outline::Runs(runs) => Segmentation::Runs { size: runs.size(), counts: runs.to_text() },
    });
    let labelled = object.keypoints.iter().filter(|point| point.visibility > 0).count();
    Ok(Annotation {
        id: object.id,
        image_id: picture.id,
        category_id: category.id,
        bbox: [left, upper, right - left, lower - upper],
        area: object.area,
        iscrowd: object.crowd.into(),
        segmentation,
        num_keypoints: (!object.keypoints.is_empty()).then_some(labelled),
        keypoints: object.keypoints.iter().flat_map(|point| [point.x, point.y, f64::from(point.visibility)]).collect(),
    })
}
