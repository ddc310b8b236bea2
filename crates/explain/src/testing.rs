//! Small networks for tests.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use cirio_nn::layer::{Conv2d, Flatten, Relu, Residual, conv, linear, max_pool};
use cirio_nn::{Layers, Sequence, Stack, Store};

use crate::Result;

/// The layers of a small network with all that matters: two convolutions, a pool, a residual block and a head of 3 classes, for (2, 9, 8).
pub fn layers() -> Layers {
    let same = Conv2d { padding: [1; 2], ..conv(4, 3) };
    let body = Sequence::new().then("conv1", same.clone()).then("relu", Relu).then("conv2", same);
    Layers::new([2, 9, 8])
        .then("conv1", conv(4, 2))
        .then("relu1", Relu)
        .then("pool", max_pool(2))
        .then("block", Residual { body, shortcut: Sequence::new() })
        .then("relu2", Relu)
        .then("flatten", Flatten)
        .then("fc", linear(3))
}

/// That network with weights of a seed.
pub fn network(seed: u64) -> Result<Stack> {
    Ok(layers().build(Store::new(seed, DType::F32, &Device::Cpu).var_builder())?)
}

/// That network with weights of a seed, in f64.
pub fn network_f64(seed: u64) -> Result<Stack> {
    Ok(layers().build(Store::new(seed, DType::F64, &Device::Cpu).var_builder())?)
}

/// A picture (2, 9, 8).
pub fn image() -> Result<Tensor> {
    Ok(Tensor::arange(0f32, 144.0, &Device::Cpu)?.affine(0.83, 0.2)?.sin()?.reshape((2, 9, 8))?)
}

/// A convolution 2×2 with one filter, ReLU, a pool 2×2, and a convolution 1×1 that passes its map on as it is, and less from 10, for (1, 5, 5).
pub fn two_layers(filter: [f32; 4]) -> Result<Stack> {
    let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu);
    let weights = HashMap::from([
        ("conv1.weight".to_owned(), tensor(&filter, &[1, 1, 2, 2])?),
        ("conv1.bias".to_owned(), tensor(&[0.0], &[1])?),
        ("conv2.weight".to_owned(), tensor(&[1.0, -1.0], &[2, 1, 1, 1])?),
        ("conv2.bias".to_owned(), tensor(&[0.0, 10.0], &[2])?),
    ]);
    let layers = Layers::new([1, 5, 5]).then("conv1", conv(1, 2)).then("relu", Relu).then("pool", max_pool(2)).then("conv2", conv(2, 1));
    Ok(layers.build(VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu))?)
}

/// All values of a tensor.
pub fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}
