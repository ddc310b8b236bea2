//! VGG for small pictures, with the weights of the repository: what is in these pictures, and how sure is it?
//!
//!     cargo run --release --example vgg

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use cirio_hub::Registry;
use cirio_nn::{Weights, ops};
use cirio_vgg::Vgg;
use cirio_vision::Image;

fn main() -> Result<()> {
    let device = Device::Cpu;
    let found = Registry::locate()?.find(Some("vgg_small"), "fashion-mnist")?;
    let entry = found.entry.expect("the registry's own weights have an entry");
    let preprocessing = found.preprocessing.expect("those of a classifier have the way to its input");
    let network = Vgg::small().layers().load(&Weights::open(&found.path)?, &device)?.for_inference()?;

    let names = ["ankle-boot", "bag", "trouser"];
    let inputs = names.map(|name| -> Result<Tensor> {
        let picture = Image::open(format!("{}/images/{name}.png", env!("CARGO_MANIFEST_DIR")))?;
        Ok(preprocessing.tensor(&picture, &device)?)
    });
    let batch = Tensor::stack(&inputs.into_iter().collect::<Result<Vec<_>>>()?, 0)?;
    let probabilities = ops::softmax(&network.forward(&batch)?)?;
    let classes = probabilities.argmax(1)?.to_vec1::<u32>()?;
    let best = probabilities.max(1)?.to_vec1::<f32>()?;
    for ((name, class), probability) in names.iter().zip(classes).zip(best) {
        let class = &entry.classes[class as usize];
        println!("{name}.png: {class}, {:.1} %", 100.0 * probability);
        ensure!(class == name, "expected {name}");
    }
    Ok(())
}
