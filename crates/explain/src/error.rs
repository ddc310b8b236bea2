//! What can go wrong, said with what was given and what was expected.

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A class that the network does not have.
    #[error("class {given}: the network has classes 0 to {}", classes.saturating_sub(1))]
    Class {
        /// The class asked for.
        given: usize,
        /// K.
        classes: usize,
    },
    /// A map that a layer does not have.
    #[error("map {given} of layer `{layer}`: it has maps 0 to {}", maps.saturating_sub(1))]
    Map {
        /// The map asked for.
        given: usize,
        /// The layer.
        layer: String,
        /// C, the maps that it has.
        maps: usize,
    },
    /// A layer that does not give what is asked for, such as maps.
    #[error("layer `{layer}` gives {given:?}, expected {expected}")]
    Layer {
        /// The layer.
        layer: String,
        /// The shape of its output.
        given: Vec<usize>,
        /// What is asked for.
        expected: &'static str,
    },
    /// A map, a gradient or a set of features in which there is nothing to see.
    #[error("{0}")]
    Nothing(String),
    /// Settings or sizes that cannot be.
    #[error("{0}")]
    Setting(String),
    /// An error of a detector.
    #[error(transparent)]
    Detection(#[from] cirio_detection::Error),
    /// An error of a picture.
    #[error(transparent)]
    Picture(#[from] cirio_vision::Error),
    /// An error of the layers.
    #[error(transparent)]
    Network(#[from] cirio_nn::Error),
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
