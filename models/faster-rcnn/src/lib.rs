//! Faster R-CNN (Ren, He, Girshick & Sun, "Faster R-CNN: towards real-time object detection with region proposal networks", 2015) on feature
//! pyramids (Lin et al., 2017) of ResNet and of MobileNetV3, as torchvision has it: the names of its weights, and its answers. And the form of
//! 2015: the last maps of VGG-16, without a pyramid.
//!
//! ```no_run
//! use candle_core::{DType, Device, Tensor};
//! use cirio_nn::Weights;
//!
//! let weights = Weights::open("fasterrcnn_resnet50_fpn.safetensors")?; // torchvision's names
//! let detector = cirio_faster_rcnn::resnet50_fpn(91).load(&weights, &Device::Cpu)?.for_inference()?;
//! let picture = Tensor::zeros((3, 480, 640), DType::F32, &Device::Cpu)?; // red, green and blue in 0 … 1
//! for found in &detector.detect(&[picture])?[0] {
//!     println!("class {} at {:?}: {}", found.label, found.bounds, found.score);
//! }
//! # Ok::<(), cirio_detection::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod mobilenet;
pub mod vgg;

use cirio_detection::{Body, BoxHead, DetectorConfig, FpnConfig, RoiConfig, RpnConfig, Transform};
use cirio_nn::layer::{BatchNorm, Statistics, batch_norm};
use cirio_resnet::ResNet;

/// The tensors, so that a program needs this crate alone.
pub use candle_core;
/// The parts of detectors, so that a program needs this crate alone.
pub use cirio_detection;
/// The layers and the files of weights, so that a program needs this crate alone.
pub use cirio_nn;

pub use mobilenet::{mobilenet_v3_large_320_fpn, mobilenet_v3_large_fpn};
pub use vgg::vgg16;

/// Channels of all levels of the pyramid.
const CHANNELS: usize = 256;

/// The taps of a ResNet that the pyramid stands on, from coarse to fine, and what is below them.
const STAGES: [&str; 5] = ["layer4", "layer3", "layer2", "layer1", "conv1"];

/// A norm whose statistics are frozen. torchvision's files of detectors were made with an eps of 0; a backbone trained on ImageNet alone
/// has one of 1e-5.
pub fn frozen(eps: f64) -> BatchNorm {
    BatchNorm { eps, statistics: Statistics::Frozen, ..batch_norm() }
}

/// ResNet-18, for `classes` classes with the background. Its norms are frozen with an eps of 0, as those of all that follow but the second
/// version.
pub fn resnet18_fpn(classes: usize) -> DetectorConfig {
    on_pyramid(ResNet { norm: frozen(0.0), ..ResNet::resnet18() }, classes)
}

/// ResNet-34.
pub fn resnet34_fpn(classes: usize) -> DetectorConfig {
    on_pyramid(ResNet { norm: frozen(0.0), ..ResNet::resnet34() }, classes)
}

/// ResNet-50, torchvision's `fasterrcnn_resnet50_fpn`: 41,755,286 parameters for the 91 classes of COCO.
pub fn resnet50_fpn(classes: usize) -> DetectorConfig {
    on_pyramid(ResNet { norm: frozen(0.0), ..ResNet::resnet50() }, classes)
}

/// ResNet-101.
pub fn resnet101_fpn(classes: usize) -> DetectorConfig {
    on_pyramid(ResNet { norm: frozen(0.0), ..ResNet::resnet101() }, classes)
}

/// ResNet-50 with batch norms everywhere, one more convolution for proposals and four for boxes (Li et al., "Benchmarking detection transfer
/// learning with vision transformers", 2021), torchvision's `fasterrcnn_resnet50_fpn_v2`: 43,712,278 parameters for 91 classes.
pub fn resnet50_fpn_v2(classes: usize) -> DetectorConfig {
    let first = on_pyramid(ResNet::resnet50(), classes);
    DetectorConfig {
        pyramid: Some(FpnConfig { channels: CHANNELS, norm: Some(batch_norm()) }),
        rpn: RpnConfig { convolutions: 2, ..first.rpn },
        roi: RoiConfig {
            head: BoxHead::Convolutions { stride: 1, filters: vec![256; 4], features: 1024, norm: batch_norm() },
            ..first.roi
        },
        ..first
    }
}

/// Any ResNet, with torchvision's rules.
pub fn on_pyramid(body: ResNet, classes: usize) -> DetectorConfig {
    DetectorConfig {
        transform: Transform::default(),
        body: Body { layers: body.features(), taps: STAGES[..4].iter().rev().map(ToString::to_string).collect() },
        pyramid: Some(FpnConfig { channels: CHANNELS, norm: None }),
        rpn: RpnConfig::default(),
        roi: RoiConfig::new(classes),
        mask: None,
        keypoints: None,
    }
}

/// Whether a weight of a ResNet stays as it is where its last `trained` stages are trained, 0 to 5: `layer4`, `layer3`, `layer2`, `layer1`, and
/// the stem. torchvision trains 3. Pyramid and heads are always trained.
pub fn is_frozen(name: &str, trained: usize) -> bool {
    let Some(rest) = name.strip_prefix("backbone.body.") else { return false };
    trained < STAGES.len() && !STAGES[..trained].iter().any(|stage| rest.starts_with(stage))
}

/// Whether a weight `prefix`N.… stays as it is where the last `trained` stages are trained; stage i begins with the number `starts[i]`.
fn is_before(name: &str, prefix: &str, starts: &[usize], trained: usize) -> bool {
    let number = name.strip_prefix(prefix).and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    let first = starts.get(starts.len().saturating_sub(trained));
    number.is_some_and(|number| first.is_none_or(|&first| number < first))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::VarBuilder;
    use cirio_nn::ParameterKind;

    use super::*;

    /// torchvision's numbers, which do not count what frozen norms have; and the sum over the paper's layers.
    #[test]
    fn parameters_are_as_published() -> cirio_detection::Result<()> {
        for (detector, expected) in [
            (resnet50_fpn(91), 41_755_286),
            (resnet50_fpn_v2(91), 43_712_278),
            (mobilenet_v3_large_fpn(91), 19_386_354),
            (mobilenet_v3_large_320_fpn(91), 19_386_354),
            (vgg16(21), 137_073_622),
        ] {
            let parameters = detector.build(VarBuilder::zeros(DType::F32, &Device::Cpu))?.parameters();
            let trained = parameters.iter().filter(|parameter| parameter.kind != ParameterKind::Buffer);
            assert_eq!(trained.map(|parameter| parameter.tensor.elem_count()).sum::<usize>(), expected);
        }
        Ok(())
    }

    #[test]
    fn the_last_stages_are_trained() {
        let body = ["conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer3.0.bn1.bias", "layer4.2.conv3.weight"];
        let frozen = |trained| body.map(|name| is_frozen(&format!("backbone.body.{name}"), trained));
        assert_eq!(frozen(0), [true; 5]);
        assert_eq!(frozen(3), [true, true, true, false, false]);
        assert_eq!(frozen(5), [false; 5]);
        assert!(!is_frozen("backbone.fpn.inner_blocks.0.0.weight", 0) && !is_frozen("rpn.head.conv.0.0.weight", 0));
    }
}
