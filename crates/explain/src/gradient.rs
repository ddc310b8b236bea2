//! Back to the pixels: which of them made an activation or a class's score.

use candle_core::{DType, Tensor, Var};
use cirio_nn::Stack;
use cirio_nn::ops::Rectifier;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use crate::heat::Heat;
use crate::{Error, Result};

/// What is traced back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The score of a class, an output of the last layer.
    Class(usize),
    /// A value of a map.
    Map {
        /// The layer, named as for [`Stack::forward_taps`].
        layer: &'a str,
        /// Which of its C maps, or of its K values.
        map: usize,
        /// Its row and column; the strongest of the map where there is none.
        place: Option<[usize; 2]>,
    },
}

/// A value of a network and its way back to the picture.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The value.
    pub value: f32,
    /// Its row and column in its map.
    pub place: [usize; 2],
    /// How much the value changes with each pixel (C, H, W), as far as the [`Rectifier`] lets it through.
    pub gradient: Tensor,
}

impl Trace {
    /// The way back of the value itself, not of a 1: what a deconvnet shows (Zeiler & Fergus 2014, section 2.1), (C, H, W).
    ///
    /// # Errors
    /// Those of candle.
    pub fn projection(&self) -> Result<Tensor> {
        Ok((&self.gradient * f64::from(self.value))?)
    }

    /// The largest change over the channels of each pixel, whatever its sign (Simonyan, Vedaldi & Zisserman, "Deep inside convolutional
    /// networks", 2014, section 3.1).
    ///
    /// # Errors
    /// Those of candle.
    pub fn saliency(&self) -> Result<Heat> {
        saliency(&self.gradient)
    }
}

/// The largest absolute value over the channels of (C, H, W).
///
/// # Errors
/// When the tensor has other axes.
pub fn saliency(gradient: &Tensor) -> Result<Heat> {
    Heat::from_tensor(&gradient.abs()?.max(0)?)
}

/// Traces a value back to the picture `image` (C, H, W).
///
/// With [`Rectifier::Gradient`] it is the derivative; with [`Rectifier::Deconvnet`] the maxima's places of the forward pass, rectification on
/// the way back and transposed filters; with [`Rectifier::Guided`] guided backpropagation. Other layers pass gradients as always: those of
/// response norms too, which the deconvnet of the paper leaves out, and activations other than ReLU.
///
/// # Errors
/// When there is no such layer, class, map or place, when the picture does not fit the network, or when the map of which the strongest
/// value is wanted is dead: not above 0 anywhere.
pub fn trace(network: &Stack, image: &Tensor, target: &Target, rule: Rectifier) -> Result<Trace> {
    let last = network.names().last().map_or("", String::as_str);
    match *target {
        Target::Map { layer, map, place } => Pass::new(network, image, layer, rule)?.trace(map, place),
        Target::Class(class) => {
            let pass = Pass::new(network, image, last, rule)?;
            match pass.maps {
                classes if class >= classes => Err(Error::Class { given: class, classes }),
                _ => pass.trace(class, Some([0, 0])),
            }
        }
    }
}

/// Traces the strongest values of several maps of a layer back to the picture `image` (C, H, W), after one pass through the network.
///
/// # Errors
/// As [`trace`].
pub fn trace_maps(network: &Stack, image: &Tensor, layer: &str, maps: &[usize], rule: Rectifier) -> Result<Vec<Trace>> {
    let pass = Pass::new(network, image, layer, rule)?;
    maps.iter().map(|&map| pass.trace(map, None)).collect()
}

/// A picture on its way through a network up to a layer.
struct Pass<'a> {
    image: Var,
    layer: &'a str,
    /// (1, C, h, w) or (1, K).
    output: Tensor,
    /// C or K.
    maps: usize,
    /// h and w.
    size: [usize; 2],
}

