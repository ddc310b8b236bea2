//! The one file that a resumed run depends on: weights, running statistics, averages, the optimiser's memory, and where
//! everything stands.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use cirio_nn::{DropoutState, Store, Weights, files};
use serde::{Deserialize, Serialize};

use crate::optim::Optimizer;
use crate::{Ema, Error, ObjectConfig, Quality, Result, RunConfig, TrainConfig};

/// The key under which the state stands in the file.
const STATE: &str = "state";

/// Where a run stands after an epoch, apart from its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Epochs done.
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// The best result so far and its epoch.
    pub best: Option<(u64, Quality)>,
    /// Number and hash of the pictures to train with, and of those for validation.
    pub pictures: Option<[(usize, u64); 2]>,
    dropout_seed: u64,
    dropout_drawn: u64,
    optimizer_steps: u64,
    ema_updates: u64,
    /// Steps done at each thaw of something that was frozen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thawed: Vec<u64>,
    config: TrainConfig,
    /// How a detector sees pictures. Checkpoints of before did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    objects: Option<ObjectConfig>,
}

impl State {
    /// The beginning of a run.
    pub(crate) fn new(config: &RunConfig) -> Self {
        Self {
            epoch: 0,
            step: 0,
            seconds: 0.0,
            best: None,
            pictures: None,
            dropout_seed: config.train.seed,
            dropout_drawn: 0,
            optimizer_steps: 0,
            ema_updates: 0,
            thawed: Vec::new(),
            config: config.train.clone(),
            objects: config.objects.clone(),
        }
    }

    pub(crate) fn dropout(&self) -> DropoutState {
        DropoutState { seed: self.dropout_seed, drawn: self.dropout_drawn }
    }

    /// Whether a run under this configuration can have come to this state. An error says what contradicts what.
    fn check(&self, config: &TrainConfig) -> Result<(), String> {
        let Self { epoch, step, seconds, best, optimizer_steps, ema_updates, .. } = *self;
        // Every epoch makes a step, and every step moves the optimiser and the averages once.
        let averaged = if config.ema > 0.0 { step } else { 0 };
        if epoch > config.epochs {
            return Err(format!("{epoch} of {} epochs are done", config.epochs));
        }
        if step < epoch || optimizer_steps != step || ema_updates != averaged {
            return Err(format!("{epoch} epochs with {step} steps, {optimizer_steps} of the optimiser and {ema_updates} of the averages"));
        }
        if best.is_some_and(|(best, _)| best == 0 || best > epoch) {
            return Err(format!("the best result is not from epochs 1 to {epoch}"));
        }
        // What is thawed when an epoch begins.
        if self.thawed.len() != config.thawed(epoch.saturating_sub(1)) || self.thawed.iter().any(|&thawed| thawed > step) {
            return Err(format!("{epoch} epochs, thawed after {:?} of {step} steps", self.thawed));
        }
        match seconds.is_finite() && seconds >= 0.0 {
            true => Ok(()),
            false => Err(format!("{seconds} seconds of training")),
        }
    }
}

/// What a checkpoint is taken of, and restored to.
pub(crate) struct Parts<'a> {
    pub store: &'a Store,
    pub optimizer: &'a mut Optimizer,
    pub ema: Option<&'a mut Ema>,
}

