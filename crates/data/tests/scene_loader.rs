//! The loader of pictures with objects: its order, its groups, its threads, its errors.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cirio_data::objects::augment::Augmentation;
use cirio_data::objects::{Grouping, Instance, Scene, SceneBatch, SceneLoader, SceneLoaderConfig, Scenes};
use cirio_data::{Error, Order, Result, Strictness};
use cirio_vision::Image;
use common::message;
use proptest::prelude::*;

/// Pictures of 6 rows and 4, 6 or 9 columns with one object each; those in `bad` cannot be read, number `panics` makes its decoder panic.
#[derive(Default)]
struct Drawn {
    count: usize,
    bad: Vec<usize>,
    panics: Option<usize>,
    read: AtomicUsize,
}

impl Drawn {
    fn new(count: usize, bad: &[usize]) -> Self {
        Self { count, bad: bad.to_vec(), ..Self::default() }
    }
}

impl Scenes for Drawn {
    fn name(&self) -> &str {
        "drawn"
    }

    fn len(&self) -> usize {
        self.count
    }

    fn scene(&self, index: usize) -> Result<Scene> {
        self.read.fetch_add(1, Ordering::SeqCst);
        assert_ne!(Some(index), self.panics, "a decoder's panic, made by this test");
        if self.bad.contains(&index) {
            return Err(Error::Picture { picture: self.picture_name(index), reason: "is bad".to_owned() });
        }
        let [rows, columns] = self.size(index);
        let image = Image::new(columns, rows, 3, (0..rows * columns * 3).map(|i| (index * 7 + i) as u8).collect()).expect("a picture");
        let instance = Instance { edges: [0.0, 1.0, 2.0, 3.0], class: index % 5, mask: None, keypoints: Vec::new() };
        Ok(Scene { image, instances: vec![instance] })
    }

    fn picture_name(&self, index: usize) -> String {
        format!("drawn/{index}.png")
    }

    fn size(&self, index: usize) -> [usize; 2] {
        [6, [4, 6, 9][index % 3]]
    }
}

fn config(workers: usize) -> SceneLoaderConfig {
    SceneLoaderConfig { batch: 4, order: Order::Shuffled, seed: 5, workers, ..SceneLoaderConfig::default() }
}

fn sequential(workers: usize) -> SceneLoaderConfig {
    SceneLoaderConfig { order: Order::Sequential, grouping: Grouping::Mixed, ..config(workers) }
}

fn loader(drawn: Drawn, config: SceneLoaderConfig) -> SceneLoader {
    SceneLoader::new(Arc::new(drawn), config, "hflip".parse().expect("an augmentation")).expect("a loader")
}

#[test]
fn a_batch_has_scenes_with_their_names() {
    let loader = SceneLoader::new(Arc::new(Drawn::new(6, &[])), sequential(2), Augmentation::default()).unwrap();
    let batches: Vec<SceneBatch> = loader.epoch(0).map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| (batch.number, &batch.indices[..])).collect::<Vec<_>>(), [(0, &[0, 1, 2, 3][..]), (1, &[4, 5])]);
    assert_eq!(batches[1].names, ["drawn/4.png", "drawn/5.png"]);
    assert_eq!(batches[1].scenes[1], Drawn::new(6, &[]).scene(5).unwrap());
}

#[test]
fn an_epoch_has_every_picture_once_in_an_order_of_its_own() {
    let loader = loader(Drawn::new(50, &[]), config(2));
    let order = |epoch| loader.epoch(epoch).flat_map(|batch| batch.unwrap().indices).collect::<Vec<_>>();
    let mut first = order(0);
    assert_ne!(first, order(1));
    assert_eq!(first, order(0));
    first.sort_unstable();
    assert_eq!(first, (0..50).collect::<Vec<_>>());
}

#[test]
fn the_pictures_of_a_batch_have_similar_proportions() {
    // 17 pictures of each of two widths and 16 of the third: 5, 5 and 4 batches.
    let loader = loader(Drawn::new(50, &[]), config(1));
    assert_eq!(loader.batches(), 14);
    for epoch in 0..3 {
        let batches: Vec<SceneBatch> = loader.epoch(epoch).map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(|batch| batch.number).collect::<Vec<_>>(), (0..14).collect::<Vec<_>>());
        for batch in &batches {
            assert!(batch.scenes.windows(2).all(|two| two[0].image.width() == two[1].image.width()));
        }
        let sizes: Vec<usize> = batches.iter().map(|batch| batch.indices.len()).collect();
        assert_eq!(sizes, [4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 1, 1]);
    }
}

