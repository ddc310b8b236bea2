//! `cirio data` on pictures with objects: check, show, convert.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cirio_data::objects::{ObjectSet, Picture, Problem, Severity};
use cirio_data::{Format, objects};
use cirio_vision::Image;
use clap::ValueEnum;
use serde::Serialize;

use super::{Class, report};
use crate::console::{print, print_json, say};
use crate::drawing::Drawing;
use crate::pictures::Files;

#[derive(Serialize)]
struct CheckDocument<'a> {
    data: String,
    format: &'a str,
    parts: Vec<Part<'a>>,
    errors: usize,
    warnings: usize,
    problems: &'a [Problem],
}

#[derive(Serialize)]
struct Part<'a> {
    split: &'a str,
    count: usize,
    without_objects: usize,
    masks: usize,
    crowds: usize,
    classes: Vec<Class<'a>>,
}

/// Checks all parts; fails where there are errors.
pub fn check(data: &Path, json: bool) -> Result<()> {
    let checked = objects::check(data)?;
    let parts = checked.parts.iter().map(|part| Part {
        split: part.split.name(),
        count: part.pictures,
        without_objects: part.without_objects,
        masks: part.outlined,
        crowds: part.crowds,
        classes: checked.classes.iter().zip(&part.objects).map(|(name, &count)| Class { name, count }).collect(),
    });
    let errors = checked.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let document = CheckDocument {
        data: data.display().to_string(),
        format: checked.format.name(),
        parts: parts.collect(),
        errors,
        warnings: checked.problems.len() - errors,
        problems: &checked.problems,
    };
    match json {
        true => print_json(&document)?,
        false => show_checked(&document)?,
    }
    match errors {
        0 => Ok(()),
        _ => bail!("{}: {errors} errors in the labels and pictures", document.data),
    }
}

fn show_checked(document: &CheckDocument) -> Result<()> {
    for Part { split, count, without_objects, masks, crowds, classes } in &document.parts {
        let objects: usize = classes.iter().map(|class| class.count).sum();
        print(format_args!(
            "{} ({}), {split}: {count} pictures, {without_objects} of them without objects",
            document.data, document.format
        ))?;
        print(format_args!("{objects} objects, {masks} with masks or polygons, {crowds} crowds"))?;
        classes.iter().try_for_each(|class| print(format_args!("{:6}  {}", class.count, class.name)))?;
    }
    for problem in document.problems {
        let severity = if problem.severity == Severity::Error { "error" } else { "warning" };
        print(format_args!("{severity}: {problem}"))?;
    }
    print(format_args!("{} errors, {} warnings", document.errors, document.warnings))
}

/// Draws pictures with their objects into files in the folder `out`.
pub fn show(set: &ObjectSet, out: &Path, json: bool) -> Result<()> {
    set.problems.iter().take(5).for_each(|problem| say(format_args!("warning: {problem}")));
    let paths: Vec<PathBuf> = set.pictures.iter().map(|picture| picture.path.clone()).collect();
    let mut files = Files::new(out, &paths)?;
    for picture in &set.pictures {
        draw(set, picture)?.save(files.next(&picture.path))?;
    }
    report(out, set.len(), json)
}

fn draw(set: &ObjectSet, picture: &Picture) -> Result<Image> {
    let mut drawing = Drawing::new(&Image::open(&picture.path)?);
    for object in &picture.objects {
        let mask = object.outline.as_ref().map(|outline| outline.mask(picture.size)).transpose();
        let mask = mask.with_context(|| format!("{}: the mask of object {}", picture.path.display(), object.id))?;
        let name = set.categories.get(object.class).map_or("", |category| &category.name);
        let words = if object.crowd { format!("{name} (crowd)") } else { name.to_owned() };
        drawing.object(object.class, object.edges.map(|edge| edge as f32), mask.as_deref(), words);
    }
    drawing.finish()
}

#[derive(clap::Args)]
pub struct Convert {
    /// The data set's folder, or a file of labels.
    data: PathBuf,
    /// The new format.
    #[arg(long, value_enum)]
    to: Labels,
    /// The new folder; it is made, or empty.
    #[arg(long, short)]
    out: PathBuf,
}

/// Formats of labels.
#[derive(Clone, Copy, ValueEnum)]
enum Labels {
    /// One JSON file a part.
    Coco,
    /// One XML file a picture; no masks.
    Voc,
    /// One text file a picture; one polygon an object.
    Yolo,
}

impl From<Labels> for Format {
    fn from(labels: Labels) -> Self {
        match labels {
            Labels::Coco => Self::Coco,
            Labels::Voc => Self::Voc,
            Labels::Yolo => Self::Yolo,
        }
    }
}

#[derive(Serialize)]
struct Converted {
    output: String,
    count: usize,
    objects: usize,
    losses: Vec<String>,
}

impl Convert {
    pub fn run(self, json: bool) -> Result<()> {
        let objects::Converted { pictures: count, objects, losses } = objects::convert(&self.data, self.to.into(), &self.out)?;
        let document = Converted { output: self.out.display().to_string(), count, objects, losses };
        document.losses.iter().for_each(|loss| say(format_args!("warning: {loss}")));
        match json {
            true => print_json(&document),
            false => print(format_args!("{}: {count} pictures with {objects} objects", document.output)),
        }
    }
}
