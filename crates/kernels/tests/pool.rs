//! Pooling against the plain loops, torch's sizes and finite differences, over a sweep of shapes.

mod common;

use cirio_kernels::{AvgPool2d, CountPadding, MaxPool2d, Pool2dShape, ShapeError, reference};
use common::{assert_close, assert_slope, distinct, double, inner, random, same_on_any_threads, unwritten};
use proptest::prelude::*;

fn shapes() -> impl Strategy<Value = (Pool2dShape, usize)> {
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    (1usize..4, 1usize..20, 1usize..34, pair(1..5), pair(1..5), pair(0..3), any::<bool>(), 0usize..4).prop_filter_map(
        "the window must fit",
        |(c, h, w, kernel, stride, padding, ceil_mode, n)| {
            let shape = Pool2dShape { c, h, w, kernel, stride, padding, ceil_mode };
            shape.check().is_ok().then_some((shape, n))
        },
    )
}

fn check_max(shape: Pool2dShape, n: usize, x: &[f32], seed: u64) -> Result<Vec<f32>, ShapeError> {
    let pool = MaxPool2d::new(shape)?;
    let [rows, columns] = pool.output();
    let dy = random(seed, n * shape.c * rows * columns);
    let (mut y, mut dx) = (unwritten(dy.len()), unwritten(x.len()));
    pool.forward(n, x, &mut y)?;
    pool.backward(n, x, &dy, &mut dx)?;
    assert_eq!(y, reference::max_pool2d(&shape, n, x));
    assert_eq!(dx, reference::max_pool2d_backward(&shape, n, x, &dy));
    Ok(dx)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn max_over_a_sweep((shape, n) in shapes(), seed in 0u64..1000) {
        let fail = |error: ShapeError| TestCaseError::fail(error.to_string());
        let count = n * shape.c * shape.h * shape.w;
        // Few different values, so that there are ties, signed zeros among them.
        let ties: Vec<f32> = random(seed, count).iter().map(|value| (value * 2.0).round()).collect();
        check_max(shape, n, &ties, seed).map_err(fail)?;
        let x = distinct(seed, count);
        let dx = check_max(shape, n, &x, seed).map_err(fail)?;
        let [rows, columns] = shape.output();
        let dy = double(&random(seed, n * shape.c * rows * columns));
        assert_slope("dx", &dx, &x, 0.25, |x| inner(&reference::max_pool2d(&shape, n, x), &dy));
    }

    #[test]
    fn the_usual_windows_over_a_sweep(c in 1usize..4, h in 2usize..20, w in 2usize..40, n in 0usize..3, seed in 0u64..1000) {
        let shape = Pool2dShape { c, h, w, kernel: [2; 2], stride: [2; 2], padding: [0; 2], ceil_mode: false };
        let ties: Vec<f32> = random(seed, n * c * h * w).iter().map(|value| (value * 2.0).round()).collect();
        check_max(shape, n, &ties, seed).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }

    #[test]
    fn mean_over_a_sweep((shape, n) in shapes(), include in any::<bool>(), seed in 0u64..1000) {
        let fail = |error: ShapeError| TestCaseError::fail(error.to_string());
        let count = if include { CountPadding::Include } else { CountPadding::Exclude };
        let pool = AvgPool2d::new(shape, count).map_err(fail)?;
        let [rows, columns] = pool.output();
        let x = random(seed, n * shape.c * shape.h * shape.w);
        let dy = random(seed + 1, n * shape.c * rows * columns);
        let (mut y, mut dx) = (unwritten(dy.len()), unwritten(x.len()));
        pool.forward(n, &x, &mut y).map_err(fail)?;
        pool.backward(n, &dy, &mut dx).map_err(fail)?;
        let area = shape.kernel[0] * shape.kernel[1];
        assert_close("y", &y, &reference::avg_pool2d(&shape, count, n, &double(&x)), area);
        assert_close("dx", &dx, &reference::avg_pool2d_backward(&shape, count, n, &double(&dy)), area);
        let dy = double(&dy);
        assert_slope("dx", &dx, &x, 0.5, |x| inner(&reference::avg_pool2d(&shape, count, n, x), &dy));
    }
}

