//! The zoo's operations in a program that has nothing else of it: candle's tensors, candle's variables, a network by hand.
//!
//! `cirio_nn::ops::conv2d` stands where `Tensor::conv2d` stood: the same numbers, sooner, and a stem of ResNet that trains, which
//! candle's own pooling refuses.
//!
//!     cargo run --release --example ops

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor, Var};
use cirio_nn::ops::{self, Conv2dConfig, Pool2dConfig};

fn main() -> Result<()> {
    let device = Device::Cpu;
    let images = Tensor::arange(0f32, 3.0 * 112.0 * 112.0, &device)?.affine(0.1, 0.0)?.sin()?.reshape((1, 3, 112, 112))?;
    let weight = Var::from_tensor(&Tensor::arange(0f32, 64.0 * 147.0, &device)?.cos()?.affine(0.05, 0.0)?.reshape((64, 3, 7, 7))?)?;

    // The stem of ResNet: 64 filters of 7×7, stride 2, padding 3.
    let config = Conv2dConfig { stride: [2; 2], padding: [3; 2], ..Conv2dConfig::default() };
    let ours = ops::conv2d(&images, &weight, None, &config)?;
    let candles = images.conv2d(&weight, 3, 2, 1, 1)?;
    let difference = (&ours - &candles)?.abs()?.max_all()?.to_scalar::<f32>()?;
    println!("maps {:?}, the largest difference from candle's is {difference:.1e}", ours.dims());
    assert!(difference < 1e-5);

    let ours_took = milliseconds(|| ops::conv2d(&images, &weight, None, &config))?;
    let candles_took = milliseconds(|| images.conv2d(&weight, 3, 2, 1, 1))?;
    println!("{ours_took:.2} ms here, {candles_took:.2} ms by candle's own convolution");

    // Windows of 3×3 that overlap: candle has no gradient for them.
    let window = Pool2dConfig { kernel: [3; 2], stride: [2; 2], padding: [1; 2], ceil_mode: false };
    let pooled = ops::max_pool2d(&ops::relu(&ours)?, &window)?;
    let gradients = pooled.sqr()?.mean_all()?.backward()?;
    let gradient = gradients.get(&weight).ok_or_else(|| candle_core::Error::msg("no gradient"))?;
    println!("the gradient to the filters has the shape {:?} and the sum {:.4}", gradient.dims(), gradient.sum_all()?.to_scalar::<f32>()?);
    assert_eq!((gradient.dims(), gradient.dtype()), (weight.dims(), DType::F32));
    Ok(())
}

/// The shortest of some runs.
fn milliseconds(run: impl Fn() -> Result<Tensor>) -> Result<f64> {
    let mut shortest = f64::INFINITY;
    for _ in 0..20 {
        let start = Instant::now();
        run()?;
        shortest = shortest.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(shortest)
}
