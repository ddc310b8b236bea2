//! How long a detector takes, as a whole and stage by stage.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use cirio::DetectorModel;
use cirio_detection::{Detection, Detector, Mask, Mode, Target, regions};
use cirio_nn::Store;
use cirio_train::TrainConfig;
use cirio_train::optim::{Optimizer, param_groups};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use super::{Args, median, peak_rss_mb, timed};
use crate::console::{print, print_json};

#[derive(Serialize)]
struct Document {
    model: &'static str,
    batch: usize,
    /// Rows and columns of the pictures.
    size: [usize; 2],
    threads: usize,
    train: bool,
    runs: usize,
    median_ms: f64,
    best_ms: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stages: Vec<Stage>,
    peak_rss_mb: Option<u64>,
}

/// A stage of a detector.
#[derive(Serialize)]
struct Stage {
    name: &'static str,
    median_ms: f64,
}

/// Times a detector with random weights on made-up pictures.
pub fn run(args: &Args, model: &'static DetectorModel, device: &Device, json: bool) -> Result<()> {
    let [rows, columns] = args.size;
    let store = Store::new(0, DType::F32, device);
    if args.train {
        store.freeze(|name| model.recipe.frozen.iter().any(|prefix| name.starts_with(prefix)));
    }
    let detector = model.config(model.classes).build(store.var_builder())?;
    let picture = |number: usize| {
        let value = |index: usize| 0.5 + 0.5 * (0.31 * (index + 7 * number) as f32).sin();
        Tensor::from_vec((0..3 * rows * columns).map(value).collect::<Vec<f32>>(), (3, rows, columns), device)
    };
    let pictures = (0..args.batch).map(picture).collect::<candle_core::Result<Vec<Tensor>>>()?;
    let (times, stages) = match args.train {
        true => (train(&detector, &pictures, args.seconds)?, Vec::new()),
        false => {
            let detector = detector.for_inference()?;
            let times = timed(args.seconds, || detect(&detector, &pictures, &mut |_, _| {}))?;
            (times, if args.layers { stages(&detector, &pictures, args.seconds)? } else { Vec::new() })
        }
    };
    let document = Document {
        model: model.name,
        batch: args.batch,
        size: args.size,
        threads: rayon::current_num_threads(),
        train: args.train,
        runs: times.len(),
        median_ms: median(&times),
        best_ms: times.iter().copied().fold(f64::INFINITY, f64::min),
        stages,
        peak_rss_mb: peak_rss_mb(),
    };
    match json {
        true => print_json(&document),
        false => show(&document),
    }
}

/// Detection as [`Detector::detect`] does it, masks enlarged; `told` hears how many milliseconds each stage took.
fn detect(detector: &Detector, pictures: &[Tensor], told: &mut dyn FnMut(&'static str, f64)) -> Result<()> {
    let mut begin = Instant::now();
    let mut done = |name: &'static str| {
        told(name, begin.elapsed().as_secs_f64() * 1e3);
        begin = Instant::now();
    };
    let batch = detector.batch(pictures)?;
    done("resize");
    let levels = detector.backbone().forward(&batch.images, Mode::Evaluation)?;
    done("backbone");
    let said = detector.rpn().forward(&levels, Mode::Evaluation)?;
    done("proposals' head");
    let found = regions(&detector.rpn().proposals(&said, &batch, Mode::Evaluation)?);
    done("proposals' selection");
    let levels = detector.backbone().for_regions(&levels);
    let features = detector.boxes().features(levels, &batch, &found)?;
    done("regions' features");
    let predictions = detector.boxes().predict(&features, Mode::Evaluation)?;
    done("boxes' head");
    let mut found = detector.boxes().detections(&predictions, &found, &batch)?;
    done("boxes' selection");
    if let Some(mask) = detector.mask() {
        mask.add(levels, &batch, &mut found)?;
        done("masks' head");
        let enlarged = |detection: &Detection| detection.mask.as_ref().map_or(Ok(0), |mask| mask.rle(Mask::INSIDE).map(|mask| mask.area()));
        found.iter().flatten().map(enlarged).collect::<cirio_detection::Result<Vec<u64>>>()?;
        done("masks' pasting");
    }
    if let Some(keypoints) = detector.keypoints() {
        keypoints.add(levels, &batch, &mut found)?;
        done("key points");
    }
    Ok(())
}

