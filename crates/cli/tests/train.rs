//! `cirio train`: runs made, moved, killed, gone on with, and refused.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use candle_core::{Device, Tensor};
use common::{cirio, failed, fails, json, root, run};
use serde_json::Value;

const SMALL: &str = "examples/data/fashion-small";

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a path").to_owned()
}

/// `cirio train --data DATA --out OUT --json` with these arguments behind.
fn train(data: &str, out: &str, arguments: &[&str]) -> Value {
    json(&[&["train", "--data", data, "--out", out, "--json"], arguments].concat())
}

/// The small data set's first `count` pictures of these classes, without parts.
fn few(to: &Path, names: &[&str], count: usize) -> String {
    for name in names {
        let (from, to) = (root().join(SMALL).join("train").join(name), to.join(name));
        fs::create_dir_all(&to).expect("made");
        let mut pictures: Vec<PathBuf> = fs::read_dir(&from).expect("listed").map(|entry| entry.expect("an entry").path()).collect();
        pictures.sort();
        for picture in &pictures[..count] {
            fs::copy(picture, to.join(picture.file_name().expect("a name"))).expect("copied");
        }
    }
    to.to_str().expect("a path").to_owned()
}

fn weights(run: &str) -> HashMap<String, Vec<f32>> {
    let values = |tensor: &Tensor| tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers");
    let tensors = candle_core::safetensors::load(Path::new(run).join("last.safetensors"), &Device::Cpu).expect("weights");
    tensors.iter().map(|(name, tensor)| (name.clone(), values(tensor))).collect()
}

fn bytes(run: &str, name: &str) -> Vec<u8> {
    fs::read(Path::new(run).join(name)).unwrap_or_else(|error| panic!("{run}/{name}: {error}"))
}

/// The lines of metrics.jsonl without their times.
fn metrics(run: &str) -> Vec<Value> {
    let text = String::from_utf8(bytes(run, "metrics.jsonl")).expect("text");
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        value.as_object_mut().expect("an object").remove("seconds");
        value
    };
    text.lines().map(line).collect()
}

/// Asserts that it fails as [`fails`] does, and that `out` is not there or empty.
fn refused(arguments: &[&str], out: &str, code: i32, words: &[&str]) {
    fails(&[&["train", "--out", out], arguments].concat(), code, words);
    let left = fs::read_dir(out).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{out} has {left} files");
}

