//! The same computations as plain loops that a reader can see are right. The kernels are tested against them; they are slow.
//!
//! They are generic over the number: f64 gives exact values to compare with, and finite differences for gradients. Slices
//! must have the lengths that the shapes say.

use std::ops::{Add, AddAssign, Div, Mul, Sub};

use crate::activation::Tanh;
use crate::conv::Conv2dShape;
use crate::conv_transpose::ConvTranspose2dShape;
use crate::lrn::LrnShape;
use crate::pool::{CountPadding, Pool2dShape};
use crate::resize::{AlignCorners, Interpolation, Resize2dShape};
use crate::roi_align::{Region, RoiAlignShape};
use crate::roi_pool::RoiPoolShape;

/// f32 or f64.
pub trait Real:
    Copy + Default + PartialOrd + From<f32> + Add<Output = Self> + AddAssign + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// self^power.
    fn power(self, power: f32) -> Self;
    /// e^self.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// Whether it is not a number.
    fn is_nan(self) -> bool;
}

impl Real for f32 {
    fn power(self, power: f32) -> Self {
        self.powf(power)
    }

    fn exp(self) -> Self {
        f32::exp(self)
    }

    fn ln(self) -> Self {
        f32::ln(self)
    }

    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
}

impl Real for f64 {
    fn power(self, power: f32) -> Self {
        self.powf(power.into())
    }

    fn exp(self) -> Self {
        f64::exp(self)
    }

    fn ln(self) -> Self {
        f64::ln(self)
    }

    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
}

