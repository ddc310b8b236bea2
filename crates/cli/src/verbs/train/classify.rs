//! Training of classifiers.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};
use cirio::Model;
use cirio_data::{Dataset, Format, Loader, LoaderConfig, OpenOptions, Order, Split, Strictness, class_counts, open};
use cirio_nn::{Layers, Stack, Store};
use cirio_train::{ClassWeights, Classifier, RunConfig, RunFolder, Trainer, find_learning_rate};
use cirio_vision::Preprocess;

use super::{Args, Source, absolute, describe, finish, lasting};
use crate::console::{Usage, print, print_json, say};
use crate::network;
use crate::verbs::data::warn_of_skipped;

/// A new run.
pub fn begin(args: &Args, model: &Model, data: &Path, json: bool) -> Result<()> {
    let start = args.weights.as_deref().map(|weights| args.hub.find(Some(model.name), weights)).transpose()?;
    let preprocess = start.as_ref().and_then(|start| start.preprocessing.clone()).unwrap_or_else(|| model.preprocess());
    let options = options(&args.source, data, args.recipe.seed)?;
    let sets = Sets::open(data, &options)?;
    let config = RunConfig {
        model: model.name.into(),
        data: absolute(data),
        weights: args.weights.as_deref().map(lasting),
        val_fraction: options.val_fraction,
        strict: args.source.strict,
        classes: sets.train.classes().to_vec(),
        train: args.recipe.of_classifier(model, start.is_some(), &preprocess, sets.train.len())?,
        preprocess: Some(preprocess),
        objects: None,
    };
    config.train.check().map_err(|error| Usage(error.to_string()))?;
    warn_of_unequal_classes(&config, sets.train.as_ref());
    let device = args.compute.device()?;
    let (layers, store) = build(model, &config, start.as_ref().map(|start| start.path.as_path()), &device)?;
    if let Some(classes) = start.as_ref().and_then(|start| start.classes.as_deref()) {
        note_other_names(classes, &config.classes);
    }
    let loaders = sets.loaders(&config, args.source.workers(), &device)?;
    if args.find_lr {
        return find_rate(model, &config, &layers.build(store.var_builder())?, &store, &loaders.0, json);
    }
    let folder = args.folder(model.task, data, &config)?;
    train(model, config, folder, (&layers, &store), loaders, json)
}

/// Goes on with a run.
pub fn resume(args: &Args, model: &Model, config: RunConfig, folder: RunFolder, json: bool) -> Result<()> {
    let start = args.first_weights(&folder, &config)?;
    let strictness = if config.strict { Strictness::Strict } else { Strictness::Lenient };
    let class_names = Some(config.classes.clone());
    let options = OpenOptions { seed: config.train.seed, val_fraction: config.val_fraction, strictness, class_names };
    let sets = Sets::open(&config.data, &options)?;
    let device = args.compute.device()?;
    let (layers, store) = build(model, &config, start.as_deref(), &device)?;
    let loaders = sets.loaders(&config, args.source.workers(), &device)?;
    train(model, config, folder, (&layers, &store), loaders, json)
}

fn train(
    model: &Model,
    config: RunConfig,
    folder: RunFolder,
    (layers, store): (&Layers, &Store),
    (train, val): (Loader, Option<Loader>),
    json: bool,
) -> Result<()> {
    let learner = Classifier::new(layers, store, model.loss, &config.train, train, val)?;
    let [channels, height, width] = preprocess(&config)?.output_shape();
    let weighed = (config.train.class_weights == ClassWeights::Balanced).then(|| "all count the same, whatever their pictures".to_owned());
    let more = [
        weighed.map(|text| ("classes", text)),
        Some(("input", format!("{channels}×{height}×{width}"))),
        Some(("augmentation", config.train.augment.to_string())),
    ];
    describe(&config, &folder, &learner, &more.into_iter().flatten().collect::<Vec<_>>());
    let run = folder.path().display().to_string();
    finish(Trainer::new(learner, store, config, folder)?, &run, json)
}

fn find_rate(model: &Model, config: &RunConfig, network: &Stack, store: &Store, loader: &Loader, json: bool) -> Result<()> {
    const STEPS: usize = 200;
    let found = find_learning_rate(network, store, model.loss, config.train.optimizer, &config.train.groups(), loader, STEPS)?;
    if json {
        return print_json(&serde_json::json!({ "suggestion": found.suggestion, "curve": found.curve }));
    }
    print("learning rate      loss")?;
    let every = found.curve.len().div_ceil(20).max(1);
    found.curve.iter().step_by(every).try_for_each(|(rate, loss)| print(format_args!("{rate:13.6} {loss:9.4}")))?;
    print(format_args!("\nthe loss falls fastest at {:.4}: try --lr {:.4}", found.suggestion, found.suggestion))
}

/// The way from a picture to the network's input.
fn preprocess(config: &RunConfig) -> Result<&Preprocess> {
    config.preprocess.as_ref().with_context(|| format!("the run of {} does not say how pictures are prepared", config.model))
}

