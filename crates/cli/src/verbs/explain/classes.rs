//! Where the evidence for a class is.

use std::collections::BTreeSet;

use anyhow::Result;
use candle_core::{DType, Tensor};
use cirio_explain::{
    Heat, Occluder, Rectifier, Target, Weighing, class_activation, integrated_gradients, occlusion, saliency, smooth_grad, trace,
};
use cirio_vision::draw::{Cell, ColourMap, Ground, enlarge, sheet};
use cirio_vision::{Image, class_colour, resize};

use super::subject::{Eye, Seen, Subject};
use super::{Args, Class, Figure, Method, Of, paint};

/// Places of an occluder in a row, about.
const PLACES: usize = 14;

/// Steps of integrated gradients, and copies with noise.
const STEPS: usize = 50;

/// The noise of SmoothGrad, as a part of the span of the picture's values.
const NOISE: f64 = 0.15;

/// A figure about a class of a picture.
pub fn figure(args: &Args, subject: &Subject, seen: &Seen, method: Method) -> Result<Figure> {
    let class = subject.class(seen, args.class.as_deref())?;
    let mut figure = match method {
        Method::GradCam => cam(args, subject, seen, &class, "Grad-CAM", Weighing::GradCam),
        Method::GradCamPp => cam(args, subject, seen, &class, "Grad-CAM++", Weighing::PlusPlus),
        Method::Occlusion => occluded(args, subject, seen, &class),
        Method::Guided => guided(subject, seen, &class),
        Method::Integrated => integrated(args, subject, seen, &class),
        Method::SmoothGrad => smooth(args, subject, seen, &class),
        _ => gradient(subject, seen, &class),
    }?;
    figure.of.class = Some(class);
    Ok(figure)
}

/// `ankle-boot 99.98 %`.
fn words(class: &Class) -> String {
    format!("{} {:.2} %", class.name, 100.0 * class.probability)
}

fn cam(args: &Args, subject: &Subject, seen: &Seen, class: &Class, name: &str, weighing: Weighing) -> Result<Figure> {
    let layer = subject.layer(args.layer.as_deref(), seen.size())?;
    let map = class_activation(&subject.stack, &seen.tensor, layer, class.index, weighing)?;
    let most = map.values.iter().copied().fold(0f32, f32::max);
    let relative = Heat { values: map.values.iter().map(|value| value / most).collect(), ..map };
    let title = format!("{name} of {} at {layer}", words(class));
    let about = format!("Where the maps of {layer} speak for {}; 1 is the strongest place.", class.name);
    let cells = paint::with_heat(&seen.image, &relative, ColourMap::Magma, [0.0, 1.0], [&seen.stem, &class.name])?;
    let image = paint::row(&cells)?;
    Ok(Figure { of: Of { layer: Some(layer.to_owned()), ..Of::default() }, ..Figure::still(title, about, image) })
}

