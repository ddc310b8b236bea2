//! Pooling: each channel on its own, with torch's sizes, padding, ceil mode and divisors.

use candle_core::{Result, Tensor};
use cirio_kernels::{AvgPool2d, CountPadding, MaxPool2d, Pool2dShape};

use super::backend::{Backend, backend};
use super::check::{error, maps};
use super::kernels;
use super::portable::{self, Mixing};

/// How a pooling window slides over its input; pairs are rows, columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool2dConfig {
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Pixels added on each side, at most half of the window.
    pub padding: [usize; 2],
    /// Whether a last window that reaches beyond the padded input counts, as long as it begins inside the input or before it.
    pub ceil_mode: bool,
}

impl Pool2dConfig {
    /// Rows and columns of the output for an input of `[rows, columns]`: ⌊(input + 2·padding - kernel) / stride⌋ + 1; with
    /// ceil mode rounded up, less a last window that would begin in the padding at the far end.
    ///
    /// # Errors
    /// When a number other than the padding is 0, the padding is more than half of the window, or no window fits.
    pub fn output(&self, [h, w]: [usize; 2]) -> Result<[usize; 2]> {
        let shape = self.shape(1, h, w);
        shape.check().map_err(|reason| error("pool", reason))?;
        Ok(shape.output())
    }

    fn shape(&self, c: usize, h: usize, w: usize) -> Pool2dShape {
        let &Self { kernel, stride, padding, ceil_mode } = self;
        Pool2dShape { c, h, w, kernel, stride, padding, ceil_mode }
    }
}

/// The largest value of each window. Padding counts as -∞, a NaN makes the result NaN.
///
/// Each window passes all of its gradient to its first maximum in reading order, as in torch.
///
/// # Shapes
/// x (N, C, H, W); the result (N, C, rows, columns), see [`Pool2dConfig::output`].
///
/// # Errors
/// When x is not (N, C, H, W), or the window does not fit.
pub fn max_pool2d(x: &Tensor, config: &Pool2dConfig) -> Result<Tensor> {
    let [n, c, h, w] = maps("max_pool2d", x)?;
    let shape = config.shape(c, h, w);
    let plan = MaxPool2d::new(shape).map_err(|reason| error("max_pool2d", reason))?;
    let [rows, columns] = plan.output();
    if n == 0 {
        return Tensor::zeros((n, c, rows, columns), x.dtype(), x.device());
    }
    match backend(x) {
        Backend::Kernels => kernels::unary(plan, n, x, (n, c, rows, columns)),
        // The first of a window's rows to have its maximum, and the first place of it there: so columns come first.
        Backend::Portable => {
            let windows = |axis: usize| (0..shape.output()[axis]).map(|place| window(&shape, axis, place).0).collect::<Vec<_>>();
            portable::max(&portable::max(x, 3, &windows(1))?, 2, &windows(0))
        }
    }
}

/// The mean of each window.
///
/// With [`CountPadding::Include`] padded zeros count in the mean, with [`CountPadding::Exclude`] only pixels of the input
/// do. What a window in ceil mode has beyond the padding never counts. As torch's `avg_pool2d`.
///
/// # Shapes
/// x (N, C, H, W); the result (N, C, rows, columns), see [`Pool2dConfig::output`].
///
/// # Errors
/// When x is not (N, C, H, W), or the window does not fit.
pub fn avg_pool2d(x: &Tensor, config: &Pool2dConfig, count: CountPadding) -> Result<Tensor> {
    let [n, c, h, w] = maps("avg_pool2d", x)?;
    let shape = config.shape(c, h, w);
    let plan = AvgPool2d::new(shape, count).map_err(|reason| error("avg_pool2d", reason))?;
    let [rows, columns] = plan.output();
    if n == 0 {
        return Tensor::zeros((n, c, rows, columns), x.dtype(), x.device());
    }
    match backend(x) {
        Backend::Kernels => kernels::unary(plan, n, x, (n, c, rows, columns)),
        Backend::Portable => {
            let means = |axis: usize| {
                let (input, output) = ([h, w][axis], plan.output()[axis]);
                Mixing::new(input, output, |place| {
                    let (inside, padded) = window(&shape, axis, place);
                    let divisor = match count {
                        CountPadding::Include => padded,
                        CountPadding::Exclude => inside.len(),
                    };
                    Mixing::mean(inside, divisor)
                })
            };
            portable::mix(x, &means(0), &means(1))
        }
    }
}

