//! A picture that explains, and what is said of it.

use cirio_vision::Image;
use serde::Serialize;

/// What was drawn.
pub enum Drawing {
    Still(Image),
    /// The frames of an animation, all of one size.
    Moving(Vec<Image>),
    /// SVG.
    Plot(String),
}

/// A picture that was made.
pub struct Figure {
    /// What it is.
    pub title: String,
    /// One sentence about it.
    pub about: String,
    pub drawing: Drawing,
    /// What it is of.
    pub of: Of,
}

impl Figure {
    /// A picture, of nothing in particular.
    pub fn still(title: String, about: String, image: Image) -> Self {
        Self { title, about, drawing: Drawing::Still(image), of: Of::default() }
    }
}

/// What a figure is of.
#[derive(Clone, Default, Serialize)]
pub struct Of {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<usize>,
}

/// The class that evidence was looked for.
#[derive(Clone, Serialize)]
pub struct Class {
    pub index: usize,
    pub name: String,
    pub probability: f32,
}
