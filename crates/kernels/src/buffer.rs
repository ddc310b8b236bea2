//! Floats that begin on a cache line: a vector that crosses from one line to the next costs two reads.
#![allow(unsafe_code)] // lines of floats are seen as floats

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A cache line, 64 bytes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A fixed number of floats in memory that begins on a cache line; for packed weights and maps.
#[derive(Clone, Default)]
pub struct Buffer {
    lines: Vec<Line>,
    length: usize,
}

impl Buffer {
    /// So many zeros.
    pub fn zeros(length: usize) -> Self {
        Self { lines: vec![Line([0.0; 16]); length.div_ceil(16)], length }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the lines are at least as many floats as the length, one after the other and initialised.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as for `deref`; the lines are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("length", &self.length).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_long_as_asked_and_begins_on_a_line() {
        for length in [0, 1, 16, 17, 1000] {
            let mut buffer = Buffer::zeros(length);
            assert_eq!((buffer.len(), buffer.as_ptr() as usize % 64), (length, 0));
            buffer.iter_mut().enumerate().for_each(|(index, value)| *value = index as f32);
            assert_eq!(buffer.iter().sum::<f32>(), (0..length).sum::<usize>() as f32);
        }
    }
}
