//! `cirio data`: look into data sets, check them, make them, write them in another form.

mod objects;
mod scenes;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use cirio_data::objects::ObjectSet;
use cirio_data::{Dataset, Format, OpenOptions, Split, Strictness, Subset, export_folder, open, survey};
use cirio_vision::draw::grid;
use cirio_vision::{Image, resize};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use crate::console::{print, print_json, say};
use crate::parse;

/// Looks into data sets: IDX (MNIST), CIFAR-10 and -100, image folders, and pictures with objects in COCO's, Pascal VOC's, YOLO's and labelme's
/// format, which is found from the folder.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Decode every picture: sizes, colours, classes, mean and deviation, and what cannot be read. Of pictures with objects: everything that is wrong
    /// in all parts; it fails if there are errors.
    Check(Check),
    /// Draw some pictures of each class into one picture; or some pictures with their objects into a folder.
    Show(Show),
    /// Write the pictures as an image folder.
    Export(Export),
    /// Write pictures with objects in another format.
    Convert(objects::Convert),
    /// Make scenes of small grey articles, with boxes and masks, as a COCO data set.
    Scenes(scenes::Scenes),
}

/// Flags that choose a part of a data set.
#[derive(clap::Args)]
struct Source {
    /// The data set's folder.
    data: PathBuf,
    /// The part.
    #[arg(long, value_enum, default_value = "train")]
    split: Part,
    /// Names for the classes, between commas, in the order of the labels.
    #[arg(long, value_delimiter = ',')]
    classes: Option<Vec<String>>,
    /// Decides what is drawn at random.
    #[arg(long, default_value = "0")]
    seed: u64,
    /// Fail on the first picture that cannot be read, instead of leaving it out.
    #[arg(long)]
    strict: bool,
}

/// The parts of a data set, as flags name them.
#[derive(Clone, Copy, ValueEnum)]
pub enum Part {
    /// What a model learns from.
    Train,
    /// What is looked at while it learns.
    Val,
    /// What is looked at once, in the end.
    Test,
}

impl From<Part> for Split {
    fn from(part: Part) -> Self {
        match part {
            Part::Train => Self::Train,
            Part::Val => Self::Val,
            Part::Test => Self::Test,
        }
    }
}

impl Source {
    fn options(&self) -> OpenOptions {
        let strictness = if self.strict { Strictness::Strict } else { Strictness::Lenient };
        OpenOptions { seed: self.seed, strictness, class_names: self.classes.clone(), ..OpenOptions::default() }
    }

    fn open(&self) -> Result<Arc<dyn Dataset>> {
        let dataset: Arc<dyn Dataset> = open(&self.data, self.split.into(), &self.options())?.into();
        warn_of_skipped(dataset.as_ref());
        Ok(dataset)
    }

    /// At most this many pictures with objects, drawn by the seed.
    fn objects(&self, most: usize) -> Result<ObjectSet> {
        let set = ObjectSet::open(&self.data, self.split.into(), &self.options())?;
        Ok(set.sample(most, self.seed)?)
    }

    fn sample(&self, per_class: Option<usize>) -> Result<Arc<dyn Dataset>> {
        let dataset = self.open()?;
        Ok(match per_class {
            Some(count) => Arc::new(Subset::per_class(dataset, count, self.seed)?),
            None => dataset,
        })
    }
}

/// Says on stderr what is to be known of a data set, and what was left out when it was opened: the first few, and how many.
pub fn warn_of_skipped(dataset: &dyn Dataset) {
    const SHOWN: usize = 5;
    dataset.notes().iter().for_each(|note| say(format_args!("warning: {note}")));
    let skipped = dataset.skipped();
    for skipped in skipped.iter().take(SHOWN) {
        say(format_args!("warning: left out {}: {}", skipped.picture, skipped.reason));
    }
    if skipped.len() > SHOWN {
        say(format_args!("warning: and {} more; {} pictures are left out in all", skipped.len() - SHOWN, skipped.len()));
    }
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        match self.verb {
            Verb::Check(check) => check.run(json),
            Verb::Show(show) => show.run(json),
            Verb::Export(export) => export.run(json),
            Verb::Convert(convert) => convert.run(json),
            Verb::Scenes(scenes) => scenes.run(json),
        }
    }
}

#[derive(clap::Args)]
struct Check {
    #[command(flatten)]
    source: Source,
}

#[derive(Serialize)]
struct CheckDocument<'a> {
    data: String,
    format: &'a str,
    split: &'a str,
    count: usize,
    classes: Vec<Class<'a>>,
    width: (usize, usize),
    height: (usize, usize),
    grey: usize,
    colour: usize,
    mean: Vec<f64>,
    std: Vec<f64>,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Class<'a> {
    name: &'a str,
    count: usize,
}

