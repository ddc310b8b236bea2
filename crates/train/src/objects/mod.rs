//! A detector as it is trained.

mod measure;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use cirio_data::objects::{Instance, Keypoint, ObjectSet, Scene, SceneBatch, SceneLoader};
use cirio_data::{Purpose, derived_rng};
use cirio_detection::{Detector, DetectorConfig, Losses, Target};
use cirio_nn::{DropoutState, Parameter, Store};
use cirio_vision::to_tensor;

pub use measure::{ObjectMeasures, ObjectScores, as_found};

use crate::learner::{Batched, Epoch, Evaluated, Learner, Report, fingerprint, named};
use crate::{Error, Quality, Result, TrainConfig};

/// A detector of boxes, masks or key points, and labelled pictures.
pub struct ObjectFinder {
    config: DetectorConfig,
    detector: Detector,
    seed: u64,
    device: Device,
    train: Labelled,
    val: Option<Labelled>,
}

/// Pictures with their labels.
pub struct Labelled {
    /// The pictures, as they are learnt from or looked at.
    pub loader: SceneLoader,
    /// The set that the loader reads, with all its labels: crowds too.
    pub set: Arc<ObjectSet>,
}

impl ObjectFinder {
    /// The detector of this kind with the weights of `store`, to be trained with the pictures of `train` and evaluated with those of `val`.
    ///
    /// # Errors
    /// When the detector cannot be put together.
    pub fn new(
        config: DetectorConfig,
        store: &Store,
        recipe: &TrainConfig,
        train: Labelled,
        val: Option<Labelled>,
        device: &Device,
    ) -> Result<Self> {
        let detector = config.build(store.var_builder())?;
        Ok(Self { config, detector, seed: recipe.seed, device: device.clone(), train, val })
    }

    /// The loss of a batch for validation, with the same choice of anchors and proposals at any time.
    fn validation_loss(&self, batch: &SceneBatch, images: &[Tensor], targets: &[Target]) -> Result<f64> {
        let rng = &mut derived_rng(self.seed, 0, Purpose::Batch, batch.number as u64);
        let losses = self.detector.validation_losses(images, targets, rng).map_err(|error| of_pictures(error, batch))?;
        scalar(&losses.total()?)
    }
}

impl Learner for ObjectFinder {
    fn build(&mut self, store: &Store) -> Result<()> {
        self.detector = self.config.build(store.var_builder())?;
        Ok(())
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.detector.parameters()
    }

    fn dropout_state(&self) -> DropoutState {
        self.detector.dropout_state()
    }

    fn set_dropout_state(&self, state: DropoutState) {
        self.detector.set_dropout_state(state);
    }

    fn pictures(&self) -> [(usize, u64); 2] {
        [Some(&self.train), self.val.as_ref()].map(|labelled| labelled.map_or_else(Default::default, |labelled| known(&labelled.set)))
    }

    fn batches(&self) -> usize {
        self.train.loader.batches()
    }

    fn epoch(&mut self, epoch: u64, step: &mut dyn FnMut(Batched) -> Result<()>) -> Result<Epoch> {
        let mut batches = self.train.loader.epoch(epoch);
        for batch in batches.by_ref() {
            let batch = batch?;
            let (images, targets) = inputs(&batch.scenes, &self.config, &self.device)?;
            let rng = &mut derived_rng(self.seed, epoch, Purpose::Batch, batch.number as u64);
            let losses = self.detector.losses(&images, &targets, rng).map_err(|error| of_pictures(error, &batch))?;
            let names = || named(&batch.names);
            step(Batched { loss: losses.total()?, terms: terms(&losses)?, pictures: batch.scenes.len(), names: &names })?;
        }
        Ok(Epoch { accuracy: None, skipped: batches.skipped().to_vec() })
    }

