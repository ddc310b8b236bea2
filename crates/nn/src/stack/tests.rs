//! Tests of networks as lists of layers.

use candle_core::{DType, Device};

use super::*;
use crate::Store;
use crate::layer::{Conv2d, Dropout, Flatten, Relu, Residual, conv, linear};
use crate::ops;

fn same(filters: usize, kernel: usize) -> Conv2d {
    Conv2d { padding: [kernel / 2; 2], ..conv(filters, kernel) }
}

fn network() -> crate::Result<Stack> {
    let body = Sequence::new().then("conv1", same(4, 3)).then("relu", Relu).then("conv2", same(4, 3));
    let shortcut = Sequence::new().then("downsample", conv(4, 1));
    let layers = Layers::new([2, 5, 7])
        .then("layer1.0", Residual { body, shortcut })
        .then("layer1.1", crate::layer::residual(Sequence::new().then("conv", same(4, 3))))
        .then("flatten", Flatten)
        .then("dropout", Dropout(0.5))
        .then("fc", linear(3));
    layers.build(Store::new(11, DType::F32, &Device::Cpu).var_builder())
}

fn images() -> Result<Tensor> {
    Tensor::arange(0f32, 210.0, &Device::Cpu)?.affine(0.7, 0.0)?.sin()?.reshape((3, 2, 5, 7))
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

#[test]
fn a_block_is_the_sum_of_its_branches() -> crate::Result<()> {
    let network = network()?;
    let names = ["layer1.0.conv2", "layer1.0.downsample", "layer1.0", "layer1", "fc"];
    let taps = network.forward_taps(&images()?, &names)?;
    assert_eq!(values(&(&taps[0] + &taps[1])?)?, values(&taps[2])?);
    assert_eq!(taps[3].dims(), [3, 4, 5, 7]);
    assert_ne!(values(&taps[3])?, values(&taps[2])?, "`layer1` is the last of its blocks");
    assert_eq!(values(&taps[4])?, values(&network.forward(&images()?)?)?);
    Ok(())
}

#[test]
fn an_observer_sees_each_layer_once_and_the_output_last() -> crate::Result<()> {
    let network = network()?;
    let mut seen = Vec::new();
    let output = network.forward_observed(&images()?, |name, output| seen.push((name.to_owned(), output.clone())))?;
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["layer1.0", "layer1.1", "flatten", "dropout", "fc"]);
    assert_eq!(values(&seen[4].1)?, values(&output)?);
    assert_eq!(values(&output)?, values(&network.forward(&images()?)?)?);
    Ok(())
}

/// conv1, a dropout and conv2 are frozen, `fc` with the dropout before it is not.
fn half_frozen(dropout: f64) -> crate::Result<(Store, Layers)> {
    let layers = Layers::new([2, 5, 7])
        .then("conv1", same(4, 3))
        .then("bn", crate::layer::batch_norm())
        .then("relu1", Relu)
        .then("drop1", Dropout(0.5))
        .then("block", crate::layer::residual(Sequence::new().then("conv2", same(4, 3)).then("drop", Dropout(0.5))))
        .then("relu2", Relu)
        .then("pool", crate::layer::max_pool(2))
        .then("flatten", Flatten)
        .then("drop2", Dropout(dropout))
        .then("fc", linear(3));
    let store = Store::new(11, DType::F32, &Device::Cpu);
    store.freeze(|name| !name.starts_with("fc."));
    Ok((store, layers))
}

