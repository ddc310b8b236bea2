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

    /// dx from x, y and dy.
    fn backward(&self, n: usize, seen: [&[f32]; 3], dx: &mut [f32], scratch: &mut Scratch) -> Done;
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
    let backward = move |x: &[Tensor], wanted: &[bool], y: &Tensor, dy: &Tensor| Ok(vec![op.unary_gradient(wanted[0], &x[0], y, dy)?]);
    tape::record(vec![x], 1, &y, Box::new(backward))?;
    Ok(y)
}

/// What is done with the result of a kernel while it is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    /// max(y, 0).
    Relu,
}

/// Applies a kernel, whose plan others may share, to (N, …), weights and a bias; `output` is the shape of what it gives, to which something may be done.
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
    let backward = move |arguments: &[Tensor], wanted: &[bool], y: &Tensor, dy: &Tensor| op.gradients(arguments, wanted, y, dy);
    tape::record([x, w].into_iter().chain(b).collect(), 1, &y, Box::new(backward))?;
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
        self.unary_gradient(x.track_op(), x, y, dy)
    }
}

impl<P: Unary> Op<P> {
    fn unary_gradient(&self, wanted: bool, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let run = |seen: [&[f32]; 3], dx: &mut [f32], scratch: &mut Scratch| self.plan.backward(self.n, seen, dx, scratch);
        wanted.then(|| gradient(P::NAME, x, [x, y, dy], run)).transpose()
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
        let mut gradients = self.gradients(&[x.clone(), w.clone()], &[x, w].map(Tensor::track_op), y, dy)?.into_iter();
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
        let mut gradients = self.gradients(&[x.clone(), w.clone(), b.clone()], &[x, w, b].map(Tensor::track_op), y, dy)?.into_iter();
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

    /// The gradient to the kernel's own result.
    fn before(&self, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        match self.then {
            Then::Nothing => Ok(dy.clone()),
            Then::Relu => gradient(P::NAME, y, [y, dy], |[y, dy], dx, _| relu_backward(y, dy, dx)),
        }
    }

    /// The gradients to x, w and, if there is one, b. Only what is wanted is computed: frozen weights and a network's first input cost nothing.
    fn gradients(&self, arguments: &[Tensor], wanted: &[bool], y: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, w, dy) = (&arguments[0], &arguments[1], &self.before(y, dy)?);
        let of_input = |[dy, w]: [&[f32]; 2], dx: &mut [f32], scratch: &mut Scratch| self.plan.backward_input(self.n, dy, w, dx, scratch);
        let of_weight = |[x, dy]: [&[f32]; 2], dw: &mut [f32], scratch: &mut Scratch| self.plan.backward_weight(self.n, x, dy, dw, scratch);
        let of_bias = |[dy]: [&[f32]; 1], db: &mut [f32], _: &mut Scratch| self.plan.backward_bias(self.n, dy, db);
        let mut gradients = vec![
            wanted[0].then(|| gradient(P::NAME, x, [dy, w], of_input)).transpose()?,
            wanted[1].then(|| gradient(P::NAME, w, [x, dy], of_weight)).transpose()?,
        ];
        if let Some(b) = arguments.get(2) {
            gradients.push(wanted[2].then(|| gradient(P::NAME, b, [dy], of_bias)).transpose()?);
        }
        Ok(gradients)
    }
}

/// The gradient to `of`, a new tensor of its shape, filled by `run` from the values of `from`.
fn gradient<const COUNT: usize>(
    name: &str,
    of: &Tensor,
    from: [&Tensor; COUNT],
    run: impl FnOnce([&[f32]; COUNT], &mut [f32], &mut Scratch) -> Done,
) -> Result<Tensor> {
    let values = read(name, from, |slices| filled(name, of.shape(), |out, scratch| run(slices, out, scratch)))?;
    Tensor::from_vec(values, of.shape(), &Device::Cpu)
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
    let mut values = zeros(shape.elem_count());
    // Taken out, not borrowed: while a kernel waits for its threads, this one may be given another task with a kernel in it.
    let mut scratch = SCRATCH.take();
    let done = run(&mut values, &mut scratch);
    SCRATCH.set(scratch);
    done.map_err(|reason| error(name, reason))?;
    Ok(values)
}

