//! Texts that say what is in files of weights: the manifest, and the header of a safetensors file, of which none passes that the
//! safetensors crate refuses.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use cirio_hub::{Manifest, check_header};
use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Manifest::parse(text);
    }
    let path = FOLDER.path().join("x.safetensors");
    for bytes in [bytes, &[&(bytes.len() as u64).to_le_bytes(), bytes].concat()] {
        fs::write(&path, bytes).expect("written");
        if let Ok(header) = check_header(&path) {
            let theirs = SafeTensors::deserialize(bytes).expect("no laxer than the safetensors crate");
            assert_eq!(theirs.len(), header.tensors.len());
        }
    }
});
