//! Convolution of each channel by itself, on maps whose channels lie side by side: a vector of channels meets a vector of weights.
#![allow(unsafe_code)] // the innermost loop reads without checks; threads write parts of one output

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::maps::Maps;
use super::tile::each;
use super::{Epilogue, Filters, Weights};
use crate::conv::Conv2dShape;
use crate::parallel::{Parts, piece, threads_for};
use crate::simd::{self, activate};

/// Pixels of a task: enough to be worth asking for it.
const PIXELS: usize = 1 << 10;

/// The plan for one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Depthwise {
    shape: Conv2dShape,
    input: Maps,
    output: Maps,
    /// The place of each tap, counted from the first tap of a pixel's window.
    taps: Vec<u32>,
    /// Output rows of a task.
    rows: usize,
}

impl Depthwise {
    /// Whether a convolution is one of each channel by itself.
    pub(super) fn applies(shape: &Conv2dShape) -> bool {
        shape.groups == shape.c_in && shape.groups == shape.c_out
    }

    /// For maps in these layouts.
    ///
    /// None where a channel meets others, where channels of the input or the output do not lie side by side, where the margin is less
    /// than the padding, or where offsets would be too large.
    pub(super) fn new(shape: Conv2dShape, input: Maps, output: Maps) -> Option<Self> {
        let Conv2dShape { kernel, padding, dilation, .. } = shape;
        let margin = input.margin();
        let side_by_side = [input, output].iter().all(|maps| maps.together() == simd::lanes());
        let small = u32::try_from(input.group()).is_ok();
        if !Self::applies(&shape) || !side_by_side || !small || margin[0] < padding[0] || margin[1] < padding[1] {
            return None;
        }
        let mut taps = Vec::with_capacity(kernel[0] * kernel[1]);
        for r in 0..kernel[0] {
            taps.extend((0..kernel[1]).map(|s| (r * dilation[0] * input.row() + s * dilation[1] * input.together()) as u32));
        }
        let [height, width] = shape.output();
        Some(Self { shape, input, output, taps, rows: PIXELS.div_ceil(width).min(height) })
    }

    /// Floats of the packed weights.
    pub(super) fn packed(&self) -> usize {
        self.output.groups() * self.output.together() * self.taps.len()
    }

    /// Lays the weights out vector by vector of channels, tap by tap.
    pub(super) fn pack(&self, weights: &Weights, packed: &mut [f32]) {
        let (channels, area, lanes) = (self.shape.c_out, self.taps.len(), simd::lanes());
        let weights = weights.of_one_channel();
        for (index, to) in packed.chunks_exact_mut(area * lanes).enumerate() {
            weights.lay_out(0, piece(index, lanes, channels), 0, area, lanes, to);
        }
    }

    /// The output of n images; lengths and layouts have been checked.
    pub(super) fn forward(&self, n: usize, x: &[f32], filters: Filters, epilogue: Epilogue, y: &mut [f32]) {
        let [height, width] = self.shape.output();
        let (groups, slabs) = (self.output.groups(), height.div_ceil(self.rows));
        let y = &Parts::new(y);
        let one = |task: usize| {
            let (group, rows) = (task / slabs, piece(task % slabs, self.rows, height));
            simd::arch().dispatch(Slab { plan: self, x, filters, epilogue, y, image: group / groups, group: group % groups, rows });
        };
        let tasks = n * groups * slabs;
        let operations = (2 * self.shape.c_out * self.taps.len()).saturating_mul(n * height * width);
        if threads_for(tasks, operations) == 1 {
            (0..tasks).for_each(one);
        } else {
            (0..tasks).into_par_iter().for_each(one);
        }
    }
}

/// Some rows of an image's output, for a vector of channels.
struct Slab<'a> {
    plan: &'a Depthwise,
    x: &'a [f32],
    filters: Filters<'a>,
    epilogue: Epilogue<'a>,
    y: &'a Parts<'a>,
    image: usize,
    group: usize,
    rows: Range<usize>,
}

/// A row of the output, and what it is made of.
struct Row<'a, V> {
    /// The input, from the first tap of the row's first pixel.
    input: &'a [f32],
    weights: &'a [V],
    bias: V,
    /// What is added, if something is.
    added: Option<&'a [V]>,
    y: &'a mut [V],
}

impl WithSimd for Slab<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (lanes, plan, group) = (S::F32_LANES, self.plan, self.group);
        let Depthwise { shape, input, output, taps, .. } = plan;
        let [_, width] = shape.output();
        let length = taps.len() * lanes;
        let mut buffer = self.filters.weights.buffer(length);
        let weights = self.filters.weights.widened(group * length..(group + 1) * length, &mut buffer);
        let (weights, bias) = (S::as_simd_f32s(weights).0, S::as_simd_f32s(&self.filters.bias[group * lanes..][..lanes]).0[0]);
        let of_group = |maps: &Maps| self.image * maps.image() + group * maps.group();
        for row in self.rows.clone() {
            let first = of_group(input) + input.origin(shape.padding) + row * shape.stride[0] * input.row();
            let start = of_group(output) + output.origin([0; 2]) + row * output.row();
            // SAFETY: these rows of these channels belong to this task, which holds one of them at a time.
            let y = unsafe { self.y.part(start..start + width * lanes) };
            let added = self.epilogue.add.map(|(maps, values)| {
                let start = of_group(maps) + maps.origin([0; 2]) + row * maps.row();
                S::as_simd_f32s(&values[start..start + width * lanes]).0
            });
            self.row(simd, Row { input: &self.x[first..], weights, bias, added, y: S::as_mut_simd_f32s(y).0 });
        }
    }
}

impl Slab<'_> {
    /// All pixels of a row, some at a time.
    #[inline(always)]
    fn row<S: Simd>(&self, simd: S, row: Row<S::f32s>) {
        match row.y.len() {
            8.. => self.tiles::<S, 8>(simd, row),
            4.. => self.tiles::<S, 4>(simd, row),
            _ => self.tiles::<S, 1>(simd, row),
        }
    }

    /// P pixels at a time. Where the last tile would be cut it is moved back: some pixels are computed twice, to the same values.
    #[inline(always)]
    fn tiles<S: Simd, const P: usize>(&self, simd: S, mut row: Row<S::f32s>) {
        let (width, mut pixel) = (row.y.len(), 0);
        while pixel < width {
            self.tile::<S, P>(simd, &mut row, pixel.min(width - P));
            pixel += P;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const P: usize>(&self, simd: S, row: &mut Row<S::f32s>, first: usize) {
        let (lanes, taps) = (S::F32_LANES, &self.plan.taps);
        let step = self.plan.shape.stride[1] * lanes;
        let input = &row.input[first * step..];
        let farthest = taps.last().map_or(0, |&tap| tap as usize);
        assert!((P - 1) * step + farthest + lanes <= input.len(), "a window lies outside the image");
        let mut sums = [row.bias; P];
        for (&tap, &weight) in taps.iter().zip(row.weights) {
            each!(PIXEL in [0 1 2 3 4 5 6 7], less than P: {
                // SAFETY: taps lie in the order of their places, so that the assertion says that each is inside.
                let value = unsafe { input.as_ptr().add(PIXEL * step + tap as usize).cast::<S::f32s>().read_unaligned() };
                sums[PIXEL] = simd.mul_add_e_f32s(value, weight, sums[PIXEL]);
            });
        }
        for p in 0..P {
            let mut sum = sums[p];
            if let Some(added) = row.added {
                sum = simd.add_f32s(sum, added[first + p]);
            }
            row.y[first + p] = activate(simd, self.epilogue.activation, sum);
        }
    }
}
