//! The network that is looked into, and what it sees of a picture.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use cirio_detection::{Transform, spelt_today};
use cirio_explain::{Stack, largest};
use cirio_hub::Resolved;
use cirio_nn::{Inference, InferenceConfig, Layers, Table, Volume, ops};
use cirio_vision::{Image, Preprocess, from_tensor, to_tensor};

use super::Class;
use crate::console::Usage;
use crate::detector::{Found, Rules};
use crate::network::{Choice, Loaded};

/// A classifier, or the network below a detector's heads, layer by layer.
pub struct Subject {
    pub model: &'static str,
    /// What to call its weights.
    pub weights: String,
    pub layers: Layers,
    pub stack: Stack,
    pub device: Device,
    /// The classes of a classifier; none of a detector's body.
    pub classes: Vec<String>,
    pub eye: Eye,
    /// The folder of the run that made the weights, where that was given.
    pub run: Option<PathBuf>,
}

/// The way from a picture to the network's input.
pub enum Eye {
    Classifier(Preprocess),
    Detector(Transform),
}

/// A picture as the network sees it.
pub struct Seen {
    /// What it is called.
    pub stem: String,
    /// Without normalisation, for showing.
    pub image: Image,
    /// The input (C, H, W).
    pub tensor: Tensor,
}

impl Seen {
    /// H and W of the input.
    pub fn size(&self) -> [usize; 2] {
        [self.image.height(), self.image.width()]
    }
}

impl Subject {
    pub fn load(choice: &Choice, found: Resolved, model: &str) -> Result<Self> {
        match cirio::find_detector(model) {
            Ok(detector) => Self::body(choice, &found, detector),
            Err(_) => Ok(Self::classifier(choice.load(found, cirio::find(model)?)?)),
        }
    }

    fn classifier(loaded: Loaded) -> Self {
        let Loaded { model, name, layers, stack, classes, preprocess, device, run } = loaded;
        Self { model: model.name, weights: name, layers, stack, device, classes, eye: Eye::Classifier(preprocess), run }
    }

    /// The network below the heads of a detector.
    fn body(choice: &Choice, found: &Resolved, model: &'static cirio::DetectorModel) -> Result<Self> {
        let Found { config, weights, name, .. } = Rules::for_evaluation(None).open(found, model)?;
        let prefix = if config.pyramid.is_some() { "backbone.body" } else { "backbone" };
        let (device, layers) = (choice.device()?, config.body.layers);
        let build = |weights: VarBuilder| layers.build(weights.pp(prefix));
        let (stack, report) = spelt_today(&weights)?.build(&device, build).with_context(|| format!("{name} as {}", model.name))?;
        // The heads have no part in it.
        if !report.missing.is_empty() || !report.mismatched.is_empty() {
            bail!("{name} as {}: {report}", model.name);
        }
        let eye = Eye::Detector(config.transform);
        Ok(Self { model: model.name, weights: name, layers, stack, device, classes: Vec::new(), eye, run: None })
    }

    pub fn see(&self, image: &Image, stem: String) -> Result<Seen> {
        match &self.eye {
            Eye::Classifier(preprocess) => {
                let image = preprocess.apply(image)?;
                let tensor = to_tensor(&image, &preprocess.mean, &preprocess.std, &self.device)?;
                Ok(Seen { stem, image, tensor })
            }
            Eye::Detector(transform) => {
                let picture = to_tensor(&image.to_rgb(), &[0.0; 3], &[1.0; 3], &self.device)?;
                let batch = transform.batch(&[picture], None)?;
                let [rows, columns] = batch.sizes[0];
                // What is beyond the picture is filling.
                let tensor = batch.images.squeeze(0)?.narrow(1, 0, rows)?.narrow(2, 0, columns)?.contiguous()?;
                let image = from_tensor(&tensor, &transform.mean, &transform.std)?;
                Ok(Seen { stem, image, tensor })
            }
        }
    }

    /// The inference form of the same weights, giving the outputs of the layers `taps`, or the last one's.
    pub fn inference(&self, taps: &[&str]) -> Result<Inference> {
        let tensors: HashMap<String, Tensor> =
            self.stack.parameters().into_iter().map(|parameter| (parameter.name, parameter.tensor)).collect();
        let Some(dtype) = tensors.values().map(Tensor::dtype).find(|dtype| dtype.is_float()) else {
            bail!("{} has no weights", self.model)
        };
        let stack = self.layers.build(VarBuilder::from_tensors(tensors, dtype, &self.device))?;
        let taps = taps.iter().map(|&tap| tap.to_owned()).collect();
        Ok(Inference::new(stack, &InferenceConfig { taps, ..InferenceConfig::default() })?)
    }

