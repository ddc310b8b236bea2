//! The few elements of SVG that drawings are made of. Numbers are pixels; what is text is escaped.

use std::fmt::{self, Write};

/// Which part of a text stands at its place.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
}

/// How a text looks.
#[derive(Clone, Copy)]
pub struct Style {
    /// The height of its letters in pixels.
    pub size: f64,
    /// Whether its strokes are heavy.
    pub bold: bool,
    /// Its colour.
    pub fill: &'static str,
}

impl Style {
    /// The width of a text in pixels. Which font there will be is not known, so it is that of a wide one (DejaVu Sans).
    pub fn width(self, text: &str) -> f64 {
        let letter = if self.bold { 0.7 } else { 0.62 };
        text.chars().count() as f64 * self.size * letter
    }
}

/// A drawing that grows.
pub struct Svg(String);

impl Svg {
    pub fn new() -> Self {
        Self(String::new())
    }

    pub fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, style: Style, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
        };
        let (weight, Style { size, fill, .. }) = (if style.bold { " font-weight=\"bold\"" } else { "" }, style);
        let text = escaped(text);
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\"{weight} fill=\"{fill}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    /// A closed shape with a thin edge.
    pub fn polygon(&mut self, points: &[[f64; 2]], fill: &str, edge: &str) {
        let points: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!("<polygon points=\"{}\" fill=\"{fill}\" stroke=\"{edge}\"/>", points.join(" ")));
    }

    /// A line through some points, with the head of an arrow at its end if `head`.
    pub fn line(&mut self, points: &[[f64; 2]], colour: &str, head: bool) {
        let points: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        let head = if head { " marker-end=\"url(#head)\"" } else { "" };
        self.push(format_args!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"{head}/>", points.join(" ")));
    }

    /// The whole file, on white.
    pub fn finish(self, width: f64, height: f64) -> String {
        let (width, height) = (width.ceil(), height.ceil());
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif\" stroke-linejoin=\"round\">\n\
             <defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
             <path d=\"M0 0 8 4 0 8z\" fill=\"#666\"/></marker></defs>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{}</svg>\n",
            self.0
        )
    }

    fn push(&mut self, element: fmt::Arguments) {
        // A string takes whatever is written.
        let _ = writeln!(self.0, "{element}");
    }
}

/// A text as XML has it; what XML cannot have is left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars().filter(|letter| !letter.is_control() && !matches!(letter, '\u{fffe}' | '\u{ffff}')) {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
