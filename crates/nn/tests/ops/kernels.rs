//! The kernels in f32 against the portable way in f64: outputs and gradients, on random shapes and layouts.

use candle_core::{DType, Device, Result, Tensor, Var};
use cirio_nn::ops::*;
use proptest::prelude::*;

use crate::{assert_close, spread};

/// Sums of up to some thousand terms of about 1, each rounded to 2⁻²⁴, against exact ones.
const TOLERANCE: f64 = 2e-5;

/// Where the values of an input lie.
#[derive(Clone, Copy, Debug)]
enum Lies {
    /// In order, from the beginning of their storage.
    Plain,
    /// In order, after others.
    Behind,
    /// The last two axes are exchanged in memory.
    Transposed,
}

impl Lies {
    /// The same values, laid out so.
    fn lay(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Lies::Plain => Ok(x.clone()),
            Lies::Behind if x.rank() < 1 => Ok(x.clone()),
            Lies::Behind => Tensor::cat(&[&x.ones_like()?, x], 0)?.narrow(0, x.dim(0)?, x.dim(0)?),
            Lies::Transposed if x.rank() < 2 => Ok(x.clone()),
            Lies::Transposed => x.t()?.contiguous()?.t(),
        }
    }
}

/// Output and gradients of a weighted sum of the outputs, in f64 by the portable way and in f32 by the kernels.
fn compare(inputs: &[Tensor], lies: Lies, op: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let run = |dtype: DType| -> Result<Vec<Tensor>> {
        let vars = inputs.iter().map(|x| Var::from_tensor(&x.to_dtype(dtype)?)).collect::<Result<Vec<_>>>()?;
        let y = op(&vars.iter().map(|var| lies.lay(var)).collect::<Result<Vec<_>>>()?)?;
        let gradients = (&y * spread(9, y.dims())?.to_dtype(dtype)?)?.backward()?;
        let slopes = vars.iter().map(|var| gradients.get(var).cloned().ok_or_else(|| candle_core::Error::Msg("no gradient".into())));
        [Ok(y)].into_iter().chain(slopes).collect()
    };
    let exact = run(DType::F64)?;
    for (index, (given, expected)) in run(DType::F32)?.iter().zip(&exact).enumerate() {
        let what = if index == 0 { "output".to_owned() } else { format!("gradient to input {}", index - 1) };
        assert_close(&what, given, expected, TOLERANCE)?;
    }
    Ok(())
}

