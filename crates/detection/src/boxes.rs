//! Boxes: conversions, areas, overlaps.

/// x₁, y₁, x₂, y₂ in pixels: the left, upper, right and lower edge. Its width is x₂ - x₁, with no pixel added.
pub type Xyxy = [f32; 4];

/// From left and upper edge, width and height, as COCO's files have them.
pub fn from_xywh([x, y, width, height]: [f32; 4]) -> Xyxy {
    [x, y, x + width, y + height]
}

/// To left and upper edge, width and height.
pub fn to_xywh([left, upper, right, lower]: Xyxy) -> [f32; 4] {
    [left, upper, right - left, lower - upper]
}

/// From centre, width and height.
pub fn from_cxcywh([x, y, width, height]: [f32; 4]) -> Xyxy {
    [x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height]
}

/// To centre, width and height.
pub fn to_cxcywh([left, upper, right, lower]: Xyxy) -> [f32; 4] {
    [0.5 * (left + right), 0.5 * (upper + lower), right - left, lower - upper]
}

/// Square pixels; 0 for a box whose edges are exchanged, or not numbers.
pub fn area([left, upper, right, lower]: Xyxy) -> f32 {
    let (width, height) = (right - left, lower - upper);
    if width > 0.0 && height > 0.0 { width * height } else { 0.0 }
}

/// The area that two boxes share.
fn intersection(a: &Xyxy, b: &Xyxy) -> f32 {
    area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])])
}

/// The box in the mirror image of a picture of `width` pixels.
pub fn mirror([left, upper, right, lower]: Xyxy, width: usize) -> Xyxy {
    [width as f32 - right, upper, width as f32 - left, lower]
}

/// The smallest box around both.
fn hull(a: &Xyxy, b: &Xyxy) -> Xyxy {
    [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]
}

/// Intersection over union, 0 … 1; 0 where one of the two has no area.
pub fn iou(a: &Xyxy, b: &Xyxy) -> f32 {
    let (of_a, of_b) = (area(*a), area(*b));
    if of_a == 0.0 || of_b == 0.0 {
        return 0.0;
    }
    let shared = intersection(a, b);
    let ratio = shared / (of_a + of_b - shared);
    if ratio.is_nan() { 0.0 } else { ratio } // two infinite areas
}

/// IoU less the share of the hull that neither covers, -1 … 1 (Rezatofighi et al., "Generalized intersection over union", 2019).
pub fn giou(a: &Xyxy, b: &Xyxy) -> f32 {
    let (shared, hull) = (intersection(a, b), area(hull(a, b)));
    let union = area(*a) + area(*b) - shared;
    if hull > 0.0 { iou(a, b) - (hull - union) / hull } else { iou(a, b) }
}

/// IoU less the squared distance of the centres over that of the hull's corners, -1 … 1 (Zheng et al., "Distance-IoU loss", 2020).
pub fn diou(a: &Xyxy, b: &Xyxy) -> f32 {
    let [_, _, width, height] = to_xywh(hull(a, b));
    let ([ax, ay, ..], [bx, by, ..]) = (to_cxcywh(*a), to_cxcywh(*b));
    let diagonal = width * width + height * height;
    let distance = (ax - bx) * (ax - bx) + (ay - by) * (ay - by);
    if diagonal > 0.0 { iou(a, b) - distance / diagonal } else { iou(a, b) }
}

/// [`diou`] less a term for unlike proportions (same paper, equations 8 to 11).
pub fn ciou(a: &Xyxy, b: &Xyxy) -> f32 {
    let angle = |b: &Xyxy| ((b[2] - b[0]) / (b[3] - b[1])).atan();
    let difference = angle(a) - angle(b);
    let unlike = 4.0 / (std::f32::consts::PI * std::f32::consts::PI) * difference * difference;
    let share = unlike / (1.0 - iou(a, b) + unlike);
    diou(a, b) - if unlike > 0.0 { share * unlike } else { 0.0 }
}

/// The part inside an image of `[rows, columns]`. What is not a number stays so.
pub fn clip([left, upper, right, lower]: Xyxy, [rows, columns]: [usize; 2]) -> Xyxy {
    let (x, y) = (|x: f32| x.clamp(0.0, columns as f32), |y: f32| y.clamp(0.0, rows as f32));
    [x(left), y(upper), x(right), y(lower)]
}

/// Whether both sides are at least this long; false when an edge is not a number.
pub fn has_sides_of([left, upper, right, lower]: Xyxy, least: f32) -> bool {
    right - left >= least && lower - upper >= least
}

/// Whether edges are finite and sides longer than 0.
pub fn is_sound(edges: &Xyxy) -> bool {
    edges.iter().all(|edge| edge.is_finite()) && edges[2] > edges[0] && edges[3] > edges[1]
}

