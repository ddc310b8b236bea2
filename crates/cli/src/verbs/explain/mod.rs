//! `cirio explain`: what does a network see?

mod classes;
mod collection;
mod evolution;
mod figure;
mod layers;
mod maps;
mod method;
mod paint;
mod proposals;
mod report;
mod scatter;
mod subject;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cirio_vision::draw::{Cell, Ground, save_frames, sheet};
use cirio_vision::{Image, write_whole};
use serde::Serialize;

use self::figure::{Class, Drawing, Figure, Of};
use self::method::Method;
use self::subject::{Seen, Subject};
use super::data::Part;
use crate::console::{Usage, print, print_json};
use crate::detector::Finder;
use crate::network::Choice;
use crate::pictures::Files;
use crate::{parse, pictures};

/// Draws what a network sees: filters, feature maps, what made an activation, where the evidence for a class is.
#[derive(clap::Args)]
pub struct Args {
    /// Pictures, folders whose pictures are meant, patterns such as "*.jpg", or - for a picture on standard input.
    images: Vec<PathBuf>,
    #[command(flatten)]
    network: Choice,
    /// What to draw; several between commas [default: grad-cam for classifiers, proposals for detectors].
    #[arg(long, value_enum, value_delimiter = ',')]
    method: Vec<Method>,
    /// The layer, e.g. conv1 or layer1.0.conv2 [default: the last with maps; all, for activations; the first, for filters].
    #[arg(long)]
    layer: Option<String>,
    /// Maps of the layer, between commas [default: those with the strongest activations].
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    map: Vec<usize>,
    /// The class that evidence is looked for: its name or number [default: the likeliest].
    #[arg(long)]
    class: Option<String>,
    /// Occlusion: the sides of the patch in pixels of the network's input, e.g. 32 or 32x48 [default: a seventh of the picture].
    #[arg(long, value_parser = parse::square)]
    patch: Option<[usize; 2]>,
    /// Occlusion: pixels from one place of the patch to the next [default: for 14 places each way].
    #[arg(long, value_parser = parse::square)]
    stride: Option<[usize; 2]>,
    /// Occlusion: the grey of the patch, 0 to 255 [default: the mean of what the network was trained on].
    #[arg(long)]
    fill: Option<u8>,
    /// Integrated gradients: steps of the way from black; SmoothGrad: copies with noise [default: 50].
    #[arg(long, value_parser = parse::count)]
    steps: Option<usize>,
    /// SmoothGrad: the noise, as a part of the span of the picture's values [default: 0.15].
    #[arg(long, value_parser = parse::share)]
    noise: Option<f64>,
    /// Strongest, pca and t-sne: a data set's folder.
    #[arg(long, short)]
    data: Option<PathBuf>,
    /// The part of the data set [default: test].
    #[arg(long, value_enum)]
    split: Option<Part>,
    /// Use COUNT pictures of the data set alone, evenly from all of it; t-sne takes 5,000 at most.
    #[arg(long, value_name = "COUNT", value_parser = parse::count)]
    limit: Option<usize>,
    /// SmoothGrad: the seed of the noise [default: 0].
    #[arg(long)]
    seed: Option<u64>,
    /// Write one page about one picture as well: what the network says of it, these figures, and the activations of all layers.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// The folder for the pictures that are made; it is made if need be.
    #[arg(long, short, default_value = "explained")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    weights: &'a str,
    figures: &'a [Line],
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<String>,
}

#[derive(Serialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
    method: String,
    title: String,
    #[serde(flatten)]
    of: Of,
    output: String,
}

