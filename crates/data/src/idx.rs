//! IDX files, the format of MNIST and Fashion-MNIST: a big-endian header and then plain bytes.
//!
//! Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits". The header is
//! two zero bytes, the type of a value, the rank, and one 32-bit size a dimension. Pictures are u8 of
//! rank 3 (0x00000803), labels u8 of rank 1 (0x00000801). A file may be gzip-compressed; that is seen
//! from its content, not from its name.

use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::dataset::Part;
use crate::files::{numbers, open_regular, read_names};
use crate::memory::{InMemory, PictureSize, out_of_range};
use crate::{Error, Result};

/// The most picture data that is read into memory, in bytes.
const MAX_BYTES: u64 = 4 << 30;

/// No deflate stream grows by more than this factor, so a header that promises more is a lie.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// Classes of a set that has no `classes.txt`.
const DEFAULT_CLASSES: usize = 10;

/// How the names of a part's files start.
fn prefix(part: Part) -> &'static str {
    match part {
        Part::Train => "train",
        Part::Test => "t10k",
    }
}

/// Grey pictures of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// The number of pictures, N.
    pub count: usize,
    /// Rows, H.
    pub height: usize,
    /// Columns, W.
    pub width: usize,
    /// Shape (N, H, W).
    pub pixels: Vec<u8>,
}

/// Whether `dir` has a file with one of the names of an IDX data set.
pub fn found_in(dir: &Path) -> bool {
    let has = |part| find(dir, prefix(part), "images", 3).or(find(dir, prefix(part), "labels", 1)).is_some();
    has(Part::Train) || has(Part::Test)
}

/// Opens one part of the data set in `dir`.
///
/// IDX knows no class names. They are `class_names` if given, else the lines of `dir/classes.txt`,
/// else "0" to "9".
///
/// # Errors
/// If a file is missing or is not what its name says, the two disagree, or a label has no class.
pub fn open(dir: &Path, part: Part, class_names: Option<&[String]>) -> Result<InMemory> {
    let images_path = require(dir, prefix(part), "images", 3)?;
    let labels_path = require(dir, prefix(part), "labels", 1)?;
    let labels = read_labels(&labels_path)?;
    // The header of the pictures is compared with the labels before the pictures are read.
    let file = IdxFile::open(&images_path, 3)?;
    let count = file.sizes[0] as usize;
    if count != labels.len() {
        return Err(Error::format(
            &images_path,
            format!("{count} pictures"),
            format!("{}, the number of labels in {}", labels.len(), labels_path.display()),
        ));
    }
    let images = file.into_images()?;

    let names_path = dir.join("classes.txt");
    let classes = match class_names {
        Some(names) => names.to_vec(),
        None if names_path.exists() => read_names(&names_path)?,
        None => numbers(DEFAULT_CLASSES),
    };
    if let Some((index, label)) = out_of_range(&labels, classes.len()) {
        return Err(Error::format(
            &labels_path,
            format!("label {label} for picture {index}"),
            format!(
                "labels 0 to {} (a file classes.txt beside it, with one name a line, says how many classes there are)",
                classes.len().saturating_sub(1)
            ),
        ));
    }
    let size = PictureSize { height: images.height, width: images.width, channels: 1 };
    InMemory::new(images_path.display().to_string(), classes, labels, images.pixels, size)
}

/// Reads a file of pictures (u8, rank 3), plain or gzip-compressed.
///
/// # Errors
/// If the header is not that of pictures, or the data is shorter or longer than the header says.
pub fn read_images(path: &Path) -> Result<Images> {
    IdxFile::open(path, 3)?.into_images()
}

/// Reads a file of labels (u8, rank 1), plain or gzip-compressed.
///
/// # Errors
/// If the header is not that of labels, or the data is shorter or longer than the header says.
pub fn read_labels(path: &Path) -> Result<Vec<u32>> {
    let labels = IdxFile::open(path, 1)?.into_bytes()?;
    Ok(labels.into_iter().map(u32::from).collect())
}

/// An IDX file whose header has been read and believed.
struct IdxFile {
    path: PathBuf,
    sizes: Vec<u32>,
    /// The product of the sizes.
    bytes: u64,
    body: Box<dyn Read>,
}

impl IdxFile {
    /// Reads the header and checks it against `rank` and the length of the file.
    fn open(path: &Path, rank: u8) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let (mut file, length) = open_regular(path)?;
        let mut start = Vec::new();
        (&file).take(2).read_to_end(&mut start).map_err(io)?;
        file.rewind().map_err(io)?;
        let compressed = start == [0x1f, 0x8b];
        let reader = BufReader::new(file);
        let mut body: Box<dyn Read> = match compressed {
            true => Box::new(MultiGzDecoder::new(reader)),
            false => Box::new(reader),
        };

