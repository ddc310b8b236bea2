//! `cirio eval` for detectors: what they find in labelled pictures, measured as COCO does.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use cirio::DetectorModel;
use cirio_coco::Found;
use cirio_data::objects::augment::Augmentation;
use cirio_data::objects::{ObjectSet, SceneLoader, SceneLoaderConfig, coco};
use cirio_data::{OpenOptions, Strictness};
use cirio_hub::{Resolved, Source};
use cirio_train::{RunFolder, as_found};
use cirio_vision::to_tensor;

use super::results::Told;
use super::{Args, warn_of_problems};
use crate::console::{Usage, say};
use crate::detector::Rules;
use crate::{parse, progress};

/// Flags of the evaluation of detectors.
#[derive(clap::Args)]
pub struct Flags {
    /// Detectors: write what was found in COCO's format for results.
    #[arg(long, value_name = "FILE")]
    save_json: Option<PathBuf>,
    /// Detectors: the eps of frozen norms [default: what is known of the weights, else what the model was published with; a body from ImageNet alone has 1e-5].
    #[arg(long, value_name = "EPS", value_parser = parse::eps)]
    frozen_bn_eps: Option<f64>,
}

impl Flags {
    /// The first of these flags that is given.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [(self.save_json.is_some(), "--save-json"), (self.frozen_bn_eps.is_some(), "--frozen-bn-eps")];
        flags.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }
}

/// Finds the objects in all pictures, and tells how good that is.
pub fn run(args: &Args, found: &Resolved, model: &'static DetectorModel, json: bool) -> Result<()> {
    let finder = Rules::for_evaluation(args.objects.frozen_bn_eps).load(&args.network, found, model)?.with_views(args.tta)?;
    let set = Arc::new(open(args, found)?);
    let classes = Classes::new(&finder.classes, &set)?;
    warn_of_problems(&set);
    let (mut read, mut all) = (Vec::new(), Vec::new());
    let config = SceneLoaderConfig {
        batch: 1,
        workers: 1,
        strictness: if args.strict { Strictness::Strict } else { Strictness::Lenient },
        ..SceneLoaderConfig::default()
    };
    let loader = SceneLoader::new(set.clone(), config, Augmentation::default())?;
    let bar = progress::pictures(set.len());
    let mut pictures = loader.epoch(0);
    for batch in pictures.by_ref() {
        let batch = batch?;
        for (scene, &index) in batch.scenes.iter().zip(&batch.indices) {
            let input = to_tensor(&scene.image.to_rgb(), &[0.0; 3], &[1.0; 3], &finder.device)?;
            all.push(classes.of(&finder.find(input)?)?);
            read.push(index);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    pictures.skipped().iter().for_each(|skipped| say(format_args!("warning: left out {}: {}", skipped.picture, skipped.reason)));
    // What could not be read counts neither for the detector nor against it.
    let set = set.subset(&read)?;
    if let Some(file) = &args.objects.save_json {
        coco::write_results(&set, &all, file)?;
    }
    let skipped = pictures.skipped().len() + set.left_out();
    let told = Told { model: Some(model.name), weights: Some(&finder.name), results: None, data: &args.data, skipped: Some(skipped) };
    args.found.tell(&told, &set, &all, args.per_class, json)
}

/// The labelled pictures: those that a run held out, where the weights are a run's.
fn open(args: &Args, found: &Resolved) -> Result<ObjectSet> {
    let folder = found.path.parent().filter(|folder| found.source == Source::Run && folder.join("config.toml").is_file());
    let run = folder.map(RunFolder::config).transpose()?;
    let seed = args.seed.or(run.as_ref().map(|run| run.train.seed)).unwrap_or(0);
    let val_fraction = args.val_fraction.or(run.and_then(|run| run.val_fraction));
    let options = OpenOptions { seed, val_fraction, ..OpenOptions::default() };
    Ok(ObjectSet::open(&args.data, args.split.into(), &options)?)
}

/// Which category of a set each label of a detector is.
struct Classes(Vec<Option<usize>>);

impl Classes {
    /// By names; where the detector has only numbers, these are the categories' own numbers, or else their order.
    fn new(names: &[String], set: &ObjectSet) -> Result<Self> {
        let categories = &set.categories;
        let numbered = names.iter().enumerate().all(|(label, name)| *name == label.to_string());
        let own_numbers = categories.iter().all(|category| (1..names.len() as u64).contains(&category.id));
        let of: Vec<Option<usize>> = match (numbered, own_numbers) {
            (false, _) => names.iter().map(|name| categories.iter().position(|category| category.name == *name)).collect(),
            (true, true) => (0..names.len() as u64).map(|label| categories.iter().position(|category| category.id == label)).collect(),
            (true, false) if categories.len() + 1 == names.len() => (0..names.len()).map(|label| label.checked_sub(1)).collect(),
            (true, false) => {
                bail!(Usage(format!("the detector has {} classes without names, the data {}", names.len() - 1, categories.len())))
            }
        };
        let known = |category: &usize| of.iter().skip(1).flatten().any(|of| of == category);
        let unknown: Vec<&str> =
            (0..categories.len()).filter(|category| !known(category)).map(|index| categories[index].name.as_str()).collect();
        match unknown.len() {
            0 => {}
            count if count == categories.len() => bail!("the detector has none of the data's classes {}", unknown.join(", ")),
            _ => say(format_args!("warning: the detector does not know {}", unknown.join(", "))),
        }
        Ok(Self(of))
    }

    /// Objects as they are compared, without those of classes that the set does not have.
    fn of(&self, found: &[cirio_detection::Detection]) -> Result<Vec<Found>> {
        let category = |label: usize| self.0.get(label).copied().flatten();
        let known = found.iter().filter_map(|detection| category(detection.label).map(|category| (category, detection)));
        known.map(|(category, detection)| Ok(Found { category, ..as_found(detection)? })).collect()
    }
}
