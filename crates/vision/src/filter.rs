//! Linear filters on pictures and matrices: convolution and correlation with small kernels.
//!
//! True convolution flips the kernel, (u∗h)(i, j) = Σ u(i-k, j-l)·h(k, l); what networks call convolution is correlation,
//! which does not. With a symmetric kernel the two agree.

mod pool;

use std::fmt;
use std::str::FromStr;

pub use pool::{Pool, PoolKind, pool, pool_image};

use crate::{Error, Image, Result};

/// Rows × columns of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// A matrix from its values, row by row.
    ///
    /// # Errors
    /// When a side is 0 or the values are not rows·columns.
    pub fn new(rows: usize, columns: usize, values: Vec<f64>) -> Result<Self> {
        match rows.checked_mul(columns) {
            Some(length) if length > 0 && length == values.len() => Ok(Self { rows, columns, values }),
            _ => Err(Error::Shape(format!("a matrix of {rows}×{columns} does not have {} values", values.len()))),
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The rows.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.columns)
    }

    /// Each number rounded half up to a whole one.
    ///
    /// Sums of decimal fractions fall a little short of a half that they would be by hand, so the last bits are let be.
    #[must_use]
    pub fn rounded(&self) -> Self {
        Self { values: self.values.iter().map(|value| (value + 0.5 + 1e-9 * value.abs().max(1.0)).floor()).collect(), ..*self }
    }

    /// With what stands beyond the border where windows of this many rows and columns reach, and how many rows above and columns on the
    /// left that are.
    pub(crate) fn bordered(&self, rows: usize, columns: usize, border: Border) -> Result<(Self, [usize; 2])> {
        let (top, left) = (border.before(rows), border.before(columns));
        let more = |side: usize| if border == Border::None { 0 } else { side - 1 };
        let (height, width) = (self.rows + more(rows), self.columns + more(columns));
        let mut values = vec![0.0; height * width];
        for (row, line) in values.chunks_exact_mut(width).enumerate() {
            self.write_row(row as isize - top as isize, left, border, line);
        }
        Ok((Self::new(height, width, values)?, [top, left]))
    }

    fn flipped(&self) -> Self {
        Self { values: self.values.iter().rev().copied().collect(), ..*self }
    }

    /// Writes row `row` with what stands left and right of it into `line`, by the rule for the border; it begins `left` places
    /// before the matrix. Rows that are not there are taken by the same rule.
    fn write_row(&self, row: isize, left: usize, border: Border, line: &mut [f64]) {
        let nearest = row.clamp(0, self.rows as isize - 1);
        if row != nearest && border != Border::Edge {
            return line.fill(0.0);
        }
        let values = &self.values[nearest as usize * self.columns..][..self.columns];
        let beyond = |value: f64| if border == Border::Edge { value } else { 0.0 };
        let (before, inside) = line.split_at_mut(left);
        let (inside, after) = inside.split_at_mut(self.columns);
        before.fill(beyond(values[0]));
        inside.copy_from_slice(values);
        after.fill(beyond(values[self.columns - 1]));
    }
}

impl FromStr for Matrix {
    type Err = Error;

    /// Rows on lines of their own or between semicolons, numbers between spaces or commas.
    fn from_str(text: &str) -> Result<Self> {
        let mut values = Vec::new();
        let (mut rows, mut columns) = (0, 0);
        for (line, row) in text.split(['\n', ';']).enumerate() {
            let line = line + 1;
            let before = values.len();
            for (column, number) in row.split([' ', ',', '\t', '\r']).filter(|number| !number.is_empty()).enumerate() {
                let number = number.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(|| Error::Text {
                    line,
                    column: column + 1,
                    reason: format!("`{number}` is no number"),
                })?;
                values.push(number);
            }
            match values.len() - before {
                0 => continue,
                length if rows > 0 && length != columns => {
                    let reason = format!("this row has {length} numbers, those before have {columns}");
                    return Err(Error::Text { line, column: length.min(columns) + 1, reason });
                }
                length => columns = length,
            }
            rows += 1;
        }
        match rows {
            0 => Err(Error::Text { line: 1, column: 1, reason: "there are no numbers".into() }),
            _ => Self::new(rows, columns, values),
        }
    }
}

