//! What can go wrong, said with what was given and what was expected.

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Runs that are no mask.
    #[error("{0}")]
    Rle(String),
    /// Numbers that are no polygon.
    #[error("{0}")]
    Polygon(String),
    /// Objects that cannot be compared.
    #[error("{0}")]
    Evaluation(String),
}
