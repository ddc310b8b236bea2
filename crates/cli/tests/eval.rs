//! `cirio eval`: on runs made here, and on the weights that are shipped.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{fails, json, root, run, stdout};
use serde_json::Value;

const SMALL: &str = "examples/data/fashion-small";
const WEIGHTS: &str = "lenet5/fashion-mnist";

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a path").to_owned()
}

/// Copies these classes of the small data set's validation pictures to `to`, under these names.
fn classes(to: &Path, names: &[(&str, &str)]) {
    for (class, name) in names {
        let (from, to) = (root().join(SMALL).join("val").join(class), to.join(name));
        fs::create_dir_all(&to).expect("made");
        for picture in pictures(&from) {
            fs::copy(&picture, to.join(picture.file_name().expect("a name"))).expect("copied");
        }
    }
}

fn pictures(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn number(document: &Value, key: &str) -> f64 {
    document[key].as_f64().unwrap_or_else(|| panic!("no {key} in {document}"))
}

#[test]
fn a_runs_numbers_are_its_best_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "run");
    let recipe = ["--epochs", "2", "--batch", "50", "--ema", "0.9", "--lr", "0.02"];
    let trained = json(&[&["train", "--data", SMALL, "--out", &out, "--json"], &recipe[..]].concat());
    let measured = json(&["eval", "--weights", &out, "--data", SMALL, "--split", "val", "--batch", "50", "--json"]);
    for key in ["count", "accuracy", "top5"] {
        assert_eq!(trained["best"][key], measured[key], "{key}");
    }
    // Folded and packed weights: other sums of the same numbers.
    assert!((number(&trained["best"], "loss") - number(&measured, "loss")).abs() < 1e-6);
    assert_eq!((measured["model"].as_str(), measured["data"].as_str()), (Some("lenet5"), Some(SMALL)));
    assert_eq!(measured["skipped"], 0);
    // Other batches: other sums of the same numbers.
    let measured = json(&["eval", "--weights", &out, "--data", SMALL, "--split", "val", "--batch", "7", "--json"]);
    assert!((number(&trained["best"], "loss") - number(&measured, "loss")).abs() < 1e-5);
}

#[test]
fn a_held_out_part_is_found_again_by_its_seed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, out) = (folder.path().join("set"), path(folder.path(), "run"));
    classes(&data, &[("bag", "bag"), ("coat", "coat")]);
    let data = data.to_str().expect("a path");
    let recipe = ["--epochs", "1", "--ema", "0", "--seed", "5", "--val-fraction", "0.3"];
    let trained = json(&[&["train", "--data", data, "--out", &out, "--json"], &recipe[..]].concat());
    let same = ["--split", "val", "--val-fraction", "0.3", "--seed", "5", "--batch", "8", "--json"];
    let measured = json(&[&["eval", "--weights", &out, "--data", data], &same[..]].concat());
    assert_eq!((&measured["count"], &measured["count"]), (&trained["best"]["count"], &6.into()));
    assert!((number(&trained["best"], "loss") - number(&measured, "loss")).abs() < 1e-6);
    // The run knows them itself, and flags say otherwise.
    let by_itself = json(&["eval", "--weights", &out, "--data", data, "--split", "val", "--batch", "8", "--json"]);
    assert_eq!(by_itself, measured);
    let other = ["--split", "val", "--val-fraction", "0.5", "--seed", "6", "--json"];
    assert_eq!(json(&[&["eval", "--weights", &out, "--data", data], &other[..]].concat())["count"], 10);
}

#[test]
fn views_of_each_picture_are_averaged() {
    let usual = json(&["eval", "--weights", WEIGHTS, "--data", SMALL, "--split", "val", "--json"]);
    let of = |tta: &str, batch: &str| {
        json(&["eval", "--weights", WEIGHTS, "--data", SMALL, "--split", "val", "--tta", tta, "--batch", batch, "--json"])
    };
    assert_eq!(of("none", "128"), usual);
    let flipped = of("flip", "128");
    assert_eq!(flipped["count"], 100);
    assert!(number(&flipped, "accuracy") > 0.75 && flipped["loss"] != usual["loss"], "{flipped}");
    // One picture a pass: other sums of the same numbers.
    assert!((number(&flipped, "loss") - number(&of("flip", "1"), "loss")).abs() < 1e-5);
    fails(
        &["eval", "--weights", WEIGHTS, "--data", SMALL, "--tta", "ten-crop"],
        2,
        &["--tta", "ten crops need a preprocessing that crops"],
    );
    fails(&["eval", "--weights", WEIGHTS, "--data", SMALL, "--tta", "many"], 2, &["many", "ten-crop"]);
}

