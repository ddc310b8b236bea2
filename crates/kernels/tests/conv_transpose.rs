//! Transposed convolution against the plain loops and finite differences, over a sweep of shapes.

mod common;

use cirio_kernels::{ConvTranspose2d, ConvTranspose2dShape, Scratch, ShapeError, reference};
use common::{assert_close, assert_slope, double, inner, random, same_on_any_threads, unwritten};
use proptest::prelude::*;

/// Everything that the kernel computes from random values: y, dx, dw, db; and these values: x, w, bias, dy.
fn kernel(shape: ConvTranspose2dShape, n: usize, seed: u64) -> Result<[[Vec<f32>; 4]; 2], ShapeError> {
    let ConvTranspose2dShape { c_in, c_out, h, w, kernel, groups, .. } = shape;
    let [rows, columns] = shape.output();
    let x = random(seed, n * c_in * h * w);
    let weight = random(seed + 1, c_in * c_out / groups * kernel[0] * kernel[1]);
    let (bias, dy) = (random(seed + 2, c_out), random(seed + 3, n * c_out * rows * columns));
    let plan = ConvTranspose2d::new(shape)?;
    let (mut y, mut dx, mut dw, mut db) = (unwritten(dy.len()), unwritten(x.len()), unwritten(weight.len()), unwritten(c_out));
    let mut scratch = Scratch::new();
    plan.forward(n, &x, &weight, Some(&bias), &mut y, &mut scratch)?;
    plan.backward_input(n, &dy, &weight, &mut dx, &mut scratch)?;
    plan.backward_weight(n, &x, &dy, &mut dw, &mut scratch)?;
    plan.backward_bias(n, &dy, &mut db)?;
    Ok([[y, dx, dw, db], [x, weight, bias, dy]])
}

fn check(shape: ConvTranspose2dShape, n: usize, seed: u64) -> Result<(), ShapeError> {
    let [[y, dx, dw, db], [x, w, bias, dy]] = kernel(shape, n, seed)?;
    let terms = shape.c_in / shape.groups * shape.kernel[0] * shape.kernel[1];
    let exact = reference::conv_transpose2d(&shape, n, &double(&x), &double(&w), Some(&double(&bias)));
    assert_close("y", &y, &exact, terms);
    let loss = |x: &[f64], w: &[f64], bias: &[f64]| inner(&reference::conv_transpose2d(&shape, n, x, w, Some(bias)), &double(&dy));
    let (x64, w64, bias64) = (double(&x), double(&w), double(&bias));
    assert_slope("dx", &dx, &x, 0.5, |x| loss(x, &w64, &bias64));
    assert_slope("dw", &dw, &w, 0.5, |w| loss(&x64, w, &bias64));
    assert_slope("db", &db, &bias, 0.5, |bias| loss(&x64, &w64, bias));
    Ok(())
}

const MASKS: ConvTranspose2dShape = ConvTranspose2dShape {
    c_in: 20,
    c_out: 12,
    h: 7,
    w: 7,
    kernel: [2; 2],
    stride: [2; 2],
    padding: [0; 2],
    output_padding: [0; 2],
    dilation: [1; 2],
    groups: 1,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_sweep_of_shapes(
        (groups, c_in, c_out, n) in (1usize..4, 1usize..5, 1usize..5, 0usize..4),
        (h, w) in (1usize..8, 1usize..12),
        (kernel, stride) in (prop::array::uniform2(1usize..5), prop::array::uniform2(1usize..4)),
        (padding, dilation, output_padding) in (prop::array::uniform2(0usize..3), prop::array::uniform2(1usize..3), prop::array::uniform2(0usize..3)),
        seed in 0u64..1000,
    ) {
        let (c_in, c_out) = (c_in * groups, c_out * groups);
        let shape = ConvTranspose2dShape { c_in, c_out, h, w, kernel, stride, padding, output_padding, dilation, groups };
        let fits = (0..2).all(|axis| output_padding[axis] < stride[axis]) && !shape.output().contains(&0);
        prop_assert_eq!(fits, ConvTranspose2d::new(shape).is_ok());
        if fits {
            check(shape, n, seed).map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
    }
}

#[test]
fn masks_and_keypoints() -> Result<(), ShapeError> {
    check(MASKS, 3, 1)?;
    assert_eq!(MASKS.output(), [14, 14]);
    let keypoints = ConvTranspose2dShape { kernel: [4; 2], padding: [1; 2], ..MASKS };
    check(keypoints, 2, 5)?;
    assert_eq!(keypoints.output(), [14, 14]);
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let shape = ConvTranspose2dShape { c_in: 64, c_out: 64, h: 14, w: 14, ..MASKS };
    same_on_any_threads(|| kernel(shape, 8, 3).expect("a right shape")[0].concat());
}

#[test]
fn what_cannot_be_is_an_error() {
    let message = |shape| ConvTranspose2d::new(shape).unwrap_err().to_string();
    let refused = [
        (ConvTranspose2dShape { stride: [0, 1], ..MASKS }, "the stride of rows is 0, it must be at least 1"),
        (ConvTranspose2dShape { groups: 3, ..MASKS }, "20 input channels and 12 filters do not split into 3 groups"),
        (ConvTranspose2dShape { padding: [8, 0], ..MASKS }, "the output's height is 0, it must be at least 1"),
        (ConvTranspose2dShape { output_padding: [0, 2], ..MASKS }, "an output padding of 2 columns is not less than the stride of 2"),
    ];
    for (shape, expected) in refused {
        assert_eq!(message(shape), expected);
    }
    for huge in [usize::MAX, usize::MAX / 2] {
        assert!(ConvTranspose2d::new(ConvTranspose2dShape { stride: [huge; 2], ..MASKS }).is_err());
        assert!(ConvTranspose2d::new(ConvTranspose2dShape { padding: [huge; 2], ..MASKS }).is_err());
        assert!(ConvTranspose2d::new(ConvTranspose2dShape { h: huge, ..MASKS }).is_err());
    }
}
