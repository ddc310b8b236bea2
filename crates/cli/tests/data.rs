//! `cirio data`: check, show and export, on image folders and on IDX files, whole and broken.

mod common;

use std::fs;
use std::path::Path;

use cirio_vision::Image;
use common::{fails, json, root, run, stdout};
use serde_json::json;

const SMALL: &str = "examples/data/fashion-small";
const SCENES: &str = "examples/data/scenes";

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a path").to_owned()
}

/// An IDX file of bytes, with these sizes in its header.
fn idx(sizes: &[u32], body: &[u8]) -> Vec<u8> {
    let sizes_bytes = sizes.iter().flat_map(|size| size.to_be_bytes());
    [0, 0, 8, sizes.len() as u8].into_iter().chain(sizes_bytes).chain(body.iter().copied()).collect()
}

/// Ten training pictures of 3×2 (width × height), each of one grey, two of each of five classes; the test part is the same.
fn write_idx(folder: &Path) {
    let pixels: Vec<u8> = (0..10u8).flat_map(|picture| [picture * 10; 6]).collect();
    let labels: Vec<u8> = (0..10).map(|picture| picture % 5).collect();
    for part in ["train", "t10k"] {
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), idx(&[10, 2, 3], &pixels)).expect("written");
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), idx(&[10], &labels)).expect("written");
    }
    fs::write(folder.join("classes.txt"), "a\nb\nc\nd\ne\n").expect("written");
}

#[test]
fn check_counts_what_is_there() {
    let document = json(&["data", "check", SMALL, "--json"]);
    assert_eq!((document["format"].as_str(), document["split"].as_str()), (Some("image-folder"), Some("train")));
    assert_eq!((document["data"].as_str(), document["count"].as_u64()), (Some(SMALL), Some(400)));
    let classes = document["classes"].as_array().expect("classes");
    assert_eq!(classes.len(), 10);
    assert_eq!(classes[0], json!({ "name": "ankle-boot", "count": 40 }));
    assert_eq!((&document["width"], &document["height"]), (&json!([28, 28]), &json!([28, 28])));
    assert_eq!(document["unreadable"], json!([]));
    assert_eq!(json(&["data", "check", SMALL, "--split", "val", "--json"])["count"], 100);
    let text = stdout(&["data", "check", SMALL]);
    assert!(text.contains("400 pictures") && text.contains("t-shirt"), "{text}");
}

#[test]
fn what_is_exported_has_the_same_pictures() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "copy");
    assert_eq!(json(&["data", "export", SMALL, &out, "--split", "val", "--json"]), json!({ "output": out, "count": 100 }));
    // All of it: the two of ten that are held out by the seed, and the others.
    let (before, train) = (json(&["data", "check", SMALL, "--split", "val", "--json"]), json(&["data", "check", &out, "--json"]));
    let val = json(&["data", "check", &out, "--split", "val", "--json"]);
    let count = |document: &serde_json::Value, class: usize| document["classes"][class]["count"].as_u64().expect("a count");
    for class in 0..10 {
        assert_eq!(before["classes"][class]["name"], train["classes"][class]["name"]);
        assert_eq!((count(&before, class), count(&train, class), count(&val, class)), (10, 8, 2));
    }
    let mean = |document: &serde_json::Value| document["mean"][0].as_f64().expect("a mean");
    assert!((0.8 * mean(&train) + 0.2 * mean(&val) - mean(&before)).abs() < 1e-9);
    // An export never mixes with what is there.
    fails(&["data", "export", SMALL, &out], 1, &["copy", "not empty"]);
    assert_eq!(fs::read_dir(folder.path().join("copy/bag")).expect("listed").count(), 10);
}

#[test]
fn a_few_of_each_class_are_drawn_by_the_seed() {
    let folder = tempfile::tempdir().expect("a folder");
    let export = |name: &str, seed: &str| {
        let out = path(folder.path(), name);
        assert_eq!(json(&["data", "export", SMALL, &out, "--per-class", "3", "--seed", seed, "--json"])["count"], 30);
        ["00000.png", "00001.png", "00002.png"].map(|file| fs::read(folder.path().join(name).join("coat").join(file)).expect("a picture"))
    };
    let first = export("first", "7");
    assert_eq!(first, export("again", "7"));
    assert_ne!(first, export("other", "8"));
}

#[test]
fn show_draws_each_class() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "show.png");
    let document = json(&["data", "show", SMALL, "--per-class", "4", "--size", "20", "--out", &out, "--json"]);
    assert_eq!(document, json!({ "output": out, "count": 40 }));
    let picture = Image::open(&out).expect("a picture");
    assert!(picture.width() >= 4 * 20 && picture.height() >= 10 * 20, "{}×{}", picture.width(), picture.height());
    assert!(picture.width() < 5 * 25 && picture.height() < 11 * 25);
    fails(&["data", "show", SMALL], 2, &["--out"]);
    fails(&["data", "show", SMALL, "--out", &path(folder.path(), "no/show.png")], 1, &["no/show.png"]);
}

