//! The largest eigenvalues of a large symmetric matrix and their vectors, by simultaneous iteration: a subspace of some more vectors than are
//! wanted is multiplied by a polynomial of the matrix again and again (Rutishauser, "Simultaneous iteration method for symmetric matrices",
//! 1970).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::dot;
use crate::{Error, Result};

/// The degree of the Chebyshev polynomial.
const DEGREE: usize = 8;

/// The length of A·v - λ·v at which a vector is right, as a share of the largest eigenvalue.
const RESIDUAL: f64 = 1e-11;

/// The most passes; usual features take three to ten.
const PASSES: usize = 1000;

/// Sweeps of Jacobi's method; it converges quadratically, in less than ten.
const SWEEPS: usize = 50;

/// The `count` largest eigenvalues of a matrix that is symmetric and has none below 0, with vectors of length 1 that are orthogonal.
/// The matrix is row by row, `side`×`side`. The result is the same bits for any number of threads.
///
/// # Errors
/// When it does not converge.
pub(super) fn leading(matrix: &[f64], side: usize, count: usize) -> Result<Vec<(f64, Vec<f64>)>> {
    let count = count.min(side);
    // Vectors beside those that are wanted: the more, the faster these converge.
    let width = (2 * count + 20).min(side);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut basis: Vec<Vec<f64>> = (0..width).map(|_| (0..side).map(|_| StandardNormal.sample(&mut rng)).collect()).collect();
    for _ in 0..PASSES {
        orthonormalise(&mut basis);
        let image = multiply(matrix, &basis);
        let (values, turns) = small(&basis, &image);
        let (vectors, image) = (combined(&basis, &turns), combined(&image, &turns));
        let largest = values.first().copied().unwrap_or(0.0);
        let is_right = |index: usize| {
            let residual: Vec<f64> = image[index].iter().zip(&vectors[index]).map(|(image, v)| image - values[index] * v).collect();
            dot(&residual, &residual).sqrt() <= RESIDUAL * largest.abs()
        };
        if (0..count).all(is_right) {
            return Ok(values.into_iter().zip(vectors).take(count).collect());
        }
        // The polynomial is at most 1 from 0 to the subspace's smallest value, and grows fast above it.
        let smallest = values.last().copied().unwrap_or(0.0).max(1e-12 * largest);
        basis = chebyshev(matrix, vectors, &image, smallest);
    }
    Err(Error::Nothing(format!("the {count} leading of {side} directions are not found in {PASSES} passes")))
}

/// T(2·A/limit - 1)·v for vectors v whose images A·v are known; T is Chebyshev's polynomial.
fn chebyshev(matrix: &[f64], vectors: Vec<Vec<f64>>, image: &[Vec<f64>], limit: f64) -> Vec<Vec<f64>> {
    let scaled = |image: &[Vec<f64>], vectors: &[Vec<f64>]| each(image, vectors, |image, v| 2.0 * image / limit - v);
    let first = scaled(image, &vectors);
    let (mut before, mut now) = (vectors, first);
    for _ in 1..DEGREE {
        let next = each(&scaled(&multiply(matrix, &now), &now), &before, |scaled, before| 2.0 * scaled - before);
        (before, now) = (now, next);
    }
    now
}

/// A function of the numbers of two lists of vectors, one by one.
fn each(a: &[Vec<f64>], b: &[Vec<f64>], f: impl Fn(f64, f64) -> f64) -> Vec<Vec<f64>> {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()).collect()
}

/// The matrix times each vector.
fn multiply(matrix: &[f64], vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let side = vectors.first().map_or(1, Vec::len).max(1);
    let products = |row: &[f64]| -> Vec<f64> { vectors.iter().map(|vector| dot(row, vector)).collect() };
    let rows: Vec<Vec<f64>> = matrix.par_chunks_exact(side).map(products).collect();
    (0..vectors.len()).map(|vector| rows.iter().map(|row| row[vector]).collect()).collect()
}

/// Makes vectors orthogonal and their lengths 1, in their order (Gram and Schmidt, twice).
fn orthonormalise(vectors: &mut [Vec<f64>]) {
    for index in 0..vectors.len() {
        let (done, rest) = vectors.split_at_mut(index);
        let vector = &mut rest[0];
        normalise(vector);
        for _ in 0..2 {
            for other in done.iter() {
                let shared = dot(vector, other);
                vector.iter_mut().zip(other).for_each(|(v, other)| *v -= shared * other);
            }
        }
        normalise(vector);
    }
}

/// Makes the length 1; a vector of zeros stays.
fn normalise(vector: &mut [f64]) {
    let length = dot(vector, vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|v| *v /= length);
    }
}

/// Eigenvalues of the matrix within the subspace, from the largest on, and how the vectors of the basis are combined to get their vectors.
fn small(basis: &[Vec<f64>], image: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let product = |row: usize, column: usize| 0.5 * (dot(&basis[row], &image[column]) + dot(&basis[column], &image[row]));
    let within = (0..basis.len()).map(|row| (0..basis.len()).map(|column| product(row, column)).collect()).collect();
    jacobi(within)
}

/// Σ turnsⱼ · vectorsⱼ for each list of factors.
fn combined(vectors: &[Vec<f64>], turns: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let sum = |turn: &Vec<f64>| {
        let mut sum = vec![0.0; vectors.first().map_or(0, Vec::len)];
        for (factor, vector) in turn.iter().zip(vectors) {
            sum.iter_mut().zip(vector).for_each(|(sum, v)| *sum += factor * v);
        }
        sum
    };
    turns.par_iter().map(sum).collect()
}

