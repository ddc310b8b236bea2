//! All that decides a run, as it stands in its `config.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cirio_data::objects::augment::Augmentation;
use cirio_nn::loss::Loss;
use cirio_vision::Preprocess;
use cirio_vision::augment::Pipeline;
use serde::{Deserialize, Serialize};

use crate::optim::{Clip, Decayed, GroupOptions, Rule, Sgd};
use crate::{Curve, Error, Result, Schedule};

/// How a network is trained. The defaults suit small pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Times that every picture is seen.
    pub epochs: u64,
    /// Pictures a pass.
    pub batch: usize,
    /// Passes a step: their gradients are averaged. With more than one a machine with little memory can take large steps.
    pub accumulate: u64,
    /// The learning rate at the top of the schedule.
    pub learning_rate: f64,
    /// The head's own rate at the top of the schedule, where it is not that of the others; the head is [`cirio_nn::Stack::head`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_learning_rate: Option<f64>,
    /// λ of the decay of weights towards 0.
    pub weight_decay: f64,
    /// The share of a target that is spread over all classes, where the loss is cross-entropy.
    pub label_smoothing: f64,
    /// Each layer's rate is that of the layer behind it times this; 1 for one rate.
    pub layer_decay: f64,
    /// Decides initial weights, order, augmentation and dropout.
    pub seed: u64,
    /// The share that the average of the weights keeps at each step; the averages are evaluated and saved. 0 for no average.
    pub ema: f64,
    /// Epochs without a better result after which training ends. None to train to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Keeps the weights that the run begins with, and those after every so many epochs, in the run's folder. None to keep the last and the
    /// best alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<u64>,
    /// Weights whose names begin so are not trained.
    pub freeze: Vec<String>,
    /// Thaws one name of [`freeze`](Self::freeze) after every so many epochs, the last first (Howard & Ruder 2018, section 3.3). None to
    /// keep all frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfreeze: Option<u64>,
    /// How much each class counts in the loss that is trained with.
    #[serde(skip_serializing_if = "ClassWeights::is_none")]
    pub class_weights: ClassWeights,
    /// What weight decay acts on.
    pub decayed: Decayed,
    /// A bound on gradients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<Clip>,
    /// How pictures of a batch are mixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mix: Option<Mix>,
    /// The optimiser.
    pub optimizer: Rule,
    /// The course of the learning rate.
    pub schedule: Schedule,
    /// Random changes of the training pictures.
    pub augment: Pipeline,
}

/// How much the classes count in the loss that is trained with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// Every picture counts the same.
    #[default]
    None,
    /// Every class counts the same: a picture of class k, of n_k pictures, counts n / (K·n_k).
    Balanced,
}

impl ClassWeights {
    fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// The weights of K classes with so many pictures each; none where every picture counts the same. A class without pictures
    /// has the weight 0.
    pub fn of(self, counts: &[usize]) -> Option<Vec<f64>> {
        let whole: usize = counts.iter().sum();
        let weight = |&count: &usize| if count == 0 { 0.0 } else { whole as f64 / (counts.len() as f64 * count as f64) };
        match self {
            Self::None => None,
            Self::Balanced => Some(counts.iter().map(weight).collect()),
        }
    }
}

/// How the pictures of a batch are mixed; the number is α of Beta(α, α).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mix {
    /// Weighted means (Zhang et al. 2018).
    Mixup(f64),
    /// A rectangle of another picture (Yun et al. 2019).
    Cutmix(f64),
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 20,
            batch: 128,
            accumulate: 1,
            learning_rate: 0.05,
            head_learning_rate: None,
            weight_decay: 5e-4,
            label_smoothing: 0.0,
            layer_decay: 1.0,
            seed: 0,
            ema: 0.999,
            patience: None,
            snapshots: None,
            freeze: Vec::new(),
            unfreeze: None,
            class_weights: ClassWeights::None,
            decayed: Decayed::Weights,
            clip: None,
            mix: None,
            optimizer: Rule::Sgd(Sgd { momentum: 0.9, nesterov: true }),
            schedule: Schedule { warm_up: 1.0, warm_up_from: 0.0, curve: Curve::Cosine { to: 0.0 } },
            augment: Pipeline::default(),
        }
    }
}

