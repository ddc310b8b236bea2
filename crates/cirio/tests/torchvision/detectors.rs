//! torchvision's detectors: the same names, and the same answers for the same weights at every stage.
//!
//! The numbers were made by `tools/reference/make` with torchvision 0.14.1 and torch 1.13.1 on a CPU, in single precision. In double
//! precision torchvision finds the same objects in the same order with the same areas; scores differ by 2e-6, boxes by 2e-4 pixels.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use cirio::detection::{
    BoxHead, Detection, Detector, DetectorConfig, Limits, Mode, Result, RpnConfig, Sampler, Target, Transform, regions,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Deserialize;

use crate::FOLDER;
use crate::generated::Generated;

pub const CLASSES: usize = 7;
pub const PICTURES: [(&str, usize, usize); 2] = [("img0", 94, 120), ("img1", 110, 61)];

/// Of a stage's mean size: f32 sums in another order, through up to a hundred layers, and Winograd's way in the form for evaluation.
const STAGE: f64 = 2e-4;
/// Of scores and losses, which come of the stages' numbers.
const SCORE: f64 = 2e-4;
/// Of edges, in pixels: five times what single precision costs torchvision itself.
const PIXELS: f64 = 1e-3;
/// The same on MobileNetV3, all of whose levels have anchors of up to 512 pixels.
const PIXELS_OF_MOBILENET: f64 = 2e-2;

/// What a tensor is like.
#[derive(Deserialize)]
struct Summary {
    shape: Vec<usize>,
    mean: f64,
    mean_abs: f64,
    first: Vec<f64>,
}

#[derive(Deserialize)]
struct Proposals {
    count: usize,
    first: Vec<[f32; 4]>,
}

#[derive(Deserialize)]
struct Found {
    boxes: Vec<[f32; 4]>,
    labels: Vec<usize>,
    scores: Vec<f32>,
    /// Pixels of at least one half; none where there are no masks.
    areas: Vec<u64>,
    /// x, y and the logit of each object's points; none where there are no key points.
    keypoints: Vec<Vec<[f32; 3]>>,
}

/// What torchvision said.
#[derive(Deserialize)]
struct Answer {
    model: String,
    seed: u32,
    sizes: Vec<[usize; 2]>,
    batch: Summary,
    levels: Vec<Summary>,
    objectness: Vec<Summary>,
    offsets: Vec<Summary>,
    proposals: Vec<Proposals>,
    region_features: Summary,
    class_logits: Summary,
    box_offsets: Summary,
    /// One, of all proposals, where there are key points.
    keypoint_maps: Vec<Summary>,
    found: Vec<Found>,
    losses: BTreeMap<String, f64>,
}

impl Summary {
    fn check(&self, what: &str, tensor: &Tensor) -> Result<()> {
        assert_eq!(tensor.dims(), self.shape, "{what}");
        let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
        let mean = |of: fn(f64) -> f64| values.iter().map(|&value| of(f64::from(value))).sum::<f64>() / values.len() as f64;
        close(what, mean(|value| value), self.mean, STAGE * self.mean_abs);
        close(what, mean(f64::abs), self.mean_abs, STAGE * self.mean_abs);
        for (&ours, &theirs) in values.iter().zip(&self.first) {
            close(what, f64::from(ours), theirs, STAGE * self.mean_abs);
        }
        Ok(())
    }
}

pub fn close(what: &str, ours: f64, theirs: f64, tolerance: f64) {
    assert!((ours - theirs).abs() <= tolerance, "{what}: {ours}, expected {theirs} to {tolerance}");
}

pub fn config(model: &str, classes: usize) -> DetectorConfig {
    cirio::find_detector(model).expect("a detector").config(classes)
}

/// Small in everything but the network; of that, only a head with dropout is small, and has none.
pub fn small(config: DetectorConfig) -> DetectorConfig {
    let limits = Limits { before: 200, after: 40 };
    let head = match config.roi.head {
        BoxHead::Linear { dropout, .. } if dropout > 0.0 => BoxHead::Linear { features: 128, dropout: 0.0 },
        head => head,
    };
    DetectorConfig {
        transform: Transform { short_sides: vec![96], longest: 160, ..config.transform },
        rpn: RpnConfig { evaluation: limits, training: limits, sampler: Sampler::ALL, ..config.rpn },
        roi: cirio_detection::RoiConfig { head, detections: 10, sampler: Sampler::ALL, ..config.roi },
        ..config
    }
}