/// All eigenvalues of a small symmetric matrix, from the largest on, and their vectors (Jacobi's method, Golub & Van Loan, "Matrix
/// computations", section 8.5).
fn jacobi(mut matrix: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let side = matrix.len();
    let mut vectors: Vec<Vec<f64>> = (0..side).map(|row| (0..side).map(|column| f64::from(u8::from(row == column))).collect()).collect();
    let negligible = f64::EPSILON * matrix.iter().map(|row| dot(row, row)).sum::<f64>().sqrt() / side.max(1) as f64;
    for _ in 0..SWEEPS {
        let mut turned = false;
        for p in 0..side {
            for q in p + 1..side {
                if matrix[p][q].abs() > negligible {
                    turned = true;
                    let angle = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
                    let tangent = angle.signum() / (angle.abs() + angle.hypot(1.0));
                    let cosine = 1.0 / tangent.hypot(1.0);
                    let turn = |a: f64, b: f64| (cosine * (a - tangent * b), cosine * (tangent * a + b));
                    for row in &mut matrix {
                        (row[p], row[q]) = turn(row[p], row[q]);
                    }
                    turn_rows(&mut matrix, p, q, turn);
                    turn_rows(&mut vectors, p, q, turn);
                }
            }
        }
        if !turned {
            break;
        }
    }
    let mut order: Vec<usize> = (0..side).collect();
    order.sort_by(|&a, &b| matrix[b][b].total_cmp(&matrix[a][a]));
    order.into_iter().map(|index| (matrix[index][index], std::mem::take(&mut vectors[index]))).unzip()
}

/// Turns row p against row q, p before q.
fn turn_rows(rows: &mut [Vec<f64>], p: usize, q: usize, turn: impl Fn(f64, f64) -> (f64, f64)) {
    let (before, from) = rows.split_at_mut(q);
    before[p].iter_mut().zip(&mut from[0]).for_each(|(a, b)| (*a, *b) = turn(*a, *b));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// [[2, 1], [1, 2]]: 3 along the diagonal, 1 across it.
    #[test]
    fn by_hand() -> Result<()> {
        let pairs = leading(&[2.0, 1.0, 1.0, 2.0], 2, 5)?;
        let values: Vec<f64> = pairs.iter().map(|(value, _)| *value).collect();
        assert!(values.len() == 2 && (values[0] - 3.0).abs() < 1e-14 && (values[1] - 1.0).abs() < 1e-14, "{values:?}");
        assert!((pairs[0].1[0] - pairs[0].1[1]).abs() < 1e-14 && (pairs[1].1[0] + pairs[1].1[1]).abs() < 1e-14);
        assert!(leading(&[0.0; 9], 3, 2)?.iter().all(|(value, _)| *value == 0.0), "a matrix of zeros");
        Ok(())
    }

    /// Q·diag(values)·Qᵀ for some orthogonal Q.
    fn with_eigenvalues(values: &[f64]) -> Vec<f64> {
        let side = values.len();
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut vectors: Vec<Vec<f64>> = (0..side).map(|_| (0..side).map(|_| StandardNormal.sample(&mut rng)).collect()).collect();
        orthonormalise(&mut vectors);
        let entry = |row: usize, column: usize| (0..side).map(|k| values[k] * vectors[k][row] * vectors[k][column]).sum();
        (0..side * side).map(|place| entry(place / side, place % side)).collect()
    }

    /// Values close together, equal ones, and a matrix of low rank, each larger than the subspace.
    #[test]
    fn known_eigenvalues_are_found() -> Result<()> {
        let side = 90;
        for values in [
            (0..side).map(|k| 1.0 / (1.0 + k as f64)).collect::<Vec<_>>(),
            (0..side).map(|k| 1.0 - 0.001 * k as f64).collect(),
            (0..side).map(|k| if k < 4 { 5.0 } else { 1.0 }).collect(),
            (0..side).map(|k| if k < 2 { 1e6 / (1.0 + k as f64) } else { 0.0 }).collect(),
            vec![7.0; side],
        ] {
            let matrix = with_eigenvalues(&values);
            let pairs = leading(&matrix, side, 6)?;
            for (index, (value, vector)) in pairs.iter().enumerate() {
                assert!((value - values[index]).abs() < 1e-10 * values[0], "{value}, expected {}", values[index]);
                let image = multiply(&matrix, std::slice::from_ref(vector)).remove(0);
                let off = image.iter().zip(vector).map(|(image, v)| (image - value * v).abs()).fold(0.0, f64::max);
                assert!(off < 1e-10 * values[0], "{off}");
            }
            for (a, b) in (0..6).flat_map(|a| (0..a).map(move |b| (a, b))) {
                assert!(dot(&pairs[a].1, &pairs[b].1).abs() < 1e-10);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn jacobi_takes_a_matrix_apart(side in 1..7usize, numbers in prop::collection::vec(-5.0..5f64, 49)) {
            let entry = |row: usize, column: usize| numbers[7 * row.min(column) + row.max(column)];
            let matrix: Vec<Vec<f64>> = (0..side).map(|row| (0..side).map(|column| entry(row, column)).collect()).collect();
            let (values, vectors) = jacobi(matrix.clone());
            prop_assert!(values.is_sorted_by(|a, b| a >= b));
            for (row, column) in (0..side).flat_map(|row| (0..side).map(move |column| (row, column))) {
                let again: f64 = (0..side).map(|k| values[k] * vectors[k][row] * vectors[k][column]).sum();
                prop_assert!((again - matrix[row][column]).abs() < 1e-12);
                let unit = f64::from(u8::from(row == column));
                prop_assert!((dot(&vectors[row], &vectors[column]) - unit).abs() < 1e-13);
            }
        }
    }
}