/// Windows of 2×2 have a way of their own, many side by side and over several channels: every width up to more than two rounds of it, with
/// ties and values that are no numbers.
#[test]
fn maxima_of_2x2_pixels_of_all_widths() -> Result<(), ShapeError> {
    for width in 2..70 {
        for height in 2..6 {
            let shape = Pool2dShape { c: 3, h: height, w: width, ..two_by_two() };
            let values = (0..2 * 3 * height * width).map(|index| match index * 7919 % 11 {
                0 => f32::NAN,
                1 => f32::NEG_INFINITY,
                value => value as f32,
            });
            let x: Vec<f32> = values.collect();
            let [rows, columns] = shape.output();
            let dy: Vec<f32> = (0..2 * 3 * rows * columns).map(|index| index as f32 + 1.0).collect();
            let (pool, mut dx, mut y) = (MaxPool2d::new(shape)?, vec![7.0; x.len()], vec![7.0; dy.len()]);
            pool.forward(2, &x, &mut y)?;
            pool.backward(2, &x, &dy, &mut dx)?;
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&y), bits(&reference::max_pool2d(&shape, 2, &x)), "{height}×{width}");
            assert_eq!(dx, reference::max_pool2d_backward(&shape, 2, &x, &dy), "{height}×{width}");
        }
    }
    Ok(())
}

fn two_by_two() -> Pool2dShape {
    Pool2dShape { c: 1, h: 2, w: 2, kernel: [2; 2], stride: [2; 2], padding: [0; 2], ceil_mode: false }
}

/// Sizes and values by torch 1.13:
/// ```python
/// x = torch.arange(1., 8.).reshape(1, 1, 1, 7)
/// F.avg_pool2d(x, (1, 3), 2, (0, 1), ceil_mode=True, count_include_pad=True)   # 1, 3, 5, 4.3333
/// F.avg_pool2d(x, (1, 4), 3, (0, 0), ceil_mode=True, count_include_pad=True)   # 2.5, 5.5
/// F.avg_pool2d(x, (1, 4), 4, (0, 1), ceil_mode=True, count_include_pad=True)   # 1.5, 5.5
/// F.avg_pool2d(x, (1, 4), 4, (0, 2), ceil_mode=True, count_include_pad=False)  # 1.5, 4.5, 7
/// F.avg_pool2d(x, (1, 4), 4, (0, 2), ceil_mode=True, count_include_pad=True)   # 0.75, 4.5, 2.3333
/// ```
#[test]
fn torchs_rule_of_ceil_mode() -> Result<(), ShapeError> {
    let x: Vec<f32> = (1..8).map(|value| value as f32).collect();
    let cases: [(usize, usize, usize, CountPadding, &[f64]); 5] = [
        (3, 2, 1, CountPadding::Include, &[1.0, 3.0, 5.0, 13.0 / 3.0]),
        (4, 3, 0, CountPadding::Include, &[2.5, 5.5]),
        (4, 4, 1, CountPadding::Include, &[1.5, 5.5]),
        (4, 4, 2, CountPadding::Exclude, &[1.5, 4.5, 7.0]),
        (4, 4, 2, CountPadding::Include, &[0.75, 4.5, 7.0 / 3.0]),
    ];
    for (kernel, stride, padding, count, expected) in cases {
        let shape = Pool2dShape { c: 1, h: 1, w: 7, kernel: [1, kernel], stride: [1, stride], padding: [0, padding], ceil_mode: true };
        let pool = AvgPool2d::new(shape, count)?;
        assert_eq!(pool.output(), [1, expected.len()], "{kernel} {stride} {padding}");
        let mut y = unwritten(expected.len());
        pool.forward(1, &x, &mut y)?;
        assert_close("y", &y, expected, 4);
    }
    Ok(())
}

#[test]
fn a_window_larger_than_the_input_counts_in_ceil_mode() {
    let shape = Pool2dShape { c: 1, h: 2, w: 2, kernel: [3; 2], stride: [2; 2], padding: [0; 2], ceil_mode: true };
    assert_eq!(shape.output(), [1, 1]); // torch: F.max_pool2d(torch.ones(1, 1, 2, 2), 3, 2, ceil_mode=True).shape
    assert_eq!(
        MaxPool2d::new(Pool2dShape { ceil_mode: false, ..shape }).unwrap_err().to_string(),
        "a window of 3 rows does not fit into 2 with a padding of 0 on both sides"
    );
}

