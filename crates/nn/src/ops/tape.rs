//! Several kernels, one after the other, as one operation of candle.
//!
//! candle's backward pass begins the gradient of each operation's input with zeros and adds to them: two more ways through memory for all that
//! lies between two layers. While a tape records, the kernels run without candle's knowledge and are written down; what they give in the end
//! becomes the result of one operation, whose backward pass follows the tape.
//!
//! An operation of candle has three inputs at most, so weights come in by a *token*: a number whose gradient nobody needs, made of all of them.
//! When candle asks for the gradients of what it was made of, the tape has them. To those of variables it would add zeros too; [`backward`] spares
//! them that.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, TensorId};
use cirio_kernels::on_this_thread;
use rayon::prelude::*;

use super::backend::{Backend, backend};
use super::check::error;
use super::kernels;

/// The gradients to those of an operation's arguments that are wanted, from which of them those are and the gradient to the result. It keeps
/// what it needs of both.
pub(super) type Backward = Box<dyn Fn(&[bool], &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync>;

/// An operation that was recorded.
struct Recorded {
    arguments: Vec<Argument>,
    y: TensorId,
    backward: Backward,
}

struct Argument {
    id: TensorId,
    /// The weights that it is, where they are trained.
    trained: Option<Tensor>,
}

thread_local! {
    static TAPE: RefCell<Option<Tape>> = const { RefCell::new(None) };
    /// What each [`backward`] that runs has collected: a thread that waits may begin another.
    static COLLECTED: RefCell<Vec<Collected>> = const { RefCell::new(Vec::new()) };
}

/// Gradients of variables, for one loss.
struct Collected {
    /// What the loss was made of.
    nodes: HashSet<TensorId>,
    gradients: Vec<(Tensor, Tensor)>,
}

/// The gradients of a loss, as [`Tensor::backward`] gives them, but faster: those of a network's weights are handed over as they were made.
///
/// # Errors
/// As [`Tensor::backward`].
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    struct Forget(usize);
    impl Drop for Forget {
        fn drop(&mut self) {
            COLLECTED.with_borrow_mut(|collected| collected.truncate(self.0));
        }
    }
    let nodes = loss.sorted_nodes().into_iter().map(Tensor::id).collect();
    let _forget = Forget(COLLECTED.with_borrow_mut(|collected| {
        collected.push(Collected { nodes, gradients: Vec::new() });
        collected.len() - 1
    }));
    let mut gradients = loss.backward()?;
    let collected = COLLECTED.with_borrow_mut(Vec::pop).map(|collected| collected.gradients);
    for (variable, gradient) in collected.ok_or_else(|| error("backward", "the gradients of weights got lost"))? {
        let sum = match gradients.remove(&variable) {
            Some(before) => (before + gradient)?,
            None => gradient,
        };
        gradients.insert(&variable, sum);
    }
    Ok(gradients)
}

/// What has been recorded so far.
struct Tape {
    recorded: Vec<Recorded>,
    /// The input and all results.
    known: HashSet<TensorId>,
    /// What gradients pass through or go to.
    tracked: HashSet<TensorId>,
}

/// Whether this thread records.
pub(super) fn is_recording() -> bool {
    TAPE.with_borrow(Option::is_some)
}

/// Runs `work`, during which this thread may wait and be given another task: that one finds no tape.
pub(super) fn apart<T>(work: impl FnOnce() -> T) -> T {
    let _restore = Restore(TAPE.take());
    work()
}

/// Puts a tape back.
struct Restore(Option<Tape>);

impl Drop for Restore {
    fn drop(&mut self) {
        TAPE.set(self.0.take());
    }
}

