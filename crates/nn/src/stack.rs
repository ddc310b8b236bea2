//! A network: the list of layers with its weights.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{ModuleT, Result, Tensor, Var};
use candle_nn::VarBuilder;

use crate::layer::{Forward, Step};
use crate::ops::{Rectifier, tape};
use crate::parts;
use crate::pass::{DropoutSource, DropoutState, Pass};
use crate::{Error, Inference, InferenceConfig, Layers, Parameter, ParameterKind, Sequence, Volume};

/// A network: named layers with their weights, (N, C, H, W) to (N, K) or to maps.
///
/// It is candle's [`ModuleT`]: `forward_t(images, true)` is a pass in training. [`Stack::forward`] is one in evaluation.
/// (candle gives every `Module` a `forward_t` that ignores `train`, so a network with dropout or batch norm cannot be both.)
///
/// The layers before the first one that is trained, up to the last of them with weights, are a frozen prefix. In training it
/// runs as in evaluation: no dropout, stored statistics; and it costs its forward pass alone, as candle keeps neither inputs
/// nor gradients of what no variable is in. Dropout between the prefix and the first trained layer belongs to the latter.
pub struct Stack {
    names: Vec<String>,
    layers: Vec<Arc<dyn Forward>>,
    /// The number of layers of the frozen prefix; 0 for the lists inside of blocks.
    frozen: usize,
    input: Volume,
    dropout: DropoutSource,
}

/// The most parts of a batch in training.
const MOST_PARTS: usize = 64;

impl Stack {
    pub(crate) fn build(layers: &Layers, weights: VarBuilder) -> crate::Result<Self> {
        let input = Volume::maps(layers.input());
        layers.sequence().volumes(&input)?;
        let stack = Self::from_sequence(layers.sequence(), &input, weights)?;
        Ok(Self { frozen: stack.frozen_prefix(), ..stack })
    }

    /// A stack of a list inside a block; the list's shapes have been checked.
    pub(crate) fn from_sequence(sequence: &Sequence, input: &Volume, weights: VarBuilder) -> Result<Self> {
        let mut volume = *input;
        let mut stack = Self { names: Vec::new(), layers: Vec::new(), frozen: 0, input: *input, dropout: DropoutSource::default() };
        for (name, layer) in sequence.iter() {
            stack.layers.push(Arc::from(layer.build(&volume, weights.pp(name))?));
            stack.names.push(name.to_owned());
            volume = layer.output(&volume).map_err(candle_core::Error::msg)?;
        }
        Ok(stack)
    }

    /// The names of the layers, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The names of all layers, those inside of blocks too, in the order in which they are run; a block comes after its layers.
    pub fn layer_names(&self) -> Vec<String> {
        let with_inner = |(name, layer): (&str, &Arc<dyn Forward>)| {
            let inner = match layer.step() {
                Step::Residual { body, shortcut } => vec![body, shortcut],
                Step::Gate { body } => vec![body],
                _ => Vec::new(),
            };
            let inner = inner.into_iter().flat_map(Self::layer_names).map(|inner| format!("{name}.{inner}"));
            inner.chain([name.to_owned()]).collect::<Vec<_>>()
        };
        self.layers().flat_map(with_inner).collect()
    }

    /// The name of the last layer with filters, or of the norm or the activation behind it: what it gives is the network's last word
    /// that still says where.
    pub fn last_maps(&self) -> Option<&str> {
        let has_filters = |layer: &Arc<dyn Forward>| layer.tensors().iter().any(|(_, tensor, _)| tensor.rank() == 4);
        let last = self.layers.iter().rposition(has_filters)?;
        let is_pointwise = |layer: &&Arc<dyn Forward>| {
            matches!(layer.step(), Step::Norm(..) | Step::Relu | Step::HardSigmoid | Step::HardSwish | Step::Nothing)
        };
        let behind = self.layers[last + 1..].iter().take_while(is_pointwise).count();
        Some(&self.names[last + behind])
    }

    /// The name of the head: the last layer with weights, the one that a classifier for other classes gets anew.
    pub fn head(&self) -> Option<&str> {
        let has_weights = |layer: &Arc<dyn Forward>| layer.tensors().iter().any(|(_, _, kind)| *kind == ParameterKind::Weight);
        let last = self.layers.iter().rposition(has_weights)?;
        Some(&self.names[last])
    }

    /// One more than the place of the last layer with weights before the first one that is trained; 0 where none is trained.
    fn frozen_prefix(&self) -> usize {
        let is_trained = |layer: &Arc<dyn Forward>| {
            layer.tensors().iter().any(|(_, tensor, kind)| *kind != ParameterKind::Buffer && tensor.is_variable())
        };
        let first = self.layers.iter().position(is_trained).unwrap_or(0);
        self.layers[..first].iter().rposition(|layer| !layer.tensors().is_empty()).map_or(0, |last| last + 1)
    }

