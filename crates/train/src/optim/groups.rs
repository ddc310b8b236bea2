//! Which parameters share a learning rate and a weight decay.

use candle_core::Var;
use cirio_nn::{Parameter, ParameterKind};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Parameters that are updated alike.
#[derive(Clone, Debug)]
pub struct ParamGroup {
    /// Names and variables.
    pub params: Vec<(String, Var)>,
    /// The group's learning rate is the schedule's times this.
    pub lr_scale: f64,
    /// λ of the decay towards 0.
    pub weight_decay: f64,
}

/// What weight decay pulls towards 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decayed {
    /// The weights of convolutions and linear layers; no biases, nothing of a normalisation.
    #[default]
    Weights,
    /// Every parameter, as torch does when it is given `model.parameters()`.
    All,
}

/// How parameters are grouped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupOptions {
    /// λ of what decays.
    pub weight_decay: f64,
    /// What decays.
    pub decayed: Decayed,
    /// The last layer has the whole learning rate, the one before it this share, the one before that its square, and so on
    /// (Clark et al. 2020). 1 for one rate everywhere.
    pub layer_decay: f64,
    /// The head, the last layer with weights, learns at the whole rate times this.
    pub head_scale: f64,
}

/// Groups of the trained ones among a network's parameters, from the input to the output.
///
/// A layer here is one with weights and what belongs to it: batch norm after a convolution has the convolution's rate.
///
/// # Errors
/// Never on a CPU; where candle cannot give the variable.
pub fn param_groups(parameters: &[Parameter], options: &GroupOptions) -> Result<Vec<ParamGroup>> {
    let layers = layer_numbers(parameters);
    let last = layers.iter().max().copied().unwrap_or(0);
    let mut groups: Vec<ParamGroup> = Vec::new();
    for (parameter, layer) in parameters.iter().zip(layers) {
        let Some(var) = parameter.var()? else { continue };
        let lr_scale = match last - layer {
            0 => options.head_scale,
            behind => (0..behind).fold(1.0, |scale, _| scale * options.layer_decay),
        };
        let decays = options.decayed == Decayed::All || parameter.kind == ParameterKind::Weight;
        let weight_decay = if decays { options.weight_decay } else { 0.0 };
        let entry = (parameter.name.clone(), var);
        match groups.iter_mut().find(|group| group.lr_scale == lr_scale && group.weight_decay == weight_decay) {
            Some(group) => group.params.push(entry),
            None => groups.push(ParamGroup { params: vec![entry], lr_scale, weight_decay }),
        }
    }
    Ok(groups)
}

/// For each parameter the number of its layer, where only layers with weights count.
fn layer_numbers(parameters: &[Parameter]) -> Vec<usize> {
    let mut with_weights: Vec<usize> = parameters.iter().filter(|p| p.kind == ParameterKind::Weight).map(|p| p.depth).collect();
    with_weights.sort_unstable();
    with_weights.dedup();
    let number = |depth: usize| with_weights.partition_point(|&layer| layer <= depth).saturating_sub(1);
    parameters.iter().map(|parameter| number(parameter.depth)).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use cirio_nn::layer::{Flatten, Relu, batch_norm, conv, linear};
    use cirio_nn::{Layers, Store};

    use super::*;

    fn parameters(frozen: &'static str) -> Vec<Parameter> {
        let layers = Layers::new([1, 5, 5])
            .then("conv1", conv(2, 3))
            .then("bn1", batch_norm())
            .then("relu", Relu)
            .then("conv2", conv(2, 3))
            .then("flatten", Flatten)
            .then("fc", linear(2));
        let store = Store::new(0, DType::F32, &Device::Cpu);
        store.freeze(move |name| name.starts_with(frozen));
        layers.build(store.var_builder()).expect("a sound list").parameters()
    }

    fn names(group: &ParamGroup) -> Vec<&str> {
        group.params.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn rates_fall_from_the_output_to_the_input() {
        let options = GroupOptions { weight_decay: 0.01, decayed: Decayed::All, layer_decay: 0.5, head_scale: 1.0 };
        let groups = param_groups(&parameters("none"), &options).expect("groups");
        assert_eq!(groups.iter().map(|group| group.lr_scale).collect::<Vec<_>>(), [0.25, 0.5, 1.0]);
        assert_eq!(names(&groups[0]), ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"], "batch norm goes with its convolution");
        assert_eq!(names(&groups[2]), ["fc.weight", "fc.bias"]);
    }

    #[test]
    fn the_head_has_a_rate_of_its_own() {
        let options = GroupOptions { weight_decay: 0.01, decayed: Decayed::All, layer_decay: 0.5, head_scale: 10.0 };
        let groups = param_groups(&parameters("none"), &options).expect("groups");
        assert_eq!(groups.iter().map(|group| group.lr_scale).collect::<Vec<_>>(), [0.25, 0.5, 10.0]);
        assert_eq!(names(&groups[2]), ["fc.weight", "fc.bias"]);
    }

    #[test]
    fn biases_and_norms_do_not_decay() {
        let options = GroupOptions { weight_decay: 0.01, decayed: Decayed::Weights, layer_decay: 1.0, head_scale: 1.0 };
        let groups = param_groups(&parameters("none"), &options).expect("groups");
        assert_eq!(groups.len(), 2);
        assert_eq!(names(&groups[0]), ["conv1.weight", "conv2.weight", "fc.weight"]);
        assert_eq!((groups[0].weight_decay, groups[1].weight_decay), (0.01, 0.0));
    }

    #[test]
    fn what_is_frozen_is_in_no_group() {
        let options = GroupOptions { weight_decay: 0.0, decayed: Decayed::All, layer_decay: 1.0, head_scale: 1.0 };
        let groups = param_groups(&parameters("conv"), &options).expect("groups");
        assert_eq!(names(&groups[0]), ["bn1.weight", "bn1.bias", "fc.weight", "fc.bias"]);
    }
}
