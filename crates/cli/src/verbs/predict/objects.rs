//! The objects in pictures: boxes, classes, masks and key points, as text, as a document and drawn.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cirio_detection::keypoints::{COCO_NAMES, COCO_SKELETON, Keypoint};
use cirio_detection::{Detection, Rle};
use cirio_vision::{Canvas, Colour, Image, class_colour, to_tensor};
use serde::Serialize;

use crate::console::{one_line, print, print_json, say};
use crate::detector::Finder;
use crate::{pictures, progress};

/// The probability from which on a pixel belongs to an object.
const INSIDE: f32 = 0.5;

/// The logit over which a point is drawn, as Detectron has it. Points are always somewhere, also those that cannot be seen.
const SEEN: f32 = 2.0;

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    weights: &'a str,
    /// Of the points of each object, where it has as many as a person in COCO.
    #[serde(skip_serializing_if = "Option::is_none")]
    keypoint_names: Option<[&'static str; COCO_NAMES.len()]>,
    predictions: Vec<Prediction>,
}

#[derive(Serialize)]
struct Prediction {
    path: String,
    /// W, H.
    size: [usize; 2],
    detections: Vec<Object>,
    /// The file with what was drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    drawn: Option<PathBuf>,
}

#[derive(Serialize)]
struct Object {
    #[serde(rename = "box")]
    bounds: [f32; 4],
    label: usize,
    name: String,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    mask: Option<Runs>,
    /// x, y and the logit at the peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    keypoints: Option<Vec<[f32; 3]>>,
}

/// A mask as COCO writes it.
#[derive(Serialize)]
struct Runs {
    /// H, W.
    size: [usize; 2],
    counts: String,
    #[serde(skip)]
    area: u64,
}

