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
//!
//! Classifiers are in [`MODELS`], detectors in [`DETECTORS`]:
//!
//! ```no_run
//! use candle_core::{DType, Device, Tensor};
//!
//! let weights = cirio::nn::Weights::open("maskrcnn_resnet50_fpn.safetensors")?;
//! let detector = cirio::find_detector("maskrcnn_resnet50_fpn")?.config(91).load(&weights, &Device::Cpu)?;
//! let picture = Tensor::zeros((3, 480, 640), DType::F32, &Device::Cpu)?; // red, green and blue in 0 … 1
//! let found = detector.for_inference()?.detect(&[picture])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod detectors;
mod models;
mod registry;

#[cfg(feature = "alexnet")]
pub use cirio_alexnet as alexnet;
pub use cirio_detection as detection;
#[cfg(feature = "faster-rcnn")]
pub use cirio_faster_rcnn as faster_rcnn;
#[cfg(feature = "lenet")]
pub use cirio_lenet as lenet;
#[cfg(feature = "mask-rcnn")]
pub use cirio_mask_rcnn as mask_rcnn;
#[cfg(feature = "mobilenet")]
pub use cirio_mobilenet as mobilenet;
pub use cirio_nn as nn;
#[cfg(feature = "resnet")]
pub use cirio_resnet as resnet;
#[cfg(feature = "vgg")]
pub use cirio_vgg as vgg;
pub use cirio_vision as vision;

pub use detectors::{DETECTORS, DetectorModel, DetectorRecipe, find_detector};
pub use models::MODELS;
pub use registry::{Error, Model, Result, Task, create, find};
