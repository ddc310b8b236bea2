//! From an [`ObjectSet`] to YOLO's text.

use std::path::Path;

use cirio_vision::write_whole;

use crate::objects::{Category, Object, ObjectSet, Outline};
use crate::{Error, Result, Split};

/// Writes a file of labels for each picture into `folder`. An object of one polygon is written as it, any other as its box; crowds, masks of runs and
/// points cannot be said.
pub(in crate::objects) fn write(set: &ObjectSet, folder: &Path) -> Result<()> {
    for picture in &set.pictures {
        let [height, width] = picture.size.map(|side| side as f64);
        let objects = picture.objects.iter().filter(|object| !object.crowd);
        let text: String = objects.map(|object| line(object, [width, height])).collect();
        let file = folder.join(format!("{}.txt", picture.path.file_stem().unwrap_or_default().to_string_lossy()));
        write_whole(&file, text.as_bytes()).map_err(|error| Error::io(&file, error))?;
    }
    Ok(())
}

fn line(object: &Object, [width, height]: [f64; 2]) -> String {
    let numbers: Vec<f64> = match &object.outline {
        Some(Outline::Polygons(polygons)) if polygons.len() == 1 && polygons[0].len() >= 6 => polygons[0].clone(),
        _ => {
            let [left, upper, right, lower] = object.edges;
            vec![(left + right) / 2.0, (upper + lower) / 2.0, right - left, lower - upper]
        }
    };
    let sides = [width, height];
    let words: String = numbers.iter().enumerate().map(|(index, number)| format!(" {:.6}", number / sides[index % 2])).collect();
    format!("{}{words}\n", object.class)
}

/// Writes `data.yaml`: where the pictures of the parts lie, and the names of the classes.
pub(in crate::objects) fn write_config(parts: &[Split], categories: &[Category], file: &Path) -> Result<()> {
    let parts: String = parts.iter().map(|part| format!("{0}: images/{0}\n", part.name())).collect();
    let name = |(class, category): (usize, &Category)| format!("  {class}: {}\n", serde_json::Value::from(category.name.as_str()));
    let names: String = categories.iter().enumerate().map(name).collect();
    write_whole(file, format!("{parts}names:\n{names}").as_bytes()).map_err(|error| Error::io(file, error))
}
