//! Masks of objects, small until they are asked for.
//!
//! A network gives a mask as a square of probabilities for the inside of a box. [`Mask`] keeps that, and enlarges it when it is asked for,
//! with torchvision's rules.

use std::ops::Range;

use cirio_coco::{Rle, Runs};

use crate::boxes::{Xyxy, from_cxcywh, to_cxcywh};
use crate::{Error, Result};

/// The largest image, in pixels, that a mask is enlarged for.
const LARGEST: usize = 1 << 30;

/// The mask of an object in an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// side × side.
    probabilities: Vec<f32>,
    side: usize,
    corners: Xyxy,
    image: [usize; 2],
}

impl Mask {
    /// The probability from which on a pixel is taken to belong to an object.
    pub const INSIDE: f32 = 0.5;

    /// `side` × `side` probabilities for the inside of a box in an image of `[rows, columns]`.
    ///
    /// # Errors
    /// When there is another number of probabilities, or the image has more than 2³⁰ pixels.
    pub fn new(probabilities: Vec<f32>, side: usize, corners: Xyxy, image: [usize; 2]) -> Result<Self> {
        if side == 0 || side.checked_mul(side) != Some(probabilities.len()) {
            return Err(Error::Mask(format!("{} probabilities are no mask of {side}×{side}", probabilities.len())));
        }
        if image[0].checked_mul(image[1]).is_none_or(|pixels| pixels > LARGEST) {
            return Err(Error::Mask(format!("an image of {}×{} pixels is too large for a mask", image[0], image[1])));
        }
        Ok(Self { probabilities, side, corners, image })
    }

    /// Rows and columns of the image.
    pub fn size(&self) -> [usize; 2] {
        self.image
    }

    /// side × side probabilities for the inside of the box, row by row.
    pub fn small(&self) -> &[f32] {
        &self.probabilities
    }

    /// How sure the mask is: the mean probability of what is [`INSIDE`](Self::INSIDE), of the side × side; where nothing is, that limit.
    pub fn certainty(&self) -> f32 {
        let inside = || self.probabilities.iter().filter(|&&probability| probability >= Self::INSIDE);
        match inside().count() {
            0 => Self::INSIDE,
            count => inside().sum::<f32>() / count as f32,
        }
    }

    /// The probability of each pixel of the image, row by row; 0 outside of the box.
    pub fn probabilities(&self) -> Vec<f32> {
        let (patch, [rows, columns]) = (self.patch(), self.image);
        let mut all = vec![0.0; rows * columns];
        for row in patch.rows.clone() {
            let line = &mut all[row * columns..][patch.columns.clone()];
            line.iter_mut().zip(patch.columns.clone()).for_each(|(pixel, column)| *pixel = patch.at(row, column));
        }
        all
    }

    /// The pixels whose probability is at least `threshold`, which is over 0. Nothing of the image's size is allocated.
    ///
    /// # Errors
    /// When the threshold is not over 0.
    pub fn rle(&self, threshold: f32) -> Result<Rle> {
        if threshold.is_nan() || threshold <= 0.0 {
            return Err(Error::Mask(format!("the threshold of a mask is {threshold}, expected more than 0")));
        }
        let (patch, [rows, columns], mut runs) = (self.patch(), self.image, Runs::default());
        runs.add(false, patch.columns.start * rows);
        for column in patch.columns.clone() {
            runs.add(false, patch.rows.start);
            patch.rows.clone().for_each(|row| runs.add(patch.at(row, column) >= threshold, 1));
            runs.add(false, rows - patch.rows.end);
        }
        runs.add(false, (columns - patch.columns.end) * rows);
        Ok(runs.of(self.image)?)
    }

    /// The part of the image that the box covers. The square gets a margin of zeros and the box grows by as much, so that masks fade out at
    /// its edges; then its edges are cut to whole numbers.
    fn patch(&self) -> Patch {
        let padded = self.side + 2;
        let scale = padded as f32 / self.side as f32;
        let [x, y, width, height] = to_cxcywh(self.corners);
        let [left, upper, right, lower] = from_cxcywh([x, y, width * scale, height * scale]).map(|edge| edge as i64);
        let (rows, down) = axis(padded, [upper, lower], self.image[0]);
        let (columns, across) = axis(padded, [left, right], self.image[1]);
        let mixed = across.iter().flat_map(|mix| (0..padded).map(|row| mix.of(|column| self.padded(row, column)))).collect();
        Patch { rows, columns, down, mixed, padded }
    }

    /// A value of the square with its margin.
    fn padded(&self, row: usize, column: usize) -> f32 {
        let inside = 1..=self.side;
        if inside.contains(&row) && inside.contains(&column) { self.probabilities[(row - 1) * self.side + column - 1] } else { 0.0 }
    }
}

/// Two neighbours and the second one's share.
struct Mix {
    first: usize,
    second: usize,
    share: f32,
}

impl Mix {
    fn of(&self, value: impl Fn(usize) -> f32) -> f32 {
        (1.0 - self.share) * value(self.first) + self.share * value(self.second)
    }
}

/// The pixels of an image's side that a range of them covers, the last included, and how each is mixed of `old` values. Places are computed
/// in single precision, as torch does.
fn axis(old: usize, [first, last]: [i64; 2], side: usize) -> (Range<usize>, Vec<Mix>) {
    let new = last.saturating_sub(first).saturating_add(1).max(1);
    let bound = |place: i64| place.clamp(0, side as i64) as usize;
    let seen = bound(first)..bound(last.saturating_add(1).max(first));
    let scale = old as f32 / new as f32;
    let mix = |pixel: usize| {
        let place = (scale * ((pixel as i64).saturating_sub(first) as f32 + 0.5) - 0.5).max(0.0);
        let first = (place as usize).min(old - 1);
        Mix { first, second: (first + 1).min(old - 1), share: (place - first as f32).clamp(0.0, 1.0) }
    };
    (seen.clone(), seen.map(mix).collect())
}

