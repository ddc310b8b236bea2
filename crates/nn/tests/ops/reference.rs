//! Outputs and gradients against torch 1.13 and torchvision 0.14, by the portable way in f64 and f32 and by the kernels in f32.
//!
//! Above each test stand the lines of Python that made its numbers; before them come, once for all,
//!
//! ```python
//! import math, torch, torchvision, torch.nn.functional as F
//! torch.set_default_dtype(torch.float64)
//! def wave(step, *shape):
//!     return (torch.arange(math.prod(shape)) * step).sin().reshape(shape).requires_grad_()
//! ```
//!
//! and after them, for the inputs in their order,
//!
//! ```python
//! print(y.shape, y.flatten().tolist())
//! for slope in torch.autograd.grad((y * wave(1.3, *y.shape)).sum(), inputs):
//!     print(slope.flatten().tolist())
//! ```

use candle_core::{DType, Device, Result, Tensor, Var};
use cirio_nn::ops::*;

use crate::assert_close;

/// The numbers below are rounded to five places.
const TOLERANCE: f64 = 1e-5;

/// sin(0), sin(step), sin(2·step), …
fn wave(step: f64, shape: &[usize]) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|index| (index as f64 * step).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// What torch gives: the output with its shape, and the gradients to the inputs.
struct Expected<'a> {
    output: (&'a [usize], &'a [f64]),
    slopes: &'a [&'a [f64]],
}

impl Expected<'_> {
    fn check<const COUNT: usize>(&self, inputs: [Result<Tensor>; COUNT], op: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
        let inputs = inputs.into_iter().collect::<Result<Vec<_>>>()?;
        self.check_as(DType::F64, &inputs, &op)?;
        self.check_as(DType::F32, &inputs, &op)?;
        with_portable(|| self.check_as(DType::F32, &inputs, &op))
    }

    fn check_as(&self, dtype: DType, inputs: &[Tensor], op: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
        let vars = inputs.iter().map(|input| Var::from_tensor(&input.to_dtype(dtype)?)).collect::<Result<Vec<_>>>()?;
        let y = op(&vars.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>())?;
        let tensor = |values: &[f64], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu);
        assert_close("output", &y, &tensor(self.output.1, self.output.0)?, TOLERANCE)?;
        let gradients = (&y * wave(1.3, y.dims())?.to_dtype(dtype)?)?.backward()?;
        assert_eq!(vars.len(), self.slopes.len());
        for (index, (var, slopes)) in vars.iter().zip(self.slopes).enumerate() {
            let given = gradients.get(var).unwrap_or_else(|| panic!("input {index} has no gradient"));
            assert_close(&format!("gradient to input {index}"), given, &tensor(slopes, var.dims())?, TOLERANCE)?;
        }
        Ok(())
    }
}

/// ```python
/// x, w, b = wave(0.7, 1, 2, 5, 6), wave(0.9, 2, 1, 3, 2), wave(0.5, 2)
/// y = F.conv2d(x, w, b, stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
/// ```
#[test]
fn conv2d_with_groups_and_dilation() -> Result<()> {
    let expected = Expected {
        output: (
            &[1, 2, 3, 4],
            &[
                1.42393, 1.41461, 0.73997, -0.28269, -0.80209, -1.17508, -0.99541, -0.34758, -0.34688, -0.26607, -0.06012, 0.17411,
                0.33048, -0.25344, -0.49268, -0.27472, -0.29951, -0.20851, 0.20604, 0.74916, 0.88774, 1.6208, 1.81705, 1.3842,
            ],
        ),
        slopes: &[
            &[
                0., 0.93836, 0.50202, -0.25797, 0.22031, -0.29394, 0., -0.42639, -0.92015, -0.46905, 0.27827, 0.92227, -0.86035, 0.20949,
                0.59486, 0.40269, 0.42676, 0.13638, 0.39095, -0.09519, -0.22673, -0.94838, -0.64698, 0.46104, -0.80618, -0.74206, 0.05538,
                0.63531, 0.17957, 0.42173, 0.08552, -0.73742, -0.37553, -0.42055, -0.58662, 0.58731, -0.67333, -0.29896, 0.47971, 0.9969,
                0.26014, -0.28411, 0.73715, -0.08622, 0.11755, -0.4382, -0.9572, -0.40673, -0.2065, -0.6841, -0.57162, 0.66239, 0.44617,
                0.17508, 0.60522, 0.65662, 0.48567, 0.00994, -0.31031, -0.96843,
            ],
            &[0.64642, -0.18149, 0.47583, 1.93367, 0.08974, -0.83721, 0.53802, 0.53191, -1.13151, 1.15371, 0.79759, -0.18708],
            &[1.25773, -1.13533],
        ],
    };
    let config = Conv2dConfig { stride: [2, 1], padding: [1, 0], dilation: [1, 2], groups: 2 };
    let inputs = [wave(0.7, &[1, 2, 5, 6]), wave(0.9, &[2, 1, 3, 2]), wave(0.5, &[2])];
    expected.check(inputs, |t| conv2d(&t[0], &t[1], Some(&t[2]), &config))
}

