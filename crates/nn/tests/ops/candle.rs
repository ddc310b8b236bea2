//! What candle 0.11.1 itself refuses or gets wrong, and that it is right here, by the kernels and by the portable way.
//!
//! The expected numbers are small enough to be found by hand.

use candle_core::{DType, Device, Result, Tensor, Var};
use cirio_nn::ops::*;

use crate::{both, spread, values};

fn rows(values: &[&[f32]]) -> Result<Var> {
    let flat: Vec<f32> = values.concat();
    Var::from_tensor(&Tensor::from_vec(flat, (1, 1, values.len(), values[0].len()), &Device::Cpu)?)
}

/// The gradient of the sum of `y`.
fn gradient(y: &Tensor, x: &Var) -> Result<Vec<f64>> {
    values(y.backward()?.get(x).expect("a gradient"))
}

fn window(kernel: usize, stride: usize) -> Pool2dConfig {
    Pool2dConfig { kernel: [kernel; 2], stride: [stride; 2], padding: [0; 2], ceil_mode: false }
}

/// candle: `backward not supported for maxpool2d if ksize (3, 3) != stride (2, 2)`.
#[test]
fn max_pool_whose_windows_overlap() -> Result<()> {
    both(|| {
        let x = rows(&[&[0., 1., 2., 3., 4.], &[5., 6., 9., 8., 7.], &[1., 2., 3., 4., 5.]])?;
        let y = max_pool2d(&x, &window(3, 2))?;
        assert_eq!(values(&y)?, [9.0, 9.0]);
        // The 9 is the maximum of both windows.
        assert_eq!(gradient(&y, &x)?, [0., 0., 0., 0., 0., 0., 0., 2., 0., 0., 0., 0., 0., 0., 0.]);
        Ok(())
    })
}

/// candle passes a quarter of a 2×2 window's gradient, the same to each of equal maxima, and misplaces it on odd sizes.
#[test]
fn max_pool_passes_its_whole_gradient_to_the_first_maximum() -> Result<()> {
    both(|| {
        let x = rows(&[&[1., 2., 7., 7., 0.], &[4., 3., 7., 5., 0.], &[9., 9., 9., 9., 9.]])?;
        let y = max_pool2d(&x, &window(2, 2))?;
        assert_eq!(values(&y)?, [4.0, 7.0]);
        assert_eq!(gradient(&y, &x)?, [0., 0., 1., 0., 0., 1., 0., 0., 0., 0., 0., 0., 0., 0., 0.]);
        Ok(())
    })
}

/// candle gives a share to the row and the column that no window covers.
#[test]
fn average_pool_on_odd_sizes() -> Result<()> {
    both(|| {
        let x = rows(&[&[1., 2., 3., 4., 5.], &[1., 2., 3., 4., 5.], &[1., 2., 3., 4., 5.]])?;
        let y = avg_pool2d(&x, &window(2, 2), CountPadding::Include)?;
        assert_eq!(values(&y)?, [1.5, 3.5]);
        let quarter = 0.25;
        assert_eq!(
            gradient(&y, &x)?,
            [[quarter, quarter, quarter, quarter, 0.0]; 2].concat().into_iter().chain([0.0; 5]).collect::<Vec<_>>()
        );
        Ok(())
    })
}

/// candle assigns the gradient where it should add: with a second use of the same map one of the two was lost.
#[test]
fn nearest_adds_its_gradient_to_that_of_other_uses() -> Result<()> {
    both(|| {
        for enlarged_first in [true, false] {
            let x = rows(&[&[1., 2.], &[3., 4.]])?;
            let large = upsample_nearest2d(&x, [4, 4])?.sum_all()?;
            let small = x.affine(10.0, 0.0)?.sum_all()?;
            let loss = if enlarged_first { large + small } else { small + large }?;
            assert_eq!(gradient(&loss, &x)?, [14.0; 4]); // 4 copies, and 10
        }
        Ok(())
    })
}

/// candle: `backward not supported for non integer upscaling factors`, nor for two factors that differ.
#[test]
fn nearest_with_any_factor() -> Result<()> {
    both(|| {
        let x = rows(&[&[1., 2., 3.]])?;
        let y = upsample_nearest2d(&x, [2, 4])?;
        assert_eq!(values(&y)?, [1., 1., 2., 3., 1., 1., 2., 3.]);
        assert_eq!(gradient(&y, &x)?, [4., 2., 2.]);
        Ok(())
    })
}

