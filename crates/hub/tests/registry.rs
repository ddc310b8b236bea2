//! Names, paths and runs to checked files.

mod common;

use std::fs;
use std::path::Path;

use cirio_hub::{Downloads, Registry, Resolved, Source};
use common::{PREPROCESSING, file, registry, small};
use tempfile::TempDir;

fn three() -> (TempDir, Registry) {
    let folder = tempfile::tempdir().unwrap();
    registry(folder.path(), &[("lenet5", "mnist"), ("lenet5", "fashion-mnist"), ("lenet5_paper", "fashion-mnist")]);
    let registry = Registry::open(folder.path()).unwrap();
    (folder, registry)
}

fn error(found: cirio_hub::Result<Resolved>) -> String {
    let error = found.unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn names_are_found() {
    let (folder, registry) = three();
    for (model, spec, name) in [
        (None, "lenet5/fashion-mnist", "lenet5/fashion-mnist"),
        (None, "mnist", "lenet5/mnist"),
        (Some("lenet5"), "lenet5/mnist", "lenet5/mnist"),
        (Some("lenet5"), "fashion-mnist", "lenet5/fashion-mnist"),
        (Some("lenet5_paper"), "fashion-mnist", "lenet5_paper/fashion-mnist"),
    ] {
        let found = registry.find(model, spec).unwrap();
        assert_eq!((found.name().as_str(), found.source), (name, Source::Registry));
        assert_eq!(found.path, folder.path().join(format!("{}.safetensors", name.replace('/', "-"))));
        assert_eq!((found.model.as_deref(), found.classes.map(|names| names.len())), (name.split('/').next(), Some(2)));
        assert!(found.preprocessing.is_some());
    }
}

#[test]
fn aliases_are_names_too() {
    let (folder, _) = three();
    let manifest = folder.path().join("manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap().replacen("licence", "aliases = [\"digits\"]\nlicence", 1);
    fs::write(manifest, text).unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    assert_eq!(registry.find(None, "digits").unwrap().name(), "lenet5/mnist");
    assert_eq!(registry.find(None, "lenet5/digits").unwrap().name(), "lenet5/mnist");
}

#[test]
fn ambiguous_and_unknown_names_list_what_there_is() {
    let (_folder, registry) = three();
    let ambiguous = error(registry.find(None, "fashion-mnist"));
    assert!(ambiguous.contains("lenet5/fashion-mnist or lenet5_paper/fashion-mnist"), "{ambiguous}");
    let short = error(registry.find(None, "fashon-mnist"));
    assert!(short.contains("did you mean fashion-mnist?") && short.contains("there are lenet5/mnist, "), "{short}");
    let full = error(registry.find(None, "lenet/mnist"));
    assert!(full.contains("did you mean lenet5/mnist?"), "{full}");
    let other = error(registry.find(Some("lenet5_paper"), "mnist"));
    assert!(other.contains("lenet5/mnist are weights for lenet5, not for lenet5_paper"), "{other}");
    let none = error(registry.find(Some("alexnet"), "fashion-mnist"));
    assert!(none.contains("no weights `fashion-mnist` for alexnet"), "{none}");
    let far = error(registry.find(None, "zzzzzzzz"));
    assert!(!far.contains("did you mean"), "{far}");
    assert!(error(Registry::empty().find(None, "mnist")).contains("CIRIO_WEIGHTS"));
    for empty in ["", "/", "lenet5/", "/mnist"] {
        assert!(registry.find(None, empty).is_err(), "{empty:?}");
    }
}

#[test]
fn what_is_no_address_is_called_so() {
    let (_folder, registry) = three();
    for address in ["ftp://host/file.safetensors", "hf://owner/file.safetensors", "http://example.com/file.safetensors"] {
        let error = error(registry.find(None, address));
        assert!(error.contains("is no address of weights") && error.contains(address), "{error}");
    }
}

#[cfg(not(feature = "download"))]
#[test]
fn downloads_are_not_built_in() {
    let (_folder, registry) = three();
    for address in ["hf://owner/repo/file.safetensors", "https://example.com/file.safetensors"] {
        assert!(error(registry.find(None, address)).contains("built without downloading"));
    }
}

#[test]
fn files_are_checked_against_the_manifest_by_name_and_by_path() {
    let (folder, registry) = three();
    let weights = folder.path().join("lenet5-mnist.safetensors");
    assert_eq!(registry.find(None, path(&weights)).unwrap().name(), "lenet5/mnist");

    fs::write(&weights, small(77)).unwrap();
    for spec in ["mnist", path(&weights)] {
        let changed = error(registry.find(None, spec));
        assert!(changed.contains("has SHA-256") && changed.contains(path(&weights)), "{changed}");
    }
    fs::write(&weights, &small(0)[1..]).unwrap();
    assert!(error(registry.find(None, "mnist")).contains("bytes, the manifest says"));
    fs::remove_file(&weights).unwrap();
    assert!(error(registry.find(None, "mnist")).contains("is missing; the manifest names it for lenet5/mnist"));
    assert!(error(registry.find(None, path(&weights))).contains("does not exist"));
}

/// A manifest whose hash fits does not make a broken file whole.
#[test]
fn headers_of_known_files_are_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.safetensors"), b"no safetensors").unwrap();
    fs::write(folder.path().join("manifest.toml"), common::entry("m", "n", "a.safetensors", b"no safetensors")).unwrap();
    let error = error(Registry::open(folder.path()).unwrap().find(None, "n"));
    assert!(error.contains("not a sound safetensors file"), "{error}");
}

#[test]
fn files_and_runs_describe_themselves() {
    let (_folder, registry) = three();
    let run = tempfile::tempdir().unwrap();
    assert!(error(registry.find(None, path(run.path()))).contains("neither best.safetensors nor last.safetensors"));

    let table: toml::Table = PREPROCESSING.parse().unwrap();
    let preprocess = serde_json::to_string(&table).unwrap();
    let metadata = |classes: &str, preprocess: &str| {
        let texts = serde_json::json!({ "model": "lenet5", "classes": classes, "preprocess": preprocess });
        file(&serde_json::json!({ "__metadata__": texts }).to_string(), b"")
    };
    let (best, last) = (run.path().join("best.safetensors"), run.path().join("last.safetensors"));
    fs::write(&last, file("{}", b"")).unwrap();
    let found = registry.find(None, path(run.path())).unwrap();
    assert_eq!((found.path.as_path(), found.source, &found.model, &found.classes), (last.as_path(), Source::Run, &None, &None));

    fs::write(&best, metadata(r#"["boot","bag"]"#, &preprocess)).unwrap();
    for (spec, source) in [(run.path(), Source::Run), (&best, Source::File)] {
        let found = registry.find(Some("lenet5"), path(spec)).unwrap();
        assert_eq!((found.path.as_path(), found.source, found.entry.is_none()), (best.as_path(), source, true));
        assert_eq!((found.model.as_deref(), found.classes.unwrap()), (Some("lenet5"), vec!["boot".to_owned(), "bag".to_owned()]));
        assert!(found.preprocessing.is_some());
    }

    fs::write(&best, metadata("boot, bag", &preprocess)).unwrap();
    let broken = error(registry.find(None, path(&best)));
    assert!(broken.contains("`classes` in its __metadata__") && broken.contains(path(&best)), "{broken}");
    fs::write(&best, metadata("[]", &preprocess.replace("[0.8]", "[0.0]"))).unwrap();
    let broken = error(registry.find(None, path(&best)));
    assert!(broken.contains("`preprocess` in its __metadata__"), "{broken}");
}

#[test]
fn paths_to_nothing_are_called_so() {
    let (_folder, registry) = three();
    for spec in ["./mnist", "../nowhere/x", "/nowhere/x", "nowhere/x.safetensors"] {
        assert!(error(registry.find(None, spec)).contains(&format!("{spec} does not exist")));
    }
}

/// The weights that the repository ships: every entry's file is sound, every file has an entry.
#[test]
fn shipped_weights_are_what_their_manifest_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../weights");
    let registry = Registry::open(&folder).unwrap();
    for entry in registry.entries().iter().filter(|entry| entry.file.is_some()) {
        registry.find(None, &entry.full_name()).unwrap();
    }
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let known = registry.entries().iter().any(|entry| entry.file.as_ref().map(|file| file.as_os_str()) == file.file_name());
        assert!(known || file.extension().is_none_or(|end| end != "safetensors"), "{} has no entry", file.display());
    }
}

/// What torchvision publishes has the beginning of its hash in its name, and the classes of ImageNet, or COCO's 91 places, or
/// people alone.
#[test]
fn published_weights_are_named_by_their_hashes() {
    let registry = Registry::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../weights")).unwrap();
    let published: Vec<_> = registry.entries().iter().filter(|entry| !entry.sources.is_empty()).collect();
    assert!(published.len() >= 15, "{}", published.len());
    for entry in published {
        let classes = match (entry.name.starts_with("coco"), entry.model.starts_with("keypointrcnn")) {
            (true, true) => (2, "__background__"),
            (true, false) => (91, "__background__"),
            (false, _) => (1000, "tench"),
        };
        assert_eq!((entry.classes.len(), entry.classes[0].as_str()), classes, "{}", entry.full_name());
        for source in entry.sources.iter().filter(|source| source.address.to_string().starts_with("https://download.pytorch.org/")) {
            let name = source.address.file_name();
            assert_eq!(name.rsplit_once('-').unwrap().1, format!("{}.pth", source.hash().unwrap()));
            assert!(name.starts_with(&entry.model) && source.mib.is_some(), "{name} for {}", entry.full_name());
        }
    }
}

#[test]
fn a_file_of_torch_is_converted_once_and_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut downloads = Downloads::from_env();
    downloads.cache = folder.path().join("cache");
    let registry = Registry::empty().with_downloads(downloads);
    let torch = folder.path().join("net.pth");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torch/zip.pth"), &torch).unwrap();

    let first = registry.find(None, path(&torch)).unwrap();
    assert_eq!((first.name(), first.source), (torch.display().to_string(), Source::File));
    assert!(first.path.starts_with(folder.path().join("cache/converted")), "{}", first.path.display());
    let written = fs::metadata(&first.path).unwrap().modified().unwrap();
    let second = registry.find(None, path(&torch)).unwrap();
    assert_eq!((&second.path, fs::metadata(&second.path).unwrap().modified().unwrap()), (&first.path, written));

    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torch/checkpoint.pth"), &torch).unwrap();
    assert_ne!(registry.find(None, path(&torch)).unwrap().path, first.path);
    assert!(error(registry.find(None, "nowhere.pth")).contains("nowhere.pth"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is written beside the file");
}