/// Nothing of what candle keeps for the backward pass is from the frozen prefix, by kernels or by candle's own operations.
#[test]
fn a_frozen_prefix_keeps_nothing() -> crate::Result<()> {
    let (store, layers) = half_frozen(0.0)?;
    let network = layers.build(store.var_builder())?;
    let pass = Pass::new(Some(&network.dropout), &[]);
    let run = || -> crate::Result<()> {
        let mut output = images()?;
        for index in 0..network.layers.len() {
            output = network.layer(index, &output, &pass, false)?;
            assert_eq!(output.track_op(), network.names[index] == "fc", "{}", network.names[index]);
        }
        let gradients = output.sqr()?.sum_all()?.backward()?;
        let of = |name: &str| network.parameters().into_iter().find(|p| p.name == name).map(|p| p.tensor);
        assert!(of("fc.weight").is_some_and(|weight| gradients.get(&weight).is_some()));
        assert!(of("conv1.weight").is_some_and(|weight| gradients.get(&weight).is_none()));
        Ok(())
    };
    run()?;
    ops::with_portable(run)
}

#[test]
fn a_frozen_prefix_has_no_dropout_and_the_head_keeps_its_own() -> crate::Result<()> {
    let (store, layers) = half_frozen(0.0)?;
    let network = layers.build(store.var_builder())?;
    assert_eq!(values(&network.forward_t(&images()?, true)?)?, values(&network.forward(&images()?)?)?);
    assert_eq!(network.dropout_state().drawn, 1, "only the head's was asked for a mask");
    let (store, layers) = half_frozen(0.5)?;
    let network = layers.build(store.var_builder())?;
    assert_ne!(values(&network.forward_t(&images()?, true)?)?, values(&network.forward(&images()?)?)?);
    // Thawed, by building it again.
    store.freeze(|_| false);
    let network = layers.build(store.var_builder())?;
    network.forward_t(&images()?, true)?;
    assert_eq!(network.dropout_state().drawn, 3);
    Ok(())
}

#[test]
fn the_head_is_the_last_layer_with_weights() -> crate::Result<()> {
    assert_eq!(network()?.head(), Some("fc"));
    let layers = Layers::new([2, 5, 7]).then("a.0", same(4, 3)).then("bn", crate::layer::batch_norm()).then("relu", Relu);
    assert_eq!(layers.build(Store::new(0, DType::F32, &Device::Cpu).var_builder())?.head(), Some("a.0"));
    assert_eq!(Layers::new([1, 1, 1]).build(Store::new(0, DType::F32, &Device::Cpu).var_builder())?.head(), None);
    Ok(())
}

/// A network of fused and exchanged layers, its tensors, and what its layers give one by one.
struct Together {
    network: Stack,
    tensors: Vec<Tensor>,
    images: Tensor,
}

impl Together {
    fn new(n: usize) -> crate::Result<Self> {
        use crate::layer::{MaxPool2d, max_pool};
        let window = ops::Pool2dConfig { kernel: [3; 2], stride: [2; 2], ..max_pool(3).0 };
        let block = crate::layer::residual(Sequence::new().then("conv", same(3, 3)).then("relu", Relu));
        let layers = Layers::new([2, 9, 9])
            .then("conv1", conv(3, 3))
            .then("relu1", Relu)
            .then("pool", MaxPool2d(window))
            .then("block", block)
            .then("conv2", conv(5, 2))
            .then("relu2", Relu)
            .then("flatten", Flatten)
            .then("fc1", linear(4))
            .then("relu3", Relu)
            .then("fc2", linear(2));
        let network = layers.build(Store::new(2, DType::F32, &Device::Cpu).var_builder())?;
        let images = Tensor::arange(0f32, (n * 162) as f32, &Device::Cpu)?.affine(0.9, 0.0)?.sin()?.reshape((n, 2, 9, 9))?;
        let tensors = network.parameters().into_iter().map(|parameter| parameter.tensor).collect();
        Ok(Self { network, tensors, images: Var::from_tensor(&images)?.as_tensor().clone() })
    }

