//! Networks on maps whose channels lie side by side, as many as a vector has floats: the layout of inference.
//!
//! Weights are packed once, and a convolution may do with its result what follows it (add a shortcut, an activation, the largest values of squares)
//! while it is in registers. Maps carry a margin of zeros, so that no convolution has to look where its input ends.

mod depthwise;
mod direct;
mod maps;
mod pool;
mod scale;
pub(crate) mod tile;
pub(crate) mod transpose;
mod weights;
mod winograd;

use std::ops::Range;

use depthwise::Depthwise;
use direct::Direct;
use half::f16;
pub use maps::Maps;
pub use pool::Pool;
pub use scale::Scale;
use tile::Ahead;
use transpose::{Columns, Rows, transpose};
pub(crate) use weights::WeightGradient;
use winograd::{Winograd, places};

use crate::activation::Activation;
use crate::conv::Conv2dShape;
use crate::error::{ShapeError, expect, volume};
use crate::parallel::Scratch;
use crate::precision::widen;
use crate::simd;

/// Most channels, filters, taps of a filter, and columns: lists are as long.
const MOST: usize = 1 << 20;

/// Whether no list of a plan is long.
pub(crate) fn is_moderate(shape: &Conv2dShape) -> bool {
    [shape.taps(), shape.c_in, shape.c_out, shape.output()[1]].iter().all(|&count| count <= MOST)
}

/// What a convolution does with its result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Maps that are added, with their layout: a residual block's shortcut.
    pub add: Option<(&'a Maps, &'a [f32])>,
    /// A function of each value, the last step.
    pub activation: Activation,
}

/// Packed weights and biases.
#[derive(Clone, Copy, Debug)]
pub struct Filters<'a> {
    /// As [`Conv2d::pack`] lays them out.
    pub weights: Packed<'a>,
    /// One for each filter, and for those that only fill the last vector, up to the length [`Conv2d::packed_bias`], the activation's
    /// [`zero`](Activation::zero).
    pub bias: &'a [f32],
}

/// Packed weights in single or in half precision; sums are taken in f32.
#[derive(Clone, Copy, Debug)]
pub enum Packed<'a> {
    /// As they were packed.
    Full(&'a [f32]),
    /// Rounded: half the way from memory.
    Half(&'a [f16]),
}

impl Packed<'_> {
    /// The weights behind a range, as many as it has or are left, which are wanted after `calls` calls of `accumulate`, each of `taps` taps.
    fn ahead(&self, range: &Range<usize>, calls: usize, taps: usize) -> Ahead {
        let next = range.end..(range.end + range.len()).min(self.len());
        match self {
            Self::Full(weights) => Ahead::new(&weights[next], calls, taps),
            Self::Half(weights) => Ahead::new(&weights[next], calls, taps),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Full(weights) => weights.len(),
            Self::Half(weights) => weights.len(),
        }
    }

    /// Room for so many widened weights, if they need widening.
    fn buffer(&self, length: usize) -> Vec<f32> {
        match self {
            Self::Full(_) => Vec::new(),
            Self::Half(_) => vec![0.0; length],
        }
    }

    /// Some of the weights in f32, if need be in `buffer`, which has room for them.
    fn widened<'a>(&'a self, range: Range<usize>, buffer: &'a mut [f32]) -> &'a [f32] {
        match self {
            Self::Full(weights) => &weights[range],
            Self::Half(weights) => {
                let buffer = &mut buffer[..range.len()];
                widen(&weights[range], buffer);
                buffer
            }
        }
    }
}

/// The weights of a convolution as they lie in a slice.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    values: &'a [f32],
    /// From one group, one filter of a group, and one channel of a group to the next.
    strides: [usize; 3],
    /// Whether the kernel is turned by half a circle.
    turned: bool,
    factors: Option<&'a [f32]>,
    /// How many groups are taken as one.
    merged: usize,
    /// Groups, filters, channels of a group, rows and columns of the kernel.
    size: [usize; 5],
}

impl<'a> Weights<'a> {
    /// (filters, C / groups, kernel rows, kernel columns), for a convolution of this shape.
    ///
    /// # Errors
    /// When the slice has another length.
    pub fn new(values: &'a [f32], shape: &Conv2dShape) -> Result<Self, ShapeError> {
        shape.check()?;
        let &Conv2dShape { c_in, c_out, kernel, groups, .. } = shape;
        expect("w", values, &[c_out, c_in / groups, kernel[0], kernel[1]])?;
        let [channel, filter] = [kernel[0] * kernel[1], shape.taps()];
        Ok(Self { values, strides: [c_out / groups * filter, filter, channel], turned: false, factors: None, merged: 1, size: size(shape) })
    }

