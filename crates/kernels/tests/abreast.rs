//! Convolution of images abreast, against the plain loops.

mod common;

use cirio_kernels::abreast::{Conv2d, images, lay_abreast, lay_apart, maps};
use cirio_kernels::blocked::{Maps, Pool};
use cirio_kernels::{Activation, Conv2dShape, MaxPool2d, Pool2dShape, ShapeError, reference};
use common::{assert_close, double, random, unwritten};
use proptest::prelude::*;

/// The output (N, filters, rows, columns) of n images, or nothing where the images cannot go abreast.
fn run(shape: Conv2dShape, n: usize, margins: [usize; 2], relu: bool, bias: bool) -> Result<Option<[Vec<f32>; 2]>, ShapeError> {
    let Conv2dShape { c_in, c_out, h, w, padding, .. } = shape;
    let [rows, columns] = shape.output();
    let input = maps([c_in, h, w])?.with_margin(padding.map(|side| side + margins[0]))?;
    let output = maps([c_out, rows, columns])?.with_margin([margins[1], 0])?;
    let Some(conv) = Conv2d::new(shape, [input, output])? else { return Ok(None) };
    let (x, weights, biases) = (random(1, n * c_in * h * w), random(2, c_out * shape.taps()), random(3, c_out));
    let biases = bias.then_some(biases.as_slice());
    let (mut side_by_side, mut y, mut result) =
        (unwritten(input.image()), unwritten(output.image()), unwritten(n * c_out * rows * columns));
    lay_abreast(n, &x, &input, &mut side_by_side)?;
    let activation = if relu { Activation::Relu } else { Activation::Identity };
    conv.forward(&side_by_side, &weights, biases, activation, &mut y)?;
    lay_apart(n, &y, &output, &mut result)?;
    let biases = biases.map(double);
    let mut exact = reference::conv2d(&shape, n, &double(&x), &double(&weights), biases.as_deref());
    if relu {
        exact.iter_mut().for_each(|value| *value = value.max(0.0));
    }
    assert_close("y", &result, &exact, shape.taps());
    Ok(Some([x, result]))
}

fn shapes() -> impl Strategy<Value = Conv2dShape> {
    let sides = (1..=9usize, 1..=13usize, 1..=3usize, 1..=5usize);
    let moves = (1..=3usize, 1..=2usize, 0..=2usize, 0..=2usize, [1..=2usize, 1..=2usize]);
    let fits = |shape: Conv2dShape| shape.check().is_ok().then_some(shape);
    (1..=5usize, 1..=20usize, sides, moves).prop_filter_map(
        "the kernel is larger than the input",
        move |(c_in, c_out, (h, w, rows, columns), (down, along, above, beside, dilation))| {
            fits(Conv2dShape {
                c_in,
                c_out,
                h,
                w,
                kernel: [rows, columns],
                stride: [down, along],
                padding: [above, beside],
                dilation,
                groups: 1,
            })
        },
    )
}

proptest! {
    #[test]
    fn every_shape(shape in shapes(), n in 0..=images(), margins in [0..=2usize, 0..=1usize], relu: bool, bias: bool) {
        prop_assert!(run(shape, n, margins, relu, bias)?.is_some());
    }

    #[test]
    fn there_and_back_again(c in 1..=5usize, h in 1..=9usize, w in 1..=19usize, n in 0..=images(), margin in [0..=2usize, 0..=2usize]) {
        let maps = maps([c, h, w])?.with_margin(margin)?;
        let x: Vec<f32> = (1..=n * c * h * w).map(|value| value as f32).collect();
        let (mut y, mut back) = (unwritten(maps.image()), unwritten(x.len()));
        lay_abreast(n, &x, &maps, &mut y)?;
        prop_assert_eq!(y.iter().filter(|&&value| value != 0.0).count(), x.len(), "the rest is zeros");
        lay_apart(n, &y, &maps, &mut back)?;
        prop_assert_eq!(x, back);
    }
}

