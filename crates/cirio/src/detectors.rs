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
    /// What it does: [`Task::Detect`], [`Task::Segment`] or [`Task::Keypoints`].
    pub task: Task,
    /// One line about it.
    pub about: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// K, the number of classes of the form that was published, the background among them.
    pub classes: usize,
    /// The eps of its frozen norms in the form that was published; none where norms are not frozen.
    pub frozen_eps: Option<f64>,
    /// How it is trained where nothing else is asked for.
    pub recipe: DetectorRecipe,
    config: fn(classes: usize, frozen_eps: f64) -> DetectorConfig,
}

/// How a detector is trained where nothing else is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectorRecipe {
    /// Pictures a pass.
    pub batch: usize,
    /// The learning rate for 16 pictures a step; in proportion for others.
    pub learning_rate: f64,
    /// The decay of weights towards 0.
    pub weight_decay: f64,
    /// The beginnings of names of weights that stay as they are where it begins with trained ones.
    pub frozen: &'static [&'static str],
}

impl DetectorRecipe {
    /// That of torchvision's `references/detection`, which trains the last three of the five stages of a ResNet that has been trained.
    pub const TORCHVISION: Self = Self {
        batch: 2,
        learning_rate: 0.02,
        weight_decay: 1e-4,
        frozen: &["backbone.body.conv1", "backbone.body.bn1", "backbone.body.layer1"],
    };
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
        // The paper's: 0.001 for one picture a step, and all before conv3_1 stays as it is.
        recipe: DetectorRecipe {
            batch: 1,
            learning_rate: 0.016,
            weight_decay: 5e-4,
            frozen: &["backbone.0.", "backbone.2.", "backbone.5.", "backbone.7."],
        },
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
    DetectorModel {
        paper: "He, Gkioxari, Dollár & Girshick 2017, made small here",
        classes: 11,
        frozen_eps: None,
        recipe: DetectorRecipe { batch: 8, learning_rate: 0.04, frozen: &[], ..DetectorRecipe::TORCHVISION },
        ..masks("maskrcnn_small", "a light Mask R-CNN for small pictures, batch norms everywhere", |classes, _| {
            cirio_mask_rcnn::small(classes)
        })
    },
    #[cfg(feature = "mask-rcnn")]
    masks("maskrcnn_resnet101_fpn", "Mask R-CNN on a pyramid of ResNet-101", |classes, eps| mask(ResNet::resnet101(), classes, eps)),
    #[cfg(feature = "mask-rcnn")]
    DetectorModel {
        task: Task::Keypoints,
        classes: 2,
        ..masks("keypointrcnn_resnet50_fpn", "Mask R-CNN for the points of people, on a pyramid of ResNet-50", |classes, eps| {
            cirio_mask_rcnn::with_keypoints(faster(ResNet::resnet50(), classes, eps), POINTS)
        })
    },
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
        recipe: DetectorRecipe::TORCHVISION,
        config,
    }
}

#[cfg(feature = "faster-rcnn")]
const fn mobile(name: &'static str, about: &'static str, config: fn(usize, f64) -> DetectorConfig) -> DetectorModel {
    DetectorModel {
        paper: "Ren, He, Girshick & Sun 2015; Howard et al. 2019",
        frozen_eps: Some(1e-5),
        // All but the last three of six stages.
        recipe: DetectorRecipe {
            frozen: &[
                "backbone.body.0.",
                "backbone.body.1.",
                "backbone.body.2.",
                "backbone.body.3.",
                "backbone.body.4.",
                "backbone.body.5.",
                "backbone.body.6.",
            ],
            ..DetectorRecipe::TORCHVISION
        },
        ..boxes(name, about, config)
    }
}

/// The points of a person in COCO.
#[cfg(feature = "mask-rcnn")]
const POINTS: usize = cirio_detection::keypoints::COCO_NAMES.len();

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
