//! Resizing as Pillow does it: bilinear with antialiasing, on 8 bits, in whole numbers.
//!
//! The published networks were measured on pictures that Pillow had resized, so its answer is kept to the last bit: a
//! triangle filter as wide as the reduction, weights of 22 bits, rows first with the result rounded to 8 bits, then columns.

use crate::image::MAX_PIXELS;
use crate::{Error, Image, Result};

/// Fractional bits of a weight: 32, less 8 for the value, less 2 for sums that overshoot.
const BITS: u32 = 22;

/// The picture in another size.
///
/// # Errors
/// When a side is 0, or the result, or the rows before their columns are resized, have more than [`MAX_PIXELS`] pixels.
pub fn resize(image: &Image, width: usize, height: usize) -> Result<Image> {
    let pixels = (width as u64).checked_mul(height.max(image.height()) as u64);
    if width == 0 || height == 0 || pixels.is_none_or(|pixels| pixels > MAX_PIXELS) {
        let (from_width, from_height) = (image.width(), image.height());
        return Err(Error::Shape(format!(
            "a picture of {from_width}×{from_height} cannot be resized to {width}×{height}: on the way there are 1 to {MAX_PIXELS} pixels"
        )));
    }
    // A pass that would not change the size is left out.
    let data = match width == image.width() {
        true => image.data().to_vec(),
        false if image.channels() == 3 => rows::<3>(image.data(), image.width(), width),
        false => rows::<1>(image.data(), image.width(), width),
    };
    let data = match height == image.height() {
        true => data,
        false => columns(&data, image.height(), height, width * image.channels()),
    };
    Image::new(width, height, image.channels(), data)
}

/// The picture with its shorter side at `side` and the longer one in proportion, cut to whole pixels, as torchvision does.
pub fn resize_short_side(image: &Image, side: usize) -> Result<Image> {
    let (width, height) = (image.width(), image.height());
    let (short, long) = (width.min(height), width.max(height));
    let other = usize::try_from(side as u128 * long as u128 / short as u128).unwrap_or(usize::MAX);
    let (width, height) = if width <= height { (side, other) } else { (other, side) };
    resize(image, width, height)
}

/// One output's window: where it begins in the input, and the weight of each input in it.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

fn taps(input: usize, output: usize) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    let support = scale.max(1.0);
    let tap = |index: usize| {
        let centre = (index as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let last = ((centre + support + 0.5) as usize).min(input);
        let triangle = |at: usize| (1.0 - ((at as f64 - centre + 0.5) / support).abs()).max(0.0);
        let weights: Vec<f64> = (first..last).map(triangle).collect();
        let sum: f64 = weights.iter().sum();
        let whole = |weight: f64| (0.5 + weight / sum * f64::from(1 << BITS)) as i32;
        Taps { first, weights: weights.into_iter().map(whole).collect() }
    };
    (0..output).map(tap).collect()
}