/// ```python
/// x, w = wave(0.7, 1, 2, 5, 6), wave(0.9, 2, 2, 3, 3)
/// y = F.conv2d(x, w, stride=2, padding=1)
/// ```
#[test]
fn conv2d_where_the_stride_leaves_a_column() -> Result<()> {
    let expected = Expected {
        output: (
            &[1, 2, 3, 3],
            &[
                -1.7117, 1.5953, 3.70741, -0.5416, 2.3781, -0.18227, 2.19275, 0.45051, -3.39572, 2.18462, 0.81688, -3.27532, 2.07774,
                -2.07782, -1.82073, -2.25464, -2.73932, 2.327,
            ],
        ),
        slopes: &[
            &[
                -0.62001, -0.29939, -0.08452, -0.26799, 0.57479, 0.44452, -0.27356, -0.14416, 0.03379, 0.45107, 0.29164, 0.09899, 0.39203,
                0.35146, -0.36506, 0.03201, -0.58733, -0.79162, 0.12224, -0.24484, -0.22625, -0.51647, -0.24328, 0.04306, 0.05084,
                -0.21088, 0.61453, 0.22151, 0.27794, 0.70481, -0.27862, -0.161, -0.58058, 0.25961, -0.03199, -0.47782, 0.2788, 0.52864,
                0.1979, 0.15084, -0.17292, -0.30902, 0.56347, -0.09917, 0.33344, -0.35295, -0.38508, 0.31073, -0.29041, -0.39049, 0.01755,
                0.23903, 0.2998, 0.32387, -0.53946, 0.30498, 0.09647, 0.25282, 0.59107, 0.02668,
            ],
            &[
                0.3851, 1.39721, 2.12818, 0.24152, -0.99624, -0.7043, -1.34758, -1.10266, -0.76427, 0.39903, 0.61073, -0.8663, 0.24834,
                0.62056, 0.98, 0.67467, 0.70667, 1.09149, 1.43266, 1.00274, 0.51332, 0.44642, 0.59613, 0.09947, -1.52985, -0.05293,
                1.24821, -0.80999, -0.87861, -1.07355, 0.66466, -0.78948, -0.72988, 1.42161, 1.70263, 0.62492,
            ],
        ],
    };
    let config = Conv2dConfig { stride: [2; 2], padding: [1; 2], ..Conv2dConfig::default() };
    let inputs = [wave(0.7, &[1, 2, 5, 6]), wave(0.9, &[2, 2, 3, 3])];
    expected.check(inputs, |t| conv2d(&t[0], &t[1], None, &config))
}

/// ```python
/// x, w, b = wave(0.7, 1, 4, 3, 2), wave(0.9, 4, 1, 3, 2), wave(0.5, 2)
/// y = F.conv_transpose2d(x, w, b, stride=(2, 1), padding=(1, 0), output_padding=(1, 0), groups=2, dilation=(1, 2))
/// ```
#[test]
fn conv_transpose2d_with_everything() -> Result<()> {
    let expected = Expected {
        output: (
            &[1, 2, 6, 4],
            &[
                -0.69174, -0.15237, -0.84533, -0.67755, 0.12863, -0.70296, 1.16009, 0.49622, 0.45866, 0.85398, -0.1911, 0.38523, -1.20393,
                -1.13868, -0.40103, -1.10967, 0.84766, 0.44267, 0.78037, 0.8085, 0.12252, 0.56247, -0.62806, -0.10922, 0.48291, -0.01268,
                1.16803, 0.76967, 1.22354, 1.79575, 0.15523, 1.08763, -0.27683, -0.1853, 0.2348, -0.18502, 1.74887, 1.10495, 1.73398,
                1.7903, 0.21886, 0.74557, -0.29234, -0.03669, -0.21949, -0.42836, 0.38229, -0.13304,
            ],
        ),
        slopes: &[
            &[
                -0.36484, 0.2373, 0.69914, -0.25115, -0.01576, 0.79926, -0.32098, 0.04034, 0.77113, -0.46854, 0.14717, 1.03302, -0.00277,
                -0.18017, 0.36627, -0.25299, 0.09606, 0.51474, 0.33807, -0.19434, -0.43834, -0.06282, 0.19914, -0.32691,
            ],
            &[
                -0.32289, 0.84444, -0.50355, 0.63927, -0.59202, 0.37532, -0.28603, -0.42397, 0.06597, -1.08504, 1.79354, -1.98869, 0.55264,
                -0.32069, 0.09589, 0.74839, -1.37847, 1.614, -0.54057, 0.99844, -0.58593, 0.68503, -0.58806, 0.32277,
            ],
            &[0.1224, 0.14726],
        ],
    };
    let config = ConvTranspose2dConfig { stride: [2, 1], padding: [1, 0], output_padding: [1, 0], dilation: [1, 2], groups: 2 };
    expected.check([wave(0.7, &[1, 4, 3, 2]), wave(0.9, &[4, 1, 3, 2]), wave(0.5, &[2])], |t| {
        conv_transpose2d(&t[0], &t[1], Some(&t[2]), &config)
    })
}

