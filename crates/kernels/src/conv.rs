//! Convolution as networks compute it (cross-correlation with a bank of filters), and its gradients.
//!
//! ```text
//! y[o, i, j] = b[o] + Σ over c, r, s of w[o, c, r, s] · x[c, i·stride - padding + r·dilation, j·stride - padding + s·dilation]
//! ```

mod blocked;
mod direct;
mod im2col;

use rayon::prelude::*;

use blocked::{Blocked, BlockedWeights};
use direct::Direct;

use crate::error::{ShapeError, expect, expect_positive, volume};
use crate::linear::Linear;
use crate::parallel::{CHUNK, COST, Scratch, threads_for};
use crate::simd;

/// Tasks that are worth making so that several threads have enough to do, whatever their number.
const TASKS: usize = 16;

/// Floats of all partial sums of a gradient to the weights.
const PARTIAL_SUMS: usize = 1 << 20;

/// The sizes of a convolution; pairs are rows, columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dShape {
    /// C, channels of the input.
    pub c_in: usize,
    /// The number of filters: channels of the output.
    pub c_out: usize,
    /// H, rows of the input.
    pub h: usize,
    /// W, columns of the input.
    pub w: usize,
    /// Rows and columns of a filter.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Zeros added on each side.
    pub padding: [usize; 2],
    /// Pixels from one of the filter's taps to the next.
    pub dilation: [usize; 2],
    /// Channels and filters are split into this many groups that do not see one another.
    pub groups: usize,
}

impl Conv2dShape {
    /// That the sizes fit one another and every slice can be addressed.
    ///
    /// # Errors
    /// When a number other than the padding is 0, channels do not split into groups, or the dilated kernel is larger than
    /// the padded input.
    pub fn check(&self) -> Result<(), ShapeError> {
        let &Self { c_in, c_out, h, w, kernel, stride, padding, dilation, groups } = self;
        expect_positive(&[
            ("the number of input channels", c_in),
            ("the number of filters", c_out),
            ("the input's height", h),
            ("the input's width", w),
            ("the kernel's height", kernel[0]),
            ("the kernel's width", kernel[1]),
            ("the stride of rows", stride[0]),
            ("the stride of columns", stride[1]),
            ("the dilation of rows", dilation[0]),
            ("the dilation of columns", dilation[1]),
            ("the number of groups", groups),
        ])?;
        if !c_in.is_multiple_of(groups) || !c_out.is_multiple_of(groups) {
            return Err(ShapeError::Groups { c_in, c_out, groups });
        }
        let too_large = || ShapeError::TooLarge { shape: vec![c_in, c_out, h, w, kernel[0], kernel[1], padding[0], padding[1]] };
        for (axis, name, input) in [(0, "rows", h), (1, "columns", w)] {
            let span = (kernel[axis] - 1).checked_mul(dilation[axis]).and_then(|span| span.checked_add(1)).ok_or_else(too_large)?;
            let padded = padding[axis].checked_mul(2).and_then(|both| both.checked_add(input)).ok_or_else(too_large)?;
            if span > padded {
                return Err(ShapeError::Window { axis: name, extent: span, input, padding: padding[axis] });
            }
        }
        let [rows, columns] = self.output();
        volume(&[c_in, h, w])?;
        volume(&[c_out, rows, columns])?;
        volume(&[c_out, c_in, kernel[0], kernel[1]])?;
        volume(&[c_in, kernel[0], kernel[1], columns])?;
        volume(&[c_in, h.saturating_add(2 * padding[0]), w.saturating_add(2 * padding[1])])?;
        Ok(())
    }

    /// Rows and columns of the output: ⌊(input + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1.
    ///
    /// Of a shape that [`check`](Self::check) refuses it means nothing, and a side may be 0.
    pub fn output(&self) -> [usize; 2] {
        let side = |input: usize, axis: usize| {
            let span = self.dilation[axis].saturating_mul(self.kernel[axis].saturating_sub(1)).saturating_add(1);
            let padded = self.padding[axis].saturating_mul(2).saturating_add(input);
            padded.checked_sub(span).and_then(|slack| slack.checked_div(self.stride[axis])).map_or(0, |steps| steps.saturating_add(1))
        };
        [side(self.h, 0), side(self.w, 1)]
    }

    /// Taps of one filter over all its channels: the values in a row of the weights.
    pub fn taps(&self) -> usize {
        self.c_in.checked_div(self.groups).unwrap_or(0).saturating_mul(self.kernel[0]).saturating_mul(self.kernel[1])
    }

