//! Headers of safetensors files, sound and hostile.

mod common;

use std::fs;

use cirio_hub::{Header, check_header};
use common::{file, raw, small};
use proptest::prelude::*;

fn check(bytes: &[u8]) -> Result<Header, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    fs::write(&path, bytes).unwrap();
    let checked = check_header(&path).map_err(|error| error.to_string());
    if let Err(error) = &checked {
        assert!(error.starts_with(&path.display().to_string()) && error.lines().count() == 1, "{error}");
    }
    checked
}

fn refused(bytes: &[u8], words: &str) {
    let error = check(bytes).unwrap_err();
    assert!(error.contains(words), "wanted `{words}`: {error}");
}

fn one(tensor: &str, data: &[u8]) -> Vec<u8> {
    file(&format!("{{\"w\":{tensor}}}"), data)
}

#[test]
fn sound_headers_are_read() {
    let header = check(&small(0)).unwrap();
    assert_eq!((header.tensors["fc.weight"].dtype.as_str(), header.tensors["fc.weight"].shape.as_slice()), ("U8", [2, 2].as_slice()));
    let header = check(&file(r#"{"__metadata__":{"model":"lenet5"}}   "#, &[])).unwrap();
    assert_eq!((header.metadata["model"].as_str(), header.tensors.len()), ("lenet5", 0));
    let empty = r#"{"a":{"dtype":"F32","shape":[0,9],"data_offsets":[0,0]},"b":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}"#;
    assert_eq!(check(&file(empty, &[0; 2])).unwrap().tensors.len(), 2);
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_read() {
    refused(b"", "it has 0 bytes");
    refused(b"1234567", "it has 7 bytes");
    refused(&raw(3, b"{}", b""), "should have 3 bytes, but only 2 follow");
    refused(&raw(u64::MAX, b"{}", b""), "only 2 follow");
    refused(&raw(0, b"", b""), "its header");
}

/// A file of 100 MB and more that takes no room on the disk.
#[test]
fn a_huge_header_is_refused_by_its_length() {
    use std::io::{Seek, SeekFrom, Write};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let mut sparse = fs::File::create(&path).unwrap();
    sparse.write_all(&200_000_000u64.to_le_bytes()).unwrap();
    sparse.seek(SeekFrom::Start(200_000_007)).unwrap();
    sparse.write_all(b"}").unwrap();
    drop(sparse);
    let error = check_header(&path).unwrap_err().to_string();
    assert!(error.contains("200000000 bytes, the limit is 100000000"), "{error}");
}

#[test]
fn text_that_is_no_header_is_refused() {
    refused(&raw(4, b"{\"\xff\"", b""), "not UTF-8 at byte 2");
    refused(&file("[]", b""), "a map of tensors");
    refused(&file("{\"w\":1}", b""), "its header");
    refused(&file(&"[".repeat(100_000), b""), "its header");
    refused(&file(&format!("{{\"w\":{}", "{\"dtype\":".repeat(100_000)), b""), "its header");
    refused(&file(r#"{"__metadata__":{"classes":["a"]}}"#, b""), "expected a string");
    refused(&file(r#"{"__metadata__":{},"__metadata__":{}}"#, b""), "`__metadata__` comes twice");
    let tensor = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    refused(&file(&format!("{{\"w\":{tensor},\"w\":{tensor}}}"), b"1"), "`w` comes twice");
    refused(&one(r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1],"url":"x"}"#, b"1"), "unknown field `url`");
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    refused(&one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#, b"123"), "tensor `w` should lie at bytes 0 … 4 of 3");
    refused(&one(r#"{"dtype":"U8","shape":[1],"data_offsets":[3,2]}"#, b"123"), "bytes 3 … 2");
    refused(&one(r#"{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}"#, b"1"), "its header");
    refused(&one(r#"{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}"#, b"1"), "its header");
    refused(&one(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}"#, b"1234"), "cannot lie in its 4 bytes");
    refused(&one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#, b"1234"), "tensor `w` of F32 [2] cannot lie in its 4 bytes");
    refused(&one(r#"{"dtype":"F4","shape":[3],"data_offsets":[0,1]}"#, b"1"), "cannot lie in its 1 bytes");
    refused(&one(r#"{"dtype":"F33","shape":[1],"data_offsets":[0,4]}"#, b"1234"), "unknown type `F33`");
    refused(&one(r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#, b"12"), "its last 1 bytes belong to no tensor");
    let two = |first: &str, second: &str| {
        let tensor = |at: &str| format!(r#"{{"dtype":"U8","shape":[2],"data_offsets":{at}}}"#);
        file(&format!("{{\"a\":{},\"b\":{}}}", tensor(first), tensor(second)), b"1234")
    };
    assert!(check(&two("[2,4]", "[0,2]")).is_ok());
    refused(&two("[0,2]", "[1,3]"), "tensor `b` at bytes 1 … 3 overlaps");
    refused(&two("[0,2]", "[0,2]"), "overlaps");
    refused(&two("[1,3]", "[0,2]"), "tensor `a` at bytes 1 … 3 overlaps");
    refused(&file(r#"{"w":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}"#, b"1234"), "bytes 0 … 2 before tensor `w`");
}

/// Cut at every byte: an error, never a panic.
#[test]
fn every_truncation_is_refused() {
    let whole = small(3);
    for end in 0..whole.len() {
        assert!(check(&whole[..end]).is_err(), "{end} of {} bytes", whole.len());
    }
}

#[test]
fn a_folder_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = check_header(folder.path()).unwrap_err().to_string();
    assert!(error.contains("it is no regular file"), "{error}");
}

/// What a header says of one tensor, mostly sound; its end.
fn part() -> impl Strategy<Value = (String, usize)> {
    let dtype = prop::sample::select(vec![("U8", 1), ("BF16", 2), ("F32", 4), ("C64", 8), ("F33", 4)]);
    let odd = prop::sample::select(vec!["0", "-1", "1.5", "4294967296", "18446744073709551615"]);
    let odd = prop::option::weighted(0.1, odd);
    (dtype, 1..3usize, odd, 0..2usize).prop_map(|((dtype, bytes), side, odd, begin)| {
        let (begin, end) = (begin * bytes, begin * bytes + 2 * side * bytes);
        let side = odd.map_or_else(|| side.to_string(), str::to_owned);
        (format!(r#"{{"dtype":"{dtype}","shape":[2,{side}],"data_offsets":[{begin},{end}]}}"#), end)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// What passes here, the safetensors crate takes too, whatever is in the file; and nothing panics.
    #[test]
    fn no_laxer_than_the_safetensors_crate(
        parts in prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), part()), 0..3),
        more in prop::option::weighted(0.1, 1..5usize),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
    ) {
        let length = parts.iter().map(|(_, (_, end))| *end).max().unwrap_or(0) + more.unwrap_or(0);
        let parts: Vec<String> = parts.into_iter().map(|(name, (part, _))| format!("\"{name}\":{part}")).collect();
        let mut bytes = file(&format!("{{{}}}", parts.join(",")), &vec![7; length]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(header) = check(&bytes) {
            let theirs = safetensors::SafeTensors::deserialize(&bytes);
            prop_assert!(theirs.is_ok(), "{:?}", theirs.err());
            prop_assert_eq!(theirs.unwrap().len(), header.tensors.len());
        }
    }
}