    /// Weights that another convolution uses on its way forward, for the one of this shape that leads its gradients back: filters
    /// and channels are exchanged, and kernels turned. Its length has been checked.
    pub(crate) fn turned(values: &'a [f32], shape: &Conv2dShape) -> Self {
        let &Conv2dShape { c_in, c_out, kernel, groups, .. } = shape;
        let (filters, channels, area) = (c_in / groups, c_out / groups, kernel[0] * kernel[1]);
        Self {
            values,
            strides: [filters * channels * area, area, channels * area],
            turned: true,
            factors: None,
            merged: 1,
            size: size(shape),
        }
    }

    /// The same weights, those of each filter times a factor.
    #[must_use]
    pub fn scaled(self, factors: &'a [f32]) -> Self {
        Self { factors: Some(factors), ..self }
    }

    /// The same weights with so many groups taken as one: those between the groups are 0.
    fn merged(&self, groups: usize) -> Self {
        Self { merged: groups, ..*self }
    }

    /// Filters that see a channel each, all of them as one group's filters of a single channel.
    fn of_one_channel(&self) -> Self {
        let [_, filters, _, rows, columns] = self.size;
        Self { strides: [0, rows * columns, 0], size: [1, filters, 1, rows, columns], ..*self }
    }

    /// The weights of some filters of a group, at most a vector of them, for one channel: (places of the kernel, lanes). Lanes without
    /// a filter are 0.
    fn lay_out(&self, group: usize, filters: Range<usize>, channel: usize, area: usize, lanes: usize, to: &mut [f32]) {
        let [of_group, of_filter, of_channel] = self.strides;
        let [groups, all, channels, ..] = self.size;
        // Of the groups that are taken as one, the channel's own, and where its filters are.
        let (inside, channel) = (channel / channels, channel % channels);
        let (group, own) = (group * self.merged + inside, inside * (all / groups)..(inside + 1) * (all / groups));
        let some = own.start.max(filters.start)..own.end.min(filters.end);
        if some.len() < lanes {
            to.fill(0.0);
        }
        if some.is_empty() {
            return;
        }
        let (first, lane) = (some.start - own.start, some.start - filters.start);
        let from = &self.values[group * of_group + first * of_filter + channel * of_channel..];
        transpose(from, Rows { count: some.len(), stride: of_filter }, Columns::in_a_row(area, lanes), &mut to[lane..]);
        if self.turned {
            for place in 0..area / 2 {
                let (before, after) = to.split_at_mut((area - 1 - place) * lanes);
                before[place * lanes..(place + 1) * lanes].swap_with_slice(&mut after[..lanes]);
            }
        }
        if let Some(factors) = self.factors {
            let factors = &factors[group * (all / groups) + first..][..some.len()];
            for row in to.chunks_exact_mut(lanes).take(area) {
                row[lane..].iter_mut().zip(factors).for_each(|(weight, factor)| *weight *= factor);
            }
        }
    }
}

/// Groups of a convolution that are taken as one at most: as many times more work there is then.
const MOST_MERGED: usize = 4;

/// The shape in which groups that cut through vectors are taken together so that they do not. None where groups fill vectors, or too
/// many would be taken as one.
fn merged(shape: &Conv2dShape) -> Option<Conv2dShape> {
    let &Conv2dShape { c_in, c_out, groups, .. } = shape;
    let lanes = simd::lanes();
    let whole = |count: usize| [c_in, c_out].iter().all(|channels| (channels / groups * count).is_multiple_of(lanes));
    let fits = |count: &usize| groups.is_multiple_of(*count) && (whole(*count) || *count == groups);
    let count = (1..=MOST_MERGED.min(groups)).find(fits)?;
    (count > 1).then_some(Conv2dShape { groups: groups / count, ..*shape })
}

fn size(shape: &Conv2dShape) -> [usize; 5] {
    let &Conv2dShape { c_in, c_out, kernel, groups, .. } = shape;
    [groups, c_out, c_in / groups, kernel[0], kernel[1]]
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Vectors of filters are summed over the taps.
    Direct,
    /// Lavin & Gray's algorithm F(M×M, K×K) with tiles of M = 2 or, for filters of 3×3, 4 pixels a side. A NaN or an infinite pixel
    /// reaches all of its tile.
    Winograd(usize),
    /// Vectors of channels, each channel by itself.
    Depthwise,
    /// As [`Direct`](Self::Direct), groups that cut through vectors taken together, with weights of 0 between them. A NaN or an infinite
    /// pixel reaches all of them.
    Merged,
}

/// A convolution between maps in given layouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv2d {
    shape: Conv2dShape,
    input: Maps,
    output: Maps,
    /// The layout of what may be added; none where nothing may.
    added: Option<Maps>,
    algorithm: Algorithm,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Algorithm {
    Direct(Direct),
    Winograd(Winograd),
    Depthwise(Depthwise),
}

