//! `cirio predict` with detectors: documents, drawings, flags, and weights that do not fit.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};
use cirio_nn::{Store, Weights};
use cirio_vision::Image;
use common::{cirio, fails, json, root, stdout, text};
use serde_json::Value;

const SCENE: &str = "examples/images/shapes.png";
const CLASSES: &str = r#"["background","cat","dog","cat"]"#;

/// Weights of a small detector of four classes as they are drawn, with names.
fn weights(model: &str) -> &'static str {
    static FILES: OnceLock<(tempfile::TempDir, BTreeMap<&str, String>)> = OnceLock::new();
    let (_, files) = FILES.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |model: &'static str| {
            let path = folder.path().join(format!("{model}.safetensors"));
            let store = Store::new(3, DType::F32, &Device::Cpu);
            cirio::find_detector(model).expect("a model").config(4).build(store.var_builder()).expect("a detector");
            let texts = [("model", model), ("classes", CLASSES)].map(|(key, text)| (key.to_owned(), text.to_owned()));
            store.save(&path, &texts.into()).expect("written");
            (model, path.to_str().expect("a path").to_owned())
        };
        let files = ["fasterrcnn_resnet18_fpn", "maskrcnn_resnet18_fpn", "keypointrcnn_resnet50_fpn"].map(write).into();
        (folder, files)
    });
    &files[model]
}

fn mask() -> &'static str {
    weights("maskrcnn_resnet18_fpn")
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a path").to_owned()
}

fn objects(document: &Value) -> &Vec<Value> {
    document["predictions"][0]["detections"].as_array().expect("detections")
}

#[test]
fn the_document_and_the_drawing() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "drawn");
    let flags = ["--weights", mask(), "--score", "0.1", "--max-detections", "3", "--json"];
    let document = json(&[&["predict", SCENE, "--out", &out][..], &flags].concat());
    assert_eq!(document["model"], "maskrcnn_resnet18_fpn");
    let scene = Image::open(root().join(SCENE)).expect("the picture");
    let (width, height) = (scene.width(), scene.height());
    assert_eq!(document["predictions"][0]["size"], serde_json::json!([width, height]));
    let found = objects(&document);
    assert_eq!(found.len(), 3, "{document}");
    for object in found {
        let edges: Vec<f64> = object["box"].as_array().expect("a box").iter().filter_map(Value::as_f64).collect();
        let &[left, upper, right, lower] = edges.as_slice() else { panic!("{object}") };
        assert!(0.0 <= left && left < right && right <= width as f64 && 0.0 <= upper && upper < lower && lower <= height as f64);
        assert_eq!(object["name"], ["background", "cat", "dog", "cat"][object["label"].as_u64().expect("a label") as usize]);
        assert_eq!(object["mask"]["size"], serde_json::json!([height, width]));
        let counts = object["mask"]["counts"].as_str().expect("runs");
        assert!(cirio_detection::Rle::from_text([height, width], counts).is_ok());
    }
    let scores: Vec<f64> = found.iter().filter_map(|object| object["score"].as_f64()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|&score| score > 0.1), "{scores:?}");
    let drawn = Image::open(path(Path::new(&out), "shapes.png")).expect("a drawing");
    assert_eq!((drawn.width(), drawn.height()), (width, height));
    assert_ne!(drawn, scene.to_rgb());
    assert_eq!(document["predictions"][0]["drawn"], path(Path::new(&out), "shapes.png"));
}

#[test]
fn points_are_in_the_document_and_in_the_lines() {
    let weights = weights("keypointrcnn_resnet50_fpn");
    let flags = ["predict", SCENE, "--weights", weights, "--score", "0.05", "--max-detections", "2"];
    let document = json(&[&flags[..], &["--json"]].concat());
    assert_eq!(document["keypoint_names"].as_array().map(Vec::len), Some(17));
    assert_eq!(document["keypoint_names"][9], "left_wrist");
    let found = objects(&document);
    assert_eq!(found.len(), 2, "{document}");
    for object in found {
        let edges: Vec<f64> = object["box"].as_array().expect("a box").iter().filter_map(Value::as_f64).collect();
        let points = object["keypoints"].as_array().expect("key points");
        assert!(points.len() == 17 && object.get("mask").is_none());
        for point in points {
            let numbers: Vec<f64> = point.as_array().expect("a point").iter().filter_map(Value::as_f64).collect();
            let &[x, y, _] = numbers.as_slice() else { panic!("{point}") };
            assert!(edges[0] <= x && x <= edges[2] && edges[1] <= y && y <= edges[3], "{object}");
        }
    }
    let lines = stdout(&flags);
    assert!(lines.contains(" of 17 points"), "{lines}");
    fails(&["predict", SCENE, "--model", "keypointrcnn_resnet50_fpn", "--weights", mask()], 1, &["do not fit the model", "missing"]);
    json(&["predict", SCENE, "--model", "fasterrcnn_resnet50_fpn", "--weights", weights, "--json"]);
}

