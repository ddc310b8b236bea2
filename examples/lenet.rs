//! What is in this picture? LeNet-5 with the weights of the repository.
//!
//!     cargo run --release --example lenet

use anyhow::{Result, ensure};
use candle_core::Device;
use cirio_hub::Registry;
use cirio_lenet::LeNet5;
use cirio_nn::Weights;
use cirio_vision::Image;

fn main() -> Result<()> {
    let device = Device::Cpu;
    // The registry checks the file's hash, and knows its classes and the way from a picture to the network's input.
    let found = Registry::locate()?.find(Some("lenet5"), "fashion-mnist")?;
    let entry = found.entry.expect("the registry's own weights have an entry");
    let preprocessing = found.preprocessing.expect("those of a classifier have the way to its input");
    let network = LeNet5::modern().layers().load(&Weights::open(&found.path)?, &device)?;

    for name in ["ankle-boot", "bag", "trouser"] {
        let picture = Image::open(format!("{}/images/{name}.png", env!("CARGO_MANIFEST_DIR")))?;
        let input = preprocessing.tensor(&picture, &device)?.unsqueeze(0)?;
        let class = network.forward(&input)?.argmax(1)?.to_vec1::<u32>()?[0] as usize;
        println!("{name}.png: {}", entry.classes[class]);
        ensure!(entry.classes[class] == name, "expected {name}");
    }
    Ok(())
}
