//! Sets of pictures with objects in all formats: what is found in folders, read, refused, checked and converted.

mod common;

use std::fs;
use std::path::Path;

use cirio_coco::Rle;
use cirio_data::objects::{Edges, Object, ObjectSet, Outline, Problem, Severity, Subject, check, coco, convert};
use cirio_data::{Error, Format, OpenOptions, Split, Strictness, open};
use common::{message, png, write};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn train(path: &Path) -> cirio_data::Result<ObjectSet> {
    ObjectSet::open(path, Split::Train, &OpenOptions { val_fraction: Some(0.0), ..OpenOptions::default() })
}

fn stems(set: &ObjectSet) -> Vec<String> {
    set.pictures.iter().map(|picture| picture.path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

fn boxes(set: &ObjectSet) -> Vec<(String, Edges)> {
    let objects = set.pictures.iter().flat_map(|picture| &picture.objects);
    objects.map(|object| (set.categories[object.class].name.clone(), object.edges)).collect()
}

/// COCO's JSON of pictures of 4×3 (width × height) with these names.
fn coco_json(names: &[&str]) -> String {
    let images: Vec<String> =
        (1..).zip(names).map(|(id, name)| format!(r#"{{"id": {id}, "file_name": "{name}", "width": 4, "height": 3}}"#)).collect();
    let boxes: Vec<String> =
        (1..).zip(names).map(|(id, _)| format!(r#"{{"id": {id}, "image_id": {id}, "category_id": 1, "bbox": [0, 0, 2, 2]}}"#)).collect();
    format!(r#"{{"images": [{}], "annotations": [{}], "categories": [{{"id": 1, "name": "cat"}}]}}"#, images.join(","), boxes.join(","))
}

#[test]
fn layouts_of_coco() {
    for (labels, pictures) in [
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_train2017.json", "images/train2017"),
        ("annotations/instances_train.json", "images"),
        ("annotations/train.json", "train"),
        ("train/_annotations.coco.json", "train"),
        ("train/labels.json", "train/data"),
        ("train.json", "images/train"),
        ("instances_train.json", "."),
        ("annotations.json", "images"),
        ("annotations/all.json", "images"),
    ] {
        let dir = folder();
        write(&dir.path().join(labels), coco_json(&["a.png"]).as_bytes());
        write(&dir.path().join(pictures).join("a.png"), &png(1));
        write(&dir.path().join("annotations/captions_train2017.json"), b"{}");
        for path in [dir.path().to_owned(), dir.path().join(labels)] {
            assert_eq!(Format::of(&path).expect("a format"), Format::Coco, "{labels}");
            let set = train(&path).expect(labels);
            assert!(set.pictures[0].path.is_file(), "{labels}: {}", set.pictures[0].path.display());
        }
    }
}

#[test]
fn parts_are_found_or_drawn() {
    let dir = folder();
    let names: Vec<String> = (0..10).map(|number| format!("{number}.png")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let file = dir.path().join("annotations/instances_train.json");
    write(&file, coco_json(&names).as_bytes());
    let options = OpenOptions::default();
    let open = |path: &Path, split| ObjectSet::open(path, split, &options);
    for path in [dir.path(), &file] {
        let (train, val) = (open(path, Split::Train).expect("a part"), open(path, Split::Val).expect("a part"));
        assert_eq!((train.len(), val.len()), (8, 2));
        assert!(stems(&val).iter().all(|stem| !stems(&train).contains(stem)));
    }
    assert!(message(open(dir.path(), Split::Test)).contains("neither a part test nor a part val"));
    assert_eq!(open(&file, Split::Test).expect("all of it").len(), 10);
    write(&dir.path().join("annotations/instances_val.json"), coco_json(&["v.png"]).as_bytes());
    assert_eq!(open(dir.path(), Split::Train).expect("a part").len(), 10);
    assert_eq!(
        (stems(&open(dir.path(), Split::Val).expect("a part")), stems(&open(dir.path(), Split::Test).expect("a part"))),
        (vec!["v".to_owned()], vec!["v".to_owned()])
    );
    write(&dir.path().join("annotations/instances_train2017.json"), coco_json(&["v.png"]).as_bytes());
    let two = message(open(dir.path(), Split::Train));
    assert!(two.contains("instances_train.json") && two.contains("instances_train2017.json"), "{two}");
}

#[test]
fn options_of_opening() {
    let dir = folder();
    let file = dir.path().join("train.json");
    write(&file, coco_json(&["a.png"]).replace("\"category_id\": 1", "\"category_id\": 2").as_bytes());
    let set = train(&file).expect("a set");
    assert_eq!(set.problems.len(), 1);
    let open = |options: OpenOptions| ObjectSet::open(&file, Split::Test, &options);
    let strict = message(open(OpenOptions { strictness: Strictness::Strict, ..OpenOptions::default() }));
    assert!(strict.contains("train.json: object 1: its category 2"), "{strict}");
    let named =
        |names: &[&str]| OpenOptions { class_names: Some(names.iter().map(|&name| name.to_owned()).collect()), ..OpenOptions::default() };
    assert_eq!(open(named(&["tiger"])).expect("a set").categories[0].name, "tiger");
    assert!(message(open(named(&["a", "b"]))).contains("found 2, expected 1"));
    assert!(message(open(OpenOptions { val_fraction: Some(1.0), ..OpenOptions::default() })).contains("less than 1"));
}

#[test]
fn the_two_kinds_of_data_sets_are_told_apart() {
    let dir = folder();
    write(&dir.path().join("train.json"), coco_json(&["a.png"]).as_bytes());
    let objects = message(open(dir.path(), Split::Train, &OpenOptions::default()));
    assert!(objects.contains("objects (coco)"), "{objects}");
    let classes = folder();
    write(&classes.path().join("a/a.png"), &png(1));
    assert_eq!(Format::of(classes.path()).expect("a format"), Format::ImageFolder);
    assert!(message(train(classes.path())).contains("Pascal VOC"));
    assert!(matches!(train(Path::new("not there")), Err(Error::Io { .. })));
}

const XML: &str = "<annotation>
  <folder>x</folder><filename>a.png</filename><source><name>no</name></source>
  <size><width>4</width><height>3</height><depth>3</depth></size><segmented>0</segmented>
  <object><name>dog</name><pose>Left</pose><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>2.5</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>
  <object><name>cat &amp; co</name><bndbox><xmax>4</xmax><xmin>0</xmin><ymin>0</ymin><ymax>3</ymax></bndbox></object>
</annotation>";

#[test]
fn voc_is_read() {
    let dir = folder();
    write(&dir.path().join("Annotations/a.xml"), XML.as_bytes());
    write(&dir.path().join("JPEGImages/a.png"), &png(1));
    assert_eq!(Format::of(dir.path()).expect("a format"), Format::Voc);
    let set = train(dir.path()).expect("a set");
    assert_eq!(set.problems, []);
    assert_eq!(boxes(&set), [("dog".to_owned(), [1.0, 1.0, 3.0, 2.5]), ("cat & co".to_owned(), [0.0, 0.0, 4.0, 3.0])]);
    let [dog, cat] = &set.pictures[0].objects[..] else { panic!("two objects") };
    assert_eq!((dog.class, dog.crowd, dog.id, dog.area, cat.class, cat.crowd, cat.id), (1, true, 1, 3.0, 0, false, 2));
    assert_eq!(set.scene(0).expect("a scene").instances.len(), 1);
    // The lists of the parts, and a file without objects.
    write(&dir.path().join("Annotations/b.xml"), b"<annotation><size><width>4</width><height>3</height></size></annotation>");
    write(&dir.path().join("ImageSets/Main/train.txt"), b"b\n");
    write(&dir.path().join("ImageSets/Main/val.txt"), b"a  1\n\n");
    let set = train(dir.path()).expect("a set");
    assert_eq!((stems(&set), set.categories.len(), set.pictures[0].objects.len()), (vec!["b".to_owned()], 2, 0));
    assert_eq!(stems(&ObjectSet::open(dir.path(), Split::Val, &OpenOptions::default()).expect("a set")), ["a"]);
    // Folders of pictures and labels side by side.
    let side = folder();
    write(&side.path().join("train/a.xml"), XML.as_bytes());
    write(&side.path().join("valid/c.xml"), XML.replace("dog", "ant").as_bytes());
    write(&side.path().join("train/a.png"), &png(1));
    let set = train(side.path()).expect("a set");
    assert_eq!(set.categories.iter().map(|category| category.name.as_str()).collect::<Vec<_>>(), ["ant", "cat & co", "dog"]);
    assert!(set.pictures[0].path.is_file());
}

#[test]
fn unsound_voc_is_named() {
    for (xml, words) in [
        ("", "XML"),
        ("no xml", "XML"),
        (&XML[..XML.len() - 30], "a.xml"),
        ("<annotation><filename>a.png</filename></annotation>", "size"),
        (&XML.replace("<width>4", "<width>-4"), "-4"),
        (&XML.replace("<xmax>3</xmax>", ""), "xmax"),
        (&XML.replace("<xmax>3", "<xmax>three"), "three"),
    ] {
        let dir = folder();
        write(&dir.path().join("Annotations/a.xml"), xml.as_bytes());
        let error = message(train(dir.path()));
        assert!(error.contains("no pictures for train"), "{error}");
        let checked = check(dir.path()).expect("checked");
        let found = checked.problems[0].to_string();
        assert!(found.contains("a.xml") && found.contains(words), "{words}: {found}");
    }
    let dir = folder();
    write(&dir.path().join("Annotations/a.xml"), XML.as_bytes());
    write(&dir.path().join("ImageSets/Main/train.txt"), b"a\n../../b\n");
    assert!(message(train(dir.path())).contains("line 2"));
    write(&dir.path().join("ImageSets/Main/train.txt"), b"missing\n");
    assert!(message(train(dir.path())).contains("no pictures"));
}

#[test]
fn names_with_spaces() {
    let dir = folder();
    let labels = |picture: &str| XML.replace("dog", "traffic light").replace("a.png", picture);
    for name in ["a b", "a b 1", "c"] {
        write(&dir.path().join(format!("voc/Annotations/{name}.xml")), labels(&format!("{name}.png")).as_bytes());
        write(&dir.path().join(format!("voc/JPEGImages/{name}.png")), &png(1));
    }
    write(&dir.path().join("voc/ImageSets/Main/train.txt"), b"a b\na b 1\r\n c  -1\n");
    let sets = |format: &str| {
        let set = train(&dir.path().join(format)).expect("a set");
        assert_eq!(set.problems, [], "{format}");
        let names: Vec<String> = set.categories.iter().map(|category| category.name.clone()).collect();
        assert_eq!(names, ["cat & co", "traffic light"], "{format}");
        let mut stems = stems(&set);
        stems.sort_unstable();
        assert_eq!(stems, ["a b", "a b 1", "c"], "{format}");
        assert!(set.pictures.iter().all(|picture| picture.path.is_file()), "{format}");
    };
    sets("voc");
    for (from, format, to) in [("voc", Format::Coco, "coco"), ("coco", Format::Voc, "again"), ("again", Format::Yolo, "yolo")] {
        convert(&dir.path().join(from), format, &dir.path().join(to)).expect(to);
        sets(to);
    }
    fs::remove_file(dir.path().join("yolo/data.yaml")).expect("removed");
    write(&dir.path().join("yolo/classes.txt"), b"cat & co\ntraffic light\n");
    sets("yolo");
}

#[test]
fn yolo_is_read() {
    let dir = folder();
    let labels = "1 0.5 0.5 0.5 1\n\n0 0 0 0.5 0 0.5 1\n";
    for (image, label) in [("images/train/a.png", "labels/train/a.txt"), ("images/val/b.png", "labels/val/b.txt")] {
        write(&dir.path().join(image), &png(1));
        write(&dir.path().join(label), labels.as_bytes());
    }
    write(&dir.path().join("images/train/none.png"), &png(2));
    let check_set = |names: [&str; 2]| {
        assert_eq!(Format::of(dir.path()).expect("a format"), Format::Yolo);
        let set = train(dir.path()).expect("a set");
        assert_eq!(set.problems, []);
        assert_eq!((stems(&set), set.pictures[0].size), (vec!["a".to_owned(), "none".to_owned()], [3, 4]));
        assert_eq!(boxes(&set), [(names[1].to_owned(), [1.0, 0.0, 3.0, 3.0]), (names[0].to_owned(), [0.0, 0.0, 2.0, 3.0])]);
        let polygon = &set.pictures[0].objects[1];
        assert_eq!((&polygon.outline, polygon.area), (&Some(Outline::Polygons(vec![vec![0.0, 0.0, 2.0, 0.0, 2.0, 3.0]])), 3.0));
        assert_eq!(stems(&ObjectSet::open(dir.path(), Split::Val, &OpenOptions::default()).expect("a set")), ["b"]);
    };
    check_set(["0", "1"]);
    write(&dir.path().join("classes.txt"), b"cat\ndog\n");
    check_set(["cat", "dog"]);
    write(&dir.path().join("list.txt"), b"./images/train/a.png\nimages/train/none.png\n");
    for place in ["images/train", "../images/train", "list.txt"] {
        write(&dir.path().join("data.yaml"), format!("train: {place}\nval: [images/val]\nnames: {{0: ant, 1: bee}}\n").as_bytes());
        check_set(["ant", "bee"]);
    }
    assert_eq!(train(&dir.path().join("data.yaml")).expect("a set").len(), 2);
}

#[test]
fn unsound_yolo_is_named() {
    let dir = folder();
    write(&dir.path().join("train/images/a.png"), &png(1));
    write(&dir.path().join("data.yaml"), b"train: train/images\nnames: [cat]\n");
    for (line, words) in [
        ("1 0.5 0.5 0.5 1", "\"1\" is no class, 0 to 0"),
        ("cat 0.5 0.5 0.5 1", "\"cat\""),
        ("-1 0.5 0.5 0.5 1", "\"-1\""),
        ("0 0.5 0.5 0.5", "3 numbers"),
        ("0 0.5 0.5 0.5 1 0.5 1 1", "7 numbers"),
        ("0 0.5 NaN 0.5 1", "\"NaN\""),
        ("0 a 0.5 0.5 1", "\"a\""),
        ("0", "0 numbers"),
    ] {
        write(&dir.path().join("train/labels/a.txt"), format!("0 0.5 0.5 1 1\n{line}\n").as_bytes());
        let set = train(dir.path()).expect("a set");
        let [problem] = &set.problems[..] else { panic!("{line}: {:?}", set.problems) };
        assert_eq!(problem.subject, Some(Subject::Line(2)));
        let problem = problem.to_string();
        assert!(problem.contains("a.txt: line 2: ") && problem.contains(words), "{problem}");
        assert_eq!(set.pictures[0].objects.len(), 1);
    }
    write(&dir.path().join("train/images/b.png"), b"no picture");
    assert!(train(dir.path()).expect("a set").problems.iter().any(|problem| problem.file.ends_with("b.png")));
    for (yaml, words) in [
        ("names: [cat]", "no train"),
        ("train: elsewhere\nnames: [cat]", "elsewhere"),
        ("train: train/images\nnames: []", "no names"),
        ("train: train/images\ncat", "line 2"),
    ] {
        write(&dir.path().join("data.yaml"), yaml.as_bytes());
        let error = message(train(dir.path()));
        assert!(error.contains("data.yaml") && error.contains(words), "{error}");
    }
    write(&dir.path().join("list.txt"), b"/etc/a.png\n");
    write(&dir.path().join("data.yaml"), b"train: list.txt");
    assert!(message(train(dir.path())).contains("/etc/a.png"));
}

/// A set of two parts of COCO's with an object of every kind.
fn every_kind(dir: &Path) {
    let json = r#"{"images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 3}, {"id": 2, "file_name": "in/a.png", "width": 4, "height": 3}],
        "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0.5, 0, 2, 2], "segmentation": [[0.5, 0, 2.5, 0, 2.5, 2]]},
        {"id": 2, "image_id": 1, "category_id": 2, "bbox": [1, 0, 1, 3], "segmentation": {"size": [3, 4], "counts": [3, 3, 6]}},
        {"id": 3, "image_id": 2, "category_id": 1, "bbox": [0, 0, 4, 3], "iscrowd": 1},
        {"id": 4, "image_id": 2, "category_id": 1, "bbox": [0, 0, 4, 3], "segmentation": [[0, 0, 1, 0, 1, 1], [2, 2, 4, 2, 4, 3]],
         "keypoints": [1, 1, 2]}],
        "categories": [{"id": 1, "name": "cat \"x\"", "keypoints": ["nose"]}, {"id": 2, "name": "dog: it's"}]}"#;
    write(&dir.join("annotations/instances_train.json"), json.as_bytes());
    write(&dir.join("annotations/instances_val.json"), coco_json(&["v.png"]).replace(r#""cat""#, r#""cat \"x\"""#).as_bytes());
    for picture in ["train/a.png", "train/in/a.png", "val/v.png"] {
        write(&dir.join(picture), &png(7));
    }
}

#[test]
fn conversion_and_back() {
    let dir = folder();
    let from = dir.path().join("from");
    every_kind(&from);
    let before = train(&from).expect("a set");
    for (format, name, losses) in [
        (Format::Coco, "coco", vec![]),
        (Format::Voc, "voc", vec!["3 masks", "1 objects have lost", "1 boxes are rounded"]),
        (Format::Yolo, "yolo", vec!["1 masks", "1 objects of several polygons", "1 objects have lost", "1 crowds"]),
    ] {
        let out = dir.path().join(name);
        let converted = convert(&from, format, &out).expect(name);
        assert_eq!((converted.pictures, converted.objects), (3, 5), "{name}");
        assert_eq!(converted.losses.len(), losses.len(), "{:?}", converted.losses);
        assert!(losses.iter().zip(&converted.losses).all(|(start, loss)| loss.starts_with(start)), "{:?}", converted.losses);
        assert_eq!(Format::of(&out).expect("a format"), format);
        let after = train(&out).expect(name);
        let mut names = stems(&after);
        names.sort_unstable();
        assert_eq!((after.problems.len(), names), (0, vec!["a".to_owned(), "a-2".to_owned()]), "{name}");
        assert!(after.pictures.iter().all(|picture| picture.path.is_file()));
        let whole = |objects: &[Object]| objects.iter().map(|object| object.edges.map(f64::round)).collect::<Vec<_>>();
        let first = |set: &ObjectSet| whole(&set.pictures.iter().find(|picture| picture.path.ends_with("a.png")).expect("a.png").objects);
        assert_eq!(first(&after), first(&before), "{name}");
        assert_eq!(
            after.categories.iter().map(|category| &category.name).collect::<Vec<_>>(),
            before.categories.iter().map(|category| &category.name).collect::<Vec<_>>(),
            "{name}"
        );
        assert_eq!(stems(&ObjectSet::open(&out, Split::Val, &OpenOptions::default()).expect("a set")), ["v"]);
        assert!(message(convert(&from, format, &out)).contains("not empty"));
    }
    assert!(message(convert(&from, Format::ImageFolder, &dir.path().join("x"))).contains("image-folder"));
    // Nothing is lost from COCO to COCO but the places of the files.
    let objects = |set: &ObjectSet| set.pictures.iter().map(|picture| picture.objects.clone()).collect::<Vec<_>>();
    assert_eq!(objects(&train(&dir.path().join("coco")).expect("a set")), objects(&before));
}

#[test]
fn classes_of_parts_are_joined_by_their_names() {
    let dir = folder();
    let labels = |classes: [&str; 2]| {
        let class = |(id, name): (usize, &str)| {
            (
                format!(r#"{{"id": {id}, "name": "{name}"}}"#),
                format!(r#"{{"id": {id}, "image_id": 1, "category_id": {id}, "bbox": [0, 0, {id}, 2]}}"#),
            )
        };
        let (categories, annotations): (Vec<String>, Vec<String>) = (1..).zip(classes).map(class).unzip();
        format!(
            r#"{{"images": [{{"id": 1, "file_name": "a.png", "width": 4, "height": 3}}], "annotations": [{}], "categories": [{}]}}"#,
            annotations.join(","),
            categories.join(",")
        )
    };
    for (part, classes) in [("train", ["cat", "dog"]), ("val", ["ant", "cat"])] {
        write(&dir.path().join(format!("coco/{part}.json")), labels(classes).as_bytes());
        write(&dir.path().join(format!("coco/{part}/a.png")), &png(1));
    }
    let yolo = dir.path().join("yolo");
    convert(&dir.path().join("coco"), Format::Yolo, &yolo).expect("converted");
    let val = ObjectSet::open(&yolo, Split::Val, &OpenOptions::default()).expect("a part");
    let names: Vec<&str> = val.categories.iter().map(|category| category.name.as_str()).collect();
    assert_eq!(names, ["cat", "dog", "ant"]);
    let wholes: Vec<_> = boxes(&val).into_iter().map(|(name, edges)| (name, edges.map(f64::round))).collect();
    assert_eq!(wholes, [("ant".to_owned(), [0.0, 0.0, 1.0, 2.0]), ("cat".to_owned(), [0.0, 0.0, 2.0, 2.0])]);
    assert_eq!(boxes(&train(&yolo).expect("a part")).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["cat", "dog"]);
}

#[test]
fn problems_name_the_files_of_labels() {
    let dir = folder();
    let empty = "<annotation><size><width>4</width><height>3</height></size><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin>\
                 <xmax>1</xmax><ymax>2</ymax></bndbox></object></annotation>";
    write(&dir.path().join("voc/Annotations/a.xml"), XML.as_bytes());
    write(&dir.path().join("voc/Annotations/b.xml"), empty.as_bytes());
    write(&dir.path().join("voc/Annotations/c.xml"), b"no labels");
    for name in ["a.png", "b.jpg"] {
        write(&dir.path().join("voc/JPEGImages").join(name), &png(1));
    }
    let labels = |path: &str, subject, words: &str| {
        let (set, file) = path.split_once('/').expect("a folder");
        let set = dir.path().join(set);
        let checked = check(&set).expect("checked");
        let found = checked
            .problems
            .iter()
            .any(|problem| (problem.file.clone(), problem.subject) == (set.join(file), Some(subject)) && problem.reason.contains(words));
        assert!(found, "{:#?}", checked.problems);
    };
    labels("voc/Annotations/b.xml", Subject::Object(1), "is empty");
    labels("voc/Annotations/c.xml", Subject::Picture(3), "found");
    assert_eq!(train(&dir.path().join("voc")).expect("a set").left_out(), 1);

    write(&dir.path().join("yolo/images/a.png"), &png(1));
    write(&dir.path().join("yolo/labels/a.txt"), b"0 0.5 0.5 1 1\n\n0 0.5 0.5 0 1\n0 0.5 0.5 1 1\n");
    write(&dir.path().join("yolo/labels/gone.txt"), b"0 0.5 0.5 1 1\n");
    write(&dir.path().join("yolo/labels/classes.txt"), b"cat\n");
    labels("yolo/labels/a.txt", Subject::Line(3), "is empty");
    labels("yolo/labels/a.txt", Subject::Line(4), "class and box of line 1");
    let checked = check(&dir.path().join("yolo")).expect("checked");
    let stray = |problem: &&Problem| problem.reason.contains("not there");
    let strays: Vec<&Problem> = checked.problems.iter().filter(stray).collect();
    assert_eq!(strays.iter().map(|problem| problem.file.clone()).collect::<Vec<_>>(), [dir.path().join("yolo/labels/gone.txt")]);
    write(&dir.path().join("yolo/images/broken.png"), b"broken");
    labels("yolo/images/broken.png", Subject::Picture(2), "");
    assert_eq!(train(&dir.path().join("yolo")).expect("a set").left_out(), 1);
}

#[test]
fn everything_wrong_is_found() {
    let dir = folder();
    let object = |id: u64, rest: &str| format!(r#"{{"id": {id}, "image_id": 1, "category_id": 1, {rest}}}"#);
    let annotations = [
        object(1, r#""bbox": [0, 0, 0, 2]"#),
        object(2, r#""bbox": [5, 0, 2, 2]"#),
        object(3, r#""bbox": [0, 0, 9, 2]"#),
        object(4, r#""bbox": [0, 0, 2, 2], "segmentation": [[0, 0, 1, 1]]"#),
        object(5, r#""bbox": [0, 0, 15, 12], "segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]]"#),
        object(6, r#""bbox": [0, 0, 2, 1], "segmentation": {"size": [3, 4], "counts": [12]}"#),
        object(7, r#""bbox": [0, 0, 2, 1], "keypoints": [9, 9, 2]"#),
        object(7, r#""bbox": [0, 0, 2, 3]"#),
        object(0, r#""bbox": [0, 1, 2, 3]"#),
        object(8, r#""bbox": [0, 0, 2, 1], "category_id": 9"#).replacen("\"category_id\": 1, ", "", 1),
        object(9, r#""bbox": [0, 0, 2, 1], "segmentation": [[0, 0, 1e300, 0, 1, 1]]"#),
        object(10, r#""bbox": [0, 0, 2, 1], "area": -2"#),
        object(11, r#""bbox": [0, 0, 3, 2], "area": 60"#),
        object(12, r#""bbox": [0, 0, 4, 3], "area": 50, "segmentation": [[0, 0, 4, 0, 4, 3, 0, 3]]"#),
        object(13, r#""bbox": [0, 0, 4, 2], "area": 20, "segmentation": [[0, 0, 4, 0, 4, 2, 0, 2]]"#),
    ];
    let image = |id: u64, name: &str| format!(r#"{{"id": {id}, "file_name": "{name}", "width": 4, "height": 3}}"#);
    let images = [image(1, "a.png"), image(2, "missing.png"), image(3, "broken.png"), image(4, "large.png"), image(5, "a.png")];
    let json = format!(
        r#"{{"images": [{}], "annotations": [{}], "categories": [{{"id": 1, "name": "cat", "keypoints": ["nose"]}}, {{"id": 2, "name": "none"}}, {{"id": 3, "name": "cat"}}]}}"#,
        images.join(","),
        annotations.join(",")
    );
    write(&dir.path().join("train.json"), json.as_bytes());
    write(&dir.path().join("val.json"), json.as_bytes());
    write(&dir.path().join("train/a.png"), &png(1));
    write(&dir.path().join("train/broken.png"), b"broken");
    let large = cirio_vision::Image::filled(5, 5, 1, 0).expect("a picture");
    large.save(dir.path().join("train/large.png")).expect("written");
    let checked = check(dir.path()).expect("checked");
    let found: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
    let has = |severity: Severity, words: [&str; 2]| {
        let fits = |(problem, text): (&Problem, &String)| problem.severity == severity && words.iter().all(|word| text.contains(word));
        assert!(checked.problems.iter().zip(&found).any(fits), "{words:?} in {found:#?}");
    };
    for words in [
        ["object 1:", "is empty"],
        ["object 2:", "outside of the picture"],
        ["object 4:", "fewer than 3 points"],
        ["object 7:", "id of another object"],
        ["object 0:", "the id 0"],
        ["object 8:", "category 9"],
        ["object 9:", "cannot be drawn"],
        ["object 10:", "area -2 is negative"],
        ["missing.png: picture 2:", "No such file"],
        ["broken.png: picture 3:", "picture"],
        ["large.png: picture 4:", "5×5"],
        ["a.png: picture 5:", "listed twice"],
    ] {
        has(Severity::Error, words);
    }
    for words in [
        ["object 3:", "reaches out"],
        ["object 5:", "far from its mask"],
        ["object 6:", "no pixel"],
        ["object 7:", "outside"],
        ["object 7:", "class and box of object 6"],
        ["object 11:", "area 60.0 is far from that of its box, 6.0"],
        ["object 12:", "area 50.0 is far from that of its mask, 12.0"],
        ["the class none", "no object"],
        ["category 3:", "the name \"cat\" of category 1"],
    ] {
        has(Severity::Warning, words);
    }
    assert!(!found.iter().any(|problem| problem.contains("object 13:")), "{found:#?}");
    let part = &checked.parts[0];
    assert_eq!((checked.format, part.pictures, part.without_objects, part.objects.clone()), (Format::Coco, 5, 4, vec![14, 0, 0]));
}

#[test]
fn a_sound_set_has_no_problems() {
    let dir = folder();
    write(&dir.path().join("train.json"), coco_json(&["a.png", "b.png"]).as_bytes());
    for name in ["a", "b"] {
        write(&dir.path().join(format!("train/{name}.png")), &png(1));
    }
    let checked = check(dir.path()).expect("checked");
    assert_eq!((checked.problems, checked.classes), (vec![], vec!["cat".to_owned()]));
}

#[test]
fn a_picture_in_two_parts_is_named() {
    let dir = folder();
    for part in ["train", "val"] {
        write(&dir.path().join(format!("{part}.json")), coco_json(&["a.png"]).as_bytes());
    }
    write(&dir.path().join("images/a.png"), &png(1));
    let checked = check(dir.path()).expect("checked");
    let [problem] = &checked.problems[..] else { panic!("{:?}", checked.problems) };
    assert_eq!((problem.severity, problem.reason.as_str()), (Severity::Warning, "is in the parts train and val"));
}

#[test]
fn masks_of_another_size_are_not_drawn() {
    let outline = Outline::Runs(Rle::new([2, 2], vec![4]).expect("a mask"));
    assert!(outline.mask([2, 2]).is_ok());
    assert!(message(outline.mask([3, 2]).map_err(|error| Error::Layout { path: "x".into(), problem: error.to_string() })).contains("2×2"));
}

#[test]
fn a_missing_part_of_coco_is_written_nowhere() {
    let dir = folder();
    every_kind(dir.path());
    let set = train(dir.path()).expect("a set");
    let file = dir.path().join("no folder/labels.json");
    assert!(coco::write(&set, &file, &dir.path().join("train")).is_err());
    assert!(fs::metadata(&file).is_err());
}
