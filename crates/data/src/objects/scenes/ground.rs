//! The ground of a scene: two colours, mixed by a pattern, with a little noise.

use std::f64::consts::TAU;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// How far noise moves a pixel's brightness, in 0 … 255.
const NOISE: f32 = 0.35;

/// The pixels of a ground of `[rows, columns]`: H×W×3 in 0 … 255.
pub(super) fn draw(size: [usize; 2], rng: &mut ChaCha8Rng) -> Vec<f32> {
    let (one, other) = (colour(rng), colour(rng));
    // Two colours that are close make a calm ground, others a loud one.
    let contrast = rng.random_range(0.25..0.9);
    let pattern = Pattern::draw(size, rng);
    let mut colours = Vec::with_capacity(size[0] * size[1] * 3);
    for (row, column) in (0..size[0]).flat_map(|row| (0..size[1]).map(move |column| (row, column))) {
        let share = contrast * pattern.at(row as f64, column as f64) as f32;
        let noise = rng.random_range(-NOISE..NOISE);
        colours.extend(one.iter().zip(other).map(|(one, other)| (one + share * (other - one) + noise).clamp(0.0, 255.0)));
    }
    colours
}

/// A grey with a cast, so that articles are brighter in colour than the ground.
fn colour(rng: &mut ChaCha8Rng) -> [f32; 3] {
    let bright = rng.random_range(70.0..200.0);
    std::array::from_fn(|_| bright + rng.random_range(-50.0..50.0))
}

/// What goes from 0 to 1 over the picture.
enum Pattern {
    /// Evenly in one direction, from `start` on.
    Gradient { direction: [f64; 2], start: f64 },
    /// Up and down in one direction.
    Stripes { direction: [f64; 2] },
    /// Up and down in two directions, with sharp edges.
    Checks { directions: [[f64; 2]; 2] },
    /// Hills: random heights on lattices that are finer and lower each time.
    Hills { octaves: Vec<Lattice> },
}

impl Pattern {
    fn draw([rows, columns]: [usize; 2], rng: &mut ChaCha8Rng) -> Self {
        let kind = rng.random_range(0..5);
        let (sin, cos) = (TAU * rng.random::<f64>()).sin_cos();
        let width = rng.random_range(8.0..40.0);
        match kind {
            0 => {
                let long = rows as f64 * sin.abs() + columns as f64 * cos.abs();
                let direction = [sin / long, cos / long];
                let lowest = direction[0].min(0.0) * rows as f64 + direction[1].min(0.0) * columns as f64;
                Self::Gradient { direction, start: -lowest }
            }
            1 => Self::Stripes { direction: [sin / width, cos / width] },
            2 => Self::Checks { directions: [[sin / width, cos / width], [cos / width, -sin / width]] },
            _ => Self::Hills { octaves: [1.0, 0.5, 0.25].map(|scale| Lattice::draw([rows, columns], scale * 2.0 * width, rng)).into() },
        }
    }

    fn at(&self, row: f64, column: f64) -> f64 {
        let along = |direction: &[f64; 2]| direction[0] * row + direction[1] * column;
        match self {
            Self::Gradient { direction, start } => (along(direction) + start).clamp(0.0, 1.0),
            Self::Stripes { direction } => 0.5 + 0.5 * (TAU * along(direction)).sin(),
            Self::Checks { directions: [one, other] } => {
                let even = (along(one).floor() + along(other).floor()).rem_euclid(2.0) == 0.0;
                f64::from(u8::from(even))
            }
            Self::Hills { octaves } => {
                let weights = [4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0];
                octaves.iter().zip(weights).map(|(lattice, weight)| weight * lattice.at(row, column)).sum()
            }
        }
    }
}

/// Random heights, 0 … 1, at the corners of squares; between them it goes smoothly.
struct Lattice {
    side: f64,
    columns: usize,
    heights: Vec<f64>,
}

impl Lattice {
    fn draw(size: [usize; 2], side: f64, rng: &mut ChaCha8Rng) -> Self {
        let [rows, columns] = size.map(|pixels| (pixels as f64 / side) as usize + 2);
        Self { side, columns, heights: (0..rows * columns).map(|_| rng.random()).collect() }
    }

    fn at(&self, row: f64, column: f64) -> f64 {
        let (row, column) = (row / self.side, column / self.side);
        let smooth = |part: f64| part * part * (3.0 - 2.0 * part);
        let (down, across) = (smooth(row.fract()), smooth(column.fract()));
        let corner = row as usize * self.columns + column as usize;
        let along = |corner: usize| self.heights[corner] + across * (self.heights[corner + 1] - self.heights[corner]);
        let (upper, lower) = (along(corner), along(corner + self.columns));
        upper + down * (lower - upper)
    }
}
