//! A named tensor of a network, and what it is for.

use candle_core::{Result, Tensor, Var};

/// What a parameter is for; optimisers treat the kinds differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// The weights of a convolution or of a linear layer.
    Weight,
    /// A bias.
    Bias,
    /// Scale or shift of a normalisation, or a trainable coefficient for a whole map.
    Norm,
    /// Not trained: running statistics, fixed tables.
    Buffer,
}

/// A named tensor of a network.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The full name, e.g. `conv1.weight`: the key in a file of weights.
    pub name: String,
    /// Its value; a candle variable where it is trained.
    pub tensor: Tensor,
    /// What it is for.
    pub kind: ParameterKind,
    /// The place in the list of the layer that it belongs to, from 0 at the input.
    pub depth: usize,
}

impl Parameter {
    /// The variable behind it, or `None` for a buffer and for what is frozen.
    pub fn var(&self) -> Result<Option<Var>> {
        let trained = self.tensor.is_variable() && self.kind != ParameterKind::Buffer;
        trained.then(|| Var::from_tensor(&self.tensor)).transpose()
    }
}
