//! Runs a graph on the kernels: a plan for a size of images, and the memory for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Error, Result, Storage, Tensor};
use cirio_kernels::blocked::{self, Conv2d, Epilogue, Filters, Maps, Method, Pool, Scale};
use cirio_kernels::{Buffer, Conv2dShape, Pool2dShape, Scratch, ShapeError, in_pool, on_this_thread};
use rayon::prelude::*;

use super::abreast::Abreast;
use super::graph::{Conv, ConvWeights, Graph, Linear, LinearWeights, Node, Op, PackedWeights, halved};
use crate::ops::Pool2dConfig;
use crate::parts;
use crate::pass::Pass;

/// Teams that are kept in any case, the one at work counted; more passes at a time make their own.
const KEPT: usize = 2;

/// The most floats that a plan keeps from pass to pass: to get more anew takes little beside a pass over them.
const MOST_KEPT: usize = 12 << 20;

/// Floating-point operations of a pass below which one thread is done with it before others are there.
const WORTH_SHARING: usize = 1 << 23;

/// As many multiplications and additions take as long as to read and write one value.
const MOVED: usize = 4;

/// Is told the name of each operation that is done.
pub(super) type Observer<'a> = dyn FnMut(&str) + Send + 'a;

/// The operations, and teams for the sizes that were met last. Its lock is held to make a plan and to take a team, not while a pass
/// runs.
pub(super) struct Engine {
    graph: Graph,
    /// Whether weights are kept in half precision.
    half: bool,
    /// The way of a small network with many images.
    abreast: Option<Abreast>,
    idle: Mutex<Vec<Team>>,
}

/// What a pass over images of one size works with. Where a network is small, each thread takes some images through all of it.
struct Team {
    /// N, C, H, W.
    size: [usize; 4],
    /// Images of a part of the batch.
    together: usize,
    /// The plans that no part is using.
    free: Mutex<Vec<(Plan, Scratch)>>,
}

/// Everything that depends on the size of the images.
struct Plan {
    /// The images of this pass.
    n: usize,
    /// C, H, W of an image.
    image: [usize; 3],
    steps: Vec<Planned>,
    values: Vec<Value>,
    /// The memory of the values; one serves several that do not live at the same time.
    slots: Vec<Buffer>,
    /// The floats of each.
    lengths: Vec<usize>,
    /// The floating-point operations of a pass, as far as they are known: not those of layers of their own kind.
    operations: usize,
}

/// How an operation is computed.
enum Planned {
    Conv(Box<Conv2d>),
    PlainConv(Box<cirio_kernels::Conv2d>),
    Linear(cirio_kernels::Linear),
    Pool(Pool),
    /// Into the operation before it, which gives its value too.
    Fused,
    Flatten,
    Add,
    Scale(Scale),
    Layer,
}

/// Where a value lies, and how.
#[derive(Clone, Copy)]
struct Value {
    layout: Layout,
    slot: usize,
}

#[derive(Clone, Copy)]
enum Layout {
    Maps(Maps),
    Vector(usize),
}

impl Layout {
    fn len(&self, n: usize) -> usize {
        n * match self {
            Self::Maps(maps) => maps.image(),
            Self::Vector(length) => *length,
        }
    }

    /// The layout that a tensor has, and its shape.
    fn plain(&self, n: usize) -> Result<(Layout, Vec<usize>)> {
        Ok(match self {
            Self::Maps(maps) => {
                let [c, h, w] = maps.size();
                (Self::Maps(Maps::planar(maps.size()).map_err(Error::wrap)?), vec![n, c, h, w])
            }
            Self::Vector(length) => (*self, vec![n, *length]),
        })
    }

    fn maps(&self) -> Result<Maps> {
        match self {
            Self::Maps(maps) => Ok(*maps),
            Self::Vector(length) => candle_core::bail!("the input is a vector of {length}, expected maps"),
        }
    }

