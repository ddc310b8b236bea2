//! Objects of one picture pasted onto another (Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance
//! segmentation", 2021).

use cirio_vision::{Image, Result};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::super::{Instance, Scene};
use super::geometry::resized;
use super::sanitise;

/// Objects of a random other picture pasted onto some of the pictures, without blending. The other picture goes through the steps before
/// this one and is brought to the same size. Only objects with masks are pasted, and only those lose what is covered: this is for data in which
/// every object has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyPaste {
    /// The part of the pictures that objects are pasted onto, 0 … 1.
    pub probability: f64,
}

impl Default for CopyPaste {
    fn default() -> Self {
        Self { probability: 1.0 }
    }
}

/// `scene` with some objects of `other`: of M objects those that M draws find, with putting back, as torchvision's `references/detection` does.
/// What they cover is lost to the objects below, and key points under them are no longer seen; objects without a pixel left are dropped.
pub(super) fn pasted(scene: Scene, other: &Scene, rng: &mut ChaCha8Rng) -> Result<Scene> {
    let (columns, rows, channels) = (scene.image.width(), scene.image.height(), scene.image.channels());
    let other = sanitise(resized(other, [rows, columns])?)?;
    let chosen = choose(other.instances, rng);
    let mut covered = vec![false; rows * columns];
    for mask in chosen.iter().flat_map(|instance| &instance.mask) {
        covered.iter_mut().zip(mask).for_each(|(covered, &pixel)| *covered |= pixel != 0);
    }

    let mut data = scene.image.into_data();
    let above = other.image.with_channels(channels)?;
    let pixels = data.chunks_exact_mut(channels).zip(above.data().chunks_exact(channels));
    pixels.zip(&covered).filter(|(_, covered)| **covered).for_each(|((below, above), _)| below.copy_from_slice(above));

    let mut instances = scene.instances;
    for instance in &mut instances {
        if let Some(mask) = &mut instance.mask {
            mask.iter_mut().zip(&covered).filter(|(_, covered)| **covered).for_each(|(pixel, _)| *pixel = 0);
        }
        for point in &mut instance.keypoints {
            let (row, column) = ((point.y as usize).min(rows - 1), (point.x as usize).min(columns - 1));
            if covered[row * columns + column] {
                point.visibility = point.visibility.min(1);
            }
        }
    }
    instances.extend(chosen);
    sanitise(Scene { image: Image::new(columns, rows, channels, data)?, instances })
}

/// Some of the objects with masks; at least one, if there is one.
fn choose(instances: Vec<Instance>, rng: &mut ChaCha8Rng) -> Vec<Instance> {
    let masked: Vec<Instance> = instances.into_iter().filter(|instance| instance.mask.is_some()).collect();
    let mut drawn = vec![false; masked.len()];
    (0..masked.len()).for_each(|_| drawn[rng.random_range(0..masked.len())] = true);
    masked.into_iter().zip(drawn).filter_map(|(instance, drawn)| drawn.then_some(instance)).collect()
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::super::super::Keypoint;
    use super::*;

    fn masked(class: usize, mask: Vec<u8>, keypoints: Vec<Keypoint>) -> Instance {
        Instance { edges: [0.0, 0.0, 4.0, 2.0], class, mask: Some(mask), keypoints }
    }

    #[test]
    fn what_is_pasted_covers_what_was_there() -> Result<()> {
        let point = |x, visibility| Keypoint { x, y: 0.5, visibility };
        let below = vec![
            masked(0, vec![0, 1, 1, 0, 0, 0, 0, 0], vec![point(1.5, 2), point(2.5, 2), point(0.0, 0)]),
            masked(1, vec![0, 0, 1, 0, 0, 0, 0, 0], Vec::new()),
            Instance { mask: None, ..masked(2, Vec::new(), Vec::new()) },
        ];
        let scene = Scene { image: Image::filled(4, 2, 3, 10)?, instances: below };
        let other = Scene {
            image: Image::new(4, 2, 1, (20..28).collect())?,
            instances: vec![
                masked(3, vec![0, 0, 1, 1, 0, 0, 1, 0], Vec::new()),
                Instance { mask: None, ..masked(4, Vec::new(), Vec::new()) },
            ],
        };
        let both = pasted(scene, &other, &mut ChaCha8Rng::seed_from_u64(0))?;
        let grey: Vec<u8> = both.image.data().iter().copied().step_by(3).collect();
        assert_eq!((grey, both.image.channels()), (vec![10, 10, 22, 23, 10, 10, 26, 10], 3));
        // Object 1 is gone; the one without a mask stays; of the other picture only the one with a mask came.
        assert_eq!(both.instances.iter().map(|instance| instance.class).collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(both.instances[0].mask.as_deref(), Some(&[0, 1, 0, 0, 0, 0, 0, 0][..]));
        assert_eq!((both.instances[0].edges, both.instances[2].edges), ([1.0, 0.0, 2.0, 1.0], [2.0, 0.0, 4.0, 2.0]));
        assert_eq!(both.instances[0].keypoints.iter().map(|point| point.visibility).collect::<Vec<_>>(), [2, 1, 0]);
        Ok(())
    }

    #[test]
    fn the_other_picture_is_brought_to_the_size() -> Result<()> {
        let scene = Scene { image: Image::filled(8, 4, 3, 0)?, instances: Vec::new() };
        let other = Scene { image: Image::filled(4, 2, 3, 200)?, instances: vec![masked(1, vec![1, 0, 0, 0, 0, 0, 0, 0], Vec::new())] };
        let both = pasted(scene.clone(), &other, &mut ChaCha8Rng::seed_from_u64(0))?;
        assert_eq!((both.image.width(), both.image.height(), both.instances[0].edges), (8, 4, [0.0, 0.0, 2.0, 2.0]));
        assert_eq!(pasted(scene.clone(), &scene, &mut ChaCha8Rng::seed_from_u64(0))?, scene);
        Ok(())
    }

    #[test]
    fn some_objects_are_chosen_and_never_none() {
        let all: Vec<Instance> = (0..3).map(|class| masked(class, vec![1; 8], Vec::new())).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let counts: std::collections::BTreeSet<usize> = (0..100).map(|_| choose(all.clone(), &mut rng).len()).collect();
        assert_eq!(counts, [1, 2, 3].into());
    }
}
