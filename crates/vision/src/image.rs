//! Pictures of 8 bits a channel, from files and to files.
//!
//! The orientation that a camera writes into EXIF is not applied, as in Pillow's `open` and in torchvision's loaders.
//! Lossless files give Pillow's values; those of a JPEG differ by a few levels, as every decoder rounds in its own way.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use crate::{Error, Result, write_whole};

/// The largest picture: 89 million pixels, 256 MiB of RGB, from where Pillow warns too. Larger files are refused by their
/// header, before anything is allocated.
pub const MAX_PIXELS: u64 = (1 << 28) / 3;

/// The most bytes that a file's own form of the pixels may take: [`MAX_PIXELS`] in 16-bit RGB.
const MAX_BYTES: u64 = 1 << 29;

/// Endings of files that are taken for pictures, in lower case.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// Whether a file's name ends as a picture's does, in any case.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// A picture: H×W pixels of 1 (grey) or 3 (RGB) channels, each 0 … 255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    channels: usize,
    data: Vec<u8>,
}

impl Image {
    /// A picture from its values, row by row, pixel by pixel (HWC).
    ///
    /// # Errors
    /// When a side is 0, the channels are not 1 or 3, or the values are not height·width·channels.
    pub fn new(width: usize, height: usize, channels: usize, data: Vec<u8>) -> Result<Self> {
        if width == 0 || height == 0 || !matches!(channels, 1 | 3) {
            return Err(Error::Shape(format!(
                "a picture of {width}×{height} with {channels} channels: sides are at least 1, channels 1 or 3"
            )));
        }
        match width.checked_mul(height).and_then(|pixels| pixels.checked_mul(channels)) {
            Some(length) if length == data.len() => Ok(Self { width, height, channels, data }),
            _ => Err(Error::Shape(format!("a picture of {width}×{height} with {channels} channels does not have {} values", data.len()))),
        }
    }

