//! The classifiers of this build. A new one is a line in [`MODELS`].
#![cfg_attr(
    not(any(feature = "alexnet", feature = "lenet", feature = "mobilenet", feature = "resnet", feature = "vgg")),
    allow(unused_imports)
)]

#[cfg(feature = "alexnet")]
use cirio_alexnet::AlexNet;
#[cfg(feature = "lenet")]
use cirio_lenet::LeNet5;
#[cfg(feature = "mobilenet")]
use cirio_mobilenet::MobileNetV3;
use cirio_nn::Layers;
use cirio_nn::loss::Loss;
#[cfg(feature = "resnet")]
use cirio_resnet::ResNet;
#[cfg(feature = "vgg")]
use cirio_vgg::Vgg;
use cirio_vision::Preprocess;

use crate::{Model, Task};

/// Every classifier of this build.
pub const MODELS: &[Model] = &[
    #[cfg(feature = "lenet")]
    Model {
        about: "LeNet-5 as it is written today: ReLU, max pooling, a linear output",
        ..lenet("lenet5", |classes| LeNet5 { classes, ..LeNet5::modern() }.layers())
    },
    #[cfg(feature = "lenet")]
    Model {
        about: "LeNet-5 as in the paper: partial C3, trainable subsampling, RBF output",
        loss: Loss::MaximumPosterior { rubbish: 0.1 },
        learning_rate: 0.002,
        ..lenet("lenet5_paper", |classes| LeNet5 { classes, ..LeNet5::paper() }.layers())
    },
    #[cfg(feature = "alexnet")]
    Model {
        paper: "Krizhevsky 2014",
        ..imagenet("alexnet", "AlexNet in one tower, as torchvision has it", |classes| AlexNet { classes, ..AlexNet::one_tower() }.layers())
    },
    #[cfg(feature = "alexnet")]
    Model {
        paper: "Krizhevsky, Sutskever & Hinton 2012",
        ..imagenet("alexnet_paper", "AlexNet as in the paper: two groups, response normalisation", |classes| {
            AlexNet { classes, ..AlexNet::paper() }.layers()
        })
    },
    #[cfg(feature = "vgg")]
    vgg("vgg11", "VGG, configuration A: 8 convolutions", |classes| Vgg { classes, ..Vgg::vgg11() }.layers()),
    #[cfg(feature = "vgg")]
    vgg("vgg11_bn", "VGG, configuration A, with batch norm", |classes| Vgg { classes, ..Vgg::vgg11_bn() }.layers()),
    #[cfg(feature = "vgg")]
    vgg("vgg13", "VGG, configuration B: 10 convolutions", |classes| Vgg { classes, ..Vgg::vgg13() }.layers()),
    #[cfg(feature = "vgg")]
    vgg("vgg13_bn", "VGG, configuration B, with batch norm", |classes| Vgg { classes, ..Vgg::vgg13_bn() }.layers()),
    #[cfg(feature = "vgg")]
    vgg("vgg16", "VGG, configuration D: 13 convolutions", |classes| Vgg { classes, ..Vgg::vgg16() }.layers()),
    #[cfg(feature = "vgg")]
    vgg("vgg16_bn", "VGG, configuration D, with batch norm", |classes| Vgg { classes, ..Vgg::vgg16_bn() }.layers()),
    #[cfg(feature = "vgg")]
    vgg("vgg19", "VGG, configuration E: 16 convolutions", |classes| Vgg { classes, ..Vgg::vgg19() }.layers()),
    #[cfg(feature = "vgg")]
    vgg("vgg19_bn", "VGG, configuration E, with batch norm", |classes| Vgg { classes, ..Vgg::vgg19_bn() }.layers()),
    #[cfg(feature = "vgg")]
    Model {
        learning_rate: 0.05,
        ..cifar("vgg16_bn_cifar", "VGG-16 with batch norm for 32×32 pictures", |classes| Vgg { classes, ..Vgg::vgg16_bn_cifar() }.layers())
    },
    #[cfg(feature = "vgg")]
    Model {
        learning_rate: 0.1,
        ..cifar("vgg_small", "a small VGG with batch norm for 32×32 pictures", |classes| Vgg { classes, ..Vgg::small() }.layers())
    },
    #[cfg(feature = "vgg")]
    Model {
        paper: "Karpathy, CS231n 2015",
        learning_rate: 0.05,
        ..cifar("cs231n_cifar", "the CIFAR-10 network of the course CS231n: ten filters everywhere", |classes| {
            Vgg { classes, ..Vgg::cs231n_cifar() }.layers()
        })
    },
    #[cfg(feature = "resnet")]
    resnet("resnet18", "ResNet with 18 layers", |classes| ResNet { classes, ..ResNet::resnet18() }.layers()),
    #[cfg(feature = "resnet")]
    resnet("resnet34", "ResNet with 34 layers", |classes| ResNet { classes, ..ResNet::resnet34() }.layers()),
    #[cfg(feature = "resnet")]
    resnet("resnet50", "ResNet with 50 layers, bottlenecks", |classes| ResNet { classes, ..ResNet::resnet50() }.layers()),
    #[cfg(feature = "resnet")]
    resnet("resnet101", "ResNet with 101 layers, bottlenecks", |classes| ResNet { classes, ..ResNet::resnet101() }.layers()),
    #[cfg(feature = "mobilenet")]
    Model {
        paper: "Howard et al. 2019",
        learning_rate: 0.05,
        ..imagenet("mobilenet_v3_large", "MobileNetV3-Large: channels by themselves, squeeze-and-excitation", |classes| {
            MobileNetV3 { classes, ..MobileNetV3::large() }.layers()
        })
    },
];

