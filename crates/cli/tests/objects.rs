//! Training and evaluation of detectors by the command, on the forty scenes of the examples.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use cirio_nn::Weights;
use common::{fails, json, stdout};

const SCENES: &str = "examples/data/scenes";

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn a_detector_is_trained_gone_on_with_measured_and_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = path(folder.path(), "run");
    let few = ["--epochs", "2", "--batch", "10", "--accumulate", "2", "--augment", "hflip,photometric"];
    let document = json(&[&["train", "--model", "maskrcnn_small", "--data", SCENES, "--out", &run, "--json"][..], &few].concat());
    assert_eq!((document["run"].as_str(), document["epochs"].as_u64()), (Some(run.as_str()), Some(2)));
    let best = &document["best"];
    assert!(best["loss"].as_f64().is_some_and(f64::is_finite) && best["bbox_AP"].is_number() && best["segm_AP"].is_number(), "{best}");
    let config = fs::read_to_string(path(folder.path(), "run/config.toml")).expect("a configuration");
    assert!(config.contains("accumulate = 2") && config.contains("ankle-boot"), "{config}");
    let again = json(&["train", "--resume", &run, "--json"]);
    assert_eq!((&again["epochs"], &again["best"]), (&document["epochs"], best));

    let results = path(folder.path(), "results.json");
    let flags = ["eval", "--weights", &run, "--data", SCENES, "--split", "val", "--per-class", "--json"];
    let measured = json(&[&flags[..], &["--save-json", &results]].concat());
    assert_eq!(measured["model"], "maskrcnn_small");
    assert_eq!((measured["count"].as_u64(), measured["classes"].as_array().map(Vec::len)), (Some(10), Some(10)));
    for kind in ["bbox", "segm"] {
        let from_run = best[format!("{kind}_AP")].as_f64().expect("a number");
        assert!((measured[kind]["AP"].as_f64().expect("a number") - from_run).abs() < 1e-9, "{measured}");
    }
    // The file of results says the same, but for boxes that are rounded in it.
    let labels = format!("{SCENES}/annotations/instances_val.json");
    let from_file = json(&["eval", "--results", &results, "--data", &labels, "--json"]);
    for kind in ["bbox", "segm"] {
        let [a, b] = [&measured, &from_file].map(|document| document[kind]["AP50"].as_f64().expect("a number"));
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }

    let found = json(&["predict", "examples/images/scene.png", "--weights", &run, "--score", "0.01", "--json"]);
    assert_eq!(found["model"], "maskrcnn_small");

    assert_eq!(measured["skipped"], 0);
    let broken = path(folder.path(), "broken");
    json(&["data", "convert", SCENES, "--to", "yolo", "--out", &broken, "--json"]);
    let pictures = fs::read_dir(Path::new(&broken).join("images/val")).expect("pictures").flatten().map(|picture| picture.path());
    let mut pictures = pictures.collect::<Vec<_>>().into_iter();
    // One of no known size, and one whose pixels end too early.
    fs::write(pictures.next().expect("a picture"), "no picture").expect("written");
    let second = pictures.next().expect("a picture");
    let bytes = fs::read(&second).expect("read");
    fs::write(&second, &bytes[..bytes.len() / 2]).expect("written");
    let measured = json(&["eval", "--weights", &run, "--data", &broken, "--split", "val", "--kind", "boxes", "--json"]);
    assert_eq!((&measured["count"], &measured["skipped"]), (&8.into(), &2.into()), "{measured}");
}

#[test]
fn a_detector_begins_with_weights_of_other_classes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (run, next) = (path(folder.path(), "run"), path(folder.path(), "next"));
    let once = ["--epochs", "1", "--batch", "20"];
    json(&[&["train", "--model", "maskrcnn_small", "--data", SCENES, "--out", &run, "--json"][..], &once].concat());
    // The same pictures with one class for all.
    let other = folder.path().join("other");
    fs::create_dir_all(other.join("annotations")).expect("a folder");
    for part in ["train", "val"] {
        let text = fs::read_to_string(common::root().join(format!("{SCENES}/annotations/instances_{part}.json"))).expect("labels");
        let mut labels: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        labels["categories"] = serde_json::json!([{ "id": 7, "name": "thing" }]);
        labels["annotations"].as_array_mut().expect("objects").iter_mut().for_each(|object| object["category_id"] = 7.into());
        fs::write(other.join(format!("annotations/instances_{part}.json")), labels.to_string()).expect("written");
        let pictures = common::root().join(SCENES).join(part);
        fs::create_dir_all(other.join(part)).expect("a folder");
        for picture in fs::read_dir(pictures).expect("pictures").flatten() {
            fs::copy(picture.path(), other.join(part).join(picture.file_name())).expect("copied");
        }
    }
    let other = other.to_str().expect("a path").to_owned();
    let flags =
        ["train", "--model", "maskrcnn_small", "--data", &other, "--weights", &run, "--freeze", "backbone.body", "--out", &next, "--json"];
    let document = json(&[&flags[..], &once].concat());
    assert!(document["best"]["loss"].is_number(), "{document}");
    let found = json(&["predict", "examples/images/scene.png", "--weights", &next, "--score", "0.01", "--classes", "thing", "--json"]);
    let detections = found["predictions"][0]["detections"].as_array().expect("a list").clone();
    assert!(detections.iter().all(|detection| detection["name"] == "thing"), "{found}");
}