    /// The same values in another layout.
    fn copy(&self, n: usize, from: &[f32], layout: &Self, to: &mut [f32]) -> Result<()> {
        match (self, layout) {
            (Self::Maps(maps), Self::Maps(layout)) => maps.copy(n, from, layout, to).map_err(Error::wrap),
            _ => {
                to.copy_from_slice(from);
                Ok(())
            }
        }
    }
}

impl Engine {
    pub(super) fn new(graph: Graph, half: bool) -> Result<Self> {
        let abreast = if half { None } else { Abreast::new(&graph)? };
        Ok(Self { graph, half, abreast, idle: Mutex::default() })
    }

    /// The wanted values for images of f32 on the CPU. What observes is called after each operation; then all images take it together.
    pub(super) fn forward(&self, images: &Tensor, size: [usize; 4], observe: Option<&mut Observer>) -> Result<Vec<Tensor>> {
        if let (Some(abreast), None) = (&self.abreast, &observe)
            && let Some(output) = abreast.forward(images, size)?
        {
            return Ok(vec![output]);
        }
        let (n, together) = (size[0], if observe.is_some() { size[0] } else { parts::together(&size, self.graph.weights()) });
        let team = self.take_team(size, together);
        let outputs = if together >= n {
            self.pass(&team, images, observe.unwrap_or(&mut |_| {}))
        } else {
            let part = |index: usize| {
                let images = images.narrow(0, index * together, together.min(n - index * together))?;
                on_this_thread(|| self.pass(&team, &images, &mut |_| {}))
            };
            let parts: Vec<Vec<Tensor>> = (0..n.div_ceil(together)).into_par_iter().map(part).collect::<Result<_>>()?;
            let output = |index: usize| Tensor::cat(&parts.iter().map(|part| &part[index]).collect::<Vec<_>>(), 0);
            (0..self.graph.outputs.len()).map(output).collect()
        };
        let mut idle = self.lock();
        make_room(&mut idle, &team);
        idle.push(team);
        outputs
    }

    /// The wanted values for some of the images.
    fn pass(&self, team: &Team, images: &Tensor, observe: &mut Observer) -> Result<Vec<Tensor>> {
        let [_, c, h, w] = team.size;
        let free = unlocked(&team.free).pop();
        let (mut plan, mut scratch) = match free {
            Some(free) => free,
            None => {
                // Weights are packed under the engine's lock, by this thread alone.
                let _lock = self.lock();
                (on_this_thread(|| Planner::new(&self.graph, self.half, [team.together, c, h, w]).plan())?, Scratch::new())
            }
        };
        plan.furnish();
        // A layer of its own kind may take long.
        let known = !plan.steps.iter().any(|step| matches!(step, Planned::Layer));
        let large = plan.operations >= WORTH_SHARING;
        let mut run = || self.run(&mut plan, images, &mut scratch, observe);
        let outputs = match (large, known) {
            (true, _) => in_pool(run),
            (false, true) => on_this_thread(run),
            (false, false) => run(),
        };
        plan.let_go();
        unlocked(&team.free).push((plan, scratch));
        outputs
    }

    fn run(&self, plan: &mut Plan, images: &Tensor, scratch: &mut Scratch, observe: &mut Observer) -> Result<Vec<Tensor>> {
        plan.take(images)?;
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if !matches!(plan.steps[index], Planned::Fused) {
                plan.step(index, node, scratch).map_err(|error| in_layer(error, &node.name))?;
                observe(&node.name);
            }
        }
        self.graph.outputs.iter().map(|&value| plan.tensor(value)).collect()
    }

    /// A team for images of this size that no other pass uses.
    fn take_team(&self, size: [usize; 4], together: usize) -> Team {
        let mut idle = self.lock();
        if let Some(index) = idle.iter().position(|team| (team.size, team.together) == (size, together)) {
            return idle.remove(index);
        }
        let team = Team { size, together, free: Mutex::default() };
        make_room(&mut idle, &team);
        team
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Team>> {
        unlocked(&self.idle)
    }
}

