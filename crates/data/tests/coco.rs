//! COCO's JSON: what is read, what is left out and said, what is refused, and that what is written is read again.

mod common;

use std::path::Path;

use cirio_coco::Rle;
use cirio_data::objects::{Keypoint, ObjectSet, Outline, Problem, Severity, Subject, coco};
use common::{message, png, write};
use tempfile::TempDir;

/// Reads a file with this text, whose pictures lie in the same folder.
fn read(text: &str) -> (TempDir, cirio_data::Result<ObjectSet>) {
    let dir = tempfile::tempdir().expect("a folder");
    write(&dir.path().join("labels.json"), text.as_bytes());
    let set = coco::read(&dir.path().join("labels.json"), dir.path());
    (dir, set)
}

/// A file of one picture of 4×3 (width × height) and two classes, with these annotations.
fn with(annotations: &str) -> String {
    format!(
        r#"{{"info": {{"year": 2024, "deep": [[[{{}}]]]}}, "annotations": [{annotations}],
        "images": [{{"id": 7, "file_name": "a.png", "width": 4, "height": 3, "license": 1}}],
        "categories": [{{"id": 5, "name": "dog", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}}, {{"id": 2, "name": "cat"}}]}}"#
    )
}

fn problems(set: &ObjectSet) -> Vec<String> {
    set.problems.iter().map(|problem| problem.to_string().split_once("labels.json: ").expect("the file").1.to_owned()).collect()
}

#[test]
fn every_kind_of_annotation_is_read() {
    let (dir, set) = read(&with(
        r#"{"id": 1, "image_id": 7, "category_id": 5, "bbox": [1, 0, 2, 2.5], "area": 4.25, "iscrowd": 0,
            "segmentation": [[1, 0, 3, 0, 3, 2.5], [1, 1, 2, 2, 1, 2]], "keypoints": [1, 2, 2, 0, 0, 0], "num_keypoints": 1},
           {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 2, 3], "segmentation": {"counts": [3, 3, 6], "size": [3, 4]}, "iscrowd": 1},
           {"id": 3, "image_id": 7, "category_id": 2, "segmentation": {"size": [3, 4], "counts": "336"}, "iscrowd": false},
           {"id": 4, "image_id": 7, "category_id": 2, "bbox": [0, 1, 2, 1], "segmentation": [], "area": null, "keypoints": null, "iscrowd": null}"#,
    ));
    let set = set.expect("a set");
    assert_eq!(set.problems, []);
    let categories: Vec<_> = set.categories.iter().map(|category| (category.id, category.name.as_str())).collect();
    assert_eq!(categories, [(2, "cat"), (5, "dog")], "in the order of their ids");
    assert_eq!(set.keypoints, ["nose", "tail"]);
    let [picture] = &set.pictures[..] else { panic!("one picture") };
    assert_eq!((picture.id, picture.size, picture.path.clone()), (7, [3, 4], dir.path().join("a.png")));
    let [polygons, crowd, text, bare] = &picture.objects[..] else { panic!("four objects") };
    assert_eq!((polygons.class, polygons.edges, polygons.area, polygons.crowd), (1, [1.0, 0.0, 3.0, 2.5], 4.25, false));
    let expected = vec![vec![1.0, 0.0, 3.0, 0.0, 3.0, 2.5], vec![1.0, 1.0, 2.0, 2.0, 1.0, 2.0]];
    assert_eq!(polygons.outline, Some(Outline::Polygons(expected)));
    assert_eq!(polygons.keypoints[0], Keypoint { x: 1.0, y: 2.0, visibility: 2 });
    let runs = Rle::new([3, 4], vec![3, 3, 6]).expect("a mask");
    assert_eq!((&crowd.outline, crowd.crowd, crowd.area), (&Some(Outline::Runs(runs.clone())), true, 3.0));
    assert_eq!((&text.outline, text.edges, text.crowd), (&Some(Outline::Runs(runs)), [1.0, 0.0, 2.0, 3.0], false));
    assert_eq!((&bare.outline, bare.area), (&None, 2.0));
}

