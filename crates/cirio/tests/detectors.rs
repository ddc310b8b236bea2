//! What every detector of the zoo promises.

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use cirio::faster_rcnn::{self, mobilenet, vgg};
use cirio::nn::Parameter;
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
        assert_eq!(detector.keypoints().is_some(), model.task == Task::Keypoints, "{}", model.name);
        let has_frozen_norms = !model.name.ends_with("_v2") && !["fasterrcnn_vgg16", "maskrcnn_small"].contains(&model.name);
        assert_eq!(model.frozen_eps.is_some(), has_frozen_norms, "{}", model.name);
    }
    Ok(())
}

/// Those who published them trained the last three stages of each body.
#[test]
fn recipes_freeze_what_was_frozen() -> anyhow::Result<()> {
    for model in DETECTORS.iter().filter(|model| model.name != "maskrcnn_small") {
        let is_frozen = match model.name {
            "fasterrcnn_vgg16" => vgg::is_frozen,
            name if name.contains("mobilenet") => mobilenet::is_frozen,
            _ => faster_rcnn::is_frozen,
        };
        for Parameter { name, .. } in model.config(2).build(VarBuilder::zeros(DType::F32, &Device::Cpu))?.parameters() {
            let ours = model.recipe.frozen.iter().any(|prefix| name.starts_with(prefix));
            assert_eq!(ours, is_frozen(&name, 3), "{}: {name}", model.name);
        }
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
