//! One page about a picture.

use std::path::Path;

use anyhow::{Context, Result};
use cirio_explain::report::{self, LayerSeen, Report};
use cirio_vision::{Image, write_whole};

use super::layers::{FEW, sheets};
use super::subject::{Seen, Subject};
use super::{Drawing, Figure};

/// Classes that are named on a page.
const TOP: usize = 5;

/// Writes a page: what the network said of the picture, the figures, and the network layer by layer.
pub fn write<'a>(path: &Path, subject: &Subject, picture: &Image, seen: &Seen, figures: impl Iterator<Item = &'a Figure>) -> Result<()> {
    let (on_page, beside): (Vec<&Figure>, Vec<&Figure>) = figures.partition(|figure| matches!(figure.drawing, Drawing::Still(_)));
    let page = Report {
        title: seen.stem.clone(),
        model: subject.model.to_owned(),
        weights: subject.weights.strip_prefix(&format!("{}/", subject.model)).unwrap_or(&subject.weights).to_owned(),
        picture: picture.clone(),
        predictions: predictions(subject, seen)?,
        figures: on_page.into_iter().filter_map(figure).collect(),
        layers: layers(subject, seen)?,
        notes: beside.into_iter().map(|figure| format!("{} has a file of its own.", figure.title)).collect(),
    };
    write_whole(path, page.html()?.as_bytes()).with_context(|| path.display().to_string())
}

fn figure(figure: &Figure) -> Option<report::Figure> {
    match &figure.drawing {
        Drawing::Still(image) => Some(report::Figure { title: figure.title.clone(), about: figure.about.clone(), image: image.clone() }),
        Drawing::Moving(_) | Drawing::Plot(_) => None,
    }
}

/// The likeliest classes; none of a detector's body.
fn predictions(subject: &Subject, seen: &Seen) -> Result<Vec<(String, f32)>> {
    if subject.classes.is_empty() {
        return Ok(Vec::new());
    }
    let mut named: Vec<(String, f32)> = subject.classes.iter().cloned().zip(subject.probabilities(seen)?).collect();
    named.sort_by(|one, other| other.1.total_cmp(&one.1));
    named.truncate(TOP);
    Ok(named)
}

/// Every layer, those inside of blocks too, with some of its maps.
fn layers(subject: &Subject, seen: &Seen) -> Result<Vec<LayerSeen>> {
    let table = subject.table(seen.size())?;
    let names: Vec<&str> = table.rows.iter().map(|row| row.name.as_str()).collect();
    let sheets = sheets(subject, seen, &names)?;
    let layer = |(row, sheet): (&cirio_nn::Row, Option<Image>)| LayerSeen {
        name: row.name.clone(),
        kind: row.kind.clone(),
        output: row.output.to_string(),
        parameters: row.parameters,
        shown: sheet.as_ref().map_or_else(String::new, |_| shown(row.output)),
        activations: sheet,
    };
    Ok(table.rows.iter().zip(sheets).map(layer).collect())
}

/// `16 of 64 maps`.
fn shown(output: cirio_nn::Volume) -> String {
    match output {
        cirio_nn::Volume::Maps { channels, .. } if channels > FEW => format!("{FEW} of {channels} maps"),
        cirio_nn::Volume::Maps { channels, .. } => format!("{channels} maps"),
        cirio_nn::Volume::Vector(count) => format!("{count} values"),
    }
}
