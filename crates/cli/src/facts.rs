//! What is known of a model, classifier or detector.

use anyhow::Result;
use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use cirio::{DetectorModel, Model};
use cirio_nn::ParameterKind;
use serde::Serialize;

/// What is known of a model without its weights.
#[derive(Serialize)]
pub struct Facts {
    /// Verbs have their own keys for it.
    #[serde(skip)]
    pub name: &'static str,
    pub task: &'static str,
    pub about: &'static str,
    pub paper: &'static str,
    /// C, H, W; none of a detector, which takes pictures of any size.
    pub input: Option<[usize; 3]>,
    pub classes: usize,
    pub params: u64,
    /// None of a detector, where it depends on the picture.
    pub macs: Option<u64>,
}

impl Facts {
    /// Of the model of this name.
    pub fn of(name: &str) -> Result<Self> {
        match cirio::find_detector(name) {
            Ok(model) => Self::of_detector(model),
            Err(_) => Self::of_classifier(cirio::find(name)?),
        }
    }

    pub fn of_classifier(model: &Model) -> Result<Self> {
        let table = model.layers(model.classes).table()?;
        let Model { name, about, paper, classes, .. } = *model;
        let (input, params, macs) = (Some(table.input), table.parameters(), Some(table.macs()));
        Ok(Self { name, task: model.task.name(), about, paper, input, classes, params, macs })
    }

    pub fn of_detector(model: &DetectorModel) -> Result<Self> {
        let DetectorModel { name, about, paper, classes, .. } = *model;
        Ok(Self { name, task: model.task.name(), about, paper, input: None, classes, params: parameters(model)?, macs: None })
    }
}

/// The number of values that a detector learns.
fn parameters(model: &DetectorModel) -> Result<u64> {
    let detector = model.config(model.classes).build(VarBuilder::zeros(DType::F32, &Device::Cpu))?;
    let learnt = detector.parameters().into_iter().filter(|parameter| parameter.kind != ParameterKind::Buffer);
    Ok(learnt.map(|parameter| parameter.tensor.elem_count() as u64).sum())
}

/// Three digits and a unit: `61.7 k`, `25.6 M`, `4.09 G`.
pub fn short(number: u64) -> String {
    let (value, unit) = match number {
        0..1_000 => return number.to_string(),
        1_000..1_000_000 => (number as f64 / 1e3, 'k'),
        1_000_000..1_000_000_000 => (number as f64 / 1e6, 'M'),
        _ => (number as f64 / 1e9, 'G'),
    };
    let decimals = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [7, 6_440, 61_706, 416_520, 25_557_032, 4_089_184_256].map(short),
            ["7", "6.44 k", "61.7 k", "417 k", "25.6 M", "4.09 G"]
        );
    }
}