#[test]
fn a_run_can_be_moved_and_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, moved) = (path(folder.path(), "run"), path(folder.path(), "moved"));
    let document = train(SMALL, &out, &["--epochs", "2", "--ema", "0.9"]);
    let keys: Vec<&String> = document.as_object().expect("an object").keys().collect();
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert_eq!((document["run"].as_str(), document["epochs"].as_u64()), (Some(out.as_str()), Some(2)));
    assert!(document["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    let best = &document["best"];
    assert_eq!(best["count"], 100);
    assert!(best["epoch"].as_u64().is_some_and(|epoch| epoch == 1 || epoch == 2));
    assert!(["accuracy", "top5", "loss"].iter().all(|key| best[key].is_f64()), "{best}");
    for name in ["config.toml", "metrics.jsonl", "classes.tsv", "curves.svg", "confusion.svg", "events.out.tfevents.cirio"] {
        assert!(!bytes(&out, name).is_empty(), "{name}");
    }
    let epochs: Vec<Value> = metrics(&out).into_iter().filter(|line| line["event"] == "epoch").collect();
    assert_eq!(epochs.len(), 2);

    fs::rename(&out, &moved).expect("moved");
    let predicted = json(&["predict", "examples/images/ankle-boot.png", "--weights", &moved, "--json"]);
    assert_eq!(predicted["model"], "lenet5");
    let measured = json(&["eval", "--weights", &moved, "--data", SMALL, "--split", "val", "--batch", "20", "--json"]);
    assert_eq!(measured["accuracy"], best["accuracy"]);
    // Folded and packed weights: other sums of the same numbers.
    let loss = |document: &Value| document["loss"].as_f64().expect("a loss");
    assert!((loss(&measured) - loss(best)).abs() < 1e-6);
}

#[test]
fn the_same_seed_gives_the_same_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = few(&folder.path().join("set"), &["bag", "coat", "dress"], 20);
    let recipe = ["--epochs", "2", "--ema", "0.9", "--augment", "flip,affine,erase", "--seed"];
    let made = |name: &str, seed: &str, threads: &str| {
        let out = path(folder.path(), name);
        let arguments = [&["train", "--data", &data, "--out", &out], &recipe[..], &[seed, "--workers", threads]].concat();
        let output = cirio().args(arguments).env("RAYON_NUM_THREADS", threads).output().expect("starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (bytes(&out, "best.safetensors"), bytes(&out, "last.safetensors"), metrics(&out))
    };
    let first = made("first", "3", "1");
    assert!(first == made("second", "3", "3"), "the threads decide");
    assert!(first != made("third", "4", "1"), "the seed does not decide");
}

#[test]
fn a_killed_run_goes_on_to_the_same_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = ["--epochs", "6", "--batch", "40", "--ema", "0.9", "--augment", "flip,crop:2", "--seed", "2", "--snapshots", "2"];
    killed_and_gone_on(folder.path(), &recipe);
    let kept = snapshots(&path(folder.path(), "killed"));
    assert_eq!(kept.iter().map(|snapshot| snapshot.epoch).collect::<Vec<_>>(), [0, 2, 4, 6]);
    let config = cirio_train::RunFolder::config(&folder.path().join("killed")).expect("a run");
    assert_eq!(config.train.snapshots, Some(2));
    // They are weights like others.
    for snapshot in &kept {
        let weights = snapshot.path.to_str().expect("a path");
        assert_eq!(json(&["predict", "examples/images/ankle-boot.png", "--weights", weights, "--json"])["model"], "lenet5");
    }
}

fn snapshots(run: &str) -> Vec<cirio_train::Snapshot> {
    cirio_train::RunFolder::snapshots(Path::new(run)).expect("a run")
}

/// What is frozen at first, at all moments before and after it is thawed.
#[test]
fn a_killed_run_with_frozen_layers_goes_on_to_the_same_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe =
        ["--epochs", "6", "--batch", "40", "--freeze", "conv", "--unfreeze", "3", "--head-lr", "0.05", "--class-weights", "balanced"];
    killed_and_gone_on(folder.path(), &recipe);
}

fn killed_and_gone_on(folder: &Path, recipe: &[&str]) {
    let (whole, killed) = (path(folder, "whole"), path(folder, "killed"));
    train(SMALL, &whole, recipe);

    let begin = [&["train", "--data", SMALL, "--out", &killed], recipe].concat();
    // Moments that a run reaches: a line of metrics more than there were, and a little while after.
    let (mut arguments, mut interrupted) = (begin, 0);
    for milliseconds in [0, 3, 11, 23, 37, 61, 97] {
        let before = lines(&killed);
        let mut child = cirio().args(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        while lines(&killed) <= before && child.try_wait().expect("asked").is_none() {
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_millis(milliseconds));
        interrupted += usize::from(child.try_wait().expect("asked").is_none());
        child.kill().expect("killed");
        child.wait().expect("ended");
        arguments = vec!["train", "--resume", &killed];
    }
    assert!(interrupted > 0, "the run was over before it was killed");
    let document = json(&["train", "--resume", &killed, "--json"]);
    assert_eq!(document["epochs"], 6);
    for name in ["last.safetensors", "best.safetensors"] {
        assert!(bytes(&whole, name) == bytes(&killed, name), "{name} differs");
    }
    let kept = |run: &str| -> Vec<_> {
        snapshots(run).into_iter().map(|snapshot| (snapshot.epoch, fs::read(snapshot.path).expect("a file"))).collect()
    };
    assert!(kept(&whole) == kept(&killed), "a snapshot differs");
    assert_eq!(metrics(&whole), metrics(&killed));
    let hidden = fs::read_dir(&killed).expect("listed").filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().starts_with('.')
    });
    assert_eq!(hidden.count(), 0, "temporary files are left");
    // A run that is over stays as it is.
    json(&["train", "--resume", &killed, "--json"]);
    assert!(bytes(&whole, "last.safetensors") == bytes(&killed, "last.safetensors"));
}