/// Batch normalisation in training, and the mean and the variance of each channel, which carry no gradient.
pub(super) fn batch_norm(plan: BatchNorm, n: usize, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<(Tensor, Statistics)> {
    let statistics = Arc::new(OnceLock::new());
    let op = Normalise { plan, n, statistics: statistics.clone() };
    let arguments @ [x, weight, bias] = &[x.contiguous()?, weight.contiguous()?, bias.contiguous()?];
    let y = if tape::is_recording() {
        let y = x.apply_op3_no_bwd(weight, bias, &op)?;
        let backward = move |arguments: &[Tensor], wanted: &[bool], _: &Tensor, dy: &Tensor| op.gradients(arguments, wanted, dy);
        tape::record(arguments.to_vec(), 1, &y, Box::new(backward))?;
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
        let dx = gradient(Self::NAME, x, [x, dy, weight, bias], |[x, dy, weight, bias], dx, _| {
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

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.0.forward(n, x, &self.1, y)
    }

    fn backward(&self, n: usize, [_, _, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.0.backward(n, &self.1, dy, dx)
    }
}

impl Unary for OfRegions<RoiPool> {
    const NAME: &'static str = "roi_pool";

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.0.forward(n, x, &self.1, y)
    }

    fn backward(&self, n: usize, [x, _, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.0.backward(n, x, &self.1, dy, dx)
    }
}

/// [`relu`] as a plan.
pub(super) struct Relu;

impl Unary for Relu {
    const NAME: &'static str = "relu";

    fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        relu(x, y)
    }

    fn backward(&self, _n: usize, [x, _, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        relu_backward(x, dy, dx)
    }
}

impl Unary for MaxPool2d {
    const NAME: &'static str = "max_pool2d";

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.forward(n, x, y)
    }

    fn backward(&self, n: usize, [x, _, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.backward(n, x, dy, dx)
    }
}

impl Unary for AvgPool2d {
    const NAME: &'static str = "avg_pool2d";

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.forward(n, x, y)
    }

    fn backward(&self, n: usize, [_, _, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.backward(n, dy, dx)
    }
}

impl Unary for Resize2d {
    const NAME: &'static str = "resize2d";

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.forward(n, x, y)
    }

    fn backward(&self, n: usize, [_, _, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        self.backward(n, dy, dx)
    }
}

impl Unary for Lrn {
    const NAME: &'static str = "lrn";

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], scratch: &mut Scratch) -> Done {
        self.forward(n, x, y, scratch)
    }

    fn backward(&self, n: usize, [x, _, dy]: [&[f32]; 3], dx: &mut [f32], scratch: &mut Scratch) -> Done {
        self.backward(n, x, dy, dx, scratch)
    }
}

impl Unary for Tanh {
    const NAME: &'static str = "tanh";

    fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        Tanh::forward(*self, x, y)
    }

    fn backward(&self, _n: usize, [_, y, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        Tanh::backward(*self, y, dy, dx)
    }
}

/// [`sigmoid`] as a plan.
pub(super) struct Sigmoid;

impl Unary for Sigmoid {
    const NAME: &'static str = "sigmoid";

    fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        sigmoid(x, y)
    }

    fn backward(&self, _n: usize, [_, y, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        sigmoid_backward(y, dy, dx)
    }
}

/// [`hard_sigmoid`] as a plan.
pub(super) struct HardSigmoid;

impl Unary for HardSigmoid {
    const NAME: &'static str = "hard_sigmoid";

    fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        hard_sigmoid(x, y)
    }

    fn backward(&self, _n: usize, [x, _, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        hard_sigmoid_backward(x, dy, dx)
    }
}

/// [`hard_swish`] as a plan.
pub(super) struct HardSwish;

impl Unary for HardSwish {
    const NAME: &'static str = "hard_swish";

    fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        hard_swish(x, y)
    }

    fn backward(&self, _n: usize, [x, _, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        hard_swish_backward(x, dy, dx)
    }
}

/// [`softmax`] over this many classes.
pub(super) struct Softmax(pub(super) usize);

impl Unary for Softmax {
    const NAME: &'static str = "softmax";

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        softmax(n, self.0, x, y)
    }

    fn backward(&self, n: usize, [_, y, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
        softmax_backward(n, self.0, y, dy, dx)
    }
}

/// [`log_softmax`] over this many classes.
pub(super) struct LogSoftmax(pub(super) usize);

impl Unary for LogSoftmax {
    const NAME: &'static str = "log_softmax";

    fn forward(&self, n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
        log_softmax(n, self.0, x, y)
    }

    fn backward(&self, n: usize, [_, y, dy]: [&[f32]; 3], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
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
