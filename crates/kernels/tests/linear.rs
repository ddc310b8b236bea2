//! The fully connected layer and response normalisation against the plain loops and finite differences.

mod common;

use cirio_kernels::{Linear, Lrn, LrnShape, Scratch, ShapeError, reference};
use common::{assert_close, assert_slope, double, inner, random, same_on_any_threads, unwritten};
use half::f16;
use proptest::prelude::*;

/// y, dx, dw, db of random values.
fn linear(n: usize, inputs: usize, outputs: usize, seed: u64, bias: bool) -> Result<[Vec<f32>; 4], ShapeError> {
    let (x, w, b) = (random(seed, n * inputs), random(seed + 1, inputs * outputs), random(seed + 2, outputs));
    let dy = random(seed + 3, n * outputs);
    let layer = Linear::new(inputs, outputs)?;
    let mut scratch = Scratch::new();
    let mut results = [unwritten(dy.len()), unwritten(x.len()), unwritten(w.len()), unwritten(outputs)];
    let [y, dx, dw, db] = &mut results;
    layer.forward(n, &x, &w, bias.then_some(b.as_slice()), y, &mut scratch)?;
    layer.backward_input(n, &dy, &w, dx, &mut scratch)?;
    layer.backward_weight(n, &x, &dy, dw, &mut scratch)?;
    layer.backward_bias(n, &dy, db)?;
    Ok(results)
}

fn check_linear(n: usize, inputs: usize, outputs: usize, seed: u64, bias: bool) -> Result<(), ShapeError> {
    let [y, dx, dw, db] = linear(n, inputs, outputs, seed, bias)?;
    let (x, w, b) = (random(seed, n * inputs), random(seed + 1, inputs * outputs), double(&random(seed + 2, outputs)));
    let (exact_x, exact_w, dy) = (double(&x), double(&w), double(&random(seed + 3, n * outputs)));
    let bias = bias.then_some(b.as_slice());
    assert_close("y", &y, &reference::linear(n, &exact_x, &exact_w, bias, outputs), inputs);
    let (exact_dx, exact_dw, exact_db) = reference::linear_backward(n, &exact_x, &exact_w, &dy, outputs);
    assert_close("dx", &dx, &exact_dx, outputs);
    assert_close("dw", &dw, &exact_dw, n);
    assert_close("db", &db, &exact_db, n);
    assert_slope("dx", &dx, &x, 0.5, |x| inner(&reference::linear(n, x, &exact_w, bias, outputs), &dy));
    assert_slope("dw", &dw, &w, 0.5, |w| inner(&reference::linear(n, &exact_x, w, bias, outputs), &dy));
    Ok(())
}

