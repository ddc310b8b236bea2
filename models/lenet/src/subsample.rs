//! The subsampling layers S2 and S4 of LeNet-5.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use cirio_nn::Pass;
use cirio_nn::init::Init;
use cirio_nn::layer::{Cost, Forward, Layer, Reach, Shaped, Sliding};
use cirio_nn::ops::{CountPadding, Pool2dConfig, avg_pool2d};
use cirio_nn::{ParameterKind, Volume};

/// The sum of each 2×2 square, times a coefficient, plus a bias; one trainable pair a map.
///
/// Weights: `weight` (C) and `bias` (C).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subsample;

const SQUARE: Pool2dConfig = Pool2dConfig { kernel: [2; 2], stride: [2; 2], padding: [0; 2], ceil_mode: false };

impl Layer for Subsample {
    fn kind(&self) -> String {
        "subsample 2×2".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        match *input {
            Volume::Maps { channels, height, width } if height >= 2 && width >= 2 => Ok(Volume::maps([channels, height / 2, width / 2])),
            _ => Err("it works on maps of at least 2×2".into()),
        }
    }

    fn cost(&self, input: &Volume) -> Cost {
        let outputs = self.output(input).map_or(0, |volume| volume.len()) as u64;
        // Four inputs and the bias; the coefficient is one multiplication.
        Cost { parameters: 2 * input.channels() as u64, macs: outputs, connections: 5 * outputs }
    }

    fn reach(&self, input: &Volume) -> Reach {
        let unused = match *input {
            Volume::Maps { height, width, .. } => [height % 2, width % 2],
            Volume::Vector(_) => [0; 2],
        };
        Reach::Window(Sliding { extent: [2; 2], stride: [2; 2], padding: [0; 2], unused })
    }

    fn build(&self, input: &Volume, weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let rule = Init::LeCun.resolve(4, 1);
        let weight = weights.get_with_hints(input.channels(), "weight", rule)?;
        let bias = weights.get_with_hints(input.channels(), "bias", rule)?;
        Ok(Box::new(Coefficients { weight, bias }))
    }
}

struct Coefficients {
    weight: Tensor,
    bias: Tensor,
}

impl Forward for Coefficients {
    fn forward(&self, input: &Tensor, _pass: &Pass) -> Result<Tensor> {
        let sums = (avg_pool2d(input, &SQUARE, CountPadding::Include)? * 4.0)?;
        sums.broadcast_mul(&self.weight.reshape((1, (), 1, 1))?)?.broadcast_add(&self.bias.reshape((1, (), 1, 1))?)
    }

    fn tensors(&self) -> Vec<(String, &Tensor, ParameterKind)> {
        vec![("weight".to_owned(), &self.weight, ParameterKind::Norm), ("bias".to_owned(), &self.bias, ParameterKind::Bias)]
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use cirio_nn::{Layers, Store};

    use super::*;

    #[test]
    fn sum_times_coefficient_plus_bias() -> cirio_nn::Result<()> {
        let store = Store::new(0, DType::F32, &Device::Cpu);
        let network = Layers::new([1, 2, 5]).then("s", Subsample).build(store.var_builder())?;
        store.set("s.weight", &Tensor::new(&[0.5f32], &Device::Cpu)?)?;
        store.set("s.bias", &Tensor::new(&[1f32], &Device::Cpu)?)?;
        let input = Tensor::arange(0f32, 10.0, &Device::Cpu)?.reshape((1, 1, 2, 5))?;
        // 0+1+5+6 = 12 and 2+3+7+8 = 20; the fifth column is unused.
        assert_eq!(network.forward(&input)?.flatten_all()?.to_vec1::<f32>()?, [7.0, 11.0]);
        Ok(())
    }
}
