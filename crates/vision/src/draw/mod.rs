//! Drawing: numbers as colours, grids and captioned sheets of pictures, colour bars, animations; networks as rows of blocks.

mod blocks;
mod colours;
mod frames;
mod heat;
mod legend;
mod sheet;
mod svg;

pub use blocks::{Block, Role, blocks};
pub use colours::ColourMap;
pub use frames::{frames, save_frames};
pub use heat::{heat, overlay};
pub use legend::{Direction, legend};
pub use sheet::{Cell, Ground, sheet};

use crate::image::MAX_PIXELS;
use crate::{Error, Image, Result};

/// Pictures of one size side by side, `columns` in a row, with `gap` pixels of `fill` around each.
///
/// # Errors
/// When there are no pictures or columns, or sizes differ.
pub fn grid(images: &[Image], columns: usize, gap: usize, fill: u8) -> Result<Image> {
    let Some(first) = images.first().filter(|_| columns > 0) else {
        return Err(Error::Shape("a grid has at least one picture and one column".into()));
    };
    let (width, height, channels) = (first.width(), first.height(), first.channels());
    if let Some(other) = images.iter().find(|image| (image.width(), image.height(), image.channels()) != (width, height, channels)) {
        return Err(Error::Shape(format!("a grid of {width}×{height} pictures cannot hold one of {}×{}", other.width(), other.height())));
    }
    let columns = columns.min(images.len());
    let (cell_width, cell_height) = (width.saturating_add(gap), height.saturating_add(gap));
    let rows = images.len().div_ceil(columns);
    let sides = [(columns, cell_width), (rows, cell_height)].map(|(count, cell)| count.saturating_mul(cell).saturating_add(gap));
    let whole = Image::filled(sides[0], sides[1], channels, fill)?;
    let stride = whole.width() * channels;
    let mut data = whole.data().to_vec();
    for (index, image) in images.iter().enumerate() {
        let (top, left) = (gap + index / columns * cell_height, gap + index % columns * cell_width);
        for (row, values) in image.data().chunks_exact(width * channels).enumerate() {
            data[(top + row) * stride + left * channels..][..values.len()].copy_from_slice(values);
        }
    }
    Image::new(whole.width(), whole.height(), channels, data)
}

/// Every pixel as a square of `factor`×`factor`.
///
/// # Errors
/// When the factor is 0, or the result would have more than [`MAX_PIXELS`] pixels.
pub fn enlarge(image: &Image, factor: usize) -> Result<Image> {
    let (width, height) = (image.width().saturating_mul(factor), image.height().saturating_mul(factor));
    let pixels = (width as u64).saturating_mul(height as u64);
    if !(1..=MAX_PIXELS).contains(&pixels) {
        return Err(Error::Shape(format!("a picture cannot be enlarged to {width}×{height}: 1 to {MAX_PIXELS} pixels")));
    }
    let channels = image.channels();
    let wide = |row: &[u8]| row.chunks_exact(channels).flat_map(|pixel| pixel.repeat(factor)).collect::<Vec<u8>>();
    let rows = image.data().chunks_exact(image.width() * channels);
    Image::new(width, height, channels, rows.flat_map(|row| wide(row).repeat(factor)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_of_three_in_two_columns() -> Result<()> {
        let images = [1, 2, 3].map(|value| Image::filled(2, 1, 1, value)).into_iter().collect::<Result<Vec<_>>>()?;
        let drawn = grid(&images, 2, 1, 0)?;
        assert_eq!((drawn.width(), drawn.height()), (7, 5));
        assert_eq!(drawn.data()[7..14], [0, 1, 1, 0, 2, 2, 0]);
        assert_eq!(drawn.data()[21..28], [0, 3, 3, 0, 0, 0, 0]);
        assert!(grid(&[], 2, 1, 0).is_err() && grid(&images, 2, usize::MAX, 0).is_err());
        assert!(grid(&[images[0].clone(), Image::filled(1, 1, 1, 0)?], 2, 1, 0).is_err());
        Ok(())
    }

    #[test]
    fn pixels_become_squares() -> Result<()> {
        let image = enlarge(&Image::new(2, 1, 1, vec![5, 9])?, 2)?;
        assert_eq!(image.data(), [5, 5, 9, 9, 5, 5, 9, 9]);
        assert_eq!(enlarge(&Image::new(1, 2, 3, vec![1, 2, 3, 4, 5, 6])?, 2)?.data()[9..15], [1, 2, 3, 4, 5, 6]);
        assert!(enlarge(&image, 0).is_err() && enlarge(&image, usize::MAX).is_err());
        Ok(())
    }
}
