//! Convolution of maps whose channels lie side by side, against the plain loops.

mod common;

use cirio_kernels::blocked::{Conv2d, Epilogue, Filters, Maps, Method, Packed, Pool, Scale, Weights};
use cirio_kernels::{Activation, Conv2dShape, CountPadding, Pool2dShape, Scratch, ShapeError, reference};
use common::{assert_close, double, random, same_on_any_threads, unwritten};
use half::f16;
use proptest::prelude::*;

/// A case: a shape, the number of images, and layouts.
#[derive(Clone, Debug)]
struct Case {
    shape: Conv2dShape,
    n: usize,
    /// Whether the input is one channel after the other.
    planar: bool,
    /// What the margins of input, output and shortcut are larger than needed.
    margins: [usize; 3],
    /// Whether there are a shortcut and a bias.
    parts: [bool; 2],
    activation: Activation,
    seed: u64,
}

impl Case {
    fn layouts(&self) -> Result<[Maps; 3], ShapeError> {
        let Conv2dShape { c_in, c_out, h, w, padding, .. } = self.shape;
        let [rows, columns] = self.shape.output();
        let size = [c_in, h, w];
        let input = if self.planar { Maps::planar(size)? } else { Maps::blocked(size)? };
        let input = input.with_margin(padding.map(|side| side + self.margins[0]))?;
        let output = Maps::blocked([c_out, rows, columns])?;
        Ok([input, output.with_margin([self.margins[1]; 2])?, output.with_margin([0, self.margins[2]])?])
    }

    /// The output (N, filters, rows, columns), or nothing where the method cannot do it.
    fn run(&self, method: Method, scratch: &mut Scratch) -> Result<Option<Vec<f32>>, ShapeError> {
        let layouts = self.layouts()?;
        let conv = Conv2d::new(self.shape, layouts, method)?;
        conv.map(|conv| self.forward(&conv, layouts, scratch)).transpose()
    }

    /// The largest values of squares of 2×2 of the output, which has no shortcut.
    fn run_pooled(&self, method: Method, scratch: &mut Scratch) -> Result<Option<Vec<f32>>, ShapeError> {
        let [input, output, added] = self.layouts()?;
        let [channels, rows, columns] = output.size();
        let Ok(pooled) = Maps::blocked([channels, rows / 2, columns / 2]) else { return Ok(None) };
        let pooled = pooled.with_margin(output.margin())?;
        let conv = Conv2d::pooled(self.shape, [input, pooled], method)?;
        conv.map(|conv| self.forward(&conv, [input, pooled, added], scratch)).transpose()
    }

    fn forward(&self, conv: &Conv2d, [input, output, added]: [Maps; 3], scratch: &mut Scratch) -> Result<Vec<f32>, ShapeError> {
        let (n, values) = (self.n, self.values());
        let (mut x, mut shortcut) = (unwritten(n * input.image()), unwritten(n * added.image()));
        Maps::planar(input.size())?.copy(n, &values.x, &input, &mut x)?;
        Maps::planar(added.size())?.copy(n, &values.shortcut, &added, &mut shortcut)?;
        let plain = Maps::planar(output.size())?;
        let mut weights = unwritten(conv.packed());
        conv.pack(&Weights::new(&values.w, &self.shape)?, &mut weights)?;
        let mut bias = if self.parts[1] { values.bias } else { vec![0.0; values.bias.len()] };
        bias.resize(conv.packed_bias(), self.activation.zero());
        let mut y = vec![0.0; n * output.image()];
        let epilogue = Epilogue { add: self.parts[0].then_some((&added, shortcut.as_slice())), activation: self.activation };
        conv.forward(n, &x, Filters { weights: Packed::Full(&weights), bias: &bias }, epilogue, &mut y, scratch)?;
        let mut result = unwritten(n * plain.image());
        output.copy(n, &y, &plain, &mut result)?;
        let mut again = unwritten(y.len());
        plain.copy(n, &result, &output, &mut again)?;
        assert_eq!(y, again, "margins and channels that do not exist stay 0");
        Ok(result)
    }

    fn values(&self) -> Values {
        let Conv2dShape { c_in, c_out, h, w, kernel, groups, .. } = self.shape;
        let [rows, columns] = self.shape.output();
        Values {
            x: random(self.seed, self.n * c_in * h * w),
            w: random(self.seed + 1, c_out * c_in / groups * kernel[0] * kernel[1]),
            bias: random(self.seed + 2, c_out),
            shortcut: random(self.seed + 3, self.n * c_out * rows * columns),
        }
    }

