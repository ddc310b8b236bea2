//! Networks that can be timed: the zoo's own, and lists of well-known ones that have no crate yet.
//!
//! Names of weights are torchvision's, so that a file that torch has written can be given.

use anyhow::{Result, bail};
use cirio_nn::layer::{AdaptiveAvgPool2d, Conv2d, Dropout, Flatten, MaxPool2d, Relu, Residual, batch_norm, conv, linear, max_pool};
use cirio_nn::loss::Loss;
use cirio_nn::ops::Pool2dConfig;
use cirio_nn::{Layers, Sequence};

/// What is timed.
pub struct Network {
    pub name: &'static str,
    pub layers: Layers,
    /// The loss of its training step.
    pub loss: Loss,
}

/// A name, and the list that it stands for.
type Named = (&'static str, fn() -> Layers);

const LISTS: [Named; 5] =
    [("alexnet", alexnet), ("vgg16", vgg16), ("resnet50", resnet50), ("vgg16_bn_cifar", vgg16_bn_cifar), ("course_cifar", course_cifar)];

/// The network of this name, or an error that lists those that there are.
pub fn find(name: &str) -> Result<Network> {
    if let Some(model) = cirio::MODELS.iter().find(|model| model.name == name) {
        return Ok(Network { name: model.name, layers: model.layers(model.classes), loss: model.loss });
    }
    if let Some((name, layers)) = LISTS.iter().find(|(known, _)| *known == name) {
        return Ok(Network { name, layers: layers(), loss: Loss::CrossEntropy { label_smoothing: 0.0 } });
    }
    let known: Vec<&str> = cirio::MODELS.iter().map(|model| model.name).chain(LISTS.map(|(name, _)| name)).collect();
    bail!("no network `{name}` to time; known are {}", known.join(", "))
}

fn same(filters: usize) -> Conv2d {
    Conv2d { padding: [1; 2], ..conv(filters, 3) }
}

/// AlexNet in one tower (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014), as
/// torchvision has it.
fn alexnet() -> Layers {
    let pool = || MaxPool2d(Pool2dConfig { stride: [2; 2], ..max_pool(3).0 });
    Layers::new([3, 224, 224])
        .then("features.0", Conv2d { stride: [4; 2], padding: [2; 2], ..conv(64, 11) })
        .then("features.1", Relu)
        .then("features.2", pool())
        .then("features.3", Conv2d { padding: [2; 2], ..conv(192, 5) })
        .then("features.4", Relu)
        .then("features.5", pool())
        .then("features.6", same(384))
        .then("features.7", Relu)
        .then("features.8", same(256))
        .then("features.9", Relu)
        .then("features.10", same(256))
        .then("features.11", Relu)
        .then("features.12", pool())
        .then("avgpool", AdaptiveAvgPool2d([6; 2]))
        .then("flatten", Flatten)
        .then("classifier.0", Dropout(0.5))
        .then("classifier.1", linear(4096))
        .then("classifier.2", Relu)
        .then("classifier.3", Dropout(0.5))
        .then("classifier.4", linear(4096))
        .then("classifier.5", Relu)
        .then("classifier.6", linear(1000))
}

/// The blocks of VGG's configuration D: the filters of each convolution; a pool ends a block.
const VGG16: [&[usize]; 5] = [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];

/// VGG-16 (Simonyan & Zisserman 2015, configuration D).
fn vgg16() -> Layers {
    vgg_features(Layers::new([3, 224, 224]), &VGG16, false)
        .then("avgpool", AdaptiveAvgPool2d([7; 2]))
        .then("flatten", Flatten)
        .then("classifier.0", linear(4096))
        .then("classifier.1", Relu)
        .then("classifier.2", Dropout(0.5))
        .then("classifier.3", linear(4096))
        .then("classifier.4", Relu)
        .then("classifier.5", Dropout(0.5))
        .then("classifier.6", linear(1000))
}

/// VGG-16 with batch norm for the 32×32 pictures of CIFAR-10: five pools leave one pixel, and one linear layer is behind it.
fn vgg16_bn_cifar() -> Layers {
    vgg_features(Layers::new([3, 32, 32]), &VGG16, true).then("flatten", Flatten).then("classifier", linear(10))
}

/// A small network of Stanford's course CS231n for CIFAR-10: six convolutions with ten filters each, three pools.
fn course_cifar() -> Layers {
    vgg_features(Layers::new([3, 32, 32]), &[&[10, 10], &[10, 10], &[10, 10]], false).then("flatten", Flatten).then("fc", linear(10))
}

/// Blocks of 3×3 convolutions, each with a ReLU behind it, and a pool at the end of a block; `features.0`, `features.1`, …
fn vgg_features(layers: Layers, blocks: &[&[usize]], norm: bool) -> Layers {
    let mut names = (0..).map(|index| format!("features.{index}"));
    let mut name = move || names.next().unwrap_or_default();
    blocks.iter().fold(layers, |layers, block| {
        let convolved = block.iter().fold(layers, |layers, &filters| {
            let layers = layers.then(name(), same(filters));
            let layers = if norm { layers.then(name(), batch_norm()) } else { layers };
            layers.then(name(), Relu)
        });
        convolved.then(name(), max_pool(2))
    })
}

/// ResNet-50 (He et al. 2015) with the stride in the 3×3 convolution, which is known as version 1.5.
fn resnet50() -> Layers {
    let stem = Layers::new([3, 224, 224])
        .then("conv1", Conv2d { stride: [2; 2], padding: [3; 2], bias: None, ..conv(64, 7) })
        .then("bn1", batch_norm())
        .then("relu", Relu)
        .then("maxpool", MaxPool2d(Pool2dConfig { stride: [2; 2], padding: [1; 2], ..max_pool(3).0 }));
    let stages = [(64, 3), (128, 4), (256, 6), (512, 3)];
    let blocks = stages.iter().zip(1..).flat_map(|(&(width, count), stage)| (0..count).map(move |block| (stage, width, block)));
    blocks
        .fold(stem, |layers, (stage, width, block)| {
            let name = format!("layer{stage}.{block}");
            let stride = if stage > 1 && block == 0 { 2 } else { 1 };
            layers.then(&name, bottleneck(width, stride, block == 0)).then(format!("{name}.relu"), Relu)
        })
        .then("avgpool", AdaptiveAvgPool2d([1; 2]))
        .then("flatten", Flatten)
        .then("fc", linear(1000))
}

/// 1×1, 3×3 and 1×1 convolutions; the last has four times the filters.
fn bottleneck(width: usize, stride: usize, project: bool) -> Residual {
    let body = Sequence::new()
        .then("conv1", Conv2d { bias: None, ..conv(width, 1) })
        .then("bn1", batch_norm())
        .then("relu1", Relu)
        .then("conv2", Conv2d { stride: [stride; 2], bias: None, ..same(width) })
        .then("bn2", batch_norm())
        .then("relu2", Relu)
        .then("conv3", Conv2d { bias: None, ..conv(4 * width, 1) })
        .then("bn3", batch_norm());
    let projection = || {
        Sequence::new()
            .then("downsample.0", Conv2d { stride: [stride; 2], bias: None, ..conv(4 * width, 1) })
            .then("downsample.1", batch_norm())
    };
    Residual { body, shortcut: if project { projection() } else { Sequence::new() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_published() -> Result<()> {
        let published = [
            ("alexnet", 61_100_840),
            ("vgg16", 138_357_544),
            ("resnet50", 25_557_032),
            ("vgg16_bn_cifar", 14_728_266),
            ("course_cifar", 6_440),
        ];
        for (name, parameters) in published {
            assert_eq!(find(name)?.layers.table()?.parameters(), parameters, "{name}");
        }
        Ok(())
    }

    #[test]
    fn weights_have_torchvisions_names() -> Result<()> {
        let with_weights = |name: &str| -> Result<Vec<String>> {
            let rows = find(name)?.layers.table()?.rows;
            Ok(rows.into_iter().filter(|row| row.parameters > 0).map(|row| row.name).collect())
        };
        let alexnet =
            ["features.0", "features.3", "features.6", "features.8", "features.10", "classifier.1", "classifier.4", "classifier.6"];
        assert_eq!(with_weights("alexnet")?, alexnet);
        assert_eq!(with_weights("vgg16")?[11..], ["features.26", "features.28", "classifier.0", "classifier.3", "classifier.6"]);
        assert_eq!(with_weights("vgg16_bn_cifar")?[24..], ["features.40", "features.41", "classifier"]);
        assert_eq!(
            with_weights("course_cifar")?,
            ["features.0", "features.2", "features.5", "features.7", "features.10", "features.12", "fc"]
        );
        let resnet = with_weights("resnet50")?;
        assert_eq!(resnet[..3], ["conv1", "bn1", "layer1.0.conv1"]);
        assert_eq!(resnet[8..11], ["layer1.0.downsample.0", "layer1.0.downsample.1", "layer1.1.conv1"]);
        assert_eq!(resnet[resnet.len() - 3..], ["layer4.2.conv3", "layer4.2.bn3", "fc"]);
        Ok(())
    }

    #[test]
    fn the_zoos_own_are_found_and_unknown_ones_are_told_what_there_is() -> Result<()> {
        assert_eq!(find("lenet5")?.layers.table()?.parameters(), 61_706);
        let error = find("vgg99").err().map(|error| error.to_string()).unwrap_or_default();
        for word in ["`vgg99`", "lenet5_paper", "alexnet", "course_cifar"] {
            assert!(error.contains(word), "{error}");
        }
        Ok(())
    }
}
