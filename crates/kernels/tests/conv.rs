//! Convolution against the plain loops, finite differences and the adjoint identity, over a sweep of shapes.

mod common;

use cirio_kernels::{Conv2d, Conv2dShape, Scratch, ShapeError, reference};
use common::{assert_close, assert_slope, double, inner, random, same_on_any_threads, unwritten};
use proptest::prelude::*;

/// A shape's random values: x, w, bias and dy.
struct Values {
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
}

impl Values {
    fn new(shape: &Conv2dShape, n: usize, seed: u64) -> Self {
        let [rows, columns] = shape.output();
        Self {
            x: random(seed, n * shape.c_in * shape.h * shape.w),
            w: random(seed + 1, shape.c_out * shape.c_in / shape.groups * shape.kernel[0] * shape.kernel[1]),
            bias: random(seed + 2, shape.c_out),
            dy: random(seed + 3, n * shape.c_out * rows * columns),
        }
    }
}

/// Everything that the kernel computes: y, dx, dw, db.
fn kernel(
    shape: &Conv2dShape,
    n: usize,
    values: &Values,
    bias: Option<&[f32]>,
    scratch: &mut Scratch,
) -> Result<[Vec<f32>; 4], ShapeError> {
    let Values { x, w, dy, .. } = values;
    let conv = Conv2d::new(*shape)?;
    let mut results = [unwritten(dy.len()), unwritten(x.len()), unwritten(w.len()), unwritten(shape.c_out)];
    let [y, dx, dw, db] = &mut results;
    conv.forward(n, x, w, bias, y, scratch)?;
    conv.backward_input(n, dy, w, dx, scratch)?;
    conv.backward_weight(n, x, dy, dw, scratch)?;
    conv.backward_bias(n, dy, db)?;
    Ok(results)
}

fn check(name: &str, shape: Conv2dShape, n: usize, seed: u64, scratch: &mut Scratch) -> Result<(), ShapeError> {
    let values = Values::new(&shape, n, seed);
    let bias = seed.is_multiple_of(2).then_some(values.bias.as_slice());
    let [y, dx, dw, db] = kernel(&shape, n, &values, bias, scratch)?;

    let (x, w, dy) = (double(&values.x), double(&values.w), double(&values.dy));
    let exact_bias = bias.map(double);
    let [rows, columns] = shape.output();
    let more = if may_be_winograd(&shape) { 40 } else { 1 };
    let of_outputs = shape.c_out / shape.groups * shape.kernel[0] * shape.kernel[1];
    let results = [
        ("y", &y, reference::conv2d(&shape, n, &x, &w, exact_bias.as_deref()), w.len() / shape.c_out),
        ("dx", &dx, reference::conv2d_backward_input(&shape, n, &dy, &w), of_outputs),
        ("dw", &dw, reference::conv2d_backward_weight(&shape, n, &x, &dy), n * rows * columns),
    ];
    for (what, got, exact, terms) in results {
        assert_close(&format!("{name}: {what}"), got, &exact, more * terms);
    }
    assert_close(&format!("{name}: db"), &db, &reference::conv2d_backward_bias(&shape, &dy), n * rows * columns);

    // The loss <conv(x), dy> has the gradients dx, dw and db.
    let loss = |x: &[f64], w: &[f64], bias: Option<&[f64]>| inner(&reference::conv2d(&shape, n, x, w, bias), &dy);
    assert_slope("dx", &dx, &values.x, 0.5, |x| loss(x, &w, None));
    assert_slope("dw", &dw, &values.w, 0.5, |w| loss(&x, w, None));
    assert_slope("db", &db, &values.bias, 0.5, |bias| loss(&x, &w, Some(bias)));

    // <conv(x), dy> = <x, convᵀ(dy)> = <w, dw>.
    let without_bias = inner(&reference::conv2d(&shape, n, &x, &w, None), &dy);
    let tolerance = 1e-4 * (dy.len() as f64).sqrt().max(1.0);
    assert!((without_bias - inner(&x, &double(&dx))).abs() <= tolerance, "<x, dx> is not <y, dy>");
    assert!((without_bias - inner(&w, &double(&dw))).abs() <= tolerance, "<w, dw> is not <y, dy>");
    Ok(())
}

/// Patches and sums of F(4×4) are some times larger than the values, and so are their rounding errors; see `errors_of_gradients`.
fn may_be_winograd(shape: &Conv2dShape) -> bool {
    let square = [[3; 2], [5; 2]].contains(&shape.kernel);
    square && shape.stride == [1; 2] && shape.dilation == [1; 2] && shape.groups == 1 && shape.c_in.max(shape.c_out) >= 8
}