    /// A picture whose pixels all have this value.
    pub fn filled(width: usize, height: usize, channels: usize, value: u8) -> Result<Self> {
        let length = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(channels));
        let length = length.filter(|&length| length as u64 <= 3 * MAX_PIXELS);
        let too_large = || Error::Shape(format!("a picture of {width}×{height} is more than {MAX_PIXELS} pixels"));
        Self::new(width, height, channels, vec![value; length.ok_or_else(too_large)?])
    }

    /// W, columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// H, rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// 1 (grey) or 3 (RGB).
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The values, HWC.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The values, HWC, without a copy.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The values of the pixel in this row and column, or `None` outside the picture.
    pub fn pixel(&self, row: usize, column: usize) -> Option<&[u8]> {
        let start = |row, column| (row * self.width + column) * self.channels;
        (row < self.height && column < self.width).then(|| &self.data[start(row, column)..][..self.channels])
    }

    /// Reads a picture: PNG, JPEG, WebP, BMP, GIF (its first frame) or TIFF, found out from its content.
    ///
    /// 16 bits a channel are scaled to 8, palettes and CMYK become RGB, and transparency is dropped, not blended (as
    /// Pillow's `convert("RGB")` does). A TIFF with a palette is refused.
    ///
    /// # Errors
    /// When the file cannot be read, is no picture, is cut short, or is larger than [`MAX_PIXELS`]; with its path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |reason: String| Error::File { path: path.to_owned(), reason };
        open_regular(path).and_then(Self::read).map_err(|error| failed(error.to_string()))
    }

    /// Reads a picture from its file's bytes, as [`Self::open`] does.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::read(Cursor::new(bytes))
    }

    /// Reads the size alone, `(width, height)`: quick, for checking folders.
    pub fn dimensions(path: impl AsRef<Path>) -> Result<(usize, usize)> {
        let path = path.as_ref();
        let failed = |reason: String| Error::File { path: path.to_owned(), reason };
        let decoder = open_regular(path).and_then(decoder).map_err(|error| failed(error.to_string()))?;
        let (width, height) = decoder.dimensions();
        Ok((width as usize, height as usize))
    }

    fn read(reader: impl BufRead + Seek) -> Result<Self> {
        let picture = DynamicImage::from_decoder(decoder(reader)?).map_err(|error| Error::Decode(one_line(&error)))?;
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        match picture.color().has_color() {
            true => Self::new(width, height, 3, picture.into_rgb8().into_raw()),
            false => Self::new(width, height, 1, picture.into_luma8().into_raw()),
        }
    }

    /// In grey, by the weights of ITU-R 601 in Pillow's whole numbers.
    pub fn to_gray(&self) -> Self {
        if self.channels == 1 {
            return self.clone();
        }
        let gray = |pixel: &[u8]| {
            let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
            ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
        };
        Self { channels: 1, data: self.data.chunks_exact(3).map(gray).collect(), ..*self }
    }

    /// In three channels; grey is repeated.
    pub fn to_rgb(&self) -> Self {
        if self.channels == 3 {
            return self.clone();
        }
        Self { channels: 3, data: self.data.iter().flat_map(|&value| [value; 3]).collect(), ..*self }
    }

    /// In 1 or 3 channels.
    pub fn with_channels(&self, channels: usize) -> Result<Self> {
        match channels {
            1 => Ok(self.to_gray()),
            3 => Ok(self.to_rgb()),
            _ => Err(Error::Setting(format!("a picture has 1 or 3 channels, not {channels}"))),
        }
    }

    /// With dark and light swapped.
    #[must_use]
    pub fn inverted(&self) -> Self {
        Self { data: self.data.iter().map(|value| 255 - value).collect(), ..*self }
    }

    /// Writes a PNG, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written; with its path.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let failed = |reason: String| Error::File { path: path.to_owned(), reason };
        let bytes = self.to_png().map_err(|error| failed(error.to_string()))?;
        write_whole(path, &bytes).map_err(|error| failed(format!("cannot be written: {error}")))
    }

    /// The bytes of a PNG file.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let color = if self.channels == 1 { image::ExtendedColorType::L8 } else { image::ExtendedColorType::Rgb8 };
        let side = |side: usize| u32::try_from(side).map_err(|_| Error::Shape(format!("a side of {side} is too long for a PNG")));
        let mut bytes = Vec::new();
        // The best compression takes twice the time and saves 3 %.
        let encoder = image::codecs::png::PngEncoder::new_with_quality(
            &mut bytes,
            image::codecs::png::CompressionType::Default,
            image::codecs::png::FilterType::Adaptive,
        );
        image::ImageEncoder::write_image(encoder, &self.data, side(self.width)?, side(self.height)?, color)
            .map_err(|error| Error::Decode(one_line(&error)))?;
        Ok(bytes)
    }
}

/// A regular file for reading. It is looked at before it is opened: to open a pipe that nobody writes to would wait for ever.
fn open_regular(path: &Path) -> Result<BufReader<File>> {
    let failed = |error: std::io::Error| Error::Decode(error.to_string());
    match std::fs::metadata(path).map_err(failed)?.is_file() {
        true => File::open(path).map(BufReader::new).map_err(failed),
        false => Err(Error::Decode("not a file".into())),
    }
}

/// A decoder that has read the header, and refused it if it is too large.
fn decoder<'a>(reader: impl BufRead + Seek + 'a) -> Result<impl ImageDecoder + 'a> {
    let unreadable = |error: &dyn std::fmt::Display| Error::Decode(one_line(error));
    let mut reader = ImageReader::new(reader).with_guessed_format().map_err(|error| unreadable(&error))?;
    if reader.format().is_none() {
        return Err(Error::Decode("not a picture that can be read (PNG, JPEG, WebP, BMP, GIF, TIFF)".into()));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| unreadable(&error))?;
    let (width, height) = decoder.dimensions();
    match (u64::from(width) * u64::from(height), decoder.total_bytes()) {
        (0, _) => Err(Error::Decode(format!("its size is {width}×{height}"))),
        (1..=MAX_PIXELS, 0..=MAX_BYTES) => Ok(decoder),
        (1..=MAX_PIXELS, bytes) => Err(Error::Decode(format!("{width}×{height} in {bytes} bytes, more than {MAX_BYTES}"))),
        (pixels, _) => Err(Error::Decode(format!("{width}×{height} are {pixels} pixels, more than {MAX_PIXELS}"))),
    }
}

