//! `cirio filter` on matrices from standard input, and on pictures.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use cirio_vision::Image;
use common::{failed, fails, json, root, run, run_with_input, stdout, text};
use serde_json::{Value, json};

/// The worked example of the course (Szeliski, *Computer Vision*, figure 3.10): an 8×8 picture, a blurring kernel, the answer.
const COURSE: &str = "\
45 60 98 127 132 133 137 133
46 65 98 123 126 128 131 133
47 65 96 115 119 123 135 137
47 63 91 107 113 122 138 134
50 59 80 97 110 123 133 134
49 53 68 83 97 113 128 133
50 50 58 70 84 102 116 126
50 50 52 58 69 86 101 120
";
const KERNEL: &str = "0.1 0.1 0.1; 0.1 0.2 0.1; 0.1 0.1 0.1";
const BLURRED: [[f64; 6]; 6] = [
    [69.0, 95.0, 116.0, 125.0, 129.0, 132.0],
    [68.0, 92.0, 110.0, 120.0, 126.0, 132.0],
    [66.0, 86.0, 104.0, 114.0, 124.0, 132.0],
    [62.0, 78.0, 94.0, 108.0, 120.0, 129.0],
    [57.0, 69.0, 83.0, 98.0, 112.0, 124.0],
    [53.0, 60.0, 71.0, 85.0, 100.0, 114.0],
];
/// With no two numbers alike, so that a kernel that is flipped shows.
const COUNT: &str = "1 2 3\n4 5 6\n7 8 9\n";
const CORNER: &str = "1 0 0; 0 0 0; 0 0 0";

fn on_matrix(input: &str, arguments: &[&str]) -> Output {
    run_with_input(&[&["filter", "-"], arguments].concat(), input)
}

/// The numbers of the document.
fn filtered(input: &str, arguments: &[&str]) -> Value {
    let text = text(on_matrix(input, &[arguments, &["--json"]].concat()));
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    document["output"].clone()
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a path").to_owned()
}

#[test]
fn the_courses_example() {
    assert_eq!(filtered(COURSE, &["--kernel", KERNEL, "--round"]), json!(BLURRED));
    let text = text(on_matrix(COURSE, &["--kernel", KERNEL, "--round"]));
    let rows: Vec<Vec<f64>> =
        text.lines().map(|line| line.split_whitespace().map(|number| number.parse().expect("a number")).collect()).collect();
    assert_eq!(rows, BLURRED, "{text}");
    let exact = filtered(COURSE, &["--kernel", KERNEL]);
    // 45 + 60 + 98 + 46 + 2·65 + 98 + 47 + 65 + 96 = 685
    assert!((exact[0][0].as_f64().expect("a number") - 68.5).abs() < 1e-9, "{exact}");
}

#[test]
fn convolution_flips_the_kernel_and_correlation_does_not() {
    let zero = ["--kernel", CORNER, "--pad", "zero"];
    assert_eq!(filtered(COUNT, &zero), json!([[5.0, 6.0, 0.0], [8.0, 9.0, 0.0], [0.0, 0.0, 0.0]]));
    let correlated = filtered(COUNT, &[&zero[..], &["--correlate"]].concat());
    assert_eq!(correlated, json!([[0.0, 0.0, 0.0], [0.0, 1.0, 2.0], [0.0, 4.0, 5.0]]));
    // Sobel's kernel is odd: flipped, it has the other sign.
    let edge = "0 0 10 10\n0 0 10 10\n0 0 10 10";
    assert_eq!(filtered(edge, &["--kernel", "sobel-x", "--correlate"]), json!([[40.0, 40.0]]));
    assert_eq!(filtered(edge, &["--kernel", "sobel-x"]), json!([[-40.0, -40.0]]));
}

#[test]
fn borders_strides_commas_and_negative_kernels() {
    assert_eq!(filtered("1,2,3,4,5", &["--kernel", "1", "--stride", "2"]), json!([[1.0, 3.0, 5.0]]));
    assert_eq!(filtered(COUNT, &["--kernel", "-1"]), json!([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0], [-7.0, -8.0, -9.0]]));
    let edge = filtered(COUNT, &["--kernel", CORNER, "--pad", "edge", "--correlate"]);
    assert_eq!(edge, json!([[1.0, 1.0, 2.0], [1.0, 1.0, 2.0], [4.0, 4.0, 5.0]]));
}

