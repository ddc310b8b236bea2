//! `cirio train`: from a folder of pictures to a trained network.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};
use cirio::Model;
use cirio_data::{Dataset, Format, Loader, LoaderConfig, OpenOptions, Order, Split, Strictness, class_counts, open};
use cirio_nn::loss::Loss;
use cirio_nn::{Layers, Stack, Store};
use cirio_train::optim::{AdamW, Clip, Rule, Sgd};
use cirio_train::{ClassWeights, Curve, Mix, Outcome, RunConfig, RunFolder, Schedule, Scores, TrainConfig, Trainer, find_learning_rate};
use cirio_vision::Preprocess;
use cirio_vision::augment::{Augment, Flip, Pipeline, RandomCrop, RandomResizedCrop};
use clap::ValueEnum;
use serde::Serialize;

use super::data::warn_of_skipped;
use crate::console::{Usage, print, print_json, say};
use crate::network::{self, Compute, Hub};
use crate::parse;
use crate::progress::Bar;

/// Trains a model on a folder of pictures; everything but --data has a default, which is printed.
#[derive(clap::Args)]
pub struct Args {
    /// The data set's folder: a folder of pictures for each class, or IDX or CIFAR files.
    #[arg(long, short, required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Go on with the run in this folder; it knows everything else.
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "model", "weights", "out", "find_lr", "epochs", "batch", "lr", "optimizer", "momentum", "weight_decay", "schedule", "warm_up",
        "augment", "mixup", "cutmix", "label_smoothing", "ema", "clip", "patience", "freeze", "unfreeze", "layer_decay", "head_lr",
        "class_weights", "seed", "val_fraction", "classes", "strict",
    ])]
    resume: Option<PathBuf>,
    /// The model.
    #[arg(long, short, default_value = "lenet5")]
    model: String,
    /// Weights to begin with: a name, a .safetensors file, a run folder or an address; the last layer may have other classes.
    #[arg(long, short)]
    weights: Option<String>,
    /// The run's folder [default: runs/classify/MODEL-DATA, with a number behind it if there is one].
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Look for a learning rate instead of training.
    #[arg(long)]
    find_lr: bool,
    #[command(flatten)]
    recipe: Recipe,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    hub: Hub,
    #[command(flatten)]
    compute: Compute,
}

