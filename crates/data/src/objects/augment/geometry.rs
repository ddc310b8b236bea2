//! Scenes in other sizes and parts of them, without chance. What they do to the objects may need to be made sound.

use cirio_vision::{Image, Result, crop, resize};

use super::super::{Instance, Scene};

/// A part of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) left: usize,
    pub(super) upper: usize,
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// The scene in these rows and columns: the picture bilinear, each pixel of a mask is the one at ⌊place · old side / new side⌋.
///
/// # Errors
/// When a side is 0 or the picture would become too large.
pub(super) fn resized(scene: &Scene, [rows, columns]: [usize; 2]) -> Result<Scene> {
    let (width, height) = (scene.image.width(), scene.image.height());
    let image = resize(&scene.image, columns, rows)?;
    let (wider, higher) = (columns as f64 / width as f64, rows as f64 / height as f64);
    let instances = scene.instances.iter().map(|instance| {
        let mask = instance.mask.as_ref().map(|mask| nearest(mask, [height, width], [rows, columns]));
        transformed(instance, mask, |x| x * wider, |y| y * higher)
    });
    Ok(Scene { image, instances: instances.collect() })
}

/// The part of the scene in the window.
///
/// # Errors
/// When the window is empty or goes beyond the picture.
pub(super) fn cropped(scene: &Scene, window: Window) -> Result<Scene> {
    let Window { left, upper, columns, rows } = window;
    let part = |image: &Image| crop(image, left, upper, columns, rows);
    let instances = scene.instances.iter().map(|instance| {
        let mask = as_picture(instance, &scene.image)?.map(|mask| part(&mask)).transpose()?;
        Ok(transformed(instance, mask.map(Image::into_data), |x| x - left as f64, |y| y - upper as f64))
    });
    Ok(Scene { image: part(&scene.image)?, instances: instances.collect::<Result<_>>()? })
}

/// The scene on a larger ground of these rows and columns and of one colour, its upper left corner at `[upper, left]`, where it has to fit.
///
/// # Errors
/// When the ground would be too large a picture.
pub(super) fn on_ground(scene: &Scene, size: [usize; 2], [upper, left]: [usize; 2], colour: [u8; 3]) -> Result<Scene> {
    let ground = Image::new(1, 1, 3, colour.to_vec())?.with_channels(scene.image.channels())?;
    let image = placed(&scene.image, size, [upper, left], ground.data())?;
    let instances = scene.instances.iter().map(|instance| {
        let mask = as_picture(instance, &scene.image)?.map(|mask| placed(&mask, size, [upper, left], &[0])).transpose()?;
        Ok(transformed(instance, mask.map(Image::into_data), |x| x + left as f64, |y| y + upper as f64))
    });
    Ok(Scene { image, instances: instances.collect::<Result<_>>()? })
}

/// The object's mask as a grey picture of its scene's size.
pub(super) fn as_picture(instance: &Instance, image: &Image) -> Result<Option<Image>> {
    instance.mask.clone().map(|mask| Image::new(image.width(), image.height(), 1, mask)).transpose()
}

