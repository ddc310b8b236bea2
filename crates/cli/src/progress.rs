//! Progress on stderr: a bar where it is a terminal, and a line an epoch or a file.

use std::time::Duration;

use cirio_data::Skipped;
use cirio_hub::Transfer;
use cirio_train::{EpochLine, Progress, StepLine};
use indicatif::{ProgressBar, ProgressStyle};

use crate::console::say;

/// Draws the bar of the present epoch.
#[derive(Default)]
pub struct Bar {
    bar: Option<ProgressBar>,
    epochs: u64,
    warned: bool,
}

const TEMPLATE: &str = "{prefix} {bar:30} {pos}/{len} pictures, {per_sec}, {eta} left, {msg}";

impl Progress for Bar {
    fn epoch_begins(&mut self, epoch: u64, epochs: u64, pictures: usize) {
        self.epochs = epochs;
        let bar = ProgressBar::new(pictures as u64).with_prefix(format!("epoch {epoch}/{epochs}"));
        dress(&bar, TEMPLATE);
        self.bar = Some(bar);
    }

    fn step(&mut self, line: &StepLine, pictures: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(pictures as u64);
            bar.set_message(format!("loss {:.3}", line.loss));
        }
    }

    fn epoch_ends(&mut self, line: &EpochLine, best: bool) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let scores = line.scores.map_or_else(String::new, |scores| {
            let best = if best { ", the best so far" } else { "" };
            let (name, value) = scores.headline();
            format!(", validation loss {:.4}, {name} {:.2} %{best}", scores.loss(), 100.0 * value)
        });
        let each = line.seconds / line.epoch.max(1) as f64;
        let left = Duration::from_secs_f64((each * self.epochs.saturating_sub(line.epoch) as f64).clamp(0.0, 1e9));
        say(format_args!("epoch {}/{}: loss {:.4}{scores}; {} left", line.epoch, self.epochs, line.train_loss, clock(left)));
    }

    fn skipped(&mut self, pictures: &[Skipped]) {
        // The same pictures are met in every epoch.
        if !self.warned {
            self.warned = true;
            pictures.iter().take(5).for_each(|skipped| say(format_args!("warning: left out {}: {}", skipped.picture, skipped.reason)));
            say(format_args!("warning: {} pictures could not be read", pictures.len()));
        }
    }
}

const PICTURES: &str = "{bar:30} {pos}/{len} pictures, {per_sec}, {eta} left";

/// The bar of pictures that are looked at one by one; none for a single one.
pub fn pictures(count: usize) -> ProgressBar {
    if count < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count as u64);
    dress(&bar, PICTURES);
    bar
}

/// Draws the bar of a file that is fetched.
#[derive(Default)]
pub struct Fetched {
    bar: Option<(String, ProgressBar)>,
}

const BYTES: &str = "{bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";

impl Fetched {
    /// Shows how far a transfer is; the first time it is named.
    pub fn show(&mut self, transfer: Transfer) {
        if self.bar.as_ref().is_none_or(|(name, _)| name != transfer.name) {
            say(format_args!("fetching {}", transfer.name));
            let bar = ProgressBar::no_length();
            dress(&bar, BYTES);
            self.clear();
            self.bar = Some((transfer.name.to_owned(), bar));
        }
        if let Some((_, bar)) = &self.bar {
            transfer.total.into_iter().for_each(|total| bar.set_length(total));
            bar.set_position(transfer.done);
        }
    }

    fn clear(&mut self) {
        self.bar.iter().for_each(|(_, bar)| bar.finish_and_clear());
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        self.clear();
    }
}

fn dress(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸ "));
    }
}

/// `1:02:03` or `2:03`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}
