//! Convolution straight from the image, without a matrix of windows.
//!
//! The pixels of an output row are computed a vector at a time: for each tap (channel, kernel row, kernel column) a vector of
//! the input is read, at a place that differs from the output's by a constant, and multiplied with that tap's weight of
//! several filters. Where there is padding or a stride between columns, the image is first copied so that this holds: with
//! zeros around it, and columns 0, stride, 2·stride, … beside one another, then columns 1, stride + 1, … (the *phases*).
//!
//! The last vector of a row ends with the row, and so overlaps the one before it where the width is not a multiple.
#![allow(unsafe_code)] // the innermost loops read vectors without checks; the threads write parts of one output

mod weights;

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::Conv2dShape;
use crate::columns::Columns;
use crate::parallel::{Parts, Scratch, for_each_task, lane_len, piece, split, threads_for};
use crate::simd;

/// Filters that are computed together at most.
const FILTERS: usize = 6;

/// Vectors of pixels for which all filters are computed before the next ones are.
const PIXELS: usize = 8;

/// Vectors over which a gradient to the weights is summed before it goes from vectors to numbers.
const SUMMED: usize = 128;

/// Operations that take as long as one weight's way to its place among the packed ones.
const PACKING: usize = 16;

/// Operations of a slab: of rows of an image that one thread computes.
const SLAB: usize = 1 << 23;

/// Fewest rows of a slab.
const ROWS: usize = 4;

/// Most columns, and most taps.
const LONG: usize = 1 << 14;

/// The plan for one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Direct {
    shape: Conv2dShape,
    out: [usize; 2],
    /// Rows of a slab of the output.
    rows: usize,
    /// Phases, rows and columns of a channel of a copied slab; none where the image is read in place.
    copied: Option<[usize; 3]>,
    /// The place of each tap of a filter, counted from an output's place in the input.
    taps: Vec<usize>,
    /// The largest of them.
    farthest: usize,
    /// The vectors of a slab, row by row: in the order of their places.
    vectors: Vec<Vector>,
}

/// Some neighbouring pixels of an output row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vector {
    /// Its place in a channel of the slab of the input.
    input: usize,
    /// Its place in a map of the slab of the output.
    output: usize,
    /// How many of its first pixels are in the vector before, too.
    overlap: usize,
    /// How many of its pixels there are: fewer than it has places where the whole row is shorter.
    pixels: usize,
}

impl Direct {
    /// For a pass that computes pixels: [`forward`](Self::forward) or [`backward_input`](Self::backward_input). A slab is work
    /// enough for a thread to begin.
    ///
    /// None where a row of the output is shorter than half of a vector, or the lists of taps and vectors would be long.
    pub(super) fn for_pixels(shape: Conv2dShape) -> Option<Self> {
        let [rows, columns] = shape.output();
        let operations = (2 * shape.c_out * columns).saturating_mul(shape.taps()).saturating_mul(rows);
        let slabs = (operations / SLAB).clamp(1, rows.div_ceil(ROWS));
        Self::new(shape, rows.div_ceil(slabs))
    }

    /// For [`backward_weight`](Self::backward_weight). A slab has about the vectors that are summed together.
    ///
    /// None where [`for_pixels`](Self::for_pixels) is.
    pub(super) fn for_weights(shape: Conv2dShape) -> Option<Self> {
        let [rows, columns] = shape.output();
        Self::new(shape, SUMMED.div_ceil(columns.div_ceil(simd::lanes())).min(rows))
    }

