//! The verb bench.

mod common;

use std::path::Path;

use common::{fails, json, stdout};

const QUICK: [&str; 3] = ["bench", "--seconds", "0.01"];

fn quick<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&QUICK[..], arguments].concat()
}

#[test]
fn a_forward_pass_and_a_training_step_are_timed() {
    for train in [&[][..], &["--train"]] {
        let document = json(&[&quick(&["--model", "cs231n_cifar", "--batch", "4", "--threads", "1", "--json"])[..], train].concat());
        assert_eq!((&document["batch"], &document["threads"], &document["train"]), (&4.into(), &1.into(), &(!train.is_empty()).into()));
        for number in ["median_ms", "best_ms", "gflops", "peak_gflops", "peak_share"] {
            assert!(document[number].as_f64().expect("a number") > 0.0, "{number}");
        }
        assert!(document["runs"].as_u64() >= Some(3));
        assert!(document.get("layers").is_none());
    }
    let text = stdout(&quick(&["--model", "cs231n_cifar"]));
    assert!(text.contains("median") && text.contains("% of the processor's"), "{text}");
}

#[test]
fn layers_stand_in_order_with_shares_that_add_up() {
    let document = json(&quick(&["--model", "cs231n_cifar", "--layers", "--json"]));
    let layers = document["layers"].as_array().expect("layers");
    let names: Vec<&str> = layers.iter().filter_map(|layer| layer["name"].as_str()).collect();
    assert_eq!(names[..3], ["features.0", "features.2", "features.4"], "ReLU is part of the convolution before it");
    assert_eq!(names[names.len() - 2..], ["flatten", "classifier"]);
    assert_eq!((&layers[2]["kind"], &layers[2]["output"]), (&"max pool 2×2".into(), &serde_json::json!([10, 16, 16])));
    let shares: f64 = layers.iter().filter_map(|layer| layer["share"].as_f64()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    assert!(layers[0]["gflops"].as_f64() > Some(0.0) && layers[2]["gflops"].as_f64() == Some(0.0));
    let text = stdout(&quick(&["--model", "cs231n_cifar", "--layers"]));
    assert!(text.contains("conv 3×3, padding 1") && text.contains("10×32×32"), "{text}");
}

#[test]
fn weights_and_pictures_can_be_given_and_the_output_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (input, weights, output) = (path("images.safetensors"), "weights/lenet5-fashion-mnist.safetensors", path("logits.safetensors"));
    write_floats(Path::new(&input), "images", &[2, 1, 32, 32], |index| (index % 7) as f32 / 7.0);
    let given = ["--model", "lenet5", "--weights", weights, "--input", &input, "--output", &output, "--json"];
    assert_eq!(json(&quick(&given))["batch"], 2);
    let first = std::fs::read(&output).expect("logits");
    let header = String::from_utf8_lossy(&first);
    assert!(header.contains("\"logits\"") && header.contains("[2,10]"), "{header}");
    json(&quick(&given));
    assert_eq!(first, std::fs::read(&output).expect("logits"), "the same weights and pictures give the same logits");
}

#[test]
fn what_does_not_fit_is_one_clear_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pictures.safetensors").display().to_string();
    write_floats(Path::new(&path), "pictures", &[1, 3, 32, 32], |_| 0.0);
    fails(&["bench", "--model", "vgg99"], 1, &["no model `vgg99`", "lenet5", "resnet50"]);
    fails(&["bench", "--model", "cs231n_cifar", "--input", &path], 1, &["images"]);
    fails(&["bench", "--model", "cs231n_cifar", "--weights", &path], 1, &["missing: classifier.bias", "unused: pictures"]);
    fails(&["bench", "--model", "cs231n_cifar", "--input", &path, "--batch", "2"], 2, &["--batch"]);
    fails(&["bench", "--model", "cs231n_cifar", "--layers", "--train"], 2, &["--train"]);
    fails(&["bench", "--model", "cs231n_cifar", "--seconds", "-1"], 2, &["seconds"]);
}

/// A safetensors file with one tensor.
fn write_floats(path: &Path, name: &str, shape: &[usize], value: fn(usize) -> f32) {
    let count = shape.iter().product();
    let header = serde_json::json!({ name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * count]} }).to_string();
    let header = format!("{header:width$}", width = header.len().next_multiple_of(8));
    let values = (0..count).flat_map(|index| value(index).to_le_bytes());
    let bytes: Vec<u8> = (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(values).collect();
    std::fs::write(path, bytes).expect("a file");
}