/// The covered part of an image, mixed along rows.
struct Patch {
    rows: Range<usize>,
    columns: Range<usize>,
    down: Vec<Mix>,
    /// For each column the values of the padded square's rows.
    mixed: Vec<f32>,
    padded: usize,
}

impl Patch {
    /// The probability of a pixel that is covered.
    fn at(&self, row: usize, column: usize) -> f32 {
        let line = &self.mixed[(column - self.columns.start) * self.padded..][..self.padded];
        self.down[row - self.rows.start].of(|row| line[row])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(corners: Xyxy, image: [usize; 2]) -> Result<Mask> {
        Mask::new((0..16).map(|index| (index * 7 % 16) as f32 / 16.0).collect(), 4, corners, image)
    }

    /// `paste_masks_in_image((torch.arange(16).reshape(1, 1, 4, 4) * 7 % 16) / 16., torch.tensor([box]), (6, 8))` of torchvision 0.14.1.
    #[test]
    fn as_torchvision_pastes() -> Result<()> {
        let cases: [(Xyxy, usize, [f32; 8]); 4] = [
            ([2.0, 1.0, 7.0, 5.0], 2, [0.0, 0.241071, 0.447917, 0.311012, 0.495536, 0.620536, 0.245536, 0.075893]),
            ([2.0, 1.0, 7.0, 5.0], 5, [0.0, 0.098214, 0.25372, 0.482887, 0.319196, 0.155506, 0.384673, 0.220982]),
            ([-2.5, -1.2, 3.4, 9.7], 0, [0.399902, 0.666504, 0.425293, 0.158691, 0.0, 0.0, 0.0, 0.0]),
            ([3.0, 3.0, 3.2, 3.1], 3, [0.0, 0.0, 0.25, 0.5625, 0.0, 0.0, 0.0, 0.0]),
        ];
        for (corners, row, expected) in cases {
            let all = mask(corners, [6, 8])?.probabilities();
            for (ours, theirs) in all[row * 8..][..8].iter().zip(expected) {
                assert!((ours - theirs).abs() < 2e-6, "{corners:?}, row {row}: {all:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_mask_is_as_sure_as_what_is_inside() -> Result<()> {
        let certainty = |small: [f32; 4]| Ok::<_, Error>(Mask::new(small.to_vec(), 2, [0.0, 0.0, 2.0, 2.0], [4, 4])?.certainty());
        assert_eq!(certainty([0.0, 0.5, 0.49, 1.0])?, 0.75);
        assert_eq!(certainty([f32::NAN, 0.1, 0.0, 1.0])?, 1.0);
        assert_eq!(certainty([f32::NAN, 0.1, 0.0, 0.4])?, 0.5, "nothing is inside");
        Ok(())
    }

    #[test]
    fn boxes_outside_and_without_numbers_give_empty_masks() -> Result<()> {
        for corners in [[20.0, 20.0, 30.0, 30.0], [-30.0, -30.0, -20.0, -20.0], [9.0, 9.0, 1.0, 1.0]] {
            assert_eq!(mask(corners, [6, 8])?.rle(0.5)?.area(), 0, "{corners:?}");
        }
        for strange in [[f32::NAN; 4], [-1e30, -1e30, 1e30, 1e30], [f32::NEG_INFINITY, 0.0, f32::INFINITY, 5.0]] {
            assert_eq!(mask(strange, [6, 8])?.probabilities().len(), 48, "{strange:?}");
        }
        assert_eq!(mask([0.0, 0.0, 5.0, 5.0], [0, 8])?.rle(0.5)?.area(), 0);
        assert!(mask([0.0; 4], [1 << 20, 1 << 20]).is_err() && Mask::new(vec![0.0; 3], 2, [0.0; 4], [1, 1]).is_err());
        assert!(mask([0.0, 0.0, 5.0, 5.0], [6, 8])?.rle(0.0).is_err());
        Ok(())
    }

    proptest! {
        #[test]
        fn runs_are_those_of_the_pixels(
            edges in prop::array::uniform4(-10.0..30f32), rows in 1..20usize, columns in 1..20usize, threshold in 0.01..1.0f32,
        ) {
            let mask = mask(edges, [rows, columns]).unwrap();
            let pixels: Vec<u8> = mask.probabilities().iter().map(|&value| u8::from(value >= threshold)).collect();
            prop_assert_eq!(mask.rle(threshold).unwrap(), Rle::encode([rows, columns], &pixels).unwrap());
        }

        #[test]
        fn moved_by_whole_pixels_it_is_the_same(x in 0..5u8, y in 0..5u8, by in 0..6usize) {
            // Edges that lie in the middle between whole numbers after growing stay on their side when moved.
            let at = |by: f32| [2.25 + f32::from(x) + by, 2.25 + f32::from(y), 7.25 + f32::from(x) + by, 8.25 + f32::from(y)];
            let (here, there) = (mask(at(0.0), [20, 20]).unwrap().probabilities(), mask(at(by as f32), [20, 20]).unwrap().probabilities());
            for row in 0..20 {
                prop_assert_eq!(&here[row * 20..row * 20 + 20 - by], &there[row * 20 + by..row * 20 + 20]);
            }
        }
    }
}
