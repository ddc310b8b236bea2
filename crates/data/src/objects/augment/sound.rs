//! What every picture with objects has to be, before a step and after it.

use cirio_vision::{Error, Result};

use super::super::{Instance, Keypoint, Scene};

/// A scene of which everything lies inside of the picture.
///
/// Where an object has a mask, its box is recomputed from it: from the first column and row with a pixel of it to the last, and 1 more.
/// Other boxes are cut off at the picture's edges. Objects of which nothing is left are dropped. Points outside of the picture are no
/// longer labelled, and what is not labelled lies at 0, 0, as COCO has it.
///
/// # Errors
/// When a mask does not have as many pixels as the picture.
pub fn sanitise(scene: Scene) -> Result<Scene> {
    let size = [scene.image.height(), scene.image.width()];
    let instances = scene.instances.into_iter().filter_map(|instance| sound(instance, size).transpose()).collect::<Result<_>>()?;
    Ok(Scene { image: scene.image, instances })
}

/// The object as far as it lies in a picture of this size; None where nothing of it does.
fn sound(mut instance: Instance, [rows, columns]: [usize; 2]) -> Result<Option<Instance>> {
    let (width, height) = (columns as f32, rows as f32);
    let edges = match &instance.mask {
        Some(mask) if mask.len() != rows * columns => {
            return Err(Error::Shape(format!("a mask has {} pixels, its picture {columns}×{rows}", mask.len())));
        }
        Some(mask) => extent(mask, columns),
        None => {
            let [left, upper, right, lower] = instance.edges;
            Some([left.clamp(0.0, width), upper.clamp(0.0, height), right.clamp(0.0, width), lower.clamp(0.0, height)])
        }
    };
    // An edge that is not a number makes the box an empty one.
    let Some(edges) = edges.filter(|[left, upper, right, lower]| left < right && upper < lower) else {
        return Ok(None);
    };
    instance.edges = edges;
    for point in &mut instance.keypoints {
        if point.visibility == 0 || !(0.0..=columns as f64).contains(&point.x) || !(0.0..=rows as f64).contains(&point.y) {
            *point = Keypoint { x: 0.0, y: 0.0, visibility: 0 };
        }
    }
    Ok(Some(instance))
}

/// The box of a mask's pixels; None where it has none.
fn extent(mask: &[u8], columns: usize) -> Option<[f32; 4]> {
    let mut found: Option<[usize; 4]> = None;
    for (row, pixels) in mask.chunks_exact(columns).enumerate() {
        // Most rows of most masks are empty; this sees it in a few steps, many pixels in each.
        if pixels.iter().fold(0, |any, pixel| any | pixel) == 0 {
            continue;
        }
        let inside = |&pixel: &u8| pixel != 0;
        if let (Some(first), Some(last)) = (pixels.iter().position(inside), pixels.iter().rposition(inside)) {
            let [left, upper, right, _] = found.unwrap_or([first, row, last + 1, row]);
            found = Some([left.min(first), upper, right.max(last + 1), row + 1]);
        }
    }
    found.map(|edges| edges.map(|edge| edge as f32))
}

#[cfg(test)]
mod tests {
    use cirio_vision::Image;

    use super::*;

    fn scene(instance: Instance) -> Result<Scene> {
        Ok(Scene { image: Image::filled(4, 3, 3, 0)?, instances: vec![instance] })
    }

    fn boxed(edges: [f32; 4]) -> Instance {
        Instance { edges, class: 2, mask: None, keypoints: Vec::new() }
    }

    #[test]
    fn a_box_is_what_its_mask_says() -> Result<()> {
        let mask = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0];
        let sane = sanitise(scene(Instance { mask: Some(mask), ..boxed([0.0, 0.0, 1.0, 1.0]) })?)?;
        assert_eq!(sane.instances[0].edges, [1.0, 1.0, 3.0, 3.0]);
        assert!(sanitise(scene(Instance { mask: Some(vec![0; 12]), ..boxed([0.0, 0.0, 4.0, 3.0]) })?)?.instances.is_empty());
        Ok(())
    }

    #[test]
    fn boxes_are_cut_off_and_empty_ones_dropped() -> Result<()> {
        let kept = sanitise(scene(boxed([-2.0, 1.5, f32::INFINITY, 2.0]))?)?;
        assert_eq!(kept.instances, [boxed([0.0, 1.5, 4.0, 2.0])]);
        for edges in [[1.0, 1.0, 1.0, 2.0], [3.0, 0.0, 2.0, 2.0], [4.0, 0.0, 9.0, 3.0], [f32::NAN, 0.0, 2.0, 2.0]] {
            assert!(sanitise(scene(boxed(edges))?)?.instances.is_empty(), "{edges:?}");
        }
        Ok(())
    }

    #[test]
    fn points_outside_are_no_longer_labelled() -> Result<()> {
        let point = |x, y| Keypoint { x, y, visibility: 2 };
        let keypoints = vec![point(4.0, 3.0), point(4.1, 0.0), point(0.0, -0.1), point(f64::NAN, 1.0)];
        let sane = sanitise(scene(Instance { keypoints, ..boxed([0.0, 0.0, 4.0, 3.0]) })?)?;
        let seen: Vec<u8> = sane.instances[0].keypoints.iter().map(|point| point.visibility).collect();
        assert_eq!(seen, [2, 0, 0, 0]);
        Ok(())
    }

    #[test]
    fn a_mask_of_another_size_is_an_error() -> Result<()> {
        let error = sanitise(scene(Instance { mask: Some(vec![1; 5]), ..boxed([0.0, 0.0, 4.0, 3.0]) })?).unwrap_err();
        assert_eq!(error.to_string(), "a mask has 5 pixels, its picture 4×3");
        Ok(())
    }
}
