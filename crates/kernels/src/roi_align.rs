//! RoIAlign: maps of one size from regions of any size (He, Gkioxari, Dollár & Girshick, "Mask R-CNN", 2017, section 3), with
//! torchvision's rules.
//!
//! A region is cut into bins. In each bin some points are sampled, evenly spaced, each by bilinear interpolation, and the bin
//! is their mean. Points further than a pixel outside of the map count as 0. All of this is separable: a bin is a weighted sum
//! of rows, and in it of columns.

use std::ops::Range;

use crate::error::{ShapeError, expect, expect_positive, volume};
use crate::parallel::{COST, for_each_piece};

/// A region of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Which image of the batch.
    pub image: usize,
    /// x₁, y₁, x₂, y₂ in pixels of the picture: the left, upper, right and lower edge.
    pub corners: [f32; 4],
}

/// The sizes and rules of a RoIAlign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiAlignShape {
    /// C, channels.
    pub c: usize,
    /// H, rows of the maps.
    pub h: usize,
    /// W, columns of the maps.
    pub w: usize,
    /// Rows and columns of bins.
    pub output: [usize; 2],
    /// Points of a bin along each axis; 0 for as many as the bin has pixels, rounded up.
    pub sampling_ratio: usize,
    /// What a corner is multiplied by to lie on the maps: 1/16 where a map's pixel stands for 16×16 of the picture's.
    pub spatial_scale: f32,
    /// Whether a pixel's centre is at its middle, half a pixel from its edge. Otherwise, as in the first implementations, it is
    /// at the corner, and a region has at least one pixel.
    pub aligned: bool,
}

/// That maps C×H×W and bins of rows × columns can be computed with.
pub(crate) fn expect_sizes([c, h, w]: [usize; 3], [rows, columns]: [usize; 2]) -> Result<(), ShapeError> {
    expect_positive(&[
        ("the number of channels", c),
        ("the maps' height", h),
        ("the maps' width", w),
        ("the number of rows of bins", rows),
        ("the number of columns of bins", columns),
    ])?;
    volume(&[c, h, w])?;
    volume(&[c, rows, columns])?;
    Ok(())
}

/// The plan for a RoIAlign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiAlign {
    shape: RoiAlignShape,
}

impl RoiAlign {
    /// The plan for a shape.
    ///
    /// # Errors
    /// When a size is 0.
    pub fn new(shape: RoiAlignShape) -> Result<Self, ShapeError> {
        expect_sizes([shape.c, shape.h, shape.w], shape.output)?;
        Ok(Self { shape })
    }

    /// The shape that the plan is for.
    pub fn shape(&self) -> &RoiAlignShape {
        &self.shape
    }

    /// y, the bins of R regions in N images.
    ///
    /// # Shapes
    /// x (N, C, H, W), y (R, C, rows, columns).
    ///
    /// # Errors
    /// When a slice has another length, or a region is in no image or has corners that are not finite on the maps.
    pub fn forward(&self, n: usize, x: &[f32], regions: &[Region], y: &mut [f32]) -> Result<(), ShapeError> {
        let RoiAlignShape { c, h, w, output: [rows, columns], .. } = self.shape;
        expect("x", x, &[n, c, h, w])?;
        expect("y", y, &[regions.len(), c, rows, columns])?;
        let grids = self.grids(n, regions)?;
        let (plane, map) = (h * w, rows * columns);
        let operations = COST * y.len();
        for_each_piece(
            y,
            c * map,
            operations,
            #[inline(always)]
            |index, y| {
                let grid = &grids[index];
                let x = x[grid.image * c * plane..].chunks_exact(plane);
                let mut line = vec![0.0; grid.span.len()];
                x.zip(y.chunks_exact_mut(map)).for_each(|(x, y)| grid.forward(w, x, &mut line, y));
            },
        );
        Ok(())
    }

    /// dx, the gradient to the maps; there is none to the corners. What stands in `dx` is replaced.
    ///
    /// # Shapes
    /// dy (R, C, rows, columns), dx (N, C, H, W).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward(&self, n: usize, regions: &[Region], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
        let RoiAlignShape { c, h, w, output: [rows, columns], .. } = self.shape;
        expect("dy", dy, &[regions.len(), c, rows, columns])?;
        expect("dx", dx, &[n, c, h, w])?;
        let grids = self.grids(n, regions)?;
        let map = rows * columns;
        let operations = COST * dy.len().max(dx.len());
        for_each_piece(
            dx,
            h * w,
            operations,
            #[inline(always)]
            |index, dx| {
                dx.fill(0.0);
                let mut line = vec![0.0; w];
                for (region, grid) in grids.iter().enumerate().filter(|(_, grid)| grid.image == index / c) {
                    grid.backward(w, &dy[(region * c + index % c) * map..][..map], &mut line[..grid.span.len()], dx);
                }
            },
        );
        Ok(())
    }

    /// What one region takes of a plane: its bins are rows · plane · columnsᵀ, with the weights of H rows for each row of bins, and of W
    /// columns for each column of bins.
    ///
    /// # Errors
    /// When the region has corners that are not finite on the maps; `index` is what the message calls it.
    pub fn weights(&self, index: usize, region: &Region) -> Result<[Vec<f32>; 2], ShapeError> {
        let grid = self.grid(index, region)?;
        let dense = |axis: &Axis, side: usize| {
            let mut weights = vec![0.0; axis.ends.len() * side];
            for (weights, taps) in weights.chunks_exact_mut(side).zip(axis.bins()) {
                taps.iter().for_each(|tap| weights[tap.place] += tap.share);
            }
            weights
        };
        Ok([dense(&grid.rows, self.shape.h), dense(&grid.columns, self.shape.w)])
    }

    fn grids(&self, n: usize, regions: &[Region]) -> Result<Vec<Grid>, ShapeError> {
        let grid = |(index, region): (usize, &Region)| match region.image < n {
            true => self.grid(index, region),
            false => Err(ShapeError::RegionImage { index, image: region.image, images: n }),
        };
        regions.iter().enumerate().map(grid).collect()
    }

    fn grid(&self, index: usize, &Region { image, corners }: &Region) -> Result<Grid, ShapeError> {
        let RoiAlignShape { h, w, output, sampling_ratio, spatial_scale, aligned, .. } = self.shape;
        let [left, upper, right, lower] = corners.map(|corner| corner * spatial_scale - if aligned { 0.5 } else { 0.0 });
        let along = |start: f32, end: f32, bins: usize, side: usize| {
            let length = if aligned { end - start } else { (end - start).max(1.0) };
            match start.is_finite() && end.is_finite() && length.is_finite() {
                true => Ok(Axis::new(start, length, bins, sampling_ratio, side)),
                false => Err(ShapeError::RegionCorners { index }),
            }
        };
        let (rows, columns) = (along(upper, lower, output[0], h)?, along(left, right, output[1], w)?);
        let places = || columns.taps.iter().map(|tap| tap.place);
        let span = places().min().unwrap_or(0)..places().max().map_or(0, |last| last + 1);
        Ok(Grid { image, rows, columns, span })
    }
}