/// Lets the oldest teams go. Those that stay are [`KEPT`], or as many as together take no more than twice the largest, so that a network
/// which runs over all levels of a pyramid plans each of them once.
fn make_room(idle: &mut Vec<Team>, coming: &Team) {
    let values = |team: &Team| team.size.iter().product::<usize>();
    let fits = |idle: &[Team]| {
        let all = || idle.iter().chain([coming]).map(values);
        idle.len() < KEPT || all().sum::<usize>() <= 2 * all().max().unwrap_or(0)
    };
    while !fits(idle) {
        idle.remove(0);
    }
}

/// What a mutex holds: a thread that panicked has taken its plan out, so those that are left are whole.
fn unlocked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_layer(error: Error, name: &str) -> Error {
    error.context(format!("in layer `{name}`"))
}

impl Plan {
    /// Gets the memory that was let go.
    fn furnish(&mut self) {
        for (slot, &length) in self.slots.iter_mut().zip(&self.lengths).filter(|(slot, length)| slot.len() < **length) {
            *slot = Buffer::zeros(length);
        }
    }

    /// Lets much memory go: a detector has many parts with large maps, of which one is at work at a time.
    fn let_go(&mut self) {
        if self.lengths.iter().sum::<usize>() > MOST_KEPT {
            self.slots.iter_mut().for_each(|slot| *slot = Buffer::default());
        }
    }

    fn slice(&self, value: usize) -> &[f32] {
        let Value { layout, slot } = self.values[value];
        &self.slots[slot][..layout.len(self.n)]
    }

    /// Copies the images to their place; there are at most as many as were planned for.
    fn take(&mut self, images: &Tensor) -> Result<()> {
        self.n = images.dim(0)?;
        let (n, Value { layout, slot }) = (self.n, self.values[0]);
        let images = images.contiguous()?;
        let plain = Layout::Maps(Maps::planar(self.image).map_err(Error::wrap)?);
        on_slice(&images, |images| plain.copy(n, images, &layout, &mut self.slots[slot][..layout.len(n)]))
    }

    /// Computes one operation's value.
    fn step(&mut self, index: usize, node: &Node, scratch: &mut Scratch) -> Result<()> {
        let Value { layout, slot } = self.values[index + 1];
        let mut memory = std::mem::take(&mut self.slots[slot]);
        let y = &mut memory[..layout.len(self.n)];
        let done = self.compute(index, node, layout, y, scratch);
        self.slots[slot] = memory;
        done
    }

