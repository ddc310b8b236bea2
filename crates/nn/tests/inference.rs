//! The inference form against the layers as they are.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use cirio_nn::layer::{
    AdaptiveAvgPool2d, AvgPool2d, Conv2d, Dropout, Flatten, Gate, HardSigmoid, HardSwish, MaxPool2d, Relu, Residual, Softmax, Tanh,
    avg_pool, batch_norm, conv, linear, max_pool, residual, squeeze_excitation,
};
use cirio_nn::ops::{CountPadding, Pool2dConfig, with_portable};
use cirio_nn::{Inference, InferenceConfig, Layers, Sequence, Stack, Store};

fn same(filters: usize, kernel: usize) -> Conv2d {
    Conv2d { padding: [kernel / 2; 2], ..conv(filters, kernel) }
}

/// The network with seeded weights, and statistics of batch norms that matter.
fn build(layers: &Layers) -> cirio_nn::Result<Stack> {
    let store = Store::new(3, DType::F32, &Device::Cpu);
    let stack = layers.build(store.var_builder())?;
    for (index, parameter) in stack.parameters().into_iter().enumerate() {
        let norm = parameter.name.contains("bn") && !parameter.name.ends_with("num_batches_tracked");
        if norm {
            let values = Tensor::arange(0f32, parameter.tensor.elem_count() as f32, &Device::Cpu)?.affine(0.7, index as f64)?.sin()?;
            let values =
                if parameter.name.ends_with("var") || parameter.name.ends_with("weight") { values.affine(0.4, 1.0)? } else { values };
            candle_core::Var::from_tensor(&parameter.tensor)?.set(&values)?;
        }
    }
    Ok(stack)
}

fn images([n, c, h, w]: [usize; 4]) -> Result<Tensor> {
    Tensor::arange(0f32, (n * c * h * w) as f32, &Device::Cpu)?.affine(0.37, 0.1)?.sin()?.reshape((n, c, h, w))
}