/// Means over a grid of `[rows, columns]` windows that cover maps of any size: window i of R covers the rows
/// ⌊i·H/R⌋ to ⌈(i+1)·H/R⌉, so that neighbours may share one. As torch's `adaptive_avg_pool2d`.
///
/// # Shapes
/// x (N, C, H, W); the result (N, C, rows, columns).
///
/// # Errors
/// When x is not (N, C, H, W), or a side of it or of the grid is 0.
pub fn adaptive_avg_pool2d(x: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor> {
    const NAME: &str = "adaptive_avg_pool2d";
    let [n, c, h, w] = maps(NAME, x)?;
    if [h, w, rows, columns].contains(&0) {
        return Err(error(NAME, format!("maps of {h}×{w} cannot be pooled to {rows}×{columns}")));
    }
    if [h, w] == [rows, columns] {
        return Ok(x.clone());
    }
    if h.is_multiple_of(rows) && w.is_multiple_of(columns) {
        let side_by_side = [h / rows, w / columns];
        let config = Pool2dConfig { kernel: side_by_side, stride: side_by_side, padding: [0; 2], ceil_mode: false };
        return avg_pool2d(x, &config, CountPadding::Include);
    }
    if n == 0 {
        return Tensor::zeros((n, c, rows, columns), x.dtype(), x.device());
    }
    let means = |input: usize, output: usize| {
        Mixing::new(input, output, |place| {
            let range = place * input / output..((place + 1) * input).div_ceil(output);
            Mixing::mean(range.clone(), range.len())
        })
    };
    portable::mix(x, &means(h, rows), &means(w, columns))
}

/// The input's places in a window along one axis, and the window's length with the padding.
fn window(shape: &Pool2dShape, axis: usize, place: usize) -> (std::ops::Range<usize>, usize) {
    let (input, padding) = ([shape.h, shape.w][axis], shape.padding[axis]);
    let start = place * shape.stride[axis]; // counted from the padding's edge
    let end = (start + shape.kernel[axis]).min(input + 2 * padding);
    (start.saturating_sub(padding)..end.saturating_sub(padding).min(input), end - start)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::super::with_portable;
    use super::*;

    const OVERLAPPING: Pool2dConfig = Pool2dConfig { kernel: [3; 2], stride: [2; 2], padding: [1; 2], ceil_mode: false };

    fn ones(shape: &[usize]) -> Tensor {
        Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
    }

    /// Whether it comes first or last in the window, and its gradient goes to it.
    #[test]
    fn a_nan_in_a_window_is_its_maximum() -> Result<()> {
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        let x = Var::new(&[[[[1f32, nan, 3.0, 4.0, nan], [-infinity, 2.0, infinity, nan, nan]]]], &Device::Cpu)?;
        let config = Pool2dConfig { kernel: [2, 1], stride: [1; 2], padding: [0; 2], ceil_mode: false };
        for y in [max_pool2d(&x, &config)?, with_portable(|| max_pool2d(&x, &config))?] {
            let maxima = y.flatten_all()?.to_vec1::<f32>()?;
            assert_eq!((maxima[0], maxima[2]), (1.0, infinity));
            assert!([1, 3, 4].iter().all(|&window| maxima[window].is_nan()), "{maxima:?}");
            let gradient = y.backward()?.get(&x).unwrap().flatten_all()?.to_vec1::<f32>()?;
            assert_eq!(gradient, [1., 1., 0., 0., 0., 0., 0., 1., 1., 1.]);
        }
        Ok(())
    }

    #[test]
    fn ceil_mode_drops_a_window_that_begins_in_the_far_padding() -> Result<()> {
        assert_eq!(Pool2dConfig { ceil_mode: true, ..OVERLAPPING }.output([6, 5])?, [4, 3]);
        let far = Pool2dConfig { kernel: [2; 2], stride: [3; 2], padding: [1; 2], ceil_mode: true };
        assert_eq!(far.output([5, 5])?, [2, 2], "a third window would begin at row 6, which is padding");
        Ok(())
    }

    #[test]
    fn errors_say_what_was_given_and_expected() {
        let x = ones(&[1, 2, 4, 4]);
        let message = |config: Pool2dConfig| max_pool2d(&x, &config).unwrap_err().to_string();
        assert_eq!(
            message(Pool2dConfig { kernel: [7, 3], ..OVERLAPPING }),
            "max_pool2d: a window of 7 rows does not fit into 4 with a padding of 1 on both sides"
        );
        assert_eq!(
            message(Pool2dConfig { padding: [1, 2], ..OVERLAPPING }),
            "max_pool2d: a padding of 2 columns is more than half of the pooling window's 3"
        );
        assert!(OVERLAPPING.output([0, 4]).is_err());
        let flat = avg_pool2d(&ones(&[2, 4]), &OVERLAPPING, CountPadding::Include).unwrap_err().to_string();
        assert_eq!(flat, "avg_pool2d: the input has the shape [2, 4], expected (N, C, H, W)");
        let none = adaptive_avg_pool2d(&x, [0, 3]).unwrap_err().to_string();
        assert_eq!(none, "adaptive_avg_pool2d: maps of 4×4 cannot be pooled to 0×3");
    }
}
