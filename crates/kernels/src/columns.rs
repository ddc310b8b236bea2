//! One row of the input, as one column of a sliding window meets it.

use std::ops::Range;

/// The input's columns under one column of the window: the outputs `valid` take `first`, `first + stride`, …; the others take
/// padding.
pub(crate) struct Columns {
    pub(crate) valid: Range<usize>,
    pub(crate) first: usize,
    pub(crate) stride: usize,
}

impl Columns {
    /// `outputs` of them, from an input of `width` pixels; output j takes the pixel j·stride + shift - padding.
    pub(crate) fn new(outputs: usize, width: usize, stride: usize, shift: usize, padding: usize) -> Self {
        let start = padding.saturating_sub(shift).div_ceil(stride).min(outputs);
        let end = (width + padding).saturating_sub(shift).div_ceil(stride).clamp(start, outputs);
        Self { valid: start..end, first: (start * stride + shift).saturating_sub(padding), stride }
    }

    /// Copies the pixels of a row, and zeros for the padding.
    pub(crate) fn gather(&self, row: &[f32], to: &mut [f32]) {
        let Self { valid, first, stride } = self;
        to[..valid.start].fill(0.0);
        to[valid.end..].fill(0.0);
        let to = &mut to[valid.clone()];
        match stride {
            _ if to.is_empty() => {}
            1 => to.copy_from_slice(&row[*first..][..to.len()]),
            _ => to.iter_mut().zip(row[*first..].iter().step_by(*stride)).for_each(|(to, from)| *to = *from),
        }
    }

    /// Adds values to the pixels of a row that they belong to.
    pub(crate) fn scatter(&self, from: &[f32], row: &mut [f32]) {
        let Self { valid, first, stride } = self;
        let from = &from[valid.clone()];
        match stride {
            _ if from.is_empty() => {}
            1 => row[*first..].iter_mut().zip(from).for_each(|(to, from)| *to += from),
            _ => row[*first..].iter_mut().step_by(*stride).zip(from).for_each(|(to, from)| *to += from),
        }
    }
}
