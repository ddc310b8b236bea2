//! The objects in a picture, drawn into it.
//!
//!     cargo run --release --example detect
//!
//! The weights are the published ones where they are in the cache; else a small network with random ones shows the way.

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use cirio_detection::{Detector, Rle};
use cirio_hub::{Downloads, Registry};
use cirio_nn::{Store, Weights};
use cirio_vision::{Canvas, Image, class_colour, to_tensor};

fn main() -> Result<()> {
    let picture = Image::open(concat!(env!("CARGO_MANIFEST_DIR"), "/images/scene.png"))?;
    let (detector, names) = detector()?;

    // Red, green and blue in 0 … 1; the detector does the rest.
    let input = to_tensor(&picture.to_rgb(), &[0.0; 3], &[1.0; 3], &Device::Cpu)?;
    let found = detector.detect(&[input])?.swap_remove(0);
    let mut canvas = Canvas::new(&picture);
    for object in &found {
        let colour = class_colour(object.label);
        // A mask is small until its pixels are asked for.
        let mask = object.mask.as_ref().map(|mask| mask.rle(0.5)).transpose()?;
        canvas.tint(mask.iter().flat_map(Rle::runs).flatten(), colour);
        canvas.outline(object.bounds, colour);
        canvas.label(object.bounds, &names[object.label], colour);
        println!("{} at {:?}: {:.2}, {} pixels", names[object.label], object.bounds, object.score, mask.map_or(0, |mask| mask.area()));
        ensure!(object.score > 0.0 && object.bounds[0] < object.bounds[2] && object.bounds[1] < object.bounds[3], "{object:?}");
    }

    let file = std::env::temp_dir().join("cirio-detect.png");
    canvas.into_image()?.save(&file)?;
    println!("drawn in {}", file.display());
    ensure!(Image::dimensions(&file)? == (picture.width(), picture.height()), "the drawing is as large as the picture");
    Ok(())
}

/// A detector, and the names of its classes.
fn detector() -> Result<(Detector, Vec<String>)> {
    let mut cache = Downloads::from_env();
    cache.offline = true;
    let registry = Registry::locate()?.with_downloads(cache);
    if let Ok(weights) = registry.find(None, "maskrcnn_resnet50_fpn/coco-v1") {
        let names = weights.classes.expect("the registry's own weights have names");
        let detector = cirio_mask_rcnn::resnet50_fpn(names.len()).load(&Weights::open(&weights.path)?, &Device::Cpu)?;
        return Ok((detector.for_inference()?, names));
    }
    let names: Vec<String> = ["background", "this", "that"].map(str::to_owned).into();
    let mut config = cirio_mask_rcnn::resnet18_fpn(names.len());
    config.transform.short_sides = vec![160];
    config.roi.detections = 5;
    let store = Store::new(0, DType::F32, &Device::Cpu);
    Ok((config.build(store.var_builder())?.for_inference()?, names))
}