/// Calls `visit(place in x, place in w, place in y)` for every product of a convolution.
fn for_each_product(shape: &Conv2dShape, n: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let &Conv2dShape { c_in, c_out, h, w, kernel, stride, padding, dilation, groups } = shape;
    let [rows, columns] = shape.output();
    let (channels, filters) = (c_in / groups, c_out / groups);
    for image in 0..n {
        for filter in 0..c_out {
            for row in 0..rows {
                for column in 0..columns {
                    for channel in 0..channels {
                        for r in 0..kernel[0] {
                            for s in 0..kernel[1] {
                                let (i, j) = (row * stride[0] + r * dilation[0], column * stride[1] + s * dilation[1]);
                                let inside = (padding[0]..padding[0] + h).contains(&i) && (padding[1]..padding[1] + w).contains(&j);
                                if inside {
                                    let input = image * c_in + filter / filters * channels + channel;
                                    visit(
                                        (input * h + i - padding[0]) * w + j - padding[1],
                                        ((filter * channels + channel) * kernel[0] + r) * kernel[1] + s,
                                        ((image * c_out + filter) * rows + row) * columns + column,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// y = w ⋆ x + bias.
pub fn conv2d<T: Real>(shape: &Conv2dShape, n: usize, x: &[T], w: &[T], bias: Option<&[T]>) -> Vec<T> {
    let [rows, columns] = shape.output();
    let map = rows * columns;
    let filter_of = |place: usize| place / map % shape.c_out;
    let mut y: Vec<T> = (0..n * shape.c_out * map).map(|place| bias.map_or(T::default(), |bias| bias[filter_of(place)])).collect();
    for_each_product(shape, n, |input, weight, output| y[output] += x[input] * w[weight]);
    y
}

/// dx of [`conv2d`].
pub fn conv2d_backward_input<T: Real>(shape: &Conv2dShape, n: usize, dy: &[T], w: &[T]) -> Vec<T> {
    let mut dx = vec![T::default(); n * shape.c_in * shape.h * shape.w];
    for_each_product(shape, n, |input, weight, output| dx[input] += dy[output] * w[weight]);
    dx
}

/// dw of [`conv2d`].
pub fn conv2d_backward_weight<T: Real>(shape: &Conv2dShape, n: usize, x: &[T], dy: &[T]) -> Vec<T> {
    let mut dw = vec![T::default(); shape.c_out * shape.taps()];
    for_each_product(shape, n, |input, weight, output| dw[weight] += x[input] * dy[output]);
    dw
}

/// db of [`conv2d`].
pub fn conv2d_backward_bias<T: Real>(shape: &Conv2dShape, dy: &[T]) -> Vec<T> {
    let [rows, columns] = shape.output();
    let mut db = vec![T::default(); shape.c_out];
    for (map, values) in dy.chunks_exact(rows * columns).enumerate() {
        values.iter().for_each(|&value| db[map % shape.c_out] += value);
    }
    db
}

/// Transposed convolution: each pixel of x adds a copy of the filters, times itself, to y.
pub fn conv_transpose2d<T: Real>(shape: &ConvTranspose2dShape, n: usize, x: &[T], w: &[T], bias: Option<&[T]>) -> Vec<T> {
    let &ConvTranspose2dShape { c_in, c_out, h, w: wide, kernel, stride, padding, dilation, groups, .. } = shape;
    let ([rows, columns], [channels, filters]) = (shape.output(), [c_in / groups, c_out / groups]);
    let map = rows * columns;
    let mut y: Vec<T> = (0..n * c_out * map).map(|place| bias.map_or(T::default(), |bias| bias[place / map % c_out])).collect();
    for (place, &value) in x.iter().enumerate() {
        let (image, channel, i, j) = (place / (c_in * h * wide), place / (h * wide) % c_in, place / wide % h, place % wide);
        for tap in 0..filters * kernel[0] * kernel[1] {
            let (filter, r, s) = (tap / (kernel[0] * kernel[1]), tap / kernel[1] % kernel[0], tap % kernel[1]);
            let row = (i * stride[0] + r * dilation[0]).checked_sub(padding[0]).filter(|&row| row < rows);
            let column = (j * stride[1] + s * dilation[1]).checked_sub(padding[1]).filter(|&column| column < columns);
            if let (Some(row), Some(column)) = (row, column) {
                let output = image * c_out + channel / channels * filters + filter;
                y[(output * rows + row) * columns + column] += value * w[channel * filters * kernel[0] * kernel[1] + tap];
            }
        }
    }
    y
}

/// y = x·wᵀ + bias.
pub fn linear<T: Real>(n: usize, x: &[T], w: &[T], bias: Option<&[T]>, outputs: usize) -> Vec<T> {
    let inputs = w.len() / outputs;
    let mut y = Vec::with_capacity(n * outputs);
    for image in 0..n {
        for output in 0..outputs {
            let mut sum = bias.map_or(T::default(), |bias| bias[output]);
            for input in 0..inputs {
                sum += x[image * inputs + input] * w[output * inputs + input];
            }
            y.push(sum);
        }
    }
    y
}

/// (dx, dw, db) of [`linear`].
pub fn linear_backward<T: Real>(n: usize, x: &[T], w: &[T], dy: &[T], outputs: usize) -> (Vec<T>, Vec<T>, Vec<T>) {
    let inputs = w.len() / outputs;
    let (mut dx, mut dw, mut db) = (vec![T::default(); n * inputs], vec![T::default(); w.len()], vec![T::default(); outputs]);
    for image in 0..n {
        for output in 0..outputs {
            let dy = dy[image * outputs + output];
            db[output] += dy;
            for input in 0..inputs {
                dx[image * inputs + input] += dy * w[output * inputs + input];
                dw[output * inputs + input] += dy * x[image * inputs + input];
            }
        }
    }
    (dx, dw, db)
}

/// The places in the input under the window at (row, column) of one channel, in reading order, and the window's area as far
/// as it lies in the padded input.
fn window(shape: &Pool2dShape, row: usize, column: usize) -> (Vec<usize>, usize) {
    let &Pool2dShape { h, w, kernel, stride, padding, .. } = shape;
    let (mut places, mut area) = (Vec::new(), 0);
    for i in row * stride[0]..row * stride[0] + kernel[0] {
        for j in column * stride[1]..column * stride[1] + kernel[1] {
            if i < h + 2 * padding[0] && j < w + 2 * padding[1] {
                area += 1;
            }
            if (padding[0]..padding[0] + h).contains(&i) && (padding[1]..padding[1] + w).contains(&j) {
                places.push((i - padding[0]) * w + j - padding[1]);
            }
        }
    }
    (places, area)
}

/// Calls `visit(channel of an image, places, area, place in y)` for every window.
fn for_each_window(shape: &Pool2dShape, n: usize, mut visit: impl FnMut(usize, &[usize], usize, usize)) {
    let [rows, columns] = shape.output();
    for channel in 0..n * shape.c {
        for row in 0..rows {
            for column in 0..columns {
                let (places, area) = window(shape, row, column);
                visit(channel, &places, area, (channel * rows + row) * columns + column);
            }
        }
    }
}

fn first_maximum<T: Real>(plane: &[T], places: &[usize]) -> usize {
    let mut best = places[0];
    for &place in &places[1..] {
        if plane[place] > plane[best] || plane[place].is_nan() {
            best = place;
        }
    }
    best
}

/// The largest value of each window.
pub fn max_pool2d<T: Real>(shape: &Pool2dShape, n: usize, x: &[T]) -> Vec<T> {
    let plane = shape.h * shape.w;
    let mut y = Vec::new();
    for_each_window(shape, n, |channel, places, _, _| {
        let x = &x[channel * plane..];
        y.push(x[first_maximum(x, places)]);
    });
    y
}

/// dx of [`max_pool2d`].
pub fn max_pool2d_backward<T: Real>(shape: &Pool2dShape, n: usize, x: &[T], dy: &[T]) -> Vec<T> {
    let plane = shape.h * shape.w;
    let mut dx = vec![T::default(); x.len()];
    for_each_window(shape, n, |channel, places, _, output| {
        dx[channel * plane + first_maximum(&x[channel * plane..], places)] += dy[output];
    });
    dx
}

fn divisor<T: Real>(count: CountPadding, places: &[usize], area: usize) -> T {
    T::from(if count == CountPadding::Include { area } else { places.len() } as f32)
}

/// The mean of each window.
pub fn avg_pool2d<T: Real>(shape: &Pool2dShape, count: CountPadding, n: usize, x: &[T]) -> Vec<T> {
    let plane = shape.h * shape.w;
    let mut y = Vec::new();
    for_each_window(shape, n, |channel, places, area, _| {
        let mut sum = T::default();
        places.iter().for_each(|place| sum += x[channel * plane + place]);
        y.push(sum / divisor(count, places, area));
    });
    y
}

/// dx of [`avg_pool2d`].
pub fn avg_pool2d_backward<T: Real>(shape: &Pool2dShape, count: CountPadding, n: usize, dy: &[T]) -> Vec<T> {
    let plane = shape.h * shape.w;
    let mut dx = vec![T::default(); n * shape.c * plane];
    for_each_window(shape, n, |channel, places, area, output| {
        places.iter().for_each(|place| dx[channel * plane + place] += dy[output] / divisor(count, places, area));
    });
    dx
}

/// k + α·Σ x² over the window around `channel`, at one pixel; `x` is that pixel's image.
fn scale<T: Real>(shape: &LrnShape, x: &[T], channel: usize, pixel: usize) -> T {
    let mut sum = T::default();
    for neighbour in 0..shape.c {
        if neighbour + shape.size / 2 >= channel && neighbour <= channel + (shape.size - 1) / 2 {
            let value = x[neighbour * shape.pixels + pixel];
            sum += value * value;
        }
    }
    T::from(shape.k) + T::from(shape.alpha) * sum
}

/// y = x / s^β.
pub fn lrn<T: Real>(shape: &LrnShape, n: usize, x: &[T]) -> Vec<T> {
    let mut y = vec![T::default(); x.len()];
    for image in 0..n {
        let x = &x[image * shape.c * shape.pixels..];
        for channel in 0..shape.c {
            for pixel in 0..shape.pixels {
                let place = channel * shape.pixels + pixel;
                y[image * shape.c * shape.pixels + place] = x[place] / scale(shape, x, channel, pixel).power(shape.beta);
            }
        }
    }
    y
}

/// dx of [`lrn`]: dy_d · ∂y_d/∂x_c summed over all pairs of channels.
pub fn lrn_backward<T: Real>(shape: &LrnShape, n: usize, x: &[T], dy: &[T]) -> Vec<T> {
    let mut dx = vec![T::default(); x.len()];
    let volume = shape.c * shape.pixels;
    for image in 0..n {
        let (x, dy) = (&x[image * volume..], &dy[image * volume..]);
        for d in 0..shape.c {
            for pixel in 0..shape.pixels {
                let scale = scale(shape, x, d, pixel);
                let at = |channel: usize| channel * shape.pixels + pixel;
                dx[image * volume + at(d)] += dy[at(d)] / scale.power(shape.beta);
                let slope = T::from(-2.0 * shape.alpha * shape.beta) * x[at(d)] / scale.power(shape.beta + 1.0);
                for c in 0..shape.c {
                    if c + shape.size / 2 >= d && c <= d + (shape.size - 1) / 2 {
                        dx[image * volume + at(c)] += dy[at(d)] * slope * x[at(c)];
                    }
                }
            }
        }
    }
    dx
}

/// The channel of each place in (N, C, pixels).
fn channel_of(place: usize, c: usize, pixels: usize) -> usize {
    place / pixels % c
}

/// y = x·scale + shift for each channel.
pub fn scale_shift<T: Real>(c: usize, pixels: usize, x: &[T], scale: &[T], shift: &[T]) -> Vec<T> {
    let one = |(place, &x): (usize, &T)| x * scale[channel_of(place, c, pixels)] + shift[channel_of(place, c, pixels)];
    x.iter().enumerate().map(one).collect()
}

/// The mean of each channel, and the mean of the squared distances from it.
pub fn batch_statistics<T: Real>(c: usize, pixels: usize, x: &[T]) -> (Vec<T>, Vec<T>) {
    let count = T::from((x.len() / c) as f32);
    let mean_of = |value: &dyn Fn(usize) -> T| {
        let mut sums = vec![T::default(); c];
        (0..x.len()).for_each(|place| sums[channel_of(place, c, pixels)] += value(place));
        sums.into_iter().map(|sum| sum / count).collect::<Vec<T>>()
    };
    let mean = mean_of(&|place| x[place]);
    let variance = mean_of(&|place| {
        let distance = x[place] - mean[channel_of(place, c, pixels)];
        distance * distance
    });
    (mean, variance)
}

/// y = (x - mean) / √(variance + eps) · weight + bias with the statistics of x itself.
pub fn batch_norm<T: Real>(c: usize, pixels: usize, eps: f32, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let (mean, variance) = batch_statistics(c, pixels, x);
    let one = |(place, &x): (usize, &T)| {
        let channel = channel_of(place, c, pixels);
        (x - mean[channel]) * (variance[channel] + T::from(eps)).power(-0.5) * weight[channel] + bias[channel]
    };
    x.iter().enumerate().map(one).collect()
}

/// amplitude · tanh(slope · x).
pub fn scaled_tanh<T: Real>(shape: Tanh, x: &[T]) -> Vec<T> {
    let (one, two) = (T::from(1.0), T::from(2.0));
    let tanh = |x: T| one - two / ((two * x).exp() + one);
    x.iter().map(|&x| T::from(shape.amplitude) * tanh(T::from(shape.slope) * x)).collect()
}

/// 1 / (1 + e^-x).
pub fn sigmoid<T: Real>(x: &[T]) -> Vec<T> {
    x.iter().map(|&x| T::from(1.0) / (T::from(1.0) + (T::default() - x).exp())).collect()
}

/// min(max(x/6 + 1/2, 0), 1).
pub fn hard_sigmoid<T: Real>(x: &[T]) -> Vec<T> {
    let (zero, one) = (T::default(), T::from(1.0));
    let clamp = |y: T| {
        if y < zero {
            zero
        } else if one < y {
            one
        } else {
            y
        }
    };
    x.iter().map(|&x| clamp((x + T::from(3.0)) / T::from(6.0))).collect()
}

/// x · min(max(x/6 + 1/2, 0), 1).
pub fn hard_swish<T: Real>(x: &[T]) -> Vec<T> {
    hard_sigmoid(x).into_iter().zip(x).map(|(sigmoid, &x)| x * sigmoid).collect()
}

/// x_k - log Σ e^x_j over rows of k values.
pub fn log_softmax<T: Real>(k: usize, x: &[T]) -> Vec<T> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(k) {
        let mut sum = T::default();
        row.iter().for_each(|x| sum += x.exp());
        y.extend(row.iter().map(|&x| x - sum.ln()));
    }
    y
}

/// e^x_k / Σ e^x_j over rows of k values.
pub fn softmax<T: Real>(k: usize, x: &[T]) -> Vec<T> {
    log_softmax(k, x).into_iter().map(Real::exp).collect()
}

/// The share of an old pixel in a new one along one axis: a tent about the new one's place.
fn tent<T: Real>(place: usize, pixel: usize, old: usize, new: usize, corners: AlignCorners) -> T {
    let number = |value: usize| T::from(value as f32);
    let (half, one) = (T::from(0.5), T::from(1.0));
    let source = match corners {
        AlignCorners::Yes if new == 1 => T::default(),
        AlignCorners::Yes => number(place) * number(old - 1) / number(new - 1),
        AlignCorners::No => (number(place) + half) * number(old) / number(new) - half,
    };
    let clamp = |value: T, low: T, high: T| {
        if value < low {
            low
        } else if value > high {
            high
        } else {
            value
        }
    };
    let off = clamp(source, T::default(), number(old - 1)) - number(pixel);
    clamp(one - if off < T::default() { T::default() - off } else { off }, T::default(), one)
}

/// Each new pixel is Σ share of its row · share of its column · old pixel.
pub fn resize2d<T: Real>(shape: &Resize2dShape, n: usize, x: &[T]) -> Vec<T> {
    let &Resize2dShape { c, h, w, output, interpolation } = shape;
    let share = |place: usize, pixel: usize, old: usize, new: usize| match interpolation {
        Interpolation::Nearest => {
            let source = ((place as f32 * (old as f32 / new as f32)) as usize).min(old - 1);
            T::from(if source == pixel { 1.0 } else { 0.0 })
        }
        Interpolation::Bilinear(corners) => tent(place, pixel, old, new, corners),
    };
    let mut y = Vec::new();
    for plane in 0..n * c {
        for row in 0..output[0] {
            for column in 0..output[1] {
                let mut sum = T::default();
                for i in 0..h {
                    for j in 0..w {
                        sum += share(row, i, h, output[0]) * share(column, j, w, output[1]) * x[(plane * h + i) * w + j];
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

/// The value at a point between the pixels of a plane, as torchvision takes it.
fn bilinear<T: Real>(x: &[T], [h, w]: [usize; 2], [row, column]: [f32; 2]) -> T {
    let outside = |at: f32, side: usize| at < -1.0 || at > side as f32;
    if outside(row, h) || outside(column, w) {
        return T::default();
    }
    let around = |at: f32, side: usize| {
        let low = at.max(0.0).floor() as usize;
        if low >= side - 1 { (side - 1, side - 1, 0.0) } else { (low, low + 1, at.max(0.0) - low as f32) }
    };
    let ((upper, lower, down), (left, right, along)) = (around(row, h), around(column, w));
    let (down, along, one) = (T::from(down), T::from(along), T::from(1.0));
    let mix = |row: usize| (one - along) * x[row * w + left] + along * x[row * w + right];
    (one - down) * mix(upper) + down * mix(lower)
}

/// The mean of the samples of each bin of each region. Points are found in f32, as a region's corners are.
pub fn roi_align<T: Real>(shape: &RoiAlignShape, x: &[T], regions: &[Region]) -> Vec<T> {
    let &RoiAlignShape { c, h, w, output, sampling_ratio, spatial_scale, aligned } = shape;
    let mut y = Vec::new();
    for region in regions {
        let [x1, y1, x2, y2] = region.corners.map(|corner| corner * spatial_scale - if aligned { 0.5 } else { 0.0 });
        let length = |start: f32, end: f32| if aligned { end - start } else { (end - start).max(1.0) };
        let bins = [length(y1, y2) / output[0] as f32, length(x1, x2) / output[1] as f32];
        let samples = bins.map(|bin| if sampling_ratio > 0 { sampling_ratio } else { bin.ceil() as usize });
        let at = |start: f32, axis: usize, bin: usize, sample: usize| {
            start + bin as f32 * bins[axis] + (sample as f32 + 0.5) * bins[axis] / samples[axis] as f32
        };
        for channel in 0..c {
            let plane = &x[(region.image * c + channel) * h * w..][..h * w];
            for row in 0..output[0] {
                for column in 0..output[1] {
                    let mut sum = T::default();
                    for i in 0..samples[0] {
                        for j in 0..samples[1] {
                            sum += bilinear(plane, [h, w], [at(y1, 0, row, i), at(x1, 1, column, j)]);
                        }
                    }
                    y.push(sum / T::from((samples[0] * samples[1]).max(1) as f32));
                }
            }
        }
    }
    y
}

/// The largest value of each bin of each region, 0 where a bin is empty. Bins are found in f32, as a region's corners are.
pub fn roi_pool<T: Real>(shape: &RoiPoolShape, x: &[T], regions: &[Region]) -> Vec<T> {
    let &RoiPoolShape { c, h, w, output, spatial_scale } = shape;
    let mut y = Vec::new();
    for region in regions {
        let [left, upper, right, lower] = region.corners.map(|corner| (corner * spatial_scale).round());
        let inside = |place: usize, start: f32, end: f32, bins: usize, bin: usize| {
            let size = (end - start + 1.0).max(1.0) / bins as f32;
            let at = place as f32 - start;
            at >= (bin as f32 * size).floor() && at < ((bin + 1) as f32 * size).ceil()
        };
        for channel in 0..c {
            for row in 0..output[0] {
                for column in 0..output[1] {
                    let mut largest = None;
                    for place in 0..h * w {
                        let value = x[(region.image * c + channel) * h * w + place];
                        let covered = inside(place / w, upper, lower, output[0], row) && inside(place % w, left, right, output[1], column);
                        if covered && largest.is_none_or(|largest| value > largest) {
                            largest = Some(value);
                        }
                    }
                    y.push(largest.unwrap_or_default());
                }
            }
        }
    }
    y
}