#[test]
fn pools_come_after_the_kernel() {
    let same = ["--kernel", "1", "--pool"];
    assert_eq!(filtered(COUNT, &[&same[..], &["max:2:1"]].concat()), json!([[5.0, 6.0], [8.0, 9.0]]));
    assert_eq!(filtered(COUNT, &[&same[..], &["avg:3"]].concat()), json!([[5.0]]));
    assert_eq!(filtered(COURSE, &["--kernel", KERNEL, "--round", "--pool", "max:2"])[0], json!([95.0, 125.0, 132.0]));
    failed(&on_matrix(COUNT, &[&same[..], &["max:4"]].concat()), 1, &["4×4", "3×3"]);
    failed(&on_matrix(COUNT, &[&same[..], &["min:2"]].concat()), 2, &["max:SIDE", "min:2"]);
    let folder = tempfile::tempdir().expect("a folder");
    let (scene, out) = ("examples/images/shapes.png", path(folder.path(), "small.png"));
    let before = Image::open(root().join(scene)).expect("the picture");
    let document = json(&["filter", scene, "--kernel", "identity", "--pool", "avg:2", "--out", &out, "--json"]);
    assert_eq!(document["size"], json!([before.width() / 2, before.height() / 2]));
    assert_eq!(Image::open(&out).expect("a picture").width(), before.width() / 2);
}

#[test]
fn the_steps_of_a_matrix_move() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(folder.path(), "steps.png");
    let drawing = ["--kernel", KERNEL, "--round", "--pool", "max:2", "--steps", &file];
    let document: Value = serde_json::from_str(&text(on_matrix(COURSE, &[&drawing[..], &["--json"]].concat()))).expect("a document");
    assert_eq!(document["output"][0], json!([95.0, 125.0, 132.0]));
    // A picture for each of 6×6 and 3×3 places, and four more at the end of each.
    assert_eq!(document["steps"], json!({ "file": file, "pictures": 36 + 4 + 9 + 4 }));
    let bytes = fs::read(&file).expect("written");
    assert!(bytes.windows(4).any(|name| name == b"acTL"), "an animation");
    assert!(Image::decode(&bytes).is_ok(), "and a picture");
    assert_eq!(text(on_matrix(COURSE, &drawing)), " 95 125 132\n 86 114 132\n 69  98 124\n");
}

#[test]
fn the_steps_of_a_picture_are_a_sheet() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(folder.path(), "sheet.png");
    let document = json(&[
        "filter",
        "examples/images/shapes.png",
        "--kernel",
        "sobel-x",
        "--stride",
        "2",
        "--pool",
        "max:2",
        "--steps",
        &file,
        "--json",
    ]);
    assert_eq!((document.get("output"), &document["steps"]), (None, &json!(file)));
    let sheet = Image::open(&file).expect("a picture");
    let picture = Image::open(root().join("examples/images/shapes.png")).expect("the picture");
    assert!(sheet.width() > 2 * picture.width() && 2 * sheet.height() > 3 * picture.height(), "two rows of two");
}

#[test]
fn steps_that_cannot_be_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, nowhere) = (path(folder.path(), "steps.png"), path(folder.path(), "no/such/steps.png"));
    let wide = vec!["1"; 17].join(" ");
    failed(&on_matrix(&wide, &["--kernel", "1", "--steps", &file]), 1, &["16×16", "1×17"]);
    failed(&on_matrix(COUNT, &["--kernel", "box:5", "--steps", &file]), 1, &["5×5", "3×3"]);
    failed(&on_matrix(COUNT, &["--kernel", "box", "--pool", "max:2", "--steps", &file]), 1, &["2×2", "1×1"]);
    failed(&on_matrix(COUNT, &["--kernel", "box", "--steps", &nowhere]), 1, &["no/such/steps.png"]);
    let drawing = ["filter", "examples/images/shapes.png", "--kernel", "box", "--steps", "steps.svg"];
    fails(&drawing, 2, &["--steps steps.svg: the drawing is a PNG"]);
    fails(&["filter", "examples/images/shapes.png", "--kernel", "box", "--steps", &nowhere], 1, &["no/such/steps.png"]);
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0);
}

