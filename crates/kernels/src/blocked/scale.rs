//! Each channel of each image times a number of its own, on maps whose channels lie side by side.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::maps::Maps;
use crate::error::{ShapeError, expect};
use crate::parallel::{COST, threads_for};
use crate::simd;

/// The plan for maps in given layouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    input: Maps,
    factors: Maps,
    output: Maps,
}

impl Scale {
    /// From maps to maps, with the layout of the factors, which are maps of 1×1 pixels.
    ///
    /// # Errors
    /// When maps have other sizes, or do not have their channels side by side.
    pub fn new([input, factors, output]: [Maps; 3]) -> Result<Self, ShapeError> {
        let [channels, ..] = input.size();
        let side_by_side = |maps: &Maps| maps.together() == simd::lanes();
        for (maps, expected) in [(input, input.size()), (factors, [channels, 1, 1]), (output, input.size())] {
            if maps.size() != expected || !side_by_side(&maps) {
                return Err(ShapeError::Maps { given: maps.size(), expected });
            }
        }
        Ok(Self { input, factors, output })
    }

    /// y = x · factor for each channel of n images. Margins of y are not touched.
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward(&self, n: usize, x: &[f32], factors: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
        expect("x", x, &[n, self.input.image()])?;
        expect("the factors", factors, &[n, self.factors.image()])?;
        expect("y", y, &[n, self.output.image()])?;
        let (lanes, place) = (simd::lanes(), self.factors.origin([0; 2]));
        let one = |(task, y): (usize, &mut [f32])| {
            let x = &x[task * self.input.group()..][..self.input.group()];
            let factor = &factors[task * self.factors.group() + place..][..lanes];
            simd::arch().dispatch(Group { plan: self, x, factor, y });
        };
        if threads_for(n * self.input.groups(), COST * x.len()) == 1 {
            y.chunks_mut(self.output.group()).enumerate().for_each(one);
        } else {
            y.par_chunks_mut(self.output.group()).enumerate().for_each(one);
        }
        Ok(())
    }
}

/// The channels of a vector.
struct Group<'a> {
    plan: &'a Scale,
    x: &'a [f32],
    factor: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Scale { input, output, .. } = self.plan;
        let [_, height, width] = input.size();
        let factor = S::as_simd_f32s(self.factor).0[0];
        for row in 0..height {
            let x = S::as_simd_f32s(&self.x[input.origin([0; 2]) + row * input.row()..][..width * S::F32_LANES]).0;
            let y = S::as_mut_simd_f32s(&mut self.y[output.origin([0; 2]) + row * output.row()..][..width * S::F32_LANES]).0;
            for (y, &x) in y.iter_mut().zip(x) {
                *y = simd.mul_f32s(x, factor);
            }
        }
    }
}
