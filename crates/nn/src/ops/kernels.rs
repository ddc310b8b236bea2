//! The kernels of `cirio-kernels` as operations of candle: forward on contiguous slices, backward by kernels too.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor};
use cirio_kernels::{
    AvgPool2d, BatchNorm, Conv2d, ConvTranspose2d, Linear, Lrn, MaxPool2d, Region, Resize2d, RoiAlign, RoiPool, ScaleShift, Scratch,
    ShapeError, Tanh, hard_sigmoid, hard_sigmoid_backward, hard_swish, hard_swish_backward, log_softmax, log_softmax_backward, relu,
    relu_backward, relu_in_place, sigmoid, sigmoid_backward, softmax, softmax_backward, zeros,
};

use super::check::error;
use super::tape;

/// What a kernel gives back; its values go into a slice.
pub(super) type Done = std::result::Result<(), ShapeError>;

/// A kernel with one input and no weights.
pub(super) trait Unary: Send + Sync + 'static {
    /// For messages.
    const NAME: &'static str;

    /// y from x.
    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], scratch: &mut Scratch) -> Done;

    /// What the backward pass looks at beside dy.
    const SEEN: Seen;

    /// dx from what was seen (nothing, x or y) and dy.
    fn backward(&self, n: usize, seen: &[f32], dy: &[f32], dx: &mut [f32], scratch: &mut Scratch) -> Done;
}

/// What a backward pass looks at beside the gradient; a tape keeps nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    Input,
    Output,
}

/// A kernel with weights and a bias.
pub(super) trait Weighted: Send + Sync + 'static {
    /// For messages.
    const NAME: &'static str;

    /// y from x, w and b.
    fn forward(&self, n: usize, x: &[f32], w: &[f32], b: Option<&[f32]>, y: &mut [f32], scratch: &mut Scratch) -> Done;

    /// dx from dy and w.
    fn backward_input(&self, n: usize, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut Scratch) -> Done;

    /// dw from x and dy.
    fn backward_weight(&self, n: usize, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut Scratch) -> Done;

    /// db from dy.
    fn backward_bias(&self, n: usize, dy: &[f32], db: &mut [f32]) -> Done;
}

/// Applies a kernel to (N, …); `output` is the shape of what it gives.
pub(super) fn unary(plan: impl Unary, n: usize, x: &Tensor, output: impl Into<Shape>) -> Result<Tensor> {
    let (x, op) = (x.contiguous()?, Op { plan, n, output: output.into(), then: Then::Nothing });
    if !tape::is_recording() {
        return x.apply_op1(op);
    }
    let y = x.apply_op1_no_bwd(&op)?;
    let (shape, seen) = (x.shape().clone(), op.seen(&x, &y).cloned());
    let backward = move |wanted: &[bool], dy: &Tensor| Ok(vec![op.unary_gradient(wanted[0], &shape, seen.as_ref(), dy)?]);
    tape::record(&[&x], 1, &y, Box::new(backward))?;
    Ok(y)
}

/// What is done with the result of a kernel while it is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    /// max(y, 0).
    Relu,
}

/// Applies a kernel, whose plan others may share, to (N, …), weights and a bias; `output` is the shape of what it gives, to which something may
/// be done.
pub(super) fn weighted<P: Weighted>(
    plan: Arc<P>,
    n: usize,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    output: impl Into<Shape>,
    then: Then,
) -> Result<Tensor> {
    let (x, w, op) = (x.contiguous()?, w.contiguous()?, Op { plan, n, output: output.into(), then });
    let b = b.map(Tensor::contiguous).transpose()?;
    if !tape::is_recording() {
        return match b {
            Some(b) => x.apply_op3(&w, &b, op),
            None => x.apply_op2(&w, op),
        };
    }
    let y = match &b {
        Some(b) => x.apply_op3_no_bwd(&w, b, &op)?,
        None => x.apply_op2_no_bwd(&w, &op)?,
    };
    // The input is of use for the gradient to trained weights alone.
    let seen = op.kept(&x, &w, b.as_ref(), &y, w.track_op());
    let backward = move |wanted: &[bool], dy: &Tensor| op.gradients(&seen, wanted, dy);
    let arguments: Vec<&Tensor> = [&x, &w].into_iter().chain(&b).collect();
    tape::record(&arguments, 1, &y, Box::new(backward))?;
    Ok(y)
}

