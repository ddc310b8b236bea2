//! ResNet as a backbone: the maps that a detector would take, of a picture of any size.
//!
//!     cargo run --release --example resnet
//!
//! The weights are the published ones where they are in the cache, else random ones.

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use cirio_hub::Registry;
use cirio_nn::layer::{BatchNorm, Statistics, batch_norm};
use cirio_nn::{Store, Weights};
use cirio_resnet::ResNet;
use cirio_vision::{Image, to_tensor};

fn main() -> Result<()> {
    let device = Device::Cpu;
    let picture = Image::open(concat!(env!("CARGO_MANIFEST_DIR"), "/images/shapes.png"))?;
    let (width, height) = (picture.width(), picture.height());
    let input = to_tensor(&picture, &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225], &device)?.unsqueeze(0)?;

    // Detectors freeze the statistics of a backbone's normalisation.
    let frozen = BatchNorm { statistics: Statistics::Frozen, ..batch_norm() };
    let list = ResNet { norm: frozen, ..ResNet::resnet18() }.features();
    let store = Store::new(0, DType::F32, &device);
    let store = match Registry::locate()?.find(Some("resnet18"), "imagenet1k-v1") {
        Ok(found) => store.with_weights(Weights::open(&found.path)?),
        Err(_) => store,
    };
    let backbone = list.build(store.var_builder())?;

    println!("{width}×{height} pixels give");
    let stages = ["layer1", "layer2", "layer3", "layer4"];
    for (index, (stage, maps)) in stages.iter().zip(backbone.forward_taps(&input, &stages)?).enumerate() {
        let (_, channels, rows, columns) = maps.dims4()?;
        println!("  {stage}: {channels} maps of {columns}×{rows}");
        let stride = 4 << index;
        ensure!([channels, rows, columns] == [64 << index, height.div_ceil(stride), width.div_ceil(stride)], "{stage}");
    }
    Ok(())
}