#[test]
fn what_is_printed() {
    let small = json(&["eval", "--weights", WEIGHTS, "--data", SMALL, "--split", "val", "--per-class", "--json"]);
    assert!(number(&small, "accuracy") > 0.8, "{small}");
    assert!(number(&small, "accuracy") <= number(&small, "top5"));
    let classes = small["classes"].as_array().expect("classes");
    assert_eq!(classes.len(), 10);
    let right: f64 = classes.iter().map(|class| number(class, "recall") * number(class, "count")).sum();
    assert!((right - number(&small, "accuracy") * number(&small, "count")).abs() < 1e-6, "{small}");
    let text = stdout(&["eval", "--weights", WEIGHTS, "--data", SMALL, "--split", "val", "--per-class"]);
    assert!(text.contains("100 pictures") && text.contains(&format!("{:.2} %", 100.0 * number(&small, "accuracy"))), "{text}");
    assert!(text.lines().count() >= 4 + 1 + 10, "{text}");
    // The test part of a folder that has none is its val/.
    assert_eq!(json(&["eval", "--weights", WEIGHTS, "--data", SMALL, "--json"])["loss"], small["loss"]);
}

#[test]
fn classes_are_told_apart_by_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    // Two of ten: numbered as the first two of the network they would all be wrong.
    let some = folder.path().join("some");
    for part in ["train", "test"] {
        classes(&some.join(part), &[("bag", "bag"), ("trouser", "trouser")]);
    }
    let measured = json(&["eval", "--weights", WEIGHTS, "--data", some.to_str().expect("a path"), "--json"]);
    assert_eq!(measured["count"], 20);
    assert!(number(&measured, "accuracy") > 0.8, "{measured}");
    for part in ["train", "test"] {
        classes(&some.join(part), &[("coat", "cloak")]);
    }
    fails(&["eval", "--weights", WEIGHTS, "--data", some.to_str().expect("a path")], 1, &["other classes", "cloak", "trouser"]);
}

#[test]
fn a_part_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    classes(folder.path(), &[("bag", "bag"), ("coat", "coat")]);
    let data = folder.path().to_str().expect("a path");
    fails(&["eval", "--weights", WEIGHTS, "--data", data], 1, &["neither a part test nor a part val", "split val"]);
    fails(&["eval", "--weights", WEIGHTS, "--data", &path(folder.path(), "missing")], 1, &["missing"]);
    fails(&["eval", "--weights", WEIGHTS], 2, &["--data"]);
    fails(&["eval", "--weights", WEIGHTS, "--data", SMALL, "--batch", "0"], 2, &["--batch"]);
    fails(&["eval", "--weights", data, "--data", SMALL], 1, &[data]);
}

