//! torch's files of weights (`.pth`, `.pt`, `.bin`), read without executing anything.
//!
//! Such a file is a pickle, a program that may call any function of Python, and the numbers that it refers to. What reads it
//! here can build plain values and tensors and nothing else: any other name in it is refused, by that name. Both formats are
//! read: the zip archive of torch 1.6 and later, and the stream of before (`torch/serialization.py`).
//!
//! Nothing in a file is trusted: lengths, depths and counts have limits, and a tensor's sizes, strides and offset are checked
//! against its storage. Tensors are not read before they are asked for.

mod archive;
mod known;
mod legacy;
mod pickle;
mod state;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;

use crate::{Error, Result};
use pickle::{Arena, Value};
use view::Placed;

/// Bytes that are handed on at once.
const PIECE: usize = 1 << 20;

/// Where each storage lies in the file.
type Ranges = HashMap<String, Range<u64>>;

/// What a file says, before it is known which part of it is the weights.
struct Contents {
    format: &'static str,
    root: Value,
    arena: Arena,
    ranges: Ranges,
}

/// The state dict in a file of torch: named tensors, read one by one.
#[derive(Debug)]
pub struct Checkpoint<R = File> {
    reader: R,
    format: &'static str,
    key: Option<String>,
    tensors: BTreeMap<String, Placed>,
    dropped: Vec<String>,
}

/// Opens a file and finds its state dict: the dictionary that `key` names; else the entry with a usual name (`state_dict`,
/// `model`, …), if it has tensors; else the whole, if there are tensors in it; else the only entry with tensors.
///
/// # Errors
/// When the file cannot be read, is no sound file of torch, refers to anything but tensors and plain values, or has no state
/// dict or several.
pub fn open(path: &Path, key: Option<&str>) -> Result<Checkpoint> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    // Asked before opening, because opening a pipe waits for its other end.
    if !fs::metadata(path).map_err(read)?.is_file() {
        return Err(Error::Torch { path: path.to_owned(), reason: "it is no regular file".to_owned() });
    }
    let file = File::open(path).map_err(read)?;
    Checkpoint::read(file, key).map_err(|reason| Error::Torch { path: path.to_owned(), reason })
}

impl<R: Read + Seek> Checkpoint<R> {
    /// As [`open`], from any reader.
    ///
    /// # Errors
    /// In words, without the file's name.
    pub fn read(mut reader: R, key: Option<&str>) -> Result<Self, String> {
        let length =
            reader.seek(SeekFrom::End(0)).and_then(|length| reader.rewind().map(|()| length)).map_err(|error| error.to_string())?;
        let mut begin = Vec::new();
        reader.by_ref().take(4).read_to_end(&mut begin).and_then(|_| reader.rewind()).map_err(|error| error.to_string())?;
        let contents = match begin.as_slice() {
            b"PK\x03\x04" => archive::read(&mut reader)?,
            _ => legacy::read(&mut reader)?,
        };
        if let Some((key, range)) = contents.ranges.iter().find(|(_, range)| range.end > length) {
            return Err(format!("the storage {key:?} should end at byte {}, the file at {length}", range.end));
        }
        let found = state::find(&contents, key)?;
        found.check_size(length)?;
        let state::Found { key, tensors, dropped } = found;
        Ok(Self { reader, format: contents.format, key, tensors, dropped })
    }

    /// Which of torch's formats it is, in words.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// The entry of the checkpoint that was taken; none where the state dict is the whole file.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// What else lay in the state dict or beside it, and is no tensor of it.
    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// Names, types and shapes of the tensors.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, Dtype, &[usize])> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dtype, tensor.shape.as_slice()))
    }

    /// Hands the bytes of a tensor to `sink`, row-major and lowest byte first, in pieces of whole numbers. A contiguous tensor is
    /// never whole in memory.
    ///
    /// # Errors
    /// When the file cannot be read, there is no such tensor, or the sink refuses.
    pub fn copy(&mut self, name: &str, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let tensor = self.tensors.get(name).ok_or_else(|| io::Error::other(format!("there is no tensor `{name}`")))?;
        self.reader.seek(SeekFrom::Start(tensor.bytes.start))?;
        let length = tensor.bytes.end - tensor.bytes.start;
        if tensor.is_contiguous() {
            let mut piece = vec![0; length.min(PIECE as u64) as usize];
            let mut left = length;
            while left > 0 {
                let part = &mut piece[..left.min(PIECE as u64) as usize];
                self.reader.read_exact(part)?;
                sink(part)?;
                left -= part.len() as u64;
            }
            return Ok(());
        }
        let mut all = Vec::new();
        self.reader.by_ref().take(length).read_to_end(&mut all)?;
        let mut piece = Vec::with_capacity(PIECE);
        for range in tensor.pieces() {
            piece.extend_from_slice(all.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
            if piece.len() >= PIECE {
                sink(&piece)?;
                piece.clear();
            }
        }
        sink(&piece)
    }
}
