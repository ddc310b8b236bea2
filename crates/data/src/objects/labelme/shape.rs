//! The shapes of labelme, and what they cover.

use std::f64::consts::PI;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cirio_coco::Rle;
use cirio_vision::{Image, MAX_PIXELS};
use serde::Deserialize;

use crate::files::guard;
use crate::objects::Outline;
use crate::{Error, Result};

/// How far the polygon of a circle may be from it, in pixels.
const GAP: f64 = 0.25;

/// The most corners of such a polygon.
const MOST_CORNERS: f64 = 1024.0;

/// A shape, as far as it is used.
#[derive(Deserialize)]
pub(super) struct Shape {
    pub label: String,
    points: Vec<[f64; 2]>,
    pub group_id: Option<i64>,
    /// Old files have polygons alone.
    shape_type: Option<String>,
    /// The pixels of a mask: a PNG in base64.
    mask: Option<String>,
}

/// What a shape covers.
pub(super) enum Region {
    /// The corners of a box.
    Box(Vec<f64>),
    /// The corners of a polygon.
    Polygon(Vec<f64>),
    /// Pixels.
    Mask(Rle),
}

impl Shape {
    /// What it covers in a picture of `[rows, columns]`, or why that is nothing that a detector could find.
    pub(super) fn region(&self, size: [usize; 2]) -> Result<Region, String> {
        let kind = self.shape_type.as_deref().unwrap_or("polygon");
        let corners = || self.points.as_flattened().to_vec();
        match (kind, self.points.as_slice()) {
            ("polygon", [_, _, _, ..]) | ("oriented_rectangle" | "rotation", [_, _, _, _]) => Ok(Region::Polygon(corners())),
            // Two corners in labelme, four in X-AnyLabeling.
            ("rectangle", &[[x1, y1], [x2, y2]]) => Ok(Region::Box(vec![x1, y1, x2, y1, x2, y2, x1, y2])),
            ("rectangle", [_, _, _, _]) => Ok(Region::Box(corners())),
            ("circle", &[middle, at]) => Ok(Region::Polygon(circle(middle, at))),
            ("mask", &[corner, _]) => self.mask(corner, size).map(Region::Mask),
            ("point" | "points" | "line" | "linestrip", _) => Err(format!("a {kind} has no area, which an object has")),
            ("polygon" | "oriented_rectangle" | "rotation" | "rectangle" | "circle" | "mask", points) => {
                Err(format!("a {kind} of {} points", points.len()))
            }
            _ => Err(format!("{kind:?} is none of the types polygon, rectangle, oriented_rectangle, circle and mask")),
        }
    }

    /// The pixels of its mask, whose upper left corner is at `corner`.
    fn mask(&self, corner: [f64; 2], size: [usize; 2]) -> Result<Rle, String> {
        let text = self.mask.as_ref().ok_or("a mask without pixels")?;
        let bytes = BASE64_STANDARD.decode(text).map_err(|error| format!("a mask that is not in base64: {error}"))?;
        let name = || "a mask".to_owned();
        let pixels =
            guard(name, || Image::decode(&bytes).map_err(|error| Error::picture(name(), error))).map_err(|error| error.to_string())?;
        placed(&pixels, corner.map(|number| number.round() as i64), size)
    }
}

/// The corners of a polygon for the circle around `middle` through `at`: as many as it needs, a multiple of four, so that the box is the circle's.
fn circle([x, y]: [f64; 2], [at_x, at_y]: [f64; 2]) -> Vec<f64> {
    let radius = (at_x - x).hypot(at_y - y);
    let half = (1.0 - GAP / radius.max(GAP)).acos();
    let corners = 4 * ((PI / half).clamp(12.0, MOST_CORNERS) / 4.0).ceil() as usize;
    let corner = |number: usize| {
        let angle = 2.0 * PI * number as f64 / corners as f64;
        [x + radius * angle.cos(), y + radius * angle.sin()]
    };
    (0..corners).flat_map(corner).collect()
}

