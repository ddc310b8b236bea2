//! Convolution with 3×3 or 5×5 filters and stride 1 by fewer multiplications (Lavin & Gray, "Fast algorithms for convolutional neural
//! networks", 2016; the minimal filtering algorithms of Winograd 1980).
//!
//! A tile of M×M outputs needs a patch of A×A inputs, A = M + K − 1 for filters of K×K. Patches and filters are transformed, multiplied
//! place by place - for each of the A² places a product of matrices (tiles × channels) · (channels × filters) - and the sums are transformed back:
//! A² multiplications for M² outputs where the plain way takes K²·M². Rounding errors grow with A; M is 2 here, or 4 for filters of 3×3, so
//! that a tile is made of whole squares of 2×2 pixels, whose largest values may be all that is written.
#![allow(unsafe_code)] // the innermost loops read without checks; threads write parts of one output

mod gradient;
mod transform;

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

pub(super) use gradient::WinogradSums;

use super::direct::{Block, blocks};
use super::maps::Maps;
use super::pool::larger;
use super::tile::{Lines, MOST_FILTERS, accumulate, for_vectors};
use super::{Epilogue, Filters, Weights};
use crate::conv::Conv2dShape;
use crate::parallel::{Parts, Scratch, for_each_task, lane_len, piece, split, threads_for};
use crate::simd::{self, activate};

/// Channels that are summed before the next tiles are: their weights stay in the first cache.
const CHANNELS: usize = 128;

/// Tiles that are transformed together: about what the second cache holds.
const TILES: usize = 128;

/// Tiles that are transformed by one task.
const FEW_TILES: usize = 4;

/// Floats of the longest vector.
const MOST_LANES: usize = 16;

/// The plan for one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Winograd {
    shape: Conv2dShape,
    input: Maps,
    output: Maps,
    /// M, the side of a tile of the output.
    side: usize,
    /// Rows and columns of tiles.
    tiles: [usize; 2],
    blocks: Vec<Block>,
    /// The places of the channels of a transformed patch: 0, 1, …
    channels: Vec<u32>,
    /// Whether the output is the largest values of squares of 2×2 sums.
    pooled: bool,
}

impl Winograd {
    /// With tiles of `side` = 2 or, for filters of 3×3, 4 pixels a side, the output `pooled` or not. None where it does not apply: see
    /// [`Self::applies`].
    pub(super) fn new(shape: Conv2dShape, side: usize, [input, output]: [Maps; 2], pooled: bool) -> Option<Self> {
        let lanes = simd::lanes();
        let margin = input.margin();
        let fits = margin[0] >= shape.padding[0] && margin[1] >= shape.padding[1];
        if !Self::applies(&shape, side) || !fits || input.together() != lanes || output.together() != lanes {
            return None;
        }
        let tiles = shape.output().map(|pixels| pixels.div_ceil(side));
        let channels = (0..shape.c_in as u32).collect();
        Some(Self { shape, input, output, side, tiles, blocks: blocks(&shape), channels, pooled })
    }

    /// Filters of 3×3, or of 5×5 with tiles of 2×2; stride 1, no dilation, one group.
    pub(super) fn applies(shape: &Conv2dShape, side: usize) -> bool {
        let Conv2dShape { kernel, stride, dilation, groups, c_in, .. } = *shape;
        let known = [(3, 2), (3, 4), (5, 2)].contains(&(kernel[0], side)) && kernel[0] == kernel[1];
        known && stride == [1; 2] && dilation == [1; 2] && groups == 1 && u32::try_from(c_in).is_ok()
    }

    /// A², the places of a patch.
    pub(super) fn places(&self) -> usize {
        places(&self.shape, self.side)
    }

    /// Filters, rounded up to whole vectors.
    fn filters(&self) -> usize {
        self.shape.c_out.next_multiple_of(simd::lanes())
    }

    /// Input channels, rounded up to whole vectors.
    fn wide(&self) -> usize {
        self.input.groups() * self.input.together()
    }

    /// Floats of the packed weights.
    pub(super) fn packed(&self) -> usize {
        self.places() * self.shape.c_in * self.filters()
    }

    /// Transforms the filters and lays them out place by place, block by block, channel by channel, the weights of a block's
    /// filters beside one another.
    pub(super) fn pack(&self, weights: &Weights, packed: &mut [f32]) {
        let tasks = self.blocks.len() * self.shape.c_in;
        let parts = &Parts::new(packed);
        let one = |task: usize| {
            let (block, channel) = (self.blocks[task / self.shape.c_in], task % self.shape.c_in);
            simd::arch().dispatch(Pack { plan: self, weights, block, channel, parts });
        };
        if threads_for(tasks, 16 * self.packed()) == 1 {
            (0..tasks).for_each(one);
        } else {
            (0..tasks).into_par_iter().with_min_len(16).for_each(one);
        }
    }

