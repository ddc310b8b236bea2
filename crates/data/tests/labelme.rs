//! Labelme's JSON: what is read of each kind of shape, where pictures and parts are found, what is refused, and what it converts to.

mod common;

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cirio_data::objects::{ObjectSet, Outline, Severity, Subject, check, convert};
use cirio_data::{Format, OpenOptions, Split};
use cirio_vision::Image;
use common::{message, png, write};
use serde_json::{Value, json};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &Path, split: Split, val_fraction: f64) -> cirio_data::Result<ObjectSet> {
    ObjectSet::open(path, split, &OpenOptions { val_fraction: Some(val_fraction), ..OpenOptions::default() })
}

fn train(path: &Path) -> cirio_data::Result<ObjectSet> {
    open(path, Split::Train, 0.0)
}

fn shape(label: &str, kind: &str, points: Value, group: Value) -> Value {
    json!({ "label": label, "shape_type": kind, "points": points, "group_id": group, "flags": {}, "description": null })
}

/// A file of labels of a picture of 4×3 (width × height).
fn labels(picture: &str, shapes: &[Value]) -> Vec<u8> {
    let text = "AAAA".repeat(2000);
    json!({ "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": picture, "imageData": text, "imageHeight": 3, "imageWidth": 4 })
        .to_string()
        .into_bytes()
}

fn triangle(label: &str) -> Value {
    shape(label, "polygon", json!([[0, 0], [2, 0], [2, 3]]), Value::Null)
}

#[test]
fn every_kind_of_shape_is_read() {
    let dir = folder();
    let mut mask = shape("dog", "mask", json!([[1, 1], [2, 2]]), Value::Null);
    let pixels = Image::new(2, 2, 1, vec![0, 1, 1, 1]).and_then(|image| image.to_png()).expect("a PNG");
    mask["mask"] = BASE64_STANDARD.encode(pixels).into();
    let mut bare = triangle("cat");
    bare.as_object_mut().expect("a shape").retain(|key, _| ["label", "points"].contains(&key.as_str()));
    let shapes = [
        triangle("dog"),
        shape("cat", "rectangle", json!([[3.5, 2], [1, 0.5]]), Value::Null),
        shape("cat", "circle", json!([[2, 1.5], [2, 2.5]]), Value::Null),
        mask.clone(),
        // Two shapes of one object, and one of the same group but of another label.
        shape("dog", "polygon", json!([[0, 0], [1, 0], [1, 1]]), json!(7)),
        shape("cat", "rectangle", json!([[0, 0], [1, 1]]), json!(7)),
        shape("dog", "rectangle", json!([[2, 2], [4, 3]]), json!(7)),
        shape("__ignore__", "polygon", json!([[0, 0], [1, 0], [1, 1]]), Value::Null),
        bare,
        shape("dog", "oriented_rectangle", json!([[1, 0], [2, 1], [1, 2], [0, 1]]), Value::Null),
    ];
    write(&dir.path().join("a.json"), &labels("a.png", &shapes));
    write(&dir.path().join("a.png"), &png(1));
    assert_eq!(Format::of(dir.path()).expect("a format"), Format::Labelme);
    let set = train(dir.path()).expect("a set");
    assert_eq!(set.problems, []);
    assert_eq!(set.categories.iter().map(|category| category.name.as_str()).collect::<Vec<_>>(), ["cat", "dog"]);
    let [picture] = &set.pictures[..] else { panic!("one picture") };
    assert_eq!((&picture.path, &picture.labels, picture.size), (&dir.path().join("a.png"), &Some(dir.path().join("a.json")), [3, 4]));
    let objects: Vec<_> = picture.objects.iter().map(|object| (object.id, object.place, object.class)).collect();
    let places = [(1, 1), (2, 0), (3, 0), (4, 1), (5, 1), (6, 0), (9, 0), (10, 1)];
    let expected: Vec<_> = (1..).zip(places).map(|(id, (number, class))| (id, Some(Subject::Shape(number)), class)).collect();
    assert_eq!(objects, expected);
    let [polygon, rectangle, circle, masked, group, alone, bare, turned] = &picture.objects[..] else { panic!("eight objects") };
    assert_eq!(polygon.outline, Some(Outline::Polygons(vec![vec![0.0, 0.0, 2.0, 0.0, 2.0, 3.0]])));
    assert_eq!((polygon.edges, polygon.area, &bare.outline), ([0.0, 0.0, 2.0, 3.0], 3.0, &polygon.outline));
    assert_eq!((rectangle.edges, rectangle.area, &rectangle.outline), ([1.0, 0.5, 3.5, 2.0], 3.75, &None));
    let round = [1.0, 0.5, 3.0, 2.5];
    assert!(circle.edges.iter().zip(round).all(|(edge, expected)| (edge - expected).abs() < 1e-9), "{:?}", circle.edges);
    assert!((circle.area - 3.0).abs() < 1e-9, "twelve corners: {}", circle.area);
    let Some(Outline::Runs(runs)) = &masked.outline else { panic!("pixels") };
    assert_eq!((runs.decode(), masked.edges, masked.area), (vec![0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0], [1.0, 1.0, 3.0, 3.0], 3.0));
    let polygons = vec![vec![0.0, 0.0, 1.0, 0.0, 1.0, 1.0], vec![2.0, 2.0, 4.0, 2.0, 4.0, 3.0, 2.0, 3.0]];
    assert_eq!((&group.outline, group.edges, group.area), (&Some(Outline::Polygons(polygons)), [0.0, 0.0, 4.0, 3.0], 2.5));
    assert_eq!((alone.edges, &alone.outline), ([0.0, 0.0, 1.0, 1.0], &None));
    assert_eq!((turned.edges, turned.area), ([0.0, 0.0, 2.0, 2.0], 2.0));
    assert_eq!(set.scene(0).expect("a scene").instances.len(), 8);
    // A mask and a box of one group together have pixels.
    mask["group_id"] = json!(1);
    write(&dir.path().join("a.json"), &labels("a.png", &[mask, shape("dog", "rectangle", json!([[0, 0], [1, 1]]), json!(1))]));
    let set = train(dir.path()).expect("a set");
    let Some(Outline::Runs(runs)) = &set.pictures[0].objects[0].outline else { panic!("pixels") };
    assert_eq!(runs.decode(), [1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0]);
}

