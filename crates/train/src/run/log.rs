//! The numbers of a run as they come: `metrics.jsonl`, one JSON object a line, and the same as TensorBoard events.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::CHECKPOINT;
use super::events::{Scalar, write_scalar, write_start};
use crate::Quality;
use crate::{Error, Result};
use cirio_nn::files;

const METRICS: &str = "metrics.jsonl";
const EVENTS: &str = "events.out.tfevents.cirio";

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Line {
    /// Somewhere inside an epoch.
    Step(StepLine),
    /// The end of an epoch.
    Epoch(EpochLine),
}

/// The state of training at a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// The epoch, from 1.
    pub epoch: u64,
    /// The step, from 1, counted from the beginning of the run.
    pub step: u64,
    /// The loss of this step's pictures.
    pub loss: f64,
    /// What it is the sum of, where it has parts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub terms: BTreeMap<String, f64>,
    /// The learning rate of this step.
    pub lr: f64,
    /// Seconds of training so far.
    pub seconds: f64,
}

/// What came of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLine {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Steps made so far.
    pub step: u64,
    /// The learning rate of the last step.
    pub lr: f64,
    /// The mean loss of the epoch's batches, as they were trained on.
    pub train_loss: f64,
    /// The share of training pictures that were right as they were trained on; none where targets were mixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_accuracy: Option<f64>,
    /// The evaluation after the epoch: `count`, `loss`, and `accuracy` and `top5` of a classifier; none without a validation set.
    #[serde(flatten)]
    pub scores: Option<Quality>,
    /// Seconds of training so far.
    pub seconds: f64,
}

impl Line {
    fn epoch(&self) -> u64 {
        match self {
            Self::Step(line) => line.epoch,
            Self::Epoch(line) => line.epoch,
        }
    }

    fn seconds(&self) -> f64 {
        match self {
            Self::Step(line) => line.seconds,
            Self::Epoch(line) => line.seconds,
        }
    }

    /// The same for TensorBoard.
    fn scalars(&self, wall_time: f64) -> Vec<Scalar> {
        let scalar = |tag: &str, step, value: f64| Scalar { tag: tag.to_owned(), step, wall_time, value: value as f32 };
        match self {
            Self::Step(line) => {
                let terms = line.terms.iter().map(|(name, term)| scalar(&format!("loss/{name}"), line.step, *term));
                [scalar("loss/step", line.step, line.loss), scalar("lr", line.step, line.lr)].into_iter().chain(terms).collect()
            }
            Self::Epoch(line) => {
                let mut scalars = vec![scalar("loss/train", line.step, line.train_loss)];
                scalars.extend(line.train_accuracy.map(|accuracy| scalar("accuracy/train", line.step, accuracy)));
                if let Some(scores) = line.scores {
                    let (name, value) = scores.headline();
                    scalars.push(scalar("loss/val", line.step, scores.loss()));
                    scalars.push(scalar(&format!("{name}/val"), line.step, value));
                }
                scalars
            }
        }
    }
}

/// Appends to the two files of a run folder.
pub(crate) struct Log {
    metrics: (PathBuf, File),
    events: (PathBuf, File),
    epochs: Vec<EpochLine>,
}

impl Log {
    /// Opens the log of a run that has finished `epochs` epochs: lines about later ones, which a killed run left, are dropped.
    /// An error where the lines show that there was a checkpoint, and `epochs` that there is none.
    pub(crate) fn open(folder: &Path, epochs: u64) -> Result<Self> {
        let (metrics, events) = (folder.join(METRICS), folder.join(EVENTS));
        let lines = read(&metrics)?;
        // A run that was killed in an epoch may have lines about it; one that was in the second has had a checkpoint.
        if epochs == 0 && lines.iter().any(|line| line.epoch() > 1) {
            let reason = format!("is gone, and {METRICS} tells of a run that was further; it cannot be gone on with");
            return Err(Error::file(&folder.join(CHECKPOINT), reason));
        }
        let lines: Vec<Line> = lines.into_iter().filter(|line| line.epoch() <= epochs).collect();
        files::write(&metrics, |file| lines.iter().try_for_each(|line| write_line(file, line)))?;
        let start = now() - lines.last().map_or(0.0, Line::seconds);
        files::write(&events, |file| {
            write_start(file, start)?;
            let scalars = lines.iter().flat_map(|line| line.scalars(start + line.seconds()));
            scalars.into_iter().try_for_each(|scalar| write_scalar(file, &scalar))
        })?;
        let append = |path: PathBuf| -> Result<(PathBuf, File)> {
            let file = OpenOptions::new().append(true).open(&path).map_err(Error::io(&path))?;
            Ok((path, file))
        };
        let finished = lines.iter().filter_map(|line| if let Line::Epoch(line) = line { Some(*line) } else { None });
        Ok(Self { epochs: finished.collect(), metrics: append(metrics)?, events: append(events)? })
    }