/// A kernel's plan with the sizes of one call.
struct Op<P> {
    plan: P,
    n: usize,
    output: Shape,
    then: Then,
}

impl<P: Unary> CustomOp1 for Op<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, x_layout)?;
        let y = filled(P::NAME, &self.output, |y, scratch| self.plan.forward(self.n, x, y, scratch))?;
        Ok((CpuStorage::F32(y), self.output.clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        self.unary_gradient(x.track_op(), x.shape(), self.seen(x, y), dy)
    }
}

impl<P: Unary> Op<P> {
    fn seen<'a>(&self, x: &'a Tensor, y: &'a Tensor) -> Option<&'a Tensor> {
        match P::SEEN {
            Seen::Nothing => None,
            Seen::Input => Some(x),
            Seen::Output => Some(y),
        }
    }

    /// The gradient to x, of this shape, if it is wanted.
    fn unary_gradient(&self, wanted: bool, shape: &Shape, seen: Option<&Tensor>, dy: &Tensor) -> Result<Option<Tensor>> {
        let run = |seen: &[f32], dy: &[f32], dx: &mut [f32], scratch: &mut Scratch| self.plan.backward(self.n, seen, dy, dx, scratch);
        let gradient = || match seen {
            Some(seen) => gradient(P::NAME, shape, [seen, dy], |[seen, dy], dx, scratch| run(seen, dy, dx, scratch)),
            None => gradient(P::NAME, shape, [dy], |[dy], dx, scratch| run(&[], dy, dx, scratch)),
        };
        wanted.then(gradient).transpose()
    }
}

impl<P: Weighted> CustomOp2 for Op<Arc<P>> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_layout: &Layout, w: &CpuStorage, w_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(slice(x, x_layout)?, slice(w, w_layout)?, None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let seen = self.kept(x, w, None, y, true);
        let mut gradients = self.gradients(&seen, &[x, w].map(Tensor::track_op), dy)?.into_iter();
        let mut next = || gradients.next().flatten();
        Ok((next(), next()))
    }
}

impl<P: Weighted> CustomOp3 for Op<Arc<P>> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward(slice(x, x_layout)?, slice(w, w_layout)?, Some(slice(b, b_layout)?))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, b: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let seen = self.kept(x, w, Some(b), y, true);
        let mut gradients = self.gradients(&seen, &[x, w, b].map(Tensor::track_op), dy)?.into_iter();
        let mut next = || gradients.next().flatten();
        Ok((next(), next(), next()))
    }
}

impl<P: Weighted> Op<Arc<P>> {
    fn forward(&self, x: &[f32], w: &[f32], b: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let y = filled(P::NAME, &self.output, |y, scratch| {
            self.plan.forward(self.n, x, w, b, y, scratch)?;
            if self.then == Then::Relu {
                relu_in_place(y);
            }
            Ok(())
        })?;
        Ok((CpuStorage::F32(y), self.output.clone()))
    }

    /// What the gradients need of a call.
    fn kept(&self, x: &Tensor, w: &Tensor, b: Option<&Tensor>, y: &Tensor, input: bool) -> Kept {
        Kept {
            x: input.then(|| x.clone()),
            shapes: [x, w].into_iter().chain(b).map(|tensor| tensor.shape().clone()).collect(),
            w: w.clone(),
            y: (self.then == Then::Relu).then(|| y.clone()),
        }
    }

