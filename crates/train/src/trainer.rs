//! The loop of training.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::{DType, ModuleT, Tensor};
use cirio_data::{Batch, Loader, Purpose, Skipped, class_counts, derived_rng};
use cirio_nn::loss::{Loss, Targets};
use cirio_nn::{Layers, Stack, Store, files};
use cirio_vision::augment::{cutmix, mixup};

use crate::checkpoint::{Parts, State};
use crate::optim::{Optimizer, clip, param_groups};
use crate::run::{CHECKPOINT, Line, Log};
use crate::{Confusion, Ema, EpochLine, Error, Length, Mix, Result, RunConfig, RunFolder, Scores, StepLine, Tally, TrainConfig, evaluate};

const LAST: &str = "last.safetensors";
const BEST: &str = "best.safetensors";

/// A step is written to the log about this often in an epoch.
const LINES_AN_EPOCH: u64 = 20;

/// Is told what happens in a run. Each method may be left as it is.
pub trait Progress {
    /// An epoch begins: its number from 1, of how many, and its pictures.
    fn epoch_begins(&mut self, _epoch: u64, _epochs: u64, _pictures: usize) {}
    /// A step was made with this many pictures.
    fn step(&mut self, _line: &StepLine, _pictures: usize) {}
    /// An epoch is over; `best` if no epoch before was as good.
    fn epoch_ends(&mut self, _line: &EpochLine, _best: bool) {}
    /// Pictures could not be read and were left out.
    fn skipped(&mut self, _pictures: &[Skipped]) {}
}

/// Nobody is told anything.
impl Progress for () {}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Epochs done.
    pub epochs: u64,
    /// The epoch with the best result and its scores; none without a validation set.
    pub best: Option<(u64, Scores)>,
    /// Seconds of training, over all parts of a resumed run.
    pub seconds: f64,
    /// Whether it ended early because results did not get better.
    pub stopped_early: bool,
}

/// Trains one network in one run folder.
pub struct Trainer<'a> {
    layers: &'a Layers,
    network: Stack,
    store: &'a Store,
    /// The model's loss, by which it is evaluated.
    loss: Loss,
    /// The loss that is trained with: smoothed, if the configuration says so.
    training_loss: Loss,
    config: RunConfig,
    folder: RunFolder,
    optimizer: Optimizer,
    ema: Option<Ema>,
    state: State,
    log: Log,
}

impl<'a> Trainer<'a> {
    /// A trainer for the network of these layers, whose weights `store` owns: those that it has, or makes. It freezes what the
    /// configuration says. Where the folder has a checkpoint, the run goes on from it.
    ///
    /// # Errors
    /// When the configuration makes no sense, nothing is left to be trained, or the checkpoint is not this run's.
    pub fn new(layers: &'a Layers, store: &'a Store, loss: Loss, config: RunConfig, folder: RunFolder) -> Result<Self> {
        config.train.check()?;
        let mut groups = param_groups(&network(layers, store, &config.train, 0)?.parameters(), &config.train.groups())?;
        if groups.is_empty() {
            return Err(Error::Empty("every weight is frozen: there is nothing to train".into()));
        }
        if config.train.unfreeze.is_some() {
            // What is trained later only is there from the beginning, and has no gradient until then.
            groups = param_groups(&network(layers, store, &config.train, u64::MAX)?.parameters(), &config.train.groups())?;
        }
        let mut optimizer = Optimizer::new(config.train.optimizer, groups)?;
        let mut ema = (config.train.ema > 0.0).then(|| Ema::new(config.train.ema, store)).transpose()?;
        let path = folder.file(CHECKPOINT);
        let state = match path.exists() {
            true => Parts { store, optimizer: &mut optimizer, ema: ema.as_mut() }.restore(&path, &config.train)?,
            false => State::new(&config.train),
        };
        let network = network(layers, store, &config.train, state.epoch.saturating_sub(1))?;
        network.set_dropout_state(state.dropout());
        let log = Log::open(folder.path(), state.epoch)?;
        Ok(Self { layers, network, store, loss, training_loss: config.train.loss(loss), config, folder, optimizer, ema, state, log })
    }

    /// Epochs done so far, by this and earlier parts of the run.
    pub fn epochs_done(&self) -> u64 {
        self.state.epoch
    }