impl TrainConfig {
    /// Whether the numbers are in their ranges.
    ///
    /// # Errors
    /// With the one that is not.
    pub fn check(&self) -> Result<()> {
        let share = |key, value: f64, expected| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(Error::config(key, value, expected)),
        };
        for (key, count) in [("epochs", self.epochs), ("batch", self.batch as u64), ("accumulate", self.accumulate)] {
            if count == 0 {
                return Err(Error::config(key, count, "at least 1"));
            }
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return Err(Error::config("weight_decay", self.weight_decay, "a number of at least 0"));
        }
        if !(self.layer_decay > 0.0 && self.layer_decay <= 1.0) {
            return Err(Error::config("layer_decay", self.layer_decay, "a number in 0 < x ≤ 1"));
        }
        share("label_smoothing", self.label_smoothing, "a share in 0 ≤ x < 1")?;
        share("ema", self.ema, "a share in 0 ≤ x < 1")?;
        let positive = |key, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(Error::config(key, value, "a number above 0")),
        };
        positive("learning_rate", self.learning_rate)?;
        if let Some(rate) = self.head_learning_rate {
            positive("head_learning_rate", rate)?;
        }
        if self.unfreeze.is_some_and(|epochs| epochs == 0 || self.freeze.is_empty()) {
            return Err(Error::config("unfreeze", self.unfreeze.unwrap_or_default(), "at least one epoch, and something frozen"));
        }
        if let Some(Clip::Norm(limit) | Clip::Value(limit)) = self.clip {
            positive("clip", limit)?;
        }
        if let Some(Mix::Mixup(alpha) | Mix::Cutmix(alpha)) = self.mix {
            positive("mix", alpha)?;
        }
        for (key, epochs) in [("patience", self.patience), ("snapshots", self.snapshots)] {
            if epochs == Some(0) {
                return Err(Error::config(key, 0, "at least one epoch"));
            }
        }
        self.augment.check().map_err(|error| Error::config("augment", error, "strengths in their ranges"))?;
        self.optimizer.check()?;
        self.schedule.check()
    }

    /// How parameters are grouped.
    pub fn groups(&self) -> GroupOptions {
        GroupOptions {
            weight_decay: self.weight_decay,
            decayed: self.decayed,
            layer_decay: self.layer_decay,
            head_scale: self.head_learning_rate.map_or(1.0, |rate| rate / self.learning_rate),
        }
    }

    /// Whether the weight of this name is frozen in the epoch after `epochs` done.
    pub fn freezes(&self, name: &str, epochs: u64) -> bool {
        self.thawed_as(name).is_some_and(|number| number >= self.thawed(epochs))
    }

    /// Whether the weights after `epochs` done are kept.
    pub(crate) fn keeps(&self, epochs: u64) -> bool {
        self.snapshots.is_some_and(|every| epochs.is_multiple_of(every))
    }

    /// How many names of what is frozen at first are thawed in the epoch after `epochs` done.
    pub(crate) fn thawed(&self, epochs: u64) -> usize {
        let thawed = self.unfreeze.and_then(|every| epochs.checked_div(every)).unwrap_or(0);
        usize::try_from(thawed).unwrap_or(usize::MAX).min(self.freeze.len())
    }

    /// For a weight that is frozen at first the number of its thaw, from 0.
    pub(crate) fn thawed_as(&self, name: &str) -> Option<usize> {
        let first = self.freeze.iter().position(|prefix| name.starts_with(prefix.as_str()))?;
        Some(self.freeze.len() - 1 - first)
    }

    /// The model's loss, smoothed as the configuration says.
    pub fn loss(&self, loss: Loss) -> Loss {
        match loss {
            Loss::CrossEntropy { .. } => Loss::CrossEntropy { label_smoothing: self.label_smoothing },
            Loss::MaximumPosterior { .. } => loss,
        }
    }
}

/// All that decides a run: the file `config.toml` of its folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The model's name.
    pub model: String,
    /// The data set's folder.
    pub data: PathBuf,
    /// The weights that it began with, where it did not begin with random ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// The part of each class that is held out for validation, where the data set has no part for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_fraction: Option<f64>,
    /// Whether a picture that cannot be read ends the run; else it is left out.
    #[serde(default)]
    pub strict: bool,
    /// The names of the K classes.
    pub classes: Vec<String>,
    /// How the network is trained.
    pub train: TrainConfig,
    /// The way from a picture to a classifier's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
    /// How a detector sees pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectConfig>,
}

/// How a detector sees the pictures that it is trained with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectConfig {
    /// The pixels that a picture's shorter side gets, one of these at random; the last in evaluation.
    pub short_sides: Vec<usize>,
    /// The most pixels that the longer side gets.
    pub longest: usize,
    /// The eps of norms that are frozen, where there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_eps: Option<f64>,
    /// Random changes of pictures and their objects.
    pub augment: Augmentation,
}

