//! Larger objects: a part of the picture that overlaps with an object enough (Liu et al., "SSD", 2016, section 2.2).

use cirio_vision::{Error, Result};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::super::{Instance, Scene};
use super::geometry::{Window, cropped};
use super::{between, listed, span};

/// The most rounds of trials. With the usual settings one in 10⁶ pictures needs more than 90, and then it stays whole.
const ROUNDS: usize = 100;

/// A part of the picture whose intersection over union with an object is at least one of several numbers, drawn anew for each round of trials
/// (torchvision's `RandomIoUCrop`). Objects whose centre is not in the part are dropped. A picture without objects stays whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IouCrop {
    /// The least intersections over union to choose from, 0 … 1; with 1 the picture stays whole.
    pub overlaps: Vec<f64>,
    /// Least and greatest side of the part, as parts of the picture's.
    pub scale: [f64; 2],
    /// Least and greatest width / height.
    pub proportions: [f64; 2],
    /// Trials at a part before another overlap is drawn, 1 … 1000.
    pub trials: usize,
}

impl Default for IouCrop {
    fn default() -> Self {
        Self { overlaps: vec![0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0], scale: [0.3, 1.0], proportions: [0.5, 2.0], trials: 40 }
    }
}

impl IouCrop {
    pub(super) fn check(&self) -> Result<()> {
        listed("overlaps", self.overlaps.iter().copied(), 0.0, 1.0)
            .and_then(|()| span("scale", self.scale, 0.001, 1.0))
            .and_then(|()| span("proportions", self.proportions, 0.001, 1000.0))?;
        match self.trials {
            1..=1000 => Ok(()),
            trials => Err(Error::Setting(format!("trials is {trials}, expected 1 … 1000"))),
        }
    }

    pub(super) fn apply(&self, scene: Scene, rng: &mut ChaCha8Rng) -> Result<Scene> {
        let Some(window) = self.window(&scene, rng) else {
            return Ok(scene);
        };
        let instances = scene.instances.into_iter().filter(|instance| has_centre(window, instance)).collect();
        cropped(&Scene { image: scene.image, instances }, window)
    }