#[test]
fn an_unreadable_picture_is_left_out_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("set");
    for part in ["train", "test"] {
        classes(&data.join(part), &[("bag", "bag"), ("coat", "coat")]);
    }
    let one = &pictures(&data.join("test/bag"))[0];
    let bytes = fs::read(one).expect("read");
    fs::write(one, &bytes[..bytes.len() / 2]).expect("written");
    fs::write(data.join("test/coat/broken.png"), "no picture").expect("written");
    let data = data.to_str().expect("a path");
    let output = run(&["eval", "--weights", WEIGHTS, "--data", data, "--json"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(error.contains("broken.png") && error.contains(&*one.file_name().expect("a name").to_string_lossy()), "{error}");
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!((&document["count"], &document["skipped"]), (&19.into(), &2.into()), "{document}");
    fails(&["eval", "--weights", WEIGHTS, "--data", data, "--strict"], 1, &["broken.png"]);
    fs::remove_file(Path::new(data).join("test/coat/broken.png")).expect("removed");
    fails(&["eval", "--weights", WEIGHTS, "--data", data, "--strict"], 1, &[&one.file_name().expect("a name").to_string_lossy()]);
}

/// What pycocotools says of made-up objects, and the files of their labels and results.
fn reference(folder: &Path, case: usize) -> (Value, [String; 2]) {
    let text = fs::read_to_string(root().join("crates/coco/tests/pycocotools.json")).expect("read");
    let case = serde_json::from_str::<Value>(&text).expect("JSON")["cases"][case].take();
    let paths = ["annotations", "results"].map(|part| {
        let path = path(folder, &format!("{part}.json"));
        fs::write(&path, case[part].to_string()).expect("written");
        path
    });
    (case, paths)
}

#[test]
fn found_objects_have_cocos_numbers() {
    const OBJECTS: &[&str] = &["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];
    const KEYPOINTS: &[&str] = &["AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"];
    let folder = tempfile::tempdir().expect("a folder");
    for (case, key, names) in [(0, "bbox", OBJECTS), (3, "segm", OBJECTS), (6, "keypoints", KEYPOINTS)] {
        let (case, [data, results]) = reference(folder.path(), case);
        let document = json(&["eval", "--results", &results, "--data", &data, "--per-class", "--json"]);
        assert_eq!((&document["count"], document.get("skipped")), (&14.into(), None));
        let same = |ours: &Value, theirs: &Value| {
            for (name, theirs) in names.iter().zip(theirs.as_array().expect("numbers")) {
                let near = ours[name].as_f64().zip(theirs.as_f64()).is_some_and(|(ours, theirs)| (ours - theirs).abs() < 1e-9);
                assert!(near || (ours[name].is_null() && theirs.is_null()), "{name} is {} instead of {theirs}", ours[name]);
            }
        };
        same(&document[key], &case["numbers"]);
        let classes = document["classes"].as_array().expect("classes");
        assert_eq!(classes.len(), 5);
        classes.iter().zip(case["classes"].as_array().expect("classes")).for_each(|(ours, theirs)| same(&ours[key], theirs));
    }
}

#[test]
fn found_objects_are_told_in_cocos_words_and_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let (case, [data, results]) = reference(folder.path(), 3);
    let plot = path(folder.path(), "curves.svg");
    let text = stdout(&["eval", "--results", &results, "--data", &data, "--per-class", "--plot", &plot]);
    let ap = case["numbers"][0].as_f64().expect("a number");
    let first = format!("\nmasks\n Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = {ap:.3}\n");
    assert!(text.contains(": 14 pictures\n") && text.contains(&first), "{text}");
    assert!(text.contains("VOC2007  class\n") && text.contains("  c90\n"), "{text}");
    assert!(fs::read_to_string(&plot).expect("drawn").contains("overlap 0.75"));
}

#[test]
fn found_objects_that_cannot_be_measured_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (case, [data, results]) = reference(folder.path(), 6);
    fails(&["eval", "--results", &results, "--data", &data, "--kind", "masks"], 1, &["no mask"]);
    fails(&["eval", "--results", &results, "--data", &data, "--sigmas", "0.1,0.2"], 1, &["17 key points instead of 2"]);
    fails(&["eval", "--results", &data, "--data", &data], 1, &["annotations.json", "list of entries"]);
    fails(&["eval", "--model", "maskrcnn_small", "--data", &data, "--kind", "boxes"], 1, &["none of the data's classes"]);
    for flag in [
        &["--model", "lenet5"][..],
        &["--tta", "flip"],
        &["--split", "test"],
        &["--val-fraction", "0.5"],
        &["--seed", "1"],
        &["--strict"],
        &["--batch", "1"],
        &["--device", "cpu"],
        &["--offline"],
        &["--save-json", "x.json"],
        &["--frozen-bn-eps", "0"],
    ] {
        fails(&[&["eval", "--results", &results, "--data", &data][..], flag].concat(), 2, &["--results", flag[0]]);
    }
    let mut nameless = case["annotations"].clone();
    nameless["categories"].as_array_mut().expect("categories").iter_mut().for_each(|category| category["keypoints"] = Value::Array(vec![]));
    fs::write(&data, nameless.to_string()).expect("written");
    fails(&["eval", "--results", &results, "--data", &data], 2, &["--sigmas", "0 numbers"]);
    fs::write(&results, "[]").expect("written");
    assert!(stdout(&["eval", "--results", &results, "--data", &data]).contains("\nboxes\n"));
}
