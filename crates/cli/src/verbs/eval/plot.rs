//! Precision over recall as SVG.

use std::path::Path;

use anyhow::{Context, Result};
use cirio_coco::{Curve, Evaluation};
use cirio_vision::write_whole;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::results::Evaluated;

/// Overlaps that are drawn, in colours that colour-blind readers can tell apart (Okabe & Ito 2008).
const OVERLAPS: [(f64, RGBColor); 3] = [(0.5, RGBColor(0, 114, 178)), (0.75, RGBColor(213, 94, 0)), (0.9, RGBColor(0, 158, 115))];

/// The side of a panel, in pixels.
const SIDE: u32 = 460;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws a panel for each kind: the precision at 101 recalls, its mean over the classes with objects to be found.
pub fn draw(path: &Path, kinds: &[Evaluated], classes: usize) -> Result<()> {
    let mut svg = String::new();
    let drawn = {
        let sheet = SVGBackend::with_string(&mut svg, (SIDE * kinds.len() as u32, SIDE)).into_drawing_area();
        let panels = sheet.split_evenly((1, kinds.len()));
        let panels = || panels.iter().zip(kinds).try_for_each(|(area, kind)| panel(area, kind.title(), &kind.evaluation, classes));
        sheet.fill(&WHITE).and_then(|()| panels()).and_then(|()| sheet.present())
    };
    drawn.with_context(|| format!("{} cannot be drawn", path.display()))?;
    write_whole(path, svg.as_bytes()).with_context(|| path.display().to_string())
}

fn panel(area: &Area, title: &str, evaluation: &Evaluation, classes: usize) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart.configure_mesh().light_line_style(WHITE).bold_line_style(BLACK.mix(0.12)).x_desc("recall").y_desc("precision").draw()?;
    for (overlap, colour) in OVERLAPS {
        let curves: Vec<Curve> = (0..classes).filter_map(|class| evaluation.curve(class, overlap)).collect();
        let line = LineSeries::new(mean(&curves), colour.stroke_width(2));
        chart
            .draw_series(line)?
            .label(format!("overlap {overlap:.2}"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()
}

/// The mean precision of some curves at the recalls 0, 0.01, …, 1; no points where there are no curves.
fn mean(curves: &[Curve]) -> Vec<(f64, f64)> {
    let points = (0..=100).map(|hundredth| f64::from(hundredth) / 100.0);
    let precision = |recall| curves.iter().map(|curve| curve.precision_at(recall)).sum::<f64>() / curves.len() as f64;
    points.filter(|_| !curves.is_empty()).map(|recall| (recall, precision(recall))).collect()
}
