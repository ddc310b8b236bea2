//! Training of detectors.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};
use cirio::nn::Weights;
use cirio::{DetectorModel, Task};
use cirio_data::objects::augment::Augmentation;
use cirio_data::objects::{ObjectSet, SceneLoader, SceneLoaderConfig};
use cirio_data::{OpenOptions, Order, Split, Strictness};
use cirio_detection::DetectorConfig;
use cirio_hub::spelling;
use cirio_nn::Store;
use cirio_train::{Held, ObjectConfig, ObjectFinder, RunConfig, RunFolder, Trainer};

use super::{Args, absolute, describe, finish, lasting};
use crate::console::{Usage, say};

/// The weights that depend on the number of classes.
const PREDICTORS: [&str; 3] = ["roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.", "roi_heads.keypoint_predictor."];

/// A new run.
pub fn begin(args: &Args, model: &DetectorModel, data: &Path, json: bool) -> Result<()> {
    if args.find_lr {
        bail!(Usage("--find-lr: only for classifiers".into()));
    }
    let start = args.weights.as_deref().map(|weights| args.hub.find(None, weights)).transpose()?;
    let sets = Sets::open(data, args.source.val_fraction, args.recipe.seed)?;
    let transform = model.config(2).transform;
    let config = RunConfig {
        model: model.name.into(),
        data: absolute(data),
        weights: args.weights.as_deref().map(lasting),
        val_fraction: args.source.val_fraction,
        strict: args.source.strict,
        classes: sets.train.categories.iter().map(|category| category.name.clone()).collect(),
        train: args.recipe.of_detector(model, start.is_some(), sets.train.len())?,
        preprocess: None,
        objects: Some(ObjectConfig {
            short_sides: transform.short_sides,
            longest: transform.longest,
            frozen_eps: model.frozen_eps,
            augment: args.recipe.scene_augmentation()?,
        }),
    };
    config.train.check().map_err(|error| Usage(error.to_string()))?;
    sets.check(model)?;
    let device = args.compute.device()?;
    let work = Work::new(model, &config, start.as_ref().map(|start| start.path.as_path()), &device)?;
    let folder = args.folder(model.task, data, &config)?;
    work.train(args, config, folder, &sets, json)
}

/// Goes on with a run.
pub fn resume(args: &Args, model: &DetectorModel, config: RunConfig, folder: RunFolder, json: bool) -> Result<()> {
    let start = args.first_weights(&folder, &config)?;
    let sets = Sets::open(&config.data, config.val_fraction, config.train.seed)?;
    sets.check(model)?;
    let device = args.compute.device()?;
    let work = Work::new(model, &config, start.as_deref(), &device)?;
    work.train(args, config, folder, &sets, json)
}

/// What is trained.
struct Work {
    detector: DetectorConfig,
    store: Store,
    device: Device,
}

impl Work {
    /// The detector and the store with its weights: those of the file `start`, but for predictors of other classes, or new ones.
    fn new(model: &DetectorModel, config: &RunConfig, start: Option<&Path>, device: &Device) -> Result<Self> {
        let objects = config.objects.as_ref().with_context(|| format!("the run of {} does not say how it sees pictures", model.name))?;
        let classes = config.classes.len() + 1;
        let mut detector = match objects.frozen_eps {
            Some(eps) => model.config_with_eps(classes, eps),
            None => model.config(classes),
        };
        detector.transform.short_sides.clone_from(&objects.short_sides);
        detector.transform.longest = objects.longest;
        let store = Store::new(config.train.seed, DType::F32, device);
        let store = match start {
            Some(file) => store.with_weights(spelling::respelled(&Weights::open(file)?, &Default::default())?),
            None => store,
        };
        let built = detector.build(store.var_builder())?;
        if let Some(file) = start {
            let report = store.report();
            report.complete_except(&PREDICTORS).with_context(|| format!("beginning with {}", file.display()))?;
            if !report.mismatched.is_empty() {
                say(format_args!("the predictors are new, for {} classes", config.classes.len()));
            }
        }
        for prefix in &config.train.freeze {
            if !built.parameters().iter().any(|parameter| parameter.name.starts_with(prefix.as_str())) {
                bail!("--freeze {prefix}: no weight's name begins so; they begin with backbone, rpn and roi_heads");
            }
        }
        Ok(Self { detector, store, device: device.clone() })
    }

    fn train(self, args: &Args, config: RunConfig, folder: RunFolder, sets: &Sets, json: bool) -> Result<()> {
        let Self { detector, store, device } = self;
        let (train, val) = sets.loaders(&config, args.source.workers())?;
        let more = [
            (
                "input",
                format!(
                    "the shorter side of {:?} pixels, the longer of {} at most",
                    detector.transform.short_sides, detector.transform.longest
                ),
            ),
            ("augmentation", train.augmentation().to_string()),
        ];
        let learner = ObjectFinder::new(detector, &store, &config.train, train, val, &device)?;
        describe(&config, &folder, &learner, &more);
        let run = folder.path().display().to_string();
        finish(Trainer::new(learner, &store, config, folder)?, &run, json)
    }
}

/// The parts of a data set.
struct Sets {
    train: Arc<ObjectSet>,
    val: Option<Arc<ObjectSet>>,
}

impl Sets {
    fn open(data: &Path, val_fraction: Option<f64>, seed: u64) -> Result<Self> {
        let options = OpenOptions { seed, val_fraction, ..OpenOptions::default() };
        let open = |split| -> Result<Arc<ObjectSet>> { Ok(Arc::new(ObjectSet::open(data, split, &options)?)) };
        let (train, val) = (open(Split::Train)?, open(Split::Val)?);
        if train.categories != val.categories {
            bail!("{}: the part for validation has other classes than that for training", data.display());
        }
        Ok(Self { train, val: Some(val).filter(|val| !val.is_empty()) })
    }

    /// That there is something that the model can learn from.
    fn check(&self, model: &DetectorModel) -> Result<()> {
        let objects = || self.train.pictures.iter().flat_map(|picture| &picture.objects).filter(|object| !object.crowd);
        if objects().next().is_none() {
            bail!("{}: there is no object in any picture", self.train.name);
        }
        if model.task == Task::Segment && objects().any(|object| object.outline.is_none()) {
            bail!(
                "{}: some objects have no mask, from which {} learns; a fasterrcnn model learns from boxes alone",
                self.train.name,
                model.name
            );
        }
        Ok(())
    }

    fn loaders(&self, config: &RunConfig, workers: usize) -> Result<(SceneLoader, Option<Held>)> {
        let plain = SceneLoaderConfig {
            batch: config.train.batch,
            seed: config.train.seed,
            workers,
            prefetch: workers + 1,
            strictness: if config.strict { Strictness::Strict } else { Strictness::Lenient },
            ..SceneLoaderConfig::default()
        };
        let augment = config.objects.iter().map(|objects| objects.augment.clone()).next().unwrap_or_default();
        let augment = augment.with_keypoints(&self.train.keypoints);
        let shuffled = SceneLoaderConfig { order: Order::Shuffled, ..plain.clone() };
        let train = SceneLoader::new(self.train.clone(), shuffled, augment)?;
        // One picture at a time, since its answer depends on the others of a batch.
        let one = SceneLoaderConfig { batch: 1, ..plain };
        let held = |set: &Arc<ObjectSet>| -> Result<Held> {
            Ok(Held { loader: SceneLoader::new(set.clone(), one.clone(), Augmentation::default())?, set: set.clone() })
        };
        Ok((train, self.val.as_ref().map(held).transpose()?))
    }
}
