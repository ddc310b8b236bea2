//! `cirio list`: the models and their weights.

use anyhow::Result;
use cirio_hub::{Entry, Registry};
use serde::Serialize;

use crate::console::{print, print_json};

/// The models of the zoo, and the weights that there are for them.
#[derive(clap::Args)]
pub struct Args {
    /// Only models for this task.
    #[arg(long, value_parser = ["classify"])]
    task: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    models: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    task: &'a str,
    about: &'a str,
    paper: &'a str,
    input: [usize; 3],
    params: u64,
    macs: u64,
    weights: Vec<Weights<'a>>,
}

#[derive(Serialize)]
struct Weights<'a> {
    name: String,
    data: &'a str,
    classes: usize,
    accuracy: f64,
    bytes: u64,
    licence: &'a str,
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        let registry = Registry::locate()?;
        let chosen = cirio::MODELS.iter().filter(|model| self.task.as_deref().is_none_or(|task| task == model.task.name()));
        let models = chosen.map(|model| line(model, registry.entries())).collect::<Result<Vec<_>>>()?;
        if json {
            return print_json(&Document { models });
        }
        print(format_args!("{:14} {:9} {:>10} {:>14}  about", "model", "task", "parameters", "multiply-adds"))?;
        for model in &models {
            print(format_args!("{:14} {:9} {:>10} {:>14}  {}", model.name, model.task, model.params, model.macs, model.about))?;
        }
        print(format_args!("\n{:28} {:>8} {:>8}  {:18} trained on", "weights", "accuracy", "size", "licence"))?;
        for weights in models.iter().flat_map(|model| &model.weights) {
            let (accuracy, size) = (format!("{:.2} %", 100.0 * weights.accuracy), format!("{} kB", weights.bytes.div_ceil(1000)));
            print(format_args!("{:28} {accuracy:>8} {size:>8}  {:18} {}", weights.name, weights.licence, weights.data))?;
        }
        Ok(())
    }
}

fn line<'a>(model: &'a cirio::Model, entries: &'a [Entry]) -> Result<Line<'a>> {
    let table = model.layers(model.classes).table()?;
    let weights = |entry: &'a Entry| Weights {
        name: entry.full_name(),
        data: &entry.data,
        classes: entry.classes.len(),
        accuracy: entry.measured.accuracy,
        bytes: entry.bytes,
        licence: &entry.licence,
    };
    Ok(Line {
        name: model.name,
        task: model.task.name(),
        about: model.about,
        paper: model.paper,
        input: table.input,
        params: table.parameters(),
        macs: table.macs(),
        weights: entries.iter().filter(|entry| entry.model == model.name).map(weights).collect(),
    })
}