/// ```python
/// x = wave(0.7, 1, 2, 5, 6)
/// y = F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
/// ```
#[test]
fn max_pool2d_padded_in_ceil_mode() -> Result<()> {
    let expected = Expected {
        output: (
            &[1, 2, 3, 4],
            &[
                0.64422, 0.98545, 0.98817, 0.98817, 0.8546, 0.99061, 0.98817, 0.98817, 0.66957, 0.99061, 0.99277, 0.99277, 0.83666,
                0.99464, 0.82733, -0.41293, 0.81777, 0.99464, 0.99624, 0.99624, 0.81777, 0.99756, 0.80797, -0.44332,
            ],
        ),
        slopes: &[&[
            0., 0., 0.96356, 0., 0., 0., 0., 0., 0., 0., 0., 1.14538, -0.88345, 0., 0., 0., 0., 0., 0., -0.82783, -0.54686, 0., 0., 0., 0.,
            0., 0., 0., 0., 1.40694, 0.10775, 0., 0., 0., 0., 0., 0., 0., -1.03776, -0.60483, 0., 0.60554, 0., 0., 0., 0., 0., -1.40628,
            1.69135, 0., 0., 0., 0., 0., 0., 0., 0.82733, -0.31994, 0., -0.9985,
        ]],
    };
    let config = Pool2dConfig { kernel: [3; 2], stride: [2; 2], padding: [1; 2], ceil_mode: true };
    expected.check([wave(0.7, &[1, 2, 5, 6])], |t| max_pool2d(&t[0], &config))
}

/// Half of the values of each window are equal.
///
/// ```python
/// x = torch.tensor([[[[1., 1, 1, 0], [1, 1, 2, 2], [0, 0, 2, 2]]]], requires_grad=True)
/// y = F.max_pool2d(x, 2, stride=1)
/// ```
#[test]
fn max_pool2d_with_ties() -> Result<()> {
    let expected = Expected {
        output: (&[1, 1, 2, 3], &[1., 2., 2., 1., 2., 2.]),
        slopes: &[&[0., 0., 0., 0., -0.68777, 0., 0.81072, 0., 0., 0., 0., 0.]],
    };
    let config = Pool2dConfig { kernel: [2; 2], stride: [1; 2], padding: [0; 2], ceil_mode: false };
    let x = Tensor::new(&[1., 1., 1., 0., 1., 1., 2., 2., 0., 0., 2., 2.], &Device::Cpu)?.reshape((1, 1, 3, 4));
    expected.check([x], |t| max_pool2d(&t[0], &config))
}

/// ```python
/// x = wave(0.7, 1, 1, 5, 6)
/// y = F.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True, count_include_pad=True)
/// ```
#[test]
fn avg_pool2d_with_padding_in_the_mean() -> Result<()> {
    let expected = Expected {
        output: (
            &[1, 1, 3, 4],
            &[-0.13442, 0.09955, 0.27882, 0.10623, 0.00254, -0.00201, -0.00536, -0.00201, -0.12889, 0.10843, 0.27688, 0.10178],
        ),
        slopes: &[&[
            0., 0.10706, 0.10706, 0.16434, 0.05728, -0.05735, -0.09816, 0.0328, 0.13096, 0.29919, 0.16823, 0.10678, -0.09816, -0.07426,
            0.0239, 0.13485, 0.11095, 0.16413, -0.19014, -0.2509, -0.06076, 0.09687, 0.15763, 0.37528, -0.09198, -0.17665, -0.08466,
            -0.03798, 0.04669, 0.21115,
        ]],
    };
    let config = Pool2dConfig { kernel: [3; 2], stride: [2; 2], padding: [1; 2], ceil_mode: true };
    expected.check([wave(0.7, &[1, 1, 5, 6])], |t| avg_pool2d(&t[0], &config, CountPadding::Include))
}

