//! Convolution as networks compute it: cross-correlation with a bank of filters.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{Cost, Forward, Layer, Reach, Shaped, Sliding, Step, by, unless};
use crate::init::Init;
use crate::ops::{self, Conv2dConfig};
use crate::pass::Pass;
use crate::size::Window;
use crate::{ParameterKind, Volume};

/// A bank of filters over (N, C, H, W); the number of input channels follows from the list.
///
/// Weights: `weight` (filters, C/groups, rows, columns) and `bias` (filters).
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    /// The number of filters, which is the number of output channels.
    pub filters: usize,
    /// Rows and columns of a filter.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next, rows and columns.
    pub stride: [usize; 2],
    /// Zeros added on each side, rows and columns.
    pub padding: [usize; 2],
    /// Distance between a filter's taps, rows and columns.
    pub dilation: [usize; 2],
    /// Channels and filters are split into this many groups that do not see one another.
    pub groups: usize,
    /// Whether there is a bias, and the rule for its initial values.
    pub bias: Option<Init>,
    /// The rule for the filters' initial values.
    pub init: Init,
}

/// `filters` square filters with a bias, stride 1, no padding, torch's initial values.
pub fn conv(filters: usize, kernel: usize) -> Conv2d {
    Conv2d {
        filters,
        kernel: [kernel; 2],
        stride: [1; 2],
        padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
        bias: Some(Init::Torch),
        init: Init::Torch,
    }
}

impl Conv2d {
    fn config(&self) -> Conv2dConfig {
        Conv2dConfig { stride: self.stride, padding: self.padding, dilation: self.dilation, groups: self.groups }
    }

    /// `[rows, columns]` of the sliding window over `[H, W]`.
    fn windows(&self, size: [usize; 2]) -> [Window; 2] {
        [0, 1].map(|axis| Window {
            input: size[axis],
            kernel: self.kernel[axis],
            stride: self.stride[axis],
            padding: self.padding[axis],
            dilation: self.dilation[axis],
        })
    }

    /// Inputs of one output unit, bias not counted.
    fn fan_in(&self, channels: usize) -> usize {
        channels / self.groups.max(1) * self.kernel[0] * self.kernel[1]
    }
}

impl Layer for Conv2d {
    fn kind(&self) -> String {
        let groups = if self.groups == 1 { String::new() } else { format!(", {} groups", self.groups) };
        format!(
            "conv {}{}{}{}{groups}",
            by(self.kernel),
            unless(1, "stride", self.stride),
            unless(0, "padding", self.padding),
            unless(1, "dilation", self.dilation),
        )
    }

    fn output(&self, input: &Volume) -> Shaped {
        let [channels, height, width] = input.expect_maps()?;
        if self.filters == 0 || self.groups == 0 || !channels.is_multiple_of(self.groups) || !self.filters.is_multiple_of(self.groups) {
            return Err(format!("{channels} channels and {} filters do not split into {} groups", self.filters, self.groups));
        }
        let [rows, columns] = self.windows([height, width]);
        let fit = |window: Window| window.fit().map_err(|error| error.to_string());
        Ok(Volume::maps([self.filters, fit(rows)?.output, fit(columns)?.output]))
    }

    fn cost(&self, input: &Volume) -> Cost {
        let Ok(Volume::Maps { height, width, .. }) = self.output(input) else { return Cost::default() };
        let product = |factors: &[usize]| factors.iter().fold(1u64, |product, &factor| product.saturating_mul(factor as u64));
        let weights = product(&[self.filters, input.channels() / self.groups.max(1), self.kernel[0], self.kernel[1]]);
        let parameters = weights.saturating_add(if self.bias.is_some() { self.filters as u64 } else { 0 });
        let positions = product(&[height, width]);
        Cost { parameters, macs: weights.saturating_mul(positions), connections: parameters.saturating_mul(positions) }
    }

    fn reach(&self, input: &Volume) -> Reach {
        let Ok([_, height, width]) = input.expect_maps() else { return Reach::Point };
        let windows = self.windows([height, width]);
        Reach::Window(Sliding {
            extent: windows.map(|window| window.extent().unwrap_or(0)),
            stride: self.stride,
            padding: self.padding,
            unused: windows.map(|window| window.fit().map_or(0, |fit| fit.unused)),
        })
    }

    fn build(&self, input: &Volume, weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let channels = input.channels();
        let fan_in = self.fan_in(channels);
        let fan_out = self.filters * self.kernel[0] * self.kernel[1];
        let shape = (self.filters, channels / self.groups.max(1), self.kernel[0], self.kernel[1]);
        let weight = weights.get_with_hints(shape, "weight", self.init.resolve(fan_in, fan_out))?;
        let bias = self.bias.map(|init| weights.get_with_hints(self.filters, "bias", init.resolve(fan_in, fan_out))).transpose()?;
        Ok(Box::new(Filters { weight, bias, config: self.config() }))
    }
}

struct Filters {
    weight: Tensor,
    bias: Option<Tensor>,
    config: Conv2dConfig,
}

impl Forward for Filters {
    fn forward(&self, input: &Tensor, _pass: &Pass) -> Result<Tensor> {
        ops::conv2d(input, &self.weight, self.bias.as_ref(), &self.config)
    }

    fn forward_relu(&self, input: &Tensor, _pass: &Pass) -> Result<Tensor> {
        ops::conv2d_relu(input, &self.weight, self.bias.as_ref(), &self.config)
    }

    fn tensors(&self) -> Vec<(String, &Tensor, ParameterKind)> {
        let weight = [("weight".to_owned(), &self.weight, ParameterKind::Weight)];
        let bias = self.bias.iter().map(|bias| ("bias".to_owned(), bias, ParameterKind::Bias));
        weight.into_iter().chain(bias).collect()
    }

    fn is_recordable(&self) -> bool {
        true
    }

    fn step(&self) -> Step<'_> {
        Step::Conv { weight: &self.weight, bias: self.bias.as_ref(), config: self.config.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_courses_ten_filters_have_760_parameters() -> std::result::Result<(), String> {
        let layer = Conv2d { padding: [2; 2], ..conv(10, 5) };
        let input = Volume::maps([3, 32, 32]);
        assert_eq!(layer.output(&input)?, Volume::maps([10, 32, 32]));
        assert_eq!(layer.cost(&input).parameters, 760);
        assert_eq!(layer.cost(&input).macs, 750 * 32 * 32);
        Ok(())
    }

    #[test]
    fn what_is_unusual_is_in_its_name() {
        let layer = Conv2d { stride: [4, 2], padding: [2; 2], groups: 2, ..conv(64, 11) };
        assert_eq!(layer.kind(), "conv 11×11, stride 4×2, padding 2, 2 groups");
        assert_eq!(conv(6, 5).kind(), "conv 5×5");
    }

    #[test]
    fn groups_that_do_not_split_are_refused() {
        let reason = Conv2d { groups: 2, ..conv(4, 3) }.output(&Volume::maps([3, 8, 8])).unwrap_err();
        assert_eq!(reason, "3 channels and 4 filters do not split into 2 groups");
    }
}