/// The pixels of a mask, which begin in the column `left` and the row `upper`, in a picture of `[rows, columns]`.
fn placed(mask: &Image, [left, upper]: [i64; 2], [rows, columns]: [usize; 2]) -> Result<Rle, String> {
    if rows.saturating_mul(columns) as u64 > MAX_PIXELS {
        return Err(format!("a mask in a picture of {rows}×{columns}, more than {MAX_PIXELS} pixels"));
    }
    let inside = |from: i64, at: usize, most: usize| usize::try_from(from.saturating_add(at as i64)).ok().filter(|&place| place < most);
    // Runs go column by column.
    let (mut counts, mut end) = (Vec::new(), 0);
    for column in 0..mask.width() {
        let Some(to_column) = inside(left, column, columns) else { continue };
        for row in 0..mask.height() {
            let Some(to_row) = inside(upper, row, rows) else { continue };
            if mask.pixel(row, column).is_some_and(|pixel| pixel.iter().any(|&value| value != 0)) {
                let place = (to_column * rows + to_row) as u32;
                match counts.last_mut() {
                    Some(run) if place == end => *run += 1,
                    _ => counts.extend([place - end, 1]),
                }
                end = place + 1;
            }
        }
    }
    counts.push((rows * columns) as u32 - end);
    Rle::new([rows, columns], counts).map_err(|error| error.to_string())
}

/// The outline of an object of these regions in a picture of `[rows, columns]`: polygons, where none of them has pixels.
pub(super) fn outline(regions: Vec<Region>, size: [usize; 2]) -> Result<Outline, String> {
    let (mut polygons, mut masks) = (Vec::new(), Vec::new());
    for region in regions {
        match region {
            Region::Box(corners) | Region::Polygon(corners) => polygons.push(corners),
            Region::Mask(mask) => masks.push(mask),
        }
    }
    if masks.is_empty() {
        return Ok(Outline::Polygons(polygons));
    }
    let failed = |error: cirio_coco::Error| error.to_string();
    if !polygons.is_empty() {
        masks.push(Outline::Polygons(polygons).mask(size).map_err(failed)?.into_owned());
    }
    Rle::union(size, &masks).map(Outline::Runs).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_a_polygon_around_it() {
        for (radius, most) in [(0.0, 12), (1.0, 12), (40.0, 60), (1e6, 1024)] {
            let corners = circle([50.0, 20.0], [50.0, 20.0 - radius]);
            let (points, _) = corners.as_chunks::<2>();
            assert!(points.len() % 4 == 0 && points.len() <= most, "{radius}: {}", points.len());
            assert!(points.iter().all(|[x, y]| ((x - 50.0).hypot(y - 20.0) - radius).abs() < 1e-9 * (1.0 + radius)), "{radius}");
            let outline = Outline::Polygons(vec![corners]);
            let [left, upper, right, lower] = outline.bounds().expect("a box");
            let edges = [(left, 50.0 - radius), (upper, 20.0 - radius), (right, 50.0 + radius), (lower, 20.0 + radius)];
            assert!(edges.iter().all(|(edge, circle)| (edge - circle).abs() < 1e-9 * (1.0 + radius)), "{radius}");
        }
        let area = Outline::Polygons(vec![circle([50.0, 50.0], [90.0, 50.0])]).area();
        assert!((area / (PI * 1600.0) - 1.0).abs() < 0.01, "{area}");
    }

    #[test]
    fn masks_are_cut_at_the_edges() {
        let mask = Image::new(2, 2, 1, vec![0, 255, 1, 1]).expect("a picture");
        for (corner, expected) in [
            ([1, 0], [0, 0, 1, 0, 1, 1]),
            ([-1, 0], [1, 0, 0, 1, 0, 0]),
            ([2, 1], [0, 0, 0, 0, 0, 0]),
            ([0, -1], [1, 1, 0, 0, 0, 0]),
            ([0, 0], [0, 1, 0, 1, 1, 0]),
            ([i64::MAX, i64::MIN], [0; 6]),
        ] {
            assert_eq!(placed(&mask, corner, [2, 3]).expect("a mask").decode(), expected, "{corner:?}");
        }
        assert!(placed(&mask, [0, 0], [usize::MAX, 2]).is_err());
    }
}
