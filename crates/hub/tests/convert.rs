//! From files of torch, and of other spellings, to safetensors.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use cirio_hub::{Fit, Options, check_header, convert, spelling};
use cirio_nn::{Weights, files};

fn torch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/torch").join(name)
}

fn names(path: &Path) -> Vec<String> {
    check_header(path).unwrap().tensors.into_keys().collect()
}

fn tensors(list: &[(&str, &[usize])]) -> BTreeMap<String, Tensor> {
    list.iter().map(|(name, shape)| ((*name).to_owned(), Tensor::ones(*shape, DType::F32, &Device::Cpu).unwrap())).collect()
}

fn shapes(list: &[(&str, &[usize])]) -> BTreeMap<String, Vec<usize>> {
    list.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
}

#[test]
fn a_state_dict_becomes_a_sound_file() {
    let folder = tempfile::tempdir().unwrap();
    let (zip, legacy) = (folder.path().join("zip.safetensors"), folder.path().join("legacy.safetensors"));
    let report = convert(&torch("zip.pth"), &zip, &Options::default()).unwrap();
    convert(&torch("legacy.pth"), &legacy, &Options::default()).unwrap();
    assert_eq!(fs::read(&zip).unwrap(), fs::read(&legacy).unwrap(), "equal contents are equal files");
    assert_eq!((report.tensors.len(), report.values, report.bytes), (14, 49, fs::metadata(&zip).unwrap().len()));
    let weights = Weights::open(&zip).unwrap();
    let read = |name: &str| weights.tensor(name, &Device::Cpu).unwrap();
    assert_eq!(read("transposed").to_vec2::<f32>().unwrap(), [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]);
    assert_eq!(read("long").to_scalar::<i64>().unwrap(), -5);
    assert_eq!(read("bfloat").to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap(), [1.0, -3.0]);
}

#[test]
fn what_data_parallel_put_before_the_names_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let report = convert(&torch("checkpoint.pth"), &out, &Options::default()).unwrap();
    assert_eq!((report.key.as_deref(), report.wrapper, report.dropped.len()), (Some("model"), "module.", 4));
    assert_eq!(names(&out)[..2], ["0.bias", "0.weight"]);
    assert_eq!(report.tensors[0].from, "module.0.bias");
}

#[test]
fn half_precision_halves_and_does_not_overflow() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let options = Options { half: true, ..Options::default() };
    convert(&torch("checkpoint.pth"), &out, &options).unwrap();
    let header = check_header(&out).unwrap();
    assert_eq!((&*header.tensors["0.weight"].dtype, &*header.tensors["1.num_batches_tracked"].dtype), ("F16", "I64"));
    let weights = Weights::open(&out).unwrap();
    assert_eq!(weights.tensor("0.bias", &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap().len(), 2);

    let before = fs::read(&out).unwrap();
    let error = convert(&torch("zip.pth"), &out, &options).unwrap_err().to_string();
    assert!(error.contains("tensor `double`: -1e300 is beyond half precision, whose largest number is 65504"), "{error}");
    assert_eq!(fs::read(&out).unwrap(), before, "what was there stays");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "and nothing else");
}

#[test]
fn a_set_of_files_becomes_one_and_keeps_its_texts() {
    let folder = tempfile::tempdir().unwrap();
    let texts = BTreeMap::from([("author".to_owned(), "x".to_owned()), ("model".to_owned(), "other".to_owned())]);
    files::write_tensors(&folder.path().join("1.safetensors"), &tensors(&[("a", &[2])]), &texts).unwrap();
    files::write_tensors(&folder.path().join("2.safetensors"), &tensors(&[("b", &[3])]), &BTreeMap::new()).unwrap();
    let index = r#"{"metadata":{"total_size":20},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let out = folder.path().join("out.safetensors");
    let options = Options { texts: BTreeMap::from([("model".to_owned(), "lenet5".to_owned())]), ..Options::default() };
    let report = convert(folder.path(), &out, &options).unwrap();
    assert_eq!((report.format, report.values), ("safetensors", 5));
    let header = check_header(&out).unwrap();
    assert_eq!((&*header.metadata["author"], &*header.metadata["model"]), ("x", "lenet5"));
    assert_eq!(names(&out), ["a", "b"]);
    // A file may take its own place.
    convert(&out, &out, &Options { half: true, ..Options::default() }).unwrap();
    assert_eq!(check_header(&out).unwrap().tensors["a"].dtype, "F16");
}

const TIMM: [(&str, &[usize]); 5] = [
    ("features.0.weight", &[2, 1, 3, 3]),
    ("pre_logits.fc1.weight", &[4, 2, 7, 7]),
    ("pre_logits.fc2.weight", &[4, 4, 1, 1]),
    ("head.fc.weight", &[3, 4]),
    ("head.fc.bias", &[3]),
];
const OURS: [(&str, &[usize]); 6] = [
    ("classifier.0.weight", &[4, 98]),
    ("classifier.3.weight", &[4, 4]),
    ("classifier.6.bias", &[10]),
    ("classifier.6.weight", &[10, 4]),
    ("classifier.7.weight", &[1]),
    ("features.0.weight", &[2, 1, 3, 3]),
];

#[test]
fn timms_names_become_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let (timm, out) = (folder.path().join("timm.safetensors"), folder.path().join("out.safetensors"));
    files::write_tensors(&timm, &tensors(&TIMM), &BTreeMap::new()).unwrap();
    let report = convert(&timm, &out, &Options { model: Some(shapes(&OURS)), ..Options::default() }).unwrap();
    assert_eq!(
        names(&out),
        ["classifier.0.weight", "classifier.3.weight", "classifier.6.bias", "classifier.6.weight", "features.0.weight"]
    );
    assert_eq!((report.tensors[0].from.as_str(), report.tensors[0].is_reshaped()), ("pre_logits.fc1.weight", true));
    let fit = report.fit(&shapes(&OURS));
    assert_eq!((fit.missing.as_slice(), fit.unused.as_slice()), (&["classifier.7.weight".to_owned()][..], &[][..]));
    assert_eq!(fit.mismatched[0], "classifier.6.bias is [3] in the file, [10] in the model");
    assert_ne!(fit, Fit::default());

    // The same when such a file is opened for the model.
    let opened = spelling::respelled(&Weights::open(&timm).unwrap(), &shapes(&OURS)).unwrap();
    assert_eq!(opened.shapes(), Weights::open(&out).unwrap().shapes());
    assert_eq!(opened.tensor("classifier.0.weight", &Device::Cpu).unwrap().dims(), [4, 98]);
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (both, out) = (folder.path().join("both.safetensors"), folder.path().join("out.safetensors"));
    files::write_tensors(&both, &tensors(&[("head.fc.bias", &[3]), ("classifier.6.bias", &[3])]), &BTreeMap::new()).unwrap();
    let error = convert(&both, &out, &Options { model: Some(shapes(&OURS)), ..Options::default() }).unwrap_err().to_string();
    assert!(error.contains("both `classifier.6.bias` and `head.fc.bias` would be `classifier.6.bias`"), "{error}");
    assert!(!out.exists());
    let error = spelling::respelled(&Weights::open(&both).unwrap(), &shapes(&OURS)).unwrap_err().to_string();
    assert!(error.contains("two tensors would be `classifier.6.bias`"), "{error}");
}

#[test]
fn a_file_of_torch_where_safetensors_belong_gets_a_hint() {
    let error = check_header(&torch("zip.pth")).unwrap_err().to_string();
    assert!(error.contains("`cirio convert`"), "{error}");
}
