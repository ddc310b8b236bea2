//! Activations of a picture, projected back to its pixels.

use anyhow::Result;
use cirio_explain::{Rectifier, Strongest, Trace, trace_maps};
use cirio_nn::{ReceptiveField, Table};
use cirio_vision::draw::{Cell, Ground, enlarge, sheet};
use cirio_vision::{Image, crop, pad};

use super::subject::{Seen, Subject};
use super::{Figure, Of, paint};

/// Maps, or pictures of a map, that are drawn.
pub const NINE: usize = 9;

/// The strongest activations of a layer for a picture: each projected back, beside the part of the picture that it saw.
pub fn deconvnet(subject: &Subject, seen: &Seen, wanted: Option<&str>, maps: &[usize]) -> Result<Figure> {
    let layer = subject.layer_of_parts(wanted, seen.size())?;
    let maps = if maps.is_empty() { strongest_maps(subject, seen, layer)? } else { maps.to_vec() };
    let table = subject.table(seen.size())?;
    let mut cells = Vec::new();
    for (map, found) in maps.iter().zip(trace_maps(&subject.stack, &seen.tensor, layer, &maps, Rectifier::Deconvnet)?) {
        let [projection, patch] = pair(seen, &found, &table, layer)?;
        cells.push(Cell::new(projection, format!("map {map}: {:.2}", found.value)));
        cells.push(Cell::new(patch, format!("at {}, {}", found.place[0], found.place[1])));
    }
    let title = format!("Deconvnet: the strongest activations of {layer} for {}, {}", seen.stem, subject.model);
    let about = "Each activation projected back to the pixels that made it, beside the part of the picture that it saw.".to_owned();
    let image = sheet(&cells, 6, Ground::White, None)?;
    Ok(Figure { of: Of { layer: Some(layer.to_owned()), maps, ..Of::default() }, ..Figure::still(title, about, image) })
}

/// The maps of a layer with the strongest activations.
pub fn strongest_maps(subject: &Subject, seen: &Seen, layer: &str) -> Result<Vec<usize>> {
    let mut strongest = Strongest::new(1);
    strongest.add(&subject.stack.forward_taps(&seen.tensor.unsqueeze(0)?, &[layer])?[0], &[0])?;
    Ok(strongest_of(&strongest, NINE))
}

/// The maps with the strongest activations, the strongest first; map 0 where all are dead, so that an error names it.
pub fn strongest_of(strongest: &Strongest, count: usize) -> Vec<usize> {
    let value = |map: usize| strongest.of_map(map).ok().and_then(|peaks| Some(peaks.first()?.value));
    let mut alive: Vec<(usize, f32)> = (0..strongest.maps()).filter_map(|map| Some((map, value(map)?))).collect();
    alive.sort_by(|one, other| other.1.total_cmp(&one.1));
    match alive.is_empty() {
        true => vec![0],
        false => alive.into_iter().take(count).map(|(map, _)| map).collect(),
    }
}

/// A projection and the part of the picture that its activation saw, cut to what it saw; grey and white stand for what is beyond the picture.
pub fn pair(seen: &Seen, found: &Trace, table: &Table, layer: &str) -> Result<[Image; 2]> {
    let inside = |name: &str| name.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let whole = ReceptiveField { image: seen.size(), seen: seen.size(), step: [0; 2], first: [0; 2] };
    let field = table.rows.iter().rev().find(|row| inside(&row.name)).map_or(whole, |row| row.receptive_field);
    let larger = [0, 1].iter().any(|&axis| field.seen[axis] > seen.size()[axis]);
    let field = if larger { whole } else { field };
    Ok([
        cut(&paint::projection(&found.projection()?)?.to_rgb(), &field, found.place, 128)?,
        cut(&seen.image.to_rgb(), &field, found.place, 255)?,
    ])
}

/// What the output at a place sees of an RGB picture.
fn cut(image: &Image, field: &ReceptiveField, place: [usize; 2], fill: u8) -> Result<Image> {
    const SIDE: usize = 96;
    let ([rows, columns], begin, [height, width]) = (field.at(place), field.begin(place), field.seen);
    let part = crop(image, columns.start, rows.start, columns.len(), rows.len())?;
    let [top, left] = [rows.start as i64 - begin[0], columns.start as i64 - begin[1]].map(|side| side as usize);
    let part = pad(&part, [left, top, width - left - columns.len(), height - top - rows.len()], fill)?;
    Ok(enlarge(&part, SIDE.div_ceil(width.max(height)).max(1))?)
}
