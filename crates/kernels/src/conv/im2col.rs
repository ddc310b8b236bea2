//! Convolution as a product of matrices (im2col; Chellapilla, Puri & Simard, "High performance convolutional neural
//! networks for document processing", 2006).
//!
//! The outputs are cut into *tiles*: runs of output rows, which may belong to several images. The windows of a tile become
//! the columns of a matrix (taps × pixels), so that
//!
//! ```text
//! y  = w · windows        (filters × taps) · (taps × pixels)
//! dw = Σ dy · windowsᵀ    (filters × pixels) · (pixels × taps)
//! windows' = wᵀ · dy      (taps × filters) · (filters × pixels), and dx is the sum of the places that windows' came from
//! ```
#![allow(unsafe_code)] // the tiles of an output lie interleaved in it

use std::ops::Range;

use super::{Conv2dShape, PARTIAL_SUMS, TASKS, sum_in_order};
use crate::columns::Columns;
use crate::gemm::{Into, Matrix, product};
use crate::parallel::{Parts, Scratch, for_each_task, lane_len, piece, split, threads_for};

/// Floats that a matrix of windows should have, so that it stays in a core's own cache.
const WINDOWS: usize = 1 << 17;

/// Fewest and most pixels of a tile, as far as whole rows allow.
const PIXELS: [usize; 2] = [96, 1024];

/// A convolution cut into tiles. Lengths are of one group.
struct Cut<'a> {
    shape: &'a Conv2dShape,
    n: usize,
    /// Rows and columns of the output.
    out: [usize; 2],
    /// Channels and filters of a group.
    channels: usize,
    filters: usize,
    /// Output rows of a tile: a part of an image, or a multiple of an image's rows.
    tile_rows: usize,
}

impl<'a> Cut<'a> {
    fn new(shape: &'a Conv2dShape, n: usize) -> Self {
        let out = shape.output();
        let pixels = (WINDOWS / shape.taps()).clamp(PIXELS[0], PIXELS[1]);
        let rows = (pixels / out[1]).clamp(1, (n * out[0]).max(1));
        let tile_rows = if rows > out[0] { rows - rows % out[0] } else { rows };
        Self { shape, n, out, channels: shape.c_in / shape.groups, filters: shape.c_out / shape.groups, tile_rows }
    }

    /// Output rows of all images.
    fn rows(&self) -> usize {
        self.n * self.out[0]
    }

    fn map(&self) -> usize {
        self.out[0] * self.out[1]
    }

    fn kernel_area(&self) -> usize {
        self.shape.kernel[0] * self.shape.kernel[1]
    }

    /// Most pixels of a tile.
    fn tile_pixels(&self) -> usize {
        self.tile_rows * self.out[1]
    }

    /// Multiplications and additions of one pass.
    fn operations(&self) -> usize {
        (2 * self.shape.c_out * self.shape.taps() * self.map()).saturating_mul(self.n)
    }

    /// Where the pixels of a run of rows lie in an image's map, piece by piece: (image, range in the map).
    fn pieces(&self, rows: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let [height, width] = self.out;
        let (first, last) = (rows.start / height, rows.end.div_ceil(height));
        (first..last).map(move |image| {
            let start = rows.start.max(image * height) - image * height;
            let end = rows.end.min((image + 1) * height) - image * height;
            (image, start * width..end * width)
        })
    }

    /// The windows of some channels of a group as a matrix (channels · kernel area, pixels). It lies in `buffer`, or in the
    /// input itself where a window is a pixel.
    fn windows<'b>(&self, x: &'b [f32], group: usize, channels: Range<usize>, rows: Range<usize>, buffer: &'b mut [f32]) -> Matrix<'b> {
        let &Conv2dShape { c_in, h, w, kernel, stride, padding, .. } = self.shape;
        let pixels = rows.len() * self.out[1];
        let mut pieces = self.pieces(rows.clone());
        let first = pieces.next();
        if let (Some((image, places)), None) = (first, pieces.next())
            && (kernel, stride, padding) == ([1; 2], [1; 2], [0; 2])
        {
            let start = (image * c_in + group * self.channels + channels.start) * h * w + places.start;
            return Matrix::rows(&x[start..], channels.len(), pixels, h * w);
        }
        let filled = &mut buffer[..channels.len() * self.kernel_area() * pixels];
        let mut lines = filled.chunks_exact_mut(pixels);
        for channel in channels.clone() {
            for r in 0..kernel[0] {
                for s in 0..kernel[1] {
                    let Some(line) = lines.next() else { return Matrix::rows(&[], 0, 0, 0) };
                    let columns = self.columns(s);
                    for (row, to) in rows.clone().zip(line.chunks_exact_mut(self.out[1])) {
                        let (image, row) = (row / self.out[0], row % self.out[0]);
                        match self.input_row(row, r) {
                            Some(row) => columns.gather(&x[((image * c_in + group * self.channels + channel) * h + row) * w..][..w], to),
                            None => to.fill(0.0),
                        }
                    }
                }
            }
        }
        Matrix::rows(filled, channels.len() * self.kernel_area(), pixels, pixels)
    }

