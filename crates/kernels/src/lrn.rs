//! Local response normalisation across channels (Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep
//! convolutional neural networks", 2012, section 3.3).
//!
//! ```text
//! y_c = x_c / s_c^β        s_c = k + α · Σ x_d² over the `size` channels around c that exist
//! ```
#![allow(unsafe_code)] // the tiles of an output lie interleaved in it

use std::ops::Range;

use crate::error::{ShapeError, expect, expect_positive, volume};
use crate::parallel::{Parts, Scratch, for_each_task, lane_len, piece, split, threads_for};
use crate::simd::vectorised;

/// Sizes and constants of a response normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrnShape {
    /// C, channels.
    pub c: usize,
    /// H·W, pixels of a channel.
    pub pixels: usize,
    /// Channels of a window; it reaches `size / 2` channels back and `(size - 1) / 2` forward.
    pub size: usize,
    /// α, the factor of the sum of squares. torch and Caffe divide theirs by `size` first; here the caller does.
    pub alpha: f32,
    /// β, the exponent.
    pub beta: f32,
    /// k, what is added to the sum. It must be positive.
    pub k: f32,
}

/// The plan for a response normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    shape: LrnShape,
}

/// Pixels of a channel that are normalised together.
const PIXELS: usize = 256;

impl Lrn {
    /// Checks the sizes.
    ///
    /// # Errors
    /// When a size is 0.
    pub fn new(shape: LrnShape) -> Result<Self, ShapeError> {
        let LrnShape { c, pixels, size, .. } = shape;
        expect_positive(&[("the number of channels", c), ("the number of pixels", pixels), ("the window's size", size)])?;
        volume(&[c, pixels])?;
        Ok(Self { shape })
    }

    /// The shape that the plan is for.
    pub fn shape(&self) -> &LrnShape {
        &self.shape
    }

