//! The networks out of candle-nn's layers, in evaluation. Names of weights are torchvision's.

use candle_core::{D, Error, Result, Tensor};
use candle_nn::{BatchNorm, BatchNormConfig, Conv2dConfig, Module, ModuleT, Sequential, VarBuilder, conv2d, conv2d_no_bias, linear, seq};

/// The network of this name; images (N, C, H, W) to logits (N, K).
pub fn build(name: &str, vb: VarBuilder) -> Result<Sequential> {
    match name {
        "lenet5" => lenet5(vb),
        "cs231n_cifar" => {
            let features = vgg_features(&[&[10, 10], &[10, 10], &[10, 10]], false, vb.pp("features"))?;
            Ok(features.add(linear(160, 10, vb.pp("classifier"))?))
        }
        "vgg16_bn_cifar" => Ok(vgg_features(&VGG16, true, vb.pp("features"))?.add(linear(512, 10, vb.pp("classifier"))?)),
        "alexnet" => alexnet(vb),
        "vgg16" => classifier(vgg_features(&VGG16, false, vb.pp("features"))?, 512 * 49, [0, 3, 6], vb.pp("classifier")),
        "resnet50" => resnet50(vb),
        _ => Err(Error::Msg(format!("no network `{name}`"))),
    }
}

const VGG16: [&[usize]; 5] = [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];

fn window(stride: usize, padding: usize) -> Conv2dConfig {
    Conv2dConfig { stride, padding, ..Conv2dConfig::default() }
}

fn max_pool(side: usize, stride: usize) -> impl Fn(&Tensor) -> Result<Tensor> {
    move |x| x.max_pool2d_with_stride(side, stride)
}

fn flatten(x: &Tensor) -> Result<Tensor> {
    x.flatten_from(1)
}

fn lenet5(vb: VarBuilder) -> Result<Sequential> {
    Ok(seq()
        .add(conv2d(1, 6, 5, window(1, 0), vb.pp("conv1"))?)
        .add_fn(Tensor::relu)
        .add_fn(max_pool(2, 2))
        .add(conv2d(6, 16, 5, window(1, 0), vb.pp("conv2"))?)
        .add_fn(Tensor::relu)
        .add_fn(max_pool(2, 2))
        .add_fn(flatten)
        .add(linear(400, 120, vb.pp("fc1"))?)
        .add_fn(Tensor::relu)
        .add(linear(120, 84, vb.pp("fc2"))?)
        .add_fn(Tensor::relu)
        .add(linear(84, 10, vb.pp("fc3"))?))
}

/// Blocks of 3×3 convolutions with a pool behind each, and the vector of all that is left.
fn vgg_features(blocks: &[&[usize]], norm: bool, vb: VarBuilder) -> Result<Sequential> {
    let (mut layers, mut channels, mut index) = (seq(), 3, 0);
    for block in blocks {
        for &filters in *block {
            layers = layers.add(conv2d(channels, filters, 3, window(1, 1), vb.pp(index))?);
            if norm {
                index += 1;
                layers = layers.add(normalise(filters, vb.pp(index))?);
            }
            layers = layers.add_fn(Tensor::relu);
            channels = filters;
            index += 2;
        }
        layers = layers.add_fn(max_pool(2, 2));
        index += 1;
    }
    Ok(layers.add_fn(flatten))
}

fn alexnet(vb: VarBuilder) -> Result<Sequential> {
    let features = vb.pp("features");
    let layers = seq()
        .add(conv2d(3, 64, 11, window(4, 2), features.pp(0))?)
        .add_fn(Tensor::relu)
        .add_fn(max_pool(3, 2))
        .add(conv2d(64, 192, 5, window(1, 2), features.pp(3))?)
        .add_fn(Tensor::relu)
        .add_fn(max_pool(3, 2))
        .add(conv2d(192, 384, 3, window(1, 1), features.pp(6))?)
        .add_fn(Tensor::relu)
        .add(conv2d(384, 256, 3, window(1, 1), features.pp(8))?)
        .add_fn(Tensor::relu)
        .add(conv2d(256, 256, 3, window(1, 1), features.pp(10))?)
        .add_fn(Tensor::relu)
        .add_fn(max_pool(3, 2))
        .add_fn(flatten);
    classifier(layers, 256 * 36, [1, 4, 6], vb.pp("classifier"))
}

/// Three linear layers of these names behind `layers`, which give `inputs` features.
fn classifier(layers: Sequential, inputs: usize, [first, second, third]: [usize; 3], vb: VarBuilder) -> Result<Sequential> {
    Ok(layers
        .add(linear(inputs, 4096, vb.pp(first))?)
        .add_fn(Tensor::relu)
        .add(linear(4096, 4096, vb.pp(second))?)
        .add_fn(Tensor::relu)
        .add(linear(4096, 1000, vb.pp(third))?))
}

fn resnet50(vb: VarBuilder) -> Result<Sequential> {
    let mut layers = seq()
        .add(conv2d_no_bias(3, 64, 7, window(2, 3), vb.pp("conv1"))?)
        .add(normalise(64, vb.pp("bn1"))?)
        .add_fn(Tensor::relu)
        // candle's pool knows no padding; behind a ReLU zeros serve.
        .add_fn(|x| x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?.max_pool2d_with_stride(3, 2));
    let mut channels = 64;
    for (stage, (width, count)) in [(64, 3), (128, 4), (256, 6), (512, 3)].into_iter().enumerate() {
        for block in 0..count {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            layers = layers.add(bottleneck([channels, width], stride, block == 0, vb.pp(format!("layer{}.{block}", stage + 1)))?);
            channels = 4 * width;
        }
    }
    Ok(layers.add_fn(|x| x.mean(D::Minus1)?.mean(D::Minus1)).add(linear(2048, 1000, vb.pp("fc"))?))
}

fn bottleneck([channels, width]: [usize; 2], stride: usize, project: bool, vb: VarBuilder) -> Result<Bottleneck> {
    let body = seq()
        .add(conv2d_no_bias(channels, width, 1, window(1, 0), vb.pp("conv1"))?)
        .add(normalise(width, vb.pp("bn1"))?)
        .add_fn(Tensor::relu)
        .add(conv2d_no_bias(width, width, 3, window(stride, 1), vb.pp("conv2"))?)
        .add(normalise(width, vb.pp("bn2"))?)
        .add_fn(Tensor::relu)
        .add(conv2d_no_bias(width, 4 * width, 1, window(1, 0), vb.pp("conv3"))?)
        .add(normalise(4 * width, vb.pp("bn3"))?);
    let shortcut = match project {
        true => seq()
            .add(conv2d_no_bias(channels, 4 * width, 1, window(stride, 0), vb.pp("downsample.0"))?)
            .add(normalise(4 * width, vb.pp("downsample.1"))?),
        false => seq(),
    };
    Ok(Bottleneck { body, shortcut })
}

fn normalise(channels: usize, vb: VarBuilder) -> Result<Normalise> {
    Ok(Normalise(candle_nn::batch_norm(channels, BatchNormConfig::from(1e-5), vb)?))
}

struct Bottleneck {
    body: Sequential,
    shortcut: Sequential,
}

impl Module for Bottleneck {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        (self.body.forward(x)? + self.shortcut.forward(x)?)?.relu()
    }
}

/// Batch norm with the stored statistics.
struct Normalise(BatchNorm);

impl Module for Normalise {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward_t(x, false)
    }
}
