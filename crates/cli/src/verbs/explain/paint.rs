//! What the figures share: sizes, colours, and projections as pictures.

use anyhow::Result;
use candle_core::Tensor;
use cirio_explain::Heat;
use cirio_vision::draw::{Cell, ColourMap, Direction, Ground, enlarge, heat, legend, overlay, sheet};
use cirio_vision::{Image, from_tensor, resize};

/// The longest side of pictures in figures, in pixels. Small ones are enlarged to half of it at least.
const LONGEST: usize = 640;

/// The columns of a grid of pictures that is wider than high, its rows full where that is near.
pub fn columns(count: usize) -> usize {
    let least = ((count as f64 * 1.6).sqrt().ceil() as usize).clamp(1, count.max(1));
    (least..2 * least).find(|columns| count.is_multiple_of(*columns)).unwrap_or(least)
}

/// A picture in RGB as it is shown: shrunk where it is large, its pixels as squares where it is small.
pub fn shown(image: &Image) -> Result<Image> {
    let (rgb, longer) = (image.to_rgb(), image.width().max(image.height()));
    match longer > LONGEST {
        true => {
            let [width, height] = [rgb.width(), rgb.height()].map(|side| (side * LONGEST).div_ceil(longer));
            Ok(resize(&rgb, width, height)?)
        }
        false => at_least(&rgb, LONGEST / 2),
    }
}

/// A picture whose longer side has at least so many pixels, its pixels as squares.
pub fn at_least(image: &Image, side: usize) -> Result<Image> {
    Ok(enlarge(image, side.div_ceil(image.width().max(image.height())).max(1))?)
}

/// A map as large as small pictures are shown, its values as squares.
pub fn tile(map: &Heat, colours: ColourMap, range: Option<[f32; 2]>, side: usize) -> Result<Image> {
    let drawn = heat(&map.values, map.width, map.height, colours, range)?;
    Ok(enlarge(&drawn, side.div_ceil(map.width.max(map.height)).max(1))?)
}

/// A picture, values over it, and what the colours mean.
pub fn with_heat(picture: &Image, values: &Heat, colours: ColourMap, range: [f32; 2], captions: [&str; 2]) -> Result<Vec<Cell>> {
    let picture = shown(picture)?;
    let over = overlay(&picture, &values.values, values.width, values.height, colours, Some(range), 0.65)?;
    let bar = legend(colours, range, picture.height(), Direction::Up, Ground::White)?;
    Ok(vec![Cell::new(picture, captions[0]), Cell::new(over, captions[1]), Cell::new(bar, "")])
}

/// Pictures in a row.
pub fn row(cells: &[Cell]) -> Result<Image> {
    Ok(sheet(cells, cells.len(), Ground::White, None)?)
}

/// A projection (C, H, W) as a picture: 0 is grey, and what is far from it lighter or darker. A few values may be cut.
pub fn projection(values: &Tensor) -> Result<Image> {
    let mut sizes: Vec<f32> = values.abs()?.flatten_all()?.to_vec1()?;
    sizes.sort_by(f32::total_cmp);
    let most = sizes.get(sizes.len().saturating_sub(1) * 999 / 1000).copied().filter(|most| *most > 0.0).unwrap_or(1.0);
    let channels = values.dim(0)?;
    // from_tensor takes (value · std + mean).
    let scaled = (values / (2.0 * f64::from(most)))?;
    Ok(from_tensor(&scaled, &vec![0.5; channels], &vec![1.0; channels])?)
}