fn check_lrn(shape: LrnShape, n: usize, seed: u64) -> Result<(), ShapeError> {
    let x: Vec<f32> = random(seed, n * shape.c * shape.pixels).iter().map(|x| 3.0 * x).collect();
    let dy = random(seed + 1, x.len());
    let (mut y, mut dx) = (unwritten(x.len()), unwritten(x.len()));
    let lrn = Lrn::new(shape)?;
    let mut scratch = Scratch::new();
    lrn.forward(n, &x, &mut y, &mut scratch)?;
    lrn.backward(n, &x, &dy, &mut dx, &mut scratch)?;
    let (exact, dy) = (double(&x), double(&dy));
    assert_close("y", &y, &reference::lrn(&shape, n, &exact), 10);
    assert_close("dx", &dx, &reference::lrn_backward(&shape, n, &exact, &dy), 10 * shape.size);
    assert_slope("dx", &dx, &x, 1e-4, |x| inner(&reference::lrn(&shape, n, x), &dy));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn linear_over_a_sweep(n in 0usize..9, inputs in 1usize..70, outputs in 1usize..40, seed in 0u64..1000, bias in any::<bool>()) {
        check_linear(n, inputs, outputs, seed, bias).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }

    #[test]
    fn response_norm_over_a_sweep(
        (c, pixels, size, n) in (1usize..9, 1usize..40, 1usize..8, 0usize..3),
        beta in prop_oneof![Just(0.75f32), Just(1.0), 0.1f32..1.5],
        (alpha, k) in (0.01f32..0.5, 0.5f32..3.0),
        seed in 0u64..1000,
    ) {
        check_lrn(LrnShape { c, pixels, size, alpha, beta, k }, n, seed).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}

/// Weights that half precision holds exactly; an odd number of outputs, and all ways to split the images.
#[test]
fn weights_in_half_precision() -> Result<(), ShapeError> {
    for (n, inputs, outputs) in [(0, 5, 3), (1, 600, 7), (3, 33, 1), (15, 530, 301)] {
        let (x, bias) = (random(1, n * inputs), random(2, outputs));
        let half: Vec<f16> = (0..inputs * outputs).map(|index| f16::from_f32((index * 7 % 31) as f32 / 16.0 - 1.0)).collect();
        let w: Vec<f64> = half.iter().map(|weight| weight.to_f64()).collect();
        let mut y = unwritten(n * outputs);
        Linear::new(inputs, outputs)?.forward_half(n, &x, &half, Some(&bias), &mut y, &mut Scratch::new())?;
        assert_close("y", &y, &reference::linear(n, &double(&x), &w, Some(&double(&bias)), outputs), inputs);
    }
    let error = Linear::new(4, 2)?.forward_half(1, &[0.0; 4], &[f16::ZERO; 7], None, &mut [0.0; 2], &mut Scratch::new()).unwrap_err();
    assert_eq!(error.to_string(), "w holds 7 values, its shape [2, 4] has 8");
    Ok(())
}

#[test]
fn sizes_beyond_a_block() -> Result<(), ShapeError> {
    check_linear(130, 150, 131, 1, true)?;
    check_linear(4, 700, 600, 2, true)?;
    check_linear(5, 700, 600, 3, true)?;
    check_linear(7, 1300, 70, 4, false)?;
    check_lrn(LrnShape { c: 20, pixels: 517, size: 5, alpha: 1e-2, beta: 0.75, k: 2.0 }, 2, 4)
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for n in [1, 3, 70, 200] {
        same_on_any_threads(|| linear(n, 400, 1300, 5, true).expect("right lengths").concat());
    }
    let shape = LrnShape { c: 16, pixels: 600, size: 5, alpha: 1e-2, beta: 0.75, k: 2.0 };
    let (x, dy) = (random(1, 8 * 16 * 600), random(2, 8 * 16 * 600));
    same_on_any_threads(|| {
        let (mut y, mut dx, mut scratch) = (unwritten(x.len()), unwritten(x.len()), Scratch::new());
        let lrn = Lrn::new(shape).expect("a right shape");
        lrn.forward(8, &x, &mut y, &mut scratch).expect("right lengths");
        lrn.backward(8, &x, &dy, &mut dx, &mut scratch).expect("right lengths");
        [y, dx].concat()
    });
}

#[test]
fn what_cannot_be_is_an_error() -> Result<(), ShapeError> {
    assert!(Linear::new(0, 1).is_err());
    assert!(Linear::new(usize::MAX, 2).is_err());
    let layer = Linear::new(3, 2)?;
    let error = layer.forward(1, &[0.0; 3], &[0.0; 6], Some(&[0.0; 3]), &mut [0.0; 2], &mut Scratch::new()).unwrap_err();
    assert_eq!(error.to_string(), "bias holds 3 values, its shape [2] has 2");
    assert!(layer.backward_bias(2, &[0.0; 4], &mut [0.0; 3]).is_err());
    assert!(Lrn::new(LrnShape { c: 1, pixels: 1, size: 0, alpha: 1.0, beta: 1.0, k: 1.0 }).is_err());
    Ok(())
}
