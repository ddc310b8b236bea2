//! What a manifest may say, and what the errors say when it says something else.

mod common;

use cirio_hub::{Error, Manifest};
use common::{entry, small};

fn good() -> String {
    entry("lenet5", "fashion-mnist", "a.safetensors", &small(1))
}

fn error(text: &str) -> String {
    Manifest::parse(text).unwrap_err().to_string()
}

#[test]
fn an_entry_says_all_that_is_known() {
    let text = good().replace("licence", "aliases = [\"fmnist\"]\nnote = \"small\"\nlicence");
    let manifest = Manifest::parse(&text).unwrap();
    let [entry] = manifest.weights.as_slice() else { panic!("{manifest:?}") };
    assert_eq!(entry.full_name(), "lenet5/fashion-mnist");
    assert_eq!(entry.names().collect::<Vec<_>>(), ["fashion-mnist", "fmnist"]);
    assert_eq!((entry.classes.len(), entry.measured.count, entry.note.as_deref()), (2, 2, Some("small")));
    assert!(Manifest::parse("").unwrap().weights.is_empty());
}

/// A manifest goes through the same types back to text and is the same after it.
#[test]
fn an_entry_survives_writing() {
    let entry = Manifest::parse(&good()).unwrap().weights.remove(0);
    let text = toml::to_string(&std::collections::BTreeMap::from([("weights", [&entry])])).unwrap();
    let again = Manifest::parse(&text).unwrap().weights.remove(0);
    assert_eq!(format!("{entry:?}"), format!("{again:?}"));
}

#[test]
fn errors_name_file_line_and_key() {
    for (from, to, line, words) in [
        ("licence", "license", 7, "unknown field `license`"),
        ("licence = \"MIT\"\n", "", 1, "missing field `licence`"),
        ("licence = \"MIT\"", "licence = \" \"", 7, "key `licence`: must not be empty"),
        ("licence = \"MIT\"", "licence = \"MIT", 7, "key `licence`"),
        ("bytes = ", "bytes = -", 5, "key `bytes`"),
        ("bytes = ", "bytes = \"1\" #", 5, "key `bytes`: invalid type"),
        ("sha256 = \"", "sha256 = \"0", 6, "key `sha256`: a SHA-256 is 64 digits"),
        ("lenet5", "le/net", 2, "key `model`: a name has letters"),
        ("a.safetensors", "../a.safetensors", 4, "key `file`"),
        ("a.safetensors", "/etc/passwd", 4, "must be a path inside the folder"),
        ("[\"cat\", \"dog\"]", "[]", 9, "key `classes`: there must be at least one class"),
        ("[\"cat\", \"dog\"]", "[\n  \"cat\",\n  7,\n]", 11, "key `classes`: invalid type"),
        ("accuracy = 0.5", "accuracy = 93.0", 11, "key `measured`: must lie in 0 … 1"),
        ("accuracy = 0.5", "top5 = 0.5", 11, "unknown field `top5`"),
        ("pad = 2", "padding = 2", 15, "unknown field `padding`"),
        ("std = [0.8]", "std = [0.0]", 12, "key `preprocessing`"),
        ("[[weights]]", "version = 2\n[[weights]]", 1, "unknown field `version`"),
    ] {
        let text = good().replacen(from, to, 1);
        assert_ne!(text, good());
        let error = error(&text);
        assert!(error.starts_with(&format!("manifest.toml, line {line}: ")) && error.contains(words), "{from} → {to}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn names_and_aliases_are_unique_for_a_model() {
    let lines = good().lines().count();
    let twice = error(&(good() + &good()));
    assert!(twice.starts_with(&format!("manifest.toml, line {}", lines + 1)) && twice.contains("lenet5/fashion-mnist"), "{twice}");
    let alias = good().replace("fashion-mnist", "other").replace("licence", "aliases = [\"fashion-mnist\"]\nlicence");
    assert!(error(&(good() + &alias)).contains("already weights lenet5/fashion-mnist"));
    assert!(Manifest::parse(&(good() + &good().replace("lenet5", "alexnet"))).is_ok());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.toml");
    let missing = Manifest::load(&path).unwrap_err();
    assert!(matches!(&missing, Error::Read { path: named, .. } if *named == path), "{missing}");
    std::fs::write(&path, [good().as_bytes(), b"note = \"\xff\""].concat()).unwrap();
    let error = Manifest::load(&path).unwrap_err().to_string();
    assert!(error.contains(&format!("{}, line {}: not UTF-8", path.display(), good().lines().count() + 1)), "{error}");
}
