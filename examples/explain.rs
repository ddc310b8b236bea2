//! What does a network look at? Grad-CAM, an occlusion map and a deconvnet of one picture, in numbers and as one sheet, and a check that the
//! map is about the network: with other weights it is another one.
//!
//!     cargo run --release --example explain

use std::path::Path;

use anyhow::{Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use cirio_explain::{Heat, Occluder, Rectifier, Target, Weighing, class_activation, occlusion, trace};
use cirio_hub::Registry;
use cirio_lenet::LeNet5;
use cirio_nn::{Stack, Store, Weights};
use cirio_vision::draw::{Cell, ColourMap, Ground, enlarge, overlay, sheet};
use cirio_vision::{Image, from_tensor};

const BOOT: usize = 9;

fn main() -> Result<()> {
    let found = Registry::locate()?.find(Some("lenet5"), "fashion-mnist")?;
    let layers = LeNet5::modern().layers();
    let network = layers.load(&Weights::open(&found.path)?, &Device::Cpu)?;
    let preprocess = found.preprocessing.expect("those of a classifier have the way to its input");
    let picture = Image::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("images/ankle-boot.png"))?;
    let input = preprocess.tensor(&picture, &Device::Cpu)?; // (1, 32, 32)

    // The layer's maps, weighed by how much they move the score.
    let map = class_activation(&network, &input, "relu2", BOOT, Weighing::GradCam)?;
    println!("Grad-CAM: the strongest of {}×{} places is {:?}", map.height, map.width, map.strongest().expect("a place"));
    let random = layers.build(Store::new(1, DType::F32, &Device::Cpu).var_builder())?;
    let likeness = likeness(&map, &any_map(&random, &input)?);
    println!("          its likeness to the map of random weights is {likeness:.2}");

    // What is lost when a part is hidden.
    let occluder = Occluder { patch: [8, 8], stride: [2, 2], ..Occluder::places(14, [32, 32]) };
    let hidden = occlusion(&input, &occluder, |images| network.forward(images))?;
    let boot = hidden.of_class(BOOT)?;
    let lowest = boot.values.iter().copied().fold(1f32, f32::min);
    println!("Occlusion: a patch of 8×8 takes the probability from {:.4} to {lowest:.4} at worst", hidden.whole[BOOT]);

    // What made the strongest activation of a map.
    let strongest = trace(&network, &input, &Target::Map { layer: "pool2", map: 0, place: None }, Rectifier::Deconvnet)?;
    println!("Deconvnet: map 0 of pool2 is {:.2} at {:?}", strongest.value, strongest.place);

    let shown = enlarge(&preprocess.apply(&picture)?.to_rgb(), 8)?;
    let over = |heat: &Heat| overlay(&shown, &heat.values, heat.width, heat.height, ColourMap::Magma, None, 0.7);
    let most = f64::from(strongest.gradient.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?);
    let back = from_tensor(&(&strongest.gradient / (2.0 * most))?, &[0.5], &[1.0])?;
    let cells = [
        Cell::new(shown.clone(), "the picture"),
        Cell::new(over(&map)?, "Grad-CAM"),
        Cell::new(over(&hidden.over_pixels(BOOT, &occluder)?)?, "probability, hidden here"),
        Cell::new(enlarge(&back.to_rgb(), 8)?, "deconvnet, map 0"),
    ];
    let file = std::env::temp_dir().join("cirio-explain.png");
    sheet(&cells, 4, Ground::White, Some("What LeNet-5 sees in a boot"))?.save(&file)?;
    println!("drawn: {}", file.display());

    ensure!(hidden.whole[BOOT] > 0.9 && lowest < hidden.whole[BOOT], "a boot with a part hidden is less of a boot");
    ensure!(likeness < 0.95, "a map that does not change with the weights shows the picture alone");
    Ok(())
}

/// The first class whose map is not dead.
fn any_map(network: &Stack, input: &Tensor) -> Result<Heat> {
    for class in 0..10 {
        if let Ok(map) = class_activation(network, input, "relu2", class, Weighing::GradCam) {
            return Ok(map);
        }
    }
    bail!("no map is alive")
}

/// The cosine of the angle between two maps.
fn likeness(one: &Heat, other: &Heat) -> f32 {
    let product = |a: &Heat, b: &Heat| a.values.iter().zip(&b.values).map(|(a, b)| a * b).sum::<f32>();
    product(one, other) / (product(one, one) * product(other, other)).sqrt()
}