/// ```python
/// x = wave(0.7, 1, 1, 5, 6)
/// y = F.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)
/// ```
#[test]
fn avg_pool2d_without_padding_in_the_mean() -> Result<()> {
    let expected = Expected {
        output: (
            &[1, 1, 3, 4],
            &[-0.30245, 0.14933, 0.41823, 0.31869, 0.00381, -0.00201, -0.00536, -0.00401, -0.29, 0.16265, 0.41532, 0.30535],
        ),
        slopes: &[&[
            0., 0.16059, 0.16059, 0.24651, 0.08592, -0.25797, -0.14724, 0.03725, 0.1845, 0.38136, 0.19687, -0.04065, -0.14724, -0.12334,
            0.0239, 0.13485, 0.11095, 0.21732, -0.3542, -0.45729, -0.1031, 0.07788, 0.18098, 0.78073, -0.20696, -0.33395, -0.127, -0.05697,
            0.07003, 0.56341,
        ]],
    };
    let config = Pool2dConfig { kernel: [3; 2], stride: [2; 2], padding: [1; 2], ceil_mode: true };
    expected.check([wave(0.7, &[1, 1, 5, 6])], |t| avg_pool2d(&t[0], &config, CountPadding::Exclude))
}

/// ```python
/// x = wave(0.7, 1, 1, 7, 5)
/// y = F.adaptive_avg_pool2d(x, (3, 2))
/// ```
#[test]
fn adaptive_avg_pool2d_from_7_to_3() -> Result<()> {
    let expected = Expected {
        output: (&[1, 1, 3, 2], &[0.21385, 0.15488, 0.24025, -0.00825, 0.1484, -0.16732]),
        slopes: &[&[
            0., 0., 0.10706, 0.10706, 0.10706, 0., 0., 0.10706, 0.10706, 0.10706, 0.05728, 0.05728, 0.08792, 0.03064, 0.03064, 0.05728,
            0.05728, -0.01914, -0.07642, -0.07642, -0.04088, -0.04088, -0.0934, -0.05252, -0.05252, -0.09816, -0.09816, -0.07426, 0.0239,
            0.0239, -0.09816, -0.09816, -0.07426, 0.0239, 0.0239,
        ]],
    };
    expected.check([wave(0.7, &[1, 1, 7, 5])], |t| adaptive_avg_pool2d(&t[0], [3, 2]))
}

/// ```python
/// x = wave(0.7, 1, 6, 1, 3)
/// y = F.local_response_norm(x, 5, alpha=0.5, beta=0.75, k=1.5)
/// ```
#[test]
fn lrn_with_an_odd_window() -> Result<()> {
    let expected = Expected {
        output: (
            &[1, 6, 1, 3],
            &[
                0., 0.44266, 0.67712, 0.59279, 0.22576, -0.23085, -0.57941, -0.65914, -0.41306, 0.01082, 0.43051, 0.66331, 0.56742,
                0.21011, -0.24734, -0.60413, -0.67282, -0.42473,
            ],
        ),
        slopes: &[&[
            0., 0.66042, 0.29842, -0.39627, -0.60143, 0.18167, 0.59167, 0.21532, -0.46112, -0.48819, 0.33733, 0.5635, 0.13904, -0.5873,
            -0.36998, 0.39068, 0.58125, -0.02817,
        ]],
    };
    let config = LrnConfig { size: 5, alpha: 0.5, beta: 0.75, k: 1.5, squares: Squares::Mean };
    expected.check([wave(0.7, &[1, 6, 1, 3])], |t| lrn(&t[0], &config))
}

/// ```python
/// x = wave(0.7, 1, 6, 1, 3)
/// y = F.local_response_norm(x, 2, alpha=0.5, beta=0.75, k=1.5)
/// ```
#[test]
fn lrn_with_an_even_window() -> Result<()> {
    let expected = Expected {
        output: (
            &[1, 6, 1, 3],
            &[
                0., 0.45204, 0.64969, 0.58334, 0.23202, -0.22825, -0.54368, -0.6404, -0.43752, 0.01134, 0.4143, 0.62453, 0.57845, 0.22086,
                -0.23804, -0.54878, -0.6394, -0.42867,
            ],
        ),
        slopes: &[&[
            0., 0.64086, 0.27907, -0.29409, -0.58161, 0.16556, 0.52664, 0.20013, -0.44203, -0.51429, 0.27272, 0.46978, 0.11783, -0.58778,
            -0.3778, 0.31932, 0.48296, -0.06871,
        ]],
    };
    let config = LrnConfig { size: 2, alpha: 0.5, beta: 0.75, k: 1.5, squares: Squares::Mean };
    expected.check([wave(0.7, &[1, 6, 1, 3])], |t| lrn(&t[0], &config))
}

