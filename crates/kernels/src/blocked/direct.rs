//! Convolution straight from maps that have their margin: for each output pixel, vectors of filters are summed over all taps.
//!
//! Where a pixel's window begins and where each tap lies in it are lists of offsets, so that one innermost loop serves every
//! kernel, stride and dilation, and maps of any width; a kernel of 1×1 is a product of matrices in it.
#![allow(unsafe_code)] // the innermost loops read without checks; threads write parts of one output

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::maps::Maps;
use super::tile::{Lines, MOST_FILTERS, accumulate, for_vectors, most_vectors};
use super::{Epilogue, Filters, Weights};
use crate::conv::Conv2dShape;
use crate::parallel::{Parts, piece, threads_for};
use crate::simd::{self, activate};

/// Taps that are summed before the next pixels are: their weights stay in the first cache.
const TAPS: usize = 256;

/// Pixels that are few: runs of taps are shorter then, so that the next weights come in smaller parts while these are used.
const FEW_PIXELS: usize = 32;

/// Pixels of a slab: enough for a weight to be worth its way from memory.
const PIXELS: usize = 256;

/// Tasks that are worth making so that several threads have enough to do, whatever their number.
const TASKS: usize = 16;

/// The plan for one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Direct {
    shape: Conv2dShape,
    input: Maps,
    output: Maps,
    /// The place of each tap of a filter, counted from the first tap of a pixel's window.
    taps: Vec<u32>,
    farthest: usize,
    blocks: Vec<Block>,
    /// Output rows of a slab.
    rows: usize,
    /// The pixels of a slab.
    pixels: Vec<Pixel>,
}

/// Filters that are computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The group that they belong to.
    pub(super) group: usize,
    /// The first of their vectors, counted over all groups.
    pub(super) first: usize,
    /// How many vectors they are.
    pub(super) vectors: usize,
}

/// Where a pixel's window begins in the input, and where it lies in the output and in what is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pixel {
    input: u32,
    output: u32,
    added: u32,
}

/// The filters of each group, cut into blocks that are as even as they can be.
pub(super) fn blocks(shape: &Conv2dShape) -> Vec<Block> {
    let lanes = simd::lanes();
    let of_group = (shape.c_out / shape.groups).div_ceil(lanes);
    let count = of_group.div_ceil(most_vectors(lanes));
    let block = |group: usize, index: usize| {
        let range = index * of_group / count..(index + 1) * of_group / count;
        Block { group, first: group * of_group + range.start, vectors: range.len() }
    };
    (0..shape.groups).flat_map(|group| (0..count).map(move |index| block(group, index))).collect()
}

/// The place of each tap of a filter in a layout: all of a group of channels, place by place of the kernel, then the next group's.
///
/// None where the groups of the convolution cut through channels that lie side by side, where the margin is less than the
/// padding, or where offsets would be too large.
pub(super) fn taps(shape: &Conv2dShape, input: &Maps) -> Option<Vec<u32>> {
    let &Conv2dShape { c_in, c_out, kernel, padding, dilation, groups, .. } = shape;
    let (channels, together, margin) = (c_in / groups, input.together(), input.margin());
    let whole = groups == 1 || (channels.is_multiple_of(together) && (c_out / groups).is_multiple_of(simd::lanes()));
    if !whole || margin[0] < padding[0] || margin[1] < padding[1] || u32::try_from(input.image()).is_err() {
        return None;
    }
    let mut taps = Vec::with_capacity(shape.taps());
    for first in (0..channels).step_by(together) {
        for r in 0..kernel[0] {
            for s in 0..kernel[1] {
                let place = first / together * input.group() + r * dilation[0] * input.row() + s * dilation[1] * together;
                taps.extend((0..together.min(channels - first)).map(|lane| (place + lane) as u32));
            }
        }
    }
    Some(taps)
}

impl Block {
    /// The filters of each vector, counted in their group, which has so many.
    pub(super) fn filters(&self, of_group: usize) -> impl Iterator<Item = Range<usize>> {
        let lanes = simd::lanes();
        let first = self.first - self.group * of_group.div_ceil(lanes);
        (first..first + self.vectors).map(move |vector| vector * lanes..((vector + 1) * lanes).min(of_group))
    }
}