/// Writes down that y was made of the arguments, of which the first `data` must be known to the tape and the others are weights. Where no
/// gradient passes, nothing is kept.
pub(super) fn record(arguments: &[&Tensor], data: usize, y: &Tensor, backward: Backward) -> Result<()> {
    TAPE.with_borrow_mut(|tape| {
        let Some(tape) = tape else { return Ok(()) };
        let (data, weights) = arguments.split_at(data);
        if let Some(unknown) = data.iter().find(|argument| !tape.known.contains(&argument.id())) {
            return Err(unrecorded(unknown));
        }
        if weights.iter().any(|weight| tape.known.contains(&weight.id())) {
            return Err(error("tape", "weights that are made by kernels themselves are not recorded"));
        }
        tape.known.insert(y.id());
        let argument = |&argument: &&Tensor| Argument { id: argument.id(), trained: argument.track_op().then(|| argument.clone()) };
        let arguments: Vec<Argument> = arguments.iter().map(argument).collect();
        tape.tracked.extend(arguments.iter().filter(|argument| argument.trained.is_some()).map(|argument| argument.id));
        if arguments.iter().any(|argument| tape.tracked.contains(&argument.id)) {
            tape.tracked.insert(y.id());
            tape.recorded.push(Recorded { arguments, y: y.id(), backward });
        }
        Ok(())
    })
}

/// A gradient that would get lost.
fn unrecorded(tensor: &Tensor) -> candle_core::Error {
    error("tape", format!("what was made between two kernels was not recorded: a tensor of the shape {:?}", tensor.dims()))
}

/// a + b.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let y = (a + b)?;
    if is_recording() {
        let backward = |wanted: &[bool], dy: &Tensor| Ok(wanted.iter().map(|wanted| wanted.then(|| dy.clone())).collect());
        record(&[a, b], 2, &y, Box::new(backward))?;
    }
    Ok(y)
}

/// (N, …) to (N, the rest).
pub(crate) fn flatten(x: &Tensor) -> Result<Tensor> {
    let y = x.flatten_from(1)?;
    if is_recording() && y.id() != x.id() {
        let shape = x.shape().clone();
        let backward = move |wanted: &[bool], dy: &Tensor| Ok(vec![wanted[0].then(|| dy.reshape(&shape)).transpose()?]);
        record(&[x], 1, &y, Box::new(backward))?;
    }
    Ok(y)
}

/// `work(x)` as one operation of candle, where x (N, …) is computed by kernels; `work` calls nothing else on the way from its argument to its
/// result.
///
/// Where `together` is less than N, each thread takes so many images at a time through all of `work`, on the way back too: what each image
/// gives must depend on itself alone. Gradients to weights are added in the order of the images, so they do not depend on threads.
pub(crate) fn as_one(x: &Tensor, together: usize, work: impl Fn(&Tensor) -> Result<Tensor> + Sync) -> Result<Tensor> {
    if is_recording() || backend(x) != Backend::Kernels || x.elem_count() == 0 {
        return work(x);
    }
    let x = x.contiguous()?;
    let (images, n) = (x.detach(), x.dim(0)?);
    let part = |index: usize| {
        let first = index * together;
        Part::record(&images.narrow(0, first, together.min(n - first))?, x.track_op(), &work)
    };
    let parts = if together >= n { vec![Part::record(&images, x.track_op(), &work)?] } else { in_parallel(n.div_ceil(together), part)? };
    if parts.iter().all(|(part, _)| part.y == part.input) {
        return Ok(x);
    }
    let (parts, results) = parts.into_iter().unzip();
    attach(&x, parts, results)
}

/// The results of so many parts of a batch, each on one thread.
fn in_parallel<T: Send>(count: usize, part: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    (0..count).into_par_iter().with_max_len(1).map(|index| on_this_thread(|| part(index))).collect()
}

/// The results of the parts as a result of x and of all weights that are trained.
fn attach(x: &Tensor, parts: Vec<Part>, results: Vec<Tensor>) -> Result<Tensor> {
    let mut known = HashSet::new();
    let arguments = parts.iter().flat_map(|part| &part.tape.recorded).flat_map(|step| &step.arguments);
    let weights: Vec<Tensor> =
        arguments.filter_map(|argument| argument.trained.clone()).filter(|weight| known.insert(weight.id())).collect();
    let gradients = Gradients::default();
    let ids = weights.iter().map(Tensor::id).collect();
    let run = Run { weights: ids, parts, results: Mutex::new(results), gradients: gradients.clone() };
    match token(&weights, &gradients)? {
        Some(token) => x.apply_op2(&token, run),
        None if x.track_op() => x.apply_op1(run),
        None => x.apply_op1_no_bwd(&run),
    }
}

/// Some images of a batch, and what was made of them.
struct Part {
    images: usize,
    input: TensorId,
    tape: Tape,
    y: TensorId,
}

