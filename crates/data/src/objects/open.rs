//! Finds the format of a set of labelled pictures, and reads a part of it.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{ObjectSet, coco, labelme, voc, yolo};
use crate::dataset::check_fraction;
use crate::files::open_regular;
use crate::parts::{Parts, Place};
use crate::{Error, Format, OpenOptions, Result, Split, Strictness};

/// The names that folders and files have for a part.
pub(super) fn names(split: Split) -> &'static [&'static str] {
    match split {
        Split::Train => &["train"],
        Split::Val => &["val", "valid", "validation"],
        Split::Test => &["test"],
    }
}

/// Where the labels of a part lie.
pub(crate) enum Source {
    Coco(coco::Labels),
    Voc(voc::Labels),
    Yolo(yolo::Labels),
    Labelme(labelme::Labels),
}

impl Source {
    pub(super) fn read(&self) -> Result<ObjectSet> {
        match self {
            Self::Coco(labels) => labels.read(),
            Self::Voc(labels) => labels.read(),
            Self::Yolo(labels) => labels.read(),
            Self::Labelme(labels) => labels.read(),
        }
    }
}

/// The format of labels at `path`, a folder or a file of labels, and where its parts lie; `None` where there are none.
pub(crate) fn find(path: &Path) -> Result<Option<(Format, Parts<Source>)>> {
    if let Some(parts) = coco::parts(path)? {
        return Ok(Some((Format::Coco, parts.map(Source::Coco))));
    }
    if let Some(parts) = voc::parts(path)? {
        return Ok(Some((Format::Voc, parts.map(Source::Voc))));
    }
    if let Some(parts) = yolo::parts(path)? {
        return Ok(Some((Format::Yolo, parts.map(Source::Yolo))));
    }
    Ok(labelme::parts(path)?.map(|parts| (Format::Labelme, parts.map(Source::Labelme))))
}

/// The folders of the parts in `dir`, of which `has_labels` says that labels are in them; `None` where there is none to train with.
pub(super) fn part_folders(dir: &Path, has_labels: impl Fn(&Path) -> Result<bool>) -> Result<Option<Parts<PathBuf>>> {
    let part = |split| -> Result<Option<PathBuf>> {
        for name in names(split) {
            if has_labels(&dir.join(name))? {
                return Ok(Some(dir.join(name)));
            }
        }
        Ok(None)
    };
    let (train, val, test) = (part(Split::Train)?, part(Split::Val)?, part(Split::Test)?);
    Ok(train.map(|train| Parts { train, val, test }))
}

/// Whether a file begins as an object of JSON with one of these keys does. A folder of pictures may have other JSON files.
pub(super) fn is_json_with(file: &Path, keys: &[&str]) -> bool {
    const LOOKED_AT: u64 = 4096;
    let mut start = Vec::new();
    let read = open_regular(file).map(|(file, _)| file.take(LOOKED_AT).read_to_end(&mut start));
    let start = String::from_utf8_lossy(&start);
    matches!(read, Ok(Ok(_))) && start.trim_start().starts_with('{') && keys.iter().any(|key| start.contains(key))
}

/// As [`find`], for who needs labels.
pub(super) fn require(path: &Path) -> Result<(Format, Parts<Source>)> {
    std::fs::metadata(path).map_err(|error| Error::io(path, error))?;
    find(path)?.ok_or_else(|| {
        Error::layout(
            path,
            "has no labels of objects that are known. Looked for: COCO (annotations/instances_train*.json, train/_annotations.coco.json, train.json, or \
             such a file itself), Pascal VOC (Annotations/*.xml), YOLO (data.yaml, or the folders images and labels), and labelme (*.json beside the pictures)",
        )
    })
}

impl ObjectSet {
    /// Reads the labels of one part of the data set at `path`: a folder, whose format is found from what lies in it, or a file of labels.
    ///
    /// Parts are found as for image folders: `Val` takes the part for it, else that for tests, else a fraction of the pictures that is held out of
    /// the training part by the seed of `options`. The test part of a single file of labels is all of it.
    ///
    /// # Errors
    /// When no format is recognised, the part does not exist, or labels cannot be read; under [`Strictness::Strict`] also on the first problem that
    /// is an error.
    pub fn open(path: &Path, split: Split, options: &OpenOptions) -> Result<Self> {
        check_fraction(options.val_fraction)?;
        let (_, parts) = require(path)?;
        let mut set = if path.is_file() && split == Split::Test && parts.test.is_none() {
            parts.train.read()?
        } else {
            match parts.place(path, split, options)? {
                Place::Whole(part) => part.read()?,
                Place::Drawn(fraction) => {
                    let (train, held) = parts.train.read()?.hold_out(fraction, options.seed)?;
                    if split == Split::Train { train } else { held }
                }
            }
        };
        if options.strictness == Strictness::Strict {
            set.strict()?;
        }
        if let Some(names) = &options.class_names {
            set.rename(names)?;
        }
        match set.is_empty() {
            true => Err(Error::layout(path, format!("has no pictures for {}", split.name()))),
            false => Ok(set),
        }
    }

    /// Gives the classes other names.
    fn rename(&mut self, names: &[String]) -> Result<()> {
        if names.len() != self.categories.len() {
            return Err(Error::option("class names", names.len(), format!("{}, one a class", self.categories.len())));
        }
        self.categories.iter_mut().zip(names).for_each(|(category, name)| category.name.clone_from(name));
        Ok(())
    }

    /// Refuses a set with an error in it.
    fn strict(&self) -> Result<()> {
        let mut errors = self.problems.iter().filter(|problem| problem.severity == super::Severity::Error);
        errors.next().map_or(Ok(()), |problem| Err(Error::Labels(Box::new(problem.clone()))))
    }
}

/// The path of a file that a file of labels names; `None` where it is not inside of the folder.
pub(super) fn below(folder: &Path, name: &str) -> Option<PathBuf> {
    use std::path::Component::{CurDir, Normal};
    let inside = Path::new(name).components().all(|component| matches!(component, Normal(_) | CurDir));
    (inside && !name.is_empty()).then(|| folder.join(name))
}