    /// y = x / s^β.
    ///
    /// # Shapes
    /// x and y (N, C, H·W).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward(&self, n: usize, x: &[f32], y: &mut [f32], scratch: &mut Scratch) -> Result<(), ShapeError> {
        let LrnShape { c, pixels, beta, .. } = self.shape;
        expect("x", x, &[n, c, pixels])?;
        expect("y", y, &[n, c, pixels])?;
        self.for_each_tile(n, y, scratch, |tile, [scales, powers, _]| {
            self.scales(x, &tile, scales);
            inverse_powers(scales, beta, powers);
            for (channel, powers) in powers.chunks_exact(tile.wide()).enumerate() {
                tile.out(channel).iter_mut().zip(tile.row(x, channel)).zip(powers).for_each(|((y, x), power)| *y = x * power);
            }
        });
        Ok(())
    }

    /// dx, the gradient to the input; what stands in `dx` is replaced:
    /// dx_c = dy_c · s_c^-β - 2αβ · x_c · Σ dy_d · x_d · s_d^(-β-1) over the channels d whose windows reach c.
    ///
    /// # Shapes
    /// x, dy and dx (N, C, H·W).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward(&self, n: usize, x: &[f32], dy: &[f32], dx: &mut [f32], scratch: &mut Scratch) -> Result<(), ShapeError> {
        let LrnShape { c, pixels, size, alpha, beta, .. } = self.shape;
        expect("x", x, &[n, c, pixels])?;
        expect("dy", dy, &[n, c, pixels])?;
        expect("dx", dx, &[n, c, pixels])?;
        self.for_each_tile(n, dx, scratch, |tile, [scales, powers, shares]| {
            let wide = tile.wide();
            self.scales(x, &tile, scales);
            inverse_powers(scales, beta, powers);
            for (channel, shares) in shares.chunks_exact_mut(wide).enumerate() {
                let at = channel * wide..(channel + 1) * wide;
                let (scales, powers) = (&scales[at.clone()], &powers[at]);
                let values = tile.row(x, channel).iter().zip(tile.row(dy, channel));
                for ((share, (x, dy)), (scale, power)) in shares.iter_mut().zip(values).zip(scales.iter().zip(powers)) {
                    *share = dy * x * power / scale;
                }
            }
            let sum = scales; // the scales are used up
            for channel in 0..c {
                let sum = &mut sum[..wide];
                sum.fill(0.0);
                // d's window reaches c where d - size/2 <= c <= d + (size - 1)/2.
                for d in channel.saturating_sub((size - 1) / 2)..(channel + size / 2 + 1).min(c) {
                    sum.iter_mut().zip(&shares[d * wide..]).for_each(|(sum, share)| *sum += share);
                }
                let values = tile.row(x, channel).iter().zip(tile.row(dy, channel));
                let factors = powers[channel * wide..].iter().zip(&*sum);
                for ((dx, (x, dy)), (power, sum)) in tile.out(channel).iter_mut().zip(values).zip(factors) {
                    *dx = dy * power - 2.0 * alpha * beta * x * sum;
                }
            }
        });
        Ok(())
    }

    /// s of a tile, (C, pixels of the tile).
    fn scales(&self, x: &[f32], tile: &Tile, scales: &mut [f32]) {
        let LrnShape { c, size, alpha, k, .. } = self.shape;
        for (channel, scales) in scales.chunks_exact_mut(tile.wide()).enumerate() {
            scales.fill(0.0);
            for neighbour in channel.saturating_sub(size / 2)..(channel + (size - 1) / 2 + 1).min(c) {
                scales.iter_mut().zip(tile.row(x, neighbour)).for_each(|(sum, x)| *sum += x * x);
            }
            scales.iter_mut().for_each(|sum| *sum = k + alpha * *sum);
        }
    }

    /// Runs `work` on tiles of all images' pixels, with three buffers of (C, pixels of the tile).
    fn for_each_tile(&self, n: usize, out: &mut [f32], scratch: &mut Scratch, work: impl Fn(Tile, [&mut [f32]; 3]) + Sync) {
        let LrnShape { c, pixels, size, .. } = self.shape;
        let of_image = pixels.div_ceil(PIXELS);
        let lane = lane_len(&[c * PIXELS; 3]);
        let threads = threads_for(n * of_image, out.len().saturating_mul(4 * size.min(c) + 16));
        let [lanes] = scratch.buffers([threads * lane]);
        let out = Parts::new(out);
        for_each_task(n * of_image, lanes, lane, |task, lane| {
            let places = piece(task % of_image, PIXELS, pixels);
            let buffers = split(lane, [c * places.len(); 3]);
            let tile = Tile { first: task / of_image * c * pixels, pixels, places, out: &out };
            vectorised!(|| work(tile, buffers));
        });
    }
}

/// Some pixels of one image, in all its channels.
struct Tile<'a> {
    /// Where the image begins.
    first: usize,
    pixels: usize,
    places: Range<usize>,
    out: &'a Parts<'a>,
}

impl Tile<'_> {
    fn wide(&self) -> usize {
        self.places.len()
    }

    fn row<'b>(&self, values: &'b [f32], channel: usize) -> &'b [f32] {
        &values[self.first + channel * self.pixels..][self.places.clone()]
    }

    #[allow(clippy::mut_from_ref)] // see `Parts`
    fn out(&self, channel: usize) -> &mut [f32] {
        let start = self.first + channel * self.pixels;
        // SAFETY: these pixels belong to this tile alone, and its user holds one row at a time.
        unsafe { self.out.part(start + self.places.start..start + self.places.end) }
    }
}

/// s^-β. AlexNet's 0.75 goes by square roots, which are some ten times as fast as a power.
#[inline(always)]
fn inverse_powers(scales: &[f32], beta: f32, powers: &mut [f32]) {
    let pairs = powers.iter_mut().zip(scales);
    if beta == 0.75 {
        pairs.for_each(|(power, scale)| *power = 1.0 / (scale.sqrt() * scale.sqrt().sqrt()));
    } else {
        pairs.for_each(|(power, scale)| *power = scale.powf(-beta));
    }
}
