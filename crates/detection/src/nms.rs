//! Non-maximum suppression: of boxes that overlap, the one with the highest score stays.

use std::collections::BTreeMap;

use crate::boxes::{Xyxy, area, iou, is_sound};
use crate::select::{descending, top_k};

/// The indices of the boxes that stay, from the highest score to the lowest: each whose IoU with none that stays before it is over `threshold`.
/// Of equal scores the first comes first.
///
/// Boxes without an area and boxes with edges that are not finite overlap nothing, so they stay. Scores that are not numbers come last.
/// The rules are torchvision's: IoU in single precision, compared with a threshold in double.
pub fn nms(boxes: &[Xyxy], scores: &[f32], threshold: f64) -> Vec<usize> {
    let count = boxes.len().min(scores.len());
    let order = top_k(&scores[..count], count);
    let mut sweep = Sweep::new(boxes, &order, threshold);
    let stay = |rank: &usize| sweep.keep(*rank);
    let ranks: Vec<usize> = (0..count).filter(stay).collect();
    ranks.into_iter().map(|rank| order[rank]).collect()
}

/// [`nms`] among the boxes of each class alone. Exact: nothing is shifted to keep classes apart.
pub fn batched_nms(boxes: &[Xyxy], scores: &[f32], classes: &[usize], threshold: f64) -> Vec<usize> {
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, &class) in classes.iter().enumerate().take(boxes.len().min(scores.len())) {
        members.entry(class).or_default().push(index);
    }
    let of_class = |members: Vec<usize>| -> Vec<usize> {
        let boxes: Vec<Xyxy> = members.iter().map(|&index| boxes[index]).collect();
        let scores: Vec<f32> = members.iter().map(|&index| scores[index]).collect();
        nms(&boxes, &scores, threshold).into_iter().map(|place| members[place]).collect()
    };
    let mut stay: Vec<usize> = members.into_values().flat_map(of_class).collect();
    stay.sort_unstable_by(|&a, &b| descending(scores[a], scores[b]).then(a.cmp(&b)));
    stay
}

/// Box voting (Gidaris & Komodakis, "Object detection via a multi-region & semantic segmentation-aware CNN model", 2015, arXiv 1505.01749,
/// section 5): where the box at `index` goes, which is the mean of the boxes of its class whose IoU with it is at least `overlap`, weighted by their
/// scores. It is one of them; those that [`nms()`] suppressed are meant to be.
///
/// `overlap` is in 0 … 1, where 0 lets all vote that touch it; theirs is 0.5. A box whose score is not a finite number over 0, or that has no
/// area or edges that are not finite, stays where it is, and has no vote.
pub fn box_voting(boxes: &[Xyxy], scores: &[f32], classes: &[usize], index: usize, overlap: f64) -> Xyxy {
    let votes = |score: f32| score.is_finite() && score > 0.0;
    let (mut sum, mut weight) = ([0.0; 4], 0.0);
    for ((other, &score), class) in boxes.iter().zip(scores).zip(classes) {
        let shared = iou(&boxes[index], other);
        if *class == classes[index] && votes(score) && votes(scores[index]) && shared > 0.0 && f64::from(shared) >= overlap {
            sum.iter_mut().zip(other).for_each(|(sum, &edge)| *sum += f64::from(score) * f64::from(edge));
            weight += f64::from(score);
        }
    }
    if weight > 0.0 { sum.map(|sum: f64| (sum / weight) as f32) } else { boxes[index] }
}

/// The sound boxes, sorted by their left edges, so that those that a box can suppress lie side by side: where the IoU of two boxes is over
/// t, the narrower is at least t times as wide as the other, and t of the wider's width is shared, so the left edges are less than
/// (1 - t)/t widths of the one apart.
struct Sweep {
    left: Vec<f32>,
    upper: Vec<f32>,
    right: Vec<f32>,
    lower: Vec<f32>,
    area: Vec<f32>,
    /// Places in the order of scores.
    rank: Vec<u32>,
    /// 1 for what was suppressed.
    gone: Vec<u32>,
    /// Where the box of each rank is; none for boxes that overlap nothing.
    place: Vec<Option<usize>>,
    widest: f32,
    /// The largest number of single precision that is not over the threshold.
    threshold: f32,
}

