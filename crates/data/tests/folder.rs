//! Image folders, good and bad.

mod common;

use std::path::Path;

use cirio_data::{Dataset, OpenOptions, Split, Strictness, open, survey};
use common::{message, png, write};

/// `per_class` pictures for each class of `root`.
fn fill(root: &Path, classes: &[&str], per_class: usize) {
    for class in classes {
        for number in 0..per_class {
            write(&root.join(class).join(format!("{number:03}.png")), &png(number as u8));
        }
    }
}

fn opened(dir: &Path, split: Split) -> Box<dyn Dataset> {
    open(dir, split, &OpenOptions::default()).unwrap()
}

fn refused(dir: &Path, split: Split) -> String {
    message(open(dir, split, &OpenOptions::default()))
}

/// The names of all pictures, below `dir`.
fn names(set: &dyn Dataset, dir: &Path) -> Vec<String> {
    (0..set.len()).map(|index| set.picture_name(index).replace(&format!("{}/", dir.display()), "")).collect()
}

#[test]
fn a_plain_folder_is_split_by_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &["dog", "cat", "Bird"], 10);
    let (train, val) = (opened(dir.path(), Split::Train), opened(dir.path(), Split::Val));
    assert_eq!(train.classes(), ["Bird", "cat", "dog"]);
    assert_eq!((train.len(), val.len()), (24, 6));
    assert_eq!(val.labels(), [0, 0, 1, 1, 2, 2]);
    let mut all = [names(&*train, dir.path()), names(&*val, dir.path())].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 30);
    assert!(refused(dir.path(), Split::Test).contains("neither a part test nor a part val"));

    let other = OpenOptions { seed: 1, ..OpenOptions::default() };
    assert_ne!(names(&*val, dir.path()), names(&*open(dir.path(), Split::Val, &other).unwrap(), dir.path()));
    let whole = OpenOptions { val_fraction: Some(0.0), ..OpenOptions::default() };
    assert_eq!(open(dir.path(), Split::Train, &whole).unwrap().len(), 30);
    assert!(message(open(dir.path(), Split::Val, &whole)).contains("no picture for val"));
}

#[test]
fn folders_for_the_parts() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("train"), &["a", "b"], 4);
    fill(&dir.path().join("test"), &["b"], 3);
    assert_eq!(opened(dir.path(), Split::Train).len(), 8);
    for split in [Split::Val, Split::Test] {
        assert_eq!(opened(dir.path(), split).labels(), [1, 1, 1]);
    }
    // A fraction that was asked for is held out of the training part, and the test part stays for the end.
    let options = OpenOptions { val_fraction: Some(0.25), ..OpenOptions::default() };
    let sizes = [Split::Train, Split::Val, Split::Test].map(|split| open(dir.path(), split, &options).unwrap().len());
    assert_eq!(sizes, [6, 2, 3]);
    fill(&dir.path().join("val"), &["a", "b"], 1);
    assert_eq!(opened(dir.path(), Split::Val).len(), 2);
    assert_eq!(opened(dir.path(), Split::Test).len(), 3);
    fill(&dir.path().join("val"), &["c"], 1);
    assert!(refused(dir.path(), Split::Val).contains("class folder c"));
}

#[test]
fn a_class_may_be_called_train() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &["bus", "train", "val"], 2);
    assert_eq!(opened(dir.path(), Split::Train).classes(), ["bus", "train", "val"]);
}

#[test]
fn pictures_are_found_below_in_any_case_and_hidden_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &["a"], 1);
    for file in ["b/deep/er/2.PNG", "b/deep/1.png", "b/3.Png", "b/.hidden.png", "b/.git/4.png", "b/notes.txt", ".thumbs/5.png", "b/._3.png"]
    {
        write(&dir.path().join(file), &png(1));
    }
    let options = OpenOptions { val_fraction: Some(0.0), ..OpenOptions::default() };
    let set = open(dir.path(), Split::Train, &options).unwrap();
    assert_eq!(names(&*set, dir.path()), ["a/000.png", "b/3.Png", "b/deep/1.png", "b/deep/er/2.PNG"]);
}

#[test]
fn an_unreadable_picture_is_skipped_and_named_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    for part in ["train", "val"] {
        fill(&dir.path().join(part), &["a", "b"], 3);
    }
    write(&dir.path().join("train/a/broken.png"), b"no picture");
    write(&dir.path().join("train/b/empty.jpg"), b"");
    let set = opened(dir.path(), Split::Train);
    assert_eq!(set.labels(), [0, 0, 0, 1, 1, 1]);
    let skipped: Vec<_> = set.skipped().iter().map(|skipped| skipped.picture.clone()).collect();
    assert_eq!(skipped.len(), 2);
    assert!(skipped[0].ends_with("train/a/broken.png") && skipped[1].ends_with("train/b/empty.jpg"), "{skipped:?}");
    assert!(set.summary().contains("2 more skipped as unreadable"), "{}", set.summary());
    let strict = OpenOptions { strictness: Strictness::Strict, ..OpenOptions::default() };
    assert!(message(open(dir.path(), Split::Train, &strict)).contains("broken.png"));

    // A good header before a torn picture shows when the picture is decoded.
    let whole = png(9);
    write(&dir.path().join("train/a/torn.png"), &whole[..whole.len() - 20]);
    let set = opened(dir.path(), Split::Train);
    assert_eq!(set.len(), 7);
    let found = survey(&*set);
    assert_eq!(found.class_counts, [3, 3]);
    assert_eq!(found.unreadable.len(), 3);
    assert!(found.unreadable[2].picture.ends_with("torn.png"), "{:?}", found.unreadable);
}