    /// The gradients to x, w and, if there is one, b. Only what is wanted is computed: frozen weights and a network's first input cost nothing.
    fn gradients(&self, kept: &Kept, wanted: &[bool], dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        // The gradient to the kernel's own result.
        let dy = &match &kept.y {
            Some(y) => gradient(P::NAME, y.shape(), [y, dy], |[y, dy], dx, _| relu_backward(y, dy, dx))?,
            None => dy.clone(),
        };
        let of_input = |[dy, w]: [&[f32]; 2], dx: &mut [f32], scratch: &mut Scratch| self.plan.backward_input(self.n, dy, w, dx, scratch);
        let of_weight = |[x, dy]: [&[f32]; 2], dw: &mut [f32], scratch: &mut Scratch| self.plan.backward_weight(self.n, x, dy, dw, scratch);
        let of_bias = |[dy]: [&[f32]; 1], db: &mut [f32], _: &mut Scratch| self.plan.backward_bias(self.n, dy, db);
        let one = |(index, shape): (usize, &Shape)| match (index, &kept.x) {
            _ if !wanted[index] => Ok(None),
            (0, _) => gradient(P::NAME, shape, [dy, &kept.w], of_input).map(Some),
            (1, Some(x)) => gradient(P::NAME, shape, [x, dy], of_weight).map(Some),
            (1, None) => Err(error(P::NAME, "the weight was not trained when it ran")),
            _ => gradient(P::NAME, shape, [dy], of_bias).map(Some),
        };
        kept.shapes.iter().enumerate().map(one).collect()
    }
}

/// What the gradients of a kernel with weights need of a call.
struct Kept {
    /// The input, where the weights are trained.
    x: Option<Tensor>,
    /// Of x, w and, if there is one, b.
    shapes: Vec<Shape>,
    w: Tensor,
    /// The result, where ReLU has been applied to it.
    y: Option<Tensor>,
}

/// A gradient, a new tensor of this shape, filled by `run` from the values of `from`.
fn gradient<const COUNT: usize>(
    name: &str,
    shape: &Shape,
    from: [&Tensor; COUNT],
    run: impl FnOnce([&[f32]; COUNT], &mut [f32], &mut Scratch) -> Done,
) -> Result<Tensor> {
    let values = read(name, from, |slices| filled(name, shape, |out, scratch| run(slices, out, scratch)))?;
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Runs `work` on the values of tensors on the CPU.
pub(super) fn read<T, const COUNT: usize>(
    name: &str,
    from: [&Tensor; COUNT],
    work: impl FnOnce([&[f32]; COUNT]) -> Result<T>,
) -> Result<T> {
    let mut tensors = Vec::with_capacity(COUNT);
    for tensor in from {
        tensors.push(tensor.contiguous()?);
    }
    let locked: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let mut slices = [[].as_slice(); COUNT];
    for (place, (storage, layout)) in slices.iter_mut().zip(&locked) {
        let Storage::Cpu(storage) = &**storage else { return Err(error(name, "its gradient is not on the CPU")) };
        *place = slice(storage, layout)?;
    }
    work(slices)
}

/// The values of a contiguous tensor, which need not begin where its storage does.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => Err(error("kernels", "a tensor is not contiguous")),
    }
}

/// New values of this shape, written by `run`, which gets this thread's scratch memory.
fn filled(name: &str, shape: &Shape, run: impl FnOnce(&mut [f32], &mut Scratch) -> Done) -> Result<Vec<f32>> {
    thread_local! {
        static SCRATCH: Cell<Scratch> = Cell::new(Scratch::new());
    }
    // Taken out, not borrowed, as the tape is: while a kernel waits for its threads, this one may be given another task with a kernel in it.
    let mut scratch = SCRATCH.take();
    let values = tape::apart(|| {
        let mut values = zeros(shape.elem_count());
        run(&mut values, &mut scratch).map(|()| values)
    });
    SCRATCH.set(scratch);
    values.map_err(|reason| error(name, reason))
}

