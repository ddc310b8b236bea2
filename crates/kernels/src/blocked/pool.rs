//! Pooling of maps whose channels lie side by side: the windows of as many channels as a vector has floats at a time.
#![allow(unsafe_code)] // threads write parts of one output

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::maps::Maps;
use crate::error::{ShapeError, expect};
use crate::parallel::{Parts, threads_for};
use crate::pool::{CountPadding, Pool2dShape};
use crate::simd;

/// Pooling between maps in given layouts, forward only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    input: Maps,
    output: Maps,
    /// The windows along rows and along columns.
    windows: [Vec<Window>; 2],
    kind: Kind,
}

/// A window along one axis.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    inside: Range<usize>,
    /// Its length as the mean counts it.
    counted: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Max,
    Mean,
}

impl Pool {
    /// The largest value of each window; a NaN stays.
    ///
    /// # Errors
    /// When the shape cannot be, or the maps have other sizes than it or do not have their channels side by side.
    pub fn max(shape: Pool2dShape, layouts: [Maps; 2]) -> Result<Self, ShapeError> {
        Self::sliding(shape, layouts, Kind::Max, CountPadding::Exclude)
    }

    /// The mean of each window.
    ///
    /// # Errors
    /// As for [`max`](Self::max).
    pub fn mean(shape: Pool2dShape, count: CountPadding, layouts: [Maps; 2]) -> Result<Self, ShapeError> {
        Self::sliding(shape, layouts, Kind::Mean, count)
    }

    /// Means over a grid of windows that cover the input, as many as the output has pixels: from ⌊i·H/rows⌋ to ⌈(i + 1)·H/rows⌉.
    ///
    /// # Errors
    /// When the layouts have another number of channels, or do not have their channels side by side.
    pub fn adaptive_mean(layouts: [Maps; 2]) -> Result<Self, ShapeError> {
        let [[_, height, width], [_, rows, columns]] = layouts.map(|maps| maps.size());
        moderate([rows, columns])?;
        moderate([height, width])?;
        let window = |place: usize, input: usize, outputs: usize| {
            let inside = place * input / outputs..((place + 1) * input).div_ceil(outputs);
            Window { counted: inside.len(), inside }
        };
        let windows =
            [(height, rows), (width, columns)].map(|(input, outputs)| (0..outputs).map(|place| window(place, input, outputs)).collect());
        Self::new(layouts, windows, Kind::Mean, [rows, columns])
    }

    fn sliding(shape: Pool2dShape, layouts: [Maps; 2], kind: Kind, count: CountPadding) -> Result<Self, ShapeError> {
        shape.check()?;
        let expected = [shape.c, shape.h, shape.w];
        if layouts[0].size() != expected {
            return Err(ShapeError::Maps { given: layouts[0].size(), expected });
        }
        let output = shape.output();
        moderate(output)?;
        let window = |place: usize, axis: usize| {
            let (inside, padded) = shape.span(place, axis);
            let counted = if count == CountPadding::Include { padded } else { inside.len() };
            Window { inside, counted }
        };
        let windows = [0, 1].map(|axis| (0..output[axis]).map(|place| window(place, axis)).collect());
        Self::new(layouts, windows, kind, output)
    }

    fn new([input, output]: [Maps; 2], windows: [Vec<Window>; 2], kind: Kind, [rows, columns]: [usize; 2]) -> Result<Self, ShapeError> {
        let lanes = simd::lanes();
        let expected = [input.size()[0], rows, columns];
        if output.size() != expected || input.together() != lanes || output.together() != lanes {
            return Err(ShapeError::Maps { given: output.size(), expected });
        }
        Ok(Self { input, output, windows, kind })
    }

    /// y from n images x. Margins of y are not touched.
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward(&self, n: usize, x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
        expect("x", x, &[n, self.input.image()])?;
        expect("y", y, &[n, self.output.image()])?;
        let y = &Parts::new(y);
        let groups = self.input.groups();
        let one = |task: usize| {
            let x = &x[task * self.input.group()..][..self.input.group()];
            // SAFETY: each group of channels of each image belongs to one task.
            let y = unsafe { y.part(task * self.output.group()..(task + 1) * self.output.group()) };
            simd::arch().dispatch(Group { plan: self, x, y });
        };
        if threads_for(n * groups, 8 * x.len()) == 1 {
            (0..n * groups).for_each(one);
        } else {
            (0..n * groups).into_par_iter().for_each(one);
        }
        Ok(())
    }
}

/// That no list of windows is long.
fn moderate(sides: [usize; 2]) -> Result<(), ShapeError> {
    match sides.iter().all(|&side| side <= super::MOST) {
        true => Ok(()),
        false => Err(ShapeError::TooLarge { shape: sides.to_vec() }),
    }
}

/// The larger value; a NaN is larger than any.
#[inline(always)]
pub(super) fn larger<S: Simd>(simd: S, max: S::f32s, value: S::f32s) -> S::f32s {
    let larger = simd.select_f32s(simd.less_than_or_equal_f32s(value, max), max, value);
    simd.select_f32s(simd.equal_f32s(max, max), larger, max)
}

/// The channels of a vector.
struct Group<'a> {
    plan: &'a Pool,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Pool { input, output, windows: [rows, columns], kind } = self.plan;
        let pairs = |windows: &[Window]| windows.iter().all(|window| window.inside.len() == 2);
        if *kind == Kind::Max && pairs(rows) && pairs(columns) {
            return self.squares(simd);
        }
        for (row, tall) in rows.iter().enumerate() {
            let start = output.origin([0; 2]) + row * output.row();
            let (y, _) = S::as_mut_simd_f32s(&mut self.y[start..][..columns.len() * S::F32_LANES]);
            for (y, wide) in y.iter_mut().zip(columns) {
                let start = if *kind == Kind::Max { f32::NEG_INFINITY } else { 0.0 };
                let mut value = simd.splat_f32s(start);
                for row in tall.inside.clone() {
                    let place = input.origin([0; 2]) + row * input.row() + wide.inside.start * S::F32_LANES;
                    let (pixels, _) = S::as_simd_f32s(&self.x[place..][..wide.inside.len() * S::F32_LANES]);
                    for &pixel in pixels {
                        value = match kind {
                            Kind::Max => larger(simd, value, pixel),
                            Kind::Mean => simd.add_f32s(value, pixel),
                        };
                    }
                }
                *y = match kind {
                    Kind::Max => value,
                    Kind::Mean => simd.mul_f32s(value, simd.splat_f32s(1.0 / (tall.counted * wide.counted) as f32)),
                };
            }
        }
    }
}

impl Group<'_> {
    /// The largest values of windows of 2×2 pixels, the usual case.
    #[inline(always)]
    fn squares<S: Simd>(self, simd: S) {
        let Pool { input, output, windows: [rows, columns], .. } = self.plan;
        let row_of = |maps: &Maps, row: usize| maps.origin([0; 2]) + row * maps.row();
        for (row, tall) in rows.iter().enumerate() {
            let upper = S::as_simd_f32s(&self.x[row_of(input, tall.inside.start)..]).0;
            let lower = S::as_simd_f32s(&self.x[row_of(input, tall.inside.start + 1)..]).0;
            let y = S::as_mut_simd_f32s(&mut self.y[row_of(output, row)..][..columns.len() * S::F32_LANES]).0;
            for (y, wide) in y.iter_mut().zip(columns) {
                let (left, right) = (wide.inside.start, wide.inside.start + 1);
                *y = larger(simd, larger(simd, upper[left], upper[right]), larger(simd, lower[left], lower[right]));
            }
        }
    }
}
