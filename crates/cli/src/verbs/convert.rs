//! `cirio convert`: other files of weights as one safetensors file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use cirio::Model;
use cirio_hub::{Fit, Options, Report, convert};
use cirio_nn::Weights;
use serde::Serialize;

use crate::console::{print, print_json, say};
use crate::network;

/// Makes a safetensors file of a file of torch (.pth, .pt, .bin) without executing anything in it; also merges several safetensors
/// files, renames, or halves.
#[derive(clap::Args)]
pub struct Args {
    /// A file of torch, a .safetensors file, or the .index.json of several or its folder.
    input: PathBuf,
    /// The safetensors file to write.
    output: PathBuf,
    /// The entry of the checkpoint that is the weights, such as state_dict [default: found by itself].
    #[arg(long)]
    key: Option<String>,
    /// Write numbers in half precision (f16).
    #[arg(long)]
    half: bool,
    /// The model that the weights are for: names of another spelling become its own, and the report says what fits.
    #[arg(long, short)]
    model: Option<String>,
}

#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    report: Report,
    #[serde(flatten)]
    fit: Option<Fit>,
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        let model = self.model.as_deref().map(cirio::find).transpose()?;
        let options = Options {
            key: self.key,
            half: self.half,
            model: model.map(|model| shapes(model, model.classes)).transpose()?,
            texts: model.iter().map(|model| ("model".to_owned(), model.name.to_owned())).collect(),
        };
        let report = convert(&self.input, &self.output, &options)?;
        let fit = model.map(|model| fit(&report, model)).transpose()?;
        match json {
            true => print_json(&Document { report, fit }),
            false => table(&report),
        }
    }
}

/// Names and shapes of a model's weights for K classes.
fn shapes(model: &Model, classes: usize) -> Result<BTreeMap<String, Vec<usize>>> {
    Ok(model.layers(classes).shapes()?.into_iter().collect())
}

/// How the converted weights fit the model, for the number of classes that they have; what does not is said on stderr.
fn fit(report: &Report, model: &Model) -> Result<Fit> {
    const SHOWN: usize = 8;
    let classes = network::classes_in(&Weights::open(&report.output)?, model)?;
    let fit = report.fit(&shapes(model, classes).or_else(|_| shapes(model, model.classes))?);
    for (what, names) in [("missing for", &fit.missing), ("unknown to", &fit.unused), ("of another shape for", &fit.mismatched)] {
        let more = names.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        if !names.is_empty() {
            let first = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            say(format_args!("warning: tensors {what} {}: {first}{more}", model.name));
        }
    }
    Ok(fit)
}

fn table(report: &Report) -> Result<()> {
    let width = report.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    for tensor in &report.tensors {
        let renamed = if tensor.from == tensor.name { String::new() } else { format!("  from {}", tensor.from) };
        let reshaped = if tensor.is_reshaped() { ", reshaped" } else { "" };
        print(format_args!("{:width$}  {:4} {:?}{renamed}{reshaped}", tensor.name, tensor.dtype.to_string(), tensor.shape))?;
    }
    report.dropped.iter().try_for_each(|dropped| print(format_args!("left out: {dropped}")))?;
    let key = report.key.iter().map(|key| format!(", entry {key}")).collect::<String>();
    let wrapper = if report.wrapper.is_empty() { String::new() } else { format!(", `{}` taken from the names", report.wrapper) };
    print(format_args!(
        "\n{} ({}{key}{wrapper}) is now {}: {} tensors, {} values, {} bytes",
        report.input.display(),
        report.format,
        report.output.display(),
        report.tensors.len(),
        report.values,
        report.bytes
    ))
}
