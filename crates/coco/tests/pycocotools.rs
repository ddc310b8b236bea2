//! Polygons and evaluations, number for number against pycocotools. `pycocotools.json` is made by tools/reference/coco.py.

use cirio_coco::{Evaluation, Found, Kind, Report, Rle, Truth};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    polygons: Vec<Polygons>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Polygons {
    size: [usize; 2],
    polygons: Vec<Vec<f64>>,
    text: String,
    /// All 0 where the mask is empty.
    bounds: [f64; 4],
}

#[derive(Deserialize)]
struct Case {
    kind: String,
    annotations: Annotations,
    results: Vec<Labelled>,
    numbers: Vec<Option<f64>>,
    classes: Vec<Vec<Option<f64>>>,
    /// Precisions at the recalls 0, 0.1, … and the overlap 0.6 for each class; -1 where no object is there.
    curves: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Annotations {
    images: Vec<Picture>,
    categories: Vec<Category>,
    annotations: Vec<Labelled>,
}

#[derive(Deserialize)]
struct Picture {
    id: u64,
    height: usize,
    width: usize,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
}

/// An annotation or a result.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Labelled {
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    area: f64,
    iscrowd: u8,
    score: f64,
    segmentation: Option<Segmentation>,
    keypoints: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs { size: [usize; 2], counts: String },
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("pycocotools.json")).unwrap()
}

fn rle(segmentation: &Segmentation, size: [usize; 2]) -> Rle {
    match segmentation {
        Segmentation::Polygons(polygons) => Rle::from_polygons(size, polygons).unwrap(),
        Segmentation::Runs { size, counts } => Rle::from_text(*size, counts).unwrap(),
    }
}

fn evaluated(case: &Case) -> Evaluation {
    let kind = match case.kind.as_str() {
        "bbox" => Kind::Boxes,
        "segm" => Kind::Masks,
        _ => Kind::person(),
    };
    let mut evaluation = Evaluation::new(kind, case.annotations.categories.len());
    let category = |id| case.annotations.categories.iter().position(|category| category.id == id).unwrap();
    for &Picture { id, height, width } in &case.annotations.images {
        let mask = |labelled: &Labelled| labelled.segmentation.as_ref().map(|segmentation| rle(segmentation, [height, width]));
        let truths = case.annotations.annotations.iter().filter(|labelled| labelled.image_id == id).map(|labelled| Truth {
            category: category(labelled.category_id),
            bbox: labelled.bbox,
            area: labelled.area,
            crowd: labelled.iscrowd == 1,
            mask: mask(labelled),
            keypoints: labelled.keypoints.chunks(3).map(|point| (point[2] > 0.0).then_some([point[0], point[1]])).collect(),
        });
        let found = case.results.iter().filter(|labelled| labelled.image_id == id).map(|labelled| Found {
            category: category(labelled.category_id),
            score: labelled.score,
            bbox: Some(labelled.bbox),
            mask: mask(labelled),
            keypoints: labelled.keypoints.chunks(3).map(|point| [point[0], point[1]]).collect(),
        });
        evaluation.add(id, &truths.collect::<Vec<_>>(), &found.collect::<Vec<_>>()).unwrap();
    }
    evaluation
}

#[test]
fn masks_of_polygons() {
    for Polygons { size, polygons, text, bounds } in reference().polygons {
        let rle = Rle::from_polygons(size, &polygons).unwrap();
        assert_eq!(rle.to_text(), text, "{size:?} {polygons:?}");
        assert_eq!(rle.bounds().unwrap_or_default().map(f64::from), bounds);
    }
}

#[test]
fn every_number() {
    let same = |ours: Vec<Option<f64>>, theirs: &[Option<f64>], what: &str| {
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!(ours.is_some() == theirs.is_some(), "{what}: {ours:?} instead of {theirs:?}");
            assert!(ours.zip(*theirs).is_none_or(|(ours, theirs)| (ours - theirs).abs() < 1e-12), "{what}: {ours:?} instead of {theirs:?}");
        }
    };
    for (index, case) in reference().cases.iter().enumerate() {
        let evaluation = evaluated(case);
        let report: Report = evaluation.report();
        same(report.measures().iter().map(|measure| report.value(measure)).collect(), &case.numbers, &format!("case {index}"));
        for (class, theirs) in case.classes.iter().enumerate() {
            let ours = report.measures().iter().map(|measure| report.category(class, measure)).collect();
            same(ours, theirs, &format!("case {index}, class {class}"));
        }
        for (class, theirs) in case.curves.iter().enumerate() {
            let curve = evaluation.curve(class, 0.6);
            let ours = (0..11).map(|tenth| curve.as_ref().map(|curve| curve.precision_at(f64::from(tenth) * 10.0 * 0.01)));
            let theirs: Vec<_> = theirs.iter().map(|&precision| (precision >= 0.0).then_some(precision)).collect();
            same(ours.collect(), &theirs, &format!("case {index}, the curve of class {class}"));
        }
    }
}