#[test]
fn pictures_are_found_from_their_labels() {
    for (place, name, picture) in [
        ("a.json", "a.png", "a.png"),
        ("labels/a.json", "../images/b.png", "images/b.png"),
        ("annotations/a.json", "..\\images\\b.png", "images/b.png"),
        ("a.json", "C:\\Users\\me\\b.png", "b.png"),
        ("a.json", "/home/me/b.png", "b.png"),
        ("a.json", "../../b.png", "b.png"),
        ("a.json", "older.png", "a.png"),
        ("train/a.json", "a.png", "train/a.png"),
    ] {
        let dir = folder();
        write(&dir.path().join("set").join(place), &labels(name, &[triangle("cat")]));
        write(&dir.path().join("set").join(picture), &png(1));
        // Beside the data set: not to be read.
        write(&dir.path().join("b.png"), &png(2));
        let set = train(&dir.path().join("set")).expect(place);
        assert_eq!(set.pictures[0].path, dir.path().join("set").join(picture), "{place} {name}");
    }
}

#[test]
fn parts_are_folders_or_drawn() {
    let dir = folder();
    for (part, label) in [("train", "cat"), ("valid", "ant"), ("test", "cat")] {
        write(&dir.path().join(part).join("a.json"), &labels("a.png", &[triangle(label)]));
        write(&dir.path().join(part).join("a.png"), &png(1));
    }
    for split in [Split::Train, Split::Val, Split::Test] {
        let set = ObjectSet::open(dir.path(), split, &OpenOptions::default()).expect("a part");
        assert_eq!((set.len(), set.categories.len(), set.categories[0].name.as_str()), (1, 2, "ant"));
        assert_eq!(set.pictures[0].objects[0].class, usize::from(split != Split::Val));
    }
    let flat = folder();
    for number in 0..10 {
        write(&flat.path().join(format!("{number}.json")), &labels(&format!("{number}.png"), &[triangle("cat")]));
        write(&flat.path().join(format!("{number}.png")), &png(number));
    }
    assert_eq!([Split::Train, Split::Val].map(|split| open(flat.path(), split, 0.2).expect("a part").len()), [8, 2]);
}

