//! One model crate as a library, in twenty lines: a seven is drawn and read.
//!
//!     cargo run --release --example library

use candle_core::{Device, Tensor};
use cirio_lenet::LeNet5;
use cirio_nn::{Result, Weights};

fn main() -> Result<()> {
    let weights = Weights::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../weights/lenet5-mnist.safetensors"))?;
    let network = LeNet5::modern().layers().load(&weights, &Device::Cpu)?;

    // White on black, 28×28: a bar at the top, and a stroke that leans to the left.
    let bar = |row: i32, column: i32| (6..9).contains(&row) && (7..21).contains(&column);
    let stroke = |row: i32, column: i32| (9..23).contains(&row) && (column - 19 + (row - 9) / 2).abs() <= 1;
    let pixels: Vec<f32> = (0..784).map(|at| if bar(at / 28, at % 28) || stroke(at / 28, at % 28) { 1.0 } else { 0.0 }).collect();

    let image = LeNet5::prepare(&Tensor::from_vec(pixels, (1, 1, 28, 28), &Device::Cpu)?)?;
    let digit = network.forward(&image)?.argmax(1)?.to_vec1::<u32>()?[0];
    println!("the drawing is a {digit}");
    assert_eq!(digit, 7);
    Ok(())
}
