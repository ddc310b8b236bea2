//! Batch normalisation (Ioffe & Szegedy 2015).

use candle_core::{DType, Result, Tensor, Var};
use candle_nn::VarBuilder;

use super::{Cost, Forward, Layer, Shaped, Step};
use crate::pass::Pass;
use crate::{ParameterKind, Volume, ops};

/// Where mean and variance come from in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// From the batch; running means are kept for evaluation.
    Batch,
    /// Always the stored ones, and nothing is trained (torchvision's `FrozenBatchNorm2d`).
    Frozen,
}

/// Each channel shifted and scaled to mean 0 and variance 1, then by a learnt scale and shift.
///
/// Weights: `weight`, `bias`, `running_mean`, `running_var`, each (C); with [`Statistics::Batch`] also
/// `num_batches_tracked`, which old files lack.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f64,
    /// The share of a batch's statistics in the running ones.
    pub momentum: f64,
    /// Where mean and variance come from in training.
    pub statistics: Statistics,
}

/// As torch's: eps 1e-5, momentum 0.1.
pub fn batch_norm() -> BatchNorm {
    BatchNorm { eps: 1e-5, momentum: 0.1, statistics: Statistics::Batch }
}

impl Layer for BatchNorm {
    fn kind(&self) -> String {
        match self.statistics {
            Statistics::Batch => "batch norm".into(),
            Statistics::Frozen => "batch norm, frozen".into(),
        }
    }

    fn output(&self, input: &Volume) -> Shaped {
        Ok(*input)
    }

    fn cost(&self, input: &Volume) -> Cost {
        let parameters = match self.statistics {
            Statistics::Batch => 2 * input.channels() as u64,
            Statistics::Frozen => 0,
        };
        // No multiply-adds, as in published figures: in evaluation it folds into the convolution before it.
        Cost { parameters, macs: 0, connections: 2 * input.len() as u64 }
    }

    fn build(&self, input: &Volume, weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let channels = input.channels();
        let get = |name, value| weights.get_with_hints(channels, name, candle_nn::Init::Const(value));
        let fixed = |tensor: Tensor| if self.statistics == Statistics::Frozen { tensor.detach() } else { tensor };
        let batches = match self.statistics {
            // A store of new weights makes it; a file may lack it.
            Statistics::Batch if weights.contains_tensor("num_batches_tracked") => {
                Some(weights.get_with_hints_dtype((), "num_batches_tracked", candle_nn::Init::Const(0.0), DType::I64)?)
            }
            _ => None,
        };
        Ok(Box::new(Normalise {
            config: self.clone(),
            weight: fixed(get("weight", 1.0)?),
            bias: fixed(get("bias", 0.0)?),
            running_mean: get("running_mean", 0.0)?,
            running_var: get("running_var", 1.0)?,
            batches,
        }))
    }
}

/// [`ops::batch_norm`], or what has its arguments.
type ByGiven = fn(&Tensor, &Tensor, &Tensor, &Tensor, &Tensor, f64) -> Result<Tensor>;

/// [`ops::batch_norm_train`], or what has its arguments.
type ByBatch = fn(&Tensor, &Tensor, &Tensor, f64) -> Result<(Tensor, Tensor, Tensor)>;

struct Normalise {
    config: BatchNorm,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Option<Tensor>,
}

impl Normalise {
    /// running ← (1 - momentum)·running + momentum·batch. Shares its storage with the store that made it.
    fn track(&self, running: &Tensor, batch: &Tensor) -> Result<()> {
        let momentum = self.config.momentum;
        let updated = ((running * (1.0 - momentum))? + (batch.detach() * momentum)?)?;
        Var::from_tensor(running)?.set(&updated.detach())
    }

    /// With given statistics, or with those of the batch, which are then tracked.
    fn run(&self, input: &Tensor, pass: &Pass, given: ByGiven, of_batch: ByBatch) -> Result<Tensor> {
        // What a store has frozen counts as frozen too: statistics that are not kept must not be used.
        let frozen = self.config.statistics == Statistics::Frozen || !self.running_mean.is_variable();
        if frozen || !pass.is_training() {
            let (mean, variance) = (self.running_mean.detach(), self.running_var.detach());
            return given(input, &self.weight, &self.bias, &mean, &variance, self.config.eps);
        }
        let (output, mean, variance) = of_batch(input, &self.weight, &self.bias, self.config.eps)?;
        self.track(&self.running_mean, &mean)?;
        self.track(&self.running_var, &variance)?;
        if let Some(batches) = self.batches.as_ref().filter(|batches| batches.is_variable()) {
            let one = Tensor::ones((), DType::I64, batches.device())?;
            Var::from_tensor(batches)?.set(&(batches.detach() + one)?)?;
        }
        Ok(output)
    }
}

impl Forward for Normalise {
    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.run(input, pass, ops::batch_norm, ops::batch_norm_train)
    }

    fn forward_relu(&self, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.run(input, pass, ops::batch_norm_relu, ops::batch_norm_train_relu)
    }

    fn is_recordable(&self) -> bool {
        true
    }

    fn step(&self) -> Step<'_> {
        Step::Norm([&self.weight, &self.bias, &self.running_mean, &self.running_var], self.config.eps)
    }

    fn tensors(&self) -> Vec<(String, &Tensor, ParameterKind)> {
        let scale = match self.config.statistics {
            Statistics::Batch => ParameterKind::Norm,
            Statistics::Frozen => ParameterKind::Buffer,
        };
        let mut tensors = vec![
            ("weight".to_owned(), &self.weight, scale),
            ("bias".to_owned(), &self.bias, scale),
            ("running_mean".to_owned(), &self.running_mean, ParameterKind::Buffer),
            ("running_var".to_owned(), &self.running_var, ParameterKind::Buffer),
        ];
        tensors.extend(self.batches.iter().map(|batches| ("num_batches_tracked".to_owned(), batches, ParameterKind::Buffer)));
        tensors
    }
}
