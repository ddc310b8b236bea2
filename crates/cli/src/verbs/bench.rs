//! `cirio bench`: how long a model takes on this machine.

use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::ModuleT;
use cirio_nn::loss::Targets;
use cirio_nn::{Layers, Stack, Store};
use cirio_train::TrainConfig;
use cirio_train::optim::{Optimizer, param_groups};
use serde::Serialize;

use crate::console::{print, print_json};
use crate::network::Compute;
use crate::parse;

/// Times a model's forward pass, or its training step, on random weights and pictures.
#[derive(clap::Args)]
pub struct Args {
    /// The model, e.g. lenet5.
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
    /// Passes that are timed, after a few that are not.
    #[arg(long, default_value = "100", value_parser = parse::count)]
    runs: usize,
    #[command(flatten)]
    compute: Compute,
}

#[derive(Serialize)]
struct Document {
    model: &'static str,
    batch: usize,
    threads: usize,
    train: bool,
    runs: usize,
    median_ms: f64,
    best_ms: f64,
    gflops: f64,
    /// What a product of two 1024×1024 matrices reaches on the same threads.
    peak_gflops: f64,
    peak_rss_mb: Option<u64>,
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("--threads")?;
        }
        let device = self.compute.device()?;
        let model = cirio::find(&self.model)?;
        let layers = model.layers(model.classes);
        let store = Store::new(0, DType::F32, &device);
        let network = layers.build(store.var_builder())?;
        let images = images(&layers, self.batch, &device)?;
        let mut times = match self.train {
            true => {
                let labels: Vec<u32> = (0..self.batch as u32).map(|image| image % model.classes as u32).collect();
                let targets = Targets::Labels(Tensor::from_vec(labels, self.batch, &device)?);
                let recipe = TrainConfig::default();
                let groups = param_groups(&network.parameters(), &recipe.groups())?;
                let mut optimizer = Optimizer::new(recipe.optimizer, groups)?;
                timed(self.runs, || {
                    let loss = model.loss.mean(&network.forward_t(&images, true)?, &targets)?;
                    optimizer.step(&loss.backward()?, 1e-3)?;
                    loss.to_scalar::<f32>()?;
                    Ok(())
                })?
            }
            false => timed(self.runs, || forward(&network, &images))?,
        };
        times.sort_by(f64::total_cmp);
        // A multiply-add is two operations; a training step costs about three forward passes.
        let operations = 2 * layers.table()?.macs() * self.batch as u64 * if self.train { 3 } else { 1 };
        let median_ms = times[times.len() / 2];
        let document = Document {
            model: model.name,
            batch: self.batch,
            threads: rayon::current_num_threads(),
            train: self.train,
            runs: self.runs,
            median_ms,
            best_ms: times[0],
            gflops: operations as f64 / median_ms / 1e6,
            peak_gflops: product_gflops(&device)?,
            peak_rss_mb: peak_rss_mb(),
        };
        match json {
            true => print_json(&document),
            false => show(&document),
        }
    }
}

fn show(document: &Document) -> Result<()> {
    let what = if document.train { "training step" } else { "forward pass" };
    print(format_args!("{}, batch {}, {} threads, {what}, {} runs", document.model, document.batch, document.threads, document.runs))?;
    print(format_args!("median {:.3} ms, best {:.3} ms", document.median_ms, document.best_ms))?;
    print(format_args!("{:.1} GFLOP/s; a product of large matrices reaches {:.1}", document.gflops, document.peak_gflops))?;
    document.peak_rss_mb.iter().try_for_each(|size| print(format_args!("at most {size} MB of memory")))
}

fn images(layers: &Layers, batch: usize, device: &Device) -> Result<Tensor> {
    let [channels, height, width] = layers.input();
    let count = (batch * channels * height * width) as f32;
    Ok(Tensor::arange(0f32, count, device)?.affine(0.31, 0.0)?.sin()?.reshape((batch, channels, height, width))?)
}

fn forward(network: &Stack, images: &Tensor) -> Result<()> {
    let output = network.forward(images)?;
    // On a GPU the answer is there only when it is read.
    output.flatten_all()?.get(0)?.to_scalar::<f32>()?;
    Ok(())
}

/// Milliseconds of each run.
fn timed(runs: usize, mut run: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    for _ in 0..runs.div_ceil(10) {
        run()?;
    }
    let time = |_| {
        let start = Instant::now();
        run()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    (0..runs).map(time).collect()
}

fn product_gflops(device: &Device) -> Result<f64> {
    const SIDE: usize = 1024;
    let matrix = Tensor::ones((SIDE, SIDE), DType::F32, device)?;
    let times = timed(5, || Ok(matrix.matmul(&matrix)?.get(0)?.get(0)?.to_scalar::<f32>().map(|_| ())?))?;
    let best = times.into_iter().fold(f64::INFINITY, f64::min);
    Ok(2.0 * (SIDE as f64).powi(3) / best / 1e6)
}

/// The most memory that this process has held, where the system tells.
fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes / 1024)
}
