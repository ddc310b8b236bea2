//! `cirio list`: the models and their weights.

use anyhow::Result;
use cirio::Task;
use cirio_hub::{Address, Entry, Presence, Registry};
use serde::Serialize;

use crate::console::{print, print_json};
use crate::facts::{Facts, short};

/// The models of the zoo, and the weights that there are for them.
#[derive(clap::Args)]
pub struct Args {
    /// Only models for this task.
    #[arg(long, value_parser = ["classify", "detect", "segment", "keypoints"])]
    task: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    models: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'static str,
    #[serde(flatten)]
    facts: Facts,
    weights: Vec<Weights<'a>>,
}

#[derive(Serialize)]
struct Weights<'a> {
    name: String,
    data: &'a str,
    classes: usize,
    /// Of a classifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    /// Of a detector.
    #[serde(skip_serializing_if = "Option::is_none")]
    box_ap: Option<f64>,
    /// Of a detector with masks.
    #[serde(skip_serializing_if = "Option::is_none")]
    mask_ap: Option<f64>,
    /// Of a detector with key points.
    #[serde(skip_serializing_if = "Option::is_none")]
    keypoint_ap: Option<f64>,
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
        let chosen = |task: Task| self.task.as_deref().is_none_or(|name| name == task.name());
        let classifiers = cirio::MODELS.iter().filter(|model| chosen(model.task)).map(Facts::of_classifier);
        let detectors = cirio::DETECTORS.iter().filter(|model| chosen(model.task)).map(Facts::of_detector);
        let line = |facts: Facts| Line { name: facts.name, weights: weights(facts.name, &registry), facts };
        let models = classifiers.chain(detectors).map(|facts| facts.map(line)).collect::<Result<Vec<_>>>()?;
        if json {
            return print_json(&Document { models });
        }
        print(format_args!("{:26} {:9} {:>10} {:>13}  about", "model", "task", "parameters", "multiply-adds"))?;
        for Facts { name, task, about, params, macs, .. } in models.iter().map(|model| &model.facts) {
            let macs = macs.map_or_else(|| "-".to_owned(), short);
            print(format_args!("{name:26} {task:9} {:>10} {macs:>13}  {about}", short(*params)))?;
        }
        print(format_args!("\n{:38} {:>20} {:>9}  {:7}  {:30}  trained on", "weights", "accuracy", "size", "file", "licence"))?;
        for weights in models.iter().flat_map(|model| &model.weights) {
            let Weights { name, data, licence, state, .. } = weights;
            let (accuracy, size, state) = (weights.measured(), weights.size(), state.name());
            let from = weights.sources.first().map_or_else(String::new, |source| format!(", from {source}"));
            print(format_args!("{name:38} {accuracy:>20} {size:>9}  {state:7}  {licence:30}  {data}{from}"))?;
        }
        Ok(())
    }
}

impl Weights<'_> {
    /// `91.97 %`, or `AP 37.9, masks 34.6`.
    fn measured(&self) -> String {
        let also = [(self.mask_ap, "masks"), (self.keypoint_ap, "points")];
        let also = also.map(|(ap, of)| ap.map_or_else(String::new, |ap| format!(", {of} {:.1}", 100.0 * ap)));
        match (self.accuracy, self.box_ap) {
            (Some(accuracy), _) => format!("{:.2} %", 100.0 * accuracy),
            (None, Some(boxes)) => format!("AP {:.1}{}", 100.0 * boxes, also.concat()),
            (None, None) => "?".to_owned(),
        }
    }

    /// `97.8 MiB`.
    fn size(&self) -> String {
        let mib = self.bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)).or(self.mib);
        mib.map_or_else(|| "?".to_owned(), |mib| format!("{mib:.1} MiB"))
    }
}

/// What there is for a model.
fn weights<'a>(model: &str, registry: &'a Registry) -> Vec<Weights<'a>> {
    let line = |entry: &'a Entry| Weights {
        name: entry.full_name(),
        data: &entry.data,
        classes: entry.classes.len(),
        accuracy: entry.measured.accuracy,
        box_ap: entry.measured.box_ap,
        mask_ap: entry.measured.mask_ap,
        keypoint_ap: entry.measured.keypoint_ap,
        bytes: entry.bytes,
        mib: entry.sources.iter().find_map(|source| source.mib),
        licence: &entry.licence,
        state: registry.presence(entry),
        sources: entry.sources.iter().map(|source| &source.address).collect(),
    };
    registry.entries().iter().filter(|entry| entry.model == model).map(line).collect()
}
