//! How good are the objects that were found? Average precision and recall as COCO counts them, number for number as pycocotools' `COCOeval` does.
//!
//! Picture by picture, [`Evaluation::add`] compares what was found with what is there and keeps a few bytes for each object found, no masks.
//! [`Evaluation::report`] makes the numbers. A detail in which pycocotools is not followed: there a match with the annotation whose number is 0
//! counts as none, because 0 also stands for "no match"; here annotations have no numbers. Another: it sorts found masks and key points into small,
//! medium and large by the box, where a file of results has boxes beside them; here a mask's own area decides.

mod curve;
mod matching;
mod report;
mod similarity;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

pub use curve::Curve;
pub use report::{Measure, Measured, Report};

use crate::{Error, Result, Rle};
use matching::{Side, verdicts};

/// The number of thresholds of overlap.
const THRESHOLDS: usize = 10;

/// The thresholds of overlap: 0.50, 0.55, …, 0.95, to the last bit those of numpy's `linspace`.
pub fn thresholds() -> [f64; THRESHOLDS] {
    let step = (0.95 - 0.5) / 9.0;
    std::array::from_fn(|index| if index == 9 { 0.95 } else { 0.5 + index as f64 * step })
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Boxes, by intersection over union.
    Boxes,
    /// Masks, by intersection over union.
    Masks,
    /// Key points, by COCO's similarity: a distance counts as much as people differ when they label that point.
    Keypoints {
        /// The standard deviation of each point, as a share of the root of the object's area.
        sigmas: Vec<f64>,
    },
}

impl Kind {
    /// The 17 key points of a person, with COCO's deviations.
    pub fn person() -> Self {
        let tenths = [0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89];
        Self::Keypoints { sigmas: tenths.map(|sigma| sigma / 10.0).to_vec() }
    }

    /// Key points, so many of each object. The 17 points of a person have COCO's deviations; of others nothing is known, and each has the mean of
    /// those.
    pub fn keypoints(points: usize) -> Self {
        match Self::person() {
            Self::Keypoints { sigmas } if sigmas.len() != points => {
                let mean = sigmas.iter().sum::<f64>() / sigmas.len() as f64;
                Self::Keypoints { sigmas: vec![mean; points] }
            }
            person => person,
        }
    }

    /// The objects that count in a picture and a category: those with the highest scores.
    pub fn most(&self) -> usize {
        if matches!(self, Self::Keypoints { .. }) { 20 } else { 100 }
    }
}

/// A range of areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Every area.
    All,
    /// Up to 32² pixels.
    Small,
    /// From 32² to 96² pixels.
    Medium,
    /// From 96² pixels on.
    Large,
}

impl Area {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::All, Self::Small, Self::Medium, Self::Large];

    /// Whether an area, in pixels, is in the range; its ends are.
    fn holds(self, area: f64) -> bool {
        let range = match self {
            Self::All => 0.0..=1e10,
            Self::Small => 0.0..=1024.0,
            Self::Medium => 1024.0..=9216.0,
            Self::Large => 9216.0..=1e10,
        };
        range.contains(&area)
    }
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Its category, from 0.
    pub category: usize,
    /// x, y, width and height of its box, in pixels.
    pub bbox: [f64; 4],
    /// Its area in pixels, as it was labelled: whatever is compared, this sorts it into small, medium and large.
    pub area: f64,
    /// Whether it stands for many that were not told apart. Finding it is neither right nor wrong.
    pub crowd: bool,
    /// Its pixels, where masks are compared.
    pub mask: Option<Rle>,
    /// x and y of its key points, where they were labelled. Where key points are compared, an object without any counts as a crowd does.
    pub keypoints: Vec<Option<[f64; 2]>>,
}

