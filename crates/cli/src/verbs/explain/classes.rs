//! Where the evidence for a class is.

use std::collections::BTreeSet;

use anyhow::Result;
use candle_core::{DType, Tensor};
use cirio_explain::{
    Heat, Occluder, Rectifier, Target, Weighing, class_activation, integrated_gradients, occlusion, saliency, smooth_grad, trace,
};
use cirio_vision::draw::{Cell, ColourMap, Ground, enlarge, sheet};
use cirio_vision::{Image, class_colour, resize};

use super::subject::{Chosen, Eye, Seen, Subject};
use super::{Args, Class, Drawing, Figure, Method, Of, paint};

/// A figure about a class of a picture.
pub fn figure(args: &Args, subject: &Subject, seen: &Seen, method: Method) -> Result<Figure> {
    let class = subject.class(seen, args.class.as_deref())?;
    let (title, about, image, layer) = match method {
        Method::GradCam | Method::GradCamPp => cam(args, subject, seen, &class, method)?,
        Method::Occlusion => occluded(args, subject, seen, &class)?,
        _ => pixels(args, subject, seen, &class, method)?,
    };
    let of = Of { class: Some(Class { index: class.index, name: class.name, probability: class.probability }), layer, maps: Vec::new() };
    Ok(Figure { title, about, drawing: Drawing::Still(image), of })
}

type Drawn = (String, String, Image, Option<String>);

/// `ankle-boot 99.98 %`.
fn words(class: &Chosen) -> String {
    format!("{} {:.2} %", class.name, 100.0 * class.probability)
}

fn cam(args: &Args, subject: &Subject, seen: &Seen, class: &Chosen, method: Method) -> Result<Drawn> {
    let layer = subject.layer(args.layer.as_deref())?;
    let (name, weighing) = match method {
        Method::GradCamPp => ("Grad-CAM++", Weighing::PlusPlus),
        _ => ("Grad-CAM", Weighing::GradCam),
    };
    let map = class_activation(&subject.stack, &seen.tensor, layer, class.index, weighing)?;
    let most = map.values.iter().copied().fold(0f32, f32::max);
    let relative = Heat { values: map.values.iter().map(|value| value / most).collect(), ..map };
    let title = format!("{name} of {} at {layer}", words(class));
    let about = format!("Where the maps of {layer} speak for {}; 1 is the strongest place.", class.name);
    let cells = paint::with_heat(&seen.image, &relative, ColourMap::Magma, [0.0, 1.0], [&seen.stem, &class.name])?;
    let image = paint::row(&cells)?;
    Ok((title, about, image, Some(layer.to_owned())))
}

fn occluded(args: &Args, subject: &Subject, seen: &Seen, class: &Chosen) -> Result<Drawn> {
    let usual = Occluder::places(14, seen.size());
    let patch = args.patch.unwrap_or(usual.patch);
    let stride = args.stride.unwrap_or_else(|| match args.patch {
        Some(patch) => [0, 1].map(|axis| (seen.size()[axis].saturating_sub(patch[axis]) / 13).max(1)),
        None => usual.stride,
    });
    let occluder = Occluder { patch, stride, fill: fill(args.fill, subject), ..usual };
    let network = subject.inference(&[])?;
    let found = occlusion(&seen.tensor, &occluder, |images| network.forward(images))?;
    let map = found.over_pixels(class.index, &occluder)?;
    let range = [map.values.iter().copied().fold(1f32, f32::min), map.values.iter().copied().fold(0f32, f32::max)];
    let [rows, columns] = found.places;
    let title = format!("Occlusion of {} by {}×{} pixels, {rows}×{columns} places", words(class), patch[0], patch[1]);
    let about = format!("The probability of {} as a patch hides parts of the picture, and the likeliest class for each place.", class.name);
    let mut cells = paint::with_heat(&seen.image, &map, ColourMap::Viridis, range, [&seen.stem, &format!("P({})", class.name)])?;
    cells.extend(likeliest(&found.likeliest(), found.places, subject)?);
    Ok((title, about, paint::row(&cells)?, None))
}

