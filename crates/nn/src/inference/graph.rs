//! What a network computes in evaluation, as a list of operations on numbered values; neighbours are fused as they are added.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{DType, Result, Tensor};
use cirio_kernels::blocked::{Method, Packed};
use cirio_kernels::{Activation, Buffer};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::layer::{Forward, Step};
use crate::ops::{Conv2dConfig, CountPadding, Pool2dConfig};
use crate::{Error, InferenceConfig, Stack};

/// The operations in order. Value 0 is the images, value i + 1 is what operation i gives.
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    /// The values that are wanted.
    pub(super) outputs: Vec<usize>,
}

/// One operation.
pub(super) struct Node {
    /// The name of the first layer in it.
    pub(super) name: String,
    pub(super) op: Op,
    /// The values that it takes.
    pub(super) inputs: Vec<usize>,
}

pub(super) enum Op {
    /// Of its first input; the second one, if any, is added to the result.
    Conv(Conv),
    Linear(Linear),
    MaxPool(Pool2dConfig),
    AvgPool(Pool2dConfig, CountPadding),
    AdaptiveAvgPool([usize; 2]),
    Flatten,
    Add,
    /// Each channel of the first input times its number in the second.
    Scale,
    /// A layer as it is.
    Layer(Arc<dyn Forward>),
}

/// A fully connected layer, and the activation that follows.
pub(super) struct Linear {
    pub(super) weights: LinearWeights,
    /// Outputs, inputs.
    pub(super) shape: [usize; 2],
    pub(super) bias: Option<Tensor>,
    pub(super) activation: Activation,
}

/// The weights (outputs, inputs) of a fully connected layer.
pub(super) enum LinearWeights {
    Full(Tensor),
    Half(Vec<f16>),
}

/// A convolution, the batch norm behind it folded into it, and the activation that follows.
pub(super) struct Conv {
    /// The weights as they were given, with a factor for each filter, until they are packed.
    pub(super) given: Mutex<Option<(Tensor, Vec<f32>)>>,
    pub(super) packed: OnceLock<ConvWeights>,
    /// (filters, C / groups, rows, columns).
    pub(super) shape: [usize; 4],
    /// (filters).
    pub(super) bias: Vec<f32>,
    pub(super) config: Conv2dConfig,
    pub(super) activation: Activation,
}

/// The weights of a convolution as they are used.
pub(super) enum ConvWeights {
    /// For a method of `cirio_kernels::blocked`, with the bias.
    Packed(Method, PackedWeights, Vec<f32>),
    /// As given, times the factors: for convolutions that the packed form cannot do.
    Plain(Vec<f32>),
}

/// The values in half precision; none where one is too large for it.
pub(super) fn halved(values: &[f32]) -> Option<Vec<f16>> {
    let mut half = vec![f16::ZERO; values.len()];
    half.convert_from_f32_slice(values);
    half.iter().zip(values).all(|(half, value)| half.is_finite() || !value.is_finite()).then_some(half)
}

/// Packed weights in single or in half precision.
pub(super) enum PackedWeights {
    Full(Buffer),
    Half(Vec<f16>),
}

impl PackedWeights {
    pub(super) fn as_packed(&self) -> Packed<'_> {
        match self {
            Self::Full(weights) => Packed::Full(weights),
            Self::Half(weights) => Packed::Half(weights),
        }
    }
}

impl Graph {
    /// The operations of a network, and the values that are wanted: the outputs of the taps, or the last one's if there are none.
    pub(super) fn new(stack: &Stack, InferenceConfig { taps, half_weights }: &InferenceConfig) -> crate::Result<Self> {
        let mut names = Vec::new();
        list_names(stack, "", &mut names);
        let last_of = |tap: &String| {
            let of_tap = |name: &&String| *name == tap || name.strip_prefix(tap.as_str()).is_some_and(|rest| rest.starts_with('.'));
            let unknown = || Error::UnknownLayer { name: tap.clone(), known: stack.names().join(", ") };
            names.iter().rev().find(of_tap).cloned().ok_or_else(unknown)
        };
        let wanted = taps.iter().map(last_of).collect::<crate::Result<Vec<String>>>()?;
        let mut builder = Builder { nodes: Vec::new(), kept: HashSet::new(), found: vec![0; wanted.len()], wanted, half: *half_weights };
        let last = builder.stack(stack, "", 0)?;
        let outputs = if taps.is_empty() { vec![last] } else { builder.found };
        Ok(Self { nodes: builder.nodes, outputs })
    }

