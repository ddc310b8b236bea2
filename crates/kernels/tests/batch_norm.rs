//! Batch normalisation against the plain loops and finite differences, over a sweep of shapes.

mod common;

use cirio_kernels::{BatchNorm, ScaleShift, Scratch, ShapeError, reference, relu, relu_backward};
use common::{assert_close, assert_slope, double, inner, random, same_on_any_threads, unwritten};
use proptest::prelude::*;

const EPS: f32 = 1e-3;

fn fail(error: ShapeError) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// Planes of few pixels are laid one behind the other, some images at a time.
#[test]
fn small_planes_of_many_images() -> Result<(), ShapeError> {
    let (n, c) = (45, 2);
    for pixels in [1, 4, 49] {
        let plan = BatchNorm::new(c, pixels, EPS)?;
        let (x, dy, weight, bias) = (random(1, n * c * pixels), random(2, n * c * pixels), random(3, c), random(4, c));
        let [mut y, mut dx] = [(); 2].map(|()| unwritten(x.len()));
        let [mut mean, mut variance, mut dweight, mut dbias] = [(); 4].map(|()| unwritten(c));
        plan.forward(n, &x, [&weight, &bias], &mut y, [&mut mean, &mut variance])?;
        plan.backward(n, &x, &dy, [&weight, &bias], [&mean, &variance], [&mut dx, &mut dweight, &mut dbias])?;
        let (weight, bias) = (double(&weight), double(&bias));
        assert_close("y", &y, &reference::batch_norm(c, pixels, EPS, &double(&x), &weight, &bias), 20);
        let loss = |x: &[f64]| inner(&reference::batch_norm(c, pixels, EPS, x, &weight, &bias), &double(&dy));
        assert_slope("dx", &dx, &x, 1e-5, loss);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn training_over_a_sweep(n in 1usize..6, c in 1usize..5, pixels in 1usize..140, seed in 0u64..1000) {
        let plan = BatchNorm::new(c, pixels, EPS).map_err(fail)?;
        let (weight, bias) = (random(seed + 1, c), random(seed + 2, c));
        // Far from 0 beside their spread, as activations may be.
        let x: Vec<f32> = random(seed, n * c * pixels).iter().map(|x| 3.0 + x).collect();
        let dy = random(seed + 3, x.len());
        let (mut y, mut mean, mut variance) = (unwritten(x.len()), unwritten(c), unwritten(c));
        plan.forward(n, &x, [&weight, &bias], &mut y, [&mut mean, &mut variance]).map_err(fail)?;
        let (exact_mean, exact_variance) = reference::batch_statistics(c, pixels, &double(&x));
        assert_close("mean", &mean, &exact_mean, 1);
        assert_close("variance", &variance, &exact_variance, 1);
        let loss = |x: &[f64], weight: &[f64], bias: &[f64]| {
            inner(&reference::batch_norm(c, pixels, EPS, x, weight, bias), &double(&dy))
        };
        let exact = reference::batch_norm(c, pixels, EPS, &double(&x), &double(&weight), &double(&bias));
        assert_close("y", &y, &exact, 200); // rounding the mean shifts all values by up to 10⁻⁷ / √eps

        let (mut dx, mut dweight, mut dbias) = (unwritten(x.len()), unwritten(c), unwritten(c));
        plan.backward(n, &x, &dy, [&weight, &bias], [&mean, &variance], [&mut dx, &mut dweight, &mut dbias]).map_err(fail)?;
        let (x64, weight64, bias64) = (double(&x), double(&weight), double(&bias));
        assert_slope("dx", &dx, &x, 1e-5, |x| loss(x, &weight64, &bias64));
        assert_slope("dweight", &dweight, &weight, 1e-3, |weight| loss(&x64, weight, &bias64));
        assert_slope("dbias", &dbias, &bias, 1e-3, |bias| loss(&x64, &weight64, bias));
    }

    /// The same bits as batch norm and ReLU one after the other, forward and backward.
    #[test]
    fn with_relu(n in 1usize..6, c in 1usize..5, pixels in 1usize..140, seed in 0u64..1000) {
        let plan = BatchNorm::new(c, pixels, EPS).map_err(fail)?;
        let (x, dy, weight, bias) = (random(seed, n * c * pixels), random(seed + 1, n * c * pixels), random(seed + 2, c), random(seed + 3, c));
        let run = |plan: BatchNorm, fused: bool| -> Result<Vec<f32>, ShapeError> {
            let [mut y, mut rectified, mut before, mut dx] = [(); 4].map(|()| unwritten(x.len()));
            let [mut mean, mut variance, mut dweight, mut dbias] = [(); 4].map(|()| unwritten(c));
            plan.forward(n, &x, [&weight, &bias], &mut y, [&mut mean, &mut variance])?;
            relu(&y, &mut rectified)?;
            relu_backward(&y, &dy, &mut before)?;
            let (y, before) = if fused { (&y, &dy) } else { (&rectified, &before) };
            plan.backward(n, &x, before, [&weight, &bias], [&mean, &variance], [&mut dx, &mut dweight, &mut dbias])?;
            Ok([y.as_slice(), &dx, &mean, &variance, &dweight, &dbias].concat())
        };
        prop_assert_eq!(run(plan.with_relu(), true).map_err(fail)?, run(plan, false).map_err(fail)?);
    }

    #[test]
    fn scale_and_shift_over_a_sweep(n in 0usize..5, c in 1usize..5, pixels in 1usize..140, shifted: bool, seed in 0u64..1000) {
        let plan = ScaleShift::new(c, pixels).map_err(fail)?;
        let (x, dy) = (random(seed, n * c * pixels), random(seed + 1, n * c * pixels));
        let (scale, shift) = (random(seed + 2, c), if shifted { random(seed + 3, c) } else { vec![0.0; c] });
        let mut scratch = Scratch::new();
        let (mut y, mut dx, mut dscale, mut dshift) = (unwritten(x.len()), unwritten(x.len()), unwritten(c), unwritten(c));
        plan.forward(n, &x, &scale, shifted.then_some(&shift), &mut y, &mut scratch).map_err(fail)?;
        plan.backward_input(n, &dy, &scale, &mut dx, &mut scratch).map_err(fail)?;
        plan.backward_weight(n, &x, &dy, &mut dscale, &mut scratch).map_err(fail)?;
        plan.backward_bias(n, &dy, &mut dshift).map_err(fail)?;
        let (x64, scale64, shift64) = (double(&x), double(&scale), double(&shift));
        assert_close("y", &y, &reference::scale_shift(c, pixels, &x64, &scale64, &shift64), 1);
        let loss = |x: &[f64], scale: &[f64], shift: &[f64]| inner(&reference::scale_shift(c, pixels, x, scale, shift), &double(&dy));
        assert_slope("dx", &dx, &x, 0.5, |x| loss(x, &scale64, &shift64));
        assert_slope("dscale", &dscale, &scale, 0.5, |scale| loss(&x64, scale, &shift64));
        assert_slope("dshift", &dshift, &shift, 0.5, |shift| loss(&x64, &scale64, shift));
    }
}

/// Four million values whose mean is 100 times their spread: sums that lost digits would show in the variance.
#[test]
fn long_sums_keep_their_digits() -> Result<(), ShapeError> {
    let pixels = 1 << 21;
    let x: Vec<f32> = random(1, 2 * pixels).iter().map(|x| 100.0 + x).collect();
    let (mut y, mut mean, mut variance) = (unwritten(x.len()), [0.0], [0.0]);
    BatchNorm::new(1, pixels, EPS)?.forward(2, &x, [&[1.0], &[0.0]], &mut y, [&mut mean, &mut variance])?;
    let (exact_mean, exact_variance) = reference::batch_statistics(1, pixels, &double(&x));
    assert!((f64::from(mean[0]) - exact_mean[0]).abs() < 1e-5, "{mean:?} {exact_mean:?}");
    assert!((f64::from(variance[0]) - exact_variance[0]).abs() < 1e-5, "{variance:?} {exact_variance:?}");
    Ok(())
}

#[test]
fn no_images_have_no_gradients() -> Result<(), ShapeError> {
    let plan = BatchNorm::new(2, 3, EPS)?;
    let (mut mean, mut variance, mut dweight, mut dbias) = ([9.0; 2], [9.0; 2], [9.0; 2], [9.0; 2]);
    plan.forward(0, &[], [&[1.0; 2]; 2], &mut [], [&mut mean, &mut variance])?;
    plan.backward(0, &[], &[], [&[1.0; 2]; 2], [&mean, &variance], [&mut [], &mut dweight, &mut dbias])?;
    assert_eq!([mean, variance, dweight, dbias], [[0.0; 2]; 4]);
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (n, c, pixels) = (5, 33, 1021);
    let (x, dy, weight, bias) = (random(1, n * c * pixels), random(2, n * c * pixels), random(3, c), random(4, c));
    same_on_any_threads(|| {
        let plan = BatchNorm::new(c, pixels, EPS).expect("right sizes");
        let [mut y, mut dx] = [unwritten(x.len()), unwritten(x.len())];
        let [mut mean, mut variance, mut dweight, mut dbias] = [(); 4].map(|()| unwritten(c));
        plan.forward(n, &x, [&weight, &bias], &mut y, [&mut mean, &mut variance]).expect("right lengths");
        plan.backward(n, &x, &dy, [&weight, &bias], [&mean, &variance], [&mut dx, &mut dweight, &mut dbias]).expect("right lengths");
        let (mut given, mut dscale) = (unwritten(x.len()), unwritten(c));
        let plan = ScaleShift::new(c, pixels).expect("right sizes");
        plan.forward(n, &x, &weight, Some(&bias), &mut given, &mut Scratch::new()).expect("right lengths");
        plan.backward_weight(n, &x, &dy, &mut dscale, &mut Scratch::new()).expect("right lengths");
        [y, dx, mean, variance, dweight, dbias, given, dscale].concat()
    });
}

#[test]
fn what_cannot_be_is_an_error() -> Result<(), ShapeError> {
    assert_eq!(BatchNorm::new(0, 3, EPS).unwrap_err().to_string(), "the number of channels is 0, it must be at least 1");
    assert_eq!(ScaleShift::new(3, 0).unwrap_err().to_string(), "the number of pixels is 0, it must be at least 1");
    assert!(BatchNorm::new(usize::MAX, 2, EPS).is_err());
    let (plan, mut out, mut one) = (BatchNorm::new(2, 3, EPS)?, [0.0; 6], [0.0]);
    let message = plan.forward(1, &[0.0; 6], [&[0.0; 2]; 2], &mut out, [&mut one, &mut [0.0; 2]]).unwrap_err().to_string();
    assert_eq!(message, "mean holds 1 values, its shape [2] has 2");
    assert!(ScaleShift::new(2, 3)?.forward(1, &[0.0; 6], &[0.0; 2], Some(&[0.0]), &mut out, &mut Scratch::new()).is_err());
    assert!(ScaleShift::new(2, 3)?.backward_bias(2, &[0.0; 6], &mut [0.0; 2]).is_err());
    Ok(())
}