impl Direct {
    /// For maps in these layouts; `added` is that of maps which are added to the output.
    ///
    /// None where the groups of the convolution cut through channels that lie side by side, where a margin is less than the
    /// padding, or where offsets would be too large.
    pub(super) fn new(shape: Conv2dShape, input: Maps, output: Maps, added: Maps) -> Option<Self> {
        let small = [output, added].iter().all(|maps| u32::try_from(maps.image()).is_ok());
        if !small || output.together() != simd::lanes() {
            return None;
        }
        let taps = taps(&shape, &input)?;
        let stride = shape.stride;
        let [height, width] = shape.output();
        let rows = PIXELS.div_ceil(width).min(height);
        let place = |maps: &Maps, row: usize, column: usize| (row * maps.row() + column * maps.together()) as u32;
        let pixel = |row: usize, column: usize| Pixel {
            input: place(&input, row * stride[0], column * stride[1]),
            output: place(&output, row, column),
            added: place(&added, row, column),
        };
        let pixels = (0..rows).flat_map(|row| (0..width).map(move |column| pixel(row, column))).collect();
        let farthest = taps.iter().copied().max()? as usize;
        Some(Self { shape, input, output, taps, farthest, blocks: blocks(&shape), rows, pixels })
    }

    /// Groups of channels and filters that do not see one another.
    pub(super) fn groups(&self) -> usize {
        self.shape.groups
    }

    /// Floats of the packed weights.
    pub(super) fn packed(&self) -> usize {
        self.blocks.iter().map(|block| block.vectors).sum::<usize>() * simd::lanes() * self.taps.len()
    }

    /// Lays the weights out block by block: tap by tap, the weights of a block's filters beside one another.
    pub(super) fn pack(&self, weights: &Weights, packed: &mut [f32]) {
        let Conv2dShape { c_in, c_out, kernel, groups, .. } = self.shape;
        let (channels, filters, area, lanes) = (c_in / groups, c_out / groups, kernel[0] * kernel[1], simd::lanes());
        let together = self.input.together();
        let taps = self.taps.len();
        let parts = Parts::new(packed);
        let one = |block: &Block| {
            let wide = block.vectors * lanes;
            // SAFETY: each block has its own place.
            let places = unsafe { parts.part(block.first * lanes * taps..(block.first * lanes + wide) * taps) };
            let mut of_channel = vec![0.0; area * lanes];
            for (vector, some) in block.filters(filters).enumerate() {
                for channel in 0..channels {
                    weights.lay_out(block.group, some.clone(), channel, area, lanes, &mut of_channel);
                    let first = channel / together * together;
                    let (step, lane) = (together.min(channels - first), channel - first);
                    for (place, values) in of_channel.chunks_exact(lanes).enumerate() {
                        let tap = first * area + place * step + lane;
                        places[tap * wide + vector * lanes..][..lanes].copy_from_slice(values);
                    }
                }
            }
        };
        if threads_for(self.blocks.len(), 16 * c_out * taps) == 1 {
            self.blocks.iter().for_each(one);
        } else {
            self.blocks.par_iter().for_each(one);
        }
    }

    /// The output of n images; lengths and layouts have been checked.
    pub(super) fn forward(&self, n: usize, x: &[f32], filters: Filters, epilogue: Epilogue, y: &mut [f32]) {
        let [height, width] = self.shape.output();
        let slabs = height.div_ceil(self.rows);
        let shares = if n * slabs >= TASKS { 1 } else { TASKS.div_ceil((n * slabs).max(1)).min(self.blocks.len()) };
        let per_share = self.blocks.len().div_ceil(shares);
        let y = &Parts::new(y);
        let one = |task: usize| {
            let (share, slab) = (task / (n * slabs), task % (n * slabs));
            let rows = piece(slab % slabs, self.rows, height);
            let blocks = &self.blocks[piece(share, per_share, self.blocks.len())];
            simd::arch().dispatch(Slab { plan: self, x, filters, epilogue, y, image: slab / slabs, rows, blocks });
        };
        let tasks = n * slabs * shares;
        let operations = (2 * self.shape.c_out * self.taps.len()).saturating_mul(n * height * width);
        if threads_for(tasks, operations) == 1 {
            (0..tasks).for_each(one);
        } else {
            (0..tasks).into_par_iter().for_each(one);
        }
    }
}

/// Some rows of an image's output, for some blocks of filters.
struct Slab<'a> {
    plan: &'a Direct,
    x: &'a [f32],
    filters: Filters<'a>,
    epilogue: Epilogue<'a>,
    y: &'a Parts<'a>,
    image: usize,
    rows: Range<usize>,
    blocks: &'a [Block],
}

/// A run of taps of a block of filters.
struct Run<'a> {
    block: Block,
    /// The first tap of a pixel whose offset is 0.
    input: &'a [f32],
    taps: &'a [u32],
    weights: &'a [f32],
    /// Where the weights lie in all of the filters'.
    range: Range<usize>,
    /// Whether these are the first taps, and the last ones.
    ends: [bool; 2],
}