    /// Whether the filter covers the whole input, so that each output is one value.
    fn covers_input(&self) -> bool {
        self.groups == 1 && self.kernel == [self.h, self.w] && self.padding == [0; 2] && self.dilation == [1; 2]
    }
}

/// The plan for a convolution of one shape: how it is cut and computed. It holds no weights and can be shared by threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv2d {
    shape: Conv2dShape,
    output: [usize; 2],
    forward: Pixels,
    backward_input: Pixels,
    backward_weight: Sums,
}

/// How pixels are computed: those of the output, or of the gradient to the input.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pixels {
    /// The filter covers the input: a fully connected layer.
    Linear(Linear),
    /// Vectors of pixels straight from the image.
    Direct(Direct),
    /// Vectors of filters, by way of maps whose channels lie side by side.
    Blocked(Box<Blocked>),
    /// The input's windows are laid out as a matrix, which is multiplied with the weights.
    Im2col,
}

impl Pixels {
    fn new(shape: Conv2dShape) -> Result<Self, ShapeError> {
        let blocked = || Ok(Blocked::new(shape)?.map(|blocked| Self::Blocked(Box::new(blocked))));
        choose(&shape, Direct::for_pixels(shape).map(Self::Direct), blocked, Self::Im2col)
    }
}

/// How the gradient to the weights is computed, in the same ways.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sums {
    Linear(Linear),
    Direct(Direct),
    Blocked(Box<BlockedWeights>),
    Im2col,
}

impl Sums {
    fn new(shape: Conv2dShape) -> Result<Self, ShapeError> {
        let blocked = || Ok(BlockedWeights::new(shape)?.map(|blocked| Self::Blocked(Box::new(blocked))));
        choose(&shape, Direct::for_weights(shape).map(Self::Direct), blocked, Self::Im2col)
    }
}

/// The faster of two ways, where there are both.
fn choose<T>(
    shape: &Conv2dShape,
    direct: Option<T>,
    blocked: impl Fn() -> Result<Option<T>, ShapeError>,
    neither: T,
) -> Result<T, ShapeError> {
    match direct {
        Some(direct) if !prefers_blocked(shape) => Ok(direct),
        direct => Ok(blocked()?.or(direct).unwrap_or(neither)),
    }
}

/// Whether vectors of filters are better than vectors of pixels: where the way to the other layout and back is short beside
/// the work, or rows fill vectors badly and filters fill them better. As measured.
fn prefers_blocked(shape: &Conv2dShape) -> bool {
    const WORK: usize = 200; // operations a value that is copied
    const FEW: usize = 16;
    let lanes = simd::lanes();
    let filled = |count: usize| count as f64 / count.next_multiple_of(lanes) as f64;
    let [_, columns] = shape.output();
    let work = shape.taps().saturating_mul(2).saturating_mul(shape.c_out) / shape.c_in.saturating_add(shape.c_out);
    let much = work >= WORK && shape.c_in >= FEW && shape.c_out >= FEW;
    much || (filled(columns) < 0.7 && filled(shape.c_out) > filled(columns))
}

impl Conv2d {
    /// Checks the shape and chooses how to compute it.
    ///
    /// # Errors
    /// See [`Conv2dShape::check`].
    pub fn new(shape: Conv2dShape) -> Result<Self, ShapeError> {
        shape.check()?;
        let output = shape.output();
        if shape.covers_input() {
            let linear = Linear::new(shape.taps(), shape.c_out)?;
            let [forward, backward_input] = [(); 2].map(|()| Pixels::Linear(linear));
            return Ok(Self { shape, output, forward, backward_input, backward_weight: Sums::Linear(linear) });
        }
        let backward_input = Direct::turned(&shape).map_or(Ok(Pixels::Im2col), Pixels::new)?;
        Ok(Self { shape, output, forward: Pixels::new(shape)?, backward_input, backward_weight: Sums::new(shape)? })
    }

    /// The shape that the plan is for.
    pub fn shape(&self) -> &Conv2dShape {
        &self.shape
    }

    /// Rows and columns of the output.
    pub fn output(&self) -> [usize; 2] {
        self.output
    }

