//! The pieces that the portable way is put together from. Their gradients are candle's, and right: `index_select` adds
//! up, `matmul` and `where_cond` are themselves.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};

/// The same places of an axis for every row, column or channel: `x.index_select`, from any layout.
pub(super) fn select(x: &Tensor, axis: usize, places: impl Iterator<Item = usize>) -> Result<Tensor> {
    let places: Vec<u32> = places.map(|place| place as u32).collect();
    let count = places.len();
    x.contiguous()?.index_select(&Tensor::from_vec(places, count, x.device())?, axis)
}

/// The largest value of each window along an axis, its gradient to the first one; no window is empty.
///
/// Windows that are shorter than others look at their last place again, which changes neither the maximum nor which is first.
pub(super) fn max(x: &Tensor, axis: usize, windows: &[Range<usize>]) -> Result<Tensor> {
    let longest = windows.iter().map(Range::len).max().unwrap_or(0);
    let tap = |tap: usize| select(x, axis, windows.iter().map(|window| (window.start + tap).min(window.end - 1)));
    (1..longest).try_fold(tap(0)?, |max, next| {
        let next = tap(next)?;
        // Larger, or not a number: the two exclude each other.
        let take = (next.gt(&max)? + next.ne(&next)?)?;
        take.where_cond(&next, &max)
    })
}

/// A linear map of one axis, as rows of weights: output i = Σ over j of weights[i][j] · input j.
pub(super) struct Mixing {
    weights: Vec<f64>,
    inputs: usize,
    outputs: usize,
}

impl Mixing {
    /// Each output is made of some inputs with weights, given as pairs (input, weight); repeated inputs add up.
    pub(super) fn new<I: IntoIterator<Item = (usize, f64)>>(inputs: usize, outputs: usize, shares: impl Fn(usize) -> I) -> Self {
        let mut weights = vec![0.0; inputs * outputs];
        for (output, row) in weights.chunks_exact_mut(inputs).enumerate() {
            for (input, weight) in shares(output) {
                row[input] += weight;
            }
        }
        Self { weights, inputs, outputs }
    }

    /// The mean of a range of the inputs, the same weight for each.
    pub(super) fn mean(range: Range<usize>, divisor: usize) -> impl Iterator<Item = (usize, f64)> {
        range.map(move |input| (input, 1.0 / divisor as f64))
    }

    /// (…, inputs) to (…, outputs).
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let matrix = Tensor::from_slice(&self.weights, (self.outputs, self.inputs), &candle_core::Device::Cpu)?;
        let matrix = matrix.to_dtype(x.dtype())?.to_device(x.device())?;
        let mut dims = x.dims().to_vec();
        dims.pop();
        let rows: usize = dims.iter().product();
        dims.push(self.outputs);
        x.contiguous()?.reshape((rows, self.inputs))?.matmul(&matrix.t()?)?.reshape(dims)
    }
}

/// Maps (N, C, H, W) mixed along rows and along columns: all that is linear and separable is two products of matrices.
pub(super) fn mix(x: &Tensor, rows: &Mixing, columns: &Mixing) -> Result<Tensor> {
    rows.apply(&columns.apply(x)?.t()?)?.t()
}

/// Runs `work` in f32 where the input is f16 or bf16, whose sums of squares overflow or lose their digits.
pub(super) fn widened(x: &Tensor, work: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    match x.dtype() {
        dtype @ (DType::F16 | DType::BF16) => work(&x.to_dtype(DType::F32)?)?.to_dtype(dtype),
        _ => work(x),
    }
}