/// Points from corner to corner of a box, the last ones on its edges and beyond; each third one without a label.
fn points([left, upper, right, lower]: [usize; 4]) -> Vec<[f32; 3]> {
    let along = |first: usize, last: usize, share: f64| (first as f64 + (last - first) as f64 * share) as f32;
    let point = |which: usize| {
        let (x, y) = (((5 * which) % 17) as f64 / 16.0, which as f64 / 15.0);
        [along(left, right, x), along(upper, lower, y), (which % 3) as f32]
    };
    (0..17).map(point).collect()
}

/// The true boxes; for masks each box but its upper left third, and points.
pub fn targets(model: &str) -> Result<Vec<Target>> {
    let boxes: [&[[usize; 4]]; 2] = [&[[10, 12, 60, 50], [40, 30, 90, 70]], &[[5, 20, 50, 100]]];
    let labels = [vec![1, 5], vec![3]];
    let mut targets = Vec::new();
    for ((boxes, labels), (_, height, width)) in boxes.into_iter().zip(labels).zip(PICTURES) {
        let mut pixels = vec![0u8; boxes.len() * height * width];
        for (mask, &[left, upper, right, lower]) in pixels.chunks_exact_mut(height * width).zip(boxes) {
            for (row, column) in (upper..lower).flat_map(|row| (left..right).map(move |column| (row, column))) {
                let cut = row < upper + (lower - upper) / 3 && column < left + (right - left) / 3;
                mask[row * width + column] = u8::from(!cut);
            }
        }
        let has_masks = model.starts_with("mask");
        let masks = has_masks.then(|| Tensor::from_vec(pixels, (boxes.len(), height, width), &Device::Cpu)).transpose()?;
        let keypoints = model.starts_with("keypoint").then(|| boxes.iter().copied().map(points).collect());
        targets.push(Target { boxes: boxes.iter().map(|edges| edges.map(|edge| edge as f32)).collect(), labels, masks, keypoints });
    }
    Ok(targets)
}

impl Answer {
    fn generated(&self) -> Generated {
        Generated::new(&self.model, self.seed)
    }

    fn check_box(&self, what: &str, ours: [f32; 4], theirs: [f32; 4]) {
        let tolerance = if self.model.contains("mobilenet") { PIXELS_OF_MOBILENET } else { PIXELS };
        ours.iter().zip(theirs).for_each(|(&ours, theirs)| close(what, f64::from(ours), f64::from(theirs), tolerance));
    }

    fn pictures(&self) -> Result<Vec<Tensor>> {
        PICTURES.iter().map(|(name, height, width)| Ok(self.generated().picture(name, *height, *width)?)).collect()
    }