#[test]
fn the_first_maximum_takes_all_the_gradient() -> Result<(), ShapeError> {
    let ways = [
        Pool2dShape { c: 1, h: 2, w: 2, kernel: [2; 2], stride: [2; 2], padding: [0; 2], ceil_mode: false },
        Pool2dShape { c: 1, h: 2, w: 2, kernel: [2; 2], stride: [2; 2], padding: [0; 2], ceil_mode: true },
    ];
    for shape in ways {
        let pool = MaxPool2d::new(shape)?;
        let (mut y, mut dx) = ([0.0; 1], [9.0; 4]);
        pool.backward(1, &[1.0, 3.0, 3.0, 3.0], &[5.0], &mut dx)?;
        assert_eq!(dx, [0.0, 5.0, 0.0, 0.0]);
        pool.backward(1, &[f32::NEG_INFINITY; 4], &[5.0], &mut dx)?;
        assert_eq!(dx, [5.0, 0.0, 0.0, 0.0]);
        for place in 0..4 {
            let mut x = [1.0, 2.0, 3.0, f32::INFINITY];
            x[place] = f32::NAN;
            pool.forward(1, &x, &mut y)?;
            assert!(y[0].is_nan(), "a NaN at {place} is lost");
            pool.backward(1, &x, &[5.0], &mut dx)?;
            assert_eq!(dx[place], 5.0);
        }
    }
    Ok(())
}

#[test]
fn padding_is_never_the_maximum() -> Result<(), ShapeError> {
    let shape = Pool2dShape { c: 1, h: 3, w: 3, kernel: [3; 2], stride: [2; 2], padding: [1; 2], ceil_mode: false };
    let mut y = [0.0; 4];
    MaxPool2d::new(shape)?.forward(1, &[-1.0; 9], &mut y)?;
    assert_eq!(y, [-1.0; 4]);
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let shape = Pool2dShape { c: 6, h: 47, w: 50, kernel: [3; 2], stride: [2; 2], padding: [1; 2], ceil_mode: false };
    let x = random(1, 20 * shape.c * shape.h * shape.w);
    for shape in [shape, Pool2dShape { kernel: [2; 2], padding: [0; 2], ..shape }] {
        let [rows, columns] = shape.output();
        let dy = random(2, 20 * shape.c * rows * columns);
        same_on_any_threads(|| {
            let (mut y, mut dx) = (unwritten(dy.len()), unwritten(x.len()));
            let pool = MaxPool2d::new(shape).expect("a right shape");
            pool.forward(20, &x, &mut y).expect("right lengths");
            pool.backward(20, &x, &dy, &mut dx).expect("right lengths");
            [y, dx].concat()
        });
    }
}

#[test]
fn what_cannot_be_is_an_error() -> Result<(), ShapeError> {
    let shape = Pool2dShape { c: 1, h: 4, w: 4, kernel: [2; 2], stride: [2; 2], padding: [0; 2], ceil_mode: false };
    for (refused, message) in [
        (Pool2dShape { stride: [0, 1], ..shape }, "the stride of rows is 0, it must be at least 1"),
        (Pool2dShape { padding: [0, 2], ..shape }, "a padding of 2 columns is more than half of the pooling window's 2"),
        (Pool2dShape { kernel: [5, 2], ..shape }, "a window of 5 rows does not fit into 4 with a padding of 0 on both sides"),
    ] {
        assert_eq!(MaxPool2d::new(refused).unwrap_err().to_string(), message);
    }
    assert!(Pool2dShape { kernel: [usize::MAX; 2], padding: [usize::MAX / 2; 2], ceil_mode: true, ..shape }.check().is_err());
    assert!(MaxPool2d::new(shape)?.forward(1, &[0.0; 16], &mut [0.0; 5]).is_err());
    assert!(MaxPool2d::new(shape)?.backward(1, &[0.0; 16], &[0.0; 4], &mut [0.0; 15]).is_err());
    assert!(AvgPool2d::new(shape, CountPadding::Include)?.backward(2, &[0.0; 4], &mut [0.0; 16]).is_err());
    Ok(())
}
