//! From a folder of pictures to a trained network: 400 pictures of clothes, ten classes, a few seconds.
//!
//!     cargo run --release --example train

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use cirio::nn::Store;
use cirio_data::{Dataset, Loader, LoaderConfig, OpenOptions, Order, Split, open};
use cirio_train::{Classifier, EpochLine, Progress, RunConfig, RunFolder, TrainConfig, Trainer};

fn main() -> Result<()> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fashion-small");
    let set = |split| -> Result<Arc<dyn Dataset>> { Ok(open(&data, split, &OpenOptions::default())?.into()) };
    let (pictures, held_out) = (set(Split::Train)?, set(Split::Val)?);

    let model = cirio::find("lenet5")?;
    let recipe = TrainConfig { epochs: 40, batch: 20, learning_rate: 0.01, augment: "flip,crop:2".parse()?, ..TrainConfig::default() };
    let preprocess = model.preprocess();
    let config = RunConfig {
        model: model.name.into(),
        data: data.clone(),
        weights: None,
        val_fraction: None,
        strict: true,
        classes: pictures.classes().to_vec(),
        preprocess: Some(preprocess.clone()),
        objects: None,
        train: recipe,
    };

    let store = Store::new(config.train.seed, DType::F32, &Device::Cpu);
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
    println!("best in epoch {epoch}: {:.0} % of {} pictures right", 100.0 * best.headline().1, best.count());
    ensure!(best.headline().1 >= 0.70, "expected at least 70 %");
    Ok(())
}

/// Prints every tenth epoch.
struct Lines;

impl Progress for Lines {
    fn epoch_ends(&mut self, line: &EpochLine, _best: bool) {
        if let (0, Some(scores)) = (line.epoch % 10, line.scores) {
            println!("epoch {}: loss {:.3}, accuracy {:.0} %", line.epoch, line.train_loss, 100.0 * scores.headline().1);
        }
    }
}
