//! The learning rate over a run: a pure function of the step, so that a resumed run needs no state for it.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Steps of one epoch, at least 1.
    pub steps_per_epoch: u64,
    /// Epochs of the whole run.
    pub epochs: u64,
}

impl Length {
    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.steps_per_epoch.saturating_mul(self.epochs)
    }
}

/// A factor for the learning rate at each step: a curve, with a linear rise in front.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Epochs of linear warm-up; fractions are fine, 0 for none.
    pub warm_up: f64,
    /// The factor at the first step of a warm-up.
    pub warm_up_from: f64,
    /// What follows.
    pub curve: Curve,
}

/// The shape of a schedule. Step curves count epochs from the beginning of the run, warm-up included;
/// cosine and one-cycle stretch over what the warm-up leaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Curve {
    /// 1 throughout.
    #[default]
    Constant,
    /// Times `gamma` after every `every` epochs.
    Step {
        /// Epochs between two drops, at least 1.
        every: u64,
        /// The factor of a drop.
        gamma: f64,
    },
    /// Times `gamma` at the beginning of each of these epochs, counted from 0.
    MultiStep {
        /// The epochs, rising.
        milestones: Vec<u64>,
        /// The factor of a drop.
        gamma: f64,
    },
    /// From 1 down half a cosine wave (Loshchilov & Hutter 2017), without restarts.
    Cosine {
        /// The factor that it tends to.
        to: f64,
    },
    /// Up and down once along cosines (Smith & Topin 2018), momentum left alone; a warm-up in front is not needed.
    OneCycle {
        /// The share of the steps at which the factor is 1.
        peak: f64,
        /// The factor at the first step.
        from: f64,
        /// The factor at the last step.
        to: f64,
    },
}

impl Schedule {
    /// The factor of a step, counted from 0.
    pub fn factor(&self, step: u64, length: &Length) -> f64 {
        let per_epoch = length.steps_per_epoch.max(1);
        let warm_up = self.warm_up * per_epoch as f64;
        let warmth = match (step as f64) < warm_up {
            true => self.warm_up_from + (1.0 - self.warm_up_from) * step as f64 / warm_up,
            false => 1.0,
        };
        let after = (step as f64 - warm_up).max(0.0);
        warmth * self.curve.factor(step / per_epoch, after, length.steps() as f64 - warm_up)
    }

    /// Whether the numbers are in their ranges.
    ///
    /// # Errors
    /// With the one that is not.
    pub fn check(&self) -> Result<()> {
        let not_negative = |key, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(Error::config(key, value, "a number of at least 0")),
        };
        not_negative("warm_up", self.warm_up)?;
        not_negative("warm_up_from", self.warm_up_from)?;
        match &self.curve {
            Curve::Constant => Ok(()),
            Curve::Step { every: 0, .. } => Err(Error::config("every", 0, "at least one epoch")),
            Curve::MultiStep { milestones, .. } if !milestones.is_sorted() => {
                Err(Error::config("milestones", format_args!("{milestones:?}"), "epochs in rising order"))
            }
            Curve::Step { gamma, .. } | Curve::MultiStep { gamma, .. } => not_negative("gamma", *gamma),
            Curve::Cosine { to } => not_negative("to", *to),
            Curve::OneCycle { peak, .. } if !(*peak > 0.0 && *peak < 1.0) => {
                Err(Error::config("peak", peak, "a share of the run in 0 < x < 1"))
            }
            Curve::OneCycle { from, to, .. } => not_negative("from", *from).and_then(|()| not_negative("to", *to)),
        }
    }
}

impl Curve {
    /// `after` of `total` steps have passed since the warm-up.
    fn factor(&self, epoch: u64, after: f64, total: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Step { every, gamma } => power(*gamma, epoch / (*every).max(1)),
            Self::MultiStep { milestones, gamma } => power(*gamma, milestones.partition_point(|&milestone| milestone <= epoch) as u64),
            Self::Cosine { to } => cosine(1.0, *to, after / total.max(1.0)),
            Self::OneCycle { peak, from, to } => {
                // As in torch the peak and the end are steps, the last one being number total - 1.
                let (top, last) = ((peak * total - 1.0).max(1.0), (total - 1.0).max(2.0));
                match after <= top {
                    true => cosine(*from, 1.0, after / top),
                    false => cosine(1.0, *to, (after - top) / (last - top)),
                }
            }
        }
    }
}

/// γⁿ
fn power(gamma: f64, n: u64) -> f64 {
    gamma.powi(n.try_into().unwrap_or(i32::MAX))
}

