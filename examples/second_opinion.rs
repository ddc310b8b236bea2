//! The second opinion of `maskrcnn_small`, a small network that names articles by their pixels, trained by itself: it learns from many times as
//! many articles a second as the whole detector, which keeps all else as it is. A [`Learner`] of one's own has the trainer's loop, schedules,
//! averages, checkpoints and run folder.
//!
//!     cargo run --release --example second_opinion
//!     cargo run --release --example second_opinion -- SCENES RUNS [EPOCHS [RATE [SEED [WEIGHTS]]]]
//!
//! SCENES is a folder that `cirio data scenes` made [default: the forty of examples/data/scenes], RUNS where the run's folder is to be; the
//! `last.safetensors` in it is the whole detector. WEIGHTS are what it begins with [default: scenes].

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use cirio::nn::loss::{Loss, Targets};
use cirio::nn::{DropoutState, Parameter, Store, Weights};
use cirio_data::objects::augment::Augmentation;
use cirio_data::objects::{ObjectSet, SceneBatch, SceneLoader, SceneLoaderConfig};
use cirio_data::{OpenOptions, Order, Purpose, Split, derived_rng};
use cirio_detection::{Batch, DetectorConfig, Mode, PixelBranch, PixelConfig, Region, Xyxy};
use cirio_hub::Registry;
use cirio_train::optim::{AdamW, Rule};
use cirio_train::{
    Batched, Epoch, EpochLine, Evaluated, Learner, ObjectConfig, Progress, Quality, Report, RunConfig, RunFolder, Tally, TrainConfig,
    Trainer,
};
use cirio_vision::to_tensor;
use rand::Rng;

/// How far each edge of a true box is moved at most to learn from it, as a part of the box's side: proposals are not exact either.
const MOVED: f32 = 0.125;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let temporary = tempfile::tempdir()?;
    let data = args.first().map_or(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/scenes"), PathBuf::from);
    let runs = args.get(1).map_or(temporary.path().to_owned(), PathBuf::from);
    let number = |index: usize, default: f64| {
        args.get(index).map_or(Ok(default), |text| text.parse().with_context(|| format!("`{text}` is no number")))
    };
    let (epochs, learning_rate, seed) = (number(2, 4.0)? as u64, number(3, 1e-4)?, number(4, 0.0)? as u64);
    let [train, held_out] = [Split::Train, Split::Val].map(|split| ObjectSet::open(&data, split, &OpenOptions::default()));
    let (train, held_out) = (Arc::new(train?), Arc::new(held_out?));

    let model = cirio::find_detector("maskrcnn_small")?;
    let start = Registry::locate()?.find(Some(model.name), args.get(5).map_or("scenes", String::as_str))?;
    let classes: Vec<String> = train.categories.iter().map(|category| category.name.clone()).collect();
    let detector = model.config(classes.len() + 1);
    let recipe = TrainConfig {
        epochs,
        seed,
        batch: 16,
        learning_rate,
        optimizer: Rule::AdamW(AdamW::default()),
        weight_decay: 0.05,
        ema: 0.999,
        ..TrainConfig::default()
    };
    let config = RunConfig {
        model: model.name.into(),
        data,
        weights: Some(start.name()),
        val_fraction: None,
        strict: true,
        classes,
        preprocess: None,
        objects: Some(ObjectConfig {
            short_sides: detector.transform.short_sides.clone(),
            longest: detector.transform.longest,
            frozen_eps: None,
            augment: "hflip".parse()?,
        }),
        train: recipe.clone(),
    };

    let store = Store::new(seed, DType::F32, &Device::Cpu).with_weights(Weights::open(&start.path)?);
    let plain = SceneLoaderConfig { batch: recipe.batch, seed, ..SceneLoaderConfig::default() };
    let shuffled = SceneLoaderConfig { order: Order::Shuffled, ..plain.clone() };
    let counts = [train.len(), held_out.len()];
    let train = SceneLoader::new(train, shuffled, "hflip".parse()?)?;
    let held_out = SceneLoader::new(held_out, plain, Augmentation::default())?;
    let learner = Namer::new(detector, &store, seed, [train, held_out], counts)?;

    let run = RunFolder::create(&runs, model.task.name(), "second-opinion", &config)?;
    let outcome = Trainer::new(learner, &store, config, run)?.run(&mut Lines)?;
    let Some((epoch, Quality::Classes(best))) = outcome.best else { anyhow::bail!("there is no validation part") };
    println!("best in epoch {epoch}: {:.2} % named rightly", 100.0 * best.accuracy);
    ensure!(best.accuracy >= 0.6, "expected at least 60 %");
    Ok(())
}

/// Prints every epoch.
struct Lines;

impl Progress for Lines {
    fn epoch_ends(&mut self, line: &EpochLine, _best: bool) {
        if let Some(Quality::Classes(scores)) = line.scores {
            println!(
                "epoch {}: loss {:.3}, of others {:.3}, {:.2} % named rightly",
                line.epoch,
                line.train_loss,
                scores.loss,
                100.0 * scores.accuracy
            );
        }
    }
}