    /// Trains to the end of the run. After each epoch the weights, the plots and the checkpoint are written.
    ///
    /// # Errors
    /// When the loss is no finite number (the last checkpoint is kept), data cannot be read, the disk refuses, or the checkpoint
    /// cannot be of these pictures.
    pub fn run(&mut self, train: &Loader, val: Option<&Loader>, progress: &mut dyn Progress) -> Result<Outcome> {
        self.same_pictures(train, val)?;
        let epochs = self.config.train.epochs;
        let length = Length { steps_per_epoch: train.batches() as u64, epochs };
        let most = Length { epochs: self.state.epoch, ..length }.steps();
        if self.state.step > most {
            let reason =
                format!("its state makes no sense: {} steps where {} epochs have at most {most}", self.state.step, self.state.epoch);
            return Err(Error::file(&self.folder.file(CHECKPOINT), reason));
        }
        let mut stopped_early = self.has_no_patience_left();
        while self.state.epoch < epochs && !stopped_early {
            progress.epoch_begins(self.state.epoch + 1, epochs, train.pictures());
            if self.config.train.thawed(self.state.epoch) > self.state.thawed.len() {
                self.thaw()?;
            }
            self.epoch(train, val, &length, progress)?;
            stopped_early = self.has_no_patience_left();
        }
        Ok(Outcome { epochs: self.state.epoch, best: self.state.best, seconds: self.state.seconds, stopped_early })
    }

    /// A run that goes on must have the pictures that it began with: order, learning rate and labels depend on them.
    fn same_pictures(&mut self, train: &Loader, val: Option<&Loader>) -> Result<()> {
        let now = [Some(train), val].map(|loader| loader.map(fingerprint).unwrap_or_default());
        match self.state.pictures.replace(now) {
            Some(then) if then != now => {
                let [(train_then, _), (val_then, _)] = then;
                let [(train_now, _), (val_now, _)] = now;
                let reason = format!(
                    "the pictures are not those that the run began with: {train_then} to train with and {val_then} for validation then, \
                     {train_now} and {val_now} now, or others under the same number"
                );
                Err(Error::file(&self.folder.file(CHECKPOINT), reason))
            }
            _ => Ok(()),
        }
    }

    /// From now on trains what is thawed in this epoch.
    fn thaw(&mut self) -> Result<()> {
        let network = network(self.layers, self.store, &self.config.train, self.state.epoch)?;
        network.set_dropout_state(self.network.dropout_state());
        self.network = network;
        self.state.thawed.push(self.state.step);
        Ok(())
    }

    /// One epoch, its evaluation, and all that is written after it.
    fn epoch(&mut self, train: &Loader, val: Option<&Loader>, length: &Length, progress: &mut dyn Progress) -> Result<()> {
        let start = Instant::now();
        let seconds_before = self.state.seconds;
        let (train_loss, train_accuracy, lr) = self.steps(train, length, start, progress)?;
        self.check_weights(lr)?;
        let evaluated = val.map(|val| self.evaluate(val, progress)).transpose()?;
        let scores = evaluated.as_ref().map(|(scores, _)| *scores);
        self.state.epoch += 1;
        self.state.seconds = seconds_before + start.elapsed().as_secs_f64();
        let best = scores.is_some_and(|scores| self.state.best.is_none_or(|(_, best)| scores.better_than(&best)));
        if let (true, Some(scores)) = (best, scores) {
            self.state.best = Some((self.state.epoch, scores));
        }
        let line = EpochLine {
            epoch: self.state.epoch,
            step: self.state.step,
            lr,
            train_loss,
            train_accuracy,
            scores,
            seconds: self.state.seconds,
        };
        self.log.push(&Line::Epoch(line))?;
        self.folder.draw_curves(self.log.epochs())?;
        if let (true, Some((_, confusion))) = (best, &evaluated) {
            self.folder.report(confusion, &self.config.classes)?;
        }
        self.save(best || val.is_none(), scores)?;
        progress.epoch_ends(&line, best);
        Ok(())
    }

