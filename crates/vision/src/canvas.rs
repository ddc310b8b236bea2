//! Drawing on a picture: boxes, words, lines, dots and translucent masks that can be read at any size.

use std::ops::Range;

use font8x8::UnicodeFonts;

use crate::{Image, Result};

/// Rows and columns of a letter, before it is enlarged.
pub(crate) const LETTER: usize = 8;

/// Signs that the alphabet lacks.
const SIGNS: [(char, [u8; LETTER]); 2] = [('…', [0, 0, 0, 0, 0, 0, 0xdb, 0]), ('→', [0, 0x08, 0x18, 0x3f, 0x18, 0x08, 0, 0])];

/// How much of a mask's colour is seen; the rest is the picture.
const OPACITY: f32 = 0.45;

/// The short side of a picture, in pixels, for each pixel of a line's width.
const SHORT_SIDE_PER_PIXEL: usize = 240;

/// Red, green and blue.
pub type Colour = [u8; 3];

/// The colour of a class: always the same, and far from those of the classes beside it.
pub fn class_colour(class: usize) -> Colour {
    // Steps of the golden ratio round the circle of hues never come close to an earlier one soon.
    let hue = (class as f64 * 0.618_033_988_749_895).fract() * 6.0;
    [5.0, 3.0, 1.0].map(|shift| {
        let place: f64 = (shift + hue) % 6.0;
        let away = place.min(4.0 - place).clamp(0.0, 1.0);
        (240.0 * (1.0 - 0.85 * away)).round() as u8
    })
}

/// A picture to draw on, in colour. What lies beyond its edges is cut off.
#[derive(Clone, Debug)]
pub struct Canvas {
    width: usize,
    height: usize,
    /// H×W×3.
    data: Vec<u8>,
    unit: usize,
}

impl Canvas {
    /// A copy of a picture; grey becomes colour.
    pub fn new(picture: &Image) -> Self {
        let (width, height) = (picture.width(), picture.height());
        let unit = ((width.min(height) + SHORT_SIDE_PER_PIXEL / 2) / SHORT_SIDE_PER_PIXEL).max(1);
        Self { width, height, data: picture.to_rgb().into_data(), unit }
    }

    /// An empty one of this colour, of at least 1×1 pixels.
    ///
    /// # Errors
    /// When a side is 0, or it would have more than [`MAX_PIXELS`](crate::MAX_PIXELS) pixels.
    pub fn empty(width: usize, height: usize, colour: Colour) -> Result<Self> {
        let mut canvas = Self::new(&Image::filled(width, height, 3, 0)?);
        canvas.area([0, 0, width, height], colour);
        Ok(canvas)
    }

    /// The width of lines, in pixels; letters are eight times as high. It grows with the picture.
    pub fn unit(&self) -> usize {
        self.unit
    }

    /// Lays a colour over pixels so that the picture shines through. Each place is `column · H + row`, as masks in COCO's runs have them.
    pub fn tint(&mut self, places: impl IntoIterator<Item = usize>, colour: Colour) {
        for (row, column) in places.into_iter().map(|place| (place % self.height, place / self.height)) {
            if column < self.width {
                let pixel = &mut self.data[(row * self.width + column) * 3..][..3];
                let mixed = |old: u8, new: u8| (f32::from(old) + OPACITY * (f32::from(new) - f32::from(old))).round() as u8;
                pixel.iter_mut().zip(colour).for_each(|(old, new)| *old = mixed(*old, new));
            }
        }
    }

    /// The outline of the box x₁, y₁, x₂, y₂, in pixels; it lies inside of the box.
    pub fn outline(&mut self, bounds: [f32; 4], colour: Colour) {
        let [left, upper, right, lower] = self.pixels(bounds);
        let line = self.unit.min((right - left).div_ceil(2)).min((lower - upper).div_ceil(2));
        for rows in [upper..upper + line, lower - line..lower] {
            self.fill(rows, left..right, colour);
        }
        for columns in [left..left + line, right - line..right] {
            self.fill(upper..lower, columns, colour);
        }
    }

