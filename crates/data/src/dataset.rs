//! The trait that every data set implements, and [`open`], which finds the format from the folder.

use std::path::Path;
use std::sync::Arc;

use cirio_vision::Image;

use crate::folder::ImageFolder;
use crate::subset::{Subset, hold_out};
use crate::{Error, InMemory, Result, cifar, idx};

/// One picture and its class.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The picture as it was stored.
    pub image: Image,
    /// The number of its class, less than K.
    pub label: usize,
}

/// A picture that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The picture's file, or its place in a file.
    pub picture: String,
    /// Why it cannot be used.
    pub reason: String,
}

/// N labelled pictures of K classes.
pub trait Dataset: Send + Sync {
    /// Where the pictures come from, in words.
    fn name(&self) -> &str;

    /// The names of the K classes; a label is an index into them.
    fn classes(&self) -> &[String];

    /// The N labels, each less than K. Nothing is decoded for them.
    fn labels(&self) -> &[u32];

    /// Reads picture `index`.
    ///
    /// # Errors
    /// If there is no such picture or it cannot be decoded.
    fn get(&self, index: usize) -> Result<Sample>;

    /// What to call picture `index` in a message: its file, or its place in a file.
    fn picture_name(&self, index: usize) -> String;

    /// Pictures that were found when the set was opened, but left out because they cannot be read.
    fn skipped(&self) -> &[Skipped] {
        &[]
    }

    /// What whoever uses the set should know of it, one line each.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// The number of pictures, N.
    fn len(&self) -> usize {
        self.labels().len()
    }

    /// Whether there is no picture.
    fn is_empty(&self) -> bool {
        self.labels().is_empty()
    }

    /// The class of picture `index`, without decoding it.
    ///
    /// # Errors
    /// If there is no such picture.
    fn label(&self, index: usize) -> Result<usize> {
        let len = self.len();
        self.labels().get(index).map(|&label| label as usize).ok_or(Error::Index { index, len })
    }

    /// One line about the set.
    fn summary(&self) -> String {
        let skipped = match self.skipped().len() {
            0 => String::new(),
            count => format!(", {count} more skipped as unreadable"),
        };
        format!("{}: {} pictures of {} classes{skipped}", self.name(), self.len(), self.classes().len())
    }
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What a model learns from.
    Train,
    /// What is looked at while it learns.
    Val,
    /// What is looked at once, in the end.
    Test,
}

impl Split {
    /// The name that is typed for it: `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

/// The two parts in which IDX and CIFAR files come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The larger one, to learn from.
    Train,
    /// The smaller one.
    Test,
}

/// What to do with a picture that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Leave it out, and list it in [`Dataset::skipped`] or [`Epoch::skipped`](crate::Epoch::skipped).
    #[default]
    Lenient,
    /// Refuse the data set, or end the batch with an error.
    Strict,
}

/// How to open a data set.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Decides which pictures are held out for validation.
    pub seed: u64,
    /// The fraction of every class, or of pictures with objects, that is held out of the training part for validation, at least 0 and less than 1.
    ///
    /// With `None`, a set that has a part for it (a folder `val` or `test`, the test files of IDX and CIFAR)
    /// holds nothing out and validates with that part; any other holds out
    /// [`DEFAULT_VAL_FRACTION`](crate::DEFAULT_VAL_FRACTION).
    pub val_fraction: Option<f64>,
    /// What to do with a picture that cannot be read.
    pub strictness: Strictness,
    /// Names for the classes, in the order of the labels, instead of those that come with the data.
    pub class_names: Option<Vec<String>>,
}

/// The formats that [`open`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The four files of MNIST and its relatives.
    Idx,
    /// CIFAR-10 or CIFAR-100, binary version.
    Cifar(cifar::Variant),
    /// One subfolder a class.
    ImageFolder,
    /// Pictures with objects, labelled in COCO's JSON.
    Coco,
    /// Pictures with objects, labelled in Pascal VOC's XML.
    Voc,
    /// Pictures with objects, labelled in YOLO's text.
    Yolo,
    /// Pictures with objects, labelled in labelme's JSON.
    Labelme,
}