    /// The part to keep; None for the whole.
    fn window(&self, scene: &Scene, rng: &mut ChaCha8Rng) -> Option<Window> {
        if scene.instances.is_empty() {
            return None;
        }
        for _ in 0..ROUNDS {
            let least = self.overlaps[rng.random_range(0..self.overlaps.len())];
            if least >= 1.0 {
                return None;
            }
            let found = (0..self.trials).map(|_| self.trial(scene.image.width(), scene.image.height(), rng)).find(|&window| {
                let inside = scene.instances.iter().filter(|instance| has_centre(window, instance));
                self.has_proportions(window) && inside.map(|instance| overlap(window, instance)).any(|overlap| overlap >= least)
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// A random part of a picture, which may be empty.
    fn trial(&self, width: usize, height: usize, rng: &mut ChaCha8Rng) -> Window {
        let mut part = |whole: usize| (whole as f64 * between(self.scale, rng)) as usize;
        let (columns, rows) = (part(width), part(height));
        let mut start = |rest: usize| (rest as f64 * rng.random::<f64>()) as usize;
        Window { left: start(width - columns), upper: start(height - rows), columns, rows }
    }

    fn has_proportions(&self, window: Window) -> bool {
        let [least, greatest] = self.proportions;
        let proportions = window.columns as f64 / window.rows as f64;
        window.rows > 0 && window.columns > 0 && (least..=greatest).contains(&proportions)
    }
}

/// Its edges x₁, y₁, x₂, y₂.
fn edges(window: Window) -> [f64; 4] {
    let Window { left, upper, columns, rows } = window;
    [left, upper, left + columns, upper + rows].map(|edge| edge as f64)
}

fn has_centre(window: Window, instance: &Instance) -> bool {
    let ([left, upper, right, lower], [x1, y1, x2, y2]) = (edges(window), instance.edges.map(f64::from));
    let (x, y) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0);
    left < x && x < right && upper < y && y < lower
}

/// The intersection over union of a window and an object's box.
fn overlap(window: Window, instance: &Instance) -> f64 {
    let ([left, upper, right, lower], [x1, y1, x2, y2]) = (edges(window), instance.edges.map(f64::from));
    let common = (right.min(x2) - left.max(x1)).max(0.0) * (lower.min(y2) - upper.max(y1)).max(0.0);
    common / ((right - left) * (lower - upper) + (x2 - x1) * (y2 - y1) - common)
}

#[cfg(test)]
mod tests {
    use cirio_vision::Image;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn boxed(edges: [f32; 4]) -> Instance {
        Instance { edges, class: 0, mask: None, keypoints: Vec::new() }
    }

    fn scene() -> Result<Scene> {
        let instances = vec![boxed([10.0, 10.0, 40.0, 30.0]), boxed([50.0, 5.0, 60.0, 55.0])];
        Ok(Scene { image: Image::filled(64, 60, 3, 0)?, instances })
    }

    /// `torchvision.ops.box_iou(torch.tensor([[10., 5, 30, 25]]), torch.tensor([[20., 10, 40, 30], [0, 0, 5, 5]]))`: 0.2308, 0.
    #[test]
    fn overlaps_as_torchvision() {
        let window = Window { left: 10, upper: 5, columns: 20, rows: 20 };
        assert!((overlap(window, &boxed([20.0, 10.0, 40.0, 30.0])) - 150.0 / 650.0).abs() < 1e-12);
        assert_eq!(overlap(window, &boxed([0.0, 0.0, 5.0, 5.0])), 0.0);
    }

    #[test]
    fn parts_are_as_asked_for() -> Result<()> {
        let scene = scene()?;
        for least in [0.0, 0.3, 0.5] {
            let crop = IouCrop { overlaps: vec![least], ..IouCrop::default() };
            for seed in 0..200 {
                let window = crop.window(&scene, &mut ChaCha8Rng::seed_from_u64(seed)).expect("a part");
                let Window { columns, rows, .. } = window;
                assert!((19..64).contains(&columns) && (18..60).contains(&rows), "{window:?}");
                assert!((0.5..=2.0).contains(&(columns as f64 / rows as f64)), "{window:?}");
                let inside = scene.instances.iter().filter(|instance| has_centre(window, instance));
                assert!(inside.map(|instance| overlap(window, instance)).any(|found| found >= least), "{window:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn objects_whose_centre_is_cut_off_are_dropped() -> Result<()> {
        let mut counts = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let crop = IouCrop { overlaps: vec![0.0], ..IouCrop::default() };
            let window = crop.window(&scene()?, &mut ChaCha8Rng::seed_from_u64(seed)).expect("a part");
            let part = crop.apply(scene()?, &mut ChaCha8Rng::seed_from_u64(seed))?;
            let inside = scene()?.instances.iter().filter(|instance| has_centre(window, instance)).count();
            assert_eq!(part.instances.len(), inside);
            counts.insert(inside);
        }
        assert_eq!(counts, [1, 2].into());
        Ok(())
    }

    #[test]
    fn what_cannot_be_cut_stays_whole() -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let whole = IouCrop { overlaps: vec![1.0], ..IouCrop::default() };
        assert_eq!(whole.apply(scene()?, &mut rng)?, scene()?);
        let empty = Scene { instances: Vec::new(), ..scene()? };
        assert_eq!(IouCrop::default().apply(empty.clone(), &mut rng)?, empty);
        // No part has so high an overlap with either box.
        let never = IouCrop { overlaps: vec![0.99], scale: [0.3, 0.4], ..IouCrop::default() };
        assert_eq!(never.apply(scene()?, &mut rng)?, scene()?);
        Ok(())
    }
}
