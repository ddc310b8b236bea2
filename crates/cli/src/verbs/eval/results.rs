//! `cirio eval --results`: how good are found objects that stand in a file?

use std::path::{Path, PathBuf};

use anyhow::Result;
use cirio_coco::{Evaluation, Found, Kind, Measured, Report};
use cirio_data::objects::{ObjectSet, coco};
use clap::ValueEnum;
use serde::{Serialize, Serializer};

use super::{plot, warn_of_problems};
use crate::console::{Usage, print, print_json};

/// Flags of the evaluation of found objects.
#[derive(clap::Args)]
pub struct Flags {
    /// Found objects, in COCO's format for results: measure them by the labels in --data, a file of COCO's JSON, without a network.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "model", "weights", "offline", "device", "batch", "tta", "split", "val_fraction", "seed", "strict", "save_json", "frozen_bn_eps",
    ])]
    pub results: Option<PathBuf>,
    /// Detectors and results: what is compared [default: all that was found].
    #[arg(long, value_enum)]
    kind: Option<What>,
    /// How far people differ in each key point, as a share of the root of the area: 0.026,0.025,… [default: COCO's for its 17 points, for other points their mean].
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    sigmas: Vec<f64>,
    /// Detectors and results: draw precision over recall.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// `--kind`: what is compared.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Boxes,
    Masks,
    Keypoints,
}

/// Who found the objects, and in what.
pub struct Told<'a> {
    pub model: Option<&'a str>,
    pub weights: Option<&'a str>,
    /// The file with what was found, where no detector was run.
    pub results: Option<&'a Path>,
    pub data: &'a Path,
    /// The pictures that could not be read, where pictures are read.
    pub skipped: Option<usize>,
}

impl Told<'_> {
    fn what(&self) -> String {
        match (self.model, self.weights, self.results) {
            (Some(model), Some(weights), _) => format!("{model} ({weights})"),
            (_, _, results) => results.map_or_else(String::new, |file| file.display().to_string()),
        }
    }
}

/// One kind, evaluated.
pub struct Evaluated {
    what: What,
    pub evaluation: Evaluation,
    report: Report,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<String>,
    data: String,
    /// Pictures.
    count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<usize>,
    #[serde(flatten)]
    kinds: Kinds,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<Class<'a>>>,
}

#[derive(Serialize)]
struct Class<'a> {
    name: &'a str,
    #[serde(flatten)]
    kinds: Kinds,
}

#[derive(Default, Serialize)]
struct Kinds {
    #[serde(skip_serializing_if = "Option::is_none")]
    bbox: Option<Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segm: Option<Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keypoints: Option<Numbers>,
}

