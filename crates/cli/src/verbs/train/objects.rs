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
use cirio_detection::{DetectorConfig, spelt_today};
use cirio_hub::spelling;
use cirio_nn::Store;
use cirio_train::{Labelled, ObjectConfig, ObjectFinder, RunConfig, RunFolder, Trainer};

use super::{Args, absolute, describe, finish, lasting};
use crate::console::{Usage, say};
use crate::verbs::eval::warn_of_problems;

/// The weights that depend on the number of classes.
const PREDICTORS: [&str; 4] = [
    "roi_heads.box_predictor.",
    "roi_heads.pixel_head.cls_score.",
    "roi_heads.mask_predictor.mask_fcn_logits.",
    "roi_heads.keypoint_predictor.",
];

/// A new run.
pub fn begin(args: &Args, model: &DetectorModel, data: &Path, json: bool) -> Result<()> {
    if args.find_lr {
        bail!(Usage("--find-lr: only for classifiers".into()));
    }
    let start = args.weights.as_deref().map(|weights| args.hub.find_for(model.name, weights)).transpose()?;
    let options = OpenOptions {
        seed: args.recipe.seed,
        val_fraction: args.source.val_fraction,
        strictness: args.source.strictness(),
        class_names: args.source.classes.clone(),
    };
    let sets = Sets::open(data, &options)?;
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
            frozen_eps: start.as_ref().and_then(|start| start.entry.as_ref()?.frozen_eps).or(model.frozen_eps),
            augment: args.recipe.scene_augmentation()?,
        }),
    };
    config.train.check().map_err(|error| Usage(error.to_string()))?;
    sets.check(model)?;
    let device = args.compute.device()?;
    let work = Work::new(model, &config, start.as_ref().map(|start| start.path.as_path()), &sets, &device)?;
    let loaders = sets.loaders(&config, args.source.workers())?;
    let folder = args.folder(model.task, data, &config)?;
    work.train(config, folder, loaders, json)
}

/// Goes on with a run.
pub fn resume(args: &Args, model: &DetectorModel, config: RunConfig, folder: RunFolder, json: bool) -> Result<()> {
    let start = args.first_weights(&folder, &config)?;
    let options = OpenOptions {
        seed: config.train.seed,
        val_fraction: config.val_fraction,
        strictness: if config.strict { Strictness::Strict } else { Strictness::Lenient },
        class_names: Some(config.classes.clone()),
    };
    let sets = Sets::open(&config.data, &options)?;
    sets.check(model)?;
    let device = args.compute.device()?;
    let work = Work::new(model, &config, start.as_deref(), &sets, &device)?;
    let loaders = sets.loaders(&config, args.source.workers())?;
    work.train(config, folder, loaders, json)
}

/// What is trained.
struct Work {
    detector: DetectorConfig,
    store: Store,
    device: Device,
}

impl Work {
    /// The detector and the store with its weights: those of the file `start`, but for predictors of other classes, or new ones.
    fn new(model: &DetectorModel, config: &RunConfig, start: Option<&Path>, sets: &Sets, device: &Device) -> Result<Self> {
        let objects = config.objects.as_ref().with_context(|| format!("the run of {} does not say how it sees pictures", model.name))?;
        let classes = config.classes.len() + 1;
        let mut detector = match objects.frozen_eps {
            Some(eps) => model.config_with_eps(classes, eps),
            None => model.config(classes),
        };
        detector.transform.short_sides.clone_from(&objects.short_sides);
        detector.transform.longest = objects.longest;
        if let Some(keypoints) = &mut detector.keypoints {
            keypoints.points = sets.train.keypoints.len();
        }
        let store = Store::new(config.train.seed, DType::F32, device);
        let store = match start {
            Some(file) => store.with_weights(spelt_today(&spelling::respelled(&Weights::open(file)?, &Default::default())?)?),
            None => store,
        };
        let built = detector.build(store.var_builder())?;
        if let Some(file) = start {
            let mut report = store.report();
            report.unused.retain(|name| detector.misses(name));
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
        // Seen here, before the run has a folder.
        let rule = config.train.clone();
        store.freeze(move |name| rule.freezes(name, 0));
        if detector.build(store.var_builder())?.parameters().iter().all(|parameter| matches!(parameter.var(), Ok(None))) {
            bail!("--freeze {}: every weight is frozen; there is nothing to train", config.train.freeze.join(","));
        }
        Ok(Self { detector, store, device: device.clone() })
    }

    fn train(self, config: RunConfig, folder: RunFolder, (train, val): (Labelled, Option<Labelled>), json: bool) -> Result<()> {
        let Self { detector, store, device } = self;
        let more = [
            (
                "input",
                format!(
                    "the shorter side of {:?} pixels, the longer of {} at most",
                    detector.transform.short_sides, detector.transform.longest
                ),
            ),
            ("augmentation", train.loader.augmentation().to_string()),
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
    fn open(data: &Path, options: &OpenOptions) -> Result<Self> {
        let open = |split| -> Result<Arc<ObjectSet>> { Ok(Arc::new(ObjectSet::open(data, split, options)?)) };
        let (mut train, mut val) = (open(Split::Train)?, open(Split::Val)?);
        // A part whose classes have no names knows only those that are in it.
        if val.categories.starts_with(&train.categories) {
            Arc::make_mut(&mut train).categories.clone_from(&val.categories);
        } else if train.categories.starts_with(&val.categories) {
            Arc::make_mut(&mut val).categories.clone_from(&train.categories);
        }
        if train.categories != val.categories {
            bail!("{}: the part for validation has other classes than that for training", data.display());
        }
        Ok(Self { train, val: Some(val).filter(|val| !val.is_empty()) })
    }

    /// That there is something that the model can learn from, in both parts. What was left out of the labels is told.
    fn check(&self, model: &DetectorModel) -> Result<()> {
        for set in [Some(&self.train), self.val.as_ref()].into_iter().flatten() {
            warn_of_problems(set);
            let objects = || set.pictures.iter().flat_map(|picture| &picture.objects).filter(|object| !object.crowd);
            if model.task == Task::Segment && objects().any(|object| object.outline.is_none()) {
                let name = model.name;
                bail!("{}: some objects have no mask, from which {name} learns; a fasterrcnn model learns from boxes alone", set.name);
            }
            if model.task == Task::Keypoints && set.keypoints.is_empty() {
                bail!("{}: objects have no key points, from which {} learns", set.name, model.name);
            }
        }
        if self.train.pictures.iter().all(|picture| picture.objects.iter().all(|object| object.crowd)) {
            bail!("{}: there is no object in any picture", self.train.name);
        }
        Ok(())
    }

    fn loaders(&self, config: &RunConfig, workers: usize) -> Result<(Labelled, Option<Labelled>)> {
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
        let train = Labelled { loader: SceneLoader::new(self.train.clone(), shuffled, augment)?, set: self.train.clone() };
        // One picture at a time, since its answer depends on the others of a batch.
        let one = SceneLoaderConfig { batch: 1, ..plain };
        let held = |set: &Arc<ObjectSet>| -> Result<Labelled> {
            Ok(Labelled { loader: SceneLoader::new(set.clone(), one.clone(), Augmentation::default())?, set: set.clone() })
        };
        Ok((train, self.val.as_ref().map(held).transpose()?))
    }
}
