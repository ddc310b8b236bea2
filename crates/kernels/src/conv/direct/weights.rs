//! The gradient to the weights, straight from the image.
//!
//! For a few taps and a few filters at a time, vectors of the input are multiplied with the output's gradients and summed as
//! vectors; after a run of them the vectors' own values are added.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::super::{PARTIAL_SUMS, TASKS, sum_in_order};
use super::{Direct, FILTERS, SUMMED, Vector, read};
use crate::parallel::{Parts, Scratch, for_each_task, lane_len, piece, split, threads_for};
use crate::simd;

/// Images of which a gradient to the weights is summed together at most.
const IMAGES: usize = 16;

impl Direct {
    /// See [`Conv2d::backward_weight`](crate::Conv2d::backward_weight); the lengths were checked there.
    ///
    /// A task sums some filters' gradients over a run of slabs; the sums of the runs are added in order.
    pub(in crate::conv) fn backward_weight(&self, n: usize, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut Scratch) {
        let slabs = n * self.slabs();
        let run = slabs.div_ceil((PARTIAL_SUMS / dw.len()).clamp(1, TASKS)).max(1);
        let runs = slabs.div_ceil(run).max(1);
        let some = self.blocks().div_ceil(TASKS.div_ceil(runs).min(self.blocks()));
        let shares = self.blocks().div_ceil(some);
        // Slabs that are summed together: some small images, but only one part of a large one.
        let together = if self.slabs() == 1 { SUMMED.div_ceil(self.vectors.len()).min(IMAGES).min(run) } else { 1 };
        let lengths = [together * self.slab(), together * some * FILTERS * self.vectors.len() * simd::lanes()];
        let lane = lane_len(&lengths);
        let [lanes, sums] =
            scratch.buffers([threads_for(runs * shares, self.operations(n)) * lane, if runs == 1 { 0 } else { runs * dw.len() }]);
        let length = dw.len();
        let parts = Parts::new(if runs == 1 { &mut *dw } else { &mut *sums });
        for_each_task(runs * shares, lanes, lane, |task, lane| {
            let (index, blocks) = (task / shares, piece(task % shares, some, self.blocks()));
            let filters = self.filters(blocks.clone());
            let start = index * length;
            // SAFETY: these filters' sums over this run belong to this task alone.
            let sum = unsafe { parts.part(start + filters.start * self.taps.len()..start + filters.end * self.taps.len()) };
            sum.fill(0.0);
            let [buffer, gradients] = split(lane, lengths);
            let run = piece(index, run, slabs);
            for first in run.clone().step_by(together) {
                let some = first..(first + together).min(run.end);
                let mut inputs = [&[] as &[f32]; IMAGES];
                let mut buffer = &mut *buffer;
                for (slab, input) in some.clone().zip(&mut inputs) {
                    let (own, rest) = buffer.split_at_mut(self.slab());
                    *input = self.input(x, slab, own);
                    buffer = rest;
                }
                let inputs = &inputs[..some.len()];
                self.pack_gradients(dy, some, blocks.clone(), gradients);
                simd::arch().dispatch(BackwardWeight { plan: self, slab: first, inputs, blocks: blocks.clone(), gradients, sum });
            }
        });
        if runs > 1 {
            sum_in_order(sums, dw);
        }
    }

    /// Lays the gradients to some slabs out as vectors: block by block, in a block slab by slab, vector by vector, filter by
    /// filter. What a vector has in common with the one before it is 0 in the later one, and so is what lies beyond the row.
    fn pack_gradients(&self, dy: &[f32], slabs: Range<usize>, blocks: Range<usize>, packed: &mut [f32]) {
        let (map, lanes) = (self.map(), simd::lanes());
        let mut places = packed.chunks_exact_mut(lanes);
        for block in blocks {
            let (_, filters) = self.block(block);
            for slab in slabs.clone() {
                let start = slab / self.slabs() * self.shape.c_out * map + self.rows_of(slab).start * self.out[1];
                for vector in self.vectors_of(slab) {
                    for filter in filters.clone() {
                        let Some(place) = places.next() else { return };
                        let (pixels, beyond) = place.split_at_mut(vector.pixels);
                        pixels.copy_from_slice(&dy[start + filter * map + vector.output..][..vector.pixels]);
                        pixels[..vector.overlap].fill(0.0);
                        beyond.fill(0.0);
                    }
                }
            }
        }
    }
}