    fn compute(&self, index: usize, node: &Node, layout: Layout, y: &mut [f32], scratch: &mut Scratch) -> Result<()> {
        let (n, x) = (self.n, self.slice(node.inputs[0]));
        let from = self.values[node.inputs[0]].layout;
        // What is copied to its place has its margin cleared on the way.
        if let (Planned::Conv(_) | Planned::Pool(_) | Planned::Scale(_), Layout::Maps(maps)) = (&self.steps[index], layout) {
            maps.clear_margin(n, y).map_err(Error::wrap)?;
        }
        match (&self.steps[index], &node.op) {
            (Planned::Conv(plan), Op::Conv(conv)) => {
                let Some(ConvWeights::Packed(_, weights, bias)) = conv.packed.get() else {
                    candle_core::bail!("the weights are not packed")
                };
                let added = node.inputs.get(1).map(|&added| Ok::<_, Error>((self.values[added].layout.maps()?, self.slice(added))));
                let added = added.transpose()?;
                let epilogue = Epilogue { add: added.as_ref().map(|(maps, values)| (maps, *values)), activation: conv.activation };
                plan.forward(n, x, Filters { weights: weights.as_packed(), bias }, epilogue, y, scratch).map_err(Error::wrap)
            }
            (Planned::PlainConv(plan), Op::Conv(conv)) => {
                let Some(ConvWeights::Plain(weights)) = conv.packed.get() else { candle_core::bail!("the weights are not packed") };
                let (plain_x, plain_y) = (from.plain(n)?.0, layout.plain(n)?.0);
                let (mut input, mut output) = (vec![0.0; plain_x.len(n)], vec![0.0; plain_y.len(n)]);
                from.copy(n, x, &plain_x, &mut input)?;
                plan.forward(n, &input, weights, Some(&conv.bias), &mut output, scratch).map_err(Error::wrap)?;
                if let Some(&added) = node.inputs.get(1) {
                    let mut values = vec![0.0; output.len()];
                    self.values[added].layout.copy(n, self.slice(added), &plain_y, &mut values)?;
                    output.iter_mut().zip(values).for_each(|(y, added)| *y += added);
                }
                conv.activation.in_place(&mut output);
                plain_y.copy(n, &output, &layout, y)
            }
            (Planned::Linear(plan), Op::Linear(Linear { weights, bias, activation, .. })) => {
                let mut run = |bias: Option<&[f32]>, y: &mut [f32]| match weights {
                    LinearWeights::Full(w) => on_slice(w, |w| plan.forward(n, x, w, bias, y, scratch).map_err(Error::wrap)),
                    LinearWeights::Half(w) => plan.forward_half(n, x, w, bias, y, scratch).map_err(Error::wrap),
                };
                match bias {
                    Some(bias) => on_slice(bias, |bias| run(Some(bias), y))?,
                    None => run(None, y)?,
                }
                activation.in_place(y);
                Ok(())
            }
            (Planned::Pool(pool), _) => pool.forward(n, x, y).map_err(Error::wrap),
            (Planned::Flatten, _) => from.copy(n, x, &from.plain(n)?.0, y),
            (Planned::Add, _) => {
                let sum = (self.tensor(node.inputs[0])? + self.tensor(node.inputs[1])?)?;
                self.put(&sum, layout, y)
            }
            (Planned::Scale(scale), _) => scale.forward(n, x, self.slice(node.inputs[1]), y).map_err(Error::wrap),
            (Planned::Layer, Op::Layer(layer)) => {
                let result = layer.forward(&self.tensor(node.inputs[0])?, &Pass::evaluation())?;
                self.put(&result, layout, y)
            }
            _ => candle_core::bail!("a plan for another operation"),
        }
    }

    /// A tensor's values to the place of a value.
    fn put(&self, tensor: &Tensor, layout: Layout, y: &mut [f32]) -> Result<()> {
        let (plain, shape) = layout.plain(self.n)?;
        if tensor.dims() != shape {
            candle_core::bail!("it gave the shape {:?}, expected {shape:?}", tensor.dims());
        }
        on_slice(&tensor.contiguous()?, |values| plain.copy(self.n, values, &layout, y))
    }

    /// A value as a tensor.
    fn tensor(&self, value: usize) -> Result<Tensor> {
        let layout = self.values[value].layout;
        let (plain, shape) = layout.plain(self.n)?;
        let mut values = vec![0.0; plain.len(self.n)];
        layout.copy(self.n, self.slice(value), &plain, &mut values)?;
        Tensor::from_vec(values, shape, &Device::Cpu)
    }
}

/// Calls `work` with the values of a contiguous tensor of f32 on the CPU.
pub(super) fn on_slice<T>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => work(&storage.as_slice::<f32>()?[start..end]),
        _ => candle_core::bail!("a tensor is not contiguous on the CPU"),
    }
}