/// Batch normalisation in training, and the mean and the variance of each channel, which carry no gradient.
pub(super) fn batch_norm(plan: BatchNorm, n: usize, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<(Tensor, Statistics)> {
    let statistics = Arc::new(OnceLock::new());
    let op = Normalise { plan, n, statistics: statistics.clone() };
    let arguments @ [x, weight, bias] = &[x.contiguous()?, weight.contiguous()?, bias.contiguous()?];
    let y = if tape::is_recording() {
        let y = x.apply_op3_no_bwd(weight, bias, &op)?;
        let seen = arguments.clone();
        let backward = move |wanted: &[bool], dy: &Tensor| op.gradients(&seen, wanted, dy);
        tape::record(&[x, weight, bias], 1, &y, Box::new(backward))?;
        y
    } else {
        x.apply_op3(weight, bias, op)?
    };
    let kept = statistics.get().cloned().ok_or_else(|| error(Normalise::NAME, "it has not run on the CPU"))?;
    Ok((y, kept))
}

/// The mean of each channel, and its variance.
pub(super) type Statistics = [Vec<f32>; 2];

/// [`BatchNorm`] with the number of images. Its forward pass leaves the statistics for its backward pass and its caller.
struct Normalise {
    plan: BatchNorm,
    n: usize,
    statistics: Arc<OnceLock<Statistics>>,
}

impl Normalise {
    const NAME: &str = "batch_norm_train";

    /// The gradients to x, weight and bias, those of them that are wanted.
    fn gradients(&self, arguments: &[Tensor], wanted: &[bool], dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, weight, bias] = arguments else { return Err(error(Self::NAME, "it has three arguments")) };
        let Some([mean, variance]) = self.statistics.get() else { return Err(error(Self::NAME, "backward before forward")) };
        let (mut dweight, mut dbias) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
        let dx = gradient(Self::NAME, x.shape(), [x, dy, weight, bias], |[x, dy, weight, bias], dx, _| {
            self.plan.backward(self.n, x, dy, [weight, bias], [mean, variance], [dx, &mut dweight, &mut dbias])
        })?;
        let of_channels = |wanted: bool, values| wanted.then(|| Tensor::from_vec(values, weight.shape(), &Device::Cpu)).transpose();
        Ok(vec![wanted[0].then_some(dx), of_channels(wanted[1], dweight)?, of_channels(wanted[2], dbias)?])
    }
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (slice(x, x_layout)?, slice(weight, weight_layout)?, slice(bias, bias_layout)?);
        let (mut mean, mut variance) = (vec![0.0; weight.len()], vec![0.0; weight.len()]);
        let y = filled(Self::NAME, x_layout.shape(), |y, _| self.plan.forward(self.n, x, [weight, bias], y, [&mut mean, &mut variance]))?;
        self.statistics.get_or_init(|| [mean, variance]);
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let arguments = [x.clone(), weight.clone(), bias.clone()];
        let mut gradients = self.gradients(&arguments, &[x, weight, bias].map(Tensor::track_op), dy)?.into_iter();
        let mut next = || gradients.next().flatten();
        Ok((next(), next(), next()))
    }
}

/// A plan with the regions that it is for.
pub(super) struct OfRegions<P>(pub(super) P, pub(super) Vec<Region>);

impl Unary for OfRegions<RoiAlign> {
    const NAME: &'static str = "roi_align";
    const SEEN: Seen = Seen::Nothing;

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.0.forward(n, x, &self.1, y)
    }

    fn backward(&self, n: usize, _seen: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.0.backward(n, &self.1, dy, dx)
    }
}

impl Unary for OfRegions<RoiPool> {
    const NAME: &'static str = "roi_pool";
    const SEEN: Seen = Seen::Input;

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.0.forward(n, x, &self.1, y)
    }

    fn backward(&self, n: usize, x: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.0.backward(n, x, &self.1, dy, dx)
    }
}

/// [`relu`] as a plan.
pub(super) struct Relu;

impl Unary for Relu {
    const NAME: &'static str = "relu";
    const SEEN: Seen = Seen::Output;

    fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        relu(x, y)
    }

    fn backward(&self, _n: usize, y: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        relu_backward(y, dy, dx) // y is above 0 where x is
    }
}

impl Unary for MaxPool2d {
    const NAME: &'static str = "max_pool2d";
    const SEEN: Seen = Seen::Input;

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.forward(n, x, y)
    }

    fn backward(&self, n: usize, x: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.backward(n, x, dy, dx)
    }
}

impl Unary for AvgPool2d {
    const NAME: &'static str = "avg_pool2d";
    const SEEN: Seen = Seen::Nothing;

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.forward(n, x, y)
    }

    fn backward(&self, n: usize, _seen: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.backward(n, dy, dx)
    }
}

