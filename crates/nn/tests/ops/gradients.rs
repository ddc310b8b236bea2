//! Gradients of the portable way against central differences, in f64.

use candle_core::{Result, Tensor, Var};
use cirio_nn::ops::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{spread, values};

/// The step of a difference. The error of a central difference is about step² in truncation and 10⁻¹⁶ / step in rounding:
/// some 10⁻¹⁰ together, for values and slopes about 1.
const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-7;

/// The gradient of a weighted sum of all outputs, to every value of every input one by one and along a random direction in
/// which all inputs move together.
fn check(what: &str, inputs: &[Tensor], op: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let weights = spread(1, op(inputs)?.dims())?;
    let objective = |inputs: &[Tensor]| (op(inputs)? * &weights)?.sum_all();
    let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let gradients = objective(&tracked)?.backward()?;
    // (f(inputs + step·direction) - f(inputs - step·direction)) / 2·step
    let slope = |directions: &[Tensor]| -> Result<f64> {
        let moved = |step: f64| -> Result<f64> {
            let moved = inputs.iter().zip(directions).map(|(x, d)| x + (d * step)?).collect::<Result<Vec<_>>>()?;
            objective(&moved)?.to_scalar()
        };
        Ok((moved(STEP)? - moved(-STEP)?) / (2.0 * STEP))
    };
    let zeros = inputs.iter().map(Tensor::zeros_like).collect::<Result<Vec<_>>>()?;
    let mut along = (0.0, zeros.clone());
    for (index, (input, var)) in inputs.iter().zip(&vars).enumerate() {
        let gradient = gradients.get(var).unwrap_or_else(|| panic!("{what}: input {index} has no gradient"));
        assert_eq!(gradient.dims(), input.dims(), "{what}: input {index}");
        let gradient = values(gradient)?;
        for (place, &given) in gradient.iter().enumerate() {
            let mut unit = vec![0.0; gradient.len()];
            unit[place] = 1.0;
            let mut directions = zeros.clone();
            directions[index] = Tensor::from_vec(unit, input.shape(), input.device())?;
            let expected = slope(&directions)?;
            assert!(
                (given - expected).abs() < TOLERANCE * (1.0 + expected.abs()),
                "{what}, input {index}, value {place}: {given}, by differences {expected}"
            );
        }
        let direction = spread(2, input.dims())?;
        along.0 += gradient.iter().zip(values(&direction)?).map(|(g, d)| g * d).sum::<f64>();
        along.1[index] = direction;
    }
    let (given, expected) = (along.0, slope(&along.1)?);
    assert!(
        (given - expected).abs() < 10.0 * TOLERANCE * (1.0 + expected.abs()),
        "{what}, along a direction: {given}, by differences {expected}"
    );
    Ok(())
}

/// [`check`] with one input.
fn check1(what: &str, shape: &[usize], op: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
    check(what, &[spread(3, shape)?], |inputs| op(&inputs[0]))
}

#[test]
fn conv2d_on_odd_sizes() -> Result<()> {
    let plain = Conv2dConfig::default;
    let cases = [
        ([2, 3, 5, 4], [2, 3, 3, 2], plain()),
        ([1, 2, 5, 6], [3, 2, 3, 3], Conv2dConfig { stride: [2; 2], padding: [1; 2], ..plain() }),
        ([1, 2, 6, 7], [2, 2, 3, 1], Conv2dConfig { stride: [3; 2], ..plain() }),
        ([1, 2, 7, 6], [2, 2, 2, 3], Conv2dConfig { dilation: [2; 2], padding: [2; 2], ..plain() }),
        ([1, 2, 7, 6], [2, 2, 2, 3], Conv2dConfig { stride: [2; 2], dilation: [2; 2], padding: [2, 1], ..plain() }),
        ([1, 2, 5, 7], [2, 2, 3, 2], Conv2dConfig { stride: [2, 3], padding: [1, 0], dilation: [1, 2], ..plain() }),
        ([2, 4, 4, 5], [6, 2, 3, 2], Conv2dConfig { groups: 2, padding: [1; 2], ..plain() }),
        ([1, 3, 5, 4], [6, 1, 2, 3], Conv2dConfig { groups: 3, stride: [2, 1], ..plain() }),
        ([2, 2, 3, 4], [3, 2, 3, 4], plain()),
        ([2, 3, 5, 4], [2, 3, 1, 1], Conv2dConfig { stride: [2; 2], ..plain() }),
    ];
    for (x, w, config) in cases {
        let what = format!("conv2d of {x:?} with {w:?}, {config:?}");
        let inputs = [spread(3, &x)?, spread(4, &w)?, spread(5, &w[..1])?];
        check(&what, &inputs, |inputs| conv2d(&inputs[0], &inputs[1], Some(&inputs[2]), &config))?;
        check(&what, &inputs[..2], |inputs| conv2d(&inputs[0], &inputs[1], None, &config))?;
    }
    Ok(())
}

