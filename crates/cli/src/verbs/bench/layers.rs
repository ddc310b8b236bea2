//! The time of each layer of a network.

use std::time::Instant;

use anyhow::Result;
use candle_core::Tensor;
use cirio_nn::{Inference, Layers};
use serde::Serialize;

use super::{median, timed};
use crate::console::print;

/// One layer's time, with what is fused into it.
#[derive(Serialize)]
pub struct LayerTime {
    name: String,
    kind: String,
    /// `[C, H, W]` or `[K]`.
    output: Vec<usize>,
    median_ms: f64,
    /// Its part of the time of all layers.
    share: f64,
    gflops: f64,
}

/// Times the layers of `network`, which `layers` describes, as they run one after the other on `images` (N, C, H, W).
pub fn times(layers: &Layers, network: &Inference, images: &Tensor, seconds: f64) -> Result<Vec<LayerTime>> {
    let mut laps: Vec<(String, Vec<f64>)> = Vec::new();
    timed(seconds, || {
        let mut position = 0;
        let mut begin = Instant::now();
        network.forward_observed(images, |name| {
            // On a GPU an output is there only when the device is done; should that fail, the pass fails too.
            let _ = images.device().synchronize();
            let lap = begin.elapsed().as_secs_f64() * 1e3;
            match laps.get_mut(position) {
                Some((_, laps)) => laps.push(lap),
                None => laps.push((name.to_owned(), vec![lap])),
            }
            position += 1;
            begin = Instant::now();
        })?;
        Ok(())
    })?;
    let rows = layers.table()?.rows;
    // The first two passes plan and warm up.
    let medians: Vec<(String, f64)> = laps.into_iter().map(|(name, laps)| (name, median(&laps[2.min(laps.len() - 1)..]))).collect();
    let total: f64 = medians.iter().map(|(_, median)| median).sum();
    let images = images.dim(0)? as f64;
    let of_layer = |(name, median_ms): (String, f64)| {
        let row = rows.iter().find(|row| row.name == name)?;
        let gflops = 2.0 * row.macs as f64 * images / median_ms / 1e6;
        Some(LayerTime { name, kind: row.kind.clone(), output: row.output.dims(), median_ms, share: median_ms / total, gflops })
    };
    Ok(medians.into_iter().filter_map(of_layer).collect())
}

pub fn show(layers: &[LayerTime]) -> Result<()> {
    if layers.is_empty() {
        return Ok(());
    }
    let longest = |text: fn(&LayerTime) -> &str| layers.iter().map(|layer| text(layer).chars().count()).fold(5, usize::max);
    let (name, kind) = (longest(|layer| &layer.name), longest(|layer| &layer.kind));
    print(format_args!("\n{:name$}  {:kind$}  {:>12}  {:>9}  {:>6}  {:>8}", "layer", "what", "output", "ms", "share", "GFLOP/s"))?;
    layers.iter().try_for_each(|layer| {
        let output: Vec<String> = layer.output.iter().map(usize::to_string).collect();
        print(format_args!(
            "{:name$}  {:kind$}  {:>12}  {:>9.4}  {:>4.1} %  {:>8.1}",
            layer.name,
            layer.kind,
            output.join("×"),
            layer.median_ms,
            100.0 * layer.share,
            layer.gflops
        ))
    })
}
