//! Batch normalisation (Ioffe & Szegedy, "Batch normalization: accelerating deep network training by reducing internal
//! covariate shift", 2015): in training by the statistics of the batch, afterwards a scale and a shift.
//!
//! ```text
//! y = (x - mean) / √(variance + eps) · weight + bias        for each channel, over all images and pixels
//! ```
#![allow(unsafe_code)] // the planes of a channel lie interleaved with those of the others

use std::ops::Range;

use crate::error::{ShapeError, expect, expect_positive, volume};
use crate::parallel::{COST, Parts, Scratch, for_each_index, for_each_piece};
use crate::simd::Sums;

/// Where the values of a channel lie in (N, C, pixels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planes {
    c: usize,
    pixels: usize,
}

impl Planes {
    fn new(c: usize, pixels: usize) -> Result<Self, ShapeError> {
        expect_positive(&[("the number of channels", c), ("the number of pixels", pixels)])?;
        volume(&[c, pixels])?;
        Ok(Self { c, pixels })
    }

    fn expect(&self, what: &'static str, n: usize, values: &[f32]) -> Result<(), ShapeError> {
        expect(what, values, &[n, self.c, self.pixels])
    }

    fn expect_channels(&self, vectors: &[(&'static str, &[f32])]) -> Result<(), ShapeError> {
        vectors.iter().try_for_each(|(what, values)| expect(what, values, &[self.c]))
    }

    /// One channel of each of the n images.
    fn of(self, channel: usize, n: usize) -> impl Iterator<Item = Range<usize>> {
        let start = move |image| (image * self.c + channel) * self.pixels;
        (0..n).map(move |image| start(image)..start(image) + self.pixels)
    }

    /// Σ terms(a, b) over a channel: some thousand values in f32, these sums in f64.
    #[inline(always)]
    fn sums<const ARE_SMALL: bool, const COUNT: usize>(
        self,
        channel: usize,
        n: usize,
        a: &[f32],
        b: &[f32],
        terms: impl Fn(f32, f32) -> [f32; COUNT],
    ) -> [f64; COUNT] {
        const TOGETHER: usize = 1 << 12;
        if ARE_SMALL {
            return self.sums_of_small(channel, n, a, b, terms);
        }
        let (mut sums, mut some, mut added) = ([0.0; COUNT], Sums::<COUNT>::default(), 0);
        for plane in self.of(channel, n) {
            for (a, b) in a[plane.clone()].chunks(TOGETHER).zip(b[plane].chunks(TOGETHER)) {
                some.add(a, b, &terms);
                added += a.len();
                if added >= TOGETHER {
                    let totals = std::mem::take(&mut some).totals();
                    sums = std::array::from_fn(|index| sums[index] + f64::from(totals[index]));
                    added = 0;
                }
            }
        }
        let totals = some.totals();
        std::array::from_fn(|index| sums[index] + f64::from(totals[index]))
    }

    /// The same for small planes: they are laid one behind the other, so that they fill vectors.
    #[inline(always)]
    fn sums_of_small<const COUNT: usize>(
        self,
        channel: usize,
        n: usize,
        a: &[f32],
        b: &[f32],
        terms: impl Fn(f32, f32) -> [f32; COUNT],
    ) -> [f64; COUNT] {
        const ROW: usize = 1 << 10;
        let (mut sums, mut row, mut other) = ([0.0; COUNT], [0.0; ROW], [0.0; ROW]);
        let together = ROW / self.pixels;
        for first in (0..n).step_by(together) {
            let mut length = 0;
            for plane in self.of(channel, n).skip(first).take(together) {
                row[length..length + self.pixels].copy_from_slice(&a[plane.clone()]);
                other[length..length + self.pixels].copy_from_slice(&b[plane]);
                length += self.pixels;
            }
            let mut some = Sums::<COUNT>::default();
            some.add(&row[..length], &other[..length], &terms);
            let totals = some.totals();
            sums = std::array::from_fn(|index| sums[index] + f64::from(totals[index]));
        }
        sums
    }
}

/// Pixels of a plane that is not small.
const SMALL: usize = 64;

/// The plan for a batch normalisation in training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    planes: Planes,
    eps: f32,
    relu: bool,
}

impl BatchNorm {
    /// For C channels of some pixels each (1 for vectors); `eps` is added to the variance.
    ///
    /// # Errors
    /// When a size is 0.
    pub fn new(c: usize, pixels: usize, eps: f32) -> Result<Self, ShapeError> {
        Ok(Self { planes: Planes::new(c, pixels)?, eps, relu: false })
    }

    /// The plan for max(y, 0) of its y, whose derivative at 0 is 0; NaN stays NaN.
    #[must_use]
    pub fn with_relu(self) -> Self {
        Self { relu: true, ..self }
    }