impl Unary for Resize2d {
    const NAME: &'static str = "resize2d";
    const SEEN: Seen = Seen::Nothing;

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.forward(n, x, y)
    }

    fn backward(&self, n: usize, _seen: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.backward(n, dy, dx)
    }
}

impl Unary for Lrn {
    const NAME: &'static str = "lrn";
    const SEEN: Seen = Seen::Input;

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], scratch: &mut Scratch) -> Done {
        self.forward(n, x, y, scratch)
    }

    fn backward(&self, n: usize, x: &[f32], dy: &[f32], dx: &mut [f32], scratch: &mut Scratch) -> Done {
        self.backward(n, x, dy, dx, scratch)
    }
}

impl Unary for Tanh {
    const NAME: &'static str = "tanh";
    const SEEN: Seen = Seen::Output;

    fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        Tanh::forward(*self, x, y)
    }

    fn backward(&self, _n: usize, y: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        Tanh::backward(*self, y, dy, dx)
    }
}

/// [`sigmoid`] as a plan.
pub(super) struct Sigmoid;

impl Unary for Sigmoid {
    const NAME: &'static str = "sigmoid";
    const SEEN: Seen = Seen::Output;

    fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        sigmoid(x, y)
    }

    fn backward(&self, _n: usize, y: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        sigmoid_backward(y, dy, dx)
    }
}

/// [`hard_sigmoid`] as a plan.
pub(super) struct HardSigmoid;

impl Unary for HardSigmoid {
    const NAME: &'static str = "hard_sigmoid";
    const SEEN: Seen = Seen::Input;

    fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        hard_sigmoid(x, y)
    }

    fn backward(&self, _n: usize, x: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        hard_sigmoid_backward(x, dy, dx)
    }
}

/// [`hard_swish`] as a plan.
pub(super) struct HardSwish;

impl Unary for HardSwish {
    const NAME: &'static str = "hard_swish";
    const SEEN: Seen = Seen::Input;

    fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        hard_swish(x, y)
    }

    fn backward(&self, _n: usize, x: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        hard_swish_backward(x, dy, dx)
    }
}

/// [`softmax`] over this many classes.
pub(super) struct Softmax(pub(super) usize);

impl Unary for Softmax {
    const NAME: &'static str = "softmax";
    const SEEN: Seen = Seen::Output;

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        softmax(n, self.0, x, y)
    }

    fn backward(&self, n: usize, y: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        softmax_backward(n, self.0, y, dy, dx)
    }
}

/// [`log_softmax`] over this many classes.
pub(super) struct LogSoftmax(pub(super) usize);

impl Unary for LogSoftmax {
    const NAME: &'static str = "log_softmax";
    const SEEN: Seen = Seen::Output;

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        log_softmax(n, self.0, x, y)
    }

    fn backward(&self, n: usize, y: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        log_softmax_backward(n, self.0, y, dy, dx)
    }
}

/// All kernels with weights have the same methods.
macro_rules! weighted {
    ($plan:ty, $name:literal) => {
        impl Weighted for $plan {
            const NAME: &'static str = $name;

            fn forward(&self, n: usize, x: &[f32], w: &[f32], b: Option<&[f32]>, y: &mut [f32], scratch: &mut Scratch) -> Done {
                self.forward(n, x, w, b, y, scratch)
            }

            fn backward_input(&self, n: usize, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut Scratch) -> Done {
                self.backward_input(n, dy, w, dx, scratch)
            }

            fn backward_weight(&self, n: usize, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut Scratch) -> Done {
                self.backward_weight(n, x, dy, dw, scratch)
            }

            fn backward_bias(&self, n: usize, dy: &[f32], db: &mut [f32]) -> Done {
                self.backward_bias(n, dy, db)
            }
        }
    };
}

weighted!(Conv2d, "conv2d");
weighted!(ConvTranspose2d, "conv_transpose2d");
weighted!(Linear, "linear");
weighted!(ScaleShift, "scale_shift");