    /// The output of n images; lengths and layouts have been checked.
    pub(super) fn forward(&self, n: usize, x: &[f32], filters: Filters, epilogue: Epilogue, y: &mut [f32], scratch: &mut Scratch) {
        let total = n * self.tiles[0] * self.tiles[1];
        if total == 0 {
            return;
        }
        // Each thread transforms, multiplies and transforms back its own runs of tiles, if there are tiles enough for the weights to be
        // worth their way; else the threads share each step. What a tile gives does not depend on it.
        let threads = threads_for(total, (2 * self.places() * self.shape.c_in).saturating_mul(total * self.filters()));
        let apart = threads > 1 && total / threads >= TILES / 2;
        let most = if apart { TILES.min(total.div_ceil(threads)) } else { TILES };
        let run = total.div_ceil(total.div_ceil(most));
        let runs = total.div_ceil(run);
        let lengths = [self.places() * run * self.wide(), self.places() * run * self.filters()];
        let lane = lane_len(&lengths);
        let [lanes] = scratch.buffers([if apart { threads.min(runs) * lane } else { lane }]);
        let y = Parts::new(y);
        let whole = |index: usize, lane: &mut [f32], spread: bool| {
            let [patches, sums] = split(lane, lengths);
            let tiles = piece(index, run, total);
            let (patches, sums) = (Parts::new(patches), Parts::new(sums));
            let stage = Stage { plan: self, x, filters, epilogue, y: &y, first: tiles.start, run, patches: &patches, sums: &sums };
            let all = |count: usize, some: usize, step: Step| {
                each(count.div_ceil(some), spread, |task| stage.tiles(piece(task, some, count), tiles.len(), step));
            };
            all(tiles.len(), FEW_TILES, Step::Input);
            all(self.places() * self.blocks.len(), 1, Step::Product);
            all(tiles.len(), FEW_TILES, Step::Output);
        };
        if apart {
            for_each_task(runs, lanes, lane, |index, lane| whole(index, lane, false));
        } else {
            (0..runs).for_each(|index| whole(index, lanes, threads > 1));
        }
    }
}

/// The places of a patch for tiles of `side` pixels a side.
pub(super) fn places(shape: &Conv2dShape, side: usize) -> usize {
    (side + shape.kernel[0] - 1) * (side + shape.kernel[1] - 1)
}

impl Winograd {
    /// The image, and the first row and column of the output, of a tile, counted over all images.
    fn place(&self, tile: usize) -> (usize, [usize; 2]) {
        let [rows, columns] = self.tiles;
        let (image, tile) = (tile / (rows * columns), tile % (rows * columns));
        (image, [tile / columns * self.side, tile % columns * self.side])
    }

    /// Transforms a tile's patch of all channels. `at` says where the vector of a place and a group of channels goes; for the groups
    /// they lie in the order of the places.
    #[inline(always)]
    fn transform_patch<S: Simd, const A: usize>(&self, simd: S, x: &[f32], tile: usize, to: &Parts, at: impl Fn(usize, usize) -> usize) {
        let (lanes, input) = (S::F32_LANES, &self.input);
        let (image, [row, column]) = self.place(tile);
        let [_, height, width] = input.size();
        let [above, left] = input.margin();
        // The patch in the coordinates of the maps with their margin.
        let (top, start) = (row + above - self.shape.padding[0], column + left - self.shape.padding[1]);
        let there = [(height + 2 * above).saturating_sub(top).min(A), (width + 2 * left).saturating_sub(start).min(A)];
        for group in 0..input.groups() {
            let x = &x[image * input.image() + group * input.group()..][..input.group()];
            let read = |i: usize, j: usize| S::as_simd_f32s(&x[(top + i) * input.row() + (start + j) * lanes..][..lanes]).0[0];
            let mut patch = [[simd.splat_f32s(0.0); A]; A];
            for j in 0..A {
                let column: [S::f32s; A] = if there == [A; 2] {
                    std::array::from_fn(|i| read(i, j))
                } else {
                    std::array::from_fn(|i| if i < there[0] && j < there[1] { read(i, j) } else { simd.splat_f32s(0.0) })
                };
                let column = transform::input::<S, A>(simd, column);
                for i in 0..A {
                    patch[i][j] = column[i];
                }
            }
            let first = at(0, group);
            // SAFETY: these vectors belong to this tile and this group of channels.
            let to = unsafe { to.pointer(first..at(A * A - 1, group) + lanes) };
            for i in 0..A {
                let row = transform::input::<S, A>(simd, patch[i]);
                for j in 0..A {
                    // SAFETY: the place is one of the range's.
                    unsafe { to.add(at(i * A + j, group) - first).cast::<S::f32s>().write_unaligned(row[j]) };
                }
            }
        }
    }
}

