//! `cirio data scenes`: labelled scenes to try a detector on.

use std::path::PathBuf;

use anyhow::Result;
use cirio_data::objects::scenes::{FASHION_MNIST, write};
use cirio_data::{Dataset, Format, OpenOptions, Split, open};
use serde::Serialize;

use crate::console::{print, print_json};
use crate::parse;

#[derive(clap::Args)]
pub struct Scenes {
    /// The folder of a data set of light grey articles on black, such as Fashion-MNIST.
    data: PathBuf,
    /// The new folder; its parts are made, or empty.
    #[arg(long, short)]
    out: PathBuf,
    /// Scenes to learn from, of the articles of the training part.
    #[arg(long, default_value = "4000", value_parser = parse::count)]
    train: usize,
    /// Scenes to look at while learning, of the articles of the test part, which are not in the others.
    #[arg(long, default_value = "500", value_parser = parse::count)]
    val: usize,
    /// Names for the classes, between commas, in the order of the labels [default: the data set's; of IDX files without names, Fashion-MNIST's].
    #[arg(long, value_delimiter = ',')]
    classes: Option<Vec<String>>,
    /// Decides everything that is drawn at random.
    #[arg(long, default_value = "0")]
    seed: u64,
}

#[derive(Serialize)]
struct Document {
    output: String,
    parts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    split: &'static str,
    pictures: usize,
    objects: usize,
}

impl Scenes {
    pub fn run(self, json: bool) -> Result<()> {
        let options = OpenOptions { class_names: self.class_names()?, ..OpenOptions::default() };
        let mut parts = Vec::new();
        for (split, articles, count) in [(Split::Train, Split::Train, self.train), (Split::Val, Split::Test, self.val)] {
            let articles: Box<dyn Dataset> = open(&self.data, articles, &options)?;
            let set = write(articles.as_ref(), split, self.seed, count, &self.out)?;
            let objects = set.pictures.iter().map(|picture| picture.objects.len()).sum();
            parts.push(Part { split: split.name(), pictures: set.len(), objects });
        }
        let document = Document { output: self.out.display().to_string(), parts };
        if json {
            return print_json(&document);
        }
        let Document { output, parts } = &document;
        parts
            .iter()
            .try_for_each(|part| print(format_args!("{output}, {}: {} scenes with {} articles", part.split, part.pictures, part.objects)))
    }

    fn class_names(&self) -> Result<Option<Vec<String>>> {
        let nameless = Format::of(&self.data)? == Format::Idx && !self.data.join("classes.txt").exists();
        let fashion = || nameless.then(|| FASHION_MNIST.map(str::to_owned).to_vec());
        Ok(self.classes.clone().or_else(fashion))
    }
}