impl RunConfig {
    /// What a file of the run's weights says of itself: its classes, and how it sees pictures.
    pub(crate) fn texts(&self) -> serde_json::Result<BTreeMap<String, String>> {
        // A detector's first class is the background.
        let background = self.objects.iter().map(|_| "background");
        let classes: Vec<&str> = background.chain(self.classes.iter().map(String::as_str)).collect();
        let mut texts = BTreeMap::from([("classes".to_owned(), serde_json::to_string(&classes)?)]);
        if let Some(preprocess) = &self.preprocess {
            texts.insert("preprocess".to_owned(), serde_json::to_string(preprocess)?);
        }
        if let Some(objects) = &self.objects {
            texts.insert("objects".to_owned(), serde_json::to_string(objects)?);
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_toml_and_read_again() {
        let config = RunConfig {
            model: "lenet5".into(),
            data: "photos".into(),
            weights: None,
            val_fraction: Some(0.2),
            strict: false,
            classes: vec!["cat".into(), "dog".into()],
            train: TrainConfig {
                augment: "flip,crop:2,affine".parse().expect("a pipeline"),
                mix: Some(Mix::Mixup(0.2)),
                clip: Some(Clip::Norm(1.0)),
                patience: Some(3),
                snapshots: Some(5),
                freeze: vec!["conv".into()],
                unfreeze: Some(2),
                head_learning_rate: Some(0.2),
                class_weights: ClassWeights::Balanced,
                schedule: Schedule { curve: Curve::MultiStep { milestones: vec![3, 5], gamma: 0.1 }, ..Schedule::default() },
                ..TrainConfig::default()
            },
            preprocess: Some(Preprocess::imagenet()),
            objects: None,
        };
        let text = toml::to_string(&config).expect("TOML");
        assert_eq!(toml::from_str::<RunConfig>(&text).expect(&text), config);
        assert!(toml::from_str::<RunConfig>(&text.replace("epochs", "epoch")).is_err(), "an unknown key");
    }

    #[test]
    fn balanced_classes_count_the_same() {
        assert_eq!(ClassWeights::None.of(&[1, 2]), None);
        // sklearn.utils.class_weight.compute_class_weight('balanced', classes=[0, 1, 2], y=[0]*6 + [1]*3 + [2])
        let weights = ClassWeights::Balanced.of(&[6, 3, 1]).expect("weights");
        assert!(weights.iter().zip([0.55555556, 1.11111111, 3.33333333]).all(|(a, b)| (a - b).abs() < 1e-8), "{weights:?}");
        assert_eq!(ClassWeights::Balanced.of(&[4, 0]), Some(vec![0.5, 0.0]));
    }

    #[test]
    fn the_last_name_thaws_first() {
        let config = TrainConfig { freeze: vec!["conv".into(), "fc".into()], unfreeze: Some(2), ..TrainConfig::default() };
        let frozen = |epochs| ["conv1.weight", "fc1.weight", "head.weight"].map(|name| config.freezes(name, epochs));
        assert_eq!([0, 1].map(frozen), [[true, true, false]; 2]);
        assert_eq!([2, 3].map(frozen), [[true, false, false]; 2]);
        assert_eq!([4, 5, u64::MAX].map(frozen), [[false; 3]; 3]);
        let kept = TrainConfig { unfreeze: None, ..config };
        assert!(kept.freezes("conv1.weight", u64::MAX) && !kept.freezes("head.weight", 0));
    }

    #[test]
    fn settings_that_cannot_be_are_named() {
        let usual = TrainConfig::default;
        usual().check().expect("the defaults are sound");
        for (wrong, word) in [
            (TrainConfig { epochs: 0, ..usual() }, "epochs"),
            (TrainConfig { accumulate: 0, ..usual() }, "accumulate"),
            (TrainConfig { learning_rate: f64::NAN, ..usual() }, "learning_rate"),
            (TrainConfig { head_learning_rate: Some(0.0), ..usual() }, "head_learning_rate"),
            (TrainConfig { unfreeze: Some(0), freeze: vec!["conv".into()], ..usual() }, "unfreeze"),
            (TrainConfig { unfreeze: Some(3), ..usual() }, "something frozen"),
            (TrainConfig { weight_decay: -1.0, ..usual() }, "weight_decay"),
            (TrainConfig { layer_decay: 0.0, ..usual() }, "layer_decay"),
            (TrainConfig { label_smoothing: 1.0, ..usual() }, "label_smoothing"),
            (TrainConfig { ema: 1.0, ..usual() }, "ema"),
            (TrainConfig { clip: Some(Clip::Value(0.0)), ..usual() }, "clip"),
            (TrainConfig { mix: Some(Mix::Cutmix(-1.0)), ..usual() }, "mix"),
            (TrainConfig { augment: "crop:99999".parse().expect("a pipeline"), ..usual() }, "padding is 99999"),
            (TrainConfig { patience: Some(0), ..usual() }, "patience"),
            (TrainConfig { snapshots: Some(0), ..usual() }, "snapshots"),
        ] {
            let error = wrong.check().expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