/// A classifier for ImageNet: 1000 classes, the middle 224×224 of a picture whose shorter side is 256.
#[cfg(any(feature = "alexnet", feature = "mobilenet", feature = "resnet", feature = "vgg"))]
const fn imagenet(name: &'static str, about: &'static str, layers: fn(usize) -> Layers) -> Model {
    Model {
        name,
        task: Task::Classify,
        about,
        paper: "",
        classes: 1000,
        loss: Loss::CrossEntropy { label_smoothing: 0.0 },
        learning_rate: 0.01,
        layers,
        preprocess: Preprocess::imagenet,
    }
}

#[cfg(feature = "vgg")]
const fn vgg(name: &'static str, about: &'static str, layers: fn(usize) -> Layers) -> Model {
    Model { paper: "Simonyan & Zisserman 2015", ..imagenet(name, about, layers) }
}

#[cfg(feature = "resnet")]
const fn resnet(name: &'static str, about: &'static str, layers: fn(usize) -> Layers) -> Model {
    Model { paper: "He, Zhang, Ren & Sun 2016", learning_rate: 0.05, ..imagenet(name, about, layers) }
}

/// A classifier for colour pictures of 32×32 and ten classes.
#[cfg(feature = "vgg")]
const fn cifar(name: &'static str, about: &'static str, layers: fn(usize) -> Layers) -> Model {
    Model { classes: 10, preprocess: cifar_input, ..vgg(name, about, layers) }
}

#[cfg(feature = "lenet")]
const fn lenet(name: &'static str, layers: fn(usize) -> Layers) -> Model {
    Model {
        name,
        task: Task::Classify,
        about: "",
        paper: "LeCun, Bottou, Bengio & Haffner 1998",
        classes: 10,
        loss: Loss::CrossEntropy { label_smoothing: 0.0 },
        learning_rate: 0.05,
        layers,
        preprocess: lenet_input,
    }
}

/// Grey pictures of 28×28 in the middle of 32×32, background -0.1 and foreground 1.175 (LeCun et al. 1998, section II.B).
#[cfg(feature = "lenet")]
fn lenet_input() -> Preprocess {
    Preprocess {
        channels: 1,
        resize: cirio_vision::Resize::Exact { height: 28, width: 28 },
        crop: None,
        pad: 2,
        fill: 0,
        mean: vec![0.1 / 1.275],
        std: vec![1.0 / 1.275],
    }
}

/// Colour pictures of 32×32 with the mean and the deviation of CIFAR-10's.
#[cfg(feature = "vgg")]
fn cifar_input() -> Preprocess {
    Preprocess {
        channels: 3,
        resize: cirio_vision::Resize::Exact { height: 32, width: 32 },
        crop: None,
        pad: 0,
        fill: 0,
        mean: vec![0.4914, 0.4822, 0.4465],
        std: vec![0.247, 0.2435, 0.2616],
    }
}
