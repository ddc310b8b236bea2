//! Smaller objects: the picture on a larger ground (Liu et al., "SSD", 2016, section 3.6).

use cirio_vision::Result;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::super::Scene;
use super::geometry::on_ground;
use super::{GROUND, between, span, within};

/// Some of the pictures at a random place on a larger ground (torchvision's `RandomZoomOut`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoomOut {
    /// The part of the pictures, 0 … 1.
    pub probability: f64,
    /// Least and greatest ratio of the ground's sides to the picture's, at least 1.
    pub ratio: [f64; 2],
    /// The colour of the ground.
    pub fill: [u8; 3],
}

impl Default for ZoomOut {
    fn default() -> Self {
        Self { probability: 0.5, ratio: [1.0, 4.0], fill: GROUND }
    }
}

impl ZoomOut {
    pub(super) fn check(&self) -> Result<()> {
        within("probability", self.probability, 0.0, 1.0).and_then(|()| span("ratio", self.ratio, 1.0, 100.0))
    }

    pub(super) fn apply(&self, scene: Scene, rng: &mut ChaCha8Rng) -> Result<Scene> {
        if rng.random::<f64>() >= self.probability {
            return Ok(scene);
        }
        let ratio = between(self.ratio, rng);
        let sides = [scene.image.height(), scene.image.width()];
        let size = sides.map(|side| (side as f64 * ratio) as usize);
        let mut start = |axis: usize| rng.random_range(0..=size[axis] - sides[axis]);
        let corner = [start(0), start(1)];
        on_ground(&scene, size, corner, self.fill)
    }
}

#[cfg(test)]
mod tests {
    use cirio_vision::Image;
    use rand_chacha::rand_core::SeedableRng;

    use super::super::super::Instance;
    use super::*;

    #[test]
    fn the_picture_lies_where_its_object_does() -> Result<()> {
        let instance = Instance { edges: [0.0, 0.0, 3.0, 2.0], class: 0, mask: Some(vec![1; 6]), keypoints: Vec::new() };
        let scene = Scene { image: Image::filled(3, 2, 3, 7)?, instances: vec![instance] };
        let mut corners = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let zoom = ZoomOut { probability: 1.0, ratio: [2.5; 2], fill: [9; 3] };
            let larger = zoom.apply(scene.clone(), &mut ChaCha8Rng::seed_from_u64(seed))?;
            assert_eq!((larger.image.width(), larger.image.height()), (7, 5));
            let pixels: Vec<u8> = larger.image.data().iter().step_by(3).map(|&value| u8::from(value == 7)).collect();
            assert_eq!(larger.instances[0].mask, Some(pixels));
            let [left, upper, right, lower] = larger.instances[0].edges;
            assert_eq!((right - left, lower - upper), (3.0, 2.0));
            corners.insert([left as usize, upper as usize]);
        }
        assert_eq!(corners.len(), 5 * 4, "every place is reached");
        Ok(())
    }
}
