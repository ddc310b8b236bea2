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
        self.walk(images, &Pass::new(None, &[]), |name, output| {
            observe(name, &output);
            Ok(output)
        })
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
        parts::together(input.dims(), weights)
    }

    /// Whether all layers can be one operation in training.
    pub(crate) fn is_recordable(&self) -> bool {
        self.layers.iter().all(|layer| layer.is_recordable())
    }

    /// How far the layers from `first` on are run before somebody wants to see an output, and whether they can be one operation meanwhile.
    fn stretch(&self, first: usize, pass: &Pass) -> (usize, bool) {
        let can = |index: usize| {
            pass.is_in_training() && index >= self.frozen && self.layers[index].is_recordable() && !pass.looks_into(&self.names[index])
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
        Ok(pass.inside(&self.names[index], run)?.1)
    }

    /// One layer after the other; `after` is called with the full name and the output of each, and gives what the next one takes.
    fn walk(&self, input: &Tensor, pass: &Pass, mut after: impl FnMut(&str, Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let mut output = input.clone();
        for (name, layer) in self.names.iter().zip(&self.layers) {
            let (full, given) = pass.inside(name, || layer.forward(&output, pass))?;
            output = after(&full, given)?;
        }
        Ok(output)
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
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::Store;
    use crate::layer::{Conv2d, Dropout, Flatten, Relu, Residual, conv, linear};
    use crate::ops;

    fn same(filters: usize, kernel: usize) -> Conv2d {
        Conv2d { padding: [kernel / 2; 2], ..conv(filters, kernel) }
    }

    fn network() -> crate::Result<Stack> {
        let body = Sequence::new().then("conv1", same(4, 3)).then("relu", Relu).then("conv2", same(4, 3));
        let shortcut = Sequence::new().then("downsample", conv(4, 1));
        let layers = Layers::new([2, 5, 7])
            .then("layer1.0", Residual { body, shortcut })
            .then("layer1.1", crate::layer::residual(Sequence::new().then("conv", same(4, 3))))
            .then("flatten", Flatten)
            .then("dropout", Dropout(0.5))
            .then("fc", linear(3));
        layers.build(Store::new(11, DType::F32, &Device::Cpu).var_builder())
    }

    fn images() -> Result<Tensor> {
        Tensor::arange(0f32, 210.0, &Device::Cpu)?.affine(0.7, 0.0)?.sin()?.reshape((3, 2, 5, 7))
    }

    fn values(tensor: &Tensor) -> Result<Vec<f32>> {
        tensor.flatten_all()?.to_vec1()
    }

    #[test]
    fn a_block_is_the_sum_of_its_branches() -> crate::Result<()> {
        let network = network()?;
        let names = ["layer1.0.conv2", "layer1.0.downsample", "layer1.0", "layer1", "fc"];
        let taps = network.forward_taps(&images()?, &names)?;
        assert_eq!(values(&(&taps[0] + &taps[1])?)?, values(&taps[2])?);
        assert_eq!(taps[3].dims(), [3, 4, 5, 7]);
        assert_ne!(values(&taps[3])?, values(&taps[2])?, "`layer1` is the last of its blocks");
        assert_eq!(values(&taps[4])?, values(&network.forward(&images()?)?)?);
        Ok(())
    }

    #[test]
    fn an_observer_sees_each_layer_once_and_the_output_last() -> crate::Result<()> {
        let network = network()?;
        let mut seen = Vec::new();
        let output = network.forward_observed(&images()?, |name, output| seen.push((name.to_owned(), output.clone())))?;
        let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["layer1.0", "layer1.1", "flatten", "dropout", "fc"]);
        assert_eq!(values(&seen[4].1)?, values(&output)?);
        assert_eq!(values(&output)?, values(&network.forward(&images()?)?)?);
        Ok(())
    }

    /// conv1, a dropout and conv2 are frozen, `fc` with the dropout before it is not.
    fn half_frozen(dropout: f64) -> crate::Result<(Store, Layers)> {
        let layers = Layers::new([2, 5, 7])
            .then("conv1", same(4, 3))
            .then("bn", crate::layer::batch_norm())
            .then("relu1", Relu)
            .then("drop1", Dropout(0.5))
            .then("block", crate::layer::residual(Sequence::new().then("conv2", same(4, 3)).then("drop", Dropout(0.5))))
            .then("relu2", Relu)
            .then("pool", crate::layer::max_pool(2))
            .then("flatten", Flatten)
            .then("drop2", Dropout(dropout))
            .then("fc", linear(3));
        let store = Store::new(11, DType::F32, &Device::Cpu);
        store.freeze(|name| !name.starts_with("fc."));
        Ok((store, layers))
    }

    /// Nothing of what candle keeps for the backward pass is from the frozen prefix, by kernels or by candle's own operations.
    #[test]
    fn a_frozen_prefix_keeps_nothing() -> crate::Result<()> {
        let (store, layers) = half_frozen(0.0)?;
        let network = layers.build(store.var_builder())?;
        let pass = Pass::new(Some(&network.dropout), &[]);
        let run = || -> crate::Result<()> {
            let mut output = images()?;
            for index in 0..network.layers.len() {
                output = network.layer(index, &output, &pass, false)?;
                assert_eq!(output.track_op(), network.names[index] == "fc", "{}", network.names[index]);
            }
            let gradients = output.sqr()?.sum_all()?.backward()?;
            let of = |name: &str| network.parameters().into_iter().find(|p| p.name == name).map(|p| p.tensor);
            assert!(of("fc.weight").is_some_and(|weight| gradients.get(&weight).is_some()));
            assert!(of("conv1.weight").is_some_and(|weight| gradients.get(&weight).is_none()));
            Ok(())
        };
        run()?;
        ops::with_portable(run)
    }

    #[test]
    fn a_frozen_prefix_has_no_dropout_and_the_head_keeps_its_own() -> crate::Result<()> {
        let (store, layers) = half_frozen(0.0)?;
        let network = layers.build(store.var_builder())?;
        assert_eq!(values(&network.forward_t(&images()?, true)?)?, values(&network.forward(&images()?)?)?);
        assert_eq!(network.dropout_state().drawn, 1, "only the head's was asked for a mask");
        let (store, layers) = half_frozen(0.5)?;
        let network = layers.build(store.var_builder())?;
        assert_ne!(values(&network.forward_t(&images()?, true)?)?, values(&network.forward(&images()?)?)?);
        // Thawed, by building it again.
        store.freeze(|_| false);
        let network = layers.build(store.var_builder())?;
        network.forward_t(&images()?, true)?;
        assert_eq!(network.dropout_state().drawn, 3);
        Ok(())
    }

    #[test]
    fn the_head_is_the_last_layer_with_weights() -> crate::Result<()> {
        assert_eq!(network()?.head(), Some("fc"));
        let layers = Layers::new([2, 5, 7]).then("a.0", same(4, 3)).then("bn", crate::layer::batch_norm()).then("relu", Relu);
        assert_eq!(layers.build(Store::new(0, DType::F32, &Device::Cpu).var_builder())?.head(), Some("a.0"));
        assert_eq!(Layers::new([1, 1, 1]).build(Store::new(0, DType::F32, &Device::Cpu).var_builder())?.head(), None);
        Ok(())
    }

    /// A network of fused and exchanged layers, its tensors, and what its layers give one by one.
    struct Together {
        network: Stack,
        tensors: Vec<Tensor>,
        images: Tensor,
    }

    impl Together {
        fn new(n: usize) -> crate::Result<Self> {
            use crate::layer::{MaxPool2d, max_pool};
            let window = ops::Pool2dConfig { kernel: [3; 2], stride: [2; 2], ..max_pool(3).0 };
            let block = crate::layer::residual(Sequence::new().then("conv", same(3, 3)).then("relu", Relu));
            let layers = Layers::new([2, 9, 9])
                .then("conv1", conv(3, 3))
                .then("relu1", Relu)
                .then("pool", MaxPool2d(window))
                .then("block", block)
                .then("conv2", conv(5, 2))
                .then("relu2", Relu)
                .then("flatten", Flatten)
                .then("fc1", linear(4))
                .then("relu3", Relu)
                .then("fc2", linear(2));
            let network = layers.build(Store::new(2, DType::F32, &Device::Cpu).var_builder())?;
            let images = Tensor::arange(0f32, (n * 162) as f32, &Device::Cpu)?.affine(0.9, 0.0)?.sin()?.reshape((n, 2, 9, 9))?;
            let tensors = network.parameters().into_iter().map(|parameter| parameter.tensor).collect();
            Ok(Self { network, tensors, images: Var::from_tensor(&images)?.as_tensor().clone() })
        }

        fn one_by_one(&self) -> crate::Result<Tensor> {
            use crate::layer::max_pool;
            let [w1, b1, w2, b2, w3, b3, w4, b4, w5, b5] = self.tensors.as_slice() else { panic!("five layers have weights") };
            let window = ops::Pool2dConfig { kernel: [3; 2], stride: [2; 2], ..max_pool(3).0 };
            let (plain, padded) = (ops::Conv2dConfig::default(), ops::Conv2dConfig { padding: [1; 2], ..Default::default() });
            let x = ops::max_pool2d(&ops::relu(&ops::conv2d(&self.images, w1, Some(b1), &plain)?)?, &window)?;
            let x = (ops::relu(&ops::conv2d(&x, w2, Some(b2), &padded)?)? + &x)?;
            let x = ops::relu(&ops::conv2d(&x, w3, Some(b3), &plain)?)?.flatten_from(1)?;
            Ok(ops::linear(&ops::relu(&ops::linear(&x, w4, Some(b4))?)?, w5, Some(b5))?)
        }

        /// The logits, then the gradients to the images and to all weights.
        fn results(&self, logits: &Tensor) -> crate::Result<Vec<Vec<f32>>> {
            let gradients = ops::backward(&logits.sqr()?.sum_all()?)?;
            let of = |tensor: &Tensor| values(gradients.get(tensor).expect("a gradient"));
            let all = [values(logits)].into_iter().chain([&self.images].into_iter().chain(&self.tensors).map(of));
            Ok(all.collect::<Result<_>>()?)
        }
    }

    /// Fused and exchanged layers give what the layers give one by one, gradients too.
    #[test]
    fn layers_that_run_together_change_nothing() -> crate::Result<()> {
        let together = Together::new(2)?;
        for train in [false, true] {
            let logits = together.network.forward_t(&together.images, train)?;
            assert_eq!(together.results(&logits)?, together.results(&together.one_by_one()?)?);
        }
        Ok(())
    }

    /// Of a batch that is taken in parts the sums over images are rounded otherwise, and alike for any number of threads.
    #[test]
    fn parts_of_a_batch_change_nothing() -> crate::Result<()> {
        let together = Together::new(37)?;
        assert_eq!(together.network.together(0..10, &together.images), 3, "the last part has one image");
        let in_parts = || together.results(&together.network.forward_t(&together.images, true)?);
        let (ours, theirs) = (in_parts()?, together.results(&together.one_by_one()?)?);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let largest = theirs.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            assert!(ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() <= 1e-5 * largest));
        }
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            assert_eq!(pool.install(in_parts)?, ours, "{threads} threads");
        }
        Ok(())
    }

    #[test]
    fn what_an_image_gives_may_depend_on_others() -> crate::Result<()> {
        let images = Tensor::zeros((32, 2, 5, 7), DType::F32, &Device::Cpu)?;
        let layers = |layer: Layers| layer.build(Store::new(0, DType::F32, &Device::Cpu).var_builder());
        let plain = Layers::new([2, 5, 7]).then("conv", same(3, 3)).then("relu", Relu);
        assert_eq!(layers(plain.clone())?.together(0..2, &images), 2);
        assert_eq!(layers(plain.clone().then("norm", crate::layer::batch_norm()))?.together(0..3, &images), usize::MAX);
        assert_eq!(layers(plain.then("dropout", Dropout(0.5)))?.together(0..3, &images), usize::MAX);
        let block = crate::layer::residual(Sequence::new().then("norm", crate::layer::batch_norm()));
        assert_eq!(layers(Layers::new([2, 5, 7]).then("block", block))?.together(0..1, &images), usize::MAX);
        Ok(())
    }

    /// The gradient at a layer, layers inside of blocks too, by finite differences of what comes behind it.
    #[test]
    fn a_pass_begins_at_a_layer() -> crate::Result<()> {
        let network = network()?;
        for name in ["layer1.0.conv1", "layer1.1", "layer1", "fc"] {
            let (variable, output) = network.forward_from(&images()?, name)?;
            assert_eq!(values(&output)?, values(&network.forward(&images()?)?)?, "{name}");
            assert_eq!(values(&variable)?, values(&network.forward_taps(&images()?, &[name])?[0])?, "{name}");
            let gradient = output.sum_all()?.backward()?.get(&variable).expect("a gradient").clone();
            assert_eq!(gradient.dims(), variable.dims());
        }
        // Behind `layer1.1` there is but a linear layer: its gradient is the sum of the weights.
        let (variable, output) = network.forward_from(&images()?, "layer1")?;
        let gradient = output.sum_all()?.backward()?.get(&variable).expect("a gradient").get(1)?.flatten_all()?;
        let weight = network.parameters().into_iter().find(|parameter| parameter.name == "fc.weight").expect("a weight").tensor;
        for (gradient, weight) in values(&gradient)?.iter().zip(values(&weight.sum(0)?)?) {
            assert!((gradient - weight).abs() < 1e-6, "{gradient} {weight}");
        }
        let error = network.forward_from(&images()?, "layer7").unwrap_err().to_string();
        assert!(error.contains("no layer `layer7`") && error.contains("layer1.0.conv1"), "{error}");
        Ok(())
    }

    #[test]
    fn names_of_layers_are_in_the_order_of_the_pass() -> crate::Result<()> {
        let names = network()?.layer_names();
        let expected = [
            "layer1.0.conv1",
            "layer1.0.relu",
            "layer1.0.conv2",
            "layer1.0.downsample",
            "layer1.0",
            "layer1.1.conv",
            "layer1.1",
            "flatten",
            "dropout",
            "fc",
        ];
        assert_eq!(names, expected);
        assert_eq!(network()?.last_maps(), Some("layer1.1"));
        let layers = Layers::new([1, 8, 8]).then("conv", conv(2, 3)).then("norm", crate::layer::batch_norm()).then("relu", Relu);
        let layers = layers.then("pool", crate::layer::max_pool(2)).then("flatten", Flatten).then("fc", linear(2));
        assert_eq!(layers.build(Store::new(0, DType::F32, &Device::Cpu).var_builder())?.last_maps(), Some("relu"));
        assert_eq!(Layers::new([1, 1, 1]).build(Store::new(0, DType::F32, &Device::Cpu).var_builder())?.last_maps(), None);
        Ok(())
    }

    #[test]
    fn names_of_parameters_are_paths() -> crate::Result<()> {
        let names: Vec<String> = network()?.parameters().into_iter().map(|parameter| parameter.name).collect();
        assert_eq!(names[0], "layer1.0.conv1.weight");
        assert!(names.contains(&"layer1.0.downsample.bias".to_owned()) && names.contains(&"layer1.1.conv.weight".to_owned()), "{names:?}");
        Ok(())
    }

    #[test]
    fn dropout_follows_its_seed_and_its_state() -> crate::Result<()> {
        let network = network()?;
        network.set_dropout_state(DropoutState { seed: 5, drawn: 0 });
        let first = values(&network.forward_t(&images()?, true)?)?;
        let state = network.dropout_state();
        let second = values(&network.forward_t(&images()?, true)?)?;
        assert_ne!(first, second);
        network.set_dropout_state(state);
        assert_eq!(second, values(&network.forward_t(&images()?, true)?)?, "a restored state goes on as before");
        network.set_dropout_state(DropoutState { seed: 6, drawn: 0 });
        assert_ne!(first, values(&network.forward_t(&images()?, true)?)?);
        assert_eq!(values(&network.forward(&images()?)?)?, values(&network.forward(&images()?)?)?);
        Ok(())
    }

    #[test]
    fn wrong_names_and_wrong_images_are_named() -> crate::Result<()> {
        let network = network()?;
        let error = network.forward_taps(&images()?, &["layer9"]).unwrap_err().to_string();
        assert!(error.contains("no layer `layer9`") && error.contains("layer1.1"), "{error}");
        let error = network.forward(&Tensor::zeros((1, 3, 5, 7), DType::F32, &Device::Cpu)?).unwrap_err().to_string();
        assert!(error.contains("(N, 2, H, W), given [1, 3, 5, 7]"), "{error}");
        let error = network.forward(&Tensor::zeros((1, 2, 6, 7), DType::F32, &Device::Cpu)?).unwrap_err().to_string();
        assert!(error.contains("in layer `fc`"), "{error}");
        Ok(())
    }
}