impl Part {
    /// The part, and the result of `work`. `tracked` says whether a gradient to the input is wanted.
    fn record(input: &Tensor, tracked: bool, work: impl Fn(&Tensor) -> Result<Tensor>) -> Result<(Self, Tensor)> {
        let known = HashSet::from([input.id()]);
        let tracked = if tracked { known.clone() } else { HashSet::new() };
        let restore = Restore(TAPE.replace(Some(Tape { recorded: Vec::new(), known, tracked })));
        let y = work(input)?;
        let tape = TAPE.take();
        drop(restore);
        match tape {
            Some(tape) if tape.known.contains(&y.id()) => Ok((Self { images: input.dim(0)?, input: input.id(), tape, y: y.id() }, y)),
            _ => Err(unrecorded(&y)),
        }
    }

    /// The gradients to the input and to the weights.
    fn backward(&self, dy: Tensor) -> Result<HashMap<TensorId, Tensor>> {
        let mut gradients = HashMap::from([(self.y, dy)]);
        for step in self.tape.recorded.iter().rev() {
            let Some(dy) = gradients.remove(&step.y) else { continue };
            let wanted: Vec<bool> = step.arguments.iter().map(|argument| self.tape.tracked.contains(&argument.id)).collect();
            for (argument, gradient) in step.arguments.iter().zip((step.backward)(&wanted, &dy)?) {
                let Some(gradient) = gradient else { continue };
                match gradients.entry(argument.id) {
                    Entry::Vacant(place) => {
                        place.insert(gradient);
                    }
                    Entry::Occupied(mut sum) => {
                        let both = (sum.get() + gradient)?;
                        sum.insert(both);
                    }
                }
            }
        }
        Ok(gradients)
    }
}

/// The gradients to weights, from when the tape has made them until candle asks.
type Gradients = Arc<Mutex<HashMap<TensorId, Tensor>>>;

/// Tapes of the parts of a batch as an operation of candle.
struct Run {
    parts: Vec<Part>,
    weights: Vec<TensorId>,
    /// The parts' results, until the forward pass has copied them.
    results: Mutex<Vec<Tensor>>,
    gradients: Gradients,
}

impl Run {
    const NAME: &str = "run of kernels";

    fn forward(&self) -> Result<(CpuStorage, Shape)> {
        let results = std::mem::take(&mut *self.results.lock().unwrap_or_else(PoisonError::into_inner));
        let [first, ..] = results.as_slice() else { return Err(error(Self::NAME, "it has run before")) };
        let mut shape = first.dims().to_vec();
        shape[0] = self.parts.iter().map(|part| part.images).sum();
        let shape = Shape::from(shape);
        let mut values = Vec::with_capacity(shape.elem_count());
        for result in &results {
            kernels::read(Self::NAME, [result], |[result]| {
                values.extend_from_slice(result);
                Ok(())
            })?;
        }
        Ok((CpuStorage::F32(values), shape))
    }

    /// The gradient to the input; those to the weights are left for who asks.
    fn backward(&self, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut parts = match self.parts.as_slice() {
            [whole] => vec![whole.backward(dy.clone())?],
            parts => {
                // All parts but the last have as many images.
                let together = parts[0].images;
                in_parallel(parts.len(), |index| parts[index].backward(dy.narrow(0, index * together, parts[index].images)?))?
            }
        };
        let mut of_weights = HashMap::new();
        for &id in &self.weights {
            let of_parts: Vec<Tensor> = parts.iter_mut().filter_map(|gradients| gradients.remove(&id)).collect();
            if let Some(sum) = sum_in_order(&of_parts)? {
                of_weights.insert(id, sum);
            }
        }
        self.gradients.lock().unwrap_or_else(PoisonError::into_inner).extend(of_weights);
        let of_inputs = self.parts.iter().zip(&mut parts).map(|(part, gradients)| gradients.remove(&part.input));
        match of_inputs.collect::<Option<Vec<_>>>() {
            Some(gradients) if gradients.len() > 1 => Tensor::cat(&gradients, 0).map(Some),
            gradients => Ok(gradients.and_then(|mut gradients| gradients.pop())),
        }
    }
}

