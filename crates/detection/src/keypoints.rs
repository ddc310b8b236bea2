//! Key points of an object, each the peak of a small map (He, Gkioxari, Dollár & Girshick, "Mask R-CNN", 2017, section 5).

use crate::boxes::Xyxy;
use crate::{Error, Result};

/// A point of an object, in pixels of the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keypoint {
    /// Column.
    pub x: f32,
    /// Row.
    pub y: f32,
    /// The logit at the peak.
    pub score: f32,
}

/// The most pixels that a map is enlarged to.
const LARGEST: f64 = (1u64 << 28) as f64;

/// Where a map of `side` × `side` logits for the inside of a box has its peak. As torchvision does, the map is enlarged to the box's size by
/// cubic interpolation, and the middle of the highest pixel is the point; of equal ones the first.
///
/// # Errors
/// When there is another number of logits, or the box is not finite or of more than 2²⁸ pixels.
pub fn peak(logits: &[f32], side: usize, [left, upper, right, lower]: Xyxy) -> Result<Keypoint> {
    if side == 0 || side.checked_mul(side) != Some(logits.len()) {
        return Err(Error::Keypoint(format!("{} logits are no map of {side}×{side}", logits.len())));
    }
    let (width, height) = ((right - left).max(1.0), (lower - upper).max(1.0));
    if !([left, upper, right, lower].iter().all(|edge| edge.is_finite()) && f64::from(width) * f64::from(height) <= LARGEST) {
        return Err(Error::Keypoint(format!("no point is looked for in the box {:?}", [left, upper, right, lower])));
    }
    let (columns, rows) = (width.ceil() as usize, height.ceil() as usize);
    let across: Vec<Cubic> = (0..columns).map(|place| Cubic::new(place, side, columns)).collect();
    let mut line = vec![0.0; side];
    let mut best = (f32::NEG_INFINITY, [0; 2]);
    for row in 0..rows {
        let down = Cubic::new(row, side, rows);
        line.iter_mut().enumerate().for_each(|(column, value)| *value = down.of(|row| logits[row * side + column]));
        for (column, cubic) in across.iter().enumerate() {
            let value = cubic.of(|column| line[column]);
            if value > best.0 {
                best = (value, [row, column]);
            }
        }
    }
    let (score, [row, column]) = best;
    let middle = |place: usize, length: f32, count: usize| (place as f32 + 0.5) * (length / count as f32);
    Ok(Keypoint { x: left + middle(column, width, columns), y: upper + middle(row, height, rows), score })
}

/// Four neighbours with the weights of Keys' cubic interpolation (a = -0.75, as torch has it).
struct Cubic {
    places: [usize; 4],
    weights: [f32; 4],
}

impl Cubic {
    fn new(place: usize, old: usize, new: usize) -> Self {
        const A: f32 = -0.75;
        let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
        let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
        let from = old as f32 / new as f32 * (place as f32 + 0.5) - 0.5;
        let (first, share) = (from.floor(), from - from.floor());
        let places = [-1.0, 0.0, 1.0, 2.0].map(|step: f32| (first + step).clamp(0.0, (old - 1) as f32) as usize);
        Self { places, weights: [far(share + 1.0), near(share), near(1.0 - share), far(2.0 - share)] }
    }

    fn of(&self, value: impl Fn(usize) -> f32) -> f32 {
        self.places.iter().zip(self.weights).map(|(&place, weight)| weight * value(place)).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `heatmaps_to_keypoints(((torch.arange(56 * 56) * 2654435761) % 1009).reshape(1, 1, 56, 56) / 1009., torch.tensor([box]))` of
    /// torchvision 0.14.1.
    #[test]
    fn as_torchvision() -> Result<()> {
        let logits: Vec<f32> = (0..56 * 56u64).map(|index| (index * 2_654_435_761 % 1009) as f32 / 1009.0).collect();
        let cases = [([2.0, 1.0, 30.5, 21.3], [3.4741, 1.4833, 1.1157]), ([0.0, 0.0, 0.5, 200.0], [0.5, 183.5, 1.1041])];
        for (corners, expected) in cases {
            let Keypoint { x, y, score } = peak(&logits, 56, corners)?;
            assert!([x, y, score].iter().zip(expected).all(|(ours, theirs)| (ours - theirs).abs() < 1e-4), "{x} {y} {score}");
        }
        Ok(())
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(peak(&[0.0; 3], 2, [0.0, 0.0, 4.0, 4.0]).is_err());
        for corners in [[f32::NAN, 0.0, 4.0, 4.0], [0.0, 0.0, 1e30, 4.0], [0.0, 0.0, f32::INFINITY, 4.0]] {
            assert!(peak(&[0.0; 4], 2, corners).is_err(), "{corners:?}");
        }
        assert!(peak(&[0.0; 4], 2, [4.0, 4.0, 0.0, 0.0]).is_ok(), "an exchanged box has one pixel");
    }

    proptest! {
        #[test]
        fn a_single_peak_is_found_where_it_is(row in 0..8usize, column in 0..8usize, scale in 1..4usize, x in 0..9u8, y in 0..9u8) {
            let mut logits = vec![0.0; 64];
            logits[row * 8 + column] = 1.0;
            let (side, x, y) = ((8 * scale) as f32, f32::from(x), f32::from(y));
            let found = peak(&logits, 8, [x, y, x + side, y + side]).unwrap();
            let near = |found: f32, place: usize, from: f32| ((found - from) / scale as f32 - place as f32 - 0.5).abs() <= 0.5;
            prop_assert!(near(found.x, column, x) && near(found.y, row, y), "{:?}", found);
        }
    }
}