impl<'a> Pass<'a> {
    fn new(network: &Stack, image: &Tensor, layer: &'a str, rule: Rectifier) -> Result<Self> {
        let image = Var::from_tensor(&image.unsqueeze(0)?.detach())?;
        let output = network.forward_rectified(&image, &[layer], rule)?.remove(0);
        let (maps, size) = match *output.dims() {
            [_, maps] => (maps, [1, 1]),
            [_, maps, height, width] => (maps, [height, width]),
            ref given => return Err(Error::Layer { layer: layer.into(), given: given.to_vec(), expected: "(N, C, H, W) or (N, K)" }),
        };
        Ok(Self { image, layer, output, maps, size })
    }

    /// The way back of a value of a map, the strongest where no place is given.
    fn trace(&self, map: usize, place: Option<[usize; 2]>) -> Result<Trace> {
        let Self { layer, maps, size, .. } = *self;
        if map >= maps {
            return Err(Error::Map { given: map, layer: layer.into(), maps });
        }
        let values = self.output.narrow(1, map, 1)?.flatten_all()?;
        let heat = Heat { height: size[0], width: size[1], values: values.to_dtype(DType::F32)?.to_vec1()? };
        let [row, column] = match place {
            Some(place) => place,
            None => heat.strongest().ok_or_else(|| Error::Nothing(format!("map {map} of layer `{layer}` has no numbers")))?,
        };
        if row >= size[0] || column >= size[1] {
            let [rows, columns] = size;
            return Err(Error::Setting(format!(
                "row {row}, column {column}: the maps of layer `{layer}` have {rows} rows and {columns} columns"
            )));
        }
        let at = row * size[1] + column;
        if place.is_none() && heat.is_dead() {
            return Err(Error::Nothing(format!("map {map} of layer `{layer}` is dead for this picture: nothing in it is above 0")));
        }
        let gradients = values.get(at)?.backward()?;
        let gradient = gradients.get(&self.image).map_or_else(|| self.image.zeros_like(), |gradient| Ok(gradient.clone()))?;
        Ok(Trace { value: heat.values[at], place: [row, column], gradient: gradient.squeeze(0)? })
    }
}

/// The derivatives of a class's score for pictures (N, C, H, W).
fn class_gradients(network: &Stack, images: &Tensor, class: usize) -> Result<Tensor> {
    let images = Var::from_tensor(&images.detach())?;
    let gradients = crate::scores_of(&network.forward(&images)?, class)?.sum_all()?.backward()?;
    Ok(gradients.get(&images).map_or_else(|| images.zeros_like(), |gradient| Ok(gradient.clone()))?)
}

/// Pictures that are taken through the network at a time.
const BATCH: usize = 16;

/// A class's score divided among the pixels.
#[derive(Clone, Debug)]
pub struct Integrated {
    /// What each value of the picture adds to the score (C, H, W).
    pub attribution: Tensor,
    /// The picture's score less the baseline's; the attributions' sum comes near it as there are more steps.
    pub difference: f32,
}

/// Integrated gradients (Sundararajan, Taly & Yan, "Axiomatic attribution for deep networks", 2017, section 3): the gradient of a class's score,
/// averaged along the straight way from `baseline` to `image` (both C, H, W), times how far each value went. The way is cut into `steps` parts
/// and the gradient taken in the middle of each.
///
/// # Errors
/// When there are no steps, the two pictures differ in shape or do not fit the network, or there is no such class.
pub fn integrated_gradients(network: &Stack, image: &Tensor, baseline: &Tensor, class: usize, steps: usize) -> Result<Integrated> {
    if steps == 0 || image.dims() != baseline.dims() {
        let (image, baseline) = (image.dims(), baseline.dims());
        return Err(Error::Setting(format!(
            "{steps} steps from a baseline {baseline:?} to a picture {image:?}: at least one, between equal shapes"
        )));
    }
    let way = (image - baseline)?;
    let mut sum = image.zeros_like()?;
    for first in (0..steps).step_by(BATCH) {
        let part = |step: usize| baseline + (&way * ((step as f64 + 0.5) / steps as f64))?;
        let parts = (first..steps.min(first + BATCH)).map(part).collect::<candle_core::Result<Vec<_>>>()?;
        let gradients = class_gradients(network, &Tensor::stack(&parts, 0)?, class)?;
        sum = (sum + gradients.sum(0)?)?;
    }
    let ends = crate::scores_of(&network.forward(&Tensor::stack(&[image, baseline], 0)?)?, class)?;
    let ends: Vec<f32> = ends.to_dtype(DType::F32)?.to_vec1()?;
    Ok(Integrated { attribution: ((sum / steps as f64)? * way)?, difference: ends[0] - ends[1] })
}

