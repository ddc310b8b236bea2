//! What can be wrong with a shape or with the slices that are handed to a kernel.

/// A shape that cannot be, or a slice that does not hold what its shape says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A number that must be at least 1.
    #[error("{what} is 0, it must be at least 1")]
    Zero {
        /// Which number.
        what: &'static str,
    },
    /// Channels that do not split into groups.
    #[error("{c_in} input channels and {c_out} filters do not split into {groups} groups")]
    Groups {
        /// Input channels.
        c_in: usize,
        /// Output channels.
        c_out: usize,
        /// Groups.
        groups: usize,
    },
    /// A window larger than the padded input.
    #[error("a window of {extent} {axis} does not fit into {input} with a padding of {padding} on both sides")]
    Window {
        /// `rows` or `columns`.
        axis: &'static str,
        /// What the window spans, dilation counted.
        extent: usize,
        /// The input's side.
        input: usize,
        /// Padding on each side.
        padding: usize,
    },
    /// A pooling window that could lie in the padding alone.
    #[error("a padding of {padding} {axis} is more than half of the pooling window's {kernel}")]
    Padding {
        /// `rows` or `columns`.
        axis: &'static str,
        /// Padding on each side.
        padding: usize,
        /// The window's side.
        kernel: usize,
    },
    /// More pixels at the far ends of a transposed convolution's output than its stride leaves open.
    #[error("an output padding of {padding} {axis} is not less than the stride of {stride}")]
    OutputPadding {
        /// `rows` or `columns`.
        axis: &'static str,
        /// Pixels at the far end.
        padding: usize,
        /// Pixels from one input's window to the next.
        stride: usize,
    },
    /// Maps to be added to a convolution whose results only a pool sees.
    #[error("nothing can be added to a convolution that is planned with the pool behind it")]
    Added,
    /// A slice of the wrong length.
    #[error("{what} holds {given} values, its shape {shape:?} has {expected}")]
    Length {
        /// The argument's name.
        what: &'static str,
        /// The length that was given.
        given: usize,
        /// The length that was expected.
        expected: usize,
        /// The shape that the slice should have.
        shape: Vec<usize>,
    },
    /// Maps of another size.
    #[error("maps of {} given, {} expected", by(given), by(expected))]
    Maps {
        /// C, H, W that were given.
        given: [usize; 3],
        /// C, H, W that were expected.
        expected: [usize; 3],
    },
    /// A region of an image that is not there.
    #[error("region {index} is in image {image}, there are {images}")]
    RegionImage {
        /// Which region.
        index: usize,
        /// The image that it names.
        image: usize,
        /// N, images.
        images: usize,
    },
    /// A region whose corners are NaN or too large.
    #[error("region {index} has corners that are not finite on the maps")]
    RegionCorners {
        /// Which region.
        index: usize,
    },
    /// A product of sizes that no slice can have.
    #[error("the shape {shape:?} has more values than this machine can address")]
    TooLarge {
        /// The sizes.
        shape: Vec<usize>,
    },
}

fn by([c, h, w]: &[usize; 3]) -> String {
    format!("{c}×{h}×{w}")
}

/// The number of values in a volume of this shape.
pub(crate) fn volume(shape: &[usize]) -> Result<usize, ShapeError> {
    let product = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
    product.filter(|&values| values <= isize::MAX as usize / size_of::<f32>()).ok_or_else(|| ShapeError::TooLarge { shape: shape.to_vec() })
}

/// That `values` has this shape.
pub(crate) fn expect(what: &'static str, values: &[f32], shape: &[usize]) -> Result<(), ShapeError> {
    let expected = volume(shape)?;
    match values.len() {
        given if given == expected => Ok(()),
        given => Err(ShapeError::Length { what, given, expected, shape: shape.to_vec() }),
    }
}

/// That none of the numbers is 0.
pub(crate) fn expect_positive(numbers: &[(&'static str, usize)]) -> Result<(), ShapeError> {
    match numbers.iter().find(|(_, value)| *value == 0) {
        Some(&(what, _)) => Err(ShapeError::Zero { what }),
        None => Ok(()),
    }
}
