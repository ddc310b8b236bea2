//! Pictures with objects, changed at random: what holds after any sequence of steps.

mod common;

use cirio_data::objects::augment::{Augmentation, CopyPaste, HorizontalFlip, IouCrop, ScaleJitter, ShortestSide, Step, ZoomOut, sanitise};
use cirio_data::objects::{Instance, Keypoint, Scene};
use cirio_data::{Error, Result};
use cirio_vision::Image;
use common::message;
use proptest::collection::vec;
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const STEPS: [&str; 8] =
    ["hflip", "photometric", "zoom-out", "iou-crop", "scale-jitter:16", "scale-jitter:7", "shortest-side:1/5/9/14", "copy-paste"];

/// Objects of pictures of 1 … 20 rows and columns, some with masks, with boxes anywhere, and with three key points each. The class tells what
/// its object was.
fn scenes() -> impl Strategy<Value = Scene> {
    (1usize..20, 1usize..20, any::<bool>(), any::<u8>()).prop_flat_map(|(rows, columns, colour, first)| {
        let edge = -5.0f32..25.0;
        let point = (-3.0f64..24.0, -3.0f64..24.0, 0u8..3).prop_map(|(x, y, visibility)| Keypoint { x, y, visibility });
        let mask = prop::option::of(vec(0u8..2, rows * columns));
        let instance = ([edge.clone(), edge.clone(), edge.clone(), edge], 0usize..9, mask, vec(point, 3))
            .prop_map(|(edges, class, mask, keypoints)| Instance { edges, class, mask, keypoints });
        vec(instance, 0..5).prop_map(move |instances| {
            let channels = if colour { 3 } else { 1 };
            let values = (0..rows * columns * channels).map(|i| (i * 37 + usize::from(first)) as u8).collect();
            Scene { image: Image::new(columns, rows, channels, values).expect("a picture"), instances }
        })
    })
}

fn apply(text: &str, scene: &Scene, other: &Scene, seed: u64) -> Result<Scene> {
    let others = |_: &mut ChaCha8Rng| Ok(Some(other.clone()));
    text.parse::<Augmentation>()?.apply(scene.clone(), &mut ChaCha8Rng::seed_from_u64(seed), &others)
}

/// The box of a mask by looking at every pixel.
fn box_of(mask: &[u8], columns: usize) -> [f32; 4] {
    let inside = || mask.iter().enumerate().filter(|(_, pixel)| **pixel != 0).map(|(at, _)| (at % columns, at / columns));
    let (xs, ys) = (|| inside().map(|(x, _)| x), || inside().map(|(_, y)| y));
    [xs().min(), ys().min(), xs().max().map(|x| x + 1), ys().max().map(|y| y + 1)].map(|edge| edge.expect("a pixel") as f32)
}

fn pixels(scene: &Scene) -> usize {
    scene.instances.iter().flat_map(|instance| &instance.mask).flatten().filter(|&&pixel| pixel != 0).count()
}

proptest! {
    #[test]
    fn what_comes_out_is_sound(scene in scenes(), other in scenes(), steps in vec(0..STEPS.len(), 1..5), seed: u64) {
        let text = steps.iter().map(|&step| STEPS[step]).collect::<Vec<_>>().join(",");
        let changed = apply(&text, &scene, &other, seed)?;
        let (columns, rows) = (changed.image.width(), changed.image.height());
        for instance in &changed.instances {
            let [left, upper, right, lower] = instance.edges;
            prop_assert!(0.0 <= left && left < right && right <= columns as f32, "{:?}", instance.edges);
            prop_assert!(0.0 <= upper && upper < lower && lower <= rows as f32, "{:?}", instance.edges);
            if let Some(mask) = &instance.mask {
                prop_assert_eq!(mask.len(), rows * columns);
                prop_assert_eq!(instance.edges, box_of(mask, columns));
            }
            for point in &instance.keypoints {
                prop_assert!((0.0..=columns as f64).contains(&point.x) && (0.0..=rows as f64).contains(&point.y), "{point:?}");
            }
        }
        // The objects are those of the scene, in order, some missing; then those of the other one.
        let mut classes = scene.instances.iter().map(|instance| instance.class).collect::<Vec<_>>();
        let pastes = if text.contains("copy-paste") { steps.len() } else { 0 };
        classes.extend(other.instances.iter().map(|instance| instance.class).collect::<Vec<_>>().repeat(pastes));
        let mut left = classes.iter();
        prop_assert!(changed.instances.iter().all(|instance| left.any(|class| *class == instance.class)), "{classes:?}");
        prop_assert_eq!(changed.image.channels(), scene.image.channels());
        // The same seed gives the same again, and what is sound stays as it is.
        prop_assert_eq!(&apply(&text, &scene, &other, seed)?, &changed);
        prop_assert_eq!(&sanitise(changed.clone())?, &changed);
    }

    #[test]
    fn two_flips_are_none(scene in scenes()) {
        let flip = Step::Hflip(HorizontalFlip { probability: 1.0, swaps: vec![[0, 2]] });
        let turned = |steps: usize| {
            let augmentation = Augmentation { steps: vec![flip.clone(); steps] };
            augmentation.apply(scene.clone(), &mut ChaCha8Rng::seed_from_u64(0), &|_: &mut ChaCha8Rng| Ok(None))
        };
        let (before, once, twice) = (turned(0)?, turned(1)?, turned(2)?);
        prop_assert_eq!(pixels(&before), pixels(&once));
        prop_assert_eq!(&before.image, &twice.image);
        for (one, other) in before.instances.iter().zip(&twice.instances) {
            prop_assert_eq!((one.class, &one.mask), (other.class, &other.mask));
            // W - (W - x) is rounded in the last bits.
            prop_assert!(one.edges.iter().zip(other.edges).all(|(a, b)| (a - b).abs() < 1e-5));
            for (a, b) in one.keypoints.iter().zip(&other.keypoints) {
                prop_assert!(a.visibility == b.visibility && (a.x - b.x).abs() < 1e-9 && a.y == b.y);
            }
        }
    }

    #[test]
    fn without_steps_a_scene_is_made_sound(scene in scenes()) {
        prop_assert_eq!(apply("none", &scene, &scene, 0)?, sanitise(scene)?);
    }
}

