//! A convolution and a pool place by place, with all numbers.

use super::{Lesson, arithmetic_of_both};
use crate::canvas::LETTER;
use crate::draw::Ground;
use crate::filter::{Border, Matrix, Pool, PoolKind, filter, number};
use crate::{Canvas, Colour, Error, Image, Result};

/// The most rows or columns of a matrix with its padding.
const MOST: usize = 16;

/// The longest number that is written out.
const DIGITS: usize = 9;

/// Up to this many columns letters are twice as large.
const FEW: usize = 10;

/// Pixels around and between the parts.
const GAP: usize = 16;

/// How often the picture of a stage's end is repeated.
const HOLD: usize = 4;

const LINE: Colour = [186, 190, 198];
const PLAIN: Colour = [255; 3];
const PADDING: Colour = [232, 234, 238];
const WINDOW: Colour = [255, 226, 166];
const KERNEL: Colour = [206, 224, 248];
const DONE: Colour = [219, 240, 224];
const NOW: Colour = [126, 204, 148];
const FRAME: Colour = [204, 104, 16];
const QUIET: Colour = [120, 124, 132];

/// The steps of a convolution, and of a pool after it where there is one: a picture for each place of the output, all of one size. The window
/// is marked on the padded input, the kernel stands beside it as it is laid on, its products and their sum are written out, and the output
/// fills. The end of each of the two is there some times more, so that [`frames`](crate::draw::frames) rests there.
///
/// # Errors
/// When a kernel or a window does not fit, or the matrix has more than 16 rows or columns with its padding.
pub fn steps(input: &Matrix, lesson: &Lesson) -> Result<Vec<Image>> {
    let kernel = lesson.kernel.laid_on(lesson.operation);
    let more = |side: usize| if lesson.border == Border::None { 0 } else { side - 1 };
    let (rows, columns) = (input.rows() + more(kernel.rows()), input.columns() + more(kernel.columns()));
    if rows.max(columns) > MOST {
        return Err(Error::Shape(format!("steps are drawn of up to {MOST}×{MOST} numbers with the padding, not of {rows}×{columns}")));
    }
    let filtered = lesson.filtered(input)?;
    let mut scenes = vec![convolution(input, lesson, &kernel, filtered.clone())?];
    if let Some(windows) = lesson.pool {
        scenes.push(pooling(filtered, windows, lesson.output(input)?));
    }
    let look = Look::of(&scenes);
    let last = |scene: &Scene| scene.sums.len() - 1;
    let places = |scene: &Scene| (0..=last(scene)).chain(std::iter::repeat_n(last(scene), HOLD)).collect::<Vec<_>>();
    scenes.iter().flat_map(|scene| places(scene).into_iter().map(|place| look.draw(scene, place))).collect()
}

/// One operation that slides a window.
struct Scene {
    title: String,
    /// What the window slides over, with its padding.
    input: Matrix,
    input_words: String,
    /// Where the input without its padding begins, and its rows and columns.
    inside: [[usize; 2]; 2],
    kernel: Option<(Matrix, String)>,
    /// Rows and columns of the window.
    window: [usize; 2],
    stride: usize,
    output: Matrix,
    output_words: String,
    arithmetic: Vec<String>,
    /// For each place of the output the lines of its arithmetic.
    sums: Vec<Vec<String>>,
}

fn convolution(input: &Matrix, lesson: &Lesson, kernel: &Matrix, output: Matrix) -> Result<Scene> {
    let (k, l) = (kernel.rows(), kernel.columns());
    let flips = *kernel != lesson.kernel.0;
    let (padded, before) = input.bordered(k, l, lesson.border)?;
    let exact = filter(input, &lesson.kernel, lesson.operation, lesson.border, lesson.stride)?;
    let sums = places(&exact).zip(output.iter().flatten()).map(|((place, sum), &rounded)| {
        let corner = place.map(|at| at * lesson.stride);
        let row = |(row, weights): (usize, &[f64])| {
            let values = padded.iter().nth(corner[0] + row).unwrap_or_default()[corner[1]..].iter();
            let products: Vec<String> =
                values.zip(weights).map(|(&value, &weight)| format!("{}·{}", factor(value), factor(weight))).collect();
            format!("{}{}", if row == 0 { "  " } else { "+ " }, products.join(" + "))
        };
        kernel.iter().enumerate().map(row).chain([equals(sum, rounded)]).collect()
    });
    Ok(Scene {
        title: if flips { "convolution: the kernel is flipped first" } else { "the kernel is laid on, multiplied, added up" }.into(),
        input_words: format!("input {}, {}", size(input), lesson.border_words()),
        inside: [before, [input.rows(), input.columns()]],
        kernel: Some((kernel.clone(), format!("kernel {k}×{l}{}", if flips { ", flipped" } else { "" }))),
        window: [k, l],
        stride: lesson.stride,
        output_words: format!("output {}", size(&output)),
        arithmetic: arithmetic_of_both([input.rows(), input.columns()], [k, l], lesson.border != Border::None, lesson.stride),
        sums: sums.collect(),
        input: padded,
        output,
    })
}

