//! What every detector of the zoo promises.

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use cirio::{DETECTORS, MODELS, Task, find, find_detector};

#[test]
fn a_name_is_that_of_one_model() {
    let mut names: Vec<&str> = MODELS.iter().map(|model| model.name).chain(DETECTORS.iter().map(|model| model.name)).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn each_is_built_for_any_number_of_classes() -> anyhow::Result<()> {
    for model in DETECTORS {
        let detector = find_detector(model.name)?.config(4).build(VarBuilder::zeros(DType::F32, &Device::Cpu))?;
        assert_eq!(detector.boxes().classes(), 4, "{}", model.name);
        assert_eq!(detector.mask().is_some(), model.task == Task::Segment, "{}", model.name);
        assert_eq!(model.frozen_eps.is_none(), model.name.ends_with("_v2") || model.name == "fasterrcnn_vgg16", "{}", model.name);
        let names: Vec<String> = detector.parameters().into_iter().map(|parameter| parameter.name).collect();
        let frozen = |trained| names.iter().filter(|name| model.is_frozen(name, trained)).count();
        let counts = [0, 3, 6].map(frozen);
        let body = |name: &&String| name.starts_with("backbone.") && !name.starts_with("backbone.fpn.");
        assert!(counts[0] == names.iter().filter(body).count() && 0 < counts[1] && counts[1] < counts[0] && counts[2] == 0, "{counts:?}");
    }
    Ok(())
}

#[test]
fn errors_say_what_a_name_is() {
    let said = |error: Option<cirio::Error>| error.map(|error| error.to_string()).unwrap_or_default();
    assert!(said(find("maskrcnn_resnet50_fpn").err()).contains("`maskrcnn_resnet50_fpn` is a detector"));
    assert!(said(find_detector("lenet5").err()).contains("`lenet5` is a classifier"));
    let unknown = said(find_detector("yolo").err());
    assert!(unknown.contains("no model `yolo`") && unknown.contains("fasterrcnn_resnet50_fpn_v2"), "{unknown}");
}
