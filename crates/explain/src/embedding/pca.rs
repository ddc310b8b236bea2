//! Principal components (Pearson, "On lines and planes of closest fit to systems of points in space", 1901; Hotelling, 1933).

use candle_core::Tensor;
use rayon::prelude::*;

use super::eigen::leading;
use super::{MOST, Rows, dot};
use crate::{Error, Result};

/// Directions with a smaller share of the first one's variance are rounding.
const LEAST: f64 = 1e-10;

/// M pictures' features of D values, turned: the first coordinate tells the most, each further one the most of what is left.
#[derive(Clone, Debug)]
pub struct Pca {
    /// (D): the mean features, from which components are measured.
    pub mean: Vec<f64>,
    /// (K, D): the directions, of length 1 and orthogonal. The largest loading of each is positive.
    pub components: Vec<Vec<f64>>,
    /// (K): the variance along each, the sum of squares by M - 1; from the largest on.
    pub variances: Vec<f64>,
    /// The variance of all D values together.
    pub variance: f64,
    /// (M, K): the pictures' coordinates.
    pub coordinates: Vec<Vec<f64>>,
}

impl Pca {
    /// (K): the share of all variance that each component explains, 0 … 1.
    pub fn explained(&self) -> Vec<f64> {
        self.variances.iter().map(|variance| variance / self.variance).collect()
    }

    /// (M, 2): the first two coordinates; 0 where the features have fewer directions.
    pub fn places(&self) -> Vec<[f64; 2]> {
        let place = |row: &Vec<f64>| [0, 1].map(|axis| row.get(axis).copied().unwrap_or(0.0));
        self.coordinates.iter().map(place).collect()
    }
}

/// The first `count` principal components of features (M, D); fewer where the features have no more directions, none where all are equal.
/// The same bits for any number of threads.
///
/// # Errors
/// When there are fewer than two pictures, more than [`MOST`] pictures and values, a value is not finite, or no component is asked for.
pub fn pca(features: &Tensor, count: usize) -> Result<Pca> {
    if count == 0 {
        return Err(Error::Setting("0 components, expected at least 1".into()));
    }
    let rows = Rows::of(features, 2)?;
    let side = rows.count().min(rows.length);
    if side > MOST {
        let (pictures, values) = (rows.count(), rows.length);
        return Err(Error::Setting(format!(
            "features of {pictures} pictures with {values} values, expected at most {MOST} of one of them"
        )));
    }
    components(rows, count)
}

/// As [`pca`], of rows that are sound.
pub(super) fn components(rows: Rows, count: usize) -> Result<Pca> {
    let (mean, centred) = centred(rows);
    let (pictures, values) = (centred.count(), centred.length);
    let degrees = (pictures - 1) as f64;
    let variance = dot(&centred.values, &centred.values) / degrees;
    // The covariance of values or of pictures: they have the same eigenvalues, but for zeros.
    let pairs = if values <= pictures {
        leading(&products(&centred.transposed(), degrees), values, count)?
    } else {
        let of_pictures = leading(&products(&centred, degrees), pictures, count)?;
        of_pictures.into_iter().map(|(variance, vector)| (variance, direction(&centred, &vector))).collect()
    };
    let least = LEAST * pairs.first().map_or(0.0, |(largest, _)| *largest);
    let (variances, components): (Vec<f64>, Vec<Vec<f64>>) =
        pairs.into_iter().filter(|(variance, _)| *variance > least).map(|(variance, component)| (variance, signed(component))).unzip();
    let coordinates = centred.iter().map(|row| components.iter().map(|component| dot(row, component)).collect()).collect();
    Ok(Pca { mean, components, variances, variance, coordinates })
}

/// The mean row, and the rows less it. Where a value is always the same, nothing is left of it.
fn centred(mut rows: Rows) -> (Vec<f64>, Rows) {
    let first: Vec<f64> = rows.iter().next().unwrap_or_default().to_vec();
    let mut mean = vec![0.0; rows.length];
    for row in rows.iter() {
        mean.iter_mut().zip(row.iter().zip(&first)).for_each(|(mean, (value, first))| *mean += value - first);
    }
    let count = rows.count() as f64;
    mean.iter_mut().zip(&first).for_each(|(mean, first)| *mean = first + *mean / count);
    for row in rows.values.chunks_exact_mut(rows.length) {
        row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
    }
    (mean, rows)
}

/// The products of all rows with all rows, divided: row by row, symmetric.
fn products(rows: &Rows, divisor: f64) -> Vec<f64> {
    let (count, row) = (rows.count(), |index: usize| &rows.values[index * rows.length..][..rows.length]);
    let mut matrix = vec![0.0; count * count];
    matrix.par_chunks_exact_mut(count).enumerate().for_each(|(index, products)| {
        products.iter_mut().enumerate().skip(index).for_each(|(other, product)| *product = dot(row(index), row(other)) / divisor);
    });
    for (below, above) in (0..count).flat_map(|index| (0..index).map(move |other| (index * count + other, other * count + index))) {
        matrix[below] = matrix[above];
    }
    matrix
}

