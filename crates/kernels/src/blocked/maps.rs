//! How maps lie in memory: channels apart, or some of them side by side, with or without a margin of zeros.
#![allow(unsafe_code)] // threads write parts of one output

use rayon::prelude::*;

use super::transpose::{Columns, Rows, transpose};
use crate::error::{ShapeError, expect, expect_positive, volume};
use crate::parallel::{CHUNK, Parts, threads_for};
use crate::simd;

/// The maps of an image: C channels of H×W pixels, laid out as (C / together, H + margins, W + margins, together).
///
/// Where the channels do not fill the last group, the group's other values are 0, and so is the margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Maps {
    channels: usize,
    height: usize,
    width: usize,
    together: usize,
    margin: [usize; 2],
}

impl Maps {
    /// One channel after the other, as (C, H, W).
    ///
    /// # Errors
    /// When a number is 0, or there are more values than can be addressed.
    pub fn planar([channels, height, width]: [usize; 3]) -> Result<Self, ShapeError> {
        Self { channels, height, width, together: 1, margin: [0; 2] }.checked()
    }

    /// As many channels side by side as this machine's vectors have floats.
    ///
    /// # Errors
    /// As for [`planar`](Self::planar).
    pub fn blocked([channels, height, width]: [usize; 3]) -> Result<Self, ShapeError> {
        Self { channels, height, width, together: simd::lanes(), margin: [0; 2] }.checked()
    }

    /// The same maps with that many rows of zeros above and below, and columns on the left and on the right.
    ///
    /// # Errors
    /// When there are then more values than can be addressed.
    pub fn with_margin(self, margin: [usize; 2]) -> Result<Self, ShapeError> {
        Self { margin, ..self }.checked()
    }

    fn checked(self) -> Result<Self, ShapeError> {
        let Self { channels, height, width, together, margin } = self;
        expect_positive(&[("the number of channels", channels), ("the height", height), ("the width", width)])?;
        let side = |side: usize, margin: usize| margin.saturating_mul(2).saturating_add(side);
        volume(&[channels.saturating_add(together), side(height, margin[0]), side(width, margin[1])])?;
        Ok(self)
    }