/// Makes a plan, operation by operation.
struct Planner<'a> {
    graph: &'a Graph,
    half: bool,
    size: [usize; 4],
    values: Vec<Value>,
    /// The zeros that each value needs around it.
    margins: Vec<[usize; 2]>,
    /// The length of each slot.
    slots: Vec<usize>,
    /// Slots that no value is using.
    free: Vec<usize>,
    /// For each value, the last operation that takes it.
    last_uses: Vec<usize>,
    /// The pool that is fused into the convolution before it.
    fused: Option<usize>,
    /// The floating-point operations of what is planned so far.
    operations: usize,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, half: bool, size: [usize; 4]) -> Self {
        let mut margins = vec![[0; 2]; graph.nodes.len() + 1];
        for node in &graph.nodes {
            if let Op::Conv(conv) = &node.op {
                let margin = &mut margins[node.inputs[0]];
                *margin = [0, 1].map(|axis| margin[axis].max(conv.config.padding[axis]));
            }
        }
        Self {
            graph,
            half,
            size,
            values: Vec::new(),
            margins,
            slots: Vec::new(),
            free: Vec::new(),
            last_uses: graph.last_uses(),
            fused: None,
            operations: 0,
        }
    }

    fn plan(mut self) -> Result<Plan> {
        let images = self.images().map_err(Error::wrap)?;
        self.place(images);
        let mut steps = Vec::with_capacity(self.graph.nodes.len());
        for index in 0..self.graph.nodes.len() {
            let (step, layout) = self.node(index).map_err(|error| in_layer(error, &self.graph.nodes[index].name))?;
            if let Planned::Fused = step {
                // The convolution before it has written it there, and the place is used on.
                self.values.push(self.values[index]);
            } else {
                self.place(layout);
                let inputs = self.graph.nodes[index].inputs.iter().copied();
                let mut done: Vec<usize> = inputs.filter(|&input| self.last_uses[input] == index).collect();
                done.dedup();
                self.free.extend(done.iter().map(|&value| self.values[value].slot));
            }
            steps.push(step);
        }
        let slots = self.slots.iter().map(|_| Buffer::default()).collect();
        let [n, c, h, w] = self.size;
        Ok(Plan { n, image: [c, h, w], steps, values: self.values, slots, lengths: self.slots, operations: self.operations })
    }

    /// Counts a multiplication and an addition for each of all these.
    fn count<const COUNT: usize>(&mut self, each: [usize; COUNT]) {
        self.operations = self.operations.saturating_add(each.into_iter().fold(2, usize::saturating_mul));
    }

    /// Gives the next value a place: the smallest free slot that holds it, the largest one, or a new one.
    fn place(&mut self, layout: Layout) {
        let length = layout.len(self.size[0]);
        self.count([length, MOVED]);
        let fits = |slot: &usize| if self.slots[*slot] >= length { (0, self.slots[*slot]) } else { (1, usize::MAX - self.slots[*slot]) };
        let best = (0..self.free.len()).min_by_key(|&index| fits(&self.free[index]));
        let slot = match best {
            Some(index) => self.free.swap_remove(index),
            None => {
                self.slots.push(0);
                self.slots.len() - 1
            }
        };
        self.slots[slot] = self.slots[slot].max(length);
        self.values.push(Value { layout, slot });
    }

    /// Few channels stay apart if convolutions alone take them: side by side they would be mostly zeros.
    fn images(&self) -> std::result::Result<Layout, ShapeError> {
        let size = [self.size[1], self.size[2], self.size[3]];
        let blocked = Maps::blocked(size)?;
        let takes = |node: &&Node| node.inputs.contains(&0);
        let conv = |node: &Node| matches!(&node.op, Op::Conv(conv) if conv.config.groups == 1 && node.inputs.get(1) != Some(&0));
        let planar = Maps::planar(size)?;
        let alone = planar.image() * 2 <= blocked.image() && self.graph.nodes.iter().filter(takes).all(conv);
        Ok(Layout::Maps(if alone { planar } else { blocked }.with_margin(self.margins[0])?))
    }

    /// How the next operation is computed, and the layout of its value.
    fn node(&mut self, index: usize) -> Result<(Planned, Layout)> {
        let n = self.size[0];
        let inputs: Vec<Layout> = self.graph.nodes[index].inputs.iter().map(|&input| self.values[input].layout).collect();
        let margin = self.margins[index + 1];
        let blocked = |size: [usize; 3]| Maps::blocked(size).and_then(|maps| maps.with_margin(margin)).map_err(Error::wrap);
        Ok(match &self.graph.nodes[index].op {
            Op::Conv(conv) => {
                let input = inputs[0].maps()?;
                let shape = conv_shape(conv, &input)?;
                let [rows, columns] = shape.output();
                self.count([n, rows, columns, shape.c_out, shape.taps()]);
                let output = blocked([shape.c_out, rows, columns])?;
                let added = inputs.get(1).map_or(Ok(output), Layout::maps)?;
                let planned = plan_conv(conv, n, self.half, shape, [input, output, added])?;
                match self.with_pool(index, conv, shape, input)? {
                    Some((conv, pooled)) => {
                        self.fused = Some(index + 1);
                        (Planned::Conv(Box::new(conv)), Layout::Maps(pooled))
                    }
                    None => (planned, Layout::Maps(output)),
                }
            }
            Op::Linear(Linear { shape: [outputs, expected], .. }) => {
                let (outputs, expected) = (*outputs, *expected);
                match inputs[0] {
                    Layout::Vector(length) if length == expected => {}
                    Layout::Vector(length) => candle_core::bail!("the input has {length} values, the weight takes {expected}"),
                    Layout::Maps(_) => candle_core::bail!("the input is maps, expected a vector of {expected}"),
                }
                self.count([n, expected, outputs]);
                (Planned::Linear(cirio_kernels::Linear::new(expected, outputs).map_err(Error::wrap)?), Layout::Vector(outputs))
            }
            Op::MaxPool(_) if self.fused == Some(index) => (Planned::Fused, inputs[0]),
            Op::MaxPool(window) => {
                let (shape, layouts) = pool(window, inputs[0].maps()?, blocked)?;
                (Planned::Pool(Pool::max(shape, layouts).map_err(Error::wrap)?), Layout::Maps(layouts[1]))
            }
            Op::AvgPool(window, count) => {
                let (shape, layouts) = pool(window, inputs[0].maps()?, blocked)?;
                (Planned::Pool(Pool::mean(shape, *count, layouts).map_err(Error::wrap)?), Layout::Maps(layouts[1]))
            }
            Op::AdaptiveAvgPool([rows, columns]) => {
                let input = inputs[0].maps()?;
                let output = blocked([input.size()[0], *rows, *columns])?;
                (Planned::Pool(Pool::adaptive_mean([input, output]).map_err(Error::wrap)?), Layout::Maps(output))
            }
            Op::Flatten => (Planned::Flatten, Layout::Vector(inputs[0].plain(1)?.0.len(1))),
            Op::Add => match inputs[0] {
                Layout::Maps(maps) => (Planned::Add, Layout::Maps(blocked(maps.size())?)),
                vector => (Planned::Add, vector),
            },
            Op::Scale => {
                let (input, factors) = (inputs[0].maps()?, inputs[1].maps()?);
                let output = blocked(input.size())?;
                (Planned::Scale(Scale::new([input, factors, output]).map_err(Error::wrap)?), Layout::Maps(output))
            }
            Op::Layer(layer) => {
                // Its shape is not known before it has run: it is run once, on zeros.
                let zeros = Tensor::zeros(inputs[0].plain(n)?.1, candle_core::DType::F32, &Device::Cpu)?;
                let layout = match *layer.forward(&zeros, &Pass::evaluation())?.dims() {
                    [_, c, h, w] => Layout::Maps(blocked([c, h, w])?),
                    [_, length] => Layout::Vector(length),
                    ref given => candle_core::bail!("it gave the shape {given:?}, expected (N, C, H, W) or (N, K)"),
                };
                (Planned::Layer, layout)
            }
        })
    }
}

