//! Random changes of brightness and colour.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Image, crop};

/// Brightness, contrast and saturation are each multiplied by 1 ± the given part, and the hue turned by ± the given part of
/// the circle, in an order drawn anew each time, as torchvision's `ColorJitter` does. Grey pictures have neither
/// saturation nor hue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColorJitter {
    /// 0 … 1.
    pub brightness: f64,
    /// 0 … 1.
    pub contrast: f64,
    /// 0 … 1.
    pub saturation: f64,
    /// 0 … 0.5.
    pub hue: f64,
}

impl Default for ColorJitter {
    fn default() -> Self {
        Self { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }
    }
}

impl ColorJitter {
    pub(super) fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image {
        let mut order = [0, 1, 2, 3];
        for last in (1..order.len()).rev() {
            order.swap(last, rng.random_range(0..=last));
        }
        let mut draw = |most: f64| most * (2.0 * rng.random::<f64>() - 1.0);
        let factors = [1.0 + draw(self.brightness), 1.0 + draw(self.contrast), 1.0 + draw(self.saturation), draw(self.hue)];
        let mut values: Vec<f64> = image.data().iter().map(|&value| f64::from(value)).collect();
        for change in order {
            match change {
                0 => brighten(&mut values, factors[0], image.channels()),
                1 => contrast(&mut values, factors[1], image.channels()),
                2 => colourful(&mut values, factors[2], image.channels()),
                _ => turn_hues(&mut values, factors[3], image.channels()),
            }
        }
        crop::rebuilt(image, values.into_iter().map(|value| value.round() as u8).collect())
    }
}

/// Values 0 … 255 multiplied by a factor.
pub(super) fn brighten(values: &mut [f64], factor: f64, channels: usize) {
    blend(values, factor, |_| 0.0, channels);
}

/// Differences from the mean grey multiplied by a factor.
pub(super) fn contrast(values: &mut [f64], factor: f64, channels: usize) {
    let mean = values.chunks_exact(channels).map(grey).sum::<f64>() / (values.len() / channels) as f64;
    blend(values, factor, |_| mean, channels);
}

/// Differences from each pixel's grey multiplied by a factor.
pub(super) fn colourful(values: &mut [f64], factor: f64, channels: usize) {
    if channels == 3 {
        blend(values, factor, grey, channels);
    }
}

/// The hue of each pixel turned by a part of the circle.
pub(super) fn turn_hues(values: &mut [f64], part: f64, channels: usize) {
    if channels == 3 {
        values.chunks_exact_mut(channels).for_each(|pixel| turn_hue(pixel, part));
    }
}

/// value·factor + other·(1 - factor), cut to 0 … 255.
fn blend(values: &mut [f64], factor: f64, other: impl Fn(&[f64]) -> f64, channels: usize) {
    for pixel in values.chunks_exact_mut(channels) {
        let other = other(pixel) * (1.0 - factor);
        pixel.iter_mut().for_each(|value| *value = (*value * factor + other).clamp(0.0, 255.0));
    }
}

fn grey(pixel: &[f64]) -> f64 {
    match pixel {
        [red, green, blue] => 0.299 * red + 0.587 * green + 0.114 * blue,
        _ => pixel[0],
    }
}

/// Turns the hue of an RGB pixel by a part of the circle, through HSV.
fn turn_hue(pixel: &mut [f64], part: f64) {
    let (red, green, blue) = (pixel[0], pixel[1], pixel[2]);
    let (high, low) = (red.max(green).max(blue), red.min(green).min(blue));
    let range = high - low;
    if range <= 0.0 {
        return;
    }
    let sextant = if high == red {
        (green - blue) / range
    } else if high == green {
        2.0 + (blue - red) / range
    } else {
        4.0 + (red - green) / range
    };
    let hue = wrapped(sextant + 6.0 * part);
    // Each channel is a trapezium over the hue.
    let channel = |shift: f64| {
        let at = wrapped(shift + hue);
        high - range * at.min(4.0 - at).clamp(0.0, 1.0)
    };
    (pixel[0], pixel[1], pixel[2]) = (channel(5.0), channel(3.0), channel(1.0));
}

/// A place on a circle of 6, of at most one turn too many or too few. (`rem_euclid` divides, which takes most of the time.)
fn wrapped(at: f64) -> f64 {
    if at < 0.0 {
        at + 6.0
    } else if at >= 6.0 {
        at - 6.0
    } else {
        at
    }
}

/// Krizhevsky et al. (2012), section 4.1: to each pixel Σ p_i·α_i·λ_i is added, with p_i and λ_i the eigenvectors and
/// eigenvalues of the covariance of RGB (in 0 … 1) over the training set, and α_i drawn once a picture from N(0, deviation).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcaColor {
    /// The deviation of α; 0.1 in the paper.
    pub deviation: f64,
    /// λ.
    pub eigenvalues: [f64; 3],
    /// Row i is p_i.
    pub eigenvectors: [[f64; 3]; 3],
}

