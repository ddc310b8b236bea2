//! A network over a data set.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use cirio_data::{Dataset, Loader, LoaderConfig, OpenOptions, Subset, open};
use cirio_explain::{Rectifier, Strongest, Target, trace};
use cirio_vision::Image;
use cirio_vision::draw::{Cell, Ground, grid, sheet};

use super::maps::{NINE, pair, strongest_of};
use super::subject::{Eye, Subject};
use super::{Args, Figure, Of};
use crate::console::Usage;
use crate::progress;
use crate::verbs::data::warn_of_skipped;

/// Maps that are drawn where none are asked for.
const MAPS: usize = 8;

/// The nine strongest activations of maps over a data set: projected back, beside the parts of the pictures that they saw.
pub fn strongest(args: &Args, subject: &Subject, data: &Path) -> Result<Figure> {
    let Eye::Classifier(preprocess) = &subject.eye else {
        bail!(Usage(format!("--method strongest is for classifiers; {} is a detector", subject.model)));
    };
    let dataset = dataset(args, data)?;
    let [_, height, width] = preprocess.output_shape();
    let layer = subject.layer_of_parts(args.layer.as_deref(), [height, width])?;
    let network = subject.inference(&[layer])?;
    let config = LoaderConfig { batch: 64, workers: 1, device: subject.device.clone(), ..LoaderConfig::default() };
    let loader = Loader::new(dataset.clone(), config, preprocess.clone(), None)?;
    let mut strongest = Strongest::new(NINE);
    let bar = progress::pictures(dataset.len());
    for batch in loader.epoch(0) {
        let batch = batch?;
        strongest.add(&network.forward(&batch.images)?, &batch.indices)?;
        bar.inc(batch.indices.len() as u64);
    }
    bar.finish_and_clear();
    let maps = if args.map.is_empty() { strongest_of(&strongest, MAPS) } else { args.map.clone() };
    let table = subject.layers.table()?;
    let mut cells = Vec::new();
    for &map in &maps {
        let peaks = strongest.of_map(map)?;
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
    let image = sheet(&cells, 4, Ground::White, Some(&title))?;
    Ok(Figure { title, about, image, of: Of { layer: Some(layer.to_owned()), maps, ..Of::default() } })
}

/// The pictures of a data set, or the first of them.
fn dataset(args: &Args, data: &Path) -> Result<Arc<dyn Dataset>> {
    let options = OpenOptions { seed: args.seed, ..OpenOptions::default() };
    let dataset: Arc<dyn Dataset> = open(data, args.split.into(), &options)?.into();
    warn_of_skipped(dataset.as_ref());
    match args.limit {
        Some(limit) if limit < dataset.len() => Ok(Arc::new(Subset::new(dataset, (0..limit).collect())?)),
        _ => Ok(dataset),
    }
}