    /// y = w ⋆ x + bias.
    ///
    /// # Shapes
    /// x (N, C, H, W), w (filters, C / groups, kernel rows, kernel columns), bias (filters), y (N, filters, rows, columns).
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
        self.expect_input("x", n, x)?;
        self.expect_weight("w", w)?;
        self.expect_output("y", n, y)?;
        if let Some(bias) = bias {
            expect("bias", bias, &[self.shape.c_out])?;
        }
        if n == 0 {
            return Ok(());
        }
        match &self.forward {
            Pixels::Linear(linear) => linear.forward(n, x, w, bias, y, scratch)?,
            Pixels::Direct(direct) => direct.forward(n, x, w, bias, y, scratch),
            Pixels::Blocked(blocked) => blocked.forward(n, x, w, bias, y, scratch)?,
            Pixels::Im2col => im2col::forward(&self.shape, n, x, w, bias, y, scratch),
        }
        Ok(())
    }

    /// dx, the gradient to the input; what stands in `dx` is replaced.
    ///
    /// # Shapes
    /// dy (N, filters, rows, columns), w (filters, C / groups, kernel rows, kernel columns), dx (N, C, H, W).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_input(&self, n: usize, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut Scratch) -> Result<(), ShapeError> {
        self.expect_output("dy", n, dy)?;
        self.expect_weight("w", w)?;
        self.expect_input("dx", n, dx)?;
        if n == 0 {
            return Ok(());
        }
        match &self.backward_input {
            Pixels::Linear(linear) => linear.backward_input(n, dy, w, dx, scratch)?,
            Pixels::Direct(direct) => direct.backward_input(n, dy, w, dx, scratch),
            Pixels::Blocked(blocked) => blocked.backward_input(n, dy, w, dx, scratch)?,
            Pixels::Im2col => im2col::backward_input(&self.shape, n, dy, w, dx, scratch),
        }
        Ok(())
    }

    /// dw, the gradient to the weights, summed over the images; what stands in `dw` is replaced.
    ///
    /// # Shapes
    /// x (N, C, H, W), dy (N, filters, rows, columns), dw (filters, C / groups, kernel rows, kernel columns).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_weight(&self, n: usize, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut Scratch) -> Result<(), ShapeError> {
        self.expect_input("x", n, x)?;
        self.expect_output("dy", n, dy)?;
        self.expect_weight("dw", dw)?;
        if n == 0 {
            dw.fill(0.0);
            return Ok(());
        }
        match &self.backward_weight {
            Sums::Linear(linear) => linear.backward_weight(n, x, dy, dw, scratch)?,
            Sums::Direct(direct) => direct.backward_weight(n, x, dy, dw, scratch),
            Sums::Blocked(blocked) => blocked.backward(n, x, dy, dw, scratch)?,
            Sums::Im2col => im2col::backward_weight(&self.shape, n, x, dy, dw, scratch),
        }
        Ok(())
    }

    /// db, the gradient to the bias: dy summed over images, rows and columns; what stands in `db` is replaced.
    ///
    /// # Shapes
    /// dy (N, filters, rows, columns), db (filters).
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn backward_bias(&self, n: usize, dy: &[f32], db: &mut [f32]) -> Result<(), ShapeError> {
        self.expect_output("dy", n, dy)?;
        expect("db", db, &[self.shape.c_out])?;
        let (map, filters) = (self.output[0] * self.output[1], self.shape.c_out);
        let of_filter = |(filter, db): (usize, &mut f32)| {
            *db = dy.chunks_exact(map).skip(filter).step_by(filters).map(simd::sum).sum();
        };
        if threads_for(filters, dy.len()) == 1 {
            db.iter_mut().enumerate().for_each(of_filter);
        } else {
            db.par_iter_mut().enumerate().for_each(of_filter);
        }
        Ok(())
    }

    fn expect_input(&self, what: &'static str, n: usize, values: &[f32]) -> Result<(), ShapeError> {
        expect(what, values, &[n, self.shape.c_in, self.shape.h, self.shape.w])
    }

    fn expect_output(&self, what: &'static str, n: usize, values: &[f32]) -> Result<(), ShapeError> {
        expect(what, values, &[n, self.shape.c_out, self.output[0], self.output[1]])
    }

    fn expect_weight(&self, what: &'static str, values: &[f32]) -> Result<(), ShapeError> {
        let Conv2dShape { c_in, c_out, kernel, groups, .. } = self.shape;
        expect(what, values, &[c_out, c_in / groups, kernel[0], kernel[1]])
    }
}

/// out = the sum of the vectors of its length that `sums` holds, always added in the same order.
fn sum_in_order(sums: &[f32], out: &mut [f32]) {
    let length = out.len();
    let one = |(index, out): (usize, &mut [f32])| {
        let places = index * CHUNK..index * CHUNK + out.len();
        out.copy_from_slice(&sums[places.clone()]);
        for sum in sums.chunks_exact(length).skip(1) {
            simd::add(out, &sum[places.clone()]);
        }
    };
    if threads_for(length.div_ceil(CHUNK), COST * sums.len()) == 1 {
        out.chunks_mut(CHUNK).enumerate().for_each(one);
    } else {
        out.par_chunks_mut(CHUNK).enumerate().for_each(one);
    }
}