/// candle: no gradient, and the wrong values from a part of a tensor when the size stays.
#[test]
fn bilinear_has_a_gradient_and_respects_views() -> Result<()> {
    both(|| {
        let x = rows(&[&[1., 2., 3., 4.], &[5., 6., 7., 8.]])?;
        let right = x.narrow(3, 2, 2)?;
        let same = upsample_bilinear2d(&right, [2, 2], AlignCorners::No)?;
        assert_eq!(values(&same)?, [3., 4., 7., 8.]);
        let y = upsample_bilinear2d(&right, [3, 3], AlignCorners::Yes)?;
        assert_eq!(values(&y)?, [3., 3.5, 4., 5., 5.5, 6., 7., 7.5, 8.]);
        assert_eq!(gradient(&y, &x)?, [0., 0., 2.25, 2.25, 0., 0., 2.25, 2.25]);
        Ok(())
    })
}

/// candle: `shape mismatch in add`, since it takes the size of the gradient from the rows alone.
#[test]
fn convolution_of_5x6_with_stride_2() -> Result<()> {
    both(|| {
        let x = Var::ones((1, 1, 5, 6), DType::F32, &Device::Cpu)?;
        let w = Var::ones((1, 1, 3, 3), DType::F32, &Device::Cpu)?;
        let y = conv2d(&x, &w, None, &Conv2dConfig { stride: [2; 2], padding: [1; 2], ..Conv2dConfig::default() })?;
        assert_eq!(values(&y)?, [4., 6., 6., 6., 9., 9., 4., 6., 6.]);
        // Windows begin at -1, 1, 3: a pixel is in one where its place is even, else in two; column 5 only in the last.
        let of_row = [1., 2., 1., 2., 1., 1.];
        let expected: Vec<f64> = [1., 2., 1., 2., 1.].iter().flat_map(|row| of_row.map(|column| row * column)).collect();
        assert_eq!(gradient(&y, &x)?, expected);
        // How many of the 9 windows have a pixel, and no padding, under each tap.
        assert_eq!(gradient(&y, &w)?, [4., 6., 6., 6., 9., 9., 4., 6., 6.]);
        Ok(())
    })
}

/// candle computes and keeps both gradients; a custom operation that answers `None` for a tracked tensor panics. Here the
/// kernels compute those that are wanted, whichever they are.
#[test]
fn only_the_wanted_gradients_are_computed() -> Result<()> {
    let config = Conv2dConfig::default();
    for wanted in 0..8 {
        let given = [spread(1, &[1, 2, 4, 4])?, spread(2, &[3, 2, 2, 2])?, spread(3, &[3])?];
        let mut tensors = Vec::new();
        for (index, tensor) in given.iter().enumerate() {
            let var = Var::from_tensor(&tensor.to_dtype(DType::F32)?)?;
            tensors.push(if wanted >> index & 1 == 1 { var.as_tensor().clone() } else { var.as_detached_tensor() });
        }
        let maps = conv2d(&tensors[0], &tensors[1], Some(&tensors[2]), &config)?;
        let dense = linear(&tensors[0].reshape((8, 4))?, &tensors[1].reshape((6, 4))?, None)?;
        let gradients = (maps.sum_all()? + dense.sum_all()?)?.backward()?;
        for (index, tensor) in tensors.iter().enumerate() {
            assert_eq!(gradients.get(tensor).is_some(), wanted >> index & 1 == 1, "{wanted:03b}, input {index}");
        }
    }
    Ok(())
}

/// candle: 1.
#[test]
fn the_slope_of_relu_at_zero_is_zero() -> Result<()> {
    both(|| {
        let x = rows(&[&[-1., 0., 1.]])?;
        assert_eq!(gradient(&relu(&x)?, &x)?, [0., 0., 1.]);
        Ok(())
    })
}

/// candle: `index-select` and `gather` refuse tensors that do not lie in order.
#[test]
fn transposed_inputs() -> Result<()> {
    both(|| {
        let x = rows(&[&[1., 2., 3.], &[4., 5., 6.]])?;
        let turned = x.t()?;
        assert_eq!(values(&max_pool2d(&turned, &window(2, 1))?)?, [5., 6.]);
        assert_eq!(values(&upsample_nearest2d(&turned, [3, 1])?)?, [1., 2., 3.]);
        assert_eq!(values(&adaptive_avg_pool2d(&turned, [2, 1])?)?, [3., 4.]);
        Ok(())
    })
}

