//! The owner of a network's weights while it is built and trained.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use safetensors::Dtype;

use crate::{LoadReport, Mismatch, Weights, files, init};

/// Makes, loads, freezes and saves named weights.
///
/// Layers ask it for their tensors through candle's `VarBuilder`: it hands out those of a file where it was given one,
/// else initial values drawn from its seed; variables where they are to be trained, plain tensors where they are frozen.
/// Clones share everything.
#[derive(Clone)]
pub struct Store {
    seed: u64,
    dtype: DType,
    device: Device,
    inner: Arc<Mutex<Inner>>,
}

type Rule = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Default)]
struct Inner {
    tensors: BTreeMap<String, Var>,
    file: Option<Weights>,
    frozen: Option<Rule>,
    loaded: BTreeSet<String>,
    missing: BTreeSet<String>,
    mismatched: BTreeMap<String, Mismatch>,
}

impl Store {
    /// An empty store; `seed` decides the initial values.
    pub fn new(seed: u64, dtype: DType, device: &Device) -> Self {
        Self { seed, dtype, device: device.clone(), inner: Arc::default() }
    }

    /// Takes from `weights` what has the right name and shape; [`Self::report`] says what came of it.
    #[must_use]
    pub fn with_weights(self, weights: Weights) -> Self {
        self.lock().file = Some(weights);
        self
    }

    /// From now on hands out the weights whose names the rule holds for as plain tensors, which are not trained.
    /// A network built before is not changed; build it again from this store, which is cheap.
    pub fn freeze(&self, rule: impl Fn(&str) -> bool + Send + Sync + 'static) {
        self.lock().frozen = Some(Arc::new(rule));
    }

    /// What layers are built from.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), self.dtype, self.device.clone())
    }

    /// What came of loading the file, for the networks built so far.
    pub fn report(&self) -> LoadReport {
        let inner = self.lock();
        let unused = |name: &&String| !inner.loaded.contains(*name) && !inner.mismatched.contains_key(*name);
        let in_file = inner.file.iter().flat_map(|file| file.shapes().keys());
        LoadReport {
            loaded: inner.loaded.iter().cloned().collect(),
            missing: inner.missing.iter().cloned().collect(),
            unused: in_file.filter(unused).cloned().collect(),
            mismatched: inner.mismatched.values().cloned().collect(),
        }
    }

    /// All tensors by name; they share their storage with the network's.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.lock().tensors.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect()
    }

    /// Sets a tensor to new values, in the network too.
    ///
    /// # Errors
    /// When there is no tensor of that name, or its shape or type differs.
    pub fn set(&self, name: &str, values: &Tensor) -> crate::Result<()> {
        let inner = self.lock();
        let Some(var) = inner.tensors.get(name) else {
            return Err(crate::Error::UnknownLayer {
                name: name.to_owned(),
                known: inner.tensors.keys().cloned().collect::<Vec<_>>().join(", "),
            });
        };
        if values.dims() != var.dims() {
            let mismatch = Mismatch { name: name.to_owned(), file: values.dims().to_vec(), model: var.dims().to_vec() };
            return Err(crate::Error::Weights(LoadReport { mismatched: vec![mismatch], ..LoadReport::default() }));
        }
        Ok(var.set(&values.to_dtype(var.dtype())?.to_device(var.device())?)?)
    }

    /// Writes all tensors and some texts as safetensors, whole or not at all.
    pub fn save(&self, path: impl AsRef<Path>, metadata: &BTreeMap<String, String>) -> crate::Result<()> {
        files::write_tensors(path.as_ref(), &self.tensors(), metadata)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked while it held the lock leaves the maps as they were before or after one insertion.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn hand_out(&self, name: &str, var: &Var) -> Tensor {
        match self.frozen.as_ref().is_some_and(|frozen| frozen(name)) {
            true => var.as_detached_tensor(),
            false => var.as_tensor().clone(),
        }
    }

    /// A variable with the file's tensor, if it has one of this name and shape.
    fn take_from_file(&mut self, name: &str, shape: &Shape, dtype: DType, device: &Device) -> Result<Option<Var>> {
        let Some(file) = self.file.clone() else { return Ok(None) };
        match file.shapes().get(name) {
            None => {
                self.missing.insert(name.to_owned());
                Ok(None)
            }
            Some(given) if given != shape.dims() => {
                let mismatch = Mismatch { name: name.to_owned(), file: given.clone(), model: shape.dims().to_vec() };
                self.mismatched.insert(name.to_owned(), mismatch);
                Ok(None)
            }
            Some(_) => {
                let view = file.view(name)?;
                let var = match dtype == DType::F32 && view.dtype() == Dtype::F32 && device.is_cpu() {
                    // Without a tensor between: a large layer's would be there twice for a moment.
                    true => Var::from_vec(floats(view.data()), shape, device)?,
                    false => Var::from_tensor(&file.tensor(name, device)?.to_dtype(dtype)?)?,
                };
                file.let_go(name);
                self.loaded.insert(name.to_owned());
                Ok(Some(var))
            }
        }
    }
}

