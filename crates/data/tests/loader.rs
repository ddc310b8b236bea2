//! The loader: its order, its threads, its errors.

mod common;

use std::sync::Arc;

use candle_core::DType;
use cirio_data::{Batch, Dataset, Loader, LoaderConfig, Order, Result, Strictness, Subset};
use cirio_vision::augment::Pipeline;
use cirio_vision::{Preprocess, Resize};
use common::{Made, message};
use proptest::prelude::*;

fn preprocess() -> Preprocess {
    let resize = Resize::Exact { height: 4, width: 4 };
    Preprocess { channels: 1, resize, crop: None, pad: 1, fill: 0, mean: vec![0.5], std: vec![0.5] }
}

fn config(workers: usize) -> LoaderConfig {
    LoaderConfig { batch: 4, order: Order::Shuffled, seed: 5, workers, ..LoaderConfig::default() }
}

fn loader(made: Made, config: LoaderConfig) -> Loader {
    Loader::new(Arc::new(made), config, preprocess(), None).unwrap()
}

/// Everything in a batch that should not depend on the threads.
fn content(batch: &Batch) -> (usize, Vec<usize>, Vec<u32>, Vec<u32>) {
    let pixels = batch.images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    (batch.number, batch.indices.clone(), batch.labels.clone(), pixels.into_iter().map(f32::to_bits).collect())
}

#[test]
fn batches_have_their_shapes_types_and_values() {
    let sequential = LoaderConfig { order: Order::Sequential, ..config(2) };
    let loader = loader(Made::new(10, &[]), sequential);
    assert_eq!((loader.batches(), loader.pictures()), (3, 10));
    let batches: Vec<Batch> = loader.epoch(0).map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|b| b.images.dims().to_vec()).collect::<Vec<_>>(), [[4, 1, 6, 6], [4, 1, 6, 6], [2, 1, 6, 6]]);
    assert_eq!(batches[2].indices, [8, 9]);
    assert_eq!((&batches[1].labels[..], batches[1].labels_tensor().unwrap().dtype()), (&[1, 2, 0, 1][..], DType::U32));
    // Picture 9 has 63, 64, … in its pixels, and a border of 0; both are (value / 255 - 0.5) / 0.5.
    let picture = batches[2].images.get(1).unwrap().get(0).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(picture[0][0], -1.0);
    assert!((picture[1][2] - (64.0 / 127.5 - 1.0)).abs() < 1e-6, "{}", picture[1][2]);
}

#[test]
fn an_epoch_has_every_picture_once_in_an_order_of_its_own() {
    let loader = loader(Made::new(50, &[]), config(2));
    let order = |epoch| loader.epoch(epoch).flat_map(|batch| batch.unwrap().indices).collect::<Vec<_>>();
    let mut first = order(0);
    assert_ne!(first, order(1));
    assert_eq!(first, order(0));
    first.sort_unstable();
    assert_eq!(first, (0..50).collect::<Vec<_>>());
}

#[test]
fn the_last_batch_can_be_left_out() {
    let drop_last = LoaderConfig { drop_last: true, ..config(1) };
    let loader = loader(Made::new(10, &[]), drop_last.clone());
    assert_eq!((loader.batches(), loader.pictures(), loader.epoch(0).count()), (2, 8, 2));
    let error = message(Loader::new(Arc::new(Made::new(3, &[])), drop_last, preprocess(), None));
    assert!(error.contains("3 pictures") && error.contains("at least 4"), "{error}");
}