    fn one_by_one(&self) -> crate::Result<Tensor> {
        use crate::layer::max_pool;
        let [w1, b1, w2, b2, w3, b3, w4, b4, w5, b5] = self.tensors.as_slice() else { panic!("five layers have weights") };
        let window = ops::Pool2dConfig { kernel: [3; 2], stride: [2; 2], ..max_pool(3).0 };
        let (plain, padded) = (ops::Conv2dConfig::default(), ops::Conv2dConfig { padding: [1; 2], ..Default::default() });
        let x = ops::max_pool2d(&ops::relu(&ops::conv2d(&self.images, w1, Some(b1), &plain)?)?, &window)?;
        let x = (ops::relu(&ops::conv2d(&x, w2, Some(b2), &padded)?)? + &x)?;
        let x = ops::relu(&ops::conv2d(&x, w3, Some(b3), &plain)?)?.flatten_from(1)?;
        Ok(ops::linear(&ops::relu(&ops::linear(&x, w4, Some(b4))?)?, w5, Some(b5))?)
    }

    /// The logits, then the gradients to the images and to all weights.
    fn results(&self, logits: &Tensor) -> crate::Result<Vec<Vec<f32>>> {
        let gradients = ops::backward(&logits.sqr()?.sum_all()?)?;
        let of = |tensor: &Tensor| values(gradients.get(tensor).expect("a gradient"));
        let all = [values(logits)].into_iter().chain([&self.images].into_iter().chain(&self.tensors).map(of));
        Ok(all.collect::<Result<_>>()?)
    }
}

/// Fused and exchanged layers give what the layers give one by one, gradients too.
#[test]
fn layers_that_run_together_change_nothing() -> crate::Result<()> {
    let together = Together::new(2)?;
    for train in [false, true] {
        let logits = together.network.forward_t(&together.images, train)?;
        assert_eq!(together.results(&logits)?, together.results(&together.one_by_one()?)?);
    }
    Ok(())
}

/// Of a batch that is taken in parts the sums over images are rounded otherwise, and alike for any number of threads.
#[test]
fn parts_of_a_batch_change_nothing() -> crate::Result<()> {
    let together = Together::new(37)?;
    assert_eq!(together.network.together(0..10, &together.images), 2, "the last part has one image");
    let in_parts = || together.results(&together.network.forward_t(&together.images, true)?);
    let (ours, theirs) = (in_parts()?, together.results(&together.one_by_one()?)?);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let largest = theirs.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        assert!(ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() <= 1e-5 * largest));
    }
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        assert_eq!(pool.install(in_parts)?, ours, "{threads} threads");
    }
    Ok(())
}

#[test]
fn what_an_image_gives_may_depend_on_others() -> crate::Result<()> {
    let images = Tensor::zeros((32, 2, 5, 7), DType::F32, &Device::Cpu)?;
    let layers = |layer: Layers| layer.build(Store::new(0, DType::F32, &Device::Cpu).var_builder());
    let plain = Layers::new([2, 5, 7]).then("conv", same(3, 3)).then("relu", Relu);
    assert_eq!(layers(plain.clone())?.together(0..2, &images), 2);
    assert_eq!(layers(plain.clone().then("norm", crate::layer::batch_norm()))?.together(0..3, &images), usize::MAX);
    assert_eq!(layers(plain.then("dropout", Dropout(0.5)))?.together(0..3, &images), usize::MAX);
    let block = crate::layer::residual(Sequence::new().then("norm", crate::layer::batch_norm()));
    assert_eq!(layers(Layers::new([2, 5, 7]).then("block", block))?.together(0..1, &images), usize::MAX);
    Ok(())
}

