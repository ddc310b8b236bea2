//! The operations of convolutional networks on candle tensors, with gradients that are right.
//!
//! candle has most of these, but refuses or mistakes the gradient of many: overlapping pools, odd sizes, unequal sides
//! (`tests/ops/candle.rs` has a case for each). So every model goes through the functions here. They compute what
//! torch computes, and each runs in one of two ways:
//! - f32 on the CPU: the kernels of `cirio-kernels`, forward and backward, where there is one. Only the gradients that
//!   somebody wants are computed.
//! - everything else (CUDA, Metal, f64, f16, bf16): compositions of those candle operations whose gradients are right.
//!   [`with_portable`] forces this way on f32, so that it is tested on any machine.
//!
//! A batch of no images gives an empty tensor, without a gradient to the weights; only [`batch_norm_train`] refuses it. A
//! wrong shape is an error that says what was given and what was expected; nothing panics.

mod activation;
mod backend;
mod check;
mod conv;
mod conv_transpose;
mod dropout;
mod kernels;
mod linear;
mod lrn;
mod norm;
mod pool;
mod portable;
mod regions;
mod resize;
mod scale;
pub(crate) mod tape;

pub use activation::{Rectifier, hard_sigmoid, hard_swish, log_softmax, rectified, relu, scaled_tanh, sigmoid, softmax, tanh};
pub(crate) use backend::has_kernels;
pub use backend::with_portable;
pub use cirio_kernels::{AlignCorners, CountPadding};
pub use conv::{Conv2dConfig, conv2d, conv2d_relu};
pub use conv_transpose::{ConvTranspose2dConfig, conv_transpose2d};
pub use dropout::dropout;
pub use linear::{linear, linear_relu};
pub use lrn::{LrnConfig, Squares, lrn};
pub use norm::{batch_norm, batch_norm_relu, batch_norm_train, batch_norm_train_relu};
pub use pool::{Pool2dConfig, adaptive_avg_pool2d, avg_pool2d, max_pool2d};
pub use regions::{RoiAlignConfig, RoiPoolConfig, roi_align, roi_pool};
pub use resize::{upsample_bilinear2d, upsample_nearest2d};
pub use scale::scale_channels;
pub use tape::backward;
