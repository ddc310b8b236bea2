//! Mask R-CNN (He, Gkioxari, Dollár & Girshick, "Mask R-CNN", 2017) on feature pyramids of ResNet, for masks or for key points, as torchvision
//! has it: the names of its weights, and its answers.
//!
//! ```no_run
//! use candle_core::{DType, Device, Tensor};
//! use cirio_nn::Weights;
//!
//! let weights = Weights::open("maskrcnn_resnet50_fpn.safetensors")?; // torchvision's names
//! let detector = cirio_mask_rcnn::resnet50_fpn(91).load(&weights, &Device::Cpu)?.for_inference()?;
//! let picture = Tensor::zeros((3, 480, 640), DType::F32, &Device::Cpu)?; // red, green and blue in 0 … 1
//! for found in &detector.detect(&[picture])?[0] {
//!     let pixels = found.mask.as_ref().map(|mask| mask.rle(0.5)).transpose()?; // enlarged when it is asked for
//!     println!("class {} at {:?}: {} of {:?} pixels", found.label, found.bounds, found.score, pixels.map(|runs| runs.area()));
//! }
//! # Ok::<(), cirio_detection::Error>(())
//! ```
#![forbid(unsafe_code)]

use cirio_detection::{
    Anchors, BoxHead, DetectorConfig, FpnConfig, KeypointConfig, Limits, MaskConfig, PixelConfig, RoiConfig, RpnConfig, Sampler, Transform,
};
use cirio_nn::layer::batch_norm;
use cirio_resnet::ResNet;

/// The tensors, so that a program needs this crate alone.
pub use candle_core;
/// The parts of detectors, so that a program needs this crate alone.
pub use cirio_detection;
/// Whether a weight stays as it is in training; and the norms of the body.
pub use cirio_faster_rcnn::{frozen, is_frozen};
/// The layers and the files of weights, so that a program needs this crate alone.
pub use cirio_nn;

/// ResNet-18, for `classes` classes with the background. Its norms are frozen with an eps of 0, as those of all that follow but the second
/// version.
pub fn resnet18_fpn(classes: usize) -> DetectorConfig {
    with_masks(cirio_faster_rcnn::resnet18_fpn(classes))
}

/// ResNet-34.
pub fn resnet34_fpn(classes: usize) -> DetectorConfig {
    with_masks(cirio_faster_rcnn::resnet34_fpn(classes))
}

/// ResNet-50, torchvision's `maskrcnn_resnet50_fpn`: 44,401,393 parameters for the 91 classes of COCO.
pub fn resnet50_fpn(classes: usize) -> DetectorConfig {
    with_masks(cirio_faster_rcnn::resnet50_fpn(classes))
}

/// ResNet-101.
pub fn resnet101_fpn(classes: usize) -> DetectorConfig {
    with_masks(cirio_faster_rcnn::resnet101_fpn(classes))
}

/// ResNet-50 with batch norms everywhere, torchvision's `maskrcnn_resnet50_fpn_v2`: 46,359,409 parameters for 91 classes.
pub fn resnet50_fpn_v2(classes: usize) -> DetectorConfig {
    let detector = cirio_faster_rcnn::resnet50_fpn_v2(classes);
    DetectorConfig { mask: Some(MaskConfig { norm: Some(batch_norm()), ..MaskConfig::new(classes) }), ..detector }
}

/// A detector of boxes with masks as well.
pub fn with_masks(detector: DetectorConfig) -> DetectorConfig {
    DetectorConfig { mask: Some(MaskConfig::new(detector.roi.classes)), ..detector }
}

/// A light network for pictures of some two hundred pixels and objects of a tenth to a half of their sides, to be trained from random weights:
/// batch norms everywhere, a narrow ResNet below, a second opinion on classes from the pixels, about 2.9 million parameters.
pub fn small(classes: usize) -> DetectorConfig {
    // Most objects are looked at on the finest level, which is made of what the stem and the first stage give.
    let body = ResNet { widths: [64, 48, 96, 128], counts: [1, 2, 2, 1], ..ResNet::resnet18() };
    let usual = cirio_faster_rcnn::on_pyramid(body, classes);
    let anchors = |size: f32| Anchors { sizes: vec![size], ratios: vec![0.5, 1.0, 2.0] };
    DetectorConfig {
        transform: Transform { short_sides: vec![256], longest: 448, ..usual.transform },
        pyramid: Some(FpnConfig { channels: 64, norm: Some(batch_norm()) }),
        rpn: RpnConfig {
            anchors: [24.0, 40.0, 64.0, 96.0, 144.0].map(anchors).to_vec(),
            evaluation: Limits { before: 300, after: 100 },
            training: Limits { before: 600, after: 300 },
            sampler: Sampler { count: 128, ..Sampler::ANCHORS },
            ..usual.rpn
        },
        roi: RoiConfig {
            head: BoxHead::Convolutions { stride: 2, filters: vec![128, 128, 160, 160], features: 128, norm: batch_norm() },
            pixels: Some(PixelConfig { side: 32, context: 1.2, stages: vec![vec![32], vec![48, 64], vec![96, 128]], norm: batch_norm() }),
            // Many articles are hidden so far that their right name is one of several unlikely ones.
            score: 0.01,
            voting: Some(0.8),
            sampler: Sampler { count: 32, positive: 0.5 },
            ..usual.roi
        },
        mask: Some(MaskConfig { convolutions: 3, norm: Some(batch_norm()), in_score: true, ..MaskConfig::new(classes) }),
        ..usual
    }
}

/// ResNet-50, torchvision's `keypointrcnn_resnet50_fpn`: 59,137,258 parameters for 2 classes and the 17 points of a person in COCO, which are
/// named by [`COCO_NAMES`](cirio_detection::keypoints::COCO_NAMES).
pub fn keypointrcnn_resnet50_fpn(classes: usize, points: usize) -> DetectorConfig {
    with_keypoints(cirio_faster_rcnn::resnet50_fpn(classes), points)
}

/// A detector with `points` key points of each object as well. In training the shorter sides of pictures become 640 to 800 pixels, as in
/// torchvision's detectors of key points.
pub fn with_keypoints(detector: DetectorConfig, points: usize) -> DetectorConfig {
    DetectorConfig {
        transform: Transform { short_sides: vec![640, 672, 704, 736, 768, 800], ..detector.transform },
        keypoints: Some(KeypointConfig::new(points)),
        ..detector
    }
}
