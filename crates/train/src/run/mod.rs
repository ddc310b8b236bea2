//! The folder of a run: `config.toml`, `metrics.jsonl`, TensorBoard events, plots, a table of the classes, weights, and the
//! checkpoint; `snapshots`, weights on the way, if they were asked for; and `lock`, which keeps a second process out. It can be moved and
//! used as weights.

mod events;
mod log;
mod plots;

use std::fmt::Write;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cirio_coco::Evaluation;
use cirio_nn::files;
use cirio_vision::Preprocess;

pub use log::{EpochLine, StepLine};
pub(crate) use log::{Line, Log};

use crate::learner::Report;
use crate::{Confusion, Error, ObjectMeasures, Result, RunConfig};

/// The folder of one run, for this process alone: its file `lock` is locked until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: Arc<File>,
}

/// The file that a resumed run goes on from.
pub(crate) const CHECKPOINT: &str = "checkpoint.safetensors";

/// The folder of the weights that are kept on the way.
const SNAPSHOTS: &str = "snapshots";

/// The weights of a run after some of its epochs: a file like any other of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Epochs done; 0 for the weights that the run began with.
    pub epoch: u64,
    /// The file.
    pub path: PathBuf,
}

/// How many runs of one name are looked through for a free number.
const MOST_RUNS: u32 = 10_000;