#[test]
fn an_old_file_without_sizes_has_those_of_its_picture() {
    let dir = folder();
    write(&dir.path().join("a.json"), br#"{"shapes": [{"label": "cat", "points": [[0, 0], [2, 0], [2, 3]]}], "imagePath": "a.png"}"#);
    let error = train(dir.path()).map(|set| set.problems);
    assert!(message(error).contains("no pictures"));
    write(&dir.path().join("a.png"), &png(1));
    assert_eq!(train(dir.path()).expect("a set").pictures[0].size, [3, 4]);
}

#[test]
fn shapes_that_are_no_objects_are_named() {
    let mask = |text: &str| {
        let mut mask = shape("cat", "mask", json!([[0, 0], [1, 1]]), Value::Null);
        mask["mask"] = text.into();
        mask
    };
    for (shape, words) in [
        (shape("cat", "star", json!([[0, 0], [2, 0]]), Value::Null), "\"star\""),
        (shape("cat", "point", json!([[0, 0]]), Value::Null), "a point has no area"),
        (shape("cat", "linestrip", json!([[0, 0], [2, 0], [3, 1]]), Value::Null), "a linestrip has no area"),
        (shape("cat", "polygon", json!([[0, 0], [2, 0]]), Value::Null), "a polygon of 2 points"),
        (shape("cat", "rectangle", json!([[0, 0]]), Value::Null), "a rectangle of 1 points"),
        (shape("cat", "circle", json!([]), Value::Null), "a circle of 0 points"),
        (shape("cat", "mask", json!([[0, 0], [1, 1]]), Value::Null), "without pixels"),
        (mask("?"), "base64"),
        (mask("AAAA"), "picture"),
        (mask(&BASE64_STANDARD.encode(png(0))), "no pixel"),
    ] {
        let dir = folder();
        write(&dir.path().join("a.json"), &labels("a.png", &[triangle("cat"), shape]));
        write(&dir.path().join("a.png"), &png(1));
        let checked = check(dir.path()).expect("checked");
        let [problem] = &checked.problems[..] else { panic!("{words}: {:?}", checked.problems) };
        let place = (problem.severity, &problem.file, problem.subject);
        assert_eq!(place, (Severity::Error, &dir.path().join("a.json"), Some(Subject::Shape(2))));
        assert!(problem.to_string().contains("a.json: shape 2: ") && problem.reason.contains(words), "{words}: {problem}");
        assert_eq!((checked.parts[0].pictures, checked.parts[0].objects.clone()), (1, vec![1]));
    }
}

#[test]
fn unsound_files_are_named() {
    let whole = String::from_utf8(labels("a.png", &[triangle("cat")])).expect("a text");
    for (text, words) in [
        (&whole[..whole.len() - 9], "EOF"),
        (r#"{"shapes": {}}"#, "line 1"),
        (r#"{"shapes": [{"label": "cat", "points": [[0, 0, 1]]}]}"#, "line 1"),
        (r#"{"shapes": [{"label": "cat", "points": [[NaN, 0]]}]}"#, "line 1"),
        (r#"{"imagePath": "a.png"}"#, "shapes"),
        (&whole.replace("\"imageHeight\":3", "\"imageHeight\":-3"), "-3"),
        (r#"[1]"#, "line 1"),
    ] {
        let dir = folder();
        write(&dir.path().join("a.json"), text.as_bytes());
        write(&dir.path().join("b.json"), whole.as_bytes());
        write(&dir.path().join("a.png"), &png(1));
        let set = train(dir.path()).expect("a set");
        let [problem] = &set.problems[..] else { panic!("{words}: {:?}", set.problems) };
        assert_eq!((&problem.file, problem.subject), (&dir.path().join("a.json"), Some(Subject::Picture(1))));
        assert!(problem.reason.contains(words), "{words}: {problem}");
        assert_eq!((set.len(), set.left_out()), (1, 1));
    }
    // Labels of another size than the picture's are found by the check.
    let dir = folder();
    write(&dir.path().join("a.json"), whole.replace("\"imageHeight\":3", "\"imageHeight\":99999999999").as_bytes());
    write(&dir.path().join("a.png"), &png(1));
    let checked = check(dir.path()).expect("checked");
    assert!(checked.problems.iter().any(|problem| problem.reason.contains("99999999999")), "{:?}", checked.problems);
    // Other JSON beside pictures is no labels.
    write(&dir.path().join("a.json"), br#"{"camera": "x"}"#);
    assert!(message(train(dir.path())).contains("labelme"));
}

#[test]
fn it_is_converted_and_not_written() {
    let dir = folder();
    let from = dir.path().join("from");
    for (name, label) in [("a", "traffic light"), ("b c", "cat")] {
        let rectangle = shape("cat", "rectangle", json!([[0, 0], [2, 1]]), Value::Null);
        write(&from.join(format!("{name}.json")), &labels(&format!("{name}.png"), &[triangle(label), rectangle]));
        write(&from.join(format!("{name}.png")), &png(1));
    }
    let before = train(&from).expect("a set");
    for (format, name) in [(Format::Coco, "coco"), (Format::Voc, "voc"), (Format::Yolo, "yolo")] {
        let out = dir.path().join(name);
        let converted = convert(&from, format, &out).expect(name);
        assert_eq!((converted.pictures, converted.objects), (2, 4), "{name}");
        let after = train(&out).expect(name);
        let objects = |set: &ObjectSet| -> Vec<_> {
            let objects = set.pictures.iter().flat_map(|picture| &picture.objects);
            objects.map(|object| (set.categories[object.class].name.clone(), object.edges.map(f64::round))).collect()
        };
        assert_eq!((objects(&after), after.problems.len()), (objects(&before), 0), "{name}");
        assert_eq!(check(&out).expect(name).problems, [], "{name}");
    }
    assert!(message(convert(&from, Format::Labelme, &dir.path().join("x"))).contains("labelme"));
}