impl Sweep {
    fn new(boxes: &[Xyxy], order: &[usize], threshold: f64) -> Self {
        let mut ranks: Vec<usize> = (0..order.len()).filter(|&rank| is_sound(&boxes[order[rank]])).collect();
        ranks.sort_unstable_by(|&a, &b| boxes[order[a]][0].total_cmp(&boxes[order[b]][0]).then(a.cmp(&b)));
        let edge = |index: usize| ranks.iter().map(|&rank| boxes[order[rank]][index]).collect::<Vec<f32>>();
        let mut place = vec![None; order.len()];
        ranks.iter().enumerate().for_each(|(at, &rank)| place[rank] = Some(at));
        let single = threshold as f32;
        Self {
            left: edge(0),
            upper: edge(1),
            right: edge(2),
            lower: edge(3),
            area: ranks.iter().map(|&rank| area(boxes[order[rank]])).collect(),
            gone: vec![0; ranks.len()],
            widest: ranks.iter().map(|&rank| boxes[order[rank]]).fold(0.0, |widest, [left, _, right, _]| widest.max(right - left)),
            threshold: if f64::from(single) > threshold { single.next_down() } else { single },
            rank: ranks.into_iter().map(|rank| rank as u32).collect(),
            place,
        }
    }

    /// Whether the box of this rank stays; if so, it suppresses those of higher rank that overlap it too much.
    fn keep(&mut self, rank: usize) -> bool {
        let Some(at) = self.place[rank] else { return true };
        if self.gone[at] != 0 {
            return false;
        }
        let (from, to) = self.reach(at);
        let this = [self.left[at], self.upper[at], self.right[at], self.lower[at], self.area[at]];
        let others = [&self.left, &self.upper, &self.right, &self.lower, &self.area].map(|values| &values[from..to]);
        suppress(this, others, self.threshold, rank as u32, &self.rank[from..to], &mut self.gone[from..to]);
        true
    }

    /// The boxes that may overlap this one enough. Their bounds are a little wider than need be, for rounding.
    fn reach(&self, at: usize) -> (usize, usize) {
        let (left, right) = (self.left[at], self.right[at]);
        let (width, share) = (right - left, self.threshold.max(0.0));
        let slack = 1e-4 * width + 1e-5 * (left.abs() + right.abs());
        let (least, most) = (left - self.widest.min(width * (1.0 - share) / share) - slack, right - width * share + slack);
        // A bound that is not a number bounds nothing.
        (self.left.partition_point(|&other| other < least), self.left.partition_point(|&other| other <= most || most.is_nan()))
    }
}