/// How it is trained.
#[derive(clap::Args)]
#[command(next_help_heading = "Recipe")]
struct Recipe {
    /// Times that every picture is seen [default: for about 2,000 steps, 10 to 100].
    #[arg(long)]
    epochs: Option<u64>,
    /// Pictures a step [default: a twentieth of the pictures, 8 to 128].
    #[arg(long, value_parser = parse::count)]
    batch: Option<usize>,
    /// The highest learning rate [default: what suits the model, in proportion to the batch; a tenth of it for a network that
    /// begins with trained weights].
    #[arg(long)]
    lr: Option<f64>,
    /// The optimiser.
    #[arg(long, value_enum, default_value = "sgd")]
    optimizer: Optimizer,
    /// The head's own highest learning rate; the head is the last layer with weights [default: that of the others; what suits the
    /// model where the others begin with trained weights].
    #[arg(long)]
    head_lr: Option<f64>,
    /// Of SGD; with Nesterov's look ahead [default: 0.9].
    #[arg(long, value_parser = parse::share)]
    momentum: Option<f64>,
    /// Decay of the weights towards 0.
    #[arg(long, default_value = "0.0005")]
    weight_decay: f64,
    /// constant, cosine, one-cycle, step:EVERY:GAMMA, or multi-step:EPOCH,EPOCH:GAMMA.
    #[arg(long, default_value = "cosine", value_parser = parse::curve)]
    schedule: Curve,
    /// Epochs of linear warm-up [default: 1; 0 for one-cycle, which rises by itself].
    #[arg(long)]
    warm_up: Option<f64>,
    /// Random changes of the pictures, between commas: flip, vertical-flip, crop:PIXELS, resized-crop, affine, color-jitter,
    /// pca-color, erase; or none [default: resized-crop,flip where pictures are cropped, else crop:2].
    #[arg(long, value_parser = parse::augment)]
    augment: Option<Pipeline>,
    /// Mix pictures and targets; the number is α of the Beta distribution.
    #[arg(long, conflicts_with = "cutmix")]
    mixup: Option<f64>,
    /// Put a part of one picture into another; the number is α of the Beta distribution.
    #[arg(long)]
    cutmix: Option<f64>,
    /// The share of each target that is spread over all classes.
    #[arg(long, default_value = "0", value_parser = parse::share)]
    label_smoothing: f64,
    /// Average the weights, keeping this share at each step; 0 for no average.
    #[arg(long, default_value = "0.999", value_parser = parse::share)]
    ema: f64,
    /// The longest that all gradients together may be.
    #[arg(long)]
    clip: Option<f64>,
    /// Stop after so many epochs that brought nothing better.
    #[arg(long)]
    patience: Option<u64>,
    /// Do not train weights whose names begin so, several between commas; the layers before the first trained one cost their
    /// forward pass alone.
    #[arg(long, value_delimiter = ',')]
    freeze: Vec<String>,
    /// Train what --freeze names too, one name after every so many epochs, the last name first.
    #[arg(long, value_name = "EPOCHS", requires = "freeze")]
    unfreeze: Option<u64>,
    /// How much the classes count in the loss.
    #[arg(long, value_enum, default_value = "none")]
    class_weights: Weighting,
    /// Each layer learns at the rate of the one behind it times this.
    #[arg(long, default_value = "1")]
    layer_decay: f64,
    /// Decides initial weights, order, augmentation and dropout: the same seed gives the same weights.
    #[arg(long, default_value = "0")]
    seed: u64,
}

/// What it is trained on.
#[derive(clap::Args)]
#[command(next_help_heading = "Data")]
struct Source {
    /// The part of each class that is held out for validation [default: none where the folder has val/, 0.2 of other image
    /// folders, 0.1 of IDX and CIFAR files, whose test part stays untouched].
    #[arg(long, value_parser = parse::part)]
    val_fraction: Option<f64>,
    /// Names for the classes, between commas, in the order of the labels.
    #[arg(long, value_delimiter = ',')]
    classes: Option<Vec<String>>,
    /// Fail on a picture that cannot be read, instead of leaving it out.
    #[arg(long)]
    strict: bool,
    /// Threads that prepare pictures beside those that compute [default: half of the cores, 1 to 8].
    #[arg(long)]
    workers: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Optimizer {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam with decoupled weight decay.
    Adamw,
}

#[derive(Clone, Copy, ValueEnum)]
enum Weighting {
    /// Every picture counts the same.
    None,
    /// Every class counts the same, however few its pictures are.
    Balanced,
}

#[derive(Serialize)]
struct Document {
    run: String,
    epochs: u64,
    best: Option<Best>,
    seconds: f64,
}

#[derive(Serialize)]
struct Best {
    epoch: u64,
    #[serde(flatten)]
    scores: Scores,
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        match (&self.resume, &self.data) {
            (Some(folder), _) => self.resume(folder, json),
            (None, Some(data)) => self.begin(data, json),
            (None, None) => bail!(Usage("what is it to be trained on? Add --data FOLDER".into())),
        }
    }

