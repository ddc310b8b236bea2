//! The verbs that look at models: list, info, summary, size.

mod common;

use common::{fails, json, run, stdout};
use serde_json::json;

#[test]
fn size_says_what_does_not_divide() {
    let text = stdout(&["size", "--input", "9", "--kernel", "3", "--stride", "4"]);
    assert!(text.contains("(9 - 3 + 2·0)/4 + 1 = 2.5"), "{text}");
    assert!(text.contains("the floor 2 is used, and 2 pixels"), "{text}");
    let document = json(&["size", "--input", "9", "--kernel", "3", "--stride", "4", "--json"]);
    assert_eq!((&document["output"], &document["exact"], &document["unused"]), (&json!([2, 2]), &json!([2.5, 2.5]), &json!([2, 2])));
}

#[test]
fn size_counts_the_courses_760_parameters() {
    let flags = ["size", "--input", "32", "--kernel", "5", "--padding", "2", "--channels", "3", "--filters", "10"];
    let text = stdout(&flags);
    assert!(text.contains("(5·5·3 + 1)·10 = 760") && text.contains("10×32×32"), "{text}");
    let document = json(&[&flags[..], &["--json"]].concat());
    assert_eq!(document["filters"], json!({"channels": 3, "filters": 10, "output": [10, 32, 32], "params": 760, "macs": 768_000}));
}

#[test]
fn size_by_rows_and_columns() {
    let document = json(&["size", "--input", "480x640", "--kernel", "3x5", "--stride", "2x1", "--dilation", "2", "--json"]);
    assert_eq!(document["output"], json!([238, 632]));
}

#[test]
fn sizes_that_cannot_be_are_wrong_usage() {
    fails(&["size", "--input", "9", "--kernel", "0"], 2, &["kernel is 0"]);
    fails(&["size", "--input", "9", "--kernel", "3", "--stride", "0"], 2, &["stride is 0"]);
    fails(&["size", "--input", "2", "--kernel", "3"], 2, &["kernel of 3 pixels does not fit into 2"]);
    fails(&["size", "--input", "nine", "--kernel", "3"], 2, &["`nine` is no whole number"]);
    fails(&["size", "--input", "9", "--kernel", "99999999999999999999"], 2, &["no whole number"]);
    fails(&["size", "--input", "65537", "--kernel", "3"], 2, &["more than 65536"]);
    fails(&["size", "--input", "9", "--kernel", "3", "--channels", "3"], 2, &["--filters"]);
    fails(&["size", "--input", "9"], 2, &["--kernel"]);
}

#[test]
fn the_table_of_the_paper() {
    let document = json(&["summary", "lenet5_paper", "--json"]);
    assert_eq!((&document["params"], &document["connections"]), (&json!(60_000), &json!(340_908)));
    assert_eq!(document["input"], json!([1, 32, 32]));
    let row = |name: &str| document["layers"].as_array().expect("layers").iter().find(|row| row["name"] == name).expect("a row").clone();
    assert_eq!(
        row("c3"),
        json!({"name": "c3", "kind": "conv 5×5, partial table", "output": [16, 10, 10], "params": 1516, "macs": 150_000, "receptive_field": 14, "connections": 151_600})
    );
    let text = stdout(&["summary", "lenet5_paper"]);
    assert!(text.contains("340,908") && text.contains("60,000"), "{text}");
}

#[test]
fn the_modern_table_has_no_connections() {
    let document = json(&["summary", "lenet5", "--json"]);
    assert_eq!(document["params"], 61_706);
    assert!(document.get("connections").is_none());
    assert_eq!(json(&["summary", "lenet5", "--classes", "2", "--json"])["params"], 61_706 - 8 * 85);
}

#[test]
fn a_network_is_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    for (model, words) in [
        ("lenet5", ["28×28×6", "5×5×16", ">120<", "max pool 2×2", "61.7 k parameters"]),
        ("resnet50", ["7×7×2048", "layer3 ×6", "1×1×2048", "6 residual", "4.09 G multiply-adds"]),
        ("maskrcnn_small", ["28×28×48", "layer2 ×2", "7×7×128", "batch norm", "the network below its heads"]),
    ] {
        let file = path(&format!("{model}.svg"));
        let table = stdout(&["summary", model, "--svg", &file]);
        assert_eq!(table, stdout(&["summary", model]));
        let svg = std::fs::read_to_string(&file).expect("a drawing");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        words.iter().for_each(|part| assert!(svg.contains(part), "{model}, {part}: {svg}"));
    }
    let wide = path("wide.svg");
    stdout(&["summary", "lenet5", "--input", "3x40x32", "--svg", &wide, "--json"]);
    assert!(std::fs::read_to_string(&wide).expect("a drawing").contains("36×28×6"));
    fails(&["summary", "lenet5", "--svg", &path("no/such/folder.svg")], 1, &["no/such/folder.svg"]);
    fails(&["summary", "lenet5", "--input", "1x8x8", "--svg", &path("small.svg")], 1, &["conv2"]);
    assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 4);
}

#[test]
fn another_input_changes_the_sizes_or_says_why_not() {
    let document = json(&["summary", "lenet5", "--input", "3x40x32", "--json"]);
    assert_eq!(document["layers"][0]["output"], json!([6, 36, 28]));
    fails(&["summary", "lenet5", "--input", "1x8x8"], 1, &["conv2", "6×2×2", "kernel of 5 pixels does not fit into 2"]);
    fails(&["summary", "lenet5", "--input", "8x8"], 2, &["CxHxW"]);
    fails(&["summary", "lenet5_paper", "--classes", "11"], 1, &["bitmaps for 10 classes"]);
}

#[test]
fn list_and_info_agree() {
    let models = json(&["list", "--json"])["models"].as_array().expect("models").clone();
    let names: Vec<&str> = models.iter().filter_map(|model| model["name"].as_str()).collect();
    let detectors = cirio::DETECTORS.iter().map(|model| model.name);
    assert_eq!(names, cirio::MODELS.iter().map(|model| model.name).chain(detectors).collect::<Vec<_>>());
    for model in &models {
        let name = model["name"].as_str().expect("a name");
        let info = json(&["info", name, "--json"]);
        assert_eq!(info["params"], model["params"]);
        for weights in model["weights"].as_array().expect("weights") {
            let info = json(&["info", weights["name"].as_str().expect("a name"), "--json"]);
            for measure in ["accuracy", "box_ap", "mask_ap", "keypoint_ap"] {
                assert_eq!(info["measured"][measure], weights[measure]);
            }
            assert!(!info["trained"].as_str().expect("a command").is_empty());
        }
    }
    let text = stdout(&["list"]);
    for part in ["lenet5/fashion-mnist", "alexnet/imagenet1k-v1", "61.1 M"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(stdout(&["info", "lenet5/fashion-mnist"]).contains("sha256"));
}

#[test]
fn unknown_names_are_one_clear_line() {
    fails(&["info", "lenet7"], 1, &["no model `lenet7`", "lenet5_paper"]);
    fails(&["summary", "vgg99"], 1, &["no model `vgg99`", "vgg11_bn"]);
    fails(&["info", "lenet5/fashion"], 1, &["lenet5/fashion"]);
    fails(&["look"], 2, &["look"]);
}

#[test]
fn help_names_every_verb() {
    let help = String::from_utf8(run(&["--help"]).stdout).expect("text");
    for verb in ["list", "info", "summary", "size", "predict", "train", "eval", "filter", "convert", "data", "bench"] {
        assert!(help.contains(verb), "{verb}");
    }
}