    /// A straight line between two points x, y, in pixels; none where a number is not finite.
    pub fn line(&mut self, from: [f32; 2], to: [f32; 2], colour: Colour) {
        let [from, to] = [from, to].map(|point| point.map(f64::from));
        if ![from, to].as_flattened().iter().all(|place| place.is_finite()) {
            return;
        }
        // Step by step along the axis on which the line is longer.
        let wide = (to[0] - from[0]).abs() >= (to[1] - from[1]).abs();
        let [from, to] = [from, to].map(|[x, y]| if wide { [x, y] } else { [y, x] });
        let ([first, across], last) = if from[0] <= to[0] { (from, to[0]) } else { (to, from[0]) };
        let slope = if from[0] == to[0] { 0.0 } else { (to[1] - from[1]) / (to[0] - from[0]) };
        let half = self.unit as f64 * slope.hypot(1.0) / 2.0;
        let length = if wide { self.width } else { self.height };
        for step in first.floor() as usize..((last + 1.0).floor() as usize).min(length) {
            let middle = across + slope * ((step as f64 + 0.5).clamp(first, last) - first);
            let span = (middle - half).round() as usize..(middle + half).round() as usize;
            match wide {
                true => self.fill(span, step..step + 1, colour),
                false => self.fill(step..step + 1, span, colour),
            }
        }
    }

    /// A dot around the point x, y, in pixels, five lines wide with its rim, which is black or white, whichever is easier to see beside the
    /// colour.
    pub fn dot(&mut self, [x, y]: [f32; 2], colour: Colour) {
        let (unit, rim) = (self.unit as f32, ink(colour));
        for (radius, colour) in [(2.5 * unit, rim), (1.5 * unit, colour)] {
            let first = (y - radius).round() as usize;
            for row in first..((y + radius).round() as usize).min(self.height) {
                let away = row as f32 + 0.5 - y;
                let half = (radius * radius - away * away).max(0.0).sqrt();
                self.fill(row..row + 1, (x - half).round() as usize..(x + half).round() as usize, colour);
            }
        }
    }

    /// Words on a ground of this colour, just above a box, or inside of it where there is no room. The letters are black or white, whichever
    /// is easier to read. Letters that the alphabet lacks are question marks; it has those of Latin and Greek.
    pub fn label(&mut self, bounds: [f32; 4], words: &str, colour: Colour) {
        let [left, upper, ..] = self.pixels(bounds);
        let (side, margin) = (LETTER * self.unit, self.unit);
        let (wide, high) = (side * words.chars().count() + margin, side + margin);
        let left = left.min(self.width.saturating_sub(wide));
        let upper = if upper >= high { upper - high } else { upper.min(self.height.saturating_sub(high)) };
        self.fill(upper..upper + high, left..left + wide, colour);
        self.words([left + margin, upper + margin], self.unit, words, ink(colour));
    }

    /// Fills the rectangle from the column and row `[left, upper]` to before `[right, lower]`.
    pub fn area(&mut self, [left, upper, right, lower]: [usize; 4], colour: Colour) {
        self.fill(upper..lower, left..right, colour);
    }

    /// Words without a ground, their upper left corner in the column and row `[left, upper]`. A letter is 8·`size` pixels wide and high.
    pub fn words(&mut self, [left, upper]: [usize; 2], size: usize, words: &str, ink: Colour) {
        for (index, letter) in words.chars().enumerate() {
            self.letter([upper, left + index * LETTER * size], size, letter, ink);
        }
    }

    /// Lays a picture on, its upper left corner in the column and row `[left, upper]`.
    pub fn paste(&mut self, [left, upper]: [usize; 2], picture: &Image) {
        let picture = picture.to_rgb();
        let left = left.min(self.width);
        let wide = picture.width().min(self.width - left);
        for (row, values) in picture.data().chunks_exact(picture.width() * 3).take(self.height.saturating_sub(upper)).enumerate() {
            self.data[((upper + row) * self.width + left) * 3..][..wide * 3].copy_from_slice(&values[..wide * 3]);
        }
    }

    /// What was drawn.
    ///
    /// # Errors
    /// Never: a canvas is as large as its picture was.
    pub fn into_image(self) -> Result<Image> {
        Image::new(self.width, self.height, 3, self.data)
    }

    /// One letter with its upper left corner in `[row, column]`, each of its pixels a square.
    fn letter(&mut self, [upper, left]: [usize; 2], size: usize, letter: char, ink: Colour) {
        for (row, bits) in glyph(letter).into_iter().enumerate() {
            for column in (0..LETTER).filter(|column| bits >> column & 1 == 1) {
                let (upper, left) = (upper + row * size, left + column * size);
                self.fill(upper..upper + size, left..left + size, ink);
            }
        }
    }

    /// Edges as whole pixels inside of the picture, each side at least one pixel.
    fn pixels(&self, [left, upper, right, lower]: [f32; 4]) -> [usize; 4] {
        // What is not a number becomes 0.
        let side = |first: f32, last: f32, length: usize| {
            let first = (first.floor().max(0.0) as usize).min(length - 1);
            [first, (last.ceil().max(0.0) as usize).clamp(first + 1, length)]
        };
        let ([left, right], [upper, lower]) = (side(left, right, self.width), side(upper, lower, self.height));
        [left, upper, right, lower]
    }

