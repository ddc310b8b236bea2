//! `cirio convert`, and weights that come from elsewhere.

mod common;

use std::collections::BTreeMap;
use std::fs;

use candle_core::{DType, Device};
use cirio_nn::Store;
use common::{fails, json, root, stdout};

const BOOT: &str = "examples/images/ankle-boot.png";
const CHECKPOINT: &str = "crates/hub/tests/torch/checkpoint.pth";

#[test]
fn a_checkpoint_of_torch_as_a_table_and_as_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.safetensors");
    let out = out.to_str().expect("a path");
    let text = stdout(&["convert", CHECKPOINT, out]);
    assert!(text.contains("0.weight") && text.contains("[2, 1, 2, 2]  from module.0.weight"), "{text}");
    assert!(
        text.contains("left out: optimizer") && text.contains("(torch zip archive, entry model, `module.` taken from the names)"),
        "{text}"
    );
    assert!(text.contains("7 tensors, 19 values"), "{text}");
    let document = json(&["convert", CHECKPOINT, out, "--key", "model", "--half", "--json"]);
    assert_eq!((document["key"].as_str(), document["values"].as_u64()), (Some("model"), Some(19)));
    assert_eq!(
        document["tensors"][1],
        serde_json::json!({"name": "0.weight", "from": "module.0.weight", "dtype": "F16", "shape": [2, 1, 2, 2]})
    );
    assert_eq!(document["missing"], serde_json::Value::Null, "without a model nothing is missing");
    let document = json(&["convert", CHECKPOINT, out, "--model", "lenet5", "--json"]);
    assert_eq!((document["missing"].as_array().map(Vec::len), document["unused"].as_array().map(Vec::len)), (Some(10), Some(7)));
}

#[test]
fn what_cannot_be_converted_is_one_line() {
    fails(
        &["convert", "crates/hub/tests/torch/model.pth", "never.safetensors"],
        1,
        &["model.pth", "torch.nn.modules.linear.Linear", "state_dict"],
    );
    fails(&["convert", BOOT, "never.safetensors"], 1, &["ankle-boot.png", "neither a zip archive nor"]);
    fails(&["convert", "nothing.pth", "never.safetensors"], 1, &["nothing.pth"]);
    fails(&["convert", CHECKPOINT, "never.safetensors", "--key", "x"], 1, &["no entry \"x\""]);
    fails(&["convert", CHECKPOINT, "never.safetensors", "--model", "x"], 1, &["no model `x`"]);
    fails(&["convert", "crates/hub/tests/torch", "never.safetensors"], 1, &["crates/hub/tests/torch"]);
    assert!(!root().join("never.safetensors").exists());
}

#[test]
fn half_the_size_and_the_same_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("half.safetensors");
    let document = json(&[
        "convert",
        "weights/lenet5-fashion-mnist.safetensors",
        out.to_str().expect("a path"),
        "--half",
        "--model",
        "lenet5",
        "--json",
    ]);
    assert_eq!(
        (&document["missing"], &document["unused"], &document["mismatched"]),
        (&serde_json::json!([]), &serde_json::json!([]), &serde_json::json!([]))
    );
    let bytes = |path: &std::path::Path| fs::metadata(path).expect("a file").len();
    assert!(bytes(&out) < bytes(&root().join("weights/lenet5-fashion-mnist.safetensors")) * 6 / 10);
    let answer = |weights: &str| {
        json(&["predict", BOOT, "--model", "lenet5", "--weights", weights, "--json"])["predictions"][0]["classes"][0]["name"].clone()
    };
    assert_eq!(answer(out.to_str().expect("a path")), answer("fashion-mnist"));
}

/// A file that says nothing of itself, under the names that `DataParallel` gives.
#[test]
fn the_number_of_classes_is_read_from_the_last_layer() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plain, wrapped) = (folder.path().join("plain.safetensors"), folder.path().join("wrapped.safetensors"));
    let store = Store::new(1, DType::F32, &Device::Cpu);
    cirio::find("lenet5").expect("a model").layers(3).build(store.var_builder()).expect("a network");
    store.save(&plain, &BTreeMap::new()).expect("saved");
    let names = store.tensors().into_iter().map(|(name, tensor)| (format!("module.{name}"), tensor)).collect();
    cirio_nn::files::write_tensors(&wrapped, &names, &BTreeMap::new()).expect("saved");
    let classes = |path: &std::path::Path| {
        let document = json(&["predict", BOOT, "--model", "lenet5", "--weights", path.to_str().expect("a path"), "--json"]);
        document["predictions"][0]["classes"].clone()
    };
    assert_eq!(classes(&plain).as_array().map(Vec::len), Some(3));
    assert_eq!(classes(&wrapped), classes(&plain));
    let document = json(&["convert", wrapped.to_str().expect("a path"), plain.to_str().expect("a path"), "--model", "lenet5", "--json"]);
    assert_eq!((&document["mismatched"], &document["missing"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert_eq!(classes(&plain).as_array().map(Vec::len), Some(3));
}
