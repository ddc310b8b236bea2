//! A registry in a temporary folder, and safetensors files by hand.
#![allow(dead_code, missing_docs)] // each test file uses its part

pub mod server;

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// A safetensors file: the header's length, the header, the tensors.
pub fn file(header: &str, data: &[u8]) -> Vec<u8> {
    raw(header.len() as u64, header.as_bytes(), data)
}

pub fn raw(length: u64, header: &[u8], data: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), header, data].concat()
}

/// A sound file of one tensor whose numbers are `byte`.
pub fn small(byte: u8) -> Vec<u8> {
    file(r#"{"fc.weight":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}"#, &[byte; 4])
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub const PREPROCESSING: &str = r#"channels = 1
resize = { exact = { height = 28, width = 28 } }
pad = 2
fill = 0
mean = [0.1]
std = [0.8]"#;

/// The text of an entry for a file.
pub fn entry(model: &str, name: &str, file: &str, bytes: &[u8]) -> String {
    format!(
        r#"[[weights]]
model = "{model}"
name = "{name}"
file = "{file}"
bytes = {}
sha256 = "{}"
licence = "MIT"
data = "made by hand"
classes = ["cat", "dog"]
trained = "cirio train"
measured = {{ accuracy = 0.5, count = 2, data = "the same" }}
[weights.preprocessing]
{PREPROCESSING}
"#,
        bytes.len(),
        sha256(bytes)
    )
}

/// Writes a registry of small files, one a (model, name).
pub fn registry(folder: &Path, weights: &[(&str, &str)]) {
    let mut manifest = String::new();
    for (at, (model, name)) in weights.iter().enumerate() {
        let (file, bytes) = (format!("{model}-{name}.safetensors"), small(at as u8));
        manifest += &entry(model, name, &file, &bytes);
        fs::write(folder.join(file), bytes).unwrap();
    }
    fs::write(folder.join("manifest.toml"), manifest).unwrap();
}
