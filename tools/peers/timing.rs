//! What both programs do: read the flags and the pictures, time what is to be timed, and print what `cirio bench --json`
//! prints of it.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// `FOLDER BATCH SECONDS [OUTPUT]`.
pub struct Job {
    /// The folder of the network; its name is the network's.
    pub folder: PathBuf,
    pub batch: usize,
    seconds: f64,
    output: Option<PathBuf>,
}

/// Numbers and their shape.
pub struct Floats {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Job {
    pub fn from_arguments() -> Result<Self> {
        let mut arguments = std::env::args().skip(1);
        let mut next = |name: &str| arguments.next().ok_or(format!("{name} is missing: FOLDER BATCH SECONDS [OUTPUT]"));
        Ok(Self {
            folder: next("FOLDER")?.into(),
            batch: next("BATCH")?.parse()?,
            seconds: next("SECONDS")?.parse()?,
            output: next("OUTPUT").ok().map(PathBuf::from),
        })
    }

    /// The pictures, (N, C, H, W).
    pub fn images(&self) -> Result<Floats> {
        let bytes = fs::read(self.folder.join(format!("b{}.safetensors", self.batch)))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let images = file.tensor("images")?;
        let values = images.data().chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        Ok(Floats { shape: images.shape().to_vec(), values: values.collect() })
    }

    /// Runs it once for the logits (N, K), then for the time.
    pub fn time(&self, run: impl Fn() -> Result<Floats>) -> Result<()> {
        let logits = run()?;
        if let Some(path) = &self.output {
            let bytes: Vec<u8> = logits.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let tensor = TensorView::new(Dtype::F32, logits.shape, &bytes)?;
            fs::write(path, safetensors::serialize(HashMap::from([("logits", tensor)]), None)?)?;
        }
        run()?;
        let start = Instant::now();
        let mut times = Vec::new();
        while times.len() < 3 || start.elapsed().as_secs_f64() < self.seconds {
            let begin = Instant::now();
            run()?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let (median, best, runs) = (times[times.len() / 2], times[0], times.len());
        println!(r#"{{"median_ms": {median}, "best_ms": {best}, "runs": {runs}, "peak_rss_mb": {}}}"#, peak_rss_mb()?);
        Ok(())
    }
}

fn peak_rss_mb() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the system does not tell the memory")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? / 1024)
}