    fn exact(&self) -> Vec<f64> {
        let Values { x, w, bias, shortcut } = self.values();
        let bias = self.parts[1].then(|| double(&bias));
        let mut y = reference::conv2d(&self.shape, self.n, &double(&x), &double(&w), bias.as_deref());
        for (y, shortcut) in y.iter_mut().zip(double(&shortcut)) {
            *y += if self.parts[0] { shortcut } else { 0.0 };
            *y = match self.activation {
                Activation::Identity => *y,
                Activation::Relu => y.max(0.0),
                Activation::HardSigmoid => (*y / 6.0 + 0.5).clamp(0.0, 1.0),
                Activation::HardSwish => *y * (*y / 6.0 + 0.5).clamp(0.0, 1.0),
            };
        }
        y
    }

    fn taps(&self) -> usize {
        let Conv2dShape { c_in, kernel, groups, .. } = self.shape;
        c_in / groups * kernel[0] * kernel[1]
    }
}

struct Values {
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    shortcut: Vec<f32>,
}

const ACTIVATIONS: [Activation; 4] = [Activation::Identity, Activation::Relu, Activation::HardSigmoid, Activation::HardSwish];

fn activations() -> impl Strategy<Value = Activation> {
    prop::sample::select(&ACTIVATIONS)
}