#[test]
fn a_detector_begins_with_weights_as_torchvision_spelt_them_before_2022() {
    let folder = tempfile::tempdir().expect("a folder");
    let today = common::root().join("weights/maskrcnn_small-scenes.safetensors");
    let file = Weights::open(&today).expect("weights");
    // Blocks had no number for their layers, and those of masks names.
    let before = |name: &str| match name.strip_prefix("roi_heads.mask_head.").and_then(|rest| rest.strip_suffix(".0.weight")) {
        Some(number) => format!("roi_heads.mask_head.mask_fcn{}.weight", number.parse::<usize>().expect("a number") + 1),
        None if name.contains("_blocks.") => name.replace(".0.weight", ".weight"),
        None => name.replace("rpn.head.conv.0.0.", "rpn.head.conv."),
    };
    let tensors: BTreeMap<String, Tensor> =
        file.shapes().keys().map(|name| (before(name), file.tensor(name, &Device::Cpu).expect("a tensor"))).collect();
    for name in ["backbone.fpn.inner_blocks.2.weight", "rpn.head.conv.bias", "roi_heads.mask_head.mask_fcn3.weight"] {
        assert!(tensors.contains_key(name), "{name}");
    }
    let old = path(folder.path(), "old.safetensors");
    cirio_nn::files::write_tensors(Path::new(&old), &tensors, file.metadata()).expect("written");
    let [today, old] = [("today", today.to_str().expect("a path")), ("old", &old)].map(|(name, weights)| {
        let run = path(folder.path(), name);
        let flags = ["train", "--model", "maskrcnn_small", "--data", SCENES, "--epochs", "1", "--batch", "20", "--out", &run, "--json"];
        json(&[&flags[..], &["--weights", weights]].concat())["best"].clone()
    });
    assert!(today["loss"].is_number() && today == old, "{today} {old}");
}

#[test]
fn what_makes_no_sense_is_said() {
    let train = |flags: &[&str]| -> Vec<String> {
        ["train", "--model", "maskrcnn_small", "--data", SCENES].iter().chain(flags).map(ToString::to_string).collect()
    };
    for (flags, code, words) in [
        (&["--mixup", "0.2"][..], 2, &["--mixup", "classifiers"][..]),
        (&["--find-lr"], 2, &["--find-lr", "classifiers"]),
        (&["--augment", "crop:2"], 2, &["--augment", "crop", "hflip"]),
        (&["--freeze", "conv9"], 1, &["--freeze conv9", "backbone"]),
        (&["--lr", "-1"], 2, &["-1"]),
        (&["--weights", "lenet5/fashion-mnist"], 1, &["lenet5"]),
    ] {
        let arguments = train(flags);
        fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), code, words);
    }
    // A bare name means the model's own weights, though seven models have some of this name.
    let published = ["train", "--model", "maskrcnn_resnet50_fpn", "--weights", "coco-v1", "--offline", "--data", SCENES];
    let folder = tempfile::tempdir().expect("a folder");
    let output = common::cirio().args(published).env("HOME", folder.path()).env("CIRIO_CACHE", folder.path()).output().expect("it starts");
    common::failed(&output, 1, &["maskrcnn_resnet50_fpn_coco"]);
    fails(&["train", "--model", "maskrcnn_small", "--data", "examples/data/fashion-small"], 1, &["no labels of objects"]);
    fails(&["eval", "--model", "maskrcnn_small", "--data", SCENES, "--split", "val", "--tta", "ten-crop"], 2, &["--tta", "flip"]);
    let lenet = ["eval", "--model", "lenet5", "--data", "examples/data/fashion-small"];
    for flags in [&["--save-json", "x.json"][..], &["--kind", "boxes"], &["--plot", "x.svg"], &["--frozen-bn-eps", "0"]] {
        fails(&[&lenet[..], flags].concat(), 2, &[flags[0], "detectors"]);
    }
    fails(&["bench", "--model", "maskrcnn_small", "--half-weights"], 2, &["--half-weights", "classifiers"]);
    let bench = json(&["bench", "--model", "maskrcnn_small", "--size", "96x128", "--seconds", "0", "--layers", "--json"]);
    assert!(bench["median_ms"].is_number() && bench["stages"].as_array().is_some_and(|stages| stages.len() >= 7), "{bench}");
    assert!(stdout(&["bench", "--model", "maskrcnn_small", "--size", "64x64", "--seconds", "0", "--train"]).contains("training step"));
}
