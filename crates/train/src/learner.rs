//! What a run trains, as the loop sees it.

use candle_core::Tensor;
use cirio_data::Skipped;
use cirio_nn::{DropoutState, Parameter, Store};

use crate::{Confusion, ObjectMeasures, Quality, Result};

/// A network with the pictures that it is trained and evaluated with: it knows its losses, the [`Trainer`](crate::Trainer) knows the rest.
pub trait Learner {
    /// Puts the network together, its tensors the store's; what the store freezes is not trained.
    ///
    /// # Errors
    /// When the network cannot be put together.
    fn build(&mut self, store: &Store) -> Result<()>;

    /// The tensors of the network that was built.
    fn parameters(&self) -> Vec<Parameter>;

    /// Where the generator of dropout stands.
    fn dropout_state(&self) -> DropoutState;

    /// Sets the generator of dropout.
    fn set_dropout_state(&self, state: DropoutState);

    /// Number and hash of the pictures to train with, and of those for validation.
    fn pictures(&self) -> [(usize, u64); 2];

    /// Batches of an epoch.
    fn batches(&self) -> usize;

    /// Goes through the pictures of an epoch, counted from 0, and gives each batch's loss to `step`, which changes the weights.
    ///
    /// # Errors
    /// Those of `step`, and of the pictures.
    fn epoch(&mut self, epoch: u64, step: &mut dyn FnMut(Batched) -> Result<()>) -> Result<Epoch>;

    /// How good the network with the store's present weights is; none without pictures for validation.
    ///
    /// # Errors
    /// When pictures cannot be read, or the network gives no finite numbers.
    fn evaluate(&self, store: &Store) -> Result<Option<Evaluated>>;
}

/// A batch that was passed through the network.
pub struct Batched<'a> {
    /// Its mean loss, a scalar.
    pub loss: Tensor,
    /// What the loss is the sum of, where it has parts with names.
    pub terms: Vec<(&'static str, f64)>,
    /// Its pictures.
    pub pictures: usize,
    /// What to call them in a message.
    pub names: &'a dyn Fn() -> String,
}

/// What is known after an epoch.
#[derive(Debug, Default)]
pub struct Epoch {
    /// The share of pictures that were right as they were trained on.
    pub accuracy: Option<f64>,
    /// Pictures that could not be read.
    pub skipped: Vec<Skipped>,
}

/// An evaluation.
#[derive(Debug)]
pub struct Evaluated {
    /// The numbers.
    pub quality: Quality,
    /// What the run folder keeps of it beside the numbers.
    pub report: Report,
    /// Pictures that could not be read.
    pub skipped: Vec<Skipped>,
}

/// What a run folder keeps of its best evaluation.
#[derive(Debug)]
pub enum Report {
    /// Which classes were taken for which.
    Classes(Confusion),
    /// How well each class was found.
    Objects(ObjectMeasures),
}

/// What to call the pictures of a batch: the first ones, and how many more.
pub(crate) fn named(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// FNV-1a, by which a run knows its pictures again.
pub(crate) fn fingerprint(names: impl Iterator<Item = (String, u32)>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    names.fold(0xcbf2_9ce4_8422_2325, |hash, (name, label)| {
        // Folders above the data may have moved; a picture's own name and its class have not.
        let own = name.rsplit(['/', '\\']).next().unwrap_or_default();
        own.bytes().chain(label.to_le_bytes()).fold(hash, step)
    })
}
