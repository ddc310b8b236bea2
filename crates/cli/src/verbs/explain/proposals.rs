//! How a detector came to its boxes.

use anyhow::{Result, bail};
use candle_core::Tensor;
use cirio_detection::{Trace, Xyxy, boxes};
use cirio_explain::Heat;
use cirio_explain::detector::{Origin, level_objectness, objectness, origin};
use cirio_hub::Resolved;
use cirio_vision::draw::{Cell, ColourMap, Direction, Ground, legend, overlay, sheet};
use cirio_vision::{Canvas, Image, class_colour, to_tensor};

use super::{Figure, paint};
use crate::console::Usage;
use crate::detector::{Finder, Rules};
use crate::drawing::Drawing as Objects;
use crate::network::Choice;

/// Objects whose ways are drawn.
const OBJECTS: usize = 8;

/// The colours of an anchor and of a proposal.
const ANCHOR: [u8; 3] = [150, 150, 150];
const PROPOSAL: [u8; 3] = [255, 214, 0];

/// The whole detector.
pub fn finder(choice: &Choice, found: &Resolved, model: &str) -> Result<Finder> {
    match cirio::find_detector(model) {
        Ok(model) => Rules::default().load(choice, found, model),
        Err(_) => bail!(Usage(format!("--method proposals is for detectors; {model} is a classifier"))),
    }
}

/// The boxes that were found; how likely an object is at each place; the way from anchors over proposals to boxes; and each level by itself: objects and maps.
pub fn figure(finder: &Finder, picture: &Image, stem: &str) -> Result<Figure> {
    let picture = picture.to_rgb();
    let trace = finder.detector.trace(&to_tensor(&picture, &[0.0; 3], &[1.0; 3], &finder.device)?)?;
    let likely = objectness(&trace)?;
    let shown = paint::shown(&picture)?;
    let mut cells = vec![
        Cell::new(found(finder, &trace, &shown)?, stem),
        Cell::new(ways(&trace, &shown)?, "anchor, proposal, box"),
        Cell::new(over(&shown, &likely)?, "an object at each place"),
        Cell::new(legend(ColourMap::Magma, [0.0, 1.0], shown.height(), Direction::Up, Ground::White)?, ""),
    ];
    for (number, level) in trace.levels.iter().enumerate() {
        let (maps, rows, columns) = level.features.dims3()?;
        let strength = strength(&trace, &level.features)?;
        let strong = overlay(&shown, &strength.values, strength.width, strength.height, ColourMap::Viridis, None, 1.0)?;
        cells.push(Cell::new(over(&shown, &level_objectness(&trace, number)?)?, format!("level {number}: objects")));
        cells.push(Cell::new(strong, format!("level {number}: {maps} maps, {rows}×{columns}")));
    }
    let title = format!("From {} proposals to {} boxes, {}", trace.proposals.len(), trace.detections.len(), finder.model.name);
    let about = "Grey anchors became yellow proposals, and those the boxes that were found; then the probability of an object at each place, in all and on each level, and how strong the maps of each level are.".to_owned();
    let image = sheet(&cells, 4, Ground::White, None)?;
    Ok(Figure::still(title, about, image))
}

/// How strong the maps (C, h, w) of a level are at each place: the mean of their absolute values, where the picture is and not the filling.
fn strength(trace: &Trace, features: &Tensor) -> Result<Heat> {
    let mean = features.abs()?.mean(0)?;
    let inside = |axis: usize, places: usize| (places * trace.size[axis]).div_ceil(trace.padded[axis].max(1)).clamp(1, places);
    let (rows, columns) = mean.dims2()?;
    Ok(Heat::from_tensor(&mean.narrow(0, 0, inside(0, rows))?.narrow(1, 0, inside(1, columns))?)?)
}

fn over(picture: &Image, heat: &Heat) -> Result<Image> {
    Ok(overlay(picture, &heat.values, heat.width, heat.height, ColourMap::Magma, Some([0.0, 1.0]), 0.65)?)
}

/// The boxes and the names of what was found, on the picture as it is shown.
fn found(finder: &Finder, trace: &Trace, shown: &Image) -> Result<Image> {
    let mut drawing = Objects::new(shown);
    for detection in trace.detections.iter().take(OBJECTS).rev() {
        let name = finder.classes.get(detection.label).map_or("?", String::as_str);
        let words = format!("{name} {:.0}%", 100.0 * detection.score);
        drawing.object(detection.label, on(shown, trace, detection.bounds), None, words);
    }
    drawing.finish()
}

/// The anchor, the proposal and the box of each object, on the picture as it is shown.
fn ways(trace: &Trace, shown: &Image) -> Result<Image> {
    let mut canvas = Canvas::new(shown);
    for detection in 0..trace.detections.len().min(OBJECTS) {
        let Origin { anchor, proposal, bounds, label, .. } = origin(trace, detection)?;
        for (edges, colour) in [(anchor, ANCHOR), (proposal, PROPOSAL), (bounds, class_colour(label))] {
            canvas.outline(on(shown, trace, edges), colour);
        }
    }
    Ok(canvas.into_image()?)
}

/// A box of the picture on the picture as it is shown.
fn on(shown: &Image, trace: &Trace, edges: Xyxy) -> Xyxy {
    boxes::resize(edges, trace.original, [shown.height(), shown.width()])
}