/// Marks those of the others whose rank is higher and whose IoU with `this` is over the threshold.
fn suppress(this: [f32; 5], others: [&[f32]; 5], threshold: f32, rank: u32, ranks: &[u32], gone: &mut [u32]) {
    let [left, upper, right, lower, area] = this;
    let count = gone.len();
    let [lefts, uppers, rights, lowers, areas] = others.map(|values| &values[..count]);
    let ranks = &ranks[..count];
    for index in 0..count {
        let width = (right.min(rights[index]) - left.max(lefts[index])).max(0.0);
        let height = (lower.min(lowers[index]) - upper.max(uppers[index])).max(0.0);
        let shared = width * height;
        let over = shared / (area + areas[index] - shared) > threshold;
        gone[index] |= u32::from(over) & u32::from(ranks[index] > rank);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::boxes::from_xywh;

    /// Strips of one row, so that an IoU is a ratio of lengths.
    fn strip(from: u8, to: u8) -> Xyxy {
        [f32::from(from), 0.0, f32::from(to), 1.0]
    }

    #[test]
    fn strips_by_hand() {
        // IoU with the first: 0.8, 0.5, 0. The second goes; the third is not over the threshold.
        let boxes = [strip(0, 10), strip(0, 8), strip(0, 5), strip(20, 30)];
        assert_eq!(nms(&boxes, &[0.9, 0.8, 0.7, 0.95], 0.5), [3, 0, 2]);
        // What is suppressed suppresses nothing: the third would go by the second (0.625).
        assert_eq!(nms(&boxes, &[0.9, 0.8, 0.7, 0.95], 0.6), [3, 0, 2]);
        assert_eq!(batched_nms(&boxes, &[0.9, 0.8, 0.7, 0.95], &[1, 2, 1, 1], 0.4), [3, 0, 1]);
        assert!(nms(&[], &[], 0.5).is_empty());
    }

    #[test]
    fn votes_by_hand() {
        let boxes = [strip(0, 10), strip(0, 8), strip(0, 5), strip(0, 9)];
        let (scores, classes) = ([0.6, 0.2, 0.8, 0.7], [1, 1, 1, 2]);
        let voted = |index, overlap| box_voting(&boxes, &scores, &classes, index, overlap);
        // IoU with the first: 1, 0.8 and 0.5; the last is of another class.
        assert_eq!(voted(0, 0.9), boxes[0]);
        assert_eq!(voted(0, 0.6), [0.0, 0.0, 9.5, 1.0]);
        assert_eq!(voted(0, 0.5), [0.0, 0.0, 7.25, 1.0]);
        assert_eq!(voted(3, 0.0), boxes[3]);
    }

    #[test]
    fn what_has_no_vote_stays() {
        for strange in [[3.0, 0.0, 3.0, 1.0], [f32::NEG_INFINITY, 0.0, f32::INFINITY, 1.0], [f32::NAN, 0.0, 8.0, 1.0]] {
            let stays = box_voting(&[strange, strip(0, 10)], &[0.5; 2], &[1; 2], 0, 0.0);
            assert_eq!(stays.map(f32::to_bits), strange.map(f32::to_bits));
            assert_eq!(box_voting(&[strip(0, 10), strange], &[0.5; 2], &[1; 2], 0, 0.0), strip(0, 10));
        }
        for score in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let boxes = [strip(0, 10), strip(0, 8)];
            assert_eq!(box_voting(&boxes, &[score, 0.5], &[1; 2], 0, 0.0), boxes[0], "{score}");
            assert_eq!(box_voting(&boxes, &[0.5, score], &[1; 2], 0, 0.0), boxes[0], "{score}");
        }
    }

    #[test]
    fn equal_scores_keep_their_order() {
        assert_eq!(nms(&[strip(0, 8), strip(0, 8), strip(9, 10)], &[0.5; 3], 0.5), [0, 2]);
    }

    /// 3/10 in single precision is over 0.3 in double precision.
    #[test]
    fn a_threshold_is_compared_in_double_precision() {
        assert_eq!(nms(&[strip(0, 10), strip(0, 3)], &[2.0, 1.0], 0.3), [0]);
        assert_eq!(nms(&[strip(0, 10), strip(0, 3)], &[2.0, 1.0], f64::from(0.3f32)), [0, 1]);
    }

    #[test]
    fn what_is_no_box_stays_and_suppresses_nothing() {
        let boxes =
            [[8.0, 0.0, 0.0, 1.0], [f32::NAN, 0.0, 8.0, 1.0], [f32::NEG_INFINITY, 0.0, f32::INFINITY, 1.0], strip(0, 8), strip(0, 8)];
        assert_eq!(nms(&boxes, &[5.0, 4.0, 3.0, f32::NAN, 1.0], 0.5), [0, 1, 2, 4]);
        assert_eq!(nms(&boxes, &[5.0, 4.0, 3.0, 2.0, 1.0], 0.5), [0, 1, 2, 3]);
    }

    /// As it is defined.
    fn plain(boxes: &[Xyxy], scores: &[f32], threshold: f64) -> Vec<usize> {
        let mut stay: Vec<usize> = Vec::new();
        for index in top_k(scores, scores.len()) {
            if stay.iter().all(|&other| f64::from(iou(&boxes[other], &boxes[index])) <= threshold) {
                stay.push(index);
            }
        }
        stay
    }

    fn any_boxes() -> impl Strategy<Value = Vec<(Xyxy, u8)>> {
        let side = || prop_oneof![0..40u8, 1..4u8];
        let one = (0..60u8, 0..60u8, side(), side()).prop_map(|(x, y, width, height)| from_xywh([x, y, width, height].map(f32::from)));
        prop::collection::vec((one, 0..20u8), 0..80)
    }

    fn apart(scored: &[(Xyxy, u8)]) -> (Vec<Xyxy>, Vec<f32>) {
        (scored.iter().map(|one| one.0).collect(), scored.iter().map(|one| f32::from(one.1)).collect())
    }

    proptest! {
        #[test]
        fn the_same_as_comparing_all(scored in any_boxes(), threshold in prop_oneof![Just(0.0), Just(0.5), 0.0..1.0f64, Just(1.0), Just(-1.0)]) {
            let (boxes, scores) = apart(&scored);
            // Below 0 even boxes that do not touch suppress each other, which the definition here has at 0 for boxes without an area.
            let threshold = f64::max(threshold, 0.0);
            prop_assert_eq!(nms(&boxes, &scores, threshold), plain(&boxes, &scores, threshold));
        }

        /// As it is defined: the mean over copies of each voter, as many as its score.
        #[test]
        fn a_voted_box_is_the_mean_of_its_voters(scored in any_boxes(), overlap in 0.1..1.0f64) {
            let (boxes, scores) = apart(&scored);
            let classes: Vec<usize> = (0..boxes.len()).map(|index| index % 2).collect();
            for index in (0..boxes.len()).filter(|&index| scores[index] > 0.0) {
                let near = |&other: &usize| f64::from(iou(&boxes[index], &boxes[other])) >= overlap;
                let voters = (0..boxes.len()).filter(|other| other % 2 == index % 2).filter(near);
                let copies: Vec<Xyxy> = voters.flat_map(|other| vec![boxes[other]; scores[other] as usize]).collect();
                let voted = box_voting(&boxes, &scores, &classes, index, overlap);
                for edge in 0..4 {
                    let mean = copies.iter().map(|copy| f64::from(copy[edge])).sum::<f64>() / copies.len() as f64;
                    let expected = if copies.is_empty() { boxes[index][edge] } else { mean as f32 };
                    prop_assert!((voted[edge] - expected).abs() < 1e-4, "{} {}", voted[edge], expected);
                }
            }
        }

        #[test]
        fn place_and_scale_do_not_matter(scored in any_boxes(), by in -50..50i8, threshold in 0.1..0.9f64) {
            let (boxes, scores) = apart(&scored);
            let moved: Vec<Xyxy> = boxes.iter().map(|b| b.map(|edge| 8.0 * (edge + f32::from(by)))).collect();
            prop_assert_eq!(nms(&boxes, &scores, threshold), nms(&moved, &scores, threshold));
        }

        #[test]
        fn order_does_not_matter_where_scores_differ(scored in any_boxes(), threshold in 0.1..0.9f64) {
            let (boxes, _) = apart(&scored);
            let scores: Vec<f32> = (0..boxes.len()).map(|index| (index * 37 % 101) as f32).collect();
            let turned = |values: &[Xyxy]| values.iter().rev().copied().collect::<Vec<Xyxy>>();
            let reversed: Vec<f32> = scores.iter().rev().copied().collect();
            let back: Vec<usize> = nms(&turned(&boxes), &reversed, threshold).into_iter().map(|index| boxes.len() - 1 - index).collect();
            prop_assert_eq!(nms(&boxes, &scores, threshold), back);
        }

        #[test]
        fn classes_are_apart(scored in any_boxes(), threshold in 0.1..0.9f64) {
            let (boxes, scores) = apart(&scored);
            let classes: Vec<usize> = (0..boxes.len()).map(|index| index % 3).collect();
            let stay = batched_nms(&boxes, &scores, &classes, threshold);
            for class in 0..3 {
                let members: Vec<usize> = (0..boxes.len()).filter(|index| index % 3 == class).collect();
                let of = |values: &[f32]| members.iter().map(|&index| values[index]).collect::<Vec<f32>>();
                let alone = plain(&members.iter().map(|&index| boxes[index]).collect::<Vec<_>>(), &of(&scores), threshold);
                let expected: Vec<usize> = alone.into_iter().map(|place| members[place]).collect();
                prop_assert_eq!(stay.iter().copied().filter(|index| index % 3 == class).collect::<Vec<_>>(), expected);
            }
            prop_assert!(stay.is_sorted_by(|&a, &b| scores[a] > scores[b] || (scores[a] == scores[b] && a < b)));
        }
    }
}
