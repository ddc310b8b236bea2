//! Twenty steps of training: the same losses as torchvision's at each, so the same gradients of every part, and the same steps.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use cirio::nn::Store;
use cirio_train::optim::{Decayed, GroupOptions, Optimizer, Rule, Sgd, param_groups};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Deserialize;

use crate::FOLDER;
use crate::detectors::{CLASSES, PICTURES, close, config, small, targets};
use crate::generated::Generated;

/// Of a loss, where each step depends on all that were before.
const TOLERANCE: f64 = 1e-3;

/// What torchvision's losses were.
#[derive(Deserialize)]
struct Course {
    model: String,
    seed: u32,
    sgd: Settings,
    losses: Vec<BTreeMap<String, f64>>,
}

#[derive(Deserialize)]
struct Settings {
    lr: f64,
    momentum: f64,
    weight_decay: f64,
}

#[test]
fn losses_of_twenty_steps() -> Result<()> {
    let text = std::fs::read_to_string(Path::new(FOLDER).join("steps.json")).expect("the losses");
    let courses: Vec<Course> = serde_json::from_str(&text).expect("sound losses");
    for Course { model, seed, sgd, losses } in courses {
        let generated = Generated::new(&model, seed);
        let store = Store::new(0, DType::F32, &Device::Cpu);
        store.freeze(|name| ["backbone.body.conv1", "backbone.body.layer1"].iter().any(|frozen| name.starts_with(frozen)));
        let detector = small(config(&model, CLASSES)).build(store.var_builder())?;
        let weights = generated.var_builder();
        for (name, tensor) in store.tensors() {
            store.set(&name, &weights.get(tensor.dims(), &name)?)?;
        }
        let options = GroupOptions { weight_decay: sgd.weight_decay, decayed: Decayed::All, layer_decay: 1.0, head_scale: 1.0 };
        let rule = Rule::Sgd(Sgd { momentum: sgd.momentum, nesterov: false });
        let mut optimizer = Optimizer::new(rule, param_groups(&detector.parameters(), &options)?)?;
        let pictures = PICTURES.iter().map(|(name, height, width)| generated.picture(name, *height, *width));
        let pictures = pictures.collect::<candle_core::Result<Vec<Tensor>>>()?;
        let (targets, rng) = (targets(&model)?, &mut ChaCha8Rng::seed_from_u64(0));
        assert_eq!(losses.len(), 20);
        for (step, theirs) in losses.iter().enumerate() {
            let ours = detector.losses(&pictures, &targets, rng)?;
            for (name, loss) in &ours.terms {
                close(
                    &format!("{name} of step {step}"),
                    f64::from(loss.to_scalar::<f32>()?),
                    theirs[*name],
                    TOLERANCE * theirs[*name].max(0.1),
                );
            }
            optimizer.step(&ours.total()?.backward()?, sgd.lr)?;
        }
    }
    Ok(())
}