/// Runs `work` for each number, on several threads if it is `spread`.
fn each(count: usize, spread: bool, work: impl Fn(usize) + Sync + Send) {
    if spread {
        (0..count).into_par_iter().for_each(work);
    } else {
        (0..count).for_each(work);
    }
}

/// What is done with some tiles.
#[derive(Clone, Copy)]
enum Step {
    Input,
    Product,
    Output,
}

/// A run of tiles between two transforms.
struct Stage<'a> {
    plan: &'a Winograd,
    x: &'a [f32],
    filters: Filters<'a>,
    epilogue: Epilogue<'a>,
    y: &'a Parts<'a>,
    /// The first tile, counted over all images.
    first: usize,
    /// Tiles of a run.
    run: usize,
    /// (places, tiles, channels).
    patches: &'a Parts<'a>,
    /// (places, tiles, filters).
    sums: &'a Parts<'a>,
}

impl Stage<'_> {
    /// One step for some of its tasks.
    fn tiles(&self, tasks: Range<usize>, tiles: usize, step: Step) {
        struct Work<'a>(&'a Stage<'a>, Range<usize>, usize, Step);
        impl WithSimd for Work<'_> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let Self(stage, tasks, tiles, step) = self;
                for task in tasks {
                    match (step, stage.plan.side, stage.plan.shape.kernel[0]) {
                        (Step::Input, 2, 3) => stage.input::<S, 4>(simd, task),
                        (Step::Input, ..) => stage.input::<S, 6>(simd, task),
                        (Step::Product, ..) => stage.product(simd, task, tiles),
                        (Step::Output, 2, 3) => stage.output::<S, 2, 4>(simd, task),
                        (Step::Output, 2, _) => stage.output::<S, 2, 6>(simd, task),
                        (Step::Output, ..) => stage.output::<S, 4, 6>(simd, task),
                    }
                }
            }
        }
        simd::arch().dispatch(Work(self, tasks, tiles, step));
    }

    /// Transforms a tile's patch.
    #[inline(always)]
    fn input<S: Simd, const A: usize>(&self, simd: S, tile: usize) {
        let wide = self.plan.wide();
        let place = |place: usize, group: usize| (place * self.run + tile) * wide + group * S::F32_LANES;
        self.plan.transform_patch::<S, A>(simd, self.x, self.first + tile, self.patches, place);
    }

    /// The product of one place's matrices, for a block of filters and all tiles.
    #[inline(always)]
    fn product<S: Simd>(&self, simd: S, task: usize, tiles: usize) {
        let blocks = &self.plan.blocks;
        let (place, block) = (task / blocks.len(), &blocks[task % blocks.len()]);
        for_vectors!(block.vectors, self.rows::<S>(simd, place, block, tiles));
    }

    #[inline(always)]
    fn rows<S: Simd, const P: usize, const H: usize, const F: usize>(&self, simd: S, place: usize, block: &Block, tiles: usize) {
        let (plan, c_in) = (self.plan, self.plan.shape.c_in);
        let start = place * c_in * plan.filters() + block.first * S::F32_LANES * c_in;
        let wide = F * S::F32_LANES;
        let mut buffer = self.filters.weights.buffer(CHANNELS * MOST_FILTERS);
        for (index, channels) in plan.channels.chunks(CHANNELS).enumerate() {
            let first = start + index * CHANNELS * wide;
            let range = first..first + channels.len() * wide;
            let mut ahead = self.filters.weights.ahead(&range, tiles / P + tiles % P / H + tiles % P % H, channels.len());
            let weights = self.filters.weights.widened(range, &mut buffer);
            let mut tile = 0;
            while tile + P <= tiles {
                self.some::<S, P, F>(simd, place, block, tile, channels, weights, ahead.next());
                tile += P;
            }
            while tile + H <= tiles {
                self.some::<S, H, F>(simd, place, block, tile, channels, weights, ahead.next());
                tile += H;
            }
            while tile < tiles {
                self.some::<S, 1, F>(simd, place, block, tile, channels, weights, ahead.next());
                tile += 1;
            }
        }
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // all of them change from call to call
    fn some<S: Simd, const P: usize, const F: usize>(
        &self,
        simd: S,
        place: usize,
        block: &Block,
        tile: usize,
        channels: &[u32],
        weights: &[f32],
        ahead: Lines,
    ) {
        let (lanes, plan) = (S::F32_LANES, self.plan);
        let at = |p: usize| (place * self.run + tile + p) * plan.filters() + block.first * lanes;
        // SAFETY: the sums of this place and these filters belong to this task, which has one of them at a time.
        let sums_of = |p: usize| unsafe { self.sums.part(at(p)..at(p) + F * lanes) };
        let start = (place * self.run + tile) * plan.wide();
        // SAFETY: nobody writes patches in this step.
        let patches = unsafe { self.patches.read(start..start + P * plan.wide()) };
        let mut sums = [[simd.splat_f32s(0.0); F]; P];
        if channels[0] != 0 {
            for (p, sums) in sums.iter_mut().enumerate() {
                sums.copy_from_slice(&S::as_simd_f32s(sums_of(p)).0[..F]);
            }
        }
        assert!(weights.len() >= channels.len() * F * lanes && block.vectors == F, "a block has all its weights");
        // SAFETY: a row of `patches` holds all channels; the line above checks the weights.
        unsafe {
            let rows = std::array::from_fn(|p| patches.as_ptr().add(p * plan.wide()));
            sums = accumulate(simd, rows, channels, weights.as_ptr(), [F * lanes, lanes], ahead, sums);
        }
        for (p, sums) in sums.iter().enumerate() {
            S::as_mut_simd_f32s(sums_of(p)).0[..F].copy_from_slice(sums);
        }
    }

    /// Transforms a tile's sums back, all filters, and writes them.
    #[inline(always)]
    fn output<S: Simd, const M: usize, const A: usize>(&self, simd: S, tile: usize) {
        let (lanes, plan) = (S::F32_LANES, self.plan);
        let (image, [row, column]) = plan.place(self.first + tile);
        let zero = simd.splat_f32s(0.0);
        for group in 0..plan.output.groups() {
            let at = |place: usize| (place * self.run + tile) * plan.filters() + group * lanes;
            // SAFETY: nobody writes sums in this step.
            let sums = unsafe { self.sums.pointer(at(0)..at(A * A - 1) + lanes) };
            let mut half = [[zero; A]; M];
            for j in 0..A {
                let mut column = [zero; A];
                for i in 0..A {
                    // SAFETY: the place is one of the range's.
                    column[i] = unsafe { sums.add(at(i * A + j) - at(0)).cast::<S::f32s>().read_unaligned() };
                }
                let column = transform::output::<S, M, A>(simd, column);
                for i in 0..M {
                    half[i][j] = column[i];
                }
            }
            if plan.pooled {
                self.write_squares::<S, M, A>(simd, half, Corner { image, group, row: row / 2, column: column / 2 });
            } else {
                self.write::<S, M, A>(simd, half, Corner { image, group, row, column });
            }
        }
    }

    /// Writes the pixels of a tile that lie inside the output. `half` is transformed back along its columns.
    #[inline(always)]
    fn write<S: Simd, const M: usize, const A: usize>(&self, simd: S, half: [[S::f32s; A]; M], corner: Corner) {
        let (lanes, output) = (S::F32_LANES, &self.plan.output);
        let [_, height, width] = output.size();
        let [rows, columns] = [M.min(height - corner.row), M.min(width - corner.column)];
        let bias = S::as_simd_f32s(&self.filters.bias[corner.group * lanes..][..lanes]).0[0];
        let first = corner.pixel(output, 0, 0);
        // SAFETY: the pixels of a tile belong to it alone.
        let y = unsafe { self.y.pointer(first..corner.pixel(output, rows - 1, columns - 1) + lanes) };
        for (i, half) in half.into_iter().enumerate() {
            let outputs = transform::output::<S, M, A>(simd, half);
            for (j, value) in outputs.into_iter().enumerate() {
                if i >= rows || j >= columns {
                    continue;
                }
                let mut value = simd.add_f32s(value, bias);
                if let Some((maps, added)) = self.epilogue.add {
                    value = simd.add_f32s(value, S::as_simd_f32s(&added[corner.pixel(maps, i, j)..][..lanes]).0[0]);
                }
                value = activate(simd, self.epilogue.activation, value);
                // SAFETY: the place is one of the range's.
                unsafe { y.add(corner.pixel(output, i, j) - first).cast::<S::f32s>().write_unaligned(value) };
            }
        }
    }

    /// Writes the largest values of a tile's squares of 2×2 pixels, from its corner in the output on; squares that are not whole have
    /// no place there.
    #[inline(always)]
    fn write_squares<S: Simd, const M: usize, const A: usize>(&self, simd: S, half: [[S::f32s; A]; M], corner: Corner) {
        let (lanes, output) = (S::F32_LANES, &self.plan.output);
        let [_, height, width] = output.size();
        let [rows, columns] = [height.saturating_sub(corner.row), width.saturating_sub(corner.column)].map(|left| left.min(M / 2));
        if rows == 0 || columns == 0 {
            return;
        }
        let bias = S::as_simd_f32s(&self.filters.bias[corner.group * lanes..][..lanes]).0[0];
        let first = corner.pixel(output, 0, 0);
        // SAFETY: the pixels of a tile's squares belong to it alone.
        let y = unsafe { self.y.pointer(first..corner.pixel(output, rows - 1, columns - 1) + lanes) };
        for i in 0..M / 2 {
            let upper = transform::output::<S, M, A>(simd, half[2 * i]);
            let lower = transform::output::<S, M, A>(simd, half[2 * i + 1]);
            for j in 0..M / 2 {
                if i >= rows || j >= columns {
                    continue;
                }
                let mut largest = simd.splat_f32s(f32::NEG_INFINITY);
                for value in [upper[2 * j], upper[2 * j + 1], lower[2 * j], lower[2 * j + 1]] {
                    largest = larger(simd, largest, activate(simd, self.epilogue.activation, simd.add_f32s(value, bias)));
                }
                // SAFETY: the place is one of the range's.
                unsafe { y.add(corner.pixel(output, i, j) - first).cast::<S::f32s>().write_unaligned(largest) };
            }
        }
    }
}

