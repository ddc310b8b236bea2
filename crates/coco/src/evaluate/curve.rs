//! Precision over recall.

use super::Judged;

/// Precision over recall, as the score falls: a point for each object found that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The share of the objects there that were found, from 0 to 1; it never falls.
    pub recall: Vec<f64>,
    /// The share of the objects found that are there, from 0 to 1, made monotone: the highest at this recall or above. It never rises.
    pub precision: Vec<f64>,
}

impl Curve {
    /// Of objects by falling score, in a range of areas and at a threshold, where so many are to be found; nothing where none is.
    pub(super) fn new(sorted: &[&Judged], area: usize, threshold: usize, positives: usize) -> Option<Self> {
        let bit = 1 << threshold;
        let (mut right, mut wrong) = (0.0, 0.0);
        let (mut recall, mut precision) = (Vec::new(), Vec::new());
        for verdict in sorted.iter().map(|judged| judged.verdicts[area]).filter(|verdict| verdict.ignored & bit == 0) {
            *(if verdict.matched & bit == 0 { &mut wrong } else { &mut right }) += 1.0;
            recall.push(right / positives as f64);
            precision.push(right / (wrong + right + f64::EPSILON));
        }
        let mut highest = 0.0f64;
        for precision in precision.iter_mut().rev() {
            highest = highest.max(*precision);
            *precision = highest;
        }
        (positives > 0).then_some(Self { recall, precision })
    }

    /// COCO's average precision: the mean of the precisions at the recalls 0, 0.01, …, 1.
    pub fn average_precision(&self) -> f64 {
        self.mean_at(101)
    }

    /// The average precision of PASCAL VOC until 2009: the mean of the precisions at the recalls 0, 0.1, …, 1. Objects are matched in COCO's way.
    pub fn eleven_points(&self) -> f64 {
        self.mean_at(11)
    }

    /// The average precision of PASCAL VOC since 2010: the area under the curve. Objects are matched in COCO's way.
    pub fn area(&self) -> f64 {
        let before = std::iter::once(&0.0).chain(&self.recall);
        self.recall.iter().zip(before).zip(&self.precision).map(|((recall, before), precision)| (recall - before) * precision).sum()
    }

    /// The precision at a recall: 0 beyond the last one that was reached.
    pub fn precision_at(&self, recall: f64) -> f64 {
        let place = self.recall.partition_point(|reached| *reached < recall);
        self.precision.get(place).copied().unwrap_or(0.0)
    }

    /// The mean of the precisions at so many recalls from 0 to 1, as far apart as numpy's `linspace` has them.
    fn mean_at(&self, count: usize) -> f64 {
        let step = 1.0 / (count - 1) as f64;
        (0..count).map(|index| self.precision_at((index as f64 * step).min(1.0))).sum::<f64>() / count as f64
    }
}
