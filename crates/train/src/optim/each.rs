//! Element by element, in place: the one kernel that optimisers and averages need on CPU f32.

use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Tensor};
use rayon::prelude::*;

/// Numbers that one thread changes at a time; a tensor with fewer is changed by the calling thread.
const CHUNK: usize = 1 << 15;

/// Whether [`each2`] and [`each3`] can run on this tensor; elsewhere the same formula stands in candle's ops.
pub(crate) fn on_slices(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// x_i ← f(x_i, y_i), for tensors of one shape.
pub(crate) fn each2(x: &Tensor, y: &Tensor, f: impl Fn(f32, f32) -> f32 + Sync) -> Result<()> {
    x.inplace_op2(&y.contiguous()?, &Each(f))
}

/// x_i ← f(x_i, y_i, z_i), for tensors of one shape.
pub(crate) fn each3(x: &Tensor, y: &Tensor, z: &Tensor, f: impl Fn(f32, f32, f32) -> f32 + Sync) -> Result<()> {
    x.inplace_op3(&y.contiguous()?, &z.contiguous()?, &Each(f))
}

struct Each<F>(F);

impl<F: Fn(f32, f32) -> f32 + Sync> InplaceOp2 for Each<F> {
    fn name(&self) -> &'static str {
        "each2"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, x_layout: &Layout, y: &CpuStorage, y_layout: &Layout) -> Result<()> {
        same_shape(x_layout, y_layout)?;
        let y = slice(y, y_layout)?;
        slice_mut(x, x_layout)?.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(x, y)| {
            x.iter_mut().zip(y).for_each(|(x, &y)| *x = (self.0)(*x, y));
        });
        Ok(())
    }
}

impl<F: Fn(f32, f32, f32) -> f32 + Sync> InplaceOp3 for Each<F> {
    fn name(&self) -> &'static str {
        "each3"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
        z: &CpuStorage,
        z_layout: &Layout,
    ) -> Result<()> {
        same_shape(x_layout, y_layout)?;
        same_shape(x_layout, z_layout)?;
        let (y, z) = (slice(y, y_layout)?, slice(z, z_layout)?);
        let from = y.par_chunks(CHUNK).zip(z.par_chunks(CHUNK));
        slice_mut(x, x_layout)?.par_chunks_mut(CHUNK).zip(from).for_each(|(x, (y, z))| {
            x.iter_mut().zip(y).zip(z).for_each(|((x, &y), &z)| *x = (self.0)(*x, y, z));
        });
        Ok(())
    }
}

fn same_shape(x: &Layout, y: &Layout) -> Result<()> {
    match x.shape() == y.shape() {
        true => Ok(()),
        false => candle_core::bail!("a tensor of shape {:?} is updated with one of shape {:?}", x.shape(), y.shape()),
    }
}

fn bounds(layout: &Layout) -> Result<(usize, usize)> {
    layout.contiguous_offsets().ok_or_else(|| candle_core::Error::msg("an update in place needs a contiguous tensor"))
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (begin, end) = bounds(layout)?;
    Ok(&storage.as_slice::<f32>()?[begin..end])
}

fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let (begin, end) = bounds(layout)?;
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[begin..end]),
        _ => candle_core::bail!("an update in place is for f32"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn views_are_read_where_they_lie() -> Result<()> {
        let all = Tensor::arange(0f32, 12.0, &Device::Cpu)?.reshape((3, 4))?;
        let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        let y = all.narrow(0, 1, 2)?.narrow(1, 1, 3)?;
        let z = all.t()?.narrow(0, 0, 2)?;
        each3(&x, &y, &z, |x, y, z| x + 100.0 * y + z)?;
        assert_eq!(x.to_vec2::<f32>()?, [[500.0, 604.0, 708.0], [901.0, 1005.0, 1109.0]]);
        each2(&x, &y, |x, y| x - 100.0 * y)?;
        assert_eq!(x.to_vec2::<f32>()?, [[0.0, 4.0, 8.0], [1.0, 5.0, 9.0]]);
        Ok(())
    }

    #[test]
    fn large_tensors_are_changed_in_every_place() -> Result<()> {
        let count = 5 * CHUNK + 3;
        let x = Tensor::arange(0f32, count as f32, &Device::Cpu)?;
        let (y, z) = (x.copy()?, Tensor::ones(count, DType::F32, &Device::Cpu)?);
        each3(&x, &y, &z, |x, y, z| 2.0 * x - y + z)?;
        each2(&x, &y, |x, y| x - y)?;
        assert_eq!(x.to_vec1::<f32>()?, vec![1.0; count]);
        Ok(())
    }

    #[test]
    fn other_shapes_are_refused() -> Result<()> {
        let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        let error = each2(&x, &x.t()?, |x, _| x).unwrap_err().to_string();
        assert!(error.contains("[2, 3] is updated with one of shape [3, 2]"), "{error}");
        Ok(())
    }
}