impl Conv2d {
    /// The plan for a shape, maps in these layouts, and a method. `added` is the layout of maps that may be added.
    ///
    /// None where the method cannot do it: the input's margin is less than the padding, groups cut through channels that lie
    /// side by side, the channels of the output or of what is added do not lie side by side, the shape is larger than lists should be long; for Winograd's way a kernel other than 3×3 and 5×5, tiles of a size that it does not have for that kernel, a stride, a dilation, groups,
    /// or channels of the input that do not lie side by side; for channels by themselves such channels, or a filter that sees several; and for merged groups more than four to a vector.
    ///
    /// # Errors
    /// When the shape cannot be, or the maps have other sizes than it.
    pub fn new(shape: Conv2dShape, [input, output, added]: [Maps; 3], method: Method) -> Result<Option<Self>, ShapeError> {
        shape.check()?;
        let [rows, columns] = shape.output();
        sizes_are([
            (input, [shape.c_in, shape.h, shape.w]),
            (output, [shape.c_out, rows, columns]),
            (added, [shape.c_out, rows, columns]),
        ])?;
        if added.together() != output.together() || !is_moderate(&shape) {
            return Ok(None);
        }
        let algorithm = match method {
            Method::Direct => Direct::new(shape, input, output, added).map(Algorithm::Direct),
            Method::Winograd(side) => Winograd::new(shape, side, [input, output], false).map(Algorithm::Winograd),
            Method::Merged => merged(&shape).and_then(|shape| Direct::new(shape, input, output, added)).map(Algorithm::Direct),
            Method::Depthwise => Depthwise::new(shape, input, output).map(Algorithm::Depthwise),
        };
        Ok(algorithm.map(|algorithm| Self { shape, input, output, added: Some(added), algorithm }))
    }

    /// The plan for a convolution and the pool behind it, the largest values of squares of 2×2 pixels: the output has half the rows and columns,
    /// rounded down, and the convolution's own results do not go to memory. Nothing can be added to them.
    ///
    /// None where the method is not Winograd's, or cannot do it, see [`new`](Self::new).
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn pooled(shape: Conv2dShape, [input, output]: [Maps; 2], method: Method) -> Result<Option<Self>, ShapeError> {
        shape.check()?;
        let [rows, columns] = shape.output().map(|pixels| pixels / 2);
        sizes_are([(input, [shape.c_in, shape.h, shape.w]), (output, [shape.c_out, rows, columns])])?;
        let algorithm = match method {
            Method::Winograd(side) if is_moderate(&shape) => Winograd::new(shape, side, [input, output], true),
            _ => None,
        };
        Ok(algorithm.map(|winograd| Self { shape, input, output, added: None, algorithm: Algorithm::Winograd(winograd) }))
    }

    /// The method that is likely the fastest for n images, if the channels of the input lie side by side.
    pub fn best_method(shape: &Conv2dShape, n: usize) -> Method {
        best(shape, |method| seconds(shape, n.max(1), method))
    }

    /// As [`best_method`](Self::best_method), where the weights must be packed first.
    pub(crate) fn best_method_unpacked(shape: &Conv2dShape, n: usize) -> Method {
        best(shape, |method| seconds(shape, n.max(1), method) + packing(shape, method))
    }

    /// Floats of the packed weights.
    pub fn packed(&self) -> usize {
        match &self.algorithm {
            Algorithm::Direct(direct) => direct.packed(),
            Algorithm::Winograd(winograd) => winograd.packed(),
            Algorithm::Depthwise(depthwise) => depthwise.packed(),
        }
    }

    /// Floats of the packed bias.
    pub fn packed_bias(&self) -> usize {
        self.output.groups() * self.output.together()
    }

    /// Packs weights into `packed`, once for many passes.
    ///
    /// # Errors
    /// When the slice has another length than [`packed`](Self::packed), or there is not a factor for each filter.
    pub fn pack(&self, weights: &Weights, packed: &mut [f32]) -> Result<(), ShapeError> {
        expect("the packed weights", packed, &[self.packed()])?;
        if weights.size != size(&self.shape) {
            let [given, expected] = [weights.size, size(&self.shape)]
                .map(|[groups, filters, channels, rows, columns]| volume(&[filters, channels, rows, columns]).unwrap_or(groups));
            return Err(ShapeError::Length { what: "w", given, expected, shape: size(&self.shape)[1..].to_vec() });
        }
        if let Some(factors) = weights.factors {
            expect("the factors", factors, &[self.shape.c_out])?;
        }
        match &self.algorithm {
            Algorithm::Direct(direct) => direct.pack(&weights.merged(self.shape.groups / direct.groups()), packed),
            Algorithm::Winograd(winograd) => winograd.pack(weights, packed),
            Algorithm::Depthwise(depthwise) => depthwise.pack(weights, packed),
        }
        Ok(())
    }

