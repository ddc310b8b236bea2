//! Whole runs of a tiny detector on a toy data set: bright squares and bright frames on dark ground.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};
use cirio_coco::Rle;
use cirio_data::objects::augment::Augmentation;
use cirio_data::objects::{Category, Instance, Object, ObjectSet, Outline, Picture, Scene, SceneLoader, SceneLoaderConfig, Scenes};
use cirio_data::{Order, Strictness};
use cirio_detection::{Anchors, Body, BoxHead, DetectorConfig, FpnConfig, MaskConfig, RoiConfig, RpnConfig, Transform};
use cirio_nn::layer::{Conv2d, Relu, batch_norm, conv};
use cirio_nn::{Layers, Store, Weights};
use cirio_train::optim::{AdamW, Rule};
use cirio_train::{Labelled, ObjectConfig, ObjectFinder, Outcome, Progress, Quality, Result, RunConfig, RunFolder, TrainConfig, Trainer};
use cirio_vision::Image;

const SIDE: usize = 32;
const PICTURES: usize = 24;

/// Where the object of a picture is, and its class; every sixth picture has none.
fn object(index: usize) -> Option<([usize; 4], usize)> {
    let (left, upper, size) = (3 + index * 7 % 11, 2 + index * 5 % 13, 12 + index % 4);
    (index % 6 != 5).then_some(([left, upper, left + size, upper + size], index % 2))
}

/// Whether a pixel belongs to an object: a square, or a frame of three pixels.
fn inside([left, upper, right, lower]: [usize; 4], class: usize, row: usize, column: usize) -> bool {
    let deep = |margin: usize| (left + margin..right - margin).contains(&column) && (upper + margin..lower - margin).contains(&row);
    deep(0) && (class == 0 || !deep(3))
}

fn mask(edges: [usize; 4], class: usize) -> Vec<u8> {
    (0..SIDE * SIDE).map(|pixel| u8::from(inside(edges, class, pixel / SIDE, pixel % SIDE))).collect()
}

/// The pictures, made when they are asked for. Picture `broken` cannot be read.
struct Toy {
    broken: Option<usize>,
}

impl Scenes for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    fn len(&self) -> usize {
        PICTURES
    }

    fn scene(&self, index: usize) -> cirio_data::Result<Scene> {
        if self.broken == Some(index) {
            return Err(cirio_data::Error::Picture { picture: self.picture_name(index), reason: "is broken".into() });
        }
        let object = object(index);
        let value = |pixel: usize, colour: usize| {
            let bright = object.is_some_and(|(edges, class)| inside(edges, class, pixel / SIDE, pixel % SIDE));
            (if bright { 200 } else { 20 }) + ((pixel * 31 + colour * 7 + index) % 40) as u8
        };
        let data = (0..SIDE * SIDE).flat_map(|pixel| (0..3).map(move |colour| (pixel, colour))).map(|(pixel, colour)| value(pixel, colour));
        let instance = object.map(|(edges, class)| Instance {
            edges: edges.map(|edge| edge as f32),
            class,
            mask: Some(mask(edges, class)),
            keypoints: Vec::new(),
        });
        let image = Image::new(SIDE, SIDE, 3, data.collect()).expect("a picture");
        Ok(Scene { image, instances: instance.into_iter().collect() })
    }

    fn picture_name(&self, index: usize) -> String {
        format!("toy-{index}.png")
    }

    fn size(&self, _index: usize) -> [usize; 2] {
        [SIDE; 2]
    }
}

/// The same pictures' labels.
fn labels() -> Arc<ObjectSet> {
    let picture = |index: usize| {
        let object = object(index).map(|(edges, class)| {
            let runs = Rle::encode([SIDE; 2], &mask(edges, class)).expect("a mask");
            let area = runs.area() as f64;
            let edges = edges.map(|edge| edge as f64);
            Object { id: 1, place: None, class, edges, outline: Some(Outline::Runs(runs)), keypoints: Vec::new(), area, crowd: false }
        });
        Picture {
            id: index as u64,
            path: format!("toy-{index}.png").into(),
            labels: None,
            size: [SIDE; 2],
            objects: object.into_iter().collect(),
        }
    };
    let categories = ["square", "frame"].iter().zip(1..).map(|(name, id)| Category { id, name: (*name).into() }).collect();
    Arc::new(ObjectSet { name: "toy".into(), categories, pictures: (0..PICTURES).map(picture).collect(), ..ObjectSet::default() })
}