impl Default for PcaColor {
    /// The values for ImageNet that are in general use.
    fn default() -> Self {
        Self {
            deviation: 0.1,
            eigenvalues: [0.2175, 0.0188, 0.0045],
            eigenvectors: [[-0.5675, -0.5808, -0.5836], [0.7192, -0.0045, -0.6948], [0.4009, -0.8140, 0.4203]],
        }
    }
}

impl PcaColor {
    pub(super) fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image {
        let strength: [f64; 3] = std::array::from_fn(|i| self.deviation * normal(rng) * self.eigenvalues[i]);
        if image.channels() != 3 {
            return image.clone();
        }
        let shift: [f64; 3] = std::array::from_fn(|channel| (0..3).map(|i| self.eigenvectors[i][channel] * strength[i] * 255.0).sum());
        let moved = image.data().iter().enumerate().map(|(at, &value)| (f64::from(value) + shift[at % 3]).round().clamp(0.0, 255.0) as u8);
        crop::rebuilt(image, moved.collect())
    }
}

/// A normal number (Box & Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (a, b): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn picture() -> Image {
        Image::new(4, 3, 3, (0..36).map(|i| i * 7).collect()).expect("a picture")
    }

    #[test]
    fn no_change_is_the_identity() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let still = ColorJitter { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 };
        assert_eq!(still.apply(&picture(), &mut rng), picture());
        assert_eq!(PcaColor { deviation: 0.0, ..PcaColor::default() }.apply(&picture(), &mut rng), picture());
    }

    /// `colorsys`: turning red by a third gives green, by a sixth yellow.
    #[test]
    fn hues_turn_round_the_circle() {
        for (part, expected) in
            [(1.0 / 3.0, [0.0, 200.0, 0.0]), (1.0 / 6.0, [200.0, 200.0, 0.0]), (-1.0 / 3.0, [0.0, 0.0, 200.0]), (1.0, [200.0, 0.0, 0.0])]
        {
            let mut pixel = [200.0, 0.0, 0.0];
            turn_hue(&mut pixel, part);
            assert!(pixel.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{part}: {pixel:?}");
        }
    }

    /// `F.adjust_brightness(x, 1.1)`, `adjust_contrast(x, 0.6)`, `adjust_saturation(x, 1.4)`, `adjust_hue(x, 0.05)` and `adjust_hue(x, -0.3)` of
    /// torchvision 0.14 with x these values / 255. Its grey has 0.2989 for red.
    #[test]
    fn changes_as_torchvision() {
        type Change = fn(&mut [f64], f64, usize);
        let expected: [(Change, f64, [f64; 12]); 5] = [
            (brighten, 1.1, [220.0, 33.0, 66.0, 11.0, 99.0, 255.0, 132.0, 143.0, 44.0, 84.7, 84.7, 84.7]),
            (contrast, 0.6, [156.23, 54.23, 72.23, 42.23, 90.23, 186.23, 108.23, 114.23, 60.23, 82.43, 82.43, 82.43]),
            (colourful, 1.4, [246.31, 8.31, 50.31, 0.0, 92.27, 255.0, 121.3, 135.3, 9.3, 77.0, 77.0, 77.0]),
            (turn_hues, 0.05, [200.0, 51.0, 30.0, 10.0, 18.0, 250.0, 93.0, 130.0, 40.0, 77.0, 77.0, 77.0]),
            (turn_hues, -0.3, [34.0, 30.0, 200.0, 42.0, 250.0, 10.0, 130.0, 40.0, 102.0, 77.0, 77.0, 77.0]),
        ];
        for (change, strength, expected) in expected {
            let mut values = [200.0, 30.0, 60.0, 10.0, 90.0, 250.0, 120.0, 130.0, 40.0, 77.0, 77.0, 77.0];
            change(&mut values, strength, 3);
            assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.02), "{strength}: {values:?}");
        }
    }

    #[test]
    fn pca_moves_all_pixels_alike_and_leaves_grey_alone() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let flat = Image::filled(3, 3, 3, 128).expect("a picture");
        let moved = PcaColor { deviation: 1.0, ..PcaColor::default() }.apply(&flat, &mut rng);
        assert_ne!(moved, flat);
        assert!(moved.data().chunks_exact(3).all(|pixel| pixel == &moved.data()[..3]));
        let grey = Image::filled(3, 3, 1, 128).expect("a picture");
        assert_eq!(PcaColor::default().apply(&grey, &mut rng), grey);
    }

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let values: Vec<f64> = (0..20_000).map(|_| normal(&mut rng)).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0).sqrt();
        assert!(mean.abs() < 0.02 && (deviation - 1.0).abs() < 0.02, "{mean} {deviation}");
    }
}