/// Σ factorsᵢ · rowsᵢ, of length 1.
fn direction(rows: &Rows, factors: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; rows.length];
    for (factor, row) in factors.iter().zip(rows.iter()) {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += factor * value);
    }
    let length = dot(&sum, &sum).sqrt();
    sum.iter().map(|value| if length > 0.0 { value / length } else { 0.0 }).collect()
}

/// The component or its opposite: that whose largest loading is positive, the first of equal ones.
fn signed(component: Vec<f64>) -> Vec<f64> {
    let largest = component.iter().fold(0.0, |largest: f64, loading| largest.max(loading.abs()));
    // Loadings that are equal up to rounding count as equal.
    let first = component.iter().find(|loading| loading.abs() >= (1.0 - 1e-8) * largest);
    let sign = if first.is_some_and(|loading| *loading < 0.0) { -1.0 } else { 1.0 };
    component.into_iter().map(|loading| sign * loading).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;

    fn features(rows: &[Vec<f32>]) -> Tensor {
        Tensor::from_vec(rows.concat(), (rows.len(), rows[0].len()), &Device::Cpu).expect("rows of one length")
    }

    fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
    }

    /// A cross of arms 2·√2 along (1, 1) and √2 along (1, -1), around (10, 20).
    #[test]
    fn a_cross_by_hand() -> Result<()> {
        let cross = [[12.0, 22.0], [8.0, 18.0], [11.0, 19.0], [9.0, 21.0]].map(|row| row.to_vec());
        let found = pca(&features(&cross), 2)?;
        assert_eq!(found.mean, [10.0, 20.0]);
        // Sums of squares 16 and 4, by 3.
        assert!(close(&found.variances, &[16.0 / 3.0, 4.0 / 3.0], 1e-12) && (found.variance - 20.0 / 3.0).abs() < 1e-12);
        assert!(close(&found.explained(), &[0.8, 0.2], 1e-12));
        let half = 0.5f64.sqrt();
        assert!(close(&found.components[0], &[half, half], 1e-12) && close(&found.components[1], &[half, -half], 1e-12));
        let arm = 2f64.sqrt();
        let expected = [[2.0 * arm, 0.0], [-2.0 * arm, 0.0], [0.0, arm], [0.0, -arm]];
        assert!(found.places().iter().zip(&expected).all(|(a, b)| close(a, b, 1e-12)), "{:?}", found.places());
        Ok(())
    }

    /// `x = numpy.array([[(i * j) % 7 + 0.5 * (i == j) for j in range(5)] for i in range(8)], float)`,
    /// `numpy.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / 7`
    #[test]
    fn variances_as_numpy_has_them() -> Result<()> {
        let value = |i: usize, j: usize| ((i * j) % 7) as f32 + if i == j { 0.5 } else { 0.0 };
        let rows: Vec<Vec<f32>> = (0..8).map(|i| (0..5).map(|j| value(i, j)).collect()).collect();
        let found = pca(&features(&rows), 5)?;
        let expected = [12.549_211_92, 4.692_510_84, 2.074_354_48, 1.108_015_77, 0.017_871_27];
        assert!(close(&found.variances, &expected, 1e-8), "{:?}", found.variances);
        Ok(())
    }

    /// More values than pictures, and fewer: Σ (x·c) x / (M - 1) = variance · c over the rows x less their mean.
    #[test]
    fn components_are_eigenvectors_of_the_covariance() -> Result<()> {
        let value =
            |row: usize, column: usize| ((row * row * 31 + column * column * 17 + row * column * 7) % 101) as f32 / (1.0 + column as f32);
        for [pictures, values] in [[60, 130], [130, 60]] {
            let rows: Vec<Vec<f32>> = (0..pictures).map(|row| (0..values).map(|column| value(row, column)).collect()).collect();
            let found = pca(&features(&rows), 5)?;
            assert_eq!(found.components.len(), 5);
            for ((component, variance), index) in found.components.iter().zip(&found.variances).zip(0..) {
                let mut image = vec![0.0; values];
                for (row, coordinates) in rows.iter().zip(&found.coordinates) {
                    let centred: Vec<f64> = row.iter().zip(&found.mean).map(|(value, mean)| f64::from(*value) - mean).collect();
                    assert!((dot(&centred, component) - coordinates[index]).abs() < 1e-9);
                    image.iter_mut().zip(&centred).for_each(|(image, x)| *image += coordinates[index] * x / (pictures - 1) as f64);
                }
                let expected: Vec<f64> = component.iter().map(|loading| variance * loading).collect();
                assert!(close(&image, &expected, 1e-9 * found.variance), "component {index}");
            }
        }
        Ok(())
    }

    #[test]
    fn features_of_few_directions() -> Result<()> {
        // All pictures alike; one value that differs; points on a line.
        let same = pca(&features(&vec![vec![0.1, 1e30, -7.3]; 5]), 2)?;
        assert!(same.components.is_empty() && same.explained().is_empty() && same.places() == [[0.0; 2]; 5]);
        let one = pca(&features(&[vec![0.3, 4.0], vec![0.3, 8.0], vec![0.3, 6.0]]), 2)?;
        assert!(one.components.len() == 1 && close(&one.components[0], &[0.0, 1.0], 1e-12) && close(&one.variances, &[4.0], 1e-12));
        assert!(close(&one.places().concat(), &[-2.0, 0.0, 2.0, 0.0, 0.0, 0.0], 1e-12), "{:?}", one.places());
        let line =
            pca(&features(&(0..6).map(|step| vec![step as f32, 2.0 * step as f32, -2.0 * step as f32, 5.0]).collect::<Vec<_>>()), 3)?;
        assert!(line.components.len() == 1 && (line.explained()[0] - 1.0).abs() < 1e-12);
        assert!(close(&line.components[0], &[1.0 / 3.0, 2.0 / 3.0, -2.0 / 3.0, 0.0], 1e-12), "{:?}", line.components);
        Ok(())
    }

    #[test]
    fn what_cannot_be_is_refused() -> Result<()> {
        assert!(pca(&features(&[vec![1.0], vec![2.0]]), 0).is_err() && pca(&features(&[vec![1.0, 2.0]]), 1).is_err());
        let large = Tensor::zeros((MOST + 1, MOST + 1), candle_core::DType::U8, &Device::Cpu)?;
        let error = pca(&large, 1).unwrap_err().to_string();
        assert!(error.contains("5001 pictures with 5001 values, expected at most 5000"), "{error}");
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// The definition: directions of length 1 that are orthogonal; coordinates without correlation, whose variances fall; what is left when
        /// they are taken away has nothing along them, and no direction with more variance than the last one has.
        #[test]
        fn components_are_what_they_are_defined_to_be(
            pictures in 2..14usize, values in 1..14usize, count in 1..5usize, numbers in prop::collection::vec(-9.0..9f32, 196), offset in -50.0..50f32,
        ) {
            let rows: Vec<Vec<f32>> = numbers.chunks(14).take(pictures).map(|row| row[..values].iter().map(|v| v + offset).collect()).collect();
            let found = pca(&features(&rows), count)?;
            let kept = found.components.len();
            prop_assert!(kept <= count.min(values).min(pictures - 1));
            prop_assert!(found.variances.is_sorted_by(|a, b| a >= b));
            let scale = 1e-8 * found.variance.max(1.0);
            for (a, b) in (0..kept).flat_map(|a| (0..kept).map(move |b| (a, b))) {
                let unit = if a == b { 1.0 } else { 0.0 };
                prop_assert!((dot(&found.components[a], &found.components[b]) - unit).abs() < 1e-8);
                let shared: f64 = found.coordinates.iter().map(|row| row[a] * row[b]).sum::<f64>() / (pictures - 1) as f64;
                prop_assert!((shared - unit * found.variances[a]).abs() < scale, "{} {}", shared, found.variances[a]);
            }
            let rest = |row: &Vec<f32>, coordinates: &Vec<f64>| -> Vec<f64> {
                let along = |index: usize| -> f64 { (0..kept).map(|k| coordinates[k] * found.components[k][index]).sum() };
                (0..values).map(|index| f64::from(row[index]) - found.mean[index] - along(index)).collect()
            };
            let rest: Vec<Vec<f64>> = rows.iter().zip(&found.coordinates).map(|(row, coordinates)| rest(row, coordinates)).collect();
            for row in &rest {
                prop_assert!(found.components.iter().all(|component| dot(row, component).abs() < 1e-7));
            }
            let left: f64 = rest.iter().map(|row| dot(row, row)).sum::<f64>() / (pictures - 1) as f64;
            prop_assert!((left + found.variances.iter().sum::<f64>() - found.variance).abs() < scale);
            if kept == count {
                // The variance of the rest along any direction, here along its own longest row.
                let longest = rest.iter().max_by(|a, b| dot(a, a).total_cmp(&dot(b, b))).expect("a row");
                let length = dot(longest, longest);
                let along: f64 = rest.iter().map(|row| dot(row, longest).powi(2)).sum::<f64>() / (pictures - 1) as f64;
                prop_assert!(length < 1e-12 || along / length <= found.variances[kept - 1] + scale);
            }
        }
    }
}
