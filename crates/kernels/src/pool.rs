//! Pooling: each channel on its own. Sizes, padding, ceil mode and divisors are torch's.

mod max;

use std::ops::Range;

use crate::error::{ShapeError, expect, expect_positive, volume};
use crate::parallel::{CHUNK, for_each_pair, for_each_triple};

/// The sizes of a pooling layer; pairs are rows, columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2dShape {
    /// C, channels.
    pub c: usize,
    /// H, rows of the input.
    pub h: usize,
    /// W, columns of the input.
    pub w: usize,
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Pixels added on each side, at most half of the window.
    pub padding: [usize; 2],
    /// Whether a last window that reaches beyond the padded input counts, as long as it begins inside the input or before it.
    pub ceil_mode: bool,
}

impl Pool2dShape {
    /// That the sizes fit one another and every window has at least one pixel of the input.
    ///
    /// # Errors
    /// When a number other than the padding is 0, the padding is more than half of the window, or no window fits.
    pub fn check(&self) -> Result<(), ShapeError> {
        let &Self { c, h, w, kernel, stride, padding, .. } = self;
        expect_positive(&[
            ("the number of channels", c),
            ("the input's height", h),
            ("the input's width", w),
            ("the window's height", kernel[0]),
            ("the window's width", kernel[1]),
            ("the stride of rows", stride[0]),
            ("the stride of columns", stride[1]),
        ])?;
        let output = self.output();
        for (axis, name, input) in [(0, "rows", h), (1, "columns", w)] {
            if padding[axis] > kernel[axis] / 2 {
                return Err(ShapeError::Padding { axis: name, padding: padding[axis], kernel: kernel[axis] });
            }
            if output[axis] == 0 {
                return Err(ShapeError::Window { axis: name, extent: kernel[axis], input, padding: padding[axis] });
            }
        }
        volume(&[c, h, w])?;
        volume(&[c, output[0], output[1]])?;
        volume(&[h.saturating_add(kernel[0]), w.saturating_add(kernel[1])])?;
        if h * w > u32::MAX as usize {
            return Err(ShapeError::TooLarge { shape: vec![h, w] }); // places of maxima are u32
        }
        Ok(())
    }

    /// Rows and columns of the output: ⌊(input + 2·padding - kernel) / stride⌋ + 1; with ceil mode rounded up, less a last
    /// window that would begin in the padding at the far end.
    ///
    /// Of a shape that [`check`](Self::check) refuses it means nothing, and a side may be 0.
    pub fn output(&self) -> [usize; 2] {
        [self.side(self.h, 0), self.side(self.w, 1)]
    }

    fn side(&self, input: usize, axis: usize) -> usize {
        let (kernel, stride, padding) = (self.kernel[axis], self.stride[axis], self.padding[axis]);
        let padded = padding.saturating_mul(2).saturating_add(input);
        let reach = if self.ceil_mode { padded.saturating_add(stride.saturating_sub(1)) } else { padded };
        let Some(steps) = reach.checked_sub(kernel).and_then(|slack| slack.checked_div(stride)) else { return 0 };
        let begins_too_late = self.ceil_mode && steps.saturating_mul(stride) >= input.saturating_add(padding);
        if begins_too_late { steps } else { steps.saturating_add(1) }
    }

    /// Windows of 2×2 pixels side by side, the usual case.
    fn is_2x2(&self) -> bool {
        (self.kernel, self.stride, self.padding, self.ceil_mode) == ([2; 2], [2; 2], [0; 2], false)
    }

    /// The lengths of what maxima are taken of at once, and of their maps: a channel, or small ones that can be taken for one high one.
    fn maxima_together(&self) -> [usize; 2] {
        let channels = if self.is_2x2() && self.h.is_multiple_of(2) { (CHUNK / (self.h * self.w)).max(1) } else { 1 };
        self.planes().map(|plane| channels * plane)
    }

    fn expect_input(&self, what: &'static str, n: usize, values: &[f32]) -> Result<(), ShapeError> {
        expect(what, values, &[n, self.c, self.h, self.w])
    }

    fn expect_output(&self, what: &'static str, n: usize, values: &[f32]) -> Result<(), ShapeError> {
        let [rows, columns] = self.output();
        expect(what, values, &[n, self.c, rows, columns])
    }

    /// Values of one channel, of the input and of the output.
    fn planes(&self) -> [usize; 2] {
        let [rows, columns] = self.output();
        [self.h * self.w, rows * columns]
    }

    /// What the window at a place covers of the input along an axis, and its length with the padding.
    pub(crate) fn span(&self, place: usize, axis: usize) -> (Range<usize>, usize) {
        let (input, padding) = ([self.h, self.w][axis], self.padding[axis]);
        let start = place * self.stride[axis]; // counted from the padding's edge
        let end = (start + self.kernel[axis]).min(input + 2 * padding);
        let inside = start.saturating_sub(padding)..end.saturating_sub(padding).min(input);
        (inside, end - start)
    }

    /// The windows of one channel, row by row.
    fn windows(&self) -> impl Iterator<Item = Window> {
        let shape = *self;
        let [rows, columns] = self.output();
        (0..rows).flat_map(move |row| {
            let (rows, tall) = shape.span(row, 0);
            (0..columns).map(move |column| {
                let (columns, wide) = shape.span(column, 1);
                Window { rows: [rows.start, rows.end], columns: [columns.start, columns.end], padded: tall * wide }
            })
        })
    }
}

