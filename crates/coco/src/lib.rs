//! What COCO (Lin et al., "Microsoft COCO: common objects in context", 2014) agreed upon, without files and without tensors:
//! masks as runs, and how good found objects are.
#![forbid(unsafe_code)]

mod error;
mod evaluate;
mod polygon;
mod rle;
mod sets;

pub use error::{Error, Result};
pub use evaluate::{Area, Curve, Evaluation, Found, Kind, Measure, Measured, Report, Truth, thresholds};
pub use rle::{Rle, Runs};