    /// The steps of an epoch. Returns the mean loss, the share that was right, and the last learning rate.
    fn steps(&mut self, train: &Loader, length: &Length, start: Instant, progress: &mut dyn Progress) -> Result<(f64, Option<f64>, f64)> {
        let epoch = self.state.epoch;
        let class_weights = self.class_weights(train)?;
        let every = length.steps_per_epoch.div_ceil(LINES_AN_EPOCH).max(1);
        let mut tally = Tally::new(self.config.classes.len());
        let (mut loss_sum, mut pictures, mut lr) = (0.0, 0usize, 0.0);
        let mut batches = train.epoch(epoch);
        for batch in batches.by_ref() {
            let batch = batch?;
            lr = self.config.train.learning_rate * self.config.train.schedule.factor(self.state.step, length);
            let loss = self.step(&batch, class_weights.as_ref(), lr, &mut tally)?;
            self.state.step += 1;
            loss_sum += loss * batch.labels.len() as f64;
            pictures += batch.labels.len();
            let seconds = self.state.seconds + start.elapsed().as_secs_f64();
            let line = StepLine { epoch: epoch + 1, step: self.state.step, loss, lr, seconds };
            if !loss.is_finite() {
                return Err(self.diverged("the loss", loss, &line));
            }
            if self.state.step.is_multiple_of(every) {
                self.log.push(&Line::Step(line))?;
            }
            progress.step(&line, batch.labels.len());
        }
        if !batches.skipped().is_empty() {
            progress.skipped(batches.skipped());
        }
        if pictures == 0 {
            return Err(Error::Empty("there is no picture to train with".into()));
        }
        let accuracy = (tally.count() > 0).then(|| tally.scores().accuracy);
        Ok((loss_sum / pictures as f64, accuracy, lr))
    }

    /// One step; its loss.
    fn step(&mut self, batch: &Batch, class_weights: Option<&Tensor>, lr: f64, tally: &mut Tally) -> Result<f64> {
        let labels = batch.labels_tensor()?;
        let (images, targets) = match self.config.train.mix {
            None => (batch.images.clone(), Targets::Labels(labels.clone())),
            Some(mix) => self.mixed(batch, mix)?,
        };
        let logits = self.network.forward_t(&images, true)?;
        let losses = self.training_loss.each(&logits, &targets)?;
        let loss = match class_weights {
            None => losses.mean_all()?,
            Some(weights) => self.training_loss.weighted_mean(&logits, &targets, weights)?,
        };
        let value = f64::from(loss.to_dtype(DType::F32)?.to_scalar::<f32>()?);
        if !value.is_finite() {
            return Ok(value);
        }
        if self.config.train.mix.is_none() {
            tally.add(&logits, &labels, &losses)?;
        }
        let mut gradients = loss.backward()?;
        if let Some(limit) = self.config.train.clip {
            clip(&mut gradients, self.optimizer.vars(), limit)?;
        }
        self.optimizer.step(&gradients, lr)?;
        if let Some(ema) = &mut self.ema {
            ema.update(self.store)?;
        }
        Ok(value)
    }

    /// The weight of each class (K) in the loss, if the classes do not count by their pictures.
    fn class_weights(&self, train: &Loader) -> Result<Option<Tensor>> {
        let counts = class_counts(train.dataset().labels(), self.config.classes.len());
        let weights = self.config.train.class_weights.of(&counts);
        Ok(weights.map(|weights| Tensor::new(weights, &train.config().device)?.to_dtype(DType::F32)).transpose()?)
    }

    fn mixed(&self, batch: &Batch, mix: Mix) -> Result<(Tensor, Targets)> {
        let classes = self.config.classes.len();
        let mut shares = vec![0f32; batch.labels.len() * classes];
        for (row, &label) in shares.chunks_exact_mut(classes).zip(&batch.labels) {
            match row.get_mut(label as usize) {
                Some(share) => *share = 1.0,
                None => return Err(Error::Label { label: label as usize, classes }),
            }
        }
        let targets = Tensor::from_vec(shares, (batch.labels.len(), classes), batch.images.device())?;
        let rng = &mut derived_rng(self.config.train.seed, self.state.epoch, Purpose::Batch, batch.number as u64);
        let (images, targets) = match mix {
            Mix::Mixup(alpha) => mixup(&batch.images, &targets, alpha, rng)?,
            Mix::Cutmix(alpha) => cutmix(&batch.images, &targets, alpha, rng)?,
        };
        Ok((images, Targets::Soft(targets)))
    }