/// The sum of tensors of one shape; none of none.
fn sum_in_order(tensors: &[Tensor]) -> Result<Option<Tensor>> {
    let [first, rest @ ..] = tensors else { return Ok(None) };
    if rest.is_empty() {
        return Ok(Some(first.clone()));
    }
    let mut sum = first.flatten_all()?.to_vec1::<f32>()?;
    for tensor in rest {
        kernels::read(Run::NAME, [tensor], |[values]| {
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            Ok(())
        })?;
    }
    Tensor::from_vec(sum, first.shape(), &Device::Cpu).map(Some)
}

impl CustomOp1 for Run {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        self.backward(dy)
    }
}

impl CustomOp2 for Run {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward()
    }

    fn bwd(&self, _: &Tensor, token: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.backward(dy)?, Some(token.zeros_like()?)))
    }
}

/// A number made of all these tensors; none of none.
fn token(weights: &[Tensor], gradients: &Gradients) -> Result<Option<Tensor>> {
    let Some((first, rest)) = weights.split_first() else { return Ok(None) };
    let empty = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
    let of = |a: &Tensor, b: &Tensor, c: &Tensor| a.apply_op3(b, c, Token(gradients.clone()));
    let mut token = of(first, &empty, &empty)?;
    for pair in rest.chunks(2) {
        token = of(&token, &pair[0], pair.get(1).unwrap_or(&empty))?;
    }
    Ok(Some(token))
}

/// Makes a number of tensors, and hands out their gradients.
struct Token(Gradients);

impl Token {
    /// What the tape has for a tensor that `token` was made of. What it has not is another token, or had no part in the result.
    fn gradient(&self, of: &Tensor, token: &Tensor) -> Result<Option<Tensor>> {
        if !of.track_op() {
            return Ok(None);
        }
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&of.id());
        if !of.is_variable() {
            return known.map_or_else(|| of.zeros_like(), Ok).map(Some);
        }
        Ok(COLLECTED.with_borrow_mut(|collected| {
            let asking = collected.iter_mut().rev().find(|collected| collected.nodes.contains(&token.id()));
            match (asking, known) {
                (Some(asking), Some(gradient)) => {
                    asking.gradients.push((of.clone(), gradient));
                    None
                }
                (_, known) => known,
            }
        }))
    }
}

