//! t-SNE (van der Maaten & Hinton, "Visualizing data using t-SNE", 2008): neighbours among the features become neighbours in the plane.
//!
//! It is the exact form, which looks at all pairs. Each point starts where the first two principal components have it, made small (Kobak &
//! Berens, "The art of using t-SNE for single-cell transcriptomics", 2019), so that nothing is random and the large distances mean something.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{MOST, Rows, pca};
use crate::{Error, Result};

/// Features are first brought to so many principal components, as in the paper's section 4.2, where they are 30.
const COMPONENTS: usize = 50;

/// The standard deviation of the first coordinates at the beginning.
const SPREAD: f64 = 1e-4;

/// Early exaggeration: what p is multiplied with, and for how many iterations (section 3.4).
const EXAGGERATION: (f64, usize) = (4.0, 50);

/// The momentum of the first iterations, how many these are, and that of the others (section 3.4).
const MOMENTUM: (f64, usize, f64) = (0.5, 250, 0.8);

/// The least gain of a coordinate.
const LEAST_GAIN: f64 = 0.01;

/// How near ln(perplexity) a row's entropy comes.
const ENTROPY: f64 = 1e-7;

/// Halvings of the interval of a row's precision; doublings before it is bounded from above.
const BISECTIONS: usize = 100;

/// Numbers that are added side by side.
const LANES: usize = 4;

/// The settings of t-SNE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tsne {
    /// About how many neighbours each picture looks at, at least 1; usually 5 … 50.
    pub perplexity: f64,
    /// Steps down the gradient.
    pub iterations: usize,
}

impl Default for Tsne {
    /// A perplexity of 30, and the paper's 1000 iterations.
    fn default() -> Self {
        Self { perplexity: 30.0, iterations: 1000 }
    }
}

/// Where the pictures are in the plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// (M, 2), around (0, 0). The unit and the direction of the axes mean nothing.
    pub places: Vec<[f64; 2]>,
    /// The Kullback-Leibler divergence of the neighbours in the plane from those of the features, in nats: what was made small.
    pub divergence: f64,
}

impl Tsne {
    /// The default for so many pictures: where they are less than 91, the perplexity is the largest that they allow, a third of the others.
    pub fn for_pictures(count: usize) -> Self {
        let most = count.saturating_sub(1) as f64 / 3.0;
        Self { perplexity: Self::default().perplexity.min(most), ..Self::default() }
    }

    /// The layout of features (M, D). The same bits for any number of threads. Pictures with the same features lie close together, but not on
    /// one place.
    ///
    /// # Errors
    /// When there are fewer pictures than three times the perplexity and one, or more than [`MOST`]; the perplexity is less than 1; a value is
    /// not finite.
    pub fn layout(&self, features: &Tensor) -> Result<Layout> {
        let Self { perplexity, iterations } = *self;
        let rows = Rows::of(features, 4)?;
        let count = rows.count();
        if count > MOST {
            return Err(Error::Setting(format!(
                "{count} pictures, expected at most {MOST}: t-SNE looks at all pairs; take a part of them"
            )));
        }
        if !(perplexity >= 1.0 && 3.0 * perplexity + 1.0 <= count as f64) {
            let most = (count - 1) as f64 / 3.0;
            return Err(Error::Setting(format!("a perplexity of {perplexity}, expected 1 to {most:.1}, a third of the other pictures")));
        }
        let reduced = pca::components(rows, COMPONENTS)?;
        let affinities = affinities(&reduced.coordinates, perplexity);
        let deviation = reduced.variances.first().map_or(1.0, |variance| variance.sqrt());
        let first = Plane::of(&reduced.places()).scaled(SPREAD / deviation);
        let plane = descend(&affinities, first, iterations);
        let divergence = divergence(&affinities, &plane);
        Ok(Layout { places: plane.x.iter().zip(&plane.y).map(|(x, y)| [*x, *y]).collect(), divergence })
    }
}