    fn evaluate(&self, store: &Store) -> Result<Option<Evaluated>> {
        let Some(held) = &self.val else { return Ok(None) };
        let detector = self.config.build(store.var_builder())?.for_inference()?;
        let mut measures = ObjectMeasures::new(held.set.clone(), &self.config);
        let (mut loss, mut count) = (0.0, 0);
        let mut pictures = held.loader.epoch(0);
        for batch in pictures.by_ref() {
            let batch = batch?;
            let (images, targets) = inputs(&batch.scenes, &self.config, &self.device)?;
            loss += self.validation_loss(&batch, &images, &targets)? * images.len() as f64;
            count += images.len();
            for (found, &index) in detector.detect(&images)?.iter().zip(&batch.indices) {
                measures.add(index, found)?;
            }
        }
        if count == 0 {
            return Err(Error::Empty("there is no picture to evaluate with".into()));
        }
        if !loss.is_finite() {
            return Err(Error::NotFinite(loss));
        }
        let quality = Quality::Objects(measures.scores(loss / count as f64));
        Ok(Some(Evaluated { quality, report: Report::Objects(measures), skipped: pictures.skipped().to_vec() }))
    }
}

/// Pictures (3, H, W) with values in 0 … 1, and what a detector of this kind is to find in them.
fn inputs(scenes: &[Scene], config: &DetectorConfig, device: &Device) -> Result<(Vec<Tensor>, Vec<Target>)> {
    let picture = |scene: &Scene| Ok(to_tensor(&scene.image.to_rgb(), &[0.0; 3], &[1.0; 3], device)?);
    let target = |scene: &Scene| target(scene, config, device);
    Ok((scenes.iter().map(picture).collect::<Result<_>>()?, scenes.iter().map(target).collect::<Result<_>>()?))
}

/// Classes count from 0 in data sets; for a detector 0 is the background.
fn target(scene: &Scene, config: &DetectorConfig, device: &Device) -> Result<Target> {
    let (instances, [rows, columns]) = (&scene.instances, [scene.image.height(), scene.image.width()]);
    let masks: Option<Vec<&[u8]>> = instances.iter().map(|instance| instance.mask.as_deref()).collect();
    let stacked = |masks: Vec<&[u8]>| Tensor::from_vec(masks.concat(), (masks.len(), rows, columns), device);
    let points = |count: usize| instances.iter().map(|instance| points(instance, count)).collect();
    Ok(Target {
        boxes: instances.iter().map(|instance| instance.edges).collect(),
        labels: instances.iter().map(|instance| instance.class as u32 + 1).collect(),
        masks: masks.filter(|_| config.mask.is_some()).map(stacked).transpose()?,
        keypoints: config.keypoints.as_ref().map(|keypoints| points(keypoints.points)),
    })
}

/// The points of an object; one whose points were not labelled has as many that are not known.
fn points(instance: &Instance, count: usize) -> Vec<[f32; 3]> {
    match instance.keypoints.is_empty() {
        true => vec![[0.0; 3]; count],
        false => instance.keypoints.iter().map(point).collect(),
    }
}

fn point(point: &Keypoint) -> [f32; 3] {
    [point.x as f32, point.y as f32, f32::from(point.visibility)]
}

fn terms(losses: &Losses) -> Result<Vec<(&'static str, f64)>> {
    losses.terms.iter().map(|(name, term)| Ok((*name, scalar(term)?))).collect()
}

fn scalar(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.detach().to_dtype(DType::F32)?.to_scalar::<f32>()?))
}

/// An error of a batch says which pictures were in it.
fn of_pictures(error: cirio_detection::Error, batch: &SceneBatch) -> Error {
    let picture = match &error {
        cirio_detection::Error::Image { index, .. } | cirio_detection::Error::Target { index, .. } => batch.names.get(*index).cloned(),
        _ => None,
    };
    Error::Batch { pictures: picture.unwrap_or_else(|| named(&batch.names)), error: Box::new(error) }
}

/// The number of the pictures, and a hash of their names and labels.
fn known(set: &ObjectSet) -> (usize, u64) {
    let pictures = set.pictures.iter().map(|picture| (picture.path.display().to_string(), picture.objects.len() as u32));
    let classes = set.categories.iter().map(|category| (category.name.clone(), 0));
    let objects =
        set.pictures.iter().flat_map(|picture| &picture.objects).map(|object| (format!("{:?}", object.edges), object.class as u32));
    (set.len(), fingerprint(pictures.chain(classes).chain(objects)))
}