impl Planner<'_> {
    /// A convolution that gives the value of the pool behind it, and that value's layout; none where there is no such pool, others want the
    /// convolution's own value, or the way that its weights are packed for cannot do it.
    fn with_pool(&self, index: usize, conv: &Conv, shape: Conv2dShape, input: Maps) -> Result<Option<(Conv2d, Maps)>> {
        let value = index + 1;
        let Some(Op::MaxPool(window)) = self.graph.nodes.get(index + 1).map(|node| &node.op) else { return Ok(None) };
        let Some(ConvWeights::Packed(method, ..)) = conv.packed.get() else { return Ok(None) };
        let has_shortcut = self.graph.nodes[index].inputs.len() > 1;
        if has_shortcut || self.last_uses[value] != index + 1 || !in_squares(window, shape.output()) {
            return Ok(None);
        }
        let [rows, columns] = shape.output().map(|pixels| pixels / 2);
        let pooled = Maps::blocked([shape.c_out, rows, columns]).and_then(|maps| maps.with_margin(self.margins[value + 1]));
        let pooled = pooled.map_err(Error::wrap)?;
        let plan = Conv2d::pooled(shape, [input, pooled], *method).map_err(Error::wrap)?;
        Ok(plan.map(|plan| (plan, pooled)))
    }
}

