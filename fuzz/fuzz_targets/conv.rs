//! Convolutions of small shapes, forward and backward, in all layouts, against the plain loops in f64.
#![no_main]

#[path = "../../crates/kernels/tests/common/mod.rs"]
mod common;

use std::ops::RangeInclusive;

use arbitrary::{Arbitrary, Unstructured};
use cirio_kernels::abreast;
use cirio_kernels::blocked::{self, Epilogue, Filters, Maps, Method, Packed, Weights};
use cirio_kernels::{Activation, Conv2d, Conv2dShape, Scratch, ShapeError, reference};
use common::{assert_close, double, random, unwritten};
use half::f16;
use libfuzzer_sys::{Corpus, fuzz_target};

/// Most products of a case: what the plain loops do in some milliseconds.
const PRODUCTS: usize = 1 << 18;

/// A case: a shape that may not be, and all that is chosen beside it.
#[derive(Debug)]
struct Case {
    shape: Conv2dShape,
    n: usize,
    /// Whether the input of the blocked convolution is one channel after the other.
    planar: bool,
    /// What the margins of input, output and shortcut are larger than needed.
    margins: [[usize; 2]; 3],
    shortcut: bool,
    relu: bool,
    bias: bool,
    seed: u64,
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let (c_in, c_out) = (u.int_in_range(1..=40)?, u.int_in_range(1..=80)?);
        let mut pair = |range: RangeInclusive<usize>| Ok([u.int_in_range(range.clone())?, u.int_in_range(range)?]);
        let [h, w] = pair(1..=12)?;
        let (kernel, stride, padding, dilation) = (pair(1..=5)?, pair(1..=3)?, pair(0..=3)?, pair(1..=3)?);
        let margins = [pair(0..=2)?, pair(0..=2)?, pair(0..=2)?];
        let groups = if u.ratio(1, 3)? { u.int_in_range(1..=40)? } else { 1 };
        let [c_in, c_out] = [c_in, c_out].map(|channels| (channels / groups).max(1) * groups);
        let shape = Conv2dShape { c_in, c_out, h, w, kernel, stride, padding, dilation, groups };
        // Winograd's way needs all of this at once.
        let side = if u.ratio(1, 3)? { 5 } else { 3 };
        let simple = Conv2dShape { kernel: [side; 2], stride: [1; 2], dilation: [1; 2], ..shape };
        Ok(Self {
            shape: if u.ratio(1, 3)? { simple } else { shape },
            n: u.int_in_range(0..=3)?,
            planar: u.arbitrary()?,
            margins,
            shortcut: u.arbitrary()?,
            relu: u.arbitrary()?,
            bias: u.arbitrary()?,
            seed: u64::from(u.arbitrary::<u32>()?),
        })
    }

    /// Shorter inputs are refused: what they leave out would be 0, the number of images too.
    fn size_hint(_: usize) -> (usize, Option<usize>) {
        (30, Some(31))
    }
}

/// Random inputs of a case, and what comes back to it.
struct Values {
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    /// The gradient to the output; the shortcut of the blocked convolution.
    dy: Vec<f32>,
}

impl Case {
    fn products(&self) -> usize {
        let [rows, columns] = self.shape.output();
        self.n * self.shape.c_out * rows * columns * self.shape.taps()
    }

    fn values(&self) -> Values {
        let Conv2dShape { c_in, c_out, h, w, .. } = self.shape;
        let [rows, columns] = self.shape.output();
        Values {
            x: random(self.seed, self.n * c_in * h * w),
            w: random(self.seed + 1, c_out * self.shape.taps()),
            bias: random(self.seed + 2, c_out),
            dy: random(self.seed + 3, self.n * c_out * rows * columns),
        }
    }

