//! How far a transfer is.

/// How far a transfer is.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// The address.
    pub name: &'a str,
    /// Bytes that are here.
    pub done: u64,
    /// All bytes, where the server says it.
    pub total: Option<u64>,
}

/// Is told how far a transfer is: when it begins, after each piece, and at the end with `done` equal to `total`. `done` falls
/// where a server makes us begin anew.
pub type Progress<'a> = &'a mut dyn FnMut(Transfer);
