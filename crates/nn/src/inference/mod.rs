//! The inference form of a network: folded, fused, packed, planned, in memory that is kept from pass to pass.

mod abreast;
mod engine;
mod graph;

use candle_core::{DType, Result, Tensor};

use crate::Stack;
use engine::{Engine, Observer};
use graph::Graph;

/// A network for evaluation alone, made by [`Stack::for_inference`].
///
/// On the CPU, in f32: batch norms are folded into the convolutions before them, shortcuts and activations are computed as convolutions
/// finish, and so are pools of 2×2 pixels behind some of them; maps have their channels side by side, and each convolution's algorithm is chosen
/// at the first pass, when its weights are packed for it. Of a batch, each thread takes some images through all of a small network; in one that is a
/// plain chain of layers they lie side by side. Later passes over as many images of the same size allocate little but their result; another size only
/// makes a new plan. On other devices and in other types the network's layers run as they are.
///
/// Its answers differ from the network's by rounding: sums are taken in another order, and 3×3 and 5×5 filters may go by Winograd's way. An image's may
/// differ so, too, with the number of images beside it, never with the number of threads.
/// Several threads can use it at the same time: each pass that runs beside another has its own plan and memory, the weights are shared.
pub struct Inference {
    channels: usize,
    form: Form,
}

enum Form {
    Fused(Box<Engine>),
    Layers(Stack, Vec<String>),
}

/// What the inference form gives, and how it keeps weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InferenceConfig {
    /// The layers whose outputs are wanted, named as for [`Stack::forward_taps`]; none: the last layer's.
    pub taps: Vec<String>,
    /// Whether the weights of convolutions and fully connected layers are kept in half precision where the form is fused: half the
    /// memory, and half the way from it. Sums are taken in f32. Each weight, as it is packed, is off by up to 2⁻¹¹ of itself, or 2⁻²⁵ if that
    /// is more; a layer with a weight that is too large for half precision (65,504) keeps all of its weights as they are.
    pub half_weights: bool,
}

impl Inference {
    /// The inference form of a network. The network's own weights are let go as they are packed.
    ///
    /// # Errors
    /// When there is no layer of a wanted name.
    pub fn new(stack: Stack, config: &InferenceConfig) -> crate::Result<Self> {
        let channels = stack.channels();
        let floats = |stack: &Stack| stack.tensors().any(|(_, tensor, _)| tensor.dtype().is_float());
        let fused = floats(&stack)
            && crate::ops::has_kernels(stack.tensors().map(|(_, tensor, _)| tensor).filter(|tensor| tensor.dtype().is_float()));
        let form = if fused {
            Form::Fused(Box::new(Engine::new(Graph::new(&stack, config)?, config.half_weights)?))
        } else {
            Form::Layers(stack, config.taps.clone())
        };
        Ok(Self { channels, form })
    }

    /// The output for images (N, C, H, W); where taps are wanted, the last of them.
    ///
    /// # Errors
    /// When the images do not have the network's channels, or a size that a layer cannot take; the layer is named.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        last(self.run(images, None)?)
    }

    /// The outputs of the wanted layers for images (N, C, H, W), in the order in which they were named.
    ///
    /// # Errors
    /// As for [`forward`](Self::forward).
    pub fn forward_taps(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        self.run(images, None)
    }

    /// As [`forward`](Self::forward), and calls `observe` with the name of each layer when all images have passed it, e.g. to take its
    /// time; that may be on another thread. What is fused into a layer before it is part of that, and is not named. Small networks run faster
    /// unobserved, some images at a time.
    ///
    /// # Errors
    /// As for [`forward`](Self::forward).
    pub fn forward_observed(&self, images: &Tensor, mut observe: impl FnMut(&str) + Send) -> Result<Tensor> {
        last(self.run(images, Some(&mut observe))?)
    }

    fn run(&self, images: &Tensor, observe: Option<&mut Observer>) -> Result<Vec<Tensor>> {
        let size = match *images.dims() {
            [n, c, h, w] if c == self.channels => [n, c, h, w],
            ref given => candle_core::bail!("the network takes images (N, {}, H, W), given {given:?}", self.channels),
        };
        match &self.form {
            Form::Layers(stack, taps) if taps.is_empty() => {
                let mut nobody = |_: &str| {};
                let observe = observe.unwrap_or(&mut nobody);
                Ok(vec![stack.forward_observed(images, |name, _| observe(name))?])
            }
            Form::Layers(stack, taps) => {
                let names: Vec<&str> = taps.iter().map(String::as_str).collect();
                stack.forward_taps(images, &names).map_err(candle_core::Error::wrap)
            }
            Form::Fused(engine) => {
                if images.dtype() != DType::F32 || !images.device().is_cpu() {
                    candle_core::bail!("the network is in f32 on the CPU, the images are {:?} on {:?}", images.dtype(), images.device());
                }
                engine.forward(images, size, observe)
            }
        }
    }
}

fn last(outputs: Vec<Tensor>) -> Result<Tensor> {
    outputs.into_iter().next_back().ok_or_else(|| candle_core::Error::msg("a network without an output"))
}
