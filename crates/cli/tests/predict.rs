//! `cirio predict` on pictures of many kinds, and on things that are none.

mod common;

use std::fs;

use common::{cirio, failed, fails, json, root, run, stdout};

const BOOT: &str = "examples/images/ankle-boot.png";

#[test]
fn the_readmes_first_command() {
    let text = stdout(&["predict", BOOT, "--model", "lenet5"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], BOOT);
    assert!(lines[1].contains('%') && lines[1].to_lowercase().contains("boot"), "{text}");
    assert_eq!(lines.len(), 6, "five classes: {text}");
}

#[test]
fn the_document_has_probabilities_that_fall() {
    let document = json(&["predict", BOOT, "--model", "lenet5", "--weights", "fashion-mnist", "--top", "10", "--json"]);
    assert_eq!((document["model"].as_str(), document["weights"].as_str()), (Some("lenet5"), Some("lenet5/fashion-mnist")));
    let prediction = &document["predictions"][0];
    assert_eq!(prediction["path"], BOOT);
    let probabilities: Vec<f64> =
        prediction["classes"].as_array().expect("classes").iter().filter_map(|class| class["probability"].as_f64()).collect();
    assert_eq!(probabilities.len(), 10);
    assert!(probabilities.windows(2).all(|pair| pair[0] >= pair[1]));
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5);
}

#[test]
fn views_of_a_picture_are_averaged() {
    // The shipped weights for pictures that are cropped.
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("cropped.safetensors");
    let tensors = candle_core::safetensors::load(root().join("weights/lenet5-fashion-mnist.safetensors"), &candle_core::Device::Cpu);
    let preprocess = r#"{"channels":1,"resize":{"short-side":32},"crop":[28,28],"pad":2,"mean":[0.0784],"std":[0.7843]}"#;
    let texts = [("model", "lenet5"), ("preprocess", preprocess)].map(|(key, text)| (key.to_owned(), text.to_owned()));
    cirio_nn::files::write_tensors(&weights, &tensors.expect("weights").into_iter().collect(), &texts.into()).expect("written");
    let weights = weights.to_str().expect("a path");
    let of = |tta: &str| {
        let document = json(&["predict", BOOT, "--weights", weights, "--tta", tta, "--top", "10", "--json"]);
        let classes = document["predictions"][0]["classes"].as_array().expect("classes").clone();
        let sum: f64 = classes.iter().filter_map(|class| class["probability"].as_f64()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{tta}: {sum}");
        (classes[0]["index"].as_u64(), classes[0]["probability"].as_f64().expect("a share"))
    };
    let (none, flip, ten) = (of("none"), of("flip"), of("ten-crop"));
    assert_eq!((none.0, flip.0, ten.0), (Some(9), Some(9), Some(9)), "a boot");
    assert!(none.1 != flip.1 && flip.1 != ten.1);
    fails(&["predict", BOOT, "--weights", "lenet5/fashion-mnist", "--tta", "ten-crop"], 2, &["--tta", "ten crops"]);
}

#[test]
fn every_model_and_its_weights_know_their_pictures() {
    for (weights, image, name) in [
        ("lenet5/fashion-mnist", "trouser.png", "trouser"),
        ("lenet5_paper/fashion-mnist", "trouser.png", "trouser"),
        ("lenet5/mnist", "digit-7.png", "7"),
    ] {
        let document = json(&["predict", &format!("examples/images/{image}"), "--weights", weights, "--json"]);
        let found = document["predictions"][0]["classes"][0]["name"].as_str().expect("a name").to_lowercase();
        assert_eq!(found, name, "{weights}");
    }
}

#[test]
fn a_folder_and_a_path_to_weights() {
    let folder = root().join("examples/data/fashion-small/val/bag");
    let folder = folder.to_str().expect("a path");
    let weights = root().join("weights/lenet5-fashion-mnist.safetensors");
    let by_path = json(&["predict", folder, "--weights", weights.to_str().expect("a path"), "--json"]);
    let by_name = json(&["predict", folder, "--weights", "lenet5/fashion-mnist", "--json"]);
    assert_eq!(by_path["predictions"], by_name["predictions"]);
    assert_eq!(by_name["predictions"].as_array().map(Vec::len), Some(10));
}

#[test]
fn other_sizes_and_kinds_of_pictures_give_an_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let boot = cirio_vision::Image::open(root().join(BOOT)).expect("the picture");
    let large = cirio_vision::resize(&boot.to_rgb(), 301, 197).expect("a larger one");
    let path = folder.path().join("large.png");
    large.save(&path).expect("written");
    let document = json(&["predict", path.to_str().expect("a path"), "--json"]);
    assert_eq!(document["predictions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_no_picture_is_named_and_the_others_are_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    fs::write(path("text.png"), "not a picture").expect("written");
    let whole = fs::read(root().join(BOOT)).expect("the picture");
    fs::write(path("half.png"), &whole[..whole.len() / 2]).expect("written");
    for bad in ["text.png", "half.png", "missing.png"] {
        let output = run(&["predict", &path(bad), BOOT, "--json"]);
        assert_eq!(output.status.code(), Some(1), "{bad}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(bad) && error.contains("1 of 2 pictures could not be read"), "{error}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
        assert_eq!(document["predictions"][0]["path"], BOOT);
    }
}

#[test]
fn wrong_weights_are_one_clear_line() {
    fails(&["predict", BOOT, "--weights", "fashion-mist"], 1, &["fashion-mist", "fashion-mnist"]);
    fails(&["predict", BOOT, "--weights", "nowhere.safetensors"], 1, &["nowhere.safetensors"]);
    fails(&["predict", BOOT, "--model", "lenet9"], 1, &["lenet9"]);
    let paper = root().join("weights/lenet5_paper-fashion-mnist.safetensors");
    let folder = tempfile::tempdir().expect("a folder");
    // The same file under another name is not in the manifest, but says which model it is for.
    let copy = folder.path().join("copy.safetensors");
    fs::copy(paper, &copy).expect("copied");
    let copy = copy.to_str().expect("a path");
    assert!(stdout(&["predict", BOOT, "--weights", copy]).contains('%'));
    let bytes = fs::read(copy).expect("read");
    fs::write(copy, &bytes[..bytes.len() - 100]).expect("written");
    fails(&["predict", BOOT, "--weights", copy], 1, &["copy.safetensors"]);
}

#[test]
fn a_device_that_is_not_built_in_is_refused() {
    if !cfg!(feature = "cuda") {
        fails(&["predict", BOOT, "--device", "cuda"], 1, &["cuda:0", "feature `cuda`"]);
    }
    fails(&["predict", BOOT, "--device", "gpu"], 2, &["`gpu` is no device"]);
}

#[test]
fn it_works_from_any_folder() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let boot = root().join(BOOT);
    let output = cirio().current_dir(elsewhere.path()).arg("predict").arg(&boot).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let empty = elsewhere.path().join("empty");
    fs::create_dir(&empty).expect("made");
    let output = cirio().arg("predict").arg(&empty).output().expect("starts");
    failed(&output, 1, &["no pictures in the folder"]);
}