/// Whether a flag is given, the flag, and which methods heed it.
type Flag = (bool, &'static str, fn(Method) -> bool);

/// How long a frame of an animation is seen, in milliseconds.
const FRAME: u16 = 400;

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        let (found, model) = self.network.choose()?;
        let usual = if cirio::find_detector(&model).is_ok() { Method::Proposals } else { Method::GradCam };
        let methods = if self.method.is_empty() { vec![usual] } else { self.method.clone() };
        self.check(&methods)?;
        self.check_flags(&methods)?;
        if let (Some(method), Ok(model)) = (methods.iter().find(|method| method.takes_a_class()), cirio::find_detector(&model)) {
            bail!(Usage(format!(
                "--method {} is for classifiers; {} is a detector, of which there are proposals",
                method.name(),
                model.name
            )));
        }
        let paths = pictures::list(&self.images)?;
        self.check_report(&paths)?;
        let finder = methods.contains(&Method::Proposals).then(|| proposals::finder(&self.network, &found, &model)).transpose()?;
        let subject = Subject::load(&self.network, found, &model)?;
        let files = Files::new(&self.out, &paths)?;
        let mut work = Work { args: &self, methods, subject, finder, files, json, lines: Vec::new() };
        let general = work.without_pictures()?;
        let mut reported = None;
        let looked_at = if work.takes_pictures() || self.report.is_some() { paths.as_slice() } else { &[] };
        for path in looked_at {
            let (picture, seen, figures) = work.picture(path)?;
            if let Some(page) = &self.report {
                report::write(page, &work.subject, &picture, &seen, general.iter().chain(&figures))?;
                reported = Some(page.display().to_string());
            }
        }
        let Work { subject, lines, .. } = &work;
        match (json, &reported) {
            (true, _) => print_json(&Document { model: subject.model, weights: &subject.weights, figures: lines, report: reported }),
            (false, Some(page)) => print(format_args!("{page}: a page about {}", paths[0].display())),
            (false, None) => Ok(()),
        }
    }

    /// That there are pictures, or a data set, where a method needs them.
    fn check(&self, methods: &[Method]) -> Result<()> {
        let first = |kind: fn(Method) -> bool| methods.iter().copied().find(|&method| kind(method));
        match (first(Method::takes_pictures), first(Method::takes_data)) {
            (Some(method), _) if self.images.is_empty() => {
                bail!(Usage(format!("--method {}: which picture? Name one, e.g. cirio explain photo.jpg", method.name())))
            }
            (_, Some(method)) if self.data.is_none() => {
                bail!(Usage(format!("--method {}: over which data set? Name its folder with --data", method.name())))
            }
            _ => Ok(()),
        }
    }

    /// That no flag is given that none of the methods heeds.
    fn check_flags(&self, methods: &[Method]) -> Result<()> {
        use Method::{Integrated, Occlusion, SmoothGrad};
        let flags: [Flag; 12] = [
            (self.layer.is_some(), "--layer", Method::takes_a_layer),
            (!self.map.is_empty(), "--map", Method::takes_maps),
            (self.class.is_some(), "--class", Method::takes_a_class),
            (self.patch.is_some(), "--patch", |method| method == Occlusion),
            (self.stride.is_some(), "--stride", |method| method == Occlusion),
            (self.fill.is_some(), "--fill", |method| method == Occlusion),
            (self.steps.is_some(), "--steps", |method| matches!(method, Integrated | SmoothGrad)),
            (self.noise.is_some(), "--noise", |method| method == SmoothGrad),
            (self.seed.is_some(), "--seed", |method| method == SmoothGrad),
            (self.data.is_some(), "--data", Method::takes_data),
            (self.split.is_some(), "--split", Method::takes_data),
            (self.limit.is_some(), "--limit", Method::takes_data),
        ];
        let names = || methods.iter().map(|method| method.name()).collect::<Vec<_>>().join(",");
        if let Some((_, flag, _)) = flags.iter().find(|(given, _, heeds)| *given && !methods.iter().any(|&method| heeds(method))) {
            bail!(Usage(format!("{flag} says nothing to --method {}", names())));
        }
        if !self.images.is_empty() && self.report.is_none() && !methods.iter().any(|method| method.takes_pictures()) {
            bail!(Usage(format!("--method {} takes no picture, and one is given", names())));
        }
        Ok(())
    }

    fn check_report(&self, paths: &[PathBuf]) -> Result<()> {
        let Some(page) = &self.report else { return Ok(()) };
        if paths.len() != 1 {
            bail!(Usage(format!("--report: a page is about one picture, and {} are given", paths.len())));
        }
        if page.extension().is_none_or(|ending| ending != "html" && ending != "htm") {
            bail!(Usage(format!("--report {}: a page's name ends in .html", page.display())));
        }
        if page.is_dir() {
            bail!("--report {}: there is a folder of this name", page.display());
        }
        if page.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            bail!("--report {}: there is no such folder", page.display());
        }
        Ok(())
    }
}