    /// The number of weights of all convolutions and fully connected layers.
    pub(super) fn weights(&self) -> usize {
        let of_node = |node: &Node| match &node.op {
            Op::Conv(conv) => conv.shape.iter().product(),
            Op::Linear(linear) => linear.shape.iter().product(),
            _ => 0,
        };
        self.nodes.iter().map(of_node).sum()
    }

    /// For each value, the last operation that takes it; the wanted ones are taken after all of them.
    pub(super) fn last_uses(&self) -> Vec<usize> {
        let mut last = vec![0; self.nodes.len() + 1];
        for (index, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| last[input] = index);
        }
        self.outputs.iter().for_each(|&output| last[output] = self.nodes.len());
        last
    }
}

/// The names in the order in which a pass meets them: of a block's layers before the block's own.
fn list_names(stack: &Stack, prefix: &str, names: &mut Vec<String>) {
    for (name, layer) in stack.layers() {
        let full = format!("{prefix}{name}");
        let prefix = format!("{full}.");
        match layer.step() {
            Step::Residual { body, shortcut } => {
                list_names(body, &prefix, names);
                list_names(shortcut, &prefix, names);
            }
            Step::Gate { body } => list_names(body, &prefix, names),
            _ => {}
        }
        names.push(full);
    }
}

struct Builder {
    nodes: Vec<Node>,
    /// Values that somebody else takes, too: nothing may be fused into what gives them.
    kept: HashSet<usize>,
    wanted: Vec<String>,
    found: Vec<usize>,
    /// Whether weights of fully connected layers are kept in half precision.
    half: bool,
}

impl Builder {
    /// Adds the layers of a stack to a value, and gives the last one's.
    fn stack(&mut self, stack: &Stack, prefix: &str, mut value: usize) -> Result<usize> {
        for (name, layer) in stack.layers() {
            let full = format!("{prefix}{name}");
            value = self.layer(&full, layer, value)?;
            for (wanted, found) in self.wanted.iter().zip(&mut self.found) {
                if *wanted == full {
                    *found = value;
                    self.kept.insert(value);
                }
            }
        }
        Ok(value)
    }

    fn layer(&mut self, name: &str, layer: &Arc<dyn Forward>, value: usize) -> Result<usize> {
        let op = match layer.step() {
            Step::Conv { weight, bias, config } => {
                let (filters, channels, rows, columns) = weight.dims4()?;
                let bias = bias.map_or(Ok(vec![0.0; filters]), Tensor::to_vec1)?;
                if bias.len() != filters {
                    candle_core::bail!("the bias of {name} has {} values, expected {filters}", bias.len());
                }
                let given = Mutex::new(Some((weight.detach().contiguous()?, vec![1.0; filters])));
                Op::Conv(Conv {
                    given,
                    packed: OnceLock::new(),
                    shape: [filters, channels, rows, columns],
                    bias,
                    config,
                    activation: Activation::Identity,
                })
            }
            Step::Norm(tensors, eps) => match self.open_conv(value) {
                Some((conv, _)) => {
                    conv.fold(tensors, eps)?;
                    return Ok(value);
                }
                None => Op::Layer(layer.clone()),
            },
            Step::Relu if self.activate(value, Activation::Relu) => return Ok(value),
            Step::HardSigmoid if self.activate(value, Activation::HardSigmoid) => return Ok(value),
            Step::HardSwish if self.activate(value, Activation::HardSwish) => return Ok(value),
            Step::Linear { weight, bias } => {
                let (outputs, inputs) = weight.dims2()?;
                let full = || Ok::<_, candle_core::Error>(LinearWeights::Full(weight.detach().contiguous()?));
                let weights = match self.half {
                    true => halved(&weight.flatten_all()?.to_vec1()?).map_or_else(full, |half| Ok(LinearWeights::Half(half)))?,
                    false => full()?,
                };
                let bias = bias.map(|bias| bias.detach().contiguous()).transpose()?;
                Op::Linear(Linear { weights, shape: [outputs, inputs], bias, activation: Activation::Identity })
            }
            Step::MaxPool(window) => Op::MaxPool(window),
            Step::AvgPool(window, count) => Op::AvgPool(window, count),
            Step::AdaptiveAvgPool(size) => Op::AdaptiveAvgPool(size),
            Step::Flatten => Op::Flatten,
            Step::Nothing => return Ok(value),
            Step::Residual { body, shortcut } => return self.residual(name, body, shortcut, value),
            Step::Gate { body } => return self.gate(name, body, value),
            Step::Relu | Step::HardSigmoid | Step::HardSwish | Step::Other => Op::Layer(layer.clone()),
        };
        Ok(self.push(name, op, vec![value]))
    }