/// Finds the objects in pictures; draws them into files in the folder `out`. Returns how many pictures could not be read.
pub fn run(finder: &Finder, paths: &[PathBuf], out: Option<&Path>, json: bool) -> Result<usize> {
    let mut files = out.map(|out| Files::new(out, paths)).transpose()?;
    let (mut predictions, mut failed) = (Vec::new(), 0);
    let bar = progress::pictures(paths.len());
    for path in paths {
        match predict(finder, path, files.as_mut()) {
            Ok(prediction) if json => predictions.push(prediction),
            Ok(prediction) => bar.suspend(|| show(&prediction, finder))?,
            Err(error) => {
                failed += 1;
                bar.suspend(|| say(format_args!("error: {}", one_line(&error))));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if json {
        let of_person = finder.detector.keypoints().is_some_and(|branch| branch.points() == COCO_NAMES.len());
        let keypoint_names = of_person.then_some(COCO_NAMES);
        print_json(&Document { model: finder.model.name, weights: &finder.name, keypoint_names, predictions })?;
    }
    Ok(failed)
}

fn predict(finder: &Finder, path: &Path, files: Option<&mut Files>) -> Result<Prediction> {
    let picture = pictures::open(path)?;
    let size = [picture.width(), picture.height()];
    let found = find(finder, &picture).with_context(|| path.display().to_string())?;
    let mut canvas = files.is_some().then(|| Canvas::new(&picture));
    // From the least likely on, so that the likeliest are drawn on top; one mask of full size at a time.
    let mut detections = Vec::with_capacity(found.len());
    for detection in found.iter().rev() {
        let mask = detection.mask.as_ref().map(|mask| mask.rle(INSIDE)).transpose()?;
        if let Some(canvas) = &mut canvas {
            let colour = class_colour(detection.label);
            canvas.tint(mask.iter().flat_map(Rle::runs).flatten(), colour);
            canvas.outline(detection.bounds, colour);
            detection.keypoints.iter().for_each(|points| draw(canvas, points, colour));
        }
        let mask = mask.map(|mask| Runs { size: mask.size(), counts: mask.to_text(), area: mask.area() });
        let keypoints = detection.keypoints.as_ref().map(|points| points.iter().map(|point| [point.x, point.y, point.score]).collect());
        let Detection { bounds, label, score, .. } = *detection;
        detections.push(Object { bounds, label, name: finder.classes[label].clone(), score, mask, keypoints });
    }
    let drawn = match (canvas, files) {
        (Some(mut canvas), Some(files)) => {
            for Object { bounds, label, name, score, .. } in &detections {
                canvas.label(*bounds, &format!("{name} {:.0}%", 100.0 * score), class_colour(*label));
            }
            let file = files.next(path);
            canvas.into_image()?.save(&file)?;
            Some(file)
        }
        _ => None,
    };
    detections.reverse();
    Ok(Prediction { path: path.display().to_string(), size, detections, drawn })
}

/// The objects that are wanted, the likeliest first.
fn find(finder: &Finder, picture: &Image) -> Result<Vec<Detection>> {
    let input = to_tensor(&picture.to_rgb(), &[0.0; 3], &[1.0; 3], &finder.device)?;
    let mut found = finder.detector.detect(&[input])?.swap_remove(0);
    found.retain(|detection| finder.wanted.is_empty() || finder.wanted.contains(&detection.label));
    found.truncate(finder.most);
    Ok(found)
}

/// The points of an object that can be seen, those of a person with the lines between them.
fn draw(canvas: &mut Canvas, points: &[Keypoint], colour: Colour) {
    let seen = |which: usize| points.get(which).filter(|point| point.score > SEEN).map(|point| [point.x, point.y]);
    if points.len() == COCO_NAMES.len() {
        let lines = COCO_SKELETON.into_iter().filter_map(|[from, to]| seen(from).zip(seen(to)));
        lines.for_each(|(from, to)| canvas.line(from, to, colour));
    }
    for which in 0..points.len() {
        seen(which).into_iter().for_each(|point| canvas.dot(point, class_colour(which)));
    }
}

fn show(prediction: &Prediction, finder: &Finder) -> Result<()> {
    let to = prediction.drawn.as_ref().map_or_else(String::new, |file| format!(" → {}", file.display()));
    print(format_args!("{}{to}", prediction.path))?;
    if prediction.detections.is_empty() {
        print(format_args!("  nothing over {} %", 100.0 * finder.score))?;
    }
    for Object { bounds: [left, upper, right, lower], name, score, mask, keypoints, .. } in &prediction.detections {
        let mask = mask.as_ref().map_or_else(String::new, |mask| format!(", {} pixels", mask.area));
        let seen = |points: &Vec<[f32; 3]>| points.iter().filter(|[.., score]| *score > SEEN).count();
        let points = keypoints.as_ref().map_or_else(String::new, |points| format!(", {} of {} points", seen(points), points.len()));
        print(format_args!("{:7.2} %  {name}: {left:.1}, {upper:.1} to {right:.1}, {lower:.1}{mask}{points}", 100.0 * score))?;
    }
    Ok(())
}

/// Names of the files to be written into a folder: those of the pictures, with numbers where two would be the same. No picture that is read is
/// written over.
struct Files {
    folder: PathBuf,
    taken: BTreeSet<PathBuf>,
}

impl Files {
    fn new(folder: &Path, pictures: &[PathBuf]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let taken = pictures.iter().filter_map(|picture| fs::canonicalize(picture).ok()).collect();
        Ok(Self { folder: folder.to_owned(), taken })
    }

    fn next(&mut self, picture: &Path) -> PathBuf {
        let stem = pictures::stem(picture);
        let whole = fs::canonicalize(&self.folder).unwrap_or_else(|_| self.folder.clone());
        let names = std::iter::once(format!("{stem}.png")).chain((2..).map(|number| format!("{stem}-{number}.png")));
        let mut free = names.filter(|name| self.taken.insert(whole.join(name)));
        self.folder.join(free.next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a picture of zeros has changed.
    fn drawn(points: &[Keypoint]) -> Vec<usize> {
        let mut canvas = Canvas::new(&Image::filled(40, 40, 3, 0).expect("a picture"));
        draw(&mut canvas, points, [9, 9, 9]);
        let image = canvas.into_image().expect("a drawing");
        (0..40 * 40).filter(|place| image.pixel(place / 40, place % 40).is_some_and(|pixel| pixel != [0; 3])).collect()
    }

    #[test]
    fn a_person_has_lines_between_points_that_are_seen() {
        let point = |which: usize, score| Keypoint { x: 20.5, y: if which < 11 { 5.5 } else { 30.5 }, score };
        let middle = 18 * 40 + 20;
        let person: Vec<Keypoint> = (0..17).map(|which| point(which, 3.0)).collect();
        assert!(drawn(&person).contains(&middle), "from shoulders to hips");
        let hidden: Vec<Keypoint> = (0..17).map(|which| point(which, if which < 11 { 3.0 } else { 1.9 })).collect();
        assert!(!drawn(&hidden).is_empty() && drawn(&hidden).iter().all(|place| place / 40 < 9));
        assert!(!drawn(&person[..16]).contains(&middle), "only a person's points are joined");
        assert!(drawn(&[point(0, f32::NAN)]).is_empty());
    }
}
