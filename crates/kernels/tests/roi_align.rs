//! RoIAlign against torchvision, the plain loops and finite differences, over a sweep of shapes.

mod common;

use cirio_kernels::{Region, RoiAlign, RoiAlignShape, ShapeError, reference};
use common::{assert_close, assert_slope, double, inner, random, same_on_any_threads, unwritten};
use proptest::prelude::*;

fn shapes() -> impl Strategy<Value = RoiAlignShape> {
    let sizes = (1usize..4, 1usize..12, 1usize..20, [1usize..5, 1..5]);
    (sizes, 0usize..4, prop_oneof![Just(1.0f32), Just(0.3)], any::<bool>()).prop_map(
        |((c, h, w, output), sampling_ratio, spatial_scale, aligned)| RoiAlignShape {
            c,
            h,
            w,
            output,
            sampling_ratio,
            spatial_scale,
            aligned,
        },
    )
}

/// Regions inside, across the edges, outside, inside out, and some of no size.
fn regions(images: usize) -> impl Strategy<Value = Vec<Region>> {
    let corner = prop_oneof![-40f32..80.0, 0f32..20.0, Just(3.0)];
    let region = (0..images, [corner.clone(), corner.clone(), corner.clone(), corner]);
    prop::collection::vec(region.prop_map(|(image, corners)| Region { image, corners }), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn over_a_sweep(shape in shapes(), (n, regions) in (1usize..4).prop_flat_map(|n| (Just(n), regions(n))), seed in 0u64..1000) {
        let fail = |error: ShapeError| TestCaseError::fail(error.to_string());
        let RoiAlignShape { c, h, w, output: [rows, columns], .. } = shape;
        let (x, dy) = (random(seed, n * c * h * w), random(seed + 1, regions.len() * c * rows * columns));
        let plan = RoiAlign::new(shape).map_err(fail)?;
        let (mut y, mut dx) = (unwritten(dy.len()), unwritten(x.len()));
        plan.forward(n, &x, &regions, &mut y).map_err(fail)?;
        plan.backward(n, &regions, &dy, &mut dx).map_err(fail)?;
        assert_close("y", &y, &reference::roi_align(&shape, &double(&x), &regions), 16);
        assert_slope("dx", &dx, &x, 0.5, |x| inner(&reference::roi_align(&shape, x, &regions), &double(&dy)));
    }
}

/// torchvision 0.14:
/// ```python
/// x = (torch.arange(60) * 0.7).sin().reshape(1, 2, 5, 6).requires_grad_()
/// regions = torch.tensor([[0, 1.3, 2.1, 9.7, 8.4], [0, -4, -3, 25, 30], [0, 3, 3, 3.5, 3.2]])
/// for aligned, sampling_ratio in [(False, 2), (True, 0)]:
///     y = torchvision.ops.roi_align(x, regions, (2, 3), 0.5, sampling_ratio, aligned)
///     dx, = torch.autograd.grad((y * (torch.arange(36) * 1.3).sin().reshape(y.shape)).sum(), x)
///     print(y.flatten().tolist(), dx.flatten().tolist())
/// ```
#[test]
#[allow(clippy::approx_constant)] // two of the numbers happen to look like one
fn as_torchvision() -> Result<(), ShapeError> {
    let wave = |step: f32, count: usize| (0..count).map(|index| (index as f32 * step).sin()).collect::<Vec<_>>();
    let corners = [[1.3, 2.1, 9.7, 8.4], [-4.0, -3.0, 25.0, 30.0], [3.0, 3.0, 3.5, 3.2]];
    let regions = corners.map(|corners| Region { image: 0, corners });
    let shape = RoiAlignShape { c: 2, h: 5, w: 6, output: [2, 3], sampling_ratio: 2, spatial_scale: 0.5, aligned: false };
    let plain: [&[f64]; 2] = [
        &[
            -0.10067, -0.38381, -0.32341, 0.11047, 0.45921, 0.39663, -0.27979, 0.09696, 0.37841, 0.34574, -0.10614, -0.45261, -0.54393,
            0.30157, 0., 0., 0., 0., 0.45794, -0.01797, 0., 0., 0., 0., -0.29055, -0.4242, -0.50697, 0.11743, -0.02667, -0.16758, -0.30716,
            -0.18101, -0.03315, -0.58092, -0.52974, -0.41503,
        ],
        &[
            0.01179, 0.00442, 0.00737, 0., -0.09739, -0.00423, 0.01515, -0.00297, 0.37123, 0.255, -0.01862, 0.0304, 0., -0.18511, 0.09937,
            0.58047, 0.23235, 0.07813, 0., -0.3157, -0.57036, -0.25631, 0.10051, 0.0465, 0.02694, -0.17431, -0.19179, -0.228, -0.18314,
            0.01251, -0.10794, -0.04048, -0.06746, 0., -0.04396, -0.00191, -0.13878, 0.21415, 0.20095, -0.01734, -0.20173, -0.06002, 0.,
            0.43651, 0.96776, 0.17594, -0.31654, -0.12547, 0., -0.28727, 0.03761, 0.3183, 0.32879, 0.121, -0.24673, -0.29683, -0.21222,
            0.15336, 0.17277, 0.09739,
        ],
    ];
    let aligned: [&[f64]; 2] = [
        &[
            -0.40242, -0.42703, -0.0682, 0.28116, 0.38214, 0.14225, 0.02044, 0.40327, 0.4343, 0.06939, -0.28049, -0.38808, -0.05272,
            0.13569, 0., 0., 0., 0., 0.10914, -0.09522, 0., 0., 0., 0., -0.93636, -0.90926, -0.88215, -0.87344, -0.85066, -0.82787,
            0.66523, 0.69046, 0.71568, 0.58232, 0.60792, 0.63352,
        ],
        &[
            0.00457, 0.00558, 0.01463, -0.02324, -0.02702, -0.06173, 0.0029, -0.12056, 0.48528, 0.26152, 0.18003, -0.03914, -0.03848,
            -0.17038, 0.06786, 0.10289, 0.13304, -0.03914, -0.10123, -0.29502, -0.3918, -0.13903, 0.06077, -0.04065, -0.02098, -0.07027,
            -0.10196, -0.07173, -0.02126, -0.07227, -0.03482, -0.02001, -0.02612, -0.02191, -0.03158, -0.02786, 0.12481, 1.31022, 0.30967,
            -0.12805, -0.33665, -0.01767, 0.0189, 0.13519, 0.15158, 0.03207, -0.05283, -0.01767, -0.14304, -0.31303, 0.09648, 0.27497,
            0.37802, -0.01835, -0.07815, -0.11795, -0.01055, 0.05293, 0.07896, -0.03262,
        ],
    ];
    for (shape, [exact_y, exact_dx]) in [(shape, plain), (RoiAlignShape { sampling_ratio: 0, aligned: true, ..shape }, aligned)] {
        let (mut y, mut dx) = (unwritten(36), unwritten(60));
        RoiAlign::new(shape)?.forward(1, &wave(0.7, 60), &regions, &mut y)?;
        RoiAlign::new(shape)?.backward(1, &regions, &wave(1.3, 36), &mut dx)?;
        assert_close("y", &y, exact_y, 100); // five digits
        assert_close("dx", &dx, exact_dx, 100);
    }
    Ok(())
}

#[test]
fn regions_that_reach_far_cost_no_more() -> Result<(), ShapeError> {
    let shape = RoiAlignShape { c: 1, h: 4, w: 4, output: [1, 1], sampling_ratio: 0, spatial_scale: 1.0, aligned: false };
    let mut y = [9.0];
    RoiAlign::new(shape)?.forward(1, &[1.0; 16], &[Region { image: 0, corners: [-1e37, -1e37, 1e37, 1e37] }], &mut y)?;
    assert!(y[0].abs() < 1e-30, "{y:?}");
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let shape = RoiAlignShape { c: 17, h: 33, w: 41, output: [7, 7], sampling_ratio: 2, spatial_scale: 0.25, aligned: false };
    let edges = random(3, 4 * 60);
    let region = |(index, edges): (usize, &[f32])| {
        let middle = [80.0 + 60.0 * edges[0], 66.0 + 50.0 * edges[1]];
        let (wide, tall) = (40.0 * edges[2].abs(), 40.0 * edges[3].abs());
        Region { image: index % 2, corners: [middle[0] - wide, middle[1] - tall, middle[0] + wide, middle[1] + tall] }
    };
    let regions: Vec<Region> = edges.chunks_exact(4).enumerate().map(region).collect();
    let (x, dy) = (random(1, 2 * 17 * 33 * 41), random(2, 60 * 17 * 49));
    same_on_any_threads(|| {
        let (mut y, mut dx) = (unwritten(dy.len()), unwritten(x.len()));
        let plan = RoiAlign::new(shape).expect("right sizes");
        plan.forward(2, &x, &regions, &mut y).expect("right lengths");
        plan.backward(2, &regions, &dy, &mut dx).expect("right lengths");
        [y, dx].concat()
    });
}

#[test]
fn what_cannot_be_is_an_error() -> Result<(), ShapeError> {
    let shape = RoiAlignShape { c: 1, h: 2, w: 2, output: [1, 1], sampling_ratio: 0, spatial_scale: 1.0, aligned: false };
    let none = RoiAlign::new(RoiAlignShape { output: [1, 0], ..shape }).unwrap_err().to_string();
    assert_eq!(none, "the number of columns of bins is 0, it must be at least 1");
    assert!(RoiAlign::new(RoiAlignShape { c: usize::MAX, ..shape }).is_err());
    let plan = RoiAlign::new(shape)?;
    let message = |n: usize, region: Region| plan.forward(n, &vec![0.0; 4 * n], &[region], &mut [0.0]).unwrap_err().to_string();
    assert_eq!(message(2, Region { image: 2, corners: [0.0; 4] }), "region 0 is in image 2, there are 2");
    for corners in [[f32::NAN, 0.0, 1.0, 1.0], [0.0, 0.0, f32::INFINITY, 1.0], [0.0, -3e38, 1.0, 3e38]] {
        assert_eq!(message(1, Region { image: 0, corners }), "region 0 has corners that are not finite on the maps");
    }
    assert!(plan.forward(1, &[0.0; 4], &[], &mut [0.0]).is_err() && plan.forward(0, &[], &[], &mut []).is_ok());
    assert!(plan.backward(1, &[], &[], &mut [0.0; 3]).is_err());
    Ok(())
}