/// ```python
/// x, w, b = wave(0.7, 2, 2, 2, 3), wave(0.5, 2), wave(0.9, 2)
/// m, v = torch.zeros(2), torch.zeros(2)
/// y = F.batch_norm(x, m, v, w, b, training=True, momentum=1.0, eps=1e-3)
/// print(m, v)
/// ```
#[test]
fn batch_norm_in_training() -> Result<()> {
    let expected = Expected {
        output: (
            &[2, 2, 2, 3],
            &[
                0., 0., 0., 0., 0., 0., 0.08239, 0.00529, 0.24949, 0.70014, 1.1453, 1.37559, 0., 0., 0., 0., 0., 0., 0.71183, 1.15405,
                1.37728, 1.27655, 0.89923, 0.42277,
            ],
        ),
        slopes: &[
            &[
                0., 0., 0., 0., 0., 0., 0.94045, 0.49506, -0.38821, -0.50065, 0.16508, 0.47823, 0., 0., 0., 0., 0., 0., -0.66116, -0.42176,
                0.32172, 0.40213, -0.26316, -0.56772,
            ],
            &[-1.79141, 2.90482],
            &[0.12245, -0.00005],
        ],
    };
    let inputs = [wave(0.7, &[2, 2, 2, 3]), wave(0.5, &[2]), wave(0.9, &[2])];
    expected.check(inputs, |t| {
        let (y, mean, variance) = batch_norm_train(&t[0], &t[1], &t[2], 1e-3)?;
        assert_close("mean", &mean, &Tensor::new(&[0.06727, 0.13644], &Device::Cpu)?, TOLERANCE)?;
        assert_close("variance", &variance, &Tensor::new(&[0.49031, 0.51748], &Device::Cpu)?, TOLERANCE)?;
        Ok(y)
    })
}

/// ```python
/// x, w, b = wave(0.7, 2, 2, 2, 3), wave(0.5, 2), wave(0.9, 2)
/// m, v = torch.tensor([0.1, -0.2]), torch.tensor([0.5, 2.0])
/// y = F.batch_norm(x, m, v, w, b, training=False, eps=1e-3)
/// ```
#[test]
fn batch_norm_with_given_statistics() -> Result<()> {
    let expected = Expected {
        output: (
            &[2, 2, 2, 3],
            &[
                0., 0., 0., 0., 0., 0., 0.55572, 0.51814, 0.63716, 0.85681, 1.07378, 1.18602, 0., 0., 0., 0., 0., 0., 0.86251, 1.07804,
                1.18685, 1.13775, 0.95384, 0.72162,
            ],
        ),
        slopes: &[
            &[
                0., 0., 0., 0., 0., 0., 0.33843, 0.10815, -0.28057, -0.25825, 0.1424, 0.33444, 0., 0., 0., 0., 0., 0., -0.33449, -0.14213,
                0.25845, 0.2804, -0.10843, -0.33841,
            ],
            &[-1.7043, 1.4158],
            &[0.12245, -0.00005],
        ],
    };
    let inputs = [wave(0.7, &[2, 2, 2, 3]), wave(0.5, &[2]), wave(0.9, &[2])];
    expected.check(inputs, |t| {
        let of = |values: [f64; 2]| Tensor::new(&values, &Device::Cpu)?.to_dtype(t[0].dtype());
        batch_norm(&t[0], &t[1], &t[2], &of([0.1, -0.2])?, &of([0.5, 2.0])?, 1e-3)
    })
}

/// ```python
/// x = wave(0.7, 1, 1, 3, 4)
/// y = F.interpolate(x, size=(5, 3), mode="bilinear", align_corners=False)
/// ```
#[test]
fn bilinear_without_aligned_corners() -> Result<()> {
    let expected = Expected {
        output: (
            &[1, 1, 5, 3],
            &[
                0.10737, 0.81483, 0.88358, 0.1527, 0.24443, 0.14456, 0.22069, -0.61118, -0.96397, -0.22567, -0.04233, 0.17419, -0.52325,
                0.3369, 0.93297,
            ],
        ),
        slopes: &[&[-0.34388, 0.14797, 0.32417, 0.53714, 0.34887, 0.13667, 0.00905, -0.28922, -0.2912, -0.39675, -0.34064, -0.01064]],
    };
    expected.check([wave(0.7, &[1, 1, 3, 4])], |t| upsample_bilinear2d(&t[0], [5, 3], AlignCorners::No))
}