#[test]
fn conv_transpose2d_on_odd_sizes() -> Result<()> {
    let plain = ConvTranspose2dConfig::default;
    let cases = [
        ([2, 3, 3, 4], [3, 2, 2, 2], ConvTranspose2dConfig { stride: [2; 2], ..plain() }),
        ([1, 2, 3, 2], [2, 2, 4, 4], ConvTranspose2dConfig { stride: [2; 2], padding: [1; 2], ..plain() }),
        ([1, 4, 3, 2], [4, 2, 3, 2], ConvTranspose2dConfig { stride: [2, 3], output_padding: [1, 2], groups: 2, ..plain() }),
        ([1, 2, 4, 3], [2, 3, 2, 3], ConvTranspose2dConfig { padding: [2, 1], dilation: [2, 1], ..plain() }),
        ([1, 2, 4, 3], [2, 2, 1, 1], ConvTranspose2dConfig { padding: [1, 0], ..plain() }),
    ];
    for (x, w, config) in cases {
        let what = format!("conv_transpose2d of {x:?} with {w:?}, {config:?}");
        let inputs = [spread(3, &x)?, spread(4, &w)?, spread(5, &[w[1] * config.groups])?];
        check(&what, &inputs, |inputs| conv_transpose2d(&inputs[0], &inputs[1], Some(&inputs[2]), &config))?;
        check(&what, &inputs[..2], |inputs| conv_transpose2d(&inputs[0], &inputs[1], None, &config))?;
    }
    Ok(())
}

/// Boxes inside, across an edge, outside, and smaller than a pixel; of both images.
#[test]
fn regions_of_any_size() -> Result<()> {
    let boxes =
        [[1f32, 1.3, 2.1, 9.7, 8.4], [0., -4., -3., 15., 20.], [1., 3., 3., 3.5, 3.2], [0., 50., 50., 60., 60.], [1., 2., 0., 9., 4.]];
    let boxes = Tensor::new(&boxes, &candle_core::Device::Cpu)?;
    for (sampling_ratio, aligned) in [(2, true), (0, false)] {
        let config = RoiAlignConfig { output: [2, 3], spatial_scale: 0.5, sampling_ratio, aligned };
        check1(&format!("{config:?}"), &[2, 2, 5, 6], |x| roi_align(x, &boxes, &config))?;
    }
    check1("roi_pool", &[2, 2, 5, 6], |x| roi_pool(x, &boxes, &RoiPoolConfig { output: [2, 3], spatial_scale: 0.5 }))
}

#[test]
fn pools_that_overlap_pad_and_round_up() -> Result<()> {
    for (shape, kernel, stride, padding) in [
        ([2, 2, 4, 6], [2, 2], [2, 2], [0, 0]),
        ([1, 2, 5, 7], [2, 2], [2, 2], [0, 0]),
        ([1, 1, 7, 6], [3, 3], [2, 2], [0, 0]),
        ([1, 1, 7, 6], [3, 3], [2, 2], [1, 1]),
        ([1, 1, 6, 5], [2, 3], [1, 2], [1, 0]),
        ([1, 1, 8, 7], [2, 1], [3, 2], [0, 0]),
        ([1, 2, 3, 4], [3, 4], [1, 1], [0, 0]),
    ] {
        for ceil_mode in [false, true] {
            let config = Pool2dConfig { kernel, stride, padding, ceil_mode };
            check1(&format!("max pool of {shape:?}, {config:?}"), &shape, |x| max_pool2d(x, &config))?;
            for count in [CountPadding::Include, CountPadding::Exclude] {
                check1(&format!("average pool of {shape:?}, {config:?}, {count:?}"), &shape, |x| avg_pool2d(x, &config, count))?;
            }
        }
    }
    Ok(())
}

