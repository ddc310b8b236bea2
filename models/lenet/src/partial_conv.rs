//! The convolution C3 of LeNet-5: each of its maps sees only some of the maps before it.
//!
//! The paper gives two reasons (section II.B): fewer connections, and maps that are forced to learn different features
//! because they get different inputs.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use cirio_nn::Pass;
use cirio_nn::init::Init;
use cirio_nn::layer::{Cost, Forward, Layer, Reach, Shaped, Sliding};
use cirio_nn::ops::{Conv2dConfig, conv2d};
use cirio_nn::{ParameterKind, Volume};

/// A convolution without padding whose output map m sees the input maps `table[m]`.
///
/// Only the filters that exist are stored, those of maps with equally many inputs together, since they share a fan-in:
/// `weight_3` (18, 5, 5) holds the filters of the maps with three inputs, in the order of the table, then `weight_4`,
/// `weight_6`; and `bias` (maps).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialConv {
    /// The side of the square filters.
    pub kernel: usize,
    /// For each output map the input maps that it sees.
    pub table: &'static [&'static [usize]],
}

impl PartialConv {
    fn filters(&self) -> usize {
        self.table.iter().map(|inputs| inputs.len()).sum()
    }

    /// The different numbers of inputs, ascending: 3, 4, 6.
    fn fans(&self) -> Vec<usize> {
        let mut fans: Vec<usize> = self.table.iter().map(|inputs| inputs.len()).collect();
        fans.sort_unstable();
        fans.dedup();
        fans
    }

    /// For each stored filter, in the order of storage, the pair (output map, input map) that it stands between.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let maps_with = |fan: usize| self.table.iter().enumerate().filter(move |(_, inputs)| inputs.len() == fan);
        self.fans()
            .into_iter()
            .flat_map(|fan| maps_with(fan).flat_map(|(map, inputs)| inputs.iter().map(move |&input| (map, input))))
            .collect()
    }
}

impl Layer for PartialConv {
    fn kind(&self) -> String {
        format!("conv {0}×{0}, partial table", self.kernel)
    }

    fn output(&self, input: &Volume) -> Shaped {
        let Volume::Maps { channels, height, width } = *input else { return Err("it works on maps (C×H×W)".into()) };
        let needed = self.table.iter().flat_map(|inputs| inputs.iter()).max().map_or(0, |last| last + 1);
        if channels != needed || height < self.kernel || width < self.kernel {
            return Err(format!("its table needs {needed} maps of at least {0}×{0}", self.kernel));
        }
        Ok(Volume::maps([self.table.len(), height - self.kernel + 1, width - self.kernel + 1]))
    }

    fn cost(&self, input: &Volume) -> Cost {
        let Ok(Volume::Maps { height, width, .. }) = self.output(input) else { return Cost::default() };
        let weights = (self.filters() * self.kernel * self.kernel) as u64;
        let parameters = weights + self.table.len() as u64;
        let positions = (height * width) as u64;
        Cost { parameters, macs: weights * positions, connections: parameters * positions }
    }

    fn reach(&self, _input: &Volume) -> Reach {
        Reach::Window(Sliding { extent: [self.kernel; 2], stride: [1; 2], padding: [0; 2], unused: [0; 2] })
    }

    fn build(&self, input: &Volume, weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let area = self.kernel * self.kernel;
        let filters = |fan: usize| {
            let maps = self.table.iter().filter(|inputs| inputs.len() == fan).count();
            let name = format!("weight_{fan}");
            let rule = Init::LeCun.resolve(fan * area, maps * area);
            Ok((name.clone(), weights.get_with_hints((maps * fan, self.kernel, self.kernel), &name, rule)?))
        };
        let filters = self.fans().into_iter().map(filters).collect::<Result<Vec<_>>>()?;
        // The bias follows the same rule; its units differ in fan-in, so the smallest bound holds for all.
        let largest = self.fans().last().copied().unwrap_or(1);
        let bias = weights.get_with_hints(self.table.len(), "bias", Init::LeCun.resolve(largest * area, area))?;
        let scatter = self.scatter(input.channels(), &bias)?;
        Ok(Box::new(PartialFilters { filters, bias, scatter, channels: input.channels(), kernel: self.kernel }))
    }
}

impl PartialConv {
    /// The matrix (maps·channels, filters) of ones and zeros that puts each stored filter in its place in a full bank.
    fn scatter(&self, channels: usize, like: &Tensor) -> Result<Tensor> {
        let pairs = self.pairs();
        let mut places = vec![0f32; self.table.len() * channels * pairs.len()];
        for (filter, (map, input)) in pairs.iter().enumerate() {
            places[(map * channels + input) * pairs.len() + filter] = 1.0;
        }
        Tensor::from_vec(places, (self.table.len() * channels, pairs.len()), like.device())?.to_dtype(like.dtype())
    }
}

struct PartialFilters {
    filters: Vec<(String, Tensor)>,
    bias: Tensor,
    scatter: Tensor,
    channels: usize,
    kernel: usize,
}

impl Forward for PartialFilters {
    fn forward(&self, input: &Tensor, _pass: &Pass) -> Result<Tensor> {
        let stored = self.filters.iter().map(|(_, filters)| filters.flatten_from(1)).collect::<Result<Vec<_>>>()?;
        let full = self.scatter.matmul(&Tensor::cat(&stored, 0)?)?;
        let full = full.reshape((self.bias.dim(0)?, self.channels, self.kernel, self.kernel))?;
        conv2d(input, &full, Some(&self.bias), &Conv2dConfig::default())
    }

    fn tensors(&self) -> Vec<(String, &Tensor, ParameterKind)> {
        let filters = self.filters.iter().map(|(name, filters)| (name.clone(), filters, ParameterKind::Weight));
        filters.chain([("bias".to_owned(), &self.bias, ParameterKind::Bias)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, IndexOp};
    use cirio_nn::{Layers, Store};

    use super::*;
    use crate::C3_TABLE;

    const C3: PartialConv = PartialConv { kernel: 5, table: &C3_TABLE };

    #[test]
    fn the_table_has_60_filters() {
        assert_eq!(C3.filters(), 60);
        assert_eq!(C3.fans(), [3, 4, 6]);
        assert_eq!(C3.pairs().len(), 60);
    }

    /// A change in one input map changes exactly the output maps whose row of the table names it.
    #[test]
    fn a_map_sees_only_its_inputs() -> cirio_nn::Result<()> {
        let store = Store::new(5, DType::F32, &Device::Cpu);
        let network = Layers::new([6, 14, 14]).then("c3", C3).build(store.var_builder())?;
        let zero = Tensor::zeros((1, 6, 14, 14), DType::F32, &Device::Cpu)?;
        let base = network.forward(&zero)?;
        for input in 0..6 {
            let ones = Tensor::ones((1, 1, 14, 14), DType::F32, &Device::Cpu)?;
            let changed = network.forward(&ones.pad_with_zeros(1, input, 5 - input)?)?;
            let difference = (changed - &base)?.abs()?;
            for (map, inputs) in C3_TABLE.iter().enumerate() {
                let moved = difference.i((0, map))?.max_all()?.to_scalar::<f32>()? > 0.0;
                assert_eq!(moved, inputs.contains(&input), "map {map}, input {input}");
            }
        }
        Ok(())
    }
}
