//! CPU kernels for convolutional networks, forward and backward, on plain slices of f32.
//!
//! The crate knows no tensor type: it works on contiguous slices in the order N (images), C (channels), H (rows),
//! W (columns), and can be used by any program. For each layer there is a *plan*, made once for a shape, and a [`Scratch`]
//! that holds the working memory of all of them:
//!
//! ```
//! use cirio_kernels::{Conv2d, Conv2dShape, Scratch};
//!
//! let shape = Conv2dShape { c_in: 1, c_out: 2, h: 3, w: 3, kernel: [2; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1 };
//! let conv = Conv2d::new(shape)?;
//! let image = [0., 0., 1., 0., 0., 1., 0., 0., 1.]; // a vertical edge
//! let filters = [-1., 1., -1., 1., /* vertical edges */ -1., -1., 1., 1. /* horizontal edges */];
//! let mut maps = [0.; 2 * 2 * 2];
//! conv.forward(1, &image, &filters, None, &mut maps, &mut Scratch::new())?;
//! assert_eq!(maps, [0., 2., 0., 2., /* there is one */ 0., 0., 0., 0. /* there is none */]);
//! # Ok::<(), cirio_kernels::ShapeError>(())
//! ```
//!
//! What holds for all of them:
//! - Every length is checked: a wrong one is a [`ShapeError`], never a panic. No images (n = 0) are allowed.
//! - Outputs are replaced, never added to, and need not be cleared before.
//! - Threads are those of rayon's pool (`RAYON_NUM_THREADS`). Whatever way the work is cut, each number is a sum in an order
//!   that depends on shapes alone: the result is the same bit for bit from run to run and for any number of threads.
//! - Vectors are chosen when the program runs (AVX-512, AVX2 and FMA, NEON), with a portable path beside; `CIRIO_VECTORS=avx2` or `none`
//!   in the environment asks for less, to test and to compare (the crate gemm, which does some products, chooses for itself).
//! - Every kernel is tested against the plain loops in [`mod@reference`], every gradient against finite differences.
#![deny(unsafe_op_in_unsafe_fn)]
// Innermost loops over registers are loops over numbers: an iterator's closure may not know this machine's vectors.
#![allow(clippy::needless_range_loop)]

pub mod abreast;
pub mod activation;
pub mod batch_norm;
pub mod blocked;
mod buffer;
mod columns;
pub mod conv;
pub mod conv_transpose;
mod error;
mod exp;
mod gemm;
pub mod linear;
pub mod lrn;
mod parallel;
mod peak;
pub mod pool;
mod precision;
pub mod reference;
pub mod resize;
pub mod roi_align;
pub mod roi_pool;
mod simd;
pub mod softmax;

pub use activation::{
    Activation, Tanh, hard_sigmoid, hard_sigmoid_backward, hard_swish, hard_swish_backward, relu, relu_backward, relu_in_place, sigmoid,
    sigmoid_backward,
};
pub use batch_norm::{BatchNorm, ScaleShift};
pub use buffer::Buffer;
pub use conv::{Conv2d, Conv2dShape};
pub use conv_transpose::{ConvTranspose2d, ConvTranspose2dShape};
pub use error::ShapeError;
pub use linear::Linear;
pub use lrn::{Lrn, LrnShape};
pub use parallel::{Scratch, in_pool, on_this_thread, zeros};
pub use peak::fma_peak;
pub use pool::{AvgPool2d, CountPadding, MaxPool2d, Pool2dShape};
pub use resize::{AlignCorners, Interpolation, Resize2d, Resize2dShape};
pub use roi_align::{Region, RoiAlign, RoiAlignShape};
pub use roi_pool::{RoiPool, RoiPoolShape};
pub use softmax::{log_softmax, log_softmax_backward, softmax, softmax_backward};
