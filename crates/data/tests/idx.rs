//! IDX files, good and bad.

mod common;

use cirio_data::{Dataset, OpenOptions, Part, Split, idx, open};
use common::{gzip, message, write, write_idx};
use proptest::prelude::*;

#[test]
fn a_data_set_plain_and_compressed() {
    let dir = tempfile::tempdir().unwrap();
    write_idx(dir.path(), "train", 20);
    let labels: Vec<u8> = vec![3, 1];
    let pixels: Vec<u8> = (0..12).collect();
    write(&dir.path().join("t10k-images-idx3-ubyte.gz"), &gzip(&common::idx(3, &[2, 2, 3], &pixels)));
    write(&dir.path().join("t10k-labels-idx1-ubyte.gz"), &gzip(&common::idx(1, &[2], &labels)));

    let options = OpenOptions::default();
    let train = open(dir.path(), Split::Train, &options).unwrap();
    assert_eq!((train.len(), train.classes().len()), (20, 10));
    for split in [Split::Val, Split::Test] {
        let test = open(dir.path(), split, &options).unwrap();
        assert_eq!(test.labels(), [3, 1]);
        let sample = test.get(1).unwrap();
        assert_eq!((sample.image.height(), sample.image.width(), sample.image.channels(), sample.label), (2, 3, 1, 1));
        assert_eq!(sample.image.data(), [6, 7, 8, 9, 10, 11]);
        assert!(message(test.get(2)).contains("picture 2 was asked of a set of 2"));
    }
}

#[test]
fn a_part_held_out_of_the_training_files() {
    let dir = tempfile::tempdir().unwrap();
    write_idx(dir.path(), "train", 100);
    write_idx(dir.path(), "t10k", 30);
    let options = OpenOptions { val_fraction: Some(0.2), ..OpenOptions::default() };
    let sizes = [Split::Train, Split::Val, Split::Test].map(|split| open(dir.path(), split, &options).unwrap().len());
    assert_eq!(sizes, [80, 20, 30]);
    let options = OpenOptions { val_fraction: Some(1.0), ..OpenOptions::default() };
    assert!(message(open(dir.path(), Split::Train, &options)).contains("less than 1"));
}

#[test]
fn class_names_come_from_a_file_beside() {
    let dir = tempfile::tempdir().unwrap();
    write_idx(dir.path(), "train", 20);
    write(&dir.path().join("classes.txt"), b"coat\nbag\n");
    let error = message(idx::open(dir.path(), Part::Train, None));
    assert!(error.contains("label 2 for picture 2") && error.contains("0 to 1"), "{error}");
    let names: Vec<String> = ('a'..='j').map(String::from).collect();
    let set = idx::open(dir.path(), Part::Train, Some(&names)).unwrap();
    assert_eq!(set.classes(), names);
    write(&dir.path().join("classes.txt"), b"\n\n");
    assert!(message(idx::open(dir.path(), Part::Train, None)).contains("no names"));
    // No names at all, given by a program: an error and no panic.
    assert!(message(idx::open(dir.path(), Part::Train, Some(&[]))).contains("label 0"));
}

#[test]
fn a_missing_or_disagreeing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write_idx(dir.path(), "train", 20);
    let error = message(idx::open(dir.path(), Part::Test, None));
    assert!(error.contains("t10k-images-idx3-ubyte.gz"), "{error}");
    write(&dir.path().join("train-labels-idx1-ubyte"), &common::idx(1, &[19], &[0; 19]));
    let error = message(idx::open(dir.path(), Part::Train, None));
    assert!(error.contains("20 pictures") && error.contains("19"), "{error}");
}

/// Every bad file, what it is read as (by its rank), and words of the message.
#[test]
fn bad_files_are_errors_that_say_why() {
    let good = common::idx(3, &[2, 2, 3], &[7; 12]);
    let longer = common::idx(3, &[2, 2, 3], &[7; 13]);
    let float = [&[0, 0, 0x0d, 3][..], &good[4..]].concat();
    let most = [u32::MAX; 3];
    // Far more data than the header says, and a header that says more than so few compressed bytes can hold.
    let bomb = gzip(&common::idx(3, &[2, 2, 3], &vec![0; 1 << 20]));
    let liar = gzip(&common::idx(3, &[60_000, 28, 28], &[7; 12]));
    let mut torn = gzip(&good);
    torn.truncate(torn.len() - 6);
    let mut wrong_sum = gzip(&good);
    let last = wrong_sum.len() - 8;
    wrong_sum[last] ^= 1;
    let cases: Vec<(&str, u8, Vec<u8>, &[&str])> = vec![
        ("empty", 3, vec![], &["without a whole header"]),
        ("half a header", 3, good[..9].to_vec(), &["without a whole header"]),
        ("truncated", 3, good[..20].to_vec(), &["20 bytes", "28 bytes", "2 × 2 × 3"]),
        ("oversized", 3, longer.clone(), &["29 bytes", "28 bytes"]),
        ("truncated, compressed", 3, gzip(&good[..20]), &["found 4 bytes", "12 bytes"]),
        ("oversized, compressed", 3, gzip(&longer), &["found more", "12 bytes"]),
        ("a bomb", 3, bomb, &["found more", "12 bytes"]),
        ("a header that promises too much", 3, liar, &["compressed bytes", "47040016 bytes"]),
        ("a torn gzip stream", 3, torn, &["expected 12 bytes"]),
        ("a wrong checksum", 3, wrong_sum, &["expected 12 bytes"]),
        (
            "labels given as pictures",
            3,
            common::idx(1, &[5], &[0; 5]),
            &["found an IDX file of labels", "expected an IDX file of pictures"],
        ),
        ("pictures given as labels", 1, good.clone(), &["found an IDX file of pictures", "expected an IDX file of labels"]),
        ("floats", 3, float, &["f32, rank 3"]),
        ("another rank", 3, common::idx(2, &[2, 6], &[7; 12]), &["u8, rank 2"]),
        ("no IDX", 3, b"\x89PNG and so on".to_vec(), &["starts with the bytes [89, 50, 4e, 47]"]),
        ("an overflowing size", 3, common::idx(3, &most, &[]), &["4294967295 × 4294967295", "at most"]),
        ("too large for memory", 3, common::idx(3, &[70_000, 1000, 1000], &[]), &["at most 4294967296 bytes"]),
        ("no pictures", 3, common::idx(3, &[0, 28, 28], &[]), &["0 × 28 × 28", "no size of 0"]),
        ("pictures without pixels", 3, common::idx(3, &[2, 0, 28], &[]), &["no size of 0"]),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (case, rank, bytes, words) in cases {
        let path = dir.path().join("file");
        write(&path, &bytes);
        let error = match rank {
            1 => message(idx::read_labels(&path)),
            _ => message(idx::read_images(&path)),
        };
        assert!(error.contains(&path.display().to_string()), "{case}: {error}");
        for word in words {
            assert!(error.contains(word), "{case}: {error}");
        }
    }
    assert!(message(idx::read_images(dir.path())).contains("regular file"));
    assert!(message(idx::read_images(&dir.path().join("none"))).contains("none"));
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train-images-idx3-ubyte");
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(message(idx::read_images(&path)).contains("regular file"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), rank in 0u8..5, compress: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes = [&[0, 0, 8, rank][..], &bytes].concat();
        write(&path, &if compress { gzip(&bytes) } else { bytes });
        let _ = idx::read_images(&path);
        let _ = idx::read_labels(&path);
    }
}
