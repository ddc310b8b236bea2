//! The gradient of a convolution to its weights, from maps whose channels lie side by side.
//!
//! The innermost loop is that of the forward pass with its parts exchanged: the sums belong to taps and filters, and what is
//! summed over are pixels.
#![allow(unsafe_code)] // the innermost loops read without checks; threads write parts of one output

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::Method;
use super::direct::{Block, blocks, taps};
use super::maps::Maps;
use super::tile::{Lines, accumulate, for_vectors};
use super::winograd::WinogradSums;
use crate::conv::Conv2dShape;
use crate::parallel::{Parts, Scratch, piece, threads_for};
use crate::simd;

/// Pixels that are summed before the next taps are: their gradients stay in the first cache.
const PIXELS: usize = 128;

/// Tasks that are worth making so that several threads have enough to do, whatever their number.
const TASKS: usize = 16;

/// Taps of a task are a multiple of this, so that no run of taps is cut.
const RUN: usize = 24;

/// The plan for one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WeightGradient {
    shape: Conv2dShape,
    input: Maps,
    taps: Vec<u32>,
    farthest: usize,
    blocks: Vec<Block>,
    /// F(4×4, 3×3) or F(2×2, 3×3), where that is faster; filters of another size have none.
    winograd: Option<WinogradSums>,
}

impl WeightGradient {
    /// For an input in this layout, its margin at least the padding. None where groups cut through channels that lie side by side.
    pub(crate) fn new(shape: Conv2dShape, [input, output]: [Maps; 2]) -> Option<Self> {
        if !super::is_moderate(&shape) {
            return None;
        }
        let taps = taps(&shape, &input)?;
        let farthest = taps.iter().copied().max()? as usize;
        let winograd = match super::best_method_of_gradient(&shape) {
            Method::Winograd(side) => WinogradSums::new(shape, side, input, output),
            _ => None,
        };
        Some(Self { shape, input, taps, farthest, blocks: blocks(&shape), winograd })
    }

    /// Floats of the sums: block by block, tap by tap, those of a block's filters beside one another.
    pub(crate) fn packed(&self) -> usize {
        self.blocks.iter().map(|block| block.vectors).sum::<usize>() * simd::lanes() * self.taps.len()
    }

    /// Adds the gradients of n images to `sums`. `dy` holds each group of filters of all images, image after image.
    pub(crate) fn add(&self, n: usize, x: &[f32], dy: &[f32], sums: &mut [f32], scratch: &mut Scratch) {
        let [rows, columns] = self.shape.output();
        assert!(x.len() == n * self.input.image() && sums.len() == self.packed(), "lengths were checked before");
        if let Some(winograd) = &self.winograd {
            return winograd.add(n, x, dy, sums, scratch);
        }
        let shares = TASKS.div_ceil(self.blocks.len()).min(self.taps.len().div_ceil(RUN));
        let of_share = self.taps.len().div_ceil(shares).next_multiple_of(RUN);
        let sums = &Parts::new(sums);
        let one = |task: usize| {
            let (block, share) = (self.blocks[task / shares], task % shares);
            simd::arch().dispatch(Share { plan: self, n, x, dy, sums, block, taps: piece(share, of_share, self.taps.len()) });
        };
        let tasks = self.blocks.len() * shares;
        let operations = (2 * self.shape.c_out * self.taps.len()).saturating_mul(n * rows * columns);
        if threads_for(tasks, operations) == 1 {
            (0..tasks).for_each(one);
        } else {
            (0..tasks).into_par_iter().for_each(one);
        }
    }

    /// The sums in the order of the weights, (filters, C / groups, kernel rows, kernel columns).
    pub(crate) fn unpack(&self, sums: &[f32], dw: &mut [f32]) {
        let Conv2dShape { c_in, c_out, kernel, groups, .. } = self.shape;
        let (channels, filters, area, lanes) = (c_in / groups, c_out / groups, kernel[0] * kernel[1], simd::lanes());
        let (together, of_group) = (self.input.together(), filters.div_ceil(lanes));
        let mut starts = vec![0; self.blocks.iter().map(|block| block.vectors).sum()];
        for block in &self.blocks {
            for vector in 0..block.vectors {
                starts[block.first + vector] = block.first * lanes * self.taps.len() + vector * lanes;
            }
        }
        let vectors = |first: usize| {
            self.blocks.iter().find(|block| (block.first..block.first + block.vectors).contains(&first)).map_or(1, |block| block.vectors)
        };
        let one = |(filter, dw): (usize, &mut [f32])| {
            let in_group = filter % filters;
            let vector = filter / filters * of_group + in_group / lanes;
            let (start, step) = (starts[vector] + in_group % lanes, vectors(vector) * lanes);
            let mut tap = 0;
            for first in (0..channels).step_by(together) {
                for place in 0..area {
                    for channel in first..channels.min(first + together) {
                        dw[channel * area + place] = sums[start + tap * step];
                        tap += 1;
                    }
                }
            }
        };
        if threads_for(c_out, 16 * dw.len()) == 1 {
            dw.chunks_exact_mut(channels * area).enumerate().for_each(one);
        } else {
            dw.par_chunks_exact_mut(channels * area).enumerate().for_each(one);
        }
    }
}

