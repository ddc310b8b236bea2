//! The arithmetic of sizes: (W - F + 2P)/S + 1.
//!
//! W is the input's side, F the kernel's, P the padding on each side, S the stride. With dilation D the kernel
//! covers D·(F-1)+1 pixels.

use std::fmt;

use crate::{Error, Result};

/// One side of a sliding window over an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// W, the input's side in pixels.
    pub input: usize,
    /// F, the kernel's side.
    pub kernel: usize,
    /// S, pixels from one window to the next.
    pub stride: usize,
    /// P, pixels added on each of the two sides.
    pub padding: usize,
    /// D, the distance between the kernel's taps; 1 when they touch.
    pub dilation: usize,
}

/// The output's side and what the stride leaves over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The output's side: the floor of the formula.
    pub output: usize,
    /// Rows (or columns) of the padded input at the far end that no window reaches; 0 when the stride divides.
    pub unused: usize,
}

impl Window {
    /// The pixels that the kernel spans: D·(F-1)+1.
    pub fn extent(&self) -> Option<usize> {
        self.kernel.checked_sub(1)?.checked_mul(self.dilation)?.checked_add(1)
    }

    /// The output's side.
    ///
    /// # Errors
    /// When kernel, stride or dilation is 0, when a number is beyond the machine's range, or when the kernel is larger
    /// than the padded input.
    pub fn fit(&self) -> Result<Fit> {
        for (name, value) in [("kernel", self.kernel), ("stride", self.stride), ("dilation", self.dilation)] {
            if value == 0 {
                return Err(Error::Size(format!("the {name} is 0, it must be at least 1")));
            }
        }
        let too_large = || Error::Size(format!("{self} is beyond this machine's numbers"));
        let padded = self.padding.checked_mul(2).and_then(|p| p.checked_add(self.input)).ok_or_else(too_large)?;
        let extent = self.extent().ok_or_else(too_large)?;
        let Some(slack) = padded.checked_sub(extent) else {
            return Err(Error::Size(format!(
                "a kernel of {extent} pixels does not fit into {padded} (input {} with padding {} on both sides)",
                self.input, self.padding
            )));
        };
        Ok(Fit { output: slack / self.stride + 1, unused: slack % self.stride })
    }

    /// The formula's value before the floor, e.g. 2.5.
    pub fn exact(&self) -> Result<f64> {
        let Fit { output, unused } = self.fit()?;
        Ok(output as f64 + unused as f64 / self.stride as f64)
    }
}

impl fmt::Display for Window {
    /// The formula with its numbers: `(9 - 3 + 2·0)/4 + 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, kernel, stride, padding, dilation } = self;
        match dilation {
            1 => write!(f, "({input} - {kernel} + 2·{padding})/{stride} + 1"),
            _ => write!(f, "({input} - ({dilation}·({kernel} - 1) + 1) + 2·{padding})/{stride} + 1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(input: usize, kernel: usize, stride: usize, padding: usize) -> Window {
        Window { input, kernel, stride, padding, dilation: 1 }
    }

    #[test]
    fn the_courses_examples() -> Result<()> {
        assert_eq!(window(9, 3, 2, 0).fit()?, Fit { output: 4, unused: 0 });
        assert_eq!(window(9, 3, 1, 1).fit()?, Fit { output: 9, unused: 0 });
        assert_eq!(window(32, 5, 1, 2).fit()?, Fit { output: 32, unused: 0 });
        assert_eq!(window(9, 3, 4, 0).fit()?, Fit { output: 2, unused: 2 });
        assert_eq!(window(9, 3, 4, 0).exact()?, 2.5);
        assert_eq!(window(9, 3, 4, 0).to_string(), "(9 - 3 + 2·0)/4 + 1");
        Ok(())
    }

    #[test]
    fn dilation_spreads_the_kernel() -> Result<()> {
        let window = Window { dilation: 2, ..window(9, 3, 1, 0) };
        assert_eq!(window.fit()?.output, 5);
        Ok(())
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        for bad in [window(9, 0, 1, 0), window(9, 3, 0, 0), window(2, 3, 1, 0), window(usize::MAX, 3, 1, usize::MAX)] {
            assert!(bad.fit().is_err(), "{bad}");
        }
        let huge = Window { dilation: usize::MAX, ..window(9, 3, 1, 0) };
        assert!(huge.fit().is_err());
    }
}