/// One window: the rows and columns of the input that it covers (start, end), and its area with the padding.
struct Window {
    rows: [usize; 2],
    columns: [usize; 2],
    padded: usize,
}

impl Window {
    /// Where its rows lie in a plane of this width.
    fn lines(&self, width: usize) -> impl Iterator<Item = Range<usize>> {
        let [start, end] = self.columns;
        (self.rows[0]..self.rows[1]).map(move |row| row * width + start..row * width + end)
    }
}

/// The largest value of each window. Padding counts as -∞, a NaN makes the result NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2d {
    shape: Pool2dShape,
}

impl MaxPool2d {
    /// The plan for a shape.
    ///
    /// # Errors
    /// See [`Pool2dShape::check`].
    pub fn new(shape: Pool2dShape) -> Result<Self, ShapeError> {
        shape.check()?;
        Ok(Self { shape })
    }

    /// The shape that the plan is for.
    pub fn shape(&self) -> &Pool2dShape {
        &self.shape
    }

    /// Rows and columns of the output.
    pub fn output(&self) -> [usize; 2] {
        self.shape.output()
    }

    /// y = the largest value of each window.
    ///
    /// # Shapes
    /// x (N, C, H, W), y (N, C, rows, columns).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward(&self, n: usize, x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
        let shape = &self.shape;
        shape.expect_input("x", n, x)?;
        shape.expect_output("y", n, y)?;
        for_each_pair(x, y, shape.maxima_together(), |x, y| {
            if shape.is_2x2() {
                max::forward_2x2(x, y, shape.w);
            } else {
                max::forward(shape, x, y);
            }
        });
        Ok(())
    }

    /// dx, the gradient to the input: each window passes all of its gradient to its first maximum in reading order (to the
    /// last NaN, if it has any), as in torch. What stands in `dx` is replaced.
    ///
    /// # Shapes
    /// x and dx (N, C, H, W), dy (N, C, rows, columns).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward(&self, n: usize, x: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
        let shape = &self.shape;
        shape.expect_input("x", n, x)?;
        shape.expect_output("dy", n, dy)?;
        shape.expect_input("dx", n, dx)?;
        for_each_triple(x, dy, dx, shape.maxima_together(), |x, dy, dx| {
            if shape.is_2x2() {
                max::backward_2x2(x, dy, dx, shape.w);
            } else {
                max::backward(shape, x, dy, dx);
            }
        });
        Ok(())
    }
}

/// Whether padded zeros count in a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CountPadding {
    /// The divisor is the window's area, as far as it lies in the padded input.
    Include,
    /// The divisor is the number of the input's pixels in the window.
    Exclude,
}

/// The mean of each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool2d {
    shape: Pool2dShape,
    count: CountPadding,
}

impl AvgPool2d {
    /// The plan for a shape.
    ///
    /// # Errors
    /// See [`Pool2dShape::check`].
    pub fn new(shape: Pool2dShape, count: CountPadding) -> Result<Self, ShapeError> {
        shape.check()?;
        Ok(Self { shape, count })
    }

    /// The shape that the plan is for.
    pub fn shape(&self) -> &Pool2dShape {
        &self.shape
    }

    /// Rows and columns of the output.
    pub fn output(&self) -> [usize; 2] {
        self.shape.output()
    }

    fn divisor(&self, window: &Window) -> f32 {
        let inside = (window.rows[1] - window.rows[0]) * (window.columns[1] - window.columns[0]);
        match self.count {
            CountPadding::Include => window.padded as f32,
            CountPadding::Exclude => inside as f32,
        }
    }

    /// y = the mean of each window.
    ///
    /// # Shapes
    /// x (N, C, H, W), y (N, C, rows, columns).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward(&self, n: usize, x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
        let shape = &self.shape;
        shape.expect_input("x", n, x)?;
        shape.expect_output("y", n, y)?;
        for_each_pair(x, y, shape.planes(), |x, y| {
            for (window, y) in shape.windows().zip(y) {
                let sum: f32 = window.lines(shape.w).map(|line| x[line].iter().sum::<f32>()).sum();
                *y = sum / self.divisor(&window);
            }
        });
        Ok(())
    }

    /// dx, the gradient to the input; what stands in `dx` is replaced.
    ///
    /// # Shapes
    /// dy (N, C, rows, columns), dx (N, C, H, W).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward(&self, n: usize, dy: &[f32], dx: &mut [f32]) -> Result<(), ShapeError> {
        let shape = &self.shape;
        shape.expect_output("dy", n, dy)?;
        shape.expect_input("dx", n, dx)?;
        let [plane, map] = shape.planes();
        for_each_pair(dy, dx, [map, plane], |dy, dx| {
            dx.fill(0.0);
            for (window, dy) in shape.windows().zip(dy) {
                let share = dy / self.divisor(&window);
                window.lines(shape.w).for_each(|line| dx[line].iter_mut().for_each(|dx| *dx += share));
            }
        });
        Ok(())
    }
}
