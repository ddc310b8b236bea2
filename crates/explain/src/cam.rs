//! Class activation maps by gradients: where a layer speaks for a class.

use candle_core::Tensor;
use cirio_nn::{Stack, ops};

use crate::heat::Heat;
use crate::{Error, Result};

/// How the maps of a layer are weighed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weighing {
    /// By the mean of the gradients over the map: Grad-CAM (Selvaraju et al., "Grad-CAM: visual explanations from deep networks via
    /// gradient-based localization", 2017, section 3).
    #[default]
    GradCam,
    /// By a weighted mean of the positive gradients, so that each of several objects counts: Grad-CAM++ (Chattopadhay, Sarkar, Howlader &
    /// Balasubramanian, 2018, section 3.2).
    PlusPlus,
}

/// Where the maps of `layer` speak for a class in the picture `image` (C, H, W): an h×w map of values from 0, of the size of the layer's maps.
/// [`Stack::last_maps`] names the layer that is usual.
///
/// # Errors
/// When there is no such layer or class, the layer gives no maps, or the map is zero everywhere.
pub fn class_activation(network: &Stack, image: &Tensor, layer: &str, class: usize, weighing: Weighing) -> Result<Heat> {
    let (maps, scores) = network.forward_from(&image.unsqueeze(0)?.detach(), layer)?;
    if maps.rank() != 4 {
        return Err(Error::Layer { layer: layer.into(), given: maps.dims().to_vec(), expected: "maps (N, C, H, W)" });
    }
    let score = crate::scores_of(&scores, class)?.sum_all()?;
    let gradients = score.backward()?;
    let gradients = gradients.get(&maps).map_or_else(|| maps.zeros_like(), |gradient| Ok(gradient.clone()))?;
    let maps = maps.as_tensor().detach();
    let weights = match weighing {
        Weighing::GradCam => gradients.mean_keepdim((2, 3))?,
        Weighing::PlusPlus => plus_plus(&maps, &gradients)?,
    };
    let heat = Heat::from_tensor(&ops::relu(&maps.broadcast_mul(&weights)?.sum(1)?.squeeze(0)?)?)?;
    if heat.values.iter().any(|value| !value.is_finite()) {
        return Err(Error::Nothing(format!("the map of class {class} at layer `{layer}` has values that are no finite numbers")));
    }
    match heat.is_dead() {
        true => Err(Error::Nothing(format!(
            "the map of class {class} at layer `{layer}` is zero everywhere: nothing there speaks for the class"
        ))),
        false => Ok(heat),
    }
}

/// Σ α·max(g, 0) over each map, with α = g² / (2·g² + g³·Σ A) = 1 / (2 + g·Σ A): (1, C, 1, 1). The maps are those behind a rectifier, so
/// that nothing is divided by 0.
fn plus_plus(maps: &Tensor, gradients: &Tensor) -> Result<Tensor> {
    let positive = ops::relu(gradients)?;
    let below = (positive.broadcast_mul(&maps.sum_keepdim((2, 3))?)? + 2.0)?;
    Ok((positive / below)?.sum_keepdim((2, 3))?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use candle_core::{DType, Device, Var};
    use cirio_nn::layer::{AdaptiveAvgPool2d, Flatten, Relu, conv, linear};
    use cirio_nn::{Layers, Store};

    use super::*;
    use crate::testing::{image, network, values};

    /// Behind a mean over the map and one linear layer, Grad-CAM is the class's row of weights times the maps (section 3.1 of the paper: it
    /// generalises CAM), here divided by the places of a map.
    #[test]
    fn with_one_linear_layer_it_is_cam() -> Result<()> {
        let layers = Layers::new([2, 9, 8])
            .then("conv", conv(5, 3))
            .then("relu", Relu)
            .then("avgpool", AdaptiveAvgPool2d([1; 2]))
            .then("flatten", Flatten)
            .then("fc", linear(3));
        let network = layers.build(Store::new(1, DType::F32, &Device::Cpu).var_builder())?;
        assert_eq!(network.last_maps(), Some("relu"));
        let maps = network.forward_taps(&image()?.unsqueeze(0)?, &["relu"])?.remove(0);
        let weight = network.parameters().into_iter().find(|parameter| parameter.name == "fc.weight").expect("a weight").tensor;
        let mut alive = 0;
        for class in 0..3 {
            let weights = weight.get(class)?.reshape((1, 5, 1, 1))?.affine(1.0 / 42.0, 0.0)?;
            let expected = values(&maps.broadcast_mul(&weights)?.sum(1)?.relu()?)?;
            let found = class_activation(&network, &image()?, "relu", class, Weighing::GradCam);
            if expected.iter().all(|&value| value == 0.0) {
                assert!(found.unwrap_err().to_string().contains("zero everywhere"));
                continue;
            }
            let found = found?;
            assert_eq!((found.height, found.width), (7, 6));
            alive += 1;
            for (found, expected) in found.values.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
        assert!((1..3).contains(&alive), "{alive} of 3 maps are alive: both ways are to be seen");
        Ok(())
    }

    /// The weights of equations 10 and 19 of the paper, by plain loops.
    #[test]
    fn plus_plus_is_what_the_paper_says() -> Result<()> {
        let maps = Var::from_vec(vec![1f32, 0.0, 2.0, 0.5, 0.0, 0.0, 3.0, 1.0], (1, 2, 2, 2), &Device::Cpu)?;
        let gradients = [0.5f32, -1.0, 0.0, 2.0, -0.4, 0.25, 0.0, 0.0];
        let weights = values(&plus_plus(&maps, &Tensor::from_slice(&gradients, (1, 2, 2, 2), &Device::Cpu)?)?)?;
        let sums = [3.5, 4.0];
        for map in 0..2 {
            let alpha = |g: f64| if g == 0.0 { 0.0 } else { g * g / (2.0 * g * g + sums[map] * g.powi(3)) };
            let expected: f64 = gradients[4 * map..][..4].iter().map(|&g| alpha(f64::from(g)) * f64::from(g).max(0.0)).sum();
            assert!((weights[map] - expected).abs() < 1e-6, "{} {expected}", weights[map]);
        }
        Ok(())
    }

    #[test]
    fn other_weights_give_other_maps_and_errors_are_named() -> Result<()> {
        let image = image()?;
        for weighing in [Weighing::GradCam, Weighing::PlusPlus] {
            let alive = (0..9).filter_map(|seed| class_activation(&network(seed).ok()?, &image, "block", 1, weighing).ok());
            let places: HashSet<Option<[usize; 2]>> = alive.map(|heat| heat.strongest()).collect();
            assert!(places.len() > 2, "{places:?}");
        }
        let network = network(2)?;
        let message = |layer, class| class_activation(&network, &image, layer, class, Weighing::GradCam).unwrap_err().to_string();
        assert_eq!(message("block", 3), "class 3: the network has classes 0 to 2");
        assert!(message("fc", 0).contains("layer `fc` gives [1, 3], expected maps"));
        assert!(message("what", 0).contains("no layer `what`"));
        Ok(())
    }
}
