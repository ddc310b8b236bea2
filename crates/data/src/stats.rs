//! What is in a data set: counts, sizes, mean and standard deviation, pictures that cannot be read.

use cirio_vision::Image;

use crate::dataset::Skipped;
use crate::files::guard;
use crate::parallel::in_parallel;
use crate::{Dataset, Error};

/// What [`survey`] finds. A set without a readable picture has sizes of 0 and no mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// Readable pictures of each of the K classes.
    pub class_counts: Vec<usize>,
    /// The least and the greatest number of rows.
    pub height: (usize, usize),
    /// The least and the greatest number of columns.
    pub width: (usize, usize),
    /// Pictures with one channel.
    pub grey: usize,
    /// Pictures with three channels.
    pub colour: usize,
    /// The mean of each channel, values in 0..=1. One channel if all pictures are grey, else three, for
    /// which a grey picture counts as one with three equal channels.
    pub mean: Vec<f64>,
    /// The standard deviation of each channel over all pixels, as [`mean`](Self::mean).
    pub std: Vec<f64>,
    /// Pictures that cannot be decoded, those included that were skipped when the set was opened.
    pub unreadable: Vec<Skipped>,
}

/// How many pictures each of `classes` classes has.
pub fn class_counts(labels: &[u32], classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for &label in labels {
        if let Some(count) = counts.get_mut(label as usize) {
            *count += 1;
        }
    }
    counts
}

/// Decodes every picture of `dataset`, on all cores. The sums are whole numbers, so the result does not depend on
/// how the work is shared.
pub fn survey(dataset: &dyn Dataset) -> Survey {
    let parts = in_parallel(dataset.len(), |indices| {
        let mut tally = Tally::default();
        for index in indices {
            match guard(|| dataset.picture_name(index), || dataset.get(index)) {
                Ok(sample) => {
                    tally.labels.push(sample.label as u32);
                    tally.add(&sample.image);
                }
                Err(Error::Picture { picture, reason }) => tally.unreadable.push(Skipped { picture, reason }),
                Err(error) => {
                    tally.unreadable.push(Skipped { picture: dataset.picture_name(index), reason: error.to_string() });
                }
            }
        }
        tally
    });
    let mut whole = Tally { unreadable: dataset.skipped().to_vec(), ..Tally::default() };
    for part in parts {
        whole.join(part);
    }
    whole.finish(dataset.classes().len())
}

/// The running sums of a survey.
#[derive(Default)]
struct Tally {
    labels: Vec<u32>,
    height: Option<(usize, usize)>,
    width: Option<(usize, usize)>,
    grey: usize,
    colour: usize,
    /// Grey, red, green, blue.
    sums: [Sum; 4],
    unreadable: Vec<Skipped>,
}

/// The number of values, their sum and the sum of their squares.
#[derive(Clone, Copy, Default)]
struct Sum {
    count: u64,
    sum: u64,
    squares: u64,
}

impl Sum {
    fn add(&mut self, value: u8) {
        let value = u64::from(value);
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    fn join(self, other: Self) -> Self {
        Self { count: self.count + other.count, sum: self.sum + other.sum, squares: self.squares + other.squares }
    }

    /// Mean and standard deviation of the values over 255.
    fn moments(self) -> (f64, f64) {
        let count = u128::from(self.count);
        // n·Σx² - (Σx)² in whole numbers, so that nothing is lost to cancellation.
        let spread = count * u128::from(self.squares) - u128::from(self.sum) * u128::from(self.sum);
        let count = self.count as f64;
        (self.sum as f64 / (255.0 * count), (spread as f64).sqrt() / (255.0 * count))
    }
}

impl Tally {
    fn add(&mut self, image: &Image) {
        self.height = widen(self.height, Some((image.height(), image.height())));
        self.width = widen(self.width, Some((image.width(), image.width())));
        let sums = match image.channels() {
            1 => {
                self.grey += 1;
                &mut self.sums[..1]
            }
            _ => {
                self.colour += 1;
                &mut self.sums[1..]
            }
        };
        for pixel in image.data().chunks_exact(image.channels()) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                sum.add(value);
            }
        }
    }

    fn join(&mut self, other: Self) {
        self.labels.extend(other.labels);
        self.height = widen(self.height, other.height);
        self.width = widen(self.width, other.width);
        self.grey += other.grey;
        self.colour += other.colour;
        for (sum, other) in self.sums.iter_mut().zip(other.sums) {
            *sum = sum.join(other);
        }
        self.unreadable.extend(other.unreadable);
    }

    fn finish(self, classes: usize) -> Survey {
        let [grey, red, green, blue] = self.sums;
        let channels = match self.colour {
            0 => vec![grey],
            _ => [red, green, blue].map(|sum| sum.join(grey)).to_vec(),
        };
        let (mean, std) = channels.into_iter().filter(|sum| sum.count > 0).map(Sum::moments).unzip();
        Survey {
            class_counts: class_counts(&self.labels, classes),
            height: self.height.unwrap_or_default(),
            width: self.width.unwrap_or_default(),
            grey: self.grey,
            colour: self.colour,
            mean,
            std,
            unreadable: self.unreadable,
        }
    }
}

fn widen(a: Option<(usize, usize)>, b: Option<(usize, usize)>) -> Option<(usize, usize)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        _ => a.or(b),
    }
}