    fn begin(&self, data: &Path, json: bool) -> Result<()> {
        let model = cirio::find(&self.model)?;
        let start = self.weights.as_deref().map(|weights| self.hub.find(Some(model.name), weights)).transpose()?;
        let preprocess = start.as_ref().and_then(|start| start.preprocessing.clone()).unwrap_or_else(|| model.preprocess());
        let options = self.source.options(data, self.recipe.seed)?;
        let sets = Sets::open(data, &options)?;
        let config = RunConfig {
            model: model.name.into(),
            data: absolute(data),
            weights: self.weights.as_deref().map(lasting),
            val_fraction: options.val_fraction,
            strict: self.source.strict,
            classes: sets.train.classes().to_vec(),
            train: self.recipe.config(model, start.is_some(), &preprocess, sets.train.len())?,
            preprocess,
        };
        config.train.check().map_err(|error| Usage(error.to_string()))?;
        warn_of_unequal_classes(&config, sets.train.as_ref());
        let device = self.compute.device()?;
        let (layers, store) = build(model, &config, start.as_ref().map(|start| start.path.as_path()), &device)?;
        if let Some(classes) = start.as_ref().and_then(|start| start.classes.as_deref()) {
            note_other_names(classes, &config.classes);
        }
        let loaders = sets.loaders(&config, self.source.workers, &device)?;
        if self.find_lr {
            return self.find_rate(model, &config, &layers.build(store.var_builder())?, &store, &loaders.0, json);
        }
        let folder = match &self.out {
            Some(out) => RunFolder::create_at(out, &config)?,
            None => RunFolder::create(Path::new("runs"), model.task.name(), &format!("{}-{}", model.name, name_of(data)), &config)?,
        };
        train(model, config, folder, (&layers, &store), loaders, json)
    }

    fn resume(&self, folder: &Path, json: bool) -> Result<()> {
        let (folder, mut config) = RunFolder::open(folder)?;
        let model = cirio::find(&config.model)?;
        if let Some(data) = &self.data {
            // The data may have moved with the run.
            config.data = data.clone();
        }
        // A checkpoint has all the weights; those that the run began with may be gone. If they lacked a counter of batch norm, which
        // old files do, then the run has none either: its own weights say so.
        let last = folder.path().join("last.safetensors");
        let start = match &config.weights {
            Some(_) if folder.has_checkpoint() => Some(last).filter(|file| file.is_file()),
            Some(weights) => Some(self.hub.find(Some(model.name), weights)?.path),
            None => None,
        };
        let strictness = if config.strict { Strictness::Strict } else { Strictness::Lenient };
        let class_names = Some(config.classes.clone());
        let options = OpenOptions { seed: config.train.seed, val_fraction: config.val_fraction, strictness, class_names };
        let sets = Sets::open(&config.data, &options)?;
        let device = self.compute.device()?;
        let (layers, store) = build(model, &config, start.as_deref(), &device)?;
        let loaders = sets.loaders(&config, self.source.workers, &device)?;
        train(model, config, folder, (&layers, &store), loaders, json)
    }

    fn find_rate(&self, model: &Model, config: &RunConfig, network: &Stack, store: &Store, loader: &Loader, json: bool) -> Result<()> {
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
}

fn train(
    model: &Model,
    config: RunConfig,
    folder: RunFolder,
    built: (&Layers, &Store),
    loaders: (Loader, Option<Loader>),
    json: bool,
) -> Result<()> {
    let run = folder.path().display().to_string();
    let (train, val) = loaders;
    describe(&config, &run, &train, val.as_ref());
    let mut trainer = Trainer::new(built.0, built.1, model.loss, config, folder)?;
    if trainer.epochs_done() > 0 {
        say(format_args!("going on after epoch {}", trainer.epochs_done()));
    }
    let Outcome { epochs, best, seconds, stopped_early } = trainer.run(&train, val.as_ref(), &mut Bar::default())?;
    if stopped_early {
        say("stopped early: the last epochs brought nothing better");
    }
    if json {
        return print_json(&Document { run, epochs, best: best.map(|(epoch, scores)| Best { epoch, scores }), seconds });
    }
    match best {
        Some((epoch, scores)) => print(format_args!(
            "{run}: best in epoch {epoch} of {epochs}, {:.2} % of {} pictures right, loss {:.4}, {seconds:.1} s",
            100.0 * scores.accuracy,
            scores.count,
            scores.loss
        )),
        None => print(format_args!("{run}: {epochs} epochs, {seconds:.1} s")),
    }
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
    let layers = model.layers(config.classes.len()).with_input(config.preprocess.output_shape());
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

    fn loaders(&self, config: &RunConfig, workers: Option<usize>, device: &Device) -> Result<(Loader, Option<Loader>)> {
        let workers = workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 8)));
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
        let train = Loader::new(self.train.clone(), shuffled, config.preprocess.clone(), Some(config.train.augment.clone()))?;
        let val = self.val.clone().map(|val| Loader::new(val, plain, config.preprocess.clone(), None)).transpose()?;
        Ok((train, val))
    }
}