    fn new(shape: Conv2dShape, rows: usize) -> Option<Self> {
        let Conv2dShape { c_in, w, h, kernel, stride, padding, dilation, groups, .. } = shape;
        let (out, lanes) = (shape.output(), simd::lanes());
        if 2 * out[1] < lanes || out[1] > LONG || shape.taps() > LONG {
            return None;
        }
        let copied = (padding != [0; 2] || stride[1] != 1 || out[1] < lanes).then(|| {
            let phases = (0..kernel[1]).map(|s| s * dilation[1] % stride[1]).max().unwrap_or(0) + 1;
            let tall = (rows - 1) * stride[0] + (kernel[0] - 1) * dilation[0] + 1;
            [phases, tall, out[1].max(lanes) + (kernel[1] - 1) * dilation[1] / stride[1]]
        });
        let [phases, tall, wide] = copied.unwrap_or([1, h, w]);
        let mut taps = Vec::with_capacity(shape.taps());
        for channel in 0..c_in / groups {
            for r in 0..kernel[0] {
                for s in 0..kernel[1] {
                    let shift = s * dilation[1];
                    let (phase, column) = if copied.is_some() { (shift % stride[1], shift / stride[1]) } else { (0, shift) };
                    taps.push(((channel * phases + phase) * tall + r * dilation[0]) * wide + column);
                }
            }
        }
        let mut vectors = Vec::with_capacity(rows * out[1].div_ceil(lanes));
        for row in 0..rows {
            for wanted in (0..out[1]).step_by(lanes) {
                let column = wanted.min(out[1].saturating_sub(lanes));
                let (input, output) = (row * stride[0] * wide + column, row * out[1] + column);
                vectors.push(Vector { input, output, overlap: wanted - column, pixels: lanes.min(out[1]) });
            }
        }
        let farthest = taps.iter().copied().max()?;
        Some(Self { shape, out, rows, copied, taps, farthest, vectors })
    }

    /// The shape whose forward pass is this one's gradient to the input, with the filters turned by half a circle.
    pub(super) fn turned(shape: &Conv2dShape) -> Option<Conv2dShape> {
        let &Conv2dShape { c_in, c_out, h, w, kernel, stride, padding, dilation, .. } = shape;
        let [rows, columns] = shape.output();
        let around = |axis: usize| (dilation[axis] * (kernel[axis] - 1)).checked_sub(padding[axis]);
        let turned = Conv2dShape { c_in: c_out, c_out: c_in, h: rows, w: columns, padding: [around(0)?, around(1)?], ..*shape };
        (stride == [1; 2] && turned.output() == [h, w]).then_some(turned)
    }

    /// Channels and filters of a group.
    fn group(&self) -> [usize; 2] {
        [self.shape.c_in / self.shape.groups, self.shape.c_out / self.shape.groups]
    }

    /// Slabs of an image.
    fn slabs(&self) -> usize {
        self.out[0].div_ceil(self.rows)
    }

    fn map(&self) -> usize {
        self.out[0] * self.out[1]
    }

    fn operations(&self, n: usize) -> usize {
        (2 * self.shape.c_out * self.taps.len() * self.map()).saturating_mul(n)
    }

    /// Floats of a channel of a slab of the input, and from one channel to the next.
    fn channel(&self) -> usize {
        self.copied.map_or(self.shape.h * self.shape.w, |[phases, tall, wide]| phases * tall * wide)
    }

    /// Floats of a copied slab; 0 where the image is read in place.
    fn slab(&self) -> usize {
        self.copied.map_or(0, |_| self.shape.c_in * self.channel())
    }

    /// The output's rows of a slab of an image.
    fn rows_of(&self, slab: usize) -> Range<usize> {
        piece(slab % self.slabs(), self.rows, self.out[0])
    }

    /// The vectors of a slab.
    fn vectors_of(&self, slab: usize) -> &[Vector] {
        &self.vectors[..self.vectors.len() / self.rows * self.rows_of(slab).len()]
    }

