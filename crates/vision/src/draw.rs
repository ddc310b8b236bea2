//! Drawing with pictures: grids, enlargement, values as shades.

use crate::{Error, Image, Result, pad};

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
    let (cell_width, cell_height) = (width + gap, height + gap);
    let rows = images.len().div_ceil(columns);
    let whole = Image::filled(columns * cell_width + gap, rows * cell_height + gap, channels, fill)?;
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
pub fn enlarge(image: &Image, factor: usize) -> Result<Image> {
    let (width, height) = (image.width().saturating_mul(factor), image.height().saturating_mul(factor));
    let channels = image.channels();
    let size = pad(&Image::filled(1, 1, channels, 0)?, [0, 0, width.saturating_sub(1), height.saturating_sub(1)], 0)?;
    let pixel = |at: usize| image.pixel(at / size.width() / factor, at % size.width() / factor).unwrap_or_default();
    Image::new(size.width(), size.height(), channels, (0..size.width() * size.height()).flat_map(pixel).copied().collect())
}

/// H×W values as shades of grey: the smallest is black, the largest white; all alike is mid-grey.
pub fn tones(values: &[f32], width: usize, height: usize) -> Result<Image> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
    let shade = |value: &f32| match high > low {
        true => ((value - low) / (high - low) * 255.0).round().clamp(0.0, 255.0) as u8,
        false => 128,
    };
    Image::new(width, height, 1, values.iter().map(shade).collect())
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
        assert!(grid(&[], 2, 1, 0).is_err());
        Ok(())
    }

    #[test]
    fn pixels_become_squares() -> Result<()> {
        let image = enlarge(&Image::new(2, 1, 1, vec![5, 9])?, 2)?;
        assert_eq!(image.data(), [5, 5, 9, 9, 5, 5, 9, 9]);
        Ok(())
    }

    #[test]
    fn values_become_shades() -> Result<()> {
        assert_eq!(tones(&[-1.0, 0.0, 1.0], 3, 1)?.data(), [0, 128, 255]);
        assert_eq!(tones(&[2.0; 2], 2, 1)?.data(), [128, 128]);
        assert!(tones(&[0.0; 5], 2, 2).is_err());
        Ok(())
    }
}
