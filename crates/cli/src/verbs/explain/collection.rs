//! A network over a data set.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::Tensor;
use cirio_data::{Batch, Dataset, Loader, LoaderConfig, OpenOptions, Subset, open};
use cirio_explain::embedding::{MOST, Tsne, pca};
use cirio_explain::{Rectifier, Strongest, Target, trace};
use cirio_vision::Image;
use cirio_vision::draw::{Cell, Ground, grid, sheet};

use super::maps::{NINE, pair, strongest_of};
use super::subject::{Eye, Subject};
use super::{Args, Drawing, Figure, Method, Of, scatter};
use crate::console::Usage;
use crate::progress;
use crate::verbs::data::{Part, warn_of_skipped};

/// Maps that are drawn where none are asked for.
const MAPS: usize = 8;

/// The nine strongest activations of maps over a data set: projected back, beside the parts of the pictures that they saw.
pub fn strongest(args: &Args, subject: &Subject, data: &Path) -> Result<Figure> {
    let dataset = dataset(args, data)?;
    let [_, height, width] = subject.layers.input();
    let layer = subject.layer_of_parts(args.layer.as_deref(), [height, width])?;
    let mut strongest = Strongest::new(NINE);
    each_batch(subject, &dataset, layer, |outputs, batch| Ok(strongest.add(outputs, &batch.indices)?))?;
    let maps = if args.map.is_empty() { strongest_of(&strongest, MAPS) } else { args.map.clone() };
    let table = subject.layers.table()?;
    let mut cells = Vec::new();
    for &map in &maps {
        let peaks = strongest.of_map(map).with_context(|| format!("layer `{layer}`"))?;
        let mut pairs: [Vec<Image>; 2] = Default::default();
        for peak in peaks {
            let seen = subject.see(&dataset.get(peak.picture)?.image, dataset.picture_name(peak.picture))?;
            let target = Target::Map { layer, map, place: Some(peak.place) };
            let found = trace(&subject.stack, &seen.tensor, &target, Rectifier::Deconvnet)?;
            pairs.iter_mut().zip(pair(&seen, &found, &table, layer)?).for_each(|(images, image)| images.push(image));
        }
        let [projections, patches] = pairs;
        cells.push(Cell::new(grid(&projections, 3, 2, 255)?, format!("map {map}: {:.2}", peaks[0].value)));
        cells.push(Cell::new(grid(&patches, 3, 2, 255)?, ""));
    }
    let title = format!("The strongest activations of {layer} over {} pictures, {}", dataset.len(), subject.model);
    let about = "For each map the pictures that moved it most: what moved it, and the part of the picture that it saw.".to_owned();
    let image = sheet(&cells, 4, Ground::White, None)?;
    Ok(Figure { of: Of { layer: Some(layer.to_owned()), maps, ..Of::default() }, ..Figure::still(title, about, image) })
}

/// The pictures of a data set in the plane, by the features that a layer gives them; maps count by their means.
pub fn embedding(args: &Args, subject: &Subject, data: &Path, method: Method) -> Result<Figure> {
    let dataset = dataset(args, data)?;
    if method == Method::TSne && dataset.len() > MOST {
        bail!(Usage(format!(
            "--method t-sne places {MOST} pictures at most, and there are {}: take some with --limit {MOST}",
            dataset.len()
        )));
    }
    let layer = match &args.layer {
        Some(layer) => layer.as_str(),
        None => subject.features().with_context(|| format!("{} has one layer alone: name it with --layer", subject.model))?,
    };
    let mut features = Vec::new();
    let mut labels = Vec::new();
    each_batch(subject, &dataset, layer, |outputs, batch| {
        features.push(if outputs.rank() == 4 { outputs.mean((2, 3))? } else { outputs.flatten_from(1)? });
        labels.extend(batch.labels.iter().map(|&label| label as usize));
        Ok(())
    })?;
    let features = Tensor::cat(&features, 0)?;
    let (places, about) = match method {
        Method::Pca => {
            let found = pca(&features, 2)?;
            let share: f64 = found.explained().iter().sum();
            (
                found.places(),
                format!("The plane that tells the most: {:.0} % of the variance of {} values.", 100.0 * share, features.dim(1)?),
            )
        }
        _ => {
            let found = Tsne::for_pictures(labels.len()).layout(&features)?;
            (found.places, "Pictures with like features lie side by side; distances further away, and the axes, mean nothing.".to_owned())
        }
    };
    let name = if method == Method::Pca { "Principal components" } else { "t-SNE" };
    let title = format!("{name} of {layer} for {} pictures, {}", labels.len(), subject.model);
    let svg = scatter::draw(&title, &places, &labels, dataset.classes())?;
    Ok(Figure { title, about, drawing: Drawing::Plot(svg), of: Of { layer: Some(layer.to_owned()), ..Of::default() } })
}

/// Runs a data set through the network up to a layer; `look` gets what it gives for some pictures, and these.
fn each_batch(
    subject: &Subject,
    dataset: &Arc<dyn Dataset>,
    layer: &str,
    mut look: impl FnMut(&Tensor, &Batch) -> Result<()>,
) -> Result<()> {
    let Eye::Classifier(preprocess) = &subject.eye else {
        bail!(Usage(format!("data sets of pictures with classes are for classifiers; {} is a detector", subject.model)));
    };
    let network = subject.inference(&[layer])?;
    let config = LoaderConfig { batch: 64, workers: 1, device: subject.device.clone(), ..LoaderConfig::default() };
    let loader = Loader::new(dataset.clone(), config, preprocess.clone(), None)?;
    let bar = progress::pictures(dataset.len());
    for batch in loader.epoch(0) {
        let batch = batch?;
        look(&network.forward(&batch.images)?, &batch)?;
        bar.inc(batch.indices.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The pictures of a data set, or some of them, evenly from all of it: folders come class by class.
fn dataset(args: &Args, data: &Path) -> Result<Arc<dyn Dataset>> {
    let dataset: Arc<dyn Dataset> = open(data, args.split.unwrap_or(Part::Test).into(), &OpenOptions::default())?.into();
    warn_of_skipped(dataset.as_ref());
    match args.limit {
        Some(limit) if limit < dataset.len() => {
            Ok(Arc::new(Subset::new(dataset.clone(), (0..limit).map(|at| at * dataset.len() / limit).collect())?))
        }
        _ => Ok(dataset),
    }
}
