//! The detectors of this build. A new detector is a line in [`DETECTORS`].
#![cfg_attr(not(feature = "faster-rcnn"), allow(unused_imports))]

use cirio_detection::DetectorConfig;
#[cfg(feature = "faster-rcnn")]
use cirio_faster_rcnn::{mobilenet, vgg};
#[cfg(feature = "faster-rcnn")]
use cirio_mobilenet::MobileNetV3;
#[cfg(feature = "faster-rcnn")]
use cirio_resnet::ResNet;

use crate::{Error, Result, Task, find};

/// A detector of the zoo: it finds the objects in a picture of any size.
#[derive(Clone, Copy, Debug)]
pub struct DetectorModel {
    /// Its name in commands and files.
    pub name: &'static str,
    /// What it does: [`Task::Detect`] or [`Task::Segment`].
    pub task: Task,
    /// One line about it.
    pub about: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// K, the number of classes of the form that was published, the background among them.
    pub classes: usize,
    /// The eps of its frozen norms in the form that was published; none where norms are not frozen.
    pub frozen_eps: Option<f64>,
    config: fn(classes: usize, frozen_eps: f64) -> DetectorConfig,
    is_frozen: fn(name: &str, trained: usize) -> bool,
}

impl DetectorModel {
    /// What it is made of, for K classes with the background.
    pub fn config(&self, classes: usize) -> DetectorConfig {
        self.config_with_eps(classes, self.frozen_eps.unwrap_or_default())
    }

    /// The same where its frozen norms have another eps: 1e-5 with a body that was trained as a classifier and has not seen a detector.
    /// Where no norms are frozen it says nothing.
    pub fn config_with_eps(&self, classes: usize, frozen_eps: f64) -> DetectorConfig {
        (self.config)(classes, frozen_eps)
    }

    /// Whether a weight of the body stays as it is where its last `trained` stages are trained. Those who published them trained 3.
    pub fn is_frozen(&self, name: &str, trained: usize) -> bool {
        (self.is_frozen)(name, trained)
    }
}

/// The detector of this name.
///
/// # Errors
/// When there is none; the error lists those that there are, or says that the name is a classifier's.
pub fn find_detector(name: &str) -> Result<&'static DetectorModel> {
    match DETECTORS.iter().find(|model| model.name == name) {
        Some(model) => Ok(model),
        None => Err(find(name).map_or_else(|error| error, |model| Error::Classifier { name: model.name })),
    }
}

