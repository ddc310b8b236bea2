//! RoIPool against torchvision, the plain loops and finite differences, over a sweep of shapes.

mod common;

use cirio_kernels::{Region, RoiPool, RoiPoolShape, ShapeError, reference};
use common::{assert_close, assert_slope, distinct, double, inner, random, same_on_any_threads, unwritten};
use proptest::prelude::*;

fn shapes() -> impl Strategy<Value = RoiPoolShape> {
    let sizes = (1usize..4, 1usize..12, 1usize..20, [1usize..5, 1..5]);
    (sizes, prop_oneof![Just(1.0f32), Just(0.3)]).prop_map(|((c, h, w, output), spatial_scale)| RoiPoolShape {
        c,
        h,
        w,
        output,
        spatial_scale,
    })
}

/// Regions inside, across the edges, outside, inside out, and some of no size.
fn regions(images: usize) -> impl Strategy<Value = Vec<Region>> {
    let corner = prop_oneof![-40f32..80.0, 0f32..20.0, Just(2.5)];
    let region = (0..images, [corner.clone(), corner.clone(), corner.clone(), corner]);
    prop::collection::vec(region.prop_map(|(image, corners)| Region { image, corners }), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn over_a_sweep(shape in shapes(), (n, regions) in (1usize..4).prop_flat_map(|n| (Just(n), regions(n))), seed in 0u64..1000) {
        let fail = |error: ShapeError| TestCaseError::fail(error.to_string());
        let RoiPoolShape { c, h, w, output: [rows, columns], .. } = shape;
        let (x, dy) = (distinct(seed, n * c * h * w), random(seed + 1, regions.len() * c * rows * columns));
        let plan = RoiPool::new(shape).map_err(fail)?;
        let (mut y, mut dx) = (unwritten(dy.len()), unwritten(x.len()));
        plan.forward(n, &x, &regions, &mut y).map_err(fail)?;
        plan.backward(n, &x, &regions, &dy, &mut dx).map_err(fail)?;
        prop_assert_eq!(double(&y), reference::roi_pool(&shape, &double(&x), &regions));
        assert_slope("dx", &dx, &x, 0.25, |x| inner(&reference::roi_pool(&shape, x, &regions), &double(&dy)));
    }
}

/// torchvision 0.14:
/// ```python
/// x = (torch.arange(60.) * 0.7).sin().reshape(1, 2, 5, 6).requires_grad_()
/// regions = torch.tensor([[0, 1.3, 2.1, 9.7, 8.4], [0, -4, -3, 25, 30], [0, 3, 3, 3.5, 3.2], [0, 14, 2, 30, 6]])
/// y = torchvision.ops.roi_pool(x, regions, (2, 3), 0.5)
/// dx, = torch.autograd.grad((y * (torch.arange(48) * 1.3).sin().reshape(y.shape)).sum(), x)
/// print(y.flatten().tolist(), dx.flatten().tolist())
/// ```
#[test]
fn as_torchvision() -> Result<(), ShapeError> {
    let wave = |step: f32, count: usize| (0..count).map(|index| (index as f32 * step).sin()).collect::<Vec<_>>();
    let corners = [[1.3, 2.1, 9.7, 8.4], [-4.0, -3.0, 25.0, 30.0], [3.0, 3.0, 3.5, 3.2], [14.0, 2.0, 30.0, 6.0]];
    let regions = corners.map(|corners| Region { image: 0, corners });
    let exact_y = [
        0.3191, 0.65699, 0.98817, 0.99061, 0.99061, 0.99277, 0.99464, 0.99464, 0.99624, 0.99756, 0.99756, 0.23839, 0.99061, 0.99277, 0.,
        0., 0., 0., 0.99756, 0.99624, 0., 0., 0., 0., -0.36648, -0.36648, -0.36648, -0.36648, -0.36648, -0.36648, -0.57772, -0.57772,
        -0.57772, -0.57772, -0.57772, -0.57772, 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.,
    ];
    let exact_dx = [
        0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.96356, 0.5155, 0., 0., -0.12196, 0., 0., 0., 0., 0., -1.46347, 0., 0., 0., 0., 0., 0.,
        0., 0., -0.714, 0., 0., 0., 0., 0., 0., 0., 0., 1.31764, 0., 0., 0., 0., 0., 1.12166, 0., 0., -1.24719, 0., 0., 0., 0., 0., 0., 0.,
        0., -1.32873, 0., 0.98677, 0.,
    ];
    let (x, mut y, mut dx) = (wave(0.7, 60), unwritten(48), unwritten(60));
    let plan = RoiPool::new(RoiPoolShape { c: 2, h: 5, w: 6, output: [2, 3], spatial_scale: 0.5 })?;
    plan.forward(1, &x, &regions, &mut y)?;
    plan.backward(1, &x, &regions, &wave(1.3, 48), &mut dx)?;
    assert_close("y", &y, &exact_y, 100); // five digits
    assert_close("dx", &dx, &exact_dx, 100);
    Ok(())
}

#[test]
fn a_nan_makes_its_bins_nan_and_takes_their_gradient() -> Result<(), ShapeError> {
    let shape = RoiPoolShape { c: 1, h: 1, w: 3, output: [1, 1], spatial_scale: 1.0 };
    let (region, plan) = ([Region { image: 0, corners: [0.0, 0.0, 2.0, 0.0] }], RoiPool::new(shape)?);
    for place in 0..3 {
        let (mut x, mut y, mut dx) = ([1.0, 2.0, 3.0], [0.0], [9.0; 3]);
        x[place] = f32::NAN;
        plan.forward(1, &x, &region, &mut y)?;
        plan.backward(1, &x, &region, &[1.0], &mut dx)?;
        assert!(y[0].is_nan() && dx[place] == 1.0 && dx.iter().sum::<f32>() == 1.0, "{y:?} {dx:?}");
    }
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let shape = RoiPoolShape { c: 17, h: 33, w: 41, output: [7, 7], spatial_scale: 0.25 };
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
        let plan = RoiPool::new(shape).expect("right sizes");
        plan.forward(2, &x, &regions, &mut y).expect("right lengths");
        plan.backward(2, &x, &regions, &dy, &mut dx).expect("right lengths");
        [y, dx].concat()
    });
}

