//! What can be done with an [`ObjectSet`], whatever its format.

use std::path::Path;

use cirio_vision::Image;
use rand::seq::SliceRandom;

use super::{Instance, Object, ObjectSet, Picture, Problem, Scene, Scenes, Severity, Subject};
use crate::files::guard;
use crate::{Error, Purpose, Result, derived_rng, hold_out};

/// The most pixels of all masks of a picture that are drawn.
const MOST_MASKED: usize = 1 << 30;

impl ObjectSet {
    /// The number of pictures, N.
    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// The number of pictures that were left out when it was read; [`problems`](Self::problems) say why.
    pub fn left_out(&self) -> usize {
        let lost = |problem: &&Problem| problem.severity == Severity::Error && matches!(problem.subject, Some(Subject::Picture(_)));
        self.problems.iter().filter(lost).count()
    }

    /// One line about the set.
    pub fn summary(&self) -> String {
        let objects: usize = self.pictures.iter().map(|picture| picture.objects.len()).sum();
        format!("{}: {} pictures with {objects} objects of {} classes", self.name, self.len(), self.categories.len())
    }

    /// The pictures `indices`, in that order.
    ///
    /// # Errors
    /// If there is no picture with one of the numbers.
    pub fn subset(&self, indices: &[usize]) -> Result<Self> {
        let picture = |&index: &usize| self.pictures.get(index).cloned().ok_or(Error::Index { index, len: self.len() });
        let pictures = indices.iter().map(picture).collect::<Result<_>>()?;
        Ok(Self {
            name: self.name.clone(),
            categories: self.categories.clone(),
            keypoints: self.keypoints.clone(),
            pictures,
            problems: self.problems.clone(),
        })
    }

    /// At most `count` pictures, drawn with `seed`, in their old order.
    ///
    /// # Errors
    /// Never: the pictures are its own.
    pub fn sample(&self, count: usize, seed: u64) -> Result<Self> {
        let mut indices: Vec<usize> = (0..self.len()).collect();
        indices.shuffle(&mut derived_rng(seed, 0, Purpose::Sample, u64::MAX));
        indices.truncate(count);
        indices.sort_unstable();
        self.subset(&indices)
    }

    /// Divides the pictures into (to train with, held out): `fraction` of them is drawn by the seed, rounded, but at least one picture and never
    /// all. With a fraction of 0 nothing is held out.
    ///
    /// # Errors
    /// When the fraction is not in 0 ≤ x < 1.
    pub fn hold_out(&self, fraction: f64, seed: u64) -> Result<(Self, Self)> {
        crate::dataset::check_fraction(Some(fraction))?;
        let (train, held) = hold_out(&vec![0; self.len()], fraction, seed);
        Ok((self.subset(&train)?, self.subset(&held)?))
    }

    /// Decodes picture `index`, cuts boxes at its edges and draws the masks. Crowds are left out, and boxes of which nothing is left.
    ///
    /// # Errors
    /// If there is no such picture, it cannot be decoded or has another size than the labels say, a mask cannot be drawn, or all masks together
    /// would have more than 2³⁰ pixels; with the picture's name.
    pub fn scene(&self, index: usize) -> Result<Scene> {
        let picture = self.pictures.get(index).ok_or(Error::Index { index, len: self.len() })?;
        let name = || picture.path.display().to_string();
        let image = guard(name, || Image::open(&picture.path).map_err(|error| Error::picture(name(), error)))?;
        if let Some(reason) = picture.differs(&image) {
            return Err(Error::Picture { picture: name(), reason });
        }
        let objects = picture.objects.iter().filter(|object| !object.crowd);
        let (masks, [rows, columns]) = (objects.clone().filter(|object| object.outline.is_some()).count(), picture.size);
        if rows.saturating_mul(columns).saturating_mul(masks) > MOST_MASKED {
            return Err(Error::Picture {
                picture: name(), reason: format!("{masks} masks of {rows}×{columns} are more than 2³⁰ pixels")
            });
        }
        let instances = objects.filter_map(|object| instance(picture, object).transpose()).collect::<Result<_>>()?;
        Ok(Scene { image, instances })
    }
}

impl Scenes for ObjectSet {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn scene(&self, index: usize) -> Result<Scene> {
        Self::scene(self, index)
    }

    fn picture_name(&self, index: usize) -> String {
        self.pictures.get(index).map_or_else(|| format!("picture {index}"), |picture| picture.path.display().to_string())
    }

    fn size(&self, index: usize) -> [usize; 2] {
        self.pictures.get(index).map_or([0; 2], |picture| picture.size)
    }
}

impl Picture {
    /// How the size of the decoded picture differs from what the labels say.
    pub(super) fn differs(&self, image: &Image) -> Option<String> {
        let ([rows, columns], [said_rows, said_columns]) = ([image.height(), image.width()], self.size);
        let differs = [rows, columns] != self.size;
        differs.then(|| format!("is {rows}×{columns} (rows × columns), its labels say {said_rows}×{said_columns}"))
    }

    /// The file that has the label of an object, `whole` where all pictures have one file, and what the object is there.
    pub(super) fn label_of<'a>(&'a self, object: &Object, whole: &'a Path) -> (&'a Path, Subject) {
        (self.labels.as_deref().unwrap_or(whole), object.place.unwrap_or(Subject::Object(object.id)))
    }
}

/// What is to be learnt of an object; nothing where its box is empty.
fn instance(picture: &Picture, object: &Object) -> Result<Option<Instance>> {
    let [rows, columns] = picture.size;
    let [left, upper, right, lower] = object.edges;
    let within = |at: f64, most: usize| at.clamp(0.0, most as f64) as f32;
    let edges = [within(left, columns), within(upper, rows), within(right, columns), within(lower, rows)];
    // Written so that what is not a number is empty too.
    if !(edges[2] > edges[0] && edges[3] > edges[1]) {
        return Ok(None);
    }
    let failed = |error: cirio_coco::Error| Error::Picture {
        picture: picture.path.display().to_string(),
        reason: format!("the mask of object {}: {error}", object.id),
    };
    let mask = object.outline.as_ref().map(|outline| outline.mask(picture.size)).transpose().map_err(failed)?;
    let mask = mask.map(|mask| mask.decode());
    Ok(Some(Instance { edges, class: object.class, mask, keypoints: object.keypoints.clone() }))
}