/// The box in an image that is resized from `[rows, columns]` to others.
pub fn resize([left, upper, right, lower]: Xyxy, from: [usize; 2], to: [usize; 2]) -> Xyxy {
    let [y, x] = [0, 1].map(|axis| to[axis] as f32 / from[axis] as f32);
    [left * x, upper * y, right * x, lower * y]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two squares of 2×2 that share one pixel: IoU 1/7, the hull 3×3.
    const A: Xyxy = [0.0, 0.0, 2.0, 2.0];
    const B: Xyxy = [1.0, 1.0, 3.0, 3.0];

    #[test]
    fn overlaps_by_hand() {
        assert_eq!(area(A), 4.0);
        assert_eq!(iou(&A, &B), 1.0 / 7.0);
        assert!((giou(&A, &B) - (1.0 / 7.0 - 2.0 / 9.0)).abs() < 1e-6);
        assert!((diou(&A, &B) - (1.0 / 7.0 - 2.0 / 18.0)).abs() < 1e-6);
        assert_eq!(ciou(&A, &B), diou(&A, &B), "equal proportions");
        assert_eq!(iou(&A, &[2.0, 0.0, 4.0, 2.0]), 0.0, "they touch");
    }

    /// `torchvision.ops.complete_box_iou(torch.tensor([[10., 20, 50, 80]]), torch.tensor([[12., 18, 60, 70]]))`, and the other two.
    #[test]
    fn overlaps_as_torchvision() {
        let (a, b) = ([10.0, 20.0, 50.0, 80.0], [12.0, 18.0, 60.0, 70.0]);
        for (ours, theirs) in [(giou(&a, &b), 0.600_630_46), (diou(&a, &b), 0.622_829_56), (ciou(&a, &b), 0.622_561_2)] {
            assert!((ours - theirs).abs() < 1e-6, "{ours} {theirs}");
        }
    }

    #[test]
    fn what_is_no_box_has_no_area_and_no_overlap() {
        for bad in [[2.0, 0.0, 0.0, 2.0], [0.0, 2.0, 2.0, 2.0], [f32::NAN, 0.0, 2.0, 2.0], [0.0, 0.0, f32::NAN, 2.0]] {
            assert_eq!((area(bad), iou(&A, &bad), iou(&bad, &A)), (0.0, 0.0, 0.0), "{bad:?}");
            assert!(!is_sound(&bad) && !has_sides_of(bad, 1e-3));
        }
        let all = [f32::NEG_INFINITY, f32::NEG_INFINITY, f32::INFINITY, f32::INFINITY];
        assert_eq!((iou(&A, &all), iou(&all, &all)), (0.0, 0.0));
        assert_eq!(clip(all, [3, 5]), [0.0, 0.0, 5.0, 3.0]);
    }

    #[test]
    fn clipped_to_the_image() {
        assert_eq!(clip([-1.0, -2.0, 7.0, 1.5], [4, 6]), [0.0, 0.0, 6.0, 1.5]);
        assert_eq!(resize([1.0, 2.0, 3.0, 4.0], [10, 20], [20, 10]), [0.5, 4.0, 1.5, 8.0]);
    }

    /// Whole numbers, so that moving and doubling are exact.
    fn any_box() -> impl Strategy<Value = Xyxy> {
        (0..50u8, 0..50u8, 1..50u8, 1..50u8).prop_map(|(x, y, width, height)| from_xywh([x, y, width, height].map(f32::from)))
    }

    proptest! {
        #[test]
        fn conversions_go_back(b in any_box()) {
            prop_assert_eq!(from_xywh(to_xywh(b)), b);
            prop_assert_eq!(from_cxcywh(to_cxcywh(b)), b);
        }

        #[test]
        fn overlaps_do_not_change_with_order_place_or_scale(a in any_box(), b in any_box(), by in -20..20i8) {
            let moved = |b: Xyxy| b.map(|edge| 4.0 * (edge + f32::from(by)));
            for overlap in [iou, giou, diou, ciou] {
                let here = overlap(&a, &b);
                prop_assert!((here - overlap(&b, &a)).abs() < 1e-6);
                prop_assert!((here - overlap(&moved(a), &moved(b))).abs() < 1e-6);
                prop_assert!((-2.0..=1.0).contains(&here) && (overlap(&a, &a) - 1.0).abs() < 1e-6);
            }
            prop_assert!(giou(&a, &b) <= iou(&a, &b) && diou(&a, &b) <= iou(&a, &b) && ciou(&a, &b) <= diou(&a, &b));
        }
    }
}