fn pair(range: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = [usize; 2]> {
    [range.clone(), range]
}

fn lies() -> impl Strategy<Value = Lies> {
    prop_oneof![Just(Lies::Plain), Just(Lies::Behind), Just(Lies::Transposed)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn conv(
        n in 1usize..4, groups in 1usize..4, per_group in pair(1..=5), size in pair(1..=14), kernel in pair(1..=4),
        stride in pair(1..=3), padding in pair(0..=3), dilation in pair(1..=2), biased: bool, lies in lies(),
    ) {
        let config = Conv2dConfig { stride, padding, dilation, groups };
        let x = spread(1, &[n, groups * per_group[0], size[0], size[1]])?;
        let w = spread(2, &[groups * per_group[1], per_group[0], kernel[0], kernel[1]])?;
        let fits = (0..2).all(|axis| dilation[axis] * (kernel[axis] - 1) < size[axis] + 2 * padding[axis]);
        prop_assert_eq!(fits, conv2d(&x, &w, None, &config).is_ok());
        if fits && biased {
            let bias = spread(3, &[groups * per_group[1]])?;
            compare(&[x, w, bias], lies, |t| conv2d(&t[0], &t[1], Some(&t[2]), &config))?;
        } else if fits {
            compare(&[x, w], lies, |t| conv2d(&t[0], &t[1], None, &config))?;
        }
    }

    #[test]
    fn conv_transposed(
        n in 1usize..4, groups in 1usize..4, per_group in pair(1..=5), size in pair(1..=9), kernel in pair(1..=4),
        stride in pair(1..=3), padding in pair(0..=2), output_padding in pair(0..=2), dilation in pair(1..=2), lies in lies(),
    ) {
        let config = ConvTranspose2dConfig { stride, padding, output_padding, dilation, groups };
        let x = spread(1, &[n, groups * per_group[0], size[0], size[1]])?;
        let w = spread(2, &[groups * per_group[0], per_group[1], kernel[0], kernel[1]])?;
        if conv_transpose2d(&x, &w, None, &config).is_ok() {
            let bias = spread(3, &[groups * per_group[1]])?;
            compare(&[x, w, bias], lies, |t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), &config))?;
        }
    }

    #[test]
    fn regions(
        (n, c) in (1usize..3, 1usize..3), size in pair(1..=9), output in pair(1..=4), sampling_ratio in 0usize..3, aligned: bool,
        corners in prop::collection::vec([-10f32..30.0, -10f32..30.0, -10f32..30.0, -10f32..30.0], 1..5), lies in lies(),
    ) {
        let rows: Vec<f32> = corners.iter().enumerate().flat_map(|(index, [a, b, c, d])| [(index % n) as f32, *a, *b, *c, *d]).collect();
        let boxes = Tensor::from_vec(rows, (corners.len(), 5), &Device::Cpu)?;
        let x = [spread(1, &[n, c, size[0], size[1]])?];
        let config = RoiAlignConfig { output, spatial_scale: 0.5, sampling_ratio, aligned };
        compare(&x, lies, |t| roi_align(&t[0], &boxes, &config))?;
        compare(&x, lies, |t| roi_pool(&t[0], &boxes, &RoiPoolConfig { output, spatial_scale: 0.5 }))?;
    }

    #[test]
    fn pools(
        n in 1usize..4, c in 1usize..4, size in pair(1..=12), kernel in pair(1..=4), stride in pair(1..=4),
        padding in pair(0..=2), ceil_mode: bool, lies in lies(),
    ) {
        let config = Pool2dConfig { kernel, stride, padding, ceil_mode };
        let x = spread(1, &[n, c, size[0], size[1]])?;
        prop_assert_eq!(config.output(size).is_ok(), max_pool2d(&x, &config).is_ok());
        if config.output(size).is_ok() {
            compare(std::slice::from_ref(&x), lies, |t| max_pool2d(&t[0], &config))?;
            for count in [CountPadding::Include, CountPadding::Exclude] {
                compare(std::slice::from_ref(&x), lies, |t| avg_pool2d(&t[0], &config, count))?;
            }
        }
    }

    /// After rounding, many values of a window are equal: the gradient must go to the same one both ways.
    #[test]
    fn max_pool_with_ties(size in pair(3..=9), kernel in pair(1..=3), stride in pair(1..=3), levels in 1u32..4) {
        let config = Pool2dConfig { kernel, stride, padding: [0, 0], ceil_mode: false };
        let x = (spread(1, &[2, 2, size[0], size[1]])? * f64::from(levels))?.round()?;
        compare(&[x], Lies::Plain, |t| max_pool2d(&t[0], &config))?;
    }

    #[test]
    fn adaptive_pool(c in 1usize..4, size in pair(1..=9), to in pair(1..=9), lies in lies()) {
        compare(&[spread(1, &[2, c, size[0], size[1]])?], lies, |t| adaptive_avg_pool2d(&t[0], to))?;
    }

    #[test]
    fn response_norm(n in 1usize..3, c in 1usize..8, size in pair(1..=5), window in 1usize..7, alexnet: bool, lies in lies()) {
        let beta = if alexnet { 0.75 } else { 0.6 };
        let config = LrnConfig { size: window, alpha: 0.8, beta, k: 1.2, squares: Squares::Mean };
        compare(&[spread(1, &[n, c, size[0], size[1]])?], lies, |t| lrn(&t[0], &config))?;
    }

    #[test]
    fn batch_norms(n in 2usize..5, c in 1usize..5, size in prop::collection::vec(1usize..7, 0..4), lies in lies()) {
        let x = spread(1, &[[n, c].as_slice(), &size].concat())?;
        let affine = [x, spread(2, &[c])?, spread(3, &[c])?];
        // A large eps: near a variance of 0 the slope is that of 1 / √eps.
        compare(&affine, lies, |t| Ok(batch_norm_train(&t[0], &t[1], &t[2], 0.1)?.0))?;
        let statistics = |t: &[Tensor]| {
            let (_, mean, variance) = batch_norm_train(&t[0], &t[1], &t[2], 0.1)?;
            Tensor::cat(&[mean, variance], 0)
        };
        let single: Vec<Tensor> = affine.iter().map(|t| lies.lay(&t.to_dtype(DType::F32)?)).collect::<Result<_>>()?;
        assert_close("statistics", &statistics(&single)?, &statistics(&affine)?, TOLERANCE)?;
        let [x, weight, bias] = affine;
        let given = [x, weight, bias, spread(4, &[c])?, (spread(5, &[c])?.abs()? + 0.1)?];
        compare(&given, lies, |t| batch_norm(&t[0], &t[1], &t[2], &t[3], &t[4], 0.1))?;
    }

    #[test]
    fn fully_connected(n in 1usize..9, inputs in 1usize..40, outputs in 1usize..40, biased: bool, lies in lies()) {
        let (x, w) = (spread(1, &[n, inputs])?, spread(2, &[outputs, inputs])?);
        if biased {
            compare(&[x, w, spread(3, &[outputs])?], lies, |t| linear(&t[0], &t[1], Some(&t[2])))?;
        } else {
            compare(&[x, w], lies, |t| linear(&t[0], &t[1], None))?;
        }
    }

    #[test]
    fn channels_times_numbers(n in 1usize..4, c in 1usize..6, size in pair(1..=9), lies in lies()) {
        compare(&[spread(1, &[n, c, size[0], size[1]])?, spread(2, &[n, c, 1, 1])?], lies, |t| scale_channels(&t[0], &t[1]))?;
    }

    #[test]
    fn resizing(n in 1usize..3, c in 1usize..4, size in pair(1..=9), to in pair(1..=12), lies in lies()) {
        let x = [spread(1, &[n, c, size[0], size[1]])?];
        compare(&x, lies, |t| upsample_nearest2d(&t[0], to))?;
        for corners in [AlignCorners::Yes, AlignCorners::No] {
            compare(&x, lies, |t| upsample_bilinear2d(&t[0], to, corners))?;
        }
    }

    #[test]
    fn functions_of_each_value(shape in prop::collection::vec(0usize..6, 0..4), lies in lies()) {
        for op in [relu, tanh, scaled_tanh, sigmoid, hard_sigmoid, hard_swish] {
            compare(&[(spread(1, &shape)? * 3.0)?], lies, |t| op(&t[0]))?;
        }
    }

    #[test]
    fn over_classes(shape in prop::collection::vec(1usize..9, 1..4), lies in lies()) {
        for op in [softmax, log_softmax] {
            compare(&[(spread(1, &shape)? * 3.0)?], lies, |t| op(&t[0]))?;
        }
    }
}

