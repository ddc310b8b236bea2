//! Optimisers: SGD with momentum (Sutskever et al. 2013) and AdamW (Loshchilov & Hutter 2019), with torch's arithmetic.

mod clip;
pub(crate) mod each;
mod groups;

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};
use serde::{Deserialize, Serialize};

pub use clip::{Clip, clip};
pub(crate) use clip::{add_gradients, scale_gradients};
pub use groups::{Decayed, GroupOptions, ParamGroup, param_groups};

use each::{each2, each3, on_slices};

/// The rule by which a gradient changes a weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
}

/// With d = g + λ·p: v ← μ·v + d, then p ← p - η·v, or with Nesterov's p ← p - η·(d + μ·v).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// μ, in 0 ≤ μ < 1.
    pub momentum: f64,
    /// Whether the step looks ahead by one momentum.
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: false }
    }
}

/// m ← β₁·m + (1-β₁)·g, v ← β₂·v + (1-β₂)·g², then p ← p·(1-η·λ) - η·m̂ / (√v̂ + ε), where m̂ and v̂ are m and v
/// corrected for their start at 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// β₁, in 0 ≤ β₁ < 1.
    pub beta1: f64,
    /// β₂, in 0 ≤ β₂ < 1.
    pub beta2: f64,
    /// ε, above 0.
    pub eps: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

impl Rule {
    /// Whether the numbers are in their ranges.
    ///
    /// # Errors
    /// With the one that is not.
    pub fn check(&self) -> crate::Result<()> {
        let share = |key, value: f64| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(crate::Error::config(key, value, "a number in 0 ≤ x < 1")),
        };
        match *self {
            Self::Sgd(Sgd { momentum, nesterov }) => {
                share("momentum", momentum)?;
                match nesterov && momentum == 0.0 {
                    true => Err(crate::Error::config("nesterov", true, "a momentum above 0 with it")),
                    false => Ok(()),
                }
            }
            Self::AdamW(AdamW { beta1, beta2, eps }) => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                match eps.is_finite() && eps > 0.0 {
                    true => Ok(()),
                    false => Err(crate::Error::config("eps", eps, "a number above 0")),
                }
            }
        }
    }

    /// The names of what is remembered for each parameter.
    fn memory(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd(Sgd { momentum: 0.0, .. }) => &[],
            Self::Sgd(_) => &["momentum"],
            Self::AdamW(_) => &["mean", "variance"],
        }
    }
}

/// An optimiser over groups of parameters. It changes the variables in place.
pub struct Optimizer {
    rule: Rule,
    groups: Vec<Group>,
    steps: u64,
}

struct Group {
    params: Vec<Param>,
    lr_scale: f64,
    weight_decay: f64,
}

struct Param {
    name: String,
    var: Var,
    memory: Vec<Var>,
    /// Steps that it was part of.
    steps: u64,
}

impl Optimizer {
    /// An optimiser that has not made a step.
    pub fn new(rule: Rule, groups: Vec<ParamGroup>) -> Result<Self> {
        let param = |(name, var): (String, Var)| -> Result<Param> {
            let zeros = |_| Var::zeros(var.shape(), var.dtype(), var.device());
            Ok(Param { memory: rule.memory().iter().map(zeros).collect::<Result<_>>()?, name, var, steps: 0 })
        };
        let group = |group: ParamGroup| -> Result<Group> {
            let params = group.params.into_iter().map(param).collect::<Result<_>>()?;
            Ok(Group { params, lr_scale: group.lr_scale, weight_decay: group.weight_decay })
        };
        Ok(Self { rule, groups: groups.into_iter().map(group).collect::<Result<_>>()?, steps: 0 })
    }

    /// Changes every parameter that has a gradient; a group's rate is `learning_rate` times its scale.
    pub fn step(&mut self, gradients: &GradStore, learning_rate: f64) -> Result<()> {
        self.steps += 1;
        for group in &mut self.groups {
            let rate = learning_rate * group.lr_scale;
            for param in &mut group.params {
                if let Some(gradient) = gradients.get(param.var.as_tensor()) {
                    param.steps += 1;
                    self.rule.update(param, gradient, rate, group.weight_decay)?;
                }
            }
        }
        Ok(())
    }

    /// The variables that it changes.
    pub fn vars(&self) -> impl Iterator<Item = &Var> {
        self.groups.iter().flat_map(|group| &group.params).map(|param| &param.var)
    }