/// The median of each stage.
fn stages(detector: &Detector, pictures: &[Tensor], seconds: f64) -> Result<Vec<Stage>> {
    let mut times: Vec<(&'static str, Vec<f64>)> = Vec::new();
    timed(seconds, || {
        detect(detector, pictures, &mut |name, time| match times.iter_mut().find(|(known, _)| *known == name) {
            Some((_, of_stage)) => of_stage.push(time),
            None => times.push((name, vec![time])),
        })
    })?;
    Ok(times.iter().map(|(name, times)| Stage { name, median_ms: median(times) }).collect())
}

/// Milliseconds of each step of training, with five objects in each picture.
fn train(detector: &Detector, pictures: &[Tensor], seconds: f64) -> Result<Vec<f64>> {
    let targets = pictures.iter().map(|picture| target(picture, detector)).collect::<Result<Vec<Target>>>()?;
    let recipe = TrainConfig::default();
    let groups = param_groups(&detector.parameters(), &recipe.groups())?;
    let mut optimizer = Optimizer::new(recipe.optimizer, groups)?;
    let rng = &mut ChaCha8Rng::seed_from_u64(0);
    timed(seconds, || {
        let loss = detector.losses(pictures, &targets, rng)?.total()?;
        optimizer.step(&cirio::nn::backward(&loss)?, 1e-6)?;
        loss.to_scalar::<f32>()?;
        Ok(())
    })
}

/// Five boxes along the diagonal, each a third of the picture's sides, filled; key points are in their middles.
fn target(picture: &Tensor, detector: &Detector) -> Result<Target> {
    const OBJECTS: usize = 5;
    let (_, rows, columns) = picture.dims3()?;
    let corner = |object: usize, side: usize| object * side / 8;
    let mut masks = vec![0u8; OBJECTS * rows * columns];
    for object in 0..OBJECTS {
        let (top, left) = (corner(object, rows), corner(object, columns));
        for row in top..top + rows / 3 {
            masks[(object * rows + row) * columns + left..][..columns / 3].fill(1);
        }
    }
    let edges = |object| {
        let (top, left) = (corner(object, rows), corner(object, columns));
        [left as f32, top as f32, (left + columns / 3) as f32, (top + rows / 3) as f32]
    };
    let middle = |[left, top, right, bottom]: [f32; 4]| [(left + right) / 2.0, (top + bottom) / 2.0, 2.0];
    let points = |count: usize| (0..OBJECTS).map(|object| vec![middle(edges(object)); count]).collect();
    Ok(Target {
        boxes: (0..OBJECTS).map(edges).collect(),
        labels: vec![1; OBJECTS],
        masks: Some(Tensor::from_vec(masks, (OBJECTS, rows, columns), picture.device())?),
        keypoints: detector.keypoints().map(|branch| points(branch.points())),
    })
}

fn show(document: &Document) -> Result<()> {
    let what = if document.train { "training step" } else { "detection" };
    let Document { model, batch, size: [rows, columns], threads, runs, .. } = document;
    print(format_args!("{model}, {batch} pictures of {rows}×{columns}, {threads} threads, {what}, {runs} runs"))?;
    print(format_args!("median {:.1} ms, best {:.1} ms", document.median_ms, document.best_ms))?;
    document.peak_rss_mb.iter().try_for_each(|size| print(format_args!("at most {size} MB of memory")))?;
    document.stages.iter().try_for_each(|Stage { name, median_ms }| print(format_args!("{median_ms:>9.1} ms  {name}")))
}