impl Format {
    /// The word for it in reports: `idx`, `cifar-10`, `cifar-100`, `image-folder`, `coco`, `voc`, `yolo`, `labelme`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idx => "idx",
            Self::Cifar(cifar::Variant::Cifar10) => "cifar-10",
            Self::Cifar(cifar::Variant::Cifar100) => "cifar-100",
            Self::ImageFolder => "image-folder",
            Self::Coco => "coco",
            Self::Voc => "voc",
            Self::Yolo => "yolo",
            Self::Labelme => "labelme",
        }
    }

    /// Whether it has boxes and classes of objects in pictures, for [`ObjectSet::open`](crate::objects::ObjectSet::open), rather than one class a picture, for [`open`].
    pub fn has_objects(self) -> bool {
        matches!(self, Self::Coco | Self::Voc | Self::Yolo | Self::Labelme)
    }

    /// Finds the format from the names of what lies in the folder `dir`, or from the ending of a file of labels.
    ///
    /// # Errors
    /// If `dir` is no folder, or holds nothing of any format; the message lists what was looked for.
    pub fn of(dir: &Path) -> Result<Self> {
        if idx::found_in(dir) {
            return Ok(Self::Idx);
        }
        if let Some(variant) = cifar::found_in(dir) {
            return Ok(Self::Cifar(variant));
        }
        if let Some((format, _)) = crate::objects::find(dir)? {
            return Ok(format);
        }
        let metadata = std::fs::metadata(dir).map_err(|e| Error::io(dir, e))?;
        if !metadata.is_dir() {
            return Err(Error::layout(dir, "is not a folder; a data set is the folder that holds its files"));
        }
        if crate::folder::has_subfolder(dir)? {
            return Ok(Self::ImageFolder);
        }
        Err(Error::layout(
            dir,
            "is no data set that is known. Looked for: IDX files (train-images-idx3-ubyte[.gz] and the like), \
             CIFAR files (data_batch_1.bin, train.bin, …), subfolders with pictures, one a class, and labels of objects (COCO, Pascal VOC, YOLO, labelme)",
        ))
    }
}

/// Opens one part of the data set with one class a picture in the folder `dir`, whatever its format.
///
/// # Errors
/// If no format is recognised, the part does not exist, or the files are not what they should be.
pub fn open(dir: &Path, split: Split, options: &OpenOptions) -> Result<Box<dyn Dataset>> {
    check_fraction(options.val_fraction)?;
    let names = options.class_names.as_deref();
    match Format::of(dir)? {
        Format::ImageFolder => Ok(Box::new(ImageFolder::open(dir, split, options)?)),
        Format::Idx => in_parts(split, options, |part| idx::open(dir, part, names)),
        Format::Cifar(variant) => in_parts(split, options, |part| cifar::open(dir, variant, part, names)),
        format => Err(Error::layout(dir, format!("is a data set with objects ({}), not with one class a picture", format.name()))),
    }
}

pub(crate) fn check_fraction(fraction: Option<f64>) -> Result<()> {
    match fraction {
        Some(fraction) if !(0.0..1.0).contains(&fraction) => {
            Err(Error::option("fraction of pictures for validation", fraction, "at least 0 and less than 1"))
        }
        _ => Ok(()),
    }
}

/// A split of a format that comes in two parts.
fn in_parts(split: Split, options: &OpenOptions, open: impl Fn(Part) -> Result<InMemory>) -> Result<Box<dyn Dataset>> {
    let fraction = options.val_fraction.unwrap_or(0.0);
    match split {
        Split::Test => return Ok(Box::new(open(Part::Test)?)),
        Split::Val if fraction == 0.0 => return Ok(Box::new(open(Part::Test)?)),
        Split::Train if fraction == 0.0 => return Ok(Box::new(open(Part::Train)?)),
        Split::Train | Split::Val => {}
    }
    let part = open(Part::Train)?;
    let (train, val) = hold_out(part.labels(), fraction, options.seed);
    let indices = if split == Split::Train { train } else { val };
    Ok(Box::new(Subset::new(Arc::new(part), indices)?))
}
