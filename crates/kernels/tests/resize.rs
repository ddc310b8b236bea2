//! Resizing against the plain loops and finite differences, over a sweep of shapes.

mod common;

use cirio_kernels::{AlignCorners, Interpolation, Resize2d, Resize2dShape, ShapeError, reference};
use common::{assert_close, assert_slope, double, inner, random, same_on_any_threads, unwritten};
use proptest::prelude::*;

const WAYS: [Interpolation; 3] =
    [Interpolation::Nearest, Interpolation::Bilinear(AlignCorners::Yes), Interpolation::Bilinear(AlignCorners::No)];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_over_a_sweep(
        n in 0usize..3, c in 1usize..3, h in 1usize..9, w in 1usize..20, rows in 1usize..13, columns in 1usize..24, seed in 0u64..1000,
    ) {
        let fail = |error: ShapeError| TestCaseError::fail(error.to_string());
        let (x, dy) = (random(seed, n * c * h * w), random(seed + 1, n * c * rows * columns));
        for interpolation in WAYS {
            let shape = Resize2dShape { c, h, w, output: [rows, columns], interpolation };
            let plan = Resize2d::new(shape).map_err(fail)?;
            let (mut y, mut dx) = (unwritten(dy.len()), unwritten(x.len()));
            plan.forward(n, &x, &mut y).map_err(fail)?;
            plan.backward(n, &dy, &mut dx).map_err(fail)?;
            assert_close("y", &y, &reference::resize2d(&shape, n, &double(&x)), 4);
            assert_slope("dx", &dx, &x, 0.5, |x| inner(&reference::resize2d(&shape, n, x), &double(&dy)));
        }
    }
}

#[test]
fn the_same_size_changes_nothing() -> Result<(), ShapeError> {
    let x = random(1, 2 * 3 * 7 * 5);
    for interpolation in WAYS {
        let mut y = unwritten(x.len());
        Resize2d::new(Resize2dShape { c: 3, h: 7, w: 5, output: [7, 5], interpolation })?.forward(2, &x, &mut y)?;
        assert_eq!(x, y);
    }
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (x, dy) = (random(1, 40 * 31 * 29), random(2, 40 * 60 * 67));
    same_on_any_threads(|| {
        let run = |interpolation| {
            let plan = Resize2d::new(Resize2dShape { c: 10, h: 31, w: 29, output: [60, 67], interpolation }).expect("right sizes");
            let (mut y, mut dx) = (unwritten(dy.len()), unwritten(x.len()));
            plan.forward(4, &x, &mut y).expect("right lengths");
            plan.backward(4, &dy, &mut dx).expect("right lengths");
            [y, dx].concat()
        };
        WAYS.map(run).concat()
    });
}

#[test]
fn what_cannot_be_is_an_error() -> Result<(), ShapeError> {
    let shape = Resize2dShape { c: 1, h: 2, w: 2, output: [3, 3], interpolation: Interpolation::Nearest };
    let none = Resize2d::new(Resize2dShape { output: [3, 0], ..shape }).unwrap_err().to_string();
    assert_eq!(none, "the output's width is 0, it must be at least 1");
    assert!(Resize2d::new(Resize2dShape { output: [usize::MAX; 2], ..shape }).is_err());
    let long = Resize2d::new(shape)?.forward(1, &[0.0; 4], &mut [0.0; 10]).unwrap_err().to_string();
    assert_eq!(long, "y holds 10 values, its shape [1, 1, 3, 3] has 9");
    assert!(Resize2d::new(shape)?.backward(1, &[0.0; 9], &mut [0.0; 5]).is_err());
    // No table is made for rows that no slice has.
    let tall = Resize2dShape { output: [1 << 50, 1], ..shape };
    assert!(Resize2d::new(tall)?.forward(1, &[0.0; 4], &mut []).is_err());
    assert!(Resize2d::new(tall)?.forward(0, &[], &mut []).is_ok());
    Ok(())
}
