//! What a detector sees in a picture: where it takes an object for probable, and from which anchor a box comes.
//!
//! All is read from a [`Trace`], which has the feature maps of each level as well.

use cirio_detection::{Level, Proposal, Trace, Xyxy};

use crate::heat::Heat;
use crate::{Error, Result};

/// How probable an object is at each pixel of the picture as it was given, (H, W) with values in 0 … 1: the largest probability on any level.
///
/// # Errors
/// When the tensors of the trace cannot be read.
pub fn objectness(trace: &Trace) -> Result<Heat> {
    let mut largest = vec![0f32; trace.original.iter().product()];
    for level in &trace.levels {
        largest.iter_mut().zip(enlarged(trace, level)?).for_each(|(largest, probability)| *largest = largest.max(probability));
    }
    Ok(over_picture(largest, trace))
}

/// The same of one level, 0 for the finest: the largest probability of the anchors at the place nearest to each pixel.
///
/// # Errors
/// When there is no such level, or its tensors cannot be read.
pub fn level_objectness(trace: &Trace, level: usize) -> Result<Heat> {
    let missing = || Error::Setting(format!("level {level}: the detector has levels 0 to {}", trace.levels.len().saturating_sub(1)));
    Ok(over_picture(enlarged(trace, trace.levels.get(level).ok_or_else(missing)?)?, trace))
}

fn over_picture(values: Vec<f32>, trace: &Trace) -> Heat {
    let [height, width] = trace.original;
    Heat { height, width, values }
}

/// The largest probability at the nearest place of a level for each pixel of the picture, row by row.
fn enlarged(trace: &Trace, level: &Level) -> Result<Vec<f32>> {
    let (_, rows, columns) = level.objectness.dims3()?;
    let places = level.objectness.max(0)?.flatten_all()?.to_vec1::<f32>()?;
    let [down, across] = [(0, rows), (1, columns)].map(|(axis, count)| nearest_places(trace, axis, count));
    let at = |&row: &usize| across.iter().map(move |column| (row, column));
    // What is not a number is no object.
    Ok(down.iter().flat_map(at).map(|(row, column)| places[row * columns + column].max(0.0)).collect())
}

/// For each pixel of the picture along an axis the nearest of a level's places, whose anchors are whole strides apart.
fn nearest_places(trace: &Trace, axis: usize, count: usize) -> Vec<usize> {
    let stride = (trace.padded[axis] / count.max(1)).max(1) as f64;
    let scale = trace.size[axis] as f64 / trace.original[axis] as f64;
    let nearest = |pixel: usize| ((pixel as f64 + 0.5) * scale / stride).round() as usize;
    (0..trace.original[axis]).map(|pixel| nearest(pixel).min(count.saturating_sub(1))).collect()
}

/// The way to a detection, in pixels of the picture as it was given: from an anchor to a proposal to the box that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Origin {
    /// Where it began; anchors may reach beyond the picture.
    pub anchor: Xyxy,
    /// What the region proposal network made of it.
    pub proposal: Xyxy,
    /// What the head of boxes made of that; where boxes vote, with a say of others.
    pub bounds: Xyxy,
    /// The level of the anchor, from the finest, 0, on.
    pub level: usize,
    /// How many proposals were better, by objectness.
    pub rank: usize,
    /// The probability that the anchor is an object.
    pub objectness: f32,
    /// The class, from 1.
    pub label: usize,
    /// As the detection's.
    pub score: f32,
}