/// ```python
/// x = wave(0.7, 1, 1, 3, 4)
/// y = F.interpolate(x, size=(5, 3), mode="bilinear", align_corners=True)
/// ```
#[test]
fn bilinear_with_aligned_corners() -> Result<()> {
    let expected = Expected {
        output: (
            &[1, 1, 5, 3],
            &[
                0., 0.81483, 0.86321, 0.16749, 0.10183, -0.05962, 0.33499, -0.61118, -0.98245, -0.14814, -0.13714, 0.00286, -0.63127,
                0.3369, 0.98817,
            ],
        ),
        slopes: &[&[-0.34388, 0.26092, 0.26092, 0.62306, 0.27367, 0.04373, 0.04373, -0.22688, -0.27324, -0.35952, -0.35952, -0.11145]],
    };
    expected.check([wave(0.7, &[1, 1, 3, 4])], |t| upsample_bilinear2d(&t[0], [5, 3], AlignCorners::Yes))
}

/// ```python
/// x = wave(0.7, 1, 1, 13, 1)
/// y = F.interpolate(x, size=(25, 1), mode="nearest")
/// ```
#[test]
fn nearest_from_13_to_25() -> Result<()> {
    let expected = Expected {
        output: (
            &[1, 1, 25, 1],
            &[
                0., 0., 0.64422, 0.64422, 0.98545, 0.98545, 0.86321, 0.86321, 0.33499, 0.33499, -0.35078, -0.35078, -0.87158, -0.87158,
                -0.98245, -0.98245, -0.63127, -0.63127, 0.01681, 0.01681, 0.65699, 0.65699, 0.98817, 0.98817, 0.8546,
            ],
        ),
        slopes: &[&[
            0.96356, -0.17226, -0.66833, 1.31764, -1.58981, 1.40694, -0.82137, 0.00071, 0.82016, -1.40628, 1.58989, -1.31843, -0.21425,
        ]],
    };
    expected.check([wave(0.7, &[1, 1, 13, 1])], |t| upsample_nearest2d(&t[0], [25, 1]))
}

/// ```python
/// x = wave(0.7, 1, 1, 3, 5)
/// y = F.interpolate(x, size=(4, 3), mode="nearest")
/// ```
#[test]
fn nearest_up_and_down() -> Result<()> {
    let expected = Expected {
        output: (&[1, 1, 4, 3], &[0., 0.64422, 0.86321, 0., 0.64422, 0.86321, -0.35078, -0.87158, -0.63127, 0.65699, 0.98817, 0.3191]),
        slopes: &[&[-0.68777, 0.0801, 0., 0.73062, 0., 0.99854, 0.3191, 0., -0.82783, 0., -0.76198, 0.42017, 0., 0.98677, 0.]],
    };
    expected.check([wave(0.7, &[1, 1, 3, 5])], |t| upsample_nearest2d(&t[0], [4, 3]))
}

/// ```python
/// x, w, b = wave(0.7, 2, 3), wave(0.9, 4, 3), wave(0.5, 4)
/// y = F.linear(x, w, b)
/// ```
#[test]
fn fully_connected() -> Result<()> {
    let expected = Expected {
        output: (&[2, 4], &[1.46431, -0.76896, 1.63442, 0.81211, -0.0792, 1.04301, -0.09836, 2.13326]),
        slopes: &[
            &[-0.65361, -0.70117, -0.21809, -0.37021, -0.63893, -0.42412],
            &[-0.76261, -0.29595, 0.3099, 0.18569, 0.6928, 0.87408, 0.86195, 0.6666, 0.15773, 0.27545, -0.33618, -0.78969],
            &[-0.88345, 1.17868, 1.51404, -0.36867],
        ],
    };
    let inputs = [wave(0.7, &[2, 3]), wave(0.9, &[4, 3]), wave(0.5, &[4])];
    expected.check(inputs, |t| linear(&t[0], &t[1], Some(&t[2])))
}

/// ```python
/// x = torch.tensor([-1.5, -0.0, 0.0, 0.5, 2.0], requires_grad=True)
/// y = F.relu(x)
/// ```
#[test]
fn rectifier() -> Result<()> {
    let expected = Expected { output: (&[5], &[0., 0., 0., 0.5, 2.]), slopes: &[&[0., 0., 0., -0.68777, -0.88345]] };
    let x = Tensor::new(&[-1.5, -0.0, 0.0, 0.5, 2.0], &Device::Cpu);
    expected.check([x], |t| relu(&t[0]))
}

