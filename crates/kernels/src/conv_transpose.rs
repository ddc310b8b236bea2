//! Transposed convolution: each pixel of the input adds a copy of the filters, times itself, to the output. It is the gradient of a
//! convolution to its input, so that this convolution's three passes are its own, in another order.
//!
//! ```text
//! y[o, i·stride - padding + r·dilation, j·stride - padding + s·dilation] += x[c, i, j] · w[c, o, r, s],  and + bias[o] everywhere
//! ```

use crate::batch_norm::ScaleShift;
use crate::conv::{Conv2d, Conv2dShape};
use crate::error::{ShapeError, expect, expect_positive};
use crate::parallel::{COST, Scratch, for_each_piece};

/// The sizes of a transposed convolution; pairs are rows, columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvTranspose2dShape {
    /// C, channels of the input.
    pub c_in: usize,
    /// Channels of the output.
    pub c_out: usize,
    /// H, rows of the input.
    pub h: usize,
    /// W, columns of the input.
    pub w: usize,
    /// Rows and columns of a filter.
    pub kernel: [usize; 2],
    /// Pixels of the output from one pixel of the input to the next.
    pub stride: [usize; 2],
    /// Pixels of the output that are cut off on each side.
    pub padding: [usize; 2],
    /// Pixels that the output has more at its far ends; less than the stride.
    pub output_padding: [usize; 2],
    /// Pixels from one of a filter's taps to the next.
    pub dilation: [usize; 2],
    /// Input and output channels are split into this many groups that do not see one another.
    pub groups: usize,
}

impl ConvTranspose2dShape {
    /// That the sizes fit one another and every slice can be addressed.
    ///
    /// # Errors
    /// When a number other than the paddings is 0, channels do not split into groups, the output would have no pixel, or the output
    /// padding is not less than the stride.
    pub fn check(&self) -> Result<(), ShapeError> {
        let &Self { c_in, c_out, h, w, stride, output_padding, groups, .. } = self;
        let [rows, columns] = self.output();
        expect_positive(&[
            ("the number of groups", groups),
            ("the input's height", h),
            ("the input's width", w),
            ("the stride of rows", stride[0]),
            ("the stride of columns", stride[1]),
            ("the output's height", rows),
            ("the output's width", columns),
        ])?;
        if !c_in.is_multiple_of(groups) || !c_out.is_multiple_of(groups) {
            return Err(ShapeError::Groups { c_in, c_out, groups });
        }
        for (axis, name) in [(0, "rows"), (1, "columns")] {
            if output_padding[axis] >= stride[axis] {
                return Err(ShapeError::OutputPadding { axis: name, padding: output_padding[axis], stride: stride[axis] });
            }
        }
        self.adjoint().check()
    }

    /// The convolution from the output to the input.
    fn adjoint(&self) -> Conv2dShape {
        let &Self { c_in, c_out, kernel, stride, padding, dilation, groups, .. } = self;
        let [h, w] = self.output();
        Conv2dShape { c_in: c_out, c_out: c_in, h, w, kernel, stride, padding, dilation, groups }
    }

    /// Rows and columns of the output: (input - 1)·stride - 2·padding + dilation·(kernel - 1) + output padding + 1.
    ///
    /// A side that would be less than 1, or more than can be counted, is 0.
    pub fn output(&self) -> [usize; 2] {
        let side = |input: usize, axis: usize| {
            let steps = input.checked_sub(1)?.checked_mul(self.stride[axis])?;
            let span = self.kernel[axis].checked_sub(1)?.checked_mul(self.dilation[axis])?.checked_add(1)?;
            let whole = steps.checked_add(span)?.checked_add(self.output_padding[axis])?;
            whole.checked_sub(self.padding[axis].checked_mul(2)?)
        };
        [side(self.h, 0).unwrap_or(0), side(self.w, 1).unwrap_or(0)]
    }
}

/// The plan for a transposed convolution of one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTranspose2d {
    shape: ConvTranspose2dShape,
    adjoint: Conv2d,
}

impl ConvTranspose2d {
    /// Checks the shape and chooses how to compute it.
    ///
    /// # Errors
    /// See [`ConvTranspose2dShape::check`].
    pub fn new(shape: ConvTranspose2dShape) -> Result<Self, ShapeError> {
        shape.check()?;
        Ok(Self { shape, adjoint: Conv2d::new(shape.adjoint())? })
    }

    /// The shape that the plan is for.
    pub fn shape(&self) -> &ConvTranspose2dShape {
        &self.shape
    }

    /// Rows and columns of the output.
    pub fn output(&self) -> [usize; 2] {
        self.shape.output()
    }

    /// y from x.
    ///
    /// # Shapes
    /// x (N, C, H, W), w (C, output channels / groups, kernel rows, kernel columns), bias (output channels), y (N, output channels, rows,
    /// columns).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward(
        &self,
        n: usize,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), ShapeError> {
        let (c_out, [rows, columns]) = (self.shape.c_out, self.output());
        if let Some(bias) = bias {
            expect("bias", bias, &[c_out])?;
        }
        self.adjoint.backward_input(n, x, w, y, scratch)?;
        if let Some(bias) = bias {
            let operations = COST * y.len();
            for_each_piece(
                y,
                rows * columns,
                operations,
                #[inline(always)]
                |index, map| map.iter_mut().for_each(|y| *y += bias[index % c_out]),
            );
        }
        Ok(())
    }

    /// dx, the gradient to the input; what stands in `dx` is replaced.
    ///
    /// # Shapes
    /// As for [`forward`](Self::forward): dy like y, dx like x.
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_input(&self, n: usize, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut Scratch) -> Result<(), ShapeError> {
        self.adjoint.forward(n, dy, w, None, dx, scratch)
    }

    /// dw, the gradient to the weights, summed over the images; what stands in `dw` is replaced.
    ///
    /// # Shapes
    /// As for [`forward`](Self::forward): dy like y, dw like w.
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_weight(&self, n: usize, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut Scratch) -> Result<(), ShapeError> {
        self.adjoint.backward_weight(n, dy, x, dw, scratch)
    }

    /// db, the gradient to the bias: dy summed over images, rows and columns; what stands in `db` is replaced.
    ///
    /// # Shapes
    /// dy (N, output channels, rows, columns), db (output channels).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_bias(&self, n: usize, dy: &[f32], db: &mut [f32]) -> Result<(), ShapeError> {
        let [rows, columns] = self.output();
        ScaleShift::new(self.shape.c_out, rows * columns)?.backward_bias(n, dy, db)
    }
}
