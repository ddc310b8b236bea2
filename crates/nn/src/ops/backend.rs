//! Which of the two ways a tensor is computed in: the one place where devices and types differ.

use std::cell::Cell;

use candle_core::{DType, Device, Tensor};

/// How an operation is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// By the kernels of `cirio-kernels`.
    Kernels,
    /// By compositions of candle's operations.
    Portable,
}

thread_local! {
    static FORCE_PORTABLE: Cell<bool> = const { Cell::new(false) };
}

/// The way for tensors like this one.
pub(super) fn backend(tensor: &Tensor) -> Backend {
    match (tensor.device(), tensor.dtype()) {
        (Device::Cpu, DType::F32) if !FORCE_PORTABLE.get() => Backend::Kernels,
        _ => Backend::Portable,
    }
}

/// Whether all of these are computed by the kernels.
pub(crate) fn has_kernels<'a>(mut tensors: impl Iterator<Item = &'a Tensor>) -> bool {
    !FORCE_PORTABLE.get() && tensors.all(|tensor| backend(tensor) == Backend::Kernels)
}

/// Runs `work` with the kernels off: what this thread calls inside is computed as on other devices.
///
/// A backward pass follows the way of its forward pass, wherever it is called.
pub fn with_portable<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORCE_PORTABLE.set(self.0);
        }
    }
    let _restore = Restore(FORCE_PORTABLE.replace(true));
    work()
}

#[cfg(test)]
mod tests {
    use candle_core::Result;

    use super::*;

    #[test]
    fn only_f32_on_the_cpu_has_kernels() -> Result<()> {
        let of = |dtype| Ok::<_, candle_core::Error>(backend(&Tensor::zeros(1, dtype, &Device::Cpu)?));
        assert_eq!(of(DType::F32)?, Backend::Kernels);
        for dtype in [DType::F64, DType::F16, DType::BF16] {
            assert_eq!(of(dtype)?, Backend::Portable);
        }
        Ok(())
    }

    #[test]
    fn the_switch_nests_and_goes_back_also_after_a_panic() -> Result<()> {
        let x = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        let inside = with_portable(|| (with_portable(|| backend(&x)), backend(&x)));
        assert_eq!(inside, (Backend::Portable, Backend::Portable));
        assert!(std::panic::catch_unwind(|| with_portable(|| panic!("on purpose"))).is_err());
        assert_eq!(backend(&x), Backend::Kernels);
        Ok(())
    }
}
