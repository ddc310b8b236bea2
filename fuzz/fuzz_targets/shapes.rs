//! Convolutions of any numbers whatever: each is planned or refused with an error, without a panic or much memory.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use cirio_kernels::blocked::{self, Maps, Method, Weights};
use cirio_kernels::{Conv2d, Conv2dShape, Scratch, ShapeError};
use libfuzzer_sys::fuzz_target;

/// A number of any magnitude, small ones and those about a power of two more often.
#[derive(Clone, Copy, Debug)]
struct Number(usize);

impl<'a> Arbitrary<'a> for Number {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let small = u.int_in_range(0..=20)?;
        let power = 1usize << u.int_in_range(0..=63)?;
        Ok(Self(*u.choose(&[small, small, small, power, power.wrapping_sub(small), usize::MAX - small])?))
    }

    /// Shorter inputs are refused: what they leave out would be 0.
    fn size_hint(_: usize) -> (usize, Option<usize>) {
        (3, Some(3))
    }
}

#[derive(Arbitrary, Debug)]
struct Case {
    /// C, filters, H, W, groups.
    sizes: [Number; 5],
    /// Kernel, stride, padding, dilation.
    window: [[Number; 2]; 4],
    margins: [[Number; 2]; 3],
    side: Number,
    n: Number,
    /// Whether input, output and shortcut are one channel after the other.
    planar: [bool; 3],
    weights: u8,
}

impl Case {
    fn shape(&self) -> Conv2dShape {
        let [c_in, c_out, h, w, groups] = self.sizes.map(|number| number.0);
        let [kernel, stride, padding, dilation] = self.window.map(|pair| pair.map(|number| number.0));
        Conv2dShape { c_in, c_out, h, w, kernel, stride, padding, dilation, groups }
    }

    fn plan(&self, method: Method) -> Result<Option<blocked::Conv2d>, ShapeError> {
        let shape = self.shape();
        let [rows, columns] = shape.output();
        let output = [shape.c_out, rows, columns];
        let layouts = [self.maps(0, [shape.c_in, shape.h, shape.w])?, self.maps(1, output)?, self.maps(2, output)?];
        blocked::Conv2d::new(shape, layouts, method)
    }

    fn plan_with_pool(&self, method: Method) -> Result<Option<blocked::Conv2d>, ShapeError> {
        let shape = self.shape();
        let [rows, columns] = shape.output();
        let layouts = [self.maps(0, [shape.c_in, shape.h, shape.w])?, self.maps(1, [shape.c_out, rows / 2, columns / 2])?];
        blocked::Conv2d::pooled(shape, layouts, method)
    }

    fn maps(&self, index: usize, size: [usize; 3]) -> Result<Maps, ShapeError> {
        let maps = if self.planar[index] { Maps::planar(size)? } else { Maps::blocked(size)? };
        maps.with_margin(self.margins[index].map(|number| number.0))
    }
}

fuzz_target!(|case: Case| {
    let (shape, n) = (case.shape(), case.n.0);
    let weights = vec![0.0; usize::from(case.weights)];
    assert!(Conv2d::new(shape).is_err() || shape.check().is_ok(), "what is refused is not planned");
    if let Ok(conv) = Conv2d::new(shape) {
        let refused = conv.forward(n, &[], &[], None, &mut [], &mut Scratch::new());
        assert!(refused.is_err(), "there is no convolution without weights");
        blocked::Conv2d::best_method(&shape, n);
    }
    let _ = Weights::new(&weights, &shape);
    for method in [Method::Direct, Method::Winograd(2), Method::Winograd(case.side.0), Method::Depthwise, Method::Merged] {
        for conv in [case.plan(method), case.plan_with_pool(method)].into_iter().flatten().flatten() {
            assert!(Weights::new(&[], &shape).is_err() && conv.packed() > 0, "there is no convolution without weights");
        }
    }
});