#[test]
fn a_fully_connected_layer() -> Result<(), ShapeError> {
    for (inputs, outputs) in [(1, 1), (400, 120), (84, 10), (7, 15), (3, 8)] {
        let conv = Conv2d::linear(inputs, outputs)?.expect("has no groups");
        let (x, w, bias) = (random(4, images() * inputs), random(5, outputs * inputs), random(6, outputs));
        let (mut side_by_side, mut y, mut result) = (unwritten(x.len()), unwritten(images() * outputs), unwritten(images() * outputs));
        lay_abreast(images(), &x, &maps([inputs, 1, 1])?, &mut side_by_side)?;
        conv.forward(&side_by_side, &w, Some(&bias), Activation::Identity, &mut y)?;
        lay_apart(images(), &y, &maps([outputs, 1, 1])?, &mut result)?;
        let exact = reference::linear(images(), &double(&x), &double(&w), Some(&double(&bias)), outputs);
        assert_close("y", &result, &exact, inputs);
    }
    Ok(())
}

/// A pool of blocked maps pools each image by itself.
#[test]
fn pools() -> Result<(), ShapeError> {
    let (c, n) = (3, images());
    let shape = Pool2dShape { c, h: 7, w: 6, kernel: [2; 2], stride: [2; 2], padding: [0; 2], ceil_mode: true };
    let [rows, columns] = shape.output();
    let (input, output) = (maps([c, 7, 6])?, maps([c, rows, columns])?);
    let x = random(7, n * c * 7 * 6);
    let (mut side_by_side, mut y) = (unwritten(input.image()), unwritten(output.image()));
    let (mut got, mut expected) = (unwritten(n * c * rows * columns), unwritten(n * c * rows * columns));
    lay_abreast(n, &x, &input, &mut side_by_side)?;
    Pool::max(Pool2dShape { c: c * n, ..shape }, [input, output])?.forward(1, &side_by_side, &mut y)?;
    lay_apart(n, &y, &output, &mut got)?;
    MaxPool2d::new(shape)?.forward(n, &x, &mut expected)?;
    assert_eq!(got, expected);
    Ok(())
}

#[test]
fn what_cannot_be_is_refused() -> Result<(), ShapeError> {
    let shape = Conv2dShape { c_in: 2, c_out: 2, h: 5, w: 5, kernel: [3; 2], stride: [1; 2], padding: [1; 2], dilation: [1; 2], groups: 1 };
    let (bare, output) = (maps([2, 5, 5])?, maps([2, 5, 5])?);
    assert!(Conv2d::new(shape, [bare, output])?.is_none(), "no margin");
    let input = bare.with_margin([1; 2])?;
    assert!(Conv2d::new(Conv2dShape { groups: 2, ..shape }, [input, output])?.is_none());
    assert!(Conv2d::new(shape, [input, maps([2, 4, 5])?]).is_err());
    let conv = Conv2d::new(shape, [input, output])?.expect("can be");
    let (x, w, mut y) = (vec![0.0; input.image()], [0.0; 36], vec![0.0; output.image()]);
    assert!(conv.forward(&x, &w, None, Activation::Identity, &mut y).is_ok());
    assert!(conv.forward(&x[1..], &w, None, Activation::Identity, &mut y).is_err());
    assert!(conv.forward(&x, &w[1..], None, Activation::Identity, &mut y).is_err());
    assert!(conv.forward(&x, &w, Some(&[0.0; 3]), Activation::Identity, &mut y).is_err());
    assert!(conv.forward(&x, &w, None, Activation::Identity, &mut y[1..]).is_err());
    let many = images() + 1;
    assert!(lay_abreast(many, &vec![0.0; many * 50], &bare, &mut vec![0.0; bare.image()]).is_err());
    if images() > 1 {
        let odd = Maps::blocked([images() + 1, 5, 5])?;
        assert!(lay_apart(0, &vec![0.0; odd.image()], &odd, &mut []).is_err());
    }
    Ok(())
}