/// SmoothGrad (Smilkov, Thorat, Kim, Viégas & Wattenberg, 2017): the gradient of a class's score (C, H, W), averaged over `samples` copies of the
/// picture, each with normal noise of the standard deviation `noise` in the units of the picture's values. The paper takes 10 to 20 % of the
/// span between the smallest and the largest value, and some 50 samples.
///
/// # Errors
/// When there are no samples, the noise is negative or not finite, the picture does not fit the network, or there is no such class.
pub fn smooth_grad(network: &Stack, image: &Tensor, class: usize, samples: usize, noise: f64, seed: u64) -> Result<Tensor> {
    if samples == 0 || !noise.is_finite() || noise < 0.0 {
        return Err(Error::Setting(format!("{samples} samples with noise of {noise}: at least one, with noise from 0")));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut noisy = || {
        let values: Vec<f32> = (0..image.elem_count()).map(|_| StandardNormal.sample(&mut rng)).collect();
        let values = Tensor::from_vec(values, image.shape(), image.device())?.to_dtype(image.dtype())?;
        image + (values * noise)?
    };
    let mut sum = image.zeros_like()?;
    for first in (0..samples).step_by(BATCH) {
        let copies = (first..samples.min(first + BATCH)).map(|_| noisy()).collect::<candle_core::Result<Vec<_>>>()?;
        let gradients = class_gradients(network, &Tensor::stack(&copies, 0)?, class)?;
        sum = (sum + gradients.sum(0)?)?;
    }
    Ok((sum / samples as f64)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::testing::{image, layers, network, network_f64, two_layers, values};

    /// Every pixel moved a little, in f64.
    fn finite_differences(image: &Tensor, value: impl Fn(&Tensor) -> Result<f64>) -> Result<Vec<f64>> {
        let pixels = values(image)?;
        let moved = |at: usize, by: f64| -> Result<f64> {
            let mut pixels = pixels.clone();
            pixels[at] += by;
            value(&Tensor::from_vec(pixels, image.shape(), &Device::Cpu)?)
        };
        (0..pixels.len()).map(|at| Ok((moved(at, 1e-6)? - moved(at, -1e-6)?) / 2e-6)).collect()
    }

    fn close(ours: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(ours.len(), expected.len());
        for (at, (ours, expected)) in ours.iter().zip(expected).enumerate() {
            assert!((ours - expected).abs() <= tolerance, "{at}: {ours}, expected {expected}");
        }
    }

    #[test]
    fn the_gradient_is_what_finite_differences_say() -> Result<()> {
        let (network, image) = (network_f64(3)?, image()?.to_dtype(DType::F64)?);
        let class = trace(&network, &image, &Target::Class(1), Rectifier::Gradient)?;
        let score = |image: &Tensor| Ok(network.forward(&image.unsqueeze(0)?)?.get(0)?.get(1)?.to_scalar::<f64>()?);
        assert!((f64::from(class.value) - score(&image)?).abs() < 1e-6);
        close(&values(&class.gradient)?, &finite_differences(&image, score)?, 1e-6);
        // A value of a layer inside of a block.
        let target = Target::Map { layer: "block.conv1", map: 2, place: Some([1, 2]) };
        let inside = trace(&network, &image, &target, Rectifier::Gradient)?;
        let value = |image: &Tensor| {
            let map = network.forward_taps(&image.unsqueeze(0)?, &["block.conv1"])?.remove(0);
            Ok(map.get(0)?.get(2)?.get(1)?.get(2)?.to_scalar::<f64>()?)
        };
        close(&values(&inside.gradient)?, &finite_differences(&image, value)?, 1e-6);
        Ok(())
    }

    /// From the strongest place of a map through the switch of the pool and the filter, by hand.
    #[test]
    fn a_deconvnet_of_two_layers() -> Result<()> {
        let filter = [1.0, -2.0, 3.0, 0.5];
        let network = two_layers(filter)?;
        let mut pixels = [0f32; 25];
        (pixels[11], pixels[12], pixels[16], pixels[17]) = (1.0, -1.0, 2.0, 4.0); // rows 2 and 3, columns 1 and 2
        let image = Tensor::from_slice(&pixels, (1, 5, 5), &Device::Cpu)?;
        let plain = Target::Map { layer: "conv2", map: 0, place: None };
        let found = trace(&network, &image, &plain, Rectifier::Deconvnet)?;
        // The windows of rows 2 and 3: those at columns 1 and 2 give 1 + 2 + 6 + 2 = 11 and -1 + 0 + 12 + 0 = 11; at row 3, column 0: -4.
        // The pool's places [1, 0] and [1, 1] are both 11; the first is taken, and its switch is at row 2, column 1.
        assert_eq!((found.value, found.place), (11.0, [1, 0]));
        let mut expected = [0f64; 25];
        for (at, weight) in [11, 12, 16, 17].into_iter().zip(filter) {
            expected[at] = f64::from(weight) * 11.0;
        }
        assert_eq!(values(&found.projection()?)?, expected);
        // What is less from 10 has a negative way back: the rectifier on it lets nothing through, the gradient all.
        let less = Target::Map { layer: "conv2", map: 1, place: Some([1, 0]) };
        let found = trace(&network, &image, &less, Rectifier::Deconvnet)?;
        assert_eq!((found.value, values(&found.projection()?)?), (-1.0, vec![0.0; 25]));
        let gradient = values(&trace(&network, &image, &less, Rectifier::Gradient)?.gradient)?;
        assert_eq!(gradient.iter().filter(|&&value| value != 0.0).count(), 4);
        assert_eq!(gradient[11], -1.0);
        assert_eq!(values(&trace(&network, &image, &less, Rectifier::Guided)?.gradient)?, [0.0; 25]);
        Ok(())
    }

    /// The gradient has nothing outside of the receptive field, and reaches its corners.
    #[test]
    fn pixels_outside_the_receptive_field_do_not_count() -> Result<()> {
        let (network, image, table) = (network(4)?, image()?, layers().table()?);
        for layer in ["conv1", "pool", "block.conv1", "block.conv2"] {
            let field = table.rows.iter().find(|row| row.name == layer).expect("a row").receptive_field;
            for place in [[0, 0], [1, 2], [3, 2]] {
                let [rows, columns] = field.at(place);
                let mut seen = [[9, 0], [8, 0]];
                for map in 0..4 {
                    let target = Target::Map { layer, map, place: Some(place) };
                    let heat = trace(&network, &image, &target, Rectifier::Gradient)?.saliency()?;
                    for at in (0..72).filter(|&at| heat.values[at] != 0.0) {
                        for (seen, pixel) in seen.iter_mut().zip([at / 8, at % 8]) {
                            *seen = [seen[0].min(pixel), seen[1].max(pixel + 1)];
                        }
                    }
                }
                let [high, wide] = seen.map(|[first, end]| first..end);
                assert!(rows.start <= high.start && high.end <= rows.end, "{layer} {place:?}: {high:?} in {rows:?}");
                assert!(columns.start <= wide.start && wide.end <= columns.end, "{layer} {place:?}: {wide:?} in {columns:?}");
                if layer == "conv1" {
                    assert_eq!((high, wide), (rows, columns));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn attributions_add_up_to_the_difference() -> Result<()> {
        let (network, image) = (network(5)?, image()?);
        let baseline = image.zeros_like()?;
        let found = integrated_gradients(&network, &image, &baseline, 2, 200)?;
        let sum: f64 = values(&found.attribution)?.iter().sum();
        assert!(
            (sum - f64::from(found.difference)).abs() < 0.01 * f64::from(found.difference).abs().max(0.1),
            "{sum} {}",
            found.difference
        );
        // One step is the gradient in the middle of the way, times the way.
        let one = integrated_gradients(&network, &image, &baseline, 2, 1)?;
        let middle = trace(&network, &(&image * 0.5)?, &Target::Class(2), Rectifier::Gradient)?;
        close(&values(&one.attribution)?, &values(&(middle.gradient * image)?)?, 1e-6);
        Ok(())
    }

    #[test]
    fn smooth_gradients_are_means_over_noise() -> Result<()> {
        let (network, image) = (network(6)?, image()?);
        let gradient = trace(&network, &image, &Target::Class(0), Rectifier::Gradient)?.gradient;
        close(&values(&smooth_grad(&network, &image, 0, 3, 0.0, 1)?)?, &values(&gradient)?, 1e-6);
        let [one, same, other] = [1, 1, 2].map(|seed| values(&smooth_grad(&network, &image, 0, 20, 0.3, seed).unwrap()).unwrap());
        assert_eq!(one, same);
        assert_ne!(one, other);
        Ok(())
    }

    /// A map that shows the picture alone would not change with the weights (Adebayo et al., "Sanity checks for saliency maps", 2018).
    #[test]
    fn other_weights_give_other_maps() -> Result<()> {
        let image = image()?;
        for rule in [Rectifier::Gradient, Rectifier::Deconvnet, Rectifier::Guided] {
            let [one, other] =
                [7, 8].map(|seed| trace(&network(seed).unwrap(), &image, &Target::Class(0), rule).unwrap().saliency().unwrap());
            let product = |a: &Heat, b: &Heat| a.values.iter().zip(&b.values).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let likeness = product(&one, &other) / (product(&one, &one) * product(&other, &other)).sqrt();
            assert!(likeness < 0.95, "{rule:?}: {likeness}");
        }
        Ok(())
    }

    #[test]
    fn what_is_not_there_is_named() -> Result<()> {
        let (network, image) = (network(0)?, image()?);
        let message = |target: Target| trace(&network, &image, &target, Rectifier::Gradient).unwrap_err().to_string();
        assert_eq!(message(Target::Class(3)), "class 3: the network has classes 0 to 2");
        let map = |layer, map, place| Target::Map { layer, map, place };
        assert_eq!(message(map("pool", 4, None)), "map 4 of layer `pool`: it has maps 0 to 3");
        assert!(message(map("conv9", 0, None)).contains("no layer `conv9`; the layers are conv1, relu1"));
        assert!(message(map("pool", 0, Some([4, 0]))).contains("row 4, column 0"));
        let zeros = two_layers([0.0; 4])?;
        let dead = trace(&zeros, &Tensor::zeros((1, 5, 5), DType::F32, &Device::Cpu)?, &map("conv1", 0, None), Rectifier::Deconvnet);
        assert!(dead.unwrap_err().to_string().contains("map 0 of layer `conv1` is dead"));
        assert!(integrated_gradients(&network, &image, &image, 0, 0).is_err());
        assert!(integrated_gradients(&network, &image, &image, 9, 1).unwrap_err().to_string().contains("class 9"));
        assert!(smooth_grad(&network, &image, 0, 0, 0.1, 0).is_err() && smooth_grad(&network, &image, 0, 1, -0.1, 0).is_err());
        Ok(())
    }
}
