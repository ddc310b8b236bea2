//! Whole runs on a toy data set: pictures of 8×8 that are bright on the left, or on the right.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};
use cirio_data::{InMemory, Loader, LoaderConfig, Order, PictureSize};
use cirio_nn::layer::{Dropout, Flatten, Relu, batch_norm, conv, linear, max_pool};
use cirio_nn::loss::Loss;
use cirio_nn::{Layers, Store, Weights};
use cirio_train::optim::{AdamW, Clip, Rule};
use cirio_train::{
    ClassWeights, Classifier, Curve, EpochLine, Error, Mix, Outcome, Progress, Result, RunConfig, RunFolder, Schedule, Snapshot,
    TrainConfig, Trainer, find_learning_rate,
};
use cirio_vision::{Preprocess, Resize};

const SIDE: usize = 8;
const PICTURES: usize = 48;

fn dataset(classes: usize) -> Arc<InMemory> {
    let labels: Vec<u32> = (0..PICTURES).map(|picture| (picture % 2) as u32).collect();
    let pixel = |picture: usize, at: usize| {
        let bright = (at % SIDE < SIDE / 2) == picture.is_multiple_of(2);
        let noise = (picture * 131 + at * 71) % 97;
        if bright { 120 + noise as u8 } else { noise as u8 }
    };
    let pixels = (0..PICTURES).flat_map(|picture| (0..SIDE * SIDE).map(move |at| pixel(picture, at))).collect();
    let names = (0..classes).map(|class| ["left", "right", "neither"][class].to_owned()).collect();
    let size = PictureSize { height: SIDE, width: SIDE, channels: 1 };
    Arc::new(InMemory::new("toy", names, labels, pixels, size).expect("a data set"))
}

fn config() -> RunConfig {
    RunConfig {
        model: "toy".into(),
        data: "toy".into(),
        weights: None,
        val_fraction: None,
        strict: false,
        classes: vec!["left".into(), "right".into()],
        train: TrainConfig {
            epochs: 4,
            batch: 10,
            learning_rate: 0.05,
            augment: "flip".parse().expect("a pipeline"),
            seed: 3,
            ..TrainConfig::default()
        },
        preprocess: Some(Preprocess {
            channels: 1,
            resize: Resize::Exact { height: SIDE, width: SIDE },
            crop: None,
            pad: 0,
            fill: 0,
            mean: vec![0.5],
            std: vec![0.5],
        }),
        objects: None,
    }
}

/// Pictures must not be mirrored where left and right are the classes.
fn learnable() -> RunConfig {
    let config = config();
    RunConfig { train: TrainConfig { augment: "none".parse().expect("a pipeline"), ema: 0.9, epochs: 8, ..config.train }, ..config }
}

fn layers() -> Layers {
    Layers::new([1, SIDE, SIDE])
        .then("conv", conv(4, 3))
        .then("bn", batch_norm())
        .then("relu", Relu)
        .then("pool", max_pool(2))
        .then("flatten", Flatten)
        .then("dropout", Dropout(0.2))
        .then("fc", linear(2))
}

fn store(config: &RunConfig) -> Store {
    Store::new(config.train.seed, DType::F32, &Device::Cpu)
}

fn loaders(config: &RunConfig, workers: usize) -> Result<(Loader, Loader)> {
    let preprocess = config.preprocess.as_ref().expect("a classifier's");
    let plain = LoaderConfig { batch: config.train.batch, seed: config.train.seed, workers, ..LoaderConfig::default() };
    let shuffled = LoaderConfig { order: Order::Shuffled, ..plain.clone() };
    let train = Loader::new(dataset(2), shuffled, preprocess.clone(), Some(config.train.augment.clone()))?;
    Ok((train, Loader::new(dataset(2), plain, preprocess.clone(), None)?))
}

const LOSS: Loss = Loss::CrossEntropy { label_smoothing: 0.0 };

/// Ends the run with an error after so many epochs, as a kill between two epochs would.
struct Killed(u64);

impl Progress for Killed {
    fn epoch_begins(&mut self, epoch: u64, _epochs: u64, _pictures: usize) {
        assert!(epoch <= self.0, "killed");
    }
}

/// Trains in a folder that is new, or has a run to go on with.
fn train(folder: &Path, config: RunConfig, workers: usize, progress: &mut dyn Progress) -> Result<Outcome> {
    let (folder, config) = match folder.join("config.toml").exists() {
        true => RunFolder::open(folder)?,
        false => (RunFolder::create_at(folder, &config)?, config),
    };
    let store = store(&config);
    let (train, val) = loaders(&config, workers)?;
    let layers = layers();
    let learner = Classifier::new(&layers, &store, LOSS, &config.train, train, Some(val))?;
    Trainer::new(learner, &store, config, folder)?.run(progress)
}

fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a run is judged by: its checkpoint without the seconds, and its weights.
fn result(folder: &Path) -> (BTreeMap<String, Vec<u8>>, Vec<u8>, Vec<u8>) {
    let file = Weights::open(folder.join("checkpoint.safetensors")).expect("a checkpoint");
    let raw = |name: &String| {
        let tensor = file.tensor(name, &Device::Cpu).expect("a tensor");
        let values = tensor.flatten_all().and_then(|flat| flat.to_dtype(DType::F64)?.to_vec1::<f64>()).expect("values");
        values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
    };
    let tensors = file.shapes().keys().map(|name| (name.clone(), raw(name))).collect();
    (tensors, bytes(folder, "last.safetensors"), bytes(folder, "best.safetensors"))
}

#[test]
fn it_learns_and_leaves_all_its_files() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = train(folder.path(), learnable(), 1, &mut ())?;
    let (_, best) = outcome.best.expect("a best epoch");
    assert!(best.headline().1 > 0.95, "{best:?}");
    assert_eq!((outcome.epochs, best.count(), outcome.stopped_early), (8, PICTURES as u64, false));
    for name in [
        "config.toml",
        "metrics.jsonl",
        "curves.svg",
        "confusion.svg",
        "classes.tsv",
        "last.safetensors",
        "best.safetensors",
        "checkpoint.safetensors",
    ] {
        assert!(!bytes(folder.path(), name).is_empty(), "{name}");
    }
    assert!(fs::read_dir(folder.path()).expect("a folder").flatten().any(|entry| entry.file_name().to_string_lossy().contains("tfevents")));
    let weights = Weights::open(folder.path().join("best.safetensors"))?;
    assert_eq!(weights.metadata()["model"], "toy");
    assert_eq!(weights.metadata()["classes"], r#"["left","right"]"#);
    let lines = String::from_utf8(bytes(folder.path(), "metrics.jsonl")).expect("text");
    assert_eq!(lines.lines().filter(|line| line.contains(r#""event":"epoch""#)).count(), 8);
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_weights_with_any_number_of_threads() -> Result<()> {
    let folders = [0, 1, 3].map(|workers| (workers, tempfile::tempdir().expect("a folder")));
    for (workers, folder) in &folders {
        train(folder.path(), config(), *workers, &mut ())?;
    }
    let first = result(folders[0].1.path());
    assert!(folders.iter().all(|(_, folder)| result(folder.path()) == first));

    let other = tempfile::tempdir().expect("a folder");
    let config = config();
    train(other.path(), RunConfig { train: TrainConfig { seed: 4, ..config.train }, ..config }, 1, &mut ())?;
    assert_ne!(result(other.path()).1, first.1);
    Ok(())
}

#[test]
fn a_resumed_run_ends_as_the_whole_one() -> Result<()> {
    let usual = config();
    for recipe in [
        usual.train.clone(),
        TrainConfig {
            optimizer: Rule::AdamW(AdamW::default()),
            ema: 0.0,
            mix: Some(Mix::Mixup(0.4)),
            clip: Some(Clip::Norm(0.5)),
            ..usual.train.clone()
        },
        TrainConfig { mix: Some(Mix::Cutmix(1.0)), layer_decay: 0.5, freeze: vec!["conv.".into()], ..usual.train.clone() },
        // Killed before it is thawed, at that moment, and after it.
        TrainConfig { freeze: vec!["conv.".into(), "bn.".into()], unfreeze: Some(1), head_learning_rate: Some(0.1), ..usual.train.clone() },
        TrainConfig {
            optimizer: Rule::AdamW(AdamW::default()),
            learning_rate: 1e-3,
            freeze: vec!["conv.".into()],
            unfreeze: Some(2),
            class_weights: ClassWeights::Balanced,
            ..usual.train.clone()
        },
    ] {
        let config = RunConfig { train: recipe, ..usual.clone() };
        let (whole, parts) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        train(whole.path(), config.clone(), 1, &mut ())?;
        for killed_after in [1, 3] {
            let killed = std::panic::catch_unwind(|| train(parts.path(), config.clone(), 1, &mut Killed(killed_after)));
            assert!(killed.is_err(), "it was to be killed");
            // What a kill in the middle of a write leaves.
            fs::write(parts.path().join(".cirio-half"), "half a checkpoint").expect("written");
        }
        train(parts.path(), config, 1, &mut ())?;
        assert_eq!(result(whole.path()), result(parts.path()));
        assert!(!parts.path().join(".cirio-half").exists());
        let epochs = |folder: &Path| -> Vec<String> {
            let text = String::from_utf8(bytes(folder, "metrics.jsonl")).expect("text");
            text.lines().map(|line| line.split(",\"seconds\"").next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(epochs(whole.path()), epochs(parts.path()), "no line is lost or there twice");
    }
    Ok(())
}

/// The epochs of a run's snapshots, and their files' bytes.
fn snapshots(folder: &Path) -> Result<Vec<(u64, Vec<u8>)>> {
    let read = |snapshot: Snapshot| (snapshot.epoch, fs::read(snapshot.path).expect("a file"));
    Ok(RunFolder::snapshots(folder)?.into_iter().map(read).collect())
}

#[test]
fn snapshots_are_the_first_weights_and_those_of_every_few_epochs() -> Result<()> {
    let usual = config();
    for ema in [0.0, 0.9] {
        let recipe = TrainConfig { epochs: 5, snapshots: Some(2), ema, ..usual.train.clone() };
        let config = RunConfig { train: recipe, ..usual.clone() };
        let (whole, parts) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        train(whole.path(), config.clone(), 1, &mut ())?;
        let kept = snapshots(whole.path())?;
        assert_eq!(kept.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [0, 2, 4]);

        // Killed before the first epoch, between snapshots and at one.
        for killed_after in [0, 1, 4] {
            let killed = std::panic::catch_unwind(|| train(parts.path(), config.clone(), 1, &mut Killed(killed_after)));
            assert!(killed.is_err(), "it was to be killed");
            fs::write(parts.path().join("snapshots/.cirio-half"), "half a snapshot").expect("written");
        }
        fs::write(parts.path().join("snapshots/epoch-one.safetensors"), "something else").expect("written");
        train(parts.path(), config.clone(), 1, &mut ())?;
        assert!(snapshots(parts.path())? == kept, "others than those of the whole run");
        assert!(!parts.path().join("snapshots/.cirio-half").exists());

        let store = store(&config);
        layers().build(store.var_builder())?;
        let first = Weights::open(&RunFolder::snapshots(whole.path())?[0].path)?;
        assert_eq!((first.metadata()["model"].as_str(), first.metadata()["epoch"].as_str()), ("toy", "0"));
        assert_eq!(first.tensor("conv.weight", &Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?, {
            store.tensors()["conv.weight"].flatten_all()?.to_vec1::<f32>()?
        });
        // Those of an epoch are what the run's last weights are where it ends there.
        let short = tempfile::tempdir().expect("a folder");
        let schedule = Schedule { curve: Curve::Constant, ..config.train.schedule.clone() };
        let of = |epochs| RunConfig { train: TrainConfig { epochs, schedule: schedule.clone(), ..config.train.clone() }, ..config.clone() };
        train(short.path(), of(2), 1, &mut ())?;
        let long = tempfile::tempdir().expect("a folder");
        train(long.path(), of(3), 1, &mut ())?;
        assert!(snapshots(long.path())?[1].1 == bytes(short.path(), "last.safetensors"), "with averages of {ema}");
    }
    Ok(())
}

#[test]
fn a_run_without_snapshots_has_none() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config();
    train(folder.path(), RunConfig { train: TrainConfig { epochs: 1, ..config.train }, ..config }, 1, &mut ())?;
    assert!(!folder.path().join("snapshots").exists() && RunFolder::snapshots(folder.path())?.is_empty());
    let error = RunFolder::snapshots(&folder.path().join("missing")).expect_err("no folder").to_string();
    assert!(error.contains("missing"), "{error}");
    Ok(())
}

/// The conv's weights after each epoch.
struct Watched<'a>(&'a Store, Vec<Vec<f32>>);

impl Progress for Watched<'_> {
    fn epoch_ends(&mut self, _line: &EpochLine, _best: bool) {
        let weights = self.0.tensors()["conv.weight"].flatten_all().and_then(|flat| flat.to_vec1());
        self.1.push(weights.expect("numbers"));
    }
}

#[test]
fn what_is_frozen_is_thawed_after_its_epochs_and_moves_gently() -> Result<()> {
    for optimizer in [config().train.optimizer, Rule::AdamW(AdamW::default())] {
        let folder = tempfile::tempdir().expect("a folder");
        let usual = config();
        let recipe = TrainConfig { optimizer, learning_rate: 1e-4, freeze: vec!["conv.".into()], unfreeze: Some(2), ..usual.train.clone() };
        let config = RunConfig { train: recipe, ..usual };
        let store = store(&config);
        let (train, val) = loaders(&config, 1)?;
        let run = RunFolder::create_at(folder.path(), &config)?;
        let mut watched = Watched(&store, Vec::new());
        let layers = layers();
        let learner = Classifier::new(&layers, &store, LOSS, &config.train, train, Some(val))?;
        Trainer::new(learner, &store, config, run)?.run(&mut watched)?;
        let epochs = watched.1;
        assert!(epochs[0] == epochs[1] && epochs[1] != epochs[2] && epochs[2] != epochs[3]);
        // Five steps of at most the rate each: Adam's first steps are as long as its later ones, also for what begins late.
        let furthest = epochs[1].iter().zip(&epochs[2]).map(|(before, after)| (before - after).abs()).fold(0.0, f32::max);
        assert!(furthest < 5.0 * 1.1e-4 * 5.0, "{furthest}");
    }
    Ok(())
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config();
    let config = RunConfig { train: TrainConfig { learning_rate: 1e30, ema: 0.0, ..config.train }, ..config };
    let error = train(folder.path(), config, 1, &mut ()).expect_err("it cannot go well");
    assert!(matches!(error, Error::Diverged { .. } | Error::NotFinite(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("epoch 1") || text.contains("not sound"), "{text}");
    assert!(!folder.path().join("last.safetensors").exists());
    Ok(())
}

/// Makes the folder of the run useless after an epoch, and counts epochs.
struct Counted(Vec<EpochLine>);

impl Progress for Counted {
    fn epoch_ends(&mut self, line: &EpochLine, _best: bool) {
        self.0.push(*line);
    }
}

#[test]
fn no_patience_ends_early_and_stays_ended() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = learnable();
    // Once everything is right the loss still falls a little, so the rate is taken away: nothing gets better any more.
    let config =
        RunConfig { train: TrainConfig { epochs: 50, patience: Some(2), learning_rate: 1e-12, ema: 0.0, ..config.train }, ..config };
    let mut counted = Counted(Vec::new());
    let outcome = train(folder.path(), config.clone(), 1, &mut counted)?;
    assert!(outcome.stopped_early && outcome.epochs < 50, "{outcome:?}");
    assert_eq!(counted.0.len() as u64, outcome.epochs);
    let again = train(folder.path(), config, 1, &mut ())?;
    assert_eq!((again.epochs, again.stopped_early), (outcome.epochs, true));
    Ok(())
}

#[test]
fn a_folder_is_for_one_process_and_a_lost_checkpoint_is_said() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    train(folder.path(), config(), 1, &mut ())?;
    let held = RunFolder::open(folder.path())?;
    let error = train(folder.path(), config(), 1, &mut ()).expect_err("locked").to_string();
    assert!(error.contains("another process is training in this folder"), "{error}");
    assert_eq!(RunFolder::config(folder.path())?, held.1, "it can still be looked into");
    drop(held);
    fs::remove_file(folder.path().join("checkpoint.safetensors")).expect("removed");
    let error = train(folder.path(), config(), 1, &mut ()).expect_err("no checkpoint").to_string();
    assert!(error.contains("checkpoint.safetensors: is gone"), "{error}");
    // One that was killed in its first epoch begins again.
    let metrics = String::from_utf8(bytes(folder.path(), "metrics.jsonl")).expect("text");
    fs::write(folder.path().join("metrics.jsonl"), metrics.lines().next().expect("a line").to_owned() + "\n").expect("written");
    assert_eq!(train(folder.path(), config(), 1, &mut ())?.epochs, 4);
    Ok(())
}

#[test]
fn a_checkpoint_of_another_run_is_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    train(folder.path(), config(), 1, &mut ())?;
    let toml = folder.path().join("config.toml");
    let text = fs::read_to_string(&toml).expect("read");
    fs::write(&toml, text.replace("batch = 10", "batch = 12")).expect("written");
    let error = train(folder.path(), config(), 1, &mut ()).expect_err("another batch").to_string();
    assert!(error.contains("batch = 10") && error.contains("batch = 12"), "{error}");

    fs::write(&toml, text.replace("epochs = 4", "epochs = \"four\"")).expect("written");
    let error = train(folder.path(), config(), 1, &mut ()).expect_err("no number").to_string();
    assert!(error.contains("config.toml: line "), "{error}");

    fs::write(&toml, text).expect("written");
    let checkpoint = folder.path().join("checkpoint.safetensors");
    let whole = fs::read(&checkpoint).expect("read");
    fs::write(&checkpoint, &whole[..whole.len() / 2]).expect("written");
    let error = train(folder.path(), config(), 1, &mut ()).expect_err("cut short").to_string();
    assert!(error.contains("checkpoint.safetensors"), "{error}");
    fs::copy(folder.path().join("last.safetensors"), &checkpoint).expect("copied");
    let error = train(folder.path(), config(), 1, &mut ()).expect_err("no checkpoint").to_string();
    assert!(error.contains("no checkpoint of a run"), "{error}");
    Ok(())
}

/// Changes the header of a checkpoint, which is JSON, and leaves its tensors.
fn tamper(path: &Path, change: impl FnOnce(&str) -> String) {
    let whole = fs::read(path).expect("read");
    let (length, rest) = whole.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let header = change(std::str::from_utf8(&rest[..length]).expect("JSON").trim_end());
    fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &rest[length..]].concat()).expect("written");
}

#[test]
fn a_checkpoint_with_an_impossible_state_is_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    train(folder.path(), config(), 1, &mut ())?;
    let path = folder.path().join("checkpoint.safetensors");
    let whole = fs::read(&path).expect("read");
    // Four epochs of five steps; the quotes of the state stand escaped in the header.
    let most = u64::MAX;
    for (from, to, word) in [
        (r#"\"epoch\":4,"#, format!(r#"\"epoch\":{most},"#), "of 4 epochs are done"),
        (r#"\"step\":20,"#, format!(r#"\"step\":{most},"#), "steps"),
        (r#"\"step\":20,"#, r#"\"step\":0,"#.to_owned(), "4 epochs with 0 steps"),
        (r#"\"optimizer_steps\":20,"#, format!(r#"\"optimizer_steps\":{most},"#), "of the optimiser"),
        (r#"\"ema_updates\":20,"#, format!(r#"\"ema_updates\":{most},"#), "of the averages"),
        (r#""dtype":"F32""#, r#""dtype":"I32""#.to_owned(), "is I32, this run has it as F32"),
    ] {
        fs::write(&path, &whole).expect("written");
        tamper(&path, |header| {
            assert!(header.contains(from), "{from} is not in {header}");
            header.replace(from, &to)
        });
        let error = train(folder.path(), config(), 1, &mut ()).expect_err(&to).to_string();
        assert!(error.contains("checkpoint.safetensors") && error.contains(word), "{error}");
    }
    // All counters agree, but these pictures cannot give so many steps.
    fs::write(&path, &whole).expect("written");
    tamper(&path, |header| {
        ["step", "optimizer_steps", "ema_updates"]
            .iter()
            .fold(header.to_owned(), |header, key| header.replace(&format!(r#"\"{key}\":20,"#), &format!(r#"\"{key}\":{most},"#)))
    });
    let error = train(folder.path(), config(), 1, &mut ()).expect_err("too many steps").to_string();
    assert!(error.contains("4 epochs have at most 20"), "{error}");

    fs::write(&path, whole).expect("written");
    assert_eq!(train(folder.path(), config(), 1, &mut ())?.epochs, 4, "the untouched checkpoint is still good");
    Ok(())
}

#[test]
fn nothing_to_train_and_occupied_folders_are_errors() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let usual = config();
    let frozen = RunConfig { train: TrainConfig { freeze: vec![String::new()], ..usual.train.clone() }, ..usual.clone() };
    assert!(train(folder.path(), frozen, 1, &mut ()).is_err());
    assert!(RunFolder::create_at(folder.path(), &usual).is_err(), "the folder is not empty");
    let runs = [(); 3].map(|()| RunFolder::create(folder.path(), "classify", "toy", &usual));
    let names = runs.map(|run| run.map(|run| run.path().file_name().map(|name| name.to_string_lossy().into_owned())));
    let names: Vec<_> = names.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    assert_eq!(names, ["toy", "toy-2", "toy-3"]);
    Ok(())
}

#[test]
fn the_finder_suggests_a_rate_and_changes_nothing() -> Result<()> {
    let config = learnable();
    let store = store(&config);
    let network = layers().build(store.var_builder())?;
    let before = store.tensors()["fc.weight"].copy()?.to_vec2::<f32>()?;
    let (train, _) = loaders(&config, 1)?;
    let found = find_learning_rate(&network, &store, LOSS, config.train.optimizer, &config.train.groups(), &train, 120)?;
    assert!((1e-4..2.0).contains(&found.suggestion), "{}", found.suggestion);
    assert!(found.curve.windows(2).all(|pair| pair[1].0 > pair[0].0));
    assert_eq!(store.tensors()["fc.weight"].to_vec2::<f32>()?, before);
    Ok(())
}
