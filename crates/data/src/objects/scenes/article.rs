//! One article: cut out of its small picture, enlarged, turned, mirrored and tinted.

use cirio_vision::Image;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A pixel brighter than this belongs to the article.
const DARKEST: u8 = 6;

/// Holes of fewer pixels are dark cloth; larger ones are handles and straps to see through.
const LARGEST_FILLED: usize = 14;

/// Pieces of fewer pixels are dust.
const SMALLEST_PIECE: usize = 5;

/// The longer side of an article before it is turned, in pixels.
const LENGTH: std::ops::Range<f64> = 28.0..90.0;

/// It is turned by up to this many degrees to either side.
const TURN: f64 = 40.0;

/// A square with an article in it.
pub(super) struct Article {
    side: usize,
    pixels: Vec<Pixel>,
    area: usize,
}

/// A pixel of an article.
#[derive(Clone, Copy)]
pub(super) struct Pixel {
    /// Red, green and blue in 0 … 255.
    pub colour: [f32; 3],
    /// How much it hides of what is below, 0 … 1: edges are smooth.
    pub opacity: f32,
}

impl Pixel {
    /// Whether the pixel counts as the article's.
    pub(super) fn belongs(self) -> bool {
        self.opacity >= 0.5
    }
}

impl Article {
    /// Draws size, turn and tint of the article in a grey picture; `None` where there is no article in it.
    pub(super) fn draw(picture: &Image, rng: &mut ChaCha8Rng) -> Option<Self> {
        let grey = Cut::out_of(&picture.to_gray())?;
        let scale = rng.random_range(LENGTH) / grey.length() as f64;
        let (sin, cos) = rng.random_range(-TURN..TURN).to_radians().sin_cos();
        let mirror = if rng.random::<bool>() { -1.0 } else { 1.0 };
        let tint: [f32; 3] = std::array::from_fn(|_| rng.random_range(0.62..1.0));
        let lift = rng.random_range(10.0..60.0);
        let side = (scale * (grey.height as f64).hypot(grey.width as f64)).ceil() as usize + 2;
        let pixel = |row: usize, column: usize| {
            let [x, y] = [column, row].map(|at| (at as f64 + 0.5 - side as f64 / 2.0) / scale);
            let (x, y) = (mirror * (cos * x + sin * y), cos * y - sin * x);
            let (value, cover) = grey.at(x + grey.width as f64 / 2.0 - 0.5, y + grey.height as f64 / 2.0 - 0.5);
            // The way from inside to outside is one small pixel long; it is made one of the scene's.
            let opacity = ((cover - 0.5) * scale + 0.5).clamp(0.0, 1.0) as f32;
            let bright = lift + value as f32 * (255.0 - lift) / 255.0;
            Pixel { colour: tint.map(|tint| tint * bright), opacity }
        };
        let pixels: Vec<Pixel> = (0..side * side).map(|place| pixel(place / side, place % side)).collect();
        let area = pixels.iter().filter(|pixel| pixel.belongs()).count();
        (area > 0).then_some(Self { side, pixels, area })
    }

    /// The side of its square.
    pub(super) fn side(&self) -> usize {
        self.side
    }

    /// The number of its pixels.
    pub(super) fn area(&self) -> usize {
        self.area
    }

    /// Its pixels that are not quite clear, with their places `row · columns + column` in a picture of `[rows, columns]`, where its upper left corner
    /// is at `[row, column]`. What lies outside is left out.
    pub(super) fn pixels(&self, [rows, columns]: [usize; 2], [upper, left]: [isize; 2]) -> impl Iterator<Item = (usize, Pixel)> {
        self.pixels.iter().enumerate().filter_map(move |(at, &pixel)| {
            let row = upper.checked_add_unsigned(at / self.side).filter(|row| (0..rows as isize).contains(row))?;
            let column = left.checked_add_unsigned(at % self.side).filter(|column| (0..columns as isize).contains(column))?;
            (pixel.opacity > 0.0).then_some((row as usize * columns + column as usize, pixel))
        })
    }
}

/// An article in its own pixels.
struct Cut {
    height: usize,
    width: usize,
    /// Its brightness, 0 … 255, and whether it is there.
    pixels: Vec<(f64, bool)>,
}