#[derive(Serialize)]
struct Unreadable {
    picture: String,
    reason: String,
}

impl Check {
    fn run(self, json: bool) -> Result<()> {
        if Format::of(&self.source.data)?.has_objects() {
            return objects::check(&self.source.data, json);
        }
        let dataset = self.source.open()?;
        let found = survey(dataset.as_ref());
        let classes = dataset.classes().iter().zip(&found.class_counts).map(|(name, &count)| Class { name, count }).collect();
        let unreadable = found.unreadable.iter();
        let document = CheckDocument {
            data: self.source.data.display().to_string(),
            format: Format::of(&self.source.data)?.name(),
            split: Split::from(self.source.split).name(),
            count: dataset.len(),
            classes,
            width: found.width,
            height: found.height,
            grey: found.grey,
            colour: found.colour,
            mean: found.mean.clone(),
            std: found.std.clone(),
            unreadable: unreadable.map(|bad| Unreadable { picture: bad.picture.clone(), reason: bad.reason.clone() }).collect(),
        };
        match json {
            true => print_json(&document)?,
            false => show(&document)?,
        }
        match document.unreadable.len() {
            bad if bad > 0 && self.source.strict => bail!("{}: {bad} of {} pictures cannot be read", document.data, document.count),
            _ => Ok(()),
        }
    }
}

fn show(document: &CheckDocument) -> Result<()> {
    let range = |(low, high): (usize, usize)| if low == high { low.to_string() } else { format!("{low} to {high}") };
    let decimals = |values: &[f64]| values.iter().map(|value| format!("{value:.4}")).collect::<Vec<_>>().join(", ");
    print(format_args!("{} ({}), {}: {} pictures", document.data, document.format, document.split, document.count))?;
    print(format_args!("width {}, height {}", range(document.width), range(document.height)))?;
    print(format_args!("{} grey, {} in colour", document.grey, document.colour))?;
    print(format_args!("mean {}, deviation {}", decimals(&document.mean), decimals(&document.std)))?;
    document.classes.iter().try_for_each(|class| print(format_args!("{:6}  {}", class.count, class.name)))?;
    document.unreadable.iter().try_for_each(|bad| print(format_args!("unreadable: {}: {}", bad.picture, bad.reason)))
}

#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    source: Source,
    /// The picture to write, as PNG; of pictures with objects the folder to write into.
    #[arg(long, short)]
    out: PathBuf,
    /// Pictures of each class; of pictures with objects, which have many, in all.
    #[arg(long, default_value = "10", value_parser = parse::count)]
    per_class: usize,
    /// Each is brought to this size.
    #[arg(long, default_value = "56", value_parser = parse::square)]
    size: [usize; 2],
}

#[derive(Serialize)]
struct Written {
    output: String,
    count: usize,
}

impl Show {
    fn run(self, json: bool) -> Result<()> {
        if Format::of(&self.source.data)?.has_objects() {
            return objects::show(&self.source.objects(self.per_class)?, &self.out, json);
        }
        let dataset = self.source.sample(Some(self.per_class))?;
        let mut order: Vec<usize> = (0..dataset.len()).collect();
        order.sort_by_key(|&index| dataset.labels().get(index).copied());
        let [height, width] = self.size;
        let picture = |index: usize| -> Result<Image> { Ok(resize(&dataset.get(index)?.image.to_rgb(), width, height)?) };
        let pictures = order.into_iter().map(picture).collect::<Result<Vec<_>>>()?;
        grid(&pictures, self.per_class, 2, 255)?.save(&self.out)?;
        report(&self.out, pictures.len(), json)
    }
}

#[derive(clap::Args)]
struct Export {
    #[command(flatten)]
    source: Source,
    /// The new folder; it is made, or empty.
    out: PathBuf,
    /// At most this many pictures of each class, drawn by the seed [default: all].
    #[arg(long, value_parser = parse::count)]
    per_class: Option<usize>,
}

impl Export {
    fn run(self, json: bool) -> Result<()> {
        let dataset = self.source.sample(self.per_class)?;
        let count = export_folder(dataset.as_ref(), &self.out)?;
        report(&self.out, count, json)
    }
}

fn report(out: &std::path::Path, count: usize, json: bool) -> Result<()> {
    let output = out.display().to_string();
    match json {
        true => print_json(&Written { output, count }),
        false => print(format_args!("{output}: {count} pictures")),
    }
}
