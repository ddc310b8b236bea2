//! A classifier as it is trained.

use candle_core::{DType, ModuleT, Tensor};
use cirio_data::{Batch, Loader, Purpose, class_counts, derived_rng};
use cirio_nn::loss::{Loss, Targets};
use cirio_nn::{DropoutState, Layers, Parameter, Stack, Store};
use cirio_vision::augment::{cutmix, mixup};

use crate::learner::{Batched, Epoch, Evaluated, Learner, Report, fingerprint, named};
use crate::{Error, Mix, Quality, Result, Tally, TrainConfig, evaluate};

/// A list of layers that gives logits, a loss, and labelled pictures.
pub struct Classifier<'a> {
    layers: &'a Layers,
    network: Stack,
    /// The model's loss, by which it is evaluated.
    loss: Loss,
    /// The loss that is trained with: smoothed, if the configuration says so.
    training_loss: Loss,
    config: TrainConfig,
    train: Loader,
    val: Option<Loader>,
}

impl<'a> Classifier<'a> {
    /// The network of these layers with the weights of `store`, to be trained as `config` says with the pictures of `train`, and evaluated
    /// with those of `val`.
    ///
    /// # Errors
    /// When the network cannot be put together.
    pub fn new(layers: &'a Layers, store: &Store, loss: Loss, config: &TrainConfig, train: Loader, val: Option<Loader>) -> Result<Self> {
        let network = layers.build(store.var_builder())?;
        Ok(Self { layers, network, loss, training_loss: config.loss(loss), config: config.clone(), train, val })
    }

    fn classes(&self) -> &[String] {
        self.train.dataset().classes()
    }

    /// The loss of a batch.
    fn loss(&self, batch: &Batch, epoch: u64, class_weights: Option<&Tensor>, tally: &mut Tally) -> Result<Tensor> {
        let labels = batch.labels_tensor()?;
        let (images, targets) = match self.config.mix {
            None => (batch.images.clone(), Targets::Labels(labels.clone())),
            Some(mix) => self.mixed(batch, epoch, mix)?,
        };
        let logits = self.network.forward_t(&images, true)?;
        let losses = self.training_loss.each(&logits, &targets)?;
        if self.config.mix.is_none() {
            tally.add(&logits, &labels, &losses)?;
        }
        match class_weights {
            None => Ok(losses.mean_all()?),
            Some(weights) => Ok(self.training_loss.weighted_mean(&logits, &targets, weights)?),
        }
    }

    /// The weight of each class (K) in the loss, if the classes do not count by their pictures.
    fn class_weights(&self) -> Result<Option<Tensor>> {
        let counts = class_counts(self.train.dataset().labels(), self.classes().len());
        let weights = self.config.class_weights.of(&counts);
        Ok(weights.map(|weights| Tensor::new(weights, &self.train.config().device)?.to_dtype(DType::F32)).transpose()?)
    }

    fn mixed(&self, batch: &Batch, epoch: u64, mix: Mix) -> Result<(Tensor, Targets)> {
        let classes = self.classes().len();
        let mut shares = vec![0f32; batch.labels.len() * classes];
        for (row, &label) in shares.chunks_exact_mut(classes).zip(&batch.labels) {
            match row.get_mut(label as usize) {
                Some(share) => *share = 1.0,
                None => return Err(Error::Label { label: label as usize, classes }),
            }
        }
        let targets = Tensor::from_vec(shares, (batch.labels.len(), classes), batch.images.device())?;
        let rng = &mut derived_rng(self.config.seed, epoch, Purpose::Batch, batch.number as u64);
        let (images, targets) = match mix {
            Mix::Mixup(alpha) => mixup(&batch.images, &targets, alpha, rng)?,
            Mix::Cutmix(alpha) => cutmix(&batch.images, &targets, alpha, rng)?,
        };
        Ok((images, Targets::Soft(targets)))
    }
}

impl Learner for Classifier<'_> {
    fn build(&mut self, store: &Store) -> Result<()> {
        self.network = self.layers.build(store.var_builder())?;
        Ok(())
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.network.parameters()
    }

    fn dropout_state(&self) -> DropoutState {
        self.network.dropout_state()
    }

    fn set_dropout_state(&self, state: DropoutState) {
        self.network.set_dropout_state(state);
    }

    fn pictures(&self) -> [(usize, u64); 2] {
        [Some(&self.train), self.val.as_ref()].map(|loader| loader.map(known).unwrap_or_default())
    }

    fn batches(&self) -> usize {
        self.train.batches()
    }

    fn epoch(&mut self, epoch: u64, step: &mut dyn FnMut(Batched) -> Result<()>) -> Result<Epoch> {
        let class_weights = self.class_weights()?;
        let mut tally = Tally::new(self.classes().len());
        let mut batches = self.train.epoch(epoch);
        for batch in batches.by_ref() {
            let batch = batch?;
            let loss = self.loss(&batch, epoch, class_weights.as_ref(), &mut tally)?;
            let dataset = self.train.dataset();
            let names = || named(&batch.indices.iter().map(|&index| dataset.picture_name(index)).collect::<Vec<_>>());
            step(Batched { loss, terms: Vec::new(), pictures: batch.labels.len(), names: &names })?;
        }
        let accuracy = (tally.count() > 0).then(|| tally.scores().accuracy);
        Ok(Epoch { accuracy, skipped: batches.skipped().to_vec() })
    }

    fn evaluate(&self, _store: &Store) -> Result<Option<Evaluated>> {
        let Some(val) = &self.val else { return Ok(None) };
        let (scores, confusion, skipped) = evaluate(|images| self.network.forward(images), self.loss, val)?;
        Ok(Some(Evaluated { quality: Quality::Classes(scores), report: Report::Classes(confusion), skipped }))
    }
}

/// The number of a loader's pictures, and a hash of their names and labels.
fn known(loader: &Loader) -> (usize, u64) {
    let dataset = loader.dataset();
    let named = dataset.labels().iter().enumerate().map(|(index, &label)| (dataset.picture_name(index), label));
    (dataset.len(), fingerprint(named))
}
