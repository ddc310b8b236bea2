//! What torch's networks see: gradients back to the pixels by three rules, Grad-CAM and integrated gradients, for the same weights.
//!
//! The numbers were made by `tools/reference/make` with torchvision 0.14.1 and torch 1.13.1 on a CPU, in double precision: in single
//! precision torch's own integrated gradients of a ResNet-50 are off by 0.0015 of the largest, by one ReLU whose input is 0 but for rounding.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use cirio::nn::Stack;
use cirio_explain::{Heat, Rectifier, Target, Trace, Weighing, class_activation, integrated_gradients, trace};
use serde::Deserialize;

use crate::generated::Generated;
use crate::{CLASSES, FOLDER};

/// Of a tensor's largest value, and of its sums: f32 sums in another order, there and back.
const TOLERANCE: f64 = 1e-4;

/// What a tensor is like.
#[derive(Deserialize)]
struct Summary {
    shape: Vec<usize>,
    sum: f64,
    sum_abs: f64,
    norm: f64,
    largest: f64,
    /// Some values with their places, among them the largest.
    values: Vec<(usize, f64)>,
}

/// A value of a network and its ways back.
#[derive(Deserialize)]
struct Traced {
    value: f64,
    gradient: Summary,
    deconvnet: Summary,
    guided: Summary,
}

/// What torch said.
#[derive(Deserialize)]
struct Seen {
    model: String,
    size: [usize; 2],
    seed: u32,
    class: usize,
    middle: String,
    map: usize,
    place: [usize; 2],
    last: String,
    of_class: Traced,
    of_map: Traced,
    grad_cam: Summary,
    plus_plus: Summary,
    steps: usize,
    integrated: Summary,
}

impl Summary {
    fn check(&self, shape: &[usize], values: &[f32]) -> Result<()> {
        ensure!(shape == self.shape, "{shape:?}, expected {:?}", self.shape);
        let sum = |of: fn(f64) -> f64| values.iter().map(|&value| of(f64::from(value))).sum::<f64>();
        close(sum(|value| value), self.sum, self.sum_abs).context("the sum")?;
        close(sum(f64::abs), self.sum_abs, self.sum_abs).context("the sum of sizes")?;
        close(sum(|value| value * value).sqrt(), self.norm, self.norm).context("the norm")?;
        for &(place, expected) in &self.values {
            let value = *values.get(place).with_context(|| format!("no place {place}"))?;
            close(f64::from(value), expected, self.largest).with_context(|| format!("place {place}"))?;
        }
        Ok(())
    }

    fn check_tensor(&self, tensor: &Tensor) -> Result<()> {
        self.check(tensor.dims(), &tensor.flatten_all()?.to_vec1::<f32>()?)
    }

    fn check_heat(&self, heat: &Heat) -> Result<()> {
        self.check(&[heat.height, heat.width], &heat.values)
    }
}

/// That a number is the expected one, up to a small part of `size`.
fn close(ours: f64, expected: f64, size: f64) -> Result<()> {
    ensure!((ours - expected).abs() <= TOLERANCE * size, "{ours}, expected {expected}, of a size of {size}");
    Ok(())
}

impl Seen {
    /// A value's three ways back; the trace by the gradient.
    fn check_traces(&self, network: &Stack, image: &Tensor, target: &Target, expected: &Traced) -> Result<Trace> {
        let traced = |rule, expected: &Summary| -> Result<Trace> {
            let traced = trace(network, image, target, rule)?;
            expected.check_tensor(&traced.gradient).with_context(|| format!("{target:?} by {rule:?}"))?;
            Ok(traced)
        };
        traced(Rectifier::Deconvnet, &expected.deconvnet)?;
        traced(Rectifier::Guided, &expected.guided)?;
        let found = traced(Rectifier::Gradient, &expected.gradient)?;
        close(f64::from(found.value), expected.value, expected.value.abs()).with_context(|| format!("the value of {target:?}"))?;
        Ok(found)
    }

    fn check(&self) -> Result<()> {
        let [height, width] = self.size;
        let generated = Generated::new(&self.model, self.seed);
        let image = generated.picture("image", height, width)?;
        let network = cirio::find(&self.model)?.layers(CLASSES).with_input([3, height, width]).build(generated.var_builder())?;

        self.check_traces(&network, &image, &Target::Class(self.class), &self.of_class)?;
        // torch names the block, whose last layer gives what the block gives.
        let of_map = Target::Map { layer: &self.middle, map: self.map, place: None };
        let found = self.check_traces(&network, &image, &of_map, &self.of_map)?;
        ensure!(found.place == self.place, "the strongest is at {:?}, expected {:?}", found.place, self.place);

        let last = network.last_maps().context("a layer with maps")?;
        ensure!(last.starts_with(&self.last), "`{last}`, expected `{}`", self.last);
        for (weighing, expected) in [(Weighing::GradCam, &self.grad_cam), (Weighing::PlusPlus, &self.plus_plus)] {
            let heat = class_activation(&network, &image, last, self.class, weighing)?;
            expected.check_heat(&heat).with_context(|| format!("{weighing:?}"))?;
        }

        let integrated = integrated_gradients(&network, &image, &image.zeros_like()?, self.class, self.steps)?;
        self.integrated.check_tensor(&integrated.attribution).context("integrated gradients")
    }
}

#[test]
fn what_networks_see_is_what_torchs_see() -> Result<()> {
    let path = Path::new(FOLDER).join("explain.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let all: Vec<Seen> = serde_json::from_str(&text)?;
    ensure!(all.len() == 4, "{} networks", all.len());
    all.iter().try_for_each(|seen| seen.check().with_context(|| seen.model.clone()))
}