/// The value of each channel under the patch, as the network takes it.
fn fill(grey: Option<u8>, subject: &Subject) -> Vec<f32> {
    match (grey, &subject.eye) {
        (Some(grey), Eye::Classifier(steps)) => {
            steps.mean.iter().zip(&steps.std).map(|(mean, std)| (f32::from(grey) / 255.0 - mean) / std).collect()
        }
        _ => vec![0.0],
    }
}

/// The likeliest class for each place in its colour, and the colours' names.
fn likeliest(classes: &[usize], [rows, columns]: [usize; 2], subject: &Subject) -> Result<[Cell; 2]> {
    const SIDE: usize = 320;
    let places = Image::new(columns, rows, 3, classes.iter().flat_map(|&class| class_colour(class)).collect())?;
    let shown: BTreeSet<usize> = classes.iter().copied().collect();
    let swatch = |class: usize| -> Result<Cell> {
        let colour = Image::new(1, 1, 3, class_colour(class).to_vec())?;
        Ok(Cell::new(resize(&colour, 160, 12)?, subject.classes[class].clone()))
    };
    let names = shown.into_iter().take(12).map(swatch).collect::<Result<Vec<_>>>()?;
    let places = enlarge(&places, SIDE.div_ceil(rows.max(columns)))?;
    Ok([Cell::new(places, "likeliest class"), Cell::new(sheet(&names, 1, Ground::White, None)?, "")])
}

fn pixels(args: &Args, subject: &Subject, seen: &Seen, class: &Chosen, method: Method) -> Result<Drawn> {
    let (stack, target) = (&subject.stack, Target::Class(class.index));
    let finish = |name: &str, about: String, map: Heat, colours: ColourMap| -> Result<Drawn> {
        let most = map.values.iter().fold(0f32, |most, value| most.max(value.abs()));
        let range = if matches!(colours, ColourMap::Diverging) { [-most, most] } else { [0.0, most] };
        let title = format!("{name} of {}", words(class));
        let cells = paint::with_heat(&seen.image, &map, colours, range, [&seen.stem, &class.name])?;
        Ok((title, about, paint::row(&cells)?, None))
    };
    match method {
        Method::Integrated => {
            let black = black(subject, seen)?;
            let found = integrated_gradients(stack, &seen.tensor, &black, class.index, args.steps)?;
            let sum = found.attribution.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
            let about = format!(
                "The score {:.3} above black, divided among the pixels in {} steps; they add up to {sum:.3}.",
                found.difference, args.steps
            );
            finish("Integrated gradients", about, Heat::from_tensor(&found.attribution.sum(0)?)?, ColourMap::Diverging)
        }
        Method::SmoothGrad => {
            let values: Vec<f32> = seen.tensor.flatten_all()?.to_vec1()?;
            let (low, high) =
                values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)));
            let noise = args.noise * f64::from((high - low).max(0.0));
            let gradient = smooth_grad(stack, &seen.tensor, class.index, args.steps, noise, args.seed)?;
            let about = format!("How much each pixel changes the score, averaged over {} copies with noise.", args.steps);
            finish("SmoothGrad", about, saliency(&gradient)?, ColourMap::Magma)
        }
        Method::Guided => {
            let found = trace(stack, &seen.tensor, &target, Rectifier::Guided)?;
            let title = format!("Guided backpropagation of {}", words(class));
            let about = "What raises the score along paths that are raised themselves.".to_owned();
            let cells = [
                Cell::new(paint::shown(&seen.image)?, &seen.stem),
                Cell::new(paint::shown(&paint::projection(&found.gradient)?)?, &class.name),
            ];
            Ok((title, about, paint::row(&cells)?, None))
        }
        _ => {
            let found = trace(stack, &seen.tensor, &target, Rectifier::Gradient)?;
            finish("Gradient", "How much each pixel changes the score.".to_owned(), found.saliency()?, ColourMap::Magma)
        }
    }
}

/// A black picture as the network takes it.
fn black(subject: &Subject, seen: &Seen) -> Result<Tensor> {
    Ok(subject.see(&Image::filled(seen.image.width(), seen.image.height(), 3, 0)?, String::new())?.tensor)
}