/// Lines in the run's metrics; 0 while there are none.
fn lines(run: &str) -> usize {
    fs::read_to_string(Path::new(run).join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_run_moves_with_its_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = few(&folder.path().join("set"), &["bag", "coat"], 20);
    let (out, moved) = (path(folder.path(), "run"), path(folder.path(), "elsewhere"));
    train(&data, &out, &["--epochs", "1"]);
    fs::rename(&data, &moved).expect("moved");
    fails(&["train", "--resume", &out], 1, &["set"]);
    assert_eq!(json(&["train", "--resume", &out, "--data", &moved, "--json"])["epochs"], 1);
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "run");
    let wild = ["train", "--data", SMALL, "--out", &out, "--lr", "1e30", "--ema", "0", "--json"];
    fails(&wild, 1, &["NaN", "epoch 1, step", "learning rate", "nothing had been saved"]);
    for name in ["best.safetensors", "last.safetensors", "checkpoint.safetensors"] {
        assert!(!folder.path().join("run").join(name).exists(), "{name}");
    }
    // Later: the rate goes up in the second epoch, and the first one's checkpoint stays.
    let (data, out) = (few(&folder.path().join("set"), &["bag", "coat"], 20), path(folder.path(), "later"));
    let rising = ["--epochs", "3", "--batch", "8", "--ema", "0", "--warm-up", "0", "--lr", "0.01", "--schedule", "step:1:1e30"];
    fails(&[&["train", "--data", &data, "--out", &out], &rising[..]].concat(), 1, &["epoch 2, step", "the checkpoint of epoch 1 is kept"]);
    assert!(weights(&out).values().flatten().all(|weight| weight.is_finite()));
    json(&["eval", "--weights", &out, "--data", &data, "--split", "val", "--json"]);
}

#[test]
fn wrong_flags_are_exit_code_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "run");
    refused(&[], &out, 2, &["--data"]);
    for (flags, words) in [
        (&["--epochs", "0"][..], &["epochs"][..]),
        (&["--epochs", "many"], &["--epochs"]),
        (&["--batch", "0"], &["--batch"]),
        (&["--lr", "-1"], &["-1"]),
        (&["--lr", "NaN"], &["NaN"]),
        (&["--momentum", "1.5"], &["momentum", "1.5"]),
        (&["--ema", "1"], &["ema", "1"]),
        (&["--label-smoothing", "2"], &["label", "2"]),
        (&["--schedule", "zigzag"], &["zigzag"]),
        (&["--augment", "flip,warp"], &["warp"]),
        (&["--optimizer", "lion"], &["lion", "adamw"]),
        (&["--mixup", "1", "--cutmix", "1"], &["--mixup", "--cutmix"]),
        (&["--device", "gpu"], &["gpu"]),
        (&["--no-such-flag"], &["--no-such-flag"]),
        (&["--head-lr", "0"], &["head_learning_rate", "0"]),
        (&["--unfreeze", "2"], &["--freeze"]),
        (&["--freeze", "conv", "--unfreeze", "0"], &["unfreeze", "0"]),
        (&["--snapshots", "0"], &["snapshots", "0", "at least one epoch"]),
        (&["--class-weights", "fair"], &["fair", "balanced"]),
        (&["--optimizer", "adamw", "--momentum", "0.9"], &["--momentum", "AdamW"]),
        (&["--model", "lenet5_paper", "--label-smoothing", "0.1"], &["--label-smoothing", "lenet5_paper"]),
    ] {
        refused(&[&["--data", SMALL], flags].concat(), &out, 2, words);
    }
    fails(&["train", "--resume", &out, "--out", &out], 2, &["--resume"]);
    refused(&["--data", SMALL, "--model", "lenet6"], &out, 1, &["lenet6", "lenet5"]);
}