fn assert_close(what: &str, got: &Tensor, expected: &Tensor) -> Result<()> {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    if expected.elem_count() == 0 {
        return Ok(());
    }
    let largest = expected.abs()?.max_all()?.to_scalar::<f32>()?.max(1e-3);
    let off = (got - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(off <= 2e-5 * largest, "{what}: off by {off:e} of {largest}");
    Ok(())
}

/// Both forms, also for other sizes and numbers of images after one another.
fn check(layers: &Layers, sizes: &[[usize; 4]]) -> cirio_nn::Result<()> {
    let inference = build(layers)?.for_inference()?;
    for size in sizes.iter().chain(sizes) {
        let images = images(*size)?;
        let expected = build(layers)?.forward(&images)?;
        assert_close(&format!("{size:?}"), &inference.forward(&images)?, &expected)?;
        assert_close(&format!("{size:?} again"), &inference.forward(&images)?, &expected)?;
    }
    Ok(())
}

/// Stem, blocks with and without a convolution in the shortcut, as ResNet has them.
fn resnet() -> Layers {
    let body = |filters: usize, stride: usize| {
        Sequence::new()
            .then("conv1", conv(filters, 1))
            .then("bn1", batch_norm())
            .then("relu1", Relu)
            .then("conv2", Conv2d { stride: [stride; 2], bias: None, ..same(filters, 3) })
            .then("bn2", batch_norm())
    };
    let shortcut = Sequence::new().then("down", Conv2d { stride: [2; 2], ..conv(40, 1) }).then("down_bn", batch_norm());
    Layers::new([3, 21, 17])
        .then("conv1", Conv2d { stride: [2; 2], bias: None, ..same(24, 7) })
        .then("bn1", batch_norm())
        .then("relu", Relu)
        .then("maxpool", MaxPool2d(Pool2dConfig { kernel: [3; 2], stride: [2; 2], padding: [1; 2], ceil_mode: false }))
        .then("layer1.0", residual(body(24, 1)))
        .then("layer1.0.relu", Relu)
        .then("layer2.0", Residual { body: body(40, 2), shortcut })
        .then("layer2.0.relu", Relu)
        .then("layer2.1", residual(body(40, 1)))
        .then("layer2.1.relu", Relu)
        .then("avgpool", AdaptiveAvgPool2d([1; 2]))
        .then("flatten", Flatten)
        .then("fc", linear(7))
}

#[test]
fn a_residual_network() -> cirio_nn::Result<()> {
    check(&resnet(), &[[1, 3, 21, 17], [3, 3, 40, 33], [2, 3, 64, 64], [0, 3, 21, 17]])
}

/// Activations behind convolutions and linear layers, behind one another and alone; gates inside of blocks and on what others take.
fn gated() -> Layers {
    let squeeze = || squeeze_excitation(20, 5, HardSigmoid);
    let body = Sequence::new()
        .then("depthwise", Conv2d { groups: 20, ..same(20, 5) })
        .then("bn", batch_norm())
        .then("swish", HardSwish)
        .then("gate", squeeze())
        .then("conv", conv(20, 1));
    Layers::new([3, 14, 15])
        .then("stem", Conv2d { stride: [2; 2], ..same(20, 3) })
        .then("swish", HardSwish)
        .then("block", residual(body))
        .then("gate", squeeze())
        .then("sigmoid", HardSigmoid)
        .then("again", HardSwish)
        .then("double", residual(Sequence::new().then("gate", Gate { body: Sequence::new().then("mean", AdaptiveAvgPool2d([1; 2])) })))
        .then("groups", Conv2d { groups: 4, ..same(32, 3) })
        .then("groups_sigmoid", HardSigmoid)
        .then("pool", AdaptiveAvgPool2d([1; 2]))
        .then("flatten", Flatten)
        .then("fc", linear(9))
        .then("fc_swish", HardSwish)
}

#[test]
fn gates_and_activations() -> cirio_nn::Result<()> {
    check(&gated(), &[[1, 3, 14, 15], [17, 3, 20, 9], [0, 3, 14, 15]])?;
    let names = ["block", "block.gate.fc1", "gate.scale_activation", "gate", "fc"];
    let config = InferenceConfig { taps: names.map(str::to_owned).to_vec(), half_weights: false };
    let images = images([2, 3, 14, 15])?;
    let expected = build(&gated())?.forward_taps(&images, &names)?;
    for ((name, got), expected) in names.iter().zip(Inference::new(build(&gated())?, &config)?.forward_taps(&images)?).zip(expected) {
        assert_close(name, &got, &expected)?;
    }
    Ok(())
}

#[test]
fn a_plain_network_with_dropout_and_softmax() -> cirio_nn::Result<()> {
    let layers = Layers::new([1, 28, 28])
        .then("conv1", same(6, 5))
        .then("relu1", Relu)
        .then("pool1", max_pool(2))
        .then("conv2", conv(16, 5))
        .then("tanh", Tanh)
        .then("pool2", avg_pool(2))
        .then("flatten", Flatten)
        .then("dropout", Dropout(0.5))
        .then("fc1", linear(30))
        .then("relu", Relu)
        .then("fc2", linear(10))
        .then("softmax", Softmax);
    check(&layers, &[[1, 1, 28, 28], [5, 1, 28, 28]])
}

/// Convolutions of 3×3 with a pool of 2×2 behind them, before another convolution, which needs a margin, and in the end; also where rows and
/// columns are left over, and with values in between wanted. The first size decides how weights are packed: it is large enough for Winograd's way.
#[test]
fn pools_behind_convolutions() -> cirio_nn::Result<()> {
    let network = |ceil_mode: bool| {
        let squares = || MaxPool2d(Pool2dConfig { ceil_mode, ..max_pool(2).0 });
        (0..3).fold(Layers::new([64, 96, 96]), |layers, stage| {
            let layers =
                layers.then(format!("conv{stage}"), same(64, if stage == 1 { 5 } else { 3 })).then(format!("bn{stage}"), batch_norm());
            layers.then(format!("relu{stage}"), Relu).then(format!("pool{stage}"), squares())
        })
    };
    for ceil_mode in [false, true] {
        check(&network(ceil_mode), &[[1, 64, 96, 96], [3, 64, 9, 14], [2, 64, 11, 10], [17, 64, 12, 8]])?;
    }
    let wanted = ["pool0", "conv1", "pool2"];
    let config = InferenceConfig { taps: wanted.map(str::to_owned).to_vec(), half_weights: false };
    let (stack, images) = (build(&network(false))?, images([2, 64, 96, 90])?);
    let expected = stack.forward_taps(&images, &wanted)?;
    for (got, expected) in Inference::new(stack, &config)?.forward_taps(&images)?.iter().zip(&expected) {
        assert_close("a tap", got, expected)?;
    }
    Ok(())
}

/// What cannot be fused, and what cannot be packed: ReLU before anything, a norm after a pool, groups that cut through vectors,
/// sums of sums, a convolution whose output two layers take.
#[test]
fn what_does_not_fit_runs_as_it_is() -> cirio_nn::Result<()> {
    let window = Pool2dConfig { kernel: [3; 2], stride: [2; 2], padding: [1; 2], ceil_mode: true };
    let layers = Layers::new([20, 9, 11])
        .then("relu0", Relu)
        .then("bn0", batch_norm())
        .then("depthwise", Conv2d { groups: 20, ..same(20, 3) })
        .then("doubled", Conv2d { groups: 20, stride: [1, 2], ..same(40, 3) })
        .then("bn1", batch_norm())
        .then("relu1", Relu)
        .then("conv", same(33, 3))
        .then("block", residual(Sequence::new().then("relu", Relu).then("inner", residual(Sequence::new().then("conv", same(33, 3))))))
        .then("groups", residual(Sequence::new().then("conv", Conv2d { groups: 3, ..same(33, 3) })))
        .then("channels", residual(Sequence::new().then("conv", Conv2d { groups: 33, ..same(33, 5) })))
        .then("groups_relu", Relu)
        .then("pool", AvgPool2d { window: window.clone(), count: CountPadding::Include })
        .then("bn2", batch_norm())
        .then("max", MaxPool2d(window))
        .then("double", residual(Sequence::new()));
    check(&layers, &[[2, 20, 9, 11], [1, 20, 16, 5]])
}

/// Batches that threads share, and of which a last part is smaller; also from many threads at a time, and with every layer wanted.
#[test]
fn a_batch_in_parts() -> cirio_nn::Result<()> {
    use rayon::prelude::*;
    let sizes = [[40, 3, 21, 17], [16, 3, 33, 33], [17, 3, 21, 17], [100, 3, 21, 17]];
    check(&resnet(), &sizes)?;
    let names = ["conv1", "layer1", "fc"];
    let config = InferenceConfig { taps: names.map(str::to_owned).to_vec(), half_weights: false };
    let inference = Inference::new(build(&resnet())?, &config)?;
    let batch = images(sizes[0])?;
    let expected = build(&resnet())?.forward_taps(&batch, &names)?;
    let results: Vec<Vec<Tensor>> = (0..32usize).into_par_iter().map(|_| inference.forward_taps(&batch)).collect::<Result<_>>()?;
    for result in &results {
        for ((name, got), expected) in names.iter().zip(result).zip(&expected) {
            assert_close(name, got, expected)?;
        }
    }
    let mut observed = Vec::new();
    let output = inference.forward_observed(&batch, |name| observed.push(name.to_owned()))?;
    assert_close("observed", &output, &expected[2])?;
    assert_eq!(observed.iter().filter(|name| *name == "fc").count(), 1);
    Ok(())
}

/// Small chains, whose batches go several images abreast: kernels with padding, strides and dilations, every pool, norms, activations, maps or
/// logits in the end; numbers of images that do not fill the last vector; other sizes; few images, which go another way, before and after.
#[test]
fn a_batch_abreast() -> cirio_nn::Result<()> {
    let features = Layers::new([2, 19, 23])
        .then("conv1", Conv2d { stride: [2, 1], dilation: [1, 2], padding: [0, 3], ..conv(7, 3) })
        .then("bn1", batch_norm())
        .then("relu1", Relu)
        .then("max", MaxPool2d(Pool2dConfig { kernel: [3; 2], stride: [2; 2], padding: [1; 2], ceil_mode: true }))
        .then("conv2", Conv2d { bias: None, ..same(13, 3) })
        .then("swish", HardSwish)
        .then("mean", AvgPool2d { window: max_pool(2).0, count: CountPadding::Include });
    let classifier = features
        .clone()
        .then("pool", AdaptiveAvgPool2d([2, 3]))
        .then("flatten", Flatten)
        .then("fc1", linear(21))
        .then("relu2", Relu)
        .then("dropout", Dropout(0.5))
        .then("fc2", linear(10));
    for layers in [features, classifier] {
        check(&layers, &[[1, 2, 19, 23], [40, 2, 19, 23], [67, 2, 19, 23], [32, 2, 30, 21], [128, 2, 19, 23], [3, 2, 19, 23]])?;
    }
    Ok(())
}

/// From many threads at a time, on any number of threads, and images that are not contiguous: the same bits.
#[test]
fn a_batch_abreast_on_many_threads() -> cirio_nn::Result<()> {
    use rayon::prelude::*;
    let layers = Layers::new([3, 16, 16]).then("conv", same(10, 3)).then("relu", Relu).then("flatten", Flatten).then("fc", linear(10));
    let (inference, batch) = (build(&layers)?.for_inference()?, images([77, 3, 16, 16])?);
    let first = inference.forward(&batch)?.to_vec2::<f32>()?;
    let turned = batch.transpose(2, 3)?.contiguous()?.transpose(2, 3)?;
    assert_eq!(inference.forward(&turned)?.to_vec2::<f32>()?, first);
    let results: Vec<Tensor> = (0..32usize).into_par_iter().map(|_| inference.forward(&batch)).collect::<Result<_>>()?;
    for result in results {
        assert_eq!(result.to_vec2::<f32>()?, first);
    }
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
        assert_eq!(pool.install(|| inference.forward(&batch))?.to_vec2::<f32>()?, first, "{threads} threads");
    }
    Ok(())
}

