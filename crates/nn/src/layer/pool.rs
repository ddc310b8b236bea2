//! Pooling: each channel on its own, no parameters.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::{Cost, Forward, Layer, Pure, Reach, Shaped, Sliding, Step, by, unless};
use crate::Volume;
use crate::ops::{self, CountPadding, Pool2dConfig};

/// The largest value of each window; padding counts as -∞.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool2d(pub Pool2dConfig);

/// The mean of each window.
#[derive(Clone, Debug, PartialEq)]
pub struct AvgPool2d {
    /// The window.
    pub window: Pool2dConfig,
    /// Whether padded zeros count in the mean.
    pub count: CountPadding,
}

/// Means over a grid of `[rows, columns]` windows that cover maps of any size, as torch places them.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaptiveAvgPool2d(pub [usize; 2]);

/// Square windows side by side: stride = side, no padding.
pub fn max_pool(side: usize) -> MaxPool2d {
    MaxPool2d(side_by_side(side))
}

/// Square windows side by side: stride = side, no padding.
pub fn avg_pool(side: usize) -> AvgPool2d {
    AvgPool2d { window: side_by_side(side), count: CountPadding::Include }
}

fn side_by_side(side: usize) -> Pool2dConfig {
    Pool2dConfig { kernel: [side; 2], stride: [side; 2], padding: [0; 2], ceil_mode: false }
}

fn describe(name: &str, window: &Pool2dConfig) -> String {
    let stride = if window.stride == window.kernel { String::new() } else { unless(0, "stride", window.stride) };
    let ceil = if window.ceil_mode { ", ceil mode" } else { "" };
    format!("{name} {}{stride}{}{ceil}", by(window.kernel), unless(0, "padding", window.padding))
}

fn pooled(window: &Pool2dConfig, input: &Volume) -> Shaped {
    let [channels, height, width] = input.expect_maps()?;
    let [rows, columns] = window.output([height, width]).map_err(|error| error.to_string())?;
    Ok(Volume::maps([channels, rows, columns]))
}

fn reach(window: &Pool2dConfig, input: &Volume) -> Reach {
    let (Ok([_, height, width]), Ok(Volume::Maps { height: rows, width: columns, .. })) = (input.expect_maps(), pooled(window, input))
    else {
        return Reach::Point;
    };
    let unused = |size: usize, outputs: usize, axis: usize| {
        (size + 2 * window.padding[axis]).saturating_sub((outputs - 1) * window.stride[axis] + window.kernel[axis])
    };
    let unused = [unused(height, rows, 0), unused(width, columns, 1)];
    Reach::Window(Sliding { extent: window.kernel, stride: window.stride, padding: window.padding, unused })
}

fn connections(window: &Pool2dConfig, input: &Volume) -> Cost {
    let outputs = pooled(window, input).map_or(0, |volume| volume.len());
    Cost { connections: (outputs * window.kernel[0] * window.kernel[1]) as u64, ..Cost::default() }
}

impl Layer for MaxPool2d {
    fn kind(&self) -> String {
        describe("max pool", &self.0)
    }

    fn output(&self, input: &Volume) -> Shaped {
        pooled(&self.0, input)
    }

    fn cost(&self, input: &Volume) -> Cost {
        connections(&self.0, input)
    }

    fn reach(&self, input: &Volume) -> Reach {
        reach(&self.0, input)
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let window = self.0.clone();
        Ok(Box::new(Pure(Step::MaxPool(window.clone()), move |x: &_| ops::max_pool2d(x, &window))))
    }
}

impl Layer for AvgPool2d {
    fn kind(&self) -> String {
        describe("average pool", &self.window)
    }

    fn output(&self, input: &Volume) -> Shaped {
        pooled(&self.window, input)
    }

    fn cost(&self, input: &Volume) -> Cost {
        connections(&self.window, input)
    }

    fn reach(&self, input: &Volume) -> Reach {
        reach(&self.window, input)
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let Self { window, count } = self.clone();
        Ok(Box::new(Pure(Step::AvgPool(window.clone(), count), move |x: &_| ops::avg_pool2d(x, &window, count))))
    }
}

impl Layer for AdaptiveAvgPool2d {
    fn kind(&self) -> String {
        format!("adaptive average pool to {}", by(self.0))
    }

    fn output(&self, input: &Volume) -> Shaped {
        let [channels, height, width] = input.expect_maps()?;
        if self.0.contains(&0) || height == 0 || width == 0 {
            return Err(format!("{height}×{width} cannot be pooled to {}", by(self.0)));
        }
        Ok(Volume::maps([channels, self.0[0], self.0[1]]))
    }

    fn reach(&self, input: &Volume) -> Reach {
        match input.expect_maps() {
            Ok([_, height, width]) if [height, width] == self.0 => Reach::Point,
            _ => Reach::All,
        }
    }

    fn build(&self, _input: &Volume, _weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let size = self.0;
        Ok(Box::new(Pure(Step::AdaptiveAvgPool(size), move |x: &_| ops::adaptive_avg_pool2d(x, size))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alexnets_overlapping_pool() -> std::result::Result<(), String> {
        let pool = MaxPool2d(Pool2dConfig { stride: [2; 2], ..max_pool(3).0 });
        assert_eq!(pool.output(&Volume::maps([96, 55, 55]))?, Volume::maps([96, 27, 27]));
        assert_eq!(pool.kind(), "max pool 3×3, stride 2");
        Ok(())
    }

    #[test]
    fn rows_that_no_window_reaches_are_counted() {
        let Reach::Window(sliding) = max_pool(2).reach(&Volume::maps([1, 7, 6])) else { panic!("a pool slides") };
        assert_eq!(sliding.unused, [1, 0]);
    }
}