#[test]
fn idx_files_are_found_and_exported() {
    let folder = tempfile::tempdir().expect("a folder");
    write_idx(folder.path());
    let data = folder.path().to_str().expect("a path");
    let document = json(&["data", "check", data, "--split", "test", "--json"]);
    assert_eq!((document["format"].as_str(), document["count"].as_u64(), document["grey"].as_u64()), (Some("idx"), Some(10), Some(10)));
    assert_eq!((&document["width"], &document["height"]), (&json!([3, 3]), &json!([2, 2])));
    let classes: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| json!({ "name": name, "count": 2 })).into();
    assert_eq!(document["classes"], json!(classes));
    assert!((document["mean"][0].as_f64().expect("a mean") - 45.0 / 255.0).abs() < 1e-9, "{document}");
    let names = "v,w,x,y,z";
    let named = json(&["data", "check", data, "--split", "test", "--classes", names, "--json"]);
    assert_eq!(named["classes"][4]["name"], "z");
    let out = path(folder.path(), "out");
    assert_eq!(json(&["data", "export", data, &out, "--split", "test", "--json"])["count"], 10);
    let picture = Image::open(folder.path().join("out/c/00001.png")).expect("the second picture of class 2");
    assert_eq!((picture.width(), picture.height(), picture.data()), (3, 2, &[70u8; 6][..]));
}

#[test]
fn hostile_idx_files_are_one_clear_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a path");
    let images = folder.path().join("train-images-idx3-ubyte");
    let labels = folder.path().join("train-labels-idx1-ubyte");
    let whole = idx(&[10, 2, 3], &[1; 60]);
    let good_labels = idx(&[10], &[0; 10]);
    let float = [&[0, 0, 0x0d, 3], &whole[4..]].concat();
    let bad_images: &[(&[u8], &[&str])] = &[
        // empty
        (&[], &["images", "header"]),
        // half a header
        (&whole[..9], &["images", "header"]),
        // truncated
        (&whole[..50], &["50 bytes", "76 bytes"]),
        // too long
        (&[&whole[..], &[0]].concat(), &["77 bytes", "76 bytes"]),
        // floats
        (&float, &["f32"]),
        // labels for pictures
        (&good_labels, &["labels", "pictures"]),
        // a text
        (b"<html>not found</html>", &["starts with the bytes"]),
        // a gigantic promise
        (&idx(&[10, 0xffff_ffff, 0xffff_ffff], &[]), &["4294967295"]),
        // 4 GB of nothing
        (&idx(&[10, 20_000, 20_000], &[]), &["16 bytes"]),
        // a size of 0
        (&idx(&[10, 0, 3], &[]), &["0"]),
        // another count
        (&idx(&[9, 2, 3], &[1; 54]), &["9 pictures", "10"]),
        // a broken gzip
        (&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3], &["images"]),
    ];
    fs::write(&labels, &good_labels).expect("written");
    for (bytes, words) in bad_images {
        fs::write(&images, bytes).expect("written");
        fails(&["data", "check", data, "--json"], 1, &[&["train-images"], *words].concat());
    }
    fs::write(&images, &whole).expect("written");
    let mut wrong = [0; 10];
    wrong[4] = 200;
    fs::write(&labels, idx(&[10], &wrong)).expect("written");
    fails(&["data", "check", data], 1, &["train-labels", "label 200 for picture 4", "0 to 9"]);
    fs::remove_file(&labels).expect("removed");
    fails(&["data", "check", data], 1, &["train-labels-idx1-ubyte"]);
}

