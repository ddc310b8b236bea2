//! Cutting, padding and mirroring.

use crate::{Error, Image, Result};

/// The part of `width`×`height` whose upper left pixel is (`left`, `top`).
///
/// # Errors
/// When the part is empty or goes beyond the picture.
pub fn crop(image: &Image, left: usize, top: usize, width: usize, height: usize) -> Result<Image> {
    let fits = |start: usize, length: usize, whole: usize| length > 0 && start.checked_add(length).is_some_and(|end| end <= whole);
    if !fits(left, width, image.width()) || !fits(top, height, image.height()) {
        return Err(Error::Shape(format!(
            "a part of {width}×{height} at ({left}, {top}) is not inside a picture of {}×{}",
            image.width(),
            image.height()
        )));
    }
    let (stride, channels) = (image.width() * image.channels(), image.channels());
    let rows = image.data().chunks_exact(stride).skip(top).take(height);
    let data = rows.flat_map(|row| &row[left * channels..(left + width) * channels]).copied().collect();
    Image::new(width, height, channels, data)
}

/// The middle of the picture, as torchvision cuts it: where the rest is odd, the offset is rounded half to even; a picture
/// that is too small is padded with 0 first.
pub fn center_crop(image: &Image, width: usize, height: usize) -> Result<Image> {
    let missing = |wanted: usize, there: usize| wanted.saturating_sub(there);
    let (x, y) = (missing(width, image.width()), missing(height, image.height()));
    let padded = match (x, y) {
        (0, 0) => image.clone(),
        _ => pad(image, [x / 2, y / 2, x.div_ceil(2), y.div_ceil(2)], 0)?,
    };
    let offset = |whole: usize, part: usize| (((whole - part) as f64) / 2.0).round_ties_even() as usize;
    crop(&padded, offset(padded.width(), width), offset(padded.height(), height), width, height)
}

/// Ten parts, as torchvision's `ten_crop` orders them: upper left, upper right, lower left, lower right and middle, then the same
/// five of the mirrored picture (Krizhevsky et al. 2012, section 4.1).
///
/// # Errors
/// When a side is 0 or longer than the picture's.
pub fn ten_crop(image: &Image, width: usize, height: usize) -> Result<[Image; 10]> {
    let five = |image: &Image| -> Result<[Image; 5]> {
        let (right, bottom) = (image.width().saturating_sub(width), image.height().saturating_sub(height));
        let part = |left, top| crop(image, left, top, width, height);
        Ok([part(0, 0)?, part(right, 0)?, part(0, bottom)?, part(right, bottom)?, center_crop(image, width, height)?])
    };
    let ([a, b, c, d, e], [f, g, h, i, j]) = (five(image)?, five(&flip_horizontal(image))?);
    Ok([a, b, c, d, e, f, g, h, i, j])
}

/// The picture with a border: `[left, top, right, bottom]` pixels of the value `fill`.
pub fn pad(image: &Image, [left, top, right, bottom]: [usize; 4], fill: u8) -> Result<Image> {
    let sum = |a: usize, b: usize, c: usize| a.checked_add(b).and_then(|sum| sum.checked_add(c));
    let too_large = || Error::Shape("a padding beyond this machine's numbers".into());
    let width = sum(left, image.width(), right).ok_or_else(too_large)?;
    let height = sum(top, image.height(), bottom).ok_or_else(too_large)?;
    let channels = image.channels();
    let mut data = Image::filled(width, height, channels, fill)?.data().to_vec();
    let inside = data.chunks_exact_mut(width * channels).skip(top);
    for (to, from) in inside.zip(image.data().chunks_exact(image.width() * channels)) {
        to[left * channels..][..from.len()].copy_from_slice(from);
    }
    Image::new(width, height, channels, data)
}

/// Left and right swapped.
pub fn flip_horizontal(image: &Image) -> Image {
    let channels = image.channels();
    let rows = image.data().chunks_exact(image.width() * channels);
    let data = rows.flat_map(|row| row.chunks_exact(channels).rev().flatten()).copied().collect();
    rebuilt(image, data)
}

