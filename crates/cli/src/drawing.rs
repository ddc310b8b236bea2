//! A picture with what is in it drawn on it.

use anyhow::Result;
use cirio_detection::Rle;
use cirio_detection::keypoints::{COCO_NAMES, COCO_SKELETON, Keypoint};
use cirio_vision::{Canvas, Colour, Image, class_colour};

/// The logit over which a point is drawn, as Detectron has it. Points are always somewhere, also those that cannot be seen.
pub const SEEN: f32 = 2.0;

/// A picture on which objects are drawn; the last one is on top, and words are above all.
pub struct Drawing {
    canvas: Canvas,
    words: Vec<([f32; 4], String, Colour)>,
}

impl Drawing {
    pub fn new(picture: &Image) -> Self {
        Self { canvas: Canvas::new(picture), words: Vec::new() }
    }

    /// Draws an object: its mask, its box and words about it, in the colour of its class.
    pub fn object(&mut self, class: usize, bounds: [f32; 4], mask: Option<&Rle>, words: String) {
        let colour = class_colour(class);
        self.canvas.tint(mask.into_iter().flat_map(Rle::runs).flatten(), colour);
        self.canvas.outline(bounds, colour);
        self.words.push((bounds, words, colour));
    }

    /// Draws the points of an object that can be seen, those of a person with the lines between them.
    pub fn keypoints(&mut self, class: usize, points: &[Keypoint]) {
        let seen = |which: usize| points.get(which).filter(|point| point.score > SEEN).map(|point| [point.x, point.y]);
        if points.len() == COCO_NAMES.len() {
            let lines = COCO_SKELETON.into_iter().filter_map(|[from, to]| seen(from).zip(seen(to)));
            lines.for_each(|(from, to)| self.canvas.line(from, to, class_colour(class)));
        }
        for which in 0..points.len() {
            seen(which).into_iter().for_each(|point| self.canvas.dot(point, class_colour(which)));
        }
    }

    pub fn finish(mut self) -> Result<Image> {
        for (bounds, words, colour) in self.words {
            self.canvas.label(bounds, &words, colour);
        }
        Ok(self.canvas.into_image()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a picture of zeros has changed.
    fn drawn(points: &[Keypoint]) -> Vec<usize> {
        let mut drawing = Drawing::new(&Image::filled(40, 40, 3, 0).expect("a picture"));
        drawing.keypoints(1, points);
        let image = drawing.finish().expect("a drawing");
        (0..40 * 40).filter(|place| image.pixel(place / 40, place % 40).is_some_and(|pixel| pixel != [0; 3])).collect()
    }

    #[test]
    fn a_person_has_lines_between_points_that_are_seen() {
        let point = |which: usize, score| Keypoint { x: 20.5, y: if which < 11 { 5.5 } else { 30.5 }, score };
        let middle = 18 * 40 + 20;
        let person: Vec<Keypoint> = (0..17).map(|which| point(which, 3.0)).collect();
        assert!(drawn(&person).contains(&middle), "from shoulders to hips");
        let hidden: Vec<Keypoint> = (0..17).map(|which| point(which, if which < 11 { 3.0 } else { 1.9 })).collect();
        assert!(!drawn(&hidden).is_empty() && drawn(&hidden).iter().all(|place| place / 40 < 9));
        assert!(!drawn(&person[..16]).contains(&middle), "only a person's points are joined");
        assert!(drawn(&[point(0, f32::NAN)]).is_empty());
    }
}
