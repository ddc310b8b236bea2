//! Pictures for convolutional networks: from files to tensors and back.
//!
//! ```no_run
//! use candle_core::Device;
//! use cirio_vision::{Image, Preprocess};
//!
//! let picture = Image::open("photo.jpg")?;
//! let input = Preprocess::imagenet().tensor(&picture, &Device::Cpu)?; // (3, 224, 224)
//! # Ok::<(), cirio_vision::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod augment;
mod canvas;
mod crop;
pub mod draw;
mod error;
mod files;
pub mod filter;
mod image;
pub mod lesson;
mod preprocess;
mod resize;
mod tensor;

pub use canvas::{Canvas, Colour, class_colour};
pub use crop::{center_crop, crop, flip_horizontal, flip_vertical, pad, ten_crop};
pub use error::{Error, Result};
pub use files::write_whole;
pub use image::{Image, MAX_PIXELS, is_picture};
pub use preprocess::{Preprocess, Resize, Views};
pub use resize::{resize, resize_short_side};
pub use tensor::{from_tensor, to_chw, to_tensor};
