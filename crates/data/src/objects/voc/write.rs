//! From an [`ObjectSet`] to XML.

use std::path::Path;

use cirio_vision::write_whole;
use serde::Serialize;

use crate::objects::{Object, ObjectSet, Picture};
use crate::{Error, Result};

#[derive(Serialize)]
struct Annotation<'a> {
    filename: String,
    size: Size,
    object: Vec<ObjectRecord<'a>>,
}

#[derive(Serialize)]
struct Size {
    width: usize,
    height: usize,
    depth: usize,
}

#[derive(Serialize)]
struct ObjectRecord<'a> {
    name: &'a str,
    difficult: u8,
    bndbox: Bounds,
}

#[derive(Serialize)]
struct Bounds {
    xmin: i64,
    ymin: i64,
    xmax: i64,
    ymax: i64,
}

/// Writes a file of labels for each picture into `folder`, and the names of the pictures to `list`. Edges are rounded to whole pixels, crowds become
/// `difficult`; masks and points cannot be said.
pub(in crate::objects) fn write(set: &ObjectSet, folder: &Path, list: &Path) -> Result<()> {
    let mut names = String::new();
    for picture in &set.pictures {
        let stem = picture.path.file_stem().unwrap_or_default().to_string_lossy();
        let file = folder.join(format!("{stem}.xml"));
        let xml = quick_xml::se::to_string_with_root("annotation", &annotation(set, picture));
        let xml = xml.map_err(|error| Error::format(&file, error.to_string(), "labels that XML can say"))?;
        write_whole(&file, xml.as_bytes()).map_err(|error| Error::io(&file, error))?;
        names.push_str(&format!("{stem}\n"));
    }
    write_whole(list, names.as_bytes()).map_err(|error| Error::io(list, error))
}

fn annotation<'a>(set: &'a ObjectSet, picture: &Picture) -> Annotation<'a> {
    let [height, width] = picture.size;
    let object = |object: &Object| {
        let [xmin, ymin, xmax, ymax] = object.edges.map(|edge| edge.round() as i64);
        let name = set.categories.get(object.class).map_or("", |category| &category.name);
        ObjectRecord { name, difficult: object.crowd.into(), bndbox: Bounds { xmin, ymin, xmax, ymax } }
    };
    let filename = picture.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Annotation { filename, size: Size { width, height, depth: 3 }, object: picture.objects.iter().map(object).collect() }
}