impl CustomOp3 for Token {
    fn name(&self) -> &'static str {
        "token"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        token: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((self.gradient(a, token)?, self.gradient(b, token)?, self.gradient(c, token)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use cirio_kernels::Scratch;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::super::kernels::{Done, Seen, Unary};
    use super::super::{
        Conv2dConfig, CountPadding, Pool2dConfig, avg_pool2d, batch_norm_train_relu, conv2d, conv2d_relu, dropout, hard_sigmoid,
        hard_swish, relu, scale_channels,
    };
    use super::*;

    fn values(shape: &[usize], step: f64) -> Result<Tensor> {
        let count = shape.iter().product::<usize>();
        Tensor::arange(0f32, count as f32, &Device::Cpu)?.affine(step, 0.3)?.sin()?.reshape(shape)
    }

    fn variable(shape: &[usize], step: f64) -> Result<Var> {
        Var::from_tensor(&values(shape, step)?)
    }

    fn of(gradients: &GradStore, variable: &Var) -> Result<Vec<f32>> {
        gradients.get(variable).expect("a gradient").flatten_all()?.to_vec1()
    }

    const SAME: Conv2dConfig = Conv2dConfig { stride: [1; 2], padding: [1; 2], dilation: [1; 2], groups: 1 };

    /// A block whose weight is used twice, beside an input that is used three times.
    fn block(x: &Tensor, [w, b]: &[Var; 2]) -> Result<Tensor> {
        let y = conv2d_relu(x, w, Some(b), &SAME)?;
        let y = sum(&conv2d(&y, w, None, &SAME)?, x)?;
        flatten(&relu(&sum(&y, x)?)?)
    }

    #[test]
    fn values_and_gradients_are_those_of_single_operations() -> Result<()> {
        let (x, weights) = (variable(&[2, 3, 5, 4], 0.7)?, [variable(&[3, 3, 3, 3], 0.9)?, variable(&[3], 1.1)?]);
        let single = block(&x, &weights)?;
        let expected = single.sqr()?.sum_all()?.backward()?;
        let one = as_one(&x, usize::MAX, |x| block(x, &weights))?;
        assert_eq!(one.to_vec2::<f32>()?, single.to_vec2::<f32>()?);
        let loss = one.sqr()?.sum_all()?;
        // Twice by candle's own way, which must not use anything up, and by ours.
        for gradients in [loss.backward()?, loss.backward()?, backward(&loss)?] {
            for variable in [&x, &weights[0], &weights[1]] {
                assert_eq!(of(&gradients, variable)?, of(&expected, variable)?);
            }
        }
        Ok(())
    }

    /// A weight of one run may be one of another too, or stand in the loss.
    #[test]
    fn gradients_from_several_places_are_added() -> Result<()> {
        let (x, weights) = (variable(&[1, 3, 4, 4], 0.7)?, [variable(&[3, 3, 3, 3], 0.9)?, variable(&[3], 1.1)?]);
        let loss = |run: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<Tensor> {
            let y = run(&run(&x)?.reshape(x.shape())?)?;
            y.sum_all()? + weights[0].sqr()?.sum_all()?
        };
        let expected = loss(&|x| block(x, &weights))?.backward()?;
        let loss = loss(&|x| as_one(x, usize::MAX, |x| block(x, &weights)))?;
        for gradients in [loss.backward()?, backward(&loss)?] {
            for variable in [&x, &weights[0], &weights[1]] {
                let pairs = of(&gradients, variable)?.into_iter().zip(of(&expected, variable)?);
                assert!(pairs.into_iter().all(|(ours, theirs)| (ours - theirs).abs() <= 1e-5 * theirs.abs().max(1.0)));
            }
        }
        Ok(())
    }

    #[test]
    fn what_nobody_trains_gets_nothing() -> Result<()> {
        let (x, weights) = (values(&[1, 3, 4, 4], 0.7)?, [variable(&[3, 3, 3, 3], 0.9)?, variable(&[3], 1.1)?]);
        let gradients = backward(&as_one(&x, usize::MAX, |x| block(x, &weights))?.sum_all()?)?;
        assert!(gradients.get(&x).is_none() && gradients.get(&weights[0]).is_some());
        let constant = as_one(&x, usize::MAX, |x| relu(&relu(x)?))?;
        assert!(!constant.track_op());
        assert_eq!(as_one(&x, usize::MAX, |x| Ok(x.clone()))?.id(), x.id());
        Ok(())
    }

    /// A gradient must not get lost because something else computed on the way.
    #[test]
    fn what_is_not_recorded_is_an_error() -> Result<()> {
        let x = variable(&[1, 3, 4, 4], 0.7)?;
        let between = as_one(&x, usize::MAX, |x| relu(&(relu(x)? * 2.0)?)).unwrap_err().to_string();
        assert!(between.contains("was not recorded: a tensor of the shape [1, 3, 4, 4]"), "{between}");
        assert!(as_one(&x, usize::MAX, |x| relu(x)? * 2.0).is_err());
        let square = variable(&[3, 3, 3, 3], 0.7)?;
        let made = as_one(&square, usize::MAX, |w| conv2d(w, &relu(w)?, None, &SAME)).unwrap_err().to_string();
        assert!(made.contains("weights that are made by kernels"), "{made}");
        let scaled = as_one(&x, usize::MAX, |x| scale_channels(x, &values(&[1, 3, 1, 1], 0.5)?)).unwrap_err().to_string();
        assert!(scaled.contains("a tape does not record it"), "{scaled}");
        assert!(as_one(&x, usize::MAX, |_| Err(error("a layer", "it fails"))).is_err());
        assert!(!is_recording(), "an error ends the tape");
        assert_eq!(relu(&x)?.sum_all()?.backward()?.get(&x).map(Tensor::elem_count), Some(48));
        Ok(())
    }

    /// While a kernel waits for its threads, this one may be given another step.
    #[test]
    fn kernels_run_apart_from_the_tape() -> Result<()> {
        struct Asks;
        impl Unary for Asks {
            const NAME: &'static str = "asks";
            const SEEN: Seen = Seen::Nothing;

            fn forward(&self, _n: usize, x: &[f32], y: &mut [f32], _scratch: &mut Scratch) -> Done {
                assert!(!is_recording());
                y.copy_from_slice(x);
                Ok(())
            }

            fn backward(&self, _n: usize, _seen: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut Scratch) -> Done {
                dx.copy_from_slice(dy);
                Ok(())
            }
        }
        let x = variable(&[2, 3], 0.7)?;
        let work = |x: &Tensor| {
            let y = kernels::unary(Asks, 2, &relu(x)?, x.shape())?;
            assert!(is_recording(), "the tape is back");
            Ok(y)
        };
        let gradient = of(&as_one(&x, usize::MAX, work)?.sum_all()?.backward()?, &x)?;
        assert_eq!(gradient, of(&relu(&x)?.sum_all()?.backward()?, &x)?);
        Ok(())
    }

    /// Within a step somebody may ask for the gradients of something else.
    #[test]
    fn losses_keep_their_own_gradients() -> Result<()> {
        let (x, weights) = (values(&[1, 3, 4, 4], 0.7)?, [variable(&[3, 3, 3, 3], 0.9)?, variable(&[3], 1.1)?]);
        let loss = || as_one(&x, usize::MAX, |x| block(x, &weights))?.sum_all();
        let (one, other) = (loss()?, loss()?);
        let expected = of(&one.backward()?, &weights[0])?;
        COLLECTED.with_borrow_mut(|collected| {
            collected.push(Collected { nodes: one.sorted_nodes().into_iter().map(Tensor::id).collect(), gradients: Vec::new() });
        });
        assert_eq!(of(&other.backward()?, &weights[0])?, expected, "candle's own way, while another loss is at work");
        assert_eq!(of(&backward(&other)?, &weights[0])?, expected);
        let collected = COLLECTED.with_borrow_mut(Vec::pop).expect("what the other loss has");
        assert!(collected.gradients.is_empty());
        Ok(())
    }

    #[test]
    fn all_kinds_of_kernels_have_the_gradients_of_single_operations() -> Result<()> {
        let x = variable(&[4, 3, 6, 6], 0.7)?;
        let (trained, frozen) = ([variable(&[3, 3, 3, 3], 0.9)?, variable(&[3], 0.4)?, variable(&[3], 1.1)?], values(&[3, 3, 3, 3], 1.3)?);
        let window = Pool2dConfig { kernel: [2; 2], stride: [2; 2], padding: [0; 2], ceil_mode: false };
        let run = |x: &Tensor| -> Result<Tensor> {
            let x = conv2d(x, &trained[0], None, &SAME)?;
            let x = batch_norm_train_relu(&x, &trained[1], &trained[2], 1e-5)?.0;
            // Its own weights are frozen, the gradient passes.
            let x = conv2d_relu(&x, &frozen, None, &SAME)?;
            let x = avg_pool2d(&hard_swish(&hard_sigmoid(&x)?)?, &window, CountPadding::Include)?;
            flatten(&dropout(&x, 0.3, &mut ChaCha8Rng::seed_from_u64(5))?)
        };
        let (single, one) = (run(&x)?, as_one(&x, usize::MAX, run)?);
        assert_eq!(one.to_vec2::<f32>()?, single.to_vec2::<f32>()?);
        let (expected, found) = (single.sqr()?.sum_all()?.backward()?, backward(&one.sqr()?.sum_all()?)?);
        for variable in [&x, &trained[0], &trained[1], &trained[2]] {
            assert_eq!(of(&found, variable)?, of(&expected, variable)?);
        }
        Ok(())
    }

    #[test]
    fn where_no_gradient_passes_nothing_is_kept() -> Result<()> {
        let (x, frozen, trained) = (values(&[1, 3, 4, 4], 0.7)?, values(&[3, 3, 3, 3], 0.9)?, variable(&[3, 3, 3, 3], 0.9)?);
        let steps = |tracked: bool, w: &Tensor| -> Result<usize> {
            let work = |x: &Tensor| relu(&conv2d_relu(&conv2d(x, &frozen, None, &SAME)?, w, None, &SAME)?);
            Ok(Part::record(&x, tracked, work)?.0.tape.recorded.len())
        };
        assert_eq!(steps(false, &frozen)?, 0);
        assert_eq!(steps(false, &trained)?, 2, "from the trained weights on");
        assert_eq!(steps(true, &frozen)?, 3);
        Ok(())
    }
}
