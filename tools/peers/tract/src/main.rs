//! Times tract on a network in ONNX: `tract-peer FOLDER BATCH SECONDS [OUTPUT]`. `RAYON_NUM_THREADS` is the number of threads.

#[path = "../../timing.rs"]
mod timing;

use timing::{Floats, Job, Result};
use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::prelude::*;

fn main() -> Result<()> {
    let job = Job::from_arguments()?;
    let images = job.images()?;
    let path = job.folder.join(format!("b{}.onnx", job.batch));
    let network =
        tract_onnx::onnx().model_for_path(path)?.with_input_fact(0, f32::fact(&images.shape).into())?.into_optimized()?.into_runnable()?;
    let images = Tensor::from_shape(&images.shape, &images.values)?;
    let run = || {
        let output = network.run(tvec!(images.clone().into()))?.remove(0);
        let values = output.to_plain_array_view::<f32>()?.iter().copied().collect();
        Ok(Floats { shape: output.shape().to_vec(), values })
    };
    match std::env::var("RAYON_NUM_THREADS")?.parse()? {
        1 => job.time(run),
        threads => multithread_tract_scope(Executor::multithread(threads), || job.time(run)),
    }
}
