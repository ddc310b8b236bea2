//! Files of weights: sets of them, half precision, other names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use cirio_nn::layer::{Flatten, batch_norm, conv, linear};
use cirio_nn::{Layers, Store, Weights, files};

fn layers() -> Layers {
    Layers::new([1, 4, 4]).then("conv", conv(2, 3)).then("bn", batch_norm()).then("flatten", Flatten).then("fc", linear(3))
}

fn images() -> Result<Tensor> {
    Tensor::arange(0f32, 32.0, &Device::Cpu)?.affine(0.1, -1.0)?.reshape((2, 1, 4, 4))
}

fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) {
    files::write_tensors(path, tensors, &BTreeMap::new()).expect("written");
}

#[test]
fn shapes_are_known_without_weights() -> cirio_nn::Result<()> {
    let store = Store::new(0, DType::F32, &Device::Cpu);
    let network = layers().build(store.var_builder())?;
    let built: Vec<_> = network.parameters().into_iter().map(|parameter| (parameter.name, parameter.tensor.dims().to_vec())).collect();
    assert_eq!(layers().shapes()?, built);
    assert_eq!(built.last().map(|(name, shape)| (name.as_str(), shape.as_slice())), Some(("fc.bias", &[3][..])));
    // 2⁶² numbers.
    let huge = Layers::new([1, 1 << 20, 1 << 20]).then("flatten", Flatten).then("fc", linear(1 << 22)).shapes()?;
    assert_eq!(huge[0].1, [1 << 22, 1 << 40]);
    Ok(())
}

#[test]
fn a_set_of_files_is_one() -> cirio_nn::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let store = Store::new(1, DType::F32, &Device::Cpu);
    let network = layers().build(store.var_builder())?;
    let mut map = BTreeMap::new();
    for (name, tensor) in store.tensors() {
        let file = format!("model-{}.safetensors", name.replace('.', "-"));
        write(&at(&file), &BTreeMap::from([(name.clone(), tensor)]));
        map.insert(name, file);
    }
    let index = at("model.safetensors.index.json");
    let write_index = |map: &BTreeMap<String, String>| {
        fs::write(&index, serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map }).to_string()).expect("written");
    };
    write_index(&map);
    for path in [folder.path(), &index] {
        let weights = Weights::open(path)?;
        assert_eq!(weights.path(), index);
        let again = layers().load(&weights, &Device::Cpu)?;
        assert_eq!(again.forward(&images()?)?.to_vec2::<f32>()?, network.forward(&images()?)?.to_vec2::<f32>()?);
    }

    let refused = |name: &str, file: &str, words: &str| {
        let mut map = map.clone();
        map.insert(name.to_owned(), file.to_owned());
        write_index(&map);
        let error = Weights::open(&index).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused("fc.bias", "model-fc-weight.safetensors", "tensor `fc.bias` should be in model-fc-weight.safetensors, and is not");
    refused("fc.bias", "nothing.safetensors", "nothing.safetensors");
    for outside in ["../x.safetensors", "/x.safetensors", "a/x.safetensors", "..", ""] {
        refused("fc.bias", outside, "is not the name of a file beside the index");
    }
    fs::write(&index, "{}").expect("written");
    assert!(Weights::open(&index).unwrap_err().to_string().contains("not the index of a set"));
    fs::remove_file(&index).expect("removed");
    assert!(Weights::open(folder.path()).unwrap_err().to_string().contains("model.safetensors.index.json"));
    Ok(())
}

#[test]
fn half_precision_loads_into_networks_of_full_precision() -> cirio_nn::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::new(2, DType::F32, &Device::Cpu);
    let network = layers().build(store.var_builder())?;
    let full = network.forward(&images()?)?;
    for (dtype, tolerance) in [(DType::F16, 2e-3), (DType::BF16, 2e-2)] {
        let path = folder.path().join("half.safetensors");
        let halved = store.tensors().into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(dtype)?))).collect::<Result<_>>()?;
        write(&path, &halved);
        let loaded = layers().load(&Weights::open(&path)?, &Device::Cpu)?;
        assert!(loaded.parameters().iter().filter(|parameter| parameter.name.starts_with("fc.")).all(|fc| fc.tensor.dtype() == DType::F32));
        let difference = (loaded.forward(&images()?)? - &full)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(difference > 0.0 && difference < tolerance, "{dtype:?}: {difference}");
    }
    Ok(())
}

#[test]
fn other_names_and_shapes() -> cirio_nn::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("net.safetensors");
    write(&path, &BTreeMap::from(["a", "b"].map(|name| (name.to_owned(), Tensor::arange(0f32, 4.0, &Device::Cpu).expect("a tensor")))));
    let weights = Weights::open(&path)?;
    let renamed = weights.respelled(|name, _| (format!("net.{name}"), vec![2, 2]))?;
    assert_eq!(renamed.tensor("net.a", &Device::Cpu)?.to_vec2::<f32>()?, [[0.0, 1.0], [2.0, 3.0]]);
    assert!(renamed.tensor("a", &Device::Cpu).is_err());
    let error = weights.respelled(|name, _| (name.to_owned(), vec![3])).unwrap_err().to_string();
    assert!(error.contains("tensor `a` of [4] cannot be `a` of [3]"), "{error}");
    let error = weights.respelled(|_, shape| ("x".to_owned(), shape.to_vec())).unwrap_err().to_string();
    assert!(error.contains("two tensors would be `x`"), "{error}");
    Ok(())
}

#[test]
fn content_of_another_size_than_planned_is_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("net.safetensors");
    let plan = BTreeMap::from([("a".to_owned(), (safetensors::Dtype::F32, vec![2]))]);
    let error = files::write_streamed(&path, &plan, &BTreeMap::new(), |_, file| file.write_all(&[0; 4])).unwrap_err().to_string();
    assert!(error.contains("tensor `a` of 8 bytes came with 4"), "{error}");
    assert!(!path.exists());
}
