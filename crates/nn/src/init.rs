//! Initial values, drawn from a seed.
//!
//! A layer says by [`Init`] which rule its weights follow; [`draw`] makes the values. They depend on the seed and on the
//! parameter's name alone, so that they are the same whatever else the network holds.

use candle_core::{DType, Device, Result, Shape, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::StandardNormal;

/// Which count of connections keeps its variance (He et al. 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// Connections into a unit: activations keep their variance on the way forward.
    In,
    /// Connections out of a unit: gradients keep theirs on the way back.
    Out,
}

/// A rule for initial values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform in ±1/√fan-in, for weights and biases: what torch does for convolution and linear layers.
    Torch,
    /// Normal with deviation √(2/fan), for layers before a ReLU (He et al. 2015).
    KaimingNormal(Fan),
    /// Uniform in ±√(6/fan), for layers before a ReLU (He et al. 2015).
    KaimingUniform(Fan),
    /// Uniform in ±2.4/fan-in (LeCun et al. 1998, appendix A).
    LeCun,
    /// Uniform in ± this bound.
    Uniform(f64),
    /// Normal around 0 with this deviation.
    Normal(f64),
    /// The same value everywhere.
    Constant(f64),
}

impl Init {
    /// The rule for a unit with these numbers of connections, in candle's terms.
    pub fn resolve(self, fan_in: usize, fan_out: usize) -> candle_nn::Init {
        let fan = |fan| match fan {
            Fan::In => fan_in.max(1) as f64,
            Fan::Out => fan_out.max(1) as f64,
        };
        let uniform = |bound: f64| candle_nn::Init::Uniform { lo: -bound, up: bound };
        let normal = |stdev| candle_nn::Init::Randn { mean: 0.0, stdev };
        match self {
            Self::Torch => uniform(1.0 / fan(Fan::In).sqrt()),
            Self::KaimingNormal(f) => normal((2.0 / fan(f)).sqrt()),
            Self::KaimingUniform(f) => uniform((6.0 / fan(f)).sqrt()),
            Self::LeCun => uniform(2.4 / fan(Fan::In)),
            Self::Uniform(bound) => uniform(bound),
            Self::Normal(deviation) => normal(deviation),
            Self::Constant(value) => candle_nn::Init::Const(value),
        }
    }
}

/// The generator that belongs to a name: the same seed and name give the same values.
pub fn generator(seed: u64, name: &str) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // FNV-1a, 64 bits: short, and fixed for ever.
    let stream = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    rng.set_stream(stream);
    rng
}

/// Draws a tensor by candle's rule from a seeded generator.
pub fn draw(init: candle_nn::Init, shape: &Shape, dtype: DType, device: &Device, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    use candle_nn::Init as I;
    use candle_nn::init::NormalOrUniform;
    let tensor = match init {
        I::Const(value) => full(shape, dtype, || value)?,
        I::Uniform { lo, up } => full(shape, dtype, || lo + (up - lo) * rng.random::<f64>())?,
        I::Randn { mean, stdev } => full(shape, dtype, || mean + stdev * rng.sample::<f64, _>(StandardNormal))?,
        I::Kaiming { dist, fan, non_linearity } => {
            let deviation = non_linearity.gain() / (fan.for_shape(shape).max(1) as f64).sqrt();
            let resolved = match dist {
                NormalOrUniform::Normal => I::Randn { mean: 0.0, stdev: deviation },
                NormalOrUniform::Uniform => {
                    let bound = 3f64.sqrt() * deviation;
                    I::Uniform { lo: -bound, up: bound }
                }
            };
            return draw(resolved, shape, dtype, device, rng);
        }
    };
    tensor.to_device(device)
}

/// A tensor of drawn values on the CPU: Metal has no f64. Those of f32 are rounded one by one, since a large layer's in f64 would
/// take thrice the memory.
fn full(shape: &Shape, dtype: DType, mut value: impl FnMut() -> f64) -> Result<Tensor> {
    let count = shape.elem_count();
    match dtype {
        DType::F32 => Tensor::from_vec((0..count).map(|_| value() as f32).collect::<Vec<_>>(), shape, &Device::Cpu),
        _ => Tensor::from_vec((0..count).map(|_| value()).collect::<Vec<_>>(), shape, &Device::Cpu)?.to_dtype(dtype),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(init: Init, fan_in: usize, fan_out: usize, seed: u64) -> Result<Vec<f64>> {
        let shape = Shape::from((64, 100));
        draw(init.resolve(fan_in, fan_out), &shape, DType::F64, &Device::Cpu, &mut generator(seed, "w"))?.flatten_all()?.to_vec1()
    }

    fn moments(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
    }

    #[test]
    fn each_rule_has_its_deviation_and_bound() -> Result<()> {
        let uniform = 1.0 / 3f64.sqrt();
        for (init, deviation, bound) in [
            (Init::Torch, uniform / 5.0, 1.0 / 5.0),
            (Init::KaimingNormal(Fan::In), (2f64 / 25.0).sqrt(), f64::INFINITY),
            (Init::KaimingNormal(Fan::Out), (2f64 / 50.0).sqrt(), f64::INFINITY),
            (Init::KaimingUniform(Fan::In), uniform * (6f64 / 25.0).sqrt(), (6f64 / 25.0).sqrt()),
            (Init::LeCun, uniform * 2.4 / 25.0, 2.4 / 25.0),
            (Init::Normal(0.01), 0.01, f64::INFINITY),
        ] {
            let values = values(init, 25, 50, 7)?;
            let (mean, found) = moments(&values);
            assert!((found / deviation - 1.0).abs() < 0.03, "{init:?}: deviation {found}, expected {deviation}");
            assert!(mean.abs() < 0.05 * deviation, "{init:?}: mean {mean}");
            assert!(values.iter().all(|v| v.abs() <= bound), "{init:?}");
        }
        assert!(values(Init::Constant(0.5), 1, 1, 0)?.iter().all(|&v| v == 0.5));
        Ok(())
    }

    #[test]
    fn seed_and_name_decide() -> Result<()> {
        assert_eq!(values(Init::Torch, 9, 9, 1)?, values(Init::Torch, 9, 9, 1)?);
        assert_ne!(values(Init::Torch, 9, 9, 1)?, values(Init::Torch, 9, 9, 2)?);
        assert_ne!(generator(1, "a").random::<u64>(), generator(1, "b").random::<u64>());
        Ok(())
    }
}
