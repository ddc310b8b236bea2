//! A network as training went on: the snapshots of a run.

use anyhow::{Context, Result, bail};
use cirio_explain::{Error, Heat, Rectifier, Stack, Target, trace};
use cirio_train::{RunFolder, Snapshot};
use cirio_vision::draw::{Cell, ColourMap, Ground, sheet};
use cirio_vision::{Image, pad};

use super::layers::{draw_filters, filters_of};
use super::maps::strongest_maps;
use super::subject::{Eye, Seen, Subject};
use super::{Drawing, Figure, Method, Of, paint};
use crate::console::Usage;
use crate::network;

/// The most epochs that are drawn side by side.
const COLUMNS: usize = 8;

/// The most frames of an animation.
const FRAMES: usize = 100;

/// Maps that are drawn where none are asked for.
const MAPS: usize = 4;

/// The answers of some maps to a picture, each with its strongest activation projected back: a column an epoch.
pub fn maps(subject: &Subject, seen: &Seen, wanted: Option<&str>, maps: &[usize]) -> Result<Figure> {
    let snapshots = some(snapshots(subject, Method::Evolution)?, COLUMNS);
    let layer = subject.layer_of_parts(wanted, seen.size())?;
    let maps = match maps {
        [] => strongest_maps(subject, seen, layer)?.into_iter().take(MAPS).collect(),
        maps => maps.to_vec(),
    };
    // A network at a time: two rows of cells for each map grow by a column a snapshot.
    let mut rows: Vec<Vec<Cell>> = vec![Vec::new(); 2 * maps.len()];
    for snapshot in &snapshots {
        let stack = load(subject, snapshot)?;
        for (pair, &map) in rows.chunks_exact_mut(2).zip(&maps) {
            let cells = answer(&stack, seen, layer, map, snapshot.epoch)?;
            pair.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
        }
    }
    let cells: Vec<Cell> = rows.into_iter().flatten().collect();
    let title = format!("Maps of {layer} for {} as training goes on, {}", seen.stem, subject.model);
    let about = "Each map after some epochs, each on its own scale, and its strongest activation projected back to the pixels.".to_owned();
    let image = sheet(&cells, snapshots.len(), Ground::White, None)?;
    Ok(Figure { of: Of { layer: Some(layer.to_owned()), maps, ..Of::default() }, ..Figure::still(title, about, image) })
}

/// A map's answer, and its strongest activation projected back; grey where the map is dead still.
fn answer(stack: &Stack, seen: &Seen, layer: &str, map: usize, epoch: u64) -> Result<[Cell; 2]> {
    const SIDE: usize = 96;
    let output = stack.forward_taps(&seen.tensor.unsqueeze(0)?, &[layer])?.remove(0);
    let Ok((_, count, _, _)) = output.dims4() else { bail!("layer `{layer}` gives {:?}, expected maps", output.dims()) };
    if map >= count {
        bail!(Error::Map { given: map, layer: layer.into(), maps: count });
    }
    let heat = Heat::from_tensor(&output.get(0)?.get(map)?)?;
    let back = match heat.is_dead() {
        true => Image::filled(SIDE, SIDE, 3, 128)?,
        false => {
            let found = trace(stack, &seen.tensor, &Target::Map { layer, map, place: None }, Rectifier::Deconvnet)?;
            paint::at_least(&paint::projection(&found.projection()?)?.to_rgb(), SIDE)?
        }
    };
    Ok([Cell::new(paint::tile(&heat, ColourMap::Viridis, None, SIDE)?, format!("epoch {epoch}")), Cell::new(back, format!("map {map}"))])
}

/// The filters of a layer, a frame a snapshot.
pub fn filters(subject: &Subject, wanted: Option<&str>) -> Result<Figure> {
    let snapshots = some(snapshots(subject, Method::FilterEvolution)?, FRAMES);
    let (layer, _) = filters_of(&subject.stack, subject.model, wanted)?;
    let frame = |snapshot: &Snapshot| -> Result<Image> {
        let weights = network::open(&snapshot.path, cirio::find(subject.model)?)?;
        let filters = weights.tensor(&format!("{layer}.weight"), &subject.device)?;
        let words = format!("{layer}, epoch {}", snapshot.epoch);
        Ok(sheet(&[Cell::new(draw_filters(&filters)?, words)], 1, Ground::White, None)?)
    };
    let frames = same_size(snapshots.iter().map(frame).collect::<Result<Vec<_>>>()?)?;
    let title = format!("The filters of {layer} over {} snapshots, {}", snapshots.len(), subject.model);
    let about = "The filters of a layer as training goes on, each on its own scale.".to_owned();
    Ok(Figure { title, about, drawing: Drawing::Moving(frames), of: Of { layer: Some(layer), ..Of::default() } })
}

/// Frames of an animation have one size; captions may differ in length.
fn same_size(frames: Vec<Image>) -> Result<Vec<Image>> {
    let (width, height) = frames.iter().fold((0, 0), |(w, h), frame| (frame.width().max(w), frame.height().max(h)));
    let filled = |frame: Image| Ok(pad(&frame, [0, 0, width - frame.width(), height - frame.height()], 255)?);
    frames.into_iter().map(filled).collect()
}

/// The snapshots of the run that the weights are from.
fn snapshots(subject: &Subject, method: Method) -> Result<Vec<Snapshot>> {
    if !matches!(subject.eye, Eye::Classifier(_)) {
        bail!(Usage(format!("--method {} is for classifiers; {} is a detector", method.name(), subject.model)));
    }
    let Some(run) = &subject.run else {
        bail!(Usage(format!("the weights {} are of no run: name the folder of one with --weights", subject.weights)));
    };
    let snapshots = RunFolder::snapshots(run)?;
    if snapshots.is_empty() {
        bail!("the run {} kept no snapshots: train with --snapshots N", run.display());
    }
    Ok(snapshots)
}

/// Some of them, evenly, the first and the last among them.
fn some(snapshots: Vec<Snapshot>, most: usize) -> Vec<Snapshot> {
    let (count, last) = (snapshots.len().min(most), snapshots.len() - 1);
    let chosen: Vec<usize> = (0..count).map(|at| if count > 1 { at * last / (count - 1) } else { 0 }).collect();
    snapshots.into_iter().enumerate().filter(|(at, _)| chosen.contains(at)).map(|(_, snapshot)| snapshot).collect()
}

fn load(subject: &Subject, snapshot: &Snapshot) -> Result<Stack> {
    let weights = network::open(&snapshot.path, cirio::find(subject.model)?)?;
    subject.layers.load(&weights, &subject.device).with_context(|| snapshot.path.display().to_string())
}
