//! What a network sees, as numbers: gradients back to the pixels, class activation maps, occlusion, strongest activations.
//!
//! Functions take a [`Stack`] (LeNet, AlexNet, VGG, ResNet, the body of a detector) and tensors, and give tensors and plain values; the modules
//! of [`cirio_vision::draw`] make pictures of them.
#![forbid(unsafe_code)]

mod cam;
pub mod detector;
pub mod embedding;
mod error;
mod gradient;
mod heat;
mod occlusion;
pub mod report;
mod strongest;
#[cfg(test)]
mod testing;

use candle_core::Tensor;

pub use cam::{Weighing, class_activation};
pub use cirio_nn::Stack;
pub use cirio_nn::ops::Rectifier;
pub use error::{Error, Result};
pub use gradient::{Integrated, Target, Trace, integrated_gradients, saliency, smooth_grad, trace, trace_maps};
pub use heat::{Heat, largest};
pub use occlusion::{Occluder, Occlusion, occlusion};
pub use strongest::{Peak, Strongest};

/// The scores of one class, (N), of (N, K) or (N, K, 1, 1).
fn scores_of(scores: &Tensor, class: usize) -> Result<Tensor> {
    let scores = scores.flatten_from(1)?;
    match scores.dims() {
        [_, classes] if class < *classes => Ok(scores.narrow(1, class, 1)?.squeeze(1)?),
        given => Err(Error::Class { given: class, classes: given.last().copied().unwrap_or(0) }),
    }
}
