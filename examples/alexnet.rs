//! AlexNet: the arithmetic of the paper, and five guesses about a picture.
//!
//!     cargo run --release --example alexnet
//!
//! `cirio info alexnet/imagenet1k-v1` says how the published weights come into the cache. Without them the weights are random
//! ones, and the guesses mean nothing.

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use cirio_alexnet::AlexNet;
use cirio_hub::Registry;
use cirio_nn::{Stack, Store, Weights, ops};
use cirio_vision::{Image, Preprocess};

fn main() -> Result<()> {
    println!("{}", AlexNet::paper().layers().table()?);

    let (network, classes) = network()?;
    let picture = Image::open(concat!(env!("CARGO_MANIFEST_DIR"), "/images/shapes.png"))?;
    let input = Preprocess::imagenet().tensor(&picture, &Device::Cpu)?.unsqueeze(0)?;
    let probabilities = ops::softmax(&network.for_inference()?.forward(&input)?)?.squeeze(0)?.to_vec1::<f32>()?;

    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    for &class in &order[..5] {
        println!("{:6.2} %  {}", 100.0 * probabilities[class], classes[class]);
    }
    ensure!(probabilities.len() == 1000 && (probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    Ok(())
}

/// The published network where its weights are in the cache, else a random one; and the names of its classes.
fn network() -> Result<(Stack, Vec<String>)> {
    let layers = AlexNet::one_tower().layers();
    match Registry::locate()?.find(Some("alexnet"), "imagenet1k-v1") {
        Ok(found) => Ok((layers.load(&Weights::open(&found.path)?, &Device::Cpu)?, found.classes.unwrap_or_default())),
        Err(reason) => {
            println!("random weights, because: {reason}");
            let store = Store::new(0, DType::F32, &Device::Cpu);
            Ok((layers.build(store.var_builder())?, (0..1000).map(|class| format!("class {class}")).collect()))
        }
    }
}
