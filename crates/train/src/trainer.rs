//! The loop of training.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::{DType, Tensor};
use cirio_data::Skipped;
use cirio_nn::{Store, files};

use crate::checkpoint::{Parts, State};
use crate::learner::{Evaluated, Learner};
use crate::optim::{Optimizer, param_groups};
use crate::run::{CHECKPOINT, Line, Log};
use crate::steps::{SoFar, Steps, diverged};
use crate::{Ema, EpochLine, Error, Length, Quality, Result, RunConfig, RunFolder, StepLine, TrainConfig};

const LAST: &str = "last.safetensors";
const BEST: &str = "best.safetensors";

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
    pub best: Option<(u64, Quality)>,
    /// Seconds of training, over all parts of a resumed run.
    pub seconds: f64,
    /// Whether it ended early because results did not get better.
    pub stopped_early: bool,
}

/// Trains one network in one run folder.
pub struct Trainer<'a> {
    learner: Box<dyn Learner + 'a>,
    store: &'a Store,
    config: RunConfig,
    folder: RunFolder,
    optimizer: Optimizer,
    ema: Option<Ema>,
    state: State,
    log: Log,
}

impl<'a> Trainer<'a> {
    /// A trainer for a [`Classifier`](crate::Classifier) or an [`ObjectFinder`](crate::ObjectFinder), whose weights `store` owns: those that it
    /// has, or makes. It freezes what the configuration says. Where the folder has a checkpoint, the run goes on from it.
    ///
    /// # Errors
    /// When the configuration makes no sense, nothing is left to be trained, or the checkpoint is not this run's.
    pub fn new(mut learner: impl Learner + 'a, store: &'a Store, config: RunConfig, folder: RunFolder) -> Result<Self> {
        config.train.check()?;
        let mut groups_after = |epochs| -> Result<_> {
            freeze(store, &config.train, epochs);
            learner.build(store)?;
            param_groups(&learner.parameters(), &config.train.groups())
        };
        let mut groups = groups_after(0)?;
        if groups.is_empty() {
            return Err(Error::Empty("every weight is frozen: there is nothing to train".into()));
        }
        if config.train.unfreeze.is_some() {
            // What is trained later only is there from the beginning, and has no gradient until then.
            groups = groups_after(u64::MAX)?;
        }
        let mut optimizer = Optimizer::new(config.train.optimizer, groups)?;
        let mut ema = (config.train.ema > 0.0).then(|| Ema::new(config.train.ema, store)).transpose()?;
        let path = folder.file(CHECKPOINT);
        let state = match path.exists() {
            true => Parts { store, optimizer: &mut optimizer, ema: ema.as_mut() }.restore(&path, &config)?,
            false => State::new(&config),
        };
        freeze(store, &config.train, state.epoch.saturating_sub(1));
        learner.build(store)?;
        learner.set_dropout_state(state.dropout());
        let log = Log::open(folder.path(), state.epoch)?;
        Ok(Self { learner: Box::new(learner), store, config, folder, optimizer, ema, state, log })
    }

    /// Epochs done so far, by this and earlier parts of the run.
    pub fn epochs_done(&self) -> u64 {
        self.state.epoch
    }

    /// Trains to the end of the run. After each epoch the weights, the plots and the checkpoint are written, and a snapshot where the
    /// configuration asks for one.
    ///
    /// # Errors
    /// When the loss is no finite number (the last checkpoint is kept), data cannot be read, the disk refuses, or the checkpoint
    /// cannot be of these pictures.
    pub fn run(&mut self, progress: &mut dyn Progress) -> Result<Outcome> {
        let pictures = self.same_pictures()?;
        let epochs = self.config.train.epochs;
        let length = Length { steps_per_epoch: (self.learner.batches() as u64).div_ceil(self.config.train.accumulate), epochs };
        let most = Length { epochs: self.state.epoch, ..length }.steps();
        if self.state.step > most {
            let reason =
                format!("its state makes no sense: {} steps where {} epochs have at most {most}", self.state.step, self.state.epoch);
            return Err(Error::file(&self.folder.file(CHECKPOINT), reason));
        }
        if self.state.epoch == 0 {
            self.keep(&self.weights(), &self.texts(None)?)?;
        }
        let mut stopped_early = self.has_no_patience_left();
        while self.state.epoch < epochs && !stopped_early {
            progress.epoch_begins(self.state.epoch + 1, epochs, pictures);
            if self.config.train.thawed(self.state.epoch) > self.state.thawed.len() {
                self.thaw()?;
            }
            self.epoch(&length, progress)?;
            stopped_early = self.has_no_patience_left();
        }
        Ok(Outcome { epochs: self.state.epoch, best: self.state.best, seconds: self.state.seconds, stopped_early })
    }