/// ```python
/// x = torch.tensor([-1.5, -0.0, 0.0, 0.5, 2.0], requires_grad=True)
/// y = 1.7159 * torch.tanh(2 * x / 3)
/// ```
#[test]
fn squashing_function() -> Result<()> {
    let expected =
        Expected { output: (&[5], &[-1.30682, 0., 0., 0.55168, 1.49294]), slopes: &[&[0., 1.10225, 0.5897, -0.70543, -0.24557]] };
    let x = Tensor::new(&[-1.5, -0.0, 0.0, 0.5, 2.0], &Device::Cpu);
    expected.check([x], |t| scaled_tanh(&t[0]))
}

/// ```python
/// x = torch.tensor([-1.5, -0.0, 0.0, 0.5, 2.0], requires_grad=True)
/// y = torch.sigmoid(x)
/// ```
#[test]
fn logistic_function() -> Result<()> {
    let expected =
        Expected { output: (&[5], &[0.18243, 0.5, 0.5, 0.62246, 0.8808]), slopes: &[&[0., 0.24089, 0.12888, -0.16163, -0.09276]] };
    let x = Tensor::new(&[-1.5, -0.0, 0.0, 0.5, 2.0], &Device::Cpu);
    expected.check([x], |t| sigmoid(&t[0]))
}

/// ```python
/// x = torch.tensor([-4.0, -1.5, -0.0, 0.5, 2.0, 3.5], requires_grad=True)
/// y = F.hardsigmoid(x)
/// ```
#[test]
fn logistic_function_of_straight_lines() -> Result<()> {
    let expected =
        Expected { output: (&[6], &[0., 0.25, 0.5, 0.58333, 0.83333, 1.]), slopes: &[&[0., 0.16059, 0.08592, -0.11463, -0.14724, 0.]] };
    let x = Tensor::new(&[-4.0, -1.5, -0.0, 0.5, 2.0, 3.5], &Device::Cpu);
    expected.check([x], |t| hard_sigmoid(&t[0]))
}

/// ```python
/// x = torch.tensor([-4.0, -1.5, -0.0, 0.5, 2.0, 3.5], requires_grad=True)
/// y = F.hardswish(x)
/// ```
#[test]
fn swish_of_straight_lines() -> Result<()> {
    let expected =
        Expected { output: (&[6], &[0., -0.375, 0., 0.29167, 1.66667, 3.5]), slopes: &[&[0., 0., 0.25775, -0.45851, -1.0307, 0.21512]] };
    let x = Tensor::new(&[-4.0, -1.5, -0.0, 0.5, 2.0, 3.5], &Device::Cpu);
    expected.check([x], |t| hard_swish(&t[0]))
}

/// ```python
/// x, factors = wave(0.7, 2, 2, 1, 3), wave(0.9, 2, 2, 1, 1)
/// y = x * factors
/// ```
#[test]
fn channels_times_numbers() -> Result<()> {
    let expected = Expected {
        output: (&[2, 2, 1, 3], &[0., 0., 0., 0.67618, 0.26241, -0.27478, -0.84878, -0.95676, -0.61476, 0.00719, 0.28078, 0.42232]),
        slopes: &[
            &[0., 0., 0., -0.53875, -0.69203, 0.16851, 0.97243, 0.31075, -0.80618, -0.32566, 0.17957, 0.42173],
            &[1.12874, -0.96509, -0.66123, 1.23833],
        ],
    };
    expected.check([wave(0.7, &[2, 2, 1, 3]), wave(0.9, &[2, 2, 1, 1])], |t| scale_channels(&t[0], &t[1]))
}

/// ```python
/// x = wave(0.7, 2, 4)
/// y = F.softmax(3 * x, -1)
/// ```
#[test]
fn softmax_over_classes() -> Result<()> {
    let expected = Expected {
        output: (&[2, 4], &[0.02472, 0.17073, 0.47522, 0.32933, 0.85194, 0.10887, 0.02282, 0.01637]),
        slopes: &[&[-0.01357, 0.3998, 0.47406, -0.8603, -0.46578, 0.2993, 0.11639, 0.05009]],
    };
    expected.check([wave(0.7, &[2, 4])], |t| softmax(&(&t[0] * 3.0)?))
}