    /// y, and the statistics of the batch: the mean of each channel and its variance, the mean of the squared distances from
    /// the mean. Of no images both are 0.
    ///
    /// # Shapes
    /// x and y (N, C, pixels); weight, bias, mean and variance (C).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward(
        &self,
        n: usize,
        x: &[f32],
        [weight, bias]: [&[f32]; 2],
        y: &mut [f32],
        [mean, variance]: [&mut [f32]; 2],
    ) -> Result<(), ShapeError> {
        let planes = self.planes;
        planes.expect("x", n, x)?;
        planes.expect("y", n, y)?;
        planes.expect_channels(&[("weight", weight), ("bias", bias), ("mean", mean), ("variance", variance)])?;
        // Two functions: in one that can do both, the compiler makes large planes slower.
        match planes.pixels < SMALL {
            true => self.forward_planes::<true>(n, x, [weight, bias], [y, mean, variance]),
            false => self.forward_planes::<false>(n, x, [weight, bias], [y, mean, variance]),
        }
        Ok(())
    }

    fn forward_planes<const ARE_SMALL: bool>(&self, n: usize, x: &[f32], [weight, bias]: [&[f32]; 2], results: [&mut [f32]; 3]) {
        let planes = self.planes;
        let count = (n * planes.pixels).max(1) as f64;
        let [y, means, variances] = results.map(Parts::new);
        for_each_index(
            planes.c,
            COST * x.len(),
            #[inline(always)]
            |channel| {
                let [sum] = planes.sums::<ARE_SMALL, 1>(channel, n, x, x, |x, _| [x]);
                let mean = (sum / count) as f32;
                let [sum] = planes.sums::<ARE_SMALL, 1>(channel, n, x, x, |x, _| [(x - mean) * (x - mean)]);
                let variance = (sum / count) as f32;
                let (scale, shift) = (weight[channel] * self.inverse(variance), bias[channel]);
                for plane in planes.of(channel, n) {
                    // SAFETY: a channel's planes and statistics belong to its task alone, which holds one plane at a time.
                    let y = unsafe { y.part(plane.clone()) };
                    for (y, x) in y.iter_mut().zip(&x[plane]) {
                        let value = (x - mean) * scale + shift;
                        *y = if self.relu && value <= 0.0 { 0.0 } else { value };
                    }
                }
                // SAFETY: as above.
                unsafe { (means.part(channel..channel + 1)[0], variances.part(channel..channel + 1)[0]) = (mean, variance) };
            },
        );
    }

    /// The gradients dx, dweight and dbias, through the statistics too; what stands in them is replaced:
    /// dx = weight / √(variance + eps) · (dy - (dbias + x̂·dweight) / count), x̂ the normalised values; with ReLU, where y is not
    /// above 0, dy counts as 0.
    ///
    /// # Shapes
    /// x, dy and dx (N, C, pixels); weight, bias, mean and variance (as [`forward`](Self::forward) gave them), dweight and dbias (C).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward(
        &self,
        n: usize,
        x: &[f32],
        dy: &[f32],
        [weight, bias]: [&[f32]; 2],
        [mean, variance]: [&[f32]; 2],
        [dx, dweight, dbias]: [&mut [f32]; 3],
    ) -> Result<(), ShapeError> {
        let planes = self.planes;
        planes.expect("x", n, x)?;
        planes.expect("dy", n, dy)?;
        planes.expect("dx", n, dx)?;
        planes.expect_channels(&[("weight", weight), ("bias", bias), ("mean", mean), ("variance", variance)])?;
        planes.expect_channels(&[("dweight", dweight), ("dbias", dbias)])?;
        let gradients = [dx, dweight, dbias];
        match planes.pixels < SMALL {
            true => self.backward_planes::<true>(n, [x, dy], [weight, bias], [mean, variance], gradients),
            false => self.backward_planes::<false>(n, [x, dy], [weight, bias], [mean, variance], gradients),
        }
        Ok(())
    }

    fn backward_planes<const ARE_SMALL: bool>(
        &self,
        n: usize,
        [x, dy]: [&[f32]; 2],
        [weight, bias]: [&[f32]; 2],
        [mean, variance]: [&[f32]; 2],
        gradients: [&mut [f32]; 3],
    ) {
        let planes = self.planes;
        let count = (n * planes.pixels).max(1) as f64;
        let [dx, dweights, dbiases] = gradients.map(Parts::new);
        for_each_index(
            planes.c,
            COST * x.len(),
            #[inline(always)]
            |channel| {
                let (mean, inverse) = (mean[channel], self.inverse(variance[channel]));
                let (scale, bias) = (weight[channel] * inverse, bias[channel]);
                // The gradient before ReLU, whose output is computed again as `forward` did: that is faster than to read it.
                let before = |dy: f32, x: f32| if self.relu && (x - mean) * scale + bias <= 0.0 { 0.0 } else { dy };
                let [dbias, dweight] = planes.sums::<ARE_SMALL, 2>(
                    channel,
                    n,
                    dy,
                    x,
                    #[inline(always)]
                    |dy, x| {
                        let dy = before(dy, x);
                        [dy, dy * (x - mean)]
                    },
                );
                let dweight = dweight * f64::from(inverse);
                let shift = (dbias / count) as f32;
                let slope = (dweight / count) as f32 * inverse;
                for plane in planes.of(channel, n) {
                    // SAFETY: a channel's planes and gradients belong to its task alone, which holds one plane at a time.
                    let dx = unsafe { dx.part(plane.clone()) };
                    for ((dx, x), dy) in dx.iter_mut().zip(&x[plane.clone()]).zip(&dy[plane]) {
                        *dx = scale * (before(*dy, *x) - shift - (x - mean) * slope);
                    }
                }
                // SAFETY: as above.
                unsafe { (dweights.part(channel..channel + 1)[0], dbiases.part(channel..channel + 1)[0]) = (dweight as f32, dbias as f32) };
            },
        );
    }

    /// 1 / √(variance + eps).
    fn inverse(&self, variance: f32) -> f32 {
        1.0 / (variance + self.eps).sqrt()
    }
}