#[test]
fn what_is_no_matrix_is_named_by_line_and_column() {
    let blur = ["--kernel", "box"];
    for (input, place) in [
        ("1 2\n3\n", "line 2"),
        ("1 2\n3 4\n5 6 7\n", "line 3"),
        ("1 2\n3 NaN\n", "line 2, column 2"),
        ("1 2\ninf 4\n", "line 2, column 1"),
        ("1 two\n", "line 1, column 2"),
        ("", "no numbers"),
    ] {
        failed(&on_matrix(input, &blur), 1, &["standard input", place]);
        failed(&on_matrix(input, &[&blur[..], &["--json"]].concat()), 1, &[place]);
    }
    failed(&on_matrix("1 2\n3 4", &blur), 1, &["2×2", "3×3"]);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let boot = "examples/images/ankle-boot.png";
    failed(&on_matrix(COUNT, &["--kernel", "sobel"]), 2, &["--kernel", "sobel", "sobel-x"]);
    failed(&on_matrix(COUNT, &["--kernel", "box:4"]), 2, &["--kernel", "odd", "`4`"]);
    failed(&on_matrix(COUNT, &["--kernel", "1 2; 3"]), 2, &["--kernel", "row"]);
    failed(&on_matrix(COUNT, &["--kernel", "box", "--stride", "0"]), 2, &["--stride"]);
    failed(&on_matrix(COUNT, &["--kernel", "box", "--pad", "mirror"]), 2, &["mirror"]);
    failed(&on_matrix(COUNT, &["--kernel", "box", "--out", "matrix.png"]), 2, &["--out"]);
    failed(&on_matrix(COUNT, &[]), 2, &["--kernel"]);
    fails(&["filter", boot, "--kernel", "box"], 2, &["--out"]);
}

#[test]
fn a_picture_in_and_a_picture_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let (scene, out) = ("examples/images/shapes.png", path(folder.path(), "edges.png"));
    let before = Image::open(root().join(scene)).expect("the picture");
    let document = json(&["filter", scene, "--kernel", "laplacian", "--out", &out, "--json"]);
    assert_eq!(document, json!({ "output": out, "size": [before.width(), before.height()] }));
    let after = Image::open(&out).expect("a picture");
    assert_eq!((after.width(), after.height(), after.channels()), (before.width(), before.height(), before.channels()));
    assert_ne!(after.data(), before.data());
    // The same picture through the kernel that changes nothing, in the words for people.
    let line = stdout(&["filter", scene, "--kernel", "identity", "--out", &out]);
    assert_eq!(line, format!("{out}: {}×{}\n", before.width(), before.height()));
    assert_eq!(Image::open(&out).expect("overwritten").data(), before.data());
    // A stride of 2 and no border: a smaller one.
    json(&["filter", scene, "--kernel", "box", "--pad", "none", "--stride", "2", "--out", &out, "--json"]);
    let small = Image::open(&out).expect("a picture");
    assert_eq!((small.width(), small.height()), ((before.width() - 3) / 2 + 1, (before.height() - 3) / 2 + 1));
}

#[test]
fn a_grey_picture_gives_what_its_matrix_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, out) = (path(folder.path(), "course.png"), path(folder.path(), "blurred.png"));
    let pixels = COURSE.split_whitespace().map(|number| number.parse().expect("a pixel")).collect();
    Image::new(8, 8, 1, pixels).and_then(|picture| picture.save(&input)).expect("written");
    json(&["filter", &input, "--kernel", KERNEL, "--pad", "none", "--out", &out, "--json"]);
    let blurred = Image::open(&out).expect("a picture");
    assert!(blurred.data().iter().map(|&value| f64::from(value)).eq(BLURRED.into_iter().flatten()));
}

#[test]
fn a_bad_picture_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bad, out) = (path(folder.path(), "bad.png"), path(folder.path(), "out.png"));
    fs::write(&bad, "not a picture").expect("written");
    fails(&["filter", &bad, "--kernel", "box", "--out", &out], 1, &["bad.png"]);
    fails(&["filter", &path(folder.path(), "missing.png"), "--kernel", "box", "--out", &out], 1, &["missing.png"]);
    let nowhere = path(folder.path(), "no/such/folder/out.png");
    fails(&["filter", "examples/images/shapes.png", "--kernel", "box", "--out", &nowhere], 1, &["no/such/folder"]);
    let names: Vec<_> = fs::read_dir(folder.path()).expect("listed").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names, ["bad.png"]);
    assert!(run(&["filter", "--help"]).status.success());
}