#[test]
fn classes_and_the_number_of_detections() {
    let flags = ["predict", SCENE, "--weights", mask(), "--score", "0.05"];
    let document = json(&[&flags[..], &["--classes", "cat", "--max-detections", "2", "--json"]].concat());
    assert!(objects(&document).len() <= 2 && objects(&document).iter().all(|object| object["name"] == "cat"), "{document}");
    let none = json(&["predict", SCENE, "--weights", mask(), "--score", "0.99", "--json"]);
    assert!(objects(&none).is_empty(), "nothing is an answer too");
    let lines = stdout(&["predict", SCENE, "--weights", mask(), "--score", "0.99"]);
    assert_eq!(lines, format!("{SCENE}\n  nothing over 99 %\n"));
    fails(&[&flags[..], &["--classes", "cow"]].concat(), 2, &["no class `cow`", "cat, dog"]);
    fails(&[&flags[..], &["--score", "1.5"]].concat(), 2, &["--score"]);
    fails(&[&flags[..], &["--top", "3"]].concat(), 2, &["--top is for classifiers", "maskrcnn_resnet18_fpn"]);
}

/// Masks change the order of what `maskrcnn_small` finds, and the first are taken behind that.
#[test]
fn the_first_detections_are_the_first_of_all() {
    let scene = "examples/images/scene.png";
    let found = |most: &str| {
        let flags = ["predict", scene, "--model", "maskrcnn_small", "--score", "0.02", "--max-detections", most, "--json"];
        objects(&json(&flags)).to_vec()
    };
    let all = found("100");
    assert!(all.len() > 8, "{all:?}");
    for most in (1..all.len()).step_by(3) {
        assert_eq!(found(&most.to_string()), all[..most], "{most}");
    }
}

#[test]
fn pictures_get_the_size_that_a_run_was_trained_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = Weights::open(weights("fasterrcnn_resnet18_fpn")).expect("weights");
    let tensors: BTreeMap<String, Tensor> =
        file.shapes().keys().map(|name| (name.clone(), file.tensor(name, &Device::Cpu).expect("a tensor"))).collect();
    let transform = cirio::find_detector("fasterrcnn_resnet18_fpn").expect("a model").config(4).transform;
    // The last of the shorter sides is that of evaluation.
    let found = |short_sides: &[usize], longest: usize| {
        let sizes = serde_json::json!({ "short_sides": short_sides, "longest": longest, "augment": [] });
        let mut texts = file.metadata().clone();
        texts.insert("objects".into(), sizes.to_string());
        let path = path(folder.path(), "sized.safetensors");
        cirio_nn::files::write_tensors(Path::new(&path), &tensors, &texts).expect("written");
        objects(&json(&["predict", SCENE, "--weights", &path, "--score", "0.05", "--json"])).clone()
    };
    let usual = objects(&json(&["predict", SCENE, "--weights", weights("fasterrcnn_resnet18_fpn"), "--score", "0.05", "--json"])).clone();
    assert_eq!(found(&transform.short_sides, transform.longest), usual);
    let small = found(&[96], 128);
    assert_ne!(small, usual);
    assert_eq!(found(&[64, 96], 128), small);
    assert_ne!(found(&[96], 100), small, "the longer side counts too");
}

#[test]
fn weights_of_the_other_model() {
    let faster = weights("fasterrcnn_resnet18_fpn");
    let document = json(&["predict", SCENE, "--model", "fasterrcnn_resnet18_fpn", "--weights", mask(), "--score", "0.1", "--json"]);
    assert!(objects(&document).iter().all(|object| object.get("mask").is_none()));
    fails(&["predict", SCENE, "--model", "maskrcnn_resnet18_fpn", "--weights", faster], 1, &["missing", "roi_heads.mask_head.0.0.weight"]);
    fails(&["predict", SCENE, "--model", "maskrcnn_resnet18_fpn", "--weights", "lenet5/fashion-mnist"], 1, &["lenet5", "not for"]);
    let lenet = root().join("weights/lenet5-mnist.safetensors");
    fails(&["predict", SCENE, "--model", "lenet5", "--weights", faster], 1, &["fasterrcnn_resnet18_fpn", "not for lenet5"]);
    fails(&["predict", SCENE, "--model", "fasterrcnn_resnet18_fpn", "--weights", lenet.to_str().expect("a path")], 1, &["lenet5"]);
    fails(&["predict", SCENE, "--weights", faster, "--frozen-bn-eps", "2"], 2, &["--frozen-bn-eps"]);
    fails(&["predict", "examples/images/bag.png", "--model", "lenet5", "--out", "nowhere"], 2, &["--out is for detectors"]);
}

