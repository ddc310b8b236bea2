//! Small networks on batches: each thread takes as many images as a vector has floats through all layers, a float of each vector for each image.
//!
//! Few channels and narrow maps leave parts of vectors empty where channels or pixels lie side by side; images side by side fill them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Error, Result, Tensor};
use cirio_kernels::blocked::{Maps, Pool};
use cirio_kernels::{Activation, Buffer, Conv2dShape, Pool2dShape, ShapeError, abreast, on_this_thread};
use rayon::prelude::*;

use super::engine::on_slice;
use super::graph::{Conv, Graph, Linear, LinearWeights, Node, Op};
use crate::ops::{Conv2dConfig, CountPadding, Pool2dConfig};
use crate::parts::FEW_WEIGHTS;

/// Groups of images that are worth it: then two threads have work.
const GROUPS: usize = 2;

/// Floats of a group's images, at most: its maps, some times as many floats, stay near a core.
const IMAGES: usize = 1 << 16;

/// Channels and filters that fill vectors when they lie side by side: then that is as fast, and 3×3 or 5×5 filters can go by Winograd's way.
const MANY_CHANNELS: usize = 16;

/// A chain of layers, and the plans that no thread is using.
pub(super) struct Abreast {
    layers: Vec<Layer>,
    idle: Mutex<Vec<Plan>>,
}

enum Layer {
    /// With the weights' shape (filters, C, kernel rows, kernel columns).
    Conv([usize; 4], Conv2dConfig, Arc<Filters>),
    /// With the weights' shape (outputs, inputs).
    Linear([usize; 2], Arc<Filters>),
    Pool(Window),
    Flatten,
}

/// Weights as they are given, batch norms folded in, and the activation that follows.
struct Filters {
    weights: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
}

enum Window {
    Max(Pool2dConfig),
    Mean(Pool2dConfig, CountPadding),
    AdaptiveMean([usize; 2]),
}

/// What a thread works with for images of one size.
struct Plan {
    /// C, H, W of an image.
    image: [usize; 3],
    /// C, H, W of an image's output, or K.
    output: Vec<usize>,
    input: Maps,
    /// What is done, and the layout of what it gives.
    steps: Vec<(Step, Maps)>,
    /// The maps that a step takes, and those that it gives, in turn.
    values: [Buffer; 2],
}

enum Step {
    Conv(abreast::Conv2d, Arc<Filters>),
    Pool(Pool),
}

impl Abreast {
    /// For the operations of a network whose weights have not been packed; none where it is not small, or not a chain of layers that can be
    /// computed so and gain by it.
    pub(super) fn new(graph: &Graph) -> Result<Option<Self>> {
        let is_chain = graph.nodes.iter().enumerate().all(|(index, node)| node.inputs == [index]) && graph.outputs == [graph.nodes.len()];
        if abreast::images() == 1 || !is_chain || graph.weights() > FEW_WEIGHTS {
            return Ok(None);
        }
        let layers = graph.nodes.iter().map(layer).collect::<Result<Option<Vec<_>>>>()?;
        Ok(layers.map(|layers| Self { layers, idle: Mutex::default() }))
    }

    /// The output for a batch of many small images of f32 on the CPU, contiguous or not; none for other images.
    pub(super) fn forward(&self, images: &Tensor, [n, c, h, w]: [usize; 4]) -> Result<Option<Tensor>> {
        let together = abreast::images();
        if n < GROUPS * together || (c * h * w).saturating_mul(together) > IMAGES {
            return Ok(None);
        }
        let Some(plan) = self.plan([c, h, w]) else { return Ok(None) };
        let shape = [&[n], plan.output.as_slice()].concat();
        let length: usize = plan.output.iter().product();
        self.put_back(plan);
        let mut outputs = vec![0.0; n * length];
        on_slice(&images.contiguous()?, |images| {
            let groups = images.par_chunks(together * c * h * w).zip(outputs.par_chunks_mut(together * length));
            groups.try_for_each(|(images, outputs)| {
                let mut plan = self.plan([c, h, w]).ok_or_else(|| Error::msg("a plan that was made cannot be made"))?;
                on_this_thread(|| plan.run(images, outputs)).map_err(Error::wrap)?;
                self.put_back(plan);
                Ok(())
            })
        })?;
        Tensor::from_vec(outputs, shape, &Device::Cpu).map(Some)
    }

