//! What a convolution, its stride and a pool do to a picture.

use super::{Lesson, arithmetic_of_both};
use crate::draw::{Cell, ColourMap, Ground, enlarge, heat, sheet};
use crate::filter::{Border, Matrix, Pool, filter, filter_image, plane, pool, pool_image};
use crate::{Canvas, Image, Result};

/// The least width of a picture on the sheet, in pixels: that of the longest words above it.
const LEAST: usize = 384;

/// A sheet: the picture, the filtered one, with the stride if that is not 1, and pooled if there is a pool, each with its size and the
/// arithmetic of it. A kernel that adds up to 0 answers with numbers on both sides of 0: its answer to the grey picture is drawn, from blue
/// over white (0) to red. Small pictures are enlarged, all by the same factor.
///
/// # Errors
/// When a kernel or a window does not fit, or the sheet would have more than [`MAX_PIXELS`](crate::MAX_PIXELS) pixels.
pub fn stages(picture: &Image, lesson: &Lesson) -> Result<Image> {
    let factor = (LEAST / picture.width().max(picture.height())).max(1);
    let cell = |drawn: &Image, words: &str, arithmetic: Vec<String>| -> Result<Cell> {
        let drawn = enlarge(drawn, factor)?;
        let mut canvas = Canvas::empty((picture.width() * factor).max(LEAST), drawn.height(), Ground::White.paper())?;
        canvas.paste([0, 0], &drawn);
        Ok(Cell::new(canvas.into_image()?, std::iter::once(words.to_owned()).chain(arithmetic).collect::<Vec<_>>().join("\n")))
    };
    let size = |image: &Image| [image.height(), image.width()];
    let (kernel, padded) = ([lesson.kernel.0.rows(), lesson.kernel.0.columns()], lesson.border != Border::None);

    let [rows, columns] = size(picture);
    let mut cells = vec![cell(picture, &format!("input: {rows}×{columns}"), vec!["rows × columns".into()])?];
    let strides = if lesson.stride == 1 { vec![1] } else { vec![1, lesson.stride] };
    for stride in strides {
        let filtered = answer(picture, lesson, stride, None)?;
        let ([high, wide], [k, l]) = (size(&filtered), kernel);
        let words = format!("kernel {k}×{l}, stride {stride}: {high}×{wide}");
        cells.push(cell(&filtered, &words, arithmetic_of_both([rows, columns], kernel, padded, stride))?);
    }
    if let Some(windows) = lesson.pool {
        let before = size(&answer(picture, lesson, lesson.stride, None)?);
        let pooled = answer(picture, lesson, lesson.stride, Some(windows))?;
        let [high, wide] = size(&pooled);
        let arithmetic = arithmetic_of_both(before, [windows.side; 2], false, windows.stride);
        cells.push(cell(&pooled, &format!("{windows}: {high}×{wide}"), arithmetic)?);
    }
    sheet(&cells, 2, Ground::White, None)
}

/// The picture filtered and pooled, as it is drawn.
fn answer(picture: &Image, lesson: &Lesson, stride: usize, windows: Option<Pool>) -> Result<Image> {
    let Lesson { kernel, operation, border, .. } = lesson;
    if !is_signed(&kernel.0) {
        let filtered = filter_image(picture, kernel, *operation, *border, stride)?;
        return windows.map_or(Ok(filtered.clone()), |windows| pool_image(&filtered, windows));
    }
    let filtered = filter(&plane(&picture.to_gray(), 0)?, kernel, *operation, *border, stride)?;
    let answer = windows.map_or(Ok(filtered.clone()), |windows| pool(&filtered, windows))?;
    let values: Vec<f32> = answer.iter().flatten().map(|&value| value as f32).collect();
    heat(&values, answer.columns(), answer.rows(), ColourMap::Diverging, None)
}

/// Whether a kernel adds up to 0, so that it answers to changes alone.
fn is_signed(kernel: &Matrix) -> bool {
    let size: f64 = kernel.iter().flatten().map(|weight| weight.abs()).sum();
    kernel.iter().flatten().sum::<f64>().abs() <= 1e-9 * size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Operation;

    fn lesson(kernel: &str, stride: usize, pool: Option<&str>) -> Lesson {
        let (kernel, pool) = (kernel.parse().expect("a kernel"), pool.map(|pool| pool.parse().expect("a pool")));
        Lesson { kernel, operation: Operation::Correlate, border: Border::Edge, stride, pool, round: false }
    }

    #[test]
    fn a_sheet_has_a_picture_a_stage() -> Result<()> {
        let picture = Image::new(4, 2, 1, vec![0, 0, 200, 200, 0, 0, 200, 200])?;
        let blurred = stages(&picture, &lesson("box", 1, None))?;
        assert_eq!(blurred.width(), 8 + 384 + 8 + 384 + 8);
        let row = blurred.height() - 8 - 1; // the lowest of the pictures, which are 192 pixels high
        let pixel = |image: &Image, row: usize, column: usize| image.pixel(row, column).map(|pixel| pixel[0]);
        assert_eq!([8, 8 + 383, 400, 400 + 383].map(|column| pixel(&blurred, row, column)), [0, 200, 0, 200].map(Some));
        assert_eq!(pixel(&blurred, row, 400 + 100), Some(67), "200/3 beside the edge");
        let pooled = stages(&picture, &lesson("box", 2, Some("max:1")))?;
        assert_eq!(pooled.width(), blurred.width());
        assert!(pooled.height() > 192 + 96);
        Ok(())
    }

    #[test]
    fn a_kernel_that_adds_up_to_0_has_two_colours() -> Result<()> {
        let picture = Image::new(6, 1, 1, vec![0, 0, 200, 200, 0, 0])?;
        let edges = answer(&picture, &lesson("-1 0 1", 1, None), 1, None)?;
        let pixel = |column: usize| edges.pixel(0, column).map(<[u8]>::to_vec);
        let colour = |value: f32| Some(ColourMap::Diverging.colour(value).to_vec());
        assert_eq!([0, 1, 4].map(pixel), [0.5, 1.0, 0.0].map(colour));
        assert!(is_signed(&"laplacian".parse::<crate::filter::Kernel>()?.0) && !is_signed(&"sharpen".parse::<crate::filter::Kernel>()?.0));
        Ok(())
    }

    #[test]
    fn what_does_not_fit() -> Result<()> {
        let picture = Image::filled(4, 4, 1, 9)?;
        assert!(stages(&picture, &Lesson { border: Border::None, ..lesson("box:5", 1, None) }).is_err());
        let error = stages(&picture, &lesson("box", 2, Some("max:3"))).expect_err("the window is too large").to_string();
        assert!(error.contains("3×3") && error.contains("2×2"), "{error}");
        Ok(())
    }
}
