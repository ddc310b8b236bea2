//! A page of what a network saw in one picture: what it said, the maps, and the network drawn layer by layer.
//!
//! The page is one file of HTML. It loads nothing, runs no script, and reads well on a phone, on a desk, in the dark and on paper.

mod album;
mod page;
mod tree;

use cirio_vision::Image;

use crate::Result;
use album::{Album, Picture};

/// What a network saw in one picture. Texts are plain: they are escaped where the page is written, and what is empty is left out of it.
/// Pictures of more than 960 pixels a side are shrunk.
#[derive(Clone, Debug)]
pub struct Report {
    /// The headline, such as the picture's name.
    pub title: String,
    /// The network, by its name.
    pub model: String,
    /// Its weights, by their name.
    pub weights: String,
    /// The picture.
    pub picture: Image,
    /// Classes with their probabilities, 0 … 1, the most likely first.
    pub predictions: Vec<(String, f32)>,
    /// Maps over the picture, and other pictures that belong to no layer.
    pub figures: Vec<Figure>,
    /// The layers in the order of [`cirio_nn::Table::rows`], where the layers of a block come before the block: `layer1.0.conv1`, …, `layer1.0`.
    pub layers: Vec<LayerSeen>,
    /// Remarks, such as what was left out and why.
    pub notes: Vec<String>,
}

/// A picture with a caption.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is: `Grad-CAM`.
    pub title: String,
    /// How it is to be read, in a sentence.
    pub about: String,
    /// The picture.
    pub image: Image,
}

/// A layer and what it made of the picture.
#[derive(Clone, Debug)]
pub struct LayerSeen {
    /// Its name. A layer whose name begins with that of a later one and a dot is a part of that block.
    pub name: String,
    /// What it is: `conv 3×3, stride 2`.
    pub kind: String,
    /// What it gives: `64×56×56`.
    pub output: String,
    /// Trainable numbers, those of the layers inside of it left out.
    pub parameters: u64,
    /// A sheet of its activations; a layer with neither a sheet nor parameters is a line. A sheet of at most 256 colours takes a third of the
    /// bytes that others take.
    pub activations: Option<Image>,
    /// What the sheet shows: `64 of 256 maps`.
    pub shown: String,
}

/// The longest side of a picture, in pixels.
const LONGEST: usize = 960;
/// The most bytes of pictures on a page; as text they are a third more.
const MOST_BYTES: usize = 3 << 20;

/// The pictures of a page.
struct Pictures {
    picture: Picture,
    /// One a figure; `None` where there was no room.
    figures: Vec<Option<Picture>>,
    /// One a layer; `None` where there is none, or was no room.
    sheets: Vec<Option<Picture>>,
    /// How many found no room.
    left_out: usize,
}

impl Report {
    /// The page, of some 4 MB at most beside its texts. Where the pictures are more than that, sheets are left out, those inside of blocks
    /// first and the later layers before the earlier ones; the page says how many.
    ///
    /// # Errors
    /// When a picture cannot be written as a PNG.
    pub fn html(&self) -> Result<String> {
        let tree = tree::of(&self.layers);
        Ok(page::html(self, &tree, &self.pictures(&tree, MOST_BYTES)?))
    }

    /// The pictures as files of at most `most` bytes together, the picture itself, which is always there, counted.
    fn pictures(&self, tree: &[tree::Node], most: usize) -> Result<Pictures> {
        let picture = Picture::new(&self.picture, LONGEST)?;
        let mut album = Album::new(most.saturating_sub(picture.bytes()));
        let figures = self.figures.iter().map(|figure| album.add(&figure.image, LONGEST)).collect::<Result<_>>()?;
        let mut sheets = vec![None; self.layers.len()];
        for index in tree::from_the_outside(tree) {
            if let Some(image) = &self.layers[index].activations {
                sheets[index] = album.add(image, LONGEST)?;
            }
        }
        Ok(Pictures { picture, figures, sheets, left_out: album.left_out() })
    }
}

#[cfg(test)]
mod tests;