/// Two numbers for each point, apart.
#[derive(Clone, Debug)]
struct Plane {
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Plane {
    fn of(places: &[[f64; 2]]) -> Self {
        let axis = |axis: usize| places.iter().map(|place| place[axis]).collect();
        Self { x: axis(0), y: axis(1) }
    }

    fn scaled(mut self, factor: f64) -> Self {
        self.x.iter_mut().chain(&mut self.y).for_each(|value| *value *= factor);
        self
    }

    /// Brings the mean to (0, 0).
    fn centre(&mut self) {
        for axis in [&mut self.x, &mut self.y] {
            let mean = axis.iter().sum::<f64>() / axis.len().max(1) as f64;
            axis.iter_mut().for_each(|value| *value -= mean);
        }
    }
}

/// P (M, M), row by row: pᵢⱼ = (pⱼ|ᵢ + pᵢ|ⱼ) / 2M, symmetric, with the sum 1 (section 3.1).
fn affinities(points: &[Vec<f64>], perplexity: f64) -> Vec<f64> {
    let count = points.len();
    let mut p = vec![0.0; count * count];
    p.par_chunks_exact_mut(count).enumerate().for_each(|(index, row)| {
        let own = &points[index];
        row.iter_mut().zip(points).for_each(|(distance, other)| *distance = squared_distance(own, other));
        neighbours(row, index, perplexity);
    });
    for (one, other) in (0..count).flat_map(|row| (0..row).map(move |column| (row * count + column, column * count + row))) {
        let mean = (p[one] + p[other]) / (2 * count) as f64;
        (p[one], p[other]) = (mean, mean);
    }
    p
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Makes of the squared distances of all points from point `own` the probabilities pⱼ|own that it chooses them as neighbours: a Gaussian of
/// that width at which the entropy is ln(perplexity) (equation 1).
///
/// Where more points than the perplexity lie on the nearest place, no width has that entropy: these share the probability.
fn neighbours(row: &mut [f64], own: usize, perplexity: f64) {
    row[own] = f64::INFINITY;
    let nearest = row.iter().copied().fold(f64::INFINITY, f64::min);
    let others = (row.len() - 1) as f64;
    // In units of their mean, so that 1 is a precision to begin with; where all are at one distance any will do.
    let mean = row.iter().filter(|distance| distance.is_finite()).map(|distance| distance - nearest).sum::<f64>() / others;
    let unit = if mean > 0.0 { mean } else { 1.0 };
    row.iter_mut().for_each(|distance| *distance = (*distance - nearest) / unit);
    let (mut precision, mut below, mut above) = (1.0, 0.0, None);
    for _ in 0..BISECTIONS {
        let off = entropy(row, precision) - perplexity.ln();
        if off.abs() < ENTROPY {
            break;
        }
        if off > 0.0 {
            below = precision
        } else {
            above = Some(precision)
        }
        precision = above.map_or(2.0 * precision, |above| 0.5 * (below + above));
    }
    row.iter_mut().for_each(|distance| *distance = (-precision * *distance).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|weight| *weight /= sum);
}

/// The entropy, in nats, of probabilities in proportion to exp(-precision · distance). Infinite distances have none.
fn entropy(distances: &[f64], precision: f64) -> f64 {
    let (mut sum, mut moment) = (0.0, 0.0);
    for distance in distances.iter().filter(|distance| distance.is_finite()) {
        let weight = (-precision * distance).exp();
        sum += weight;
        moment += weight * precision * distance;
    }
    f64::ln(sum) + moment / sum
}

/// Goes down the gradient with momentum and gains (section 3.4; Jacobs, "Increased rates of convergence through learning rate adaptation",
/// 1988).
///
/// The rate is M / 4 by the exaggeration: the pull on a point, which is at most 4 · exaggeration / M of the way to its neighbours, takes it
/// there in one step. The paper's 100 is that for some hundred points, too much for fewer and little for more (Belkina et al., "Automated
/// optimized parameters for t-distributed stochastic neighbor embedding", 2019).
fn descend(p: &[f64], mut plane: Plane, iterations: usize) -> Plane {
    let count = plane.x.len();
    let (mut velocity, mut gain) = (Plane::of(&vec![[0.0; 2]; count]), Plane::of(&vec![[1.0; 2]; count]));
    for iteration in 0..iterations {
        let exaggeration = if iteration < EXAGGERATION.1 { EXAGGERATION.0 } else { 1.0 };
        let momentum = if iteration < MOMENTUM.1 { MOMENTUM.0 } else { MOMENTUM.2 };
        let rate = count as f64 / (4.0 * exaggeration);
        let gradient = gradient(p, &plane, exaggeration);
        let axes = [(&mut plane.x, &mut velocity.x, &mut gain.x, &gradient.x), (&mut plane.y, &mut velocity.y, &mut gain.y, &gradient.y)];
        for (places, velocities, gains, gradient) in axes {
            for (((place, velocity), gain), gradient) in places.iter_mut().zip(velocities).zip(gains).zip(gradient) {
                let turns_back = gradient * *velocity > 0.0;
                *gain = if turns_back { (*gain * 0.8).max(LEAST_GAIN) } else { *gain + 0.2 };
                *velocity = momentum * *velocity - rate * *gain * gradient;
                *place += *velocity;
            }
        }
        plane.centre();
    }
    plane
}

/// What acts on a point: sums over all points.
#[derive(Clone, Copy, Default)]
struct Forces {
    /// Σ pᵢⱼ wᵢⱼ (yᵢ - yⱼ), w = 1 / (1 + ‖yᵢ - yⱼ‖²).
    attraction: [f64; 2],
    /// Σ wᵢⱼ² (yᵢ - yⱼ).
    repulsion: [f64; 2],
    /// Σ wᵢⱼ over the others.
    weight: f64,
}

/// ∂C/∂yᵢ = 4 Σⱼ (exaggeration · pᵢⱼ - qᵢⱼ)(yᵢ - yⱼ) / (1 + ‖yᵢ - yⱼ‖²) (equation 5).
fn gradient(p: &[f64], plane: &Plane, exaggeration: f64) -> Plane {
    let count = plane.x.len();
    let forces: Vec<Forces> = p.par_chunks_exact(count).enumerate().map(|(index, row)| forces(row, plane, index)).collect();
    let whole: f64 = forces.iter().map(|forces| forces.weight).sum();
    let axis = |axis: usize| {
        let of = |forces: &Forces| 4.0 * (exaggeration * forces.attraction[axis] - forces.repulsion[axis] / whole);
        forces.iter().map(of).collect()
    };
    Plane { x: axis(0), y: axis(1) }
}

fn forces(p: &[f64], plane: &Plane, index: usize) -> Forces {
    let (x, y) = (plane.x[index], plane.y[index]);
    let mut sums = [[0.0; LANES]; 5];
    let mut add = |lane: usize, p: f64, dx: f64, dy: f64| {
        let weight = 1.0 / (1.0 + dx * dx + dy * dy);
        let (pull, push) = (p * weight, weight * weight);
        sums[0][lane] += pull * dx;
        sums[1][lane] += pull * dy;
        sums[2][lane] += push * dx;
        sums[3][lane] += push * dy;
        sums[4][lane] += weight;
    };
    let ((ps, p_rest), (xs, x_rest), (ys, y_rest)) = (p.as_chunks::<LANES>(), plane.x.as_chunks::<LANES>(), plane.y.as_chunks::<LANES>());
    for ((ps, xs), ys) in ps.iter().zip(xs).zip(ys) {
        for lane in 0..LANES {
            add(lane, ps[lane], x - xs[lane], y - ys[lane]);
        }
    }
    for (lane, ((p, other_x), other_y)) in p_rest.iter().zip(x_rest).zip(y_rest).enumerate() {
        add(lane, *p, x - other_x, y - other_y);
    }
    let [pull_x, pull_y, push_x, push_y, weight] = sums.map(|lanes| lanes.iter().sum::<f64>());
    // The point's own weight is 1.
    Forces { attraction: [pull_x, pull_y], repulsion: [push_x, push_y], weight: weight - 1.0 }
}

/// C = Σ pᵢⱼ ln(pᵢⱼ / qᵢⱼ), with qᵢⱼ in proportion to 1 / (1 + ‖yᵢ - yⱼ‖²) (equations 2 and 4).
fn divergence(p: &[f64], plane: &Plane) -> f64 {
    let count = plane.x.len();
    let weight = |i: usize, j: usize| 1.0 / (1.0 + (plane.x[i] - plane.x[j]).powi(2) + (plane.y[i] - plane.y[j]).powi(2));
    let of_row = |i: usize| (0..count).filter(move |&j| j != i);
    let whole: f64 = (0..count).flat_map(|i| of_row(i).map(move |j| (i, j))).map(|(i, j)| weight(i, j)).sum();
    let term = |(i, j): (usize, usize)| {
        let p = p[i * count + j];
        if p > 0.0 { p * (p * whole / weight(i, j)).ln() } else { 0.0 }
    };
    (0..count).flat_map(|i| of_row(i).map(move |j| (i, j))).map(term).sum()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    /// M points of D values around one of `clusters` centres in turn, whose coordinates have the deviation `apart`.
    fn clustered(count: usize, length: usize, clusters: usize, apart: f64) -> Vec<Vec<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
        let centres: Vec<Vec<f64>> = (0..clusters).map(|_| (0..length).map(|_| apart * normal()).collect()).collect();
        (0..count).map(|index| centres[index % clusters].iter().map(|centre| centre + normal()).collect()).collect()
    }

    fn tensor(points: &[Vec<f64>]) -> Result<Tensor> {
        Ok(Tensor::from_vec(points.concat(), (points.len(), points[0].len()), &Device::Cpu)?)
    }

    /// The `count` nearest of each point.
    fn nearest(points: &[Vec<f64>], count: usize) -> Vec<Vec<usize>> {
        let of = |own: usize| {
            let mut others: Vec<usize> = (0..points.len()).filter(|&other| other != own).collect();
            others.sort_by(|&a, &b| squared_distance(&points[own], &points[a]).total_cmp(&squared_distance(&points[own], &points[b])));
            others.truncate(count);
            others
        };
        (0..points.len()).map(of).collect()
    }

    #[test]
    fn each_row_has_the_perplexity() {
        let points = clustered(60, 7, 3, 4.0);
        for perplexity in [1.5, 5.0, 19.6] {
            for own in 0..points.len() {
                let mut row: Vec<f64> = points.iter().map(|other| squared_distance(&points[own], other)).collect();
                let distances = row.clone();
                neighbours(&mut row, own, perplexity);
                assert!(row[own] == 0.0 && (row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                let entropy: f64 = row.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
                assert!((entropy.exp() - perplexity).abs() < 1e-5 * perplexity, "{} {perplexity}", entropy.exp());
                // A Gaussian: ln p falls in proportion to the squared distance.
                let others: Vec<usize> = (0..60).filter(|&other| other != own && row[other] > 1e-200).collect();
                let slope = |a: usize, b: usize| (row[a].ln() - row[b].ln()) / (distances[a] - distances[b]);
                let first = slope(others[0], others[1]);
                assert!(others[2..].iter().all(|&other| (slope(others[0], other) - first).abs() < 1e-6 * first.abs()));
            }
            let p = affinities(&points, perplexity);
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!((0..60).all(|i| (0..60).all(|j| p[i * 60 + j] == p[j * 60 + i])));
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_divergence() {
        const STEP: f64 = 1e-5;
        let points = clustered(23, 4, 3, 2.0);
        let p = affinities(&points, 5.0);
        let plane = Plane::of(&points.iter().map(|point| [point[0], 0.4 * point[1]]).collect::<Vec<_>>());
        let exact = gradient(&p, &plane, 1.0);
        for index in 0..points.len() {
            let differs = |change: &dyn Fn(&mut Plane, f64)| {
                let at = |step: f64| {
                    let mut moved = plane.clone();
                    change(&mut moved, step);
                    divergence(&p, &moved)
                };
                (at(STEP) - at(-STEP)) / (2.0 * STEP)
            };
            let across = differs(&|plane, step| plane.x[index] += step);
            let up = differs(&|plane, step| plane.y[index] += step);
            assert!((exact.x[index] - across).abs() < 1e-8 && (exact.y[index] - up).abs() < 1e-8, "{index}");
        }
        let exaggerated = gradient(&p.iter().map(|p| 3.0 * p).collect::<Vec<_>>(), &plane, 1.0);
        let times = gradient(&p, &plane, 3.0);
        assert!(exaggerated.x.iter().zip(&times.x).all(|(a, b)| (a - b).abs() < 1e-14));
    }

    #[test]
    fn clusters_stay_apart_and_neighbours_together() -> Result<()> {
        let (count, clusters) = (150, 5);
        let points = clustered(count, 80, clusters, 1.0);
        let found = Tsne::default().layout(&tensor(&points)?)?;
        let places: Vec<Vec<f64>> = found.places.iter().map(|place| place.to_vec()).collect();
        let (theirs, ours) = (nearest(&points, 10), nearest(&places, 10));
        // Of each point's neighbours all are of its cluster, and many are those that it had; by chance it would be 10 of 149.
        assert!(ours.iter().enumerate().all(|(own, near)| near.iter().all(|other| other % clusters == own % clusters)));
        let kept = ours.iter().zip(&theirs).map(|(ours, theirs)| ours.iter().filter(|other| theirs.contains(other)).count()).sum::<usize>();
        assert!(kept as f64 > 0.4 * (10 * count) as f64, "{kept} of {}", 10 * count);
        // Less than what the start has, by far.
        let reduced = pca::components(Rows::of(&tensor(&points)?, 2)?, COMPONENTS)?;
        let before = divergence(&affinities(&reduced.coordinates, 30.0), &Plane::of(&reduced.places()).scaled(1e-4));
        assert!(found.divergence < 0.5 * before, "{} {before}", found.divergence);
        let middle = |axis: usize| found.places.iter().map(|place| place[axis]).sum::<f64>() / count as f64;
        assert!(middle(0).abs() < 1e-9 && middle(1).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn the_threads_do_not_decide() -> Result<()> {
        let features = tensor(&clustered(70, 90, 4, 1.0))?;
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| Tsne { perplexity: 9.0, iterations: 120 }.layout(&features))
        };
        assert_eq!(with(1)?, with(3)?);
        Ok(())
    }

    /// Few points, equal ones, ones on a line, tiny and huge ones.
    #[test]
    fn odd_features_have_places() -> Result<()> {
        let line = |scale: f64| (0..40).map(|index| vec![scale * f64::from(index), 3.0]).collect::<Vec<_>>();
        let outlier = (0..40).map(|index| vec![if index == 7 { 1e30 } else { f64::from(index) }, 1.0]).collect();
        let some = |count| clustered(count, 3, 2, 1.0);
        for points in [some(4), some(11), line(1.0), line(1e-30), line(1e30), outlier] {
            let found = Tsne::for_pictures(points.len()).layout(&tensor(&points)?)?;
            assert!(found.divergence.is_finite() && found.places.iter().flatten().all(|value| value.is_finite() && value.abs() < 1e4));
        }
        let same = Tsne::for_pictures(40).layout(&tensor(&vec![vec![0.1, 0.2]; 40])?)?;
        assert!(same.places == [[0.0; 2]; 40] && same.divergence.abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn pictures_with_the_same_features_lie_close_together() -> Result<()> {
        let points = (0..40).map(|index| vec![f64::from(index % 4), f64::from(index % 3)]).collect::<Vec<_>>();
        let found = Tsne::for_pictures(40).layout(&tensor(&points)?)?;
        let distance = |a: usize, b: usize| (found.places[a][0] - found.places[b][0]).hypot(found.places[a][1] - found.places[b][1]);
        let pairs = || (0..40).flat_map(|a| (0..a).map(move |b| (a, b)));
        let mean = |twins: bool| {
            let chosen: Vec<f64> = pairs().filter(|&(a, b)| (points[a] == points[b]) == twins).map(|(a, b)| distance(a, b)).collect();
            chosen.iter().sum::<f64>() / chosen.len() as f64
        };
        assert!(mean(true) < 0.3 * mean(false), "{} {}", mean(true), mean(false));
        Ok(())
    }

    #[test]
    fn what_cannot_be_is_refused() -> Result<()> {
        let message = |tsne: Tsne, points: &[Vec<f64>]| Ok::<_, Error>(tsne.layout(&tensor(points)?).expect_err("refused").to_string());
        let forty = clustered(40, 3, 1, 1.0);
        let error = message(Tsne::default(), &forty)?;
        assert!(error.contains("a perplexity of 30, expected 1 to 13.0, a third of the other pictures"), "{error}");
        for perplexity in [0.5, -1.0, f64::NAN, f64::INFINITY] {
            assert!(message(Tsne { perplexity, ..Tsne::default() }, &forty)?.contains("expected 1 to 13.0"));
        }
        assert!(message(Tsne::for_pictures(3), &forty[..3])?.contains("3 pictures with 3 values each, expected at least 4"));
        assert!(message(Tsne::default(), &vec![vec![1.0]; MOST + 1])?.contains("5001 pictures, expected at most 5000"));
        assert_eq!(
            (Tsne::for_pictures(40).perplexity, Tsne::for_pictures(91), Tsne::for_pictures(0).perplexity),
            (13.0, Tsne::default(), 0.0)
        );
        Ok(())
    }
}