/// Where a tile begins in the maps of a group of channels.
#[derive(Clone, Copy)]
struct Corner {
    image: usize,
    group: usize,
    row: usize,
    column: usize,
}

impl Corner {
    /// The place of the vector that lies so many rows and columns behind it.
    #[inline(always)]
    fn pixel(&self, maps: &Maps, rows: usize, columns: usize) -> usize {
        let pixel = (self.row + rows) * maps.row() + (self.column + columns) * maps.together();
        self.image * maps.image() + self.group * maps.group() + maps.origin([0; 2]) + pixel
    }
}

/// The transformed weights of a block of filters for one channel.
struct Pack<'a> {
    plan: &'a Winograd,
    weights: &'a Weights<'a>,
    block: Block,
    channel: usize,
    parts: &'a Parts<'a>,
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (self.plan.side, self.plan.shape.kernel[0]) {
            (_, 5) => self.transform::<S, 6, 5>(simd, transform::G2_5),
            (2, _) => self.transform::<S, 4, 3>(simd, transform::G2),
            _ => self.transform::<S, 6, 3>(simd, transform::G4),
        }
    }
}

impl Pack<'_> {
    /// G·g·Gᵀ of filters g of K×K, a vector of them at a time.
    #[inline(always)]
    fn transform<S: Simd, const A: usize, const K: usize>(&self, simd: S, g: [[f32; K]; A]) {
        let (plan, lanes, c_in) = (self.plan, S::F32_LANES, self.plan.shape.c_in);
        let wide = self.block.vectors * lanes;
        let start = self.block.first * lanes * c_in + self.channel * wide;
        let mut of_channel = [0.0; 25 * MOST_LANES];
        let of_channel = &mut of_channel[..K * K * lanes];
        for (vector, filters) in self.block.filters(plan.shape.c_out).enumerate() {
            self.weights.lay_out(0, filters, self.channel, K * K, lanes, of_channel);
            let (values, _) = S::as_simd_f32s(of_channel);
            for (i, down) in g.into_iter().enumerate() {
                let row = std::array::from_fn(|s| transform::filter(simd, down, std::array::from_fn(|r| values[r * K + s])));
                for (j, across) in g.into_iter().enumerate() {
                    let at = (i * A + j) * c_in * plan.filters() + start + vector * lanes;
                    // SAFETY: this vector belongs to this block and channel.
                    let to = unsafe { self.parts.part(at..at + lanes) };
                    S::as_mut_simd_f32s(to).0[0] = transform::filter(simd, across, row);
                }
            }
        }
    }
}
