//! The objects in pictures: boxes, classes, masks and key points, as text, as a document and drawn.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cirio_detection::keypoints::COCO_NAMES;
use cirio_detection::{Detection, Mask};
use cirio_vision::{Image, to_tensor};
use serde::Serialize;

use crate::console::{one_line, print, print_json, say};
use crate::detector::Finder;
use crate::drawing::Drawing;
use crate::drawing::SEEN;
use crate::pictures::Files;
use crate::{pictures, progress};

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
    let mut drawing = files.is_some().then(|| Drawing::new(&picture));
    // From the least likely on, so that the likeliest are drawn on top; one mask of full size at a time.
    let mut detections = Vec::with_capacity(found.len());
    for detection in found.iter().rev() {
        let mask = detection.mask.as_ref().map(|mask| mask.rle(Mask::INSIDE)).transpose()?;
        let Detection { bounds, label, score, .. } = *detection;
        let name = finder.classes[label].clone();
        if let Some(drawing) = &mut drawing {
            drawing.object(label, bounds, mask.as_ref(), format!("{name} {:.0}%", 100.0 * score));
            drawing.keypoints(label, detection.keypoints.as_deref().unwrap_or_default());
        }
        let mask = mask.map(|mask| Runs { size: mask.size(), counts: mask.to_text(), area: mask.area() });
        let keypoints = detection.keypoints.as_ref().map(|points| points.iter().map(|point| [point.x, point.y, point.score]).collect());
        detections.push(Object { bounds, label, name, score, mask, keypoints });
    }
    let drawn = match (drawing, files) {
        (Some(drawing), Some(files)) => {
            let file = files.next(path);
            drawing.finish()?.save(&file)?;
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
    let mut found = finder.find(input)?;
    found.retain(|detection| finder.wanted.is_empty() || finder.wanted.contains(&detection.label));
    found.truncate(finder.most);
    Ok(found)
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