#[test]
fn what_is_written_is_read_again() {
    let (dir, set) = read(&with(
        r#"{"id": 1, "image_id": 7, "category_id": 5, "bbox": [1, 0, 2, 2.5], "segmentation": [[1, 0, 3, 0, 3, 2.5]], "keypoints": [1, 2, 2, 0, 0, 0]},
           {"id": 9, "image_id": 7, "category_id": 2, "bbox": [0.1, 0, 2, 3], "segmentation": {"counts": [3, 3, 6], "size": [3, 4]}, "iscrowd": 1}"#,
    ));
    let set = set.expect("a set");
    let copy = dir.path().join("copy.json");
    coco::write(&set, &copy, dir.path()).expect("written");
    let again = coco::read(&copy, dir.path()).expect("read");
    assert_eq!((again.pictures, again.categories, again.keypoints), (set.pictures.clone(), set.categories.clone(), set.keypoints.clone()));
    let elsewhere = message(coco::write(&set, &copy, Path::new("elsewhere")));
    assert!(elsewhere.contains("a.png") && elsewhere.contains("elsewhere"), "{elsewhere}");
}

#[test]
fn objects_that_cannot_be_used_are_left_out_and_named() {
    for (annotation, words, kept) in [
        (r#"{"id": 8, "image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1]}"#, "category 3", 0),
        (r#"{"id": 8, "image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1]}"#, "picture 1", 0),
        (r#"{"id": 8, "image_id": 7, "category_id": 2}"#, "neither a box nor a mask", 0),
        (r#"{"id": 8, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1]}"#, "3 numbers", 0),
        (r#"{"id": 8, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1], "segmentation": [[0, 1, 2]]}"#, "3 numbers", 1),
        (
            r#"{"id": 8, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1], "segmentation": {"size": [3, 4], "counts": [12, 1]}}"#,
            "13 pixels",
            1,
        ),
        (
            r#"{"id": 8, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1], "segmentation": {"size": [3, 4], "counts": "zz"}}"#,
            "character",
            1,
        ),
        (r#"{"id": 8, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1], "segmentation": {"size": [4, 3], "counts": [12]}}"#, "4×3", 1),
        (r#"{"id": 8, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1], "keypoints": [1, 2, 2]}"#, "3 for each of 2", 1),
    ] {
        let set = read(&with(annotation)).1.expect("a set");
        assert_eq!(set.pictures[0].objects.len(), kept, "{annotation}");
        let [problem] = &set.problems[..] else { panic!("{annotation}: {:?}", set.problems) };
        assert_eq!((problem.severity, problem.subject), (Severity::Error, Some(Subject::Object(8))));
        assert!(problem.reason.contains(words), "{problem}");
    }
}

#[test]
fn too_many_points_are_left_out() {
    let polygon = vec!["1"; (1 << 20) + 2].join(",");
    let set = read(&with(&format!(r#"{{"id": 8, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1], "segmentation": [[{polygon}]]}}"#)));
    let set = set.1.expect("a set");
    assert_eq!((set.problems.len(), &set.pictures[0].objects[0].outline), (1, &None));
}

#[test]
fn pictures_and_classes_that_cannot_be_used_are_named() {
    let image = |id: u64, name: &str| format!(r#"{{"id": {id}, "file_name": {name:?}, "width": 4, "height": 3}}"#);
    let images = [image(1, "a.png"), image(1, "b.png"), image(2, "../../c.png"), image(3, "/d.png"), image(4, ""), image(5, "in/e.png")];
    let categories = r#"{"id": 1, "name": "a"}, {"id": 1, "name": "b"}"#;
    let (dir, set) = read(&format!(r#"{{"images": [{}], "categories": [{categories}]}}"#, images.join(",")));
    let set = set.expect("a set");
    let paths: Vec<_> = set.pictures.iter().map(|picture| picture.path.clone()).collect();
    assert_eq!(paths, ["a.png", "in/e.png"].map(|name| dir.path().join(name)));
    assert_eq!(set.categories.len(), 1);
    let found = problems(&set);
    assert_eq!(found.len(), 5, "{found:?}");
    for (problem, start) in found.iter().zip(["category 1: ", "picture 1: ", "picture 2: ", "picture 3: ", "picture 4: "]) {
        assert!(problem.starts_with(start), "{problem}");
    }
}

#[test]
fn what_is_not_coco_is_refused_with_its_place() {
    let whole = with(r#"{"id": 8, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1]}"#);
    for (text, words) in [
        ("", "line 1"),
        ("not json", "line 1"),
        ("[]", "line 1"),
        (&whole[..whole.len() - 2], "line 3"),
        (&format!("{whole} more"), "line 3"),
        (r#"{"images": []}"#, "categories"),
        (r#"{"images": [{"id": -1, "file_name": "a", "width": 1, "height": 1}], "categories": []}"#, "-1"),
        (r#"{"images": [{"id": 1, "file_name": "a", "width": 1}], "categories": []}"#, "height"),
        (
            "{\"images\": [],\n\"categories\": [], \"annotations\": [{\"id\": 1, \"image_id\": 1, \"category_id\": 1, \"segmentation\": [1, 2]}]}",
            "line 2",
        ),
        (&with(r#"{"id": 8, "image_id": 7, "category_id": 2, "segmentation": "text"}"#), "polygons"),
        (&with(r#"{"id": 8, "image_id": 7, "category_id": 2, "segmentation": {"size": [3, 4], "counts": 4}}"#), "runs"),
        (&with(r#"{"id": 8, "image_id": 7, "category_id": 2, "bbox": [NaN, 1, 1, 1]}"#), "line 1"),
        (&"[".repeat(100_000), "line 1"),
    ] {
        let message = message(read(text).1);
        assert!(message.contains("labels.json") && message.contains(words), "{words}: {message}");
    }
}

#[test]
fn files_beyond_the_limit_are_not_read() {
    let (dir, set) = read(&with(""));
    let file = dir.path().join("labels.json");
    // A hole: no such file is on the disk.
    std::fs::File::options().write(true).open(&file).and_then(|file| file.set_len((8 << 30) + 1)).expect("a long file");
    for message in [message(coco::read(&file, dir.path())), message(coco::read_results(&file, &set.expect("a set")))] {
        assert!(message.contains("labels.json: found 8589934593 bytes") && message.contains("at most 8589934592 bytes"), "{message}");
    }
}

#[test]
fn a_scene_is_what_can_be_learnt() {
    let (dir, set) = read(&with(
        r#"{"id": 1, "image_id": 7, "category_id": 5, "bbox": [1, 1, 9, 9], "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]},
           {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 2, 3], "iscrowd": 1},
           {"id": 3, "image_id": 7, "category_id": 2, "bbox": [-3, 0, 3, 3]},
           {"id": 4, "image_id": 7, "category_id": 2, "bbox": [2, 2, -1, 1]},
           {"id": 5, "image_id": 7, "category_id": 2, "bbox": [-1, -1, 2, 3]}"#,
    ));
    let set = set.expect("a set");
    let missing = message(set.scene(0));
    assert!(missing.contains("a.png"), "{missing}");
    write(&dir.path().join("a.png"), &png(9));
    let scene = set.scene(0).expect("a scene");
    let [clipped, cut] = &scene.instances[..] else { panic!("{:?}", scene.instances) };
    assert_eq!((clipped.edges, clipped.class), ([1.0, 1.0, 4.0, 3.0], 1));
    assert_eq!(clipped.mask.as_deref(), Some([0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0].as_slice()));
    assert_eq!((cut.edges, &cut.mask), ([0.0, 0.0, 1.0, 2.0], &None));
    assert!(message(set.scene(1)).contains("picture 1"));
}

#[test]
fn a_picture_of_another_size_is_refused() {
    let (dir, set) = read(r#"{"images": [{"id": 1, "file_name": "a.png", "width": 3, "height": 4}], "categories": []}"#);
    write(&dir.path().join("a.png"), &png(9));
    let message = message(set.expect("a set").scene(0));
    assert!(message.contains("a.png") && message.contains("3×4") && message.contains("4×3"), "{message}");
}

#[test]
fn parts_are_drawn_by_the_seed() {
    let images: Vec<String> = (1..=10).map(|id| format!(r#"{{"id": {id}, "file_name": "{id}.png", "width": 4, "height": 3}}"#)).collect();
    let set = read(&format!(r#"{{"images": [{}], "categories": []}}"#, images.join(","))).1.expect("a set");
    let (train, held) = set.hold_out(0.2, 3).expect("parts");
    assert_eq!((train.len(), held.len()), (8, 2));
    assert_eq!(set.hold_out(0.2, 3).expect("parts").1, held);
    assert!(train.pictures.iter().all(|picture| !held.pictures.contains(picture)));
    assert_eq!(set.subset(&[3, 1]).expect("a part").pictures, [set.pictures[3].clone(), set.pictures[1].clone()]);
    assert!(message(set.subset(&[10])).contains("10"));
    assert!(set.hold_out(1.0, 0).is_err());
}

#[test]
fn problems_are_data_too() {
    let problem =
        Problem { severity: Severity::Warning, file: "a.json".into(), subject: Some(Subject::Object(3)), reason: "is odd".to_owned() };
    let json = serde_json::to_string(&problem).expect("JSON");
    assert_eq!(json, r#"{"severity":"warning","file":"a.json","object":3,"reason":"is odd"}"#);
    assert_eq!(problem.to_string(), "a.json: object 3: is odd");
}
