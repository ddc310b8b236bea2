//! The registry of the zoo's weights: which there are, what each is for and where it came from, and the way from a name,
//! a file or a run folder to a file that has been checked.
//!
//! ```no_run
//! let weights = cirio_hub::Registry::locate()?.find(None, "lenet5/fashion-mnist")?;
//! println!("{} is for {:?}", weights.path.display(), weights.model);
//! # Ok::<(), cirio_hub::Error>(())
//! ```
//!
//! The registry is a folder with a `manifest.toml` ([`Manifest`]) and the files that it names. Nothing in it is trusted: a
//! file's size, hash and header are checked each time before it is handed out.
#![forbid(unsafe_code)]

mod convert;
mod error;
mod folder;
mod header;
mod manifest;
mod near;
pub mod pth;
mod registry;
pub mod spelling;
mod verify;

pub use convert::{Converted, Fit, Options, Report, convert};
pub use error::{Error, Result};
pub use header::{Header, TensorInfo, check_header};
pub use manifest::{Entry, Manifest, Measured};
pub use registry::{Registry, Resolved, Source};
pub use verify::verify;