/// Where the bins of a region lie on the maps.
struct Grid {
    image: usize,
    rows: Axis,
    columns: Axis,
    /// The columns that any bin sees.
    span: Range<usize>,
}

impl Grid {
    /// One channel's bins; `line` is working memory as long as the span.
    #[inline(always)]
    fn forward(&self, w: usize, x: &[f32], line: &mut [f32], y: &mut [f32]) {
        for (rows, y) in self.rows.bins().zip(y.chunks_exact_mut(self.columns.ends.len())) {
            line.fill(0.0);
            for row in rows {
                let x = &x[row.place * w..][self.span.clone()];
                line.iter_mut().zip(x).for_each(|(sum, x)| *sum += row.share * x);
            }
            for (columns, y) in self.columns.bins().zip(y) {
                *y = columns.iter().map(|column| column.share * line[column.place - self.span.start]).sum();
            }
        }
    }

    /// Adds the gradient of one channel's bins.
    #[inline(always)]
    fn backward(&self, w: usize, dy: &[f32], line: &mut [f32], dx: &mut [f32]) {
        for (rows, dy) in self.rows.bins().zip(dy.chunks_exact(self.columns.ends.len())) {
            line.fill(0.0);
            for (columns, dy) in self.columns.bins().zip(dy) {
                columns.iter().for_each(|column| line[column.place - self.span.start] += column.share * dy);
            }
            for row in rows {
                let dx = &mut dx[row.place * w..][self.span.clone()];
                dx.iter_mut().zip(&*line).for_each(|(dx, line)| *dx += row.share * line);
            }
        }
    }
}

/// The bins of a region along one axis.
struct Axis {
    /// The pixels that the bins see, one bin after the other.
    taps: Vec<Tap>,
    /// Where each bin's taps end.
    ends: Vec<usize>,
}

/// A pixel along an axis, and its share of a bin.
struct Tap {
    place: usize,
    share: f32,
}

impl Axis {
    /// `start` and `length` are the region's, in pixels of a map with this many along the axis.
    fn new(start: f32, length: f32, bins: usize, sampling_ratio: usize, side: usize) -> Self {
        let bin = length / bins as f32;
        let samples = if sampling_ratio > 0 { sampling_ratio } else { bin.ceil() as usize };
        let mut axis = Self { taps: Vec::new(), ends: Vec::with_capacity(bins) };
        for place in 0..bins {
            let origin = start + place as f32 * bin;
            for sample in samples_inside(origin, bin, samples, side) {
                let at = origin + (sample as f32 + 0.5) * bin / samples as f32;
                if (-1.0..=side as f32).contains(&at) {
                    axis.sample(at.max(0.0), 1.0 / samples as f32, side);
                }
            }
            axis.ends.push(axis.taps.len());
        }
        axis
    }

    /// Adds a point to the bin that is being made.
    fn sample(&mut self, at: f32, share: f32, side: usize) {
        let low = (at as usize).min(side - 1);
        let high = (low + 1).min(side - 1);
        let rest = if low == high { 0.0 } else { at - low as f32 };
        for (place, share) in [(low, (1.0 - rest) * share), (high, rest * share)] {
            // Points come in order, so that a pixel which was seen before is among the last two.
            let bin = self.ends.last().copied().unwrap_or(0);
            match self.taps[bin..].iter_mut().rev().take(2).find(|tap| tap.place == place) {
                Some(tap) => tap.share += share,
                None => self.taps.push(Tap { place, share }),
            }
        }
    }

    /// The taps of each bin.
    #[inline(always)]
    fn bins(&self) -> impl Iterator<Item = &[Tap]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.taps[start..end])
    }
}

/// The samples of a bin that may lie on the map. A region that reaches far beyond the map would have many others.
fn samples_inside(origin: f32, bin: f32, samples: usize, side: usize) -> Range<usize> {
    if bin <= 0.0 {
        return 0..samples;
    }
    let index = |at: f32| f64::from(at - origin) * samples as f64 / f64::from(bin);
    let first = (index(-1.0) - 2.0).max(0.0) as usize;
    let end = (index(side as f32) + 2.0).max(0.0) as usize;
    first.min(samples)..end.min(samples)
}