/// Some taps of a block of filters.
struct Share<'a> {
    plan: &'a WeightGradient,
    n: usize,
    x: &'a [f32],
    dy: &'a [f32],
    sums: &'a Parts<'a>,
    block: Block,
    taps: Range<usize>,
}

/// Some pixels: where their windows begin in the input, and their gradients.
struct Run<'a> {
    input: &'a [f32],
    pixels: &'a [u32],
    dy: &'a [f32],
    /// From one vector of filters to the next.
    gap: usize,
}

impl WithSimd for Share<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Conv2dShape { c_in, groups, stride, padding, .. } = self.plan.shape;
        let (input, [rows, columns]) = (self.plan.input, self.plan.shape.output());
        let pixels = rows * columns;
        let start = self.block.group * (c_in / groups / input.together()) * input.group() + input.origin(padding);
        let gap = self.n * pixels * S::F32_LANES;
        let dy = &self.dy[self.block.first * gap..][..self.block.vectors * gap];
        for first in (0..self.n * pixels).step_by(PIXELS) {
            let count = PIXELS.min(self.n * pixels - first);
            // Places are counted from the first pixel's image, so that they stay small.
            let image = first / pixels;
            let mut places = [0; PIXELS];
            for (index, place) in places[..count].iter_mut().enumerate() {
                let (ahead, pixel) = ((first + index) / pixels - image, (first + index) % pixels);
                let (row, column) = (pixel / columns * stride[0], pixel % columns * stride[1]);
                *place = (ahead * input.image() + row * input.row() + column * input.together()) as u32;
            }
            let input = &self.x[image * input.image() + start..];
            let run = Run { input, pixels: &places[..count], dy: &dy[first * S::F32_LANES..], gap };
            for_vectors!(self.block.vectors, self.tiles::<S>(simd, &run));
        }
    }
}

impl Share<'_> {
    /// All taps: P, then H, then one at a time.
    #[inline(always)]
    fn tiles<S: Simd, const P: usize, const H: usize, const F: usize>(&self, simd: S, run: &Run) {
        let mut tap = self.taps.start;
        while tap + P <= self.taps.end {
            self.tile::<S, P, F>(simd, run, tap);
            tap += P;
        }
        while tap + H <= self.taps.end {
            self.tile::<S, H, F>(simd, run, tap);
            tap += H;
        }
        while tap < self.taps.end {
            self.tile::<S, 1, F>(simd, run, tap);
            tap += 1;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const P: usize, const F: usize>(&self, simd: S, run: &Run, tap: usize) {
        let (lanes, plan) = (S::F32_LANES, self.plan);
        let wide = F * lanes;
        let farthest = run.pixels.iter().fold(0, |farthest, &pixel| farthest.max(pixel)) as usize;
        assert!(farthest + plan.farthest < run.input.len(), "a window lies outside the images");
        assert!(run.dy.len() >= (F - 1) * run.gap + run.pixels.len() * lanes, "a pixel has all its gradients");
        let start = self.block.first * lanes * plan.taps.len() + tap * wide;
        // SAFETY: these taps of these filters belong to this task.
        let (places, _) = S::as_mut_simd_f32s(unsafe { self.sums.part(start..start + P * wide) });
        let mut sums: [[S::f32s; F]; P] = std::array::from_fn(|p| std::array::from_fn(|f| places[p * F + f]));
        // SAFETY: the assertions say that every window and gradient is inside.
        unsafe {
            let rows = std::array::from_fn(|p| run.input.as_ptr().add(plan.taps[tap + p] as usize));
            sums = accumulate(simd, rows, run.pixels, run.dy.as_ptr(), [lanes, run.gap], Lines::near(run.dy), sums);
        }
        for p in 0..P {
            for f in 0..F {
                places[p * F + f] = sums[p][f];
            }
        }
    }
}
