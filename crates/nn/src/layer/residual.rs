//! The residual block (He et al. 2015): a body and a shortcut, added.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{Cost, Forward, Layer, Shaped, Step};
use crate::ops::tape;
use crate::pass::Pass;
use crate::stack::Stack;
use crate::{ParameterKind, Sequence, Volume};

/// body(x) + shortcut(x). An empty shortcut passes x on as it is.
#[derive(Clone, Debug)]
pub struct Residual {
    /// The layers that learn the difference.
    pub body: Sequence,
    /// What brings x to the body's output shape; often nothing.
    pub shortcut: Sequence,
}

/// body(x) + x.
pub fn residual(body: Sequence) -> Residual {
    Residual { body, shortcut: Sequence::default() }
}

impl Layer for Residual {
    fn kind(&self) -> String {
        "add".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        // The names of weights are those of the layers: two layers of one name would share them.
        let in_body = |name: &str| self.body.iter().any(|(other, _)| other == name);
        if let Some((name, _)) = self.shortcut.iter().find(|(name, _)| in_body(name)) {
            return Err(format!("body and shortcut both have a layer named `{name}`"));
        }
        let body = self.body.output(input).map_err(|error| error.to_string())?;
        let shortcut = self.shortcut.output(input).map_err(|error| error.to_string())?;
        if body != shortcut {
            return Err(format!("the body gives {body}, the shortcut {shortcut}"));
        }
        Ok(body)
    }

    /// The addition alone; the layers of body and shortcut have their own costs.
    fn cost(&self, _input: &Volume) -> Cost {
        Cost::default()
    }

    fn inner(&self) -> Vec<&Sequence> {
        vec![&self.body, &self.shortcut]
    }

    fn build(&self, input: &Volume, weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let body = Stack::from_sequence(&self.body, input, weights.clone())?;
        let shortcut = Stack::from_sequence(&self.shortcut, input, weights)?;
        Ok(Box::new(Block { body, shortcut }))
    }
}

struct Block {
    body: Stack,
    shortcut: Stack,
}

impl Forward for Block {
    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        tape::sum(&self.body.run(input, pass)?, &self.shortcut.run(input, pass)?)
    }

    fn is_recordable(&self) -> bool {
        self.body.is_recordable() && self.shortcut.is_recordable()
    }

    fn tensors(&self) -> Vec<(String, &Tensor, ParameterKind)> {
        self.body.tensors().chain(self.shortcut.tensors()).collect()
    }

    fn step(&self) -> Step<'_> {
        Step::Residual { body: &self.body, shortcut: &self.shortcut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::conv;

    #[test]
    fn body_and_shortcut_do_not_share_names() {
        let block = Residual { body: Sequence::new().then("conv", conv(3, 1)), shortcut: Sequence::new().then("conv", conv(3, 1)) };
        let reason = block.output(&Volume::maps([3, 4, 4])).unwrap_err();
        assert_eq!(reason, "body and shortcut both have a layer named `conv`");
    }
}