    /// The number of the pictures to train with. A run that goes on must have those that it began with: order, learning rate and labels depend
    /// on them.
    fn same_pictures(&mut self) -> Result<usize> {
        let now = self.learner.pictures();
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
            _ => Ok(now[0].0),
        }
    }

    /// From now on trains what is thawed in this epoch.
    fn thaw(&mut self) -> Result<()> {
        freeze(self.store, &self.config.train, self.state.epoch);
        let dropout = self.learner.dropout_state();
        self.learner.build(self.store)?;
        self.learner.set_dropout_state(dropout);
        self.state.thawed.push(self.state.step);
        Ok(())
    }

    /// One epoch, its evaluation, and all that is written after it.
    fn epoch(&mut self, length: &Length, progress: &mut dyn Progress) -> Result<()> {
        let start = Instant::now();
        let seconds_before = self.state.seconds;
        let Passed { loss: train_loss, accuracy: train_accuracy, lr } = self.steps(length, start, progress)?;
        self.check_weights(lr)?;
        let evaluated = self.evaluate(progress)?;
        let scores = evaluated.as_ref().map(|evaluated| evaluated.quality);
        self.state.epoch += 1;
        self.state.seconds = seconds_before + start.elapsed().as_secs_f64();
        let best = scores.is_some_and(|scores| self.state.best.is_none_or(|(_, best)| scores.better_than(&best)));
        if let (true, Some(scores)) = (best, scores) {
            self.state.best = Some((self.state.epoch, scores));
        }
        let State { epoch, step, seconds, .. } = self.state;
        let line = EpochLine { epoch, step, lr, train_loss, train_accuracy, scores, seconds };
        self.log.push(&Line::Epoch(line))?;
        self.folder.draw_curves(self.log.epochs())?;
        if let (true, Some(evaluated)) = (best, &evaluated) {
            self.folder.report(&evaluated.report, &self.config.classes)?;
        }
        self.save(best || evaluated.is_none(), scores)?;
        progress.epoch_ends(&line, best);
        Ok(())
    }

    /// The steps of an epoch.
    fn steps(&mut self, length: &Length, start: Instant, progress: &mut dyn Progress) -> Result<Passed> {
        let epoch = self.state.epoch;
        let Self { learner, store, config, optimizer, ema, state, log, .. } = self;
        let mut steps =
            Steps { config: &config.train, length, start, store, optimizer, ema, state, log, progress, so_far: SoFar::default() };
        let passed = learner.epoch(epoch, &mut |batch| steps.add(&batch))?;
        let so_far = steps.finish()?;
        if !passed.skipped.is_empty() {
            progress.skipped(&passed.skipped);
        }
        match so_far.pictures {
            0 => Err(Error::Empty("there is no picture to train with".into())),
            pictures => Ok(Passed { loss: so_far.loss / pictures as f64, accuracy: passed.accuracy, lr: so_far.lr }),
        }
    }

    /// The validation scores, of the averaged weights where there are averages.
    fn evaluate(&mut self, progress: &mut dyn Progress) -> Result<Option<Evaluated>> {
        let Self { learner, store, ema, .. } = self;
        let evaluate = || learner.evaluate(store);
        let evaluated = match ema {
            Some(ema) => ema.with_averages(store, evaluate)?,
            None => evaluate()?,
        };
        if let Some(evaluated) = evaluated.as_ref().filter(|evaluated| !evaluated.skipped.is_empty()) {
            progress.skipped(&evaluated.skipped);
        }
        Ok(evaluated)
    }

    /// Weights first, the checkpoint last: a run that is killed in between does this epoch again, to the same end.
    fn save(&mut self, best: bool, scores: Option<Quality>) -> Result<()> {
        let (tensors, texts) = (self.weights(), self.texts(scores)?);
        files::write_tensors(&self.folder.file(LAST), &tensors, &texts)?;
        if best {
            files::write_tensors(&self.folder.file(BEST), &tensors, &texts)?;
        }
        self.keep(&tensors, &texts)?;
        let dropout = self.learner.dropout_state();
        let mut parts = Parts { store: self.store, optimizer: &mut self.optimizer, ema: self.ema.as_mut() };
        parts.save(&self.folder.file(CHECKPOINT), &self.state, dropout)
    }

    /// The weights that the run is judged by: the averages where there are some.
    fn weights(&self) -> BTreeMap<String, Tensor> {
        match &self.ema {
            Some(ema) => ema.averages().iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect(),
            None => self.store.tensors(),
        }
    }

    /// Keeps the weights of this epoch where the configuration asks for it.
    fn keep(&self, tensors: &BTreeMap<String, Tensor>, texts: &BTreeMap<String, String>) -> Result<()> {
        match self.config.train.keeps(self.state.epoch) {
            true => Ok(files::write_tensors(&self.folder.snapshot(self.state.epoch)?, tensors, texts)?),
            false => Ok(()),
        }
    }

    /// What a file of weights says about itself.
    fn texts(&self, scores: Option<Quality>) -> Result<BTreeMap<String, String>> {
        let mut texts = self.config.texts().map_err(|error| Error::file(self.folder.path(), error))?;
        texts.extend([
            ("model".to_owned(), self.config.model.clone()),
            ("epoch".to_owned(), self.state.epoch.to_string()),
            ("cirio".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ]);
        texts.extend(scores.iter().flat_map(Quality::texts));
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
                return Err(diverged(format!("the sum of `{name}` is {sum}"), self.state.epoch, self.state.step, lr));
            }
        }
        Ok(())
    }
}

/// What came of the steps of an epoch.
struct Passed {
    /// The mean loss.
    loss: f64,
    accuracy: Option<f64>,
    /// The last learning rate.
    lr: f64,
}

/// From now on the store freezes what the configuration does in the epoch after `epochs` done.
fn freeze(store: &Store, config: &TrainConfig, epochs: u64) {
    let rule = config.clone();
    store.freeze(move |name| rule.freezes(name, epochs));
}
