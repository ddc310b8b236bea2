//! The fully connected layer: y = x·wᵀ + b.
#![allow(unsafe_code)] // the blocks of an output lie interleaved in it

use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use crate::error::{ShapeError, expect, expect_positive, volume};
use crate::gemm::{Into, Matrix, product};
use crate::parallel::{Parts, Scratch, for_each_task, lane_len, piece, threads_for};
use crate::precision::widen;
use crate::simd;

/// Images up to which the weights are read row by row as in a product of a matrix and a vector, and up to which they are where
/// rows are long.
const FEW_IMAGES: usize = 4;
const SOME_IMAGES: usize = 16;
const LONG: usize = 512;

/// Rows that are read together.
const FEW_ROWS: usize = 4;

/// Weights of a task where they are read row by row.
const PIECE: usize = 1 << 16;

/// Most images of a block that an output is cut into.
const IMAGES: usize = 64;

/// Outputs whose gradients are passed to the inputs at a time: more rows of the weights than that are too many pages of memory.
const ROWS: usize = 32;

/// A type that weights are kept in.
trait Weight: Copy + Sync {
    /// Some weights in f32, if need be in `buffer`, which has room for them.
    fn widened<'a>(weights: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32];
}

impl Weight for f32 {
    fn widened<'a>(weights: &'a [Self], _buffer: &'a mut [f32]) -> &'a [f32] {
        weights
    }
}

impl Weight for f16 {
    fn widened<'a>(weights: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32] {
        let buffer = &mut buffer[..weights.len()];
        widen(weights, buffer);
        buffer
    }
}

/// A fully connected layer of fixed sizes; see [`Linear::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
}

impl Linear {
    /// The plan for weights (outputs, inputs).
    ///
    /// # Errors
    /// When a side is 0 or the weights are more than a slice can hold.
    pub fn new(inputs: usize, outputs: usize) -> Result<Self, ShapeError> {
        expect_positive(&[("the number of inputs", inputs), ("the number of outputs", outputs)])?;
        volume(&[inputs, outputs])?;
        Ok(Self { inputs, outputs })
    }