/// ```python
/// x = wave(0.7, 2, 4)
/// y = F.log_softmax(3 * x, -1)
/// ```
#[test]
fn log_softmax_over_classes() -> Result<()> {
    let expected = Expected {
        output: (&[2, 4], &[-3.70032, -1.76767, -0.74397, -1.11069, -0.16024, -2.21756, -3.77994, -4.11257]),
        slopes: &[&[-0.05867, 2.48538, 0.41838, -2.84509, -4.30987, 0.43328, 2.95117, 0.92542]],
    };
    expected.check([wave(0.7, &[2, 4])], |t| log_softmax(&(&t[0] * 3.0)?))
}

/// ```python
/// x, boxes = wave(0.7, 2, 2, 4, 5), torch.tensor([[1, 1.3, 2.1, 8.7, 6.4], [0, -4, -3, 15, 20]])
/// y = torchvision.ops.roi_align(x, boxes, (2, 3), 0.5, 2, True)
/// ```
#[test]
fn region_means() -> Result<()> {
    let expected = Expected {
        output: (
            &[2, 2, 2, 3],
            &[
                0.23965, 0.44067, 0.34241, -0.34493, -0.44268, -0.23979, 0.41186, 0.12651, -0.24475, -0.33925, 0.00726, 0.34884, 0.04419,
                0.56084, 0.07307, 0., 0., 0., 0.34525, -0.00566, -0.32428, 0., 0., 0.,
            ],
        ),
        slopes: &[&[
            0.02694, -0.12582, -0.10646, -0.2226, -0.16089, 0., 0., 0., 0., 0., 0.01852, -0.0865, -0.07319, -0.15304, -0.11061, 0.00842,
            -0.03932, -0.03327, -0.06956, -0.05028, -0.24673, -0.05679, -0.04805, -0.10047, 0.18627, 0., 0., 0., 0., 0., -0.16963,
            -0.03904, -0.03304, -0.06907, 0.12806, -0.0771, -0.01775, -0.01502, -0.0314, 0.05821, 0., 0.01346, 0.06215, 0.04578, 0.01265,
            -0.0099, 0.07612, 0.46808, 0.37003, 0.10519, -0.13621, -0.42099, -0.33764, 0.09918, 0.06747, -0.04016, -0.13194, -0.13558,
            0.00272, 0.01256, 0.02451, 0.06705, 0.02058, -0.04743, -0.02032, 0.18679, 0.51646, 0.18196, -0.34303, -0.14975, -0.10274,
            -0.20624, 0.25913, 0.45323, 0.15549, -0.0445, -0.09968, 0.06448, 0.16114, 0.05763,
        ]],
    };
    let boxes = Tensor::new(&[[1f32, 1.3, 2.1, 8.7, 6.4], [0., -4., -3., 15., 20.]], &Device::Cpu)?;
    let config = RoiAlignConfig { output: [2, 3], spatial_scale: 0.5, sampling_ratio: 2, aligned: true };
    expected.check([wave(0.7, &[2, 2, 4, 5])], |t| roi_align(&t[0], &boxes, &config))
}

/// ```python
/// x, boxes = wave(0.7, 2, 2, 4, 5), torch.tensor([[1, 1.3, 2.1, 8.7, 6.4], [0, -4, -3, 15, 20]])
/// y = torchvision.ops.roi_pool(x, boxes, (2, 3), 0.5)
/// ```
#[test]
fn region_maxima() -> Result<()> {
    let expected = Expected {
        output: (
            &[2, 2, 2, 3],
            &[
                0.99624, 0.99624, 0.81777, 0.99756, 0.80797, 0.23839, 0.79795, 0.74097, 0.99934, 0.2056, 0.74097, 0.99934, 0.98817,
                0.98817, 0., 0., 0., 0., 0.99061, 0.99464, 0., 0., 0., 0.,
            ],
        ),
        slopes: &[&[
            0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., -0.82137, 0., 0., 0., 0., 0., 0., 0., 0., -0.98692, 0., 0., 0., 0., 0., 0., 0., 0.,
            0., 0., 0., 0., 0., 0., 0., 0., 0., -0.41936, 0., 0., 0., 0., 0., 0., 0., 0., 0.96356, 0.5155, 0., 0., 0., 0., 0., 0., 0.,
            -0.68777, -0.88345, 0.21512, 0., 0., 0., 0., 0., 0., 0., 0.99854, 0., 0., 0., 0., 0., 0., 0.73927, 0.15895, 0., -0.76198, 0.,
            0., 0.,
        ]],
    };
    let boxes = Tensor::new(&[[1f32, 1.3, 2.1, 8.7, 6.4], [0., -4., -3., 15., 20.]], &Device::Cpu)?;

    expected.check([wave(0.7, &[2, 2, 4, 5])], |t| roi_pool(&t[0], &boxes, &RoiPoolConfig { output: [2, 3], spatial_scale: 0.5 }))
}
