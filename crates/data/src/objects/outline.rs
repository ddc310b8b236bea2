//! The measures of an outline.

use std::borrow::Cow;

use cirio_coco::Rle;
use cirio_vision::MAX_PIXELS;

use super::{Edges, Outline};

impl Outline {
    /// Its pixels in a picture of `[rows, columns]`.
    ///
    /// # Errors
    /// When polygons are not sound, as [`Rle::from_polygons`] says, a mask has another size, or the picture is larger than any that can be read.
    pub fn mask(&self, size: [usize; 2]) -> cirio_coco::Result<Cow<'_, Rle>> {
        if size[0].saturating_mul(size[1]) as u64 > MAX_PIXELS {
            let [rows, columns] = size;
            return Err(cirio_coco::Error::Rle(format!("a picture of {rows}×{columns} is more than {MAX_PIXELS} pixels")));
        }
        match self {
            Self::Polygons(polygons) => Rle::from_polygons(size, polygons).map(Cow::Owned),
            Self::Runs(runs) if runs.size() == size => Ok(Cow::Borrowed(runs)),
            Self::Runs(runs) => {
                let [rows, columns] = runs.size();
                Err(cirio_coco::Error::Rle(format!("a mask of {rows}×{columns} in a picture of {}×{}", size[0], size[1])))
            }
        }
    }

    /// The smallest box around it, or `None` where it is empty.
    pub fn bounds(&self) -> Option<Edges> {
        match self {
            Self::Polygons(polygons) => {
                around(polygons.iter().flat_map(|polygon| polygon.chunks_exact(2).map(|point| [point[0], point[1]])))
            }
            Self::Runs(runs) => runs.bounds().map(|edges| edges.map(f64::from)),
        }
    }

    /// Its area in pixels: a mask's pixels, or what polygons enclose.
    pub fn area(&self) -> f64 {
        match self {
            Self::Polygons(polygons) => polygons.iter().map(|polygon| enclosed(polygon)).sum(),
            Self::Runs(runs) => runs.area() as f64,
        }
    }
}

/// The box around points.
fn around(points: impl Iterator<Item = [f64; 2]>) -> Option<Edges> {
    points.fold(None, |edges, [x, y]| {
        let [left, upper, right, lower] = edges.unwrap_or([x, y, x, y]);
        Some([left.min(x), upper.min(y), right.max(x), lower.max(y)])
    })
}

/// The area inside of a polygon (the shoelace formula).
fn enclosed(polygon: &[f64]) -> f64 {
    let points: Vec<&[f64]> = polygon.chunks_exact(2).collect();
    let next = points.iter().cycle().skip(1);
    points.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum::<f64>().abs() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_area_of_polygons() {
        let outline = Outline::Polygons(vec![vec![1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0], vec![8.0, 0.5, 9.0, 0.5, 9.0, 1.5]]);
        assert_eq!((outline.bounds(), outline.area()), (Some([1.0, 0.5, 9.0, 3.0]), 6.5));
        assert_eq!((Outline::Polygons(vec![vec![]]).bounds(), Outline::Polygons(vec![]).area()), (None, 0.0));
    }

    #[test]
    fn bounds_and_area_of_runs() -> Result<(), cirio_coco::Error> {
        for (mask, bounds, area) in
            [([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None, 0.0), ([0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0], Some([1.0, 1.0, 2.0, 3.0]), 2.0)]
        {
            let outline = Outline::Runs(Rle::encode([3, 4], &mask)?);
            assert_eq!((outline.bounds(), outline.area()), (bounds, area), "{mask:?}");
        }
        Ok(())
    }
}
