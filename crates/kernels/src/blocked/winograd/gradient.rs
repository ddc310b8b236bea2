//! The gradient to 3×3 filters by Winograd's way: the algorithm forward is Y = Aᵀ[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]A for each tile, so the gradient to
//! a filter is Gᵀ[Σ over the tiles of (A·dY·Aᵀ) ⊙ (Bᵀ·d·B)]G.
//!
//! For each of the A² places that is a product of matrices (channels × tiles) · (tiles × filters), and the last transform is made once for
//! all tiles of a run.
#![allow(unsafe_code)] // the innermost loops read without checks; threads write parts of one output

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::super::direct::Block;
use super::super::maps::Maps;
use super::super::tile::{Lines, accumulate, for_vectors};
use super::{Winograd, each, transform};
use crate::conv::Conv2dShape;
use crate::parallel::{Parts, Scratch, for_each_task, lane_len, piece, split, threads_for};
use crate::simd;

/// Floats of the transformed patches and tiles of a run: about what the second caches hold.
const RUN: usize = 1 << 20;

/// Fewest tiles of a run: the last transform should be a small part of the work.
const TILES: usize = 64;

/// Tiles that are transformed by one task.
const FEW_TILES: usize = 8;

/// Channels of a task: a multiple of those that are computed together, and of a vector.
const CHANNELS: usize = 48;

/// Tasks that are worth making so that several threads have enough to do, whatever their number.
const TASKS: usize = 4;

/// The plan for one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WinogradSums {
    plan: Winograd,
    /// How far each tile of a run is from the first.
    offsets: Vec<u32>,
}

impl WinogradSums {
    /// With tiles of `side` = 2 or 4 pixels a side, for filters of 3×3; see [`Winograd::new`].
    pub(in super::super) fn new(shape: Conv2dShape, side: usize, input: Maps, output: Maps) -> Option<Self> {
        let plan = (shape.kernel == [3; 2]).then(|| Winograd::new(shape, side, [input, output], false))??;
        let most = (RUN / (plan.places() * (plan.wide() + plan.filters()))).max(TILES);
        let offsets = (0..most).map(|tile| (tile * simd::lanes()) as u32).collect();
        Some(Self { plan, offsets })
    }

    /// Adds the gradients of n images to `sums`: those of block after block, group of channels after group, place after place of the kernel
    /// and channel after channel, a block's filters beside one another. `dy` holds each group of filters of all images, image after image.
    pub(in super::super) fn add(&self, n: usize, x: &[f32], dy: &[f32], sums: &mut [f32], scratch: &mut Scratch) {
        let plan = &self.plan;
        let Conv2dShape { c_in, .. } = plan.shape;
        let total = n * plan.tiles[0] * plan.tiles[1];
        let run = total.div_ceil(total.div_ceil(self.offsets.len()).max(1));
        // Blocks of filters times shares of the channels.
        let shares = c_in.div_ceil(CHANNELS).max(TASKS.div_ceil(plan.blocks.len())).min(c_in.div_ceil(simd::lanes()));
        let of_share = c_in.div_ceil(shares).next_multiple_of(simd::lanes());
        let tasks = plan.blocks.len() * shares;
        let threads = threads_for(tasks, (2 * plan.places() * c_in).saturating_mul(total * plan.filters()));
        let widest = plan.blocks.iter().map(|block| block.vectors).max().unwrap_or(0) * simd::lanes();
        let lane = lane_len(&[plan.places() * of_share * widest]);
        let lengths = [plan.places() * run * plan.wide(), plan.places() * run * plan.filters(), threads * lane];
        let [patches, gradients, lanes] = scratch.buffers(lengths);
        let (patches, gradients, sums) = (Parts::new(patches), Parts::new(gradients), Parts::new(sums));
        for index in 0..total.div_ceil(run.max(1)) {
            let tiles = piece(index, run, total);
            let stage =
                Run { plan: self, n, x, dy, first: tiles.start, tiles: tiles.len(), patches: &patches, gradients: &gradients, sums: &sums };
            each(tiles.len().div_ceil(FEW_TILES), threads > 1, |task| stage.transform(piece(task, FEW_TILES, tiles.len())));
            for_each_task(tasks, lanes, lane, |task, lane| {
                let [products] = split(lane, [plan.places() * of_share * widest]);
                let (block, channels) = (plan.blocks[task / shares], piece(task % shares, of_share, c_in));
                simd::arch().dispatch(Share { run: &stage, block, channels, products });
            });
        }
    }
}

/// A run of tiles.
struct Run<'a> {
    plan: &'a WinogradSums,
    n: usize,
    x: &'a [f32],
    dy: &'a [f32],
    /// The first tile, counted over all images.
    first: usize,
    tiles: usize,
    /// (places, groups of channels, tiles, lanes).
    patches: &'a Parts<'a>,
    /// (places, vectors of filters, tiles, lanes).
    gradients: &'a Parts<'a>,
    sums: &'a Parts<'a>,
}

