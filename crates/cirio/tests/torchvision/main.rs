//! torchvision's networks: the same names, and the same answers for the same weights. Classifiers are here, detectors in their own module.
//!
//! The numbers were made by `tools/reference/make` with torchvision 0.14.1 and torch 1.13.1 on a CPU.

mod detectors;
mod explain;
mod generated;
mod steps;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use cirio::nn::Stack;
use cirio::vision::{Image, Preprocess, Resize};
use generated::Generated;
use serde::Deserialize;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torchvision");
const CLASSES: usize = 1000;

/// What torchvision answered.
#[derive(Deserialize)]
struct Answer {
    model: String,
    /// Rows and columns of the made-up image; or the shorter side of a picture that was resized.
    size: Vec<usize>,
    seed: u32,
    argmax: u32,
    mean_abs: f32,
    /// The first ten.
    logits: Vec<f32>,
}

impl Answer {
    /// That `logits` (1, K) are the same, up to `tolerance` times their mean size.
    fn check(&self, logits: &Tensor, tolerance: f32) -> Result<()> {
        let ours: Vec<f32> = logits.squeeze(0)?.to_vec1()?;
        ensure!(ours.len() == CLASSES, "{} logits", ours.len());
        let mean_abs = ours.iter().map(|value| value.abs()).sum::<f32>() / ours.len() as f32;
        let pairs = ours.iter().zip(&self.logits).chain([(&mean_abs, &self.mean_abs)]);
        for (index, (ours, theirs)) in pairs.enumerate() {
            let off = (ours - theirs).abs() / self.mean_abs;
            ensure!(off <= tolerance, "{} {:?}, number {index}: {ours}, expected {theirs}", self.model, self.size);
        }
        ensure!(logits.argmax(1)?.to_vec1::<u32>()? == [self.argmax], "{}: another class", self.model);
        Ok(())
    }

    fn network(&self) -> Result<Stack> {
        let input = match self.size[..] {
            [height, width] => [3, height, width],
            _ => [3, 224, 224],
        };
        let weights = Generated::new(&self.model, self.seed).var_builder();
        Ok(cirio::find(&self.model)?.layers(CLASSES).with_input(input).build(weights)?)
    }

    /// The plain network and its inference form on the made-up image.
    fn check_made_up(&self) -> Result<()> {
        // f32 sums in another order, through up to a hundred layers; the largest deviation seen was about 1.2e-5.
        const TOLERANCE: f32 = 1e-4;
        let [height, width] = self.size[..] else { anyhow::bail!("{:?} is no size", self.size) };
        let image = Generated::new(&self.model, self.seed).picture("image", height, width)?.unsqueeze(0)?;
        let network = self.network()?;
        self.check(&network.forward(&image)?, TOLERANCE)?;
        self.check(&network.for_inference()?.forward(&image)?, TOLERANCE).context("in the inference form")
    }
}

fn answers(file: &str) -> Result<Vec<Answer>> {
    let path = Path::new(FOLDER).join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

#[test]
fn logits_are_torchvisions() -> Result<()> {
    let answers = answers("logits.json")?;
    ensure!(answers.len() == 19, "{} answers", answers.len());
    answers.iter().try_for_each(Answer::check_made_up)
}

/// Resized as Pillow does, cut, normalised, and through the network. Deviations are those of the network: the pixels are equal.
#[test]
fn from_a_file_to_the_logits() -> Result<()> {
    let picture = Image::open(Path::new(FOLDER).join("picture.png"))?;
    for answer in answers("from-file.json")? {
        let steps = Preprocess { resize: Resize::ShortSide(answer.size[0]), ..Preprocess::imagenet() };
        let input = steps.tensor(&picture, &Device::Cpu)?.unsqueeze(0)?;
        answer.check(&answer.network()?.for_inference()?.forward(&input)?, 1e-4)?;
    }
    Ok(())
}

#[test]
fn names_and_shapes_are_torchvisions() -> Result<()> {
    let mut files = 0;
    for file in std::fs::read_dir(Path::new(FOLDER).join("keys"))? {
        let path = file?.path();
        let model = path.file_stem().and_then(|stem| stem.to_str()).context("a name")?;
        // A line a tensor: `fc.weight	float32	[1000, 512]`.
        let text = std::fs::read_to_string(&path)?;
        let expected: BTreeMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(name, rest)| (name.to_owned(), rest.split_once('\t').map_or(rest, |(_, shape)| shape).to_owned()))
            .collect();
        let zeros = VarBuilder::zeros(DType::F32, &Device::Cpu);
        let parameters = match cirio::find_detector(model) {
            Ok(detector) => detector.config(detector.classes).build(zeros)?.parameters(),
            Err(_) => cirio::create(model, CLASSES, zeros)?.parameters(),
        };
        let ours: BTreeMap<String, String> =
            parameters.into_iter().map(|parameter| (parameter.name, format!("{:?}", parameter.tensor.dims()))).collect();
        ensure!(ours == expected, "{model}: {ours:?}");
        files += 1;
    }
    ensure!(files == 28, "{files} lists of names");
    Ok(())
}

/// Fresh numbers for another seed, where a python3 with torchvision is installed.
#[test]
#[expect(clippy::print_stderr, reason = "a test that compared nothing says so")]
fn an_installed_torchvision_agrees() -> Result<()> {
    let has_torchvision =
        |python: &&str| Command::new(python).args(["-c", "import torchvision"]).output().is_ok_and(|run| run.status.success());
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_torchvision) else {
        eprintln!("no python3 with torchvision is installed: nothing was compared");
        return Ok(());
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/reference/classify.py");
    let run = Command::new(python).args([script, "resnet18:39x52", "alexnet:70x64", "--seed", "7"]).output()?;
    ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let answers: Vec<Answer> = serde_json::from_slice(&run.stdout)?;
    answers.iter().try_for_each(Answer::check_made_up)
}
