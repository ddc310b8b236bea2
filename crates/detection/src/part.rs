//! A piece of a detector, in the form for training or in that for evaluation.

use candle_core::{ModuleT, Tensor};
use candle_nn::VarBuilder;
use cirio_nn::{DropoutState, Inference, InferenceConfig, Layers, Parameter, Stack};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{Error, Result};

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The stored statistics of norms, no dropout.
    Evaluation,
    /// The batch's statistics where norms are not frozen, dropout.
    Training,
}

/// A list of layers with its weights, and the layers whose outputs are wanted.
pub struct Part {
    form: Form,
    taps: Vec<String>,
}

enum Form {
    Layers(Stack),
    Inference(Inference),
}

impl Part {
    /// A part that gives its last layer's output.
    ///
    /// # Errors
    /// When shapes do not fit together, or a weight is missing or has another shape.
    pub fn new(layers: &Layers, weights: VarBuilder) -> Result<Self> {
        Self::with_taps(layers, &[], weights)
    }

    /// A part that gives the outputs of these layers, named as for [`Stack::forward_taps`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_taps(layers: &Layers, taps: &[String], weights: VarBuilder) -> Result<Self> {
        Ok(Self { form: Form::Layers(layers.build(weights)?), taps: taps.to_vec() })
    }

    /// The last layer's output for (N, C, H, W).
    ///
    /// # Errors
    /// When the input does not fit, or the form for evaluation is asked for a pass in training.
    pub fn forward(&self, input: &Tensor, mode: Mode) -> Result<Tensor> {
        match &self.form {
            Form::Layers(stack) => Ok(stack.forward_t(input, mode == Mode::Training)?),
            Form::Inference(inference) => Ok(inference.forward(evaluated(input, mode)?)?),
        }
    }

    /// The outputs of the taps for (N, C, H, W).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_taps(&self, input: &Tensor, mode: Mode) -> Result<Vec<Tensor>> {
        match &self.form {
            Form::Layers(stack) => {
                let taps: Vec<&str> = self.taps.iter().map(String::as_str).collect();
                Ok(stack.forward_taps_t(input, &taps, mode == Mode::Training)?)
            }
            Form::Inference(inference) => Ok(inference.forward_taps(evaluated(input, mode)?)?),
        }
    }

    /// Lets dropout take its next masks from a new seed.
    pub(crate) fn draw_dropout(&self, rng: &mut ChaCha8Rng) {
        if let Form::Layers(stack) = &self.form {
            stack.set_dropout_state(DropoutState { seed: rng.random(), drawn: 0 });
        }
    }

    /// The form for evaluation alone, see [`Stack::for_inference`].
    ///
    /// # Errors
    /// When a norm's tensors cannot be read.
    pub fn for_inference(self) -> Result<Self> {
        let Self { form, taps } = self;
        let form = match form {
            Form::Layers(stack) => {
                Form::Inference(Inference::new(stack, &InferenceConfig { taps: taps.clone(), ..InferenceConfig::default() })?)
            }
            fused => fused,
        };
        Ok(Self { form, taps })
    }

    /// All tensors, `prefix` and a dot before their names; none in the form for evaluation, which has them packed.
    pub fn parameters(&self, prefix: &str) -> Vec<Parameter> {
        let Form::Layers(stack) = &self.form else { return Vec::new() };
        let named = |parameter: Parameter| Parameter { name: format!("{prefix}.{}", parameter.name), ..parameter };
        stack.parameters().into_iter().map(named).collect()
    }
}

fn evaluated(input: &Tensor, mode: Mode) -> Result<&Tensor> {
    match mode {
        Mode::Evaluation => Ok(input),
        Mode::Training => Err(Error::Config("the form for evaluation has no gradients: train the one that was built".into())),
    }
}

/// The parameters of parts one behind the other; depths go on from part to part.
pub(crate) fn join(parts: impl IntoIterator<Item = Vec<Parameter>>) -> Vec<Parameter> {
    let mut joined: Vec<Parameter> = Vec::new();
    for part in parts {
        let depth = joined.last().map_or(0, |last| last.depth + 1);
        joined.extend(part.into_iter().map(|parameter| Parameter { depth: parameter.depth + depth, ..parameter }));
    }
    joined
}
