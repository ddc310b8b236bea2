//! How good a classifier is: loss, accuracy, top-5, the confusion matrix and what follows from it.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Error, ObjectScores, Result};

/// The numbers of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Pictures evaluated.
    pub count: u64,
    /// The mean loss.
    pub loss: f64,
    /// The share of pictures whose class has the highest score.
    pub accuracy: f64,
    /// The share of pictures whose class is among the five highest scores.
    pub top5: f64,
}

impl Scores {
    /// Whether these are better: more right, or as many right at a lower loss.
    pub fn better_than(&self, other: &Self) -> bool {
        self.accuracy > other.accuracy || (self.accuracy == other.accuracy && self.loss < other.loss)
    }
}

/// The numbers of an evaluation, of whatever was evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Quality {
    /// Of a classifier.
    Classes(Scores),
    /// Of a detector.
    Objects(ObjectScores),
}

impl Quality {
    /// Whether these are better. Those of another task never are.
    pub fn better_than(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Classes(own), Self::Classes(other)) => own.better_than(other),
            (Self::Objects(own), Self::Objects(other)) => own.better_than(other),
            _ => false,
        }
    }

    /// Pictures evaluated.
    pub fn count(&self) -> u64 {
        match self {
            Self::Classes(scores) => scores.count,
            Self::Objects(scores) => scores.count,
        }
    }

    /// The mean loss.
    pub fn loss(&self) -> f64 {
        match self {
            Self::Classes(scores) => scores.loss,
            Self::Objects(scores) => scores.loss,
        }
    }

    /// The number that says most, with its name: a classifier's accuracy, a detector's average precision of key points,
    /// else of masks, else of boxes.
    pub fn headline(&self) -> (&'static str, f64) {
        match self {
            Self::Classes(scores) => ("accuracy", scores.accuracy),
            Self::Objects(ObjectScores { keypoints_ap: Some(precision), .. }) => ("keypoints AP", *precision),
            Self::Objects(ObjectScores { segm_ap: Some(precision), .. }) => ("segm AP", *precision),
            Self::Objects(scores) => ("bbox AP", scores.bbox_ap),
        }
    }

    /// What a file of weights says of it.
    pub(crate) fn texts(&self) -> [(String, String); 1] {
        let (name, value) = self.headline();
        [(name.to_owned(), value.to_string())]
    }
}

/// Adds up what a classifier says, batch by batch.
#[derive(Clone, Debug)]
pub struct Tally {
    count: u64,
    loss: f64,
    in_top5: u64,
    confusion: Confusion,
}

impl Tally {
    /// Nothing yet, for K classes.
    pub fn new(classes: usize) -> Self {
        Self { count: 0, loss: 0.0, in_top5: 0, confusion: Confusion::new(classes) }
    }

    /// Adds a batch: logits (N, K), the right classes (N), and the loss of each picture (N).
    ///
    /// # Errors
    /// When the shapes disagree or a label is no class.
    pub fn add(&mut self, logits: &Tensor, labels: &Tensor, losses: &Tensor) -> Result<()> {
        let rows = logits.detach().to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let labels = labels.to_dtype(DType::U32)?.to_vec1::<u32>()?;
        let losses = losses.detach().to_dtype(DType::F64)?.to_vec1::<f64>()?;
        if rows.len() != labels.len() || rows.len() != losses.len() {
            let counts = (rows.len(), labels.len(), losses.len());
            return Err(candle_core::Error::Msg(format!("{} outputs with {} labels and {} losses", counts.0, counts.1, counts.2)).into());
        }
        for ((row, label), loss) in rows.iter().zip(labels).zip(losses) {
            let label = label as usize;
            let Some(rank) = rank(row, label) else {
                return Err(Error::Label { label, classes: row.len() });
            };
            self.count += 1;
            self.loss += loss;
            self.in_top5 += u64::from(rank < 5);
            self.confusion.add(label, highest(row))?;
        }
        Ok(())
    }

    /// The pictures added so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The numbers so far; all 0 where nothing was added.
    pub fn scores(&self) -> Scores {
        let share = |part: f64| part / self.count.max(1) as f64;
        Scores {
            count: self.count,
            loss: share(self.loss),
            accuracy: share(self.confusion.right() as f64),
            top5: share(self.in_top5 as f64),
        }
    }

    /// The confusion matrix so far.
    pub fn into_confusion(self) -> Confusion {
        self.confusion
    }
}

/// The place of the highest score, the first of equals.
fn highest(row: &[f32]) -> usize {
    let better = |best: usize, next: usize| if row[next] > row[best] || (row[best].is_nan() && !row[next].is_nan()) { next } else { best };
    (1..row.len()).fold(0, better)
}

/// How many classes come before this one, from the highest score down; a score that is no number comes last.
fn rank(row: &[f32], class: usize) -> Option<usize> {
    let own = *row.get(class)?;
    let before = |&(other, &score): &(usize, &f32)| match own.is_nan() {
        true => other != class,
        false => score > own || (score == own && other < class),
    };
    Some(row.iter().enumerate().filter(before).count())
}

/// How often class k (rows) was taken for class j (columns).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

