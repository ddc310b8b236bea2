//! Pictures one after the other: animated PNG, which every browser shows and every viewer of PNG opens.

use std::path::Path;

use png::{BitDepth, ColorType, Encoder, EncodingError};

use crate::{Error, Image, Result, write_whole};

/// The bytes of an animated PNG of these pictures, each shown for some thousandths of a second, again and again.
///
/// # Errors
/// When there is no picture, or their sizes differ.
pub fn frames(pictures: &[Image], delay_ms: u16) -> Result<Vec<u8>> {
    let Some(first) = pictures.first() else {
        return Err(Error::Shape("an animation has at least one picture".into()));
    };
    let (width, height) = (first.width(), first.height());
    if let Some(other) = pictures.iter().find(|picture| (picture.width(), picture.height()) != (width, height)) {
        return Err(Error::Shape(format!(
            "an animation of {width}×{height} cannot hold a picture of {}×{}",
            other.width(),
            other.height()
        )));
    }
    encode(pictures, delay_ms)
        .map_err(|error| Error::Shape(format!("an animation of {} pictures of {width}×{height}: {error}", pictures.len())))
}

/// Writes [`frames`] into a file, whole or not at all.
///
/// # Errors
/// As [`frames`]; and when it cannot be written, with its path.
pub fn save_frames(path: impl AsRef<Path>, pictures: &[Image], delay_ms: u16) -> Result<()> {
    let path = path.as_ref();
    let bytes = frames(pictures, delay_ms)?;
    write_whole(path, &bytes).map_err(|error| Error::File { path: path.to_owned(), reason: format!("cannot be written: {error}") })
}

/// Pictures of one size.
fn encode(pictures: &[Image], delay_ms: u16) -> Result<Vec<u8>, EncodingError> {
    let grey = pictures.iter().all(|picture| picture.channels() == 1);
    // What does not fit is refused by the format as 0 is.
    let [width, height, count] =
        [pictures[0].width(), pictures[0].height(), pictures.len()].map(|number| u32::try_from(number).unwrap_or(0));
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(if grey { ColorType::Grayscale } else { ColorType::Rgb });
    encoder.set_depth(BitDepth::Eight);
    encoder.set_animated(count, 0)?;
    encoder.set_frame_delay(delay_ms, 1000)?;
    let mut writer = encoder.write_header()?;
    for picture in pictures {
        match grey {
            true => writer.write_image_data(picture.data())?,
            false => writer.write_image_data(picture.to_rgb().data())?,
        }
    }
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn every_picture_is_there_and_it_loops_for_ever() -> Result<()> {
        let pictures = [Image::filled(3, 2, 1, 10)?, Image::filled(3, 2, 3, 20)?, Image::filled(3, 2, 1, 30)?];
        let bytes = frames(&pictures, 250)?;
        assert_eq!(Image::decode(&bytes)?, pictures[0].to_rgb(), "a viewer that does not know animations shows the first");
        let mut reader = png::Decoder::new(Cursor::new(&bytes)).read_info().expect("a header");
        let control = reader.info().animation_control().expect("an animation");
        assert_eq!((control.num_frames, control.num_plays), (3, 0));
        for picture in &pictures {
            let mut data = vec![0; reader.output_buffer_size().expect("a size")];
            reader.next_frame(&mut data).expect("a picture");
            let frame = reader.info().frame_control().expect("a frame");
            assert_eq!((frame.delay_num, frame.delay_den), (250, 1000));
            assert_eq!(data, picture.to_rgb().data());
        }
        Ok(())
    }

    #[test]
    fn grey_stays_grey_and_files_are_whole() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("moving.png");
        save_frames(&path, &[Image::filled(2, 2, 1, 7)?], 0)?;
        assert_eq!(Image::open(&path)?, Image::filled(2, 2, 1, 7)?);
        let error = save_frames(folder.path().join("no/such.png"), &[Image::filled(2, 2, 1, 7)?], 9).expect_err("no folder").to_string();
        assert!(error.contains("such.png"), "{error}");
        Ok(())
    }

    #[test]
    fn sizes_are_alike() -> Result<()> {
        assert!(frames(&[], 100).is_err());
        let error = frames(&[Image::filled(2, 3, 1, 0)?, Image::filled(3, 2, 1, 0)?], 9).expect_err("two sizes").to_string();
        assert!(error.contains("2×3") && error.contains("3×2"), "{error}");
        Ok(())
    }
}
