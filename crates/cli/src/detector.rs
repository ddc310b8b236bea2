//! A detector with its weights, from the flags that choose them.

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use cirio::DetectorModel;
use cirio::nn::Weights;
use cirio_detection::{Detection, Detector, DetectorConfig};
use cirio_hub::{Resolved, spelling};
use cirio_train::ObjectConfig;

use crate::console::Usage;
use crate::network::Choice;
use crate::parse;

/// The weight whose rows are the classes.
const CLASSES: &str = "roi_heads.box_predictor.cls_score.weight";

/// The weight with a filter for each point of an object.
const POINTS: &str = "roi_heads.keypoint_predictor.kps_score_lowres.weight";

/// Flags for detectors alone.
#[derive(clap::Args, Default)]
pub struct Rules {
    /// Detectors: show what has at least this score: the probability of the class, from maskrcnn_small times how sure the mask is.
    #[arg(long, value_name = "SHARE", value_parser = parse::share)]
    score: Option<f64>,
    /// Detectors: show these classes alone, e.g. person,dog.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    classes: Vec<String>,
    /// Detectors: show no more than this in a picture, the likeliest first [default: 100].
    #[arg(long, value_name = "COUNT", value_parser = parse::count)]
    max_detections: Option<usize>,
    /// Detectors: the eps of frozen norms [default: what is known of the weights, else what the model was published with; a body
    /// from ImageNet alone has 1e-5].
    #[arg(long, value_name = "EPS", value_parser = parse::eps)]
    frozen_bn_eps: Option<f64>,
    /// Whether the detector's own limit is kept where no `score` is given, as for measuring; else it is a half, as for showing.
    #[arg(skip)]
    measured: bool,
}

/// A trained detector, ready to be used.
pub struct Finder {
    pub model: &'static DetectorModel,
    /// What to call its weights.
    pub name: String,
    pub detector: Detector,
    pub device: Device,
    /// The names of the K classes, the background first.
    pub classes: Vec<String>,
    /// The labels to be shown; all if there are none.
    pub wanted: Vec<usize>,
    /// The least score of what is shown.
    pub score: f64,
    /// The most objects that are shown.
    pub most: usize,
    /// Whether the mirror image is looked at too.
    pub mirrored: bool,
}

impl Finder {
    /// The same, with the views of each picture that `--tta` asks for.
    pub fn with_views(self, tta: parse::Tta) -> Result<Self> {
        let mirrored = match tta {
            parse::Tta::None => false,
            parse::Tta::Flip => true,
            parse::Tta::TenCrop => bail!(Usage(format!("--tta ten-crop: only for classifiers; {} takes flip", self.model.name))),
        };
        Ok(Self { mirrored, ..self })
    }

    /// The objects in a picture (3, H, W) with values in 0 … 1, the likeliest first.
    pub fn find(&self, picture: Tensor) -> Result<Vec<Detection>> {
        let found = if self.mirrored { self.detector.detect_mirrored_too(&[picture])? } else { self.detector.detect(&[picture])? };
        Ok(found.into_iter().next().unwrap_or_default())
    }
}

/// Weights that were found, and the detector that they are for.
pub struct Found {
    pub config: DetectorConfig,
    pub weights: Weights,
    /// What to call the weights.
    pub name: String,
    /// The names of the K classes, the background first.
    pub classes: Vec<String>,
}

impl Rules {
    /// As detectors are measured, and as training measures them: a hundred objects in each picture of at least the detector's own limit, which is
    /// 0.05 for most.
    pub fn for_evaluation(frozen_bn_eps: Option<f64>) -> Self {
        Self { max_detections: Some(100), frozen_bn_eps, measured: true, ..Self::default() }
    }

