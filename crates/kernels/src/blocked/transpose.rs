//! Rows to columns and back, between maps whose channels lie apart and maps whose channels lie side by side.
#![allow(unsafe_code)] // vectors of the processor

/// Rows and columns that are exchanged at a time.
const SIDE: usize = 8;

/// A matrix in a slice: its value (i, j) is at i·stride + j.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) count: usize,
    pub(super) stride: usize,
}

/// to[j·stride + i] = from[i·rows.stride + j] for each of the rows i and the `columns` j.
pub(super) fn transpose(from: &[f32], rows: Rows, columns: usize, to: &mut [f32], stride: usize) {
    if rows.count == 0 || columns == 0 {
        return;
    }
    assert!((rows.count - 1) * rows.stride + columns <= from.len() && (columns - 1) * stride + rows.count <= to.len(), "both lie inside");
    #[cfg(target_arch = "x86_64")]
    if rows.count >= SIDE && columns >= SIDE && std::is_x86_feature_detected!("avx") {
        // The last squares overlap the ones before where the sides are not multiples.
        let places = |count: usize| (0..count).step_by(SIDE).map(move |place| place.min(count - SIDE));
        let mut square = |i: usize, j: usize| {
            // SAFETY: the processor has AVX; the square is inside both matrices, which lie inside their slices.
            unsafe {
                let (from, to) = (from.as_ptr().add(i * rows.stride + j), to.as_mut_ptr().add(j * stride + i));
                x86::square(from, rows.stride, to, stride);
            }
        };
        // Along what lies far apart last: 8 lines of memory at such distances are as many as the first cache keeps.
        if rows.stride >= stride {
            places(rows.count).for_each(|i| places(columns).for_each(|j| square(i, j)));
        } else {
            places(columns).for_each(|j| places(rows.count).for_each(|i| square(i, j)));
        }
        return;
    }
    for i in 0..rows.count {
        let row = &from[i * rows.stride..][..columns];
        row.iter().zip(to[i..].iter_mut().step_by(stride)).for_each(|(from, to)| *to = *from);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Exchanges rows and columns of 8×8 values.
    ///
    /// # Safety
    /// The processor has AVX, and 8 values are readable and writable at each of the 8 strides.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn square(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: as the caller promises.
        let half = |row: usize, column: usize| unsafe { _mm_loadu_ps(from.add(row * from_stride + column)) };
        // Rows i and i + 4 beside one another, left and right halves: what is left to do happens inside their halves.
        let pair = |row: usize, column: usize| _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(half(row, column)), half(row + 4, column));
        for column in [0, 4] {
            let [a, b, c, d] = [pair(0, column), pair(1, column), pair(2, column), pair(3, column)];
            let (low, high) = ([_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d)], [_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d)]);
            let columns = [
                _mm256_shuffle_ps::<0b01_00_01_00>(low[0], low[1]),
                _mm256_shuffle_ps::<0b11_10_11_10>(low[0], low[1]),
                _mm256_shuffle_ps::<0b01_00_01_00>(high[0], high[1]),
                _mm256_shuffle_ps::<0b11_10_11_10>(high[0], high[1]),
            ];
            for (index, values) in columns.into_iter().enumerate() {
                // SAFETY: as the caller promises.
                unsafe { _mm256_storeu_ps(to.add((column + index) * to_stride), values) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size() {
        for (rows, columns) in [(1, 1), (3, 20), (8, 8), (9, 8), (16, 17), (16, 7), (20, 31), (0, 5)] {
            let (from_stride, to_stride) = (columns + 3, rows + 2);
            let from: Vec<f32> = (0..rows * from_stride).map(|value| value as f32).collect();
            let mut to = vec![-1.0; columns * to_stride];
            transpose(&from, Rows { count: rows, stride: from_stride }, columns, &mut to, to_stride);
            for (place, &value) in to.iter().enumerate() {
                let (j, i) = (place / to_stride, place % to_stride);
                let expected = if i < rows { (i * from_stride + j) as f32 } else { -1.0 };
                assert_eq!(value, expected, "{rows}×{columns} at {j}, {i}");
            }
        }
    }
}
