//! Key points of an object, each a place in a small map (He, Gkioxari, Dollár & Girshick, "Mask R-CNN", 2017, section 5).

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

impl Keypoint {
    /// The point in an image that is resized from `[rows, columns]` to others.
    pub fn resize(self, from: [usize; 2], to: [usize; 2]) -> Self {
        let [down, across] = [0, 1].map(|axis| to[axis] as f32 / from[axis] as f32);
        Self { x: across * self.x, y: down * self.y, score: self.score }
    }
}

/// The names of a person's points in COCO, in its order.
pub const COCO_NAMES: [&str; 17] = [
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
];

/// The pairs of a person's points that COCO draws a line between, as indices into [`COCO_NAMES`].
#[rustfmt::skip]
pub const COCO_SKELETON: [[usize; 2]; 19] = [
    [15, 13], [13, 11], [16, 14], [14, 12], [11, 12], // legs
    [5, 11], [6, 12], [5, 6], // trunk
    [5, 7], [6, 8], [7, 9], [8, 10], // arms
    [1, 2], [0, 1], [0, 2], [1, 3], [2, 4], [3, 5], [4, 6], // head
];

/// Where the point x, y is in a map of `side` × `side` places for the inside of a box, as row · side + column; none where the point is
/// outside or, its third number not being over 0, not labelled. A point on the right or lower edge is inside. As torchvision has it.
pub fn place([x, y, visibility]: [f32; 3], side: usize, [left, upper, right, lower]: Xyxy) -> Option<usize> {
    let along = |at: f32, first: f32, last: f32| match (at - first) * (side as f32 / (last - first)) {
        _ if at == last => side.checked_sub(1),
        place if 0.0 <= place && place < side as f32 => Some(place as usize),
        _ => None,
    };
    let (column, row) = (along(x, left, right)?, along(y, upper, lower)?);
    (visibility > 0.0).then_some(row * side + column)
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
        let (low, high) = line.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| (value.min(low), value.max(high)));
        if high + BEYOND * (high - low) + ROUNDING * (high.abs() + low.abs()) < best.0 {
            continue;
        }
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

/// How far a cubic interpolation goes at most beyond the highest of its values, as a share of their range: its weights add up to 1, and the
/// negative ones among them to -3/16 or more.
const BEYOND: f32 = 3.0 / 16.0;

/// How far it goes beyond that by rounding, as a share of the values; generously.
const ROUNDING: f32 = 1e-6;

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

    /// Boxes of 14×28 pixels and maps of 56×56: four places a column, two a row. Each is what torchvision's `keypoints_to_heatmap` says.
    #[test]
    fn places_by_hand() {
        let corners = [10.0, 20.0, 24.0, 48.0];
        for (point, expected) in [
            ([10.0, 20.0, 1.0], Some([0, 0])),
            ([10.25, 20.0, 2.0], Some([0, 1])),
            ([17.1, 34.6, 2.0], Some([29, 28])),
            ([23.99, 47.9, 1.0], Some([55, 55])),
            ([24.0, 48.0, 1.0], Some([55, 55])), // on the far edges
            ([24.0, 20.0, 1.0], Some([0, 55])),
            ([24.01, 30.0, 1.0], None),
            ([9.99, 30.0, 1.0], None),
            ([17.0, 48.5, 1.0], None),
            ([17.0, 19.0, 1.0], None),
            ([17.0, 34.0, 0.0], None), // not labelled
            ([24.0, 48.0, 0.0], None),
            ([f32::NAN, 30.0, 1.0], None),
        ] {
            let expected = expected.map(|[row, column]: [usize; 2]| row * 56 + column);
            assert_eq!(place(point, 56, corners), expected, "{point:?}");
        }
        assert_eq!(place([1.0, 3.0, 1.0], 56, [2.0, 2.0, 2.0, 4.0]), None, "a box without a side has no inside");
        assert_eq!(place([2.0; 3], 0, [2.0, 2.0, 2.0, 4.0]), None);
    }

    #[test]
    fn the_skeleton_joins_left_to_left() {
        let side = |point: usize| COCO_NAMES[point].split_once('_').map(|(side, _)| side);
        let kind = |point: usize| COCO_NAMES[point].split('_').next_back();
        for [a, b] in COCO_SKELETON {
            assert!(side(a) == side(b) || a == 0 || kind(a) == kind(b), "{} {}", COCO_NAMES[a], COCO_NAMES[b]);
        }
        assert!((0..COCO_NAMES.len()).all(|point| COCO_SKELETON.as_flattened().contains(&point)));
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
        /// Rows that cannot have the peak are left out.
        #[test]
        fn the_peak_is_the_highest_of_all_pixels(logits in prop::collection::vec(-3f32..3.0, 25), base in prop::sample::select(vec![0f32, 1e6]),
            sides in prop::array::uniform2(0.1f32..40.0)) {
            let logits: Vec<f32> = logits.into_iter().map(|logit| base + logit).collect();
            let Keypoint { x, y, score } = peak(&logits, 5, [0.0, 0.0, sides[0], sides[1]]).unwrap();
            let [(width, columns), (height, rows)] = sides.map(|side| (side.max(1.0), side.max(1.0).ceil() as usize));
            let mut best = (f32::NEG_INFINITY, [0.0; 2]);
            for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                let (down, across) = (Cubic::new(row, 5, rows), Cubic::new(column, 5, columns));
                let value = across.of(|column| down.of(|row| logits[row * 5 + column]));
                if value > best.0 {
                    let middle = |place: usize, length: f32, count: usize| (place as f32 + 0.5) * (length / count as f32);
                    best = (value, [middle(column, width, columns), middle(row, height, rows)]);
                }
            }
            prop_assert_eq!((score, [x, y]), best);
        }

        /// A map that is high where a point lies has its peak there, not farther away than a place is wide or a pixel; unless it is shrunk, for
        /// then places are skipped.
        #[test]
        fn a_place_is_where_its_peak_is(share in prop::array::uniform2(0f32..0.999), corner in prop::array::uniform2(-9f32..90.0),
            sides in prop::array::uniform2(28f32..90.0)) {
            let corners = [corner[0], corner[1], corner[0] + sides[0], corner[1] + sides[1]];
            let [x, y] = [0, 1].map(|axis| corner[axis] + share[axis] * sides[axis]);
            let mut logits = vec![0.0; 28 * 28];
            logits[place([x, y, 1.0], 28, corners).unwrap()] = 1.0;
            let found = peak(&logits, 28, corners).unwrap();
            let near = |found: f32, place: f32, side: f32| (found - place).abs() <= (side / 28.0).max(1.0) + 1e-3;
            prop_assert!(near(found.x, x, sides[0]) && near(found.y, y, sides[1]), "{:?} {} {}", found, x, y);
        }

        #[test]
        fn a_place_scales_with_its_box(point in prop::array::uniform2(-2i16..60), exponent in -3..4i32) {
            let scale = 2f32.powi(exponent);
            let point = |scale: f32| [scale * f32::from(point[0]), scale * f32::from(point[1]), 1.0];
            let here = place(point(1.0), 56, [0.0, 0.0, 40.0, 52.0]);
            prop_assert_eq!(here, place(point(scale), 56, [0.0, 0.0, scale * 40.0, scale * 52.0]));
            let [x, y, _] = point(1.0);
            prop_assert_eq!(here.is_some(), (0.0..=40.0).contains(&x) && (0.0..=52.0).contains(&y));
        }

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
