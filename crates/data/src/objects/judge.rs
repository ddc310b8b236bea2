//! From labels and what was found to an [`Evaluation`].

use cirio_coco::{Evaluation, Found, Kind, Truth};

use super::{Object, ObjectSet, Picture};
use crate::{Error, Result};

impl ObjectSet {
    /// Compares what was found, a list for each picture in their order, with the labels.
    ///
    /// # Errors
    /// When there is not a list for each picture, an outline is not sound, or objects cannot be compared as [`Evaluation::add`] says; with the
    /// picture.
    pub fn evaluate(&self, found: &[Vec<Found>], kind: Kind) -> Result<Evaluation> {
        self.check_found(found)?;
        let mut evaluation = Evaluation::new(kind, self.categories.len());
        for (picture, found) in self.pictures.iter().zip(found) {
            let truths = picture.truths(evaluation.kind())?;
            evaluation.add(picture.id, &truths, found).map_err(|error| failed(picture, &error))?;
        }
        Ok(evaluation)
    }

    /// That there is a list of found objects for each picture.
    pub(super) fn check_found(&self, found: &[Vec<Found>]) -> Result<()> {
        match found.len() == self.len() {
            true => Ok(()),
            false => Err(Error::option("lists of found objects", found.len(), format!("{}, one for each picture", self.len()))),
        }
    }
}

impl Picture {
    /// Its objects as they are compared with found ones. Masks are made only where masks are compared.
    ///
    /// # Errors
    /// When an outline is not sound, with the picture and the object.
    pub fn truths(&self, kind: &Kind) -> Result<Vec<Truth>> {
        self.objects.iter().map(|object| truth(self, object, kind)).collect()
    }
}

fn truth(picture: &Picture, object: &Object, kind: &Kind) -> Result<Truth> {
    let [left, upper, right, lower] = object.edges;
    let outline = object.outline.as_ref().filter(|_| *kind == Kind::Masks);
    let mask = outline
        .map(|outline| outline.mask(picture.size))
        .transpose()
        .map_err(|error| failed(picture, &format!("object {}: {error}", object.id)))?;
    Ok(Truth {
        category: object.class,
        bbox: [left, upper, right - left, lower - upper],
        area: object.area,
        crowd: object.crowd,
        mask: mask.map(|mask| mask.into_owned()),
        keypoints: object.keypoints.iter().map(|point| (point.visibility > 0).then_some([point.x, point.y])).collect(),
    })
}

fn failed(picture: &Picture, reason: &dyn std::fmt::Display) -> Error {
    Error::Picture { picture: picture.path.display().to_string(), reason: reason.to_string() }
}