impl fmt::Display for Matrix {
    /// Columns under one another, as few decimals as needed, at most four.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.values.iter().map(|&value| number(value).len()).max().unwrap_or(0);
        for (index, row) in self.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            for (column, &value) in row.iter().enumerate() {
                let gap = if column > 0 { " " } else { "" };
                write!(f, "{gap}{:>width$}", number(value))?;
            }
        }
        Ok(())
    }
}

/// A number with as few decimals as needed, at most four.
pub(crate) fn number(value: f64) -> String {
    let rounded = format!("{value:.4}");
    let short = rounded.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

/// A filter's kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel(pub Matrix);

/// The names of the kernels that need not be typed.
pub const KERNELS: [&str; 8] = ["identity", "box", "gaussian", "sharpen", "sobel-x", "sobel-y", "laplacian", "emboss"];

/// The widest kernel that a name can ask for.
const WIDEST: usize = 99;

impl FromStr for Kernel {
    type Err = Error;

    /// A name, `box` and `gaussian` also with an odd size behind a colon (`gaussian:5`), or a typed matrix.
    fn from_str(text: &str) -> Result<Self> {
        let (name, size) = match text.split_once(':') {
            Some((name, size)) => (name.trim(), Some(size.trim())),
            None => (text.trim(), None),
        };
        let side = || match size.map_or(Ok(3), str::parse::<usize>) {
            Ok(side) if side % 2 == 1 && side <= WIDEST => Ok(side),
            _ => Err(Error::Setting(format!("a kernel's size is odd and at most {WIDEST}, not `{}`", size.unwrap_or_default()))),
        };
        let fixed = |values: [f64; 9]| match size {
            None => Matrix::new(3, 3, values.to_vec()).map(Self),
            Some(_) => Err(Error::Setting(format!("the kernel {name} has no other size than 3×3"))),
        };
        match name {
            "identity" => fixed([0., 0., 0., 0., 1., 0., 0., 0., 0.]),
            "sharpen" => fixed([0., -1., 0., -1., 5., -1., 0., -1., 0.]),
            "sobel-x" => fixed([-1., 0., 1., -2., 0., 2., -1., 0., 1.]),
            "sobel-y" => fixed([-1., -2., -1., 0., 0., 0., 1., 2., 1.]),
            "laplacian" => fixed([0., 1., 0., 1., -4., 1., 0., 1., 0.]),
            "emboss" => fixed([-2., -1., 0., -1., 1., 1., 0., 1., 2.]),
            "box" => side().and_then(|side| separable(&vec![1.0 / side as f64; side])),
            "gaussian" => side().and_then(|side| separable(&binomial(side))),
            _ if name.starts_with(|first: char| first.is_ascii_alphabetic()) => {
                Err(Error::Setting(format!("there is no kernel `{name}`; type a matrix, or one of {}", KERNELS.join(", "))))
            }
            _ => text.parse().map(Self),
        }
    }
}

/// The kernel whose value at (k, l) is line[k]·line[l].
fn separable(line: &[f64]) -> Result<Kernel> {
    let values = line.iter().flat_map(|a| line.iter().map(move |b| a * b)).collect();
    Matrix::new(line.len(), line.len(), values).map(Kernel)
}

/// A row of Pascal's triangle that adds up to 1: the whole-number Gaussian. 3: ¼ ½ ¼.
fn binomial(side: usize) -> Vec<f64> {
    let mut line = vec![1.0];
    for _ in 1..side {
        let next = (0..=line.len()).map(|at| {
            let left = if at > 0 { line[at - 1] } else { 0.0 };
            let right = line.get(at).copied().unwrap_or(0.0);
            0.5 * (left + right)
        });
        line = next.collect();
    }
    line
}

/// Which way round the kernel goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The kernel is flipped: true convolution.
    Convolve,
    /// The kernel is laid on as it is: what networks compute.
    Correlate,
}

/// What stands beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// Nothing: the result is smaller, by the kernel's side less one.
    None,
    /// Zeros: the result keeps its size.
    Zero,
    /// The nearest value: the result keeps its size.
    Edge,
}

