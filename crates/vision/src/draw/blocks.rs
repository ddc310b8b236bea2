//! A network as a row of blocks in perspective, as the papers on LeNet, AlexNet and VGG draw theirs.
//!
//! A volume of activations is a cuboid: as high as it has rows, as deep as it has columns, as wide as it has channels. Sides grow with the
//! square root of rows and columns, the width with the logarithm of channels, so that 224×224×3 and 7×7×512 can stand side by side. A
//! vector is a thin bar.

use crate::canvas::cut;
use crate::draw::svg::{Anchor, Style, Svg};
use crate::{Error, Result};

/// One volume of a network and what makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The name of its layers.
    pub name: String,
    /// The layers that make it, a line each: `conv 3×3, padding 1`, `ReLU`.
    pub made_by: Vec<String>,
    /// Channels, rows and columns: `[C, H, W]`.
    pub size: [usize; 3],
    /// What kind of layer makes it, which is its colour.
    pub role: Role,
    /// How many layers of this volume follow one another: slices that the block is cut into.
    pub slices: usize,
    /// Trainable numbers of its layers.
    pub parameters: u64,
}

/// What makes a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing: the picture.
    Input,
    /// Convolutions.
    Convolution,
    /// Blocks of several layers, as ResNet's.
    Stack,
    /// Pooling.
    Pool,
    /// Full connection.
    Dense,
}

impl Role {
    const ALL: [Self; 5] = [Self::Input, Self::Convolution, Self::Stack, Self::Pool, Self::Dense];

    fn words(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Convolution => "convolution",
            Self::Stack => "blocks of layers",
            Self::Pool => "pooling",
            Self::Dense => "full connection",
        }
    }

    /// The colours of the front, of the top and of the side.
    fn faces(self) -> [&'static str; 3] {
        match self {
            Self::Input => ["#d5dbe1", "#e9edf0", "#b4bec8"],
            Self::Convolution => ["#f7c873", "#fbe0ac", "#dfa43f"],
            Self::Stack => ["#93cfa9", "#c2e5cf", "#62ab7f"],
            Self::Pool => ["#ee8f7f", "#f7beb3", "#cc6656"],
            Self::Dense => ["#8fb3e3", "#bed4f1", "#628bc4"],
        }
    }
}

/// The most blocks of one drawing.
const MOST: usize = 1000;

/// The length of the longest side of a picture, in pixels, and the least of any.
const SIDE: [f64; 2] = [150.0, 14.0];

/// How far one pixel of depth goes to the right and up.
const SLANT: [f64; 2] = [0.30, 0.24];

/// Where a row of blocks is broken, in pixels.
const WIDEST: f64 = 1600.0;

/// Pixels around the drawing and between its parts.
const MARGIN: f64 = 24.0;

/// The least length of an arrow, and the space between labels, in pixels.
const ARROW: f64 = 40.0;
const SPACE: f64 = 10.0;

/// The most slices of a block that are drawn.
const SLICES: usize = 48;

/// Letters of a line of what makes a block.
const LINE: usize = 15;

/// Letters of a name.
const NAME: usize = 24;

const EDGE: &str = "#4a4f57";
const TITLE: Style = Style { size: 18.0, bold: true, fill: "#222" };
const CAPTION: Style = Style { size: 12.0, bold: false, fill: "#555" };
const VOLUME: Style = Style { size: 12.0, bold: true, fill: "#222" };
const WORDS: Style = Style { size: 11.0, bold: false, fill: "#333" };
const QUIET: Style = Style { size: 10.5, bold: false, fill: "#777" };