    /// Forward and backward as in training.
    fn plain(&self, values: &Values, y: &[f64]) -> Result<(), ShapeError> {
        let (shape, n, scratch) = (&self.shape, self.n, &mut Scratch::new());
        let Values { x, w, bias, dy } = values;
        let conv = Conv2d::new(*shape)?;
        let [mut to_y, mut dx, mut dw, mut db] = [dy, x, w, bias].map(|like| unwritten(like.len()));
        conv.forward(n, x, w, self.bias.then_some(bias), &mut to_y, scratch)?;
        conv.backward_input(n, dy, w, &mut dx, scratch)?;
        conv.backward_weight(n, x, dy, &mut dw, scratch)?;
        conv.backward_bias(n, dy, &mut db)?;

        let (x, w, dy) = (double(x), double(w), double(dy));
        let pixels = dy.len() / shape.c_out;
        assert_close("y", &to_y, y, shape.taps());
        let terms = shape.c_out / shape.groups * shape.kernel[0] * shape.kernel[1];
        assert_close("dx", &dx, &reference::conv2d_backward_input(shape, n, &dy, &w), terms);
        assert_close("dw", &dw, &reference::conv2d_backward_weight(shape, n, &x, &dy), pixels);
        assert_close("db", &db, &reference::conv2d_backward_bias(shape, &dy), pixels);
        Ok(())
    }

    /// Input, output and shortcut of the blocked convolution.
    fn layouts(&self) -> Result<[Maps; 3], ShapeError> {
        let Conv2dShape { c_in, c_out, h, w, padding, .. } = self.shape;
        let [rows, columns] = self.shape.output();
        let input = if self.planar { Maps::planar([c_in, h, w])? } else { Maps::blocked([c_in, h, w])? };
        let output = Maps::blocked([c_out, rows, columns])?;
        let [more, around_output, around_shortcut] = self.margins;
        let margin = [padding[0] + more[0], padding[1] + more[1]];
        Ok([input.with_margin(margin)?, output.with_margin(around_output)?, output.with_margin(around_shortcut)?])
    }

    /// Forward as for inference, if the method can do it.
    fn blocked(&self, values: &Values, y: &[f64], method: Method) -> Result<(), ShapeError> {
        let [input, output, added] = self.layouts()?;
        let Some(conv) = blocked::Conv2d::new(self.shape, [input, output, added], method)? else { return Ok(()) };
        let [x, shortcut] = [(&values.x, input), (&values.dy, added)].map(|(values, layout)| self.copy(values, layout));
        let mut packed = unwritten(conv.packed());
        conv.pack(&Weights::new(&values.w, &self.shape)?, &mut packed)?;
        let mut bias = vec![0.0; conv.packed_bias()];
        if self.bias {
            bias[..values.bias.len()].copy_from_slice(&values.bias);
        }
        let activation = if self.relu { Activation::Relu } else { Activation::Identity };
        let run = |weights| {
            let (filters, mut y) = (Filters { weights, bias: &bias }, vec![0.0; self.n * output.image()]);
            let epilogue = Epilogue { add: self.shortcut.then_some((&added, shortcut.as_slice())), activation };
            conv.forward(self.n, &x, filters, epilogue, &mut y, &mut Scratch::new()).map(|()| y)
        };

        let got = run(Packed::Full(&packed))?;
        let plain = Maps::planar(output.size())?;
        let mut result = unwritten(self.n * plain.image());
        output.copy(self.n, &got, &plain, &mut result)?;
        assert_eq!(got, self.copy(&result, output), "margins and channels that do not exist stay 0");
        let after = |(&y, &shortcut): (&f64, &f32)| {
            let y = if self.shortcut { y + f64::from(shortcut) } else { y };
            if self.relu { y.max(0.0) } else { y }
        };
        let exact: Vec<f64> = y.iter().zip(&values.dy).map(after).collect();
        // Winograd's patches and sums are some times larger than the values, and so are their rounding errors.
        let terms = if matches!(method, Method::Winograd(_)) { 40 * self.shape.taps() } else { self.shape.taps() };
        assert_close(&format!("{method:?}"), &result, &exact, terms);
        if !self.shortcut {
            self.pooled(method, &x, Filters { weights: Packed::Full(&packed), bias: &bias }, activation, &result)?;
        }

        let half: Vec<f16> = packed.iter().map(|&weight| f16::from_f32(weight)).collect();
        let rounded: Vec<f32> = half.iter().map(|weight| weight.to_f32()).collect();
        assert_eq!(run(Packed::Half(&half))?, run(Packed::Full(&rounded))?, "{method:?}: weights in half precision are as exact");
        Ok(())
    }