/// An object that was found. Its area is that of what is compared: of the box, of the mask, or of the smallest box around its key points.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its category, from 0.
    pub category: usize,
    /// How sure its finder is; only the order matters.
    pub score: f64,
    /// x, y, width and height of its box, in pixels, where boxes are compared.
    pub bbox: Option<[f64; 4]>,
    /// Its pixels, where masks are compared.
    pub mask: Option<Rle>,
    /// x and y of its key points, where they are compared.
    pub keypoints: Vec<[f64; 2]>,
}

/// An object that was found, after it was compared.
#[derive(Clone, Debug)]
struct Judged {
    score: f64,
    image: u64,
    /// Its place among those of the same picture and category, by score.
    rank: usize,
    verdicts: [matching::Verdict; 4],
}

/// All that is known of a category.
#[derive(Clone, Debug, Default)]
struct Gathered {
    judged: Vec<Judged>,
    /// How many objects there are to be found, for each range of areas.
    positives: [usize; 4],
}

/// An evaluation that grows picture by picture. The order of pictures does not matter.
#[derive(Clone, Debug)]
pub struct Evaluation {
    kind: Kind,
    images: BTreeSet<u64>,
    categories: Vec<Gathered>,
}

impl Evaluation {
    /// An evaluation without pictures.
    pub fn new(kind: Kind, categories: usize) -> Self {
        Self { kind, images: BTreeSet::new(), categories: vec![Gathered::default(); categories] }
    }

    /// What is compared.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Compares what is in a picture with what was found there, up to the 100 highest scores of a category (20 for key points). Among equal scores, the
    /// order of pictures' numbers and then the order in `found` decides.
    ///
    /// # Errors
    /// When the picture was added before, a category is unknown, a number is not finite, what is to be compared is missing, or masks have other
    /// sizes. The evaluation is then as it was.
    pub fn add(&mut self, image: u64, truths: &[Truth], found: &[Found]) -> Result<()> {
        let wrong = |what: String| Error::Evaluation(format!("picture {image}: {what}"));
        if self.images.contains(&image) {
            return Err(wrong("was added before".to_owned()));
        }
        for (category, numbers) in truths.iter().map(Truth::numbers).chain(found.iter().map(Found::numbers)) {
            if category >= self.categories.len() {
                return Err(wrong(format!("category {category} is none of {}", self.categories.len())));
            }
            if numbers.iter().any(|number| !number.is_finite()) {
                return Err(wrong(format!("an object of category {category} has a number that is not finite: {numbers:?}")));
            }
        }
        let mut groups = BTreeMap::<usize, (Vec<&Truth>, Vec<&Found>)>::new();
        truths.iter().for_each(|truth| groups.entry(truth.category).or_default().0.push(truth));
        found.iter().for_each(|found| groups.entry(found.category).or_default().1.push(found));
        let mut gathered = Vec::with_capacity(groups.len());
        for (category, (truths, mut found)) in groups {
            found.sort_by(|a, b| falling(a.score, b.score));
            found.truncate(self.kind.most());
            gathered.push((category, compare(&self.kind, image, &truths, &found).map_err(|error| wrong(error.to_string()))?));
        }
        self.images.insert(image);
        for (category, Gathered { judged, positives }) in gathered {
            let ours = &mut self.categories[category];
            ours.judged.extend(judged);
            ours.positives.iter_mut().zip(positives).for_each(|(sum, count)| *sum += count);
        }
        Ok(())
    }

    /// The curve of precision over recall of a category at an overlap, one of [`thresholds`], for objects of all areas. Nothing where no object is to
    /// be found, or where category or overlap are none of those.
    pub fn curve(&self, category: usize, overlap: f64) -> Option<Curve> {
        let threshold = thresholds().iter().position(|threshold| (threshold - overlap).abs() < 1e-9)?;
        let gathered = self.categories.get(category)?;
        Curve::new(&gathered.by_score(), 0, threshold, gathered.positives[0])
    }

    /// The numbers, as they stand.
    pub fn report(&self) -> Report {
        Report::new(self.kind.clone(), &self.categories)
    }
}

