//! How a network is trained, from flags.

use anyhow::{Result, bail};
use cirio::{DetectorModel, Model};
use cirio_data::objects::augment::Augmentation;
use cirio_nn::loss::Loss;
use cirio_train::optim::{AdamW, Clip, Rule, Sgd};
use cirio_train::{ClassWeights, Curve, Mix, Schedule, TrainConfig};
use cirio_vision::Preprocess;
use cirio_vision::augment::{Augment, Flip, Pipeline, RandomCrop, RandomResizedCrop};
use clap::ValueEnum;

use crate::console::Usage;
use crate::parse;

/// How it is trained.
#[derive(clap::Args)]
#[command(next_help_heading = "Recipe")]
pub struct Recipe {
    /// Times that every picture is seen [default: for about 2,000 steps, 10 to 100].
    #[arg(long)]
    epochs: Option<u64>,
    /// Pictures a pass [default: a twentieth of the pictures, 8 to 128; what suits a detector].
    #[arg(long, value_parser = parse::count)]
    batch: Option<usize>,
    /// Passes a step: their gradients are averaged, so that little memory is enough for large steps.
    #[arg(long, value_name = "PASSES", default_value = "1", value_parser = parse::count)]
    accumulate: usize,
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
    /// Decay of the weights towards 0 [default: 0.0005; 0.0001 for detectors].
    #[arg(long)]
    weight_decay: Option<f64>,
    /// constant, cosine, one-cycle, step:EVERY:GAMMA, or multi-step:EPOCH,EPOCH:GAMMA.
    #[arg(long, default_value = "cosine", value_parser = parse::curve)]
    schedule: Curve,
    /// Epochs of linear warm-up [default: 1; 0 for one-cycle, which rises by itself].
    #[arg(long)]
    warm_up: Option<f64>,
    /// Random changes of the pictures, between commas: flip, vertical-flip, crop:PIXELS, resized-crop, affine, color-jitter,
    /// pca-color, erase; or none [default: resized-crop,flip where pictures are cropped, else crop:2]. For detectors: hflip, photometric,
    /// zoom-out, iou-crop, scale-jitter:SIDE, shortest-side:A/B/C, copy-paste, or torchvision's multiscale, lsj, ssd; or none [default: hflip].
    #[arg(long)]
    augment: Option<String>,
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
    /// Keep the weights that the run begins with, and those after every so many epochs, in RUN/snapshots [default: the last and the best alone].
    #[arg(long, value_name = "EPOCHS")]
    snapshots: Option<u64>,
    /// Do not train weights whose names begin so, several between commas; the layers before the first trained one cost their
    /// forward pass alone. `none` trains all [default: none; the first stages of a detector that begins with trained weights].
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
    pub seed: u64,
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

/// The part of the usual learning rate for weights that are trained already: they should change less than those of a new head.
const GENTLY: f64 = 0.1;

impl Recipe {
    pub fn of_classifier(&self, model: &Model, trained: bool, preprocess: &Preprocess, pictures: usize) -> Result<TrainConfig> {
        if self.label_smoothing > 0.0 && !matches!(model.loss, Loss::CrossEntropy { .. }) {
            bail!(Usage(format!("--label-smoothing: {} is trained with another loss than cross-entropy, which has none", model.name)));
        }
        let batch = self.batch.unwrap_or((pictures / 20).clamp(8, 128));
        let steps = pictures.div_ceil(batch * self.accumulate).max(1) as u64;
        let usual = self.usual_rate(model) * (batch * self.accumulate) as f64 / 128.0;
        let mix = match (self.mixup, self.cutmix) {
            (Some(alpha), _) => Some(Mix::Mixup(alpha)),
            (None, cutmix) => cutmix.map(Mix::Cutmix),
        };
        Ok(TrainConfig {
            epochs: self.epochs.unwrap_or(2000u64.div_ceil(steps).clamp(10, 100)),
            batch,
            accumulate: self.accumulate as u64,
            learning_rate: self.lr.unwrap_or(if trained { GENTLY * usual } else { usual }),
            head_learning_rate: self.head_lr.or((trained && self.lr.is_none()).then_some(usual)),
            weight_decay: self.weight_decay.unwrap_or(5e-4),
            label_smoothing: self.label_smoothing,
            layer_decay: self.layer_decay,
            seed: self.seed,
            ema: self.ema,
            patience: self.patience,
            snapshots: self.snapshots,
            freeze: self.frozen(&[]),
            unfreeze: self.unfreeze,
            class_weights: match self.class_weights {
                Weighting::None => ClassWeights::None,
                Weighting::Balanced => ClassWeights::Balanced,
            },
            clip: self.clip.map(Clip::Norm),
            mix,
            optimizer: self.rule(true)?,
            schedule: Schedule { warm_up: self.warm_up.unwrap_or(self.usual_warm_up()), warm_up_from: 0.0, curve: self.schedule.clone() },
            augment: match (&self.augment, preprocess.crop) {
                (Some(augment), _) => augment.parse().map_err(|error| Usage(format!("--augment: {error}")))?,
                (None, Some(_)) => Pipeline(vec![Augment::ResizedCrop(RandomResizedCrop::default()), Augment::Flip(Flip::default())]),
                (None, None) => Pipeline(vec![Augment::Crop(RandomCrop { padding: 2, fill: 0 })]),
            },
            ..TrainConfig::default()
        })
    }