#[test]
fn what_cannot_be_is_an_error() -> Result<(), ShapeError> {
    let shape = RoiPoolShape { c: 1, h: 2, w: 2, output: [1, 1], spatial_scale: 1.0 };
    let none = RoiPool::new(RoiPoolShape { output: [0, 1], ..shape }).unwrap_err().to_string();
    assert_eq!(none, "the number of rows of bins is 0, it must be at least 1");
    assert!(RoiPool::new(RoiPoolShape { c: usize::MAX, ..shape }).is_err());
    let plan = RoiPool::new(shape)?;
    let message = |n: usize, region: Region| plan.forward(n, &vec![0.0; 4 * n], &[region], &mut [0.0]).unwrap_err().to_string();
    assert_eq!(message(2, Region { image: 2, corners: [0.0; 4] }), "region 0 is in image 2, there are 2");
    for corners in [[f32::NAN, 0.0, 1.0, 1.0], [0.0, 0.0, f32::INFINITY, 1.0]] {
        assert_eq!(message(1, Region { image: 0, corners }), "region 0 has corners that are not finite on the maps");
    }
    let mut y = [9.0];
    plan.forward(1, &[1.0; 4], &[Region { image: 0, corners: [-3e38, -3e38, 3e38, 3e38] }], &mut y)?;
    assert_eq!(y, [1.0], "a region that reaches far covers all");
    assert!(plan.forward(1, &[0.0; 4], &[], &mut [0.0]).is_err() && plan.forward(0, &[], &[], &mut []).is_ok());
    assert!(plan.backward(1, &[0.0; 4], &[], &[], &mut [0.0; 3]).is_err());
    Ok(())
}
