//! Transposed convolution: maps made larger by filters that are learnt.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use cirio_kernels::ConvTranspose2dShape;

use super::{Cost, Forward, Layer, Shaped, by, unless};
use crate::init::Init;
use crate::ops::{self, ConvTranspose2dConfig};
use crate::pass::Pass;
use crate::{ParameterKind, Volume};

/// A bank of filters that each pixel of (N, C, H, W) adds to the output; the number of input channels follows from the list.
///
/// Weights: `weight` (C, filters / groups, rows, columns) and `bias` (filters).
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTranspose2d {
    /// The number of output channels.
    pub filters: usize,
    /// Rows and columns of a filter.
    pub kernel: [usize; 2],
    /// Pixels of the output from one pixel of the input to the next, rows and columns.
    pub stride: [usize; 2],
    /// Pixels of the output that are cut off on each side, rows and columns.
    pub padding: [usize; 2],
    /// Rows and columns that the output has more at its far ends; less than the stride.
    pub output_padding: [usize; 2],
    /// Distance between a filter's taps, rows and columns.
    pub dilation: [usize; 2],
    /// Input and output channels are split into this many groups that do not see one another.
    pub groups: usize,
    /// Whether there is a bias, and the rule for its initial values.
    pub bias: Option<Init>,
    /// The rule for the filters' initial values. As in torch, the connections into a unit are counted as
    /// filters / groups · rows · columns.
    pub init: Init,
}

/// `filters` square filters with a bias, no paddings, torch's initial values.
pub fn conv_transpose(filters: usize, kernel: usize, stride: usize) -> ConvTranspose2d {
    ConvTranspose2d {
        filters,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [0; 2],
        output_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
        bias: Some(Init::Torch),
        init: Init::Torch,
    }
}

impl ConvTranspose2d {
    fn config(&self) -> ConvTranspose2dConfig {
        let &Self { stride, padding, output_padding, dilation, groups, .. } = self;
        ConvTranspose2dConfig { stride, padding, output_padding, dilation, groups }
    }

    /// C, filters / groups, rows, columns.
    fn weights(&self, channels: usize) -> [usize; 4] {
        [channels, self.filters / self.groups.max(1), self.kernel[0], self.kernel[1]]
    }
}

impl Layer for ConvTranspose2d {
    fn kind(&self) -> String {
        let groups = if self.groups == 1 { String::new() } else { format!(", {} groups", self.groups) };
        format!(
            "transposed conv {}{}{}{}{}{groups}",
            by(self.kernel),
            unless(1, "stride", self.stride),
            unless(0, "padding", self.padding),
            unless(0, "output padding", self.output_padding),
            unless(1, "dilation", self.dilation),
        )
    }

    fn output(&self, input: &Volume) -> Shaped {
        let [c_in, h, w] = input.expect_maps()?;
        let &Self { filters, kernel, stride, padding, output_padding, dilation, groups, .. } = self;
        let shape = ConvTranspose2dShape { c_in, c_out: filters, h, w, kernel, stride, padding, output_padding, dilation, groups };
        shape.check().map_err(|error| error.to_string())?;
        let [rows, columns] = shape.output();
        Ok(Volume::maps([filters, rows, columns]))
    }

    fn cost(&self, input: &Volume) -> Cost {
        let (Ok([channels, height, width]), Ok(output)) = (input.expect_maps(), self.output(input)) else { return Cost::default() };
        let product = |factors: &[usize]| factors.iter().fold(1u64, |product, &factor| product.saturating_mul(factor as u64));
        let (weights, biases) = (product(&self.weights(channels)), if self.bias.is_some() { self.filters as u64 } else { 0 });
        let macs = weights.saturating_mul(product(&[height, width]));
        let added = if self.bias.is_some() { output.len() as u64 } else { 0 };
        Cost { parameters: weights.saturating_add(biases), macs, connections: macs.saturating_add(added) }
    }

    fn build(&self, input: &Volume, weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let shape = self.weights(input.channels());
        let area = self.kernel[0] * self.kernel[1];
        let (fan_in, fan_out) = (shape[1] * area, shape[0] * area);
        let weight = weights.get_with_hints(&shape, "weight", self.init.resolve(fan_in, fan_out))?;
        let bias = self.bias.map(|init| weights.get_with_hints(self.filters, "bias", init.resolve(fan_in, fan_out))).transpose()?;
        Ok(Box::new(Filters { weight, bias, config: self.config() }))
    }
}

struct Filters {
    weight: Tensor,
    bias: Option<Tensor>,
    config: ConvTranspose2dConfig,
}

impl Forward for Filters {
    fn forward(&self, input: &Tensor, _pass: &Pass) -> Result<Tensor> {
        ops::conv_transpose2d(input, &self.weight, self.bias.as_ref(), &self.config)
    }

    fn tensors(&self) -> Vec<(String, &Tensor, ParameterKind)> {
        let weight = [("weight".to_owned(), &self.weight, ParameterKind::Weight)];
        let bias = self.bias.iter().map(|bias| ("bias".to_owned(), bias, ParameterKind::Bias));
        weight.into_iter().chain(bias).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::{Layers, Store};

    #[test]
    fn the_mask_head_doubles_its_maps() -> std::result::Result<(), String> {
        let (layer, input) = (conv_transpose(256, 2, 2), Volume::maps([256, 14, 14]));
        assert_eq!(layer.kind(), "transposed conv 2×2, stride 2");
        assert_eq!(layer.output(&input)?, Volume::maps([256, 28, 28]));
        assert_eq!(layer.cost(&input).parameters, 256 * 256 * 4 + 256);
        assert_eq!(layer.cost(&input).macs, 256 * 256 * 4 * 14 * 14);
        let reason = ConvTranspose2d { groups: 3, ..layer }.output(&input).unwrap_err();
        assert_eq!(reason, "256 input channels and 256 filters do not split into 3 groups");
        Ok(())
    }

    /// torch: `torch.nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2).weight.shape` is (4, 3, 3, 3), its values are within
    /// ±1/√(3·3·3), and so are the biases.
    #[test]
    fn weights_have_torchs_layout_and_bound() -> crate::Result<()> {
        let layers = Layers::new([4, 5, 6]).then("up", ConvTranspose2d { groups: 2, ..conv_transpose(6, 3, 2) });
        let network = layers.build(Store::new(1, DType::F32, &Device::Cpu).var_builder())?;
        let parameters = network.parameters();
        assert_eq!(parameters.iter().map(|parameter| parameter.tensor.dims()).collect::<Vec<_>>(), [&[4, 3, 3, 3][..], &[6]]);
        for parameter in &parameters {
            let largest = parameter.tensor.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(largest > 0.1 && largest <= 27f32.sqrt().recip(), "{}: {largest}", parameter.name);
        }
        let images = Tensor::ones((2, 4, 5, 6), DType::F32, &Device::Cpu)?;
        assert_eq!(network.forward(&images)?.dims(), [2, 6, 11, 13]);
        assert_eq!(layers.output()?, Volume::maps([6, 11, 13]));
        Ok(())
    }
}