    /// The shortcut comes first, so that the body's last convolution can add it.
    fn residual(&mut self, name: &str, body: &Stack, shortcut: &Stack, value: usize) -> Result<usize> {
        let prefix = format!("{name}.");
        self.kept.insert(value);
        let short = self.stack(shortcut, &prefix, value)?;
        self.kept.insert(short);
        let long = self.stack(body, &prefix, value)?;
        match self.open_conv(long) {
            Some((_, inputs)) => {
                inputs.push(short);
                Ok(long)
            }
            None => Ok(self.push(name, Op::Add, vec![long, short])),
        }
    }

    fn gate(&mut self, name: &str, body: &Stack, value: usize) -> Result<usize> {
        self.kept.insert(value);
        let factors = self.stack(body, &format!("{name}."), value)?;
        Ok(self.push(name, Op::Scale, vec![value, factors]))
    }

    /// Lets what gives a value apply the activation, if it can.
    fn activate(&mut self, value: usize, wanted: Activation) -> bool {
        match self.open(value).map(|node| &mut node.op) {
            Some(Op::Conv(Conv { activation, .. }) | Op::Linear(Linear { activation, .. })) if *activation == Activation::Identity => {
                *activation = wanted;
                true
            }
            _ => false,
        }
    }

    /// What gives a value, if nothing else takes that.
    fn open(&mut self, value: usize) -> Option<&mut Node> {
        let open = value > 0 && !self.kept.contains(&value);
        open.then(|| &mut self.nodes[value - 1])
    }

    /// A convolution to which something linear can still be added, and its inputs.
    fn open_conv(&mut self, value: usize) -> Option<(&mut Conv, &mut Vec<usize>)> {
        match self.open(value) {
            Some(Node { op: Op::Conv(conv), inputs, .. }) if conv.activation == Activation::Identity && inputs.len() == 1 => {
                Some((conv, inputs))
            }
            _ => None,
        }
    }

    fn push(&mut self, name: &str, op: Op, inputs: Vec<usize>) -> usize {
        self.nodes.push(Node { name: name.to_owned(), op, inputs });
        self.nodes.len()
    }
}

impl Conv {
    /// Folds a batch norm behind the convolution into its factors and its bias.
    fn fold(&mut self, tensors: [&Tensor; 4], eps: f64) -> Result<()> {
        let mut numbers = Vec::with_capacity(4);
        for tensor in tensors {
            let values = tensor.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            if values.len() != self.bias.len() {
                candle_core::bail!("a batch norm of {} channels stands behind {} filters", values.len(), self.bias.len());
            }
            numbers.push(values);
        }
        let given = self.given.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some((_, factors)) = given else { candle_core::bail!("the weights are packed already") };
        for (filter, (factor, bias)) in factors.iter_mut().zip(&mut self.bias).enumerate() {
            let [weight, shift, mean, variance] = [0, 1, 2, 3].map(|index: usize| numbers[index][filter]);
            let scale = weight / (variance + eps).sqrt();
            *bias = ((f64::from(*bias) - mean) * scale + shift) as f32;
            *factor = (f64::from(*factor) * scale) as f32;
        }
        Ok(())
    }
}