    /// Steps made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What it remembers, by names such as `momentum/conv1.weight`; setting a variable changes the optimiser.
    pub fn memory(&self) -> BTreeMap<String, Var> {
        let params = self.groups.iter().flat_map(|group| &group.params);
        let named = |param: &Param| -> Vec<(String, Var)> {
            let names = self.rule.memory().iter().map(|slot| format!("{slot}/{}", param.name));
            names.zip(param.memory.iter().cloned()).collect()
        };
        params.flat_map(named).collect()
    }

    /// Sets the number of steps made, and by name those that each parameter was part of, as a checkpoint has them.
    pub fn set_steps(&mut self, steps: u64, of: impl Fn(&str) -> u64) {
        self.steps = steps;
        for param in self.groups.iter_mut().flat_map(|group| &mut group.params) {
            param.steps = of(&param.name);
        }
    }
}

impl Rule {
    fn update(&self, param: &Param, gradient: &Tensor, rate: f64, decay: f64) -> Result<()> {
        match (self, on_slices(param.var.as_tensor())) {
            (Self::Sgd(sgd), true) => sgd.on_slices(param, gradient, rate, decay),
            (Self::Sgd(sgd), false) => sgd.on_tensors(param, &gradient.detach(), rate, decay),
            (Self::AdamW(adam), true) => adam.on_slices(param, gradient, rate, decay),
            (Self::AdamW(adam), false) => adam.on_tensors(param, &gradient.detach(), rate, decay),
        }
    }
}

impl Sgd {
    fn on_slices(&self, param: &Param, gradient: &Tensor, rate: f64, decay: f64) -> Result<()> {
        let (rate, decay, momentum) = (rate as f32, decay as f32, self.momentum as f32);
        match param.memory.first() {
            None => each2(&param.var, gradient, |p, g| p - rate * (g + decay * p)),
            Some(velocity) => {
                each3(velocity, gradient, &param.var, |v, g, p| momentum * v + (g + decay * p))?;
                match self.nesterov {
                    true => each3(&param.var, velocity, gradient, |p, v, g| p - rate * ((g + decay * p) + momentum * v)),
                    false => each2(&param.var, velocity, |p, v| p - rate * v),
                }
            }
        }
    }

    fn on_tensors(&self, param: &Param, gradient: &Tensor, rate: f64, decay: f64) -> Result<()> {
        let value = param.var.as_detached_tensor();
        let wanted = (gradient + (&value * decay)?)?;
        let direction = match param.memory.first() {
            None => wanted,
            Some(velocity) => {
                let moved = ((velocity.as_detached_tensor() * self.momentum)? + &wanted)?;
                velocity.set(&moved)?;
                if self.nesterov { (wanted + (moved * self.momentum)?)? } else { moved }
            }
        };
        param.var.set(&(value - (direction * rate)?)?)
    }
}

impl AdamW {
    /// Both corrections: 1 - β₁ᵗ and √(1 - β₂ᵗ).
    fn corrections(&self, step: u64) -> (f64, f64) {
        (1.0 - self.beta1.powf(step as f64), (1.0 - self.beta2.powf(step as f64)).sqrt())
    }

