//! A detector as it is trained.

mod measure;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use cirio_data::objects::{Instance, Keypoint, ObjectSet, Scene, SceneBatch, SceneLoader, Scenes};
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
    train: SceneLoader,
    val: Option<Held>,
}

/// Pictures that are held out for validation.
pub struct Held {
    /// The pictures.
    pub loader: SceneLoader,
    /// What is in them: crowds too.
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
        train: SceneLoader,
        val: Option<Held>,
        device: &Device,
    ) -> Result<Self> {
        let detector = config.build(store.var_builder())?;
        Ok(Self { config, detector, seed: recipe.seed, device: device.clone(), train, val })
    }

    /// The loss over the pictures for validation, each with the same choice of anchors and proposals at any time.
    fn validation_loss(&self, held: &Held) -> Result<f64> {
        let (mut sum, mut pictures) = (0.0, 0);
        for batch in held.loader.epoch(0) {
            let batch = batch?;
            let (images, targets) = inputs(&batch.scenes, &self.device)?;
            let rng = &mut derived_rng(self.seed, 0, Purpose::Batch, batch.number as u64);
            let losses = self.detector.validation_losses(&images, &targets, rng).map_err(|error| of_pictures(error, &batch))?;
            sum += scalar(&losses.total()?)? * batch.scenes.len() as f64;
            pictures += batch.scenes.len();
        }
        match pictures {
            0 => Err(Error::Empty("there is no picture to evaluate with".into())),
            _ if !sum.is_finite() => Err(Error::NotFinite(sum)),
            pictures => Ok(sum / pictures as f64),
        }
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
        let held = self.val.as_ref().map(|held| &held.loader);
        [Some(&self.train), held].map(|loader| loader.map_or_else(Default::default, |loader| known(loader.scenes().as_ref())))
    }

    fn batches(&self) -> usize {
        self.train.batches()
    }

    fn epoch(&mut self, epoch: u64, step: &mut dyn FnMut(Batched) -> Result<()>) -> Result<Epoch> {
        let mut batches = self.train.epoch(epoch);
        for batch in batches.by_ref() {
            let batch = batch?;
            let (images, targets) = inputs(&batch.scenes, &self.device)?;
            let rng = &mut derived_rng(self.seed, epoch, Purpose::Batch, batch.number as u64);
            let losses = self.detector.losses(&images, &targets, rng).map_err(|error| of_pictures(error, &batch))?;
            let names = || named(&batch.names);
            step(Batched { loss: losses.total()?, terms: terms(&losses)?, pictures: batch.scenes.len(), names: &names })?;
        }
        Ok(Epoch { accuracy: None, skipped: batches.skipped().to_vec() })
    }

    fn evaluate(&self, store: &Store) -> Result<Option<Evaluated>> {
        let Some(held) = &self.val else { return Ok(None) };
        let loss = self.validation_loss(held)?;
        let detector = self.config.build(store.var_builder())?.for_inference()?;
        let mut measures = ObjectMeasures::new(held.set.clone(), &self.config);
        let mut pictures = held.loader.epoch(0);
        for batch in pictures.by_ref() {
            let batch = batch?;
            let (images, _) = inputs(&batch.scenes, &self.device)?;
            for (found, &index) in detector.detect(&images)?.iter().zip(&batch.indices) {
                measures.add(index, found)?;
            }
        }
        let quality = Quality::Objects(measures.scores(loss));
        Ok(Some(Evaluated { quality, report: Report::Objects(measures), skipped: pictures.skipped().to_vec() }))
    }
}

/// Pictures (3, H, W) with values in 0 … 1, and what is to be found in them.
fn inputs(scenes: &[Scene], device: &Device) -> Result<(Vec<Tensor>, Vec<Target>)> {
    let picture = |scene: &Scene| Ok(to_tensor(&scene.image.to_rgb(), &[0.0; 3], &[1.0; 3], device)?);
    let target = |scene: &Scene| target(&scene.instances, [scene.image.height(), scene.image.width()], device);
    Ok((scenes.iter().map(picture).collect::<Result<_>>()?, scenes.iter().map(target).collect::<Result<_>>()?))
}

/// Classes count from 0 in data sets; for a detector 0 is the background.
fn target(instances: &[Instance], [rows, columns]: [usize; 2], device: &Device) -> Result<Target> {
    let masks: Option<Vec<&[u8]>> = instances.iter().map(|instance| instance.mask.as_deref()).collect();
    let stacked = |masks: Vec<&[u8]>| Tensor::from_vec(masks.concat(), (masks.len(), rows, columns), device);
    Ok(Target {
        boxes: instances.iter().map(|instance| instance.edges).collect(),
        labels: instances.iter().map(|instance| instance.class as u32 + 1).collect(),
        masks: masks.map(stacked).transpose()?,
        keypoints: Some(instances.iter().map(|instance| instance.keypoints.iter().map(point).collect()).collect()),
    })
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

/// The number of the pictures, and a hash of their names and sizes.
fn known(scenes: &dyn Scenes) -> (usize, u64) {
    let named = (0..scenes.len()).map(|index| {
        let [rows, columns] = scenes.size(index);
        (scenes.picture_name(index), (rows as u32).wrapping_mul(0x9e37_79b9) ^ columns as u32)
    });
    (scenes.len(), fingerprint(named))
}