#[test]
fn the_same_name_with_another_ending_is_another_picture_and_is_said() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &["a", "b"], 4);
    assert!(opened(dir.path(), Split::Train).notes().is_empty());
    write(&dir.path().join("a/003.PNG"), &png(1));
    write(&dir.path().join("b/x/000.png"), &png(1));
    write(&dir.path().join("b/002.jpg"), &png(1));
    let (train, val) = (opened(dir.path(), Split::Train), opened(dir.path(), Split::Val));
    assert_eq!(train.len() + val.len(), 11);
    let [note] = train.notes() else { panic!("one note: {:?}", train.notes()) };
    assert!(note.starts_with("2 of the pictures have the name of another one but for its ending") && note.contains("003."), "{note}");
    assert!(val.notes().is_empty(), "said once");
}

/// The header of a BMP of this size, without a pixel.
fn bmp_header(width: i32, height: i32) -> Vec<u8> {
    let numbers = [0u32, 0, 54, 40, width as u32, height as u32, 1 | 24 << 16, 0, 0, 2835, 2835, 0, 0];
    [b"BM".to_vec(), numbers.iter().flat_map(|number| number.to_le_bytes()).collect()].concat()
}

#[test]
fn the_smallest_picture_is_read_and_one_too_large_for_memory_is_not() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &["a", "b"], 3);
    write(&dir.path().join("a/tiny.png"), &cirio_vision::Image::filled(1, 1, 3, 7).unwrap().to_png().unwrap());
    write(&dir.path().join("b/huge.bmp"), &bmp_header(20_000, 20_000));
    let options = OpenOptions { val_fraction: Some(0.0), ..OpenOptions::default() };
    let set = open(dir.path(), Split::Train, &options).unwrap();
    assert_eq!(set.labels(), [0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(set.get(3).unwrap().image.data(), [7; 3]);
    let [skipped] = set.skipped() else { panic!("one is left out: {:?}", set.skipped()) };
    assert!(skipped.picture.ends_with("huge.bmp") && skipped.reason.contains("20000×20000 are 400000000 pixels"), "{skipped:?}");
}

#[test]
fn folders_without_sense_are_clear_errors() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    assert!(refused(&root.join("none"), Split::Train).contains("none"));
    assert!(refused(root, Split::Train).contains("Looked for: IDX files"));
    write(&root.join("lonely.png"), &png(0));
    assert!(refused(root, Split::Train).contains("subfolders with pictures, one a class"));
    assert!(refused(&root.join("lonely.png"), Split::Train).contains("is not a folder"));

    fill(root, &["only"], 3);
    let error = refused(root, Split::Train);
    assert!(error.contains("one class folder, only") && error.contains("two or more"), "{error}");
    std::fs::create_dir(root.join("void")).unwrap();
    let error = refused(root, Split::Train);
    assert!(error.contains("in the class folder void"), "{error}");
    write(&root.join("void/broken.png"), b"no picture");
    assert!(refused(root, Split::Train).contains("void"));

    let empty = tempfile::tempdir().unwrap();
    std::fs::create_dir(empty.path().join("a")).unwrap();
    std::fs::create_dir(empty.path().join("b")).unwrap();
    assert!(refused(empty.path(), Split::Train).contains("no pictures in them"));

    let wrong = OpenOptions { class_names: Some(vec!["x".into()]), ..OpenOptions::default() };
    fill(empty.path(), &["a", "b"], 2);
    let error = message(open(empty.path(), Split::Train, &wrong));
    assert!(error.contains("1 class names, expected 2"), "{error}");
}

#[cfg(unix)]
#[test]
fn loops_of_links_end_and_pipes_are_not_read() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &["a", "b"], 2);
    symlink("..", dir.path().join("a/up")).unwrap();
    symlink(".", dir.path().join("a/here")).unwrap();
    symlink("here2", dir.path().join("a/here2")).unwrap();
    symlink("gone.png", dir.path().join("a/dead.png")).unwrap();
    symlink("/dev/zero", dir.path().join("a/zero.png")).unwrap();
    symlink("000.png", dir.path().join("b/again.png")).unwrap();
    symlink(dir.path().join("b"), dir.path().join("a/other")).unwrap();
    let options = OpenOptions { val_fraction: Some(0.0), ..OpenOptions::default() };
    let set = open(dir.path(), Split::Train, &options).unwrap();
    let expected =
        ["a/000.png", "a/001.png", "a/other/000.png", "a/other/001.png", "a/other/again.png", "b/000.png", "b/001.png", "b/again.png"];
    assert_eq!(names(&*set, dir.path()), expected);
}

#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &["a"], 2);
    write(&dir.path().join(OsStr::from_bytes(b"b\xff")).join(OsStr::from_bytes(b"\xfe.png")), &png(3));
    let set = opened(dir.path(), Split::Train);
    assert_eq!(set.classes(), ["a", "b\u{fffd}"]);
    assert_eq!(set.get(set.len() - 1).unwrap().label, 1);
    assert!(set.picture_name(set.len() - 1).ends_with("\u{fffd}.png"));
}
