//! A patch slides over a picture, and the network says what it still sees (Zeiler & Fergus 2014, section 4.2).

use candle_core::{DType, Tensor};
use cirio_nn::ops;

use crate::heat::{Heat, largest};
use crate::{Error, Result};

/// The patch and its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Occluder {
    /// Rows and columns of the patch, in pixels of the network's input.
    pub patch: [usize; 2],
    /// Pixels from one place to the next, down and to the right; the last place of each may be nearer, since it ends with the picture.
    pub stride: [usize; 2],
    /// The value of each channel under the patch, as the network takes it; one for all, or one a channel. 0 is the mean of what most
    /// networks were trained on.
    pub fill: Vec<f32>,
    /// Pictures a pass.
    pub batch: usize,
}

impl Occluder {
    /// A patch of a seventh of the sides of a picture, and about `places` rows and columns of places, filled with 0, 64 pictures a pass.
    pub fn places(places: usize, size: [usize; 2]) -> Self {
        Self::with_patch(size.map(|side| side.div_ceil(7)), places, size)
    }

    /// The same with this patch.
    pub fn with_patch(patch: [usize; 2], places: usize, size: [usize; 2]) -> Self {
        let steps = places.saturating_sub(1).max(1);
        let stride = [0, 1].map(|axis| ((size[axis].saturating_sub(patch[axis]) + steps / 2) / steps).max(1));
        Self { patch, stride, fill: vec![0.0], batch: 64 }
    }
}

/// What a network says of a picture with a patch at each place.
#[derive(Clone, Debug, PartialEq)]
pub struct Occlusion {
    /// Rows and columns of places.
    pub places: [usize; 2],
    /// H and W of the picture.
    pub size: [usize; 2],
    /// The K probabilities of the picture without a patch.
    pub whole: Vec<f32>,
    /// The K probabilities for each place in turn, row by row.
    pub probabilities: Vec<f32>,
}

impl Occlusion {
    /// The probability of a class for each place: where it is low there was the evidence.
    ///
    /// # Errors
    /// When there is no such class.
    pub fn of_class(&self, class: usize) -> Result<Heat> {
        if class >= self.whole.len() {
            return Err(Error::Class { given: class, classes: self.whole.len() });
        }
        let values = self.probabilities.iter().skip(class).step_by(self.whole.len()).copied().collect();
        Ok(Heat { height: self.places[0], width: self.places[1], values })
    }

    /// The probability of a class for each pixel: the mean over the places where the patch hides it, and what it is without a patch where
    /// none does.
    ///
    /// # Errors
    /// When there is no such class.
    pub fn over_pixels(&self, class: usize, occluder: &Occluder) -> Result<Heat> {
        let (places, [height, width]) = (self.of_class(class)?, self.size);
        let mut sums = vec![(0f32, 0f32); height * width];
        for (place, &probability) in places.values.iter().enumerate() {
            let [top, left] = occluder.corner([place / self.places[1], place % self.places[1]], self.size);
            for row in sums.chunks_exact_mut(width).skip(top).take(occluder.patch[0]) {
                row.iter_mut()
                    .skip(left)
                    .take(occluder.patch[1])
                    .for_each(|(sum, count)| (*sum, *count) = (*sum + probability, *count + 1.0));
            }
        }
        let values = sums.into_iter().map(|(sum, count)| if count > 0.0 { sum / count } else { self.whole[class] }).collect();
        Ok(Heat { height, width, values })
    }

    /// The most likely class for each place, row by row.
    pub fn likeliest(&self) -> Vec<usize> {
        self.probabilities.chunks_exact(self.whole.len().max(1)).map(|probabilities| largest(probabilities).unwrap_or(0)).collect()
    }
}