#[test]
fn settings_without_sense_are_refused() {
    let make =
        |count, config, augmentation: Augmentation| message(SceneLoader::new(Arc::new(Drawn::new(count, &[])), config, augmentation));
    assert!(make(9, SceneLoaderConfig { batch: 0, ..config(1) }, Augmentation::default()).contains("batch"));
    assert!(make(9, SceneLoaderConfig { prefetch: 0, ..config(1) }, Augmentation::default()).contains("prefetch"));
    assert!(make(0, config(1), Augmentation::default()).contains("pictures: found 0"));
    let certain: Augmentation = serde_json::from_str(r#"[{"hflip": {"probability": 1.5}}]"#).unwrap();
    assert!(make(9, config(1), certain).contains("probability is 1.5"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn threads_and_prefetch_change_nothing(count in 1usize..40, batch in 1usize..9, prefetch in 1usize..6, seed: u64, epoch: u64) {
        let bad: Vec<usize> = (0..count).filter(|index| index % 11 == 3).collect();
        let run = |workers| {
            let loader = loader(Drawn::new(count, &bad), SceneLoaderConfig { batch, prefetch, seed, ..config(workers) });
            let mut epoch = loader.epoch(epoch);
            let batches: Vec<_> = epoch.by_ref().map(|batch| batch.map_err(|e| e.to_string())).collect();
            (batches, epoch.skipped().to_vec())
        };
        let one = run(1);
        for workers in [0, 2, 4] {
            prop_assert_eq!(&one, &run(workers));
        }
    }
}

#[test]
fn augmentation_depends_on_the_seed_the_epoch_and_the_picture() {
    let pixels = |seed, epoch| {
        let loader = loader(Drawn::new(12, &[]), SceneLoaderConfig { seed, ..sequential(2) });
        loader.epoch(epoch).flat_map(|batch| batch.unwrap().scenes).collect::<Vec<_>>()
    };
    assert_eq!(pixels(1, 0), pixels(1, 0));
    assert_ne!(pixels(1, 0), pixels(2, 0));
    assert_ne!(pixels(1, 0), pixels(1, 1));
}

#[test]
fn an_epoch_can_start_in_its_middle() {
    let loader = loader(Drawn::new(30, &[]), config(2));
    let whole: Vec<_> = loader.epoch(3).map(Result::unwrap).collect();
    for first in [0, 1, 5, 8, 100] {
        let rest: Vec<_> = loader.epoch_from(3, first).map(Result::unwrap).collect();
        assert_eq!(rest, whole[first.min(whole.len())..]);
    }
}

#[test]
fn a_bad_picture_is_skipped_and_listed() {
    let loader = loader(Drawn { panics: Some(10), ..Drawn::new(12, &[4, 5, 6, 7, 9]) }, sequential(3));
    let mut epoch = loader.epoch(0);
    let batches: Vec<_> = epoch.by_ref().map(|batch| batch.unwrap()).map(|batch| (batch.number, batch.indices)).collect();
    assert_eq!(batches, [(0, vec![0, 1, 2, 3]), (2, vec![8, 11])]);
    let skipped: Vec<_> = epoch.skipped()[3..].iter().map(|skipped| (&skipped.picture[..], &skipped.reason[..])).collect();
    assert_eq!(skipped, [("drawn/7.png", "is bad"), ("drawn/9.png", "is bad"), ("drawn/10.png", "its decoder panicked")]);
}

#[test]
fn under_strict_a_bad_picture_is_an_error_at_its_place() {
    let loader = loader(Drawn::new(12, &[6]), SceneLoaderConfig { strictness: Strictness::Strict, ..sequential(3) });
    let batches: Vec<_> = loader.epoch(0).map(|batch| batch.map(|batch| batch.number).map_err(|e| e.to_string())).collect();
    assert_eq!(batches, [Ok(0), Err("drawn/6.png: is bad".to_owned()), Ok(2)]);
}

#[test]
fn an_epoch_without_a_readable_picture_is_an_error() {
    let mut epoch = loader(Drawn::new(3, &[0, 1, 2]), sequential(2)).epoch(0);
    assert_eq!(message(epoch.next().unwrap()), "drawn: none of 3 pictures can be read, first drawn/0.png: is bad");
    assert!(epoch.next().is_none());
}

#[test]
fn dropping_an_epoch_early_stops_its_threads() {
    let scenes: Arc<dyn Scenes> = Arc::new(Drawn::new(10_000, &[]));
    let loader = SceneLoader::new(scenes.clone(), config(4), Augmentation::default()).unwrap();
    for taken in [0, 1, 3] {
        let mut epoch = loader.epoch(0);
        for _ in 0..taken {
            epoch.next().unwrap().unwrap();
        }
        drop(epoch);
    }
    drop(loader);
    // No thread holds the pictures any more.
    assert_eq!(Arc::strong_count(&scenes), 1);
}

#[test]
fn no_more_batches_are_prepared_than_the_prefetch_allows() {
    let scenes = Arc::new(Drawn::new(1000, &[]));
    let config = SceneLoaderConfig { prefetch: 3, ..sequential(4) };
    let loader = SceneLoader::new(scenes.clone(), config, Augmentation::default()).unwrap();
    let mut epoch = loader.epoch(0);
    for taken in 1..=200 {
        epoch.next().unwrap().unwrap();
        // Those handed out, and at most two more beside the one asked for.
        assert!(scenes.read.load(Ordering::SeqCst) <= 4 * (taken + 2));
    }
}

/// Pictures whose names panic, which nothing guards against but the thread itself.
struct Nameless(Drawn);

impl Scenes for Nameless {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn scene(&self, index: usize) -> Result<Scene> {
        self.0.scene(index)
    }

    fn picture_name(&self, index: usize) -> String {
        assert_ne!(index, 5, "a panic, made by this test");
        self.0.picture_name(index)
    }

    fn size(&self, index: usize) -> [usize; 2] {
        self.0.size(index)
    }
}

#[test]
fn a_panic_on_a_thread_is_an_error_of_its_batch() {
    for workers in [0, 1, 3] {
        let loader = SceneLoader::new(Arc::new(Nameless(Drawn::new(12, &[]))), sequential(workers), Augmentation::default()).unwrap();
        let batches: Vec<_> = loader.epoch(0).map(|batch| batch.map(|batch| batch.number).map_err(|e| e.to_string())).collect();
        assert!(matches!(&batches[..], [Ok(0), Err(error), Ok(2)] if error.contains("a panic on the way to batch 1")), "{batches:?}");
    }
}
