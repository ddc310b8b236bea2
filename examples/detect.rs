//! The objects in a picture, drawn into it.
//!
//!     cargo run --release --example detect

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use cirio_detection::Rle;
use cirio_hub::Registry;
use cirio_nn::Weights;
use cirio_vision::{Canvas, Image, class_colour, to_tensor};

fn main() -> Result<()> {
    let weights = Registry::locate()?.find(Some("maskrcnn_small"), "scenes")?;
    let names = weights.classes.context("the registry's own weights have names")?;
    let detector = cirio_mask_rcnn::small(names.len()).load(&Weights::open(&weights.path)?, &Device::Cpu)?.for_inference()?;

    // Red, green and blue in 0 … 1; the detector does the rest.
    let picture = Image::open(concat!(env!("CARGO_MANIFEST_DIR"), "/images/scene.png"))?;
    let input = to_tensor(&picture.to_rgb(), &[0.0; 3], &[1.0; 3], &Device::Cpu)?;
    let mut found = detector.detect(&[input])?.swap_remove(0);
    found.retain(|object| object.score > 0.5);

    let mut canvas = Canvas::new(&picture);
    for object in &found {
        let colour = class_colour(object.label);
        // A mask is small until its pixels are asked for.
        let mask = object.mask.as_ref().map(|mask| mask.rle(0.5)).transpose()?;
        canvas.tint(mask.iter().flat_map(Rle::runs).flatten(), colour);
        canvas.outline(object.bounds, colour);
        canvas.label(object.bounds, &names[object.label], colour);
        println!("{} at {:?}: {:.2}, {} pixels", names[object.label], object.bounds, object.score, mask.map_or(0, |mask| mask.area()));
    }
    ensure!(found.len() >= 3, "expected at least three of the articles in the scene, found {}", found.len());

    let file = std::env::temp_dir().join("cirio-detect.png");
    canvas.into_image()?.save(&file)?;
    println!("drawn in {}", file.display());
    ensure!(Image::dimensions(&file)? == (picture.width(), picture.height()), "the drawing is as large as the picture");
    Ok(())
}