impl Parts<'_> {
    /// Writes the checkpoint, whole or not at all.
    pub(crate) fn save(&mut self, path: &Path, state: &State, dropout: DropoutState) -> Result<()> {
        let state = State {
            dropout_seed: dropout.seed,
            dropout_drawn: dropout.drawn,
            optimizer_steps: self.optimizer.steps(),
            ema_updates: self.ema.as_ref().map_or(0, |ema| ema.updates()),
            ..state.clone()
        };
        let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
        tensors.extend(self.store.tensors().into_iter().map(|(name, tensor)| (format!("weights/{name}"), tensor)));
        tensors.extend(self.variables().into_iter().map(|(name, var)| (name, var.as_detached_tensor())));
        let text = serde_json::to_string(&state).map_err(|error| Error::file(path, error))?;
        Ok(files::write_tensors(path, &tensors, &BTreeMap::from([(STATE.to_owned(), text)]))?)
    }

    /// Reads a checkpoint into the parts. After an error they are not to be used.
    ///
    /// # Errors
    /// When it cannot be read, was made under another configuration, its state makes no sense, or its tensors are not the run's.
    pub(crate) fn restore(&mut self, path: &Path, run: &RunConfig) -> Result<State> {
        let file = Weights::open(path)?;
        let text = file.metadata().get(STATE).ok_or_else(|| Error::file(path, "this is no checkpoint of a run"))?;
        let state: State =
            serde_json::from_str(text).map_err(|error| Error::file(path, format_args!("its state cannot be read: {error}")))?;
        let config = &run.train;
        same_settings(path, "", &state.config, config)?;
        if state.objects.is_some() {
            same_settings(path, "objects.", &state.objects, &run.objects)?;
        }
        state.check(config).map_err(|reason| Error::file(path, format_args!("its state makes no sense: {reason}")))?;

        let weights = self.store.tensors();
        let variables = self.variables();
        let mut expected: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        expected.extend(weights.iter().map(|(name, tensor)| (format!("weights/{name}"), tensor.dims().to_vec())));
        expected.extend(variables.iter().map(|(name, var)| (name.clone(), var.dims().to_vec())));
        if &expected != file.shapes() {
            let differs = |(name, shape): &(&String, &Vec<usize>)| file.shapes().get(*name) != Some(*shape);
            let name = expected.iter().find(differs).map(|(name, _)| name);
            let name = name.or_else(|| file.shapes().keys().find(|name| !expected.contains_key(*name)));
            return Err(Error::file(path, format_args!("its tensors are not this run's: `{}` differs", name.map_or("", |name| name))));
        }
        // A number in another type would be taken for another number, and not bit for bit.
        let read = |name: &str, dtype: DType| -> Result<Tensor> {
            let tensor = file.tensor(name, &Device::Cpu)?;
            match tensor.dtype() == dtype {
                true => Ok(tensor),
                false => Err(Error::file(path, format_args!("`{name}` is {:?}, this run has it as {dtype:?}", tensor.dtype()))),
            }
        };
        for (name, tensor) in &weights {
            self.store.set(name, &read(&format!("weights/{name}"), tensor.dtype())?)?;
        }
        for (name, var) in &variables {
            var.set(&read(name, var.dtype())?.to_device(var.device())?)?;
        }
        self.optimizer.set_steps(state.step, |name| match config.thawed_as(name) {
            Some(number) => state.thawed.get(number).map_or(0, |thawed| state.step - thawed),
            None => state.step,
        });
        if let Some(ema) = &mut self.ema {
            ema.set_updates(state.ema_updates);
        }
        Ok(state)
    }

    /// The tensors besides the network's own.
    fn variables(&self) -> BTreeMap<String, Var> {
        let averages = self.ema.iter().flat_map(|ema| ema.averages().iter());
        let averages = averages.map(|(name, var)| (format!("averages/{name}"), var.clone()));
        self.optimizer.memory().into_iter().map(|(name, var)| (format!("optimizer/{name}"), var)).chain(averages).collect()
    }
}

/// An error that names the first setting that differs, with `section` before it.
fn same_settings<T: Serialize>(path: &Path, section: &str, theirs: &T, ours: &T) -> Result<()> {
    let values = |settings| match serde_json::to_value(settings) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let (theirs, ours) = (values(theirs), values(ours));
    let text = |value: Option<&serde_json::Value>| value.map_or_else(|| "none".to_owned(), ToString::to_string);
    match theirs.keys().chain(ours.keys()).find(|key| theirs.get(*key) != ours.get(*key)) {
        None => Ok(()),
        Some(key) => Err(Error::OtherConfig {
            path: path.to_owned(),
            key: format!("{section}{key}"),
            theirs: text(theirs.get(key)),
            ours: text(ours.get(key)),
        }),
    }
}
