//! `cirio explain`: pictures of what a network sees.

mod common;

use std::fs;
use std::path::Path;

use cirio_vision::Image;
use common::{fails, json, stdout};
use serde_json::Value;

const BOOT: &str = "examples/images/ankle-boot.png";
const LENET: [&str; 4] = ["--model", "lenet5", "--weights", "fashion-mnist"];

fn explain<'a>(out: &'a Path, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["explain", "--out", out.to_str().expect("a path")], arguments].concat()
}

/// The figures of a run, each of which is a picture that is not of one colour.
fn figures(arguments: &[&str]) -> Vec<Value> {
    let document = json(&[arguments, &["--json"]].concat());
    let figures = document["figures"].as_array().expect("figures").clone();
    for figure in &figures {
        let path = figure["output"].as_str().expect("a path");
        let image = Image::open(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let first = image.pixel(image.height() / 2, image.width() / 2).expect("a pixel");
        assert!(image.data().chunks_exact(image.channels()).any(|pixel| pixel != first), "{path} has one colour");
    }
    figures
}

#[test]
fn a_picture_needs_no_more_than_its_name() {
    let out = tempfile::tempdir().expect("a folder");
    let text = stdout(&[explain(out.path(), &[BOOT]).as_slice(), &LENET].concat());
    assert!(text.contains("ankle-boot-grad-cam.png: Grad-CAM of ankle-boot") && text.contains("at relu2"), "{text}");
    assert_eq!(fs::read_dir(out.path()).expect("a folder").count(), 1);
}

/// Every method on a classifier; what the document says of each.
#[test]
fn every_method_draws_a_classifier() {
    let out = tempfile::tempdir().expect("a folder");
    let methods = "grad-cam,grad-cam-pp,occlusion,gradient,guided,integrated,smooth-grad,activations,deconvnet,filters";
    let drawn = figures(&[explain(out.path(), &[BOOT, "--method", methods, "--steps", "4"]).as_slice(), &LENET].concat());
    assert_eq!(drawn.len(), 10);
    let of = |method: &str| drawn.iter().find(|figure| figure["method"] == method).unwrap_or_else(|| panic!("no {method}"));
    for method in ["grad-cam", "grad-cam-pp", "occlusion", "gradient", "guided", "integrated", "smooth-grad"] {
        assert_eq!((&of(method)["class"]["name"], &of(method)["class"]["index"]), (&"ankle-boot".into(), &9.into()), "{method}");
        assert!(of(method)["class"]["probability"].as_f64().expect("a number") > 0.5, "{method}");
        assert_eq!(of(method)["picture"], BOOT);
    }
    assert_eq!(of("grad-cam")["layer"], "relu2");
    assert_eq!(of("filters")["layer"], "conv1");
    assert!(of("filters").get("picture").is_none());
    assert_eq!(of("deconvnet")["layer"], "pool2", "what sees half of the picture at most");
    let maps = of("deconvnet")["maps"].as_array().expect("maps");
    assert!((1..=9).contains(&maps.len()), "{maps:?}");
}

#[test]
fn layers_maps_and_classes_can_be_chosen() {
    let out = tempfile::tempdir().expect("a folder");
    let chosen = ["--method", "deconvnet,grad-cam,activations", "--layer", "conv2", "--map", "1,0", "--class", "Bag"];
    let drawn = figures(&[explain(out.path(), &[BOOT]).as_slice(), &LENET, &chosen].concat());
    assert!(drawn.iter().all(|figure| figure["layer"] == "conv2"), "{drawn:?}");
    assert_eq!(drawn[0]["maps"], serde_json::json!([1, 0]));
    assert_eq!((&drawn[1]["class"]["index"], &drawn[1]["class"]["name"]), (&8.into(), &"bag".into()));
}

/// Two pictures of one name do not write over each other.
#[test]
fn each_picture_has_its_file() {
    let out = tempfile::tempdir().expect("a folder");
    let drawn = figures(&[explain(out.path(), &[BOOT, BOOT, "--method", "gradient"]).as_slice(), &LENET].concat());
    assert!(drawn[0]["output"] != drawn[1]["output"] && drawn[1]["output"].as_str().expect("a path").ends_with("gradient-2.png"));
}

/// The same command gives the same bytes.
#[test]
fn figures_are_the_same_each_time() {
    let bytes = || {
        let out = tempfile::tempdir().expect("a folder");
        figures(&[explain(out.path(), &[BOOT, "--method", "smooth-grad", "--steps", "3", "--seed", "5"]).as_slice(), &LENET].concat());
        fs::read(out.path().join("ankle-boot-smooth-grad.png")).expect("a file")
    };
    assert_eq!(bytes(), bytes());
}

/// A large photo, and one that is a line, are drawn at a size that fits; every network that is here has a layer to look at.
#[test]
fn pictures_of_any_size_and_every_network() {
    let out = tempfile::tempdir().expect("a folder");
    for (width, height) in [(4000, 3000), (2000, 1)] {
        let photo = out.path().join(format!("{width}.png"));
        let wave = (0..width * height * 3).map(|at| (at * 37 % 251) as u8).collect();
        Image::new(width, height, 3, wave).and_then(|image| image.save(&photo)).expect("a file");
        let photo = photo.to_str().expect("a path");
        figures(&explain(out.path(), &[photo]));
        figures(&[explain(out.path(), &[photo, "--method", "gradient"]).as_slice(), &LENET].concat());
    }
    for model in ["lenet5", "lenet5_paper", "vgg_small", "cs231n_cifar"] {
        let methods = ["--method", "activations,deconvnet,occlusion", "--model", model, "--weights", "fashion-mnist"];
        figures(&explain(out.path(), &[[BOOT].as_slice(), &methods].concat()));
        // Nothing in the paper's last maps speaks for the boot; for a dress it does.
        let class = if model == "lenet5_paper" { "dress" } else { "ankle-boot" };
        let cam = figures(&explain(out.path(), &[BOOT, "--model", model, "--weights", "fashion-mnist", "--class", class]));
        assert_eq!(cam[0]["method"], "grad-cam", "{model}");
    }
}

#[test]
fn the_strongest_of_a_data_set() {
    let out = tempfile::tempdir().expect("a folder");
    let data = ["--method", "strongest", "--data", "examples/data/fashion-small", "--limit", "60", "--map", "1,4"];
    let drawn = figures(&[explain(out.path(), &data).as_slice(), &LENET].concat());
    assert_eq!(drawn[0]["maps"], serde_json::json!([1, 4]));
    assert!(drawn[0]["title"].as_str().expect("a title").contains("over 60 pictures"));
}

/// The network below a detector's heads is a network like others; classes are the heads'.
#[test]
fn the_body_of_a_detector() {
    let out = tempfile::tempdir().expect("a folder");
    let drawn = figures(&explain(out.path(), &["examples/images/scene.png", "--method", "activations,deconvnet,filters"]));
    assert_eq!(drawn.len(), 3);
    assert!(drawn[0]["title"].as_str().expect("a title").contains("conv1"), "{drawn:?}");
    let gradient = explain(out.path(), &["examples/images/scene.png", "--method", "filters,gradient"]);
    fails(&gradient, 2, &["--method gradient", "maskrcnn_small is a detector"]);
}

#[test]
fn what_cannot_be_is_said() {
    let out = tempfile::tempdir().expect("a folder");
    let with = |arguments: &[&'static str]| [explain(out.path(), &[BOOT]).as_slice(), &LENET, arguments].concat();
    fails(&with(&["--layer", "conv9"]), 1, &["no layer `conv9`", "conv1, relu1, pool1"]);
    fails(&with(&["--class", "hat"]), 2, &["--class hat", "0 to 9", "ankle-boot"]);
    fails(&with(&["--class", "10"]), 2, &["--class 10", "0 to 9"]);
    fails(&with(&["--layer", "fc1"]), 1, &["layer `fc1` gives [1, 120], expected maps"]);
    fails(
        &[explain(out.path(), &["--method", "filters", "--layer", "fc1"]).as_slice(), &LENET].concat(),
        1,
        &["layer `fc1` has no filters", "conv1, conv2"],
    );
    fails(&with(&["--method", "deconvnet", "--layer", "conv1", "--map", "6"]), 1, &["map 6 of layer `conv1`", "0 to 5"]);
    fails(&with(&["--method", "activations", "--layer", "conv1", "--map", "6"]), 1, &["map 6 of layer `conv1`", "0 to 5"]);
    fails(&with(&["--method", "occlusion", "--patch", "40"]), 1, &["40×40 pixels for a picture of 32×32"]);
    fails(&with(&["--method", "activations", "--layer", "fc1", "--map", "3"]), 1, &["layer `fc1` gives 120 values, and no maps"]);
    fails(&with(&["--method", "gradient", "--layer", "conv1"]), 2, &["--layer says nothing to --method gradient"]);
    fails(&with(&["--method", "gradient,occlusion", "--noise", "0.1"]), 2, &["--noise says nothing to --method gradient,occlusion"]);
    fails(&with(&["--method", "filters"]), 2, &["--method filters takes no picture"]);
    fails(&[explain(out.path(), &[]).as_slice(), &LENET].concat(), 2, &["--method grad-cam: which picture?"]);
    fails(&[explain(out.path(), &["--method", "strongest"]).as_slice(), &LENET].concat(), 2, &["over which data set?"]);
    fails(&[explain(out.path(), &["Cargo.toml"]).as_slice(), &LENET].concat(), 1, &["Cargo.toml"]);
    fails(&[explain(Path::new("Cargo.toml"), &[BOOT]).as_slice(), &LENET].concat(), 1, &["cannot make the folder Cargo.toml"]);
}

/// A map of the last layer of vgg_small that is not above 0 for a black picture.
#[test]
fn a_dead_map_is_said() {
    let out = tempfile::tempdir().expect("a folder");
    let black = out.path().join("black.png");
    Image::filled(32, 32, 1, 0).and_then(|image| image.save(&black)).expect("a file");
    let black = black.to_str().expect("a path");
    let network = ["--model", "vgg_small", "--weights", "fashion-mnist", "--method", "deconvnet", "--layer", "features.26"];
    fails(&[explain(out.path(), &[black]).as_slice(), &network, &["--map", "8"]].concat(), 1, &["map 8 of layer `features.26` is dead"]);
}

/// A run with snapshots shows how it learnt; without, it says what is missing.
#[test]
fn a_run_shows_how_it_learnt() {
    let out = tempfile::tempdir().expect("a folder");
    let run = out.path().join("run");
    let run = run.to_str().expect("a path");
    let train = ["train", "--model", "lenet5", "--data", "examples/data/digits-small", "--epochs", "2", "--out", run];
    stdout(&[train.as_slice(), &["--snapshots", "1"]].concat());
    let digit = "examples/images/digit-7.png";
    let drawn = figures(&explain(out.path(), &[digit, "--weights", run, "--method", "evolution,filter-evolution", "--map", "2"]));
    assert!(drawn.iter().any(|figure| figure["title"].as_str().expect("a title").contains("over 3 snapshots")), "{drawn:?}");
    let animation = fs::read(out.path().join("lenet5-filter-evolution.png")).expect("a file");
    assert!(animation.windows(4).any(|name| name == b"acTL"), "an animated PNG");
    fs::remove_dir_all(Path::new(run).join("snapshots")).expect("snapshots");
    fails(&explain(out.path(), &[digit, "--weights", run, "--method", "evolution"]), 1, &["kept no snapshots", "--snapshots N"]);
    fails(&[explain(out.path(), &[digit, "--method", "evolution"]).as_slice(), &LENET].concat(), 2, &["are of no run"]);
}

/// The same text each time, with a point for each picture and the classes' names.
#[test]
fn a_data_set_in_the_plane() {
    let out = tempfile::tempdir().expect("a folder");
    let data = ["--method", "t-sne,pca", "--data", "examples/data/fashion-small", "--limit", "60"];
    let plots = || {
        stdout(&[explain(out.path(), &data).as_slice(), &LENET].concat());
        ["t-sne", "pca"].map(|name| fs::read_to_string(out.path().join(format!("lenet5-{name}.svg"))).expect("a plot"))
    };
    let first = plots();
    assert!(first.iter().all(|svg| svg.matches("<circle").count() >= 60 && svg.contains("relu4")), "{}", first[0]);
    assert_eq!(first, plots());
    fails(&[explain(out.path(), &["--method", "t-sne"]).as_slice(), &LENET].concat(), 2, &["--method t-sne: over which data set?"]);
    let few = ["--method", "t-sne", "--data", "examples/data/fashion-small", "--limit", "3"];
    fails(&[explain(out.path(), &few).as_slice(), &LENET].concat(), 1, &["3 pictures", "at least 4"]);
}

#[test]
fn how_a_detector_came_to_its_boxes() {
    let out = tempfile::tempdir().expect("a folder");
    let drawn = figures(&explain(out.path(), &["examples/images/scene.png"]));
    assert_eq!(drawn[0]["method"], "proposals", "what is usual for detectors");
    assert!(drawn[0]["title"].as_str().expect("a title").contains("proposals to"), "{drawn:?}");
    let classifier = [explain(out.path(), &[BOOT, "--method", "proposals"]).as_slice(), &LENET].concat();
    fails(&classifier, 2, &["--method proposals is for detectors; lenet5 is a classifier"]);
}

/// A page has the picture, what the network says, the figures and every layer; it loads nothing.
#[test]
fn a_page_about_a_picture() {
    let out = tempfile::tempdir().expect("a folder");
    let page = out.path().join("boot.html");
    let page = page.to_str().expect("a path");
    let document =
        json(&[explain(out.path(), &[BOOT, "--method", "grad-cam,gradient", "--report", page, "--json"]).as_slice(), &LENET].concat());
    assert_eq!(document["report"], page);
    let html = fs::read_to_string(page).expect("a page");
    for words in ["ankle-boot", "Grad-CAM of", "Gradient of", "conv1", "pool2", "fc3", "48,120"] {
        assert!(html.contains(words), "no `{words}`");
    }
    assert!(!html.contains("://") && !html.contains("<script"), "a page loads nothing");
    let two = [explain(out.path(), &[BOOT, BOOT, "--report", page]).as_slice(), &LENET].concat();
    fails(&two, 2, &["a page is about one picture, and 2 are given"]);
    let itself = [explain(out.path(), &[BOOT, "--report", BOOT]).as_slice(), &LENET].concat();
    fails(&itself, 2, &["a page's name ends in .html"]);
    let nowhere = [explain(out.path(), &[BOOT, "--report", "no/such/folder/page.html"]).as_slice(), &LENET].concat();
    fails(&nowhere, 1, &["no/such/folder/page.html"]);
}
