//! `cirio train`: from a folder of pictures to a trained network.

mod classify;
mod objects;
mod recipe;

use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Result, bail};
use cirio::Task;
use cirio_data::Strictness;
use cirio_train::optim::Rule;
use cirio_train::{Curve, Learner, Outcome, Quality, RunConfig, RunFolder, TrainConfig, Trainer};
use serde::Serialize;

use self::recipe::Recipe;
use crate::console::{Usage, print, print_json, say};
use crate::network::{Compute, Hub};
use crate::parse;
use crate::progress::Bar;

/// Trains a model on a folder of pictures; everything but --data has a default, which is printed.
#[derive(clap::Args)]
pub struct Args {
    /// The data set's folder: a folder of pictures for each class, or IDX or CIFAR files; for detectors COCO, VOC, YOLO or labelme.
    #[arg(long, short, required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Go on with the run in this folder; it knows everything else.
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "model", "weights", "out", "find_lr", "epochs", "batch", "accumulate", "lr", "optimizer", "momentum", "weight_decay", "schedule", "warm_up",
        "augment", "mixup", "cutmix", "label_smoothing", "ema", "clip", "patience", "snapshots", "freeze", "unfreeze", "layer_decay",
        "head_lr", "class_weights", "seed", "val_fraction", "classes", "strict",
    ])]
    resume: Option<PathBuf>,
    /// The model.
    #[arg(long, short, default_value = "lenet5")]
    model: String,
    /// Weights to begin with: a name, a .safetensors file, a run folder or an address; the last layer may have other classes.
    #[arg(long, short)]
    weights: Option<String>,
    /// The run's folder [default: runs/TASK/MODEL-DATA, with a number behind it if there is one].
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
    scores: Quality,
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        match (&self.resume, &self.data) {
            (Some(run), _) => self.resume(run, json),
            (None, Some(data)) => match cirio::find_detector(&self.model) {
                Ok(model) => objects::begin(&self, model, data, json),
                Err(_) => classify::begin(&self, cirio::find(&self.model)?, data, json),
            },
            (None, None) => bail!(Usage("what is it to be trained on? Add --data FOLDER".into())),
        }
    }

    fn resume(&self, run: &Path, json: bool) -> Result<()> {
        let (folder, mut config) = RunFolder::open(run)?;
        if let Some(data) = &self.data {
            // The data may have moved with the run.
            config.data = data.clone();
        }
        match cirio::find_detector(&config.model) {
            Ok(model) => objects::resume(self, model, config, folder, json),
            Err(_) => classify::resume(self, cirio::find(&config.model)?, config, folder, json),
        }
    }

    /// The folder of a new run.
    fn folder(&self, task: Task, data: &Path, config: &RunConfig) -> Result<RunFolder> {
        match &self.out {
            Some(out) => Ok(RunFolder::create_at(out, config)?),
            None => Ok(RunFolder::create(Path::new("runs"), task.name(), &format!("{}-{}", config.model, name_of(data)), config)?),
        }
    }

    /// The file of the weights that a run goes on with, where it began with some. A checkpoint has all the weights; those that the run
    /// began with may be gone. If they lacked a counter of batch norm, which old files do, then the run has none either: its own weights say so.
    fn first_weights(&self, folder: &RunFolder, config: &RunConfig) -> Result<Option<PathBuf>> {
        match &config.weights {
            Some(_) if folder.has_checkpoint() => Ok(Some(folder.path().join("last.safetensors")).filter(|file| file.is_file())),
            Some(weights) => Ok(Some(self.hub.find_for(&config.model, weights)?.path)),
            None => Ok(None),
        }
    }
}

impl Source {
    fn strictness(&self) -> Strictness {
        if self.strict { Strictness::Strict } else { Strictness::Lenient }
    }

    fn workers(&self) -> usize {
        self.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 8)))
    }
}

/// Trains to the end of the run, and tells what came of it.
fn finish(mut trainer: Trainer, run: &str, json: bool) -> Result<()> {
    if trainer.epochs_done() > 0 {
        say(format_args!("going on after epoch {}", trainer.epochs_done()));
    }
    let Outcome { epochs, best, seconds, stopped_early } = trainer.run(&mut Bar::default())?;
    if stopped_early {
        say("stopped early: the last epochs brought nothing better");
    }
    if json {
        return print_json(&Document { run: run.to_owned(), epochs, best: best.map(|(epoch, scores)| Best { epoch, scores }), seconds });
    }
    match best {
        Some((epoch, scores)) => {
            let (name, value) = scores.headline();
            let (value, count, loss) = (100.0 * value, scores.count(), scores.loss());
            print(format_args!(
                "{run}: best in epoch {epoch} of {epochs}, {name} {value:.2} % on {count} pictures, loss {loss:.4}, {seconds:.1} s"
            ))
        }
        None => print(format_args!("{run}: {epochs} epochs, {seconds:.1} s")),
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

/// Says on stderr what is about to be done, so that no default stays hidden. `more` are lines with a name each.
fn describe(config: &RunConfig, folder: &RunFolder, learner: &impl Learner, more: &[(&str, String)]) {
    let TrainConfig { epochs, batch, accumulate, learning_rate, weight_decay, seed, schedule, ema, snapshots, freeze, .. } = &config.train;
    let line = |name: &str, text: &str| say(format_args!("{name:<14} {text}"));
    let [(train, _), (val, _)] = learner.pictures();
    let validation = if val == 0 { "no validation".to_owned() } else { format!("{val} for validation") };
    let (data, classes) = (config.data.display(), config.classes.len());
    line("model", &config.model);
    line("data", &format!("{data}: {train} pictures of {classes} classes to train with, {validation}"));
    line("begins with", config.weights.as_deref().unwrap_or("random weights"));
    let passes = if *accumulate > 1 { format!(" in {accumulate} passes of {batch}") } else { String::new() };
    let (steps, pictures) = (learner.batches().div_ceil(*accumulate as usize), batch * *accumulate as usize);
    line("epochs", &format!("{epochs} of {steps} steps, {pictures} pictures a step{passes}, seed {seed}"));
    let optimizer = match config.train.optimizer {
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
    let warm_up = schedule.warm_up;
    line(
        "optimiser",
        &format!("{optimizer}, learning rate {learning_rate}, {curve} after {warm_up} epochs of warm-up, weight decay {weight_decay}"),
    );
    if let Some(rate) = config.train.head_learning_rate {
        line("head", &format!("learning rate {rate}"));
    }
    if !freeze.is_empty() {
        let until = config.train.unfreeze.map_or_else(String::new, |epochs| match freeze.len() {
            1 => format!(", until {epochs} epochs are done"),
            _ => format!(", the last of them until {epochs} epochs are done, the one before as long again, and so on"),
        });
        line("frozen", &format!("{}{until}", freeze.join(", ")));
    }
    more.iter().for_each(|(name, text)| line(name, text));
    line("averaging", &format!("{ema} of the weights is kept at each step"));
    if let Some(every) = snapshots {
        line("snapshots", &format!("the first weights, and those after every {every} epochs"));
    }
    line("run", &folder.path().display().to_string());
}