/// A second opinion, and the scenes that it learns from and is looked at with.
struct Namer {
    config: DetectorConfig,
    pixels: PixelConfig,
    opinion: PixelBranch,
    seed: u64,
    train: SceneLoader,
    held_out: SceneLoader,
    /// Pictures of both.
    counts: [usize; 2],
}

/// What a batch of scenes says: a row for each article.
struct Said {
    /// (articles, names)
    logits: Tensor,
    labels: Tensor,
}

impl Namer {
    fn new(config: DetectorConfig, store: &Store, seed: u64, [train, held_out]: [SceneLoader; 2], counts: [usize; 2]) -> Result<Self> {
        let pixels = config.roi.pixels.clone().context("this detector has no second opinion")?;
        let opinion = PixelBranch::new(3, config.roi.classes, &pixels, store.var_builder().pp("roi_heads"))?;
        Ok(Self { config, pixels, opinion, seed, train, held_out, counts })
    }

    fn names(&self) -> usize {
        self.config.roi.classes - 1
    }

    /// What the articles in their true boxes are taken for; in training the boxes' edges are moved. None where there is no article.
    fn says(&self, batch: &SceneBatch, epoch: u64, mode: Mode) -> cirio_train::Result<Option<Said>> {
        let rng = &mut derived_rng(self.seed, epoch, Purpose::Batch, batch.number as u64);
        let pictures = batch.scenes.iter().map(|scene| to_tensor(&scene.image.to_rgb(), &[0.0; 3], &[1.0; 3], &Device::Cpu));
        let Batch { images, sizes, originals } =
            self.config.transform.batch(&pictures.collect::<std::result::Result<Vec<_>, _>>()?, None)?;
        let (mut regions, mut labels) = (Vec::new(), Vec::new());
        for (image, scene) in batch.scenes.iter().enumerate() {
            for article in &scene.instances {
                let bounds = cirio_detection::boxes::resize(article.edges, originals[image], sizes[image]);
                let bounds = if mode == Mode::Training { moved(bounds, rng) } else { bounds };
                regions.push(Region { image, bounds });
                labels.push(article.class as u32);
            }
        }
        if regions.is_empty() {
            return Ok(None);
        }
        let pixels = self.opinion.pixels(&Batch { images, sizes, originals }, &regions)?;
        let logits = self.opinion.opinion(&pixels, mode)?.narrow(1, 1, self.names())?;
        Ok(Some(Said { logits, labels: Tensor::new(labels, &Device::Cpu)? }))
    }
}

/// A box with each edge somewhere near.
fn moved(bounds: Xyxy, rng: &mut impl Rng) -> Xyxy {
    let [width, height] = [bounds[2] - bounds[0], bounds[3] - bounds[1]];
    let mut near = |edge: f32, side: f32| edge + side * rng.random_range(-MOVED..MOVED);
    [near(bounds[0], width), near(bounds[1], height), near(bounds[2], width), near(bounds[3], height)]
}

impl Learner for Namer {
    fn build(&mut self, store: &Store) -> cirio_train::Result<()> {
        // All of the detector, so that all of it is saved.
        self.config.build(store.var_builder())?;
        self.opinion = PixelBranch::new(3, self.config.roi.classes, &self.pixels, store.var_builder().pp("roi_heads"))?;
        Ok(())
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.opinion.parameters("roi_heads")
    }

    fn dropout_state(&self) -> DropoutState {
        DropoutState::default()
    }

    fn set_dropout_state(&self, _state: DropoutState) {}

    fn pictures(&self) -> [(usize, u64); 2] {
        // No hash: this run is never gone on with.
        self.counts.map(|count| (count, 0))
    }

    fn batches(&self) -> usize {
        self.train.batches()
    }

    fn epoch(&mut self, epoch: u64, step: &mut dyn FnMut(Batched) -> cirio_train::Result<()>) -> cirio_train::Result<Epoch> {
        let loss = Loss::CrossEntropy { label_smoothing: 0.0 };
        let mut batches = self.train.epoch(epoch);
        for batch in batches.by_ref() {
            let batch = batch?;
            let Some(Said { logits, labels }) = self.says(&batch, epoch, Mode::Training)? else { continue };
            let names = || batch.names.join(", ");
            step(Batched {
                loss: loss.mean(&logits, &Targets::Labels(labels))?,
                terms: Vec::new(),
                pictures: batch.scenes.len(),
                names: &names,
            })?;
        }
        Ok(Epoch { accuracy: None, skipped: batches.skipped().to_vec() })
    }

    fn evaluate(&self, _store: &Store) -> cirio_train::Result<Option<Evaluated>> {
        let loss = Loss::CrossEntropy { label_smoothing: 0.0 };
        let mut tally = Tally::new(self.names());
        let mut batches = self.held_out.epoch(0);
        for batch in batches.by_ref() {
            if let Some(Said { logits, labels }) = self.says(&batch?, 0, Mode::Evaluation)? {
                tally.add(&logits, &labels, &loss.each(&logits, &Targets::Labels(labels.clone()))?)?;
            }
        }
        let quality = Quality::Classes(tally.scores());
        Ok(Some(Evaluated { quality, report: Report::Classes(tally.into_confusion()), skipped: batches.skipped().to_vec() }))
    }
}
