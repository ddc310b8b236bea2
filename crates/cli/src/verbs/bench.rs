//! `cirio bench`: how long a network takes on this machine.

mod layers;
mod objects;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, ModuleT, Tensor};
use cirio::Model;
use cirio_nn::loss::Targets;
use cirio_nn::{Inference, InferenceConfig, Layers, Stack, Store, Weights, files};
use cirio_train::TrainConfig;
use cirio_train::optim::{Optimizer, param_groups};
use serde::Serialize;

use crate::console::{Usage, print, print_json};
use crate::network::Compute;
use crate::parse;
use layers::LayerTime;

/// Times a network's forward pass, or its training step, and says what share of the processor's peak it reaches.
#[derive(clap::Args)]
pub struct Args {
    /// The network, e.g. lenet5; an unknown one lists those that there are.
    #[arg(long, short)]
    model: String,
    /// Pictures a pass.
    #[arg(long, default_value = "1", value_parser = parse::count)]
    batch: usize,
    /// Threads [default: the environment variable RAYON_NUM_THREADS, or all cores].
    #[arg(long, value_parser = parse::count)]
    threads: Option<usize>,
    /// Time a whole training step: forward, loss, backward, and the update by SGD with momentum.
    #[arg(long)]
    train: bool,
    /// Time each layer, or each stage of a detector, too.
    #[arg(long, conflicts_with = "train")]
    layers: bool,
    /// Keep the weights in half precision.
    #[arg(long, conflicts_with = "train")]
    half_weights: bool,
    /// How long passes are timed; three are timed in any case.
    #[arg(long, default_value = "1", value_parser = parse::seconds, allow_negative_numbers = true)]
    seconds: f64,
    /// A .safetensors file with the network's weights [default: random ones].
    #[arg(long)]
    weights: Option<PathBuf>,
    /// A .safetensors file with the pictures, a tensor `images` (N, C, H, W) [default: made-up ones].
    #[arg(long, conflicts_with = "batch")]
    input: Option<PathBuf>,
    /// Write the network's output, a tensor `logits`, into this .safetensors file.
    #[arg(long, conflicts_with = "train")]
    output: Option<PathBuf>,
    /// Detectors: the pictures' rows and columns.
    #[arg(long, default_value = "480x640", value_parser = parse::square, value_name = "HxW")]
    size: [usize; 2],
    #[command(flatten)]
    compute: Compute,
}

#[derive(Serialize)]
struct Document {
    model: &'static str,
    batch: usize,
    threads: usize,
    train: bool,
    /// Passes that were timed.
    runs: usize,
    median_ms: f64,
    best_ms: f64,
    gflops: f64,
    /// What multiply-adds in registers reach on the same threads; none on a GPU.
    peak_gflops: Option<f64>,
    /// The part of the peak that the median reaches.
    peak_share: Option<f64>,
    peak_rss_mb: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<LayerTime>,
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("--threads")?;
        }
        let device = self.compute.device()?;
        if let Ok(model) = cirio::find_detector(&self.model) {
            if let Some(flag) = self.of_classifiers() {
                bail!(Usage(format!("{flag}: only for classifiers, and {} is a detector", model.name)));
            }
            return objects::run(&self, model, &device, json);
        }
        let model = cirio::find(&self.model)?;
        let list = model.layers(model.classes);
        let images = match &self.input {
            Some(path) => Weights::open(path)?.tensor("images", &device)?.to_dtype(DType::F32)?,
            None => images(&list, self.batch, &device)?,
        };
        let stack = self.build(&list, &device)?;
        let table = list.table()?;
        let mut layers = Vec::new();
        let times = match self.train {
            true => train(model, &stack, &images, self.seconds)?,
            false => {
                let config = InferenceConfig { half_weights: self.half_weights, ..InferenceConfig::default() };
                let inference = Inference::new(stack, &config)?;
                let pass = || inference.forward(&images);
                if let Some(path) = &self.output {
                    save(path, pass()?)?;
                }
                if self.layers {
                    layers = layers::times(&list, &inference, &images, self.seconds)?;
                }
                timed(self.seconds, || Ok(pass()?.device().synchronize()?))?
            }
        };
        let peak_gflops = device.is_cpu().then(|| cirio_kernels::fma_peak(rayon::current_num_threads()) / 1e9);
        // A multiply-add is two operations; a training step costs about three forward passes.
        let batch = images.dim(0)?;
        let operations = 2 * table.macs() * batch as u64 * if self.train { 3 } else { 1 };
        let median_ms = median(&times);
        let gflops = operations as f64 / median_ms / 1e6;
        let document = Document {
            model: model.name,
            batch,
            threads: rayon::current_num_threads(),
            train: self.train,
            runs: times.len(),
            median_ms,
            best_ms: times.iter().copied().fold(f64::INFINITY, f64::min),
            gflops,
            peak_gflops,
            peak_share: peak_gflops.map(|peak| gflops / peak),
            peak_rss_mb: peak_rss_mb(),
            layers,
        };
        match json {
            true => print_json(&document),
            false => show(&document),
        }
    }

    /// The first flag given that a detector has no use for.
    fn of_classifiers(&self) -> Option<&'static str> {
        let flags = [
            (self.half_weights, "--half-weights"),
            (self.weights.is_some(), "--weights"),
            (self.input.is_some(), "--input"),
            (self.output.is_some(), "--output"),
        ];
        flags.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    /// The network with the weights of the file, each of which must fit, or with random ones.
    fn build(&self, layers: &Layers, device: &Device) -> Result<Stack> {
        let store = Store::new(0, DType::F32, device);
        let Some(path) = &self.weights else { return Ok(layers.build(store.var_builder())?) };
        let weights = Weights::open(path)?;
        if !self.train {
            return layers.load(&weights, device).with_context(|| path.display().to_string());
        }
        let store = store.with_weights(weights);
        let stack = layers.build(store.var_builder())?;
        store.report().complete().with_context(|| path.display().to_string())?;
        Ok(stack)
    }
}

