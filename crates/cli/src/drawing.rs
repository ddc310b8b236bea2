//! A picture with what is in it drawn on it.

use anyhow::Result;
use cirio_detection::Rle;
use cirio_vision::{Canvas, Colour, Image, class_colour};

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

    pub fn finish(mut self) -> Result<Image> {
        for (bounds, words, colour) in self.words {
            self.canvas.label(bounds, &words, colour);
        }
        Ok(self.canvas.into_image()?)
    }
}
