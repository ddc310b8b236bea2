//! `cirio summary`: a model's layer table, and a drawing of it.

mod drawing;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cirio_nn::{Row, Table};
use cirio_vision::draw::blocks;
use cirio_vision::write_whole;
use serde::Serialize;

use crate::console::{print, print_json};
use crate::facts::short;
use crate::parse;

/// A model's layers with output sizes, parameters, multiply-adds and receptive fields; of a detector those below its pyramid.
#[derive(clap::Args)]
pub struct Args {
    /// The model, e.g. lenet5.
    model: String,
    /// The input's channels, rows and columns, e.g. 1x32x32 [default: the model's own].
    #[arg(long, value_parser = parse::volume)]
    input: Option<[usize; 3]>,
    /// The number of classes [default: as published].
    #[arg(long, value_parser = parse::count)]
    classes: Option<usize>,
    /// Draw its volumes as blocks in perspective, as the papers do, into this file.
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    input: [usize; 3],
    params: u64,
    macs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u64>,
    layers: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    kind: &'a str,
    output: Vec<usize>,
    params: u64,
    macs: u64,
    receptive_field: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u64>,
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        let (name, about, layers) = match cirio::find_detector(&self.model) {
            Ok(model) => {
                let layers = model.config(self.classes.unwrap_or(model.classes)).body.layers;
                (model.name, format!("the network below its heads, which makes {}", model.about), layers)
            }
            Err(_) => {
                let model = cirio::find(&self.model)?;
                (model.name, model.about.to_owned(), model.layers(self.classes.unwrap_or(model.classes)))
            }
        };
        let layers = match self.input {
            Some(input) => layers.with_input(input),
            None => layers,
        };
        let table = layers.table()?;
        if let Some(path) = &self.svg {
            draw(path, name, &about, &table)?;
        }
        match json {
            true => print_json(&document(name, &table)),
            false => print(format_args!("{name}: {about}\n\n{}", table.to_string().trim_end())),
        }
    }
}

fn draw(path: &Path, name: &str, about: &str, table: &Table) -> Result<()> {
    let [channels, rows, columns] = table.input;
    let (parameters, macs) = (short(table.parameters()), short(table.macs()));
    let caption = format!("{about}\ninput {rows}×{columns}×{channels}, {parameters} parameters, {macs} multiply-adds");
    let svg = blocks(&drawing::blocks(table), name, &caption)?;
    write_whole(path, svg.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))
}

fn document<'a>(model: &'a str, table: &'a Table) -> Document<'a> {
    let line = |row: &'a Row| Line {
        name: &row.name,
        kind: &row.kind,
        output: row.output.dims(),
        params: row.parameters,
        macs: row.macs,
        receptive_field: row.receptive_field.side(),
        connections: row.connections,
    };
    Document {
        model,
        input: table.input,
        params: table.parameters(),
        macs: table.macs(),
        connections: table.connections(),
        layers: table.rows.iter().map(line).collect(),
    }
}
