//! The steps of an epoch: batch by batch from a loss to changed weights.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::DType;
use candle_core::backprop::GradStore;
use cirio_nn::Store;

use crate::checkpoint::State;
use crate::learner::Batched;
use crate::optim::{Optimizer, add_gradients, clip, scale_gradients};
use crate::run::{Line, Log};
use crate::{Ema, Error, Length, Progress, Result, StepLine, TrainConfig};

/// A step is written to the log about this often in an epoch.
const LINES_AN_EPOCH: u64 = 20;

/// Makes the steps of an epoch.
pub(crate) struct Steps<'s> {
    pub config: &'s TrainConfig,
    pub length: &'s Length,
    /// When the epoch began.
    pub start: Instant,
    pub store: &'s Store,
    pub optimizer: &'s mut Optimizer,
    pub ema: &'s mut Option<Ema>,
    pub state: &'s mut State,
    pub log: &'s mut Log,
    pub progress: &'s mut dyn Progress,
    pub so_far: SoFar,
}

/// What was done of an epoch so far.
#[derive(Default)]
pub(crate) struct SoFar {
    /// The sum of the pictures' losses.
    pub loss: f64,
    pub pictures: usize,
    /// The last learning rate.
    pub lr: f64,
    pending: Pending,
}

/// The batches of the step that comes next.
#[derive(Default)]
struct Pending {
    /// The sum of their gradients.
    gradients: Option<GradStore>,
    batches: u64,
    pictures: usize,
    loss: f64,
    terms: BTreeMap<String, f64>,
}

impl Steps<'_> {
    /// Takes the gradients of a batch, and makes a step where the batches are as many as the configuration says.
    pub(crate) fn add(&mut self, batch: &Batched) -> Result<()> {
        let loss = f64::from(batch.loss.to_dtype(DType::F32)?.to_scalar::<f32>()?);
        if !loss.is_finite() {
            return Err(diverged(format!("the loss of {} is {loss}", (batch.names)()), self.state.epoch, self.state.step, self.so_far.lr));
        }
        let gradients = cirio_nn::backward(&batch.loss)?;
        self.so_far.loss += loss * batch.pictures as f64;
        self.so_far.pictures += batch.pictures;
        let pending = &mut self.so_far.pending;
        pending.gradients = Some(match pending.gradients.take() {
            None => gradients,
            Some(sum) => add_gradients(sum, &gradients, self.optimizer.vars())?,
        });
        pending.batches += 1;
        pending.pictures += batch.pictures;
        pending.loss += loss;
        batch.terms.iter().for_each(|(name, term)| *pending.terms.entry((*name).to_owned()).or_default() += term);
        match pending.batches >= self.config.accumulate {
            true => self.step(),
            false => Ok(()),
        }
    }

    /// Makes the last step, of the batches that are left.
    pub(crate) fn finish(mut self) -> Result<SoFar> {
        self.step()?;
        Ok(self.so_far)
    }

    fn step(&mut self) -> Result<()> {
        let Pending { gradients, batches, pictures, loss, terms } = std::mem::take(&mut self.so_far.pending);
        let Some(mut gradients) = gradients else { return Ok(()) };
        let share = 1.0 / batches as f64;
        if batches > 1 {
            scale_gradients(&mut gradients, self.optimizer.vars(), share)?;
        }
        if let Some(limit) = self.config.clip {
            clip(&mut gradients, self.optimizer.vars(), limit)?;
        }
        let lr = self.config.learning_rate * self.config.schedule.factor(self.state.step, self.length);
        self.optimizer.step(&gradients, lr)?;
        if let Some(ema) = self.ema {
            ema.update(self.store)?;
        }
        self.state.step += 1;
        self.so_far.lr = lr;
        let seconds = self.state.seconds + self.start.elapsed().as_secs_f64();
        let terms = terms.into_iter().map(|(name, sum)| (name, sum * share)).collect();
        let line = StepLine { epoch: self.state.epoch + 1, step: self.state.step, loss: loss * share, terms, lr, seconds };
        if self.state.step.is_multiple_of(self.length.steps_per_epoch.div_ceil(LINES_AN_EPOCH).max(1)) {
            self.log.push(&Line::Step(line.clone()))?;
        }
        self.progress.step(&line, pictures);
        Ok(())
    }
}

/// The error of a run whose numbers are finite no longer, after so many epochs and steps.
pub(crate) fn diverged(what: String, epochs: u64, step: u64, learning_rate: f64) -> Error {
    let kept = match epochs {
        0 => "nothing had been saved yet".to_owned(),
        epochs => format!("the checkpoint of epoch {epochs} is kept"),
    };
    Error::Diverged { what, epoch: epochs + 1, step, learning_rate, kept }
}