impl RunFolder {
    /// Makes `root/task/name`, or `name-2`, `name-3`, … where there is one, and writes the configuration into it.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn create(root: &Path, task: &str, name: &str, config: &RunConfig) -> Result<Self> {
        let parent = root.join(task);
        fs::create_dir_all(&parent).map_err(Error::io(&parent))?;
        for number in 1..=MOST_RUNS {
            let path = parent.join(if number == 1 { name.to_owned() } else { format!("{name}-{number}") });
            match fs::create_dir(&path) {
                Ok(()) => return Self::new(path, config),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(&path)(error)),
            }
        }
        Err(Error::file(&parent, format_args!("there are {MOST_RUNS} runs named {name} already")))
    }

    /// Makes a run in this folder, which must be absent or empty.
    ///
    /// # Errors
    /// When something is in it, or it cannot be made or written.
    pub fn create_at(path: &Path, config: &RunConfig) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io(path))?;
        if fs::read_dir(path).map_err(Error::io(path))?.next().is_some() {
            return Err(Error::file(path, "something is in this folder; a new run needs one of its own"));
        }
        Self::new(path.to_owned(), config)
    }

    fn new(path: PathBuf, config: &RunConfig) -> Result<Self> {
        let run = Self { _lock: lock(&path)?, path };
        let file = run.path.join("config.toml");
        let text = toml::to_string(config).map_err(|error| Error::file(&file, error))?;
        files::write(&file, |file| file.write_all(text.as_bytes()))?;
        Ok(run)
    }

    /// Opens the folder of an earlier run, and what decides it.
    ///
    /// # Errors
    /// When it is no folder of a run, its configuration cannot be read, or the run is under way in another process.
    pub fn open(path: &Path) -> Result<(Self, RunConfig)> {
        let config = Self::config(path)?;
        let run = Self { _lock: lock(path)?, path: path.to_owned() };
        files::remove_temporaries(path)?;
        let snapshots = run.file(SNAPSHOTS);
        if snapshots.is_dir() {
            files::remove_temporaries(&snapshots)?;
        }
        Ok((run, config))
    }

    /// What decides the run in a folder, which may be under way.
    ///
    /// # Errors
    /// When it is no folder of a run, or its configuration cannot be read.
    pub fn config(path: &Path) -> Result<RunConfig> {
        let file = path.join("config.toml");
        let text = fs::read_to_string(&file).map_err(Error::io(&file))?;
        let config: RunConfig = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            Error::file(&file, format_args!("line {line}: {}", error.message()))
        })?;
        config.train.check()?;
        config.preprocess.iter().try_for_each(Preprocess::check).map_err(|error| Error::file(&file, error))?;
        Ok(config)
    }

    /// The snapshots of the run in a folder, which may be under way, from the first epoch on. There are none where none were asked for.
    ///
    /// # Errors
    /// When there is no such folder, or it cannot be read.
    pub fn snapshots(path: &Path) -> Result<Vec<Snapshot>> {
        let folder = path.join(SNAPSHOTS);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound && path.is_dir() => return Ok(Vec::new()),
            entries => entries.map_err(Error::io(&folder))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::io(&folder))?.path();
            found.extend(epoch_of(&path).map(|epoch| Snapshot { epoch, path }));
        }
        found.sort_unstable_by_key(|snapshot| snapshot.epoch);
        Ok(found)
    }

    /// The file for the weights after so many epochs; its folder is made.
    pub(crate) fn snapshot(&self, epoch: u64) -> Result<PathBuf> {
        let folder = self.file(SNAPSHOTS);
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(folder.join(format!("epoch-{epoch:04}.safetensors")))
    }

    /// Whether an epoch has been finished, so that there is something to go on from.
    pub fn has_checkpoint(&self) -> bool {
        self.file(CHECKPOINT).is_file()
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn draw_curves(&self, epochs: &[EpochLine]) -> Result<()> {
        plots::curves(&self.file("curves.svg"), epochs)
    }

    /// Writes and draws what is kept of the best evaluation.
    pub(crate) fn report(&self, report: &Report, classes: &[String]) -> Result<()> {
        match report {
            Report::Classes(confusion) => self.confusion(confusion, classes),
            Report::Objects(measures) => self.objects(measures),
        }
    }

    /// Draws the confusion matrix and writes precision, recall and F1 of each class.
    fn confusion(&self, confusion: &Confusion, classes: &[String]) -> Result<()> {
        plots::confusion(&self.file("confusion.svg"), confusion, classes)?;
        let mut text = String::from("precision\trecall\tF1\tpictures\tclass\n");
        for (scores, name) in confusion.per_class().iter().zip(classes) {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{:.4}\t{:.4}\t{:.4}\t{}\t{name}", scores.precision, scores.recall, scores.f1, scores.count);
        }
        Ok(files::write(&self.file("classes.tsv"), |file| file.write_all(text.as_bytes()))?)
    }

    /// Writes the precision of each class, for boxes, masks and key points.
    fn objects(&self, measures: &ObjectMeasures) -> Result<()> {
        let reports = [Some(&measures.boxes), measures.masks.as_ref(), measures.keypoints.as_ref()]
            .map(|evaluation| evaluation.map(Evaluation::report));
        let mut text = String::from("bbox AP\tbbox AP50\tsegm AP\tsegm AP50\tkeypoints AP\tkeypoints AP50\tclass\n");
        for (class, name) in measures.classes().enumerate() {
            for report in &reports {
                for which in 0..2 {
                    let value = report.as_ref().and_then(|report| report.category(class, &report.measures()[which]));
                    let value = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
                    let _ = write!(text, "{value}\t");
                }
            }
            let _ = writeln!(text, "{name}");
        }
        Ok(files::write(&self.file("classes.tsv"), |file| file.write_all(text.as_bytes()))?)
    }
}

/// The epoch of a snapshot's file; none for other files.
fn epoch_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("epoch-")?.strip_suffix(".safetensors")?.parse().ok()
}

/// Locks a run folder until the file is closed; the system does that too when a process is killed.
fn lock(folder: &Path) -> Result<Arc<File>> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Arc::new(file)),
        Err(TryLockError::WouldBlock) => Err(Error::file(folder, "another process is training in this folder")),
        // Some network file systems have no locks; there it is up to the user.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(Arc::new(file)),
        Err(TryLockError::Error(error)) => Err(Error::io(&path)(error)),
    }
}
