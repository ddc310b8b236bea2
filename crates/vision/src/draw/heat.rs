//! Numbers of a map as colours, alone or over a picture.

use crate::draw::ColourMap;
use crate::{Error, Image, Result};

/// H×W values, row by row, as colours: a pixel each. The range says which values have the colours of the ends, and is that of the values
/// where it is not given ([`ColourMap::range`]). What is not a number is grey; where all are alike, they have the colour of the middle.
///
/// # Errors
/// When a side is 0, the values are not height·width, or the range does not go from a finite number to one that is no smaller.
pub fn heat(values: &[f32], width: usize, height: usize, map: ColourMap, range: Option<[f32; 2]>) -> Result<Image> {
    check(values, width, height)?;
    let range = known(range, map, values)?;
    let colours = values.iter().flat_map(|&value| map.colour(place(value, range)));
    Image::new(width, height, 3, colours.collect())
}

/// H×W values over a picture, as colours through which it shines. The map of values is stretched over the whole picture with bilinear
/// interpolation, so it may be much coarser, as deep layers are. An opacity of 0 leaves the picture, 1 covers it. Where there is no
/// number, the picture is left as it is. Colours go over the `range`, as a [`legend`](super::legend()) of it shows them, or over that of the values.
///
/// # Errors
/// When a side is 0, the values are not height·width, the range is none, or the opacity is not 0 … 1.
pub fn overlay(
    picture: &Image,
    values: &[f32],
    width: usize,
    height: usize,
    map: ColourMap,
    range: Option<[f32; 2]>,
    opacity: f32,
) -> Result<Image> {
    check(values, width, height)?;
    let range = known(range, map, values)?;
    if !(0.0..=1.0).contains(&opacity) {
        return Err(Error::Setting(format!("an opacity is 0 to 1, not {opacity}")));
    }
    let (rows, columns) = (taps(height, picture.height()), taps(width, picture.width()));
    let (wide, high) = (picture.width(), picture.height());
    let mut data = picture.to_rgb().into_data();
    for (row, line) in rows.iter().zip(data.chunks_exact_mut(3 * wide)) {
        for (column, pixel) in columns.iter().zip(line.chunks_exact_mut(3)) {
            let [upper, lower] = row.at.map(|row| &values[row * width..][..width]).map(|line| column.between(column.at.map(|at| line[at])));
            let value = row.between([upper, lower]);
            if value.is_nan() {
                continue;
            }
            for (old, new) in pixel.iter_mut().zip(map.colour(place(value, range))) {
                *old = (f32::from(*old) + opacity * (f32::from(new) - f32::from(*old))).round() as u8;
            }
        }
    }
    Image::new(wide, high, 3, data)
}

/// The range that is given, or that of the values.
fn known(range: Option<[f32; 2]>, map: ColourMap, values: &[f32]) -> Result<[f32; 2]> {
    let [low, high] = range.unwrap_or_else(|| map.range(values));
    match low.is_finite() && high.is_finite() && low <= high {
        true => Ok([low, high]),
        false => Err(Error::Setting(format!("a range goes from a number to a larger one, not from {low} to {high}"))),
    }
}

fn check(values: &[f32], width: usize, height: usize) -> Result<()> {
    match width.checked_mul(height) {
        Some(length) if length > 0 && length == values.len() => Ok(()),
        _ => Err(Error::Shape(format!("a map of {height} rows and {width} columns does not have {} values", values.len()))),
    }
}

/// Where a value lies in a range, as 0 … 1; in the middle of one without a length.
fn place(value: f32, [low, high]: [f32; 2]) -> f32 {
    let [value, low, high] = [value, low, high].map(f64::from); // what lies between two f32 may be more than one
    match value {
        value if value.is_nan() => f32::NAN,
        value if low < high => ((value - low) / (high - low)).clamp(0.0, 1.0) as f32,
        value if value < low => 0.0,
        value if value > high => 1.0,
        _ => 0.5,
    }
}

/// The two places that a place of a stretched line lies between.
struct Tap {
    at: [usize; 2],
    /// How much of the second there is, 0 … 1.
    share: f32,
}

impl Tap {
    fn between(&self, [first, second]: [f32; 2]) -> f32 {
        if self.share == 0.0 { first } else { first + self.share * (second - first) }
    }
}

