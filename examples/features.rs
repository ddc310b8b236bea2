//! A network that knows clothes, as a measure of likeness for digits: the nearest pictures by the features of a layer in the
//! middle, without any training; and, to compare, by the pixels themselves.
//!
//!     cargo run --release --example features

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{D, Device, Tensor};
use cirio_data::{OpenOptions, Split, open};
use cirio_hub::Registry;
use cirio_nn::{Inference, InferenceConfig, Weights};
use cirio_vgg::Vgg;
use cirio_vision::Preprocess;

/// The output of this layer is taken, the third pool: 128 maps of 4×4. Deeper layers know more of clothes and less of strokes.
const TAP: &str = "features.20";

fn main() -> Result<()> {
    let found = Registry::locate()?.find(Some("vgg_small"), "fashion-mnist")?;
    let preprocessing = found.preprocessing.expect("those of a classifier have the way to its input");
    let network = Vgg::small().layers().load(&Weights::open(&found.path)?, &Device::Cpu)?;
    let network = Inference::new(network, &InferenceConfig { taps: vec![TAP.into()], ..InferenceConfig::default() })?;

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits-small");
    let (known, known_labels) = pictures(&preprocessing, &folder, Split::Train)?;
    let (asked, asked_labels) = pictures(&preprocessing, &folder, Split::Val)?;
    let features = |pictures: &Tensor| -> Result<Tensor> { Ok(network.forward_taps(pictures)?.remove(0)) };

    let right = |nearest: Vec<u32>| nearest.iter().zip(&asked_labels).filter(|&(&at, label)| known_labels[at as usize] == *label).count();
    let by_pixels = right(nearest(&asked, &known)?);
    let by_features = right(nearest(&features(&asked)?, &features(&known)?)?);
    println!("the nearest of {} digits has the right class for", known_labels.len());
    println!("  {by_pixels} of {} by pixels", asked_labels.len());
    println!("  {by_features} of {} by {TAP}", asked_labels.len());
    ensure!(by_features > by_pixels && by_features >= 170, "expected at least 170");
    Ok(())
}

/// Pictures (N, C, H, W) and labels of a part of the folder.
fn pictures(steps: &Preprocess, folder: &Path, split: Split) -> Result<(Tensor, Vec<u32>)> {
    let set = open(folder, split, &OpenOptions::default())?;
    let inputs = (0..set.len()).map(|index| Ok(steps.tensor(&set.get(index)?.image, &Device::Cpu)?)).collect::<Result<Vec<_>>>()?;
    Ok((Tensor::stack(&inputs, 0)?, set.labels().to_vec()))
}

/// For each of `asked` (N, …) the one of `known` (M, …) at the smallest angle.
fn nearest(asked: &Tensor, known: &Tensor) -> Result<Vec<u32>> {
    let unit = |rows: &Tensor| -> Result<Tensor> {
        let rows = rows.flatten_from(1)?;
        Ok(rows.broadcast_div(&rows.sqr()?.sum_keepdim(1)?.sqrt()?)?)
    };
    Ok(unit(asked)?.matmul(&unit(known)?.t()?)?.argmax(D::Minus1)?.to_vec1()?)
}
