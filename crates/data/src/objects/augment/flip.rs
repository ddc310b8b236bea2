//! Left and right swapped.

use cirio_vision::{Result, flip_horizontal};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::super::{Instance, Scene};
use super::geometry::as_picture;
use super::within;

/// A mirroring of some of the pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HorizontalFlip {
    /// The part of the pictures that are mirrored, 0 … 1.
    pub probability: f64,
    /// The numbers of the key points that are each other's mirror image, such as those of the left and of the right ear.
    #[serde(default)]
    pub swaps: Vec<[usize; 2]>,
}

impl Default for HorizontalFlip {
    fn default() -> Self {
        Self { probability: 0.5, swaps: Vec::new() }
    }
}

impl HorizontalFlip {
    pub(super) fn check(&self) -> Result<()> {
        within("probability", self.probability, 0.0, 1.0)
    }

    pub(super) fn apply(&self, scene: Scene, rng: &mut ChaCha8Rng) -> Result<Scene> {
        if rng.random::<f64>() < self.probability { mirrored(&scene, &self.swaps) } else { Ok(scene) }
    }
}

/// The pairs of key points whose names differ only in `left` and `right`.
pub(super) fn pairs(names: &[String]) -> Vec<[usize; 2]> {
    let right = |name: &String| names.iter().position(|other| name.contains("left") && *other == name.replace("left", "right"));
    names.iter().enumerate().filter_map(|(left, name)| Some([left, right(name)?])).collect()
}

/// x becomes W − x, and the points of `swaps` change places.
fn mirrored(scene: &Scene, swaps: &[[usize; 2]]) -> Result<Scene> {
    let width = scene.image.width();
    let turned = |instance: &Instance| {
        let [left, upper, right, lower] = instance.edges;
        let mut keypoints = instance.keypoints.clone();
        // What is not labelled has no place.
        keypoints.iter_mut().filter(|point| point.visibility > 0).for_each(|point| point.x = width as f64 - point.x);
        for &[one, other] in swaps.iter().filter(|pair| pair.iter().all(|&point| point < instance.keypoints.len())) {
            keypoints.swap(one, other);
        }
        Ok(Instance {
            edges: [width as f32 - right, upper, width as f32 - left, lower],
            class: instance.class,
            mask: as_picture(instance, &scene.image)?.map(|mask| flip_horizontal(&mask).into_data()),
            keypoints,
        })
    };
    Ok(Scene { image: flip_horizontal(&scene.image), instances: scene.instances.iter().map(turned).collect::<Result<_>>()? })
}

#[cfg(test)]
mod tests {
    use cirio_vision::Image;

    use super::super::super::Keypoint;
    use super::*;

    #[test]
    fn everything_is_mirrored_and_points_change_places() -> Result<()> {
        let point = |x, visibility| Keypoint { x, y: 1.0, visibility };
        let instance = Instance {
            edges: [1.0, 0.0, 3.0, 1.0],
            class: 4,
            mask: Some(vec![0, 1, 1, 0, 0, 0, 0, 0, 0, 0]),
            keypoints: vec![point(2.0, 2), point(1.5, 1), point(3.0, 2), point(0.0, 0)],
        };
        let scene = Scene { image: Image::new(5, 2, 1, (0..10).collect())?, instances: vec![instance] };
        let turned = mirrored(&scene, &[[1, 2], [3, 4]])?;
        assert_eq!(turned.image.data(), [4, 3, 2, 1, 0, 9, 8, 7, 6, 5]);
        let expected = Instance {
            edges: [2.0, 0.0, 4.0, 1.0],
            class: 4,
            mask: Some(vec![0, 0, 1, 1, 0, 0, 0, 0, 0, 0]),
            keypoints: vec![point(3.0, 2), point(2.0, 2), point(3.5, 1), point(0.0, 0)],
        };
        assert_eq!(turned.instances, [expected]);
        assert_eq!(mirrored(&turned, &[[1, 2], [3, 4]])?, scene);
        Ok(())
    }

    #[test]
    fn pairs_are_found_by_their_names() {
        let names = ["nose", "left_eye", "right_eye", "right_ear", "left_ear", "left_hand"].map(str::to_owned);
        assert_eq!(pairs(&names), [[1, 2], [4, 3]]);
    }
}
