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

#[test]
fn weights_of_a_detector_need_no_preprocessing() {
    let (upper, _) = good().split_once("[weights.preprocessing]").map(|(upper, lower)| (upper.to_owned(), lower.to_owned())).unwrap();
    assert!(error(&upper).contains("missing field `preprocessing`"));
    let manifest = Manifest::parse(&upper.replace("accuracy = 0.5", "box_ap = 0.546, mask_ap = 0.346, keypoint_ap = 0.65")).unwrap();
    let measured = &manifest.weights[0].measured;
    assert_eq!((measured.accuracy, measured.box_ap), (None, Some(0.546)));
    assert_eq!((measured.mask_ap, measured.keypoint_ap), (Some(0.346), Some(0.65)));
    assert_eq!(manifest.weights[0].frozen_eps, None);
    let other = upper.replace("accuracy = 0.5", "box_ap = 0.5").replace("licence", "frozen_eps = 1e-5\nlicence");
    assert_eq!(Manifest::parse(&other).unwrap().weights[0].frozen_eps, Some(1e-5));
    assert!(error(&other.replace("1e-5", "-1.0")).contains("frozen_eps"));
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
        ("accuracy = 0.5", "top3 = 0.5", 11, "unknown field `top3`"),
        ("accuracy = 0.5", "top5 = 50.0", 11, "key `measured`: must lie in 0 … 1"),
        ("file = ", "# ", 1, "missing field `file`, or `sources`"),
        ("bytes = ", "# ", 1, "missing field `bytes`"),
        ("sha256 = ", "# ", 1, "missing field `sha256`"),
        ("classes = ", "# ", 1, "missing field `classes`, or `classes_file`"),
        ("classes = ", "classes_file = \"a.txt\"\nclasses = ", 1, "not both"),
        ("classes = [\"cat\", \"dog\"]", "classes_file = \"nowhere.txt\"", 1, "key `classes_file`: nowhere.txt: "),
        ("licence", "sources = [{ address = \"hf://a/b/c.pth\" }]\nlicence", 1, "`file` or `sources`, not both"),
        ("pad = 2", "padding = 2", 15, "unknown field `padding`"),
        ("std = [0.8]", "std = [0.0]", 12, "key `preprocessing`"),
        ("accuracy = 0.5", "top5 = 0.5", 1, "key `measured`: missing field `accuracy`, or `box_ap`"),
        ("accuracy = 0.5", "accuracy = 0.5, box_ap = 0.5", 1, "not both"),
        ("accuracy = 0.5", "box_ap = 37.0", 11, "key `measured`: must lie in 0 … 1"),
        ("[[weights]]", "version = 2\n[[weights]]", 1, "unknown field `version`"),
    ] {
        let text = good().replacen(from, to, 1);
        assert_ne!(text, good());
        let error = error(&text);
        assert!(error.starts_with(&format!("manifest.toml, line {line}: ")) && error.contains(words), "{from} → {to}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

/// An entry for weights that others publish.
fn published() -> String {
    let sources = r#"sources = [
  { address = "hf://owner/repo@v1/model.safetensors" },
  { address = "https://example.org/a-0123abcd.pth", sha256_prefix = "0123abcd", mib = 44.7 },
]
"#;
    let text = good();
    let (begin, end) = (text.find("file =").unwrap(), text.find("licence").unwrap());
    format!("{}{sources}{}", &text[..begin], &text[end..])
}

#[test]
fn published_weights_have_sources() {
    let entry = Manifest::parse(&published()).unwrap().weights.remove(0);
    let [hub, web] = entry.sources.as_slice() else { panic!("{entry:?}") };
    assert_eq!((hub.address.to_string().as_str(), hub.hash(), hub.mib), ("hf://owner/repo@v1/model.safetensors", None, None));
    assert_eq!((web.hash(), web.mib, entry.file), (Some("0123abcd"), Some(44.7), None));
    for (from, to, line, words) in [
        ("sha256_prefix = \"0123abcd\", ", "", 1, "https://example.org/a-0123abcd.pth needs sha256 or sha256_prefix"),
        ("\"0123abcd\"", "\"0123abc\"", 6, "8 digits of lower-case hex"),
        ("44.7", "-1.0", 6, "a size in MiB"),
        ("hf://owner/repo@v1/", "hf://owner/", 5, "is no address of weights"),
        ("https:", "http:", 6, "plain http is for this machine only"),
        (" mib = ", " megabytes = ", 6, "unknown field `megabytes`"),
        ("sources", "bytes = 3\nsources", 1, "each source has its own"),
    ] {
        let text = published().replacen(from, to, 1);
        assert_ne!(text, published());
        let error = error(&text);
        assert!(error.starts_with(&format!("manifest.toml, line {line}: ")) && error.contains(words), "{from} → {to}: {error}");
    }
}

#[test]
fn classes_may_stand_in_their_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, classes) = (folder.path().join("manifest.toml"), folder.path().join("classes.txt"));
    std::fs::write(&manifest, good().replace("classes = [\"cat\", \"dog\"]", "classes_file = \"classes.txt\"")).unwrap();
    std::fs::write(&classes, "cat\ngreat white shark\n").unwrap();
    let entry = Manifest::load(&manifest).unwrap().weights.remove(0);
    assert_eq!(entry.classes, ["cat", "great white shark"]);
    for (text, words) in [("", "it is empty"), ("cat\n\ndog\n", "its line 2 is empty"), (&"x".repeat(1 << 21), "more than 1048576 bytes")] {
        std::fs::write(&classes, text).unwrap();
        let error = Manifest::load(&manifest).unwrap_err().to_string();
        assert!(error.contains("line 1: key `classes_file`") && error.contains("classes.txt") && error.contains(words), "{error}");
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
