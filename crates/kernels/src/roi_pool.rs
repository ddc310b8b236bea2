//! RoIPool: maps of one size from regions of any size, by the largest values (Girshick, "Fast R-CNN", 2015, section 2.1), with
//! torchvision's rules.
//!
//! A region's corners are rounded to whole pixels, and it is cut into bins of whole pixels, which may overlap by one. A bin's value is
//! its largest; that of a bin outside of the maps is 0.

use std::ops::Range;

use crate::error::{ShapeError, expect};
use crate::parallel::{COST, for_each_piece};
use crate::roi_align::{Region, expect_sizes};

/// The sizes of a RoIPool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiPoolShape {
    /// C, channels.
    pub c: usize,
    /// H, rows of the maps.
    pub h: usize,
    /// W, columns of the maps.
    pub w: usize,
    /// Rows and columns of bins.
    pub output: [usize; 2],
    /// What a corner is multiplied by to lie on the maps: 1/16 where a map's pixel stands for 16×16 of the picture's.
    pub spatial_scale: f32,
}

/// The plan for a RoIPool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiPool {
    shape: RoiPoolShape,
}

impl RoiPool {
    /// The plan for a shape.
    ///
    /// # Errors
    /// When a size is 0.
    pub fn new(shape: RoiPoolShape) -> Result<Self, ShapeError> {
        expect_sizes([shape.c, shape.h, shape.w], shape.output)?;
        Ok(Self { shape })
    }

    /// The shape that the plan is for.
    pub fn shape(&self) -> &RoiPoolShape {
        &self.shape
    }

    /// The rows of the maps that each row of bins covers, and the columns that each column of bins covers; a range may be empty.
    ///
    /// # Errors
    /// When the region has corners that are not finite on the maps; `index` is what the message calls it.
    pub fn bins(&self, index: usize, region: &Region) -> Result<[Vec<Range<usize>>; 2], ShapeError> {
        let RoiPoolShape { h, w, output, spatial_scale, .. } = self.shape;
        let corners = region.corners.map(|corner| corner * spatial_scale);
        if corners.iter().any(|corner| !corner.is_finite()) {
            return Err(ShapeError::RegionCorners { index });
        }
        let [left, upper, right, lower] = corners.map(|corner| i64::from(corner.round() as i32));
        let along = |start: i64, end: i64, bins: usize, side: usize| {
            let bin = (end - start + 1).max(1) as f32 / bins as f32;
            let clipped = |place: f32| (place as i64).saturating_add(start).clamp(0, side as i64) as usize;
            let range = |index: usize| clipped((index as f32 * bin).floor())..clipped(((index + 1) as f32 * bin).ceil());
            (0..bins).map(range).collect()
        };
        Ok([along(upper, lower, output[0], h), along(left, right, output[1], w)])
    }

    /// y, the bins of R regions in N images. A NaN in a bin makes it NaN, as in every other pool of this crate (not in torchvision).
    ///
    /// # Shapes
    /// x (N, C, H, W), y (R, C, rows, columns).
    ///
    /// # Errors
    /// When a slice has another length, or a region is in no image or has corners that are not finite on the maps.
    pub fn forward(&self, n: usize, x: &[f32], regions: &[Region], y: &mut [f32]) -> Result<(), ShapeError> {
        let RoiPoolShape { c, h, w, output: [rows, columns], .. } = self.shape;
        expect("x", x, &[n, c, h, w])?;
        expect("y", y, &[regions.len(), c, rows, columns])?;
        let grids = self.grids(n, regions)?;
        let operations = COST * y.len();
        for_each_piece(y, rows * columns, operations, |index, y| {
            let (grid, plane) = (&grids[index / c], (regions[index / c].image * c + index % c) * h * w);
            let x = &x[plane..][..h * w];
            y.iter_mut().zip(places(grid, w, x)).for_each(|(y, place)| *y = place.map_or(0.0, |place| x[place]));
        });
        Ok(())
    }

    /// dx, the gradient to the maps: each bin passes all of its gradient to its first largest value in reading order (to the last NaN, if
    /// it has any). What stands in `dx` is replaced.
    ///
    /// # Shapes
    /// x and dx (N, C, H, W), dy (R, C, rows, columns).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward(&self, n: usize, x: &[f32], regions: &[Region], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
        let RoiPoolShape { c, h, w, output: [rows, columns], .. } = self.shape;
        expect("x", x, &[n, c, h, w])?;
        expect("dy", dy, &[regions.len(), c, rows, columns])?;
        expect("dx", dx, &[n, c, h, w])?;
        let (grids, map) = (self.grids(n, regions)?, rows * columns);
        let operations = COST * dy.len().max(dx.len());
        for_each_piece(dx, h * w, operations, |index, dx| {
            dx.fill(0.0);
            let x = &x[index * h * w..][..h * w];
            for (region, grid) in grids.iter().enumerate().filter(|(region, _)| regions[*region].image == index / c) {
                let dy = &dy[(region * c + index % c) * map..][..map];
                for (place, dy) in places(grid, w, x).zip(dy) {
                    place.into_iter().for_each(|place| dx[place] += dy);
                }
            }
        });
        Ok(())
    }

    fn grids(&self, n: usize, regions: &[Region]) -> Result<Vec<[Vec<Range<usize>>; 2]>, ShapeError> {
        let grid = |(index, region): (usize, &Region)| match region.image < n {
            true => self.bins(index, region),
            false => Err(ShapeError::RegionImage { index, image: region.image, images: n }),
        };
        regions.iter().enumerate().map(grid).collect()
    }
}

/// Where the largest value of each bin lies in a channel; none for an empty bin.
fn places<'a>([rows, columns]: &'a [Vec<Range<usize>>; 2], w: usize, x: &'a [f32]) -> impl Iterator<Item = Option<usize>> {
    rows.iter().flat_map(move |rows| columns.iter().map(move |columns| largest(rows, columns, w, x)))
}

fn largest(rows: &Range<usize>, columns: &Range<usize>, w: usize, x: &[f32]) -> Option<usize> {
    let mut found: Option<usize> = None;
    for row in rows.clone() {
        for place in row * w + columns.start..row * w + columns.end {
            let better = found.is_none_or(|found| x[place] > x[found] || x[place].is_nan());
            found = if better { Some(place) } else { found };
        }
    }
    found
}