/// Threads outside the pool, more than it has, that ask for passes of one network at the same time: none waits for ever, and all get the
/// same bits.
#[test]
fn passes_from_many_threads_outside_the_pool() -> cirio_nn::Result<()> {
    let (inference, batch) = (build(&resnet())?.for_inference()?, images([1, 3, 96, 96])?);
    let first = inference.forward(&batch)?.to_vec2::<f32>()?;
    let ask = || (0..4).try_for_each(|_| inference.forward(&batch)?.to_vec2::<f32>().map(|output| assert_eq!(output, first)));
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..3 * rayon::current_num_threads()).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() -> cirio_nn::Result<()> {
    let (inference, batch) = (build(&resnet())?.for_inference()?, images([37, 3, 21, 17])?);
    let run = |threads: usize| -> cirio_nn::Result<Vec<Vec<f32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
        Ok(pool.install(|| inference.forward(&batch))?.to_vec2()?)
    };
    let first = run(1)?;
    for threads in [2, 5] {
        assert_eq!(first, run(threads)?, "{threads} threads");
    }
    // A picture alone has all threads at each layer, in the pool or from outside.
    let alone = images([1, 3, 96, 96])?;
    let outside = inference.forward(&alone)?.to_vec2::<f32>()?;
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
        assert_eq!(pool.install(|| inference.forward(&alone))?.to_vec2::<f32>()?, outside, "{threads} threads");
    }
    Ok(())
}