impl Border {
    /// Places before the matrix that the first window of this side covers. With a border the kernel's middle goes over every place; an even
    /// side reaches one place further down or right.
    fn before(self, side: usize) -> usize {
        if self == Self::None { 0 } else { (side - 1) / 2 }
    }
}

impl Kernel {
    /// As it lies on the matrix: flipped by a convolution.
    pub(crate) fn laid_on(&self, operation: Operation) -> Matrix {
        match operation {
            Operation::Convolve => self.0.flipped(),
            Operation::Correlate => self.0.clone(),
        }
    }
}

/// Slides the kernel over the matrix, `stride` places at a time.
///
/// # Errors
/// When the stride is 0 or the kernel is larger than the matrix and there is no border.
pub fn filter(input: &Matrix, kernel: &Kernel, operation: Operation, border: Border, stride: usize) -> Result<Matrix> {
    let kernel = kernel.laid_on(operation);
    if stride == 0 {
        return Err(Error::Setting("the stride is 0, it must be at least 1".into()));
    }
    let (top, left) = (border.before(kernel.rows), border.before(kernel.columns));
    let outputs = |input: usize, side: usize| match border {
        Border::None => input.checked_sub(side).map(|slack| slack / stride + 1),
        Border::Zero | Border::Edge => Some((input - 1) / stride + 1),
    };
    let (Some(rows), Some(columns)) = (outputs(input.rows, kernel.rows), outputs(input.columns, kernel.columns)) else {
        return Err(Error::Shape(format!(
            "a kernel of {}×{} does not fit into {}×{} without a border",
            kernel.rows, kernel.columns, input.rows, input.columns
        )));
    };
    // A row of the input with its border, and sums over its windows one place apart; the stride takes of them what it needs.
    let windows = if border == Border::None { input.columns - kernel.columns + 1 } else { input.columns };
    let mut line = vec![0.0; windows + kernel.columns - 1];
    let mut sums = vec![0.0; windows];
    let mut values = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        sums.fill(0.0);
        for (k, weights) in kernel.iter().enumerate() {
            input.write_row((row * stride + k) as isize - top as isize, left, border, &mut line);
            for (l, weight) in weights.iter().enumerate() {
                sums.iter_mut().zip(&line[l..]).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        values.extend(sums.iter().step_by(stride));
    }
    Matrix::new(rows, columns, values)
}

/// Filters each channel of a picture; values are rounded half up, as [`Matrix::rounded`] does, and cut to 0 … 255.
pub fn filter_image(image: &Image, kernel: &Kernel, operation: Operation, border: Border, stride: usize) -> Result<Image> {
    by_channel(image, |plane| filter(plane, kernel, operation, border, stride))
}

/// Does the same to each channel; values are rounded half up and cut to 0 … 255.
fn by_channel(image: &Image, change: impl Fn(&Matrix) -> Result<Matrix>) -> Result<Image> {
    let planes = (0..image.channels()).map(|channel| Ok(change(&plane(image, channel)?)?.rounded())).collect::<Result<Vec<_>>>()?;
    let (height, width) = planes.first().map_or((0, 0), |plane| (plane.rows, plane.columns));
    let pixels = (0..height * width).flat_map(|at| planes.iter().map(move |plane| plane.values[at].clamp(0.0, 255.0) as u8));
    Image::new(width, height, image.channels(), pixels.collect())
}

/// One channel of a picture, which has it, as a matrix.
pub(crate) fn plane(image: &Image, channel: usize) -> Result<Matrix> {
    let values = image.data()[channel..].iter().step_by(image.channels()).map(|&value| f64::from(value));
    Matrix::new(image.height(), image.width(), values.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The worked example of the course (Szeliski, *Computer Vision*, figure 3.10).
    const SZELISKI: &str = "45 60 98 127 132 133 137 133
        46 65 98 123 126 128 131 133
        47 65 96 115 119 123 135 137
        47 63 91 107 113 122 138 134
        50 59 80 97 110 123 133 134
        49 53 68 83 97 113 128 133
        50 50 58 70 84 102 116 126
        50 50 52 58 69 86 101 120";
    const BLURRED: &str = "69 95 116 125 129 132
        68 92 110 120 126 132
        66 86 104 114 124 132
        62 78 94 108 120 129
        57 69 83 98 112 124
        53 60 71 85 100 114";

    #[test]
    fn the_courses_worked_example() -> Result<()> {
        let kernel: Kernel = "0.1 0.1 0.1; 0.1 0.2 0.1; 0.1 0.1 0.1".parse()?;
        for operation in [Operation::Convolve, Operation::Correlate] {
            let result = filter(&SZELISKI.parse()?, &kernel, operation, Border::None, 1)?;
            assert_eq!(result.rounded(), BLURRED.parse()?);
        }
        let input: Matrix = SZELISKI.parse()?;
        let picture = Image::new(8, 8, 1, input.values.iter().map(|&value| value as u8).collect())?;
        let blurred = filter_image(&picture, &kernel, Operation::Convolve, Border::None, 1)?;
        assert!(blurred.data().iter().map(|&value| f64::from(value)).eq(BLURRED.parse::<Matrix>()?.values));
        Ok(())
    }

    #[test]
    fn convolution_flips_and_correlation_does_not() -> Result<()> {
        let (input, kernel): (Matrix, Kernel) = ("1 2 3\n4 5 6\n7 8 9".parse()?, "1 0 0; 0 0 0; 0 0 0".parse()?);
        let correlated = filter(&input, &kernel, Operation::Correlate, Border::Zero, 1)?;
        let convolved = filter(&input, &kernel, Operation::Convolve, Border::Zero, 1)?;
        assert_eq!(correlated, "0 0 0\n0 1 2\n0 4 5".parse()?);
        assert_eq!(convolved, "5 6 0\n8 9 0\n0 0 0".parse()?);
        assert_eq!(filter(&input, &kernel, Operation::Correlate, Border::Edge, 1)?, "1 1 2\n1 1 2\n4 4 5".parse()?);
        Ok(())
    }

    #[test]
    fn sobel_finds_a_vertical_edge() -> Result<()> {
        let input: Matrix = "0 0 10 10\n0 0 10 10\n0 0 10 10".parse()?;
        assert_eq!(filter(&input, &"sobel-x".parse()?, Operation::Correlate, Border::None, 1)?, "40 40".parse()?);
        assert_eq!(filter(&input, &"sobel-y".parse()?, Operation::Correlate, Border::None, 1)?, "0 0".parse()?);
        Ok(())
    }

    #[test]
    fn strides_skip() -> Result<()> {
        let input: Matrix = "1 2 3 4 5".parse()?;
        assert_eq!(filter(&input, &"1".parse()?, Operation::Correlate, Border::None, 2)?, "1 3 5".parse()?);
        Ok(())
    }

    #[test]
    fn named_kernels_keep_or_remove_a_flat_picture() -> Result<()> {
        let flat = Image::filled(9, 9, 3, 100)?;
        for (name, value) in
            [("identity", 100), ("box", 100), ("box:5", 100), ("gaussian:7", 100), ("sharpen", 100), ("laplacian", 0), ("sobel-x", 0)]
        {
            let filtered = filter_image(&flat, &name.parse()?, Operation::Convolve, Border::Edge, 1)?;
            assert!(filtered.data().iter().all(|&v| v == value), "{name}");
        }
        assert_eq!("gaussian".parse::<Kernel>()?, "0.0625 0.125 0.0625; 0.125 0.25 0.125; 0.0625 0.125 0.0625".parse()?);
        Ok(())
    }

    #[test]
    fn what_is_no_matrix_says_where() {
        for (text, words) in [
            ("", "line 1, column 1: there are no numbers"),
            (" \n ; ", "no numbers"),
            ("1 2\n3", "line 2, column 2: this row has 1 numbers, those before have 2"),
            ("1 2\n3 x", "line 2, column 2: `x` is no number"),
            ("1 NaN", "column 2"),
            ("inf", "no number"),
        ] {
            let error = text.parse::<Matrix>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        for (text, words) in
            [("sobel", "no kernel `sobel`"), ("box:4", "odd"), ("gaussian:0", "odd"), ("box:1001", "at most"), ("sobel-x:5", "3×3")]
        {
            let error = text.parse::<Kernel>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let small = || filter(&"1 2".parse()?, &"box".parse()?, Operation::Convolve, Border::None, 1);
        assert!(small().is_err());
        assert!("1 2".parse().and_then(|m| filter(&m, &"1".parse()?, Operation::Convolve, Border::None, 0)).is_err());
    }

    #[test]
    fn printed_in_columns() -> Result<()> {
        assert_eq!("0 -0.00001".parse::<Matrix>()?.to_string(), "0 0");
        assert_eq!("1 -2.5\n10 0.33333".parse::<Matrix>()?.to_string(), "     1   -2.5\n    10 0.3333");
        Ok(())
    }

    /// The sum of the definition, one place at a time.
    fn place(input: &Matrix, kernel: &Matrix, operation: Operation, border: Border, row: usize, column: usize) -> f64 {
        let at = |row: isize, column: isize| {
            let (r, c) = (row.clamp(0, input.rows as isize - 1), column.clamp(0, input.columns as isize - 1));
            let kept = border == Border::Edge || (r, c) == (row, column);
            if kept { input.values[r as usize * input.columns + c as usize] } else { 0.0 }
        };
        let before = |side: usize| if border == Border::None { 0 } else { (side - 1) / 2 };
        let mut sum = 0.0;
        for k in 0..kernel.rows {
            for l in 0..kernel.columns {
                let (i, j) = (row + k, column + l);
                let weight = match operation {
                    Operation::Correlate => kernel.values[k * kernel.columns + l],
                    Operation::Convolve => kernel.values[(kernel.rows - 1 - k) * kernel.columns + kernel.columns - 1 - l],
                };
                sum += weight * at(i as isize - before(kernel.rows) as isize, j as isize - before(kernel.columns) as isize);
            }
        }
        sum
    }

    proptest! {
        #[test]
        fn every_place_is_the_sum_of_the_definition(sides in (1usize..9, 1usize..9), of_kernel in (1usize..6, 1usize..6), stride in 1usize..4, seed: u8) {
            let numbers = |rows: usize, columns: usize, step: usize| {
                Matrix::new(rows, columns, (0..rows * columns).map(|i| f64::from((i * step + seed as usize) as u8) - 100.0).collect())
            };
            let (input, kernel) = (numbers(sides.0, sides.1, 37)?, numbers(of_kernel.0, of_kernel.1, 91)?);
            for operation in [Operation::Convolve, Operation::Correlate] {
                for border in [Border::None, Border::Zero, Border::Edge] {
                    let fits = border != Border::None || (kernel.rows <= input.rows && kernel.columns <= input.columns);
                    let Ok(output) = filter(&input, &Kernel(kernel.clone()), operation, border, stride) else {
                        prop_assert!(!fits);
                        continue;
                    };
                    prop_assert!(fits);
                    for (row, values) in output.iter().enumerate() {
                        for (column, &value) in values.iter().enumerate() {
                            prop_assert_eq!(value, place(&input, &kernel, operation, border, row * stride, column * stride));
                        }
                    }
                }
            }
        }

        #[test]
        fn printed_and_read_is_the_same(rows in 1usize..5, columns in 1usize..5, seed: i16) {
            let values = (0..rows * columns).map(|i| f64::from((seed as i64 * 31 + i as i64 * 7919) as i16) / 4.0).collect();
            let matrix = Matrix::new(rows, columns, values)?;
            prop_assert_eq!(matrix.to_string().parse::<Matrix>()?, matrix);
        }

        #[test]
        fn filtering_is_linear(shift in -5i32..5) {
            let input: Matrix = SZELISKI.parse()?;
            let shifted = Matrix { values: input.values.iter().map(|v| v + f64::from(shift)).collect(), ..input };
            let kernel = "1 2; 3 -4".parse()?;
            let (a, b) = (filter(&input, &kernel, Operation::Convolve, Border::None, 1)?, filter(&shifted, &kernel, Operation::Convolve, Border::None, 1)?);
            // The kernel adds up to 2.
            prop_assert!(a.values.iter().zip(&b.values).all(|(x, y)| (y - x - 2.0 * f64::from(shift)).abs() < 1e-9));
        }
    }
}