/// Whether a pool takes whole squares of 2×2 pixels of maps of this size, and what is left over counts for nothing.
fn in_squares(window: &Pool2dConfig, [rows, columns]: [usize; 2]) -> bool {
    let Pool2dConfig { kernel, stride, padding, ceil_mode } = window;
    let left_over = rows % 2 + columns % 2 > 0;
    (*kernel, *stride, *padding) == ([2; 2], [2; 2], [0; 2]) && rows.min(columns) >= 2 && !(*ceil_mode && left_over)
}

fn conv_shape(conv: &Conv, input: &Maps) -> Result<Conv2dShape> {
    let ([c_out, channels, rows, columns], [c, h, w]) = (conv.shape, input.size());
    let &crate::ops::Conv2dConfig { stride, padding, dilation, groups } = &conv.config;
    if channels.checked_mul(groups) != Some(c) {
        candle_core::bail!("the input has {c} channels, the weight {:?} in {groups} groups takes {}", conv.shape, channels * groups);
    }
    let shape = Conv2dShape { c_in: c, c_out, h, w, kernel: [rows, columns], stride, padding, dilation, groups };
    shape.check().map_err(Error::wrap)?;
    Ok(shape)
}

/// The plan of a convolution; packs its weights if that has not been done.
fn plan_conv(conv: &Conv, n: usize, half: bool, shape: Conv2dShape, layouts: [Maps; 3]) -> Result<Planned> {
    let plan = |method: Method| Conv2d::new(shape, layouts, method).map_err(Error::wrap);
    let plain = || Ok(Planned::PlainConv(Box::new(cirio_kernels::Conv2d::new(shape).map_err(Error::wrap)?)));
    match conv.packed.get() {
        Some(ConvWeights::Plain(_)) => return plain(),
        Some(ConvWeights::Packed(method, ..)) => match plan(*method)? {
            Some(plan) => return Ok(Planned::Conv(Box::new(plan))),
            None => candle_core::bail!("maps of {}×{} are too large for the way that its weights are packed for", shape.h, shape.w),
        },
        None => {}
    }
    let mut given = conv.given.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((weight, factors)) = given.as_ref() else { candle_core::bail!("the weights are gone") };
    let best = Conv2d::best_method(&shape, n);
    let found = match plan(best)? {
        Some(found) => Some((best, found)),
        None => plan(Method::Direct)?.map(|found| (Method::Direct, found)),
    };
    let weights = on_slice(weight, |w| match &found {
        Some((method, plan)) => Ok(ConvWeights::Packed(*method, pack(plan, w, factors, &shape, half)?, bias_of(conv, plan))),
        None => {
            let scaled = w.chunks_exact(shape.taps()).zip(factors).flat_map(|(w, factor)| w.iter().map(move |w| w * factor));
            Ok(ConvWeights::Plain(scaled.collect()))
        }
    })?;
    let _ = conv.packed.set(weights); // nobody else packs: the engine's lock is held
    *given = None;
    found.map_or_else(plain, |(_, plan)| Ok(Planned::Conv(Box::new(plan))))
}

