//! A detector that knows ten articles learns to tell wear, shoes and bags from forty labelled scenes, in some two minutes.
//!
//!     cargo run --release --example fine_tune_detector
//!
//! The same by the command, for labels of your own:
//!
//!     cirio train --model maskrcnn_small --weights scenes --data FOLDER

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use cirio::nn::{Store, Weights};
use cirio_data::objects::augment::Augmentation;
use cirio_data::objects::{Category, ObjectSet, SceneLoader, SceneLoaderConfig};
use cirio_data::{OpenOptions, Order, Split};
use cirio_hub::Registry;
use cirio_train::optim::{AdamW, Rule};
use cirio_train::{EpochLine, Labelled, ObjectConfig, ObjectFinder, Progress, Quality, RunConfig, RunFolder, TrainConfig, Trainer};

/// What the ten articles are, in the order of the data's categories.
const KINDS: [(&str, &[&str]); 3] = [
    ("wear", &["t-shirt", "trouser", "pullover", "dress", "coat", "shirt"]),
    ("shoes", &["sandal", "sneaker", "ankle-boot"]),
    ("bag", &["bag"]),
];

fn main() -> Result<()> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/scenes");
    let (train, held_out) = (Arc::new(scenes(&data, Split::Train)?), Arc::new(scenes(&data, Split::Val)?));

    let model = cirio::find_detector("maskrcnn_small")?;
    let start = Registry::locate()?.find(Some(model.name), "scenes")?;
    let detector = model.config(KINDS.len() + 1);
    let config = RunConfig {
        model: model.name.into(),
        data,
        weights: Some(start.name()),
        val_fraction: None,
        strict: true,
        classes: KINDS.map(|(name, _)| name.to_owned()).to_vec(),
        train: TrainConfig {
            epochs: 16,
            batch: 8,
            learning_rate: 1e-3,
            optimizer: Rule::AdamW(AdamW::default()),
            ema: 0.9,
            ..TrainConfig::default()
        },
        preprocess: None,
        objects: Some(ObjectConfig {
            short_sides: detector.transform.short_sides.clone(),
            longest: detector.transform.longest,
            frozen_eps: None,
            augment: "hflip,photometric".parse()?,
        }),
    };

    // All that fits is taken from the file; the predictors, for other classes, are new.
    let store = Store::new(config.train.seed, DType::F32, &Device::Cpu).with_weights(Weights::open(&start.path)?);
    let plain = SceneLoaderConfig { batch: 1, ..SceneLoaderConfig::default() };
    let shuffled = SceneLoaderConfig { batch: config.train.batch, order: Order::Shuffled, ..plain.clone() };
    let augment = config.objects.as_ref().map(|objects| objects.augment.clone()).unwrap_or_default();
    let pictures = Labelled { loader: SceneLoader::new(train.clone(), shuffled, augment)?, set: train };
    let held = Labelled { loader: SceneLoader::new(held_out.clone(), plain, Augmentation::default())?, set: held_out };
    let learner = ObjectFinder::new(detector, &store, &config.train, pictures, Some(held), &Device::Cpu)?;

    let folder = tempfile::tempdir()?;
    let run = RunFolder::create(folder.path(), model.task.name(), "example", &config)?;
    let outcome = Trainer::new(learner, &store, config, run)?.run(&mut Lines)?;

    let Some((epoch, Quality::Objects(best))) = outcome.best else { anyhow::bail!("there is no validation part") };
    let masks = best.segm_ap50.unwrap_or(0.0);
    println!("best in epoch {epoch}: AP50 of boxes {:.2}, of masks {masks:.2}", best.bbox_ap50);
    ensure!(best.bbox_ap50 >= 0.8 && masks >= 0.7, "expected at least 0.80 and 0.70");
    Ok(())
}

/// The scenes of a part, each object of one of three kinds.
fn scenes(data: &Path, split: Split) -> Result<ObjectSet> {
    let mut set = ObjectSet::open(data, split, &OpenOptions::default())?;
    let kind = |category: &Category| KINDS.iter().position(|(_, names)| names.contains(&category.name.as_str()));
    let kinds: Vec<usize> = set.categories.iter().map(|category| kind(category).expect("every article is of a kind")).collect();
    set.pictures.iter_mut().flat_map(|picture| &mut picture.objects).for_each(|object| object.class = kinds[object.class]);
    set.categories = KINDS.iter().zip(1..).map(|((name, _), id)| Category { id, name: (*name).to_owned() }).collect();
    Ok(set)
}

/// Prints every fourth epoch.
struct Lines;

impl Progress for Lines {
    fn epoch_ends(&mut self, line: &EpochLine, _best: bool) {
        if let (0, Some(Quality::Objects(scores))) = (line.epoch % 4, line.scores) {
            println!("epoch {}: loss {:.2}, AP50 of boxes {:.2}", line.epoch, line.train_loss, scores.bbox_ap50);
        }
    }
}
