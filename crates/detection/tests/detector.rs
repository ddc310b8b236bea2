//! A whole detector on a tiny body: training, files of weights, and bad input.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use cirio_detection::{
    Anchors, Body, BoxCoder, BoxHead, Detection, Detector, DetectorConfig, FpnConfig, KeypointConfig, MaskConfig, Mode, PixelConfig,
    Region, RegionFeatures, RegionPooling, Result, RoiConfig, RpnConfig, Target, Trace, Transform, boxes, regions,
};
use cirio_nn::layer::{Conv2d, Relu, batch_norm, conv};
use cirio_nn::{Layers, Store, Weights, files};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The points of an object.
const POINTS: usize = 3;

/// Four convolutions with the strides 4, 2, 2 and 2, and a pyramid of eight channels; perhaps branches of masks and key points.
fn config(branches: bool) -> DetectorConfig {
    let half = |count, stride| Conv2d { stride: [stride; 2], padding: [1; 2], ..conv(count, 3) };
    let layers = Layers::new([3, 64, 64])
        .then("layer1.0", half(6, 4))
        .then("layer1.1", Relu)
        .then("layer2", half(7, 2))
        .then("layer3", half(8, 2))
        .then("layer4.0", half(9, 2))
        .then("layer4.1", batch_norm());
    let anchors = |size: f32| Anchors { sizes: vec![size], ratios: vec![0.5, 1.0, 2.0] };
    DetectorConfig {
        transform: Transform { short_sides: vec![48, 64], longest: 96, ..Transform::default() },
        body: Body { layers, taps: ["layer1", "layer2", "layer3", "layer4"].map(String::from).to_vec() },
        pyramid: Some(FpnConfig { channels: 8, norm: None }),
        rpn: RpnConfig { anchors: [8.0, 16.0, 24.0, 32.0, 48.0].map(anchors).to_vec(), ..RpnConfig::default() },
        roi: RoiConfig { score: 0.0, ..RoiConfig::new(4) },
        mask: branches.then_some(MaskConfig::new(4)),
        keypoints: branches.then_some(KeypointConfig { points: POINTS, filters: vec![8, 6] }),
    }
}

fn store() -> Store {
    Store::new(3, DType::F32, &Device::Cpu)
}

fn detector(branches: bool) -> Result<Detector> {
    config(branches).build(store().var_builder())
}

fn picture(height: usize, width: usize, value: f32) -> Result<Tensor> {
    let wave = |index: usize| value + 0.3 * ((index * 37 % 101) as f32 / 101.0);
    Ok(Tensor::from_vec((0..3 * height * width).map(wave).collect::<Vec<f32>>(), (3, height, width), &Device::Cpu)?)
}