/// Slides a patch over the picture `image` (C, H, W); `forward` takes pictures (N, C, H, W) to scores (N, K).
///
/// # Errors
/// When the patch is empty or larger than the picture, the stride or batch is 0, there is not one fill a channel, or `forward` refuses.
pub fn occlusion(image: &Tensor, occluder: &Occluder, forward: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Occlusion> {
    let (channels, height, width) = image.dims3()?;
    let places = occluder.check([channels, height, width])?;
    let pixels: Vec<f32> = image.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let probabilities = |pixels: Vec<f32>, count: usize| -> Result<Vec<f32>> {
        let images = Tensor::from_vec(pixels, (count, channels, height, width), image.device())?.to_dtype(image.dtype())?;
        Ok(ops::softmax(&forward(&images)?.flatten_from(1)?)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    };
    // The picture without a patch comes first. All passes have as many pictures, so that a network plans for one size alone.
    let count = places[0] * places[1] + 1;
    let size = count.div_ceil(count.div_ceil(occluder.batch));
    let mut all = Vec::new();
    for first in (0..count).step_by(size) {
        let mut batch = pixels.repeat(size);
        for (copy, number) in batch.chunks_exact_mut(pixels.len()).zip(first..count).filter(|(_, number)| *number > 0) {
            occluder.cover(copy, [height, width], [(number - 1) / places[1], (number - 1) % places[1]]);
        }
        all.extend(probabilities(batch, size)?);
    }
    let classes = all.len() / (size * count.div_ceil(size));
    all.truncate(count * classes);
    let probabilities = all.split_off(classes);
    Ok(Occlusion { places, size: [height, width], whole: all, probabilities })
}

impl Occluder {
    /// Rows and columns of places.
    fn check(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 2]> {
        let [rows, columns] = self.patch;
        if rows == 0 || columns == 0 || rows > height || columns > width {
            return Err(Error::Setting(format!(
                "an occluder of {rows}×{columns} pixels for a picture of {height}×{width}: from 1×1 to the picture's size"
            )));
        }
        if self.stride.contains(&0) || self.batch == 0 {
            return Err(Error::Setting(format!("a stride of {:?} and {} pictures a pass: both from 1", self.stride, self.batch)));
        }
        if !matches!(self.fill.len(), 1) && self.fill.len() != channels {
            return Err(Error::Setting(format!("{} fills for {channels} channels: one, or one a channel", self.fill.len())));
        }
        Ok([(height - rows).div_ceil(self.stride[0]) + 1, (width - columns).div_ceil(self.stride[1]) + 1])
    }

    /// The row and the column where the patch begins at a place; at the last ones it ends with the picture.
    fn corner(&self, place: [usize; 2], size: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| (place[axis] * self.stride[axis]).min(size[axis] - self.patch[axis]))
    }

    /// Lays the patch at a place over one picture.
    fn cover(&self, picture: &mut [f32], [height, width]: [usize; 2], place: [usize; 2]) {
        let [top, left] = self.corner(place, [height, width]);
        for (channel, plane) in picture.chunks_exact_mut(height * width).enumerate() {
            let fill = self.fill[channel.min(self.fill.len() - 1)];
            for row in plane.chunks_exact_mut(width).skip(top).take(self.patch[0]) {
                row[left..left + self.patch[1]].fill(fill);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Two classes whose scores are the sums of the left and the right half.
    fn halves(images: &Tensor) -> candle_core::Result<Tensor> {
        let sums = images.sum((1, 2))?;
        let half = sums.dim(1)? / 2;
        Tensor::cat(&[sums.narrow(1, 0, half)?.sum_keepdim(1)?, sums.narrow(1, half, half)?.sum_keepdim(1)?], 1)
    }

    #[test]
    fn the_probability_falls_where_the_evidence_is() -> Result<()> {
        let mut values = vec![0f32; 2 * 4 * 6];
        values[4 * 6 + 6 + 1] = 3.0; // channel 1, row 1, column 1: in the left half
        let image = Tensor::from_vec(values, (2, 4, 6), &Device::Cpu)?;
        let occluder = Occluder { patch: [2, 2], stride: [2, 1], fill: vec![0.0, 0.0], batch: 3 };
        let seen = occlusion(&image, &occluder, halves)?;
        assert_eq!(seen.places, [2, 5]);
        let sure = 3f32.exp() / (3f32.exp() + 1.0);
        assert!((seen.whole[0] - sure).abs() < 1e-6);
        let left = seen.of_class(0)?;
        for (place, &value) in left.values.iter().enumerate() {
            // Only the patches of the upper row that begin at column 0 or 1 cover it.
            let expected = if place < 2 { 0.5 } else { sure };
            assert!((value - expected).abs() < 1e-6, "place {place}: {value}");
        }
        assert_eq!(seen.likeliest(), [0; 10]);
        // A pixel's value is the mean over the patches that hide it: column 1 is under places 0 and 1, column 2 under 1 and 2.
        let pixels = seen.over_pixels(0, &occluder)?;
        for (column, expected) in [0.5, 0.5, (0.5 + sure) / 2.0, sure, sure, sure].into_iter().enumerate() {
            assert!((pixels.values[6 + column] - expected).abs() < 1e-6, "column {column}: {}", pixels.values[6 + column]);
        }
        let few = Occluder { patch: [1, 1], stride: [3, 4], ..occluder.clone() };
        let few_seen = occlusion(&image, &few, halves)?;
        assert_eq!(few_seen.over_pixels(0, &few)?.values[7], seen.whole[0], "nothing hides it");
        assert_eq!((few_seen.places, few.corner([1, 2], [4, 6])), ([2, 3], [3, 5]), "the last ones end with the picture");
        // A bright patch on the right is evidence of its own.
        let bright = Occluder { fill: vec![5.0], ..occluder };
        assert_eq!(occlusion(&image, &bright, halves)?.likeliest()[4], 1);
        Ok(())
    }

    #[test]
    fn batches_change_nothing() -> Result<()> {
        let image = Tensor::arange(0f32, 3.0 * 7.0 * 6.0, &Device::Cpu)?.sin()?.reshape((3, 7, 6))?;
        let one = Occluder { patch: [3, 2], stride: [1, 1], fill: vec![0.5, -1.0, 0.0], batch: 1 };
        let many = Occluder { batch: 64, ..one.clone() };
        assert_eq!(occlusion(&image, &one, halves)?, occlusion(&image, &many, halves)?);
        Ok(())
    }

    #[test]
    fn what_cannot_slide_is_refused() -> Result<()> {
        let image = Tensor::zeros((3, 8, 8), DType::F32, &Device::Cpu)?;
        let usual = Occluder::places(14, [8, 8]);
        assert_eq!((usual.patch, usual.stride), ([2, 2], [1, 1]));
        assert_eq!(Occluder::places(14, [224, 224]).check([3, 224, 224])?, [14, 14]);
        assert_eq!(Occluder::with_patch([32, 64], 14, [224, 299]).check([3, 224, 299])?, [14, 15]);
        let message = |occluder: Occluder| occlusion(&image, &occluder, halves).unwrap_err().to_string();
        let larger = message(Occluder { patch: [9, 2], ..usual.clone() });
        assert!(larger.contains("9×2 pixels for a picture of 8×8"), "{larger}");
        assert!(message(Occluder { stride: [0, 1], ..usual.clone() }).contains("from 1"));
        assert!(message(Occluder { fill: vec![0.0; 2], ..usual.clone() }).contains("2 fills for 3 channels"));
        assert!(message(Occluder { batch: 0, ..usual }).contains("0 pictures"));
        Ok(())
    }
}
