//! `cirio info`: all that is known of a model, or of weights.

use anyhow::Result;
use cirio_hub::{Entry, Registry};
use serde::Serialize;

use crate::console::{print, print_json};

/// All that is known of a model, or of weights.
#[derive(clap::Args)]
pub struct Args {
    /// A model such as lenet5, or weights such as lenet5/fashion-mnist.
    name: String,
}

#[derive(Serialize)]
struct About<'a> {
    model: &'a str,
    task: &'a str,
    about: &'a str,
    paper: &'a str,
    input: [usize; 3],
    classes: usize,
    params: u64,
    macs: u64,
    weights: Vec<String>,
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        let registry = Registry::locate()?;
        match self.name.contains('/') {
            true => weights(&registry, &self.name, json),
            false => model(&registry, &self.name, json),
        }
    }
}

fn model(registry: &Registry, name: &str, json: bool) -> Result<()> {
    let model = cirio::find(name)?;
    let table = model.layers(model.classes).table()?;
    let weights = registry.entries().iter().filter(|entry| entry.model == model.name).map(Entry::full_name).collect();
    let about = About {
        model: model.name,
        task: model.task.name(),
        about: model.about,
        paper: model.paper,
        input: table.input,
        classes: model.classes,
        params: table.parameters(),
        macs: table.macs(),
        weights,
    };
    if json {
        return print_json(&about);
    }
    let [channels, height, width] = about.input;
    print(format_args!("{}: {}\n", about.model, about.about))?;
    print(format_args!("task           {}", about.task))?;
    print(format_args!("paper          {}", about.paper))?;
    print(format_args!("input          {channels}×{height}×{width}"))?;
    print(format_args!("classes        {}", about.classes))?;
    print(format_args!("parameters     {}", about.params))?;
    print(format_args!("multiply-adds  {}", about.macs))?;
    print(format_args!("weights        {}", if about.weights.is_empty() { "none here".into() } else { about.weights.join(", ") }))
}

fn weights(registry: &Registry, name: &str, json: bool) -> Result<()> {
    let found = registry.find(None, name)?;
    let Some(entry) = found.entry else { anyhow::bail!("the manifest does not know {name}") };
    if json {
        return print_json(&entry);
    }
    let measured = &entry.measured;
    print(format_args!("{}\n", entry.full_name()))?;
    print(format_args!("file           {} ({} bytes)", found.path.display(), entry.bytes))?;
    print(format_args!("sha256         {}", entry.sha256))?;
    print(format_args!("licence        {}", entry.licence))?;
    print(format_args!("trained on     {}", entry.data))?;
    print(format_args!("trained by     {}", entry.trained))?;
    print(format_args!("accuracy       {:.2} % of {} pictures ({})", 100.0 * measured.accuracy, measured.count, measured.data))?;
    print(format_args!("classes        {}", entry.classes.join(", ")))?;
    print(format_args!("input          {}", serde_json::to_string(&entry.preprocessing)?))?;
    entry.note.iter().try_for_each(|note| print(format_args!("note           {note}")))
}