fn pack(plan: &Conv2d, w: &[f32], factors: &[f32], shape: &Conv2dShape, half: bool) -> Result<PackedWeights> {
    let mut values = Buffer::zeros(plan.packed());
    let given = blocked::Weights::new(w, shape).map_err(Error::wrap)?;
    plan.pack(&given.scaled(factors), &mut values).map_err(Error::wrap)?;
    let halved = if half { halved(&values) } else { None };
    Ok(halved.map_or(PackedWeights::Full(values), PackedWeights::Half))
}

fn bias_of(conv: &Conv, plan: &Conv2d) -> Vec<f32> {
    let mut bias = conv.bias.clone();
    bias.resize(plan.packed_bias(), conv.activation.zero());
    bias
}

fn pool(window: &Pool2dConfig, input: Maps, blocked: impl Fn([usize; 3]) -> Result<Maps>) -> Result<(Pool2dShape, [Maps; 2])> {
    let [c, h, w] = input.size();
    let &Pool2dConfig { kernel, stride, padding, ceil_mode } = window;
    let shape = Pool2dShape { c, h, w, kernel, stride, padding, ceil_mode };
    shape.check().map_err(Error::wrap)?;
    let [rows, columns] = shape.output();
    Ok((shape, [input, blocked([c, rows, columns])?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sides of the images of the teams that stay when teams come in this order.
    fn staying(sides: &[usize]) -> Vec<usize> {
        let mut idle = Vec::new();
        for &side in sides {
            let team = Team { size: [1, 1, side, side], together: 1, free: Mutex::default() };
            make_room(&mut idle, &team);
            idle.push(team);
        }
        idle.iter().map(|team| team.size[2]).collect()
    }

    /// Which of the pools behind three convolutions are fused into them, for images of a size.
    fn fused(ceil_mode: bool, taps: &[&str], [h, w]: [usize; 2]) -> crate::Result<Vec<bool>> {
        let conv = || crate::layer::Conv2d { padding: [1; 2], ..crate::layer::conv(64, 3) };
        let pool = || crate::layer::MaxPool2d(Pool2dConfig { ceil_mode, ..crate::layer::max_pool(2).0 });
        let layers = (0..3).fold(crate::Layers::new([64, h, w]), |layers, index| {
            layers.then(format!("conv{index}"), conv()).then(format!("pool{index}"), pool())
        });
        let store = crate::Store::new(0, candle_core::DType::F32, &Device::Cpu);
        let config = crate::InferenceConfig { taps: taps.iter().map(|&tap| tap.to_owned()).collect(), half_weights: false };
        let graph = Graph::new(&layers.build(store.var_builder())?, &config)?;
        let plan = Planner::new(&graph, false, [1, 64, h, w]).plan()?;
        Ok(plan.steps.iter().skip(1).step_by(2).map(|step| matches!(step, Planned::Fused)).collect())
    }

    #[test]
    fn pools_are_fused_into_the_convolutions_before_them() -> crate::Result<()> {
        assert_eq!(fused(false, &[], [96, 97])?, [true; 3]);
        assert_eq!(fused(true, &[], [96, 96])?, [true; 3]);
        assert_eq!(fused(true, &[], [100, 96])?, [true, true, false], "a row is left over behind the third");
        assert_eq!(fused(false, &["conv1", "pool2"], [96, 96])?, [true, false, true], "the second's own value is wanted");
        Ok(())
    }

    #[test]
    fn a_pyramid_stays_and_of_like_sizes_the_last_two() {
        assert_eq!(staying(&[64, 32, 16, 8, 4]), [64, 32, 16, 8, 4]);
        assert_eq!(staying(&[64, 65, 66, 67]), [66, 67]);
        assert_eq!(staying(&[32, 16, 64, 63]), [64, 63]);
        assert_eq!(staying(&[7]), [7]);
    }
}
