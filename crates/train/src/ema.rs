//! An exponential moving average of a network's weights (Polyak & Juditsky 1992), which is often better than the last ones.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};
use cirio_nn::Store;

use crate::optim::each::{each2, on_slices};

/// Averages of all numbers of a network: the weights and the running statistics that belong to them.
pub struct Ema {
    decay: f64,
    updates: u64,
    averages: BTreeMap<String, Var>,
}

impl Ema {
    /// Starts at the network's present values. `decay` is the share that an average keeps at each update, in 0 ≤ x < 1;
    /// it begins lower, at (1 + n) / (10 + n) for update n, so that the first values are soon forgotten.
    pub fn new(decay: f64, store: &Store) -> Result<Self> {
        let averages = store.tensors().into_iter().map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor.copy()?)?)));
        Ok(Self { decay, updates: 0, averages: averages.collect::<Result<_>>()? })
    }

    /// Takes the network's values into the averages; counters are copied.
    pub fn update(&mut self, store: &Store) -> Result<()> {
        let early = (1.0 + self.updates as f64) / (10.0 + self.updates as f64);
        let keep = self.decay.min(early);
        self.updates += 1;
        for (name, value) in store.tensors() {
            let Some(average) = self.averages.get(&name) else { continue };
            if on_slices(average) {
                let take = (1.0 - keep) as f32;
                each2(average, &value, |average, value| average + take * (value - average))?;
            } else if average.dtype().is_float() {
                let change = ((&value - average.as_detached_tensor())? * (1.0 - keep))?;
                average.set(&(average.as_detached_tensor() + change)?)?;
            } else {
                average.set(&value)?;
            }
        }
        Ok(())
    }

    /// Puts the averages into the network, calls `f`, and puts the network's own values back, also after an error.
    pub fn with_averages<T>(&self, store: &Store, f: impl FnOnce() -> crate::Result<T>) -> crate::Result<T> {
        let own: BTreeMap<String, Tensor> =
            store.tensors().into_iter().map(|(name, tensor)| Ok((name, tensor.copy()?))).collect::<Result<_>>()?;
        let set = |name: &String, tensor: &Tensor| store.set(name, tensor);
        let done = match self.averages.iter().try_for_each(|(name, average)| set(name, &average.as_detached_tensor())) {
            Ok(()) => f(),
            Err(error) => Err(error.into()),
        };
        own.iter().try_for_each(|(name, tensor)| set(name, tensor))?;
        done
    }

    /// The averages by the names of what they average.
    pub fn averages(&self) -> &BTreeMap<String, Var> {
        &self.averages
    }

    /// Updates so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Sets the number of updates, as a checkpoint has it; the averages are set through [`Self::averages`].
    pub fn set_updates(&mut self, updates: u64) {
        self.updates = updates;
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use cirio_nn::Layers;
    use cirio_nn::layer::{Flatten, batch_norm, linear};

    use super::*;

    fn store(dtype: DType) -> Store {
        let store = Store::new(3, dtype, &Device::Cpu);
        let layers = Layers::new([1, 1, 1]).then("bn", batch_norm()).then("flatten", Flatten).then("fc", linear(1));
        layers.build(store.var_builder()).expect("a sound list");
        store
    }

    fn set(store: &Store, value: f64) -> Result<()> {
        store.set("fc.weight", &Tensor::full(value, (1, 1), &Device::Cpu)?)?;
        Ok(store.set("bn.num_batches_tracked", &Tensor::full(value as i64, (), &Device::Cpu)?)?)
    }

    fn value(tensor: &Tensor) -> Result<f64> {
        tensor.to_dtype(DType::F64)?.flatten_all()?.get(0)?.to_scalar()
    }

    #[test]
    fn averages_follow_the_formula_and_counters_are_copied() -> Result<()> {
        for dtype in [DType::F32, DType::F64] {
            let store = store(dtype);
            set(&store, 1.0)?;
            let mut ema = Ema::new(0.15, &store)?;
            set(&store, 2.0)?;
            ema.update(&store)?;
            let first = 0.1 * 1.0 + 0.9 * 2.0;
            assert!((value(&ema.averages()["fc.weight"])? - first).abs() < 1e-6);
            set(&store, 5.0)?;
            ema.update(&store)?;
            assert!((value(&ema.averages()["fc.weight"])? - (0.15 * first + 0.85 * 5.0)).abs() < 1e-6, "2/11 is more than 0.15");
            assert_eq!(value(&ema.averages()["bn.num_batches_tracked"])?, 5.0);
        }
        Ok(())
    }

    #[test]
    fn the_networks_own_values_come_back() -> crate::Result<()> {
        let store = store(DType::F32);
        set(&store, 1.0)?;
        let ema = Ema::new(0.9, &store)?;
        set(&store, 7.0)?;
        let seen = ema.with_averages(&store, || -> crate::Result<f64> { Ok(value(&store.tensors()["fc.weight"])?) })?;
        assert_eq!((seen, value(&store.tensors()["fc.weight"])?), (1.0, 7.0));
        let failed = ema.with_averages(&store, || -> crate::Result<()> { Err(crate::Error::Empty("nothing".into())) });
        assert!(failed.is_err());
        assert_eq!(value(&store.tensors()["fc.weight"])?, 7.0);
        Ok(())
    }
}
