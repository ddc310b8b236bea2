//! COCO's results: written and read again, refused with the place, and measured by labels.

use std::fs;
use std::path::Path;

use cirio_coco::{Found, Kind, Rle};
use cirio_data::objects::{Category, Keypoint, Object, ObjectSet, Outline, Picture, coco};

const SIZE: [usize; 2] = [4, 5];

fn square() -> Vec<Vec<f64>> {
    vec![vec![1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]]
}

/// Two pictures of 4×5; in the second one a square of class 7, whose place is 1, with two key points of which one is labelled.
fn set() -> ObjectSet {
    let point = |x, visibility| Keypoint { x, y: 2.0, visibility };
    let object = Object {
        id: 0,
        place: None,
        class: 1,
        edges: [1.0, 1.0, 3.0, 3.0],
        outline: Some(Outline::Polygons(square())),
        keypoints: vec![point(1.0, 0), point(2.5, 2)],
        area: 4.0,
        crowd: false,
    };
    let picture = |id, objects| Picture { id, path: format!("{id}.png").into(), labels: None, size: SIZE, objects };
    ObjectSet {
        name: "labels.json".into(),
        categories: [(3, "cat"), (7, "dog")].map(|(id, name)| Category { id, name: name.into() }).to_vec(),
        keypoints: ["nose", "tail"].map(str::to_owned).to_vec(),
        pictures: vec![picture(12, vec![]), picture(5, vec![object])],
        ..ObjectSet::default()
    }
}

fn found() -> Vec<Vec<Found>> {
    let nothing = Found { category: 0, score: 0.25, bbox: None, mask: None, keypoints: Vec::new() };
    let all = Found {
        category: 1,
        score: 0.9,
        bbox: Some([1.0, 1.0, 2.0, 2.0]),
        mask: Rle::from_polygons(SIZE, &square()).ok(),
        keypoints: vec![[0.0, 0.0], [2.5, 2.0]],
    };
    vec![vec![nothing], vec![all.clone(), Found { score: 0.1 + 0.2, mask: None, ..all }]]
}

fn read(text: &str) -> Result<Vec<Vec<Found>>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("results.json");
    fs::write(&file, text).expect("written");
    coco::read_results(&file, &set()).map_err(|error| error.to_string())
}

#[test]
fn written_and_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("results.json");
    for found in [found(), vec![vec![], vec![]]] {
        coco::write_results(&set(), &found, &file).expect("written");
        assert_eq!(coco::read_results(&file, &set()).expect("read"), found);
    }
    assert!(coco::write_results(&set(), &[], &file).is_err(), "a list for each picture");
    let unknown = Found { category: 2, ..found()[0][0].clone() };
    assert!(coco::write_results(&set(), &[vec![unknown], vec![]], &file).is_err());
    assert_eq!(fs::read_to_string(&file).expect("still there"), "[]\n");
    assert!(coco::read_results(Path::new("nowhere.json"), &set()).is_err());
}

#[test]
fn every_way_to_say_a_mask() {
    let polygon = "[[1, 1, 3, 1, 3, 3, 1, 3]]";
    let (numbers, text) = (r#"{"size": [4, 5], "counts": [5, 2, 2, 2, 9]}"#, r#"{"counts": "52207", "size": [4, 5]}"#);
    for segmentation in [polygon, numbers, text] {
        let entry = format!(r#"[{{"segmentation": {segmentation}, "image_id": 5, "score": 1, "category_id": 7, "extra": [{{}}]}}]"#);
        let found = read(&entry).expect("read");
        assert_eq!(found[1][0].mask.as_ref().map(|mask| mask.counts().to_vec()), Some(vec![5, 2, 2, 2, 9]), "{segmentation}");
    }
}

#[test]
fn what_cannot_be_believed_is_refused_with_its_place() {
    let good = r#"{"image_id": 5, "category_id": 7, "score": 0.5}"#;
    let second = |entry: &str| read(&format!("[{good},\n{entry}]")).expect_err(entry);
    for (entry, reason) in [
        (r#"{"image_id": 6, "category_id": 7, "score": 0.5}"#, "picture 6 is not in labels.json"),
        (r#"{"image_id": 5, "category_id": 1, "score": 0.5}"#, "category 1 is not in labels.json"),
        (r#"{"image_id": 5, "category_id": 7}"#, "missing field `score`"),
        (r#"{"image_id": 5, "category_id": 7, "score": 0.5, "bbox": [1, 2, 3]}"#, "length 3"),
        (r#"{"image_id": 5, "category_id": 7, "score": 0.5, "keypoints": [1, 2]}"#, "2 numbers"),
        (r#"{"image_id": 5, "category_id": 7, "score": 0.5, "segmentation": {"size": [4, 5], "counts": [99]}}"#, "99 pixels"),
        (r#"{"image_id": 5, "category_id": 7, "score": 0.5, "segmentation": {"size": [5, 4], "counts": [20]}}"#, "5×4"),
    ] {
        let error = second(entry);
        for part in ["results.json", "entry 2: ", reason, "line 2"] {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
    for text in ["", "{}", "[", &format!("[{good}"), &format!("[{good}] [")] {
        assert!(read(text).is_err_and(|error| error.contains("line")), "{text}");
    }
}

#[test]
fn measured_by_labels() {
    let (set, mut found) = (set(), found());
    let points = || Kind::Keypoints { sigmas: vec![0.1, 0.1] };
    found[0].clear();
    found[1].truncate(1);
    for kind in [Kind::Boxes, Kind::Masks, points()] {
        let report = set.evaluate(&found, kind.clone()).expect("evaluated").report();
        assert_eq!(report.value(&report.measures()[0]).map(|ap| (ap * 1e9).round()), Some(1e9), "{kind:?}");
    }
    found[1][0].mask = None;
    let error = set.evaluate(&found, Kind::Masks).expect_err("no mask").to_string();
    assert!(error.contains("5.png") && error.contains("no mask"), "{error}");
    assert!(set.evaluate(&found[1..], Kind::Boxes).is_err(), "a list for each picture");
    let mut unsound = set.clone();
    unsound.pictures[1].objects[0].outline = Some(Outline::Polygons(vec![vec![f64::NAN; 6]]));
    let error = unsound.evaluate(&found, Kind::Masks).expect_err("no polygon").to_string();
    assert!(error.contains("object 0"), "{error}");
    assert!(unsound.evaluate(&found, Kind::Boxes).is_ok(), "masks are made only where they are compared");
}
