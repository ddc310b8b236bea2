//! Masks of runs from texts and polygons: each is refused or is a mask of the size that was asked for, whose text gives it again.
#![no_main]

use arbitrary::Arbitrary;
use cirio_coco::Rle;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Case {
    size: [u8; 2],
    text: String,
    /// In any place.
    wild: Vec<f64>,
    /// Near the picture, in eighths of a pixel.
    tame: Vec<Vec<i16>>,
}

fuzz_target!(|case: Case| {
    let size = case.size.map(usize::from);
    let tame: Vec<Vec<f64>> = case.tame.iter().map(|polygon| polygon.iter().map(|&at| f64::from(at) / 8.0).collect()).collect();
    let text = Rle::from_text(size, &case.text);
    let masks: Vec<Rle> = [text, Rle::from_polygon(size, &case.wild), Rle::from_polygons(size, &tame)].into_iter().flatten().collect();
    let all = Rle::union(size, &masks).expect("of one size");
    for mask in &masks {
        assert_eq!(mask.size(), size);
        assert_eq!(mask.decode().iter().map(|&pixel| u64::from(pixel)).sum::<u64>(), mask.area());
        assert!(mask.bounds().is_none_or(|[left, upper, right, lower]| left < right
            && upper < lower
            && right as usize <= size[1]
            && lower as usize <= size[0]));
        assert_eq!(&Rle::from_text(size, &mask.to_text()).expect("its own text"), mask);
        assert_eq!(mask.intersection(&all).expect("of one size").area(), mask.area());
        assert!((0.0..=1.0).contains(&mask.iou(&all, false).expect("of one size")));
    }
});