#[test]
fn a_second_picture_is_asked_for_once_and_goes_through_the_steps_before() {
    let scene = |columns, rows, value, class| {
        let instance = Instance { edges: [0.0; 4], class, mask: Some(vec![1; columns * rows]), keypoints: Vec::new() };
        Scene { image: Image::filled(columns, rows, 3, value).expect("a picture"), instances: vec![instance] }
    };
    let asked = std::cell::Cell::new(0);
    let others = |_: &mut ChaCha8Rng| {
        asked.set(asked.get() + 1);
        Ok(Some(scene(4, 2, 200, 1)))
    };
    let half = Step::ScaleJitter(ScaleJitter { side: 8, scale: [0.5; 2], ..ScaleJitter::default() });
    let augmentation = Augmentation { steps: vec![half, Step::CopyPaste(CopyPaste::default())] };
    let changed = augmentation.apply(scene(8, 8, 10, 0), &mut ChaCha8Rng::seed_from_u64(0), &others).unwrap();
    assert_eq!(asked.get(), 1);
    // Both fit a square of 8 and are halved: 4×4 below, 4×2 above.
    assert_eq!(
        changed.instances.iter().map(|i| (i.class, i.edges)).collect::<Vec<_>>(),
        [(0, [0.0, 2.0, 4.0, 4.0]), (1, [0.0, 0.0, 4.0, 2.0])]
    );
    let failing = |_: &mut ChaCha8Rng| Err(Error::Picture { picture: "b.png".into(), reason: "is bad".into() });
    assert_eq!(message(augmentation.apply(scene(8, 8, 10, 0), &mut ChaCha8Rng::seed_from_u64(0), &failing)), "b.png: is bad");
}

#[test]
fn settings_out_of_range_are_errors() {
    let bad = f64::NAN;
    for (step, said) in [
        (Step::Hflip(HorizontalFlip { probability: bad, swaps: Vec::new() }), "probability is NaN, expected 0 … 1"),
        (Step::CopyPaste(CopyPaste { probability: -0.5 }), "probability is -0.5"),
        (Step::ZoomOut(ZoomOut { ratio: [0.5, 2.0], ..ZoomOut::default() }), "ratio is [0.5, 2], expected 1 ≤ least"),
        (Step::IouCrop(IouCrop { overlaps: Vec::new(), ..IouCrop::default() }), "overlaps is empty"),
        (Step::IouCrop(IouCrop { overlaps: vec![1.5], ..IouCrop::default() }), "overlaps is 1.5"),
        (Step::IouCrop(IouCrop { scale: [bad, 1.0], ..IouCrop::default() }), "scale is [NaN, 1]"),
        (Step::IouCrop(IouCrop { proportions: [2.0, 1.0], ..IouCrop::default() }), "proportions is [2, 1]"),
        (Step::IouCrop(IouCrop { trials: usize::MAX, ..IouCrop::default() }), "trials is"),
        (Step::ScaleJitter(ScaleJitter { side: usize::MAX, ..ScaleJitter::default() }), "side is"),
        (Step::ScaleJitter(ScaleJitter { scale: [0.0, 1.0], ..ScaleJitter::default() }), "scale is [0, 1]"),
        (Step::ShortestSide(ShortestSide { sizes: Vec::new(), longest: 9 }), "sizes is empty"),
        (Step::ShortestSide(ShortestSide { sizes: vec![9], longest: 0 }), "longest is 0"),
    ] {
        let error = message(Augmentation { steps: vec![step] }.check());
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_mask_of_another_size_is_an_error() {
    let instance = Instance { edges: [0.0; 4], class: 0, mask: Some(vec![1; 5]), keypoints: Vec::new() };
    let scene = Scene { image: Image::filled(4, 3, 3, 0).unwrap(), instances: vec![instance] };
    assert!(message(apply("ssd", &scene, &scene, 0)).contains("a mask has 5 pixels, its picture 4×3"));
}
