//! Pictures with the objects in them: boxes, outlines and key points.
//!
//! Every format is read into an [`ObjectSet`], and all but labelme's are written from one. Classes count from 0 here; the background is no class.

pub mod augment;
mod check;
pub mod coco;
mod convert;
mod judge;
pub mod labelme;
mod loader;
mod open;
mod outline;
mod problem;
pub mod scenes;
mod set;
pub mod voc;
pub mod yolo;

use std::path::PathBuf;

use cirio_coco::Rle;
use cirio_vision::Image;

pub use check::{Checked, CheckedPart, check};
pub use convert::{Converted, convert};
pub use loader::{Grouping, SceneBatch, SceneEpoch, SceneLoader, SceneLoaderConfig, Scenes};
pub(crate) use open::find;
pub use problem::{Problem, Severity, Subject};

/// The edges x₁, y₁, x₂, y₂ of a box in pixels, as the file has them.
pub type Edges = [f64; 4];

/// The pixels of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Outline {
    /// Polygons in pixels, each x, y, x, y, …; together they are the object.
    Polygons(Vec<Vec<f64>>),
    /// A mask of the picture's size.
    Runs(Rle),
}

/// A point of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keypoint {
    /// Pixels from the left edge.
    pub x: f64,
    /// Pixels from the upper edge.
    pub y: f64,
    /// 0 not labelled, 1 labelled but hidden, 2 seen.
    pub visibility: u8,
}

/// An object in a picture, as it was labelled.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The number that the file gives it, or its number in the set, from 1; for messages and evaluation.
    pub id: u64,
    /// What it is in the [file of labels](Picture::labels) of its picture, where that has one of its own.
    pub place: Option<Subject>,
    /// Its class, from 0, an index into [`ObjectSet::categories`].
    pub class: usize,
    /// Its box.
    pub edges: Edges,
    /// Its pixels, where they were labelled.
    pub outline: Option<Outline>,
    /// Its points, as many as the set has names for, or none.
    pub keypoints: Vec<Keypoint>,
    /// Its area in pixels: the file's, else the mask's, else the box's. COCO sorts objects into small, medium and large by it.
    pub area: f64,
    /// Whether it stands for many objects that were not told apart (COCO's `iscrowd`, VOC's `difficult`): it is not learnt from, and finding it
    /// is neither right nor wrong.
    pub crowd: bool,
}

/// A picture and its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The number that the file gives it, or its place in the set.
    pub id: u64,
    /// The picture's file.
    pub path: PathBuf,
    /// The file of labels of this picture alone, where the format has such; YOLO leaves it out where there is no object.
    pub labels: Option<PathBuf>,
    /// Rows and columns, as the file says.
    pub size: [usize; 2],
    /// What is in it; there may be nothing.
    pub objects: Vec<Object>,
}

/// A class of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// The number that the file gives it.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// Labelled pictures. Only the labels are in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectSet {
    /// Where it comes from, in words.
    pub name: String,
    /// The K classes; an object's class is an index into them.
    pub categories: Vec<Category>,
    /// The names of the key points of an object, where there are any.
    pub keypoints: Vec<String>,
    /// The pictures.
    pub pictures: Vec<Picture>,
    /// What was wrong when it was read; what could not be used was left out.
    pub problems: Vec<Problem>,
}

/// An object to learn from, in the pixels of a decoded picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The edges x₁, y₁, x₂, y₂.
    pub edges: [f32; 4],
    /// Its class, from 0.
    pub class: usize,
    /// H × W pixels row by row, 1 inside.
    pub mask: Option<Vec<u8>>,
    /// Its points.
    pub keypoints: Vec<Keypoint>,
}

/// A decoded picture with what is to be learnt from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// The picture.
    pub image: Image,
    /// Its objects, without crowds.
    pub instances: Vec<Instance>,
}
