//! tanh, the logistic function and softmax against the plain loops and finite differences, over a sweep of shapes.

mod common;

use cirio_kernels::{
    ShapeError, Tanh, hard_sigmoid, hard_sigmoid_backward, hard_swish, hard_swish_backward, log_softmax, log_softmax_backward, reference,
    sigmoid, sigmoid_backward, softmax, softmax_backward,
};
use common::{assert_close, assert_slope, double, inner, random, same_on_any_threads, unwritten};
use proptest::prelude::*;

type Forward<'a> = &'a dyn Fn(&[f32], &mut [f32]) -> Result<(), ShapeError>;
type Backward<'a> = &'a dyn Fn(&[f32], &[f32], &mut [f32]) -> Result<(), ShapeError>;

/// A function and its gradient from its output against `exact`.
fn check(x: &[f32], seed: u64, exact: impl Fn(&[f64]) -> Vec<f64>, forward: Forward, backward: Backward) {
    let dy = random(seed, x.len());
    let (mut y, mut dx) = (unwritten(x.len()), unwritten(x.len()));
    forward(x, &mut y).expect("right lengths");
    backward(&y, &dy, &mut dx).expect("right lengths");
    assert_close("y", &y, &exact(&double(x)), 1);
    assert_slope("dx", &dx, x, 1e-4, |x| inner(&exact(x), &double(&dy)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn each_value_alone(count in 0usize..100, seed in 0u64..1000, scale in prop_oneof![Just(0.1f32), Just(3.0), Just(30.0)]) {
        let x: Vec<f32> = random(seed, count).iter().map(|x| x * scale).collect();
        for tanh in [Tanh::PLAIN, Tanh::LENET, Tanh { amplitude: -2.5, slope: 0.3 }] {
            let exact = |x: &[f64]| reference::scaled_tanh(tanh, x);
            check(&x, seed, exact, &|x, y| tanh.forward(x, y), &|y, dy, dx| tanh.backward(y, dy, dx));
        }
        check(&x, seed, reference::sigmoid, &sigmoid, &sigmoid_backward);
    }

    /// Away from the corners at ±3, where there is no slope to be found by differences.
    #[test]
    fn of_straight_lines(count in 0usize..100, seed in 0u64..1000) {
        let away = |x: &f32| if (x.abs() - 3.0).abs() < 0.01 { 0.0 } else { *x };
        let x: Vec<f32> = random(seed, count).iter().map(|x| 6.0 * x).map(|x| away(&x)).collect();
        let dy = random(seed, count);
        let check = |exact: fn(&[f64]) -> Vec<f64>, forward: Forward, backward: Backward| {
            let (mut y, mut dx) = (unwritten(count), unwritten(count));
            forward(&x, &mut y).expect("right lengths");
            backward(&x, &dy, &mut dx).expect("right lengths");
            assert_close("y", &y, &exact(&double(&x)), 1);
            assert_slope("dx", &dx, &x, 1e-4, |x| inner(&exact(x), &double(&dy)));
        };
        check(reference::hard_sigmoid, &hard_sigmoid, &hard_sigmoid_backward);
        check(reference::hard_swish, &hard_swish, &hard_swish_backward);
    }

    #[test]
    fn over_classes(n in 0usize..40, k in 1usize..100, seed in 0u64..1000, scale in prop_oneof![Just(0.1f32), Just(3.0), Just(30.0)]) {
        let x: Vec<f32> = random(seed, n * k).iter().map(|x| x * scale).collect();
        let exact = |x: &[f64]| reference::softmax(k, x);
        check(&x, seed, exact, &|x, y| softmax(n, k, x, y), &|y, dy, dx| softmax_backward(n, k, y, dy, dx));
        let exact = |x: &[f64]| reference::log_softmax(k, x);
        check(&x, seed, exact, &|x, y| log_softmax(n, k, x, y), &|y, dy, dx| log_softmax_backward(n, k, y, dy, dx));
    }
}

#[test]
fn rows_with_infinities_are_what_they_must_be() -> Result<(), ShapeError> {
    let (inf, mut y) = (f32::INFINITY, [9.0; 3]);
    softmax(1, 3, &[-inf, 1e30, 1e30], &mut y)?;
    assert_eq!(y, [0.0, 0.5, 0.5]);
    log_softmax(1, 3, &[-inf, -1e30, 1e30], &mut y)?;
    assert_eq!(y, [-inf, -2e30, 0.0]);
    for row in [[f32::NAN, 0.0, 0.0], [inf, 0.0, 0.0], [-inf; 3]] {
        softmax(1, 3, &row, &mut y)?;
        assert!(y.iter().any(|y| y.is_nan()), "{row:?}");
        log_softmax(1, 3, &row, &mut y)?;
        assert!(y.iter().any(|y| y.is_nan()), "{row:?}");
    }
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (n, k) = (700, 333);
    let (x, dy) = (random(1, n * k), random(2, n * k));
    same_on_any_threads(|| {
        let [mut a, mut b, mut c, mut d] = [(); 4].map(|()| unwritten(n * k));
        softmax(n, k, &x, &mut a).expect("right lengths");
        log_softmax_backward(n, k, &a, &dy, &mut b).expect("right lengths");
        Tanh::LENET.forward(&x, &mut c).expect("right lengths");
        sigmoid(&x, &mut d).expect("right lengths");
        [a, b, c, d].concat()
    });
}

#[test]
fn what_cannot_be_is_an_error() {
    let mut y = [0.0; 2];
    assert_eq!(softmax(2, 0, &[], &mut []).unwrap_err().to_string(), "the number of classes is 0, it must be at least 1");
    assert_eq!(log_softmax(1, 3, &[0.0; 3], &mut y).unwrap_err().to_string(), "y holds 2 values, its shape [1, 3] has 3");
    assert!(softmax_backward(1, 2, &[0.0; 2], &[0.0; 3], &mut y).is_err());
    assert!(Tanh::PLAIN.forward(&[0.0; 3], &mut y).is_err() && Tanh::PLAIN.backward(&[0.0; 3], &[0.0; 3], &mut y).is_err());
    assert!(hard_sigmoid(&[0.0; 3], &mut y).is_err() && hard_sigmoid_backward(&[0.0; 2], &[0.0; 3], &mut y).is_err());
    assert!(hard_swish(&[0.0; 3], &mut y).is_err() && hard_swish_backward(&[0.0; 2], &[0.0; 3], &mut y).is_err());
    assert!(sigmoid(&[0.0; 3], &mut y).is_err() && sigmoid_backward(&[0.0; 2], &[0.0; 3], &mut y).is_err());
}