/// Half precision moves the logits by about its own rounding, 2⁻¹¹, and does move them.
#[test]
fn weights_in_half_precision() -> cirio_nn::Result<()> {
    let config = InferenceConfig { half_weights: true, ..InferenceConfig::default() };
    let images = images([2, 3, 64, 64])?;
    let (full, half) =
        (build(&resnet())?.for_inference()?.forward(&images)?, Inference::new(build(&resnet())?, &config)?.forward(&images)?);
    let off = ((&full - &half)?.abs()?.max_all()?.to_scalar::<f32>()?) / full.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(off > 1e-6 && off < 2e-3, "{off:e}");
    Ok(())
}

/// Sums of vectors, too; and many passes at a time, also from threads of the pool that the kernels use.
#[test]
fn a_residual_of_vectors_and_many_threads() -> cirio_nn::Result<()> {
    use rayon::prelude::*;
    let layers = Layers::new([3, 40, 40])
        .then("conv", same(32, 3))
        .then("pool", AdaptiveAvgPool2d([4; 2]))
        .then("flatten", Flatten)
        .then("block", residual(Sequence::new().then("fc", linear(512))))
        .then("fc", linear(7));
    check(&layers, &[[2, 3, 40, 40]])?;
    let network = build(&layers)?.for_inference()?;
    let batch = images([8, 3, 40, 40])?;
    let expected = build(&layers)?.forward(&batch)?;
    let results: Vec<Tensor> = (0..64usize).into_par_iter().map(|_| network.forward(&batch)).collect::<Result<_>>()?;
    results.iter().try_for_each(|result| assert_close("beside others", result, &expected))?;
    Ok(())
}