/// What is drawn, and what has been.
struct Work<'a> {
    args: &'a Args,
    methods: Vec<Method>,
    subject: Subject,
    /// The whole detector, where its proposals are wanted.
    finder: Option<Finder>,
    files: Files,
    json: bool,
    lines: Vec<Line>,
}

impl Work<'_> {
    fn takes_pictures(&self) -> bool {
        self.methods.iter().any(|method| method.takes_pictures())
    }

    /// The figures that are of no picture.
    fn without_pictures(&mut self) -> Result<Vec<Figure>> {
        let methods: Vec<Method> = self.methods.iter().copied().filter(|method| !method.takes_pictures()).collect();
        let Args { layer, data, .. } = self.args;
        let mut figures = Vec::new();
        for method in methods {
            let figure = match (data, method) {
                (Some(data), Method::Strongest) => collection::strongest(self.args, &self.subject, data),
                (Some(data), Method::Pca | Method::TSne) => collection::embedding(self.args, &self.subject, data, method),
                (_, Method::FilterEvolution) => evolution::filters(&self.subject, layer.as_deref()),
                _ => layers::filters(&self.subject, layer.as_deref()),
            };
            figures.push(figure?);
            self.save(&figures[figures.len() - 1], None, method, self.subject.model)?;
        }
        Ok(figures)
    }

    /// A picture, as it is and as the network sees it, with its figures.
    fn picture(&mut self, path: &Path) -> Result<(Image, Seen, Vec<Figure>)> {
        let picture = pictures::open(path)?;
        let named = || path.display().to_string();
        let seen = self.subject.see(&picture, pictures::stem(path)).with_context(named)?;
        let methods: Vec<Method> = self.methods.iter().copied().filter(|method| method.takes_pictures()).collect();
        let mut figures = Vec::new();
        for method in methods {
            figures.push(self.figure(&picture, &seen, method).with_context(named)?);
            self.save(&figures[figures.len() - 1], Some(path), method, &seen.stem)?;
        }
        Ok((picture, seen, figures))
    }

    fn figure(&self, picture: &Image, seen: &Seen, method: Method) -> Result<Figure> {
        let (subject, Args { layer, map, .. }) = (&self.subject, self.args);
        match (&self.finder, method) {
            (Some(finder), Method::Proposals) => proposals::figure(finder, picture, &seen.stem),
            (_, Method::Activations) => layers::activations(subject, seen, layer.as_deref(), map),
            (_, Method::Deconvnet) => maps::deconvnet(subject, seen, layer.as_deref(), map),
            (_, Method::Evolution) => evolution::maps(subject, seen, layer.as_deref(), map),
            _ => classes::figure(self.args, subject, seen, method),
        }
    }

    /// Writes a figure, and says so.
    fn save(&mut self, figure: &Figure, picture: Option<&Path>, method: Method, stem: &str) -> Result<()> {
        let ending = if matches!(figure.drawing, Drawing::Plot(_)) { "svg" } else { "png" };
        let file = self.files.free(&format!("{stem}-{}", method.name()), ending);
        match &figure.drawing {
            Drawing::Still(image) => sheet(&[Cell::new(image.clone(), "")], 1, Ground::White, Some(&figure.title))?.save(&file)?,
            Drawing::Moving(frames) => save_frames(&file, frames, FRAME)?,
            Drawing::Plot(svg) => write_whole(&file, svg.as_bytes()).with_context(|| file.display().to_string())?,
        }
        let output = file.display().to_string();
        if !self.json {
            print(format_args!("{output}: {}", figure.title))?;
        }
        let picture = picture.map(|path| path.display().to_string());
        self.lines.push(Line { picture, method: method.name(), title: figure.title.clone(), of: figure.of.clone(), output });
        Ok(())
    }
}