/// Numbers with their names, in their order; null where there is no object to be found.
struct Numbers(Vec<(&'static str, Option<f64>)>);

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

impl Flags {
    /// The first of these flags that is given.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [(self.kind.is_some(), "--kind"), (!self.sigmas.is_empty(), "--sigmas"), (self.plot.is_some(), "--plot")];
        flags.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    /// Compares the results with the labels and tells it.
    pub fn run(&self, results: &Path, data: &Path, per_class: bool, json: bool) -> Result<()> {
        let set = coco::read(data, data.parent().unwrap_or(Path::new("")))?;
        warn_of_problems(&set);
        let found = coco::read_results(results, &set)?;
        self.tell(&Told { model: None, weights: None, results: Some(results), data, skipped: None }, &set, &found, per_class, json)
    }

    /// Compares what was found in each picture with the labels, and tells it.
    pub fn tell(&self, told: &Told, set: &ObjectSet, found: &[Vec<Found>], per_class: bool, json: bool) -> Result<()> {
        let kinds = self.kinds(found).into_iter().map(|what| self.evaluated(what, set, found)).collect::<Result<Vec<_>>>()?;
        if let Some(path) = &self.plot {
            plot::draw(path, &kinds, set.categories.len())?;
        }
        if !json {
            print(format_args!("{} on {}: {} pictures", told.what(), told.data.display(), set.len()))?;
            return kinds.iter().try_for_each(|kind| kind.show(set, per_class));
        }
        let class = |(class, name)| Class { name, kinds: together(&kinds, |kind| kind.class(class)) };
        print_json(&Document {
            model: told.model,
            weights: told.weights,
            results: told.results.map(|file| file.display().to_string()),
            data: told.data.display().to_string(),
            count: set.len(),
            skipped: told.skipped,
            kinds: together(&kinds, Evaluated::overall),
            classes: per_class.then(|| set.categories.iter().map(|category| category.name.as_str()).enumerate().map(class).collect()),
        })
    }

    /// What is compared: what was asked for, else what was found; boxes where nothing was.
    fn kinds(&self, found: &[Vec<Found>]) -> Vec<What> {
        let any = |has: fn(&Found) -> bool| found.iter().flatten().any(has);
        let there = [
            (What::Boxes, any(|found| found.bbox.is_some()) || found.iter().all(Vec::is_empty)),
            (What::Masks, any(|found| found.mask.is_some())),
            (What::Keypoints, any(|found| !found.keypoints.is_empty())),
        ];
        let all = there.into_iter().filter_map(|(what, is_there)| is_there.then_some(what)).collect();
        self.kind.map_or(all, |kind| vec![kind])
    }

    fn evaluated(&self, what: What, set: &ObjectSet, found: &[Vec<Found>]) -> Result<Evaluated> {
        let kind = match what {
            What::Boxes => Kind::Boxes,
            What::Masks => Kind::Masks,
            What::Keypoints if !self.sigmas.is_empty() => Kind::Keypoints { sigmas: self.sigmas.clone() },
            What::Keypoints if set.keypoints.is_empty() => {
                return Err(Usage("--sigmas must say a number for each key point: the labels have 0 numbers of them".into()).into());
            }
            What::Keypoints => Kind::keypoints(set.keypoints.len()),
        };
        let evaluation = set.evaluate(found, kind)?;
        let report = evaluation.report();
        Ok(Evaluated { what, evaluation, report })
    }
}

impl Evaluated {
    /// What was compared, in words.
    pub fn title(&self) -> &'static str {
        match self.what {
            What::Boxes => "boxes",
            What::Masks => "masks",
            What::Keypoints => "key points",
        }
    }

    /// COCO's numbers.
    fn overall(&self) -> Numbers {
        Numbers(self.report.measures().iter().map(|measure| (measure.name, self.report.value(measure))).collect())
    }

    /// COCO's numbers of a class and, at the overlap 0.5, those of PASCAL VOC.
    fn class(&self, class: usize) -> Numbers {
        let mut numbers: Vec<_> =
            self.report.measures().iter().map(|measure| (measure.name, self.report.category(class, measure))).collect();
        let curve = self.evaluation.curve(class, 0.5);
        numbers.push(("VOC", curve.as_ref().map(|curve| curve.area())));
        numbers.push(("VOC2007", curve.as_ref().map(|curve| curve.eleven_points())));
        Numbers(numbers)
    }

    /// Prints the table as pycocotools does, and a line a class.
    fn show(&self, set: &ObjectSet, per_class: bool) -> Result<()> {
        print(format_args!("\n{}", self.title()))?;
        for measure in self.report.measures() {
            print(format_args!(" {measure} = {:.3}", self.report.value(measure).unwrap_or(-1.0)))?;
        }
        if !per_class {
            return Ok(());
        }
        let precisions = self.report.measures().iter().filter(|measure| measure.of == Measured::Precision).count();
        let line = |texts: Vec<String>, name: &str| {
            let columns: String = texts[..precisions].iter().chain(&texts[texts.len() - 2..]).map(|text| format!("{text:>8}")).collect();
            print(format_args!("{columns}  {name}"))
        };
        print("")?;
        line(self.class(0).0.iter().map(|(name, _)| (*name).to_owned()).collect(), "class")?;
        for (class, category) in set.categories.iter().enumerate() {
            let numbers = self.class(class).0.into_iter().map(|(_, value)| value.map_or("-".to_owned(), |value| format!("{value:.3}")));
            line(numbers.collect(), &category.name)?;
        }
        Ok(())
    }
}

/// The numbers of each kind.
fn together(evaluated: &[Evaluated], numbers: impl Fn(&Evaluated) -> Numbers) -> Kinds {
    let mut kinds = Kinds::default();
    for one in evaluated {
        let place = match one.what {
            What::Boxes => &mut kinds.bbox,
            What::Masks => &mut kinds.segm,
            What::Keypoints => &mut kinds.keypoints,
        };
        *place = Some(numbers(one));
    }
    kinds
}