/// Where a detection of the trace comes from; they are counted from 0, the most probable.
///
/// # Errors
/// When there is no such detection.
pub fn origin(trace: &Trace, detection: usize) -> Result<Origin> {
    let missing = || Error::Nothing(format!("detection {detection}: {} objects were found", trace.detections.len()));
    let found = trace.detections.get(detection).ok_or_else(missing)?;
    let Proposal { bounds, objectness, level, anchor } = *trace.proposals.get(found.proposal).ok_or_else(missing)?;
    let (rank, label, score) = (found.proposal, found.label, found.score);
    Ok(Origin { anchor, proposal: bounds, bounds: found.bounds, level, rank, objectness, label, score })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use cirio_detection::{Anchors, Body, BoxHead, Detector, DetectorConfig, FpnConfig, RoiConfig, RpnConfig, Transform};
    use cirio_nn::layer::{Conv2d, Relu, conv};
    use cirio_nn::{Layers, Store};

    use super::*;

    /// Three convolutions with the strides 4, 2 and 2, with a pyramid or without; anchors of whose centres none is outside of them.
    fn detector(pyramid: bool) -> Result<Detector> {
        let half = |count, stride| Conv2d { stride: [stride; 2], padding: [1; 2], ..conv(count, 3) };
        let layers = ["layer1", "layer2", "layer3"].iter().zip([4, 2, 2]).fold(Layers::new([3, 32, 32]), |layers, (name, stride)| {
            layers.then(format!("{name}.0"), half(6, stride)).then(format!("{name}.1"), Relu)
        });
        let anchors = |size: f32| Anchors { sizes: vec![size], ratios: vec![0.5, 1.0, 2.0] };
        let (taps, sizes) = if pyramid { (vec!["layer1", "layer2"], vec![12.0, 24.0, 32.0]) } else { (vec!["layer3"], vec![40.0]) };
        let config = DetectorConfig {
            transform: Transform { short_sides: vec![48], longest: 96, ..Transform::default() },
            body: Body { layers, taps: taps.into_iter().map(String::from).collect() },
            pyramid: pyramid.then_some(FpnConfig { channels: 8, norm: None }),
            rpn: RpnConfig { anchors: sizes.into_iter().map(anchors).collect(), ..RpnConfig::default() },
            roi: RoiConfig { score: 0.0, head: BoxHead::Linear { features: 12, dropout: 0.0 }, ..RoiConfig::new(3) },
            mask: None,
            keypoints: None,
        };
        Ok(config.build(Store::new(3, DType::F32, &Device::Cpu).var_builder())?)
    }

    fn picture(height: usize, width: usize) -> Result<Tensor> {
        let wave = |index: usize| (index * 37 % 101) as f32 / 101.0;
        Ok(Tensor::from_vec((0..3 * height * width).map(wave).collect::<Vec<f32>>(), (3, height, width), &Device::Cpu)?)
    }

    #[test]
    fn the_hottest_place_is_the_anchor_of_the_best_proposal() -> Result<()> {
        for (pyramid, [height, width]) in [(true, [40, 60]), (false, [40, 60]), (true, [48, 48]), (true, [90, 31]), (true, [5, 7])] {
            let trace = detector(pyramid)?.trace(&picture(height, width)?)?;
            let map = objectness(&trace)?;
            assert_eq!((map.height, map.width), (height, width));
            let map: Vec<&[f32]> = map.values.chunks_exact(width).collect();
            let best = trace.proposals[0];
            let hottest = map.concat().into_iter().fold(0.0, f32::max);
            let [left, upper, right, lower] = best.anchor;
            let inside = |row: usize, column: usize| {
                let (x, y) = (column as f32 + 0.5, row as f32 + 0.5);
                (left..=right).contains(&x) && (upper..=lower).contains(&y)
            };
            let hot = |row: usize, column: usize| (map[row][column] - best.objectness).abs() < 1e-6;
            assert!((0..height).any(|row| (0..width).any(|column| hot(row, column) && inside(row, column))), "{best:?}");
            // What lies in the filling may be hotter, but is outside of the picture.
            assert!(hottest >= best.objectness - 1e-6 && hottest <= 1.0);
        }
        Ok(())
    }

    /// Against each pixel's nearest anchor, looked for among all.
    #[test]
    fn each_pixel_has_the_probability_of_its_nearest_anchors() -> Result<()> {
        let trace = detector(true)?.trace(&picture(40, 60)?)?;
        let mut largest = vec![vec![0f32; 60]; 40];
        for (index, level) in trace.levels.iter().enumerate() {
            let map = level_objectness(&trace, index)?;
            let map: Vec<&[f32]> = map.values.chunks_exact(60).collect();
            let probabilities = level.objectness.to_vec3::<f32>()?;
            let (rows, columns) = (probabilities[0].len(), probabilities[0][0].len());
            let point = Anchors { sizes: vec![2.0], ratios: vec![1.0] }.grid([rows, columns], trace.padded);
            for (row, column) in (0..40).flat_map(|row| (0..60).map(move |column| (row, column))) {
                let [y, x] =
                    [(0, row), (1, column)].map(|(axis, at)| (at as f32 + 0.5) * trace.size[axis] as f32 / trace.original[axis] as f32);
                let distance = |place: &usize| (point[*place][0] + 1.0 - x).powi(2) + (point[*place][1] + 1.0 - y).powi(2);
                let least = (0..point.len()).map(|place| distance(&place)).fold(f32::INFINITY, f32::min);
                // Of two places that are equally near either will do.
                let allowed = (0..point.len())
                    .filter(|place| distance(place) <= least + 1e-3)
                    .map(|place| probabilities.iter().map(|anchor| anchor[place / columns][place % columns]).fold(0.0, f32::max));
                assert!(allowed.into_iter().any(|probability| probability == map[row][column]), "level {index}, {row}, {column}");
                largest[row][column] = largest[row][column].max(map[row][column]);
            }
        }
        assert_eq!(objectness(&trace)?.values, largest.concat());
        assert!(level_objectness(&trace, 3).unwrap_err().to_string().contains("level 3: the detector has levels 0 to 2"));
        Ok(())
    }

    #[test]
    fn a_detection_has_its_way() -> Result<()> {
        let trace = detector(true)?.trace(&picture(40, 60)?)?;
        for (index, found) in trace.detections.iter().enumerate() {
            let Origin { anchor, proposal, bounds, level, rank, objectness, label, score } = origin(&trace, index)?;
            assert_eq!((bounds, label, score, rank), (found.bounds, found.label, found.score, found.proposal));
            assert_eq!(Proposal { bounds: proposal, objectness, level, anchor }, trace.proposals[rank]);
        }
        let error = origin(&trace, trace.detections.len()).unwrap_err().to_string();
        assert!(error.contains("objects were found"), "{error}");
        Ok(())
    }

    #[test]
    fn a_picture_without_numbers_has_no_objects() -> Result<()> {
        let trace = detector(true)?.trace(&(picture(20, 30)? * f64::NAN)?)?;
        assert!(trace.detections.is_empty() && trace.proposals.is_empty());
        assert!(objectness(&trace)?.is_dead());
        assert!(origin(&trace, 0).is_err());
        Ok(())
    }
}