/// Milliseconds of each training step on `images` (N, C, H, W).
fn train(model: &Model, stack: &Stack, images: &Tensor, seconds: f64) -> Result<Vec<f64>> {
    let (batch, classes) = (images.dim(0)? as u32, model.classes as u32);
    let labels: Vec<u32> = (0..batch).map(|image| image % classes).collect();
    let targets = Targets::Labels(Tensor::new(labels, images.device())?);
    let recipe = TrainConfig::default();
    let groups = param_groups(&stack.parameters(), &recipe.groups())?;
    let mut optimizer = Optimizer::new(recipe.optimizer, groups)?;
    timed(seconds, || {
        let loss = model.loss.mean(&stack.forward_t(images, true)?, &targets)?;
        optimizer.step(&cirio::nn::backward(&loss)?, 1e-3)?;
        loss.to_scalar::<f32>()?;
        Ok(())
    })
}

fn show(document: &Document) -> Result<()> {
    let what = if document.train { "training step" } else { "forward pass" };
    print(format_args!("{}, batch {}, {} threads, {what}, {} runs", document.model, document.batch, document.threads, document.runs))?;
    print(format_args!("median {:.3} ms, best {:.3} ms", document.median_ms, document.best_ms))?;
    match (document.peak_gflops, document.peak_share) {
        (Some(peak), Some(share)) => {
            print(format_args!("{:.1} GFLOP/s, {:.0} % of the processor's {peak:.1}", document.gflops, 100.0 * share))?;
        }
        _ => print(format_args!("{:.1} GFLOP/s", document.gflops))?,
    }
    document.peak_rss_mb.iter().try_for_each(|size| print(format_args!("at most {size} MB of memory")))?;
    layers::show(&document.layers)
}

/// Made-up pictures for a network, (batch, C, H, W).
fn images(layers: &Layers, batch: usize, device: &Device) -> Result<Tensor> {
    let [channels, height, width] = layers.input();
    let count = batch * channels * height * width;
    let values: Vec<f32> = (0..count).map(|index| (0.31 * index as f32).sin()).collect();
    Ok(Tensor::from_vec(values, (batch, channels, height, width), device)?)
}

fn save(path: &Path, logits: Tensor) -> Result<()> {
    Ok(files::write_tensors(path, &BTreeMap::from([("logits".to_owned(), logits)]), &BTreeMap::new())?)
}

/// Milliseconds of each run, for about `seconds`, after two that are not counted.
fn timed(seconds: f64, mut run: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    const LEAST: usize = 3;
    run()?;
    run()?;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < LEAST || start.elapsed().as_secs_f64() < seconds {
        let begin = Instant::now();
        run()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// The value in the middle, of at least one.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The most memory that this process has held, where the system tells.
fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes / 1024)
}