#[test]
fn adaptive_pools() -> Result<()> {
    for size in [[1, 1], [3, 2], [7, 5], [9, 4], [2, 5]] {
        check1(&format!("adaptive pool to {size:?}"), &[1, 2, 7, 5], |x| adaptive_avg_pool2d(x, size))?;
    }
    check1("adaptive pool, windows side by side", &[1, 2, 6, 4], |x| adaptive_avg_pool2d(x, [3, 2]))
}

#[test]
fn response_norm() -> Result<()> {
    for size in [1, 2, 3, 5, 9] {
        for squares in [Squares::Sum, Squares::Mean] {
            let config = LrnConfig { size, alpha: 0.7, beta: 0.75, k: 1.5, squares };
            check1(&format!("{config:?}"), &[2, 5, 2, 3], |x| lrn(x, &config))?;
        }
    }
    Ok(())
}

#[test]
fn batch_norm_of_maps_and_of_vectors() -> Result<()> {
    for shape in [vec![2, 3, 3, 2], vec![5, 3]] {
        let inputs = [spread(3, &shape)?, spread(4, &[3])?, spread(5, &[3])?];
        check("batch norm in training", &inputs, |t| Ok(batch_norm_train(&t[0], &t[1], &t[2], 1e-3)?.0))?;
        check("batch norm and ReLU in training", &inputs, |t| Ok(batch_norm_train_relu(&t[0], &t[1], &t[2], 1e-3)?.0))?;
        let [x, weight, bias] = inputs;
        let given = [x, weight, bias, spread(6, &[3])?, (spread(7, &[3])?.abs()? + 0.5)?];
        check("batch norm", &given, |t| batch_norm(&t[0], &t[1], &t[2], &t[3], &t[4], 1e-3))?;
        check("batch norm and ReLU", &given, |t| batch_norm_relu(&t[0], &t[1], &t[2], &t[3], &t[4], 1e-3))?;
    }
    Ok(())
}

#[test]
fn channels_times_numbers() -> Result<()> {
    check("scale channels", &[spread(3, &[2, 3, 3, 2])?, spread(4, &[2, 3, 1, 1])?], |t| scale_channels(&t[0], &t[1]))
}

#[test]
fn linear_on_any_rank() -> Result<()> {
    for shape in [vec![4], vec![3, 4], vec![2, 3, 4]] {
        let inputs = [spread(3, &shape)?, spread(4, &[5, 4])?, spread(5, &[5])?];
        check(&format!("linear on {shape:?}"), &inputs, |t| linear(&t[0], &t[1], Some(&t[2])))?;
        check(&format!("linear on {shape:?}, no bias"), &inputs[..2], |t| linear(&t[0], &t[1], None))?;
    }
    Ok(())
}

#[test]
fn activations_and_dropout() -> Result<()> {
    check1("relu", &[3, 5], relu)?;
    check1("tanh", &[3, 5], |x| tanh(&(x * 3.0)?))?;
    check1("scaled tanh", &[3, 5], |x| scaled_tanh(&(x * 3.0)?))?;
    check1("sigmoid", &[3, 5], |x| sigmoid(&(x * 3.0)?))?;
    check1("hard sigmoid", &[3, 5], |x| hard_sigmoid(&(x * 5.0)?))?;
    check1("hard swish", &[3, 5], |x| hard_swish(&(x * 5.0)?))?;
    check1("softmax", &[2, 3, 4], |x| softmax(&(x * 3.0)?))?;
    check1("log softmax", &[2, 3, 4], |x| log_softmax(&(x * 3.0)?))?;
    check1("dropout", &[3, 5], |x| dropout(x, 0.4, &mut ChaCha8Rng::seed_from_u64(1)))
}

#[test]
fn resizing_up_and_down() -> Result<()> {
    for size in [[6, 8], [7, 5], [2, 3], [1, 1], [3, 9]] {
        check1(&format!("nearest to {size:?}"), &[1, 2, 3, 4], |x| upsample_nearest2d(x, size))?;
        for corners in [AlignCorners::Yes, AlignCorners::No] {
            check1(&format!("bilinear to {size:?}, {corners:?}"), &[1, 2, 3, 4], |x| upsample_bilinear2d(x, size, corners))?;
        }
    }
    Ok(())
}

/// The helper itself: it must see a gradient that is wrong.
#[test]
#[should_panic(expected = "by differences")]
fn a_wrong_gradient_is_seen() {
    let square_with_half_its_gradient = |x: &Tensor| x * x.detach();
    check1("half", &[3], square_with_half_its_gradient).unwrap();
}