impl Run<'_> {
    /// Transforms patches and gradients of some tiles.
    fn transform(&self, tiles: Range<usize>) {
        struct Work<'a>(&'a Run<'a>, Range<usize>);
        impl WithSimd for Work<'_> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let Self(run, tiles) = self;
                for tile in tiles {
                    match run.plan.plan.side {
                        2 => run.tile::<S, 2, 4>(simd, tile),
                        _ => run.tile::<S, 4, 6>(simd, tile),
                    }
                }
            }
        }
        simd::arch().dispatch(Work(self, tiles));
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const A: usize>(&self, simd: S, tile: usize) {
        let (lanes, plan) = (S::F32_LANES, &self.plan.plan);
        let at = |groups: usize, place: usize, group: usize| ((place * groups + group) * self.tiles + tile) * lanes;
        let groups = plan.input.groups();
        plan.transform_patch::<S, A>(simd, self.x, self.first + tile, self.patches, |place, group| at(groups, place, group));
        let (image, [row, column]) = plan.place(self.first + tile);
        let [height, width] = plan.shape.output();
        let there = [M.min(height - row), M.min(width - column)];
        let zero = simd.splat_f32s(0.0);
        let vectors = plan.output.groups();
        for vector in 0..vectors {
            let dy = &self.dy[(vector * self.n + image) * height * width * lanes..][..height * width * lanes];
            let mut down = [[zero; M]; A];
            for j in 0..there[1] {
                let mut values = [zero; M];
                for i in 0..there[0] {
                    values[i] = S::as_simd_f32s(&dy[((row + i) * width + column + j) * lanes..][..lanes]).0[0];
                }
                let values = transform::output_gradient::<S, M, A>(simd, values);
                for i in 0..A {
                    down[i][j] = values[i];
                }
            }
            let first = at(vectors, 0, vector);
            // SAFETY: these vectors belong to this tile and these filters.
            let to = unsafe { self.gradients.pointer(first..at(vectors, A * A - 1, vector) + lanes) };
            for i in 0..A {
                let values = transform::output_gradient::<S, M, A>(simd, down[i]);
                for j in 0..A {
                    // SAFETY: the place is one of the range's.
                    unsafe { to.add(at(vectors, i * A + j, vector) - first).cast::<S::f32s>().write_unaligned(values[j]) };
                }
            }
        }
    }
}

/// Some channels and a block of filters.
struct Share<'a> {
    run: &'a Run<'a>,
    block: Block,
    channels: Range<usize>,
    /// (places, channels, filters).
    products: &'a mut [f32],
}

impl WithSimd for Share<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if self.channels.is_empty() {
            return;
        }
        for place in 0..self.run.plan.plan.places() {
            for_vectors!(self.block.vectors, self.rows::<S>(simd, place));
        }
        match self.run.plan.plan.side {
            2 => self.add::<S, 4>(simd, &transform::G2),
            _ => self.add::<S, 6>(simd, &transform::G4),
        }
    }
}

impl Share<'_> {
    /// The product of a place's matrices.
    #[inline(always)]
    fn rows<S: Simd, const P: usize, const H: usize, const F: usize>(&mut self, simd: S, place: usize) {
        let mut channel = 0;
        while channel + P <= self.channels.len() {
            self.some::<S, P, F>(simd, place, channel);
            channel += P;
        }
        while channel + H <= self.channels.len() {
            self.some::<S, H, F>(simd, place, channel);
            channel += H;
        }
        while channel < self.channels.len() {
            self.some::<S, 1, F>(simd, place, channel);
            channel += 1;
        }
    }

    #[inline(always)]
    fn some<S: Simd, const P: usize, const F: usize>(&mut self, simd: S, place: usize, channel: usize) {
        let (lanes, run) = (S::F32_LANES, self.run);
        let plan = &run.plan.plan;
        let group = run.tiles * lanes;
        let (of_place, vectors) = (plan.input.groups() * group, plan.output.groups());
        // SAFETY: nobody writes patches and gradients in this step.
        let [patches, gradients] = unsafe {
            let first = (place * vectors + self.block.first) * group;
            [run.patches.read(place * of_place..(place + 1) * of_place), run.gradients.read(first..first + F * group)]
        };
        let offsets = &run.plan.offsets[..run.tiles];
        // SAFETY: each tile has a vector of each group of channels and of filters.
        let sums = unsafe {
            let rows = std::array::from_fn(|p| {
                let channel = self.channels.start + channel + p;
                patches[channel / lanes * group + channel % lanes..].as_ptr()
            });
            accumulate(simd, rows, offsets, gradients.as_ptr(), [lanes, group], Lines::near(gradients), [[simd.splat_f32s(0.0); F]; P])
        };
        let first = (place * self.channels.len() + channel) * F * lanes;
        let (products, _) = S::as_mut_simd_f32s(&mut self.products[first..first + P * F * lanes]);
        for p in 0..P {
            products[p * F..(p + 1) * F].copy_from_slice(&sums[p]);
        }
    }

    /// Transforms the products back and adds them to the sums.
    #[inline(always)]
    fn add<S: Simd, const A: usize>(&self, simd: S, g: &[[f32; 3]; A]) {
        let (lanes, plan, channels) = (S::F32_LANES, &self.run.plan.plan, &self.channels);
        let vectors = self.block.vectors;
        let (products, _) = S::as_simd_f32s(self.products);
        let start = self.block.first * lanes * plan.shape.taps();
        for (index, channel) in channels.clone().enumerate() {
            let group = channel / lanes * lanes;
            let beside = lanes.min(plan.shape.c_in - group);
            for vector in 0..vectors {
                let mut down = [[simd.splat_f32s(0.0); A]; 3];
                for j in 0..A {
                    let column = std::array::from_fn(|i| products[((i * A + j) * channels.len() + index) * vectors + vector]);
                    let column = transform::filter_gradient::<S, A>(simd, g, column);
                    for i in 0..3 {
                        down[i][j] = column[i];
                    }
                }
                for i in 0..3 {
                    let row = transform::filter_gradient::<S, A>(simd, g, down[i]);
                    for j in 0..3 {
                        let tap = group * 9 + (3 * i + j) * beside + channel - group;
                        let at = start + (tap * vectors + vector) * lanes;
                        // SAFETY: these channels of these filters belong to this task.
                        let (sum, _) = S::as_mut_simd_f32s(unsafe { self.run.sums.part(at..at + lanes) });
                        sum[0] = simd.add_f32s(sum[0], row[j]);
                    }
                }
            }
        }
    }
}
