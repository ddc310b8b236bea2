//! From pictures of any size to one batch.

use candle_core::{Device, Tensor};
use cirio_nn::ops::{AlignCorners, upsample_bilinear2d};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{Error, Result, Target};

/// Sides of a batch are multiples of this: the coarsest maps of a backbone have a thirty-second of them.
const MULTIPLE: usize = 32;

/// How pictures are brought to a batch: resized without antialiasing, normalised, and filled up with zeros at the right and below.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// The length in pixels that the shorter side gets, also by enlarging. In training one of these at random, in evaluation the last.
    pub short_sides: Vec<usize>,
    /// The most pixels that the longer side gets; the shorter then gets less.
    pub longest: usize,
    /// The mean of each colour, of values in 0 … 1.
    pub mean: [f32; 3],
    /// The standard deviation of each colour.
    pub std: [f32; 3],
}

impl Default for Transform {
    /// 800 and 1333 pixels, ImageNet's colours: torchvision's.
    fn default() -> Self {
        Self { short_sides: vec![800], longest: 1333, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    }
}

/// Pictures of any size as one tensor.
#[derive(Clone, Debug)]
pub struct Batch {
    /// (N, 3, H, W), normalised; H and W multiples of 32.
    pub images: Tensor,
    /// Rows and columns of each resized picture: what is beyond is filling.
    pub sizes: Vec<[usize; 2]>,
    /// Rows and columns of each picture as it was given.
    pub originals: Vec<[usize; 2]>,
}

impl Batch {
    /// Rows and columns of the tensor.
    pub fn padded(&self) -> [usize; 2] {
        let dims = self.images.dims();
        [dims[2], dims[3]]
    }
}

impl Transform {
    /// Rows and columns that a picture of `[rows, columns]` gets: ⌊side · scale⌋, at least 1, where both scale and product are taken in
    /// double precision as torchvision does since 0.15. So the shorter side is sometimes one less than asked for.
    pub fn size(&self, picture: [usize; 2], short_side: usize) -> [usize; 2] {
        let [rows, columns] = picture;
        let (shorter, longer) = (rows.min(columns) as f64, rows.max(columns) as f64);
        let scale = (short_side as f64 / shorter).min(self.longest as f64 / longer);
        picture.map(|side| ((side as f64 * scale) as usize).max(1))
    }

    /// Pictures (3, H, W), red, green and blue with values in 0 … 1, not normalised, as one batch on `device`. With a generator, short sides
    /// are chosen at random.
    ///
    /// # Errors
    /// When there is no picture, or one has another shape or is on another device.
    pub fn batch(&self, pictures: &[Tensor], mut rng: Option<&mut ChaCha8Rng>) -> Result<Batch> {
        let Some(&last) = self.short_sides.last() else { return Err(Error::Config("a transform has at least one short side".into())) };
        if pictures.is_empty() {
            return Err(Error::Config("a batch has at least one picture".into()));
        }
        let (mut originals, mut resized) = (Vec::new(), Vec::new());
        for (index, picture) in pictures.iter().enumerate() {
            let short_side = match rng.as_deref_mut() {
                Some(rng) => self.short_sides[rng.random_range(0..self.short_sides.len())],
                None => last,
            };
            let original = sides(index, picture)?;
            let size = self.size(original, short_side);
            originals.push(original);
            // As large pictures become small ones, their colours are normalised last, which is the same but for rounding.
            resized.push(self.normalise(&upsample_bilinear2d(&picture.unsqueeze(0)?, size, AlignCorners::No)?)?);
        }
        let sizes: Vec<[usize; 2]> = resized.iter().map(|image| [image.dims()[2], image.dims()[3]]).collect();
        let [rows, columns] = [0, 1].map(|axis| sizes.iter().map(|size| size[axis]).max().unwrap_or(0).next_multiple_of(MULTIPLE));
        let filled = |(image, [h, w]): (Tensor, &[usize; 2])| image.pad_with_zeros(2, 0, rows - h)?.pad_with_zeros(3, 0, columns - w);
        let images = resized.into_iter().zip(&sizes).map(filled).collect::<candle_core::Result<Vec<Tensor>>>()?;
        Ok(Batch { images: Tensor::cat(&images, 0)?, sizes, originals })
    }

    /// The objects of a batch's pictures where they are in it.
    ///
    /// # Errors
    /// When there is not one target for each picture, or one cannot be learnt from by a network of `classes` classes: it is named.
    pub fn targets(&self, targets: &[Target], batch: &Batch, classes: usize) -> Result<Vec<Target>> {
        if targets.len() != batch.sizes.len() {
            return Err(Error::Config(format!("{} pictures have {} targets", batch.sizes.len(), targets.len())));
        }
        let resized = |(index, target): (usize, &Target)| {
            target.check(index, classes, batch.originals[index])?;
            target.resize(batch.originals[index], batch.sizes[index])
        };
        targets.iter().enumerate().map(resized).collect()
    }

