//! Training of networks: from a list of layers and a folder of pictures to a run that can be resumed, read and used.
//!
//! - [`optim`]: SGD and AdamW with torch's arithmetic, parameter groups, clipping; [`Schedule`]: the learning rate.
//! - [`Trainer`]: the loop. After every epoch one checkpoint file holds all that the rest of the run depends on, so that a
//!   run that was killed at any moment and is resumed gives the same weights, bit for bit.
//! - [`RunFolder`]: what a run leaves: configuration, numbers, plots, weights.
//! - [`evaluate`]: loss, accuracy and the confusion matrix of a network on a data set.
//!
//! Nothing here prints; a [`Progress`] is told what happens.
#![forbid(unsafe_code)]

mod checkpoint;
mod classifier;
mod config;
mod ema;
mod error;
mod evaluate;
mod finder;
mod learner;
mod metrics;
mod objects;
pub mod optim;
mod run;
mod schedule;
mod steps;
mod trainer;

pub use classifier::Classifier;
pub use config::{ClassWeights, Mix, ObjectConfig, RunConfig, TrainConfig};
pub use ema::Ema;
pub use error::{Error, Result};
pub use evaluate::{average_views, evaluate};
pub use finder::{Finding, find_learning_rate};
pub use learner::{Batched, Epoch, Evaluated, Learner, Report};
pub use metrics::{ClassScores, Confusion, Quality, Scores, Tally};
pub use objects::{Labelled, ObjectFinder, ObjectMeasures, ObjectScores, as_found};
pub use run::{EpochLine, RunFolder, Snapshot, StepLine};
pub use schedule::{Curve, Length, Schedule};
pub use trainer::{Outcome, Progress, Trainer};