impl Truth {
    fn numbers(&self) -> (usize, Vec<f64>) {
        let points = self.keypoints.iter().flatten().flatten();
        (self.category, self.bbox.iter().chain([&self.area]).chain(points).copied().collect())
    }
}

impl Found {
    fn numbers(&self) -> (usize, Vec<f64>) {
        (self.category, self.bbox.iter().flatten().chain([&self.score]).chain(self.keypoints.iter().flatten()).copied().collect())
    }
}

impl Gathered {
    /// The objects found, the highest score first.
    fn by_score(&self) -> Vec<&Judged> {
        let mut sorted: Vec<_> = self.judged.iter().collect();
        sorted.sort_unstable_by(|a, b| falling(a.score, b.score).then(a.image.cmp(&b.image)).then(a.rank.cmp(&b.rank)));
        sorted
    }
}

/// The order of two finite scores, the highest first.
fn falling(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

/// Compares the objects of one picture and category; those found are sorted by score.
fn compare(kind: &Kind, image: u64, truths: &[&Truth], found: &[&Found]) -> Result<Gathered> {
    let overlaps = similarity::overlaps(kind, truths, found)?;
    let unlabelled = |truth: &Truth| matches!(kind, Kind::Keypoints { .. }) && truth.keypoints.iter().flatten().next().is_none();
    let areas = found.iter().map(|found| similarity::area(kind, found)).collect::<Result<Vec<_>>>()?;
    let mut gathered = Gathered::default();
    let mut by_area = Area::ALL.map(|_| Vec::new());
    for (index, area) in Area::ALL.into_iter().enumerate() {
        let ignored = |truth: &Truth| truth.crowd || unlabelled(truth) || !area.holds(truth.area);
        let sides: Vec<_> = truths.iter().map(|truth| Side { crowd: truth.crowd, ignored: ignored(truth) }).collect();
        gathered.positives[index] = sides.iter().filter(|side| !side.ignored).count();
        let outside: Vec<_> = areas.iter().map(|&found| !area.holds(found)).collect();
        by_area[index] = verdicts(&overlaps, &sides, &outside);
    }
    for (rank, found) in found.iter().enumerate() {
        let verdicts = std::array::from_fn(|area| by_area[area][rank]);
        gathered.judged.push(Judged { score: found.score, image, rank, verdicts });
    }
    Ok(gathered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(bbox: [f64; 4]) -> Truth {
        Truth { category: 0, bbox, area: bbox[2] * bbox[3], crowd: false, mask: None, keypoints: Vec::new() }
    }

    fn found(score: f64, bbox: [f64; 4]) -> Found {
        Found { category: 0, score, bbox: Some(bbox), mask: None, keypoints: Vec::new() }
    }

    const BOX: [f64; 4] = [10.0, 10.0, 40.0, 40.0];
    const ELSEWHERE: [f64; 4] = [100.0, 10.0, 40.0, 40.0];

    /// Right, wrong, right: the precisions 1, 1/2, 2/3 at the recalls 1/2, 1/2, 1.
    #[test]
    fn a_curve_by_hand() -> Result<()> {
        let mut evaluation = Evaluation::new(Kind::Boxes, 1);
        evaluation.add(2, &[truth(BOX)], &[found(0.9, BOX), found(0.8, ELSEWHERE)])?;
        evaluation.add(1, &[truth(BOX)], &[found(0.7, BOX)])?;
        let curve = evaluation.curve(0, 0.75).unwrap();
        assert_eq!(curve.recall, [0.5, 0.5, 1.0]);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(curve.area(), 0.5 + 0.5 * 2.0 / 3.0);
        near(curve.eleven_points(), (6.0 + 5.0 * 2.0 / 3.0) / 11.0);
        near(curve.average_precision(), (51.0 + 50.0 * 2.0 / 3.0) / 101.0);
        assert_eq!((evaluation.curve(1, 0.5), evaluation.curve(0, 0.51)), (None, None));
        Ok(())
    }

    #[test]
    fn the_order_of_pictures_does_not_matter() -> Result<()> {
        let pictures = [(5, vec![truth(BOX)], vec![found(0.5, BOX)]), (3, vec![], vec![found(0.5, BOX)]), (9, vec![truth(BOX)], vec![])];
        let values = |order: [usize; 3]| -> Result<Vec<Option<f64>>> {
            let mut evaluation = Evaluation::new(Kind::Boxes, 1);
            order.iter().try_for_each(|&at| evaluation.add(pictures[at].0, &pictures[at].1, &pictures[at].2))?;
            let report = evaluation.report();
            Ok(report.measures().iter().map(|measure| report.value(measure)).collect())
        };
        assert_eq!(values([0, 1, 2])?, values([2, 1, 0])?);
        Ok(())
    }

    #[test]
    fn without_objects_there_are_no_numbers() -> Result<()> {
        let mut evaluation = Evaluation::new(Kind::person(), 2);
        let report = evaluation.report();
        assert!(report.measures().iter().all(|measure| report.value(measure).is_none()));
        evaluation.add(1, &[], &[])?;
        evaluation.add(2, &[truth(BOX)], &[])?;
        assert_eq!(evaluation.curve(0, 0.5), None, "an object without labelled points is not to be found");
        Ok(())
    }

    #[test]
    fn a_table_like_cocos() {
        let report = Evaluation::new(Kind::Boxes, 1).report();
        let lines: Vec<_> = report.measures().iter().map(ToString::to_string).collect();
        assert_eq!(lines[0], "Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ]");
        assert_eq!(lines[1], "Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets=100 ]");
        assert_eq!(lines[6], "Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=  1 ]");
        assert_eq!(lines[11], "Average Recall     (AR) @[ IoU=0.50:0.95 | area= large | maxDets=100 ]");
    }

    #[test]
    fn what_cannot_be_compared_changes_nothing() -> Result<()> {
        let mut boxes = Evaluation::new(Kind::Boxes, 1);
        boxes.add(1, &[truth(BOX)], &[found(0.5, BOX)])?;
        let refused = |evaluation: &mut Evaluation, image, truths: &[Truth], found: &[Found]| {
            let message = evaluation.add(image, truths, found).unwrap_err().to_string();
            assert!(message.starts_with(&format!("picture {image}: ")), "{message}");
            assert!(!evaluation.images.contains(&2) && evaluation.categories[0].judged.len() < 2);
        };
        refused(&mut boxes, 1, &[], &[]);
        refused(&mut boxes, 2, &[], &[found(f64::NAN, BOX)]);
        refused(&mut boxes, 2, &[truth([f64::INFINITY; 4])], &[found(0.5, BOX)]);
        refused(&mut boxes, 2, &[], &[Found { bbox: None, ..found(0.5, BOX) }]);
        refused(&mut boxes, 2, &[], &[found(0.5, BOX), Found { category: 1, ..found(0.5, BOX) }]);
        let mut masks = Evaluation::new(Kind::Masks, 1);
        let mask = |rows: usize| Rle::new([rows, 1], vec![0, rows as u32]).ok();
        refused(&mut masks, 2, &[truth(BOX)], &[]);
        refused(&mut masks, 2, &[], &[found(0.5, BOX)]);
        refused(&mut masks, 2, &[Truth { mask: mask(2), ..truth(BOX) }], &[Found { mask: mask(3), ..found(0.5, BOX) }]);
        let mut points = Evaluation::new(Kind::Keypoints { sigmas: vec![0.1; 2] }, 1);
        refused(&mut points, 2, &[], &[found(0.5, BOX)]);
        refused(&mut points, 2, &[Truth { keypoints: vec![None; 3], ..truth(BOX) }], &[]);
        Ok(())
    }
}