    fn normalise(&self, picture: &Tensor) -> Result<Tensor> {
        let colours =
            |values: &[f32; 3]| Tensor::from_slice(values, (3, 1, 1), &Device::Cpu)?.to_dtype(picture.dtype())?.to_device(picture.device());
        Ok(picture.broadcast_sub(&colours(&self.mean)?)?.broadcast_div(&colours(&self.std)?)?)
    }
}

/// H and W of a picture.
fn sides(index: usize, picture: &Tensor) -> Result<[usize; 2]> {
    match *picture.dims() {
        [3, rows, columns] if rows > 0 && columns > 0 && picture.dtype().is_float() => Ok([rows, columns]),
        ref given => {
            let reason =
                format!("it has the shape {given:?} and the type {:?}, expected (3, H, W) of floating-point values", picture.dtype());
            Err(Error::Image { index, reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sides_as_torchvision_computes_them() {
        let transform = Transform::default();
        for (picture, expected) in [
            ([480, 640], [800, 1066]),
            ([97, 97], [799, 799]), // 97 · (800 / 97) is a little less than 800
            ([1080, 1920], [749, 1333]),
            ([100, 596], [223, 1332]),
            ([1, 1], [800, 800]),
            ([1, 2000], [1, 1333]), // torchvision gives no rows, and fails
            ([20_000, 20_000], [800, 800]),
        ] {
            assert_eq!(transform.size(picture, 800), expected, "{picture:?}");
        }
    }

    #[test]
    fn a_batch_is_filled_up_with_zeros() -> Result<()> {
        let transform = Transform { short_sides: vec![20], longest: 50, ..Transform::default() };
        let ones = |rows, columns| Tensor::ones((3, rows, columns), DType::F32, &Device::Cpu);
        let batch = transform.batch(&[ones(10, 20)?, ones(30, 10)?], None)?;
        assert_eq!((batch.images.dims(), batch.padded()), ([2, 3, 64, 64].as_slice(), [64, 64]));
        assert_eq!((batch.sizes, batch.originals), (vec![[20, 40], [50, 16]], vec![[10, 20], [30, 10]]));
        let first = batch.images.get(0)?.get(0)?.to_vec2::<f32>()?;
        let one = (1.0 - 0.485) / 0.229;
        assert!((first[19][39] - one).abs() < 1e-5 && first[20][0] == 0.0 && first[0][40] == 0.0);
        Ok(())
    }

    #[test]
    fn errors_name_the_picture() -> Result<()> {
        let transform = Transform::default();
        let picture = Tensor::zeros((3, 4, 4), DType::F32, &Device::Cpu)?;
        let error = transform.batch(&[picture.clone(), picture.unsqueeze(0)?], None).unwrap_err().to_string();
        assert!(error.contains("image 1: it has the shape [1, 3, 4, 4]"), "{error}");
        assert!(transform.batch(&[picture.to_dtype(DType::U8)?], None).is_err() && transform.batch(&[], None).is_err());
        assert!(transform.batch(&[Tensor::zeros((3, 0, 4), DType::F32, &Device::Cpu)?], None).is_err());

        let batch = Transform { short_sides: vec![8], ..transform.clone() }.batch(&[picture], None)?;
        let target = |edges, label| Target { boxes: vec![edges], labels: vec![label], ..Target::default() };
        let resized = transform.targets(&[target([1.0, 0.0, 2.0, 4.0], 1)], &batch, 3)?;
        assert_eq!(resized[0].boxes, [[2.0, 0.0, 4.0, 8.0]]);
        for (wrong, said) in [
            (target([2.0, 0.0, 2.0, 4.0], 1), "target of image 0: box 0 is [2.0, 0.0, 2.0, 4.0]"),
            (target([1.0, 0.0, f32::NAN, 4.0], 1), "box 0 is [1.0, 0.0, NaN, 4.0]"),
            (target([1.0, 0.0, 2.0, 4.0], 0), "the label 0 is none of the classes 1 to 2; 0 is the background"),
            (target([1.0, 0.0, 2.0, 4.0], 3), "the label 3 is none"),
            (Target { labels: vec![1, 2], ..target([1.0, 0.0, 2.0, 4.0], 1) }, "1 boxes have 2 labels"),
        ] {
            let error = transform.targets(&[wrong], &batch, 3).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_side_is_longer_than_allowed(rows in 1..5000usize, columns in 1..5000usize) {
            let [h, w] = Transform::default().size([rows, columns], 800);
            prop_assert!(h >= 1 && w >= 1 && h.max(w) <= 1333 && h.min(w) <= 800);
        }
    }
}