/// Every detector of this build.
pub const DETECTORS: &[DetectorModel] = &[
    #[cfg(feature = "faster-rcnn")]
    boxes("fasterrcnn_resnet18_fpn", "Faster R-CNN on a pyramid of ResNet-18", |classes, eps| faster(ResNet::resnet18(), classes, eps)),
    #[cfg(feature = "faster-rcnn")]
    boxes("fasterrcnn_resnet34_fpn", "Faster R-CNN on a pyramid of ResNet-34", |classes, eps| faster(ResNet::resnet34(), classes, eps)),
    #[cfg(feature = "faster-rcnn")]
    boxes("fasterrcnn_resnet50_fpn", "Faster R-CNN on a pyramid of ResNet-50", |classes, eps| faster(ResNet::resnet50(), classes, eps)),
    #[cfg(feature = "faster-rcnn")]
    DetectorModel {
        paper: "Li, Xie, Chen, Dollár, He & Girshick 2021",
        frozen_eps: None,
        ..boxes("fasterrcnn_resnet50_fpn_v2", "Faster R-CNN with batch norms everywhere", |classes, _| {
            cirio_faster_rcnn::resnet50_fpn_v2(classes)
        })
    },
    #[cfg(feature = "faster-rcnn")]
    boxes("fasterrcnn_resnet101_fpn", "Faster R-CNN on a pyramid of ResNet-101", |classes, eps| faster(ResNet::resnet101(), classes, eps)),
    #[cfg(feature = "faster-rcnn")]
    mobile("fasterrcnn_mobilenet_v3_large_fpn", "Faster R-CNN on a pyramid of MobileNetV3-Large", on_mobilenet),
    #[cfg(feature = "faster-rcnn")]
    mobile("fasterrcnn_mobilenet_v3_large_320_fpn", "the same for small pictures: a shorter side of 320 pixels", |classes, eps| {
        mobilenet::at_320(on_mobilenet(classes, eps))
    }),
    #[cfg(feature = "faster-rcnn")]
    DetectorModel {
        paper: "Ren, He, Girshick & Sun 2015",
        classes: 21,
        frozen_eps: None,
        is_frozen: vgg::is_frozen,
        ..boxes("fasterrcnn_vgg16", "Faster R-CNN as in the paper: VGG-16, one map, RoIPool", |classes, _| vgg::vgg16(classes))
    },
    #[cfg(feature = "mask-rcnn")]
    masks("maskrcnn_resnet18_fpn", "Mask R-CNN on a pyramid of ResNet-18", |classes, eps| mask(ResNet::resnet18(), classes, eps)),
    #[cfg(feature = "mask-rcnn")]
    masks("maskrcnn_resnet34_fpn", "Mask R-CNN on a pyramid of ResNet-34", |classes, eps| mask(ResNet::resnet34(), classes, eps)),
    #[cfg(feature = "mask-rcnn")]
    masks("maskrcnn_resnet50_fpn", "Mask R-CNN on a pyramid of ResNet-50", |classes, eps| mask(ResNet::resnet50(), classes, eps)),
    #[cfg(feature = "mask-rcnn")]
    DetectorModel {
        paper: "Li, Xie, Chen, Dollár, He & Girshick 2021",
        frozen_eps: None,
        ..masks("maskrcnn_resnet50_fpn_v2", "Mask R-CNN with batch norms everywhere", |classes, _| {
            cirio_mask_rcnn::resnet50_fpn_v2(classes)
        })
    },
    #[cfg(feature = "mask-rcnn")]
    masks("maskrcnn_resnet101_fpn", "Mask R-CNN on a pyramid of ResNet-101", |classes, eps| mask(ResNet::resnet101(), classes, eps)),
];

/// A detector of boxes for COCO: 90 numbers of classes, of which 80 are used, and the background.
#[cfg(feature = "faster-rcnn")]
const fn boxes(name: &'static str, about: &'static str, config: fn(usize, f64) -> DetectorConfig) -> DetectorModel {
    let paper = "Ren, He, Girshick & Sun 2015; Lin et al. 2017";
    DetectorModel {
        name,
        task: Task::Detect,
        about,
        paper,
        classes: 91,
        frozen_eps: Some(0.0),
        config,
        is_frozen: cirio_faster_rcnn::is_frozen,
    }
}

#[cfg(feature = "faster-rcnn")]
const fn mobile(name: &'static str, about: &'static str, config: fn(usize, f64) -> DetectorConfig) -> DetectorModel {
    DetectorModel {
        paper: "Ren, He, Girshick & Sun 2015; Howard et al. 2019",
        frozen_eps: Some(1e-5),
        is_frozen: mobilenet::is_frozen,
        ..boxes(name, about, config)
    }
}

#[cfg(feature = "mask-rcnn")]
const fn masks(name: &'static str, about: &'static str, config: fn(usize, f64) -> DetectorConfig) -> DetectorModel {
    DetectorModel { task: Task::Segment, paper: "He, Gkioxari, Dollár & Girshick 2017", ..boxes(name, about, config) }
}

#[cfg(feature = "faster-rcnn")]
fn faster(body: ResNet, classes: usize, frozen_eps: f64) -> DetectorConfig {
    cirio_faster_rcnn::on_pyramid(ResNet { norm: cirio_faster_rcnn::frozen(frozen_eps), ..body }, classes)
}

#[cfg(feature = "faster-rcnn")]
fn on_mobilenet(classes: usize, frozen_eps: f64) -> DetectorConfig {
    mobilenet::on_mobilenet(MobileNetV3 { norm: cirio_faster_rcnn::frozen(frozen_eps), ..MobileNetV3::large() }, classes)
}

#[cfg(feature = "mask-rcnn")]
fn mask(body: ResNet, classes: usize, frozen_eps: f64) -> DetectorConfig {
    cirio_mask_rcnn::with_masks(faster(body, classes, frozen_eps))
}