    fn check_stages(&self, detector: &Detector) -> Result<()> {
        let batch = detector.batch(&self.pictures()?)?;
        assert_eq!(batch.sizes, self.sizes);
        self.batch.check("batch", &batch.images)?;
        let levels = detector.backbone().forward(&batch.images, Mode::Evaluation)?;
        let said = detector.rpn().forward(&levels, Mode::Evaluation)?;
        for (what, theirs, ours) in
            [("level", &self.levels, &levels), ("objectness", &self.objectness, &said.logits), ("offsets", &self.offsets, &said.offsets)]
        {
            assert_eq!(ours.len(), theirs.len());
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                theirs.check(&format!("{what} {index}"), ours)?;
            }
        }
        let proposals = detector.rpn().proposals(&said, &batch, Mode::Evaluation)?;
        for (ours, theirs) in proposals.iter().zip(&self.proposals) {
            assert_eq!(ours.len(), theirs.count);
            ours.iter().zip(&theirs.first).for_each(|(ours, &theirs)| self.check_box("proposal", ours.bounds, theirs));
        }
        let (levels, regions) = (detector.backbone().for_regions(&levels), regions(&proposals));
        let features = detector.boxes().features(levels, &batch, &regions)?;
        self.region_features.check("features of regions", &features.levels)?;
        let predictions = detector.boxes().predict(&features, Mode::Evaluation)?;
        self.class_logits.check("logits of classes", &predictions.logits)?;
        self.box_offsets.check("offsets of boxes", &predictions.offsets)?;
        assert_eq!(detector.keypoints().is_some(), !self.keypoint_maps.is_empty());
        for (branch, theirs) in detector.keypoints().iter().zip(&self.keypoint_maps) {
            theirs.check("maps of key points", &branch.forward(levels, &batch, &regions, Mode::Evaluation)?)?;
        }
        Ok(())
    }

    fn check_found(&self, detector: &Detector) -> Result<()> {
        let found = detector.detect(&self.pictures()?)?;
        assert_eq!(found.len(), self.found.len());
        for (ours, theirs) in found.iter().zip(&self.found) {
            assert_eq!(ours.iter().map(|detection| detection.label).collect::<Vec<_>>(), theirs.labels);
            for (index, Detection { bounds, score, mask, keypoints, .. }) in ours.iter().enumerate() {
                self.check_box("box", *bounds, theirs.boxes[index]);
                close("score", f64::from(*score), f64::from(theirs.scores[index]), SCORE);
                let area = mask.as_ref().map(|mask| Ok::<_, cirio_detection::Error>(mask.rle(0.5)?.area())).transpose()?;
                // A pixel whose probability is a half up to rounding may lie on either side.
                let off = area.zip(theirs.areas.get(index)).map_or(0, |(ours, &theirs)| ours.abs_diff(theirs));
                assert!(off <= 1 && area.is_some() == self.model.starts_with("mask"), "{area:?}, expected {:?}", theirs.areas);
                assert_eq!(keypoints.is_some(), self.model.starts_with("keypoint"));
                for (points, theirs) in keypoints.iter().zip(theirs.keypoints.get(index)) {
                    assert_eq!(points.len(), theirs.len());
                    for (ours, &[x, y, score]) in points.iter().zip(theirs) {
                        close("logit of a point", f64::from(ours.score), f64::from(score), SCORE * self.keypoint_maps[0].mean_abs);
                        close("column of a point", f64::from(ours.x), f64::from(x), PIXELS);
                        close("row of a point", f64::from(ours.y), f64::from(y), PIXELS);
                    }
                }
            }
        }
        Ok(())
    }

    fn check_losses(&self, detector: &Detector) -> Result<()> {
        let targets = targets(&self.model)?;
        let losses = detector.losses(&self.pictures()?, &targets, &mut ChaCha8Rng::seed_from_u64(0))?;
        assert_eq!(losses.terms.len(), self.losses.len());
        for (name, ours) in &losses.terms {
            let theirs = self.losses[*name];
            close(name, f64::from(ours.to_scalar::<f32>()?), theirs, SCORE * theirs.max(0.1));
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let detector = || small(config(&self.model, CLASSES)).build(self.generated().var_builder());
        for detector in [detector()?, detector()?.for_inference()?] {
            self.check_stages(&detector)?;
            self.check_found(&detector)?;
        }
        self.check_losses(&detector()?)
    }
}

fn check(model: &str) -> Result<()> {
    let text = std::fs::read_to_string(Path::new(FOLDER).join("detectors.json")).expect("the answers");
    let answers: Vec<Answer> = serde_json::from_str(&text).expect("sound answers");
    answers.iter().find(|answer| answer.model == model).expect("an answer").check()
}

#[test]
fn faster_rcnn() -> Result<()> {
    check("fasterrcnn_resnet50_fpn")
}

#[test]
fn faster_rcnn_on_basic_blocks() -> Result<()> {
    check("fasterrcnn_resnet18_fpn")
}

#[test]
fn faster_rcnn_on_mobilenet() -> Result<()> {
    check("fasterrcnn_mobilenet_v3_large_fpn")
}

#[test]
fn faster_rcnn_on_vgg() -> Result<()> {
    check("fasterrcnn_vgg16")
}

#[test]
fn mask_rcnn() -> Result<()> {
    check("maskrcnn_resnet50_fpn")
}

#[test]
fn mask_rcnn_of_the_second_version() -> Result<()> {
    check("maskrcnn_resnet50_fpn_v2")
}

#[test]
fn keypoint_rcnn() -> Result<()> {
    check("keypointrcnn_resnet50_fpn")
}

#[test]
fn what_a_detector_is_made_of() -> Result<()> {
    for model in cirio::DETECTORS {
        let parameters = model.config(91).build(VarBuilder::zeros(DType::F32, &Device::Cpu))?.parameters();
        assert!(parameters.is_sorted_by_key(|parameter| parameter.depth), "{}: depths go on", model.name);
    }
    assert!(matches!(config("maskrcnn_resnet50_fpn_v2", 91).roi.head, BoxHead::Convolutions { .. }));
    Ok(())
}