fn one_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colours() -> Image {
        Image::new(2, 2, 3, vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30]).expect("a picture")
    }

    /// A PNG whose header claims this size in RGB of this many bits, with ten bytes of data.
    fn png_header(width: u32, height: u32, bits: u8) -> Vec<u8> {
        let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[bits, 2, 0, 0, 0]].concat();
        [b"\x89PNG\r\n\x1a\n".as_slice(), &chunk(b"IHDR", &header), &chunk(b"IDAT", &[0; 10])].concat()
    }

    /// Length, name, data, and PNG's checksum: CRC-32 (ISO 3309).
    fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let crc = name.iter().chain(data).fold(u32::MAX, |mut crc, &byte| {
            crc ^= u32::from(byte);
            (0..8).for_each(|_| crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 });
            crc
        });
        [&(data.len() as u32).to_be_bytes()[..], name, data, &(!crc).to_be_bytes()].concat()
    }

    #[test]
    fn written_and_read_is_the_same() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        for image in [colours(), colours().to_gray()] {
            let path = folder.path().join("picture.png");
            image.save(&path)?;
            assert_eq!(Image::open(&path)?, image);
            assert_eq!(Image::dimensions(&path)?, (2, 2));
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "no temporary file stays");
        Ok(())
    }

    /// `Image.frombytes('RGB', (2, 2), bytes([255,0,0, 0,255,0, 0,0,255, 10,20,30])).convert('L').tobytes()`
    #[test]
    fn grey_as_pillow() {
        assert_eq!(colours().to_gray().data(), [76, 150, 29, 18]);
    }

    #[test]
    fn every_kind_of_pixel_becomes_grey_or_rgb() -> Result<()> {
        let encode = |picture: DynamicImage, format| {
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).expect("encoded");
            bytes.into_inner()
        };
        let rgba = DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(3, 2, image::Rgba([200, 100, 50, 0])));
        let deep = DynamicImage::ImageLuma16(image::ImageBuffer::from_pixel(3, 2, image::Luma([0x80ff_u16])));
        let alpha = DynamicImage::ImageLumaA8(image::ImageBuffer::from_pixel(3, 2, image::LumaA([90, 7])));
        for (picture, channels, pixel) in [(rgba, 3, vec![200, 100, 50]), (deep, 1, vec![0x80]), (alpha, 1, vec![90])] {
            for format in [image::ImageFormat::Png, image::ImageFormat::Tiff] {
                if format == image::ImageFormat::Tiff && picture.color() == image::ColorType::La8 {
                    continue; // the crate cannot write it
                }
                let read = Image::decode(&encode(picture.clone(), format))?;
                assert_eq!((read.channels(), read.pixel(1, 2).map(<[u8]>::to_vec)), (channels, Some(pixel.clone())), "{format:?}");
            }
        }
        for format in [image::ImageFormat::Bmp, image::ImageFormat::Gif, image::ImageFormat::WebP, image::ImageFormat::Jpeg] {
            let picture = DynamicImage::ImageRgb8(image::RgbImage::from_pixel(5, 4, image::Rgb([250, 10, 10])));
            let picture = if format == image::ImageFormat::Gif { picture.to_rgba8().into() } else { picture };
            let read = Image::decode(&encode(picture, format))?;
            assert_eq!((read.width(), read.height(), read.channels()), (5, 4, 3), "{format:?}");
        }
        Ok(())
    }

    #[test]
    fn hostile_pictures_are_refused_before_they_cost_memory() {
        for (what, bytes, words) in [
            ("nothing", vec![], "not a picture"),
            ("text", b"hello, I am a picture".to_vec(), "not a picture"),
            ("400 billion pixels", png_header(2_000_000, 200_000, 8), "pixels"),
            ("one row too many", png_header(1, MAX_PIXELS as u32 + 1, 8), "pixels"),
            ("the largest sides", png_header(u32::MAX >> 1, u32::MAX >> 1, 16), ""),
            ("no pixels", png_header(0, 10, 8), ""),
            ("a header and no data", png_header(100, 100, 8), ""),
        ] {
            let error = Image::decode(&bytes).expect_err(what).to_string();
            assert!(error.contains(words) && error.lines().count() == 1, "{what}: {error}");
        }
        let whole = Image::filled(64, 64, 3, 7).and_then(|image| image.to_png()).expect("encoded");
        for length in [8, 20, 40, whole.len() / 2, whole.len() - 20] {
            assert!(Image::decode(&whole[..length]).is_err(), "cut at {length}");
        }
    }

    /// `Image.new('CMYK', (2, 2), (0, 200, 100, 30)).save(f, 'JPEG', quality=90, optimize=True)`, and its `convert('RGB')`
    #[test]
    fn cmyk_as_pillow() -> Result<()> {
        let hex = concat!(
            "ffd8ffee000e41646f626500640000000000ffdb004300030202030202030303030403030405080505040405",
            "0a070706080c0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f17181614181214151",
            "4ffc000140800020002044311004d11005911004b1100ffc40016000101010000000000000000000000000009",
            "0708ffc40014100100000000000000000000000000000000ffda000e0443004d0059004b00003f0054d8f148206fffd9",
        );
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
        assert_eq!(Image::decode(&bytes)?.data(), [225, 49, 137].repeat(4));
        Ok(())
    }

    /// Whatever stands in a file, it gives a picture or an error: some bytes of small pictures of each format are changed.
    #[test]
    fn damaged_files_do_not_panic() {
        use rand::Rng;
        use rand_chacha::rand_core::SeedableRng;

        let picture = DynamicImage::ImageRgba8(image::RgbaImage::from_fn(9, 7, |x, y| image::Rgba([x as u8 * 28, y as u8 * 36, 7, 255])));
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
        for format in [Png, Jpeg, WebP, Bmp, Gif, Tiff] {
            let mut whole = Cursor::new(Vec::new());
            let picture = if format == Jpeg { picture.to_rgb8().into() } else { picture.clone() };
            picture.write_to(&mut whole, format).expect("encoded");
            for _ in 0..300 {
                let mut bytes = whole.get_ref().clone();
                for _ in 0..rng.random_range(1..6) {
                    let at = rng.random_range(0..bytes.len());
                    bytes[at] = rng.random();
                }
                bytes.truncate(rng.random_range(0..2 * bytes.len()));
                let _ = Image::decode(&bytes);
            }
        }
    }

    #[test]
    fn pixels_outside_are_none() {
        let image = colours();
        assert_eq!(image.pixel(1, 1), Some(&[10, 20, 30][..]));
        for (row, column) in [(2, 0), (0, 2), (usize::MAX, 0), (0, usize::MAX)] {
            assert_eq!(image.pixel(row, column), None);
        }
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wrong.png");
        std::fs::write(&path, "no picture").expect("written");
        for path in [path, folder.path().join("missing.png"), folder.path().to_owned()] {
            let error = Image::open(&path).unwrap_err().to_string();
            assert!(error.contains(&*path.to_string_lossy()), "{error}");
        }
        assert!(
            Image::new(0, 1, 1, vec![]).is_err() && Image::new(2, 2, 1, vec![0; 5]).is_err() && Image::new(1, 1, 4, vec![0; 4]).is_err()
        );
    }

    #[test]
    fn endings_in_any_case() {
        assert!(is_picture(Path::new("a/b.JPG")) && is_picture(Path::new("x.tiff")));
        assert!(!is_picture(Path::new("x.txt")) && !is_picture(Path::new("png")));
    }
}
