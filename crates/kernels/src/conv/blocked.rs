//! Convolution by way of maps whose channels lie side by side (see [`crate::blocked`]): some images at a time are copied to that
//! layout, computed there, and copied back. Gradients to the input go the same way, with the filters turned by half a circle.
//!
//! Where there are images enough, each thread takes some of them all the way, so that they stay in its caches and no thread waits for
//! another; else the threads share each step.

use super::{Conv2dShape, PARTIAL_SUMS, TASKS, sum_in_order};
use crate::blocked::{Conv2d, Epilogue, Filters, Maps, Method, Packed, WeightGradient, Weights};
use crate::error::ShapeError;
use crate::parallel::{Scratch, for_each_piece_apart, piece, threads_for};
use crate::simd;

/// Floats of the images that are copied together, as far as there are pixels enough: about what the caches hold.
const TOGETHER: usize = 1 << 18;

/// Fewest pixels that are computed together: a weight should be worth its way from memory.
const PIXELS: usize = 1 << 11;

/// The plan for one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    shape: Conv2dShape,
    input: Maps,
    output: Maps,
    direct: Conv2d,
    /// Winograd's way with tiles of 2×2 and of 4×4, where it applies.
    winograd: [Option<Conv2d>; 2],
}

impl Blocked {
    /// None where groups cut through the channels of a vector.
    pub(super) fn new(shape: Conv2dShape) -> Result<Option<Self>, ShapeError> {
        let [input, output] = layouts(&shape)?;
        let plan = |method| Conv2d::new(shape, [input, output, output], method);
        let Some(direct) = plan(Method::Direct)? else { return Ok(None) };
        Ok(Some(Self { shape, input, output, direct, winograd: [plan(Method::Winograd(2))?, plan(Method::Winograd(4))?] }))
    }

    pub(super) fn forward(
        &self,
        n: usize,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), ShapeError> {
        self.run(n, x, &Weights::new(w, &self.shape)?, bias, y, scratch)
    }

    /// The gradient to the input of the convolution that this one's shape was turned (see `Direct::turned`) from.
    pub(super) fn backward_input(&self, n: usize, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut Scratch) -> Result<(), ShapeError> {
        self.run(n, dy, &Weights::turned(w, &self.shape), None, dx, scratch)
    }

    fn run(&self, n: usize, x: &[f32], w: &Weights, bias: Option<&[f32]>, y: &mut [f32], scratch: &mut Scratch) -> Result<(), ShapeError> {
        let conv = self.plan(n);
        let ([weights, packed_bias], scratch) = scratch.buffers_and_rest([conv.packed(), conv.packed_bias()]);
        conv.pack(w, weights)?;
        packed_bias.fill(0.0);
        if let Some(bias) = bias {
            packed_bias[..bias.len()].copy_from_slice(bias);
        }
        let filters = Filters { weights: Packed::Full(weights), bias: packed_bias };
        let [plain_in, plain_out] = [Maps::planar(self.input.size())?, Maps::planar(self.output.size())?];
        let together = together(&self.shape, [self.input, self.output], n);
        let some = |index: usize, y: &mut [f32], scratch: &mut Scratch| {
            let (first, some) = (index * together, y.len() / plain_out.image());
            let ([inside, outside], scratch) = scratch.buffers_and_rest([some * self.input.image(), some * self.output.image()]);
            plain_in.copy(some, &x[first * plain_in.image()..][..some * plain_in.image()], &self.input, inside)?;
            conv.forward(some, inside, filters, Epilogue::default(), outside, scratch)?;
            self.output.copy(some, outside, &plain_out, y)
        };
        let pieces = n.div_ceil(together);
        let threads = threads_for(usize::MAX, operations(&self.shape, n));
        if threads > 1 && pieces >= threads {
            return for_each_piece_apart(threads, y, together * plain_out.image(), scratch, some);
        }
        y.chunks_mut(together * plain_out.image()).enumerate().try_for_each(|(index, y)| some(index, y, scratch))
    }