    /// (N, C, H, W) to the network's output, in evaluation: no dropout, the stored statistics.
    ///
    /// # Errors
    /// When the images do not have the network's channels, or a size that a layer cannot take; the layer is named.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        self.forward_t(images, false)
    }

    /// As [`Stack::forward`], and calls `observe` with the name and the output of each layer of the list when it is done. A residual
    /// block is one layer.
    pub(crate) fn forward_observed(&self, images: &Tensor, mut observe: impl FnMut(&str, &Tensor)) -> Result<Tensor> {
        self.check(images)?;
        let (pass, mut output) = (Pass::evaluation(), images.clone());
        for index in 0..self.layers.len() {
            output = self.layer(index, &output, &pass, false)?;
            observe(&self.names[index], &output);
        }
        Ok(output)
    }

    /// The outputs of the named layers for `images` (N, C, H, W), in the order of `names`; the pass is one in evaluation.
    ///
    /// A name is that of a layer, of a layer inside a residual block (`layer1.0.conv1`), or what several names begin with
    /// (`layer1`): then the last of them is meant.
    ///
    /// # Errors
    /// When there is no such layer, or the images do not fit.
    pub fn forward_taps(&self, images: &Tensor, names: &[&str]) -> crate::Result<Vec<Tensor>> {
        self.forward_taps_t(images, names, false)
    }

    /// As [`Stack::forward_taps`]; in training if `train` holds.
    ///
    /// # Errors
    /// As there.
    pub fn forward_taps_t(&self, images: &Tensor, names: &[&str], train: bool) -> crate::Result<Vec<Tensor>> {
        self.taps(images, Pass::new(train.then_some(&self.dropout), names))
    }

    /// As [`Stack::forward_taps`], where gradients pass back through ReLUs by `rule`: to see which pixels made an activation.
    ///
    /// # Errors
    /// As there.
    pub fn forward_rectified(&self, images: &Tensor, names: &[&str], rule: Rectifier) -> crate::Result<Vec<Tensor>> {
        self.taps(images, Pass::new(None, names).with_rectifier(rule))
    }

    fn taps(&self, images: &Tensor, pass: Pass) -> crate::Result<Vec<Tensor>> {
        self.check(images)?;
        self.run(images, &pass)?;
        pass.into_taps().map_err(|name| self.unknown(name))
    }

    /// The output of the layer `name` as a variable, and what the network makes of it: so a gradient can be asked for there. What comes
    /// before it gets none. The pass is one in evaluation.
    ///
    /// # Errors
    /// As [`Stack::forward_taps`].
    pub fn forward_from(&self, images: &Tensor, name: &str) -> crate::Result<(Var, Tensor)> {
        self.check(images)?;
        let pass = Pass::evaluation().beginning_at(name);
        let output = self.run(images, &pass)?;
        let variable = pass.into_begin().ok_or_else(|| self.unknown(name))?;
        Ok((variable, output))
    }

    fn unknown(&self, name: &str) -> Error {
        Error::UnknownLayer { name: name.to_owned(), known: self.layer_names().join(", ") }
    }

    /// The network for evaluation alone: batch norms folded, ReLU and shortcuts fused, weights packed; see [`Inference`].
    ///
    /// # Errors
    /// When a batch norm's tensors cannot be read.
    pub fn for_inference(self) -> crate::Result<Inference> {
        Inference::new(self, &InferenceConfig::default())
    }

    /// All tensors with their full names, in the order of the list.
    pub fn parameters(&self) -> Vec<Parameter> {
        let of_layer = |(depth, layer): (usize, &dyn Forward)| -> Vec<Parameter> {
            let name = |leaf| format!("{}.{leaf}", self.names[depth]);
            layer
                .tensors()
                .into_iter()
                .map(|(leaf, tensor, kind)| Parameter { name: name(leaf), tensor: tensor.clone(), kind, depth })
                .collect()
        };
        self.layers.iter().map(Arc::as_ref).enumerate().flat_map(of_layer).collect()
    }

    /// Where the generators of dropout stand.
    pub fn dropout_state(&self) -> DropoutState {
        self.dropout.state()
    }

    /// Sets the generators of dropout: to a new seed, or to where a checkpoint left them.
    pub fn set_dropout_state(&self, state: DropoutState) {
        self.dropout.set(state);
    }

    /// Names and layers, in order.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (&str, &Arc<dyn Forward>)> {
        self.names.iter().map(String::as_str).zip(&self.layers)
    }

    /// C of the images.
    pub(crate) fn channels(&self) -> usize {
        self.input.channels()
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = (String, &Tensor, ParameterKind)> {
        self.names
            .iter()
            .zip(&self.layers)
            .flat_map(|(name, layer)| layer.tensors().into_iter().map(move |(leaf, tensor, kind)| (format!("{name}.{leaf}"), tensor, kind)))
    }

    pub(crate) fn run(&self, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut output = input.clone();
        let mut first = 0;
        while first < self.layers.len() {
            let (end, recorded) = self.stretch(first, pass);
            output = if recorded {
                let of_part = pass.of_parts();
                tape::as_one(&output, self.together(first..end, &output), |input| self.layers_in(first..end, input, &of_part()))?
            } else {
                self.layers_in(first..end, &output, pass)?
            };
            output = pass.after(&pass.full_name(&self.names[end - 1]), output)?;
            first = end;
        }
        Ok(output)
    }

    /// How many images go through some layers together in training; all of them where they cannot be taken apart.
    fn together(&self, range: Range<usize>, input: &Tensor) -> usize {
        let layers = &self.layers[range];
        if !layers.iter().all(|layer| takes_each_image_alone(&layer.step())) {
            return usize::MAX;
        }
        let weights = layers.iter().flat_map(|layer| layer.tensors()).map(|(_, tensor, _)| tensor.elem_count()).sum();
        // Each part has gradients to all weights.
        parts::together(input.dims(), weights).max(input.dims()[0].div_ceil(MOST_PARTS))
    }

    /// Whether all layers can be one operation in training.
    pub(crate) fn is_recordable(&self) -> bool {
        self.layers.iter().all(|layer| layer.is_recordable())
    }

    /// How far the layers from `first` on are run before somebody wants to see an output, and whether they can be one operation meanwhile.
    fn stretch(&self, first: usize, pass: &Pass) -> (usize, bool) {
        let can = |index: usize| {
            let trains = if self.frozen > 0 { pass.is_in_training() && index >= self.frozen } else { pass.is_training() };
            trains && self.layers[index].is_recordable() && !pass.looks_into(&self.names[index])
        };
        let recorded = can(first);
        let is_last = |&index: &usize| {
            let next = index + 1;
            pass.wants(&self.names[index], self.names.get(next).map(String::as_str))
                || next == self.layers.len()
                || can(next) != recorded
                || (!recorded && pass.is_observed())
        };
        let last = (first..self.layers.len()).find(is_last).unwrap_or(first);
        (last + 1, recorded && self.has_steps_between(first..last + 1))
    }

    /// Whether something lies between the first and the last operation of some layers.
    fn has_steps_between(&self, range: Range<usize>) -> bool {
        let alone = match self.turn(range.start, range.end) {
            Turn::Alone => 1,
            Turn::WithRelu => 2,
            Turn::Exchanged => 0,
        };
        range.len() != alone || matches!(self.layers[range.start].step(), Step::Residual { .. })
    }

    /// Some layers, one after the other.
    fn layers_in(&self, range: Range<usize>, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut output = input.clone();
        let mut index = range.start;
        while index < range.end {
            (output, index) = match self.turn(index, range.end) {
                Turn::Alone => (self.layer(index, &output, pass, false)?, index + 1),
                Turn::WithRelu => (self.layer(index, &output, pass, true)?, index + 2),
                Turn::Exchanged => (self.layer(index, &self.layer(index + 1, &output, pass, false)?, pass, false)?, index + 2),
            };
        }
        Ok(output)
    }

    /// How a layer is run of which, and of those up to `end`, no own output is asked for.
    fn turn(&self, index: usize, end: usize) -> Turn {
        let is = |index: usize, kind: fn(&Step) -> bool| self.layers[..end].get(index).is_some_and(|layer| kind(&layer.step()));
        let relu_then_pool = |index| is(index, |step| matches!(step, Step::Relu)) && is(index + 1, |step| matches!(step, Step::MaxPool(_)));
        if relu_then_pool(index) {
            Turn::Exchanged
        } else if is(index + 1, |step| matches!(step, Step::Relu)) && !relu_then_pool(index + 1) {
            Turn::WithRelu
        } else {
            Turn::Alone
        }
    }

    /// One layer, and the ReLU behind it if it is wanted.
    fn layer(&self, index: usize, input: &Tensor, pass: &Pass, relu: bool) -> Result<Tensor> {
        if self.frozen > 0 {
            pass.set_frozen(index < self.frozen);
        }
        let layer = &self.layers[index];
        let run = || if relu { layer.forward_relu(input, pass) } else { layer.forward(input, pass) };
        pass.inside(&self.names[index], run)
    }

    fn check(&self, images: &Tensor) -> Result<()> {
        let channels = self.input.channels();
        match images.dims() {
            [_, c, _, _] if *c == channels => Ok(()),
            given => candle_core::bail!("the network takes images (N, {channels}, H, W), given {given:?}"),
        }
    }
}

/// Whether what a layer makes of an image in training depends on that image alone.
fn takes_each_image_alone(step: &Step) -> bool {
    match step {
        Step::Residual { body, shortcut } => {
            [body, shortcut].iter().all(|stack| stack.layers.iter().all(|layer| takes_each_image_alone(&layer.step())))
        }
        // A norm has statistics of the batch, and dropout, which is nothing in evaluation, a mask for it.
        Step::Norm(..) | Step::Nothing | Step::Gate { .. } | Step::Other => false,
        _ => true,
    }
}

/// How a layer takes its turn.
enum Turn {
    Alone,
    /// Together with the ReLU behind it.
    WithRelu,
    /// A ReLU after the max pool behind it: the largest value is the same, and so are the gradients, for fewer values.
    Exchanged,
}

impl ModuleT for Stack {
    fn forward_t(&self, images: &Tensor, train: bool) -> Result<Tensor> {
        self.check(images)?;
        self.run(images, &Pass::new(train.then_some(&self.dropout), &[]))
    }
}

#[cfg(test)]
mod tests;
