//! Faster R-CNN in the form of the paper of 2015: VGG-16, one map, no pyramid.
//!
//! torchvision has no builder for it, but what its `FasterRCNN` makes of `vgg16().features[:-1]`, of `RoIPool` and of a `TwoMLPHead` of 4096 is
//! the same network: weights have the names that they have there, `backbone.N.weight` for the layer N of `features`, `rpn.head.…`,
//! `roi_heads.box_head.fc6`, `roi_heads.box_predictor.cls_score`. Coordinates, rounding and losses are torchvision's as well, not those of the
//! authors' code: boxes have no pixel more than their edges say, and both losses of boxes turn into lines at 1/9.

use cirio_detection::{Anchors, Body, BoxHead, DetectorConfig, Limits, RegionPooling, RoiConfig, RpnConfig, Sampler, Transform};
use cirio_vgg::Vgg;

use crate::is_before;

/// The layers that the blocks of the body begin with.
const BLOCKS: [usize; 5] = [0, 5, 10, 17, 24];

/// VGG-16 up to conv5_3 for `classes` classes with the background, 21 in the paper: 137,073,622 parameters.
///
/// Pictures with a shorter side of 600 pixels; nine anchors at each place of a map of a sixteenth (section 3.3); of 6000 proposals the best 300
/// (12000 and 2000 in training); the largest values of 7×7 bins; two layers of 4096 features with dropout of one half; 128 regions of a picture
/// to learn from, at most a quarter of them objects (Girshick, "Fast R-CNN", 2015, section 2.3).
pub fn vgg16(classes: usize) -> DetectorConfig {
    DetectorConfig {
        transform: Transform { short_sides: vec![600], longest: 1000, ..Transform::default() },
        body: Body { layers: Vgg::vgg16().body(), taps: vec!["29".into()] },
        pyramid: None,
        rpn: RpnConfig {
            anchors: vec![Anchors { sizes: vec![128.0, 256.0, 512.0], ratios: vec![0.5, 1.0, 2.0] }],
            evaluation: Limits { before: 6000, after: 300 },
            training: Limits { before: 12_000, after: 2000 },
            ..RpnConfig::default()
        },
        roi: RoiConfig {
            pooling: RegionPooling::Max,
            head: BoxHead::Linear { features: 4096, dropout: 0.5 },
            sampler: Sampler { count: 128, ..Sampler::PROPOSALS },
            ..RoiConfig::new(classes)
        },
        mask: None,
        keypoints: None,
    }
}

/// Whether a weight of the body stays as it is where its last `trained` blocks are trained, 0 to 5. The paper trains 3: conv3_1 and all behind it.
pub fn is_frozen(name: &str, trained: usize) -> bool {
    is_before(name, "backbone.", &BLOCKS, trained)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_blocks_are_trained() {
        let body = ["0.weight", "7.bias", "10.weight", "28.weight"].map(|name| format!("backbone.{name}"));
        assert_eq!(body.clone().map(|name| is_frozen(&name, 3)), [true, true, false, false]);
        assert_eq!(body.map(|name| is_frozen(&name, 0)), [true; 4]);
        assert!(!is_frozen("rpn.head.conv.0.0.weight", 0));
    }
}
