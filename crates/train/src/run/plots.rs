//! Pictures of a run as SVG: the curves of its numbers and the confusion matrix.

use std::ops::Range;
use std::path::Path;

use cirio_nn::files;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::log::EpochLine;
use crate::metrics::Confusion;
use crate::{Error, Result};

/// A dark blue and an orange that colour-blind readers can tell apart (Okabe & Ito 2008).
const TRAIN: RGBColor = RGBColor(0, 114, 178);
const VALIDATION: RGBColor = RGBColor(213, 94, 0);

/// The largest confusion matrix that is drawn.
const MOST_CLASSES: usize = 100;

/// A line of a panel: its name, its colour, its values by epoch.
type Curve = (&'static str, RGBColor, Vec<(f64, f64)>);

/// Draws the loss and the number that says most over the epochs, each for training and validation.
pub(crate) fn curves(path: &Path, epochs: &[EpochLine]) -> Result<()> {
    let by_epoch = |value: &dyn Fn(&EpochLine) -> Option<f64>| -> Vec<(f64, f64)> {
        epochs.iter().filter_map(|line| Some((line.epoch as f64, value(line)?))).collect()
    };
    let loss: [Curve; 2] = [
        ("training", TRAIN, by_epoch(&|line| Some(line.train_loss))),
        ("validation", VALIDATION, by_epoch(&|line| line.scores.map(|scores| scores.loss()))),
    ];
    let headline: [Curve; 2] = [
        ("training", TRAIN, by_epoch(&|line| line.train_accuracy)),
        ("validation", VALIDATION, by_epoch(&|line| line.scores.map(|scores| scores.headline().1))),
    ];
    let name = epochs.iter().find_map(|line| line.scores).map_or("accuracy", |scores| scores.headline().0);
    draw(path, (1000, 420), |area| {
        let (left, right) = area.split_horizontally(500);
        panel(&left, "loss", &loss)?;
        panel(&right, name, &headline)
    })
}

fn panel(area: &Area, title: &str, curves: &[Curve]) -> Drawn {
    let points = || curves.iter().flat_map(|(_, _, points)| points);
    let across = range(points().map(|point| point.0));
    let up = range(points().map(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(across, up)?;
    chart.configure_mesh().light_line_style(WHITE).bold_line_style(BLACK.mix(0.12)).x_desc("epoch").draw()?;
    for (name, colour, points) in curves.iter().filter(|(_, _, points)| !points.is_empty()) {
        let (points, colour) = (points.clone(), *colour);
        // A run of one epoch is a point.
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 2, colour.filled())))?;
        let line = LineSeries::new(points, colour.stroke_width(2));
        chart.draw_series(line)?.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()
}

/// The range of some numbers with a little air around them.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    match low <= high {
        true => {
            let air = (0.05 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
            low - air..high + air
        }
        false => 0.0..1.0,
    }
}

