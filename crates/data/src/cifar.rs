//! CIFAR-10 and CIFAR-100 in their binary form: records of a label and a 32×32 colour picture.
//!
//! Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and the page
//! of the data set. A CIFAR-10 record is 1 label byte and 3,072 bytes of picture; a CIFAR-100 record
//! has 2 label bytes, coarse and fine. A picture is 1,024 bytes of red, then green, then blue, row by row.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::dataset::Part;
use crate::files::{numbers, open_regular, read_names};
use crate::memory::{InMemory, PictureSize};
use crate::{Error, Result};

/// Rows and columns of every picture.
const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// The most that one file may hold, in bytes: the real ones have at most 154 million.
const MAX_BYTES: u64 = 1 << 30;

/// Which of the two data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Ten classes: `data_batch_1.bin` … `data_batch_5.bin`, `test_batch.bin`, `batches.meta.txt`.
    Cifar10,
    /// A hundred classes, by the fine label: `train.bin`, `test.bin`, `fine_label_names.txt`.
    Cifar100,
}

impl Variant {
    fn classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    /// Bytes before the picture; the last of them is the label.
    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    fn files(self, part: Part) -> &'static [&'static str] {
        match (self, part) {
            (Self::Cifar10, Part::Train) => {
                &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"]
            }
            (Self::Cifar10, Part::Test) => &["test_batch.bin"],
            (Self::Cifar100, Part::Train) => &["train.bin"],
            (Self::Cifar100, Part::Test) => &["test.bin"],
        }
    }

    fn names_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }

    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "CIFAR-10",
            Self::Cifar100 => "CIFAR-100",
        }
    }
}

/// Which of the two lies in `dir`, by the names of its files.
pub fn found_in(dir: &Path) -> Option<Variant> {
    [Variant::Cifar10, Variant::Cifar100]
        .into_iter()
        .find(|variant| [Part::Train, Part::Test].iter().flat_map(|&part| variant.files(part)).any(|file| dir.join(file).is_file()))
}

/// Opens one part of the data set in `dir`. Class names are `class_names` if given, else those of the
/// set's own list, else numbers.
///
/// # Errors
/// If a file is missing, is not made of whole records, or has a label without a class.
pub fn open(dir: &Path, variant: Variant, part: Part, class_names: Option<&[String]>) -> Result<InMemory> {
    let names_path = dir.join(variant.names_file());
    let classes = match class_names {
        Some(names) => names.to_vec(),
        None if names_path.exists() => read_names(&names_path)?,
        None => numbers(variant.classes()),
    };
    if classes.len() != variant.classes() {
        let found = format!("{} class names", classes.len());
        return Err(Error::format(&names_path, found, format!("the {} of {}", variant.classes(), variant.name())));
    }

    let mut files: Vec<(PathBuf, u64)> = Vec::new();
    for name in variant.files(part) {
        let path = dir.join(name);
        if !path.is_file() {
            return Err(Error::layout(dir, format!("has files of {}, but no {name}", variant.name())));
        }
        let records = count_records(&path, variant)?;
        files.push((path, records));
    }
    let records = files.iter().map(|(_, records)| *records as usize).sum::<usize>();
    let (mut labels, mut pixels) = (Vec::new(), Vec::new());
    if labels.try_reserve_exact(records).is_err() || pixels.try_reserve_exact(records * 3 * PLANE).is_err() {
        return Err(Error::layout(dir, format!("has {records} pictures, more than fit into memory")));
    }
    for (path, records) in &files {
        read_records(path, variant, *records, &mut labels, &mut pixels)?;
    }
    let name = match &files[..] {
        [(only, _)] => only.display().to_string(),
        _ => dir.join("data_batch_*.bin").display().to_string(),
    };
    let size = PictureSize { height: SIDE, width: SIDE, channels: 3 };
    InMemory::new(name, classes, labels, pixels, size)
}

/// The number of records in a file, from its length.
fn count_records(path: &Path, variant: Variant) -> Result<u64> {
    let (_, length) = open_regular(path)?;
    let record = (variant.label_bytes() + 3 * PLANE) as u64;
    if length == 0 || length % record != 0 || length > MAX_BYTES {
        return Err(Error::format(
            path,
            format!("{length} bytes"),
            format!("whole {} records of {record} bytes, at least one and at most {MAX_BYTES} bytes", variant.name()),
        ));
    }
    Ok(length / record)
}

/// Appends the labels and the pictures of `path`, the pictures as (H, W, C).
fn read_records(path: &Path, variant: Variant, records: u64, labels: &mut Vec<u32>, pixels: &mut Vec<u8>) -> Result<()> {
    let (file, _) = open_regular(path)?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut record = vec![0u8; variant.label_bytes() + 3 * PLANE];
    for number in 0..records {
        reader.read_exact(&mut record).map_err(|e| Error::io(path, e))?;
        let (head, planes) = record.split_at(variant.label_bytes());
        let label = head[head.len() - 1];
        if usize::from(label) >= variant.classes() {
            return Err(Error::format(
                path,
                format!("label {label} in record {number}"),
                format!("labels 0 to {} ({})", variant.classes() - 1, variant.name()),
            ));
        }
        labels.push(u32::from(label));
        let (red, rest) = planes.split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        for ((&r, &g), &b) in red.iter().zip(green).zip(blue) {
            pixels.extend_from_slice(&[r, g, b]);
        }
    }
    Ok(())
}
