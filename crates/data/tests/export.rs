//! What is written can be read again, and nothing is overwritten.

mod common;

use cirio_data::{Dataset, InMemory, OpenOptions, Split, export_folder, export_idx, open, survey};
use common::{Made, message};

#[test]
fn an_image_folder_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("new/folder");
    let made = Made::new(7, &[]);
    assert_eq!(export_folder(&made, &out).unwrap(), 7);
    let whole = OpenOptions { val_fraction: Some(0.0), ..OpenOptions::default() };
    let read = open(&out, Split::Train, &whole).unwrap();
    assert_eq!(read.classes(), made.classes());
    assert_eq!(read.labels(), [0, 0, 0, 1, 1, 2, 2]);
    // The second picture of class b is picture 4.
    assert!(read.picture_name(4).ends_with("b/00001.png"));
    assert_eq!(read.get(4).unwrap().image, made.get(4).unwrap().image);
    assert!(message(export_folder(&made, &out)).contains("is not empty"));
}

#[test]
fn idx_files_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let made = Made::new(7, &[]);
    export_idx(&made, dir.path(), "train").unwrap();
    let read = open(dir.path(), Split::Train, &OpenOptions::default()).unwrap();
    assert_eq!((read.classes(), read.labels()), (made.classes(), made.labels()));
    assert_eq!(read.get(5).unwrap().image, made.get(5).unwrap().image);
    assert!(message(export_idx(&made, dir.path(), "train")).contains("already"));
}

#[test]
fn class_names_that_are_no_folder_names_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["T-shirt/top", "../up", "", ".hidden", "b"] {
        let mut made = Made::new(3, &[]);
        made.classes[0] = name.to_owned();
        let out = dir.path().join("out");
        assert!(message(export_folder(&made, &out)).contains("class name"), "{name}");
        assert!(!out.exists());
    }
}

#[test]
fn an_unreadable_picture_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(message(export_folder(&Made::new(5, &[2]), dir.path())).contains("made/2.png"));
    assert!(message(export_idx(&Made::new(5, &[2]), dir.path(), "t10k")).contains("made/2.png"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().filter(|file| file.as_ref().unwrap().path().is_file()).count(), 0);
}

#[test]
fn mean_and_deviation_by_hand() {
    // Two grey pictures of 1 × 2: 0, 255 and 255, 255. The mean is 3/4, the variance 3/16.
    let size = cirio_data::PictureSize { height: 1, width: 2, channels: 1 };
    let classes = vec!["x".to_owned(), "y".to_owned()];
    let set = InMemory::new("two", classes.clone(), vec![1, 1], vec![0, 255, 255, 255], size).unwrap();
    let found = survey(&set);
    assert_eq!((&found.class_counts[..], found.grey, found.colour), (&[0, 2][..], 2, 0));
    assert_eq!((found.height, found.width), ((1, 1), (2, 2)));
    assert!((found.mean[0] - 0.75).abs() < 1e-12 && (found.std[0] - 0.1875f64.sqrt()).abs() < 1e-12, "{found:?}");

    assert!(message(InMemory::new("two", classes.clone(), vec![1, 2], vec![0; 4], size)).contains("2 for picture 1"));
    assert!(message(InMemory::new("two", classes, vec![1, 1], vec![0; 5], size)).contains("5 bytes"));
}
