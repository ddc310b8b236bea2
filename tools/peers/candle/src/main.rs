//! Times candle's own operations: `candle-peer FOLDER BATCH SECONDS [OUTPUT]`. `RAYON_NUM_THREADS` is the number of threads.

mod networks;
#[path = "../../timing.rs"]
mod timing;

use candle_core::{DType, Device, Tensor, safetensors};
use candle_nn::{Module, VarBuilder};
use timing::{Floats, Job, Result};

fn main() -> Result<()> {
    let job = Job::from_arguments()?;
    let name = job.folder.file_name().and_then(|name| name.to_str()).ok_or("the folder has no name")?;
    let weights = safetensors::load(job.folder.join("weights.safetensors"), &Device::Cpu)?;
    let network = networks::build(name, VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu))?;
    let images = job.images()?;
    let images = Tensor::from_vec(images.values, images.shape, &Device::Cpu)?;
    job.time(|| {
        let logits = network.forward(&images)?;
        Ok(Floats { shape: logits.dims().to_vec(), values: logits.flatten_all()?.to_vec1()? })
    })
}
