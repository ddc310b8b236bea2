//! Pictures as files inside of a page.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cirio_vision::{Image, resize};

use crate::{Error, Result};

/// A picture as a PNG.
#[derive(Clone, Debug)]
pub struct Picture {
    /// W, columns.
    pub width: usize,
    /// H, rows.
    pub height: usize,
    png: Vec<u8>,
}

impl Picture {
    /// The picture, shrunk where a side has more than `longest` pixels.
    pub fn new(image: &Image, longest: usize) -> Result<Self> {
        let (width, height) = (image.width(), image.height());
        let side = width.max(height);
        if side <= longest {
            return Ok(Self { width, height, png: png(image)? });
        }
        let [width, height] = [width, height].map(|length| (length * longest).div_ceil(side));
        Ok(Self { width, height, png: resize(image, width, height)?.to_png()? })
    }

    /// The length of its file.
    pub fn bytes(&self) -> usize {
        self.png.len()
    }

    /// The file as an address.
    pub fn address(&self) -> String {
        format!("data:image/png;base64,{}", STANDARD.encode(&self.png))
    }
}

/// The bytes of a PNG, a byte a pixel where the picture has at most 256 colours, as a coloured map has.
fn png(image: &Image) -> Result<Vec<u8>> {
    let pixels = || image.data().chunks_exact(image.channels());
    let mut colours = BTreeSet::new();
    if image.channels() == 1 || pixels().any(|pixel| colours.insert(pixel) && colours.len() > 256) {
        return Ok(image.to_png()?);
    }
    let colours: Vec<&[u8]> = colours.into_iter().collect();
    let indices: Vec<u8> = pixels().map(|pixel| colours.partition_point(|&colour| colour < pixel) as u8).collect();
    let side = |side: usize| u32::try_from(side).map_err(|_| Error::Setting(format!("a side of {side} is too long for a PNG")));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side(image.width())?, side(image.height())?);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_palette(colours.concat());
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(png::Filter::NoFilter);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&indices)?;
        writer.finish()
    });
    written.map(|()| bytes).map_err(|error| Error::Setting(error.to_string()))
}

/// Makes files of pictures as long as there is room for them.
pub struct Album {
    room: usize,
    left_out: usize,
}

impl Album {
    /// For files of `most` bytes together.
    pub fn new(most: usize) -> Self {
        Self { room: most, left_out: 0 }
    }

    /// The picture, its sides at most `longest`, or `None` when its file does not fit any more.
    pub fn add(&mut self, image: &Image, longest: usize) -> Result<Option<Picture>> {
        let picture = Picture::new(image, longest)?;
        match self.room.checked_sub(picture.png.len()) {
            Some(rest) => {
                self.room = rest;
                Ok(Some(picture))
            }
            None => {
                self.left_out += 1;
                Ok(None)
            }
        }
    }

    /// How many pictures did not fit.
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::*;

    fn decoded(picture: &Picture) -> Image {
        let text = picture.address();
        let bytes = STANDARD.decode(text.strip_prefix("data:image/png;base64,").expect("an address")).expect("base64");
        Image::decode(&bytes).expect("a picture")
    }

    proptest! {
        /// What is shown is the picture, grey or coloured, of few colours or of many.
        #[test]
        fn nothing_is_lost(width in 1usize..40, height in 1usize..40, grey: bool, colours in 1u32..1200) {
            let channels = if grey { 1 } else { 3 };
            let value = |pixel: usize, channel: usize| ((pixel as u32 * 7919 % colours) >> (8 * channel)) as u8;
            let data = (0..width * height).flat_map(|pixel| (0..channels).map(move |channel| value(pixel, channel))).collect();
            let image = Image::new(width, height, channels, data).unwrap();
            prop_assert_eq!(decoded(&Picture::new(&image, 40).unwrap()), image);
        }
    }

    #[test]
    fn large_pictures_are_shrunk() -> Result<()> {
        let shrunk = |width, height| Picture::new(&Image::filled(width, height, 3, 7)?, 10);
        let wide = shrunk(40, 20)?;
        assert_eq!((wide.width, wide.height), (10, 5));
        assert_eq!(decoded(&wide), Image::filled(10, 5, 3, 7)?);
        // A line stays a line.
        let thin = shrunk(1, 4000)?;
        assert_eq!((thin.width, thin.height), (1, 10));
        Ok(())
    }

    #[test]
    fn an_album_has_an_end() -> Result<()> {
        let small = Image::filled(4, 4, 1, 0)?;
        let mut values = vec![0; 64 * 64];
        ChaCha8Rng::seed_from_u64(0).fill_bytes(&mut values);
        let noise = Image::new(64, 64, 1, values)?;
        let mut album = Album::new(1000);
        assert!(album.add(&small, 64)?.is_some() && album.add(&noise, 64)?.is_none() && album.add(&small, 64)?.is_some());
        assert_eq!(album.left_out(), 1);
        Ok(())
    }
}