    /// A plan that no other thread uses; none where a layer cannot take these images.
    fn plan(&self, image: [usize; 3]) -> Option<Plan> {
        let mut idle = self.idle();
        let known = idle.iter().position(|plan| plan.image == image).map(|index| idle.swap_remove(index));
        drop(idle);
        known.or_else(|| Plan::new(&self.layers, image).ok().flatten())
    }

    /// Keeps a plan, and those for images of its size alone.
    fn put_back(&self, plan: Plan) {
        let mut idle = self.idle();
        idle.retain(|other| other.image == plan.image);
        idle.push(plan);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Plan>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an operation is here; none for what cannot be computed with images abreast.
fn layer(node: &Node) -> Result<Option<Layer>> {
    Ok(match &node.op {
        Op::Conv(conv) if conv.config.groups == 1 && conv.shape[0].min(conv.shape[1]) < MANY_CHANNELS => {
            let Some(weights) = weights(conv)? else { return Ok(None) };
            let filters = Filters { weights, bias: conv.bias.clone(), activation: conv.activation };
            Some(Layer::Conv(conv.shape, conv.config.clone(), Arc::new(filters)))
        }
        Op::Linear(Linear { weights: LinearWeights::Full(weights), shape, bias, activation }) => {
            let bias = bias.as_ref().map_or_else(|| Ok(vec![0.0; shape[0]]), Tensor::to_vec1)?;
            let filters = Filters { weights: weights.flatten_all()?.to_vec1()?, bias, activation: *activation };
            Some(Layer::Linear(*shape, Arc::new(filters)))
        }
        Op::MaxPool(window) => Some(Layer::Pool(Window::Max(window.clone()))),
        Op::AvgPool(window, count) => Some(Layer::Pool(Window::Mean(window.clone(), *count))),
        Op::AdaptiveAvgPool(size) => Some(Layer::Pool(Window::AdaptiveMean(*size))),
        Op::Flatten => Some(Layer::Flatten),
        Op::Conv(_) | Op::Linear(_) | Op::Add | Op::Scale | Op::Layer(_) => None,
    })
}

/// The weights of a convolution that have not been packed, times their factors.
fn weights(conv: &Conv) -> Result<Option<Vec<f32>>> {
    let given = conv.given.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((weight, factors)) = given.as_ref() else { return Ok(None) };
    let mut weights: Vec<f32> = weight.flatten_all()?.to_vec1()?;
    let taps = conv.shape[1..].iter().product::<usize>().max(1);
    weights.chunks_exact_mut(taps).zip(factors).for_each(|(filter, factor)| filter.iter_mut().for_each(|weight| *weight *= factor));
    Ok(Some(weights))
}

impl Plan {
    /// None where the layers cannot take such images in this way.
    fn new(layers: &[Layer], image: [usize; 3]) -> std::result::Result<Option<Self>, ShapeError> {
        // The margin that a layer's input needs.
        let margin = |index: usize| match layers.get(index) {
            Some(Layer::Conv(_, config, _)) => config.padding,
            _ => [0; 2],
        };
        let input = abreast::maps(image)?.with_margin(margin(0))?;
        let (mut steps, mut maps, mut flat) = (Vec::new(), input, false);
        for (index, layer) in layers.iter().enumerate() {
            let [c, h, w] = of_an_image(&maps);
            let place = |size| abreast::maps(size).and_then(|maps| maps.with_margin(margin(index + 1)));
            let (step, output) = match layer {
                Layer::Conv([c_out, c_in, rows, columns], config, filters) if !flat && c == *c_in => {
                    let &Conv2dConfig { stride, padding, dilation, groups } = config;
                    let shape = Conv2dShape { c_in: c, c_out: *c_out, h, w, kernel: [*rows, *columns], stride, padding, dilation, groups };
                    shape.check()?;
                    let [rows, columns] = shape.output();
                    let output = place([*c_out, rows, columns])?;
                    let Some(conv) = abreast::Conv2d::new(shape, [maps, output])? else { return Ok(None) };
                    (Step::Conv(conv, filters.clone()), output)
                }
                Layer::Linear([outputs, inputs], filters) if flat && c == *inputs => {
                    let Some(linear) = abreast::Conv2d::linear(*inputs, *outputs)? else { return Ok(None) };
                    (Step::Conv(linear, filters.clone()), place([*outputs, 1, 1])?)
                }
                Layer::Pool(window) if !flat => {
                    let (pool, output) = window.plan(maps, place)?;
                    (Step::Pool(pool), output)
                }
                // Without a margin, maps lie as vectors do.
                Layer::Flatten if maps.margin() == [0; 2] => {
                    (maps, flat) = (abreast::maps([c * h * w, 1, 1])?, true);
                    continue;
                }
                _ => return Ok(None),
            };
            maps = output;
            steps.push((step, output));
        }
        let longest = steps.iter().map(|(_, maps)| maps.image()).fold(input.image(), usize::max);
        let output = of_an_image(&maps);
        let output = if flat { output[..1].to_vec() } else { output.to_vec() };
        Ok(Some(Self { image, output, input, steps, values: [longest; 2].map(Buffer::zeros) }))
    }

    /// The outputs of so many images as there are, at most those that go abreast.
    fn run(&mut self, images: &[f32], outputs: &mut [f32]) -> std::result::Result<(), ShapeError> {
        let n = images.len() / self.image.iter().product::<usize>().max(1);
        let [x, y] = &mut self.values;
        let (mut x, mut y, mut layout) = (x, y, self.input);
        abreast::lay_abreast(n, images, &layout, &mut x[..layout.image()])?;
        for (step, output) in &self.steps {
            let (from, to) = (&x[..layout.image()], &mut y[..output.image()]);
            output.clear_margin(1, to)?;
            match step {
                Step::Conv(conv, filters) => conv.forward(from, &filters.weights, Some(&filters.bias), filters.activation, to)?,
                Step::Pool(pool) => pool.forward(1, from, to)?,
            }
            (x, y, layout) = (y, x, *output);
        }
        abreast::lay_apart(n, &x[..layout.image()], &layout, outputs)
    }
}

/// C, H, W of each of the images that lie abreast in maps.
fn of_an_image(maps: &Maps) -> [usize; 3] {
    let [channels, h, w] = maps.size();
    [channels / abreast::images(), h, w]
}

impl Window {
    /// The pool of such maps, and the layout of what it gives, which `place` makes.
    fn plan(
        &self,
        input: Maps,
        place: impl Fn([usize; 3]) -> std::result::Result<Maps, ShapeError>,
    ) -> std::result::Result<(Pool, Maps), ShapeError> {
        let [channels, h, w] = input.size();
        let [c, ..] = of_an_image(&input);
        let sliding = |window: &Pool2dConfig| {
            let &Pool2dConfig { kernel, stride, padding, ceil_mode } = window;
            let shape = Pool2dShape { c: channels, h, w, kernel, stride, padding, ceil_mode };
            shape.check()?;
            let [rows, columns] = shape.output();
            Ok((shape, place([c, rows, columns])?))
        };
        match self {
            Self::Max(window) => sliding(window).and_then(|(shape, output)| Ok((Pool::max(shape, [input, output])?, output))),
            Self::Mean(window, count) => {
                sliding(window).and_then(|(shape, output)| Ok((Pool::mean(shape, *count, [input, output])?, output)))
            }
            Self::AdaptiveMean([rows, columns]) => {
                let output = place([c, *rows, *columns])?;
                Ok((Pool::adaptive_mean([input, output])?, output))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::layer::{AdaptiveAvgPool2d, AvgPool2d, Conv2d, Flatten, MaxPool2d, Relu, Tanh, conv, linear, max_pool, residual};
    use crate::{InferenceConfig, Layers, Sequence, Store};

    fn small() -> Layers {
        Layers::new([1, 12, 12]).then("conv", conv(6, 5)).then("relu", Relu).then("pool", max_pool(2))
    }

    fn classifier() -> Layers {
        small().then("flatten", Flatten).then("fc", linear(10))
    }

    /// Padding, strides, dilations and every pool; the images themselves, or maps, or a vector in the end.
    fn every_kind() -> [Layers; 3] {
        let strange = Conv2d { stride: [2, 1], dilation: [1, 2], padding: [0, 3], ..conv(7, 3) };
        let window = Pool2dConfig { kernel: [3; 2], stride: [2; 2], padding: [1; 2], ceil_mode: true };
        let maps = Layers::new([1, 12, 12])
            .then("conv", strange)
            .then("max", MaxPool2d(window.clone()))
            .then("mean", AvgPool2d { window, count: CountPadding::Include })
            .then("pool", AdaptiveAvgPool2d([2, 3]));
        [Layers::new([1, 12, 12]).then("flatten", Flatten), maps.clone(), maps.then("flatten", Flatten)]
    }

    fn abreast(layers: &Layers, taps: &[&str]) -> crate::Result<Option<Abreast>> {
        let store = Store::new(0, DType::F32, &Device::Cpu);
        let config = InferenceConfig { taps: taps.iter().map(|&tap| tap.to_owned()).collect(), half_weights: false };
        Ok(Abreast::new(&Graph::new(&layers.build(store.var_builder())?, &config)?)?)
    }

    #[test]
    fn small_chains_go_abreast() -> crate::Result<()> {
        let has_vectors = abreast::images() > 1;
        for layers in [small(), classifier()] {
            assert_eq!(abreast(&layers, &[])?.is_some(), has_vectors);
        }
        let block = Sequence::new().then("conv", conv(6, 1));
        let others = [
            small().then("tanh", Tanh),
            small().then("block", residual(block)),
            small().then("wide1", conv(16, 3)).then("wide2", conv(16, 1)),
            small().then("flatten", Flatten).then("fc1", linear(4000)).then("fc2", linear(10)),
        ];
        for layers in others {
            assert!(abreast(&layers, &[])?.is_none());
        }
        assert!(abreast(&classifier(), &["conv"])?.is_none(), "what lies between is wanted");
        Ok(())
    }

    #[test]
    fn batches_of_small_images_go_abreast() -> crate::Result<()> {
        let Some(network) = abreast(&classifier(), &[])? else { return Ok(()) };
        let many = 2 * abreast::images();
        let went = |network: &Abreast, n: usize, [h, w]: [usize; 2]| -> crate::Result<bool> {
            let images = Tensor::zeros((n, 1, h, w), DType::F32, &Device::Cpu)?;
            Ok(network.forward(&images, [n, 1, h, w])?.is_some())
        };
        for layers in every_kind() {
            let network = abreast(&layers, &[])?.expect("a small chain");
            assert!(went(&network, many, [12, 12])?, "{:?}", layers.output()?);
        }
        assert!(went(&network, many, [12, 12])? && went(&network, many + 1, [12, 12])?);
        assert!(!went(&network, many - 1, [12, 12])?, "too few");
        assert!(!went(&network, many, [300, 300])?, "too large");
        assert!(!went(&network, many, [13, 20])?, "the linear layer cannot take it: the usual way says so");
        Ok(())
    }

    #[test]
    fn plans_are_kept_for_images_of_one_size() -> crate::Result<()> {
        let Some(network) = abreast(&small(), &[])? else { return Ok(()) };
        let n = 2 * abreast::images();
        for [h, w] in [[12, 12], [13, 20], [13, 20]] {
            network.forward(&Tensor::zeros((n, 1, h, w), DType::F32, &Device::Cpu)?, [n, 1, h, w])?.expect("they go abreast");
            // One for each of the two groups of images at most.
            let idle = network.idle();
            assert!((1..=2).contains(&idle.len()) && idle.iter().all(|plan| plan.image == [1, h, w]));
        }
        Ok(())
    }
}