/// Top and bottom swapped.
pub fn flip_vertical(image: &Image) -> Image {
    let rows = image.data().chunks_exact(image.width() * image.channels());
    let data = rows.rev().flatten().copied().collect();
    rebuilt(image, data)
}

/// A picture of the same size with other values, as many as before.
pub(crate) fn rebuilt(image: &Image, data: Vec<u8>) -> Image {
    Image::new(image.width(), image.height(), image.channels(), data).unwrap_or_else(|_| image.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(width: usize, height: usize, channels: usize) -> Image {
        Image::new(width, height, channels, (0..width * height * channels).map(|i| i as u8).collect()).expect("a picture")
    }

    /// `torchvision.transforms.functional.center_crop` on sides 256, 257, 258, 259, 383 for 224: offsets 16, 16, 17, 18, 80.
    #[test]
    fn offsets_as_torchvision() -> Result<()> {
        for (side, offset) in [(256, 16), (257, 16), (258, 17), (259, 18), (383, 80)] {
            let row = Image::new(side, 1, 1, (0..side).map(|i| (i % 256) as u8).collect())?;
            assert_eq!(center_crop(&row, 224, 1)?.data()[0], (offset % 256) as u8, "{side}");
        }
        Ok(())
    }

    /// `[list(p.getdata()) for p in transforms.TenCrop((2, 2))(Image.frombytes('L', (4, 3), bytes(range(12))))]`
    #[test]
    fn ten_parts_as_torchvision() -> Result<()> {
        let parts = ten_crop(&counted(4, 3, 1), 2, 2)?;
        let expected = [
            [0, 1, 4, 5],
            [2, 3, 6, 7],
            [4, 5, 8, 9],
            [6, 7, 10, 11],
            [1, 2, 5, 6],
            [3, 2, 7, 6],
            [1, 0, 5, 4],
            [7, 6, 11, 10],
            [5, 4, 9, 8],
            [2, 1, 6, 5],
        ];
        assert_eq!(parts.each_ref().map(Image::data), expected.each_ref().map(|part| &part[..]));
        assert!(ten_crop(&counted(4, 3, 1), 5, 2).is_err() && ten_crop(&counted(4, 3, 1), 2, 0).is_err());
        Ok(())
    }

    #[test]
    fn a_small_picture_is_padded_first() -> Result<()> {
        let cropped = center_crop(&Image::filled(1, 2, 1, 9)?, 4, 3)?;
        assert_eq!(cropped.data(), [0, 9, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]);
        Ok(())
    }

    #[test]
    fn parts_outside_are_errors() {
        let image = counted(4, 3, 1);
        for (left, top, width, height) in [(0, 0, 5, 1), (4, 0, 1, 1), (0, 3, 1, 1), (0, 0, 0, 1), (usize::MAX, 0, 2, 1)] {
            assert!(crop(&image, left, top, width, height).is_err());
        }
        assert!(pad(&image, [usize::MAX, 0, 0, 0], 0).is_err());
    }

    proptest! {
        #[test]
        fn cropping_undoes_padding(width in 1usize..9, height in 1usize..9, channels in prop::sample::select(vec![1usize, 3]), border: [u8; 4]) {
            let image = counted(width, height, channels);
            let border = border.map(|side| side as usize % 7);
            let padded = pad(&image, border, 5)?;
            prop_assert_eq!(crop(&padded, border[0], border[1], width, height)?, image);
        }

        #[test]
        fn mirroring_twice_is_nothing(width in 1usize..9, height in 1usize..9, channels in prop::sample::select(vec![1usize, 3])) {
            let image = counted(width, height, channels);
            prop_assert_eq!(&flip_horizontal(&flip_horizontal(&image)), &image);
            prop_assert_eq!(&flip_vertical(&flip_vertical(&image)), &image);
            prop_assert_eq!(flip_horizontal(&image).pixel(0, 0).map(<[u8]>::to_vec), image.pixel(0, width - 1).map(<[u8]>::to_vec));
        }
    }
}