    /// y from x: convolution, the epilogue, the maxima of a [`pooled`](Self::pooled) plan. Margins of y are not touched.
    ///
    /// # Errors
    /// When a slice has another length, or what is added another layout.
    pub fn forward(
        &self,
        n: usize,
        x: &[f32],
        filters: Filters,
        epilogue: Epilogue,
        y: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), ShapeError> {
        expect("x", x, &[n, self.input.image()])?;
        if filters.weights.len() != self.packed() {
            let (given, expected) = (filters.weights.len(), self.packed());
            return Err(ShapeError::Length { what: "the packed weights", given, expected, shape: vec![expected] });
        }
        expect("the packed bias", filters.bias, &[self.packed_bias()])?;
        expect("y", y, &[n, self.output.image()])?;
        if let Some((maps, values)) = epilogue.add {
            let expected = self.added.ok_or(ShapeError::Added)?;
            if *maps != expected {
                return Err(ShapeError::Maps { given: maps.size(), expected: expected.size() });
            }
            expect("what is added", values, &[n, maps.image()])?;
        }
        match &self.algorithm {
            Algorithm::Direct(direct) => direct.forward(n, x, filters, epilogue, y),
            Algorithm::Winograd(winograd) => winograd.forward(n, x, filters, epilogue, y, scratch),
            Algorithm::Depthwise(depthwise) => depthwise.forward(n, x, filters, epilogue, y),
        }
        Ok(())
    }
}

/// Whether maps have the sizes C, H, W that they should have.
fn sizes_are<const COUNT: usize>(maps: [(Maps, [usize; 3]); COUNT]) -> Result<(), ShapeError> {
    match maps.into_iter().find(|(maps, expected)| maps.size() != *expected) {
        Some((maps, expected)) => Err(ShapeError::Maps { given: maps.size(), expected }),
        None => Ok(()),
    }
}

/// The method of the least cost.
fn best(shape: &Conv2dShape, cost: impl Fn(Method) -> f64) -> Method {
    if shape.groups > 1 && Depthwise::applies(shape) {
        return Method::Depthwise;
    }
    if merged(shape).is_some() {
        return Method::Merged;
    }
    if shape.c_in < simd::lanes() {
        return Method::Direct;
    }
    let tiles = [2, 4].into_iter().filter(|&side| Winograd::applies(shape, side)).map(Method::Winograd);
    std::iter::once(Method::Direct).chain(tiles).min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(Method::Direct)
}

/// The best way to a gradient to the weights: they are read and written once for many images. Filters of 5×5 go directly
/// where this says Winograd's way, which has no such gradient for them.
fn best_method_of_gradient(shape: &Conv2dShape) -> Method {
    const MANY: usize = 16;
    best(shape, |method| seconds(shape, MANY, method))
}

/// What it costs to pack the weights.
fn packing(shape: &Conv2dShape, method: Method) -> f64 {
    const VALUES: f64 = 2e9;
    let places = match method {
        Method::Direct | Method::Depthwise | Method::Merged => shape.kernel[0] * shape.kernel[1],
        Method::Winograd(side) => places(shape, side),
    };
    (places * shape.c_in * shape.c_out) as f64 / VALUES
}

/// A rough model of what a method costs: operations, the weights' way from memory, and the transforms' way through the caches.
fn seconds(shape: &Conv2dShape, n: usize, method: Method) -> f64 {
    const OPERATIONS: f64 = 4e11;
    const MEMORY: f64 = 3e10;
    const CACHE: f64 = 6e10;
    let [rows, columns] = shape.output();
    let (c_in, c_out) = (shape.c_in as f64, shape.c_out as f64);
    match method {
        Method::Direct | Method::Depthwise | Method::Merged => {
            let taps = (shape.kernel[0] * shape.kernel[1]) as f64;
            2.0 * taps * c_in * c_out * n as f64 * (rows * columns) as f64 / OPERATIONS + 4.0 * taps * c_in * c_out / MEMORY
        }
        Method::Winograd(side) => {
            let places = places(shape, side) as f64;
            let tiles = n as f64 * (rows.div_ceil(side) * columns.div_ceil(side)) as f64;
            let transforms = 8.0 * places * tiles * (c_in + c_out);
            2.0 * places * tiles * c_in * c_out / OPERATIONS + 4.0 * places * c_in * c_out / MEMORY + transforms / CACHE
        }
    }
}
