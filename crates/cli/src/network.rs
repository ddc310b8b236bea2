//! A model with its weights, from the flags that choose them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use cirio::Model;
use cirio::nn::{Inference, Layers, Stack, Weights};
use cirio::vision::Preprocess;
use cirio_hub::{Downloads, Registry, Resolved, Source, spelling};
use cirio_nn::device::DeviceChoice;

use crate::progress::Fetched;
use crate::{console, parse};

/// Flags of the verbs that compute.
#[derive(clap::Args)]
pub struct Compute {
    /// auto, cpu, cuda, cuda:N, metal or metal:N.
    #[arg(long, default_value = "auto", value_parser = parse::device)]
    device: DeviceChoice,
}

impl Compute {
    /// Opens the device; a warning goes to stderr.
    pub fn device(&self) -> Result<Device> {
        let (device, warning) = self.device.open()?;
        if let Some(warning) = warning {
            console::say(format_args!("warning: {warning}"));
        }
        Ok(device)
    }
}

/// Flags of the verbs that look for weights.
#[derive(clap::Args)]
pub struct Hub {
    /// Fetch nothing from the network; weights that were fetched before are found still.
    #[arg(long)]
    offline: bool,
}

impl Hub {
    fn registry(&self) -> Result<Registry> {
        let mut downloads = Downloads::from_env();
        downloads.offline |= self.offline;
        Ok(Registry::locate()?.with_downloads(downloads))
    }

    /// Finds weights for a model to begin with. A full name says for which detector the weights are; another one may begin with them.
    pub fn find_for(&self, model: &str, weights: &str) -> Result<Resolved> {
        self.find(Some(model).filter(|model| !(is_detector(model) && weights.contains('/'))), weights)
    }

    /// Finds weights, and fetches them if they are not here.
    pub fn find(&self, model: Option<&str>, weights: &str) -> Result<Resolved> {
        let mut bar = Fetched::default();
        Ok(self.registry()?.find_with(model, weights, &mut |transfer| bar.show(transfer))?)
    }
}

/// Flags that choose a trained network.
#[derive(clap::Args)]
pub struct Choice {
    /// The model, e.g. lenet5 [default: the one that the weights are for].
    #[arg(long, short)]
    model: Option<String>,
    /// Weights: a name such as lenet5/fashion-mnist, a .safetensors or .pth file, the index of several, a run folder,
    /// hf://OWNER/REPO[@REVISION]/FILE or https://… [default: the model's first].
    #[arg(long, short)]
    weights: Option<String>,
    #[command(flatten)]
    hub: Hub,
    #[command(flatten)]
    compute: Compute,
}

/// A trained network, layer by layer.
pub struct Loaded {
    pub model: &'static Model,
    /// What to call its weights.
    pub name: String,
    pub layers: Layers,
    pub stack: Stack,
    pub classes: Vec<String>,
    pub preprocess: Preprocess,
    pub device: Device,
    /// The folder of the run that made the weights, where that was given and says how it was made.
    pub run: Option<PathBuf>,
}

/// A trained network, ready to be used.
pub struct Network {
    pub model: &'static Model,
    /// What to call its weights.
    pub name: String,
    pub inference: Inference,
    pub classes: Vec<String>,
    pub preprocess: Preprocess,
    pub device: Device,
    /// The folder of the run that made the weights, where that was given and says how it was made.
    pub run: Option<PathBuf>,
}

impl Choice {
    /// Finds the weights, and the name of the model that they are to be used for.
    pub fn choose(&self) -> Result<(Resolved, String)> {
        if let Some(model) = &self.model {
            known(model)?;
        }
        let found = self.resolve()?;
        let model = match (&self.model, &found.model) {
            // Detectors can use each other's weights in part; loading says what is missing.
            (Some(asked), Some(theirs)) if asked != theirs && !(is_detector(asked) && is_detector(theirs)) => {
                bail!("the weights {} are for {theirs}, not for {asked}", found.name())
            }
            (Some(model), _) | (None, Some(model)) => model.clone(),
            (None, None) => bail!("the file {} does not say which model it is for: add --model", found.name()),
        };
        Ok((found, model))
    }