    /// The input of a slab, copied to `buffer` if need be.
    fn input<'a>(&self, x: &'a [f32], slab: usize, buffer: &'a mut [f32]) -> &'a [f32] {
        let &Conv2dShape { c_in, h, w, stride, padding, .. } = &self.shape;
        let image = &x[slab / self.slabs() * c_in * h * w..][..c_in * h * w];
        let first = self.rows_of(slab).start * stride[0];
        let Some([phases, tall, wide]) = self.copied else { return &image[first * w..] };
        for phase in 0..phases {
            let columns = Columns::new(wide, w, stride[1], phase, padding[1]);
            for (channel, to) in buffer.chunks_exact_mut(phases * tall * wide).enumerate() {
                for (row, to) in to[phase * tall * wide..][..tall * wide].chunks_exact_mut(wide).enumerate() {
                    match (first + row).checked_sub(padding[0]).filter(|&row| row < h) {
                        Some(row) => columns.gather(&image[(channel * h + row) * w..][..w], to),
                        None => to.fill(0.0),
                    }
                }
            }
        }
        buffer
    }

    /// Blocks of filters that are computed together: of one group, and as even as they can be.
    fn blocks(&self) -> usize {
        let [_, filters] = self.group();
        self.shape.groups * filters.div_ceil(FILTERS)
    }

    /// The group and the filters of a block.
    fn block(&self, block: usize) -> (usize, Range<usize>) {
        let [_, filters] = self.group();
        let of_group = filters.div_ceil(FILTERS);
        let (group, block) = (block / of_group, block % of_group);
        (group, group * filters + block * filters / of_group..group * filters + (block + 1) * filters / of_group)
    }

    /// The filters of some blocks.
    fn filters(&self, blocks: Range<usize>) -> Range<usize> {
        self.block(blocks.start).1.start..self.block(blocks.end - 1).1.end
    }

    /// Lays the weights out block by block: tap by tap, the weights of a block's filters beside one another.
    fn pack(&self, packed: &mut [f32], weight: impl Fn(usize, usize) -> f32 + Sync) {
        let parts = Parts::new(packed);
        let one = |block: usize| {
            let (_, filters) = self.block(block);
            // SAFETY: each block has its own place.
            let place = unsafe { parts.part(filters.start * self.taps.len()..filters.end * self.taps.len()) };
            for (tap, place) in place.chunks_exact_mut(filters.len()).enumerate() {
                place.iter_mut().zip(filters.clone()).for_each(|(place, filter)| *place = weight(filter, tap));
            }
        };
        let blocks = 0..self.blocks();
        if threads_for(blocks.len(), PACKING * self.shape.c_out * self.taps.len()) == 1 {
            blocks.for_each(one);
        } else {
            blocks.into_par_iter().for_each(one);
        }
    }

    /// See [`Conv2d::forward`](super::Conv2d::forward); the lengths were checked there.
    pub(super) fn forward(&self, n: usize, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32], scratch: &mut Scratch) {
        self.run(n, x, |filter, tap| w[filter * self.taps.len() + tap], bias, y, scratch);
    }

    /// The gradient to the input of the convolution that this one's shape was [turned](Self::turned) from.
    pub(super) fn backward_input(&self, n: usize, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut Scratch) {
        // This one's filters are that one's channels, and the other way round.
        let [filters, channels] = self.group();
        let area = self.shape.kernel[0] * self.shape.kernel[1];
        let weight = |channel: usize, tap: usize| {
            let (group, channel) = (channel / channels, channel % channels);
            let (filter, place) = (group * filters + tap / area, area - 1 - tap % area);
            w[(filter * channels + channel) * area + place]
        };
        self.run(n, dy, weight, None, dx, scratch);
    }

    fn run(
        &self,
        n: usize,
        x: &[f32],
        weight: impl Fn(usize, usize) -> f32 + Sync,
        bias: Option<&[f32]>,
        y: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let tasks = n * self.slabs();
        let lane = lane_len(&[self.slab()]);
        let threads = threads_for(tasks, self.operations(n));
        let [lanes, packed] = scratch.buffers([threads * lane, self.shape.c_out * self.taps.len()]);
        self.pack(packed, weight);
        let (weights, y) = (&*packed, &Parts::new(y));
        for_each_task(tasks, lanes, lane, |slab, lane| {
            let [buffer] = split(lane, [self.slab()]);
            let input = self.input(x, slab, buffer);
            let start = slab / self.slabs() * self.shape.c_out * self.map() + self.rows_of(slab).start * self.out[1];
            simd::arch().dispatch(Forward { plan: self, slab, input, weights, bias, y, start });
        });
    }
}

