//! Filters, and activations layer by layer.

use anyhow::{Result, bail};
use candle_core::Tensor;
use cirio_explain::{Error, Heat, Stack};
use cirio_vision::draw::{Cell, ColourMap, Ground, enlarge, grid, sheet};
use cirio_vision::{Image, from_tensor, resize_short_side};

use super::subject::{Seen, Subject};
use super::{Figure, Of, paint};

/// The most filters, or maps, that are drawn of a layer by itself.
const MOST: usize = 256;

/// The most maps that are drawn of a layer among others.
pub const FEW: usize = 16;

/// The filters of a layer as a grid: in colour where they look at colours, else a row of shades for each.
pub fn filters(subject: &Subject, wanted: Option<&str>) -> Result<Figure> {
    let (layer, filters) = filters_of(&subject.stack, subject.model, wanted)?;
    let (count, channels, height, width) = filters.dims4()?;
    let (drawn, _) = well_seen(count, channels);
    let some = if drawn < count { format!("{drawn} of ") } else { String::new() };
    let title = format!("{some}{count} filters {channels}×{height}×{width} of {layer}, {}", subject.model);
    let image = draw_filters(&filters)?;
    let about = match channels {
        3 => "Each filter as the colours that it looks for; grey is 0.".to_owned(),
        1 => "Each filter; red is positive, blue negative.".to_owned(),
        _ => format!("Each row is a filter, its first {} channels side by side; red is positive, blue negative.", channels.min(FEW)),
    };
    Ok(Figure { of: Of { layer: Some(layer), ..Of::default() }, ..Figure::still(title, about, image) })
}

