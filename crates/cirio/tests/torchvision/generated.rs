//! Weights drawn from their names by a rule, so that torchvision and the zoo can be given the same ones without a file. The
//! same rule in Python: `tools/reference`.

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::var_builder::{SimpleBackend, VarBuilder};

/// Predictions of detectors, of moderate size: else all scores are 0 or 1. MobileNet's maps, which grow from block to block, as well.
const SMALL: [(&str, f64); 7] = [
    ("cls_logits", 0.25),
    ("rpn.head.bbox_pred", 0.05),
    ("box_predictor.bbox_pred", 0.3),
    ("cls_score", 0.12),
    ("mask_fcn_logits", 0.25),
    ("kps_score_lowres", 0.25),
    ("body.13.block.3.0", 0.1),
];

/// Every weight of a network, for a seed.
#[derive(Clone, Copy)]
pub struct Generated {
    pub seed: u32,
    /// Whether the blocks are ResNet's basic ones, whose last normalisation is `bn2`.
    pub basic: bool,
}

impl Generated {
    pub fn new(model: &str, seed: u32) -> Self {
        Self { seed, basic: model.contains("resnet18") || model.contains("resnet34") }
    }

    pub fn var_builder(self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self), DType::F32, Device::Cpu)
    }

    /// A picture (3, H, W) with values in 0 … 1.
    pub fn picture(self, name: &str, height: usize, width: usize) -> Result<Tensor> {
        let values: Vec<f32> = self.uniform(name, 3 * height * width).map(|u| (u + 0.5) as f32).collect();
        Tensor::from_vec(values, (3, height, width), &Device::Cpu)
    }

    /// Numbers in -0.5 … 0.5 that depend on the name and the seed: FNV-1a, then a mixer of 32 bits.
    fn uniform(self, name: &str, count: usize) -> impl Iterator<Item = f64> {
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let start = hash.wrapping_add(self.seed);
        (0..count as u32).map(move |index| {
            let mut x = start.wrapping_add(index.wrapping_mul(0x9e37_79b9));
            for (shift, factor) in [(16, 0x7feb_352d), (15, 0x846c_a68b)] {
                x = (x ^ (x >> shift)).wrapping_mul(factor);
            }
            f64::from((x ^ (x >> 16)) >> 8) / f64::from(1 << 24) - 0.5
        })
    }

    /// What a uniform number is multiplied with, and what is added.
    fn scale(self, name: &str, dims: &[usize]) -> (f64, f64) {
        let last_of_block = name.contains(".bn3.") || (self.basic && name.contains("layer") && name.contains(".bn2."));
        if name.ends_with(".bias") || name.ends_with("running_mean") {
            (0.2, 0.0)
        } else if name.ends_with("running_var") {
            (1.0, 1.0)
        } else if dims.len() == 1 {
            (0.2, if last_of_block { 0.25 } else { 1.0 })
        } else {
            let fan = if name.contains("conv5_mask") { dims[0] } else { dims[1..].iter().product() };
            let size = SMALL.iter().find(|(part, _)| name.contains(part)).map_or(1.0, |(_, size)| size / 6f64.sqrt());
            (2.0 * size * (6.0 / fan as f64).sqrt(), 0.0)
        }
    }
}

impl SimpleBackend for Generated {
    fn get(&self, shape: Shape, name: &str, _: candle_nn::Init, _: DType, device: &Device) -> Result<Tensor> {
        let (factor, offset) = self.scale(name, shape.dims());
        let values: Vec<f32> = self.uniform(name, shape.elem_count()).map(|u| (factor * u + offset) as f32).collect();
        // Variables, so that batch norms can be trained, too.
        Ok(Var::from_vec(values, shape, device)?.into_inner())
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("`{name}` is made only when its shape is given")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        !name.ends_with("num_batches_tracked")
    }
}
