//! Found objects as COCO's format for results has them (<https://cocodataset.org/#format-results>): one list of entries with `image_id`,
//! `category_id` and `score`, and as far as they were found `bbox` (x, y, width, height), `segmentation` (a mask of runs) and `keypoints` (x, y and
//! a third number for each point).

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use cirio_coco::{Found, Rle};
use cirio_vision::write_whole;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::open_json;
use super::segmentation::Segmentation;
use crate::objects::ObjectSet;
use crate::{Error, Result};

/// An entry, not yet believed.
#[derive(Deserialize)]
struct Record {
    image_id: u64,
    category_id: u64,
    score: f64,
    bbox: Option<[f64; 4]>,
    segmentation: Option<Segmentation>,
    #[serde(default)]
    keypoints: Vec<f64>,
}

/// Reads what was found in the pictures of `set`: a list for each picture, in their order. The file is read piece by piece; only what becomes of it
/// is in memory.
///
/// # Errors
/// When the file cannot be read, is no such list, or an entry's picture or category is not in the set, its mask is not of the picture's size, or
/// its key points have not three numbers each; with the number of the entry, from 1, the line and the column.
pub fn read_results(file: &Path, set: &ObjectSet) -> Result<Vec<Vec<Found>>> {
    let reader = open_json(file)?;
    let failed = |error: serde_json::Error| match error.is_io() {
        true => Error::io(file, error.into()),
        false => Error::format(file, error.to_string(), "COCO's results, a list of entries with image_id, category_id and score"),
    };
    let mut json = serde_json::Deserializer::from_reader(reader);
    let found = Entries::of(set).deserialize(&mut json).map_err(failed)?;
    json.end().map_err(failed)?;
    Ok(found)
}

/// The list of entries, each put to its picture as it is read.
struct Entries<'a> {
    set: &'a ObjectSet,
    places: HashMap<u64, usize>,
    classes: HashMap<u64, usize>,
}

impl<'a> Entries<'a> {
    fn of(set: &'a ObjectSet) -> Self {
        let places = set.pictures.iter().enumerate().map(|(place, picture)| (picture.id, place)).collect();
        let classes = set.categories.iter().enumerate().map(|(class, category)| (category.id, class)).collect();
        Self { set, places, classes }
    }

    /// The place of the entry's picture and the object, or what is wrong.
    fn believed(&self, record: Record) -> Result<(usize, Found), String> {
        let Record { image_id, category_id, score, bbox, segmentation, keypoints } = record;
        let unknown = |what: &str, id: u64| format!("{what} {id} is not in {}", self.set.name);
        let &place = self.places.get(&image_id).ok_or_else(|| unknown("picture", image_id))?;
        let &category = self.classes.get(&category_id).ok_or_else(|| unknown("category", category_id))?;
        let size = self.set.pictures.get(place).ok_or_else(|| unknown("picture", image_id))?.size;
        let mask = segmentation.map(|segmentation| mask(segmentation, size)).transpose()?;
        let (points, []) = keypoints.as_chunks::<3>() else {
            return Err(format!("its key points have {} numbers, but each has three", keypoints.len()));
        };
        Ok((place, Found { category, score, bbox, mask, keypoints: points.iter().map(|&[x, y, _]| [x, y]).collect() }))
    }
}

/// The mask of an object in a picture of `[rows, columns]`.
fn mask(segmentation: Segmentation, size: [usize; 2]) -> Result<Rle, String> {
    let mask = match segmentation {
        Segmentation::Polygons(polygons) => Rle::from_polygons(size, &polygons),
        Segmentation::Runs(runs) => runs.believed(),
    };
    let mask = mask.map_err(|error| error.to_string())?;
    let ([rows, columns], [height, width]) = (mask.size(), size);
    match mask.size() == size {
        true => Ok(mask),
        false => Err(format!("its mask is {rows}×{columns}, but the picture {height}×{width} (rows × columns)")),
    }
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = Vec<Vec<Found>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Vec<Vec<Found>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![Vec::new(); self.set.len()];
        for number in 1usize.. {
            // Where the error was is said at the end of its text, and serde_json finds it there.
            let wrong = |reason: String| A::Error::custom(format!("entry {number}: {reason}"));
            let Some(record) = entries.next_element::<Record>().map_err(|error| wrong(error.to_string()))? else { break };
            let (place, object) = self.believed(record).map_err(wrong)?;
            found[place].push(object);
        }
        Ok(found)
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    image_id: u64,
    category_id: u64,
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bbox: Option<[f64; 4]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segmentation: Option<Runs>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    keypoints: &'a [f64],
}

#[derive(Serialize)]
struct Runs {
    size: [usize; 2],
    counts: String,
}

/// Writes what was found in the pictures of `set`, a list for each picture in their order, to `file`, an entry a line; whole or not at all. The third
/// number of a key point is 1.
///
/// # Errors
/// When there is not a list for each picture, a category is unknown, or the disk refuses.
pub fn write_results(set: &ObjectSet, found: &[Vec<Found>], file: &Path) -> Result<()> {
    set.check_found(found)?;
    let mut bytes = Vec::new();
    let objects = set.pictures.iter().zip(found).flat_map(|(picture, found)| found.iter().map(move |object| (picture.id, object)));
    for (image_id, object) in objects {
        let category = set.categories.get(object.category);
        let category = category.ok_or_else(|| Error::option("category", object.category, format!("less than {}", set.categories.len())))?;
        let points: Vec<_> = object.keypoints.iter().map(|&[x, y]| [x, y, 1.0]).collect();
        let entry = Entry {
            image_id,
            category_id: category.id,
            score: object.score,
            bbox: object.bbox,
            segmentation: object.mask.as_ref().map(|mask| Runs { size: mask.size(), counts: mask.to_text() }),
            keypoints: points.as_flattened(),
        };
        bytes.extend_from_slice(if bytes.is_empty() { b"[\n" } else { b",\n" });
        serde_json::to_writer(&mut bytes, &entry).map_err(|error| Error::io(file, error.into()))?;
    }
    bytes.extend_from_slice(if bytes.is_empty() { b"[]\n" } else { b"\n]\n" });
    write_whole(file, &bytes).map_err(|error| Error::io(file, error))
}