    fn on_slices(&self, param: &Param, gradient: &Tensor, rate: f64, decay: f64) -> Result<()> {
        let [mean, variance] = &param.memory[..] else { candle_core::bail!("AdamW remembers two tensors") };
        let (first, second) = self.corrections(param.steps);
        let (beta1, beta2, eps) = (self.beta1 as f32, self.beta2 as f32, self.eps as f32);
        let (new1, new2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let (keep, rate, second) = ((1.0 - rate * decay) as f32, (rate / first) as f32, second as f32);
        each2(mean, gradient, |m, g| beta1 * m + new1 * g)?;
        each2(variance, gradient, |v, g| beta2 * v + new2 * (g * g))?;
        each3(&param.var, mean, variance, |p, m, v| p * keep - rate * (m / (v.sqrt() / second + eps)))
    }

    fn on_tensors(&self, param: &Param, gradient: &Tensor, rate: f64, decay: f64) -> Result<()> {
        let [mean, variance] = &param.memory[..] else { candle_core::bail!("AdamW remembers two tensors") };
        let (first, second) = self.corrections(param.steps);
        let new_mean = ((mean.as_detached_tensor() * self.beta1)? + (gradient * (1.0 - self.beta1))?)?;
        let new_variance = ((variance.as_detached_tensor() * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
        mean.set(&new_mean)?;
        variance.set(&new_variance)?;
        let scale = ((new_variance.sqrt()? / second)? + self.eps)?;
        let kept = (param.var.as_detached_tensor() * (1.0 - rate * decay))?;
        param.var.set(&(kept - ((new_mean / scale)? * (rate / first))?)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    // import torch
    // p = torch.tensor([0.5, -1.0, 2.0, 0.0], requires_grad=True)
    // optimizer = SGD([p], lr=0.1)                       # and so on, as each test says
    // for t in range(5):
    //     p.grad = torch.cos(torch.tensor([1., 2., 3., 4.]) * (t + 1)) * 0.5 + 0.1 * p.detach()
    //     optimizer.step()
    fn five_steps(rule: Rule, learning_rate: f64, weight_decay: f64, dtype: DType) -> Result<Vec<f64>> {
        let var = Var::from_tensor(&Tensor::new(&[0.5f64, -1.0, 2.0, 0.0], &Device::Cpu)?.to_dtype(dtype)?)?;
        let group = ParamGroup { params: vec![("p".to_owned(), var.clone())], lr_scale: 0.5, weight_decay };
        let mut optimizer = Optimizer::new(rule, vec![group])?;
        for t in 0..5 {
            let angles = (Tensor::new(&[1f64, 2.0, 3.0, 4.0], &Device::Cpu)? * f64::from(t + 1))?;
            let gradient = ((angles.cos()?.to_dtype(dtype)? * 0.5)? + (var.as_detached_tensor() * 0.1)?)?;
            let mut gradients = var.as_tensor().sum_all()?.backward()?;
            gradients.insert(&var, gradient);
            optimizer.step(&gradients, 2.0 * learning_rate)?;
        }
        assert_eq!(optimizer.steps(), 5);
        var.to_dtype(DType::F64)?.to_vec1()
    }

    /// Both paths give torch's numbers; torch rounds to f32 at each operation, so the last digit may differ.
    fn check(rule: Rule, learning_rate: f64, weight_decay: f64, torch: [f64; 4]) -> Result<()> {
        for dtype in [DType::F32, DType::F64] {
            let found = five_steps(rule, learning_rate, weight_decay, dtype)?;
            for (found, torch) in found.iter().zip(torch) {
                assert!((found - torch).abs() < 5e-7, "{rule:?} {dtype:?}: {found} {torch}");
            }
        }
        Ok(())
    }

    #[test]
    fn sgd_is_torchs() -> Result<()> {
        // SGD([p], lr=0.1)
        let plain = Rule::Sgd(Sgd { momentum: 0.0, nesterov: false });
        check(plain, 0.1, 0.0, [0.536420584, -0.897188425, 1.94381022, 0.0241002794])?;
        // SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01)
        let heavy = Rule::Sgd(Sgd { momentum: 0.9, nesterov: false });
        check(heavy, 0.1, 0.01, [0.573117554, -0.741044044, 1.83120811, 0.109500885])?;
        // SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
        let nesterov = Rule::Sgd(Sgd { momentum: 0.9, nesterov: true });
        check(nesterov, 0.1, 0.01, [0.600427508, -0.667098999, 1.78486621, 0.118071102])
    }

    #[test]
    fn adamw_is_torchs() -> Result<()> {
        // AdamW([p], lr=0.01, weight_decay=0.1)
        check(Rule::AdamW(AdamW::default()), 0.01, 0.1, [0.496488124, -0.963622153, 1.98808825, 0.0211921521])?;
        // AdamW([p], lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.0)
        let quick = Rule::AdamW(AdamW { beta1: 0.8, beta2: 0.95, eps: 1e-6 });
        check(quick, 0.01, 0.0, [0.501156569, -0.969428062, 1.99717391, 0.0197907146])
    }

    #[test]
    fn rules_are_written_as_toml() {
        let text = toml::to_string(&Rule::Sgd(Sgd::default())).expect("written");
        assert_eq!(text, "name = \"sgd\"\nmomentum = 0.9\nnesterov = false\n");
        let read: Rule = toml::from_str("name = \"adamw\"\nbeta2 = 0.99").expect("read");
        assert_eq!(read, Rule::AdamW(AdamW { beta2: 0.99, ..AdamW::default() }));
        assert!(toml::from_str::<Rule>("name = \"adamw\"\nmomentum = 0.9").is_err(), "no such number");
    }
}