/// From `from` to `to` along half a cosine wave while `share` goes from 0 to 1.
fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * share.clamp(0.0, 1.0)).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    // import torch
    // from torch.optim import SGD, lr_scheduler as L
    // optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    // scheduler = L.StepLR(optimizer, 2, 0.1)             # and so on, as each test says
    // for t in range(n):
    //     print(optimizer.param_groups[0]["lr"]); optimizer.step(); scheduler.step()
    // torch multiplies step by step, so the last digits differ.
    fn check(schedule: &Schedule, length: Length, torch: &[f64]) {
        schedule.check().expect("a sound schedule");
        for (step, expected) in torch.iter().enumerate() {
            let found = schedule.factor(step as u64, &length);
            assert!((found - expected).abs() < 1e-9, "{schedule:?} at step {step}: {found}, torch has {expected}");
        }
    }

    fn curve(curve: Curve) -> Schedule {
        Schedule { curve, ..Schedule::default() }
    }

    #[test]
    fn steps_are_torchs() {
        let length = Length { steps_per_epoch: 1, epochs: 7 };
        // L.StepLR(optimizer, 2, 0.1)
        check(&curve(Curve::Step { every: 2, gamma: 0.1 }), length, &[1.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.001]);
        // L.MultiStepLR(optimizer, [2, 5], 0.5)
        check(&curve(Curve::MultiStep { milestones: vec![2, 5], gamma: 0.5 }), length, &[1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]);
        let longer = Length { steps_per_epoch: 3, epochs: 7 };
        check(&curve(Curve::Step { every: 2, gamma: 0.1 }), longer, &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1]);
    }

    #[test]
    fn cosine_is_torchs() {
        // L.CosineAnnealingLR(optimizer, 10, 0.1)
        let torch =
            [1.0, 0.977975432333, 0.914057647469, 0.814503363532, 0.689057647469, 0.55, 0.410942352531, 0.285496636468, 0.185942352531];
        check(&curve(Curve::Cosine { to: 0.1 }), Length { steps_per_epoch: 5, epochs: 2 }, &torch);
    }

    #[test]
    fn one_cycle_is_torchs() {
        // L.OneCycleLR(optimizer, 1.0, total_steps=20, pct_start=0.3, div_factor=25, final_div_factor=1e4, cycle_momentum=False)
        let torch = [
            0.04,
            0.1316718427,
            0.3716718427,
            0.6683281573,
            0.9083281573,
            1.0,
            0.987464006235,
            0.950484632013,
            0.890916177571,
            0.81174565395,
            0.716943001791,
            0.611262021936,
            0.500002,
            0.388741978064,
            0.283060998209,
            0.18825834605,
            0.109087822429,
            0.0495193679865,
            0.0125399937649,
            4e-06,
        ];
        check(&curve(Curve::OneCycle { peak: 0.3, from: 0.04, to: 4e-6 }), Length { steps_per_epoch: 4, epochs: 5 }, &torch);
    }

    #[test]
    fn warm_up_is_torchs() {
        // L.SequentialLR(optimizer, [L.LinearLR(optimizer, 0.01, 1.0, 4), L.CosineAnnealingLR(optimizer, 6)], [4])
        let torch = [0.01, 0.2575, 0.505, 0.7525, 1.0, 0.933012701892, 0.75, 0.5, 0.25, 0.0669872981078];
        let schedule = Schedule { warm_up: 0.8, warm_up_from: 0.01, curve: Curve::Cosine { to: 0.0 } };
        check(&schedule, Length { steps_per_epoch: 5, epochs: 2 }, &torch);
        // L.ChainedScheduler([L.LinearLR(optimizer, 0.1, 1.0, 3), L.MultiStepLR(optimizer, [4, 6], 0.1)])
        let torch = [0.1, 0.4, 0.7, 1.0, 0.1, 0.1, 0.01, 0.01];
        let schedule = Schedule { warm_up: 3.0, warm_up_from: 0.1, curve: Curve::MultiStep { milestones: vec![4, 6], gamma: 0.1 } };
        check(&schedule, Length { steps_per_epoch: 1, epochs: 8 }, &torch);
    }

    #[test]
    fn the_shortest_runs_have_finite_rates() {
        for shape in [Curve::Constant, Curve::Cosine { to: 0.0 }, Curve::OneCycle { peak: 0.3, from: 0.04, to: 0.0 }] {
            for (steps_per_epoch, epochs) in [(0, 0), (1, 1), (1, 2), (2, 1)] {
                let length = Length { steps_per_epoch, epochs };
                let schedule = Schedule { warm_up: 5.0, ..curve(shape.clone()) };
                for step in 0..4 {
                    assert!((0.0..=1.0).contains(&schedule.factor(step, &length)), "{schedule:?} {length:?} {step}");
                }
            }
        }
    }

    #[test]
    fn wrong_numbers_are_named() {
        for (schedule, key) in [
            (Schedule { warm_up: -1.0, ..Schedule::default() }, "warm_up"),
            (curve(Curve::Step { every: 0, gamma: 0.1 }), "every"),
            (curve(Curve::MultiStep { milestones: vec![3, 2], gamma: 0.1 }), "milestones"),
            (curve(Curve::OneCycle { peak: 1.0, from: 0.0, to: 0.0 }), "peak"),
            (curve(Curve::Cosine { to: f64::NAN }), "to"),
        ] {
            let error = schedule.check().unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
    }

    #[test]
    fn schedules_are_written_as_toml() {
        let schedule = Schedule { warm_up: 1.0, warm_up_from: 0.1, curve: Curve::MultiStep { milestones: vec![3], gamma: 0.1 } };
        let text = toml::to_string(&schedule).expect("written");
        assert!(text.contains("[curve]\nname = \"multi-step\"\nmilestones = [3]\n"), "{text}");
        assert_eq!(toml::from_str::<Schedule>(&text).expect("read"), schedule);
    }
}