fn shapes() -> impl Strategy<Value = (Conv2dShape, usize)> {
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    let channels = (1usize..=3, 1usize..=5, 1usize..=8);
    let window = (pair(1..6), pair(1..4), pair(0..4), pair(1..4));
    (channels, window, 1usize..=13, 1usize..=31, 0usize..=3).prop_filter_map(
        "the kernel must fit",
        |((groups, c_in, c_out), (kernel, stride, padding, dilation), h, w, n)| {
            let shape = Conv2dShape { c_in: c_in * groups, c_out: c_out * groups, h, w, kernel, stride, padding, dilation, groups };
            shape.check().is_ok().then_some((shape, n))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn a_sweep_of_shapes((shape, n) in shapes(), seed in 0u64..1000) {
        check("a random shape", shape, n, seed, &mut Scratch::new()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    /// Channels enough for vectors of filters, and maps smaller than a tile.
    #[test]
    fn a_sweep_of_many_channels(
        channels in prop::array::uniform2(16usize..=50),
        side in prop::array::uniform2(1usize..=11),
        kernel in prop::sample::select(vec![3usize, 5]),
        padding in prop::array::uniform2(0usize..=2),
        n in 1usize..=5,
        seed in 0u64..1000,
    ) {
        let shape = Conv2dShape {
            c_in: channels[0], c_out: channels[1], h: side[0], w: side[1], kernel: [kernel; 2], stride: [1; 2], padding, dilation: [1; 2], groups: 1,
        };
        prop_assume!(shape.check().is_ok());
        check("many channels", shape, n, seed, &mut Scratch::new()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}

/// The largest error over the largest value, of gradients that are summed over many images.
#[test]
fn errors_of_gradients() -> Result<(), ShapeError> {
    let shape =
        Conv2dShape { c_in: 64, c_out: 48, h: 16, w: 16, kernel: [3; 2], stride: [1; 2], padding: [1; 2], dilation: [1; 2], groups: 1 };
    let n = 40;
    let values = Values::new(&shape, n, 3);
    let [_, dx, dw, _] = kernel(&shape, n, &values, None, &mut Scratch::new())?;
    let (x, w, dy) = (double(&values.x), double(&values.w), double(&values.dy));
    let exact = [reference::conv2d_backward_input(&shape, n, &dy, &w), reference::conv2d_backward_weight(&shape, n, &x, &dy)];
    for (what, got, exact) in [("dx", dx, &exact[0]), ("dw", dw, &exact[1])] {
        let largest = exact.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let error = exact.iter().zip(&got).fold(0.0f64, |error, (exact, got)| error.max((exact - f64::from(*got)).abs()));
        assert!(error / largest < 1e-5, "{what}: {:e}", error / largest);
    }
    Ok(())
}

/// Shapes that a random sweep would rarely meet, one after the other with one scratch.
#[test]
fn shapes_with_a_meaning() -> Result<(), ShapeError> {
    let plain =
        Conv2dShape { c_in: 1, c_out: 6, h: 32, w: 32, kernel: [5; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1 };
    let same = Conv2dShape { kernel: [3; 2], padding: [1; 2], ..plain };
    let cases = [
        ("LeNet C1", plain, 3),
        ("LeNet C3", Conv2dShape { c_in: 6, c_out: 16, h: 14, w: 14, ..plain }, 9),
        ("LeNet C5, which covers its input", Conv2dShape { c_in: 16, c_out: 120, h: 5, w: 5, ..plain }, 7),
        ("no images", plain, 0),
        ("one pixel", Conv2dShape { c_in: 3, h: 1, w: 1, ..same }, 2),
        ("pointwise", Conv2dShape { c_in: 40, c_out: 33, h: 13, w: 9, kernel: [1; 2], ..plain }, 3),
        ("pointwise with stride", Conv2dShape { c_in: 20, c_out: 33, h: 13, w: 9, kernel: [1; 2], stride: [2; 2], ..plain }, 3),
        ("pointwise with padding", Conv2dShape { c_in: 3, h: 4, w: 5, kernel: [1; 2], padding: [2; 2], ..plain }, 2),
        ("depthwise", Conv2dShape { c_in: 12, c_out: 12, h: 17, w: 19, groups: 12, ..same }, 2),
        ("AlexNet's first", Conv2dShape { c_in: 3, c_out: 16, h: 67, w: 59, kernel: [11; 2], stride: [4; 2], padding: [2; 2], ..plain }, 2),
        ("many channels on small maps", Conv2dShape { c_in: 96, c_out: 40, h: 2, w: 3, ..same }, 19),
        ("images for many threads", Conv2dShape { c_in: 24, c_out: 32, h: 8, w: 9, ..same }, 70),
        ("images for many threads, in other steps", Conv2dShape { c_in: 24, c_out: 17, h: 16, w: 15, stride: [2; 2], ..same }, 70),
        ("many channels", Conv2dShape { c_in: 64, c_out: 35, h: 13, w: 18, ..same }, 1),
        ("a tall image", Conv2dShape { c_in: 2, h: 400, w: 5, ..same }, 2),
        ("rows only", Conv2dShape { c_in: 2, h: 50, w: 1, kernel: [7, 1], padding: [3, 0], ..plain }, 2),
        ("padding beyond the kernel", Conv2dShape { h: 3, w: 2, kernel: [2; 2], padding: [5; 2], stride: [3; 2], ..plain }, 2),
        ("wide dilation", Conv2dShape { c_in: 2, h: 20, w: 40, kernel: [3; 2], padding: [6; 2], dilation: [6; 2], ..plain }, 2),
    ];
    let mut scratch = Scratch::new();
    for (name, shape, n) in cases {
        check(name, shape, n, 10, &mut scratch)?;
    }
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let lenet =
        Conv2dShape { c_in: 6, c_out: 16, h: 14, w: 14, kernel: [5; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1 };
    let vgg = Conv2dShape { c_in: 48, c_out: 64, h: 23, w: 17, kernel: [3; 2], padding: [1; 2], ..lenet };
    let strided = Conv2dShape { stride: [2; 2], groups: 2, ..vgg };
    for (shape, n) in [(lenet, 70), (vgg, 1), (vgg, 5), (vgg, 70), (strided, 4), (strided, 70)] {
        let values = Values::new(&shape, n, 7);
        same_on_any_threads(|| kernel(&shape, n, &values, Some(&values.bias), &mut Scratch::new()).expect("a right shape").concat());
    }
}

#[test]
fn what_cannot_be_is_an_error() -> Result<(), ShapeError> {
    let shape = Conv2dShape { c_in: 2, c_out: 4, h: 5, w: 6, kernel: [3; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 2 };
    let refused = [
        (Conv2dShape { stride: [1, 0], ..shape }, "the stride of columns is 0, it must be at least 1"),
        (Conv2dShape { groups: 0, ..shape }, "the number of groups is 0, it must be at least 1"),
        (Conv2dShape { c_out: 3, ..shape }, "2 input channels and 3 filters do not split into 2 groups"),
        (Conv2dShape { dilation: [1, 3], ..shape }, "a window of 7 columns does not fit into 6 with a padding of 0 on both sides"),
    ];
    for (shape, message) in refused {
        assert_eq!(Conv2d::new(shape).unwrap_err().to_string(), message);
    }
    for huge in [
        Conv2dShape { padding: [usize::MAX; 2], ..shape },
        Conv2dShape { dilation: [usize::MAX; 2], ..shape },
        Conv2dShape { h: usize::MAX, w: usize::MAX, ..shape },
        Conv2dShape { c_in: 1 << 40, c_out: 1 << 40, groups: 1, ..shape },
        Conv2dShape { padding: [usize::MAX / 2 - 10; 2], stride: [usize::MAX; 2], ..shape },
    ] {
        assert!(huge.check().is_err(), "{huge:?}");
    }
    let conv = Conv2d::new(shape)?;
    let error = conv.forward(1, &[0.0; 59], &[0.0; 36], None, &mut [0.0; 48], &mut Scratch::new()).unwrap_err();
    assert_eq!(error.to_string(), "x holds 59 values, its shape [1, 2, 5, 6] has 60");
    let error = conv.forward(usize::MAX, &[0.0; 60], &[0.0; 36], None, &mut [0.0; 48], &mut Scratch::new()).unwrap_err();
    assert!(matches!(error, ShapeError::TooLarge { .. }), "{error}");
    assert!(conv.backward_weight(1, &[0.0; 60], &[0.0; 48], &mut [0.0; 35], &mut Scratch::new()).is_err());
    assert!(conv.backward_input(1, &[0.0; 47], &[0.0; 36], &mut [0.0; 60], &mut Scratch::new()).is_err());
    assert!(conv.backward_bias(1, &[0.0; 48], &mut [0.0; 5]).is_err());
    Ok(())
}
