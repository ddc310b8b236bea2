//! CIFAR files, good and bad.

mod common;

use cirio_data::{Format, OpenOptions, Part, Split, cifar, open};
use common::{message, write};

/// A record: its labels, then red 1, green 2 and blue 3, but for the second pixel's red, which is `mark`.
fn record(labels: &[u8], mark: u8) -> Vec<u8> {
    let mut bytes = labels.to_vec();
    for value in 1..=3 {
        bytes.extend_from_slice(&[value; 1024]);
    }
    bytes[labels.len() + 1] = mark;
    bytes
}

#[test]
fn cifar_10_with_its_names() {
    let dir = tempfile::tempdir().unwrap();
    for batch in 1..=5 {
        let records = [record(&[batch], 10 * batch), record(&[0], 77)].concat();
        write(&dir.path().join(format!("data_batch_{batch}.bin")), &records);
    }
    write(&dir.path().join("test_batch.bin"), &record(&[9], 200));
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    write(&dir.path().join("batches.meta.txt"), names.as_bytes());

    let train = open(dir.path(), Split::Train, &OpenOptions::default()).unwrap();
    assert_eq!(train.labels(), [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
    assert_eq!(train.classes()[9], "truck");
    let image = train.get(4).unwrap().image;
    assert_eq!((image.height(), image.width(), image.channels()), (32, 32, 3));
    assert_eq!(image.data()[..9], [1, 2, 3, 30, 2, 3, 1, 2, 3]);
    let test = open(dir.path(), Split::Test, &OpenOptions::default()).unwrap();
    assert_eq!(test.labels(), [9]);

    std::fs::remove_file(dir.path().join("data_batch_3.bin")).unwrap();
    assert!(message(open(dir.path(), Split::Train, &OpenOptions::default())).contains("no data_batch_3.bin"));
}

#[test]
fn cifar_100_takes_the_fine_label() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("train.bin"), &[record(&[19, 99], 5), record(&[3, 0], 6)].concat());
    write(&dir.path().join("test.bin"), &record(&[1, 42], 5));
    assert_eq!(Format::of(dir.path()).unwrap(), Format::Cifar(cifar::Variant::Cifar100));
    let train = open(dir.path(), Split::Train, &OpenOptions::default()).unwrap();
    assert_eq!((train.labels(), train.classes().len()), (&[99, 0][..], 100));
    assert_eq!(train.get(1).unwrap().image.data()[3], 6);
    write(&dir.path().join("fine_label_names.txt"), b"apple\nfish\n");
    assert!(message(open(dir.path(), Split::Train, &OpenOptions::default())).contains("2 class names"));
}

#[test]
fn bad_files_are_errors_that_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test_batch.bin");
    let whole = record(&[3], 1);
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        ("empty", vec![], &["found 0 bytes", "3073"]),
        ("truncated", whole[..3072].to_vec(), &["found 3072 bytes", "records of 3073 bytes"]),
        ("oversized", [&whole[..], &[0]].concat(), &["found 3074 bytes"]),
        ("a label out of range", [record(&[3], 1), record(&[10], 1)].concat(), &["label 10 in record 1", "0 to 9"]),
        ("text", b"no data here".to_vec(), &["found 12 bytes"]),
    ];
    for (case, bytes, words) in cases {
        write(&path, &bytes);
        let error = message(cifar::open(dir.path(), cifar::Variant::Cifar10, Part::Test, None));
        for word in words.iter().chain(&["test_batch.bin"]) {
            assert!(error.contains(word), "{case}: {error}");
        }
    }
    write(&dir.path().join("test.bin"), &record(&[3, 100], 1));
    let error = message(cifar::open(dir.path(), cifar::Variant::Cifar100, Part::Test, None));
    assert!(error.contains("label 100 in record 0"), "{error}");
}