fn pooling(input: Matrix, windows: Pool, output: Matrix) -> Scene {
    let Pool { kind, side, stride } = windows;
    let sum = |([row, column], value): ([usize; 2], f64)| {
        let rows = input.iter().skip(row * stride).take(side);
        let values: Vec<f64> = rows.flat_map(|line| &line[column * stride..][..side]).copied().collect();
        let words = |between: &str| values.iter().map(|&value| factor(value)).collect::<Vec<_>>().join(between);
        match kind {
            PoolKind::Max => vec![format!("  max({})", words(", ")), equals(value, value)],
            PoolKind::Average => {
                vec![format!("  ({})/{}", words(" + "), side * side), equals(values.iter().sum::<f64>() / (side * side) as f64, value)]
            }
        }
    };
    let sides = [input.rows(), input.columns()];
    Scene {
        title: format!("then {windows}"),
        input_words: format!("input {}", size(&input)),
        inside: [[0; 2], sides],
        kernel: None,
        window: [side; 2],
        stride,
        output_words: format!("output {}", size(&output)),
        arithmetic: arithmetic_of_both(sides, [side; 2], false, stride),
        sums: places(&output).map(sum).collect(),
        output,
        input,
    }
}

/// The values with their rows and columns.
fn places(matrix: &Matrix) -> impl Iterator<Item = ([usize; 2], f64)> {
    matrix.iter().enumerate().flat_map(|(row, values)| values.iter().enumerate().map(move |(column, &value)| ([row, column], value)))
}

fn size(matrix: &Matrix) -> String {
    format!("{}×{}", matrix.rows(), matrix.columns())
}

/// A number that has room in a cell.
fn short(value: f64) -> String {
    let text = number(value);
    if text.len() > DIGITS { format!("{value:.2e}") } else { text }
}

/// A number in a product or a sum.
fn factor(value: f64) -> String {
    if value < 0.0 { format!("({})", short(value)) } else { short(value) }
}

/// `= 68.5`, `= 68.5 → 69`.
fn equals(sum: f64, rounded: f64) -> String {
    let arrow = if short(sum) == short(rounded) { String::new() } else { format!(" → {}", short(rounded)) };
    format!("= {}{arrow}", short(sum))
}

/// Measures that are the same in all pictures of a lesson.
struct Look {
    /// The size of letters in cells, 1 or 2.
    letters: usize,
    /// Width and height of a cell.
    cell: [usize; 2],
    /// Width and height of a picture.
    picture: [usize; 2],
    /// Rows of cells of the highest matrix.
    rows: usize,
}

/// The height of a line of words of a size.
fn line(size: usize) -> usize {
    size * LETTER + 6
}

impl Look {
    fn of(scenes: &[Scene]) -> Self {
        let matrices = || {
            scenes.iter().flat_map(|scene| [&scene.input, &scene.output].into_iter().chain(scene.kernel.as_ref().map(|(kernel, _)| kernel)))
        };
        let most = |of: fn(&Matrix) -> usize| matrices().map(of).max().unwrap_or(1);
        let letters = if most(Matrix::columns).max(most(Matrix::rows)) <= FEW { 2 } else { 1 };
        let digits = matrices().flat_map(|matrix| matrix.iter().flatten()).map(|&value| short(value).len()).max().unwrap_or(1);
        let cell = [(digits.max(2) + 1) * LETTER * letters, 2 * LETTER * letters + 2];
        let mut look = Self { letters, cell, picture: [0; 2], rows: most(Matrix::rows) };

        let widths = scenes.iter().map(|scene| {
            let panels: usize = look.panels(scene).iter().map(|(width, _)| width + 3 * GAP).sum();
            let words = scene.sums.iter().flatten().map(|words| words.chars().count() * LETTER).max().unwrap_or(0);
            (panels - GAP).max(words + 2 * GAP).max(scene.title.chars().count() * 2 * LETTER + 2 * GAP)
        });
        let lines = |scene: &Scene| line(1) * scene.arithmetic.len() + GAP + line(2) * scene.sums.first().map_or(0, Vec::len);
        let below = scenes.iter().map(lines).max().unwrap_or(0);
        look.picture = [widths.max().unwrap_or(1), look.below() + below + GAP];
        look
    }

