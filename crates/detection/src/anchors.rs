//! Anchors: the boxes that proposals are measured from (Ren, He, Girshick & Sun, "Faster R-CNN", 2015, section 3.1.1).

use crate::boxes::Xyxy;

/// The anchors of one level of feature maps: around each place one box a size and ratio.
#[derive(Clone, Debug, PartialEq)]
pub struct Anchors {
    /// Sides of a square of the same area, in pixels.
    pub sizes: Vec<f32>,
    /// Height over width.
    pub ratios: Vec<f32>,
}

impl Anchors {
    /// A, the number of anchors at each place.
    pub fn count(&self) -> usize {
        self.sizes.len() * self.ratios.len()
    }

    /// The boxes around (0, 0), all sizes of the first ratio first. Their edges are whole numbers, halves rounded to even ones.
    pub fn base(&self) -> Vec<Xyxy> {
        let of = |ratio: f32, size: f32| {
            let height = ratio.sqrt();
            let (width, height) = (1.0 / height * size, height * size);
            [-width, -height, width, height].map(|side| (side / 2.0).round_ties_even())
        };
        self.ratios.iter().flat_map(|&ratio| self.sizes.iter().map(move |&size| of(ratio, size))).collect()
    }

    /// The anchors of maps of `[rows, columns]` for a padded image of `image`, row by row, place by place.
    ///
    /// As in torchvision, the first place is at the image's corner, not half a stride from it, and strides are whole numbers: the image's
    /// sides by those of the maps, rounded down. They are not clipped to the image.
    pub fn grid(&self, maps: [usize; 2], image: [usize; 2]) -> Vec<Xyxy> {
        let base = self.base();
        let [rows, columns] = maps;
        let [down, right] = [0, 1].map(|axis| image[axis] / maps[axis].max(1));
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| [column * right, row * down].map(|place| place as f32)));
        places.flat_map(|[x, y]| base.iter().map(move |[a, b, c, d]| [a + x, b + y, c + x, d + y])).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::boxes::area;

    const RATIOS: [f32; 3] = [0.5, 1.0, 2.0];

    fn level(size: f32) -> Anchors {
        Anchors { sizes: vec![size], ratios: RATIOS.to_vec() }
    }

    #[test]
    fn the_pyramids_anchors() {
        for (size, flat, square) in [(32.0, [23.0, 11.0], 16.0), (64.0, [45.0, 23.0], 32.0), (512.0, [362.0, 181.0], 256.0)] {
            let [x, y] = flat;
            let expected = vec![[-x, -y, x, y], [-square, -square, square, square], [-y, -x, y, x]];
            assert_eq!(level(size).base(), expected, "{size}");
        }
        // 5/2 and 7/2 are rounded to 2 and 4.
        let halves = Anchors { sizes: vec![5.0, 7.0], ratios: vec![1.0] };
        assert_eq!(halves.base(), [[-2.0, -2.0, 2.0, 2.0], [-4.0, -4.0, 4.0, 4.0]]);
    }

    #[test]
    fn a_grid_by_hand() {
        let anchors = Anchors { sizes: vec![4.0], ratios: vec![1.0] };
        // 2×3 places on 13×12 pixels: strides 6 and 4.
        let at = |x: f32, y: f32| [x - 2.0, y - 2.0, x + 2.0, y + 2.0];
        let expected = [at(0.0, 0.0), at(4.0, 0.0), at(8.0, 0.0), at(0.0, 6.0), at(4.0, 6.0), at(8.0, 6.0)];
        assert_eq!(anchors.grid([2, 3], [13, 12]), expected);
        assert!(anchors.grid([0, 3], [13, 12]).is_empty());
    }

    proptest! {
        #[test]
        fn every_place_has_every_anchor(size in 8.0..400f32, rows in 1..5usize, columns in 1..5usize, stride in 1..32usize) {
            let anchors = level(size);
            let grid = anchors.grid([rows, columns], [rows * stride, columns * stride]);
            prop_assert_eq!(grid.len(), rows * columns * anchors.count());
            prop_assert_eq!(&grid[..3], &anchors.base()[..]);
            for anchor in grid {
                // Edges are rounded: by up to half a pixel each.
                prop_assert!((area(anchor).sqrt() - size).abs() < 2.0);
            }
        }
    }
}