/// The first layer with filters, or the one that was asked for, and its filters (F, C, h, w).
pub fn filters_of(stack: &Stack, model: &str, wanted: Option<&str>) -> Result<(String, Tensor)> {
    let parameters = stack.parameters();
    let named = |name: &str| wanted.is_none_or(|layer| name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.')));
    let Some(filters) = parameters.iter().find(|parameter| parameter.tensor.rank() == 4 && named(&parameter.name)) else {
        let known: Vec<&str> =
            parameters.iter().filter(|p| p.tensor.rank() == 4).filter_map(|p| Some(p.name.rsplit_once('.')?.0)).collect();
        match (wanted, known.as_slice()) {
            (_, []) => bail!("{model} has no convolution, so it has no filters"),
            (layer, known) => bail!("layer `{}` has no filters; these have: {}", layer.unwrap_or_default(), known.join(", ")),
        }
    };
    let layer = filters.name.rsplit_once('.').map_or(filters.name.as_str(), |(layer, _)| layer);
    Ok((layer.to_owned(), filters.tensor.clone()))
}

/// Filters (F, C, h, w), as many as are well seen.
pub fn draw_filters(filters: &Tensor) -> Result<Image> {
    let (count, channels, ..) = filters.dims4()?;
    let (count, shown) = well_seen(count, channels);
    let filters = filters.narrow(0, 0, count)?.narrow(1, 0, shown)?;
    if channels == 3 { colour_filters(&filters) } else { shade_filters(&filters) }
}

/// How many of F filters, and of their C channels, are drawn.
fn well_seen(count: usize, channels: usize) -> (usize, usize) {
    match channels {
        3 => (count.min(MOST), 3),
        _ => (count.min(MOST.div_ceil(channels.clamp(1, FEW))), channels.min(FEW)),
    }
}

/// (F, 3, h, w) as F pictures.
fn colour_filters(filters: &Tensor) -> Result<Image> {
    let picture = |number: usize| -> Result<Image> {
        let filter = filters.get(number)?;
        let most = filter.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?.max(f32::MIN_POSITIVE);
        let picture = from_tensor(&(filter / (2.0 * f64::from(most)))?, &[0.5; 3], &[1.0; 3])?;
        Ok(enlarge(&picture, 40usize.div_ceil(picture.width()))?)
    };
    let pictures = (0..filters.dim(0)?).map(picture).collect::<Result<Vec<_>>>()?;
    Ok(grid(&pictures, paint::columns(pictures.len()), 3, 255)?)
}

/// (F, C, h, w) as F·C maps, a filter a row; where C is 1, as a square.
fn shade_filters(filters: &Tensor) -> Result<Image> {
    let (count, channels, height, width) = filters.dims4()?;
    let values: Vec<f32> = filters.flatten_all()?.to_vec1()?;
    let tiles = values.chunks_exact(channels * height * width).flat_map(|filter| {
        let most = filter.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
        filter.chunks_exact(height * width).map(move |map| {
            let map = Heat { height, width, values: map.to_vec() };
            paint::tile(&map, ColourMap::Diverging, Some([-most, most]), if channels == 1 { 72 } else { 24 })
        })
    });
    let tiles = tiles.collect::<Result<Vec<_>>>()?;
    Ok(grid(&tiles, if channels == 1 { paint::columns(count) } else { channels }, 2, 255)?)
}

/// The activations of a layer, or of all layers on one sheet.
pub fn activations(subject: &Subject, seen: &Seen, wanted: Option<&str>, maps: &[usize]) -> Result<Figure> {
    let images = seen.tensor.unsqueeze(0)?;
    match wanted {
        Some(layer) => {
            let output = subject.stack.forward_taps(&images, &[layer])?.remove(0).squeeze(0)?;
            let count = output.dim(0)?;
            if output.rank() != 3 && !maps.is_empty() {
                bail!("--map: layer `{layer}` gives {count} values, and no maps");
            }
            if let Some(map) = maps.iter().find(|&&map| map >= count) {
                bail!(Error::Map { given: *map, layer: layer.into(), maps: count });
            }
            let title = format!("{} of {layer} for {}, {}", shape(&output), seen.stem, subject.model);
            let about = "The maps of one layer, on one scale: dark is the lowest, yellow the strongest.".to_owned();
            let image = drawn(&output, maps, MOST, 56)?;
            let of = Of { layer: Some(layer.to_owned()), maps: maps.to_vec(), ..Of::default() };
            Ok(Figure { of, ..Figure::still(title, about, image) })
        }
        None => {
            let cells = all(subject, seen)?.into_iter().map(|(name, maps)| Cell::new(maps, name));
            let cells: Vec<Cell> = [Cell::new(small(&seen.image)?, &seen.stem)].into_iter().chain(cells).collect();
            let title = format!("What {} makes of {}, layer by layer", subject.model, seen.stem);
            let about = format!("The first {FEW} maps of each layer, on one scale for each layer.");
            let image = sheet(&cells, 3, Ground::White, None)?;
            Ok(Figure::still(title, about, image))
        }
    }
}

/// A picture of some hundred pixels.
fn small(image: &Image) -> Result<Image> {
    const SIDE: usize = 112;
    let image = image.to_rgb();
    let shorter = image.width().min(image.height());
    Ok(if shorter < SIDE { enlarge(&image, SIDE / shorter)? } else { resize_short_side(&image, SIDE)? })
}

/// Some maps of each layer that changes sizes or channels, or ends with an activation: its name with the shape, and the picture.
fn all(subject: &Subject, seen: &Seen) -> Result<Vec<(String, Image)>> {
    let names: Vec<&str> = subject.stack.names().iter().map(String::as_str).collect();
    let table = subject.table(seen.size())?;
    let output = |name: &str| table.rows.iter().find(|row| row.name == name).map(|row| row.output);
    let sheets = names.iter().zip(sheets(subject, seen, &names)?);
    Ok(sheets.filter_map(|(name, sheet)| Some((format!("{name} {}", output(name)?), sheet?))).collect())
}

/// Some maps of each of these layers; none of a layer whose values are only normalised, rectified or flattened in the next one, which shows them.
pub fn sheets(subject: &Subject, seen: &Seen, names: &[&str]) -> Result<Vec<Option<Image>>> {
    let outputs = subject.stack.forward_taps(&seen.tensor.unsqueeze(0)?, names)?;
    let goes_on = |at: usize| {
        let next = names.get(at + 1).zip(outputs.get(at + 1));
        next.is_some_and(|(name, next)| next.elem_count() == outputs[at].elem_count() && is_pointwise(subject, name))
    };
    let sheet = |at: usize| if goes_on(at) { Ok(None) } else { drawn(&outputs[at].squeeze(0)?, &[], FEW, 40).map(Some) };
    (0..names.len()).map(sheet).collect()
}

/// Whether a layer has no filters of its own, and looks at each value alone.
fn is_pointwise(subject: &Subject, name: &str) -> bool {
    let parameters = subject.stack.parameters();
    let with_weights =
        parameters.iter().any(|p| p.tensor.rank() > 1 && p.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
    !with_weights
}

/// `64@56×56`, or `10` for values.
fn shape(output: &Tensor) -> String {
    match output.dims() {
        [maps, height, width] => format!("{maps}@{height}×{width}"),
        dims => dims.iter().map(usize::to_string).collect::<Vec<_>>().join("×"),
    }
}

/// Some maps of (C, h, w), or all K values of (K), on one scale.
fn drawn(output: &Tensor, maps: &[usize], most: usize, side: usize) -> Result<Image> {
    let values: Vec<f32> = output.flatten_all()?.to_vec1()?;
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let range = Some([finite().fold(0f32, f32::min), finite().fold(f32::MIN_POSITIVE, f32::max)]);
    let (height, width) = match *output.dims() {
        [_, height, width] => (height, width),
        _ => return vector(&values, range),
    };
    let chosen: Vec<usize> = if maps.is_empty() { (0..output.dim(0)?.min(most)).collect() } else { maps.to_vec() };
    let tiles = chosen.iter().map(|&map| {
        let values = values[map * height * width..][..height * width].to_vec();
        paint::tile(&Heat { height, width, values }, ColourMap::Viridis, range, side)
    });
    let tiles = tiles.collect::<Result<Vec<_>>>()?;
    Ok(grid(&tiles, paint::columns(tiles.len()), 2, 255)?)
}

/// K values in rows.
fn vector(values: &[f32], range: Option<[f32; 2]>) -> Result<Image> {
    let width = paint::columns(values.len());
    let height = values.len().div_ceil(width);
    let filled = values.iter().copied().chain(std::iter::repeat(f32::NAN)).take(width * height).collect();
    paint::tile(&Heat { height, width, values: filled }, ColourMap::Viridis, range, 160)
}
