//! `cirio list`: the models and their weights.

use anyhow::Result;
use cirio_hub::{Address, Entry, Presence, Registry};
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
    /// Of a file that the registry has.
    bytes: Option<u64>,
    /// About, of a file that is fetched.
    mib: Option<f64>,
    licence: &'a str,
    state: Presence,
    /// Where it is fetched.
    sources: Vec<&'a Address>,
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        let registry = Registry::locate()?;
        let chosen = cirio::MODELS.iter().filter(|model| self.task.as_deref().is_none_or(|task| task == model.task.name()));
        let models = chosen.map(|model| line(model, &registry)).collect::<Result<Vec<_>>>()?;
        if json {
            return print_json(&Document { models });
        }
        print(format_args!("{:14} {:9} {:>10} {:>13}  about", "model", "task", "parameters", "multiply-adds"))?;
        for Line { name, task, about, params, macs, .. } in &models {
            print(format_args!("{name:14} {task:9} {:>10} {:>13}  {about}", short(*params), short(*macs)))?;
        }
        print(format_args!("\n{:28} {:>8} {:>9}  {:7}  {:30}  trained on", "weights", "accuracy", "size", "file", "licence"))?;
        for weights in models.iter().flat_map(|model| &model.weights) {
            let Weights { name, data, licence, state, .. } = weights;
            let (accuracy, size, state) = (format!("{:.2} %", 100.0 * weights.accuracy), weights.size(), state.name());
            let from = weights.sources.first().map_or_else(String::new, |source| format!(", from {source}"));
            print(format_args!("{name:28} {accuracy:>8} {size:>9}  {state:7}  {licence:30}  {data}{from}"))?;
        }
        Ok(())
    }
}

impl Weights<'_> {
    /// `97.8 MiB`.
    fn size(&self) -> String {
        let mib = self.bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)).or(self.mib);
        mib.map_or_else(|| "?".to_owned(), |mib| format!("{mib:.1} MiB"))
    }
}

/// Three digits and a unit: `61.7 k`, `25.6 M`, `4.09 G`.
fn short(number: u64) -> String {
    let (value, unit) = match number {
        0..1_000 => return number.to_string(),
        1_000..1_000_000 => (number as f64 / 1e3, 'k'),
        1_000_000..1_000_000_000 => (number as f64 / 1e6, 'M'),
        _ => (number as f64 / 1e9, 'G'),
    };
    let decimals = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

fn line<'a>(model: &'a cirio::Model, registry: &'a Registry) -> Result<Line<'a>> {
    let table = model.layers(model.classes).table()?;
    let weights = |entry: &'a Entry| Weights {
        name: entry.full_name(),
        data: &entry.data,
        classes: entry.classes.len(),
        accuracy: entry.measured.accuracy,
        bytes: entry.bytes,
        mib: entry.sources.iter().find_map(|source| source.mib),
        licence: &entry.licence,
        state: registry.presence(entry),
        sources: entry.sources.iter().map(|source| &source.address).collect(),
    };
    Ok(Line {
        name: model.name,
        task: model.task.name(),
        about: model.about,
        paper: model.paper,
        input: table.input,
        params: table.parameters(),
        macs: table.macs(),
        weights: registry.entries().iter().filter(|entry| entry.model == model.name).map(weights).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [7, 6_440, 61_706, 416_520, 25_557_032, 4_089_184_256].map(short),
            ["7", "6.44 k", "61.7 k", "417 k", "25.6 M", "4.09 G"]
        );
    }
}
