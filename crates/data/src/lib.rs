//! Data sets for convolutional networks, and a loader that prefetches them.
//!
//! [`open`] finds the format of a folder from what lies in it: [IDX](idx) (MNIST, Fashion-MNIST),
//! [CIFAR-10 and CIFAR-100 binary](cifar), or an [image folder](folder) with one subfolder a class.
//! A [`Loader`] turns a [`Dataset`] into batches of shape (N, C, H, W) on worker threads; order and
//! content of the batches depend on the seed alone, never on the number of threads.
//!
//! Files from outside are not trusted: every size is checked before anything is allocated, and bad
//! input is an [`Error`] that names the file, never a panic.

#![forbid(unsafe_code)]

pub mod cifar;
mod dataset;
mod error;
mod export;
mod files;
pub mod folder;
pub mod idx;
mod loader;
mod memory;
pub mod objects;
mod ordered;
mod parallel;
mod parts;
mod relabelled;
mod seed;
mod stats;
mod subset;

pub use dataset::{Dataset, Format, OpenOptions, Part, Sample, Skipped, Split, Strictness, open};
pub use error::{Error, Result};
pub use export::{export_folder, export_idx};
pub use loader::{Batch, Epoch, Loader, LoaderConfig, Order};
pub use memory::{InMemory, PictureSize};
pub use parts::DEFAULT_VAL_FRACTION;
pub use relabelled::Relabelled;
pub use seed::{Purpose, derived_rng};
pub use stats::{Survey, class_counts, survey};
pub use subset::{Subset, hold_out};