#[test]
fn folders_that_are_no_data_set_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "run");
    refused(&["--data", &path(folder.path(), "missing")], &out, 1, &["missing"]);
    fs::create_dir(folder.path().join("none")).expect("made");
    refused(&["--data", &path(folder.path(), "none")], &out, 1, &["none"]);
    let one = few(&folder.path().join("one"), &["bag"], 3);
    refused(&["--data", &one], &out, 1, &["one", "bag"]);
    let two = few(&folder.path().join("two"), &["bag", "coat"], 10);
    fs::create_dir(folder.path().join("two/dress")).expect("made");
    refused(&["--data", &two], &out, 1, &["two", "no pictures", "dress"]);
    refused(&["--data", "README.md"], &out, 1, &["README.md"]);
}

#[test]
fn an_unreadable_picture_is_left_out_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = few(&folder.path().join("set"), &["bag", "coat"], 12);
    fs::write(folder.path().join("set/bag/broken.png"), "no picture").expect("written");
    refused(&["--data", &data, "--strict"], &path(folder.path(), "strict"), 1, &["broken.png"]);
    let (out, arguments) = (path(folder.path(), "run"), ["--epochs", "2", "--json"]);
    let output = run(&[&["train", "--data", &data, "--out", &out], &arguments[..]].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.contains("broken.png"), "{error}");

    // One whose header is whole is found when it is decoded.
    fs::remove_file(folder.path().join("set/bag/broken.png")).expect("removed");
    let coats: Vec<PathBuf> =
        fs::read_dir(folder.path().join("set/coat")).expect("listed").map(|entry| entry.expect("an entry").path()).collect();
    for coat in &coats[..6] {
        let whole = fs::read(coat).expect("read");
        fs::write(coat, &whole[..whole.len() / 2]).expect("written");
    }
    let out = path(folder.path(), "half");
    let output = run(&[&["train", "--data", &data, "--out", &out], &arguments[..]].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.contains("set/coat/") && error.contains("could not be read"), "{error}");
    let output = run(&["train", "--data", &data, "--out", &path(folder.path(), "strict"), "--strict"]);
    failed(&output, 1, &["set/coat/"]);
}

#[test]
fn frozen_layers_stay_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = few(&folder.path().join("set"), &["bag", "coat"], 20);
    let made = |name: &str, epochs: &str, freeze: &[&str]| {
        let out = path(folder.path(), name);
        train(&data, &out, &[&["--epochs", epochs, "--ema", "0", "--lr", "0.05"], freeze].concat());
        weights(&out)
    };
    let (short, long) = (made("short", "1", &["--freeze", "conv"]), made("long", "3", &["--freeze", "conv"]));
    let free = made("free", "3", &[]);
    for (name, values) in &short {
        assert_eq!(*values == long[name], name.starts_with("conv"), "{name}");
        assert!(*values != free[name], "{name} is trained where nothing is frozen");
    }
    let out = path(folder.path(), "none");
    refused(&["--data", &data, "--freeze", "nothing"], &out, 1, &["--freeze nothing", "conv1", "fc3"]);
    refused(&["--data", &data, "--freeze", "conv,fc"], &out, 1, &["--freeze conv,fc", "every weight is frozen"]);
}

#[test]
fn what_was_frozen_is_thawed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = few(&folder.path().join("set"), &["bag", "coat"], 20);
    let made = |name: &str, epochs: &str| {
        let out = path(folder.path(), name);
        train(&data, &out, &["--epochs", epochs, "--schedule", "constant", "--ema", "0", "--freeze", "conv", "--unfreeze", "2"]);
        weights(&out)
    };
    let (frozen, thawed) = (made("frozen", "2"), made("thawed", "3"));
    assert!(frozen.iter().all(|(name, values)| *values != thawed[name]), "everything moves in the third epoch");
    let other = made("other", "1");
    assert!(frozen.iter().all(|(name, values)| (*values == other[name]) == name.starts_with("conv")));
}