/// The object with another mask, and with its edges and labelled points at other places. What is not labelled has no place.
fn transformed(instance: &Instance, mask: Option<Vec<u8>>, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> Instance {
    let [left, upper, right, lower] = instance.edges.map(f64::from);
    let edges = [x(left), y(upper), x(right), y(lower)].map(|edge| edge as f32);
    let mut keypoints = instance.keypoints.clone();
    for point in keypoints.iter_mut().filter(|point| point.visibility > 0) {
        (point.x, point.y) = (x(point.x), y(point.y));
    }
    Instance { edges, class: instance.class, mask, keypoints }
}

fn placed(image: &Image, [rows, columns]: [usize; 2], [upper, left]: [usize; 2], pixel: &[u8]) -> Result<Image> {
    let channels = image.channels();
    let mut data = Image::filled(columns, rows, channels, 0)?.into_data();
    data.chunks_exact_mut(channels).for_each(|value| value.copy_from_slice(pixel));
    let lines = data.chunks_exact_mut(columns * channels).skip(upper);
    for (to, from) in lines.zip(image.data().chunks_exact(image.width() * channels)) {
        to[left * channels..][..from.len()].copy_from_slice(from);
    }
    Image::new(columns, rows, channels, data)
}

fn nearest(mask: &[u8], [old_rows, old_columns]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<u8> {
    let across: Vec<usize> = (0..columns).map(|column| column * old_columns / columns).collect();
    let mut output = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        let line = &mask[row * old_rows / rows * old_columns..][..old_columns];
        output.extend(across.iter().map(|&column| line[column]));
    }
    output
}

#[cfg(test)]
mod tests {
    use super::super::super::Keypoint;
    use super::super::sanitise;
    use super::*;

    /// 4 columns and 3 rows; the object has the pixels (1, 0), (1, 1), (2, 1) as (column, row), and two points.
    fn scene() -> Result<Scene> {
        let instance = Instance {
            edges: [1.0, 0.0, 3.0, 2.0],
            class: 3,
            mask: Some(vec![0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]),
            keypoints: vec![Keypoint { x: 2.5, y: 1.5, visibility: 2 }, Keypoint { x: 0.0, y: 0.0, visibility: 0 }],
        };
        Ok(Scene { image: Image::new(4, 3, 1, (0..12).collect())?, instances: vec![instance] })
    }

    #[test]
    fn a_part() -> Result<()> {
        let part = sanitise(cropped(&scene()?, Window { left: 2, upper: 1, columns: 2, rows: 2 })?)?;
        assert_eq!(part.image, Image::new(2, 2, 1, vec![6, 7, 10, 11])?);
        let instance = &part.instances[0];
        assert_eq!((instance.edges, instance.mask.as_deref()), ([0.0, 0.0, 1.0, 1.0], Some(&[1, 0, 0, 0][..])));
        assert_eq!(instance.keypoints[0], Keypoint { x: 0.5, y: 0.5, visibility: 2 });
        assert_eq!(instance.keypoints[1], scene()?.instances[0].keypoints[1]);
        assert!(sanitise(cropped(&scene()?, Window { left: 3, upper: 1, columns: 1, rows: 2 })?)?.instances.is_empty());
        assert!(cropped(&scene()?, Window { left: 3, upper: 1, columns: 2, rows: 2 }).is_err());
        Ok(())
    }

    #[test]
    fn a_larger_ground() -> Result<()> {
        let larger = on_ground(&scene()?, [4, 6], [1, 2], [100, 100, 100])?;
        let rows = [[100; 6], [100, 100, 0, 1, 2, 3], [100, 100, 4, 5, 6, 7], [100, 100, 8, 9, 10, 11]];
        assert_eq!(larger.image, Image::new(6, 4, 1, rows.concat())?);
        let mask = [[0; 6], [0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0], [0; 6]].concat();
        assert_eq!((larger.instances[0].edges, &larger.instances[0].mask), ([3.0, 1.0, 5.0, 3.0], &Some(mask)));
        assert_eq!(larger.instances[0].keypoints[0], Keypoint { x: 4.5, y: 2.5, visibility: 2 });
        assert_eq!(
            on_ground(&Scene { image: Image::filled(1, 1, 3, 9)?, instances: Vec::new() }, [1, 2], [0, 0], [1, 2, 3])?.image.data(),
            [9, 9, 9, 1, 2, 3]
        );
        Ok(())
    }

    #[test]
    fn another_size() -> Result<()> {
        let twice = resized(&scene()?, [6, 8])?;
        assert_eq!((twice.image.width(), twice.image.height()), (8, 6));
        let instance = &twice.instances[0];
        assert_eq!((instance.edges, instance.keypoints[0].x), ([2.0, 0.0, 6.0, 4.0], 5.0));
        assert_eq!(instance.mask.iter().flatten().filter(|&&pixel| pixel == 1).count(), 12);
        assert!(resized(&scene()?, [0, 8]).is_err());
        Ok(())
    }

    /// `F.interpolate(torch.arange(7.)[None, None], size=n, mode="nearest")` for n = 3, 5, 11.
    #[test]
    fn pixels_of_masks_as_torch_picks_them() {
        let line: Vec<u8> = (0..7).collect();
        assert_eq!(nearest(&line, [1, 7], [1, 3]), [0, 2, 4]);
        assert_eq!(nearest(&line, [1, 7], [1, 5]), [0, 1, 2, 4, 5]);
        assert_eq!(nearest(&line, [7, 1], [11, 1]), [0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 6]);
    }
}
