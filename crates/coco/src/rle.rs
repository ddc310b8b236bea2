//! Masks as COCO keeps them: lengths of runs, column by column.

use crate::{Error, Result};

/// A mask as the lengths of its runs, column by column from the top left, beginning with a run of zeros, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rle {
    size: [usize; 2],
    counts: Vec<u32>,
}

impl Rle {
    /// From the lengths of runs.
    ///
    /// # Errors
    /// When they do not add up to the number of pixels of a mask of `[rows, columns]`.
    pub fn new(size: [usize; 2], counts: Vec<u32>) -> Result<Self> {
        let pixels = size[0].checked_mul(size[1]).and_then(|pixels| u32::try_from(pixels).ok());
        let total = counts.iter().map(|&count| u64::from(count)).sum::<u64>();
        match pixels.is_some_and(|pixels| u64::from(pixels) == total) {
            true => Ok(Self { size, counts }),
            false => Err(Error::Rle(format!("runs of {total} pixels in all are no mask of {}×{}", size[0], size[1]))),
        }
    }

    /// The runs of a mask of `[rows, columns]`, row by row; what is not 0 belongs to it.
    ///
    /// # Errors
    /// When it has another number of pixels.
    pub fn encode(size: [usize; 2], mask: &[u8]) -> Result<Self> {
        let [rows, columns] = size;
        if rows.checked_mul(columns) != Some(mask.len()) {
            return Err(Error::Rle(format!("{} pixels are no mask of {rows}×{columns}", mask.len())));
        }
        let mut runs = Runs::default();
        for (column, row) in (0..columns).flat_map(|column| (0..rows).map(move |row| (column, row))) {
            runs.add(mask[row * columns + column] != 0, 1);
        }
        runs.of(size)
    }

    /// The mask row by row, 1 where it is.
    pub fn decode(&self) -> Vec<u8> {
        let [rows, columns] = self.size;
        let mut mask = vec![0; rows * columns];
        for place in self.runs().flatten() {
            mask[place % rows * columns + place / rows] = 1;
        }
        mask
    }

    /// The places that belong to the mask, column by column: `column · rows + row`.
    pub fn runs(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut place = 0;
        let ranges = self.counts.iter().enumerate().map(move |(index, &count)| {
            let run = place..place + count as usize;
            place = run.end;
            (index % 2 == 1, run)
        });
        ranges.filter_map(|(ours, run)| ours.then_some(run))
    }

    /// Rows and columns.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The lengths of the runs.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// The number of pixels that belong to the mask.
    pub fn area(&self) -> u64 {
        self.counts.iter().skip(1).step_by(2).map(|&count| u64::from(count)).sum()
    }

    /// The runs as COCO's text: from the fourth on each is the difference to the one two before, in pieces of five bits, the lowest first, with a
    /// sixth bit where more follow, as a character from `0` on.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (index, &count) in self.counts.iter().enumerate() {
            let mut rest = i64::from(count) - if index > 2 { i64::from(self.counts[index - 2]) } else { 0 };
            loop {
                let bits = (rest & 31) as u8;
                rest >>= 5;
                // What is left is only the sign, which the fifth bit has.
                let last = rest == if bits & 16 == 0 { 0 } else { -1 };
                text.push(char::from(b'0' + if last { bits } else { bits | 32 }));
                if last {
                    break;
                }
            }
        }
        text
    }

    /// From COCO's text.
    ///
    /// # Errors
    /// When it is no such text, or not of a mask of `[rows, columns]`.
    pub fn from_text(size: [usize; 2], text: &str) -> Result<Self> {
        let unsound = |at: usize| Error::Rle(format!("character {} of the text of a mask is not sound", at + 1));
        let mut counts: Vec<u32> = Vec::new();
        let (mut value, mut shift) = (0i64, 0);
        for (at, byte) in text.bytes().enumerate() {
            let bits = i64::from(byte.checked_sub(b'0').filter(|bits| *bits < 64).ok_or_else(|| unsound(at))?);
            if shift > 35 {
                return Err(unsound(at));
            }
            value |= (bits & 31) << shift;
            shift += 5;
            if bits & 32 != 0 {
                continue;
            }
            if bits & 16 != 0 {
                value |= -1 << shift;
            }
            let before = if counts.len() > 2 { i64::from(counts[counts.len() - 2]) } else { 0 };
            counts.push(u32::try_from(value + before).map_err(|_| unsound(at))?);
            (value, shift) = (0, 0);
        }
        match shift {
            0 => Self::new(size, counts),
            _ => Err(unsound(text.len())),
        }
    }
}