/// The gradient to some filters' weights, summed over some slabs.
struct BackwardWeight<'a> {
    plan: &'a Direct,
    /// The first slab. There are others only where a slab is a whole image, so that they are alike.
    slab: usize,
    inputs: &'a [&'a [f32]],
    /// The blocks of filters.
    blocks: Range<usize>,
    gradients: &'a [f32],
    /// The gradients' sums, (filters of the blocks, taps).
    sum: &'a mut [f32],
}

impl WithSimd for BackwardWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let [channels, _] = self.plan.group();
        let gradients = S::as_simd_f32s(self.gradients).0;
        let vectors = self.plan.vectors_of(self.slab);
        let of_filter = self.inputs.len() * vectors.len();
        let first = self.plan.filters(self.blocks.clone()).start;
        for block in self.blocks.clone() {
            let (group, filters) = self.plan.block(block);
            let filters = filters.start - first..filters.end - first;
            let channel = group * channels * self.plan.channel();
            let gradients = &gradients[filters.start * of_filter..filters.end * of_filter];
            match filters.len() {
                1 => self.block::<S, 1, 8>(simd, channel, gradients, filters.start, vectors),
                2 => self.block::<S, 2, 4>(simd, channel, gradients, filters.start, vectors),
                3 => self.block::<S, 3, 4>(simd, channel, gradients, filters.start, vectors),
                4 => self.block::<S, 4, 3>(simd, channel, gradients, filters.start, vectors),
                5 => self.block::<S, 5, 2>(simd, channel, gradients, filters.start, vectors),
                _ => self.block::<S, FILTERS, 2>(simd, channel, gradients, filters.start, vectors),
            }
        }
    }
}

impl BackwardWeight<'_> {
    /// All taps of F filters, T taps at a time.
    #[inline(always)]
    fn block<S: Simd, const F: usize, const T: usize>(
        &mut self,
        simd: S,
        channel: usize,
        gradients: &[S::f32s],
        filter: usize,
        vectors: &[Vector],
    ) {
        let gradients = gradients.as_chunks::<F>().0;
        let plan = self.plan;
        let (some, rest) = plan.taps.as_chunks::<T>();
        // A long run of vectors is cut, so that its gradients stay in the nearest cache from taps to taps.
        for start in (0..vectors.len()).step_by(SUMMED) {
            let part = start..(start + SUMMED).min(vectors.len());
            for (index, taps) in some.iter().enumerate() {
                self.tile::<S, F, T>(simd, channel, gradients, [filter, index * T], taps, vectors, part.clone());
            }
            for (index, taps) in rest.as_chunks::<1>().0.iter().enumerate() {
                self.tile::<S, F, 1>(simd, channel, gradients, [filter, some.len() * T + index], taps, vectors, part.clone());
            }
        }
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // all of them change from call to call
    fn tile<S: Simd, const F: usize, const T: usize>(
        &mut self,
        simd: S,
        channel: usize,
        gradients: &[[S::f32s; F]],
        [filter, tap]: [usize; 2],
        taps: &[usize; T],
        vectors: &[Vector],
        part: Range<usize>,
    ) {
        let mut sums = [[simd.splat_f32s(0.0); T]; F];
        for (input, gradients) in self.inputs.iter().zip(gradients.chunks_exact(vectors.len())) {
            let input = &input[channel..];
            let last = vectors[part.end - 1].input;
            assert!(last + self.plan.farthest + S::F32_LANES <= input.len(), "a vector lies outside the image");
            for (vector, gradients) in vectors[part.clone()].iter().zip(&gradients[part.clone()]) {
                // SAFETY: the assertion says that the farthest tap of the last vector is inside the image.
                let pixels = taps.map(|tap| unsafe { read::<S>(input, vector.input + tap) });
                for f in 0..F {
                    for t in 0..T {
                        sums[f][t] = simd.mul_add_e_f32s(pixels[t], gradients[f], sums[f][t]);
                    }
                }
            }
        }
        for (f, sums) in sums.into_iter().enumerate() {
            for (t, sum) in sums.into_iter().enumerate() {
                self.sum[(filter + f) * self.plan.taps.len() + tap + t] += simd.reduce_sum_f32s(sum);
            }
        }
    }
}