    /// Adds a matrix of gradients to windows to the places that the windows came from. `dx` is one image's channels.
    fn scatter(&self, windows: &[f32], channels: Range<usize>, rows: Range<usize>, mut dx: impl FnMut(usize, usize) -> &'a mut [f32]) {
        let &Conv2dShape { w, kernel, .. } = self.shape;
        let pixels = rows.len() * self.out[1];
        let mut lines = windows.chunks_exact(pixels);
        for channel in channels {
            for r in 0..kernel[0] {
                for s in 0..kernel[1] {
                    let Some(line) = lines.next() else { return };
                    let columns = self.columns(s);
                    for (row, from) in rows.clone().zip(line.chunks_exact(self.out[1])) {
                        if let Some(input) = self.input_row(row % self.out[0], r) {
                            columns.scatter(from, &mut dx(row / self.out[0], channel)[input * w..][..w]);
                        }
                    }
                }
            }
        }
    }

    /// The input's row under the kernel's row `r` at an output's row, unless it is padding.
    fn input_row(&self, row: usize, r: usize) -> Option<usize> {
        let &Conv2dShape { h, stride, padding, dilation, .. } = self.shape;
        (row * stride[0] + r * dilation[0]).checked_sub(padding[0]).filter(|&row| row < h)
    }

    /// How the kernel's column `s` meets a row of the input.
    fn columns(&self, s: usize) -> Columns {
        let &Conv2dShape { w, stride, padding, dilation, .. } = self.shape;
        Columns::new(self.out[1], w, stride[1], s * dilation[1], padding[1])
    }

    /// The gradient to a tile of a group's maps, (filters, pixels). It lies in `dy` itself where the tile is of one image.
    fn gradients<'b>(&self, dy: &'b [f32], group: usize, rows: Range<usize>, buffer: &'b mut [f32]) -> Matrix<'b> {
        let (map, pixels) = (self.map(), rows.len() * self.out[1]);
        let start = |image: usize| (image * self.shape.c_out + group * self.filters) * map;
        let mut pieces = self.pieces(rows.clone());
        if let (Some((image, places)), None) = (pieces.next(), pieces.next()) {
            return Matrix::rows(&dy[start(image) + places.start..], self.filters, pixels, map);
        }
        let dense = &mut buffer[..self.filters * pixels];
        for (filter, line) in dense.chunks_exact_mut(pixels).enumerate() {
            let mut line = line;
            for (image, places) in self.pieces(rows.clone()) {
                let (to, rest) = line.split_at_mut(places.len());
                to.copy_from_slice(&dy[start(image) + filter * map..][places]);
                line = rest;
            }
        }
        Matrix::rows(dense, self.filters, pixels, pixels)
    }
}

/// See [`Conv2d::forward`](super::Conv2d::forward); the lengths were checked there.
pub(super) fn forward(shape: &Conv2dShape, n: usize, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32], scratch: &mut Scratch) {
    let cut = Cut::new(shape, n);
    let (taps, map) = (shape.taps(), cut.map());
    let tiles = cut.rows().div_ceil(cut.tile_rows);
    let lengths = [taps * cut.tile_pixels(), cut.filters * cut.tile_pixels()];
    let lane = lane_len(&lengths);
    let [lanes] = scratch.buffers([threads_for(tiles * shape.groups, cut.operations()) * lane]);
    let y = Parts::new(y);
    for_each_task(tiles * shape.groups, lanes, lane, |task, lane| {
        let (tile, group) = (task / shape.groups, task % shape.groups);
        let rows = piece(tile, cut.tile_rows, cut.rows());
        let pixels = rows.len() * cut.out[1];
        let [windows, maps] = split(lane, lengths);
        let windows = cut.windows(x, group, 0..cut.channels, rows.clone(), windows);
        let weights = Matrix::rows(&w[group * cut.filters * taps..], cut.filters, taps, taps);
        product(weights, windows, maps, Into::Replace);
        for (filter, line) in maps.chunks_exact(pixels).take(cut.filters).enumerate() {
            let filter = group * cut.filters + filter;
            let bias = bias.map_or(0.0, |bias| bias[filter]);
            let mut line = line;
            for (image, places) in cut.pieces(rows.clone()) {
                let (from, rest) = line.split_at(places.len());
                let start = (image * shape.c_out + filter) * map;
                // SAFETY: these pixels of this map belong to this tile and group alone.
                let to = unsafe { y.part(start + places.start..start + places.end) };
                to.iter_mut().zip(from).for_each(|(to, from)| *to = from + bias);
                line = rest;
            }
        }
    });
}

