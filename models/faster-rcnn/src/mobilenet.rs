//! Faster R-CNN on MobileNetV3-Large, torchvision's detectors for small machines.

use cirio_detection::{Anchors, Body, DetectorConfig, FpnConfig, Limits, RoiConfig, RpnConfig, Transform};
use cirio_mobilenet::MobileNetV3;

use crate::{CHANNELS, frozen, is_before};

/// The parts of the body that its stages begin with: those that halve the maps, and the last convolution.
const STAGES: [usize; 6] = [0, 2, 4, 7, 13, 16];

/// MobileNetV3-Large, torchvision's `fasterrcnn_mobilenet_v3_large_fpn`: 19,386,354 parameters for the 91 classes of COCO. Its norms are frozen with
/// an eps of 1e-5.
pub fn mobilenet_v3_large_fpn(classes: usize) -> DetectorConfig {
    on_mobilenet(MobileNetV3 { norm: frozen(1e-5), ..MobileNetV3::large() }, classes)
}

/// The same for smaller pictures, torchvision's `fasterrcnn_mobilenet_v3_large_320_fpn`.
pub fn mobilenet_v3_large_320_fpn(classes: usize) -> DetectorConfig {
    at_320(mobilenet_v3_large_fpn(classes))
}

/// A MobileNetV3 with torchvision's rules: a pyramid of two levels of one size, that of a thirty-second, and one of half of that; fifteen anchors
/// at each place of each level; proposals with a probability of at least 0.05.
pub fn on_mobilenet(body: MobileNetV3, classes: usize) -> DetectorConfig {
    let anchors = Anchors { sizes: vec![32.0, 64.0, 128.0, 256.0, 512.0], ratios: vec![0.5, 1.0, 2.0] };
    DetectorConfig {
        transform: Transform::default(),
        body: Body { layers: body.features(), taps: STAGES[4..].iter().map(ToString::to_string).collect() },
        pyramid: Some(FpnConfig { channels: CHANNELS, norm: None }),
        rpn: RpnConfig { anchors: vec![anchors; 3], score: 0.05, ..RpnConfig::default() },
        roi: RoiConfig::new(classes),
        mask: None,
        keypoints: None,
    }
}

/// Pictures with a shorter side of 320 pixels and a longer one of at most 640, and in evaluation 150 proposals.
pub fn at_320(detector: DetectorConfig) -> DetectorConfig {
    DetectorConfig {
        transform: Transform { short_sides: vec![320], longest: 640, ..detector.transform },
        rpn: RpnConfig { evaluation: Limits { before: 150, after: 150 }, ..detector.rpn },
        ..detector
    }
}

/// Whether a weight of the body stays as it is where its last `trained` stages are trained, 0 to 6; they begin with the parts 16, 13, 7, 4, 2
/// and 0. torchvision trains 3. Pyramid and heads are always trained.
pub fn is_frozen(name: &str, trained: usize) -> bool {
    is_before(name, "backbone.body.", &STAGES, trained)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stages_are_trained() {
        let body = ["0.0.weight", "2.block.0.0.weight", "6.block.1.1.bias", "7.block.0.0.weight", "16.1.weight"];
        let frozen = |trained| body.map(|name| is_frozen(&format!("backbone.body.{name}"), trained));
        assert_eq!(frozen(0), [true; 5]);
        assert_eq!(frozen(3), [true, true, true, false, false]);
        assert_eq!(frozen(5), [true, false, false, false, false]);
        assert_eq!([frozen(6), frozen(7)], [[false; 5]; 2]);
        assert!(!is_frozen("backbone.fpn.inner_blocks.0.0.weight", 0) && !is_frozen("rpn.head.conv.0.0.weight", 0));
    }

    #[test]
    fn the_small_one_has_torchvisions_numbers() {
        let DetectorConfig { transform, rpn, .. } = mobilenet_v3_large_320_fpn(91);
        assert_eq!((transform.short_sides, transform.longest), (vec![320], 640));
        assert_eq!((rpn.evaluation, rpn.training), (Limits { before: 150, after: 150 }, Limits { before: 2000, after: 2000 }));
        assert_eq!((rpn.score, rpn.anchors.iter().map(Anchors::count).collect::<Vec<_>>()), (0.05, vec![15; 3]));
    }
}
