//! How alike are an object found and one that is there?

use super::{Found, Kind, Truth};
use crate::{Error, Result, Rle};

/// A row for each object found and a column for each that is there, from 0 (nothing in common) to 1 (the same).
pub(super) fn overlaps(kind: &Kind, truths: &[&Truth], found: &[&Found]) -> Result<Vec<f64>> {
    match kind {
        Kind::Boxes => {
            let boxes = found.iter().map(|found| bbox(found)).collect::<Result<Vec<_>>>()?;
            Ok(pairs(&boxes, truths, |&found, truth| box_overlap(found, truth.bbox, truth.crowd)))
        }
        Kind::Masks => masks(truths, found),
        Kind::Keypoints { sigmas } => {
            let fits = |count: usize| match count == sigmas.len() {
                true => Ok(()),
                false => Err(Error::Evaluation(format!("an object has {count} key points instead of {}", sigmas.len()))),
            };
            truths.iter().filter(|truth| !truth.keypoints.is_empty()).try_for_each(|truth| fits(truth.keypoints.len()))?;
            found.iter().try_for_each(|found| fits(found.keypoints.len()))?;
            Ok(pairs(found, truths, |found, truth| keypoint_similarity(sigmas, &found.keypoints, truth)))
        }
    }
}

/// The area, in pixels, of what is compared.
pub(super) fn area(kind: &Kind, found: &Found) -> Result<f64> {
    let extent = |axis: usize| {
        let values = found.keypoints.iter().map(|point| point[axis]);
        values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| [low.min(value), high.max(value)])
    };
    match kind {
        Kind::Boxes => bbox(found).map(|[_, _, width, height]| width * height),
        Kind::Masks => Ok(mask(&found.mask)?.area() as f64),
        Kind::Keypoints { .. } => Ok([extent(0), extent(1)].map(|[low, high]| high - low).iter().product()),
    }
}

fn pairs<A, B>(rows: &[A], columns: &[B], value: impl Fn(&A, &B) -> f64) -> Vec<f64> {
    rows.iter().flat_map(|row| columns.iter().map(|column| value(row, column)).collect::<Vec<_>>()).collect()
}

fn bbox(found: &Found) -> Result<[f64; 4]> {
    found.bbox.ok_or_else(|| Error::Evaluation("an object has no box".to_owned()))
}

/// Intersection over union of two boxes x, y, width, height; for a crowd, intersection over the found one's area.
fn box_overlap(found: [f64; 4], truth: [f64; 4], crowd: bool) -> f64 {
    let common = |axis: usize| {
        let end = (found[axis] + found[axis + 2]).min(truth[axis] + truth[axis + 2]);
        end - found[axis].max(truth[axis])
    };
    let [width, height] = [common(0), common(1)];
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let (both, found, truth) = (width * height, found[2] * found[3], truth[2] * truth[3]);
    both / if crowd { found } else { found + truth - both }
}

fn mask(mask: &Option<Rle>) -> Result<&Rle> {
    mask.as_ref().ok_or_else(|| Error::Evaluation("an object has no mask".to_owned()))
}

/// A mask and the box around it.
fn bounded(of: &Option<Rle>) -> Result<(&Rle, Option<[u32; 4]>)> {
    mask(of).map(|mask| (mask, mask.bounds()))
}

fn masks(truths: &[&Truth], found: &[&Found]) -> Result<Vec<f64>> {
    let truths = truths.iter().map(|truth| Ok((bounded(&truth.mask)?, truth.crowd))).collect::<Result<Vec<_>>>()?;
    let mut overlaps = Vec::with_capacity(truths.len() * found.len());
    for found in found {
        let (found, around) = bounded(&found.mask)?;
        for &((truth, bounds), crowd) in &truths {
            // Most masks are far apart, which their boxes show at once.
            let apart = around.zip(bounds).is_none_or(|(a, b)| a[0] >= b[2] || b[0] >= a[2] || a[1] >= b[3] || b[1] >= a[3]);
            overlaps.push(if apart && found.size() == truth.size() { 0.0 } else { found.iou(truth, crowd)? });
        }
    }
    Ok(overlaps)
}

/// COCO's similarity of key points: the mean over labelled points of exp(-d² / (2 · area · (2σ)²)). Where none is labelled, d is the distance to the box of
/// three times the object's width and height.
fn keypoint_similarity(sigmas: &[f64], found: &[[f64; 2]], truth: &Truth) -> f64 {
    let likeness = |[dx, dy]: [f64; 2], sigma: f64| {
        let variance = (2.0 * sigma) * (2.0 * sigma);
        (-((dx * dx + dy * dy) / variance / (truth.area + f64::EPSILON) / 2.0)).exp()
    };
    let labelled = truth.keypoints.iter().flatten().count();
    if labelled > 0 {
        let points = truth.keypoints.iter().zip(found).zip(sigmas);
        let sum: f64 =
            points.filter_map(|((truth, found), &sigma)| truth.map(|at| likeness([found[0] - at[0], found[1] - at[1]], sigma))).sum();
        return sum / labelled as f64;
    }
    let [x, y, width, height] = truth.bbox;
    let beyond = |value: f64, start: f64, length: f64| (start - length - value).max(0.0) + (value - (start + 2.0 * length)).max(0.0);
    let points = found.iter().zip(sigmas);
    let sum: f64 = points.map(|(at, &sigma)| likeness([beyond(at[0], x, width), beyond(at[1], y, height)], sigma)).sum();
    sum / sigmas.len() as f64
}
