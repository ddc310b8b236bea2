//! Small networks on several images abreast, as many as a vector has floats: each float of a vector is of another image.
//!
//! However few channels a layer has and however narrow its maps are, vectors are full. A map's pixel is a vector, a weight the same number for
//! all of it. For a channel's pooling that is the layout of [`blocked`](crate::blocked) maps with as many channels for each channel as there are
//! images, see [`maps`]; [`blocked::Pool`](crate::blocked::Pool) takes them.
#![allow(unsafe_code)] // the innermost loop reads without checks

use pulp::{Simd, WithSimd};

use crate::activation::Activation;
use crate::blocked::tile::add;
use crate::blocked::transpose::{Columns, Rows, transpose};
use crate::blocked::{Maps, is_moderate};
use crate::conv::Conv2dShape;
use crate::error::{ShapeError, expect};
use crate::simd::{self, activate};

/// The images that go abreast on this machine: 16, 8 or 4, and 1 where it has no vectors.
pub fn images() -> usize {
    simd::lanes()
}

/// The maps (C, H, W) of the images that go abreast, as one image's maps: the numbers of all images for channel 0, then for channel 1, and so on.
///
/// # Errors
/// When a number is 0, or there are more values than can be addressed.
pub fn maps([channels, height, width]: [usize; 3]) -> Result<Maps, ShapeError> {
    Maps::blocked([channels.saturating_mul(images()), height, width])
}

/// Lays n planar images (n, C, H, W) abreast, `maps` being those of [`maps`], with or without a margin. Where there are fewer than go abreast, the rest
/// is zeros.
///
/// # Errors
/// When a slice has another length, or the images are more than go abreast.
pub fn lay_abreast(n: usize, x: &[f32], maps: &Maps, y: &mut [f32]) -> Result<(), ShapeError> {
    let image = planar(n, maps)?;
    expect("x", x, &[n, image])?;
    expect("y", y, &[maps.image()])?;
    if n < images() {
        y.fill(0.0);
    } else {
        maps.clear_margin(1, y)?;
    }
    for Stretch { pixel, place, length } in stretches(maps) {
        transpose(
            x.get(pixel..).unwrap_or_default(),
            Rows { count: n, stride: image },
            Columns::in_a_row(length, images()),
            &mut y[place..],
        );
    }
    Ok(())
}

/// The way back: the first n of the images abreast as planar ones (n, C, H, W).
///
/// # Errors
/// As for [`lay_abreast`].
pub fn lay_apart(n: usize, x: &[f32], maps: &Maps, y: &mut [f32]) -> Result<(), ShapeError> {
    let image = planar(n, maps)?;
    expect("x", x, &[maps.image()])?;
    expect("y", y, &[n, image])?;
    for Stretch { pixel, place, length } in stretches(maps) {
        let to = y.get_mut(pixel..).unwrap_or_default();
        transpose(&x[place..], Rows { count: length, stride: images() }, Columns::in_a_row(n, image), to);
    }
    Ok(())
}

/// The values of a planar image that the n images abreast have in these maps.
fn planar(n: usize, maps: &Maps) -> Result<usize, ShapeError> {
    let given @ [channels, height, width] = maps.size();
    if n > images() || !channels.is_multiple_of(images()) || maps.together() != images() {
        return Err(ShapeError::Maps { given, expected: [(channels / images()).saturating_mul(n), height, width] });
    }
    Ok(channels / images() * height * width)
}

/// Pixels that follow one another in a planar image and in maps: all of them where there is no margin, else a row.
struct Stretch {
    /// The first one's place in a planar image, and in the maps.
    pixel: usize,
    place: usize,
    length: usize,
}

fn stretches(maps: &Maps) -> impl Iterator<Item = Stretch> {
    let [_, height, width] = maps.size();
    let whole = maps.margin() == [0; 2];
    let (rows, length) = if whole { (1, maps.image() / images()) } else { (maps.groups() * height, width) };
    let [origin, group, row] = [maps.origin([0; 2]), maps.group(), maps.row()];
    let stretch =
        move |index: usize| Stretch { pixel: index * length, place: index / height * group + origin + index % height * row, length };
    (0..rows).map(stretch)
}

/// A convolution of images abreast, on the calling thread: several such groups of images are what threads take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv2d {
    shape: Conv2dShape,
    input: Maps,
    output: Maps,
    /// Where the pixel of each tap lies, counted from the first of a window.
    taps: Vec<u32>,
    farthest: usize,
}

impl Conv2d {
    /// The plan for a shape and maps in layouts of [`maps`], the input's with a margin of at least the padding.
    ///
    /// None where the convolution has groups, the margin is less than the padding, or lists or offsets would be too long.
    ///
    /// # Errors
    /// When the shape cannot be, or the maps have other sizes than it.
    pub fn new(shape: Conv2dShape, [input, output]: [Maps; 2]) -> Result<Option<Self>, ShapeError> {
        shape.check()?;
        let [rows, columns] = shape.output();
        for (given, expected) in [(input, maps([shape.c_in, shape.h, shape.w])?), (output, maps([shape.c_out, rows, columns])?)] {
            if given.size() != expected.size() || given.together() != images() {
                return Err(ShapeError::Maps { given: given.size(), expected: expected.size() });
            }
        }
        let small = is_moderate(&shape) && [input, output].iter().all(|maps| u32::try_from(maps.image()).is_ok());
        let [margin, padding] = [input.margin(), shape.padding];
        if shape.groups != 1 || margin[0] < padding[0] || margin[1] < padding[1] || !small {
            return Ok(None);
        }
        let &Conv2dShape { c_in, kernel, dilation, .. } = &shape;
        let place = |channel: usize, row: usize, column: usize| {
            (channel * input.group() + row * dilation[0] * input.row() + column * dilation[1] * images()) as u32
        };
        let of_channel = |channel| (0..kernel[0]).flat_map(move |row| (0..kernel[1]).map(move |column| place(channel, row, column)));
        let taps: Vec<u32> = (0..c_in).flat_map(of_channel).collect();
        let farthest = taps.iter().copied().max().unwrap_or(0) as usize;
        Ok(Some(Self { shape, input, output, taps, farthest }))
    }

