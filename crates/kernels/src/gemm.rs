//! Products of matrices on one thread: a thin wrapper over the crate `gemm`, with bounds checked.
#![allow(unsafe_code)] // the crate gemm takes pointers

/// A matrix that lies in a slice: the value at (i, j) is `values[i * strides[0] + j * strides[1]]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    size: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// `rows` rows of `columns` values, each row beginning `stride` values after the one before.
    pub(crate) fn rows(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(reach([rows, columns], [stride, 1]) <= values.len(), "{rows}×{columns} rows do not fit into {}", values.len());
        Self { values, size: [rows, columns], strides: [stride, 1] }
    }

    /// Rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        let Self { values, size: [rows, columns], strides: [down, right] } = self;
        Self { values, size: [columns, rows], strides: [right, down] }
    }
}

/// What a product does with the values that stand in its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Into {
    /// They are replaced.
    Replace,
    /// The product is added to them.
    Add,
}

/// out = a·b or out += a·b, where `out` has dense rows.
pub(crate) fn product(a: Matrix, b: Matrix, out: &mut [f32], into: Into) {
    let ([m, k], [inner, n]) = (a.size, b.size);
    assert!(k == inner && out.len() >= m * n, "{m}×{k} times {inner}×{n} into {}", out.len());
    let (read, keep) = if into == Into::Add { (true, 1.0) } else { (false, 0.0) };
    let [a_down, a_right] = a.strides.map(|stride| stride as isize);
    let [b_down, b_right] = b.strides.map(|stride| stride as isize);
    // SAFETY: `rows` checked that each matrix lies inside its slice, the line above that `out` holds m×n dense rows and
    // that the inner sizes agree. `out` is a `&mut`, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            read,
            a.values.as_ptr(),
            a_right,
            a_down,
            b.values.as_ptr(),
            b_right,
            b_down,
            keep,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The length of a slice that holds a matrix.
fn reach([rows, columns]: [usize; 2], [down, right]: [usize; 2]) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * down + (columns - 1) * right + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_by_hand() {
        let a = Matrix::rows(&[1.0, 2.0, 0.0, 3.0, 4.0], 2, 2, 3); // a column of the slice is left out
        let b = Matrix::rows(&[5.0, 6.0, 7.0, 8.0], 2, 2, 2);
        let mut out = [1.0; 4];
        product(a, b.transposed(), &mut out, Into::Replace);
        assert_eq!(out, [17.0, 23.0, 39.0, 53.0]);
        product(a.transposed(), b, &mut out, Into::Add);
        assert_eq!(out, [17.0 + 26.0, 23.0 + 30.0, 39.0 + 38.0, 53.0 + 44.0]);
    }

    #[test]
    fn an_empty_sum_is_zero() {
        let mut out = [1.0; 4];
        product(Matrix::rows(&[], 2, 0, 0), Matrix::rows(&[], 0, 2, 2), &mut out, Into::Replace);
        assert_eq!(out, [0.0; 4]);
    }
}
