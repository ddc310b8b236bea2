//! Labelled objects as an evaluation compares them.

use cirio_coco::Truth;

use super::{Object, ObjectSet, Picture};
use crate::{Error, Result};

impl ObjectSet {
    /// What is to be found in picture `index`, crowds too.
    ///
    /// # Errors
    /// If there is no such picture, or a mask cannot be drawn; with the picture's name.
    pub fn truths(&self, index: usize) -> Result<Vec<Truth>> {
        let picture = self.pictures.get(index).ok_or(Error::Index { index, len: self.pictures.len() })?;
        picture.objects.iter().map(|object| truth(picture, object)).collect()
    }
}

fn truth(picture: &Picture, object: &Object) -> Result<Truth> {
    let [left, upper, right, lower] = object.edges;
    let failed = |error: cirio_coco::Error| Error::Picture {
        picture: picture.path.display().to_string(),
        reason: format!("the mask of object {}: {error}", object.id),
    };
    Ok(Truth {
        category: object.class,
        bbox: [left, upper, right - left, lower - upper],
        area: object.area,
        crowd: object.crowd,
        mask: object
            .outline
            .as_ref()
            .map(|outline| outline.mask(picture.size).map(std::borrow::Cow::into_owned))
            .transpose()
            .map_err(failed)?,
        keypoints: object.keypoints.iter().map(|point| (point.visibility > 0).then_some([point.x, point.y])).collect(),
    })
}
