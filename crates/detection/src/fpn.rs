//! A feature pyramid on any network with taps (Lin et al., "Feature pyramid networks for object detection", 2017).

use candle_core::Tensor;
use candle_nn::VarBuilder;
use cirio_nn::init::Init;
use cirio_nn::layer::{BatchNorm, Conv2d, conv};
use cirio_nn::ops::{self, Pool2dConfig};
use cirio_nn::{Layers, Parameter, Volume};

use crate::part::join;
use crate::{Error, Mode, Part, Result};

/// A network below a pyramid, or below the heads themselves.
#[derive(Clone, Debug)]
pub struct Body {
    /// Its layers.
    pub layers: Layers,
    /// The layers whose outputs are taken, from fine to coarse: `layer1` … `layer4` of a ResNet.
    pub taps: Vec<String>,
}

impl Body {
    /// The channels of each tap.
    ///
    /// # Errors
    /// When there is no such layer, or it does not give maps.
    pub(crate) fn channels(&self) -> Result<Vec<usize>> {
        let volumes = self.layers.sequence().volumes(&Volume::maps(self.layers.input()))?;
        let of = |tap: &String| {
            let of_tap = |name: &str| name == tap || name.strip_prefix(tap.as_str()).is_some_and(|rest| rest.starts_with('.'));
            let last = self.layers.sequence().iter().zip(&volumes).filter(|((name, _), _)| of_tap(name)).last();
            match last {
                Some((_, Volume::Maps { channels, .. })) => Ok(*channels),
                _ => Err(Error::Config(format!("the body of a detector has no maps named `{tap}`"))),
            }
        };
        self.taps.iter().map(of).collect()
    }
}

/// The sizes of a pyramid.
#[derive(Clone, Debug, PartialEq)]
pub struct FpnConfig {
    /// C, the channels of all of its levels.
    pub channels: usize,
    /// The norm behind each convolution, which then has no bias.
    pub norm: Option<BatchNorm>,
}

/// Maps of many scales that all know what the coarsest knows. Each level is the body's maps, by a 1×1 convolution, plus the level above,
/// enlarged; then a 3×3 convolution. One more level is every second pixel of the coarsest.
///
/// Weights: `body.…`, `fpn.inner_blocks.I.…` for the 1×1, `fpn.layer_blocks.I.…` for the 3×3 convolutions.
pub struct Pyramid {
    body: Part,
    inner: Vec<Part>,
    outer: Vec<Part>,
}

impl Pyramid {
    /// A pyramid on `body`.
    ///
    /// # Errors
    /// When there is no layer of a tap's name, or a weight is missing or has another shape.
    pub fn new(body: &Body, config: &FpnConfig, weights: VarBuilder) -> Result<Self> {
        let channels = body.channels()?;
        let blocks = |name: &str, kernel: usize, inputs: &[usize]| -> Result<Vec<Part>> {
            let weights = weights.pp("fpn").pp(name);
            let block = |(level, &input)| Part::new(&config.block(input, kernel), weights.pp(level));
            inputs.iter().enumerate().map(block).collect()
        };
        Ok(Self {
            inner: blocks("inner_blocks", 1, &channels)?,
            outer: blocks("layer_blocks", 3, &vec![config.channels; channels.len()])?,
            body: Part::with_taps(&body.layers, &body.taps, weights.pp("body"))?,
        })
    }

    /// The levels from fine to coarse, the additional one last.
    ///
    /// # Shapes
    /// images (N, 3, H, W); a level (N, C, H/s, W/s) for its stride s.
    ///
    /// # Errors
    /// When the images do not fit the body.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Result<Vec<Tensor>> {
        let maps = self.body.forward_taps(images, mode)?;
        let mut levels = Vec::with_capacity(maps.len() + 1);
        let mut above: Option<Tensor> = None;
        for ((maps, inner), outer) in maps.iter().zip(&self.inner).zip(&self.outer).rev() {
            let mut sum = inner.forward(maps, mode)?;
            if let Some(above) = above {
                let (_, _, rows, columns) = sum.dims4()?;
                sum = (sum + ops::upsample_nearest2d(&above, [rows, columns])?)?;
            }
            levels.push(outer.forward(&sum, mode)?);
            above = Some(sum);
        }
        let every_second = Pool2dConfig { kernel: [1; 2], stride: [2; 2], padding: [0; 2], ceil_mode: false };
        let coarsest = ops::max_pool2d(&levels[0], &every_second)?;
        levels.reverse();
        levels.push(coarsest);
        Ok(levels)
    }

    /// The form for evaluation alone.
    ///
    /// # Errors
    /// When a norm's tensors cannot be read.
    pub fn for_inference(self) -> Result<Self> {
        let all = |parts: Vec<Part>| parts.into_iter().map(Part::for_inference).collect::<Result<Vec<Part>>>();
        Ok(Self { body: self.body.for_inference()?, inner: all(self.inner)?, outer: all(self.outer)? })
    }

    /// All tensors, `prefix` and a dot before their names.
    pub fn parameters(&self, prefix: &str) -> Vec<Parameter> {
        let blocks = |name: &str, parts: &[Part]| {
            join(parts.iter().enumerate().map(|(level, part)| part.parameters(&format!("{prefix}.fpn.{name}.{level}"))))
        };
        let body = self.body.parameters(&format!("{prefix}.body"));
        join([body, blocks("inner_blocks", &self.inner), blocks("layer_blocks", &self.outer)])
    }
}

impl FpnConfig {
    /// A convolution that keeps the size, and the norm. The size of the list is any: the layers take all.
    fn block(&self, input: usize, kernel: usize) -> Layers {
        let fan_in = (input * kernel * kernel).max(1) as f64;
        let filters = Conv2d {
            padding: [kernel / 2; 2],
            bias: self.norm.is_none().then_some(Init::Constant(0.0)),
            init: Init::Uniform((3.0 / fan_in).sqrt()),
            ..conv(self.channels, kernel)
        };
        let block = Layers::new([input, 1, 1]).then("0", filters);
        match &self.norm {
            Some(norm) => block.then("1", norm.clone()),
            None => block,
        }
    }
}