/// Runs that grow, column by column, for masks that are never held pixel by pixel.
#[derive(Clone, Debug)]
pub struct Runs {
    counts: Vec<u32>,
}

impl Default for Runs {
    /// The first run is of zeros, and empty.
    fn default() -> Self {
        Self { counts: vec![0] }
    }
}

impl Runs {
    /// Adds pixels that all belong to the mask, or all do not.
    pub fn add(&mut self, ours: bool, pixels: usize) {
        let last_is_ours = self.counts.len().is_multiple_of(2);
        if pixels > 0 && last_is_ours != ours {
            self.counts.push(0);
        }
        if let Some(count) = self.counts.last_mut() {
            *count = count.saturating_add(u32::try_from(pixels).unwrap_or(u32::MAX));
        }
    }

    /// The mask of `[rows, columns]`.
    ///
    /// # Errors
    /// When they do not add up to its number of pixels.
    pub fn of(self, size: [usize; 2]) -> Result<Rle> {
        Rle::new(size, self.counts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The columns are 01, 11, 10, so the runs 1, 4, 1; `141` is also what the recurrence of `rleToString` in cocoapi gives.
    #[test]
    fn by_hand() -> Result<()> {
        let rle = Rle::encode([2, 3], &[0, 1, 1, 1, 1, 0])?;
        assert_eq!((rle.counts(), rle.area()), ([1, 4, 1].as_slice(), 4));
        assert_eq!(rle.to_text(), "141");
        assert_eq!(Rle::encode([2, 1], &[7, 0])?.counts(), [0, 1, 1], "a mask may begin at once");
        assert_eq!(Rle::encode([0, 4], &[])?.area(), 0);
        Ok(())
    }

    /// 100 is 00100 with more to come, then 3: characters 36 and 3 after `0`. 3 - 100 is 11111 with more to come, then 11100: 63 and 28.
    #[test]
    fn long_runs_and_differences() -> Result<()> {
        let rle = Rle::new([10, 22], vec![3, 100, 1, 3, 113])?;
        assert_eq!(rle.to_text(), "3T31oL`3");
        assert_eq!(Rle::from_text([10, 22], &rle.to_text())?, rle);
        Ok(())
    }

    #[test]
    fn unsound_ones_are_refused() {
        assert!(Rle::new([2, 2], vec![5]).is_err() && Rle::new([usize::MAX, 2], vec![5]).is_err());
        assert!(Rle::encode([2, 2], &[1]).is_err());
        for text in ["\u{7f}", "o", "ooooooooooo", "0", "L4", "é"] {
            assert!(Rle::from_text([2, 2], text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn back_and_forth(rows in 1..40usize, columns in 1..40usize, runs in prop::collection::vec(1..90usize, 0..20)) {
            let mut mask: Vec<u8> = runs.iter().enumerate().flat_map(|(index, &run)| vec![(index % 2) as u8; run]).collect();
            mask.resize(rows * columns, 0);
            let rle = Rle::encode([rows, columns], &mask).unwrap();
            prop_assert_eq!(rle.decode(), mask.clone());
            prop_assert_eq!(rle.area(), mask.iter().map(|&pixel| u64::from(pixel)).sum::<u64>());
            prop_assert_eq!(Rle::from_text([rows, columns], &rle.to_text()).unwrap(), rle);
        }
    }
}