/// The plan for y = x·scale + shift with a scale and a shift for each channel: batch normalisation with given statistics,
/// where scale = weight / √(variance + eps) and shift = bias - mean·scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleShift {
    planes: Planes,
}

impl ScaleShift {
    /// For C channels of some pixels each (1 for vectors).
    ///
    /// # Errors
    /// When a size is 0.
    pub fn new(c: usize, pixels: usize) -> Result<Self, ShapeError> {
        Ok(Self { planes: Planes::new(c, pixels)? })
    }

    /// y = x·scale + shift; without a shift it is 0.
    ///
    /// # Shapes
    /// x and y (N, C, pixels), scale and shift (C).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward(
        &self,
        n: usize,
        x: &[f32],
        scale: &[f32],
        shift: Option<&[f32]>,
        y: &mut [f32],
        _: &mut Scratch,
    ) -> Result<(), ShapeError> {
        let planes = self.planes;
        planes.expect("x", n, x)?;
        planes.expect("y", n, y)?;
        planes.expect_channels(&[("scale", scale), ("shift", shift.unwrap_or(scale))])?;
        let y = Parts::new(y);
        for_each_index(
            planes.c,
            COST * x.len(),
            #[inline(always)]
            |channel| {
                let (scale, shift) = (scale[channel], shift.map_or(0.0, |shift| shift[channel]));
                for plane in planes.of(channel, n) {
                    // SAFETY: a channel's planes belong to its task alone, which holds one at a time.
                    let y = unsafe { y.part(plane.clone()) };
                    y.iter_mut().zip(&x[plane]).for_each(|(y, x)| *y = x * scale + shift);
                }
            },
        );
        Ok(())
    }

    /// dx = dy·scale, the gradient to the input.
    ///
    /// # Shapes
    /// dy and dx (N, C, pixels), scale (C).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_input(&self, n: usize, dy: &[f32], scale: &[f32], dx: &mut [f32], scratch: &mut Scratch) -> Result<(), ShapeError> {
        self.planes.expect("dy", n, dy)?;
        self.planes.expect("dx", n, dx)?;
        self.forward(n, dy, scale, None, dx, scratch)
    }

    /// The gradient to the scale: dy·x summed over images and pixels.
    ///
    /// # Shapes
    /// x and dy (N, C, pixels), dscale (C).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_weight(&self, n: usize, x: &[f32], dy: &[f32], dscale: &mut [f32], _: &mut Scratch) -> Result<(), ShapeError> {
        self.planes.expect("x", n, x)?;
        self.planes.expect("dy", n, dy)?;
        self.planes.expect_channels(&[("dscale", dscale)])?;
        self.sums(n, x, dy, dscale, |x, dy| [x * dy]);
        Ok(())
    }

    /// The gradient to the shift: dy summed over images and pixels.
    ///
    /// # Shapes
    /// dy (N, C, pixels), dshift (C).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_bias(&self, n: usize, dy: &[f32], dshift: &mut [f32]) -> Result<(), ShapeError> {
        self.planes.expect("dy", n, dy)?;
        self.planes.expect_channels(&[("dshift", dshift)])?;
        self.sums(n, dy, dy, dshift, |dy, _| [dy]);
        Ok(())
    }

    /// Σ term(a, b) for each channel.
    fn sums(&self, n: usize, a: &[f32], b: &[f32], sums: &mut [f32], term: impl Fn(f32, f32) -> [f32; 1] + Sync) {
        let planes = self.planes;
        for_each_piece(
            sums,
            1,
            COST * a.len(),
            #[inline(always)]
            |channel, sum| sum[0] = planes.sums::<false, 1>(channel, n, a, b, &term)[0] as f32,
        );
    }
}