/// How well one class is told from the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// The pictures of this class.
    pub count: u64,
    /// The share of what was taken for this class that is of it; 0 where nothing was.
    pub precision: f64,
    /// The share of this class that was found; 0 where it has no picture.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
}

impl Confusion {
    /// All zeros, for K classes.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Counts a picture of class `truth` that was taken for class `predicted`.
    ///
    /// # Errors
    /// When one of them is no class.
    pub fn add(&mut self, truth: usize, predicted: usize) -> Result<()> {
        let place = (truth < self.classes && predicted < self.classes).then_some(truth * self.classes + predicted);
        match place.and_then(|place| self.counts.get_mut(place)) {
            Some(count) => *count += 1,
            None => return Err(Error::Label { label: truth.max(predicted), classes: self.classes }),
        }
        Ok(())
    }

    /// Row k: what pictures of class k were taken for.
    pub fn row(&self, class: usize) -> &[u64] {
        self.counts.get(class * self.classes..(class + 1) * self.classes).unwrap_or_default()
    }

    /// The pictures taken for what they are.
    pub fn right(&self) -> u64 {
        (0..self.classes).map(|class| self.row(class)[class]).sum()
    }

    /// Precision, recall and F1 of each class.
    pub fn per_class(&self) -> Vec<ClassScores> {
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let of = |class: usize| {
            let right = self.row(class)[class];
            let count: u64 = self.row(class).iter().sum();
            let taken: u64 = (0..self.classes).map(|other| self.row(other)[class]).sum();
            let (precision, recall) = (share(right, taken), share(right, count));
            ClassScores { count, precision, recall, f1: share(2 * right, count + taken) }
        };
        (0..self.classes).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_batch_by_hand() -> Result<()> {
        let logits = Tensor::new(
            &[[7f32, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]],
            &Device::Cpu,
        )?;
        let mut tally = Tally::new(7);
        tally.add(&logits, &Tensor::new(&[0u32, 5, 4], &Device::Cpu)?, &Tensor::new(&[1f32, 2.0, 6.0], &Device::Cpu)?)?;
        let scores = tally.scores();
        assert_eq!((scores.count, scores.loss), (3, 3.0));
        assert_eq!(scores.accuracy, 1.0 / 3.0);
        assert_eq!(scores.top5, 2.0 / 3.0, "number 5 is the sixth; of equals the first come first");
        assert_eq!(tally.into_confusion().row(5), [1, 0, 0, 0, 0, 0, 0]);
        Ok(())
    }

    #[test]
    fn what_is_no_number_is_never_right() {
        assert_eq!(rank(&[f32::NAN, 1.0], 0), Some(1));
        assert_eq!(rank(&[f32::NAN, f32::NAN], 1), Some(1));
        assert_eq!(highest(&[f32::NAN, 1.0, 2.0]), 2);
        assert_eq!(rank(&[1.0], 1), None);
    }

    #[test]
    fn labels_that_are_no_class_are_errors() -> Result<()> {
        let logits = Tensor::zeros((1, 3), DType::F32, &Device::Cpu)?;
        let loss = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        let error = Tally::new(3).add(&logits, &Tensor::new(&[3u32], &Device::Cpu)?, &loss).unwrap_err().to_string();
        assert!(error.contains("label 3 is none of the 3 classes"), "{error}");
        assert!(Confusion::new(3).add(0, 3).is_err());
        Ok(())
    }

    #[test]
    fn per_class_scores_are_scikit_learns() -> Result<()> {
        // from sklearn.metrics import precision_recall_fscore_support as scores
        // scores([0,0,0,1,1,2], [0,0,1,1,2,1], labels=[0,1,2,3], zero_division=0)
        //   precision [1, 1/3, 0, 0]   recall [2/3, 1/2, 0, 0]   F1 [0.8, 0.4, 0, 0]   support [3, 2, 1, 0]
        let mut confusion = Confusion::new(4);
        for (truth, predicted) in [0, 0, 0, 1, 1, 2].into_iter().zip([0, 0, 1, 1, 2, 1]) {
            confusion.add(truth, predicted)?;
        }
        let per_class = confusion.per_class();
        let column = |f: fn(&ClassScores) -> f64| per_class.iter().map(f).collect::<Vec<_>>();
        assert_eq!(column(|scores| scores.precision), [1.0, 1.0 / 3.0, 0.0, 0.0]);
        assert_eq!(column(|scores| scores.recall), [2.0 / 3.0, 0.5, 0.0, 0.0]);
        assert_eq!(column(|scores| scores.f1), [0.8, 0.4, 0.0, 0.0]);
        assert_eq!(per_class.iter().map(|scores| scores.count).collect::<Vec<_>>(), [3, 2, 1, 0]);
        assert_eq!(confusion.right(), 3);
        Ok(())
    }

    #[test]
    fn fewer_errors_are_better_then_a_lower_loss() {
        let scores = |accuracy, loss| Scores { count: 1, loss, accuracy, top5: 1.0 };
        assert!(scores(0.9, 2.0).better_than(&scores(0.8, 1.0)));
        assert!(scores(0.9, 1.0).better_than(&scores(0.9, 2.0)));
        assert!(!scores(0.9, 1.0).better_than(&scores(0.9, 1.0)));
    }
}