/// candle: `unsupported dtype BF16 for op matmul` in a convolution; pools and the rest must do in half precision too.
#[test]
fn half_precision() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let var = |seed, shape: &[usize]| Var::from_tensor(&spread(seed, shape)?.to_dtype(dtype)?);
        let (x, w, b) = (var(1, &[2, 2, 5, 6])?, var(2, &[2, 2, 3, 3])?, var(3, &[2])?);
        let strided = Conv2dConfig { stride: [2, 1], padding: [1; 2], ..Conv2dConfig::default() };
        let pool = Pool2dConfig { padding: [1; 2], ..window(3, 2) };
        let (fc, one) = (var(4, &[3, 12])?, Tensor::ones(2, dtype, &Device::Cpu)?);
        let network = |x: &Tensor, w: &Tensor, b: &Tensor, fc: &Tensor, one: &Tensor| -> Result<Tensor> {
            let y = relu(&conv2d(x, w, Some(b), &Conv2dConfig { padding: [1; 2], ..Conv2dConfig::default() })?)?;
            let y = lrn(&batch_norm_train(&conv2d(&y, w, None, &strided)?, one, b, 1e-5)?.0, &LrnConfig::default())?;
            let y = max_pool2d(&upsample_nearest2d(&y, [7, 9])?, &pool)?;
            let y = scaled_tanh(&avg_pool2d(&upsample_bilinear2d(&y, [5, 6], AlignCorners::No)?, &pool, CountPadding::Exclude)?)?;
            linear(&batch_norm(&adaptive_avg_pool2d(&y, [2, 3])?, one, b, b, one, 1e-5)?.flatten_from(1)?, fc, None)
        };
        let y = network(&x, &w, &b, &fc, &one)?;
        let single = |tensor: &Tensor| tensor.to_dtype(DType::F32);
        let exact = network(&single(&x)?, &single(&w)?, &single(&b)?, &single(&fc)?, &single(&one)?)?;
        // Ten layers, each rounded to 2⁻¹¹ or 2⁻⁸ of values about 1, and sums of 12.
        crate::assert_close(&format!("{dtype:?}"), &y, &exact, if dtype == DType::F16 { 0.02 } else { 0.15 })?;
        let gradients = y.backward()?;
        for var in [&x, &w, &b, &fc] {
            assert!(values(gradients.get(var).expect("a gradient"))?.iter().all(|slope| slope.is_finite()), "{dtype:?}");
        }
    }
    Ok(())
}

/// A batch of no images gives no outputs, and a backward pass through it does no harm.
#[test]
fn empty_batches() -> Result<()> {
    both(|| {
        let x = Var::zeros((0, 2, 6, 5), DType::F32, &Device::Cpu)?;
        let w = Var::zeros((3, 2, 3, 3), DType::F32, &Device::Cpu)?;
        let two = Tensor::ones(2, DType::F32, &Device::Cpu)?;
        let outputs = [
            (conv2d(&x, &w, None, &Conv2dConfig::default())?, [0, 3, 4, 3]),
            (max_pool2d(&x, &window(2, 2))?, [0, 2, 3, 2]),
            (avg_pool2d(&x, &window(3, 1), CountPadding::Include)?, [0, 2, 4, 3]),
            (adaptive_avg_pool2d(&x, [7, 7])?, [0, 2, 7, 7]),
            (adaptive_avg_pool2d(&x, [3, 5])?, [0, 2, 3, 5]),
            (lrn(&x, &LrnConfig::default())?, [0, 2, 6, 5]),
            (batch_norm(&x, &two, &two, &two, &two, 1e-5)?, [0, 2, 6, 5]),
            (relu(&x)?, [0, 2, 6, 5]),
            (tanh(&x)?, [0, 2, 6, 5]),
            (scaled_tanh(&x)?, [0, 2, 6, 5]),
            (sigmoid(&x)?, [0, 2, 6, 5]),
            (hard_sigmoid(&x)?, [0, 2, 6, 5]),
            (hard_swish(&x)?, [0, 2, 6, 5]),
            (scale_channels(&x, &x.narrow(2, 0, 1)?.narrow(3, 0, 1)?)?, [0, 2, 6, 5]),
            (softmax(&x)?, [0, 2, 6, 5]),
            (log_softmax(&x)?, [0, 2, 6, 5]),
            (upsample_nearest2d(&x, [9, 8])?, [0, 2, 9, 8]),
            (upsample_bilinear2d(&x, [9, 8], AlignCorners::No)?, [0, 2, 9, 8]),
        ];
        for (y, shape) in outputs {
            assert_eq!(y.dims(), shape);
            y.sum_all()?.backward()?;
        }
        let w = Var::zeros((4, 60), DType::F32, &Device::Cpu)?;
        assert_eq!(linear(&x.flatten_from(1)?, &w, None)?.dims(), [0, 4]);
        assert_eq!(values(&linear(&x.flatten_from(1)?, &w, None)?.sum_all()?)?, [0.0]);
        let refused = batch_norm_train(&x, &two, &two, 1e-5).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("0 values in a channel"), "{refused}");
        Ok(())
    })
}