fn target(boxes: &[[f32; 4]], masks: [usize; 2]) -> Result<Target> {
    let masks = Tensor::ones((boxes.len(), masks[0], masks[1]), DType::U8, &Device::Cpu)?;
    // One point in the middle of the box, one on its far corner, one without a label.
    let points = |&[left, upper, right, lower]: &[f32; 4]| {
        vec![[(left + right) / 2.0, (upper + lower) / 2.0, 2.0], [right, lower, 1.0], [left, upper, 0.0]]
    };
    Ok(Target {
        boxes: boxes.to_vec(),
        labels: (0..boxes.len()).map(|index| 1 + index as u32 % 3).collect(),
        masks: Some(masks),
        keypoints: Some(boxes.iter().map(points).collect()),
    })
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

#[test]
fn gradients_reach_every_weight_and_a_seed_decides() -> Result<()> {
    let detector = detector(true)?;
    let pictures = [picture(40, 60, 0.2)?, picture(50, 30, 0.6)?];
    let targets = [target(&[[4.0, 4.0, 20.0, 30.0], [30.0, 10.0, 58.0, 38.0]], [40, 60])?, target(&[[2.0, 8.0, 26.0, 40.0]], [50, 30])?];
    let losses = detector.losses(&pictures, &targets, &mut rng())?;
    let names: Vec<&str> = losses.terms.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg", "loss_mask", "loss_keypoint"]);
    let total = losses.total()?;
    let gradients = total.backward()?;
    let parameters = detector.parameters();
    let trained = parameters.iter().filter_map(|parameter| Some((&parameter.name, parameter.var().ok()??)));
    let mut count = 0;
    for (name, var) in trained {
        let gradient = gradients.get(&var).unwrap_or_else(|| panic!("{name} has no gradient")).abs()?.sum_all()?.to_scalar::<f32>()?;
        // What stands before a batch norm is shifted by it: its bias has a gradient of rounding alone.
        assert!(gradient.is_finite() && (gradient > 0.0 || name.ends_with("layer4.0.bias")), "{name}: {gradient}");
        count += 1;
    }
    // 4 convolutions and a norm, 8 of the pyramid, 3 for proposals, 2 + 2 for boxes, 4 + 2 for masks, 2 + 1 for points; two tensors each.
    assert_eq!(count, 2 * (5 + 8 + 3 + 4 + 6 + 3));
    let again = self::detector(true)?.losses(&pictures, &targets, &mut rng())?.total()?;
    assert_eq!(total.to_scalar::<f32>()?, again.to_scalar::<f32>()?);
    Ok(())
}

/// Votes change where objects are, not what they are nor which there are.
#[test]
fn votes_move_boxes_alone() -> Result<()> {
    let found = |voting: Option<f64>| {
        let config = config(false);
        let detector = DetectorConfig { roi: RoiConfig { voting, ..config.roi }, ..config }.build(store().var_builder())?;
        Ok::<_, cirio_detection::Error>(detector.detect(&[picture(40, 60, 0.2)?])?.swap_remove(0))
    };
    let (without, with) = (found(None)?, found(Some(0.5))?);
    assert_eq!(without.len(), with.len());
    assert!(without.iter().zip(&with).any(|(a, b)| a.bounds != b.bounds));
    for (a, b) in without.iter().zip(&with) {
        assert_eq!((a.label, a.score, a.proposal), (b.label, b.score, b.proposal));
        assert!(boxes::iou(&a.bounds, &b.bounds) > 0.3, "{:?} {:?}", a.bounds, b.bounds);
    }
    Ok(())
}

/// Where masks count, scores are the probabilities times the masks' certainties, in order and over the limit; where and what objects are stays.
#[test]
fn masks_in_scores() -> Result<()> {
    let found = |in_score: bool, score: f32, turned: bool| {
        let (config, picture) = (config(true), [picture(40, 60, 0.2)?]);
        let (roi, mask) = (RoiConfig { score, ..config.roi }, Some(MaskConfig { in_score, ..MaskConfig::new(4) }));
        let detector = DetectorConfig { roi, mask, ..config }.build(store().var_builder())?;
        let found = if turned { detector.detect_mirrored_too(&picture) } else { detector.detect(&picture) };
        Ok::<_, cirio_detection::Error>(found?.swap_remove(0))
    };
    let mut moved = false;
    for turned in [false, true] {
        let (without, with) = (found(false, 0.0, turned)?, found(true, 0.0, turned)?);
        assert!(without.len() > 10 && without.len() == with.len());
        assert!(with.is_sorted_by(|a, b| a.score >= b.score));
        for ours in &with {
            let alone = without.iter().find(|alone| (alone.bounds, alone.label) == (ours.bounds, ours.label)).expect("it was found");
            let certainty = ours.mask.as_ref().expect("it has a mask").certainty();
            assert!((0.5..1.0).contains(&certainty) && ours.score == alone.score * certainty && ours.mask == alone.mask);
        }
        moved |= without.iter().zip(&with).any(|(a, b)| a.bounds != b.bounds);
        let middle = with[with.len() / 2].score;
        let over: Vec<Detection> = with.iter().filter(|detection| detection.score > middle).cloned().collect();
        assert_eq!(found(true, middle, turned)?, over);
    }
    assert!(moved, "masks change the order");
    Ok(())
}

/// A picture and its mirror image show the same, mirrored; one view alone does not have that.
#[test]
fn a_view_and_its_mirror_image_together_know_no_side() -> Result<()> {
    let detector = detector(true)?;
    let width = 60;
    let (picture, other) = (picture(40, width, 0.2)?, picture(50, 30, 0.6)?);
    let turned = picture.flip(&[2])?;
    let found = detector.detect_mirrored_too(&[other.clone(), picture.clone()])?;
    let of_turned = detector.detect_mirrored_too(&[other, turned.clone()])?;
    let off = |ours: &[Detection], theirs: &[Detection]| -> usize {
        let same = |a: &&Detection| {
            let close = |b: &Detection| boxes::mirror(b.bounds, width).iter().zip(a.bounds).all(|(b, a)| (b - a).abs() < 1e-2);
            theirs.iter().any(|b| a.label == b.label && (a.score - b.score).abs() < 1e-5 && close(b))
        };
        ours.iter().filter(|a| !same(a)).count()
    };
    assert_eq!((found[1].len(), off(&found[1], &of_turned[1])), (of_turned[1].len(), 0));
    assert!(found[1].len() > 10);
    let alone = [detector.detect(&[picture])?.swap_remove(0), detector.detect(&[turned])?.swap_remove(0)];
    assert!(off(&alone[0], &alone[1]) > 0);
    // Their masks too: each is the mean of both views'.
    let (ours, theirs) = (&found[1][0], &of_turned[1]);
    let theirs = theirs.iter().find(|b| b.score == ours.score && b.label == ours.label).expect("it has a partner");
    let rows = |found: &Detection| found.mask.as_ref().expect("it has a mask").small().to_vec();
    let turned = rows(theirs).chunks(28).flat_map(|row| row.iter().rev().copied().collect::<Vec<f32>>()).collect::<Vec<f32>>();
    assert!(rows(ours).iter().zip(&turned).all(|(ours, theirs)| (ours - theirs).abs() < 1e-3));
    assert!(rows(ours) != rows(theirs));
    assert!(detector.detect_mirrored_too(&[]).is_err());
    assert!(detector.detect_mirrored_too(&[Tensor::zeros(3, DType::F32, &Device::Cpu)?]).is_err());
    Ok(())
}

/// The logits are the mean of both opinions; that from pixels is learnt, and is the same in the form for evaluation.
#[test]
fn a_second_opinion_on_classes() -> Result<()> {
    let pixels = PixelConfig { side: 8, context: 1.2, stages: vec![vec![4], vec![5, 6]], norm: batch_norm() };
    let config = DetectorConfig { roi: RoiConfig { pixels: Some(pixels), ..config(false).roi }, ..config(false) };
    let build = || config.build(store().var_builder());
    let (detector, pictures) = (build()?, [picture(40, 60, 0.2)?, picture(50, 30, 0.6)?]);

    let targets = [target(&[[4.0, 4.0, 20.0, 30.0], [30.0, 10.0, 58.0, 38.0]], [40, 60])?, target(&[[2.0, 8.0, 26.0, 40.0]], [50, 30])?];
    let gradients = detector.losses(&pictures, &targets, &mut rng())?.total()?.backward()?;
    let of_pixels = detector.parameters().into_iter().filter(|parameter| parameter.name.starts_with("roi_heads.pixel_head."));
    let mut learnt = 0;
    for parameter in of_pixels.filter(|parameter| parameter.name.ends_with("weight")) {
        let var = parameter.var()?.expect("a weight is trained");
        let gradient = gradients.get(&var).unwrap_or_else(|| panic!("{} has no gradient", parameter.name));
        assert!(gradient.abs()?.sum_all()?.to_scalar::<f32>()? > 0.0, "{}", parameter.name);
        learnt += 1;
    }
    assert_eq!(learnt, 3 + 3 + 1, "convolutions, norms, and the last layer");

    let batch = detector.batch(&pictures)?;
    let levels = detector.backbone().forward(&batch.images, Mode::Evaluation)?;
    let bounds = [[0.0, 0.0, 30.0, 40.0], [10.0, 5.0, 20.0, 25.0]];
    let regions: Vec<Region> = bounds.into_iter().enumerate().map(|(image, bounds)| Region { image, bounds }).collect();
    let features = detector.boxes().features(detector.backbone().for_regions(&levels), &batch, &regions)?;
    let both = detector.boxes().predict(&features, Mode::Evaluation)?;
    let features = RegionFeatures { pixels: None, ..features };
    assert!(detector.boxes().predict(&features, Mode::Evaluation).is_err(), "an opinion was asked for");
    // The same weights without it: initial values depend on names.
    let alone = self::detector(false)?.boxes().predict(&features, Mode::Evaluation)?;
    for opinion in ((both.logits * 2.0)? - alone.logits)?.to_vec2::<f32>()? {
        let total: f32 = opinion[1..].iter().map(|log| log.exp()).sum();
        assert!(opinion[0] == 0.0 && (total - 1.0).abs() < 1e-4, "{opinion:?}");
    }
    assert_eq!(both.offsets.to_vec2::<f32>()?, alone.offsets.to_vec2::<f32>()?);

    // As many regions as may be computed in another way than few are.
    let regions: Vec<Region> =
        (0..70).map(|index| Region { image: index % 2, bounds: [0.0, 0.0, 8.0 + index as f32 / 4.0, 20.0] }).collect();
    let features = detector.boxes().features(detector.backbone().for_regions(&levels), &batch, &regions)?;
    // Both without the statistics that learning has left in the norms.
    let (whole, fused) = (build()?.boxes().predict(&features, Mode::Evaluation)?, build()?.for_inference()?);
    let largest = |tensor: &Tensor| tensor.abs()?.max_all()?.to_scalar::<f32>();
    let (off, of) = (largest(&(&whole.logits - fused.boxes().predict(&features, Mode::Evaluation)?.logits)?)?, largest(&whole.logits)?);
    assert!(off < 1e-5 * of, "the form for evaluation is off by {off} of {of}");
    assert!(!fused.detect(&pictures)?[0].is_empty());
    Ok(())
}

/// One map, no pyramid, the largest values of bins, dropout.
fn without_a_pyramid() -> DetectorConfig {
    let DetectorConfig { transform, body, rpn, roi, .. } = config(false);
    let anchors = Anchors { sizes: vec![8.0, 24.0], ratios: vec![1.0, 2.0] };
    DetectorConfig {
        transform,
        body: Body { taps: vec!["layer4".into()], ..body },
        pyramid: None,
        rpn: RpnConfig { anchors: vec![anchors], ..rpn },
        roi: RoiConfig { pooling: RegionPooling::Max, head: BoxHead::Linear { features: 12, dropout: 0.5 }, ..roi },
        mask: None,
        keypoints: None,
    }
}

#[test]
fn a_body_alone() -> Result<()> {
    let build = || without_a_pyramid().build(store().var_builder());
    let detector = build()?;
    let pictures = [picture(40, 60, 0.2)?];
    let targets = [target(&[[4.0, 4.0, 20.0, 30.0], [30.0, 10.0, 58.0, 38.0]], [40, 60])?];
    let losses = |detector: &Detector| detector.losses(&pictures, &targets, &mut rng())?.total();
    let (before, first) = (detector.dropout_state(), losses(&detector)?);
    let gradients = first.backward()?;
    let names: Vec<String> = detector.parameters().into_iter().map(|parameter| parameter.name).collect();
    assert!(names.contains(&"backbone.layer1.0.weight".to_owned()), "{names:?}");
    for parameter in detector.parameters() {
        if let Some(var) = parameter.var()? {
            assert!(gradients.get(&var).is_some(), "{} has no gradient", parameter.name);
        }
    }
    let first = first.to_scalar::<f32>()?;
    assert_ne!(first, losses(&detector)?.to_scalar::<f32>()?, "dropout leaves out something else");
    detector.set_dropout_state(before);
    assert_eq!(first, losses(&detector)?.to_scalar::<f32>()?);
    let validation = || -> Result<f32> { Ok(detector.validation_losses(&pictures, &targets, &mut rng())?.total()?.to_scalar()?) };
    assert_eq!(validation()?, validation()?, "nothing is left out");

    let (plain, fused) = (build()?, build()?.for_inference()?);
    assert_eq!(plain.backbone().for_regions(&plain.backbone().forward(&plain.batch(&pictures)?.images, Mode::Evaluation)?).len(), 1);
    let found = [plain.detect(&pictures)?, fused.detect(&pictures)?];
    assert!(!found[0][0].is_empty() && found[0][0].len() == found[1][0].len());
    for (ours, theirs) in found[0][0].iter().zip(&found[1][0]) {
        assert!(ours.label == theirs.label && (ours.score - theirs.score).abs() < 1e-4, "{ours:?} {theirs:?}");
    }
    Ok(())
}

/// Both forms, with and without a pyramid: the trace tells what was found and what every stage gave, and each box follows from the one before.
#[test]
fn a_trace_tells_where_boxes_come_from() -> Result<()> {
    let picture = picture(40, 60, 0.2)?;
    for config in [config(true), without_a_pyramid()] {
        let build = || config.build(store().var_builder());
        for detector in [build()?, build()?.for_inference()?] {
            let trace = detector.trace(&picture)?;
            assert_eq!((trace.original, trace.size, trace.padded), ([40, 60], [64, 96], [64, 96]));
            assert!(!trace.detections.is_empty());
            assert_eq!(trace.detections, detector.detect(std::slice::from_ref(&picture))?[0]);
            follows(&config, &detector, &picture, &trace)?;
        }
    }
    assert!(detector(false)?.trace(&Tensor::zeros((1, 4, 4), DType::F32, &Device::Cpu)?).is_err());
    Ok(())
}

/// Asserts that anchors decode to proposals, and proposals to detections, by what the heads say.
fn follows(config: &DetectorConfig, detector: &Detector, picture: &Tensor, trace: &Trace) -> Result<()> {
    let batch = detector.batch(std::slice::from_ref(picture))?;
    let levels = detector.backbone().forward(&batch.images, Mode::Evaluation)?;
    let said = detector.rpn().forward(&levels, Mode::Evaluation)?;
    let given = |edges| boxes::resize(boxes::clip(edges, trace.size), trace.size, trace.original);
    let mut grids = Vec::new();
    for (((level, features), logits), anchors) in trace.levels.iter().zip(&levels).zip(&said.logits).zip(&config.rpn.anchors) {
        assert_eq!(level.features.to_vec3::<f32>()?, features.get(0)?.to_vec3::<f32>()?);
        let (_, each, rows, columns) = logits.dims4()?;
        assert_eq!(level.objectness.dims(), [each, rows, columns]);
        grids.push(anchors.grid([rows, columns], trace.padded));
    }
    for proposal in &trace.proposals {
        let of_level = |maps: &[Tensor]| maps[proposal.level].get(0)?.flatten(1, 2)?.to_vec2::<f32>();
        let (logits, offsets) = (of_level(&said.logits)?, of_level(&said.offsets)?);
        let objectness = trace.levels[proposal.level].objectness.flatten(1, 2)?.to_vec2::<f32>()?;
        let each = logits.len();
        let same = |&(_, anchor): &(usize, &[f32; 4])| boxes::resize(*anchor, trace.size, trace.original) == proposal.anchor;
        let comes_from = |(index, anchor): (usize, &[f32; 4])| {
            let (place, which) = (index / each, index % each);
            let decoded = BoxCoder::PROPOSALS.decode(*anchor, [0, 1, 2, 3].map(|edge| offsets[4 * which + edge][place]));
            let probability = 1.0 / (1.0 + (-logits[which][place]).exp());
            given(decoded) == proposal.bounds && probability == proposal.objectness && (objectness[which][place] - probability).abs() < 1e-6
        };
        assert!(grids[proposal.level].iter().enumerate().filter(same).any(comes_from), "{proposal:?}");
    }
    let proposals = regions(&detector.rpn().proposals(&said, &batch, Mode::Evaluation)?);
    let features = detector.boxes().features(detector.backbone().for_regions(&levels), &batch, &proposals)?;
    let predictions = detector.boxes().predict(&features, Mode::Evaluation)?;
    let (scores, offsets) = (cirio_nn::ops::softmax(&predictions.logits)?.to_vec2::<f32>()?, predictions.offsets.to_vec2::<f32>()?);
    for found in &trace.detections {
        let (label, from) = (found.label, proposals[found.proposal].bounds);
        let decoded = BoxCoder::DETECTIONS.decode(from, [0, 1, 2, 3].map(|edge| offsets[found.proposal][4 * label + edge]));
        assert_eq!((given(decoded), scores[found.proposal][label]), (found.bounds, found.score));
        assert_eq!(trace.proposals[found.proposal].bounds, given(from));
    }
    Ok(())
}

#[test]
fn pictures_without_objects_are_learnt_from() -> Result<()> {
    let detector = detector(true)?;
    let losses = detector.losses(&[picture(40, 60, 0.2)?], &[Target::default()], &mut rng())?;
    for (name, value) in &losses.terms {
        let value = value.to_scalar::<f32>()?;
        let none = matches!(*name, "loss_box_reg" | "loss_rpn_box_reg" | "loss_mask" | "loss_keypoint");
        assert!(if none { value == 0.0 } else { value > 0.0 && value.is_finite() }, "{name}: {value}");
    }
    losses.total()?.backward()?;
    Ok(())
}

#[test]
fn points_that_cannot_be_learnt_are_named() -> Result<()> {
    let detector = detector(true)?;
    let with = |keypoints| -> Result<Target> { Ok(Target { keypoints, ..target(&[[4.0, 4.0, 20.0, 30.0]], [40, 60])? }) };
    let point = [9.0, 9.0, 1.0];
    for (keypoints, said) in [
        (None, "it has no key points to learn from"),
        (Some(vec![]), "1 boxes have the key points of 0 objects"),
        (Some(vec![vec![point; 2]]), "object 0 has 2 key points, expected 3"),
        (Some(vec![vec![[f32::NAN, 0.0, 1.0]; 3]]), "a key point is [NaN, 0.0, 1.0], expected finite numbers"),
    ] {
        let error = detector.losses(&[picture(40, 60, 0.2)?], &[with(keypoints)?], &mut rng()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("target of image 0") && error.contains(said), "{error}");
    }
    // Without labels there is nothing to learn, but the weights get gradients, of 0.
    let unlabelled = with(Some(vec![vec![[9.0, 9.0, 0.0]; 3]]))?;
    let losses = detector.losses(&[picture(40, 60, 0.2)?], &[unlabelled], &mut rng())?;
    let (_, loss) = losses.terms.last().expect("a loss");
    assert_eq!(loss.to_scalar::<f32>()?, 0.0);
    let (gradients, parameters) = (loss.backward()?, detector.parameters());
    let last = parameters.last().expect("a weight").var()?.expect("one that is learnt");
    assert_eq!(gradients.get(&last).expect("a gradient").abs()?.sum_all()?.to_scalar::<f32>()?, 0.0);
    Ok(())
}

#[test]
fn pictures_of_any_size_and_without_numbers() -> Result<()> {
    for detector in [detector(true)?, detector(true)?.for_inference()?] {
        for (height, width) in [(1, 1), (1, 500), (500, 1), (3, 2)] {
            let found = detector.detect(&[picture(height, width, 0.4)?])?;
            for detection in &found[0] {
                let [left, upper, right, lower] = detection.bounds;
                assert!(0.0 <= left && left <= right && right <= width as f32 + 1e-3, "{detection:?}");
                assert!(0.0 <= upper && upper <= lower && lower <= height as f32 + 1e-3, "{detection:?}");
                assert!((1..4).contains(&detection.label) && (0.0..=1.0).contains(&detection.score));
                let mask = detection.mask.as_ref().expect("a mask");
                assert_eq!(mask.rle(0.5)?.size(), [height, width]);
                let points = detection.keypoints.as_ref().expect("key points");
                assert_eq!(points.len(), POINTS);
                // A box without an extent has one pixel for its points, which may be more than the resized picture has.
                let pixel = height.max(width) as f32 / 48.0;
                for point in points {
                    let inside = |place: f32, first: f32, last: f32| first - 1e-3 <= place && place <= last.max(first + pixel) + 1e-3;
                    assert!(inside(point.x, left, right) && inside(point.y, upper, lower) && point.score.is_finite(), "{detection:?}");
                }
            }
            assert!(found[0].is_sorted_by(|a, b| a.score >= b.score));
        }
        for value in [f32::NAN, f32::INFINITY] {
            assert_eq!(detector.detect(&[picture(40, 60, value)?])?, [vec![]]);
        }
    }
    Ok(())
}

#[test]
fn both_forms_find_the_same() -> Result<()> {
    let pictures = [picture(40, 60, 0.2)?, picture(50, 30, 0.6)?];
    let (plain, fused) = (detector(false)?, detector(false)?.for_inference()?);
    for (ours, theirs) in plain.detect(&pictures)?.iter().flatten().zip(fused.detect(&pictures)?.iter().flatten()) {
        assert!(ours.label == theirs.label && (ours.score - theirs.score).abs() < 1e-4, "{ours:?} {theirs:?}");
        assert!(ours.bounds.iter().zip(theirs.bounds).all(|(a, b)| (a - b).abs() < 1e-2));
        assert!(ours.mask.is_none() && ours.keypoints.is_none());
    }
    let error = fused.losses(&pictures, &[Target::default(), Target::default()], &mut rng()).unwrap_err().to_string();
    assert!(error.contains("the form for evaluation has no gradients"), "{error}");
    assert!(fused.parameters().is_empty());
    Ok(())
}

/// Kernels, compositions of candle's operations, and those in double precision.
#[test]
fn all_ways_of_computing_agree() -> Result<()> {
    let pictures = [picture(40, 60, 0.2)?];
    let targets = [target(&[[4.0, 4.0, 20.0, 30.0], [30.0, 10.0, 58.0, 38.0]], [40, 60])?];
    let losses = |detector: &Detector, pictures: &[Tensor]| -> Result<Vec<f64>> {
        let losses = detector.losses(pictures, &targets, &mut rng())?;
        losses.terms.iter().map(|(_, value)| Ok(value.to_dtype(DType::F64)?.to_scalar()?)).collect()
    };
    let single = losses(&detector(true)?, &pictures)?;
    let portable = cirio_nn::ops::with_portable(|| losses(&detector(true)?, &pictures))?;
    let wide = config(true).build(Store::new(3, DType::F64, &Device::Cpu).var_builder())?;
    let double = losses(&wide, &[pictures[0].to_dtype(DType::F64)?])?;
    for others in [portable, double] {
        assert!(single.iter().zip(&others).all(|(a, b)| (a - b).abs() < 1e-4 * b.abs().max(1e-2)), "{single:?} {others:?}");
    }
    assert!(!wide.detect(&[pictures[0].to_dtype(DType::F64)?])?[0].is_empty());
    Ok(())
}

#[test]
fn files_of_weights() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let save = |config: DetectorConfig, name: &str, spelling: fn(&str) -> String| -> Result<Weights> {
        let store = store();
        config.build(store.var_builder())?;
        let tensors = store.tensors().into_iter().map(|(name, tensor)| (spelling(&name), tensor)).collect::<BTreeMap<_, _>>();
        let path = folder.path().join(name);
        files::write_tensors(&path, &tensors, &BTreeMap::new())?;
        Ok(Weights::open(path)?)
    };
    // As files of before 2022 are spelt.
    let old = |name: &str| {
        let name = name.replace("rpn.head.conv.0.0", "rpn.head.conv");
        match name.strip_prefix("roi_heads.mask_head.").and_then(|rest| rest.split_once(".0.")) {
            Some((index, leaf)) => format!("roi_heads.mask_head.mask_fcn{}.{leaf}", index.parse::<usize>().expect("a number") + 1),
            None if name.contains("fpn") => name.replace(".0.weight", ".weight").replace(".0.bias", ".bias"),
            None => name,
        }
    };
    let all = save(config(true), "all.safetensors", str::to_owned)?;
    let expected = detector(true)?.detect(&[picture(40, 60, 0.2)?])?;
    for weights in [&all, &save(config(true), "old.safetensors", old)?] {
        assert_eq!(config(true).load(weights, &Device::Cpu)?.detect(&[picture(40, 60, 0.2)?])?, expected);
    }
    // What has no branch for masks or points leaves their weights; what has one says which are missing.
    let masks = || DetectorConfig { keypoints: None, ..config(true) };
    let points = || DetectorConfig { mask: None, ..config(true) };
    for fewer in [config(false), masks(), points()] {
        fewer.load(&all, &Device::Cpu)?;
    }
    let (of_masks, of_points) = (save(masks(), "masks.safetensors", str::to_owned)?, save(points(), "points.safetensors", str::to_owned)?);
    for (config, weights, missing) in
        [(masks(), of_points, "missing: roi_heads.mask_head.0.0.bias"), (points(), of_masks, "missing: roi_heads.keypoint_head.0.bias")]
    {
        let error = config.load(&weights, &Device::Cpu).err().expect("a branch is missing").to_string();
        assert!(error.contains(missing), "{error}");
    }
    Ok(())
}