impl Source {
    fn options(&self, data: &Path, seed: u64) -> Result<OpenOptions> {
        let strictness = if self.strict { Strictness::Strict } else { Strictness::Lenient };
        // Files that come with a test part: it is for the end, not for choosing the best epoch.
        let usual = match Format::of(data)? {
            Format::Idx | Format::Cifar(_) => Some(0.1),
            _ => None,
        };
        Ok(OpenOptions { seed, val_fraction: self.val_fraction.or(usual), strictness, class_names: self.classes.clone() })
    }
}

/// The part of the usual learning rate for weights that are trained already: they should change less than those of a new head.
const GENTLY: f64 = 0.1;

impl Recipe {
    fn config(&self, model: &Model, trained: bool, preprocess: &Preprocess, pictures: usize) -> Result<TrainConfig> {
        if self.label_smoothing > 0.0 && !matches!(model.loss, Loss::CrossEntropy { .. }) {
            bail!(Usage(format!("--label-smoothing: {} is trained with another loss than cross-entropy, which has none", model.name)));
        }
        let batch = self.batch.unwrap_or((pictures / 20).clamp(8, 128));
        let steps = pictures.div_ceil(batch).max(1) as u64;
        let usual = self.usual_rate(model) * batch as f64 / 128.0;
        let mix = match (self.mixup, self.cutmix) {
            (Some(alpha), _) => Some(Mix::Mixup(alpha)),
            (None, cutmix) => cutmix.map(Mix::Cutmix),
        };
        Ok(TrainConfig {
            epochs: self.epochs.unwrap_or(2000u64.div_ceil(steps).clamp(10, 100)),
            batch,
            learning_rate: self.lr.unwrap_or(if trained { GENTLY * usual } else { usual }),
            head_learning_rate: self.head_lr.or((trained && self.lr.is_none()).then_some(usual)),
            weight_decay: self.weight_decay,
            label_smoothing: self.label_smoothing,
            layer_decay: self.layer_decay,
            seed: self.seed,
            ema: self.ema,
            patience: self.patience,
            freeze: self.freeze.clone(),
            unfreeze: self.unfreeze,
            class_weights: match self.class_weights {
                Weighting::None => ClassWeights::None,
                Weighting::Balanced => ClassWeights::Balanced,
            },
            clip: self.clip.map(Clip::Norm),
            mix,
            optimizer: match (self.optimizer, self.momentum) {
                (Optimizer::Sgd, momentum) => {
                    let momentum = momentum.unwrap_or(0.9);
                    Rule::Sgd(Sgd { momentum, nesterov: momentum > 0.0 })
                }
                (Optimizer::Adamw, None) => Rule::AdamW(AdamW::default()),
                (Optimizer::Adamw, Some(_)) => bail!(Usage("--momentum is SGD's; AdamW has none".into())),
            },
            schedule: Schedule { warm_up: self.warm_up.unwrap_or(self.usual_warm_up()), warm_up_from: 0.0, curve: self.schedule.clone() },
            augment: match (&self.augment, preprocess.crop) {
                (Some(augment), _) => augment.clone(),
                (None, Some(_)) => Pipeline(vec![Augment::ResizedCrop(RandomResizedCrop::default()), Augment::Flip(Flip::default())]),
                (None, None) => Pipeline(vec![Augment::Crop(RandomCrop { padding: 2, fill: 0 })]),
            },
            ..TrainConfig::default()
        })
    }

