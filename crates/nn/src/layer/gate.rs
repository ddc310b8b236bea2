//! Channels that are let through more or less, by what a small network says of all of them: squeeze-and-excitation (Hu, Shen & Sun,
//! "Squeeze-and-excitation networks", CVPR 2018).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{AdaptiveAvgPool2d, Conv2d, Forward, Layer, Relu, Shaped, Step, conv};
use crate::init::{Fan, Init};
use crate::pass::Pass;
use crate::stack::Stack;
use crate::{ParameterKind, Sequence, Volume, ops};

/// x · body(x), where the body makes one number of each channel: (N, C, H, W) to (N, C, 1, 1).
#[derive(Clone, Debug)]
pub struct Gate {
    /// The layers that make the numbers.
    pub body: Sequence,
}

/// The mean of each channel, a layer of `squeezed` numbers with ReLU, and one of as many numbers as there are `channels`, with
/// `excite` behind it; with torchvision's names and initial values.
///
/// Weights: `fc1` and `fc2`, 1×1 convolutions with a bias.
pub fn squeeze_excitation(channels: usize, squeezed: usize, excite: impl Layer) -> Gate {
    let fc = |count| Conv2d { bias: Some(Init::Constant(0.0)), init: Init::KaimingNormal(Fan::Out), ..conv(count, 1) };
    let body = Sequence::new()
        .then("avgpool", AdaptiveAvgPool2d([1; 2]))
        .then("fc1", fc(squeezed))
        .then("activation", Relu)
        .then("fc2", fc(channels))
        .then("scale_activation", excite);
    Gate { body }
}

impl Layer for Gate {
    fn kind(&self) -> String {
        "multiply".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        let [channels, ..] = input.expect_maps()?;
        match self.body.output(input).map_err(|error| error.to_string())? {
            given if given == Volume::maps([channels, 1, 1]) => Ok(*input),
            given => Err(format!("the body gives {given}, expected a number for each channel, {}", Volume::maps([channels, 1, 1]))),
        }
    }

    fn inner(&self) -> Vec<&Sequence> {
        vec![&self.body]
    }

    fn build(&self, input: &Volume, weights: VarBuilder) -> Result<Box<dyn Forward>> {
        Ok(Box::new(Gated { body: Stack::from_sequence(&self.body, input, weights)? }))
    }
}

struct Gated {
    body: Stack,
}

impl Forward for Gated {
    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        ops::scale_channels(input, &self.body.run(input, pass)?)
    }

    fn tensors(&self) -> Vec<(String, &Tensor, ParameterKind)> {
        self.body.tensors().collect()
    }

    fn step(&self) -> Step<'_> {
        Step::Gate { body: &self.body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::HardSigmoid;

    #[test]
    fn the_body_gives_a_number_for_each_channel() {
        let input = Volume::maps([8, 5, 3]);
        assert_eq!(squeeze_excitation(8, 2, HardSigmoid).output(&input), Ok(input));
        let reason = squeeze_excitation(7, 2, HardSigmoid).output(&input).unwrap_err();
        assert_eq!(reason, "the body gives 7×1×1, expected a number for each channel, 8×1×1");
    }
}
