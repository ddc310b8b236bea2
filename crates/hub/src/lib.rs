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
//! file's size, hash and header are checked each time before it is handed out. Weights that others publish are fetched from
//! the network once and kept ([`Downloads`]; the feature `download`, without which only files that are here are found).
#![forbid(unsafe_code)]

mod address;
mod convert;
#[cfg_attr(not(feature = "download"), path = "download/absent.rs")]
mod download;
mod error;
mod failure;
mod folder;
mod header;
mod manifest;
mod near;
mod progress;
pub mod pth;
mod registry;
pub mod spelling;
mod verify;

pub use address::Address;
pub use convert::{Converted, Fit, Options, Report, convert};
pub use download::Downloads;
#[cfg(feature = "download")]
pub use download::Token;
pub use error::{Error, Result};
pub use failure::Failure;
pub use header::{Header, TensorInfo, check_header};
pub use manifest::{Entry, Manifest, Measured, Remote};
pub use progress::{Progress, Transfer};
pub use registry::{Presence, Registry, Resolved, Source};
pub use verify::verify;