    /// The device to compute on.
    pub fn device(&self) -> Result<Device> {
        self.compute.device()
    }

    /// Builds a classifier with weights that were found, for use alone.
    pub fn classifier(&self, found: Resolved, model: &'static Model) -> Result<Network> {
        let Loaded { model, name, stack, classes, preprocess, device, run, .. } = self.load(found, model)?;
        Ok(Network { model, name, inference: stack.for_inference()?, classes, preprocess, device, run })
    }

    /// Builds a classifier with weights that were found.
    pub fn load(&self, found: Resolved, model: &'static Model) -> Result<Loaded> {
        let name = found.name();
        let weights = open(&found.path, model)?;
        let classes = match found.classes {
            Some(classes) => classes,
            None => (0..classes_in(&weights, model)?).map(|class| class.to_string()).collect(),
        };
        let preprocess = found.preprocessing.unwrap_or_else(|| model.preprocess());
        preprocess.check().with_context(|| format!("the preprocessing of {name}"))?;
        let device = self.compute.device()?;
        let layers = model.layers(classes.len()).with_input(preprocess.output_shape());
        let stack = layers.load(&weights, &device).with_context(|| format!("{name} as {}", model.name))?;
        let run = found.path.parent().filter(|folder| found.source == Source::Run && folder.join("config.toml").is_file());
        let run = run.map(Path::to_owned);
        Ok(Loaded { model, name, layers, stack, classes, preprocess, device, run })
    }

    fn resolve(&self) -> Result<Resolved> {
        let model = self.model.as_deref();
        if let Some(weights) = &self.weights {
            return match model {
                Some(model) => self.hub.find_for(model, weights),
                None => self.hub.find(None, weights),
            };
        }
        let registry = self.hub.registry()?;
        match registry.entries().iter().find(|entry| model.is_none_or(|model| model == entry.model)) {
            Some(entry) => self.hub.find(model, &entry.full_name()),
            None => bail!("no weights for {} are here: name a file with --weights", model.unwrap_or("any model")),
        }
    }
}

/// That there is a model of this name.
fn known(name: &str) -> cirio::Result<()> {
    if is_detector(name) { Ok(()) } else { cirio::find(name).map(|_| ()) }
}

fn is_detector(name: &str) -> bool {
    cirio::find_detector(name).is_ok()
}

/// The weights in a file, in the spelling of a model.
pub fn open(path: &Path, model: &Model) -> Result<Weights> {
    let shapes = model.layers(model.classes).shapes()?.into_iter().collect();
    Ok(spelling::respelled(&Weights::open(path)?, &shapes)?)
}

/// The number of classes K that weights are for: the rows of the model's last layer. Where they lack such a layer, the model's
/// own number; loading says what does not fit.
pub fn classes_in(weights: &Weights, model: &Model) -> Result<usize> {
    let shapes = model.layers(model.classes).shapes()?;
    let rows = shapes.last().and_then(|(name, wanted)| match (weights.shapes().get(name)?.as_slice(), wanted.as_slice()) {
        ([rows, rest @ ..], [_, wanted @ ..]) if rest == wanted => Some(*rows),
        _ => None,
    });
    Ok(rows.unwrap_or(model.classes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every entry of the manifest is for a model of this build, whose list takes its pictures.
    #[test]
    fn the_manifests_entries_fit_their_models() -> Result<()> {
        let registry = Registry::locate()?;
        assert!(!registry.entries().is_empty());
        for entry in registry.entries() {
            match &entry.preprocessing {
                Some(steps) => {
                    let layers = cirio::find(&entry.model)?.layers(entry.classes.len()).with_input(steps.output_shape());
                    layers.table().with_context(|| entry.full_name())?;
                }
                None => assert_eq!(cirio::find_detector(&entry.model)?.classes, entry.classes.len(), "{}", entry.full_name()),
            }
        }
        Ok(())
    }
}
