//! Affine distortions, as LeCun et al. (1998, section III.A) made more digits: translation, scaling, squeezing (one axis
//! longer, the other shorter) and horizontal shearing; rotation besides.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Image, Result, crop};

/// Each change is drawn evenly between its negative and itself; 0 for none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// Degrees, 0 … 360.
    pub rotation: f64,
    /// As a part of each side, 0 … 1.
    pub translation: f64,
    /// Scaling by 1 ± this, 0 … 1.
    pub scale: f64,
    /// Width by 1 ± this while height by its inverse, 0 … 1.
    pub squeeze: f64,
    /// Columns moved a row, as a tangent.
    pub shear: f64,
    /// The value of what comes in from outside.
    #[serde(default)]
    pub fill: u8,
}

impl Default for Affine {
    /// Small ones, for pictures of 28×28.
    fn default() -> Self {
        Self { rotation: 10.0, translation: 0.06, scale: 0.1, squeeze: 0.1, shear: 0.15, fill: 0 }
    }
}

impl Affine {
    pub(super) fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Result<Image> {
        let mut draw = |most: f64| most * (2.0 * rng.random::<f64>() - 1.0);
        let angle = draw(self.rotation).to_radians();
        let (move_x, move_y) = (draw(self.translation) * image.width() as f64, draw(self.translation) * image.height() as f64);
        let (scale, squeeze, shear) = (1.0 + draw(self.scale), 1.0 + draw(self.squeeze), draw(self.shear));
        // From an output pixel back to the place in the input: the inverse of rotation · shear · scaling.
        let (sin, cos) = angle.sin_cos();
        let (wide, high) = ((scale * squeeze).max(1e-3), (scale / squeeze.max(1e-3)).max(1e-3));
        let (centre_x, centre_y) = ((image.width() as f64 - 1.0) / 2.0, (image.height() as f64 - 1.0) / 2.0);
        let back = |row: usize, column: usize| {
            let (x, y) = (column as f64 - centre_x - move_x, row as f64 - centre_y - move_y);
            let (x, y) = (cos * x + sin * y, cos * y - sin * x);
            ((x - shear * y) / wide + centre_x, y / high + centre_y)
        };
        let mut data = Vec::with_capacity(image.data().len());
        for row in 0..image.height() {
            for column in 0..image.width() {
                let (x, y) = back(row, column);
                (0..image.channels()).for_each(|channel| data.push(self.sample(image, x, y, channel)));
            }
        }
        Ok(crop::rebuilt(image, data))
    }

    /// The value between four pixels.
    fn sample(&self, image: &Image, x: f64, y: f64, channel: usize) -> u8 {
        let (left, top) = (x.floor(), y.floor());
        let (right_part, lower_part) = (x - left, y - top);
        let at = |row: f64, column: f64| {
            let inside = row >= 0.0 && column >= 0.0;
            let pixel = if inside { image.pixel(row as usize, column as usize) } else { None };
            f64::from(pixel.map_or(self.fill, |pixel| pixel[channel]))
        };
        let upper = at(top, left) * (1.0 - right_part) + at(top, left + 1.0) * right_part;
        let lower = at(top + 1.0, left) * (1.0 - right_part) + at(top + 1.0, left + 1.0) * right_part;
        (upper * (1.0 - lower_part) + lower * lower_part).round() as u8
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const STILL: Affine = Affine { rotation: 0.0, translation: 0.0, scale: 0.0, squeeze: 0.0, shear: 0.0, fill: 0 };

    fn picture() -> Image {
        Image::new(5, 4, 3, (0..60).map(|i| i * 4).collect()).expect("a picture")
    }

    #[test]
    fn no_change_is_the_identity() -> Result<()> {
        assert_eq!(STILL.apply(&picture(), &mut ChaCha8Rng::seed_from_u64(0))?, picture());
        Ok(())
    }

    #[test]
    fn each_change_changes_the_picture_and_no_other_value_comes_in() -> Result<()> {
        for affine in [
            Affine { rotation: 30.0, ..STILL },
            Affine { translation: 0.4, ..STILL },
            Affine { scale: 0.5, ..STILL },
            Affine { squeeze: 0.5, ..STILL },
            Affine { shear: 0.5, ..STILL },
        ] {
            let flat = Affine { fill: 77, ..affine.clone() }.apply(&Image::filled(9, 7, 1, 77)?, &mut ChaCha8Rng::seed_from_u64(1))?;
            assert!(flat.data().iter().all(|&value| value == 77), "{affine:?}");
            assert_ne!(affine.apply(&picture(), &mut ChaCha8Rng::seed_from_u64(1))?, picture(), "{affine:?}");
        }
        Ok(())
    }
}