/// One operation gives the bits of two, gradients too.
#[test]
fn batch_norm_with_relu_is_both() -> Result<()> {
    let run = |op: &dyn Fn(&[Tensor]) -> Result<Tensor>| -> Result<Vec<Vec<f64>>> {
        let inputs = [spread(1, &[3, 4, 5, 6])?, spread(2, &[4])?, spread(3, &[4])?, spread(4, &[4])?, (spread(5, &[4])?.abs()? + 0.1)?];
        let vars = inputs.iter().map(|x| Var::from_tensor(&x.to_dtype(DType::F32)?)).collect::<Result<Vec<_>>>()?;
        let y = op(&vars.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>())?;
        let gradients = (&y * spread(9, y.dims())?.to_dtype(DType::F32)?)?.backward()?;
        [Some(&y)].into_iter().chain(vars.iter().map(|var| gradients.get(var))).flatten().map(crate::values).collect()
    };
    let fused = run(&|t| Ok(batch_norm_train_relu(&t[0], &t[1], &t[2], 0.1)?.0))?;
    assert_eq!(fused, run(&|t| relu(&batch_norm_train(&t[0], &t[1], &t[2], 0.1)?.0))?);
    let fused = run(&|t| batch_norm_relu(&t[0], &t[1], &t[2], &t[3], &t[4], 0.1))?;
    assert_eq!(fused, run(&|t| relu(&batch_norm(&t[0], &t[1], &t[2], &t[3], &t[4], 0.1)?))?);
    Ok(())
}

/// Large enough for several threads.
#[test]
fn conv_on_many_threads() -> Result<()> {
    let config = Conv2dConfig { stride: [2; 2], padding: [1; 2], ..Conv2dConfig::default() };
    let inputs = [spread(1, &[4, 8, 33, 30])?, spread(2, &[16, 8, 3, 3])?, spread(3, &[16])?];
    compare(&inputs, Lies::Plain, |t| conv2d(&t[0], &t[1], Some(&t[2]), &config))
}
