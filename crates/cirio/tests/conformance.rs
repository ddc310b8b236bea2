//! What every model of the zoo promises.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use cirio::nn::loss::Targets;
use cirio::nn::ops::with_portable;
use cirio::nn::{Layers, Stack, Store, Volume, Weights};
use cirio::{MODELS, Model};

fn images(layers: &Layers, count: usize) -> candle_core::Result<Tensor> {
    let [channels, height, width] = layers.input();
    let length = (count * channels * height * width) as f32;
    Tensor::arange(0f32, length, &Device::Cpu)?.affine(0.137, 0.2)?.sin()?.reshape((count, channels, height, width))
}

fn fresh(model: &Model, classes: usize) -> anyhow::Result<(Store, Stack, Layers)> {
    let store = Store::new(7, DType::F32, &Device::Cpu);
    let layers = list(model, classes);
    let network = layers.build(store.var_builder())?;
    Ok((store, network, layers))
}

fn values(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// Every model.
fn each(check: impl Fn(&Model) -> anyhow::Result<()>) -> anyhow::Result<()> {
    assert!(!MODELS.is_empty());
    MODELS.iter().try_for_each(|model| check(model).map_err(|error| error.context(model.name)))
}

/// Every model whose weights are made and written in a moment. The larger ones are lists of the same layers as their small
/// relatives; what is checked without weights is checked of them as well.
fn each_small(check: impl Fn(&Model) -> anyhow::Result<()>) -> anyhow::Result<()> {
    const MOST: u64 = 62_000_000;
    each(|model| match model.layers(model.classes).table()?.parameters() {
        parameters if parameters <= MOST => check(model),
        _ => Ok(()),
    })
}

/// The model's list for small pictures, where it can take them, so that the tests are quick.
fn list(model: &Model, classes: usize) -> Layers {
    let layers = model.layers(classes);
    let [channels, height, width] = layers.input();
    let smaller = [channels, 71.min(height), 67.min(width)];
    match layers.clone().with_input(smaller) {
        small if small.table().is_ok() => small,
        _ => layers,
    }
}

#[test]
fn shapes_are_those_of_the_table() -> anyhow::Result<()> {
    each(|model| {
        let layers = list(model, model.classes);
        let table = layers.table()?;
        let network = layers.build(VarBuilder::zeros(DType::F32, &Device::Cpu))?;
        let names: Vec<&str> = table.rows.iter().map(|row| row.name.as_str()).collect();
        for (row, output) in table.rows.iter().zip(network.forward_taps(&images(&layers, 2)?, &names)?) {
            assert_eq!(output.dims()[1..], row.output.dims(), "{}: {}", model.name, row.name);
        }
        assert_eq!(layers.output()?, Volume::Vector(model.classes));
        Ok(())
    })
}

#[test]
fn parameters_are_those_of_the_table() -> anyhow::Result<()> {
    each_small(|model| {
        let (store, network, layers) = fresh(model, model.classes)?;
        let trained: usize = network.parameters().iter().filter(|p| matches!(p.var(), Ok(Some(_)))).map(|p| p.tensor.elem_count()).sum();
        assert_eq!(trained as u64, layers.table()?.parameters(), "{}", model.name);
        assert_eq!(store.tensors().len(), network.parameters().len(), "{}", model.name);
        Ok(())
    })
}

#[test]
fn the_preprocessing_gives_the_input() -> anyhow::Result<()> {
    each(|model| {
        assert_eq!(model.preprocess().output_shape(), model.layers(model.classes).input(), "{}", model.name);
        Ok(())
    })
}

#[test]
fn the_gradient_reaches_every_parameter() -> anyhow::Result<()> {
    each_small(|model| {
        let (_, network, layers) = fresh(model, model.classes)?;
        let targets = Targets::Labels(Tensor::new(&[0u32, 1, 0], &Device::Cpu)?);
        let gradients = model.loss.mean(&network.forward_t(&images(&layers, 3)?, true)?, &targets)?.backward()?;
        for parameter in network.parameters() {
            if let Some(var) = parameter.var()? {
                let gradient = gradients.get(var.as_tensor()).unwrap_or_else(|| panic!("{}: {}", model.name, parameter.name));
                assert!(values(gradient)?.iter().any(|&g| g != 0.0 && g.is_finite()), "{}: {}", model.name, parameter.name);
            }
        }
        Ok(())
    })
}

#[test]
fn saved_and_loaded_gives_the_same_output() -> anyhow::Result<()> {
    each_small(|model| {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("weights.safetensors");
        let (store, network, layers) = fresh(model, model.classes)?;
        store.save(&path, &BTreeMap::new())?;
        let again = layers.load(&Weights::open(&path)?, &Device::Cpu)?;
        let input = images(&layers, 2)?;
        assert_eq!(values(&network.forward(&input)?)?, values(&again.forward(&input)?)?, "{}", model.name);
        Ok(())
    })
}

#[test]
fn the_head_can_be_replaced() -> anyhow::Result<()> {
    each_small(|model| {
        let classes = 3;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("weights.safetensors");
        let (store, _, _) = fresh(model, model.classes)?;
        store.save(&path, &BTreeMap::new())?;

        let other = Store::new(8, DType::F32, &Device::Cpu).with_weights(Weights::open(&path)?);
        let network = list(model, classes).build(other.var_builder())?;
        let report = other.report();
        assert!(report.missing.is_empty() && report.unused.is_empty(), "{}: {report}", model.name);
        assert!(report.mismatched.iter().all(|m| m.file[0] == model.classes && m.model[0] == classes), "{}: {report}", model.name);
        assert_eq!(network.forward(&images(&list(model, classes), 2)?)?.dims(), [2, classes], "{}", model.name);
        Ok(())
    })
}

#[test]
fn a_seed_decides_the_initial_weights() -> anyhow::Result<()> {
    each_small(|model| {
        let (first, ..) = fresh(model, model.classes)?;
        let (second, ..) = fresh(model, model.classes)?;
        for (name, tensor) in first.tensors() {
            if tensor.dtype() == DType::F32 {
                assert_eq!(values(&tensor)?, values(&second.tensors()[&name])?, "{}: {name}", model.name);
            }
        }
        Ok(())
    })
}

#[test]
fn the_portable_path_equals_the_kernels() -> anyhow::Result<()> {
    each_small(|model| {
        let (_, network, layers) = fresh(model, model.classes)?;
        let input = images(&layers, 2)?;
        let fast = values(&network.forward(&input)?)?;
        let portable = values(&with_portable(|| network.forward(&input))?)?;
        let scale = fast.iter().fold(0f32, |largest, v| largest.max(v.abs()));
        // Sums in another order: a few units in the last place of the largest value, over a few thousand terms.
        assert!(fast.iter().zip(&portable).all(|(a, b)| (a - b).abs() <= 1e-5 * scale), "{}: {fast:?} {portable:?}", model.name);
        Ok(())
    })
}

#[test]
fn the_inference_form_equals_the_plain_one() -> anyhow::Result<()> {
    each_small(|model| {
        let (_, network, layers) = fresh(model, model.classes)?;
        // A training pass first: batch norms then have statistics that are worth folding.
        network.forward_t(&images(&layers, 3)?, true)?;
        let input = images(&layers, 2)?;
        let plain = values(&network.forward(&input)?)?;
        let fused = values(&network.for_inference()?.forward(&input)?)?;
        let scale = plain.iter().fold(0f32, |largest, v| largest.max(v.abs()));
        // Winograd's sums differ by up to 1e-5 of the largest a layer.
        assert!(plain.iter().zip(&fused).all(|(a, b)| (a - b).abs() <= 1e-4 * scale), "{}: {plain:?} {fused:?}", model.name);
        Ok(())
    })
}

#[test]
fn unknown_models_are_refused_with_those_that_exist() {
    let error = cirio::find("lenet6").map(|model| model.name).unwrap_err().to_string();
    assert!(error.contains("no model `lenet6`") && error.contains("lenet5_paper"), "{error}");
}