    /// For a detector. Those of torchvision are trained as its `references/detection` does.
    pub fn of_detector(&self, model: &DetectorModel, trained: bool, pictures: usize) -> Result<TrainConfig> {
        let classifiers = [
            (self.mixup.is_some(), "--mixup"),
            (self.cutmix.is_some(), "--cutmix"),
            (self.label_smoothing > 0.0, "--label-smoothing"),
            (matches!(self.class_weights, Weighting::Balanced), "--class-weights"),
            (self.head_lr.is_some(), "--head-lr"),
            (self.layer_decay != 1.0, "--layer-decay"),
        ];
        if let Some((_, flag)) = classifiers.iter().find(|(given, _)| *given) {
            bail!(Usage(format!("{flag}: only for classifiers, and {} is a detector", model.name)));
        }
        let batch = self.batch.unwrap_or(model.recipe.batch);
        let steps = pictures.div_ceil(batch * self.accumulate).max(1) as u64;
        let usual = match self.optimizer {
            Optimizer::Sgd => model.recipe.learning_rate * (batch * self.accumulate) as f64 / 16.0,
            Optimizer::Adamw => 1e-4,
        };
        Ok(TrainConfig {
            epochs: self.epochs.unwrap_or(2000u64.div_ceil(steps).clamp(10, 100)),
            batch,
            accumulate: self.accumulate as u64,
            learning_rate: self.lr.unwrap_or(usual),
            weight_decay: self.weight_decay.unwrap_or(model.recipe.weight_decay),
            seed: self.seed,
            ema: self.ema,
            patience: self.patience,
            snapshots: self.snapshots,
            freeze: self.frozen(if trained { model.recipe.frozen } else { &[] }),
            unfreeze: self.unfreeze,
            clip: self.clip.map(Clip::Norm),
            optimizer: self.rule(false)?,
            schedule: Schedule {
                // A thousand steps, but an epoch at most.
                warm_up: self.warm_up.unwrap_or(self.usual_warm_up().min(1000.0 / steps as f64)),
                warm_up_from: 1e-3,
                curve: self.schedule.clone(),
            },
            augment: Pipeline::default(),
            ..TrainConfig::default()
        })
    }

    /// How a detector's pictures are changed.
    pub fn scene_augmentation(&self) -> Result<Augmentation> {
        let text = self.augment.as_deref().unwrap_or("hflip");
        Ok(text.parse().map_err(|error| Usage(format!("--augment: {error}")))?)
    }

    fn frozen(&self, usual: &[&str]) -> Vec<String> {
        match self.freeze.as_slice() {
            [] => usual.iter().map(ToString::to_string).collect(),
            [none] if none == "none" => Vec::new(),
            given => given.to_vec(),
        }
    }

    fn rule(&self, nesterov: bool) -> Result<Rule> {
        match (self.optimizer, self.momentum) {
            (Optimizer::Sgd, momentum) => {
                let momentum = momentum.unwrap_or(0.9);
                Ok(Rule::Sgd(Sgd { momentum, nesterov: nesterov && momentum > 0.0 }))
            }
            (Optimizer::Adamw, None) => Ok(Rule::AdamW(AdamW::default())),
            (Optimizer::Adamw, Some(_)) => bail!(Usage("--momentum is SGD's; AdamW has none".into())),
        }
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
