//! Pictures with captions, side by side on one sheet.

use crate::canvas::{LETTER, cut};
use crate::{Canvas, Colour, Error, Image, Result};

/// Pixels between the cells of a sheet, and around them.
const GAP: usize = 8;

/// What a sheet is drawn on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ground {
    /// Dark words on white.
    #[default]
    White,
    /// Light words on nearly black, which lets colours glow.
    Dark,
}

impl Ground {
    /// Its own colour.
    pub fn paper(self) -> Colour {
        match self {
            Self::White => [255; 3],
            Self::Dark => [22, 22, 26],
        }
    }

    /// The colour of words on it.
    pub fn ink(self) -> Colour {
        match self {
            Self::White => [32, 32, 36],
            Self::Dark => [228; 3],
        }
    }
}

/// A picture of a sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The picture.
    pub picture: Image,
    /// Words above it, in lines.
    pub caption: String,
}

impl Cell {
    /// A picture with words above it.
    pub fn new(picture: Image, caption: impl Into<String>) -> Self {
        Self { picture, caption: caption.into() }
    }
}

/// Pictures of any sizes in a grid, `columns` in a row, each with its caption above, under a title where there is one. A column is as wide
/// as its widest picture, a row as high as its highest. Letters are 8 pixels wide, 16 where all captions have room for it; a caption with
/// more words than its column has room for ends in `…`.
///
/// # Errors
/// When there are no pictures or columns, or the sheet would have more than [`MAX_PIXELS`](crate::MAX_PIXELS) pixels.
pub fn sheet(cells: &[Cell], columns: usize, ground: Ground, title: Option<&str>) -> Result<Image> {
    if cells.is_empty() || columns == 0 {
        return Err(Error::Shape(format!("a sheet of {} pictures in {columns} columns: it has at least one of each", cells.len())));
    }
    let columns = columns.min(cells.len());
    let widest = |column: usize| cells.iter().skip(column).step_by(columns).map(|cell| cell.picture.width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let heights: Vec<usize> = cells.chunks(columns).map(|row| row.iter().map(|cell| cell.picture.height()).max().unwrap_or(0)).collect();

    let longest = |cell: &Cell| cell.caption.lines().map(length).max().unwrap_or(0);
    let fits = |size: &usize| cells.iter().enumerate().all(|(at, cell)| size * LETTER * longest(cell) <= widths[at % columns]);
    let size = [2, 1].into_iter().find(fits).unwrap_or(1);
    let line = size * LETTER + GAP / 2;
    let caption = line * cells.iter().map(|cell| cell.caption.lines().count()).max().unwrap_or(0);
    let width = widths.iter().sum::<usize>() + (columns + 1) * GAP;
    let (title, title_size) = headline(title.unwrap_or_default(), width - 2 * GAP);
    let top = if title.is_empty() { GAP } else { 2 * GAP + title_size * LETTER };
    let height = top + heights.iter().map(|height| caption + height + GAP).sum::<usize>();

    let mut canvas = Canvas::empty(width, height, ground.paper())?;
    canvas.words([GAP, GAP], title_size, &title, ground.ink());
    let mut upper = top;
    for (row, height) in cells.chunks(columns).zip(heights) {
        let mut left = GAP;
        for (cell, width) in row.iter().zip(&widths) {
            for (index, words) in cell.caption.lines().enumerate() {
                canvas.words([left, upper + index * line], size, &cut(words, width / (size * LETTER)), ground.ink());
            }
            canvas.paste([left, upper + caption], &cell.picture);
            left += width + GAP;
        }
        upper += caption + height + GAP;
    }
    canvas.into_image()
}

/// A title as far as it fits into `width` pixels, and the size of its letters.
fn headline(title: &str, width: usize) -> (String, usize) {
    let size = if 2 * LETTER * length(title) <= width { 2 } else { 1 };
    (cut(title, width / (size * LETTER)), size)
}

fn length(words: &str) -> usize {
    words.chars().count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cell(width: usize, height: usize, value: u8, caption: &str) -> Cell {
        Cell::new(Image::filled(width, height, 1, value).expect("a picture"), caption)
    }

    /// The smallest rectangle left, upper, right, lower around the pixels of this grey.
    fn bounds(image: &Image, value: u8) -> Option<[usize; 4]> {
        let places = (0..image.height()).flat_map(|row| (0..image.width()).map(move |column| (row, column)));
        places.filter(|&(row, column)| image.pixel(row, column) == Some(&[value; 3])).fold(None, |found, (row, column)| {
            let [left, upper, right, lower] = found.unwrap_or([column, row, 0, 0]);
            Some([left.min(column), upper.min(row), right.max(column + 1), lower.max(row + 1)])
        })
    }

    #[test]
    fn columns_are_as_wide_as_their_widest() -> Result<()> {
        let cells = [cell(10, 5, 1, ""), cell(30, 8, 2, ""), cell(20, 4, 3, "")];
        let drawn = sheet(&cells, 2, Ground::White, None)?;
        assert_eq!((drawn.width(), drawn.height()), (8 + 20 + 8 + 30 + 8, 8 + 8 + 8 + 4 + 8));
        assert_eq!([1, 2, 3].map(|value| bounds(&drawn, value)), [Some([8, 8, 18, 13]), Some([36, 8, 66, 16]), Some([8, 24, 28, 28])]);
        Ok(())
    }

    #[test]
    fn captions_stand_above_and_are_cut() -> Result<()> {
        let small = sheet(&[cell(24, 6, 1, "abcd")], 1, Ground::Dark, None)?;
        assert_eq!(bounds(&small, 1), Some([8, 20, 32, 26]));
        let words = bounds(&small, 228).expect("words");
        assert!(words[0] >= 8 && words[1] >= 8 && words[2] <= 32 && words[3] <= 16, "{words:?}");
        assert_eq!(small, sheet(&[cell(24, 6, 1, "ab…")], 1, Ground::Dark, None)?);
        assert_eq!(sheet(&[cell(24, 6, 1, "abc\nb")], 1, Ground::Dark, None)?.height(), small.height() + 12, "two lines");
        let large = sheet(&[cell(64, 6, 1, "abcd")], 1, Ground::White, Some("title"))?;
        assert_eq!(
            bounds(&large, 1),
            Some([8, 8 + 8 + 8 + 20, 72, 8 + 8 + 8 + 20 + 6]),
            "a title of small letters, captions of large ones"
        );
        assert_eq!(sheet(&[cell(4, 6, 1, "abcd")], 1, Ground::White, None)?.width(), 20, "no room for a letter");
        Ok(())
    }

    #[test]
    fn what_cannot_be_a_sheet() {
        assert!(sheet(&[], 1, Ground::White, None).is_err() && sheet(&[cell(1, 1, 0, "")], 0, Ground::White, None).is_err());
        let long = [cell(1 << 16, 1, 0, ""), cell(1, 1 << 16, 0, "")];
        assert!(sheet(&long, 1, Ground::White, None).expect_err("too large").to_string().contains("pixels"));
    }

    proptest! {
        /// Every picture stands whole on the sheet.
        #[test]
        fn all_pictures_are_there(sides in prop::collection::vec((1usize..40, 1usize..20), 1..9), columns in 1usize..9, words in ".{0,9}") {
            let cells: Vec<Cell> = sides.iter().enumerate().map(|(at, &(width, height))| cell(width, height, 100 + at as u8, &words)).collect();
            let drawn = sheet(&cells, columns, Ground::White, Some(&words)).unwrap();
            for (at, &(width, height)) in sides.iter().enumerate() {
                let [left, upper, right, lower] = bounds(&drawn, 100 + at as u8).unwrap();
                prop_assert_eq!((right - left, lower - upper), (width, height));
            }
        }
    }
}