/// Four convolutions with the strides 2, 2, 2 and 2, and a pyramid of 16 channels.
fn detector() -> DetectorConfig {
    let half = |count| Conv2d { stride: [2; 2], padding: [1; 2], ..conv(count, 3) };
    let layers =
        ["layer1", "layer2", "layer3", "layer4"].iter().zip([8, 12, 16, 16]).fold(Layers::new([3, 32, 32]), |layers, (name, count)| {
            layers.then(format!("{name}.0"), half(count)).then(format!("{name}.1"), batch_norm()).then(format!("{name}.2"), Relu)
        });
    let anchors = |size: f32| Anchors { sizes: vec![size], ratios: vec![1.0] };
    DetectorConfig {
        transform: Transform { short_sides: vec![32], longest: 32, ..Transform::default() },
        body: Body { layers, taps: ["layer1", "layer2", "layer3", "layer4"].map(String::from).to_vec() },
        pyramid: Some(FpnConfig { channels: 16, norm: Some(batch_norm()) }),
        rpn: RpnConfig { anchors: [8.0, 12.0, 16.0, 24.0, 32.0].map(anchors).to_vec(), ..RpnConfig::default() },
        roi: RoiConfig { head: BoxHead::Linear { features: 32, dropout: 0.0 }, ..RoiConfig::new(3) },
        mask: Some(MaskConfig { convolutions: 1, ..MaskConfig::new(3) }),
        keypoints: None,
    }
}

fn config() -> RunConfig {
    RunConfig {
        model: "toy".into(),
        data: "toy".into(),
        weights: None,
        val_fraction: None,
        strict: false,
        classes: vec!["square".into(), "frame".into()],
        train: TrainConfig {
            epochs: 3,
            batch: 4,
            learning_rate: 0.01,
            optimizer: Rule::AdamW(AdamW::default()),
            seed: 3,
            ema: 0.5,
            ..TrainConfig::default()
        },
        preprocess: None,
        objects: Some(ObjectConfig {
            short_sides: vec![32],
            longest: 32,
            frozen_eps: None,
            augment: "hflip".parse().expect("an augmentation"),
        }),
    }
}

/// Trains in a folder that is new, or has a run to go on with.
fn train(folder: &Path, config: RunConfig, workers: usize, broken: Option<usize>, progress: &mut dyn Progress) -> Result<Outcome> {
    let (folder, config) = match folder.join("config.toml").exists() {
        true => RunFolder::open(folder)?,
        false => (RunFolder::create_at(folder, &config)?, config),
    };
    let store = Store::new(config.train.seed, DType::F32, &Device::Cpu);
    let strictness = if config.strict { Strictness::Strict } else { Strictness::Lenient };
    let plain =
        SceneLoaderConfig { batch: config.train.batch, seed: config.train.seed, workers, strictness, ..SceneLoaderConfig::default() };
    let shuffled = SceneLoaderConfig { order: Order::Shuffled, ..plain.clone() };
    let augment = config.objects.as_ref().map(|objects| objects.augment.clone()).unwrap_or_default();
    let loader = SceneLoader::new(Arc::new(Toy { broken }), shuffled, augment)?;
    let held = Labelled { loader: SceneLoader::new(Arc::new(Toy { broken: None }), plain, Augmentation::default())?, set: labels() };
    let learner = ObjectFinder::new(detector(), &store, &config.train, Labelled { loader, set: labels() }, Some(held), &Device::Cpu)?;
    Trainer::new(learner, &store, config, folder)?.run(progress)
}

/// The bytes of a run's weights: the last and the best.
fn weights(folder: &Path) -> [Vec<u8>; 2] {
    ["last.safetensors", "best.safetensors"].map(|name| fs::read(folder.join(name)).expect(name))
}

#[test]
fn it_learns_and_says_what_its_weights_are() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config();
    let config = RunConfig { train: TrainConfig { epochs: 36, ema: 0.9, ..config.train }, ..config };
    let outcome = train(folder.path(), config, 1, None, &mut ())?;
    let Some((_, Quality::Objects(best))) = outcome.best else { panic!("{outcome:?}") };
    assert!(best.bbox_ap50 > 0.9 && best.segm_ap50.is_some_and(|precision| precision > 0.9), "{best:?}");
    assert_eq!(best.count, PICTURES as u64);
    let file = Weights::open(folder.path().join("best.safetensors"))?;
    assert_eq!(file.metadata()["classes"], r#"["background","square","frame"]"#);
    let table = fs::read_to_string(folder.path().join("classes.tsv")).expect("a table");
    assert!(table.lines().count() == 3 && table.contains("frame"), "{table}");
    let metrics = fs::read_to_string(folder.path().join("metrics.jsonl")).expect("lines");
    assert!(metrics.contains("loss_rpn_box_reg") && metrics.contains("segm_AP50"), "{metrics}");
    Ok(())
}