/// The gradient at a layer, layers inside of blocks too, by finite differences of what comes behind it.
#[test]
fn a_pass_begins_at_a_layer() -> crate::Result<()> {
    let network = network()?;
    for name in ["layer1.0.conv1", "layer1.1", "layer1", "fc"] {
        let (variable, output) = network.forward_from(&images()?, name)?;
        assert_eq!(values(&output)?, values(&network.forward(&images()?)?)?, "{name}");
        assert_eq!(values(&variable)?, values(&network.forward_taps(&images()?, &[name])?[0])?, "{name}");
        let gradient = output.sum_all()?.backward()?.get(&variable).expect("a gradient").clone();
        assert_eq!(gradient.dims(), variable.dims());
    }
    // Behind `layer1.1` there is but a linear layer: its gradient is the sum of the weights.
    let (variable, output) = network.forward_from(&images()?, "layer1")?;
    let gradient = output.sum_all()?.backward()?.get(&variable).expect("a gradient").get(1)?.flatten_all()?;
    let weight = network.parameters().into_iter().find(|parameter| parameter.name == "fc.weight").expect("a weight").tensor;
    for (gradient, weight) in values(&gradient)?.iter().zip(values(&weight.sum(0)?)?) {
        assert!((gradient - weight).abs() < 1e-6, "{gradient} {weight}");
    }
    let error = network.forward_from(&images()?, "layer7").unwrap_err().to_string();
    assert!(error.contains("no layer `layer7`") && error.contains("layer1.0.conv1"), "{error}");
    Ok(())
}

#[test]
fn names_of_layers_are_in_the_order_of_the_pass() -> crate::Result<()> {
    let names = network()?.layer_names();
    let expected = [
        "layer1.0.conv1",
        "layer1.0.relu",
        "layer1.0.conv2",
        "layer1.0.downsample",
        "layer1.0",
        "layer1.1.conv",
        "layer1.1",
        "flatten",
        "dropout",
        "fc",
    ];
    assert_eq!(names, expected);
    assert_eq!(network()?.last_maps(), Some("layer1.1"));
    let layers = Layers::new([1, 8, 8]).then("conv", conv(2, 3)).then("norm", crate::layer::batch_norm()).then("relu", Relu);
    let layers = layers.then("pool", crate::layer::max_pool(2)).then("flatten", Flatten).then("fc", linear(2));
    assert_eq!(layers.build(Store::new(0, DType::F32, &Device::Cpu).var_builder())?.last_maps(), Some("relu"));
    assert_eq!(Layers::new([1, 1, 1]).build(Store::new(0, DType::F32, &Device::Cpu).var_builder())?.last_maps(), None);
    Ok(())
}

#[test]
fn names_of_parameters_are_paths() -> crate::Result<()> {
    let names: Vec<String> = network()?.parameters().into_iter().map(|parameter| parameter.name).collect();
    assert_eq!(names[0], "layer1.0.conv1.weight");
    assert!(names.contains(&"layer1.0.downsample.bias".to_owned()) && names.contains(&"layer1.1.conv.weight".to_owned()), "{names:?}");
    Ok(())
}

#[test]
fn dropout_follows_its_seed_and_its_state() -> crate::Result<()> {
    let network = network()?;
    network.set_dropout_state(DropoutState { seed: 5, drawn: 0 });
    let first = values(&network.forward_t(&images()?, true)?)?;
    let state = network.dropout_state();
    let second = values(&network.forward_t(&images()?, true)?)?;
    assert_ne!(first, second);
    network.set_dropout_state(state);
    assert_eq!(second, values(&network.forward_t(&images()?, true)?)?, "a restored state goes on as before");
    network.set_dropout_state(DropoutState { seed: 6, drawn: 0 });
    assert_ne!(first, values(&network.forward_t(&images()?, true)?)?);
    assert_eq!(values(&network.forward(&images()?)?)?, values(&network.forward(&images()?)?)?);
    Ok(())
}

#[test]
fn wrong_names_and_wrong_images_are_named() -> crate::Result<()> {
    let network = network()?;
    let error = network.forward_taps(&images()?, &["layer9"]).unwrap_err().to_string();
    assert!(error.contains("no layer `layer9`") && error.contains("layer1.1"), "{error}");
    let error = network.forward(&Tensor::zeros((1, 3, 5, 7), DType::F32, &Device::Cpu)?).unwrap_err().to_string();
    assert!(error.contains("(N, 2, H, W), given [1, 3, 5, 7]"), "{error}");
    let error = network.forward(&Tensor::zeros((1, 2, 6, 7), DType::F32, &Device::Cpu)?).unwrap_err().to_string();
    assert!(error.contains("in layer `fc`"), "{error}");
    Ok(())
}
