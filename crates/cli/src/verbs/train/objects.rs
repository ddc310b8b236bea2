//! Training of detectors.

use std::path::Path;

use anyhow::{Result, bail};
use cirio::DetectorModel;
use cirio_train::{RunConfig, RunFolder};

use super::Args;

/// A new run.
pub fn begin(_args: &Args, model: &DetectorModel, _data: &Path, _json: bool) -> Result<()> {
    bail!("{} cannot be trained yet", model.name)
}

/// Goes on with a run.
pub fn resume(_args: &Args, model: &DetectorModel, _config: RunConfig, _folder: RunFolder, _json: bool) -> Result<()> {
    bail!("{} cannot be trained yet", model.name)
}