    /// The first of these flags that is given.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            (self.score.is_some(), "--score"),
            (!self.classes.is_empty(), "--classes"),
            (self.max_detections.is_some(), "--max-detections"),
            (self.frozen_bn_eps.is_some(), "--frozen-bn-eps"),
        ];
        flags.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    /// Builds the detector with weights that were found.
    pub fn load(&self, choice: &Choice, found: &Resolved, model: &'static DetectorModel) -> Result<Finder> {
        let Found { mut config, weights, name, classes } = self.open(found, model)?;
        let wanted = self.labels(&classes)?;
        let score = self.score.unwrap_or(if self.measured { f64::from(config.roi.score) } else { 0.5 });
        let most = self.max_detections.unwrap_or(100);
        config.roi.score = score as f32;
        // Others may be likelier than those that are wanted, and masks may change the order.
        let first = wanted.is_empty() && !config.mask.as_ref().is_some_and(|mask| mask.in_score);
        config.roi.detections = if first { most } else { most.max(config.roi.detections) };
        let device = choice.device()?;
        let detector = config.load(&weights, &device).with_context(|| format!("{name} as {}", model.name))?.for_inference()?;
        Ok(Finder { model, name, detector, device, classes, wanted, score, most, mirrored: false })
    }

    /// What a detector is made of for weights that were found.
    pub fn open(&self, found: &Resolved, model: &DetectorModel) -> Result<Found> {
        let name = found.name();
        let weights = spelling::respelled(&Weights::open(&found.path)?, &Default::default())?;
        let classes = names(found.classes.clone(), &weights).with_context(|| format!("{name} as {}", model.name))?;
        let trained = weights.metadata().get("objects").map(|text| serde_json::from_str::<ObjectConfig>(text)).transpose();
        let trained = trained.with_context(|| format!("{name}: what it says about its pictures"))?;
        let known = found.entry.as_ref().and_then(|entry| entry.frozen_eps).or(trained.as_ref().and_then(|trained| trained.frozen_eps));
        let mut config = self.config(model, classes.len(), known)?;
        if let Some(trained) = trained {
            config.transform.short_sides = trained.short_sides;
            config.transform.longest = trained.longest;
        }
        if let (Some(keypoints), Some(&[_, points, ..])) = (&mut config.keypoints, weights.shapes().get(POINTS).map(Vec::as_slice)) {
            keypoints.points = points;
        }
        Ok(Found { config, weights, name, classes })
    }

    /// `known` is the eps of frozen norms that the weights were made with, where the manifest or the file says it.
    fn config(&self, model: &DetectorModel, classes: usize, known: Option<f64>) -> Result<DetectorConfig> {
        if self.frozen_bn_eps.is_some() && model.frozen_eps.is_none() {
            bail!(Usage(format!("--frozen-bn-eps: {} has no frozen norms", model.name)));
        }
        match self.frozen_bn_eps.or(known) {
            Some(eps) => Ok(model.config_with_eps(classes, eps)),
            None => Ok(model.config(classes)),
        }
    }

    /// The labels of the classes asked for; a name may be that of several.
    fn labels(&self, classes: &[String]) -> Result<Vec<usize>> {
        let mut wanted = Vec::new();
        for name in &self.classes {
            let labels: Vec<usize> = (1..classes.len()).filter(|&label| classes[label] == *name).collect();
            if labels.is_empty() {
                bail!(Usage(format!("--classes: there is no class `{name}` among {}", classes[1..].join(", "))));
            }
            wanted.extend(labels);
        }
        Ok(wanted)
    }
}

/// The names of the classes of a file of weights, the background first: those that are known, or else numbers.
fn names(known: Option<Vec<String>>, weights: &Weights) -> Result<Vec<String>> {
    let classes = match weights.shapes().get(CLASSES).map(Vec::as_slice) {
        Some(&[classes, _]) if classes > 1 => classes,
        Some(shape) => bail!("`{CLASSES}` has the shape {shape:?}, expected at least the background and one class"),
        None => bail!("there is no `{CLASSES}`, as a detector has it"),
    };
    match known {
        Some(names) if names.len() == classes => Ok(names),
        Some(names) => bail!("it names {} classes, and has weights for {classes}, the background among them", names.len()),
        None => Ok((0..classes).map(|class| class.to_string()).collect()),
    }
}