/// Draws blocks from left to right, in several rows where they are many, as the text of an SVG file. Below a block stand its size
/// (rows × columns × channels) and its name, below the arrow to it what makes it and the number of its parameters. The caption may have
/// several lines.
///
/// # Errors
/// When there is no block, there are more than a thousand, or a size has a 0.
pub fn blocks(blocks: &[Block], title: &str, caption: &str) -> Result<String> {
    if !(1..=MOST).contains(&blocks.len()) {
        return Err(Error::Shape(format!("a drawing has 1 to {MOST} blocks, not {}", blocks.len())));
    }
    if let Some(block) = blocks.iter().find(|block| block.size.contains(&0)) {
        return Err(Error::Shape(format!("the block `{}` has the size {:?}: every side is at least 1", block.name, block.size)));
    }
    let longest = blocks.iter().flat_map(|block| &block.size[1..]).copied().max().unwrap_or(1);
    let figures: Vec<Figure> = blocks.iter().map(|block| Figure::new(block, longest)).collect();
    let rows = arrange(&figures);

    let mut svg = Svg::new();
    svg.text([MARGIN, MARGIN + 14.0], Anchor::Start, TITLE, title);
    let mut upper = MARGIN + 34.0;
    for line in caption.lines() {
        svg.text([MARGIN, upper], Anchor::Start, CAPTION, line);
        upper += 16.0;
    }
    upper += 8.0;
    for (index, row) in rows.iter().enumerate() {
        upper = draw_row(&mut svg, row, upper, index + 1 < rows.len()) + MARGIN;
    }
    let legend = draw_legend(&mut svg, blocks, upper + 6.0);
    let right = rows.iter().flatten().map(Place::right).fold(legend, f64::max);
    let words = caption.lines().map(|line| CAPTION.width(line)).fold(TITLE.width(title), f64::max);
    let right = right.max(MARGIN + words);
    Ok(svg.finish(right + MARGIN, upper + MARGIN))
}

/// A block with its measures in pixels.
struct Figure<'a> {
    block: &'a Block,
    /// Width and height of the front.
    front: [f64; 2],
    /// How far the depth goes to the right and up.
    depth: [f64; 2],
    slices: usize,
    volume: String,
    name: String,
    made_by: Vec<String>,
}

impl<'a> Figure<'a> {
    fn new(block: &'a Block, longest: usize) -> Self {
        let [channels, rows, columns] = block.size;
        let log = (channels as f64).log2();
        let slices = block.slices.clamp(1, SLICES);
        let [most, least] = SIDE;
        let side = |length: usize| least + (most - least) * (length as f64 / longest as f64).sqrt();
        let (front, deep) = match (rows, columns) {
            (1, 1) => ([9.0, 8.0 + 12.0 * log], 22.0),
            _ => ([(3.0 + 3.0 * log) * (slices as f64).sqrt(), side(rows)], side(columns)),
        };
        let volume = match block.role {
            Role::Dense => channels.to_string(),
            _ => format!("{rows}×{columns}×{channels}"),
        };
        let mut made_by: Vec<String> = block.made_by.iter().flat_map(|words| wrapped(words)).collect();
        if block.parameters > 0 {
            made_by.push(thousands(block.parameters));
        }
        Self { block, front, depth: SLANT.map(|slant| slant * deep), slices, volume, name: cut(&block.name, NAME), made_by }
    }

    /// Width and height with the depth.
    fn outer(&self) -> [f64; 2] {
        [0, 1].map(|axis| self.front[axis] + self.depth[axis])
    }

    /// The width of what stands below the block.
    fn label(&self) -> f64 {
        VOLUME.width(&self.volume).max(WORDS.width(&self.name))
    }

    /// The width of what stands below the arrow to it.
    fn words(&self) -> f64 {
        self.made_by.iter().map(|words| WORDS.width(words)).fold(0.0, f64::max)
    }
}

/// A figure at its place in a row.
struct Place<'a> {
    figure: &'a Figure<'a>,
    /// The middle of the arrow to it and of the words below that.
    arrow: f64,
    /// The middle of the block and of the label below it.
    middle: f64,
}

impl Place<'_> {
    fn left(&self) -> f64 {
        self.middle - self.figure.outer()[0] / 2.0
    }

    /// The right end of all that belongs to it.
    fn right(&self) -> f64 {
        let below = (self.middle + self.figure.label() / 2.0).max(self.arrow + self.figure.words() / 2.0);
        below.max(self.middle + self.figure.outer()[0] / 2.0 + ARROW)
    }
}

