//! What COCO (Lin et al., "Microsoft COCO: common objects in context", 2014) agreed upon, without files and without tensors: masks as runs.
#![forbid(unsafe_code)]

mod error;
mod polygon;
mod rle;
mod sets;

pub use error::{Error, Result};
pub use rle::{Rle, Runs};