fn cases(kernels: impl Strategy<Value = [usize; 2]>, strides: impl Strategy<Value = [usize; 2]>) -> impl Strategy<Value = Case> {
    let sizes = (1usize..40, 1usize..150, 1usize..15, 1usize..15, 1usize..4);
    let rest = (any::<bool>(), prop::array::uniform3(0usize..2), prop::array::uniform2(any::<bool>()), activations(), any::<u64>());
    let window = (kernels, strides, prop::array::uniform2(0usize..3), prop::array::uniform2(1usize..3));
    (sizes, window, rest).prop_filter_map("a window that fits", |((c_in, c_out, h, w, n), (kernel, stride, padding, dilation), rest)| {
        let dilation = if [[3; 2], [5; 2]].contains(&kernel) { [1; 2] } else { dilation };
        let shape = Conv2dShape { c_in, c_out, h, w, kernel, stride, padding, dilation, groups: 1 };
        let (planar, margins, parts, activation, seed) = rest;
        shape.check().ok().map(|()| Case { shape, n, planar, margins, parts, activation, seed: seed >> 3 })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_window(case in cases(prop::array::uniform2(1usize..5), prop::array::uniform2(1usize..4))) {
        let y = case.run(Method::Direct, &mut Scratch::new())?.expect("nothing stands against it");
        assert_close("y", &y, &case.exact(), case.taps());
    }

    /// Patches and sums of F(4×4) are some times larger than the values, and so are their rounding errors; see `errors_of_winograd`.
    #[test]
    fn winograd(case in cases(prop::sample::select(vec![[3, 3], [5, 5]]), Just([1, 1])), side in prop::sample::select(vec![2usize, 4])) {
        let case = Case { planar: false, ..case };
        match case.run(Method::Winograd(side), &mut Scratch::new())? {
            Some(y) => assert_close("y", &y, &case.exact(), 40 * case.taps()),
            None => prop_assert_eq!((case.shape.kernel, side), ([5, 5], 4)),
        }
    }

    /// Bit for bit what a pool gives behind the convolution; a row or column without a partner is left out.
    #[test]
    fn winograd_and_the_pool_behind(
        case in cases(prop::sample::select(vec![[3, 3], [5, 5]]), Just([1, 1])),
        side in prop::sample::select(vec![2usize, 4]),
    ) {
        let side = if case.shape.kernel == [5, 5] { 2 } else { side };
        let case = Case { planar: false, parts: [false, case.parts[1]], ..case };
        let (method, scratch) = (Method::Winograd(side), &mut Scratch::new());
        let apart = case.run(method, scratch)?.expect("nothing stands against it");
        let [h, w] = case.shape.output();
        let squares = Pool2dShape { c: case.shape.c_out, h, w, kernel: [2; 2], stride: [2; 2], padding: [0; 2], ceil_mode: false };
        match case.run_pooled(method, scratch)? {
            Some(y) => prop_assert_eq!(y, pooled(squares, case.n, |layouts| Pool::max(squares, layouts), &apart)?),
            None => prop_assert!(h < 2 || w < 2),
        }
    }
}

/// What is not Winograd's way has no form with a pool, and nothing can be added to one that has.
#[test]
fn a_pool_behind_other_ways_is_refused() -> Result<(), ShapeError> {
    let case = Case { parts: [true, false], ..plain(square(32, 32, 8, 3), 1) };
    let scratch = &mut Scratch::new();
    assert!(case.run_pooled(Method::Direct, scratch)?.is_none());
    assert!(matches!(case.run_pooled(Method::Winograd(4), scratch), Err(ShapeError::Added)));
    let [input, output, _] = case.layouts()?;
    for method in [Method::Direct, Method::Winograd(4)] {
        let wrong = Conv2d::pooled(case.shape, [input, output], method);
        assert!(matches!(wrong, Err(ShapeError::Maps { given: [32, 8, 8], expected: [32, 4, 4] })));
    }
    Ok(())
}

/// Several runs of tiles, on one thread and on more; no images.
#[test]
fn pools_behind_large_maps() -> Result<(), ShapeError> {
    for (shape, n) in [(square(20, 70, 61, 3), 2), (square(64, 200, 14, 3), 1), (square(20, 70, 31, 5), 2), (square(20, 20, 6, 3), 0)] {
        let case = Case { parts: [false, true], ..plain(shape, n) };
        let [h, w] = shape.output();
        let squares = Pool2dShape { c: shape.c_out, h, w, kernel: [2; 2], stride: [2; 2], padding: [0; 2], ceil_mode: false };
        for method in [Method::Winograd(2), Method::Winograd(4)] {
            if (shape.kernel, method) == ([5; 2], Method::Winograd(4)) {
                continue;
            }
            let apart = case.run(method, &mut Scratch::new())?.expect("it applies");
            let expected = pooled(squares, n, |layouts| Pool::max(squares, layouts), &apart)?;
            assert_eq!(case.run_pooled(method, &mut Scratch::new())?, Some(expected));
            same_on_any_threads(|| case.run_pooled(method, &mut Scratch::new()).ok().flatten().unwrap_or_default());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn each_channel_by_itself(
        case in cases(prop::sample::select(vec![[3, 3], [5, 5], [1, 4], [2, 3]]), prop::array::uniform2(1usize..4)),
        dilation in prop::array::uniform2(1usize..3),
    ) {
        let channels = case.shape.c_in;
        let shape = Conv2dShape { c_out: channels, groups: channels, dilation, ..case.shape };
        prop_assume!(shape.check().is_ok());
        let case = Case { shape, planar: false, ..case };
        let y = case.run(Method::Depthwise, &mut Scratch::new())?.expect("nothing stands against it");
        assert_close("y", &y, &case.exact(), case.taps());
    }
}

fn square(c_in: usize, c_out: usize, side: usize, kernel: usize) -> Conv2dShape {
    let padding = [kernel / 2; 2];
    Conv2dShape { c_in, c_out, h: side, w: side, kernel: [kernel; 2], stride: [1; 2], padding, dilation: [1; 2], groups: 1 }
}

fn plain(shape: Conv2dShape, n: usize) -> Case {
    Case { shape, n, planar: false, margins: [0; 3], parts: [true; 2], activation: Activation::Relu, seed: 7 }
}

/// Floats of a vector; 1 where there are no vectors.
fn lanes() -> usize {
    Maps::blocked([1, 1, 1]).map_or(1, |maps| maps.image())
}

/// Activations in the epilogue and after the transform keep NaN, as everywhere else.
#[test]
fn activations_keep_nan() -> Result<(), ShapeError> {
    for method in [Method::Direct, Method::Winograd(2), Method::Winograd(4), Method::Depthwise] {
        let groups = if method == Method::Depthwise { 20 } else { 1 };
        let case = Case { parts: [false; 2], ..plain(Conv2dShape { groups, ..square(20, 20, 6, 3) }, 1) };
        let layouts = case.layouts()?;
        let conv = Conv2d::new(case.shape, layouts, method)?.expect("it applies");
        let (mut weights, bias) = (unwritten(conv.packed()), vec![0.0; conv.packed_bias()]);
        conv.pack(&Weights::new(&case.values().w, &case.shape)?, &mut weights)?;
        let x = vec![f32::NAN; layouts[0].image()];
        let mut y = vec![0.0; layouts[1].image()];
        let filters = Filters { weights: Packed::Full(&weights), bias: &bias };
        for activation in ACTIVATIONS {
            conv.forward(1, &x, filters, Epilogue { add: None, activation }, &mut y, &mut Scratch::new())?;
            let mut result = unwritten(20 * 36);
            layouts[1].copy(1, &y, &Maps::planar([20, 6, 6])?, &mut result)?;
            assert!(result.iter().all(|value| value.is_nan()), "{method:?}, {activation:?}");
            let squares = Maps::blocked([20, 3, 3])?;
            if let Some(conv) = Conv2d::pooled(case.shape, [layouts[0], squares], method)? {
                let (mut y, mut result) = (vec![0.0; squares.image()], unwritten(20 * 9));
                conv.forward(1, &x, filters, Epilogue { add: None, activation }, &mut y, &mut Scratch::new())?;
                squares.copy(1, &y, &Maps::planar([20, 3, 3])?, &mut result)?;
                assert!(result.iter().all(|value| value.is_nan()), "{method:?}, {activation:?}, with the pool behind");
            }
        }
    }
    Ok(())
}

#[test]
fn groups_that_cut_vectors_are_merged() -> Result<(), ShapeError> {
    for (groups, channels, filters) in [(2, 5, 3), (8, 4, 4), (6, 8, 16), (3, 20, 7), (4, 1, 2)] {
        let case = plain(Conv2dShape { groups, stride: [2, 1], ..square(groups * channels, groups * filters, 7, 3) }, 2);
        let shape = case.shape;
        if Conv2d::best_method(&shape, 1) == Method::Merged {
            let y = case.run(Method::Merged, &mut Scratch::new())?.expect("it was chosen");
            assert_close("y", &y, &case.exact(), case.taps());
        }
    }
    let few = plain(Conv2dShape { groups: 2, ..square(6, 10, 5, 3) }, 1);
    assert!(lanes() == 1 || few.run(Method::Merged, &mut Scratch::new())?.is_some());
    assert_eq!(plain(Conv2dShape { groups: 22, ..square(22, 44, 5, 3) }, 1).run(Method::Merged, &mut Scratch::new())?, None);
    Ok(())
}

#[test]
fn groups_of_whole_vectors_and_only_they() -> Result<(), ShapeError> {
    let wide = lanes();
    let case = plain(Conv2dShape { groups: 2, ..square(4 * wide, 6 * wide, 5, 3) }, 2);
    let y = case.run(Method::Direct, &mut Scratch::new())?.expect("whole vectors");
    assert_close("y", &y, &case.exact(), case.taps());
    assert_eq!(case.run(Method::Winograd(2), &mut Scratch::new())?, None);
    assert_eq!(case.run(Method::Depthwise, &mut Scratch::new())?, None, "a filter sees several channels");
    if wide > 1 {
        assert_eq!(plain(Conv2dShape { groups: 2, ..square(2, 2 * wide, 5, 3) }, 1).run(Method::Direct, &mut Scratch::new())?, None);
    }
    Ok(())
}

/// Larger cases: several slabs, several runs of tiles, all channels of a block of weights.
#[test]
fn large_maps() -> Result<(), ShapeError> {
    for (shape, n) in [(square(20, 70, 60, 3), 2), (square(300, 17, 9, 3), 3), (square(150, 40, 12, 1), 5), (square(140, 20, 27, 5), 1)] {
        let case = plain(shape, n);
        for method in [Method::Direct, Method::Winograd(2), Method::Winograd(4)] {
            match case.run(method, &mut Scratch::new())? {
                Some(y) => assert_close("y", &y, &case.exact(), 40 * case.taps()),
                None => {
                    assert!(shape.kernel == [1; 2] && method != Method::Direct || shape.kernel == [5; 2] && method == Method::Winograd(4))
                }
            }
        }
    }
    Ok(())
}

/// The largest error over the largest output, of 256 channels, of each way.
#[test]
fn errors_of_winograd() -> Result<(), ShapeError> {
    let bounds =
        [(Method::Direct, 3, 4e-6), (Method::Winograd(2), 3, 4e-6), (Method::Winograd(4), 3, 1e-5), (Method::Winograd(2), 5, 1e-5)];
    for (method, kernel, bound) in bounds {
        let case = Case { parts: [false; 2], activation: Activation::Identity, ..plain(square(256, 32, 16, kernel), 1) };
        let exact = case.exact();
        let largest = exact.iter().fold(0.0f64, |largest, y| largest.max(y.abs()));
        let y = case.run(method, &mut Scratch::new())?.expect("it applies");
        let error = exact.iter().zip(&y).fold(0.0f64, |error, (exact, y)| error.max((exact - f64::from(*y)).abs()));
        assert!(error / largest < bound, "{method:?}, {kernel}×{kernel}: {:e}", error / largest);
    }
    Ok(())
}

/// Weights that half precision holds exactly give the same in both.
#[test]
fn weights_in_half_precision() -> Result<(), ShapeError> {
    let shape = square(150, 70, 12, 3);
    let channels = Conv2dShape { c_in: 70, groups: 70, ..shape };
    for (method, shape) in [(Method::Direct, shape), (Method::Winograd(2), shape), (Method::Depthwise, channels)] {
        let case = Case { parts: [false; 2], activation: Activation::Identity, ..plain(shape, 2) };
        let layouts = case.layouts()?;
        let conv = Conv2d::new(case.shape, layouts, method)?.expect("it applies");
        // Multiples of 4 are still multiples of 1 when they are transformed.
        let w: Vec<f32> = (0..case.values().w.len()).map(|index| (index * 7 % 11) as f32 * 4.0 - 20.0).collect();
        let (mut weights, bias) = (unwritten(conv.packed()), vec![0.0; conv.packed_bias()]);
        conv.pack(&Weights::new(&w, &case.shape)?, &mut weights)?;
        let half: Vec<f16> = weights.iter().map(|&weight| f16::from_f32(weight)).collect();
        let mut x = unwritten(2 * layouts[0].image());
        Maps::planar(layouts[0].size())?.copy(2, &case.values().x, &layouts[0], &mut x)?;
        let run = |conv: &Conv2d, output: &Maps, weights| {
            let mut y = vec![0.0; 2 * output.image()];
            conv.forward(2, &x, Filters { weights, bias: &bias }, Epilogue::default(), &mut y, &mut Scratch::new()).map(|()| y)
        };
        assert_eq!(run(&conv, &layouts[1], Packed::Full(&weights))?, run(&conv, &layouts[1], Packed::Half(&half))?);
        let squares = Maps::blocked([70, 6, 6])?;
        if let Some(conv) = Conv2d::pooled(case.shape, [layouts[0], squares], method)? {
            assert_eq!(run(&conv, &squares, Packed::Full(&weights))?, run(&conv, &squares, Packed::Half(&half))?);
        }
    }
    Ok(())
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let depthwise = Conv2dShape { groups: 70, ..square(70, 70, 60, 5) };
    for (shape, n) in
        [(square(20, 70, 60, 3), 2), (square(64, 200, 14, 3), 1), (square(64, 200, 14, 1), 1), (square(64, 200, 27, 5), 1), (depthwise, 2)]
    {
        for method in [Method::Direct, Method::Winograd(2), Method::Winograd(4), Method::Depthwise] {
            same_on_any_threads(|| plain(shape, n).run(method, &mut Scratch::new()).ok().flatten().unwrap_or_default());
        }
    }
}

proptest! {
    #[test]
    fn channels_times_a_number(
        n in 0usize..3, size in prop::array::uniform3(1usize..40), margins in prop::array::uniform3(0usize..2), seed: u32,
    ) {
        let [c, h, w] = size;
        let [input, output] = [margins[0], margins[1]].map(|margin| Maps::blocked(size).and_then(|maps| maps.with_margin([margin, 1])));
        let [input, factors, output] = [input?, Maps::blocked([c, 1, 1])?.with_margin([margins[2]; 2])?, output?];
        let (planar, planar_factors) = (Maps::planar(size)?, Maps::planar([c, 1, 1])?);
        let (x, factor) = (random(seed.into(), n * c * h * w), random(u64::from(seed) + 1, n * c));
        let mut laid = [unwritten(n * input.image()), unwritten(n * factors.image())];
        planar.copy(n, &x, &input, &mut laid[0])?;
        planar_factors.copy(n, &factor, &factors, &mut laid[1])?;
        let (mut y, mut got) = (vec![0.0; n * output.image()], unwritten(x.len()));
        Scale::new([input, factors, output])?.forward(n, &laid[0], &laid[1], &mut y)?;
        output.copy(n, &y, &planar, &mut got)?;
        prop_assert!(got.iter().zip(&x).enumerate().all(|(place, (y, x))| *y == x * factor[place / (h * w)]));
        let mut again = unwritten(y.len());
        planar.copy(n, &got, &output, &mut again)?;
        prop_assert_eq!(y, again, "margins and channels that do not exist stay 0");
    }
}

#[test]
fn factors_of_other_channels_are_refused() -> Result<(), ShapeError> {
    let (maps, factors) = (Maps::blocked([20, 3, 4])?, Maps::blocked([20, 1, 1])?);
    assert!(Scale::new([maps, Maps::blocked([21, 1, 1])?, maps]).is_err());
    assert!(Scale::new([maps, factors, Maps::blocked([20, 4, 3])?]).is_err());
    assert!(lanes() == 1 || Scale::new([Maps::planar([20, 3, 4])?, factors, maps]).is_err());
    let plan = Scale::new([maps, factors, maps])?;
    assert!(plan.forward(1, &vec![0.0; maps.image()], &[0.0; 3], &mut vec![0.0; maps.image()]).is_err());
    Ok(())
}

#[test]
fn no_images_and_wrong_slices() -> Result<(), ShapeError> {
    let mut case = plain(square(20, 20, 6, 3), 0);
    for method in [Method::Direct, Method::Winograd(2), Method::Winograd(4)] {
        assert_eq!(case.run(method, &mut Scratch::new())?, Some(Vec::new()));
    }
    case.n = 1;
    let layouts = case.layouts()?;
    let conv = Conv2d::new(case.shape, layouts, Method::Direct)?.expect("it applies");
    let (weights, bias) = (vec![0.0; conv.packed()], vec![0.0; conv.packed_bias()]);
    let filters = Filters { weights: Packed::Full(&weights), bias: &bias };
    let mut y = vec![0.0; layouts[1].image()];
    let error = conv.forward(1, &[0.0; 3], filters, Epilogue::default(), &mut y, &mut Scratch::new()).unwrap_err();
    assert!(error.to_string().starts_with("x holds 3 values"), "{error}");
    let other = layouts[2].with_margin([5; 2])?;
    let epilogue = Epilogue { add: Some((&other, &y.clone())), activation: Activation::Identity };
    assert!(conv.forward(1, &vec![0.0; layouts[0].image()], filters, epilogue, &mut y, &mut Scratch::new()).is_err());
    assert_eq!(Conv2d::new(case.shape, [layouts[0].with_margin([0; 2])?, layouts[1], layouts[2]], Method::Direct)?, None);
    assert!(Conv2d::new(case.shape, [layouts[1]; 3], Method::Direct).is_ok());
    assert!(Conv2d::new(square(21, 20, 6, 3), layouts, Method::Direct).is_err());
    Ok(())
}

/// What fuzzing found: each was a panic, a wrong answer or a huge allocation once.
#[test]
fn what_cannot_be_is_refused_before_anything_is_made() -> Result<(), ShapeError> {
    let shape = square(20, 20, 6, 3);
    assert!(Weights::new(&[], &Conv2dShape { groups: 0, ..shape }).is_err());
    let layouts = plain(shape, 1).layouts()?;
    let planar = Maps::planar(layouts[1].size())?;
    for method in [Method::Direct, Method::Winograd(2)] {
        let plan = Conv2d::new(shape, [layouts[0], layouts[1], planar], method)?;
        assert!(lanes() == 1 || plan.is_none(), "a shortcut whose channels lie apart");
    }
    let huge = Conv2dShape { c_in: 1, c_out: 1 << 38, ..square(1, 1, 3, 3) };
    assert!(cirio_kernels::Conv2d::new(huge).is_ok());
    assert_eq!(Conv2d::best_method(&shape, usize::MAX), Conv2d::best_method(&shape, 1 << 40));
    let conv = Conv2d::new(shape, layouts, Method::Direct)?.expect("it applies");
    let other = square(20, 10, 6, 3);
    let (w, mut packed) = (vec![0.0; 20 * 10 * 9], vec![0.0; conv.packed()]);
    assert!(conv.pack(&Weights::new(&w, &other)?, &mut packed).is_err(), "weights of another shape");
    Ok(())
}

fn pooled(shape: Pool2dShape, n: usize, pool: impl Fn([Maps; 2]) -> Result<Pool, ShapeError>, x: &[f32]) -> Result<Vec<f32>, ShapeError> {
    let [rows, columns] = shape.output();
    let input = Maps::blocked([shape.c, shape.h, shape.w])?.with_margin([1, 0])?;
    let output = Maps::blocked([shape.c, rows, columns])?.with_margin([0, 2])?;
    let (mut inside, mut y) = (unwritten(n * input.image()), unwritten(n * output.image()));
    Maps::planar(input.size())?.copy(n, x, &input, &mut inside)?;
    pool([input, output])?.forward(n, &inside, &mut y)?;
    output.clear_margin(n, &mut y)?;
    assert!(y.iter().all(|value| !value.is_nan()), "all is written");
    let plain = Maps::planar(output.size())?;
    let mut result = unwritten(n * plain.image());
    output.copy(n, &y, &plain, &mut result)?;
    Ok(result)
}

proptest! {
    #[test]
    fn pools(
        (c, h, w, n) in (1usize..40, 1usize..12, 1usize..12, 0usize..3),
        (kernel, stride) in (prop::array::uniform2(1usize..4), prop::array::uniform2(1usize..4)),
        padding in prop::array::uniform2(0usize..2),
        (ceil_mode, include, seed) in (any::<bool>(), any::<bool>(), 0u64..1000),
    ) {
        let shape = Pool2dShape { c, h, w, kernel, stride, padding, ceil_mode };
        prop_assume!(shape.check().is_ok());
        let x = random(seed, n * c * h * w);
        let plain = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
        let (largest, _) = (reference::max_pool2d(&shape, n, &double(&x)), ());
        prop_assert_eq!(pooled(shape, n, |layouts| Pool::max(shape, layouts), &x)?, plain(largest));
        let count = if include { CountPadding::Include } else { CountPadding::Exclude };
        let means = pooled(shape, n, |layouts| Pool::mean(shape, count, layouts), &x)?;
        assert_close("means", &means, &reference::avg_pool2d(&shape, count, n, &double(&x)), kernel[0] * kernel[1]);
    }
}

#[test]
fn adaptive_means_by_hand() -> Result<(), ShapeError> {
    // Five rows to two: rows 0 … 2 and 2 … 4.
    let (input, output) = (Maps::blocked([1, 5, 1])?, Maps::blocked([1, 2, 1])?);
    let (plain, small) = (Maps::planar([1, 5, 1])?, Maps::planar([1, 2, 1])?);
    let (mut x, mut y, mut result) = (unwritten(input.image()), unwritten(output.image()), [0.0; 2]);
    plain.copy(1, &[1.0, 2.0, 6.0, 8.0, 10.0], &input, &mut x)?;
    Pool::adaptive_mean([input, output])?.forward(1, &x, &mut y)?;
    output.copy(1, &y, &small, &mut result)?;
    assert_eq!(result, [3.0, 8.0]);
    assert!(Pool::adaptive_mean([input, Maps::blocked([2, 2, 1])?]).is_err());
    assert!(Pool::adaptive_mean([Maps::blocked([1, 1 << 40, 1])?, output]).is_err());
    assert!(lanes() == 1 || Pool::adaptive_mean([plain, small]).is_err());
    Ok(())
}

#[test]
fn a_pool_keeps_nan() -> Result<(), ShapeError> {
    let shape = Pool2dShape { c: 1, h: 1, w: 3, kernel: [1, 3], stride: [1; 2], padding: [0; 2], ceil_mode: false };
    let (input, output) = (Maps::blocked([1, 1, 3])?, Maps::blocked([1, 1, 1])?);
    for place in 0..3 {
        let mut values = [1.0, 2.0, 3.0];
        values[place] = f32::NAN;
        let (mut x, mut y) = (unwritten(input.image()), unwritten(output.image()));
        Maps::planar([1, 1, 3])?.copy(1, &values, &input, &mut x)?;
        Pool::max(shape, [input, output])?.forward(1, &x, &mut y)?;
        assert!(y[0].is_nan(), "at {place}");
    }
    Ok(())
}