        let mut header = vec![0u8; 4 + 4 * usize::from(rank)];
        let (magic, rest) = header.split_at_mut(4);
        let expected = format!("an IDX file of {}", describe(8, rank));
        read_header(&mut body, magic).map_err(|found| Error::format(path, found, &expected))?;
        if magic != [0, 0, 8, rank] {
            let found = match magic {
                [0, 0, kind, rank] => format!("an IDX file of {}", describe(*kind, *rank)),
                other => format!("a file that starts with the bytes {other:02x?}"),
            };
            return Err(Error::format(path, found, expected));
        }
        read_header(&mut body, rest).map_err(|found| Error::format(path, found, &expected))?;
        let sizes: Vec<u32> = rest.chunks_exact(4).map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]])).collect();

        let bytes = sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(u64::from(size))).filter(|&bytes| bytes <= MAX_BYTES);
        let Some(bytes) = bytes else {
            let most = format!("at most {MAX_BYTES} bytes of data");
            return Err(Error::format(path, format!("the sizes {}", product(&sizes)), most));
        };
        if bytes == 0 {
            return Err(Error::format(path, format!("the sizes {}", product(&sizes)), "no size of 0"));
        }
        let whole = bytes + header.len() as u64;
        let possible = match compressed {
            true => whole <= length.saturating_mul(MAX_DEFLATE_RATIO),
            false => whole == length,
        };
        if !possible {
            let kind = if compressed { "compressed bytes" } else { "bytes" };
            return Err(Error::format(
                path,
                format!("{length} {kind}"),
                format!("{whole} bytes, as the header says ({})", product(&sizes)),
            ));
        }
        Ok(Self { path: path.to_path_buf(), sizes, bytes, body })
    }

    /// Reads exactly the data that the header promises; less or more is an error.
    fn into_bytes(self) -> Result<Vec<u8>> {
        let expected = || format!("{} bytes of data, as the header says ({})", self.bytes, product(&self.sizes));
        let mut data = Vec::new();
        let capacity = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        if data.try_reserve_exact(capacity).is_err() {
            return Err(Error::format(&self.path, expected(), "data that fits into memory"));
        }
        // One byte more than promised is asked for, so that a longer file is noticed and a bomb is not unpacked.
        let mut body = self.body.take(self.bytes + 1);
        if let Err(error) = body.read_to_end(&mut data) {
            return Err(Error::format(&self.path, format!("{error} after {} bytes of data", data.len()), expected()));
        }
        if data.len() as u64 != self.bytes {
            let found = match data.len() as u64 > self.bytes {
                true => "more".to_owned(),
                false => format!("{} bytes", data.len()),
            };
            return Err(Error::format(&self.path, found, expected()));
        }
        Ok(data)
    }

    fn into_images(self) -> Result<Images> {
        let size = |axis: usize| self.sizes.get(axis).map_or(1, |&size| size as usize);
        let (count, height, width) = (size(0), size(1), size(2));
        Ok(Images { count, height, width, pixels: self.into_bytes()? })
    }
}

/// Fills `bytes` from the start of a file; the error says what was found instead.
fn read_header(reader: &mut dyn Read, bytes: &mut [u8]) -> std::result::Result<(), String> {
    reader.read_exact(bytes).map_err(|e| format!("a file without a whole header ({e})"))
}

/// Words for a header's type and rank.
fn describe(kind: u8, rank: u8) -> String {
    let kind = match kind {
        0x08 => "u8",
        0x09 => "i8",
        0x0b => "i16",
        0x0c => "i32",
        0x0d => "f32",
        0x0e => "f64",
        other => return format!("unknown type {other:#04x}, rank {rank}"),
    };
    match (kind, rank) {
        ("u8", 1) => "labels (u8, rank 1)".to_owned(),
        ("u8", 3) => "pictures (u8, rank 3)".to_owned(),
        _ => format!("{kind}, rank {rank}"),
    }
}

fn product(sizes: &[u32]) -> String {
    sizes.iter().map(u32::to_string).collect::<Vec<_>>().join(" × ")
}

/// The names that a file may have, the plain ones first.
fn names(prefix: &str, what: &str, rank: u8) -> [String; 4] {
    let plain = format!("{prefix}-{what}-idx{rank}-ubyte");
    let dotted = format!("{prefix}-{what}.idx{rank}-ubyte");
    [plain.clone(), dotted.clone(), format!("{plain}.gz"), format!("{dotted}.gz")]
}

fn find(dir: &Path, prefix: &str, what: &str, rank: u8) -> Option<PathBuf> {
    names(prefix, what, rank).iter().map(|name| dir.join(name)).find(|path| path.is_file())
}

fn require(dir: &Path, prefix: &str, what: &str, rank: u8) -> Result<PathBuf> {
    find(dir, prefix, what, rank).ok_or_else(|| {
        let [plain, _, compressed, _] = names(prefix, what, rank);
        Error::layout(dir, format!("has IDX files, but neither {plain} nor {compressed}"))
    })
}