    fn fill(&mut self, rows: Range<usize>, columns: Range<usize>, colour: Colour) {
        let last = columns.end.min(self.width);
        let columns = columns.start.min(last)..last;
        for row in rows.start..rows.end.min(self.height) {
            let line = &mut self.data[row * self.width * 3..][..self.width * 3];
            line.as_chunks_mut().0[columns.clone()].fill(colour);
        }
    }
}

/// The rows of a letter from the top; the lowest bit is the leftmost pixel.
fn glyph(letter: char) -> [u8; LETTER] {
    let sign = SIGNS.iter().find(|(sign, _)| *sign == letter).map(|(_, rows)| *rows);
    let known = sign.or_else(|| font8x8::BASIC_FONTS.get(letter)).or_else(|| font8x8::LATIN_FONTS.get(letter));
    known.or_else(|| font8x8::GREEK_FONTS.get(letter)).or_else(|| font8x8::BASIC_FONTS.get('?')).unwrap_or_default()
}

/// Words as far as there is room for this many letters; what is cut off is an `…`.
pub(crate) fn cut(words: &str, letters: usize) -> String {
    match words.chars().count() {
        0..=usize::MAX if letters == 0 => String::new(),
        count if count <= letters => words.to_owned(),
        _ => words.chars().take(letters - 1).chain(['…']).collect(),
    }
}

/// Black or white, whichever is easier to see beside a colour.
fn ink(colour: Colour) -> Colour {
    if luminance(colour) > 110.0 { [0; 3] } else { [255; 3] }
}

