//! A program outside the workspace that knows one model crate and nothing else: names the class of a picture.

use cirio_lenet::LeNet5;
use cirio_lenet::candle_core::{Device, Tensor};
use cirio_lenet::cirio_nn::{Result, Weights};

/// An ankle boot of Fashion-MNIST's test part, 28×28 grey values of one hex digit each.
const BOOT: &str = include_str!("boot.txt");

fn main() -> Result<()> {
    let file = std::env::args().nth(1).expect("the file of weights");
    let network = LeNet5::modern().layers().load(&Weights::open(file)?, &Device::Cpu)?;
    let pixels: Vec<f32> = BOOT.chars().filter_map(|digit| digit.to_digit(16)).map(|grey| grey as f32 / 15.0).collect();
    let image = LeNet5::prepare(&Tensor::from_vec(pixels, (1, 1, 28, 28), &Device::Cpu)?)?;
    println!("class {}", network.forward(&image)?.argmax(1)?.to_vec1::<u32>()?[0]);
    Ok(())
}