/// Draws a confusion matrix, rows true and columns predicted; colour is the share of the row. Above 100 classes nothing is
/// drawn, since nothing could be read.
pub(crate) fn confusion(path: &Path, confusion: &Confusion, names: &[String]) -> Result<()> {
    let classes = confusion.classes();
    if classes == 0 || classes > MOST_CLASSES {
        return Ok(());
    }
    let cell = if classes <= 20 { 44 } else { 14 };
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(24) as i32;
    let margin = 40 + 7 * longest;
    let side = (margin + cell * classes as i32 + 20) as u32;
    draw(path, (side, side), |area| {
        let text = |size: i32, anchor: Pos| ("sans-serif", size).into_text_style(area).pos(anchor);
        let right = Pos::new(HPos::Right, VPos::Center);
        let centre = Pos::new(HPos::Center, VPos::Center);
        area.draw(&Text::new("predicted →", (margin, 14), text(13, Pos::new(HPos::Left, VPos::Center))))?;
        area.draw(&Text::new("true ↓", (margin - 8, margin - 14), text(13, right)))?;
        for truth in 0..classes {
            let middle = margin + cell * truth as i32 + cell / 2;
            let name: String = names.get(truth).map_or_else(|| truth.to_string(), |name| name.chars().take(24).collect());
            let size = (cell - 2).min(13);
            area.draw(&Text::new(name.clone(), (margin - 8, middle), text(size, right)))?;
            // Turned by 270° a text is read upwards; its left end stands over the column.
            let upwards = text(size, Pos::new(HPos::Left, VPos::Center)).transform(FontTransform::Rotate270);
            area.draw(&Text::new(name, (middle, margin - 8), upwards))?;
            let row = confusion.row(truth);
            let total = row.iter().sum::<u64>().max(1);
            for (predicted, &count) in row.iter().enumerate() {
                let (x, y) = (margin + cell * predicted as i32, margin + cell * truth as i32);
                let share = count as f64 / total as f64;
                area.draw(&Rectangle::new([(x, y), (x + cell - 1, y + cell - 1)], shade(share).filled()))?;
                if count > 0 && classes <= 20 {
                    let ink = if share > 0.5 { WHITE } else { BLACK };
                    area.draw(&Text::new(count.to_string(), (x + cell / 2, y + cell / 2), text(13, centre).color(&ink)))?;
                }
            }
        }
        Ok(())
    })
}

/// From nearly white to dark blue.
fn shade(share: f64) -> RGBColor {
    let between = |light: u8, dark: u8| (f64::from(light) + (f64::from(dark) - f64::from(light)) * share.clamp(0.0, 1.0)).round() as u8;
    RGBColor(between(240, TRAIN.0), between(244, TRAIN.1), between(248, TRAIN.2))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws on a white sheet and writes it.
fn draw(path: &Path, size: (u32, u32), content: impl FnOnce(&Area) -> Drawn) -> Result<()> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = area.fill(&WHITE).and_then(|()| content(&area)).and_then(|()| area.present());
        drawn.map_err(|error| Error::file(path, format_args!("cannot be drawn: {error}")))?;
    }
    Ok(files::write(path, |file| file.write_all(svg.as_bytes()))?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Quality, Scores};

    fn drawn(draw: impl FnOnce(&Path) -> Result<()>) -> Result<String> {
        let folder = tempfile::tempdir().map_err(Error::io(Path::new("temporary")))?;
        let path = folder.path().join("plot.svg");
        draw(&path)?;
        fs::read_to_string(&path).map_err(Error::io(&path))
    }

    #[test]
    fn curves_of_no_one_and_two_epochs() -> Result<()> {
        let scores = Quality::Classes(Scores { count: 5, loss: 0.5, accuracy: 0.8, top5: 1.0 });
        let line =
            |epoch, scores| EpochLine { epoch, step: epoch, lr: 0.1, train_loss: 1.0, train_accuracy: Some(0.7), scores, seconds: 1.0 };
        assert!(drawn(|path| curves(path, &[]))?.contains("epoch"));
        let one = drawn(|path| curves(path, &[line(1, None)]))?;
        assert!(one.contains("training") && !one.contains("validation"));
        let two = drawn(|path| curves(path, &[line(1, Some(scores)), line(2, Some(scores))]))?;
        assert!(two.contains("validation") && two.contains("polyline"));
        Ok(())
    }

    #[test]
    fn a_confusion_matrix_has_its_counts_and_names_escaped() -> Result<()> {
        let mut matrix = Confusion::new(2);
        (0..37).try_for_each(|_| matrix.add(0, 1))?;
        let svg = drawn(|path| confusion(path, &matrix, &["<cat>".to_owned(), "dog".to_owned()]))?;
        assert!(svg.contains("37") && svg.contains("&lt;cat&gt;") && !svg.contains("<cat>"), "{svg}");
        Ok(())
    }
}
