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

/// Pictures of one size. After the first, each has only the rectangle that has changed.
fn encode(pictures: &[Image], delay_ms: u16) -> Result<Vec<u8>, EncodingError> {
    let channels = if pictures.iter().all(|picture| picture.channels() == 1) { 1 } else { 3 };
    // What does not fit is refused by the format as 0 is.
    let [width, height, count] =
        [pictures[0].width(), pictures[0].height(), pictures.len()].map(|number| u32::try_from(number).unwrap_or(0));
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(if channels == 1 { ColorType::Grayscale } else { ColorType::Rgb });
    encoder.set_depth(BitDepth::Eight);
    encoder.set_animated(count, 0)?;
    encoder.set_frame_delay(delay_ms, 1000)?;
    let mut writer = encoder.write_header()?;
    let mut shown: Option<Image> = None;
    for picture in pictures {
        let picture = if channels == 1 { picture.clone() } else { picture.to_rgb() };
        let [left, upper, right, lower] = shown.as_ref().map_or([0, 0, width as usize, height as usize], |shown| changed(shown, &picture));
        writer.reset_frame_position()?;
        writer.set_frame_dimension((right - left) as u32, (lower - upper) as u32)?;
        writer.set_frame_position(left as u32, upper as u32)?;
        let rows = picture.data().chunks_exact(width as usize * channels).take(lower).skip(upper);
        let part: Vec<u8> = rows.flat_map(|row| &row[left * channels..right * channels]).copied().collect();
        writer.write_image_data(&part)?;
        shown = Some(picture);
    }
    writer.finish()?;
    Ok(bytes)
}

/// The smallest rectangle left, upper, right, lower around all pixels in which two pictures of one size differ; one pixel where none does.
fn changed(before: &Image, after: &Image) -> [usize; 4] {
    let (width, channels) = (after.width(), after.channels());
    let pixels = before.data().chunks_exact(channels).zip(after.data().chunks_exact(channels));
    let places = pixels.enumerate().filter(|(_, (before, after))| before != after).map(|(at, _)| [at % width, at / width]);
    let around = |found: Option<[usize; 4]>, [column, row]: [usize; 2]| {
        let [left, upper, right, lower] = found.unwrap_or([column, row, 0, 0]);
        Some([left.min(column), upper.min(row), right.max(column + 1), lower.max(row + 1)])
    };
    places.fold(None, around).unwrap_or([0, 0, 1, 1])
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn every_picture_is_there_and_it_loops_for_ever() -> Result<()> {
        let dotted = |values: [u8; 6]| Image::new(3, 2, 1, values.to_vec());
        let pictures = [Image::filled(3, 2, 3, 20)?, dotted([20, 20, 20, 20, 9, 9])?, dotted([20, 9, 9, 20, 9, 9])?];
        let pictures = [&pictures[..], &pictures[2..], &pictures[..1]].concat();
        let bytes = frames(&pictures, 250)?;
        assert_eq!(Image::decode(&bytes)?, pictures[0].to_rgb(), "a viewer that does not know animations shows the first");
        let mut reader = png::Decoder::new(Cursor::new(&bytes)).read_info().expect("a header");
        let control = reader.info().animation_control().expect("an animation");
        assert_eq!((control.num_frames, control.num_plays), (5, 0));
        let mut shown = vec![0; 3 * 3 * 2];
        for picture in &pictures {
            let mut data = vec![0; reader.output_buffer_size().expect("a size")];
            reader.next_frame(&mut data).expect("a picture");
            let frame = *reader.info().frame_control().expect("a frame");
            assert_eq!((frame.delay_num, frame.delay_den), (250, 1000));
            let [left, upper, width, height] = [frame.x_offset, frame.y_offset, frame.width, frame.height].map(|side| side as usize);
            for row in 0..height {
                shown[((upper + row) * 3 + left) * 3..][..width * 3].copy_from_slice(&data[row * width * 3..][..width * 3]);
            }
            assert_eq!(shown, picture.to_rgb().data());
        }
        Ok(())
    }

    #[test]
    fn only_what_changes() -> Result<()> {
        let before = Image::filled(5, 4, 1, 0)?;
        let mut data = before.data().to_vec();
        (data[5 + 3], data[10 + 1]) = (1, 1);
        assert_eq!(changed(&before, &Image::new(5, 4, 1, data)?), [1, 1, 4, 3]);
        assert_eq!(changed(&before, &before), [0, 0, 1, 1]);
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