    fn usual_warm_up(&self) -> f64 {
        if matches!(self.schedule, Curve::OneCycle { .. }) { 0.0 } else { 1.0 }
    }

    fn usual_rate(&self, model: &Model) -> f64 {
        match self.optimizer {
            Optimizer::Sgd => model.learning_rate,
            // Adam's step does not depend on the size of the gradient; 0.001 is its authors' choice.
            Optimizer::Adamw => 1e-3,
        }
    }
}

/// The whole path of what is there, so that a run can be gone on with from another folder; anything else as it is.
fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Weights as another folder can find them: files and run folders by their whole path, names of the registry as they are.
fn lasting(weights: &str) -> String {
    let path = Path::new(weights);
    let is_file = path.is_file() || path.join("best.safetensors").is_file();
    if is_file { absolute(path).to_string_lossy().into_owned() } else { weights.to_owned() }
}

/// `photos/` as `photos`.
fn name_of(data: &Path) -> String {
    let name = data.canonicalize().ok().and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| "data".into())
}

/// Says on stderr what is about to be done, so that no default stays hidden.
fn describe(config: &RunConfig, run: &str, train: &Loader, val: Option<&Loader>) {
    let TrainConfig { epochs, batch, learning_rate, weight_decay, seed, optimizer, schedule, augment, ema, freeze, .. } = &config.train;
    let optimizer = match optimizer {
        Rule::Sgd(sgd) => format!("SGD with momentum {}", sgd.momentum),
        Rule::AdamW(_) => "AdamW".into(),
    };
    let curve = match &schedule.curve {
        Curve::Constant => "constant".into(),
        Curve::Step { every, gamma } => format!("times {gamma} every {every} epochs"),
        Curve::MultiStep { milestones, gamma } => format!("times {gamma} at epochs {milestones:?}"),
        Curve::Cosine { .. } => "cosine".into(),
        Curve::OneCycle { .. } => "one-cycle".into(),
    };
    let validation = val.map_or_else(|| "no validation".into(), |val| format!("{} for validation", val.pictures()));
    say(format_args!("model          {}", config.model));
    say(format_args!(
        "data           {}: {} pictures of {} classes to train with, {validation}",
        config.data.display(),
        train.pictures(),
        config.classes.len()
    ));
    say(format_args!("begins with    {}", config.weights.as_deref().unwrap_or("random weights")));
    say(format_args!("epochs         {epochs} of {} steps, {batch} pictures a step, seed {seed}", train.batches()));
    say(format_args!(
        "optimiser      {optimizer}, learning rate {learning_rate}, {curve} after {} epochs of warm-up, weight decay {weight_decay}",
        schedule.warm_up
    ));
    if let Some(rate) = config.train.head_learning_rate {
        say(format_args!("head           learning rate {rate}"));
    }
    if !freeze.is_empty() {
        let until = config.train.unfreeze.map_or_else(String::new, |epochs| match freeze.len() {
            1 => format!(", until {epochs} epochs are done"),
            _ => format!(", the last of them until {epochs} epochs are done, the one before as long again, and so on"),
        });
        say(format_args!("frozen         {}{until}", freeze.join(", ")));
    }
    if config.train.class_weights == ClassWeights::Balanced {
        say("classes        all count the same, whatever their pictures");
    }
    let [channels, height, width] = config.preprocess.output_shape();
    say(format_args!("input          {channels}×{height}×{width}"));
    say(format_args!("augmentation   {augment}"));
    say(format_args!("averaging      {ema} of the weights is kept at each step"));
    say(format_args!("run            {run}"));
}
