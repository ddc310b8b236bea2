//! Between pictures and tensors.

use candle_core::{DType, Device, Tensor};

use crate::{Error, Image, Result};

/// (value/255 - mean) / std of each channel, channel by channel, row by row (CHW), into `output`.
///
/// # Errors
/// When there is not one mean and one deviation a channel, or `output` has another length than the picture.
pub fn to_chw(image: &Image, mean: &[f32], std: &[f32], output: &mut [f32]) -> Result<()> {
    let channels = image.channels();
    if mean.len() != channels || std.len() != channels || output.len() != image.data().len() {
        return Err(Error::Shape(format!(
            "a picture of {channels} channels and {} values: {} means, {} deviations, room for {} values",
            image.data().len(),
            mean.len(),
            std.len(),
            output.len()
        )));
    }
    let pixels = image.width() * image.height();
    for (channel, plane) in output.chunks_exact_mut(pixels).enumerate() {
        // One table a channel: the division is done 256 times, not once a pixel.
        let table: [f32; 256] = std::array::from_fn(|value| (value as f32 / 255.0 - mean[channel]) / std[channel]);
        let values = image.data()[channel..].iter().step_by(channels);
        plane.iter_mut().zip(values).for_each(|(out, &value)| *out = table[value as usize]);
    }
    Ok(())
}

/// The picture as (C, H, W) in f32: (value/255 - mean) / std of each channel.
pub fn to_tensor(image: &Image, mean: &[f32], std: &[f32], device: &Device) -> Result<Tensor> {
    let mut values = vec![0.0; image.data().len()];
    to_chw(image, mean, std, &mut values)?;
    Ok(Tensor::from_vec(values, (image.channels(), image.height(), image.width()), device)?)
}

/// The way back: (C, H, W) with 1 or 3 channels to a picture; values are rounded, and cut to 0 … 255.
pub fn from_tensor(tensor: &Tensor, mean: &[f32], std: &[f32]) -> Result<Image> {
    let (channels, height, width) = tensor.dims3()?;
    if mean.len() != channels || std.len() != channels {
        return Err(Error::Shape(format!("a tensor of {channels} channels: {} means, {} deviations", mean.len(), std.len())));
    }
    let planes = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let pixels = height * width;
    let value = |at: usize| {
        let (pixel, channel) = (at / channels, at % channels);
        ((planes[channel * pixels + pixel] * std[channel] + mean[channel]) * 255.0).round().clamp(0.0, 255.0) as u8
    };
    Image::new(width, height, channels, (0..planes.len()).map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() -> Result<()> {
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let image = Image::new(5, 3, 3, (0..45).map(|i| (i * 17 % 256) as u8).collect())?;
        let tensor = to_tensor(&image, &mean, &std, &Device::Cpu)?;
        assert_eq!(tensor.dims(), [3, 3, 5]);
        let green = tensor.to_vec3::<f32>()?[1][2][4];
        let expected = (f32::from(image.pixel(2, 4).expect("a pixel")[1]) / 255.0 - 0.456) / 0.224;
        assert_eq!(green, expected);
        assert_eq!(from_tensor(&tensor, &mean, &std)?, image);
        Ok(())
    }

    #[test]
    fn values_outside_are_cut_and_shapes_checked() -> Result<()> {
        let tensor = Tensor::new(&[[[-3f32, 0.5, 9.0]]], &Device::Cpu)?;
        assert_eq!(from_tensor(&tensor, &[0.0], &[1.0])?.data(), [0, 128, 255]);
        assert!(from_tensor(&tensor, &[0.0; 3], &[1.0; 3]).is_err());
        assert!(to_tensor(&Image::filled(2, 2, 3, 0)?, &[0.0], &[1.0], &Device::Cpu).is_err());
        Ok(())
    }
}