    /// Where the words below the matrices begin.
    fn below(&self) -> usize {
        GAP + line(2) + GAP / 2 + line(1) + self.rows * self.cell[1] + GAP
    }

    /// The matrices of a scene, each with its width in pixels.
    fn panels<'a>(&self, scene: &'a Scene) -> Vec<(usize, (&'a Matrix, &'a str))> {
        let input = Some((&scene.input, scene.input_words.as_str()));
        let kernel = scene.kernel.as_ref().map(|(kernel, words)| (kernel, words.as_str()));
        let output = Some((&scene.output, scene.output_words.as_str()));
        let width = |(matrix, words): (&Matrix, &str)| (matrix.columns() * self.cell[0]).max(words.chars().count() * LETTER);
        [input, kernel, output].into_iter().flatten().map(|panel| (width(panel), panel)).collect()
    }

    /// The picture of a scene when the output has got as far as this place.
    fn draw(&self, scene: &Scene, place: usize) -> Result<Image> {
        let ink = Ground::White.ink();
        let [width, height] = self.picture;
        let mut canvas = Canvas::empty(width, height, Ground::White.paper())?;
        canvas.words([GAP, GAP], 2, &scene.title, ink);
        let upper = GAP + line(2) + GAP / 2;
        let at = [place / scene.output.columns(), place % scene.output.columns()];
        let mut left = GAP;
        let panels = self.panels(scene);
        for (index, (width, (matrix, words))) in panels.iter().enumerate() {
            canvas.words([left, upper], 1, words, QUIET);
            let corner = [left, upper + line(1)];
            for (cell, value) in places(matrix) {
                let (colour, ink) = match index {
                    0 => self.input_colour(scene, at, cell),
                    _ if index + 1 < panels.len() => (KERNEL, ink),
                    _ => (if cell == at { NOW } else { DONE }, ink),
                };
                let reached = cell[0] * matrix.columns() + cell[1] <= place;
                match index + 1 == panels.len() && !reached {
                    true => self.cell(&mut canvas, corner, cell, PLAIN, None),
                    false => self.cell(&mut canvas, corner, cell, colour, Some((&short(value), ink))),
                }
            }
            if index == 0 {
                let edges = [0, 1].map(|axis| [at[axis] * scene.stride, at[axis] * scene.stride + scene.window[axis]]);
                self.frame(&mut canvas, corner, edges);
            }
            if index + 1 < panels.len() {
                let sign = if index + 2 == panels.len() { "→" } else { "×" };
                canvas.words([left + width + GAP / 2, corner[1] + self.cell[1] / 2], 2, sign, QUIET);
            }
            left += width + 3 * GAP;
        }
        let mut below = self.below();
        for words in &scene.arithmetic {
            canvas.words([GAP, below], 1, words, QUIET);
            below += line(1);
        }
        let sums = scene.sums.get(place).map_or(&[][..], Vec::as_slice);
        let fits = |size: usize| sums.iter().all(|words| words.chars().count() * LETTER * size <= width - 2 * GAP);
        let size = if fits(2) { 2 } else { 1 };
        for (index, words) in sums.iter().enumerate() {
            canvas.words([GAP, below + GAP + index * line(2)], size, words, ink);
        }
        canvas.into_image()
    }

    /// The ground and the ink of a cell of the input.
    fn input_colour(&self, scene: &Scene, at: [usize; 2], cell: [usize; 2]) -> (Colour, Colour) {
        let [before, sides] = scene.inside;
        let within = |first: usize, length: usize, place: usize| (first..first + length).contains(&place);
        let inside = [0, 1].iter().all(|&axis| within(before[axis], sides[axis], cell[axis]));
        let covered = [0, 1].iter().all(|&axis| within(at[axis] * scene.stride, scene.window[axis], cell[axis]));
        let ground = match (covered, inside) {
            (true, _) => WINDOW,
            (false, true) => PLAIN,
            (false, false) => PADDING,
        };
        (ground, if inside { Ground::White.ink() } else { QUIET })
    }

    fn cell(&self, canvas: &mut Canvas, corner: [usize; 2], [row, column]: [usize; 2], ground: Colour, words: Option<(&str, Colour)>) {
        let [width, height] = self.cell;
        let (left, upper) = (corner[0] + column * width, corner[1] + row * height);
        canvas.area([left, upper, left + width + 1, upper + height + 1], LINE);
        canvas.area([left + 1, upper + 1, left + width, upper + height], ground);
        if let Some((words, ink)) = words {
            let wide = words.chars().count() * LETTER * self.letters;
            let (x, y) = (left + width.saturating_sub(wide).div_ceil(2), upper + (height - LETTER * self.letters).div_ceil(2));
            canvas.words([x, y], self.letters, words, ink);
        }
    }

    /// The edge of the window from and to these rows and columns.
    fn frame(&self, canvas: &mut Canvas, corner: [usize; 2], [rows, columns]: [[usize; 2]; 2]) {
        let [left, right] = columns.map(|column| corner[0] + column * self.cell[0]);
        let [upper, lower] = rows.map(|row| corner[1] + row * self.cell[1]);
        let thick = 2;
        for edge in [
            [left - thick, upper - thick, right + 1 + thick, upper + 1],
            [left - thick, lower, right + 1 + thick, lower + 1 + thick],
            [left - thick, upper, left + 1, lower + 1],
            [right, upper, right + 1 + thick, lower + 1],
        ] {
            canvas.area(edge, FRAME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Operation;

    fn lesson(kernel: &str, border: Border, pool: Option<&str>) -> Result<Lesson> {
        let pool = pool.map(str::parse).transpose()?;
        Ok(Lesson { kernel: kernel.parse()?, operation: Operation::Convolve, border, stride: 1, pool, round: true })
    }

    #[test]
    fn a_picture_for_each_place() -> Result<()> {
        let input: Matrix = "1 2 3 4; 5 6 7 8; 9 10 11 12; 13 14 15 16".parse()?;
        let drawn = steps(&input, &lesson("1 0; 0 0", Border::None, Some("max:2:1"))?)?;
        assert_eq!(drawn.len(), 9 + HOLD + 4 + HOLD);
        assert!(drawn.iter().all(|picture| (picture.width(), picture.height()) == (drawn[0].width(), drawn[0].height())));
        assert!(drawn[..9].windows(2).all(|pair| pair[0] != pair[1]) && drawn[8] == drawn[8 + HOLD]);
        Ok(())
    }

    #[test]
    fn sums_are_written_out() -> Result<()> {
        let input: Matrix = "1 2 3; 4 5 6; 7 8 -9".parse()?;
        let lesson = lesson("1 0.5; 0 -1", Border::None, None)?;
        let kernel = lesson.kernel.laid_on(lesson.operation);
        let scene = convolution(&input, &lesson, &kernel, lesson.filtered(&input)?)?;
        assert_eq!(scene.sums[0], ["  1·(-1) + 2·0", "+ 4·0.5 + 5·1", "= 6"]);
        assert_eq!(scene.sums[3], ["  5·(-1) + 6·0", "+ 8·0.5 + (-9)·1", "= -10"]);
        assert_eq!(scene.sums[1], ["  2·(-1) + 3·0", "+ 5·0.5 + 6·1", "= 6.5 → 7"]);
        let pooled = pooling(input, "avg:2:1".parse()?, "3 4; 6 2.5".parse()?);
        assert_eq!(pooled.sums[0], ["  (1 + 2 + 4 + 5)/4", "= 3"]);
        Ok(())
    }

    #[test]
    fn what_is_too_large() -> Result<()> {
        let row = Matrix::new(1, 17, vec![0.0; 17])?;
        assert!(steps(&row, &lesson("1", Border::None, None)?).expect_err("17 columns").to_string().contains("1×17"));
        let row = Matrix::new(1, 12, vec![1e300; 12])?;
        assert!(steps(&row, &lesson("box:7", Border::Zero, None)?).is_err(), "18 with the padding");
        assert_eq!(steps(&row, &lesson("box", Border::Edge, None)?)?.len(), 12 + HOLD);
        assert!(steps(&row, &lesson("box", Border::None, None)?).is_err(), "the kernel has more rows");
        assert!(steps(&row, &lesson("box", Border::Zero, Some("max:2"))?).is_err());
        Ok(())
    }
}
