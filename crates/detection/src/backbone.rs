//! What is below a detector's heads: a network with a pyramid on it, or the network alone.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use cirio_nn::Parameter;

use crate::{Body, Error, FpnConfig, Mode, Part, Pyramid, Result};

/// A network with its weights, whose maps the heads look at.
pub enum Backbone {
    /// A pyramid on the body's taps. Weights: see [`Pyramid`].
    Pyramid(Pyramid),
    /// The body alone; its taps are the levels. Weights: the body's own names.
    Body(Part),
}

impl Backbone {
    /// The body, with a pyramid or without.
    ///
    /// # Errors
    /// When there is no layer of a tap's name, or a weight is missing or has another shape.
    pub fn new(body: &Body, pyramid: Option<&FpnConfig>, weights: VarBuilder) -> Result<Self> {
        Ok(match pyramid {
            Some(config) => Self::Pyramid(Pyramid::new(body, config, weights)?),
            None => Self::Body(Part::with_taps(&body.layers, &body.taps, weights)?),
        })
    }

    /// The levels from fine to coarse, (N, C, H/s, W/s) for the stride s of each, of images (N, 3, H, W).
    ///
    /// # Errors
    /// When the images do not fit the body.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Result<Vec<Tensor>> {
        match self {
            Self::Pyramid(pyramid) => pyramid.forward(images, mode),
            Self::Body(body) => body.forward_taps(images, mode),
        }
    }

    /// The levels that regions take their features from: all but the additional one of a pyramid.
    pub fn for_regions<'a>(&self, levels: &'a [Tensor]) -> &'a [Tensor] {
        match self {
            Self::Pyramid(_) => &levels[..levels.len().saturating_sub(1)],
            Self::Body(_) => levels,
        }
    }

    /// The form for evaluation alone.
    ///
    /// # Errors
    /// When a norm's tensors cannot be read.
    pub fn for_inference(self) -> Result<Self> {
        Ok(match self {
            Self::Pyramid(pyramid) => Self::Pyramid(pyramid.for_inference()?),
            Self::Body(body) => Self::Body(body.for_inference()?),
        })
    }

    /// All tensors, `prefix` and a dot before their names.
    pub fn parameters(&self, prefix: &str) -> Vec<Parameter> {
        match self {
            Self::Pyramid(pyramid) => pyramid.parameters(prefix),
            Self::Body(body) => body.parameters(prefix),
        }
    }
}

/// How many levels there are, and the channels of all of them.
pub(crate) fn levels(body: &Body, pyramid: Option<&FpnConfig>) -> Result<(usize, usize)> {
    let channels = body.channels()?;
    match (pyramid, channels.as_slice()) {
        (_, []) => Err(Error::Config("the body of a detector has at least one tap".into())),
        (Some(pyramid), taps) => Ok((taps.len() + 1, pyramid.channels)),
        (None, [first, rest @ ..]) if rest.iter().all(|other| other == first) => Ok((channels.len(), *first)),
        (None, given) => Err(Error::Config(format!("without a pyramid the levels have {given:?} channels, expected as many for all"))),
    }
}
