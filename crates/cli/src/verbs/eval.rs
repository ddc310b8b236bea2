//! `cirio eval`: how good is a trained network on a data set, or a file of found objects?

mod objects;
mod plot;
mod results;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::Tensor;
use cirio_data::objects::ObjectSet;
use cirio_data::{Dataset, Loader, LoaderConfig, OpenOptions, Relabelled, Strictness, open};
use cirio_train::{RunFolder, Scores, average_views, evaluate};
use cirio_vision::Views;
use serde::Serialize;

use super::data::{Part, warn_of_skipped};
use crate::console::{Usage, print, print_json, say};
use crate::network::{Choice, Network};
use crate::parse;

/// Measures a trained network on a data set: loss, accuracy, top-5. Or found objects by their labels: COCO's average precision and recall.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    network: Choice,
    #[command(flatten)]
    found: results::Flags,
    #[command(flatten)]
    objects: objects::Flags,
    /// The data set's folder; with --results, the file of labels.
    #[arg(long, short)]
    data: PathBuf,
    /// The part.
    #[arg(long, value_enum, default_value = "test")]
    split: Part,
    /// The part of each class that was held out, where --split val means pictures that training held out [default: the run's].
    #[arg(long, value_parser = parse::part)]
    val_fraction: Option<f64>,
    /// The seed by which they were held out [default: the run's, else 0].
    #[arg(long)]
    seed: Option<u64>,
    /// Put together what views of each picture show; detectors take flip.
    #[arg(long, value_enum, default_value = "none")]
    tta: parse::Tta,
    /// Pictures a pass; views count.
    #[arg(long, default_value = "128", value_parser = parse::count)]
    batch: usize,
    /// Print the numbers of each class too.
    #[arg(long)]
    per_class: bool,
    /// Fail on a picture that cannot be read, instead of leaving it out.
    #[arg(long)]
    strict: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    weights: &'a str,
    data: String,
    #[serde(flatten)]
    scores: Scores,
    skipped: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<Class<'a>>>,
}

#[derive(Serialize)]
struct Class<'a> {
    name: &'a str,
    #[serde(flatten)]
    scores: cirio_train::ClassScores,
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        if let Some(results) = &self.found.results {
            return self.found.run(results, &self.data, self.per_class, json);
        }
        let (found, model) = self.network.choose()?;
        if let Ok(model) = cirio::find_detector(&model) {
            return objects::run(&self, &found, model, json);
        }
        if let Some(flag) = self.found.given().or(self.objects.given()) {
            bail!(Usage(format!("{flag}: only for detectors, and {model} is a classifier")));
        }
        let network = self.network.classifier(found, cirio::find(&model)?)?;
        let dataset = self.open(&network)?;
        let strictness = dataset.1;
        let views = Views::from(self.tta);
        network.preprocess.check_views(views).map_err(|error| Usage(format!("--tta: {error}")))?;
        let config = LoaderConfig {
            batch: (self.batch / views.count()).max(1),
            workers: 1,
            strictness,
            views,
            device: network.device.clone(),
            ..LoaderConfig::default()
        };
        let loader = Loader::new(dataset.0.clone(), config, network.preprocess.clone(), None)?;
        let forward = |images: &Tensor| average_views(&network.inference.forward(images)?, views.count());
        let (scores, confusion, skipped) = evaluate(forward, network.model.loss, &loader)?;
        skipped.iter().for_each(|skipped| say(format_args!("warning: left out {}: {}", skipped.picture, skipped.reason)));
        let per_class = || network.classes.iter().zip(confusion.per_class()).map(|(name, scores)| Class { name, scores }).collect();
        let document = Document {
            model: network.model.name,
            weights: &network.name,
            data: self.data.display().to_string(),
            scores,
            skipped: skipped.len() + dataset.0.skipped().len(),
            classes: self.per_class.then(per_class),
        };
        match json {
            true => print_json(&document),
            false => show(&document),
        }
    }

    fn open(&self, network: &Network) -> Result<(Arc<dyn Dataset>, Strictness)> {
        let strictness = if self.strict { Strictness::Strict } else { Strictness::Lenient };
        let run = network.run.as_deref().map(RunFolder::config).transpose()?;
        let seed = self.seed.or(run.as_ref().map(|run| run.train.seed)).unwrap_or(0);
        let val_fraction = self.val_fraction.or(run.and_then(|run| run.val_fraction));
        let options = OpenOptions { seed, val_fraction, strictness, class_names: None };
        let dataset: Arc<dyn Dataset> = open(&self.data, self.split.into(), &options)?.into();
        warn_of_skipped(dataset.as_ref());
        // A format without names has numbers for classes: the network's own, if they are as many.
        let numbered = dataset.classes().iter().enumerate().all(|(index, name)| *name == index.to_string());
        if dataset.classes() == network.classes || (numbered && dataset.classes().len() == network.classes.len()) {
            return Ok((dataset, strictness));
        }
        let relabelled = Relabelled::new(dataset, &network.classes);
        let relabelled = relabelled.with_context(|| format!("{} has other classes than {}", self.data.display(), network.name))?;
        Ok((Arc::new(relabelled), strictness))
    }
}

/// Says what was left out of the labels of a set.
pub fn warn_of_problems(set: &ObjectSet) {
    const TOLD: usize = 5;
    set.problems.iter().take(TOLD).for_each(|problem| say(format_args!("warning: {problem}")));
    if set.problems.len() > TOLD {
        say(format_args!("warning: {}: {} more of these", set.name, set.problems.len() - TOLD));
    }
}

fn show(document: &Document) -> Result<()> {
    let Scores { count, loss, accuracy, top5 } = document.scores;
    print(format_args!("{} ({}) on {}: {count} pictures", document.model, document.weights, document.data))?;
    print(format_args!("loss      {loss:.4}"))?;
    print(format_args!("accuracy  {:.2} %", 100.0 * accuracy))?;
    print(format_args!("top 5     {:.2} %", 100.0 * top5))?;
    let Some(classes) = &document.classes else { return Ok(()) };
    print("\nprecision   recall       F1  pictures  class")?;
    classes.iter().try_for_each(|Class { name, scores }| {
        let [precision, recall, f1] = [scores.precision, scores.recall, scores.f1].map(|share| format!("{:.2} %", 100.0 * share));
        print(format_args!("{precision:>9} {recall:>8} {f1:>8} {:>9}  {name}", scores.count))
    })
}
