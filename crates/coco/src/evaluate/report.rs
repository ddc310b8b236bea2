//! The numbers that are told.

use std::fmt;

use super::{Area, Curve, Gathered, Judged, Kind, THRESHOLDS, thresholds};

/// Precision or recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// The area under the curve of precision over recall, at 101 points.
    Precision,
    /// The share of objects that were found.
    Recall,
}

/// One of COCO's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// Its short name, such as `AP50`.
    pub name: &'static str,
    /// What it is a mean of.
    pub of: Measured,
    /// The overlap from which on an object is found; without one, the mean over all [`thresholds`].
    pub overlap: Option<f64>,
    /// Which objects are looked at.
    pub area: Area,
    /// How many objects found count in a picture and category.
    pub most: usize,
}

const fn measure(name: &'static str, of: Measured, overlap: Option<f64>, area: Area, most: usize) -> Measure {
    Measure { name, of, overlap, area, most }
}

const OBJECTS: [Measure; 12] = [
    measure("AP", Measured::Precision, None, Area::All, 100),
    measure("AP50", Measured::Precision, Some(0.5), Area::All, 100),
    measure("AP75", Measured::Precision, Some(0.75), Area::All, 100),
    measure("APs", Measured::Precision, None, Area::Small, 100),
    measure("APm", Measured::Precision, None, Area::Medium, 100),
    measure("APl", Measured::Precision, None, Area::Large, 100),
    measure("AR1", Measured::Recall, None, Area::All, 1),
    measure("AR10", Measured::Recall, None, Area::All, 10),
    measure("AR100", Measured::Recall, None, Area::All, 100),
    measure("ARs", Measured::Recall, None, Area::Small, 100),
    measure("ARm", Measured::Recall, None, Area::Medium, 100),
    measure("ARl", Measured::Recall, None, Area::Large, 100),
];

const KEYPOINTS: [Measure; 10] = [
    measure("AP", Measured::Precision, None, Area::All, 20),
    measure("AP50", Measured::Precision, Some(0.5), Area::All, 20),
    measure("AP75", Measured::Precision, Some(0.75), Area::All, 20),
    measure("APm", Measured::Precision, None, Area::Medium, 20),
    measure("APl", Measured::Precision, None, Area::Large, 20),
    measure("AR", Measured::Recall, None, Area::All, 20),
    measure("AR50", Measured::Recall, Some(0.5), Area::All, 20),
    measure("AR75", Measured::Recall, Some(0.75), Area::All, 20),
    measure("ARm", Measured::Recall, None, Area::Medium, 20),
    measure("ARl", Measured::Recall, None, Area::Large, 20),
];

impl fmt::Display for Measure {
    /// As pycocotools prints it.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let title = match self.of {
            Measured::Precision => "Average Precision  (AP)",
            Measured::Recall => "Average Recall     (AR)",
        };
        let overlap = self.overlap.map_or_else(|| "0.50:0.95".to_owned(), |overlap| format!("{overlap:.2}"));
        let area = format!("{:?}", self.area).to_lowercase();
        write!(f, "{title} @[ IoU={overlap:<9} | area={area:>6} | maxDets={:>3} ]", self.most)
    }
}

/// The limits of objects in a picture and category, by which recall is measured.
const LIMITS: [usize; 4] = [1, 10, 20, 100];

/// Average precision and recall of one category in one range of areas, at each threshold.
#[derive(Clone, Copy, Debug)]
struct Scores {
    precision: [f64; THRESHOLDS],
    /// For each of the limits.
    recall: [[f64; THRESHOLDS]; LIMITS.len()],
}

/// The numbers of an evaluation.
#[derive(Clone, Debug)]
pub struct Report {
    kind: Kind,
    /// For each category and range of areas, where there are objects to be found.
    scores: Vec<[Option<Scores>; 4]>,
}

impl Report {
    pub(super) fn new(kind: Kind, categories: &[Gathered]) -> Self {
        let scores = categories.iter().map(|gathered| {
            let sorted = gathered.by_score();
            std::array::from_fn(|area| Scores::new(&sorted, area, gathered.positives[area]))
        });
        Self { kind, scores: scores.collect() }
    }

    /// The numbers that COCO tells: twelve for boxes and masks, ten for key points.
    pub fn measures(&self) -> &'static [Measure] {
        match self.kind {
            Kind::Boxes | Kind::Masks => &OBJECTS,
            Kind::Keypoints { .. } => &KEYPOINTS,
        }
    }

    /// One of [`Report::measures`], from 0 to 1: the mean over all categories with objects to be found. Nothing (COCO prints -1) where there are none.
    pub fn value(&self, measure: &Measure) -> Option<f64> {
        mean(self.scores.iter().filter_map(|scores| of(scores, measure)))
    }

    /// One of [`Report::measures`] for one category.
    pub fn category(&self, category: usize, measure: &Measure) -> Option<f64> {
        self.scores.get(category).and_then(|scores| of(scores, measure))
    }
}

impl Scores {
    fn new(sorted: &[&Judged], area: usize, positives: usize) -> Option<Self> {
        let found = |limit: usize, threshold: usize| {
            let right = |judged: &&&Judged| {
                let verdict = judged.verdicts[area];
                judged.rank < limit && verdict.matched & !verdict.ignored & (1 << threshold) != 0
            };
            sorted.iter().filter(right).count() as f64 / positives as f64
        };
        let precision = |threshold| Curve::new(sorted, area, threshold, positives).map_or(0.0, |curve| curve.average_precision());
        (positives > 0).then(|| Self {
            precision: std::array::from_fn(precision),
            recall: LIMITS.map(|limit| std::array::from_fn(|threshold| found(limit, threshold))),
        })
    }
}

/// A measure of a category.
fn of(scores: &[Option<Scores>; 4], measure: &Measure) -> Option<f64> {
    let area = Area::ALL.iter().position(|area| *area == measure.area)?;
    let scores = scores[area].as_ref()?;
    let values = match measure.of {
        Measured::Precision => scores.precision,
        Measured::Recall => scores.recall[LIMITS.iter().position(|limit| *limit == measure.most)?],
    };
    let counts = |threshold: f64| measure.overlap.is_none_or(|overlap| (threshold - overlap).abs() < 1e-9);
    mean(thresholds().into_iter().zip(values).filter(|(threshold, _)| counts(*threshold)).map(|(_, value)| value))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
