//! Writes a data set out again: as an image folder of PNGs, or as a pair of IDX files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Dataset, Error, Result};

/// Writes every picture of `dataset` as `out/CLASS/NNNNN.png`, numbered from 0 in each class, and returns their number.
///
/// `out` must be absent or empty. Each file is written whole or not at all.
///
/// # Errors
/// If `out` holds something, a class name cannot be the name of a folder (with a slash in it, say), a picture
/// cannot be read, or the disk refuses.
pub fn export_folder(dataset: &dyn Dataset, out: &Path) -> Result<usize> {
    let folders = class_folders(dataset.classes(), out)?;
    make_empty(out)?;
    for folder in &folders {
        fs::create_dir(folder).map_err(|e| Error::io(folder, e))?;
    }
    let mut counts = vec![0usize; folders.len()];
    for index in 0..dataset.len() {
        let sample = dataset.get(index)?;
        let (Some(folder), Some(count)) = (folders.get(sample.label), counts.get_mut(sample.label)) else {
            return Err(Error::option("label", sample.label, format!("less than {}", folders.len())));
        };
        let path = folder.join(format!("{count:05}.png"));
        sample.image.save(&path).map_err(|e| Error::picture(path.display().to_string(), e))?;
        *count += 1;
    }
    Ok(dataset.len())
}

/// Writes `dataset` as `out/{part}-images-idx3-ubyte` and `out/{part}-labels-idx1-ubyte`, with the class names
/// in `out/classes.txt`. `part` is `train` or `t10k`; files of another part may be there already.
///
/// # Errors
/// If the files are there already, the pictures are not all grey and of one size, there are more than 256 classes,
/// a picture cannot be read, or the disk refuses.
pub fn export_idx(dataset: &dyn Dataset, out: &Path, part: &str) -> Result<()> {
    let images_path = out.join(format!("{part}-images-idx3-ubyte"));
    let labels_path = out.join(format!("{part}-labels-idx1-ubyte"));
    for path in [&images_path, &labels_path] {
        if path.exists() {
            return Err(Error::layout(path, "is there already; nothing is overwritten"));
        }
    }
    let count = u32::try_from(dataset.len()).map_err(|_| Error::option("pictures", dataset.len(), "a 32-bit number"))?;
    let mut labels = header(&[count]);
    let mut images = Vec::new();
    let mut size = None;
    for index in 0..dataset.len() {
        let sample = dataset.get(index)?;
        let image = sample.image;
        let label = u8::try_from(sample.label).map_err(|_| Error::option("label", sample.label, "at most 255 in IDX"))?;
        let expected = *size.get_or_insert((image.height(), image.width()));
        if image.channels() != 1 || (image.height(), image.width()) != expected {
            return Err(Error::Picture {
                picture: dataset.picture_name(index),
                reason: format!(
                    "is {} × {} with {} channels; IDX holds grey pictures of one size, here {} × {}",
                    image.height(),
                    image.width(),
                    image.channels(),
                    expected.0,
                    expected.1
                ),
            });
        }
        labels.push(label);
        images.extend_from_slice(image.data());
    }
    let (height, width) = size.ok_or_else(|| Error::option("data set", "no pictures", "at least 1"))?;
    let mut file = header(&[count, height as u32, width as u32]);
    file.append(&mut images);
    fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    write_whole(&images_path, &file)?;
    write_whole(&labels_path, &labels)?;
    write_whole(&out.join("classes.txt"), (dataset.classes().join("\n") + "\n").as_bytes())
}

/// The header of an IDX file of u8 with these sizes.
fn header(sizes: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    for size in sizes {
        bytes.extend_from_slice(&size.to_be_bytes());
    }
    bytes
}

/// One folder a class, after a look at the names: they may come from a file that nobody vouches for.
fn class_folders(classes: &[String], out: &Path) -> Result<Vec<PathBuf>> {
    for (index, name) in classes.iter().enumerate() {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0', ':']) {
            return Err(Error::option("class name", format!("{name:?}"), "a name that a folder can have; give other class names"));
        }
        if classes[..index].contains(name) {
            return Err(Error::option("class name", format!("{name:?} twice"), "a different name for every class"));
        }
    }
    Ok(classes.iter().map(|name| out.join(name)).collect())
}

/// Makes the folder `out`, which may be there if nothing is in it.
pub(crate) fn make_empty(out: &Path) -> Result<()> {
    fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    match fs::read_dir(out).map_err(|e| Error::io(out, e))?.next() {
        None => Ok(()),
        Some(_) => Err(Error::layout(out, "is not empty; an export takes a folder that is empty or not there")),
    }
}

/// Writes a file whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    cirio_vision::write_whole(path, bytes).map_err(|e| Error::io(path, e))
}
