//! A zoo of convolutional networks on candle: every model by its name, for programs that choose at run time.
//!
//! A program that knows its model depends on that model's crate alone (`cirio-lenet`, …). Each model is a cargo feature
//! of this crate under the same name.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use cirio::nn::Store;
//!
//! let store = Store::new(0, DType::F32, &Device::Cpu);
//! let network = cirio::create("lenet5", 10, store.var_builder())?;
//! let images = Tensor::zeros((2, 1, 32, 32), DType::F32, &Device::Cpu)?;
//! assert_eq!(network.forward(&images)?.dims(), [2, 10]);
//! # Ok::<(), cirio::Error>(())
//! ```
#![forbid(unsafe_code)]

mod models;
mod registry;

#[cfg(feature = "alexnet")]
pub use cirio_alexnet as alexnet;
#[cfg(feature = "lenet")]
pub use cirio_lenet as lenet;
pub use cirio_nn as nn;
#[cfg(feature = "resnet")]
pub use cirio_resnet as resnet;
#[cfg(feature = "vgg")]
pub use cirio_vgg as vgg;
pub use cirio_vision as vision;

pub use models::MODELS;
pub use registry::{Error, Model, Result, Task, create, find};