/// See [`Conv2d::backward_input`](super::Conv2d::backward_input); the lengths were checked there.
///
/// A task owns some channels of some whole images, as neighbouring windows add to the same pixels.
pub(super) fn backward_input(shape: &Conv2dShape, n: usize, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut Scratch) {
    let cut = Cut::new(shape, n);
    let images = (cut.tile_rows / cut.out[0]).max(1);
    let runs = n.div_ceil(images);
    let channels = channels_of_task(&cut, runs * shape.groups);
    let blocks = cut.channels.div_ceil(channels);
    let tasks = runs * shape.groups * blocks;
    let (taps, area, plane) = (shape.taps(), cut.kernel_area(), shape.h * shape.w);
    let lengths = [channels * area * cut.tile_pixels(), cut.filters * cut.tile_pixels()];
    let lane = lane_len(&lengths);
    let [lanes] = scratch.buffers([threads_for(tasks, cut.operations()) * lane]);
    let dx = Parts::new(dx);
    for_each_task(tasks, lanes, lane, |task, lane| {
        let (run, group, block) = (task / blocks / shape.groups, task / blocks % shape.groups, task % blocks);
        let images = piece(run, images, n);
        let some = piece(block, channels, cut.channels);
        let place = |image: usize, channel: usize| {
            let start = (image * shape.c_in + group * cut.channels + channel) * plane;
            // SAFETY: this channel of this image belongs to this task alone, which holds one of these parts at a time.
            unsafe { dx.part(start..start + plane) }
        };
        images.clone().for_each(|image| some.clone().for_each(|channel| place(image, channel).fill(0.0)));
        let [windows, gradients] = split(lane, lengths);
        let weights = Matrix::rows(&w[group * cut.filters * taps + some.start * area..], cut.filters, some.len() * area, taps);
        let run = images.start * cut.out[0]..images.end * cut.out[0];
        for start in run.clone().step_by(cut.tile_rows) {
            let rows = start..(start + cut.tile_rows).min(run.end);
            let windows = &mut windows[..some.len() * area * rows.len() * cut.out[1]];
            product(weights.transposed(), cut.gradients(dy, group, rows.clone(), gradients), windows, Into::Replace);
            cut.scatter(windows, some.clone(), rows, place);
        }
    });
}

/// See [`Conv2d::backward_weight`](super::Conv2d::backward_weight); the lengths were checked there.
///
/// A task sums some channels' gradients over a run of tiles; the sums of the runs are added in order.
pub(super) fn backward_weight(shape: &Conv2dShape, n: usize, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut Scratch) {
    let cut = Cut::new(shape, n);
    let (taps, area) = (shape.taps(), cut.kernel_area());
    let tiles = cut.rows().div_ceil(cut.tile_rows);
    let run = tiles.div_ceil((PARTIAL_SUMS / dw.len()).clamp(1, TASKS)).max(1);
    let runs = tiles.div_ceil(run).max(1);
    let channels = channels_of_task(&cut, runs * shape.groups);
    let blocks = cut.channels.div_ceil(channels);
    let tasks = runs * shape.groups * blocks;
    let lengths = [channels * area * cut.tile_pixels(), cut.filters * cut.tile_pixels(), cut.filters * channels * area];
    let lane = lane_len(&lengths);
    let [lanes, sums] = scratch.buffers([threads_for(tasks, cut.operations()) * lane, runs * dw.len()]);
    let length = dw.len();
    let parts = Parts::new(sums);
    for_each_task(tasks, lanes, lane, |task, lane| {
        let (index, group, block) = (task / blocks / shape.groups, task / blocks % shape.groups, task % blocks);
        let some = piece(block, channels, cut.channels);
        let wide = some.len() * area;
        let [windows, gradients, sum] = split(lane, lengths);
        let sum = &mut sum[..cut.filters * wide];
        sum.fill(0.0);
        for tile in piece(index, run, tiles) {
            let rows = piece(tile, cut.tile_rows, cut.rows());
            let gradients = cut.gradients(dy, group, rows.clone(), gradients);
            let windows = cut.windows(x, group, some.clone(), rows, windows);
            product(gradients, windows.transposed(), sum, Into::Add);
        }
        for (filter, row) in sum.chunks_exact(wide).enumerate() {
            let start = index * length + (group * cut.filters + filter) * taps + some.start * area;
            // SAFETY: these channels of this filter's sum over this run belong to this task alone.
            let to = unsafe { parts.part(start..start + wide) };
            to.copy_from_slice(row);
        }
    });
    sum_in_order(sums, dw);
}

/// How many of a group's channels a task takes, where there are so many tasks for each channel.
fn channels_of_task(cut: &Cut, tasks: usize) -> usize {
    let blocks = TASKS.div_ceil(tasks.max(1)).min(cut.channels);
    cut.channels.div_ceil(blocks)
}