    /// Appends a line.
    pub(crate) fn push(&mut self, line: &Line) -> Result<()> {
        let mut text = Vec::new();
        let mut records = Vec::new();
        let into_memory =
            write_line(&mut text, line).and_then(|()| line.scalars(now()).iter().try_for_each(|scalar| write_scalar(&mut records, scalar)));
        into_memory.map_err(Error::io(&self.metrics.0))?;
        self.metrics.1.write_all(&text).map_err(Error::io(&self.metrics.0))?;
        self.events.1.write_all(&records).map_err(Error::io(&self.events.0))?;
        if let Line::Epoch(line) = line {
            self.epochs.push(*line);
        }
        Ok(())
    }

    /// The epochs so far.
    pub(crate) fn epochs(&self) -> &[EpochLine] {
        &self.epochs
    }
}

fn write_line(out: &mut dyn Write, line: &Line) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)
}

/// The lines up to the first that is not whole: a killed process may have left a part of one.
fn read(path: &Path) -> Result<Vec<Line>> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes.split(|&byte| byte == b'\n').map_while(|line| serde_json::from_slice(line).ok()).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scores;

    fn epoch(epoch: u64, scores: Option<Scores>) -> Line {
        let scores = scores.map(Quality::Classes);
        Line::Epoch(EpochLine { epoch, step: 10 * epoch, lr: 0.1, train_loss: 1.0, train_accuracy: None, scores, seconds: epoch as f64 })
    }

    #[test]
    fn lines_are_flat_json() {
        let scores = Scores { count: 5, loss: 0.5, accuracy: 0.8, top5: 1.0 };
        let text = serde_json::to_string(&epoch(1, Some(scores))).expect("written");
        let expected = r#"{"event":"epoch","epoch":1,"step":10,"lr":0.1,"train_loss":1.0,"count":5,"loss":0.5,"accuracy":0.8,"top5":1.0,"seconds":1.0}"#;
        assert_eq!(text, expected);
        for line in [epoch(1, Some(scores)), epoch(2, None)] {
            let text = serde_json::to_string(&line).expect("written");
            assert_eq!(serde_json::from_str::<Line>(&text).expect("read"), line);
        }
    }

    #[test]
    fn a_resumed_log_forgets_what_came_after_the_checkpoint() -> Result<()> {
        let folder = tempfile::tempdir().map_err(Error::io(Path::new("temporary")))?;
        let mut log = Log::open(folder.path(), 0)?;
        let step = |epoch| {
            Line::Step(StepLine { epoch, step: 10 * epoch - 5, loss: 1.0, terms: BTreeMap::new(), lr: 0.1, seconds: epoch as f64 - 0.5 })
        };
        for number in 1..=3 {
            log.push(&step(number))?;
            log.push(&epoch(number, None))?;
        }
        let path = folder.path().join(METRICS);
        let mut file = OpenOptions::new().append(true).open(&path).map_err(Error::io(&path))?;
        file.write_all(b"{\"event\":\"st").map_err(Error::io(&path))?;

        let log = Log::open(folder.path(), 2)?;
        assert_eq!(log.epochs().iter().map(|line| line.epoch).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(read(&path)?, [step(1), epoch(1, None), step(2), epoch(2, None)]);
        Ok(())
    }
}