fn occluded(args: &Args, subject: &Subject, seen: &Seen, class: &Class) -> Result<Figure> {
    let usual = match args.patch {
        Some(patch) => Occluder::with_patch(patch, PLACES, seen.size()),
        None => Occluder::places(PLACES, seen.size()),
    };
    let fill = args.fill.map_or(usual.fill, |value| grey(subject, value));
    let (patch, stride) = (usual.patch, args.stride.unwrap_or(usual.stride));
    let occluder = Occluder { patch, stride, fill, batch: usual.batch };
    let network = subject.inference(&[])?;
    let found = occlusion(&seen.tensor, &occluder, |images| network.forward(images))?;
    let map = found.over_pixels(class.index, &occluder)?;
    let range = [map.values.iter().copied().fold(1f32, f32::min), map.values.iter().copied().fold(0f32, f32::max)];
    let [rows, columns] = found.places;
    let title = format!("Occlusion of {} by {}×{} pixels, {rows}×{columns} places", words(class), patch[0], patch[1]);
    let about = format!("The probability of {} as a patch hides parts of the picture, and the likeliest class for each place.", class.name);
    let mut cells = paint::with_heat(&seen.image, &map, ColourMap::Viridis, range, [&seen.stem, &format!("P({})", class.name)])?;
    cells.extend(likeliest(&found.likeliest(), found.places, subject)?);
    Ok(Figure::still(title, about, paint::row(&cells)?))
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

fn gradient(subject: &Subject, seen: &Seen, class: &Class) -> Result<Figure> {
    let found = trace(&subject.stack, &seen.tensor, &Target::Class(class.index), Rectifier::Gradient)?;
    over_pixels(seen, class, "Gradient", "How much each pixel changes the score.".to_owned(), &found.saliency()?, ColourMap::Magma)
}

fn smooth(args: &Args, subject: &Subject, seen: &Seen, class: &Class) -> Result<Figure> {
    let values: Vec<f32> = seen.tensor.flatten_all()?.to_vec1()?;
    let (low, high) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)));
    let (steps, noise) = (args.steps.unwrap_or(STEPS), args.noise.unwrap_or(NOISE));
    let noise = noise * f64::from((high - low).max(0.0));
    let gradient = smooth_grad(&subject.stack, &seen.tensor, class.index, steps, noise, args.seed.unwrap_or(0))?;
    let about = format!("How much each pixel changes the score, averaged over {steps} copies with noise.");
    over_pixels(seen, class, "SmoothGrad", about, &saliency(&gradient)?, ColourMap::Magma)
}

fn integrated(args: &Args, subject: &Subject, seen: &Seen, class: &Class) -> Result<Figure> {
    let steps = args.steps.unwrap_or(STEPS);
    let black = grey(subject, 0);
    let black = Tensor::from_slice(&black, (black.len(), 1, 1), &subject.device)?.broadcast_as(seen.tensor.shape())?.contiguous()?;
    let found = integrated_gradients(&subject.stack, &seen.tensor, &black, class.index, steps)?;
    let sum = found.attribution.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
    let difference = found.difference;
    let about = format!("The score {difference:.3} above black, divided among the pixels in {steps} steps; they add up to {sum:.3}.");
    let map = Heat::from_tensor(&found.attribution.sum(0)?)?;
    over_pixels(seen, class, "Integrated gradients", about, &map, ColourMap::Diverging)
}

fn over_pixels(seen: &Seen, class: &Class, name: &str, about: String, map: &Heat, colours: ColourMap) -> Result<Figure> {
    let most = map.values.iter().fold(0f32, |most, value| most.max(value.abs()));
    let range = if matches!(colours, ColourMap::Diverging) { [-most, most] } else { [0.0, most] };
    let cells = paint::with_heat(&seen.image, map, colours, range, [&seen.stem, &class.name])?;
    Ok(Figure::still(format!("{name} of {}", words(class)), about, paint::row(&cells)?))
}

fn guided(subject: &Subject, seen: &Seen, class: &Class) -> Result<Figure> {
    let found = trace(&subject.stack, &seen.tensor, &Target::Class(class.index), Rectifier::Guided)?;
    let title = format!("Guided backpropagation of {}", words(class));
    let about = "What raises the score along paths that are raised themselves.".to_owned();
    let back = paint::shown(&paint::projection(&found.gradient)?)?;
    let cells = [Cell::new(paint::shown(&seen.image)?, &seen.stem), Cell::new(back, &class.name)];
    Ok(Figure::still(title, about, paint::row(&cells)?))
}

/// A picture of this grey as the network takes it, a value a channel.
fn grey(subject: &Subject, value: u8) -> Vec<f32> {
    match &subject.eye {
        Eye::Classifier(steps) => steps.mean.iter().zip(&steps.std).map(|(mean, std)| (f32::from(value) / 255.0 - mean) / std).collect(),
        Eye::Detector(_) => vec![0.0],
    }
}