    /// With the images side by side, where they can be.
    fn abreast(&self, values: &Values, y: &[f64]) -> Result<(), ShapeError> {
        let Conv2dShape { c_in, c_out, h, w, padding, .. } = self.shape;
        let ([rows, columns], [more, around_output, _]) = (self.shape.output(), self.margins);
        let input = abreast::maps([c_in, h, w])?.with_margin([padding[0] + more[0], padding[1] + more[1]])?;
        let output = abreast::maps([c_out, rows, columns])?.with_margin(around_output)?;
        let Some(conv) = abreast::Conv2d::new(self.shape, [input, output])? else { return Ok(()) };
        if self.n > abreast::images() {
            return Ok(());
        }
        let mut x = unwritten(input.image());
        abreast::lay_abreast(self.n, &values.x, &input, &mut x)?;
        let (mut side_by_side, mut result) = (unwritten(output.image()), unwritten(y.len()));
        let activation = if self.relu { Activation::Relu } else { Activation::Identity };
        conv.forward(&x, &values.w, self.bias.then_some(&values.bias), activation, &mut side_by_side)?;
        abreast::lay_apart(self.n, &side_by_side, &output, &mut result)?;
        let exact: Vec<f64> = y.iter().map(|&y| if self.relu { y.max(0.0) } else { y }).collect();
        assert_close("abreast", &result, &exact, self.shape.taps());
        Ok(())
    }

    /// With the pool behind, if the method can do it: the largest values of the squares of what it gives without.
    fn pooled(&self, method: Method, x: &[f32], filters: Filters, activation: Activation, apart: &[f32]) -> Result<(), ShapeError> {
        let [input, output, _] = self.layouts()?;
        let [channels, rows, columns] = output.size();
        let Ok(pooled) = Maps::blocked([channels, rows / 2, columns / 2]) else { return Ok(()) };
        let pooled = pooled.with_margin(output.margin())?;
        let Some(conv) = blocked::Conv2d::pooled(self.shape, [input, pooled], method)? else { return Ok(()) };
        let mut y = vec![0.0; self.n * pooled.image()];
        conv.forward(self.n, x, filters, Epilogue { add: None, activation }, &mut y, &mut Scratch::new())?;
        let squares = |plane: &[f32]| -> Vec<f32> {
            let largest = |row: usize, column: usize| {
                let corner = 2 * row * columns + 2 * column;
                [0, 1, columns, columns + 1].into_iter().fold(f32::NEG_INFINITY, |largest, step| largest.max(plane[corner + step]))
            };
            (0..rows / 2)
                .flat_map(|row| (0..columns / 2).map(move |column| (row, column)))
                .map(|(row, column)| largest(row, column))
                .collect()
        };
        let expected: Vec<f32> = apart.chunks_exact(rows * columns).flat_map(squares).collect();
        assert_eq!(y, self.copy(&expected, pooled), "{method:?} with the pool behind");
        Ok(())
    }

    /// Maps of one channel after the other in another layout.
    fn copy(&self, values: &[f32], layout: Maps) -> Vec<f32> {
        let mut to = unwritten(self.n * layout.image());
        Maps::planar(layout.size()).and_then(|plain| plain.copy(self.n, values, &layout, &mut to)).expect("the same size");
        to
    }
}

fuzz_target!(|case: Case| -> Corpus {
    if case.shape.check().is_err() || case.products() > PRODUCTS {
        return Corpus::Reject;
    }
    let values = case.values();
    let bias = case.bias.then(|| double(&values.bias));
    let y = reference::conv2d(&case.shape, case.n, &double(&values.x), &double(&values.w), bias.as_deref());
    case.plain(&values, &y).expect("a shape that can be");
    for method in [Method::Direct, Method::Winograd(2), Method::Winograd(4), Method::Depthwise, Method::Merged] {
        case.blocked(&values, &y, method).expect("a shape that can be");
    }
    case.abreast(&values, &y).expect("a shape that can be");
    Corpus::Keep
});
