//! Detection on candle: what stands between feature maps and boxes.
//!
//! The pure parts work on slices and know no tensor: [`boxes`], [`BoxCoder`], [`Anchors`], [`Matcher`], [`Sampler`], [`nms()`], [`Mask`] and
//! [`Rle`]. [`ops`] has some of them on tensors, for any other detector. The parts with weights are pieces of two-stage detectors:
//! [`Backbone`], [`Pyramid`], [`Rpn`], [`BoxBranch`], [`PixelBranch`], [`MaskBranch`] and [`KeypointBranch`], each for training or for
//! evaluation alone.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use cirio_detection::ops;
//!
//! let boxes = Tensor::new(&[[0f32, 0., 10., 10.], [1., 0., 10., 10.], [20., 20., 30., 30.]], &Device::Cpu)?;
//! let scores = Tensor::new(&[0.8f32, 0.9, 0.7], &Device::Cpu)?;
//! assert_eq!(ops::nms(&boxes, &scores, 0.5)?.to_vec1::<u32>()?, [1, 2]);
//! # Ok::<(), candle_core::Error>(())
//! ```
//!
//! Shape letters are the same everywhere: N images, C channels, H×W rows × columns, K classes, R regions, A anchors. Boxes are x₁, y₁, x₂, y₂
//! in pixels.
#![forbid(unsafe_code)]

mod anchors;
mod backbone;
pub mod boxes;
mod coder;
mod detector;
mod error;
mod fpn;
pub mod keypoints;
mod loss;
mod mask;
mod matcher;
mod names;
mod nms;
pub mod ops;
mod part;
mod paste;
mod pixels;
mod pose;
mod roi;
mod rpn;
mod sampler;
mod select;
mod target;
mod trace;
mod transform;

pub use anchors::Anchors;
pub use backbone::Backbone;
pub use boxes::Xyxy;
pub use cirio_coco::Rle;
pub use coder::BoxCoder;
pub use detector::{Detector, DetectorConfig, spelt_today};
pub use error::{Error, Result};
pub use fpn::{Body, FpnConfig, Pyramid};
pub use mask::{MaskBranch, MaskConfig};
pub use matcher::{Match, Matcher};
pub use nms::{batched_nms, box_voting, nms};
pub use part::{Mode, Part};
pub use paste::Mask;
pub use pixels::{PixelBranch, PixelConfig};
pub use pose::{KeypointBranch, KeypointConfig};
pub use roi::{
    BoxBranch, BoxHead, Predictions, Region, RegionAlign, RegionFeatures, RegionMax, RegionPooling, RoiConfig, Sampled, regions,
};
pub use rpn::{Limits, Objectness, Proposal, Rpn, RpnConfig, RpnHead};
pub use sampler::{Sample, Sampler};
pub use select::top_k;
pub use target::{Detection, Losses, Target};
pub use trace::{Level, Trace};
pub use transform::{Batch, Transform};