/// The list of layers and the store with its weights: those of the file `start`, but for a head of other classes, or new ones.
fn build(model: &Model, config: &RunConfig, start: Option<&Path>, device: &Device) -> Result<(Layers, Store)> {
    let store = Store::new(config.train.seed, DType::F32, device);
    let recipe = config.train.clone();
    store.freeze(move |name| recipe.freezes(name, 0));
    let store = match start {
        Some(file) => store.with_weights(network::open(file, model)?),
        None => store,
    };
    let layers = model.layers(config.classes.len()).with_input(preprocess(config)?.output_shape());
    let network = layers.build(store.var_builder())?;
    if let Some(file) = start {
        let (head, report) = (network.head().unwrap_or_default(), store.report());
        report.complete_except(&[&format!("{head}.")]).with_context(|| format!("beginning with {}", file.display()))?;
        if !report.mismatched.is_empty() {
            say(format_args!("the last layer `{head}` is new, for {} classes", config.classes.len()));
        }
    }
    for prefix in &config.train.freeze {
        if !network.parameters().iter().any(|parameter| parameter.name.starts_with(prefix.as_str())) {
            bail!("--freeze {prefix}: no weight's name begins so; the layers are {}", network.names().join(", "));
        }
    }
    // Seen here, before the run has a folder.
    if network.parameters().iter().all(|parameter| matches!(parameter.var(), Ok(None))) {
        bail!("--freeze {}: every weight is frozen; there is nothing to train", config.train.freeze.join(","));
    }
    Ok((layers, store))
}

/// Says it where as many classes have other names in the weights: their head is kept, as names may be spelt in two ways.
fn note_other_names(theirs: &[String], ours: &[String]) {
    let pair = theirs.iter().zip(ours).find(|(theirs, ours)| theirs != ours).filter(|_| theirs.len() == ours.len());
    if let Some((theirs, ours)) = pair {
        say(format_args!("the last layer is that of the weights, though their class `{theirs}` is `{ours}` here"));
    }
}

/// Says it where a class has many times the pictures of another, and they count by their pictures.
fn warn_of_unequal_classes(config: &RunConfig, train: &dyn Dataset) {
    const MANY: usize = 4;
    let counts = class_counts(train.labels(), config.classes.len());
    let by_count = |class: &usize| counts[*class];
    let (fewest, most) = ((0..counts.len()).min_by_key(by_count), (0..counts.len()).max_by_key(by_count));
    let (Some(fewest), Some(most), ClassWeights::None) = (fewest, most, config.train.class_weights) else { return };
    if counts[most] > MANY * counts[fewest] {
        say(format_args!(
            "warning: `{}` has {} pictures to train with, `{}` has {}: --class-weights balanced makes all classes count the same",
            config.classes[most], counts[most], config.classes[fewest], counts[fewest]
        ));
    }
}

/// The parts of a data set.
struct Sets {
    train: Arc<dyn Dataset>,
    val: Option<Arc<dyn Dataset>>,
    strictness: Strictness,
}

impl Sets {
    fn open(data: &Path, options: &OpenOptions) -> Result<Self> {
        let train: Arc<dyn Dataset> = open(data, Split::Train, options)?.into();
        let val: Arc<dyn Dataset> = open(data, Split::Val, options)?.into();
        warn_of_skipped(train.as_ref());
        warn_of_skipped(val.as_ref());
        if train.classes().len() < 2 {
            bail!("{} has only the class `{}`: there is nothing to tell apart", data.display(), train.classes().join(""));
        }
        if train.classes() != val.classes() {
            bail!(
                "{}: the classes of the training part ({}) are not those of the validation part ({})",
                data.display(),
                train.classes().join(", "),
                val.classes().join(", ")
            );
        }
        let val = (!val.is_empty()).then_some(val);
        Ok(Self { train, val, strictness: options.strictness })
    }

    fn loaders(&self, config: &RunConfig, workers: usize, device: &Device) -> Result<(Loader, Option<Loader>)> {
        let preprocess = preprocess(config)?;
        let plain = LoaderConfig {
            batch: config.train.batch,
            seed: config.train.seed,
            workers,
            // One that waits for each that is made: at 224×224, 128 pictures are 77 MB.
            prefetch: workers + 1,
            strictness: self.strictness,
            device: device.clone(),
            ..LoaderConfig::default()
        };
        let shuffled = LoaderConfig { order: Order::Shuffled, ..plain.clone() };
        let train = Loader::new(self.train.clone(), shuffled, preprocess.clone(), Some(config.train.augment.clone()))?;
        let val = self.val.clone().map(|val| Loader::new(val, plain, preprocess.clone(), None)).transpose()?;
        Ok((train, val))
    }
}

/// How the data set is opened.
fn options(source: &Source, data: &Path, seed: u64) -> Result<OpenOptions> {
    // Files that come with a test part: it is for the end, not for choosing the best epoch.
    let usual = match Format::of(data)? {
        Format::Idx | Format::Cifar(_) => Some(0.1),
        _ => None,
    };
    let val_fraction = source.val_fraction.or(usual);
    Ok(OpenOptions { seed, val_fraction, strictness: source.strictness(), class_names: source.classes.clone() })
}