#[test]
fn detectors_that_cannot_be_are_refused() {
    let build = |config: DetectorConfig| config.build(store().var_builder()).err().expect("an error").to_string();
    let taps = |taps: &[&str]| Body { taps: taps.iter().map(ToString::to_string).collect(), ..config(false).body };
    let error = build(DetectorConfig { body: taps(&["layer1", "layer2", "layer3", "layer5"]), ..config(false) });
    assert!(error.contains("no maps named `layer5`"), "{error}");
    let error = build(DetectorConfig { body: taps(&["layer1"]), ..config(false) });
    assert!(error.contains("5 levels have anchors, the backbone has 2"), "{error}");
    let error = build(DetectorConfig { pyramid: None, ..config(false) });
    assert!(error.contains("without a pyramid the levels have [6, 7, 8, 9] channels"), "{error}");
    let error = build(DetectorConfig { body: taps(&[]), ..config(false) });
    assert!(error.contains("at least one tap"), "{error}");
    let none = Some(KeypointConfig { points: 0, filters: vec![] });
    let error = build(DetectorConfig { keypoints: none, ..config(false) });
    assert!(error.contains("at least one point"), "{error}");
    let error = build(DetectorConfig { roi: RoiConfig::new(1), ..config(false) });
    assert!(error.contains("at least 2 classes"), "{error}");
    let mut anchors = config(false).rpn.anchors;
    anchors[2].ratios.pop();
    let error = build(DetectorConfig { rpn: RpnConfig { anchors, ..RpnConfig::default() }, ..config(false) });
    assert!(error.contains("levels have [3, 3, 2, 3, 3] anchors"), "{error}");
}