impl Cut {
    /// The smallest box around the article.
    fn out_of(picture: &Image) -> Option<Self> {
        let [rows, columns] = [picture.height(), picture.width()];
        let ours = article_of(picture);
        let places = || (0..rows * columns).filter(|&place| ours[place]);
        let [upper, lower] = [places().map(|place| place / columns).min()?, places().map(|place| place / columns).max()?];
        let [left, right] = [places().map(|place| place % columns).min()?, places().map(|place| place % columns).max()?];
        let values = without_rim(picture, &ours);
        let pixel = |row: usize, column: usize| (values[row * columns + column], ours[row * columns + column]);
        let pixels = (upper..=lower).flat_map(|row| (left..=right).map(move |column| pixel(row, column))).collect();
        Some(Self { height: lower + 1 - upper, width: right + 1 - left, pixels })
    }

    fn length(&self) -> usize {
        self.height.max(self.width)
    }

    /// Between four pixels: the brightness of those that are the article's, and how much of the place is the article's.
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let (left, upper) = (x.floor(), y.floor());
        let (mut sum, mut cover) = (0.0, 0.0);
        for (row, column) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
            let weight = (1.0 - (x - left - column).abs()) * (1.0 - (y - upper - row).abs());
            if let Some(value) = self.pixel(left + column, upper + row) {
                (sum, cover) = (sum + weight * value, cover + weight);
            }
        }
        (if cover > 0.0 { sum / cover } else { 0.0 }, cover)
    }

    /// The brightness where the article is.
    fn pixel(&self, column: f64, row: f64) -> Option<f64> {
        let inside = column >= 0.0 && row >= 0.0 && column < self.width as f64 && row < self.height as f64;
        let (value, ours) = if inside { self.pixels[row as usize * self.width + column as usize] } else { (0.0, false) };
        ours.then_some(value)
    }
}

/// Which pixels of a grey picture belong to the article: the bright ones, without dust, and small holes.
fn article_of(picture: &Image) -> Vec<bool> {
    let size = [picture.height(), picture.width()];
    let mut ours: Vec<bool> = picture.data().iter().map(|&value| value > DARKEST).collect();
    for piece in pieces(&ours, true, size).into_iter().filter(|piece| piece.len() < SMALLEST_PIECE) {
        piece.into_iter().for_each(|place| ours[place] = false);
    }
    let at_edge = |&place: &usize| beside(place, size).count() < 4;
    for hole in pieces(&ours, false, size).into_iter().filter(|hole| hole.len() < LARGEST_FILLED && !hole.iter().any(at_edge)) {
        hole.into_iter().for_each(|place| ours[place] = true);
    }
    ours
}

/// The article's brightness. At its rim pixels are partly ground, which is black, so they are made at least as bright as those beside
/// them that are not.
fn without_rim(picture: &Image, ours: &[bool]) -> Vec<f64> {
    let size = [picture.height(), picture.width()];
    let rim: Vec<bool> = (0..ours.len()).map(|place| beside(place, size).any(|beside| !ours[beside])).collect();
    let value = |place: usize| f64::from(picture.data()[place]);
    let mean = |place: usize, fits: &dyn Fn(usize) -> bool| {
        let values: Vec<f64> = beside(place, size).filter(|&beside| fits(beside)).map(value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let bright = |place: usize| {
        let inner = mean(place, &|beside| ours[beside] && !rim[beside]).or_else(|| mean(place, &|beside| ours[beside]));
        if rim[place] { value(place).max(inner.unwrap_or_default()) } else { value(place) }
    };
    (0..ours.len()).map(bright).collect()
}

/// The places above, below, left and right that are in the picture.
fn beside(place: usize, [rows, columns]: [usize; 2]) -> impl Iterator<Item = usize> {
    let (row, column) = (place / columns, place % columns);
    let inside = [row > 0, row + 1 < rows, column > 0, column + 1 < columns];
    let places = [place.wrapping_sub(columns), place + columns, place.wrapping_sub(1), place + 1];
    places.into_iter().zip(inside).filter_map(|(place, inside)| inside.then_some(place))
}

/// The pieces in which the pixels with this value hang together, side by side.
fn pieces(mask: &[bool], value: bool, size: [usize; 2]) -> Vec<Vec<usize>> {
    let mut left: Vec<bool> = mask.iter().map(|&pixel| pixel == value).collect();
    let mut pieces = Vec::new();
    for start in 0..mask.len() {
        if !std::mem::take(&mut left[start]) {
            continue;
        }
        let (mut piece, mut next) = (vec![start], 0);
        while let Some(&place) = piece.get(next) {
            next += 1;
            piece.extend(beside(place, size).filter(|&place| std::mem::take(&mut left[place])));
        }
        pieces.push(piece);
    }
    pieces
}
