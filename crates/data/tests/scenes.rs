//! Scenes that are made: the seed decides, masks are what is seen, and what is written is a sound data set.

mod common;

use cirio_data::objects::scenes::{scene, write};
use cirio_data::objects::{ObjectSet, check};
use cirio_data::{InMemory, OpenOptions, PictureSize, Split};
use common::message;

/// Four light squares with a dark hole in 28×28, of two classes, and one that is black.
fn articles(count: usize) -> InMemory {
    let light = |row: usize, column: usize| (4..24).contains(&row) && (6..22).contains(&column) && !(10..12).contains(&row);
    let picture =
        |index: usize| (0..28 * 28).map(move |place| if index < 4 && light(place / 28, place % 28) { 100 + 30 * index as u8 } else { 0 });
    let labels = (0..count).map(|index| index as u32 % 2).collect();
    let size = PictureSize { height: 28, width: 28, channels: 1 };
    InMemory::new("made", vec!["bag".into(), "coat".into()], labels, (0..count).flat_map(picture).collect(), size).expect("a set")
}

#[test]
fn seed_part_and_number_decide() {
    let set = articles(4);
    let first = scene(&set, Split::Train, 1, 0).expect("a scene");
    assert_eq!(first, scene(&set, Split::Train, 1, 0).expect("a scene"));
    for other in [(Split::Val, 1, 0), (Split::Train, 2, 0), (Split::Train, 1, 1)] {
        assert_ne!(first, scene(&set, other.0, other.1, other.2).expect("a scene"));
    }
}

#[test]
fn masks_are_what_is_seen() {
    let set = articles(4);
    let mut most = 0;
    for number in 0..60 {
        let (image, placed) = scene(&set, Split::Train, 5, number).expect("a scene");
        assert!((144..=224).contains(&image.width()) && (144..=224).contains(&image.height()) && image.channels() == 3);
        most = most.max(placed.len());
        let mut seen = vec![0u8; image.width() * image.height()];
        for article in &placed {
            assert_eq!(article.mask.size(), [image.height(), image.width()]);
            // A square of 16×20 with its longer side at 28 pixels, 70 % of it inside, 30 % of that seen.
            assert!(article.mask.area() > 100, "{}", article.mask.area());
            seen.iter_mut().zip(article.mask.decode()).for_each(|(seen, pixel)| *seen += pixel);
        }
        assert!(seen.iter().all(|&times| times <= 1), "no pixel belongs to two");
    }
    assert!((3..=7).contains(&most), "{most}");
}

/// The two rows of the hole, which is as wide as the article, are ground; so the article is two pieces, and what is between them is no part of it.
#[test]
fn large_holes_stay_open() {
    let set = articles(1);
    let (_, placed) = scene(&set, Split::Train, 3, 2).expect("a scene");
    let top = placed.last().expect("an article");
    let [left, upper, right, lower] = top.mask.bounds().expect("pixels");
    assert!(top.mask.area() < u64::from((right - left) * (lower - upper)));
}

#[test]
fn what_is_written_is_a_sound_data_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = articles(4);
    let train = write(&set, Split::Train, 1, 12, folder.path()).expect("written");
    write(&set, Split::Val, 1, 3, folder.path()).expect("written");
    let read = ObjectSet::open(folder.path(), Split::Train, &OpenOptions::default()).expect("read");
    assert_eq!((&read.pictures, &read.categories), (&train.pictures, &train.categories));
    let image = read.scene(4).expect("a scene");
    assert_eq!(image.image, scene(&set, Split::Train, 1, 4).expect("a scene").0);
    let checked = check(folder.path()).expect("checked");
    assert_eq!(checked.problems, []);
    assert_eq!(checked.parts.iter().map(|part| part.pictures).collect::<Vec<_>>(), [12, 3]);
    assert!(message(write(&set, Split::Train, 1, 1, folder.path())).contains("not empty"));
}

#[test]
fn what_is_no_article_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = message(write(&articles(5), Split::Train, 1, 30, &folder.path().join("a")));
    assert!(error.contains("made, picture 4") && error.contains("on black"), "{error}");
    assert!(message(write(&articles(0), Split::Train, 1, 1, &folder.path().join("b"))).contains("there are none"));
}
