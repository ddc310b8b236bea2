//! Maps of one size from regions of any size, for detectors; with torchvision's rules.

use candle_core::{DType, Device, Result, Tensor};
use cirio_kernels::{Region, RoiAlign, RoiAlignShape, RoiPool, RoiPoolShape};

use super::backend::{Backend, backend};
use super::check::{error, maps};
use super::kernels::{self, OfRegions};
use super::portable::{self, Mixing};

/// The bins of [`roi_align`] and how they are sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct RoiAlignConfig {
    /// Rows and columns of bins.
    pub output: [usize; 2],
    /// What a corner is multiplied by to lie on the maps: 1/16 where a map's pixel stands for 16×16 of the picture's.
    pub spatial_scale: f32,
    /// Points of a bin along each axis; 0 for as many as the bin has pixels, rounded up.
    pub sampling_ratio: usize,
    /// Whether a pixel's centre is at its middle, half a pixel from its edge. Otherwise it is at the corner, and a region has at least
    /// one pixel.
    pub aligned: bool,
}

/// The bins of [`roi_pool`].
#[derive(Clone, Debug, PartialEq)]
pub struct RoiPoolConfig {
    /// Rows and columns of bins.
    pub output: [usize; 2],
    /// What a corner is multiplied by to lie on the maps: 1/16 where a map's pixel stands for 16×16 of the picture's.
    pub spatial_scale: f32,
}

/// RoIAlign (He, Gkioxari, Dollár & Girshick, "Mask R-CNN", 2017, section 3), as torchvision's `roi_align`: each bin is the mean of some
/// points, each by bilinear interpolation; points further than a pixel outside of the maps count as 0. The gradient goes to the
/// maps, not to the corners.
///
/// # Shapes
/// x (N, C, H, W); boxes (R, 5): the index of the image, and x₁, y₁, x₂, y₂ in pixels of the picture; the result (R, C, rows, columns).
///
/// # Errors
/// When x is not (N, C, H, W), boxes are not (R, 5), a box is in no image or has corners that are not finite, or a size is 0.
pub fn roi_align(x: &Tensor, boxes: &Tensor, config: &RoiAlignConfig) -> Result<Tensor> {
    const NAME: &str = "roi_align";
    let [n, c, h, w] = maps(NAME, x)?;
    let &RoiAlignConfig { output, spatial_scale, sampling_ratio, aligned } = config;
    let regions = regions(NAME, n, boxes)?;
    let plan = RoiAlign::new(RoiAlignShape { c, h, w, output, sampling_ratio, spatial_scale, aligned });
    let plan = plan.map_err(|reason| error(NAME, reason))?;
    let [rows, columns] = output;
    if regions.is_empty() {
        return Tensor::zeros((0, c, rows, columns), x.dtype(), x.device());
    }
    match backend(x) {
        Backend::Kernels => {
            let shape = (regions.len(), c, rows, columns);
            kernels::unary(OfRegions(plan, regions), n, x, shape)
        }
        Backend::Portable => of_each(x, &regions, |index, region, x| {
            let weights = plan.weights(index, region).map_err(|reason| error(NAME, reason))?;
            let mixing = |weights: &[f32], side: usize, bins: usize| {
                Mixing::new(side, bins, |bin| {
                    weights[bin * side..][..side].iter().map(|&weight| f64::from(weight)).enumerate().collect::<Vec<_>>()
                })
            };
            portable::mix(x, &mixing(&weights[0], h, rows), &mixing(&weights[1], w, columns))
        }),
    }
}

/// RoIPool (Girshick, "Fast R-CNN", 2015, section 2.1), as torchvision's `roi_pool`: corners are rounded to whole pixels, each bin is its
/// largest value, and an empty one is 0. A NaN makes its bins NaN. Each bin passes all of its gradient to its first largest value
/// in reading order; the corners get none.
///
/// # Shapes
/// As for [`roi_align`].
///
/// # Errors
/// As for [`roi_align`].
pub fn roi_pool(x: &Tensor, boxes: &Tensor, config: &RoiPoolConfig) -> Result<Tensor> {
    const NAME: &str = "roi_pool";
    let [n, c, h, w] = maps(NAME, x)?;
    let &RoiPoolConfig { output, spatial_scale } = config;
    let regions = regions(NAME, n, boxes)?;
    let plan = RoiPool::new(RoiPoolShape { c, h, w, output, spatial_scale }).map_err(|reason| error(NAME, reason))?;
    let [rows, columns] = output;
    if regions.is_empty() {
        return Tensor::zeros((0, c, rows, columns), x.dtype(), x.device());
    }
    match backend(x) {
        Backend::Kernels => {
            let shape = (regions.len(), c, rows, columns);
            kernels::unary(OfRegions(plan, regions), n, x, shape)
        }
        Backend::Portable => of_each(x, &regions, |index, region, x| {
            let [of_rows, of_columns] = plan.bins(index, region).map_err(|reason| error(NAME, reason))?;
            // An empty bin looks at the first pixel and is then taken out.
            let filled = of_rows.iter().flat_map(|rows| of_columns.iter().map(|columns| u8::from(!rows.is_empty() && !columns.is_empty())));
            let filled = Tensor::from_vec(filled.collect::<Vec<_>>(), (1, 1, rows, columns), x.device())?;
            let [of_rows, of_columns] =
                [of_rows, of_columns].map(|bins| bins.into_iter().map(|bin| if bin.is_empty() { 0..1 } else { bin }).collect::<Vec<_>>());
            let largest = portable::max(&portable::max(x, 3, &of_columns)?, 2, &of_rows)?;
            filled.broadcast_as(largest.shape())?.where_cond(&largest, &largest.zeros_like()?)
        }),
    }
}