    /// y = x·wᵀ + b.
    ///
    /// # Shapes
    /// x (N, inputs), w (outputs, inputs), bias (outputs), y (N, outputs).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward(
        &self,
        n: usize,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), ShapeError> {
        let &Self { inputs, outputs } = self;
        expect("x", x, &[n, inputs])?;
        expect("w", w, &[outputs, inputs])?;
        expect("y", y, &[n, outputs])?;
        if let Some(bias) = bias {
            expect("bias", bias, &[outputs])?;
        }
        if n <= FEW_IMAGES || (n <= SOME_IMAGES && inputs >= LONG) {
            self.forward_few(n, x, w, bias, y, scratch);
            return Ok(());
        }
        self.for_each_block(n, outputs, inputs, y, scratch, |images, features, block| {
            let x = Matrix::rows(&x[images.start * inputs..], images.len(), inputs, inputs);
            let w = Matrix::rows(&w[features.start * inputs..], features.len(), inputs, inputs);
            product(x, w.transposed(), block, Into::Replace);
            if let Some(bias) = bias {
                for row in block.chunks_exact_mut(features.len()) {
                    simd::add(row, &bias[features.clone()]);
                }
            }
        });
        Ok(())
    }

    /// As [`forward`](Self::forward), for weights in half precision: they are half the way from memory, which is the limit for few images.
    /// Sums are taken in f32.
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward_half(
        &self,
        n: usize,
        x: &[f32],
        w: &[f16],
        bias: Option<&[f32]>,
        y: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), ShapeError> {
        let &Self { inputs, outputs } = self;
        expect("x", x, &[n, inputs])?;
        expect("y", y, &[n, outputs])?;
        if w.len() != volume(&[inputs, outputs])? {
            return Err(ShapeError::Length { what: "w", given: w.len(), expected: inputs * outputs, shape: vec![outputs, inputs] });
        }
        if let Some(bias) = bias {
            expect("bias", bias, &[outputs])?;
        }
        self.forward_few(n, x, w, bias, y, scratch);
        Ok(())
    }

    /// Some rows of the weights are read once and multiplied with every image: the speed of memory is the limit.
    fn forward_few<W: Weight>(&self, n: usize, x: &[f32], w: &[W], bias: Option<&[f32]>, y: &mut [f32], scratch: &mut Scratch) {
        let &Self { inputs, outputs } = self;
        let y = Parts::new(y);
        let together = (PIECE / inputs).clamp(1, outputs).next_multiple_of(FEW_ROWS);
        let tasks = outputs.div_ceil(together);
        let lane = lane_len(&[FEW_ROWS * inputs]);
        let [lanes] = scratch.buffers([threads_for(tasks, 2 * n.max(1) * inputs * outputs) * lane]);
        for_each_task(tasks, lanes, lane, |task, lane| {
            let features = piece(task, together, outputs);
            for first in features.clone().step_by(FEW_ROWS) {
                let some = first..(first + FEW_ROWS).min(features.end);
                let weights = W::widened(&w[some.start * inputs..some.end * inputs], lane);
                // Where there are fewer rows, the last one stands for those that are missing.
                let row = |index: usize| &weights[index.min(some.len() - 1) * inputs..][..inputs];
                let rows: [&[f32]; FEW_ROWS] = std::array::from_fn(row);
                let write = |first: usize, sums: &[[f32; FEW_ROWS]]| {
                    for (image, sums) in sums.iter().enumerate() {
                        for (feature, sum) in some.clone().zip(sums) {
                            let at = (first + image) * outputs + feature;
                            // SAFETY: this feature of this image is written here alone.
                            let place = unsafe { y.part(at..at + 1) };
                            place[0] = sum + bias.map_or(0.0, |bias| bias[feature]);
                        }
                    }
                };
                let mut image = 0;
                while image < n {
                    let images = &x[image * inputs..];
                    let together = [4, 2].into_iter().find(|&count| image + count <= n).unwrap_or(1);
                    match together {
                        4 => write(image, &simd::dots::<FEW_ROWS, 4>(rows, images)),
                        2 => write(image, &simd::dots::<FEW_ROWS, 2>(rows, images)),
                        _ => write(image, &simd::dots::<FEW_ROWS, 1>(rows, images)),
                    }
                    image += together;
                }
            }
        });
    }

    /// dx = dy·w, the gradient to the input.
    ///
    /// # Shapes
    /// dy (N, outputs), w (outputs, inputs), dx (N, inputs).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_input(&self, n: usize, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut Scratch) -> Result<(), ShapeError> {
        let &Self { inputs, outputs } = self;
        expect("dy", dy, &[n, outputs])?;
        expect("w", w, &[outputs, inputs])?;
        expect("dx", dx, &[n, inputs])?;
        self.for_each_block(n, inputs, outputs, dx, scratch, |images, features, block| {
            block.fill(0.0);
            for start in (0..outputs).step_by(ROWS) {
                let some = ROWS.min(outputs - start);
                let dy = Matrix::rows(&dy[images.start * outputs + start..], images.len(), some, outputs);
                let w = Matrix::rows(&w[start * inputs + features.start..], some, features.len(), inputs);
                product(dy, w, block, Into::Add);
            }
        });
        Ok(())
    }

    /// dw = dyᵀ·x, the gradient to the weights, summed over the images.
    ///
    /// # Shapes
    /// x (N, inputs), dy (N, outputs), dw (outputs, inputs).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_weight(&self, n: usize, x: &[f32], dy: &[f32], dw: &mut [f32], _: &mut Scratch) -> Result<(), ShapeError> {
        let &Self { inputs, outputs } = self;
        expect("x", x, &[n, inputs])?;
        expect("dy", dy, &[n, outputs])?;
        expect("dw", dw, &[outputs, inputs])?;
        let x = Matrix::rows(x, n, inputs, inputs);
        let rows = ((1 << 16) / inputs).clamp(16, 256);
        let some = |(index, dw): (usize, &mut [f32])| {
            let features = piece(index, rows, outputs);
            let dy = if n == 0 { dy } else { &dy[features.start..] };
            product(Matrix::rows(dy, n, features.len(), outputs).transposed(), x, dw, Into::Replace);
        };
        if threads_for(outputs.div_ceil(rows), 2 * n * inputs * outputs) == 1 {
            dw.chunks_mut(rows * inputs).enumerate().for_each(some);
        } else {
            dw.par_chunks_mut(rows * inputs).enumerate().for_each(some);
        }
        Ok(())
    }

    /// db, the gradient to the bias: dy summed over the images.
    ///
    /// # Shapes
    /// dy (N, outputs), db (outputs).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_bias(&self, n: usize, dy: &[f32], db: &mut [f32]) -> Result<(), ShapeError> {
        expect("dy", dy, &[n, self.outputs])?;
        expect("db", db, &[self.outputs])?;
        db.fill(0.0);
        for row in dy.chunks_exact(self.outputs) {
            simd::add(db, row);
        }
        Ok(())
    }

    /// Cuts `out`, (n, features), into blocks and fills each by `fill(images, features, dense block)`.
    fn for_each_block(
        &self,
        n: usize,
        features: usize,
        inner: usize,
        out: &mut [f32],
        scratch: &mut Scratch,
        fill: impl Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync,
    ) {
        // Few images: the weights' way from memory counts, and that is shortest along their rows.
        let wide = if n <= IMAGES / 4 { (features / 4).clamp(128, 1024) } else { 128 };
        let across = features.div_ceil(wide);
        let blocks = n.div_ceil(IMAGES) * across;
        let lane = lane_len(&[n.min(IMAGES) * wide]);
        let threads = threads_for(blocks, 2 * n * features * inner);
        let [lanes] = scratch.buffers([threads * lane]);
        let out = Parts::new(out);
        for_each_task(blocks, lanes, lane, |block, lane| {
            let images = piece(block / across, IMAGES, n);
            let columns = piece(block % across, wide, features);
            let dense = &mut lane[..images.len() * columns.len()];
            fill(images.clone(), columns.clone(), dense);
            for (image, row) in images.zip(dense.chunks_exact(columns.len())) {
                // SAFETY: this part of this row belongs to this block alone.
                let place = unsafe { out.part(image * features + columns.start..image * features + columns.end) };
                place.copy_from_slice(row);
            }
        });
    }
}