/// Stretches a line of `from` places over `to`; the first and the last half place have the value of the end.
fn taps(from: usize, to: usize) -> Vec<Tap> {
    let last = from - 1;
    let tap = |index: usize| {
        let middle = ((index as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, last as f64);
        let first = middle as usize;
        Tap { at: [first, (first + 1).min(last)], share: middle.fract() as f32 }
    };
    (0..to).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_become_colours() -> Result<()> {
        let drawn = heat(&[-1.0, 0.0, 1.0, f32::NAN], 2, 2, ColourMap::Grey, None)?;
        assert_eq!((drawn.width(), drawn.height(), drawn.channels()), (2, 2, 3));
        assert_eq!(drawn.data(), [0, 0, 0, 128, 128, 128, 255, 255, 255, 128, 128, 128]);
        assert_eq!(heat(&[2.0; 2], 2, 1, ColourMap::Grey, None)?.data(), [128; 6]);
        assert_eq!(heat(&[5.0, -5.0], 1, 2, ColourMap::Grey, Some([0.0, 1.0]))?.data(), [255, 255, 255, 0, 0, 0]);
        assert_eq!(
            heat(&[f32::MIN, f32::MAX, f32::INFINITY], 3, 1, ColourMap::Grey, None)?.data(),
            [0, 0, 0, 255, 255, 255, 255, 255, 255]
        );
        let signs = heat(&[-2.0, 0.0, 1.0], 3, 1, ColourMap::Diverging, None)?;
        assert_eq!(signs.pixel(0, 1).map(<[u8]>::to_vec), Some(ColourMap::Diverging.colour(0.5).to_vec()));
        assert_eq!(signs.pixel(0, 2).map(<[u8]>::to_vec), Some(ColourMap::Diverging.colour(0.75).to_vec()));
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_refused() -> Result<()> {
        let picture = Image::filled(4, 4, 1, 9)?;
        for (length, width, height) in [(5, 2, 2), (0, 0, 0), (0, 0, 3), (4, usize::MAX, 2)] {
            let values = vec![0.0; length];
            let error = heat(&values, width, height, ColourMap::Viridis, None).expect_err("no such map").to_string();
            assert!(error.contains(&format!("{length} values")), "{error}");
            assert!(overlay(&picture, &values, width, height, ColourMap::Viridis, None, 0.5).is_err());
        }
        for range in [[1.0, 0.0], [f32::NAN, 1.0], [0.0, f32::INFINITY]] {
            assert!(heat(&[0.0], 1, 1, ColourMap::Grey, Some(range)).is_err(), "{range:?}");
        }
        for opacity in [-0.1, 1.1, f32::NAN] {
            assert!(overlay(&picture, &[0.0], 1, 1, ColourMap::Grey, None, opacity).is_err(), "{opacity}");
        }
        Ok(())
    }

    #[test]
    fn heat_over_a_picture() -> Result<()> {
        let picture = Image::filled(4, 1, 1, 100)?;
        assert_eq!(overlay(&picture, &[0.0, 1.0], 2, 1, ColourMap::Magma, None, 0.0)?, picture.to_rgb());
        // Over four pixels, 0 and 1 become 0, 1/4, 3/4, 1.
        let covered = overlay(&picture, &[0.0, 1.0], 2, 1, ColourMap::Grey, None, 1.0)?;
        assert_eq!(covered.data(), [[0; 3], [64; 3], [191; 3], [255; 3]].concat());
        assert_eq!(overlay(&picture, &[0.0, 1.0], 2, 1, ColourMap::Grey, None, 0.5)?.data()[..3], [50; 3]);
        let far = overlay(&picture, &[0.0, 1.0], 2, 1, ColourMap::Grey, Some([0.0, 2.0]), 1.0)?;
        assert_eq!(far.data()[far.data().len() - 3..], ColourMap::Grey.colour(0.5), "half of the range, as a colour bar of it says");
        let gap = overlay(&picture, &[0.0, f32::NAN, 1.0, 1.0], 4, 1, ColourMap::Grey, None, 1.0)?;
        assert_eq!(gap.data(), [[0; 3], [100; 3], [255; 3], [255; 3]].concat());
        Ok(())
    }

    proptest! {
        /// A plane keeps its slope where it is stretched, within the half places at the ends.
        #[test]
        fn stretching_is_bilinear(from in 1usize..9, to in 1usize..40) {
            let stretched = taps(from, to);
            prop_assert_eq!(stretched.len(), to);
            for (index, tap) in stretched.iter().enumerate() {
                let expected = ((index as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0);
                let found = f64::from(tap.between(tap.at.map(|at| at as f32)));
                prop_assert!((found - expected).abs() < 1e-5, "{} for {}", found, expected);
            }
        }

        #[test]
        fn any_map_over_any_picture(sides in prop::array::uniform4(1usize..9), seed in any::<u32>()) {
            let [width, height, wide, high] = sides;
            let values: Vec<f32> = (0..width * height).map(|at| f32::from_bits(seed.wrapping_mul(at as u32 + 1))).collect();
            let picture = Image::filled(wide, high, 3, 50).unwrap();
            let drawn = overlay(&picture, &values, width, height, ColourMap::Viridis, None, 0.7).unwrap();
            prop_assert_eq!((drawn.width(), drawn.height()), (wide, high));
        }
    }
}