/// The results for each region, computed from its own image (1, C, H, W), one after the other.
fn of_each(x: &Tensor, regions: &[Region], result: impl Fn(usize, &Region, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
    // Regions of an image share its part, so that their gradients are added up before they go to all images.
    let images = (0..x.dim(0)?).map(|image| x.narrow(0, image, 1)).collect::<Result<Vec<_>>>()?;
    let results = regions.iter().enumerate().map(|(index, region)| result(index, region, &images[region.image]));
    Tensor::cat(&results.collect::<Result<Vec<_>>>()?, 0)
}

/// The regions that (R, 5) boxes are, in n images.
fn regions(op: &str, n: usize, boxes: &Tensor) -> Result<Vec<Region>> {
    let &[_, 5] = boxes.dims() else {
        return Err(error(op, format!("the boxes have the shape {:?}, expected (R, 5): image, x₁, y₁, x₂, y₂", boxes.shape())));
    };
    let rows = boxes.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let region = |(index, row): (usize, &Vec<f32>)| match row[..] {
        [image, x1, y1, x2, y2] if image.fract() == 0.0 && image >= 0.0 && (image as usize) < n => {
            Ok(Region { image: image as usize, corners: [x1, y1, x2, y2] })
        }
        _ => Err(error(op, format!("box {index} is in image {}, there are {n}", row[0]))),
    };
    rows.iter().enumerate().map(region).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: RoiPoolConfig = RoiPoolConfig { output: [2, 2], spatial_scale: 0.5 };

    fn message(x: &[usize], boxes: Tensor) -> Result<String> {
        let x = Tensor::ones(x, DType::F32, &Device::Cpu)?;
        Ok(roi_pool(&x, &boxes, &CONFIG).unwrap_err().to_string())
    }

    #[test]
    fn errors_say_what_was_given_and_expected() -> Result<()> {
        let of = |image: f32, corner: f32| Tensor::new(&[[image, corner, 0.0, 4.0, 4.0]], &Device::Cpu);
        let size = [2, 3, 4, 4];
        let boxes = Tensor::ones((3, 4), DType::F32, &Device::Cpu)?;
        assert_eq!(message(&size, boxes)?, "roi_pool: the boxes have the shape [3, 4], expected (R, 5): image, x₁, y₁, x₂, y₂");
        assert_eq!(message(&size, of(2.0, 0.0)?)?, "roi_pool: box 0 is in image 2, there are 2");
        assert_eq!(message(&size, of(0.5, 0.0)?)?, "roi_pool: box 0 is in image 0.5, there are 2");
        assert_eq!(message(&size, of(-1.0, 0.0)?)?, "roi_pool: box 0 is in image -1, there are 2");
        assert_eq!(message(&size, of(f32::NAN, 0.0)?)?, "roi_pool: box 0 is in image NaN, there are 2");
        assert_eq!(message(&size, of(1.0, f32::NAN)?)?, "roi_pool: region 0 has corners that are not finite on the maps");
        assert_eq!(message(&[2, 3, 0, 4], of(1.0, 0.0)?)?, "roi_pool: the maps' height is 0, it must be at least 1");
        Ok(())
    }

    #[test]
    fn no_boxes_give_no_maps() -> Result<()> {
        let (x, boxes) = (Tensor::ones((2, 3, 4, 4), DType::F32, &Device::Cpu)?, Tensor::zeros((0, 5), DType::F32, &Device::Cpu)?);
        assert_eq!(roi_pool(&x, &boxes, &CONFIG)?.dims(), [0, 3, 2, 2]);
        let config = RoiAlignConfig { output: [7, 5], spatial_scale: 1.0, sampling_ratio: 2, aligned: true };
        assert_eq!(roi_align(&x, &boxes, &config)?.dims(), [0, 3, 7, 5]);
        Ok(())
    }
}