#[test]
fn classes_of_unequal_size_are_said_and_can_count_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    few(&folder.path().join("set"), &["bag"], 30);
    let data = few(&folder.path().join("set"), &["coat"], 6);
    let made = |name: &str, flags: &[&str]| {
        let out = path(folder.path(), name);
        let output = run(&[&["train", "--data", &data, "--out", &out, "--epochs", "1", "--ema", "0"], flags].concat());
        assert!(output.status.success());
        (weights(&out), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (usual, said) = (made("usual", &[]), made("balanced", &["--class-weights", "balanced"]));
    assert!(usual.1.contains("warning: `bag` has 24 pictures to train with, `coat` has 5"), "{}", usual.1);
    assert!(!said.1.contains("warning") && said.1.contains("all count the same"), "{}", said.1);
    assert!(usual.0["fc3.bias"] != said.0["fc3.bias"]);
}

#[test]
fn a_run_has_the_preprocessing_of_the_weights_that_it_begins_with() {
    let folder = tempfile::tempdir().expect("a folder");
    // In colour: the network takes grey.
    let data = few(&folder.path().join("set"), &["bag", "coat"], 12);
    for entry in fs::read_dir(folder.path().join("set/bag")).expect("listed") {
        let path = entry.expect("an entry").path();
        cirio_vision::Image::open(&path).expect("a picture").to_rgb().save(&path).expect("written");
    }
    let made = |name: &str, weights: &[&str]| {
        let out = path(folder.path(), name);
        train(&data, &out, &[&["--epochs", "1"], weights].concat());
        let config = cirio_train::RunFolder::config(Path::new(&out)).expect("a run");
        (config.preprocess.expect("a classifier's"), config.train.augment.to_string())
    };
    let (usual, augment) = made("usual", &[]);
    assert_eq!((usual.crop, augment.as_str()), (None, "crop:2"));
    // The shipped weights with another mean and pictures that are cropped.
    let start = folder.path().join("start.safetensors");
    let tensors = candle_core::safetensors::load(root().join("weights/lenet5-mnist.safetensors"), &Device::Cpu).expect("weights");
    let preprocess = r#"{"channels":1,"resize":{"short-side":32},"crop":[28,28],"pad":2,"mean":[0.25],"std":[0.5]}"#;
    let texts = [("model".to_owned(), "lenet5".to_owned()), ("preprocess".to_owned(), preprocess.to_owned())];
    cirio_nn::files::write_tensors(&start, &tensors.into_iter().collect(), &texts.into()).expect("written");
    let (theirs, augment) = made("theirs", &["--weights", start.to_str().expect("a path")]);
    assert_eq!((theirs.mean, theirs.crop, augment.as_str()), (vec![0.25], Some([28, 28]), "resized-crop,flip"));
}

#[test]
fn one_process_trains_in_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "run");
    let mut child =
        cirio().args(["train", "--data", SMALL, "--out", &out, "--epochs", "1000"]).stderr(Stdio::null()).spawn().expect("starts");
    while lines(&out) == 0 {
        assert!(child.try_wait().expect("asked").is_none(), "it goes on");
        sleep(Duration::from_millis(5));
    }
    fails(&["train", "--resume", &out], 1, &["run", "another process is training in this folder"]);
    child.kill().expect("killed");
    child.wait().expect("ended");
    fs::remove_file(Path::new(&out).join("checkpoint.safetensors")).ok();
    fs::write(
        Path::new(&out).join("metrics.jsonl"),
        "{\"event\":\"step\",\"epoch\":2,\"step\":21,\"loss\":1.0,\"lr\":0.1,\"seconds\":1.0}\n",
    )
    .expect("written");
    let words = ["checkpoint.safetensors: is gone"];
    let output = run(&["train", "--resume", &out]);
    failed(&output, 1, &words);
}

/// Files may not be longer than 400 blocks of 512 bytes: the weights of the first epoch do not fit.
#[cfg(unix)]
#[test]
fn a_full_disk_is_one_clear_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, out) = (few(&folder.path().join("set"), &["bag", "coat"], 10), path(folder.path(), "run"));
    let limited = "trap '' XFSZ; ulimit -f 400; exec \"$@\"";
    let command = [env!("CARGO_BIN_EXE_cirio"), "train", "--data", &data, "--out", &out, "--epochs", "1"];
    let output = std::process::Command::new("sh").args(["-c", limited, "sh"]).args(command).current_dir(root()).output().expect("starts");
    failed(&output, 1, &["last.safetensors", "cannot be written"]);
    let left: Vec<_> = fs::read_dir(&out).expect("listed").map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(
        left.iter().all(|name| !name.to_string_lossy().ends_with("safetensors") && !name.to_string_lossy().starts_with('.')),
        "{left:?}"
    );
    assert_eq!(json(&["train", "--resume", &out, "--json"])["epochs"], 1);
}

