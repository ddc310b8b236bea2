//! Fine-tuning: a network that knows clothes learns digits from 40 pictures of each. First its last layer alone, then all of it.
//!
//!     cargo run --release --example fine_tune
//!
//! The same by the command:
//!
//!     cirio train --model vgg_small --weights fashion-mnist --data examples/data/digits-small --freeze features --unfreeze 4

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use cirio::nn::{Store, Weights};
use cirio_data::{Dataset, Loader, LoaderConfig, OpenOptions, Order, Split, open};
use cirio_hub::Registry;
use cirio_train::{Classifier, EpochLine, Progress, RunConfig, RunFolder, TrainConfig, Trainer};

fn main() -> Result<()> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits-small");
    let set = |split| -> Result<Arc<dyn Dataset>> { Ok(open(&data, split, &OpenOptions::default())?.into()) };
    let (pictures, held_out) = (set(Split::Train)?, set(Split::Val)?);

    let model = cirio::find("vgg_small")?;
    let start = Registry::locate()?.find(Some(model.name), "fashion-mnist")?;
    let recipe = TrainConfig {
        epochs: 12,
        batch: 20,
        freeze: vec!["features".into()],
        unfreeze: Some(4),
        learning_rate: 0.01,
        head_learning_rate: Some(0.05),
        ema: 0.98,
        augment: "affine,crop:2".parse()?,
        ..TrainConfig::default()
    };
    let preprocess = start.preprocessing.clone().unwrap_or_else(|| model.preprocess());
    let config = RunConfig {
        model: model.name.into(),
        data: data.clone(),
        weights: Some(start.name()),
        val_fraction: None,
        strict: true,
        classes: pictures.classes().to_vec(),
        preprocess: Some(preprocess.clone()),
        objects: None,
        train: recipe,
    };

    // All that fits is taken from the file; the last layer, for other classes, is new.
    let store = Store::new(config.train.seed, DType::F32, &Device::Cpu).with_weights(Weights::open(&start.path)?);
    let layers = model.layers(config.classes.len());
    let plain = LoaderConfig { batch: config.train.batch, seed: config.train.seed, ..LoaderConfig::default() };
    let shuffled = LoaderConfig { order: Order::Shuffled, ..plain.clone() };
    let train = Loader::new(pictures, shuffled, preprocess.clone(), Some(config.train.augment.clone()))?;
    let val = Loader::new(held_out, plain, preprocess, None)?;

    let folder = tempfile::tempdir()?;
    let run = RunFolder::create(folder.path(), model.task.name(), "example", &config)?;
    let learner = Classifier::new(&layers, &store, model.loss, &config.train, train, Some(val))?;
    let outcome = Trainer::new(learner, &store, config, run)?.run(&mut Lines)?;

    let (epoch, best) = outcome.best.expect("there is a validation part");
    println!("best in epoch {epoch}: {:.1} % of {} pictures right", 100.0 * best.headline().1, best.count());
    ensure!(best.headline().1 >= 0.93, "expected at least 93 %");
    Ok(())
}

/// Prints every epoch.
struct Lines;

impl Progress for Lines {
    fn epoch_ends(&mut self, line: &EpochLine, _best: bool) {
        if let Some(scores) = line.scores {
            println!("epoch {}: loss {:.3}, accuracy {:.1} %", line.epoch, line.train_loss, 100.0 * scores.headline().1);
        }
    }
}
