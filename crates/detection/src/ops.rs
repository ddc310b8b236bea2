//! Boxes in tensors: what a detector of another crate needs, with the names that torchvision has. Choosing goes on on the host; indices come
//! back on the tensors' device. Pooling of regions is `cirio_nn`'s.

use candle_core::{DType, Result, Tensor, bail};

use crate::boxes::{self, Xyxy};

pub use cirio_nn::ops::{RoiAlignConfig, RoiPoolConfig, roi_align, roi_pool};

/// The boxes of a tensor (R, 4), as they are on the host.
///
/// # Errors
/// When it has another shape or no floating-point values.
pub fn to_boxes(boxes: &Tensor) -> Result<Vec<Xyxy>> {
    match boxes.dims() {
        [_, 4] if boxes.dtype().is_float() => {}
        given => bail!("boxes of shape {given:?} and type {:?}, expected (R, 4) of floating-point numbers", boxes.dtype()),
    }
    let values: Vec<f32> = boxes.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Ok(values.as_chunks().0.to_vec())
}

/// A tensor (R, 4) of boxes, in f32.
pub fn from_boxes(boxes: &[Xyxy], device: &candle_core::Device) -> Result<Tensor> {
    Tensor::from_slice(boxes.as_flattened(), (boxes.len(), 4), device)
}

/// The indices of the boxes that stay, from the highest score to the lowest, u32; see [`nms`](crate::nms()).
///
/// # Shapes
/// boxes (R, 4), scores (R); the result (K), K ≤ R.
///
/// # Errors
/// When shapes or types are others.
pub fn nms(boxes: &Tensor, scores: &Tensor, threshold: f64) -> Result<Tensor> {
    let (found, scores) = (to_boxes(boxes)?, to_scores(scores, boxes)?);
    indices(&crate::nms(&found, &scores, threshold), boxes)
}

/// [`nms`] among the boxes of each class alone; see [`batched_nms`](crate::batched_nms()).
///
/// # Shapes
/// boxes (R, 4), scores (R), classes (R) of whole numbers; the result (K), K ≤ R.
///
/// # Errors
/// When shapes or types are others.
pub fn batched_nms(boxes: &Tensor, scores: &Tensor, classes: &Tensor, threshold: f64) -> Result<Tensor> {
    let (found, scores) = (to_boxes(boxes)?, to_scores(scores, boxes)?);
    if classes.dims() != [found.len()] || classes.dtype().is_float() {
        bail!("classes of shape {:?} and type {:?}, expected ({}) of whole numbers", classes.dims(), classes.dtype(), found.len());
    }
    let classes: Vec<usize> = classes.to_dtype(DType::U32)?.to_vec1::<u32>()?.into_iter().map(|class| class as usize).collect();
    indices(&crate::batched_nms(&found, &scores, &classes, threshold), boxes)
}

/// The IoU of each box of the one with each of the other, f32.
///
/// # Shapes
/// a (R, 4), b (S, 4); the result (R, S).
///
/// # Errors
/// When shapes or types are others.
pub fn box_iou(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (ours, theirs) = (to_boxes(a)?, to_boxes(b)?);
    let overlaps: Vec<f32> = ours.iter().flat_map(|ours| theirs.iter().map(|theirs| boxes::iou(ours, theirs))).collect();
    Tensor::from_vec(overlaps, (ours.len(), theirs.len()), a.device())
}

fn to_scores(scores: &Tensor, boxes: &Tensor) -> Result<Vec<f32>> {
    match scores.dims() {
        [count] if *count == boxes.dim(0)? => scores.to_dtype(DType::F32)?.to_vec1(),
        given => bail!("scores of shape {given:?} for boxes of shape {:?}, expected one for each", boxes.dims()),
    }
}

fn indices(chosen: &[usize], like: &Tensor) -> Result<Tensor> {
    let chosen: Vec<u32> = chosen.iter().map(|&index| index as u32).collect();
    let count = chosen.len();
    Tensor::from_vec(chosen, count, like.device())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn tensors_in_and_out() -> Result<()> {
        let boxes = from_boxes(&[[0.0, 0.0, 4.0, 1.0], [0.0, 0.0, 3.0, 1.0], [8.0, 0.0, 9.0, 1.0]], &Device::Cpu)?;
        let scores = Tensor::new(&[0.5f32, 0.6, 0.7], &Device::Cpu)?;
        assert_eq!(nms(&boxes, &scores, 0.5)?.to_vec1::<u32>()?, [2, 1]);
        let classes = Tensor::new(&[1i64, 2, 1], &Device::Cpu)?;
        assert_eq!(batched_nms(&boxes, &scores, &classes, 0.5)?.to_vec1::<u32>()?, [2, 1, 0]);
        assert_eq!(box_iou(&boxes, &boxes.narrow(0, 0, 1)?)?.to_vec2::<f32>()?, [[1.0], [0.75], [0.0]]);
        let (maps, regions) =
            (Tensor::ones((1, 2, 4, 4), DType::F32, &Device::Cpu)?, Tensor::new(&[[0f32, 0.0, 0.0, 4.0, 4.0]], &Device::Cpu)?);
        assert_eq!(roi_pool(&maps, &regions, &RoiPoolConfig { output: [2; 2], spatial_scale: 1.0 })?.dims(), [1, 2, 2, 2]);
        let none = from_boxes(&[], &Device::Cpu)?;
        assert_eq!(nms(&none, &Tensor::zeros(0, DType::F32, &Device::Cpu)?, 0.5)?.dims(), [0]);
        Ok(())
    }

    #[test]
    fn errors_say_what_was_given_and_expected() -> Result<()> {
        let boxes = Tensor::zeros((2, 4), DType::F32, &Device::Cpu)?;
        let error = nms(&boxes, &boxes, 0.5).unwrap_err().to_string();
        assert!(error.contains("scores of shape [2, 4] for boxes of shape [2, 4], expected one for each"), "{error}");
        let error = box_iou(&boxes, &boxes.flatten_all()?).unwrap_err().to_string();
        assert!(error.contains("boxes of shape [8] and type F32, expected (R, 4)"), "{error}");
        Ok(())
    }
}