#[test]
fn taps_are_what_the_layers_give() -> cirio_nn::Result<()> {
    let names = ["conv1", "layer1", "layer2.0", "layer2.0.conv1", "layer2.0.down", "bn1", "layer2", "fc"];
    let config = InferenceConfig { taps: names.map(str::to_owned).to_vec(), half_weights: false };
    let inference = Inference::new(build(&resnet())?, &config)?;
    let images = images([2, 3, 30, 31])?;
    let expected = build(&resnet())?.forward_taps(&images, &names)?;
    for ((name, got), expected) in names.iter().zip(inference.forward_taps(&images)?).zip(expected) {
        assert_close(name, &got, &expected)?;
    }
    let unknown = InferenceConfig { taps: vec!["layer3".to_owned()], half_weights: false };
    let error = Inference::new(build(&resnet())?, &unknown).err().expect("there is no such layer").to_string();
    assert!(error.contains("no layer `layer3`"), "{error}");
    Ok(())
}

#[test]
fn wrong_images_are_refused() -> cirio_nn::Result<()> {
    let inference = build(&resnet())?.for_inference()?;
    let error = inference.forward(&images([1, 4, 21, 17])?).unwrap_err().to_string();
    assert!(error.contains("(N, 3, H, W), given [1, 4, 21, 17]"), "{error}");
    let error = inference.forward(&images([1, 3, 21, 17])?.to_dtype(DType::F64)?).unwrap_err().to_string();
    assert!(error.contains("F64"), "{error}");
    let layers = Layers::new([1, 4, 4]).then("conv", conv(2, 3)).then("flatten", Flatten).then("fc", linear(3));
    let inference = build(&layers)?.for_inference()?;
    for n in [1, 64] {
        let error = inference.forward(&images([n, 1, 5, 4])?).unwrap_err().to_string();
        assert!(error.contains("in layer `fc`") && error.contains("12 values"), "{error}");
    }
    let error = inference.forward(&images([1, 1, 2, 4])?).unwrap_err().to_string();
    assert!(error.contains("in layer `conv`"), "{error}");
    assert_eq!(inference.forward(&images([1, 1, 4, 4])?)?.dims(), [1, 3], "an error leaves it usable");
    Ok(())
}

#[test]
fn elsewhere_the_layers_run() -> cirio_nn::Result<()> {
    let images = images([1, 3, 21, 17])?;
    let (plain, forced) = with_portable(|| {
        let inference = build(&resnet())?.for_inference()?;
        Ok::<_, cirio_nn::Error>((build(&resnet())?.forward(&images)?, inference.forward(&images)?))
    })?;
    assert_eq!(plain.to_vec2::<f32>()?, forced.to_vec2::<f32>()?);
    let vars = VarBuilder::zeros(DType::F64, &Device::Cpu);
    let vars_inference = resnet().build(vars)?.for_inference()?;
    assert_eq!(vars_inference.forward(&images.to_dtype(DType::F64)?)?.dims(), [1, 7]);
    Ok(())
}
