//! `cirio predict`: what is in these pictures?

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::{D, Tensor};
use cirio_train::average_views;
use cirio_vision::{Image, Preprocess, Views, to_tensor};
use serde::Serialize;

use crate::console::{Usage, one_line, print, print_json, say};
use crate::network::{Choice, Network};
use crate::parse;

/// Names what is in pictures: files, or folders of them.
#[derive(clap::Args)]
pub struct Args {
    /// Pictures, or folders whose pictures are meant.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    network: Choice,
    /// How many classes to show, the likeliest first.
    #[arg(long, default_value = "5", value_parser = parse::count)]
    top: usize,
    /// Swap dark and light first: for dark drawings on white paper, where the network learnt white on black.
    #[arg(long)]
    invert: bool,
    /// Average over views of each picture.
    #[arg(long, value_enum, default_value = "none")]
    tta: parse::Tta,
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
        let paths = pictures(&self.images)?;
        let network = self.network.load()?;
        let views = Views::from(self.tta);
        network.preprocess.check_views(views).map_err(|error| Usage(format!("--tta: {error}")))?;
        let mut predictions = Vec::new();
        let mut failed = 0;
        for batch in paths.chunks(BATCH / views.count()) {
            let (read, tensors) = self.read(batch, &network, views, &mut failed);
            let batch = predict(&network, &read, &tensors, views, self.top)?;
            if !json {
                batch.iter().try_for_each(show)?;
            }
            predictions.extend(batch);
        }
        if json {
            print_json(&Document { model: network.model.name, weights: &network.name, predictions })?;
        }
        match failed {
            0 => Ok(()),
            1 => bail!("1 of {} pictures could not be read", paths.len()),
            _ => bail!("{failed} of {} pictures could not be read", paths.len()),
        }
    }

    /// The pictures of a batch that can be read, as tensors (V, C, H, W) of their views; the others are named on stderr.
    fn read<'a>(&self, batch: &'a [PathBuf], network: &Network, views: Views, failed: &mut usize) -> (Vec<&'a Path>, Vec<Tensor>) {
        let read = |path: &Path| -> Result<Tensor> {
            let image = Image::open(path)?;
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

/// The files named, and the pictures in the folders named, in the order of their names.
fn pictures(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for path in given {
        if !path.is_dir() {
            paths.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read the folder {}", path.display()))?;
        let mut inside: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        inside.retain(|path| path.is_file() && cirio_vision::is_picture(path));
        if inside.is_empty() {
            bail!("there are no pictures in the folder {}", path.display());
        }
        inside.sort();
        paths.append(&mut inside);
    }
    Ok(paths)
}