/// Numbers as safetensors files have them.
fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

impl SimpleBackend for Store {
    fn get(&self, shape: Shape, name: &str, rule: candle_nn::Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut inner = self.lock();
        if let Some(var) = inner.tensors.get(name) {
            if var.shape() != &shape {
                candle_core::bail!("`{name}` is asked for as {shape:?}, but this store has it as {:?}", var.shape());
            }
            return Ok(inner.hand_out(name, var));
        }
        let var = match inner.take_from_file(name, &shape, dtype, device)? {
            Some(var) => var,
            None => Var::from_tensor(&init::draw(rule, &shape, dtype, device, &mut init::generator(self.seed, name))?)?,
        };
        let tensor = inner.hand_out(name, &var);
        inner.tensors.insert(name.to_owned(), var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> Result<Tensor> {
        let inner = self.lock();
        match inner.tensors.get(name) {
            Some(var) => Ok(inner.hand_out(name, var)),
            None => candle_core::bail!("this store makes `{name}` only when its shape is given"),
        }
    }

    /// True for what the file has; without a file, for everything, since it can be made.
    fn contains_tensor(&self, name: &str) -> bool {
        let inner = self.lock();
        inner.tensors.contains_key(name) || inner.file.as_ref().is_none_or(|file| file.shapes().contains_key(name))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::ModuleT;

    use super::*;
    use crate::layer::{BatchNorm, Flatten, Relu, batch_norm, conv, linear};
    use crate::{Layers, ParameterKind};

    fn layers(classes: usize) -> Layers {
        Layers::new([1, 6, 6])
            .then("conv", conv(4, 3))
            .then("bn", BatchNorm { momentum: 0.5, ..batch_norm() })
            .then("relu", Relu)
            .then("flatten", Flatten)
            .then("fc", linear(classes))
    }

    fn store(seed: u64) -> Store {
        Store::new(seed, DType::F32, &Device::Cpu)
    }

    fn images() -> Result<Tensor> {
        Tensor::arange(0f32, 72.0, &Device::Cpu)?.affine(0.02, -0.5)?.reshape((2, 1, 6, 6))
    }

    #[test]
    fn saved_and_loaded_gives_the_same_answer() -> crate::Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("net.safetensors");
        let first = store(1);
        let network = layers(3).build(first.var_builder())?;
        network.forward_t(&images()?, true)?;
        first.save(&path, &BTreeMap::from([("model".to_owned(), "test".to_owned())]))?;

        let weights = Weights::open(&path)?;
        assert_eq!(weights.metadata()["model"], "test");
        let again = layers(3).load(&weights, &Device::Cpu)?;
        let (a, b) = (network.forward(&images()?)?, again.forward(&images()?)?);
        assert_eq!(a.to_vec2::<f32>()?, b.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn a_new_head_is_reported_and_only_it_is_new() -> crate::Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("net.safetensors");
        let first = store(1);
        layers(3).build(first.var_builder())?;
        first.save(&path, &BTreeMap::new())?;

        let second = store(2).with_weights(Weights::open(&path)?);
        layers(5).build(second.var_builder())?;
        let report = second.report();
        assert_eq!(report.mismatched.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["fc.bias", "fc.weight"]);
        report.complete_except(&["fc."])?;
        let error = report.complete().unwrap_err().to_string();
        assert!(error.contains("fc.weight is [3, 64] in the file, [5, 64] in the model"), "{error}");
        assert_eq!(
            first.tensors()["conv.weight"].flatten_all()?.to_vec1::<f32>()?,
            second.tensors()["conv.weight"].flatten_all()?.to_vec1::<f32>()?
        );
        Ok(())
    }

    #[test]
    fn missing_and_unused_are_both_named() -> crate::Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("net.safetensors");
        let other = store(0);
        Layers::new([1, 6, 6]).then("stem", conv(4, 3)).build(other.var_builder())?;
        other.save(&path, &BTreeMap::new())?;
        let error = layers(3).load(&Weights::open(&path)?, &Device::Cpu).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("missing: bn.bias") && error.contains("unused: stem.bias, stem.weight"), "{error}");
        Ok(())
    }

    /// Sizes that a hostile file's metadata may ask for: nothing of that size is allocated.
    #[test]
    fn a_network_too_large_for_memory_is_a_report() -> crate::Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("net.safetensors");
        let first = store(1);
        layers(3).build(first.var_builder())?;
        first.save(&path, &BTreeMap::new())?;
        let huge = layers(3).with_input([1, 1 << 20, 1 << 20]);
        let error = huge.load(&Weights::open(&path)?, &Device::Cpu).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("fc.weight is [3, 64] in the file"), "{error}");
        Ok(())
    }

    #[test]
    fn a_frozen_batch_norm_keeps_its_statistics_and_uses_them() -> crate::Result<()> {
        let store = store(0);
        store.freeze(|name| name.starts_with("bn."));
        let network = layers(3).build(store.var_builder())?;
        let (training, evaluation) = (network.forward_t(&images()?, true)?, network.forward(&images()?)?);
        assert_eq!(training.to_vec2::<f32>()?, evaluation.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn what_is_frozen_gets_no_gradient() -> crate::Result<()> {
        let store = store(0);
        store.freeze(|name| name.starts_with("conv."));
        let network = layers(3).build(store.var_builder())?;
        let gradients = network.forward_t(&images()?, true)?.sqr()?.sum_all()?.backward()?;
        for parameter in network.parameters() {
            let trained = parameter.var()?.is_some();
            assert_eq!(trained, !parameter.name.starts_with("conv.") && parameter.kind != ParameterKind::Buffer, "{}", parameter.name);
            if let Some(var) = parameter.var()? {
                assert!(gradients.get(var.as_tensor()).is_some(), "{} gets no gradient", parameter.name);
            }
        }
        Ok(())
    }

    #[test]
    fn training_moves_the_running_statistics() -> crate::Result<()> {
        let store = store(0);
        let network = layers(3).build(store.var_builder())?;
        let before = store.tensors()["bn.running_var"].to_vec1::<f32>()?;
        network.forward(&images()?)?;
        assert_eq!(before, store.tensors()["bn.running_var"].to_vec1::<f32>()?, "evaluation changes nothing");
        network.forward_t(&images()?, true)?;
        assert_ne!(before, store.tensors()["bn.running_var"].to_vec1::<f32>()?);
        assert_eq!(store.tensors()["bn.num_batches_tracked"].to_scalar::<i64>()?, 1);
        Ok(())
    }

    #[test]
    fn unsound_files_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("net.safetensors");
        let header = |text: &str, data: usize| {
            let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
            bytes.extend_from_slice(text.as_bytes());
            bytes.resize(bytes.len() + data, 0);
            bytes
        };
        for (what, bytes) in [
            ("empty", vec![]),
            ("a header longer than the file", u64::MAX.to_le_bytes().to_vec()),
            ("no JSON", header("what", 0)),
            ("offsets beyond the file", header(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 8)),
            ("a shape that is not its bytes", header(r#"{"a":{"dtype":"F32","shape":[8],"data_offsets":[0,16]}}"#, 16)),
            ("a shape beyond all numbers", header(r#"{"a":{"dtype":"F32","shape":[1152921504606846976,64],"data_offsets":[0,16]}}"#, 16)),
            (
                "tensors that overlap",
                header(
                    r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}"#,
                    24,
                ),
            ),
        ] {
            std::fs::write(&path, bytes).expect("written");
            let error = Weights::open(&path).unwrap_err().to_string();
            assert!(error.contains("net.safetensors"), "{what}: {error}");
        }
    }
}