    /// The best plan for n images, the packing of the weights counted.
    fn plan(&self, n: usize) -> &Conv2d {
        match (Conv2d::best_method_unpacked(&self.shape, n), &self.winograd) {
            (Method::Winograd(2), [Some(plan), _]) | (Method::Winograd(4), [_, Some(plan)]) => plan,
            _ => &self.direct,
        }
    }
}

/// The plan of a gradient to the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockedWeights {
    shape: Conv2dShape,
    input: Maps,
    output: Maps,
    gradient: WeightGradient,
}

impl BlockedWeights {
    /// None where groups cut through the channels of a vector.
    pub(super) fn new(shape: Conv2dShape) -> Result<Option<Self>, ShapeError> {
        let [input, output] = layouts(&shape)?;
        Ok(WeightGradient::new(shape, [input, output]).map(|gradient| Self { shape, input, output, gradient }))
    }

    pub(super) fn backward(&self, n: usize, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut Scratch) -> Result<(), ShapeError> {
        let [plain_in, plain_out] = [Maps::planar(self.input.size())?, Maps::planar(self.output.size())?];
        let together = together(&self.shape, [self.input, self.output], n);
        // The sums of some images after the others', where there is room for several and images enough.
        let parts = (PARTIAL_SUMS / self.gradient.packed()).clamp(1, TASKS).min(n.div_ceil(together));
        let of_part = n.div_ceil(parts);
        let of_sum = if parts > 1 { self.gradient.packed() } else { 0 };
        let ([sums, sum], scratch) = scratch.buffers_and_rest([parts * self.gradient.packed(), of_sum]);
        sums.fill(0.0);
        let some = |index: usize, sums: &mut [f32], scratch: &mut Scratch| {
            let images = piece(index, of_part, n);
            for first in images.clone().step_by(together) {
                let some = together.min(images.end - first);
                let ([inside, outside], scratch) = scratch.buffers_and_rest([some * self.input.image(), some * self.output.image()]);
                plain_in.copy(some, &x[first * plain_in.image()..][..some * plain_in.image()], &self.input, inside)?;
                plain_out.copy_above_one_another(some, &dy[first * plain_out.image()..][..some * plain_out.image()], outside);
                self.gradient.add(some, inside, outside, sums, scratch);
            }
            Ok(())
        };
        let threads = threads_for(usize::MAX, operations(&self.shape, n));
        if threads > 1 && parts >= threads {
            for_each_piece_apart(threads, sums, self.gradient.packed(), scratch, some)?;
        } else {
            sums.chunks_mut(self.gradient.packed()).enumerate().try_for_each(|(index, sums)| some(index, sums, scratch))?;
        }
        if parts > 1 {
            sum_in_order(sums, sum);
        }
        self.gradient.unpack(if parts > 1 { sum } else { sums }, dw);
        Ok(())
    }
}

/// The layouts of input and output. Few channels stay apart: side by side they would be mostly zeros.
fn layouts(shape: &Conv2dShape) -> Result<[Maps; 2], ShapeError> {
    let (size, [rows, columns]) = ([shape.c_in, shape.h, shape.w], shape.output());
    let apart = shape.c_in * 2 <= simd::lanes();
    let input = if apart { Maps::planar(size)? } else { Maps::blocked(size)? };
    Ok([input.with_margin(shape.padding)?, Maps::blocked([shape.c_out, rows, columns])?])
}

/// How many of n images are computed together.
fn together(shape: &Conv2dShape, [input, output]: [Maps; 2], n: usize) -> usize {
    let [rows, columns] = shape.output();
    // Places of all pixels that are computed together are u32.
    let most = (u32::MAX as usize / input.image()).min(n);
    (TOGETHER / (input.image() + output.image())).max(PIXELS.div_ceil(rows * columns)).min(most).max(1)
}

/// Multiplications and additions for n images.
fn operations(shape: &Conv2dShape, n: usize) -> usize {
    let [rows, columns] = shape.output();
    (2 * shape.c_out * shape.taps()).saturating_mul(n * rows * columns)
}