/// Ends the run with an error after so many epochs, as a kill between two epochs would.
struct Killed(u64);

impl Progress for Killed {
    fn epoch_begins(&mut self, epoch: u64, _epochs: u64, _pictures: usize) {
        assert!(epoch <= self.0, "killed");
    }
}

#[test]
fn a_resumed_run_ends_as_the_whole_one_with_any_number_of_threads() -> Result<()> {
    let config = config();
    for recipe in [
        config.train.clone(),
        TrainConfig {
            accumulate: 2,
            freeze: vec!["backbone.body.layer1".into()],
            unfreeze: Some(2),
            snapshots: Some(1),
            ..config.train.clone()
        },
    ] {
        let config = RunConfig { train: recipe, ..config.clone() };
        let (whole, parts) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        train(whole.path(), config.clone(), 1, None, &mut ())?;
        let killed = std::panic::catch_unwind(|| train(parts.path(), config.clone(), 2, None, &mut Killed(1)));
        assert!(killed.is_err(), "it was to be killed");
        train(parts.path(), config.clone(), 0, None, &mut ())?;
        assert_eq!(weights(whole.path()), weights(parts.path()));
        let snapshots = [whole.path(), parts.path()].map(RunFolder::snapshots);
        let [whole, parts] = snapshots.map(|found| found.map(|found| found.into_iter().map(|found| fs::read(found.path).expect("a file"))));
        let (whole, parts): (Vec<_>, Vec<_>) = (whole?.collect(), parts?.collect());
        assert!(whole == parts && whole.len() == config.train.snapshots.map_or(0, |_| 4), "{} snapshots", whole.len());
    }
    Ok(())
}

#[test]
fn a_run_does_not_go_on_with_other_settings() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config();
    let config = RunConfig { train: TrainConfig { epochs: 1, ..config.train }, ..config };
    train(folder.path(), config.clone(), 1, None, &mut ())?;
    let file = folder.path().join("config.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    for (line, edited, words) in [
        ("longest = 32", "longest = 48", "objects.longest = 32, the run has objects.longest = 48"),
        ("short_sides = [32]", "short_sides = [24, 32]", "objects.short_sides = [32], the run has objects.short_sides = [24,32]"),
        ("probability = 0.5", "probability = 0.25", "objects.augment"),
        ("batch = 4", "batch = 2", "made with batch = 4"),
    ] {
        assert!(text.contains(line), "{line}: {text}");
        fs::write(&file, text.replace(line, edited)).expect("written");
        let error = train(folder.path(), config.clone(), 1, None, &mut ()).expect_err(edited).to_string();
        assert!(error.contains(words), "{error}");
    }
    fs::write(&file, text).expect("written");
    assert_eq!(train(folder.path(), config, 1, None, &mut ())?.epochs, 1);
    Ok(())
}

/// Counts what could not be read.
#[derive(Default)]
struct Counted(Vec<String>);

impl Progress for Counted {
    fn skipped(&mut self, pictures: &[cirio_data::Skipped]) {
        self.0.extend(pictures.iter().map(|skipped| skipped.picture.clone()));
    }
}

#[test]
fn a_picture_that_cannot_be_read_is_named_and_skipped_or_refused() -> Result<()> {
    let (lenient, strict) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let mut counted = Counted::default();
    let config = config();
    let config = RunConfig { train: TrainConfig { epochs: 1, ..config.train }, ..config };
    train(lenient.path(), config.clone(), 1, Some(7), &mut counted)?;
    assert_eq!(counted.0, ["toy-7.png"]);
    let error = train(strict.path(), RunConfig { strict: true, ..config }, 1, Some(7), &mut ()).expect_err("refused").to_string();
    assert!(error.contains("toy-7.png") && error.contains("broken"), "{error}");
    Ok(())
}

#[test]
fn a_loss_that_is_no_number_names_the_pictures() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config();
    let config = RunConfig { train: TrainConfig { learning_rate: 1e30, ..config.train }, ..config };
    let error = train(folder.path(), config, 1, None, &mut ()).expect_err("it cannot go well").to_string();
    assert!(error.contains("toy-") && error.contains("NaN"), "{error}");
}
