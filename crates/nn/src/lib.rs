//! Convolutional networks on candle as what they are: a list of layers, each turning one volume of activations into
//! another.
//!
//! A model is a page that writes its list; everything else comes from that list: the shapes, checked before any
//! weight is touched; the table of sizes, parameters and multiply-adds; the forward pass; the names of the weights;
//! any layer's activation by its name.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use cirio_nn::{Layers, Store, layer::{Flatten, Relu, conv, linear, max_pool}};
//!
//! let layers = Layers::new([1, 28, 28])
//!     .then("conv1", conv(8, 5))
//!     .then("relu1", Relu)
//!     .then("pool1", max_pool(2))
//!     .then("flatten", Flatten)
//!     .then("fc", linear(10));
//! println!("{}", layers.table()?);
//!
//! let store = Store::new(0, DType::F32, &Device::Cpu);
//! let network = layers.build(store.var_builder())?;
//! let images = Tensor::zeros((2, 1, 28, 28), DType::F32, &Device::Cpu)?;
//! assert_eq!(network.forward(&images)?.dims(), [2, 10]);
//! # Ok::<(), cirio_nn::Error>(())
//! ```
//!
//! Shape letters are the same everywhere: N images, C channels, H×W rows × columns, K classes.
#![deny(unsafe_code)]

pub mod device;
mod error;
pub mod files;
mod inference;
pub mod init;
pub mod layer;
mod layers;
pub mod loss;
pub mod ops;
mod parameter;
mod parts;
mod pass;
mod reader;
pub mod size;
mod stack;
mod store;
mod table;
mod volume;
mod weights;

pub use error::{Error, Result};
pub use inference::{Inference, InferenceConfig};
pub use layers::{Layers, Sequence};
pub use ops::backward;
pub use parameter::{Parameter, ParameterKind};
pub use pass::{DropoutState, Pass};
pub use stack::Stack;
pub use store::Store;
pub use table::{ReceptiveField, Row, Table};
pub use volume::Volume;
pub use weights::{LoadReport, Mismatch, Weights};
