//! `cirio predict`: what is in these pictures?

mod objects;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use candle_core::{D, Tensor};
use cirio_train::average_views;
use cirio_vision::{Preprocess, Views, to_tensor};
use serde::Serialize;

use crate::console::{Usage, one_line, print, print_json, say};
use crate::detector::Rules;
use crate::network::{Choice, Network};
use crate::{parse, pictures, progress};

/// Names what is in pictures; a detector also says where, and draws it.
#[derive(clap::Args)]
pub struct Args {
    /// Pictures, folders whose pictures are meant, patterns such as "*.jpg", or - for a picture on standard input.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    network: Choice,
    /// Classifiers: how many classes to show, the likeliest first [default: 5].
    #[arg(long, value_name = "COUNT", value_parser = parse::count)]
    top: Option<usize>,
    /// Classifiers: swap dark and light first: for dark drawings on white paper, where the network learnt white on black.
    #[arg(long)]
    invert: bool,
    /// Put together what views of each picture show; detectors take flip.
    #[arg(long, value_enum, default_value = "none")]
    tta: parse::Tta,
    #[command(flatten)]
    rules: Rules,
    /// Detectors: write each picture with what was found in it into this folder, as PNG.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    weights: &'a str,
    predictions: Vec<Prediction>,
}

#[derive(Serialize)]
struct Prediction {
    path: String,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    index: usize,
    name: String,
    probability: f32,
}

/// Views of pictures that go through the network together.
const BATCH: usize = 64;

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        let paths = pictures::list(&self.images)?;
        let (found, model) = self.network.choose()?;
        let failed = match cirio::find_detector(&model) {
            Ok(model) => {
                refuse(self.classifiers_flag(), model.name, "classifiers")?;
                let finder = self.rules.load(&self.network, &found, model)?.with_views(self.tta)?;
                objects::run(&finder, &paths, self.out.as_deref(), json)?
            }
            Err(_) => {
                let model = cirio::find(&model)?;
                refuse(self.rules.given().or(self.out.is_some().then_some("--out")), model.name, "detectors")?;
                self.classify(&self.network.classifier(found, model)?, &paths, json)?
            }
        };
        match failed {
            0 => Ok(()),
            1 => bail!("1 of {} pictures could not be read", paths.len()),
            _ => bail!("{failed} of {} pictures could not be read", paths.len()),
        }
    }

    /// The first flag for classifiers alone that is given.
    fn classifiers_flag(&self) -> Option<&'static str> {
        let flags = [(self.top.is_some(), "--top"), (self.invert, "--invert")];
        flags.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    /// Names the classes of pictures. Returns how many pictures could not be read.
    fn classify(&self, network: &Network, paths: &[PathBuf], json: bool) -> Result<usize> {
        let (views, top) = (Views::from(self.tta), self.top.unwrap_or(5));
        network.preprocess.check_views(views).map_err(|error| Usage(format!("--tta: {error}")))?;
        let bar = progress::pictures(paths.len());
        let mut predictions = Vec::new();
        let mut failed = 0;
        for batch in paths.chunks(BATCH / views.count()) {
            let (read, tensors) = bar.suspend(|| self.read(batch, network, views, &mut failed));
            let done = predict(network, &read, &tensors, views, top)?;
            if !json {
                bar.suspend(|| done.iter().try_for_each(show))?;
            }
            predictions.extend(done);
            bar.inc(batch.len() as u64);
        }
        bar.finish_and_clear();
        if json {
            print_json(&Document { model: network.model.name, weights: &network.name, predictions })?;
        }
        Ok(failed)
    }

    /// The pictures of a batch that can be read, as tensors (V, C, H, W) of their views; the others are named on stderr.
    fn read<'a>(&self, batch: &'a [PathBuf], network: &Network, views: Views, failed: &mut usize) -> (Vec<&'a Path>, Vec<Tensor>) {
        let read = |path: &Path| -> Result<Tensor> {
            let image = pictures::open(path)?;
            let image = if self.invert { image.inverted() } else { image };
            let Preprocess { mean, std, .. } = &network.preprocess;
            let views = network.preprocess.views(&image, views)?;
            let views = views.iter().map(|view| to_tensor(view, mean, std, &network.device)).collect::<Result<Vec<_>, _>>()?;
            Ok(Tensor::stack(&views, 0)?)
        };
        let mut done = (Vec::new(), Vec::new());
        for path in batch {
            match read(path) {
                Ok(tensor) => {
                    done.0.push(path.as_path());
                    done.1.push(tensor);
                }
                Err(error) => {
                    *failed += 1;
                    say(format_args!("error: {}", one_line(&error)));
                }
            }
        }
        done
    }
}

fn predict(network: &Network, paths: &[&Path], tensors: &[Tensor], views: Views, top: usize) -> Result<Vec<Prediction>> {
    if tensors.is_empty() {
        return Ok(Vec::new());
    }
    let logits = average_views(&network.inference.forward(&Tensor::cat(tensors, 0)?)?, views.count())?;
    let probabilities = candle_nn::ops::softmax(&logits, D::Minus1)?.to_vec2::<f32>()?;
    if let Some((path, _)) = paths.iter().zip(&probabilities).find(|(_, row)| row.iter().any(|probability| !probability.is_finite())) {
        bail!("the network gives no finite numbers for {}: the weights {} are not sound", path.display(), network.name);
    }
    let prediction = |(path, probabilities): (&&Path, Vec<f32>)| {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        order.truncate(top);
        let class = |index: usize| Class { index, name: network.classes[index].clone(), probability: probabilities[index] };
        Prediction { path: path.display().to_string(), classes: order.into_iter().map(class).collect() }
    };
    Ok(paths.iter().zip(probabilities).map(prediction).collect())
}

fn show(prediction: &Prediction) -> Result<()> {
    print(&prediction.path)?;
    prediction.classes.iter().try_for_each(|class| print(format_args!("{:7.2} %  {}", 100.0 * class.probability, class.name)))
}

/// A flag that says nothing to a model of this kind is wrong usage.
fn refuse(flag: Option<&str>, model: &str, kind: &str) -> Result<()> {
    match flag {
        Some(flag) => bail!(Usage(format!("{flag} is for {kind}; {model} is none"))),
        None => Ok(()),
    }
}
