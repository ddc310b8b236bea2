//! Which candidate stands for which true box (Ren, He, Girshick & Sun, "Faster R-CNN", 2015, section 3.1.2).

use crate::boxes::{Xyxy, iou};

/// What a candidate stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The true box with this index.
    Truth(usize),
    /// No true box.
    Background,
    /// Neither: too close to one to be background, too far to stand for it.
    Between,
}

/// The rules by which candidates are matched to true boxes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matcher {
    /// From this IoU on, a candidate stands for the true box that it overlaps most.
    pub high: f32,
    /// Below this IoU it is background.
    pub low: f32,
    /// Whether each true box also gets the candidates that overlap it most, however little; but they must overlap.
    pub best_of_each: bool,
}

impl Matcher {
    /// For anchors.
    pub const ANCHORS: Self = Self { high: 0.7, low: 0.3, best_of_each: true };
    /// For proposals.
    pub const PROPOSALS: Self = Self { high: 0.5, low: 0.5, best_of_each: false };

    /// What each candidate stands for. Of true boxes that a candidate overlaps alike, the first counts.
    ///
    /// As in torchvision, a candidate that is the best of some true box stands for the one that it overlaps most itself, which may be another.
    pub fn matches(&self, truths: &[Xyxy], candidates: &[Xyxy]) -> Vec<Match> {
        // The best true box of each candidate, and the best IoU of each true box.
        let mut best = vec![(0.0, 0); candidates.len()];
        let mut reached = vec![0.0; truths.len()];
        for (index, (truth, reached)) in truths.iter().zip(&mut reached).enumerate() {
            for (candidate, best) in candidates.iter().zip(&mut best) {
                let overlap = iou(truth, candidate);
                *reached = overlap.max(*reached);
                if overlap > best.0 {
                    *best = (overlap, index);
                }
            }
        }
        let mut matches: Vec<Match> = best.iter().map(|&(overlap, truth)| self.of(overlap, truth)).collect();
        if self.best_of_each {
            for (truth, &reached) in truths.iter().zip(&reached).filter(|(_, reached)| **reached > 0.0) {
                let ties = candidates.iter().map(|candidate| iou(truth, candidate) == reached);
                for ((found, &(_, own)), _) in matches.iter_mut().zip(&best).zip(ties).filter(|(_, tie)| *tie) {
                    *found = Match::Truth(own);
                }
            }
        }
        matches
    }

    fn of(&self, overlap: f32, truth: usize) -> Match {
        match overlap {
            overlap if overlap >= self.high && overlap > 0.0 => Match::Truth(truth),
            overlap if overlap >= self.low => Match::Between,
            _ => Match::Background,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::boxes::from_xywh;

    /// Strips of a row of ten pixels: IoU is a ratio of whole numbers.
    fn strip(from: u8, to: u8) -> Xyxy {
        [f32::from(from), 0.0, f32::from(to), 1.0]
    }

    #[test]
    fn strips_by_hand() {
        let truths = [strip(0, 10), strip(20, 30)];
        // IoU with the first: 1, 0.8, 0.5, 0.2, 0; with the second 0, 0, 0, 0, 0.4.
        let candidates = [strip(0, 10), strip(0, 8), strip(0, 5), strip(0, 2), strip(20, 24)];
        use Match::{Background, Between, Truth};
        assert_eq!(Matcher::ANCHORS.matches(&truths, &candidates), [Truth(0), Truth(0), Between, Background, Truth(1)]);
        assert_eq!(Matcher::PROPOSALS.matches(&truths, &candidates), [Truth(0), Truth(0), Truth(0), Background, Background]);
    }

    /// The candidate is the best of the first true box, but overlaps the second more.
    #[test]
    fn the_best_of_one_may_stand_for_another() {
        let truths = [strip(0, 4), strip(3, 13)];
        assert_eq!(Matcher::ANCHORS.matches(&truths, &[strip(3, 9)]), [Match::Truth(1)]);
    }

    #[test]
    fn a_true_box_that_nothing_overlaps_matches_nothing() {
        assert_eq!(Matcher::ANCHORS.matches(&[strip(90, 99)], &[strip(0, 4), strip(5, 9)]), [Match::Background; 2]);
        assert_eq!(Matcher::ANCHORS.matches(&[], &[strip(0, 4)]), [Match::Background]);
        assert!(Matcher::ANCHORS.matches(&[strip(0, 4)], &[]).is_empty());
    }

    fn any_box() -> impl Strategy<Value = Xyxy> {
        (0..30u8, 0..30u8, 1..30u8, 1..30u8).prop_map(|(x, y, width, height)| from_xywh([x, y, width, height].map(f32::from)))
    }

    proptest! {
        #[test]
        fn a_candidates_match_depends_on_no_other_candidate(
            truths in prop::collection::vec(any_box(), 0..4), candidates in prop::collection::vec(any_box(), 0..12),
        ) {
            let together = Matcher::PROPOSALS.matches(&truths, &candidates);
            let alone: Vec<Match> = candidates.iter().flat_map(|&one| Matcher::PROPOSALS.matches(&truths, &[one])).collect();
            prop_assert_eq!(together, alone);
        }

        #[test]
        fn order_and_scale_do_not_matter(
            truths in prop::collection::vec(any_box(), 1..4), candidates in prop::collection::vec(any_box(), 0..12),
        ) {
            let mut matches = Matcher::ANCHORS.matches(&truths, &candidates);
            let turned = |boxes: &[Xyxy]| -> Vec<Xyxy> { boxes.iter().rev().map(|b| b.map(|edge| 4.0 * edge)).collect() };
            let scaled: Vec<Xyxy> = truths.iter().map(|b| b.map(|edge| 4.0 * edge)).collect();
            matches.reverse();
            prop_assert_eq!(matches, Matcher::ANCHORS.matches(&scaled, &turned(&candidates)));
        }
    }
}
