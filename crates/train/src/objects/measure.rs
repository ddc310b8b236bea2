//! How good a detector is, by COCO's measures.

use std::sync::Arc;

use cirio_coco::{Evaluation, Found, Kind};
use cirio_data::objects::ObjectSet;
use cirio_detection::{Detection, DetectorConfig, Mask};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The numbers of an evaluation: average precision over overlaps of 0.50 to 0.95, and at 0.50.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct ObjectScores {
    /// Pictures evaluated.
    pub count: u64,
    /// The mean loss.
    pub loss: f64,
    /// Of boxes.
    #[serde(rename = "bbox_AP")]
    pub bbox_ap: f64,
    /// Of boxes, at an overlap of a half.
    #[serde(rename = "bbox_AP50")]
    pub bbox_ap50: f64,
    /// Of masks.
    #[serde(rename = "segm_AP", default, skip_serializing_if = "Option::is_none")]
    pub segm_ap: Option<f64>,
    /// Of masks, at an overlap of a half.
    #[serde(rename = "segm_AP50", default, skip_serializing_if = "Option::is_none")]
    pub segm_ap50: Option<f64>,
    /// Of key points.
    #[serde(rename = "keypoints_AP", default, skip_serializing_if = "Option::is_none")]
    pub keypoints_ap: Option<f64>,
    /// Of key points, at a similarity of a half.
    #[serde(rename = "keypoints_AP50", default, skip_serializing_if = "Option::is_none")]
    pub keypoints_ap50: Option<f64>,
}

impl ObjectScores {
    /// Whether these are better: the sum of the precisions of boxes, masks and key points is.
    pub fn better_than(&self, other: &Self) -> bool {
        let sum = |scores: &Self| scores.bbox_ap + scores.segm_ap.unwrap_or(0.0) + scores.keypoints_ap.unwrap_or(0.0);
        sum(self) > sum(other) || (sum(self) == sum(other) && self.loss < other.loss)
    }
}

/// Compares what is found in the pictures of a set with what is there.
#[derive(Clone, Debug)]
pub struct ObjectMeasures {
    set: Arc<ObjectSet>,
    pictures: u64,
    /// Of boxes.
    pub boxes: Evaluation,
    /// Of masks, where the detector tells them.
    pub masks: Option<Evaluation>,
    /// Of key points, where the detector tells them.
    pub keypoints: Option<Evaluation>,
}

impl ObjectMeasures {
    /// Nothing yet, for what a detector tells of the pictures of a set.
    pub fn new(set: Arc<ObjectSet>, detector: &DetectorConfig) -> Self {
        let evaluation = |kind| Evaluation::new(kind, set.categories.len());
        let masks = detector.mask.as_ref().map(|_| evaluation(Kind::Masks));
        let keypoints = detector.keypoints.as_ref().map(|keypoints| evaluation(Kind::keypoints(keypoints.points)));
        Self { boxes: evaluation(Kind::Boxes), masks, keypoints, set, pictures: 0 }
    }

    /// Adds picture `index` of the set, where this was found: labels from 1 are the set's classes from 0.
    ///
    /// # Errors
    /// When there is no such picture, it was added before, or a label is no class.
    pub fn add(&mut self, index: usize, found: &[Detection]) -> Result<()> {
        let pictures = &self.set.pictures;
        let picture = pictures.get(index).ok_or(cirio_data::Error::Index { index, len: pictures.len() })?;
        let found = found.iter().map(as_found).collect::<Result<Vec<Found>>>()?;
        self.pictures += 1;
        // Pictures are told apart by their place in the set: sets without numbers have them too.
        let all = [Some(&mut self.boxes), self.masks.as_mut(), self.keypoints.as_mut()];
        all.into_iter().flatten().try_for_each(|evaluation| {
            let truths = picture.truths(evaluation.kind())?;
            Ok(evaluation.add(index as u64, &truths, &found)?)
        })
    }

    /// The numbers so far, with the loss that is known from elsewhere; 0 where there is nothing to be found.
    pub fn scores(&self, loss: f64) -> ObjectScores {
        let [bbox_ap, bbox_ap50] = precisions(&self.boxes);
        let [masks, keypoints] = [&self.masks, &self.keypoints].map(|evaluation| evaluation.as_ref().map(precisions));
        ObjectScores {
            count: self.pictures,
            loss,
            bbox_ap,
            bbox_ap50,
            segm_ap: masks.map(|[all, _]| all),
            segm_ap50: masks.map(|[_, half]| half),
            keypoints_ap: keypoints.map(|[all, _]| all),
            keypoints_ap50: keypoints.map(|[_, half]| half),
        }
    }

    /// The names of the classes.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.set.categories.iter().map(|category| category.name.as_str())
    }
}

/// AP and AP50.
fn precisions(evaluation: &Evaluation) -> [f64; 2] {
    let report = evaluation.report();
    [0, 1].map(|which| report.value(&report.measures()[which]).unwrap_or(0.0))
}

/// An object as an evaluation compares it, and as files of results have it.
///
/// # Errors
/// When a mask cannot be enlarged.
pub fn as_found(detection: &Detection) -> Result<Found> {
    let [left, upper, right, lower] = detection.bounds.map(f64::from);
    Ok(Found {
        category: detection.label.saturating_sub(1),
        score: f64::from(detection.score),
        bbox: Some([left, upper, right - left, lower - upper]),
        mask: detection.mask.as_ref().map(|mask| mask.rle(Mask::INSIDE)).transpose()?,
        keypoints: detection.keypoints.iter().flatten().map(|point| [f64::from(point.x), f64::from(point.y)]).collect(),
    })
}