#[test]
fn unreadable_pictures_are_named_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "set");
    json(&["data", "export", SMALL, &out, "--per-class", "2", "--json"]);
    let bad = folder.path().join("set/bag/00000.png");
    let whole = fs::read(&bad).expect("a picture");
    fs::write(folder.path().join("set/bag/broken.png"), "no picture").expect("written");
    // With its header whole, a picture is only found to be broken when it is decoded.
    fs::write(&bad, &whole[..whole.len() / 2]).expect("written");
    fs::create_dir(folder.path().join("whole")).expect("made");
    fs::rename(folder.path().join("set"), folder.path().join("whole/train")).expect("moved");
    let val = root().join(SMALL).join("val/bag/").read_dir().expect("listed").next().expect("one").expect("an entry").path();
    fs::create_dir_all(folder.path().join("whole/val/bag")).expect("made");
    fs::copy(val, folder.path().join("whole/val/bag/a.png")).expect("copied");

    let data = path(folder.path(), "whole");
    let output = run(&["data", "check", &data, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken.png"));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    let unreadable = document["unreadable"].to_string();
    assert!(unreadable.contains("broken.png") && unreadable.contains("00000.png"), "{document}");
    assert_eq!(document["unreadable"].as_array().map(Vec::len), Some(2), "{document}");
    fails(&["data", "check", &data, "--strict"], 1, &["broken.png"]);
    fs::remove_file(folder.path().join("whole/train/bag/broken.png")).expect("removed");
    let output = run(&["data", "check", &data, "--strict"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("1 of 20 pictures cannot be read"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_is_no_data_set_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fails(&["data", "check", &path(folder.path(), "missing")], 1, &["missing"]);
    fails(&["data", "check", folder.path().to_str().expect("a path")], 1, &[folder.path().to_str().expect("a path")]);
    fails(&["data", "check", "README.md"], 1, &["README.md"]);
    fails(&["data", "check", SMALL, "--classes", "a,b"], 1, &["2 class names", "10"]);
    fails(&["data", "check", SMALL, "--split", "all"], 2, &["all", "train"]);
}

#[test]
fn scenes_are_made_checked_and_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let make = |name: &str, seed: &str| {
        let out = path(folder.path(), name);
        let document = json(&["data", "scenes", SMALL, "--out", &out, "--train", "3", "--val", "2", "--seed", seed, "--json"]);
        assert_eq!((&document["parts"][0]["pictures"], &document["parts"][1]["split"]), (&json!(3), &json!("val")));
        fs::read(Path::new(&out).join("train/000002.png")).expect("a scene")
    };
    let first = make("first", "1");
    assert_eq!(first, make("again", "1"));
    assert_ne!(first, make("other", "2"));
    let made = path(folder.path(), "first");
    fails(&["data", "scenes", SMALL, "--out", &made], 1, &["not empty"]);
    // Classes are named by the folders.
    let document = json(&["data", "check", &made, "--json"]);
    assert_eq!(
        (&document["format"], &document["errors"], &document["parts"][0]["classes"][0]["name"]),
        (&json!("coco"), &json!(0), &json!("ankle-boot"))
    );
    let shown = path(folder.path(), "shown");
    assert_eq!(json(&["data", "show", &made, "--out", &shown, "--per-class", "2", "--json"]), json!({ "output": shown, "count": 2 }));
    assert_eq!(fs::read_dir(&shown).expect("listed").count(), 2);
    fails(&["data", "export", &made, &shown], 1, &["objects (coco)"]);
}

#[test]
fn the_scenes_of_the_examples_are_sound() {
    let document = json(&["data", "check", SCENES, "--json"]);
    let count = |part: usize| document["parts"][part]["count"].as_u64();
    assert_eq!((&document["errors"], &document["warnings"], count(0), count(1)), (&json!(0), &json!(0), Some(40), Some(10)));
    let text = stdout(&["data", "check", SCENES]);
    assert!(text.contains("40 pictures") && text.contains("trouser") && text.contains("0 errors, 0 warnings"), "{text}");
}

#[test]
fn labels_are_converted_and_what_is_lost_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    for (format, warned) in [("voc", true), ("yolo", true), ("coco", false)] {
        let out = path(folder.path(), format);
        let output = run(&["data", "convert", SCENES, "--to", format, "--out", &out]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("masks are lost") == warned, "{said}");
        assert_eq!(json(&["data", "check", &out, "--json"])["format"], format);
    }
    fails(&["data", "convert", SMALL, "--to", "voc", "--out", &path(folder.path(), "x")], 1, &["fashion-small", "no labels of objects"]);
}

#[test]
fn labelme_is_checked_and_converted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, out) = (path(folder.path(), "data"), path(folder.path(), "coco"));
    fs::create_dir(&data).expect("made");
    fs::copy(root().join("examples/images/shapes.png"), path(Path::new(&data), "a.png")).expect("copied");
    let shape = |kind: &str| json!({ "label": "cat", "shape_type": kind, "points": [[10, 10], [40, 10], [40, 50]], "group_id": null });
    let labels = |kind: &str| {
        let shapes = json!([shape("polygon"), shape(kind)]);
        let text = json!({ "shapes": shapes, "imagePath": "a.png", "imageData": null, "imageHeight": 240, "imageWidth": 320 });
        fs::write(path(Path::new(&data), "a.json"), text.to_string()).expect("written");
    };
    labels("line");
    let output = run(&["data", "check", &data, "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &document["format"], &document["problems"][0]["shape"]), (Some(1), &json!("labelme"), &json!(2)));
    let converted = json(&["data", "convert", &data, "--to", "coco", "--out", &out, "--json"]);
    assert_eq!((&converted["count"], &converted["objects"], converted["losses"].as_array().map(Vec::len)), (&json!(1), &json!(1), Some(1)));
    assert_eq!(json(&["data", "check", &out, "--json"])["parts"][0]["masks"], 1);
    fails(&["data", "convert", &data, "--to", "labelme", "--out", &out], 2, &["labelme", "coco"]);
}

#[test]
fn errors_in_labels_fail_the_check() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("train.json"),
        r#"{"images": [{"id": 3, "file_name": "a.png", "width": 2, "height": 2}], "categories": []}"#,
    )
    .expect("written");
    let data = folder.path().to_str().expect("a path");
    let output = run(&["data", "check", data, "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("1 errors"), "{said}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&document["problems"][0]["severity"], &document["problems"][0]["picture"]), (&json!("error"), &json!(3)));
}
