//! Labels of objects in COCO's, VOC's, YOLO's and labelme's format: each file is refused, or gives objects whose masks can be drawn or are refused,
//! and that can be written and read again; without a panic or much memory.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use cirio_data::objects::{ObjectSet, coco};
use cirio_data::{OpenOptions, Split};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// The largest mask that is drawn, in pixels.
const PIXELS: usize = 1 << 20;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for path in ["voc/Annotations", "yolo/images", "yolo/labels", "names/images", "names/labels", "labelme"] {
        fs::create_dir_all(folder.path().join(path)).expect("a folder");
    }
    // The smallest GIF: 1×1.
    let gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    for path in ["yolo/images/a.gif", "names/images/a.gif", "labelme/a.gif"] {
        fs::write(folder.path().join(path), gif).expect("written");
    }
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let root = FOLDER.path();
    for (file, set) in [
        ("labels.json", "labels.json"),
        ("voc/Annotations/a.xml", "voc"),
        ("yolo/labels/a.txt", "yolo"),
        ("names/data.yaml", "names"),
        ("labelme/a.json", "labelme"),
    ] {
        fs::write(root.join(file), bytes).expect("written");
        let options = OpenOptions { val_fraction: Some(0.0), ..OpenOptions::default() };
        if let Ok(set) = ObjectSet::open(&root.join(set), Split::Train, &options) {
            look_at(&set, root);
        }
    }
});

fn look_at(set: &ObjectSet, root: &Path) {
    for picture in set.pictures.iter().filter(|picture| picture.size[0].saturating_mul(picture.size[1]) <= PIXELS) {
        for outline in picture.objects.iter().filter_map(|object| object.outline.as_ref()) {
            let _ = outline.mask(picture.size);
        }
    }
    let copy = root.join("copy.json");
    if coco::write(set, &copy, root).is_ok() {
        let again = coco::read(&copy, root).expect("what was written");
        assert_eq!(again.pictures.len(), set.pictures.len());
    }
}