    /// A fully connected layer: a convolution of 1×1 of maps that are pixels.
    ///
    /// # Errors
    /// When a number is 0, or there are more values than can be addressed.
    pub fn linear(inputs: usize, outputs: usize) -> Result<Option<Self>, ShapeError> {
        let shape = Conv2dShape {
            c_in: inputs,
            c_out: outputs,
            h: 1,
            w: 1,
            kernel: [1; 2],
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        };
        Self::new(shape, [maps([inputs, 1, 1])?, maps([outputs, 1, 1])?])
    }

    /// y from x, the images abreast: the convolution with w (filters, C, kernel rows, kernel columns) and the bias, then the activation.
    /// Margins of y are not touched.
    ///
    /// # Errors
    /// When a slice has another length.
    pub fn forward(&self, x: &[f32], w: &[f32], bias: Option<&[f32]>, activation: Activation, y: &mut [f32]) -> Result<(), ShapeError> {
        let Conv2dShape { c_in, c_out, kernel, .. } = self.shape;
        expect("x", x, &[self.input.image()])?;
        expect("w", w, &[c_out, c_in, kernel[0], kernel[1]])?;
        expect("y", y, &[self.output.image()])?;
        if let Some(bias) = bias {
            expect("bias", bias, &[c_out])?;
        }
        simd::arch().dispatch(Pass { plan: self, x, w, bias, activation, y });
        Ok(())
    }
}

struct Pass<'a> {
    plan: &'a Conv2d,
    x: &'a [f32],
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    activation: Activation,
    y: &'a mut [f32],
}

/// Filters that are computed together at most: what leaves room in the registers for the sums of some pixels, and of one pixel.
const FILTERS: usize = 6;
const FILTERS_OF_A_PIXEL: usize = 8;

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let filters = self.plan.shape.c_out;
        let most = if self.plan.shape.output() == [1; 2] { FILTERS_OF_A_PIXEL } else { FILTERS };
        let pieces = filters.div_ceil(most);
        for piece in 0..pieces {
            let first = piece * filters / pieces;
            // Loops, not closures: those might become functions that do not know this machine's vectors.
            match (piece + 1) * filters / pieces - first {
                1 => self.rows::<S, 1>(simd, first),
                2 => self.rows::<S, 2>(simd, first),
                3 => self.rows::<S, 3>(simd, first),
                4 => self.rows::<S, 4>(simd, first),
                5 => self.rows::<S, 5>(simd, first),
                6 => self.rows::<S, 6>(simd, first),
                7 => self.pixels::<S, 7, 1>(simd, first, [0; 2]),
                _ => self.pixels::<S, 8, 1>(simd, first, [0; 2]),
            }
        }
    }
}

impl Pass<'_> {
    /// All pixels of P filters: 4 together where the machine has 32 registers, then 2, then one.
    #[inline(always)]
    fn rows<S: Simd, const P: usize>(&mut self, simd: S, first: usize) {
        let [height, width] = self.plan.shape.output();
        for row in 0..height {
            let mut column = 0;
            if S::F32_LANES != 8 {
                while column + 4 <= width {
                    self.pixels::<S, P, 4>(simd, first, [row, column]);
                    column += 4;
                }
            }
            while column + 2 <= width {
                self.pixels::<S, P, 2>(simd, first, [row, column]);
                column += 2;
            }
            if column < width {
                self.pixels::<S, P, 1>(simd, first, [row, column]);
            }
        }
    }

    /// F pixels of a row, of P filters.
    #[inline(always)]
    fn pixels<S: Simd, const P: usize, const F: usize>(&mut self, simd: S, first: usize, [row, column]: [usize; 2]) {
        let Conv2d { shape, input, output, taps, farthest } = self.plan;
        let lanes = S::F32_LANES;
        // A long stride has no second pixel.
        let gap = if F > 1 { shape.stride[1] * lanes } else { 0 };
        let start = input.origin(shape.padding) + row * shape.stride[0] * input.row() + column * shape.stride[1] * lanes;
        assert!(start + farthest + (F - 1) * gap + lanes <= self.x.len(), "a window lies outside the image");
        assert!((first + P) * taps.len() <= self.w.len(), "a filter has all its weights");
        let mut sums = [[simd.splat_f32s(0.0); F]; P];
        if let Some(bias) = self.bias {
            for p in 0..P {
                sums[p] = [simd.splat_f32s(bias[first + p]); F];
            }
        }
        // SAFETY: by the assertions every window and every weight is inside.
        unsafe {
            let x = self.x.as_ptr().add(start);
            let mut rows = [self.w.as_ptr(); P];
            for p in 0..P {
                rows[p] = rows[p].add((first + p) * taps.len());
            }
            for (index, &tap) in taps.iter().enumerate() {
                sums = add(simd, rows, index, x.add(tap as usize), gap, sums);
            }
        }
        let start = output.origin([0; 2]) + row * output.row() + column * lanes;
        for p in 0..P {
            let y = S::as_mut_simd_f32s(&mut self.y[(first + p) * output.group() + start..][..F * lanes]).0;
            for f in 0..F {
                y[f] = activate(simd, self.activation, sums[p][f]);
            }
        }
    }
}
