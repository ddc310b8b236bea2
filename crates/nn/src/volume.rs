//! The shape of one image's activations between two layers.

use std::fmt;

/// A volume of activations, without the number of images N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Volume {
    /// C feature maps of H×W, a tensor (N, C, H, W).
    Maps {
        /// C, the number of channels.
        channels: usize,
        /// H, rows.
        height: usize,
        /// W, columns.
        width: usize,
    },
    /// A vector of features, a tensor (N, K).
    Vector(usize),
}

impl Volume {
    /// Maps of `[C, H, W]`.
    pub fn maps([channels, height, width]: [usize; 3]) -> Self {
        Self::Maps { channels, height, width }
    }

    /// `[C, H, W]` or `[K]`.
    pub fn dims(&self) -> Vec<usize> {
        match *self {
            Self::Maps { channels, height, width } => vec![channels, height, width],
            Self::Vector(features) => vec![features],
        }
    }

    /// The number of activations.
    pub fn len(&self) -> usize {
        self.dims().iter().product()
    }

    /// True when there is no activation at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels of maps, features of a vector: the length of axis 1.
    pub fn channels(&self) -> usize {
        self.dims()[0]
    }

    /// `[C, H, W]`, or why a layer that works on maps cannot have it.
    pub(crate) fn expect_maps(&self) -> Result<[usize; 3], String> {
        match *self {
            Self::Maps { channels, height, width } => Ok([channels, height, width]),
            Self::Vector(_) => Err("it works on maps (C×H×W), not on a vector".into()),
        }
    }

    /// K, or why a layer that works on vectors cannot have it.
    pub(crate) fn expect_vector(&self) -> Result<usize, String> {
        match *self {
            Self::Vector(features) => Ok(features),
            Self::Maps { .. } => Err("it works on a vector; put a flatten layer before it".into()),
        }
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<String> = self.dims().iter().map(usize::to_string).collect();
        f.pad(&text.join("×"))
    }
}