/// Places figures so close that blocks leave room for arrows and labels for one another; a row that is too long is broken.
fn arrange<'a>(figures: &'a [Figure<'a>]) -> Vec<Vec<Place<'a>>> {
    let mut rows: Vec<Vec<Place>> = vec![Vec::new()];
    for figure in figures {
        let half = figure.outer()[0] / 2.0;
        let after = |before: Option<&Place>| {
            // Nothing reaches over the left margin, and nothing into what stands before.
            let edge = before.map_or(MARGIN, |place| place.middle + place.figure.outer()[0] / 2.0);
            let words = before.map_or(MARGIN, |place| place.arrow + place.figure.words() / 2.0 + SPACE);
            let label = before.map_or(MARGIN, |place| place.middle + place.figure.label() / 2.0 + SPACE);
            let room = if figure.block.role == Role::Input { 0.0 } else { ARROW };
            let arrow = (edge + room / 2.0).max(words + figure.words() / 2.0);
            Place { figure, arrow, middle: (arrow + room / 2.0 + half).max(label + figure.label() / 2.0) }
        };
        let place = after(rows.last().and_then(|row| row.last()));
        match place.right() > WIDEST && rows.last().is_some_and(|row| !row.is_empty()) {
            true => rows.push(vec![after(None)]),
            false => rows.last_mut().into_iter().for_each(|row| row.push(after(row.last()))),
        }
    }
    rows
}

/// Draws one row below a line, with an arrow at its end if it goes on, and gives the line below it.
fn draw_row(svg: &mut Svg, row: &[Place], upper: f64, goes_on: bool) -> f64 {
    let highest = row.iter().map(|place| place.figure.outer()[1]).fold(0.0, f64::max);
    let (axis, label) = (upper + highest / 2.0, upper + highest + 20.0);
    let words = label + 34.0;
    let mut edge = MARGIN;
    for place in row {
        let figure = place.figure;
        if figure.block.role != Role::Input {
            svg.line(&[[edge, axis], [place.left() - 2.0, axis]], "#666", true);
        }
        draw_block(svg, figure, place.left(), axis);
        edge = place.left() + figure.front[0] + figure.depth[0] / 2.0;
        svg.text([place.middle, label], Anchor::Middle, VOLUME, &figure.volume);
        svg.text([place.middle, label + 14.0], Anchor::Middle, QUIET, &figure.name);
        for (line, text) in figure.made_by.iter().enumerate() {
            let last = figure.block.parameters > 0 && line + 1 == figure.made_by.len();
            svg.text([place.arrow, words + 13.0 * line as f64], Anchor::Middle, if last { QUIET } else { WORDS }, text);
        }
    }
    if goes_on {
        svg.line(&[[edge, axis], [edge + ARROW, axis]], "#666", true);
    }
    words + 13.0 * row.iter().map(|place| place.figure.made_by.len()).max().unwrap_or(0) as f64
}

/// A cuboid with its left edge at `left`, its height around the axis.
fn draw_block(svg: &mut Svg, figure: &Figure, left: f64, axis: f64) {
    let ([width, height], [dx, dy]) = (figure.front, figure.depth);
    let [front, top, side] = figure.block.role.faces();
    let upper = axis - (height - dy) / 2.0;
    let (right, lower) = (left + width, upper + height);
    svg.polygon(&[[left, upper], [left + dx, upper - dy], [right + dx, upper - dy], [right, upper]], top, EDGE);
    svg.polygon(&[[right, upper], [right + dx, upper - dy], [right + dx, lower - dy], [right, lower]], side, EDGE);
    svg.polygon(&[[left, upper], [right, upper], [right, lower], [left, lower]], front, EDGE);
    for slice in 1..figure.slices {
        let x = left + width * slice as f64 / figure.slices as f64;
        svg.line(&[[x, lower], [x, upper], [x + dx, upper - dy]], EDGE, false);
    }
}

/// What the colours mean, of those that are there; gives its right end.
fn draw_legend(svg: &mut Svg, blocks: &[Block], y: f64) -> f64 {
    let mut left = MARGIN;
    for role in Role::ALL.into_iter().filter(|&role| blocks.iter().any(|block| block.role == role)) {
        let words = role.words();
        svg.polygon(&[[left, y - 9.0], [left + 11.0, y - 9.0], [left + 11.0, y + 2.0], [left, y + 2.0]], role.faces()[0], EDGE);
        svg.text([left + 17.0, y], Anchor::Start, WORDS, words);
        left += 17.0 + WORDS.width(words) + 2.0 * SPACE;
    }
    left
}

/// Words in lines of at most [`LINE`] letters, where their spaces allow it.
fn wrapped(words: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace().map(|word| cut(word, NAME)) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= LINE => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// 61706 as `61,706`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    parts.join(&b',').into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::*;

    fn block(name: &str, role: Role, size: [usize; 3], slices: usize) -> Block {
        let made_by = vec!["conv 3×3, stride 2, padding 1".to_owned(), "ReLU".to_owned()];
        Block { name: name.into(), made_by, size, role, slices, parameters: 1_234_567 }
    }

    /// A text with the rectangle left, upper, right, lower that it may cover.
    struct Label {
        words: String,
        bounds: [f64; 4],
    }

    /// The size of a drawing and all its texts. It fails on what is no well-formed XML.
    fn read(svg: &str) -> ([f64; 2], Vec<Label>) {
        let mut reader = Reader::from_str(svg);
        let (mut size, mut labels, mut depth) = ([0.0; 2], Vec::new(), 0);
        loop {
            match reader.read_event().expect("well-formed") {
                Event::Start(element) => {
                    depth += 1;
                    let text = |name: &str| {
                        let attribute = element.try_get_attribute(name).expect("well-formed")?;
                        Some(attribute.value.into_owned())
                    };
                    let number = |name: &str| text(name).map_or(0.0, |text| text.parse::<f64>().expect("a number"));
                    match element.name().as_ref() {
                        "svg" => size = [number("width"), number("height")],
                        "text" => {
                            let style = Style { size: number("font-size"), bold: text("font-weight").is_some(), fill: "" };
                            let (x, y, middle) = (number("x"), number("y"), text("text-anchor").as_deref() == Some("middle"));
                            let raw = reader.read_text(element.name()).expect("a text");
                            depth -= 1;
                            let words = quick_xml::escape::unescape(&raw).expect("escaped").into_owned();
                            let width = style.width(&words);
                            let left = if middle { x - width / 2.0 } else { x };
                            labels.push(Label { words, bounds: [left, y - style.size * 0.8, left + width, y + style.size * 0.2] });
                        }
                        _ => {}
                    }
                }
                Event::End(_) => depth -= 1,
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(depth, 0, "all elements end");
        (size, labels)
    }

    fn overlap(a: [f64; 4], b: [f64; 4]) -> bool {
        a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
    }

    #[test]
    fn volumes_names_and_layers_are_written() -> Result<()> {
        let network = [
            Block { made_by: vec![], parameters: 0, ..block("input", Role::Input, [3, 32, 48], 1) },
            block("conv1 <&> \"x\"", Role::Convolution, [16, 16, 24], 2),
            block("fc", Role::Dense, [10, 1, 1], 1),
        ];
        let (_, labels) = read(&blocks(&network, "a & b", "3 < 4")?);
        let words: Vec<&str> = labels.iter().map(|label| label.words.as_str()).collect();
        for expected in ["a & b", "3 < 4", "32×48×3", "16×24×16", "10", "conv1 <&> \"x\"", "conv 3×3,", "padding 1", "ReLU", "1,234,567"]
        {
            assert!(words.contains(&expected), "{expected}: {words:?}");
        }
        assert!(words.contains(&"full connection") && !words.contains(&"pooling"), "the legend has what is there");
        Ok(())
    }

    #[test]
    fn what_cannot_be_drawn() {
        assert!(blocks(&[], "", "").is_err());
        assert!(blocks(&vec![block("b", Role::Pool, [1, 1, 1], 1); 1001], "", "").is_err());
        let error = blocks(&[block("conv9", Role::Pool, [1, 0, 1], 1)], "", "").expect_err("no rows").to_string();
        assert!(error.contains("conv9"), "{error}");
        assert!(blocks(&[block("large", Role::Pool, [usize::MAX; 3], usize::MAX)], "", "").is_ok());
    }

    #[test]
    fn lines_and_numbers() {
        assert_eq!(wrapped("conv 11×11, stride 4, padding 2"), ["conv 11×11,", "stride 4,", "padding 2"]);
        assert_eq!([0, 999, 1000, 61_706].map(thousands), ["0", "999", "1,000", "61,706"]);
        assert!(wrapped(" ").is_empty());
    }

    proptest! {
        #[test]
        fn labels_do_not_overlap_and_stay_inside(
            sizes in prop::collection::vec((1usize..4000, 1usize..300, 1usize..300, 0usize..5, 1usize..40, ".{0,40}"), 1..40),
        ) {
            let network: Vec<Block> = sizes
                .into_iter()
                .map(|(channels, rows, columns, role, slices, words)| Block {
                    made_by: vec![words.clone(), "adaptive average pool".into()],
                    ..block(&words, Role::ALL[role], if role == 4 { [channels, 1, 1] } else { [channels, rows, columns] }, slices)
                })
                .collect();
            let (size, labels) = read(&blocks(&network, "a network", "and what\nit has").unwrap());
            for (index, label) in labels.iter().enumerate() {
                let [left, upper, right, lower] = label.bounds;
                prop_assert!(left >= 0.0 && upper >= 0.0 && right <= size[0] && lower <= size[1], "{}", label.words);
                for other in &labels[index + 1..] {
                    prop_assert!(!overlap(label.bounds, other.bounds), "`{}` and `{}`", label.words, other.words);
                }
            }
        }
    }
}