#[test]
fn weights_to_begin_with_get_a_new_head_for_other_classes() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = few(&folder.path().join("set"), &["bag", "coat", "trouser"], 20);
    let out = path(folder.path(), "run");
    let arguments = ["--weights", "lenet5/fashion-mnist", "--epochs", "1", "--freeze", "conv,fc1,fc2", "--ema", "0", "--json"];
    let output = run(&[&["train", "--data", &data, "--out", &out], &arguments[..]].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(error.contains("the last layer `fc3` is new, for 3 classes"), "{error}");
    let begun = candle_core::safetensors::load(root().join("weights/lenet5-fashion-mnist.safetensors"), &Device::Cpu).expect("weights");
    let trained = weights(&out);
    for (name, tensor) in begun.iter().filter(|(name, _)| !name.starts_with("fc3.")) {
        let values: Vec<f32> = tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers");
        assert!(trained[name] == values, "{name} is not the one that training began with");
    }
    assert_eq!(trained["fc3.bias"].len(), 3);
    // A run of one's own, with three classes, for the same three: nothing is new.
    let again = run(&["train", "--data", &data, "--weights", &out, "--out", &path(folder.path(), "again"), "--epochs", "1"]);
    let error = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success() && !error.contains("is new"), "{error}");
    let paper = ["--data", &data, "--weights", "weights/lenet5_paper-fashion-mnist.safetensors"];
    refused(&paper, &path(folder.path(), "paper"), 1, &["lenet5_paper"]);
}

#[test]
fn a_folder_with_something_in_it_is_not_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("notes.txt"), "mine").expect("written");
    let out = folder.path().to_str().expect("a path");
    fails(&["train", "--data", SMALL, "--out", out], 1, &[out, "something is in this folder"]);
    fails(&["train", "--resume", out], 1, &[out, "config.toml"]);
    fails(&["train", "--resume", &path(folder.path(), "missing")], 1, &["missing"]);
    fails(&["train", "--data", SMALL, "--out", &path(folder.path(), "notes.txt")], 1, &["notes.txt"]);
    fs::write(folder.path().join("config.toml"), "model = \"lenet5\"\nepochs = [").expect("written");
    fails(&["train", "--resume", out], 1, &["config.toml", "line 2"]);
    assert_eq!(fs::read_dir(out).expect("listed").count(), 2);
}

#[test]
fn a_checkpoint_that_is_broken_or_of_another_run_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = few(&folder.path().join("set"), &["bag", "coat"], 20);
    let out = path(folder.path(), "run");
    train(&data, &out, &["--epochs", "1"]);
    let config = String::from_utf8(bytes(&out, "config.toml")).expect("text");
    fs::write(Path::new(&out).join("config.toml"), config.replace("batch = 8", "batch = 9")).expect("written");
    fails(&["train", "--resume", &out], 1, &["checkpoint.safetensors", "batch = 8", "batch = 9"]);
    fs::write(Path::new(&out).join("config.toml"), &config).expect("written");
    let whole = bytes(&out, "checkpoint.safetensors");
    for length in [0, 7, 100, whole.len() - 1] {
        fs::write(Path::new(&out).join("checkpoint.safetensors"), &whole[..length]).expect("written");
        fails(&["train", "--resume", &out], 1, &["checkpoint.safetensors"]);
    }
}

#[test]
fn a_learning_rate_is_found_without_a_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = few(&folder.path().join("set"), &["bag", "coat"], 20);
    let out = path(folder.path(), "run");
    let document = json(&["train", "--data", &data, "--out", &out, "--find-lr", "--json"]);
    assert!(document["suggestion"].as_f64().is_some_and(|rate| rate > 0.0 && rate < 10.0), "{document}");
    assert!(document["curve"].as_array().is_some_and(|curve| curve.len() > 10));
    assert!(!folder.path().join("run").exists());
}
