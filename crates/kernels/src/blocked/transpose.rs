//! Rows to columns and back, between maps whose channels lie apart and maps whose channels lie side by side.
#![allow(unsafe_code)] // vectors of the processor

/// Rows and columns that are exchanged at a time.
const SIDE: usize = 8;

/// A matrix in a slice: its value (i, j) is at i·stride + j.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) count: usize,
    pub(crate) stride: usize,
}

/// Where a matrix's columns go: they come in rows of `width`, `stride` floats lie between the columns of a row, and `row` between rows.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) count: usize,
    pub(crate) stride: usize,
    pub(crate) width: usize,
    pub(crate) row: usize,
}

impl Columns {
    /// All in one row.
    pub(crate) fn in_a_row(count: usize, stride: usize) -> Self {
        Self { count, stride, width: count.max(1), row: 0 }
    }

    fn place(&self, column: usize) -> usize {
        if self.count == self.width { column * self.stride } else { column / self.width * self.row + column % self.width * self.stride }
    }

    /// The farthest place; the rows do not overlap.
    fn last(&self) -> usize {
        self.place(self.count - 1).max(self.place((self.count / self.width * self.width).max(1) - 1))
    }
}

/// to[place of j + i] = from[i·rows.stride + j] for each of the rows i and the columns j.
pub(crate) fn transpose(from: &[f32], rows: Rows, columns: Columns, to: &mut [f32]) {
    if rows.count == 0 || columns.count == 0 {
        return;
    }
    let inside = (rows.count - 1) * rows.stride + columns.count <= from.len() && columns.last() + rows.count <= to.len();
    assert!(inside, "both lie inside");
    #[cfg(target_arch = "x86_64")]
    if rows.count >= SIDE && columns.count >= SIDE && std::is_x86_feature_detected!("avx") {
        // The last squares overlap the ones before where the sides are not multiples.
        let places = |count: usize| (0..count).step_by(SIDE).map(move |place| place.min(count - SIDE));
        let (from, to) = (from.as_ptr(), to.as_mut_ptr());
        if columns.count == columns.width {
            let square = |i: usize, j: usize| {
                let (from, to) = (from.wrapping_add(i * rows.stride + j), to.wrapping_add(j * columns.stride + i));
                // SAFETY: the processor has AVX; the square is inside both matrices, which lie inside their slices.
                unsafe { x86::square(from, rows.stride, to, |column| column * columns.stride) };
            };
            // Along what lies far apart last: 8 lines of memory at such distances are as many as the first cache keeps.
            if rows.stride >= columns.stride {
                places(rows.count).for_each(|i| places(columns.count).for_each(|j| square(i, j)));
            } else {
                places(columns.count).for_each(|j| places(rows.count).for_each(|i| square(i, j)));
            }
        } else {
            for j in places(columns.count) {
                let at: [usize; SIDE] = std::array::from_fn(|column| columns.place(j + column));
                // SAFETY: as above.
                places(rows.count)
                    .for_each(|i| unsafe { x86::square(from.add(i * rows.stride + j), rows.stride, to.add(i), |column| at[column]) });
            }
        }
        return;
    }
    for i in 0..rows.count {
        let row = &from[i * rows.stride..][..columns.count];
        row.iter().enumerate().for_each(|(j, &value)| to[columns.place(j) + i] = value);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Exchanges rows and columns of 8×8 values.
    ///
    /// # Safety
    /// The processor has AVX, and 8 values are readable at each of the 8 strides, and writable at each of the places `at(0)` … `at(7)`.
    #[target_feature(enable = "avx")]
    pub(crate) unsafe fn square(from: *const f32, from_stride: usize, to: *mut f32, at: impl Fn(usize) -> usize) {
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
                unsafe { _mm256_storeu_ps(to.add(at(column + index)), values) };
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
            transpose(&from, Rows { count: rows, stride: from_stride }, Columns::in_a_row(columns, to_stride), &mut to);
            for (place, &value) in to.iter().enumerate() {
                let (j, i) = (place / to_stride, place % to_stride);
                let expected = if i < rows { (i * from_stride + j) as f32 } else { -1.0 };
                assert_eq!(value, expected, "{rows}×{columns} at {j}, {i}");
            }
        }
    }

    #[test]
    fn columns_in_rows() {
        for (rows, count, width) in [(16, 49, 7), (8, 9, 9), (20, 15, 3), (16, 4, 2), (9, 50, 8)] {
            let columns = Columns { count, stride: 24, width, row: 24 * width + 5 };
            let from: Vec<f32> = (1..=rows * count).map(|value| value as f32).collect();
            let mut to = vec![0.0; 24 * count + 5 * count.div_ceil(width)];
            transpose(&from, Rows { count: rows, stride: count }, columns, &mut to);
            assert_eq!(to.iter().filter(|&&value| value != 0.0).count(), from.len());
            for (i, j) in (0..rows).flat_map(|i| (0..count).map(move |j| (i, j))) {
                assert_eq!(
                    to[j / width * columns.row + j % width * 24 + i],
                    from[i * count + j],
                    "{rows}×{count} in rows of {width}: {i}, {j}"
                );
            }
        }
    }
}