    /// C, H, W.
    pub fn size(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// Rows and columns of zeros on each side.
    pub fn margin(&self) -> [usize; 2] {
        self.margin
    }

    /// Channels side by side.
    pub(crate) fn together(&self) -> usize {
        self.together
    }

    /// Groups of channels.
    pub(crate) fn groups(&self) -> usize {
        self.channels.div_ceil(self.together)
    }

    /// Floats of a row, margins counted.
    pub(crate) fn row(&self) -> usize {
        (self.width + 2 * self.margin[1]) * self.together
    }

    /// Floats of a group of channels.
    pub(crate) fn group(&self) -> usize {
        (self.height + 2 * self.margin[0]) * self.row()
    }

    /// Floats of an image.
    pub fn image(&self) -> usize {
        self.groups() * self.group()
    }

    /// Where, inside a group of channels, the pixel lies that is `before` rows and columns before the first one.
    pub(crate) fn origin(&self, before: [usize; 2]) -> usize {
        (self.margin[0] - before[0]) * self.row() + (self.margin[1] - before[1]) * self.together
    }

    /// Fills the margins of n images with zeros.
    ///
    /// # Errors
    /// When the slice has another length.
    pub fn clear_margin(&self, n: usize, values: &mut [f32]) -> Result<(), ShapeError> {
        expect("the maps", values, &[n, self.image()])?;
        self.clear_margin_of_groups(values);
        Ok(())
    }

    fn clear_margin_of_groups(&self, values: &mut [f32]) {
        if self.margin == [0; 2] {
            return;
        }
        let side = self.margin[1] * self.together;
        for group in values.chunks_exact_mut(self.group()) {
            let (above, rest) = group.split_at_mut(self.margin[0] * self.row());
            let (rows, below) = rest.split_at_mut(self.height * self.row());
            above.fill(0.0);
            below.fill(0.0);
            for row in rows.chunks_exact_mut(self.row()) {
                row[..side].fill(0.0);
                row[side + self.width * self.together..].fill(0.0);
            }
        }
    }

    /// The same maps in another layout: `from` (n images of this layout) to `to` (n images of that one).
    ///
    /// # Errors
    /// When the maps have other sizes, or a slice another length.
    pub fn copy(&self, n: usize, from: &[f32], layout: &Self, to: &mut [f32]) -> Result<(), ShapeError> {
        if self.size() != layout.size() {
            return Err(ShapeError::Maps { given: layout.size(), expected: self.size() });
        }
        expect("the maps", from, &[n, self.image()])?;
        expect("the copied maps", to, &[n, layout.image()])?;
        // What is copied at a time: channels that are a whole number of groups in both layouts.
        let channels = self.together.max(layout.together);
        let pieces = self.channels.div_ceil(channels);
        let parts = Parts::new(to);
        let one = |task: usize| {
            let (image, piece) = (task / pieces, task % pieces);
            let first = piece * channels;
            let from = &from[image * self.image() + first / self.together * self.group()..(image + 1) * self.image()];
            let start = image * layout.image() + first / layout.together * layout.group();
            let length = channels.min(self.channels - first).div_ceil(layout.together) * layout.group();
            // SAFETY: these groups of this image belong to this task.
            let to = unsafe { parts.part(start..start + length) };
            self.copy_piece(channels.min(self.channels - first), from, layout, to);
        };
        if threads_for(n * pieces, 8 * n * self.image()) == 1 {
            (0..n * pieces).for_each(one);
        } else {
            (0..n * pieces).into_par_iter().with_min_len((CHUNK / (channels * self.height * self.width)).max(1)).for_each(one);
        }
        Ok(())
    }

    /// Planar maps of n images to maps with channels side by side and no margin, in which each group of channels of all images
    /// lies image after image. Lengths have been checked.
    pub(crate) fn copy_above_one_another(&self, n: usize, from: &[f32], to: &mut [f32]) {
        let together = simd::lanes();
        let (pixels, groups) = (self.height * self.width, self.channels.div_ceil(together));
        let parts = Parts::new(to);
        let one = |task: usize| {
            let (image, group) = (task / groups, task % groups);
            let channels = together.min(self.channels - group * together);
            let from = &from[(image * self.channels + group * together) * pixels..][..channels * pixels];
            let start = (group * n + image) * pixels * together;
            // SAFETY: this group of this image belongs to this task.
            let to = unsafe { parts.part(start..start + pixels * together) };
            if channels < together {
                to.fill(0.0);
            }
            transpose(from, Rows { count: channels, stride: pixels }, Columns::in_a_row(pixels, together), to);
        };
        if threads_for(n * groups, 8 * from.len()) == 1 {
            (0..n * groups).for_each(one);
        } else {
            (0..n * groups).into_par_iter().with_min_len((CHUNK / (together * pixels)).max(1)).for_each(one);
        }
    }

    /// Some channels, from the first value of their groups.
    fn copy_piece(&self, channels: usize, from: &[f32], layout: &Self, to: &mut [f32]) {
        if layout.together > 1 && !channels.is_multiple_of(layout.together) {
            to.fill(0.0);
        } else {
            layout.clear_margin_of_groups(to);
        }
        if self.together == 1 && layout.together > 1 && self.margin == [0; 2] {
            // The pixels of an image lie in one row, which may be longer than a narrow map's.
            let columns = Columns { count: self.height * self.width, stride: layout.together, width: self.width, row: layout.row() };
            transpose(from, Rows { count: channels, stride: self.group() }, columns, &mut to[layout.origin([0; 2])..]);
            return;
        }
        // Without margins an image is one row.
        let whole = self.margin == [0; 2] && layout.margin == [0; 2];
        let (height, width) = if whole { (1, self.height * self.width) } else { (self.height, self.width) };
        for row in 0..height {
            let from = &from[self.origin([0; 2]) + row * self.row()..];
            let to = &mut to[layout.origin([0; 2]) + row * layout.row()..];
            match (self.together, layout.together) {
                (a, b) if a == b => {
                    for group in 0..channels.div_ceil(a) {
                        to[group * layout.group()..][..width * a].copy_from_slice(&from[group * self.group()..][..width * a]);
                    }
                }
                (1, together) => {
                    transpose(from, Rows { count: channels, stride: self.group() }, Columns::in_a_row(width, together), to);
                }
                (together, _) => {
                    transpose(from, Rows { count: width, stride: together }, Columns::in_a_row(channels, layout.group()), to);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_again() -> Result<(), ShapeError> {
        for (channels, margin) in [(1, [0, 0]), (3, [1, 2]), (16, [0, 1]), (37, [2, 0])] {
            let planar = Maps::planar([channels, 3, 5])?;
            let blocked = Maps::blocked([channels, 3, 5])?.with_margin(margin)?;
            let x: Vec<f32> = (1..=2 * planar.image()).map(|value| value as f32).collect();
            let (mut y, mut back) = (vec![f32::NAN; 2 * blocked.image()], vec![f32::NAN; x.len()]);
            planar.copy(2, &x, &blocked, &mut y)?;
            assert_eq!(y.iter().filter(|&&value| value != 0.0).count(), x.len(), "the rest is zeros");
            blocked.copy(2, &y, &planar, &mut back)?;
            assert_eq!(x, back);
            let wider = blocked.with_margin([3, 1])?;
            let mut z = vec![f32::NAN; 2 * wider.image()];
            blocked.copy(2, &y, &wider, &mut z)?;
            wider.copy(2, &z, &planar, &mut back)?;
            assert_eq!(x, back);
        }
        Ok(())
    }

    #[test]
    fn other_sizes_are_refused() -> Result<(), ShapeError> {
        let (maps, other) = (Maps::planar([2, 3, 4])?, Maps::blocked([2, 4, 3])?);
        let error = maps.copy(1, &[0.0; 24], &other, &mut vec![0.0; other.image()]).unwrap_err();
        assert_eq!(error.to_string(), "maps of 2×4×3 given, 2×3×4 expected");
        assert!(maps.copy(2, &[0.0; 24], &maps, &mut [0.0; 48]).is_err());
        assert!(Maps::planar([0, 1, 1]).is_err() && Maps::planar([usize::MAX, 2, 2]).is_err());
        Ok(())
    }
}
