//! What masks have in common, found run by run.

use std::ops::Range;

use crate::{Error, Result, Rle, Runs};

impl Rle {
    /// The mask of `[rows, columns]` of what belongs to any of some masks; it is empty without one.
    ///
    /// # Errors
    /// When one has another size, or they would have 2³² pixels or more.
    pub fn union(size: [usize; 2], masks: &[Self]) -> Result<Self> {
        masks.iter().try_for_each(|mask| same_size(size, mask.size()))?;
        let mut ranges: Vec<_> = masks.iter().flat_map(Self::runs).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        from_ranges(size, ranges)
    }

    /// What belongs to both masks.
    ///
    /// # Errors
    /// When their sizes differ.
    pub fn intersection(&self, other: &Self) -> Result<Self> {
        same_size(self.size(), other.size())?;
        from_ranges(self.size(), common(self, other))
    }

    /// How many pixels of this mask, that was found, and another one, that is true, are the same: intersection over union. Where the true one is a
    /// crowd, intersection over this mask's own area, since it may be one of many. 0 where nothing is in common.
    ///
    /// # Errors
    /// When their sizes differ.
    pub fn iou(&self, truth: &Self, crowd: bool) -> Result<f64> {
        same_size(self.size(), truth.size())?;
        let both: usize = common(self, truth).map(|range| range.len()).sum();
        let whole = if crowd { self.area() } else { self.area() + truth.area() - both as u64 };
        Ok(if both == 0 { 0.0 } else { both as f64 / whole as f64 })
    }

    /// The edges x₁, y₁, x₂, y₂ of the smallest box around the mask, in whole pixels: columns x₁ to x₂ - 1. Nothing where it is empty.
    pub fn bounds(&self) -> Option<[u32; 4]> {
        let rows = self.size()[0];
        let runs = self.runs().filter(|run| !run.is_empty());
        let boxes = runs.map(|run| {
            let (first, last) = (run.start, run.end - 1);
            let [left, right] = [first / rows, last / rows];
            // A run through several columns reaches the bottom of one and the top of the next.
            let [top, bottom] = if left == right { [first % rows, last % rows] } else { [0, rows - 1] };
            [left, top, right + 1, bottom + 1]
        });
        let around = boxes.reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]);
        around.map(|edges| edges.map(|edge| edge as u32))
    }
}

fn same_size(ours: [usize; 2], theirs: [usize; 2]) -> Result<()> {
    match ours == theirs {
        true => Ok(()),
        false => Err(Error::Rle(format!("masks of {}×{} and {}×{} cannot be compared", ours[0], ours[1], theirs[0], theirs[1]))),
    }
}

/// The mask of ranges in order of their beginnings, which may overlap.
fn from_ranges(size: [usize; 2], ranges: impl IntoIterator<Item = Range<usize>>) -> Result<Rle> {
    let (mut runs, mut at) = (Runs::default(), 0);
    for Range { start, end } in ranges {
        runs.add(false, start.saturating_sub(at));
        runs.add(true, end.saturating_sub(at.max(start)));
        at = at.max(end);
    }
    runs.add(false, size[0].saturating_mul(size[1]).saturating_sub(at));
    runs.of(size)
}

/// What two masks have in common, in order.
fn common(one: &Rle, other: &Rle) -> impl Iterator<Item = Range<usize>> {
    let (mut ones, mut others) = (one.runs().peekable(), other.runs().peekable());
    std::iter::from_fn(move || {
        let (a, b) = (ones.peek()?, others.peek()?);
        let both = a.start.max(b.start)..a.end.min(b.end);
        let _ = if a.end <= b.end { ones.next() } else { others.next() };
        Some(both)
    })
    .filter(|both| !both.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_must_be_the_same() -> Result<()> {
        let [one, other] = [Rle::new([2, 3], vec![6])?, Rle::new([3, 2], vec![6])?];
        assert!(one.intersection(&other).is_err() && one.iou(&other, false).is_err() && Rle::union([2, 3], &[other]).is_err());
        assert_eq!((one.bounds(), one.iou(&one, true)?), (None, 0.0));
        Ok(())
    }

    proptest! {
        #[test]
        fn as_pixel_by_pixel(rows in 1..20usize, columns in 1..20usize, pixels in prop::collection::vec((0..2u8, 0..2u8), 400), crowd: bool) {
            let size = [rows, columns];
            let pixels = &pixels[..rows * columns];
            let one = Rle::encode(size, &pixels.iter().map(|pair| pair.0).collect::<Vec<_>>()).unwrap();
            let other = Rle::encode(size, &pixels.iter().map(|pair| pair.1).collect::<Vec<_>>()).unwrap();
            let both = Rle::encode(size, &pixels.iter().map(|pair| pair.0 & pair.1).collect::<Vec<_>>()).unwrap();
            let any = Rle::encode(size, &pixels.iter().map(|pair| pair.0 | pair.1).collect::<Vec<_>>()).unwrap();
            prop_assert_eq!(one.intersection(&other).unwrap(), both.clone());
            prop_assert_eq!(Rle::union(size, &[one.clone(), other.clone()]).unwrap(), any.clone());
            let whole = if crowd { one.area() } else { any.area() };
            let iou = if both.area() == 0 { 0.0 } else { both.area() as f64 / whole as f64 };
            prop_assert_eq!(one.iou(&other, crowd).unwrap(), iou);
        }

        #[test]
        fn bounds_hold_every_pixel(rows in 1..20usize, columns in 1..20usize, places in prop::collection::vec(0..400usize, 0..4)) {
            let mut mask = vec![0; rows * columns];
            places.iter().for_each(|place| mask[place % (rows * columns)] = 1);
            let at: Vec<_> = (0..mask.len()).filter(|&place| mask[place] == 1).map(|place| [place % columns, place / columns].map(|at| at as u32)).collect();
            let range = |axis: usize| Some([at.iter().map(|at| at[axis]).min()?, at.iter().map(|at| at[axis]).max()? + 1]);
            let expected = range(0).zip(range(1)).map(|(x, y)| [x[0], y[0], x[1], y[1]]);
            prop_assert_eq!(Rle::encode([rows, columns], &mask).unwrap().bounds(), expected);
        }
    }
}
