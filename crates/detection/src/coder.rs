//! Boxes as offsets from other boxes (Girshick et al., "Rich feature hierarchies", 2014, appendix C).

use crate::boxes::{Xyxy, from_cxcywh, to_cxcywh};

/// The largest logarithm of a size that is decoded: sixty-two times as wide. A larger one would overflow early in training.
const LARGEST: f32 = 4.135_166_6; // ln(1000 / 16)

/// Writes a box as (dx, dy, dw, dh): the way from the centre of a reference box in widths and heights of that, and the
/// logarithms of how many times wider and higher it is; each times a weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxCoder {
    /// What dx, dy, dw and dh are multiplied with.
    pub weights: [f32; 4],
}

impl BoxCoder {
    /// From anchors to proposals.
    pub const PROPOSALS: Self = Self { weights: [1.0; 4] };
    /// From proposals to detections: offsets that are about ten times smaller are brought to the same size.
    pub const DETECTIONS: Self = Self { weights: [10.0, 10.0, 5.0, 5.0] };

    /// The offsets of `target` from `reference`. Both must have sides longer than 0, or the offsets are not finite.
    pub fn encode(&self, reference: Xyxy, target: Xyxy) -> [f32; 4] {
        let ([x, y, width, height], [wx, wy, ww, wh]) = (to_cxcywh(reference), self.weights);
        let [to_x, to_y, to_width, to_height] = to_cxcywh(target);
        [wx * (to_x - x) / width, wy * (to_y - y) / height, ww * (to_width / width).ln(), wh * (to_height / height).ln()]
    }

    /// The box at these offsets from `reference`. A box gets at most 62.5 times wider or higher.
    pub fn decode(&self, reference: Xyxy, offsets: [f32; 4]) -> Xyxy {
        let [left, upper, right, lower] = reference;
        let (width, height) = (right - left, lower - upper);
        let [dx, dy, dw, dh] = [0, 1, 2, 3].map(|index: usize| offsets[index] / self.weights[index]);
        from_cxcywh([
            dx * width + (left + 0.5 * width),
            dy * height + (upper + 0.5 * height),
            dw.min(LARGEST).exp() * width,
            dh.min(LARGEST).exp() * height,
        ])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::boxes::from_xywh;

    #[test]
    fn by_hand() {
        // Centres (30, 50) and (36, 54), sides 40×60 and 48×72.
        let (anchor, target) = ([10.0, 20.0, 50.0, 80.0], [12.0, 18.0, 60.0, 90.0]);
        let offsets = BoxCoder::DETECTIONS.encode(anchor, target);
        let expected = [1.5, 2.0 / 3.0, 5.0 * 1.2f32.ln(), 5.0 * 1.2f32.ln()];
        assert!(offsets.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{offsets:?}");
        assert_eq!(BoxCoder::PROPOSALS.decode(anchor, [0.0; 4]), anchor);
    }

    #[test]
    fn sizes_are_limited_from_above_only() {
        let [left, upper, right, lower] = BoxCoder::PROPOSALS.decode([0.0, 0.0, 16.0, 16.0], [0.0, 0.0, 100.0, -100.0]);
        assert!((right - left - 1000.0).abs() < 1e-2 && lower - upper == 0.0);
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(sides in prop::array::uniform4(1.0..50f32), places in prop::array::uniform4(-50.0..50f32)) {
            let reference = from_xywh([places[0], places[1], sides[0], sides[1]]);
            let target = from_xywh([places[2], places[3], sides[2], sides[3]]);
            for coder in [BoxCoder::PROPOSALS, BoxCoder::DETECTIONS] {
                let back = coder.decode(reference, coder.encode(reference, target));
                prop_assert!(back.iter().zip(target).all(|(a, b)| (a - b).abs() < 1e-3), "{:?} {:?}", back, target);
            }
        }

        #[test]
        fn offsets_do_not_change_with_place_and_scale(b in prop::array::uniform4(1..50u8), by in -20..20i8) {
            let moved = |b: Xyxy| b.map(|edge| 2.0 * (edge + f32::from(by)));
            let (reference, target) = (from_xywh([3.0, 5.0, 20.0, 30.0]), from_xywh(b.map(f32::from)));
            let here = BoxCoder::DETECTIONS.encode(reference, target);
            let there = BoxCoder::DETECTIONS.encode(moved(reference), moved(target));
            prop_assert!(here.iter().zip(there).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }
}