#[test]
fn detectors_are_listed_and_described() {
    let models = |task: &str| json(&["list", "--task", task, "--json"])["models"].as_array().expect("models").clone();
    assert!(models("detect").iter().all(|model| model["name"].as_str().is_some_and(|name| name.starts_with("fasterrcnn"))));
    let segment = models("segment");
    let mask = segment.iter().find(|model| model["name"] == "maskrcnn_resnet50_fpn").expect("the model");
    assert_eq!(mask["params"], 44_401_393);
    assert_eq!(mask["weights"][0]["mask_ap"], 0.346);
    assert_eq!(json(&["info", "fasterrcnn_resnet50_fpn_v2", "--json"])["params"], 43_712_278);
    assert!(stdout(&["info", "maskrcnn_resnet50_fpn/coco-v1"]).contains("AP of masks    34.6"));
    let [keypoints]: [Value; 1] = models("keypoints").try_into().expect("one model");
    assert_eq!((&keypoints["name"], &keypoints["params"]), (&"keypointrcnn_resnet50_fpn".into(), &59_137_258.into()));
    assert_eq!((&keypoints["weights"][0]["keypoint_ap"], &keypoints["classes"]), (&0.65.into(), &2.into()));
    let legacy = stdout(&["info", "keypointrcnn_resnet50_fpn/coco-legacy"]);
    assert!(legacy.contains("AP of points   61.1") && legacy.contains("an eps of 0.00001"), "{legacy}");
    let table = json(&["summary", "maskrcnn_resnet50_fpn", "--input", "3x800x1088", "--json"]);
    assert_eq!(table["layers"].as_array().and_then(|layers| layers.last()).expect("a layer")["output"], serde_json::json!([2048, 25, 34]));
}

/// Slow and small pictures, as strange as they come.
#[test]
fn pictures_of_all_kinds() {
    let folder = tempfile::tempdir().expect("a folder");
    for (width, height) in [(1, 1), (1, 2000), (20_000, 3)] {
        Image::filled(width, height, 1, 90)
            .and_then(|image| image.save(folder.path().join(format!("{width}.{height}.png"))))
            .expect("written");
    }
    let out = path(folder.path(), "out");
    let pattern = path(folder.path(), "*.png");
    let document =
        json(&["predict", &pattern, "--weights", weights("fasterrcnn_resnet18_fpn"), "--score", "0.01", "--out", &out, "--json"]);
    let sizes: Vec<&Value> =
        document["predictions"].as_array().expect("predictions").iter().map(|prediction| &prediction["size"]).collect();
    assert_eq!(sizes, [&serde_json::json!([1, 1]), &serde_json::json!([1, 2000]), &serde_json::json!([20_000, 3])]);
    assert_eq!(Image::dimensions(path(Path::new(&out), "20000.3.png")).expect("a drawing"), (20_000, 3));
}

#[test]
fn standard_input_and_files_that_are_not_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = Image::filled(40, 30, 3, 50).expect("a picture");
    let file = path(folder.path(), "a.png");
    small.save(&file).expect("written");
    let bytes = fs::read(&file).expect("read");
    let out = folder.path().to_str().expect("a path");
    let mut child = cirio()
        .args(["predict", "-", &file, "--weights", weights("fasterrcnn_resnet18_fpn"), "--out", out])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("a pipe").write_all(&bytes).expect("sent");
    let said = text(child.wait_with_output().expect("ends"));
    assert!(said.contains("- → ") && said.contains("a-2.png"), "{said}");
    assert_eq!(fs::read(&file).expect("read"), bytes, "the picture is as it was");
    for name in ["stdin.png", "a-2.png"] {
        assert!(PathBuf::from(path(folder.path(), name)).is_file(), "{name}");
    }
    fails(&["predict", &path(folder.path(), "*.jpg"), "--weights", weights("fasterrcnn_resnet18_fpn")], 1, &["no file matches"]);
}

/// The picture and its mirror image show the same articles, a little otherwise.
#[test]
fn the_mirror_image_has_a_say() {
    let predict = |tta: &str| json(&["predict", "examples/images/scene.png", "--model", "maskrcnn_small", "--tta", tta, "--json"]);
    let (one, both) = (predict("none"), predict("flip"));
    let names = |document: &Value| -> Vec<String> {
        let mut names: Vec<String> = objects(document).iter().map(|object| object["name"].to_string()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    assert_eq!(names(&one), names(&both));
    let moved = |object: &Value| objects(&both).iter().all(|other| object["box"] != other["box"]);
    assert!(objects(&one).iter().all(moved), "{one} {both}");
    let scenes = ["eval", "--model", "maskrcnn_small", "--data", "examples/data/scenes", "--split", "val", "--json", "--tta"];
    let measure = |tta: &str| json(&[&scenes[..], &[tta]].concat())["bbox"].clone();
    let (one, both) = (measure("none"), measure("flip"));
    assert!(one["AP"] != both["AP"] && both["AP50"].as_f64().is_some_and(|ap| ap > 0.6), "{one} {both}");
    fails(&["predict", SCENE, "--model", "maskrcnn_small", "--tta", "ten-crop"], 2, &["--tta ten-crop", "flip"]);
}