fn round(sum: i32) -> u8 {
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

/// Every row from `from` pixels of C channels to `to`.
fn rows<const C: usize>(data: &[u8], from: usize, to: usize) -> Vec<u8> {
    let taps = taps(from, to);
    let mut output = Vec::with_capacity(data.len() / from * to);
    for row in data.as_chunks::<C>().0.chunks_exact(from) {
        for tap in &taps {
            let mut sums = [0; C];
            for (weight, pixel) in tap.weights.iter().zip(&row[tap.first..]) {
                (0..C).for_each(|channel| sums[channel] += weight * i32::from(pixel[channel]));
            }
            output.extend(sums.map(round));
        }
    }
    output
}

/// Every column from `from` pixels to `to`; `stride` is the length of a row in values.
fn columns(data: &[u8], from: usize, to: usize, stride: usize) -> Vec<u8> {
    let mut output = Vec::with_capacity(stride * to);
    let mut sums = vec![0i32; stride];
    for tap in taps(from, to) {
        sums.fill(0);
        for (weight, row) in tap.weights.iter().zip(data[tap.first * stride..].chunks_exact(stride)) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += weight * i32::from(value));
        }
        output.extend(sums.iter().map(|&sum| round(sum)));
    }
    output
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Value number i of a picture: a formula that Python can repeat.
    fn formula(width: usize, height: usize, channels: usize) -> Image {
        let value = |index: usize| (((index * index * 31 + index * 17 + 7) % 509) % 256) as u8;
        Image::new(width, height, channels, (0..width * height * channels).map(value).collect()).expect("a picture")
    }

    /// Sums that differ when any value differs by a little: Σ v and Σ (i mod 251 + 1)·v.
    fn sums(image: &Image) -> (u64, u64) {
        let data = image.data().iter().map(|&value| u64::from(value));
        (data.clone().sum(), data.enumerate().map(|(index, value)| (index as u64 % 251 + 1) * value).sum())
    }

    /// Made with Pillow 9.4.0: `Image.frombytes(mode, (w, h), values).resize((W, H), Image.BILINEAR).tobytes()`, values by `formula`.
    #[test]
    fn small_pictures_as_pillow() -> Result<()> {
        for (from, to, expected) in [
            ((5, 4, 1), (3, 2), vec![101, 124, 102, 139, 111, 139]),
            (
                (4, 3, 3),
                (7, 5),
                vec![
                    7, 55, 165, 33, 58, 142, 76, 62, 106, 144, 90, 97, 201, 125, 93, 155, 185, 113, 126, 223, 126, 42, 81, 184, 60, 76,
                    153, 90, 67, 104, 144, 82, 81, 187, 103, 64, 127, 150, 71, 90, 180, 76, 94, 121, 213, 100, 103, 170, 110, 75, 102, 144,
                    69, 58, 167, 70, 20, 86, 98, 8, 36, 115, 0, 158, 174, 101, 152, 143, 100, 142, 94, 100, 155, 69, 123, 169, 50, 141,
                    156, 57, 108, 149, 62, 88, 200, 209, 27, 186, 170, 54, 163, 107, 98, 163, 69, 166, 170, 37, 222, 203, 30, 175, 224, 26,
                    146,
                ],
            ),
            ((1, 6, 1), (3, 4), vec![25, 25, 25, 119, 119, 119, 84, 84, 84, 87, 87, 87]),
            ((7, 1, 3), (2, 3), vec![106, 105, 124, 130, 111, 114, 106, 105, 124, 130, 111, 114, 106, 105, 124, 130, 111, 114]),
        ] {
            let (width, height, channels) = from;
            assert_eq!(resize(&formula(width, height, channels), to.0, to.1)?.data(), expected, "{from:?} to {to:?}");
        }
        Ok(())
    }

    /// As above; the sums of [`sums`] over `tobytes()`.
    #[test]
    fn large_pictures_as_pillow() -> Result<()> {
        for (from, to, expected) in [
            ((640, 480, 3), (341, 256), (32687885, 4117884086)),
            ((97, 61, 1), (224, 224), (6263086, 788424745)),
            ((300, 200, 3), (64, 200), (4792980, 603935762)),
            ((200, 300, 1), (200, 77), (1922162, 241260131)),
            ((1000, 3, 1), (37, 11), (50789, 5476386)),
        ] {
            let (width, height, channels) = from;
            assert_eq!(sums(&resize(&formula(width, height, channels), to.0, to.1)?), expected, "{from:?} to {to:?}");
        }
        Ok(())
    }

    #[test]
    fn short_side_as_torchvision() -> Result<()> {
        for (width, height, side, expected) in
            [(640, 480, 256, (341, 256)), (333, 500, 232, (232, 348)), (7, 7, 3, (3, 3)), (1, 50, 2, (2, 100))]
        {
            let image = resize_short_side(&Image::filled(width, height, 1, 9)?, side)?;
            assert_eq!((image.width(), image.height()), expected);
        }
        Ok(())
    }

    #[test]
    fn sizes_that_cannot_be_are_errors() -> Result<()> {
        let image = Image::filled(2, 2, 1, 0)?;
        for (width, height) in [(0, 1), (1, 0), (usize::MAX, 2), (1 << 20, 1 << 20)] {
            assert!(resize(&image, width, height).is_err(), "{width}×{height}");
        }
        assert!(resize_short_side(&image, 0).is_err() && resize_short_side(&image, usize::MAX).is_err());
        // Few pixels before and after, but not when only the rows are resized.
        assert!(resize(&Image::filled(1, 1 << 20, 1, 0)?, 1 << 10, 1).is_err());
        Ok(())
    }

    proptest! {
        #[test]
        fn a_flat_picture_stays_flat(value: u8, from in (1usize..40, 1usize..40), to in (1usize..60, 1usize..60)) {
            let image = resize(&Image::filled(from.0, from.1, 3, value)?, to.0, to.1)?;
            prop_assert!(image.data().iter().all(|&v| v == value));
            prop_assert_eq!((image.width(), image.height()), to);
        }

        #[test]
        fn values_stay_between_the_extremes(width in 1usize..30, height in 1usize..30, to in (1usize..50, 1usize..50)) {
            let image = formula(width, height, 1);
            let (low, high) = (image.data().iter().min().copied(), image.data().iter().max().copied());
            let resized = resize(&image, to.0, to.1)?;
            prop_assert!(resized.data().iter().all(|&v| Some(v) >= low && Some(v) <= high));
        }
    }
}
