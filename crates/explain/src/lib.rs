//! What a network sees, as numbers: gradients back to the pixels, class activation maps, occlusion, strongest activations.
//!
//! Functions take a [`Stack`](cirio_nn::Stack) (LeNet, AlexNet, VGG, ResNet, the body of a detector) and tensors, and give tensors and plain
//! values; the modules of `cirio_vision::draw` make pictures of them.
#![forbid(unsafe_code)]

pub mod detector;
pub mod embedding;
mod error;

pub use error::{Error, Result};
