//! Random sizes: the shortest side from a list, and large-scale jitter.

use cirio_vision::Result;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::super::Scene;
use super::geometry::{Window, cropped, on_ground, resized};
use super::{GROUND, between, listed, span, within};

/// The longest side that may be asked for. A square of it is still a picture.
const LONGEST: f64 = 8192.0;

/// The shortest side brought to one of several sizes, the other in proportion (torchvision's `RandomShortestSize`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShortestSide {
    /// The sizes to choose from, in pixels.
    pub sizes: Vec<usize>,
    /// The most pixels that the longest side may have then; where it would have more, the shortest side gets fewer.
    pub longest: usize,
}

impl Default for ShortestSide {
    /// The sizes of torchvision's preset `multiscale`.
    fn default() -> Self {
        Self { sizes: (480..=800).step_by(32).collect(), longest: 1333 }
    }
}

impl ShortestSide {
    pub(super) fn check(&self) -> Result<()> {
        listed("sizes", self.sizes.iter().map(|&size| size as f64), 1.0, LONGEST)
            .and_then(|()| within("longest", self.longest as f64, 1.0, LONGEST))
    }

    pub(super) fn apply(&self, scene: &Scene, rng: &mut ChaCha8Rng) -> Result<Scene> {
        let (rows, columns) = (scene.image.height(), scene.image.width());
        let shortest = self.sizes[rng.random_range(0..self.sizes.len())];
        let ratio = |wanted: usize, side: usize| wanted as f64 / side as f64;
        let factor = ratio(shortest, rows.min(columns)).min(ratio(self.longest, rows.max(columns)));
        resized(scene, [rows, columns].map(|side| times(side, factor)))
    }
}

/// Large-scale jitter (Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance segmentation", 2021): the picture is
/// scaled so that it fits a square, times a random factor; then the square is filled with a random part of what is larger, or with a
/// ground to the right and below what is smaller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleJitter {
    /// The square's side, in pixels.
    pub side: usize,
    /// Least and greatest factor.
    pub scale: [f64; 2],
    /// The colour of the ground.
    pub fill: [u8; 3],
}

impl Default for ScaleJitter {
    /// 1024 pixels times 0.1 … 2, as in the paper.
    fn default() -> Self {
        Self { side: 1024, scale: [0.1, 2.0], fill: GROUND }
    }
}

impl ScaleJitter {
    pub(super) fn check(&self) -> Result<()> {
        within("side", self.side as f64, 1.0, LONGEST).and_then(|()| span("scale", self.scale, 0.001, 10.0))
    }

    pub(super) fn apply(&self, scene: &Scene, rng: &mut ChaCha8Rng) -> Result<Scene> {
        let (rows, columns) = (scene.image.height(), scene.image.width());
        let factor = between(self.scale, rng) * self.side as f64 / rows.max(columns) as f64;
        let [rows, columns] = [rows, columns].map(|side| times(side, factor));
        let mut start = |length: usize| rng.random_range(0..=length.saturating_sub(self.side));
        let (upper, left) = (start(rows), start(columns));
        let window = Window { left, upper, columns: columns.min(self.side), rows: rows.min(self.side) };
        let part = cropped(&resized(scene, [rows, columns])?, window)?;
        on_ground(&part, [self.side; 2], [0, 0], self.fill)
    }
}

/// A side times a factor, cut to whole pixels, at least one.
fn times(side: usize, factor: f64) -> usize {
    ((side as f64 * factor) as usize).max(1)
}

#[cfg(test)]
mod tests {
    use cirio_vision::Image;
    use rand_chacha::rand_core::SeedableRng;

    use super::super::super::Instance;
    use super::super::sanitise;
    use super::*;

    fn scene(columns: usize, rows: usize) -> Result<Scene> {
        let edges = [0.0, 0.0, columns as f32, rows as f32];
        let instance = Instance { edges, class: 0, mask: Some(vec![1; rows * columns]), keypoints: Vec::new() };
        Ok(Scene { image: Image::filled(columns, rows, 3, 50)?, instances: vec![instance] })
    }

    /// `r = min(size / min(h, w), longest / max(h, w)); int(w * r), int(h * r)`
    #[test]
    fn the_shortest_side_has_the_size_asked_for() -> Result<()> {
        for (columns, rows, size, longest, expected) in
            [(64, 48, 24, 1333, (32, 24)), (33, 50, 20, 1333, (20, 30)), (100, 10, 20, 90, (90, 9)), (500, 1, 2, 10, (10, 1))]
        {
            let resized = ShortestSide { sizes: vec![size], longest }.apply(&scene(columns, rows)?, &mut ChaCha8Rng::seed_from_u64(0))?;
            assert_eq!((resized.image.width(), resized.image.height()), expected);
            assert_eq!(resized.instances[0].edges, [0.0, 0.0, expected.0 as f32, expected.1 as f32]);
        }
        Ok(())
    }

    #[test]
    fn what_is_smaller_than_the_square_has_ground_to_the_right_and_below() -> Result<()> {
        let half = ScaleJitter { side: 40, scale: [0.5; 2], fill: [1, 2, 3] }.apply(&scene(20, 10)?, &mut ChaCha8Rng::seed_from_u64(0))?;
        assert_eq!((half.image.width(), half.image.height(), half.instances[0].edges), (40, 40, [0.0, 0.0, 20.0, 10.0]));
        assert_eq!((half.image.pixel(9, 19), half.image.pixel(10, 19)), (Some(&[50; 3][..]), Some(&[1, 2, 3][..])));
        Ok(())
    }

    #[test]
    fn of_what_is_larger_any_part_may_be_left() -> Result<()> {
        let twice = ScaleJitter { side: 8, scale: [2.0; 2], fill: GROUND };
        // A mask of the left half: how much of it is left tells the column.
        let mut scene = scene(8, 8)?;
        scene.instances[0].mask = Some([1, 1, 1, 1, 0, 0, 0, 0].repeat(8));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let widths =
            (0..100).map(|_| Ok(sanitise(twice.apply(&scene, &mut rng)?)?.instances.first().map_or(0, |one| one.edges[2] as usize)));
        let widths = widths.collect::<Result<std::collections::BTreeSet<_>>>()?;
        assert_eq!(widths, (0..=8).collect());
        Ok(())
    }
}
