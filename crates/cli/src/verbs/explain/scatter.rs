//! Points of several classes as SVG.

use anyhow::{Result, anyhow};
use cirio_vision::class_colour;
use plotters::prelude::*;

/// The sides of a plot, in pixels.
const SIDES: (u32, u32) = (860, 680);

/// The most classes that have names in the legend.
const NAMED: usize = 24;

/// The M places, each in the colour of its class.
pub fn draw(title: &str, places: &[[f64; 2]], labels: &[usize], classes: &[String]) -> Result<String> {
    let mut svg = String::new();
    plot(&mut svg, title, places, labels, classes).map_err(|error| anyhow!("the plot cannot be drawn: {error}"))?;
    Ok(svg)
}

fn plot(
    svg: &mut String,
    title: &str,
    places: &[[f64; 2]],
    labels: &[usize],
    classes: &[String],
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let sheet = SVGBackend::with_string(svg, SIDES).into_drawing_area();
    sheet.fill(&WHITE)?;
    let [x, y] = [0, 1].map(|axis| span(places.iter().map(|place| place[axis])));
    // Room for the legend at the right.
    let x = x.start..x.end + 0.25 * (x.end - x.start);
    let mut chart = ChartBuilder::on(&sheet).caption(title, ("sans-serif", 18)).margin(16).build_cartesian_2d(x, y)?;
    for (class, name) in classes.iter().enumerate() {
        let [red, green, blue] = class_colour(class);
        let colour = RGBColor(red, green, blue);
        let of_class = places.iter().zip(labels).filter(|(_, label)| **label == class);
        let mut points = of_class.map(|(place, _)| Circle::new((place[0], place[1]), 3, colour.mix(0.75).filled())).peekable();
        if points.peek().is_none() {
            continue;
        }
        let series = chart.draw_series(points)?;
        if class < NAMED {
            series.label(name).legend(move |(x, y)| Circle::new((x + 8, y), 5, colour.filled()));
        }
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.2)).label_font(("sans-serif", 14)).draw()?;
    sheet.present()
}

/// From the least to the largest value, and a little more.
fn span(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let margin = ((high - low) * 0.04).max(1e-9);
    low - margin..high + margin
}