#[test]
fn settings_without_sense_are_refused() {
    let make = |count, config, preprocess| message(Loader::new(Arc::new(Made::new(count, &[])), config, preprocess, None));
    assert!(make(9, LoaderConfig { batch: 0, ..config(1) }, preprocess()).contains("batch"));
    assert!(make(9, LoaderConfig { prefetch: 0, ..config(1) }, preprocess()).contains("prefetch"));
    assert!(make(0, config(1), preprocess()).contains("0 pictures"));
    assert!(make(9, config(1), Preprocess { std: vec![0.0], ..preprocess() }).contains("preprocessing"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn threads_and_prefetch_change_nothing(count in 1usize..60, batch in 1usize..9, prefetch in 1usize..6, seed: u64, epoch: u64) {
        let bad: Vec<usize> = (0..count).filter(|index| index % 11 == 3).collect();
        let run = |workers| {
            let config = LoaderConfig { batch, prefetch, seed, ..config(workers) };
            let augment: Pipeline = "flip,crop:1,affine".parse().expect("a pipeline");
            let loader = Loader::new(Arc::new(Made::new(count, &bad)), config, preprocess(), Some(augment)).expect("a loader");
            let mut epoch = loader.epoch(epoch);
            let batches: Vec<_> = epoch.by_ref().map(|batch| batch.map(|b| content(&b)).map_err(|e| e.to_string())).collect();
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
    let pixels = |seed, epoch, augment: Option<&str>| {
        let config = LoaderConfig { order: Order::Sequential, seed, ..config(2) };
        let augment = augment.map(|text| text.parse().unwrap());
        let loader = Loader::new(Arc::new(Made::new(12, &[])), config, preprocess(), augment).unwrap();
        loader.epoch(epoch).flat_map(|batch| content(&batch.unwrap()).3).collect::<Vec<_>>()
    };
    let changed = pixels(1, 0, Some("flip,crop:2"));
    assert_eq!(changed, pixels(1, 0, Some("flip,crop:2")));
    for other in [pixels(2, 0, Some("flip,crop:2")), pixels(1, 1, Some("flip,crop:2")), pixels(1, 0, None)] {
        assert_ne!(changed, other);
    }
}

#[test]
fn an_epoch_can_start_in_its_middle() {
    let loader = loader(Made::new(30, &[]), config(2));
    let whole: Vec<_> = loader.epoch(3).map(|batch| content(&batch.unwrap())).collect();
    for first in [0, 1, 5, 8, 100] {
        let rest: Vec<_> = loader.epoch_from(3, first).map(|batch| content(&batch.unwrap())).collect();
        assert_eq!(rest, whole[first.min(whole.len())..]);
    }
}

#[test]
fn a_bad_picture_is_skipped_and_counted() {
    let sequential = LoaderConfig { order: Order::Sequential, ..config(3) };
    // The whole second batch, and one of the third.
    let loader = loader(Made::new(12, &[4, 5, 6, 7, 9]), sequential);
    let mut epoch = loader.epoch(0);
    let batches: Vec<_> = epoch.by_ref().map(|batch| batch.unwrap()).map(|batch| (batch.number, batch.indices)).collect();
    assert_eq!(batches, [(0, vec![0, 1, 2, 3]), (2, vec![8, 10, 11])]);
    assert_eq!(epoch.skipped().len(), 5);
    assert_eq!((&epoch.skipped()[4].picture[..], &epoch.skipped()[4].reason[..]), ("made/9.png", "is bad"));
}

#[test]
fn under_strict_a_bad_picture_is_an_error_at_its_place() {
    let strict = LoaderConfig { order: Order::Sequential, strictness: Strictness::Strict, ..config(3) };
    let loader = loader(Made::new(12, &[6]), strict);
    let batches: Vec<_> = loader.epoch(0).map(|batch| batch.map(|batch| batch.number).map_err(|e| e.to_string())).collect();
    assert_eq!(batches, [Ok(0), Err("made/6.png: is bad".to_owned()), Ok(2)]);
}

#[test]
fn an_epoch_without_a_readable_picture_is_an_error() {
    let loader = loader(Made::new(6, &[0, 1, 2, 3, 4, 5]), config(2));
    let mut epoch = loader.epoch(0);
    assert!(message(epoch.next().unwrap()).contains("none of 6 pictures can be read"));
    assert!(epoch.next().is_none());
}

/// A data set that panics at one picture.
struct Panics(Made);

impl Dataset for Panics {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn classes(&self) -> &[String] {
        self.0.classes()
    }
    fn labels(&self) -> &[u32] {
        self.0.labels()
    }
    fn get(&self, index: usize) -> Result<cirio_data::Sample> {
        assert_ne!(index, 3, "a decoder's panic, made by this test");
        self.0.get(index)
    }
    fn picture_name(&self, index: usize) -> String {
        self.0.picture_name(index)
    }
}

#[test]
fn a_decoder_that_panics_is_an_unreadable_picture() {
    let sequential = LoaderConfig { order: Order::Sequential, ..config(2) };
    let loader = Loader::new(Arc::new(Panics(Made::new(8, &[]))), sequential, preprocess(), None).unwrap();
    let mut epoch = loader.epoch(0);
    assert_eq!(epoch.by_ref().map(|batch| batch.unwrap().indices.len()).sum::<usize>(), 7);
    assert_eq!(epoch.skipped()[0].picture, "made/3.png");
    let found = cirio_data::survey(&Panics(Made::new(8, &[])));
    assert_eq!((found.grey, found.unreadable.len()), (7, 1));
}

#[test]
fn dropping_an_epoch_early_stops_its_threads() {
    let set: Arc<dyn Dataset> = Arc::new(Made::new(10_000, &[]));
    let loader = Loader::new(set.clone(), config(4), preprocess(), None).unwrap();
    for taken in [0, 1, 3] {
        let mut epoch = loader.epoch(0);
        for _ in 0..taken {
            epoch.next().unwrap().unwrap();
        }
        drop(epoch);
    }
    drop(loader);
    // No thread holds the data set any more.
    assert_eq!(Arc::strong_count(&set), 1);
}

#[test]
fn no_more_batches_are_prepared_than_the_prefetch_allows() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    struct Counts(Made, AtomicUsize);
    impl Dataset for Counts {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn classes(&self) -> &[String] {
            self.0.classes()
        }
        fn labels(&self) -> &[u32] {
            self.0.labels()
        }
        fn get(&self, index: usize) -> Result<cirio_data::Sample> {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.get(index)
        }
        fn picture_name(&self, index: usize) -> String {
            self.0.picture_name(index)
        }
    }
    let set = Arc::new(Counts(Made::new(4000, &[]), AtomicUsize::new(0)));
    let loader = Loader::new(set.clone(), LoaderConfig { prefetch: 3, ..config(4) }, preprocess(), None).unwrap();
    let mut epoch = loader.epoch(0);
    for taken in 1..=200 {
        epoch.next().unwrap().unwrap();
        // Those handed out, and at most two more beside the one asked for.
        assert!(set.1.load(Ordering::SeqCst) <= 4 * (taken + 2));
    }
}

#[test]
fn a_subset_loads_like_a_whole() {
    let whole: Arc<dyn Dataset> = Arc::new(Made::new(30, &[]));
    let part = Arc::new(Subset::per_class(whole.clone(), 2, 1).unwrap());
    assert_eq!((part.len(), part.labels().iter().filter(|&&label| label == 2).count()), (6, 2));
    let sequential = LoaderConfig { order: Order::Sequential, ..config(1) };
    let loader = Loader::new(part.clone(), sequential, preprocess(), None).unwrap();
    assert_eq!(loader.epoch(0).flat_map(|batch| batch.unwrap().labels).collect::<Vec<_>>(), part.labels());
    assert_eq!(Subset::sample(whole.clone(), 7, 1).unwrap().len(), 7);
    assert_eq!(Subset::sample(whole.clone(), 70, 1).unwrap().len(), 30);
    assert!(message(Subset::per_class(whole.clone(), 0, 1)).contains("at least 1"));
    assert!(message(Subset::new(whole, vec![30])).contains("picture 30"));
}
