//! Weights of a file for a network that is used as it is: nothing is drawn, and nothing is allocated for what does not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use crate::{LoadReport, Mismatch, Weights};

impl Weights {
    /// What `build` makes of the weights of this file, in f32, to be used as it is; and how they fit. For networks of several stacks.
    ///
    /// What was made must not be used unless the report says that nothing is missing.
    pub fn build<T, E>(&self, device: &Device, build: impl FnOnce(VarBuilder<'static>) -> Result<T, E>) -> Result<(T, LoadReport), E> {
        let reader = Reader::new(self.clone());
        Ok((build(reader.var_builder(DType::F32, device))?, reader.report()))
    }
}

/// Hands out the tensors of a file, and notes what a network asks for in vain.
#[derive(Clone)]
pub(crate) struct Reader {
    file: Weights,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Default)]
struct Asked {
    loaded: BTreeSet<String>,
    missing: BTreeSet<String>,
    mismatched: BTreeMap<String, Mismatch>,
}

impl Reader {
    pub(crate) fn new(file: Weights) -> Self {
        Self { file, asked: Arc::default() }
    }

    pub(crate) fn var_builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, device.clone())
    }

    pub(crate) fn report(&self) -> LoadReport {
        let asked = self.lock();
        let unused = |name: &&String| !asked.loaded.contains(*name) && !asked.mismatched.contains_key(*name);
        LoadReport {
            loaded: asked.loaded.iter().cloned().collect(),
            missing: asked.missing.iter().cloned().collect(),
            unused: self.file.shapes().keys().filter(unused).cloned().collect(),
            mismatched: asked.mismatched.values().cloned().collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        // A thread that panicked while it held the lock leaves the sets as they were before or after one insertion.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimpleBackend for Reader {
    fn get(&self, shape: Shape, name: &str, _rule: candle_nn::Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let mut asked = self.lock();
        match self.file.shapes().get(name) {
            Some(given) if given == shape.dims() => {
                asked.loaded.insert(name.to_owned());
                return self.file.tensor(name, device)?.to_dtype(dtype);
            }
            Some(given) => {
                let mismatch = Mismatch { name: name.to_owned(), file: given.clone(), model: shape.dims().to_vec() };
                asked.mismatched.insert(name.to_owned(), mismatch);
            }
            None => {
                asked.missing.insert(name.to_owned());
            }
        }
        // The report ends this network before it computes.
        zeros(shape, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        self.file.tensor(name, device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.file.shapes().contains_key(name)
    }
}

/// A single zero seen everywhere, which takes no memory.
fn zeros(shape: Shape, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
    Tensor::zeros((), dtype, device)?.broadcast_as(shape)
}

/// Gives a network everything that it may ask for, as shapes without memory behind them.
pub(crate) fn shapes_only() -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(ShapesOnly), DType::F32, Device::Cpu)
}

struct ShapesOnly;

impl SimpleBackend for ShapesOnly {
    fn get(&self, shape: Shape, _name: &str, _rule: candle_nn::Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        zeros(shape, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("`{name}` is asked for without a shape")
    }

    fn contains_tensor(&self, _name: &str) -> bool {
        true
    }
}