/// How bright a colour is, 0 … 255, by the weights of ITU-R 601.
fn luminance([red, green, blue]: Colour) -> f32 {
    0.299 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One character a pixel: `#` where it has changed.
    fn changed(before: &Image, after: &Image) -> Vec<String> {
        let pixel = |row, column| if before.pixel(row, column) == after.pixel(row, column) { '.' } else { '#' };
        (0..before.height()).map(|row| (0..before.width()).map(|column| pixel(row, column)).collect()).collect()
    }

    #[test]
    fn a_box_has_an_outline_inside() -> Result<()> {
        let white = Image::filled(7, 6, 3, 255)?;
        let mut canvas = Canvas::new(&white);
        canvas.outline([1.2, 1.0, 5.5, 4.9], [9, 9, 9]);
        assert_eq!(changed(&white, &canvas.into_image()?), [".......", ".#####.", ".#...#.", ".#...#.", ".#####.", "......."]);
        Ok(())
    }

    #[test]
    fn a_mask_shines_through() -> Result<()> {
        let grey = Image::filled(3, 2, 1, 100)?;
        let mut canvas = Canvas::new(&grey);
        canvas.tint([1, 4, 99], [200, 100, 0]); // row 1 of column 0, row 0 of column 2, and beyond
        let drawn = canvas.into_image()?;
        assert_eq!(changed(&grey.to_rgb(), &drawn), ["..#", "#.."]);
        assert_eq!(drawn.pixel(1, 0), Some([145, 100, 55].as_slice()));
        Ok(())
    }

    #[test]
    fn lines_of_all_slopes() -> Result<()> {
        let white = Image::filled(6, 5, 3, 255)?;
        let drawn = |from, to| -> Result<Vec<String>> {
            let mut canvas = Canvas::new(&white);
            canvas.line(from, to, [9; 3]);
            Ok(changed(&white, &canvas.into_image()?))
        };
        let (level, diagonal) = (drawn([1.5, 2.5], [4.5, 2.5])?, drawn([0.5, 0.5], [4.5, 4.5])?);
        assert_eq!(level, ["......", "......", ".####.", "......", "......"]);
        assert!((0..5).all(|place| diagonal[place].as_bytes()[place] == b'#'), "{diagonal:?}");
        let steep = drawn([2.5, 0.5], [3.5, 4.5])?;
        assert_eq!(steep, ["..#...", "..#...", "..##..", "...#..", "...#.."]);
        for (from, to) in [([1.5, 2.5], [4.5, 2.5]), ([2.5, 0.5], [3.5, 4.5]), ([-3.0, 9.0], [8.0, -2.0])] {
            assert_eq!(drawn(from, to)?, drawn(to, from)?);
        }
        assert_eq!(drawn([2.5; 2], [2.5; 2])?, ["......", "......", "..#...", "......", "......"], "a line without a length is a point");
        assert_eq!(drawn([-9.0, 2.5], [-1.5, 2.5])?, ["......"; 5], "beyond the edge");
        assert_eq!(drawn([f32::NAN, 1.0], [2.0, 2.0])?, ["......"; 5]);
        Ok(())
    }

    #[test]
    fn a_dot_has_a_rim() -> Result<()> {
        let grey = Image::filled(7, 6, 3, 100)?;
        let mut canvas = Canvas::new(&grey);
        canvas.dot([3.5, 2.5], [250, 250, 0]);
        let drawn = canvas.into_image()?;
        assert_eq!(changed(&grey, &drawn), ["..###..", ".#####.", ".#####.", ".#####.", "..###..", "......."]);
        assert_eq!((drawn.pixel(2, 3), drawn.pixel(0, 3)), (Some([250, 250, 0].as_slice()), Some([0, 0, 0].as_slice())));
        Ok(())
    }

    #[test]
    fn words_are_letters_on_a_ground() -> Result<()> {
        let black = Image::filled(20, 12, 3, 0)?;
        let mut canvas = Canvas::new(&black);
        canvas.label([2.0, 10.0, 20.0, 12.0], "I", [250, 250, 0]);
        let drawn = canvas.into_image()?;
        let inks = |row: usize| (0..20).map(|column| if drawn.pixel(row, column) == Some(&[250, 250, 0]) { '-' } else { '.' }).collect();
        let lines: Vec<String> = (0..12).map(inks).collect();
        assert_eq!(lines[1], "..---------.........", "a line of ground above the letter");
        assert_eq!(lines[2], "..--....---.........", "the upper bar of the letter, in black");
        assert_eq!(lines[4], "..---..----.........", "its stem");
        assert_eq!(lines[10], "....................", "the box itself is free");
        Ok(())
    }

    #[test]
    fn words_without_a_ground_and_pictures_laid_on() -> Result<()> {
        let mut canvas = Canvas::empty(20, 9, [7; 3])?;
        let before = canvas.clone().into_image()?;
        assert_eq!(before, Image::filled(20, 9, 3, 7)?);
        canvas.words([2, 0], 1, "…I", [9; 3]);
        let after = changed(&before, &canvas.clone().into_image()?);
        assert_eq!(after[6], "..##.##.##.####.....");
        assert_eq!(after[8], "....................");
        canvas.area([0, 0, 99, 99], [7; 3]);
        for corner in [[1, 2], [19, 8], [20, 0], [0, 9], [usize::MAX; 2]] {
            canvas.paste(corner, &Image::filled(2, 3, 1, 200)?);
        }
        let after = changed(&before, &canvas.into_image()?);
        assert_eq!(after[1..4], ["....................", ".##.................", ".##................."]);
        assert_eq!(after.concat().matches('#').count(), 2 * 3 + 1);
        assert!(Canvas::empty(0, 3, [0; 3]).is_err() && Canvas::empty(1 << 20, 1 << 20, [0; 3]).is_err());
        Ok(())
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(["", "abc", "abcd", "äöüßé"].map(|words| cut(words, 3)), ["", "abc", "ab…", "äö…"]);
        assert_eq!([cut("abc", 1), cut("abc", 0)], ["…", ""]);
    }

    #[test]
    fn lines_and_letters_grow_with_the_picture() -> Result<()> {
        let unit = |width, height| -> Result<usize> { Ok(Canvas::new(&Image::filled(width, height, 3, 0)?).unit()) };
        assert_eq!([unit(1, 1)?, unit(640, 480)?, unit(1, 2000)?, unit(4000, 3000)?], [1, 2, 1, 13]);
        Ok(())
    }

    #[test]
    fn classes_have_their_colours() {
        let colours: Vec<Colour> = (0..91).map(class_colour).collect();
        let distance = |a: Colour, b: Colour| a.iter().zip(b).map(|(&a, b)| a.abs_diff(b) as u32).sum::<u32>();
        for (index, &colour) in colours.iter().enumerate().skip(1) {
            assert_eq!(colour, class_colour(index));
            assert!(distance(colour, colours[index - 1]) > 150, "{index}");
            assert!(!colours[..index].contains(&colour), "{index}");
        }
    }

    proptest! {
        #[test]
        fn any_box_and_any_words(width in 1..30usize, height in 1..30usize, bounds in prop::array::uniform4(-40f32..80.0), words in ".{0,6}") {
            let mut canvas = Canvas::new(&Image::filled(width, height, 3, 7).unwrap());
            canvas.tint([width * height - 1, width * height], [1; 3]);
            for bounds in [bounds, [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX]] {
                canvas.outline(bounds, class_colour(3));
                canvas.line([bounds[0], bounds[1]], [bounds[2], bounds[3]], class_colour(5));
                canvas.dot([bounds[0], bounds[1]], class_colour(6));
                canvas.label(bounds, &words, class_colour(4));
            }
            let drawn = canvas.into_image().unwrap();
            prop_assert_eq!((drawn.width(), drawn.height()), (width, height));
        }
    }
}