    /// The K probabilities of a picture.
    pub fn probabilities(&self, seen: &Seen) -> Result<Vec<f32>> {
        let logits = self.stack.forward(&seen.tensor.unsqueeze(0)?)?.flatten_from(1)?;
        let probabilities: Vec<f32> = ops::softmax(&logits)?.squeeze(0)?.to_vec1()?;
        if probabilities.iter().any(|probability| !probability.is_finite()) {
            bail!("the network gives no finite numbers for {}: the weights {} are not sound", seen.stem, self.weights);
        }
        Ok(probabilities)
    }

    /// The class of a classifier that was asked for by name or number, or else the likeliest.
    pub fn class(&self, seen: &Seen, wanted: Option<&str>) -> Result<Class> {
        let probabilities = self.probabilities(seen)?;
        let index = match wanted {
            Some(wanted) => self.class_index(wanted)?,
            None => largest(&probabilities).unwrap_or(0),
        };
        match self.classes.get(index).zip(probabilities.get(index)) {
            Some((name, &probability)) => Ok(Class { index, name: name.clone(), probability }),
            None => bail!("{} gives {} numbers, and has names for {} classes", self.model, probabilities.len(), self.classes.len()),
        }
    }

    fn class_index(&self, wanted: &str) -> Result<usize> {
        if let Some(index) = self.classes.iter().position(|class| class.eq_ignore_ascii_case(wanted)) {
            return Ok(index);
        }
        match wanted.parse::<usize>() {
            Ok(index) if index < self.classes.len() => Ok(index),
            _ => {
                let known = if self.classes.len() <= 20 { format!(": {}", self.classes.join(", ")) } else { String::new() };
                bail!(Usage(format!("--class {wanted}: {} has classes 0 to {}{known}", self.model, self.classes.len().saturating_sub(1))))
            }
        }
    }

    /// The layer that was asked for, or else the deepest whose values see half of a picture of `size` at most: parts of things.
    pub fn layer_of_parts<'a>(&'a self, wanted: Option<&'a str>, size: [usize; 2]) -> Result<&'a str> {
        if let Some(wanted) = wanted {
            return Ok(wanted);
        }
        let table = self.table(size)?;
        let sees_parts = |name: &&String| {
            let row = table.rows.iter().find(|row| row.name == **name);
            row.is_some_and(|row| matches!(row.output, Volume::Maps { .. }) && 2 * row.receptive_field.side() <= size[0].max(size[1]))
        };
        match self.stack.names().iter().rev().find(sees_parts) {
            Some(name) => Ok(name),
            None => self.layer(None, size),
        }
    }

    /// The table of the layers for pictures of `size`.
    pub fn table(&self, size: [usize; 2]) -> Result<Table> {
        Ok(self.layers.clone().with_input([self.layers.input()[0], size[0], size[1]]).table()?)
    }

    /// The layer before the head, whose values are what the head decides by.
    pub fn features(&self) -> Option<&str> {
        let head = self.stack.names().iter().position(|name| Some(name.as_str()) == self.stack.head())?;
        self.stack.names().get(head.checked_sub(1)?).map(String::as_str)
    }

    /// The layer that was asked for, or else the last one that says where: with filters, and maps of more than one place.
    pub fn layer<'a>(&'a self, wanted: Option<&'a str>, size: [usize; 2]) -> Result<&'a str> {
        if let Some(wanted) = wanted {
            return Ok(wanted);
        }
        let table = self.table(size)?;
        let has_places = |name: &&str| {
            let row = table.rows.iter().find(|row| row.name == **name);
            row.is_some_and(|row| matches!(row.output, Volume::Maps { height, width, .. } if height * width > 1))
        };
        let before = || self.stack.names().iter().rev().map(String::as_str).find(has_places);
        match self.stack.last_maps().filter(has_places).or_else(before) {
            Some(layer) => Ok(layer),
            None => bail!("{} has no maps of more than one place", self.model),
        }
    }
}
