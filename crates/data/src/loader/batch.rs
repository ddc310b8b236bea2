//! One batch: how it is prepared, and what is handed out.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};

use super::Source;
use crate::dataset::{Sample, Skipped, Strictness};
use crate::files::guard;
use crate::ordered::Made;
use crate::{Error, Purpose, Result, derived_rng};

/// N pictures, ready for a network.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its place in the epoch, from 0.
    pub number: usize,
    /// Shape (N, C, H, W), f32; with V views a picture (N·V, C, H, W), those of one picture one after the other.
    pub images: Tensor,
    /// The N classes.
    pub labels: Vec<u32>,
    /// The N numbers of the pictures in the data set.
    pub indices: Vec<usize>,
}

impl Batch {
    /// The classes as a tensor of shape (N) and type u32, on the device of the pictures.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn labels_tensor(&self) -> Result<Tensor> {
        Tensor::new(self.labels.as_slice(), self.images.device()).map_err(Error::Tensor)
    }
}

/// A batch as a thread prepares it, before it is a tensor.
#[derive(Default)]
pub(super) struct Prepared {
    /// Shape (N·V, C, H, W).
    pixels: Vec<f32>,
    labels: Vec<u32>,
    indices: Vec<usize>,
}

impl Prepared {
    /// `shape` is (C, H, W).
    pub(super) fn into_batch(self, number: usize, [channels, height, width]: [usize; 3], device: &Device) -> Result<Batch> {
        let shape = (self.pixels.len() / (channels * height * width), channels, height, width);
        let images = Tensor::from_vec(self.pixels, shape, device).map_err(Error::Tensor)?;
        Ok(Batch { number, images, labels: self.labels, indices: self.indices })
    }
}

impl Source {
    /// Prepares the pictures `indices`. Gives up when `stopped` is set.
    pub(super) fn prepare(&self, epoch: u64, indices: &[usize], stopped: &AtomicBool) -> Result<Made<Prepared>> {
        let length = self.preprocess.output_shape().iter().product::<usize>() * self.config.views.count();
        let mut batch = Prepared { pixels: vec![0.0; indices.len() * length], ..Prepared::default() };
        let mut skipped = Vec::new();
        for &index in indices {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let start = batch.indices.len() * length;
            let pixels = &mut batch.pixels[start..start + length];
            let label = guard(|| self.dataset.picture_name(index), || self.prepare_picture(epoch, index, pixels));
            match (label, self.config.strictness) {
                (Ok(label), _) => {
                    batch.labels.push(label);
                    batch.indices.push(index);
                }
                (Err(Error::Picture { picture, reason }), Strictness::Lenient) => skipped.push(Skipped { picture, reason }),
                (Err(error), _) => return Err(error),
            }
        }
        batch.pixels.truncate(batch.indices.len() * length);
        Ok(Made { value: (!batch.indices.is_empty()).then_some(batch), skipped })
    }

    /// Writes picture `index` into `pixels`, shape (V, C, H, W), and returns its class.
    fn prepare_picture(&self, epoch: u64, index: usize, pixels: &mut [f32]) -> Result<u32> {
        let Sample { image, label } = self.dataset.get(index)?;
        let failed = |error| Error::picture(self.dataset.picture_name(index), error);
        let images = match &self.augment {
            None => self.preprocess.views(&image, self.config.views),
            Some(augment) => {
                let mut rng = derived_rng(self.config.seed, epoch, Purpose::Picture, index as u64);
                self.preprocess.augmented(&image, augment, &mut rng).map(|image| vec![image])
            }
        };
        let images = images.map_err(failed)?;
        let views = pixels.chunks_exact_mut(pixels.len() / images.len());
        images.iter().zip(views).try_for_each(|(image, view)| self.preprocess.normalise(image, view)).map_err(failed)?;
        Ok(label as u32)
    }
}