/// One slab of the output, all filters.
struct Forward<'a> {
    plan: &'a Direct,
    slab: usize,
    input: &'a [f32],
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a Parts<'a>,
    /// Where the slab begins in y.
    start: usize,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [channels, _] = self.plan.group();
        for vectors in self.plan.vectors_of(self.slab).chunks(PIXELS) {
            for block in 0..self.plan.blocks() {
                let (group, filters) = self.plan.block(block);
                let input = &self.input[group * channels * self.plan.channel()..];
                match filters.len() {
                    1 => self.block::<S, 1, 4>(simd, input, filters.start, vectors),
                    2 => self.block::<S, 2, 4>(simd, input, filters.start, vectors),
                    3 => self.block::<S, 3, 2>(simd, input, filters.start, vectors),
                    4 => self.block::<S, 4, 2>(simd, input, filters.start, vectors),
                    5 => self.block::<S, 5, 2>(simd, input, filters.start, vectors),
                    _ => self.block::<S, FILTERS, 2>(simd, input, filters.start, vectors),
                }
            }
        }
    }
}

impl Forward<'_> {
    /// F filters of some vectors, V vectors at a time.
    #[inline(always)]
    fn block<S: Simd, const F: usize, const V: usize>(&self, simd: S, input: &[f32], filter: usize, vectors: &[Vector]) {
        let (some, rest) = vectors.as_chunks::<V>();
        some.iter().for_each(|vectors| self.tile::<S, F, V>(simd, input, filter, vectors));
        rest.as_chunks::<1>().0.iter().for_each(|vectors| self.tile::<S, F, 1>(simd, input, filter, vectors));
    }

    #[inline(always)]
    fn tile<S: Simd, const F: usize, const V: usize>(&self, simd: S, input: &[f32], filter: usize, vectors: &[Vector; V]) {
        let taps = &self.plan.taps;
        let weights = self.weights[filter * taps.len()..].as_chunks::<F>().0;
        let bias = |f: usize| simd.splat_f32s(self.bias.map_or(0.0, |bias| bias[filter + f]));
        let mut sums: [[S::f32s; V]; F] = std::array::from_fn(|f| [bias(f); V]);
        assert!(vectors[V - 1].input + self.plan.farthest + S::F32_LANES <= input.len(), "a vector lies outside the image");
        for (&tap, weights) in taps.iter().zip(weights) {
            // SAFETY: the assertion says that the farthest tap of the last vector is inside the image.
            let pixels = vectors.map(|vector| unsafe { read::<S>(input, vector.input + tap) });
            for f in 0..F {
                let weight = simd.splat_f32s(weights[f]);
                for v in 0..V {
                    sums[f][v] = simd.mul_add_e_f32s(pixels[v], weight, sums[f][v]);
                }
            }
        }
        for (f, sums) in sums.into_iter().enumerate() {
            for (sum, vector) in sums.into_iter().zip(vectors) {
                let start = self.start + (filter + f) * self.plan.map() + vector.output;
                // SAFETY: the rows of a slab belong to one task, which has one of these parts at a time.
                let place = unsafe { self.y.part(start..start + vector.pixels) };
                match S::as_mut_simd_f32s(place) {
                    ([place], []) => *place = sum,
                    _ => simd.partial_store_f32s(place, sum),
                }
            }
        }
    }
}

/// The vector that begins at a place.
///
/// # Safety
/// It lies inside the slice.
#[inline(always)]
unsafe fn read<S: Simd>(values: &[f32], place: usize) -> S::f32s {
    debug_assert!(place + S::F32_LANES <= values.len());
    // SAFETY: the caller promises that the vector is inside; a vector of floats is plain data of that many floats.
    unsafe { values.as_ptr().add(place).cast::<S::f32s>().read_unaligned() }
}