    /// The validation scores, of the averaged weights where there are averages.
    fn evaluate(&self, val: &Loader, progress: &mut dyn Progress) -> Result<(Scores, Confusion)> {
        let evaluate = || evaluate(|images| self.network.forward(images), self.loss, val);
        let (scores, confusion, skipped) = match &self.ema {
            Some(ema) => ema.with_averages(self.store, evaluate)?,
            None => evaluate()?,
        };
        if !skipped.is_empty() {
            progress.skipped(&skipped);
        }
        Ok((scores, confusion))
    }

    /// Weights first, the checkpoint last: a run that is killed in between does this epoch again, to the same end.
    fn save(&mut self, best: bool, scores: Option<Scores>) -> Result<()> {
        let tensors = match &self.ema {
            Some(ema) => ema.averages().iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect(),
            None => self.store.tensors(),
        };
        let texts = self.texts(scores)?;
        files::write_tensors(&self.folder.file(LAST), &tensors, &texts)?;
        if best {
            files::write_tensors(&self.folder.file(BEST), &tensors, &texts)?;
        }
        let mut parts = Parts { store: self.store, optimizer: &mut self.optimizer, ema: self.ema.as_mut() };
        parts.save(&self.folder.file(CHECKPOINT), &self.state, self.network.dropout_state())
    }

    /// What a file of weights says about itself.
    fn texts(&self, scores: Option<Scores>) -> Result<BTreeMap<String, String>> {
        let failed = |error| Error::file(self.folder.path(), error);
        let mut texts = BTreeMap::from([
            ("model".to_owned(), self.config.model.clone()),
            ("classes".to_owned(), serde_json::to_string(&self.config.classes).map_err(failed)?),
            ("preprocess".to_owned(), serde_json::to_string(&self.config.preprocess).map_err(failed)?),
            ("epoch".to_owned(), self.state.epoch.to_string()),
            ("cirio".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ]);
        texts.extend(scores.map(|scores| ("accuracy".to_owned(), scores.accuracy.to_string())));
        Ok(texts)
    }

    fn has_no_patience_left(&self) -> bool {
        let since = self.state.best.map_or(0, |(epoch, _)| self.state.epoch - epoch.min(self.state.epoch));
        self.config.train.patience.is_some_and(|patience| since >= patience)
    }

    /// Weights that are no finite numbers must not replace a checkpoint that is sound.
    fn check_weights(&self, lr: f64) -> Result<()> {
        for (name, tensor) in self.store.tensors() {
            if !tensor.dtype().is_float() {
                continue;
            }
            let sum = tensor.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
            if !sum.is_finite() {
                let line = StepLine { epoch: self.state.epoch + 1, step: self.state.step, loss: sum, lr, seconds: 0.0 };
                return Err(self.diverged(&format!("the sum of `{name}`"), sum, &line));
            }
        }
        Ok(())
    }

    fn diverged(&self, what: &str, value: f64, line: &StepLine) -> Error {
        let kept = match self.state.epoch {
            0 => "nothing had been saved yet".to_owned(),
            epoch => format!("the checkpoint of epoch {epoch} is kept"),
        };
        Error::Diverged { what: format!("{what} is {value}"), epoch: line.epoch, step: line.step, learning_rate: line.lr, kept }
    }
}

/// The network of the epoch after `epochs` done, with what the configuration freezes; its tensors are the store's.
fn network(layers: &Layers, store: &Store, config: &TrainConfig, epochs: u64) -> Result<Stack> {
    let rule = config.clone();
    store.freeze(move |name| rule.freezes(name, epochs));
    Ok(layers.build(store.var_builder())?)
}

/// The number of a loader's pictures, and a hash (FNV-1a) of their names and labels.
fn fingerprint(loader: &Loader) -> (usize, u64) {
    let dataset = loader.dataset();
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = dataset.labels().iter().enumerate().fold(0xcbf2_9ce4_8422_2325, |hash, (index, label)| {
        // Folders above the data may have moved; a picture's own name and its class have not.
        let name = dataset.picture_name(index);
        let own = name.rsplit(['/', '\\']).next().unwrap_or_default();
        own.bytes().chain(label.to_le_bytes()).fold(hash, step)
    });
    (dataset.len(), hash)
}
