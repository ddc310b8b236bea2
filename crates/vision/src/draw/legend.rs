//! The bar of colours that says which value has which.

use crate::canvas::LETTER;
use crate::draw::{ColourMap, Ground};
use crate::{Canvas, Error, Image, Result};

/// Pixels across a bar.
const THICK: usize = 14;

/// Pixels between the bar and its numbers.
const GAP: usize = 4;

/// From this length on a bar has numbers of twice the size.
const LONG: usize = 256;

/// Which way a bar of colours goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the lowest value at the bottom up, with numbers on the right.
    Up,
    /// From the lowest value at the left to the right, with numbers below.
    Right,
}

/// A bar of all colours of a map, with the lowest, the middle and the highest value beside it. It has this length in pixels, or the least
/// that its numbers need.
///
/// # Errors
/// When an end of the range is not finite, or the length is absurd (more than [`MAX_PIXELS`](crate::MAX_PIXELS) in all).
pub fn legend(map: ColourMap, [low, high]: [f32; 2], length: usize, direction: Direction, ground: Ground) -> Result<Image> {
    if !(low.is_finite() && high.is_finite()) {
        return Err(Error::Setting(format!("a bar of colours goes from a number to a number, not from {low} to {high}")));
    }
    let [low, high] = [low, high].map(f64::from);
    let middle = (low + high) / 2.0;
    // What rounding leaves of a middle of 0 is no number to show.
    let middle = if middle.abs() < (high - low).abs() * 1e-4 { 0.0 } else { middle };
    let numbers = [low, middle, high].map(short);
    let size = if length < LONG { 1 } else { 2 };
    let letter = size * LETTER;
    let wide = numbers.each_ref().map(|number| number.len() * letter);
    match direction {
        Direction::Right => {
            let length = length.max(wide.iter().sum::<usize>() + 2 * letter);
            let mut canvas = Canvas::empty(length, THICK + GAP + letter, ground.paper())?;
            (0..length).for_each(|at| canvas.area([at, 0, at + 1, THICK], map.colour(share(at, length))));
            for (number, left) in numbers.iter().zip([0, (length - wide[1]) / 2, length - wide[2]]) {
                canvas.words([left, THICK + GAP], size, number, ground.ink());
            }
            canvas.into_image()
        }
        Direction::Up => {
            let length = length.max(5 * letter);
            let mut canvas = Canvas::empty(THICK + GAP + wide.into_iter().max().unwrap_or(0), length, ground.paper())?;
            (0..length).for_each(|at| canvas.area([0, at, THICK, at + 1], map.colour(1.0 - share(at, length))));
            for (number, upper) in numbers.iter().zip([length - letter, (length - letter) / 2, 0]) {
                canvas.words([THICK + GAP, upper], size, number, ground.ink());
            }
            canvas.into_image()
        }
    }
}

/// Where a pixel of a bar lies, 0 … 1.
fn share(at: usize, length: usize) -> f32 {
    at as f32 / (length - 1) as f32
}

/// A number in three digits that count: `0.25`, `-13.4`, `1280`, `2.5e-7`.
fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e5).contains(&size) {
        return format!("{value:.1e}");
    }
    let decimals = (2 - size.log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_three_digits() {
        let texts = [0.0, 1.0, 0.25, -13.42, 1280.4, 0.001_234, 2.46e-7, 1e30, 99_999.9, -0.5].map(short);
        assert_eq!(texts, ["0", "1", "0.25", "-13.4", "1280", "0.00123", "2.5e-7", "1.0e30", "100000", "-0.5"]);
    }

    #[test]
    fn bars_go_from_the_lowest_to_the_highest() -> Result<()> {
        let pixel = |image: &Image, row: usize, column: usize| image.pixel(row, column).map(<[u8]>::to_vec);
        let right = legend(ColourMap::Viridis, [0.0, 1.0], 100, Direction::Right, Ground::White)?;
        assert_eq!((right.width(), right.height()), (100, 14 + 4 + 8));
        assert_eq!((pixel(&right, 0, 0), pixel(&right, 13, 99)), (Some(vec![68, 1, 84]), Some(vec![253, 231, 37])));
        let up = legend(ColourMap::Grey, [-1.5, 1.0], 60, Direction::Up, Ground::Dark)?;
        assert_eq!((up.width(), up.height()), (14 + 4 + 5 * 8, 60), "the longest number is -0.25");
        assert_eq!((pixel(&up, 59, 0), pixel(&up, 0, 13)), (Some(vec![0; 3]), Some(vec![255; 3])));
        Ok(())
    }

    #[test]
    fn a_bar_is_as_long_as_its_numbers() -> Result<()> {
        let right = legend(ColourMap::Magma, [-1e9, 1.00001e9], 0, Direction::Right, Ground::White)?;
        assert_eq!(right.width(), 8 * (6 + 1 + 5) + 16, "-1.0e9, 0, 1.0e9");
        assert_eq!(legend(ColourMap::Magma, [0.0, 0.0], 0, Direction::Up, Ground::White)?.height(), 40);
        assert!(legend(ColourMap::Magma, [f32::NAN, 1.0], 9, Direction::Up, Ground::White).is_err());
        assert!(legend(ColourMap::Magma, [0.0, 1.0], usize::MAX, Direction::Right, Ground::White).is_err());
        Ok(())
    }
}
