//! Files and data sets that the tests build.
#![allow(dead_code)] // each test file uses some of it

use std::io::Write;
use std::path::Path;

use cirio_data::{Dataset, Error, Result, Sample};
use cirio_vision::Image;

/// An IDX file of u8: its magic, its sizes, its data, whether or not they fit together.
pub fn idx(rank: u8, sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, rank];
    for size in sizes {
        bytes.extend_from_slice(&size.to_be_bytes());
    }
    bytes.extend_from_slice(data);
    bytes
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Writes the training part of an IDX set of `count` pictures of 2 × 3 with labels 0, 1, 2, …, 9, 0, ….
pub fn write_idx(dir: &Path, part: &str, count: u32) {
    let pixels: Vec<u8> = (0..count * 6).map(|i| (i % 251) as u8).collect();
    let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
    write(&dir.join(format!("{part}-images-idx3-ubyte")), &idx(3, &[count, 2, 3], &pixels));
    write(&dir.join(format!("{part}-labels-idx1-ubyte")), &idx(1, &[count], &labels));
}

pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("a file");
}

/// A PNG of one colour.
pub fn png(value: u8) -> Vec<u8> {
    Image::filled(4, 3, 3, value).and_then(|image| image.to_png()).expect("a PNG")
}

/// The message of an error; fails where there is none.
pub fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("this should be an error"),
        Err(error) => error.to_string(),
    }
}

/// Grey pictures of 4 × 4, each filled with its own number; those in `bad` cannot be read.
pub struct Made {
    pub classes: Vec<String>,
    pub labels: Vec<u32>,
    pub bad: Vec<usize>,
}

impl Made {
    pub fn new(count: usize, bad: &[usize]) -> Self {
        let labels = (0..count).map(|i| (i % 3) as u32).collect();
        Self { classes: ["a", "b", "c"].map(str::to_owned).to_vec(), labels, bad: bad.to_vec() }
    }
}

impl Dataset for Made {
    fn name(&self) -> &str {
        "made"
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn get(&self, index: usize) -> Result<Sample> {
        if self.bad.contains(&index) {
            return Err(Error::Picture { picture: self.picture_name(index), reason: "is bad".to_owned() });
        }
        let image = Image::new(4, 4, 1, (0..16).map(|i| (index * 7 + i) as u8).collect()).expect("a picture");
        Ok(Sample { image, label: self.label(index)? })
    }

    fn picture_name(&self, index: usize) -> String {
        format!("made/{index}.png")
    }
}
