//! `cirio info`: all that is known of a model, or of weights.

use std::path::PathBuf;

use anyhow::{Result, bail};
use cirio_hub::{Entry, Presence, Registry};
use serde::Serialize;

use crate::console::{print, print_json};
use crate::facts::Facts;

/// All that is known of a model, or of weights.
#[derive(clap::Args)]
pub struct Args {
    /// A model such as lenet5, or weights such as lenet5/fashion-mnist.
    name: String,
}

#[derive(Serialize)]
struct About {
    model: &'static str,
    #[serde(flatten)]
    facts: Facts,
    weights: Vec<String>,
}

#[derive(Serialize)]
struct Known<'a> {
    #[serde(flatten)]
    entry: &'a Entry,
    state: Presence,
    path: Option<PathBuf>,
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
    let facts = Facts::of(name)?;
    let weights: Vec<String> = registry.entries().iter().filter(|entry| entry.model == name).map(Entry::full_name).collect();
    if json {
        return print_json(&About { model: facts.name, facts, weights });
    }
    let input = facts.input.map_or_else(|| "colour pictures of any size".to_owned(), |[c, h, w]| format!("{c}×{h}×{w}"));
    print(format_args!("{}: {}\n", facts.name, facts.about))?;
    print(format_args!("task           {}", facts.task))?;
    print(format_args!("paper          {}", facts.paper))?;
    print(format_args!("input          {input}"))?;
    print(format_args!("classes        {}", facts.classes))?;
    print(format_args!("parameters     {}", facts.params))?;
    facts.macs.iter().try_for_each(|macs| print(format_args!("multiply-adds  {macs}")))?;
    print(format_args!("weights        {}", if weights.is_empty() { "none here".into() } else { weights.join(", ") }))
}

/// The names of classes, of very many the first.
fn first_of(classes: &[String]) -> String {
    const SHOWN: usize = 20;
    let names = classes.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if classes.len() > SHOWN { format!("{names}, … ({} in all)", classes.len()) } else { names }
}

/// What is known of weights; nothing is fetched for it.
fn weights(registry: &Registry, name: &str, json: bool) -> Result<()> {
    let entry = match registry.entry(None, name)? {
        Some(entry) => entry.clone(),
        None if name.contains("://") => bail!("the manifest does not know {name}"),
        None => match registry.find(None, name)?.entry {
            Some(entry) => entry,
            None => bail!("the manifest does not know {name}"),
        },
    };
    let state = registry.presence(&entry);
    let path = match state {
        Presence::Remote => None,
        _ => Some(registry.find(None, &entry.full_name())?.path),
    };
    if json {
        return print_json(&Known { entry: &entry, state, path });
    }
    let measured = &entry.measured;
    print(format_args!("{}\n", entry.full_name()))?;
    match (path, entry.bytes) {
        (Some(path), Some(bytes)) => print(format_args!("file           {} ({bytes} bytes)", path.display()))?,
        (Some(path), None) => print(format_args!("file           {}", path.display()))?,
        (None, _) => print("file           to be fetched when it is used")?,
    }
    entry.sha256.iter().try_for_each(|sha256| print(format_args!("sha256         {sha256}")))?;
    for source in &entry.sources {
        let hash = source.hash().map_or_else(String::new, |hash| format!(", sha256 {hash}{}", if hash.len() < 64 { "…" } else { "" }));
        let size = source.mib.map_or_else(String::new, |mib| format!(", {mib} MiB"));
        print(format_args!("source         {}{size}{hash}", source.address))?;
    }
    print(format_args!("licence        {}", entry.licence))?;
    print(format_args!("trained on     {}", entry.data))?;
    print(format_args!("trained by     {}", entry.trained))?;
    let on = format!("{} pictures ({})", measured.count, measured.data);
    measured.accuracy.iter().try_for_each(|accuracy| print(format_args!("accuracy       {:.2} % of {on}", 100.0 * accuracy)))?;
    measured.box_ap.iter().try_for_each(|ap| print(format_args!("AP of boxes    {:.1} on {on}", 100.0 * ap)))?;
    measured.mask_ap.iter().try_for_each(|ap| print(format_args!("AP of masks    {:.1}", 100.0 * ap)))?;
    measured.keypoint_ap.iter().try_for_each(|ap| print(format_args!("AP of points   {:.1}", 100.0 * ap)))?;
    measured.top5.iter().try_for_each(|top5| print(format_args!("top 5          {:.2} %", 100.0 * top5)))?;
    print(format_args!("classes        {}", first_of(&entry.classes)))?;
    if let Some(steps) = &entry.preprocessing {
        print(format_args!("input          {}", serde_json::to_string(steps)?))?;
    }
    entry.frozen_eps.iter().try_for_each(|eps| print(format_args!("frozen norms   an eps of {eps}")))?;
    entry.note.iter().try_for_each(|note| print(format_args!("note           {note}")))
}