impl WithSimd for Slab<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Direct { shape, input, taps, pixels, rows, .. } = self.plan;
        let pixels = &pixels[..pixels.len() / rows * self.rows.len()];
        let groups = shape.c_in / shape.groups / input.together();
        let mut buffer = self.filters.weights.buffer(TAPS * MOST_FILTERS);
        for block in self.blocks {
            let start = self.image * input.image() + block.group * groups * input.group() + input.origin(shape.padding);
            let x = &self.x[start + self.rows.start * shape.stride[0] * input.row()..];
            let wide = block.vectors * S::F32_LANES;
            let start = block.first * S::F32_LANES * taps.len();
            let run_length = if pixels.len() <= FEW_PIXELS { TAPS / 4 } else { TAPS };
            for (index, some) in taps.chunks(run_length).enumerate() {
                let first = start + index * run_length * wide;
                let range = first..first + some.len() * wide;
                let weights = self.filters.weights.widened(range.clone(), &mut buffer);
                let ends = [index == 0, (index + 1) * run_length >= taps.len()];
                let run = Run { block: *block, input: x, taps: some, weights, range, ends };
                for_vectors!(block.vectors, self.tiles::<S>(simd, &run, pixels));
            }
        }
    }
}

impl Slab<'_> {
    /// All pixels: P, then H, then one at a time.
    #[inline(always)]
    fn tiles<S: Simd, const P: usize, const H: usize, const F: usize>(&self, simd: S, run: &Run, pixels: &[Pixel]) {
        let (many, rest) = pixels.as_chunks::<P>();
        let (half, rest) = rest.as_chunks::<H>();
        let mut ahead = self.filters.weights.ahead(&run.range, many.len() + half.len() + rest.len(), run.taps.len());
        // Loops, not closures: those might become functions that do not know this machine's vectors.
        for pixels in many {
            self.tile::<S, P, F>(simd, run, pixels, ahead.next());
        }
        for pixels in half {
            self.tile::<S, H, F>(simd, run, pixels, ahead.next());
        }
        for pixels in rest.as_chunks::<1>().0 {
            self.tile::<S, 1, F>(simd, run, pixels, ahead.next());
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const P: usize, const F: usize>(&self, simd: S, run: &Run, pixels: &[Pixel; P], ahead: Lines) {
        let lanes = S::F32_LANES;
        let &Run { block, input, taps, weights, ends: [first, last], .. } = run;
        assert!(pixels[P - 1].input as usize + self.plan.farthest < input.len(), "a window lies outside the image");
        assert!(weights.len() >= taps.len() * F * lanes && block.vectors == F, "a block has all its weights");
        let output = self.plan.output;
        let start = self.image * output.image() + block.first * output.group() + output.origin([0; 2]) + self.rows.start * output.row();
        let end = start + (F - 1) * output.group() + pixels[P - 1].output as usize + lanes;
        // SAFETY: these rows of these filters belong to this task.
        let y = unsafe { self.y.pointer(start..end) };
        // SAFETY: pixels lie in the order of their places, so that each vector is inside the range.
        let place = |p: usize, f: usize| unsafe { y.add(f * output.group() + pixels[p].output as usize).cast::<S::f32s>() };
        let mut sums = [[simd.splat_f32s(0.0); F]; P];
        for f in 0..F {
            let bias = if first { S::as_simd_f32s(&self.filters.bias[(block.first + f) * lanes..][..lanes]).0[0] } else { sums[0][f] };
            for p in 0..P {
                // SAFETY: see `place`.
                sums[p][f] = if first { bias } else { unsafe { place(p, f).read_unaligned() } };
            }
        }
        // SAFETY: pixels lie in the order of their offsets, so the assertions say that every window and weight is inside.
        unsafe {
            let rows = pixels.map(|pixel| input.as_ptr().add(pixel.input as usize));
            sums = accumulate(simd, rows, taps, weights.as_ptr(), [F * lanes, lanes], ahead, sums);
        }
        for p in 0..P {
            for f in 0..F {
                let mut sum = sums[p][f];
                if last {
                    if let Some((maps, values)) = self.epilogue.add {
                        let start = self.image * maps.image() + (block.first + f) * maps.group() + maps.origin([0; 2]);
                        let start = start + self.rows.start * maps.row() + pixels[p].added as usize;
                        sum = simd.add_f32s(sum, S::as_simd_f32s(&values[start..start + lanes]).0[0]);
                    }
                    sum = activate(simd, self.epilogue.activation, sum);
                }
                // SAFETY: see `place`.
                unsafe { place(p, f).write_unaligned(sum) };
            }
        }
    }
}
