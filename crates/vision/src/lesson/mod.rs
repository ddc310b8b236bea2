//! Lessons in pictures: how a convolution and a pool work, place by place, and what they do to a picture.

mod stages;
mod steps;

pub use stages::stages;
pub use steps::steps;

use crate::Result;
use crate::filter::{Border, Kernel, Matrix, Operation, Pool, filter, pool};

/// A convolution, and a pool after it where there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// The kernel.
    pub kernel: Kernel,
    /// Whether it is flipped.
    pub operation: Operation,
    /// What stands beyond the border.
    pub border: Border,
    /// Places from one window to the next.
    pub stride: usize,
    /// What comes after it.
    pub pool: Option<Pool>,
    /// Whether results are rounded half up to whole numbers.
    pub round: bool,
}

impl Lesson {
    /// The filtered matrix.
    ///
    /// # Errors
    /// As [`filter`].
    pub fn filtered(&self, input: &Matrix) -> Result<Matrix> {
        let output = filter(input, &self.kernel, self.operation, self.border, self.stride)?;
        Ok(if self.round { output.rounded() } else { output })
    }

    /// The filtered and pooled matrix; the filtered one where there is no pool.
    ///
    /// # Errors
    /// As [`filter`] and [`fn@pool`].
    pub fn output(&self, input: &Matrix) -> Result<Matrix> {
        let filtered = self.filtered(input)?;
        match self.pool {
            None => Ok(filtered),
            Some(windows) => pool(&filtered, windows).map(|pooled| if self.round { pooled.rounded() } else { pooled }),
        }
    }

    /// What the border is called.
    fn border_words(&self) -> &'static str {
        match self.border {
            Border::None => "no padding",
            Border::Zero => "padded with zeros",
            Border::Edge => "padded with the nearest values",
        }
    }
}

/// The arithmetic of one side's length, (W - F + P)/S + 1 with P the padding on both sides together, and the floor where the stride does not
/// divide: `(9 - 3 + 2·0)/4 + 1 = 2.5 → 2`. The window fits.
fn arithmetic(input: usize, window: usize, padding: usize, stride: usize) -> String {
    let both = if padding.is_multiple_of(2) { format!("2·{}", padding / 2) } else { padding.to_string() };
    let slack = input + padding - window;
    let exact = slack as f64 / stride as f64 + 1.0;
    let floor = if slack.is_multiple_of(stride) { String::new() } else { format!(" → {}", slack / stride + 1) };
    format!("({input} - {window} + {both})/{stride} + 1 = {}{floor}", crate::filter::number(exact))
}

/// The arithmetic of rows and columns, in one line where they are alike.
fn arithmetic_of_both(input: [usize; 2], window: [usize; 2], padded: bool, stride: usize) -> Vec<String> {
    let [rows, columns] = [0, 1].map(|axis| arithmetic(input[axis], window[axis], if padded { window[axis] - 1 } else { 0 }, stride));
    match rows == columns {
        true => vec![rows],
        false => vec![format!("rows {rows}"), format!("columns {columns}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_of_sizes() {
        assert_eq!(arithmetic(9, 3, 0, 4), "(9 - 3 + 2·0)/4 + 1 = 2.5 → 2");
        assert_eq!(arithmetic(8, 3, 2, 1), "(8 - 3 + 2·1)/1 + 1 = 8");
        assert_eq!(arithmetic(8, 2, 1, 1), "(8 - 2 + 1)/1 + 1 = 8");
        assert_eq!(arithmetic_of_both([4, 4], [2, 2], false, 2), ["(4 - 2 + 2·0)/2 + 1 = 2"]);
        assert_eq!(arithmetic_of_both([4, 6], [2, 2], false, 2).len(), 2);
    }
}
