//! A data set that lies whole in memory: what IDX and CIFAR files become.

use cirio_vision::Image;

use crate::dataset::{Dataset, Sample};
use crate::{Error, Result};

/// Pictures of one size, held as one block of bytes.
pub struct InMemory {
    name: String,
    classes: Vec<String>,
    labels: Vec<u32>,
    /// Shape (N, H, W, C).
    pixels: Vec<u8>,
    size: PictureSize,
}

/// The size of every picture of an [`InMemory`] set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
}

impl PictureSize {
    /// Bytes of one picture.
    fn bytes(self) -> usize {
        self.height * self.width * self.channels
    }
}

impl InMemory {
    /// Takes `pixels` of shape (N, H, W, C) and one label a picture.
    ///
    /// # Errors
    /// If the number of bytes is not N·H·W·C, or a label has no class.
    pub fn new(name: impl Into<String>, classes: Vec<String>, labels: Vec<u32>, pixels: Vec<u8>, size: PictureSize) -> Result<Self> {
        let expected =
            size.height.checked_mul(size.width).and_then(|n| n.checked_mul(size.channels)).and_then(|n| n.checked_mul(labels.len()));
        if expected != Some(pixels.len()) {
            let shape = format!("{} × {} × {} × {}", labels.len(), size.height, size.width, size.channels);
            return Err(Error::option("pixels", format!("{} bytes", pixels.len()), shape));
        }
        if let Some((index, label)) = out_of_range(&labels, classes.len()) {
            return Err(Error::option(
                "labels",
                format!("{label} for picture {index}"),
                format!("less than {}, the number of classes", classes.len()),
            ));
        }
        Ok(Self { name: name.into(), classes, labels, pixels, size })
    }

    /// The size of every picture.
    pub fn picture_size(&self) -> PictureSize {
        self.size
    }
}

/// The first label that has no class, with its place.
pub(crate) fn out_of_range(labels: &[u32], classes: usize) -> Option<(usize, u32)> {
    labels.iter().copied().enumerate().find(|&(_, label)| label as usize >= classes)
}

impl Dataset for InMemory {
    fn name(&self) -> &str {
        &self.name
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let label = self.label(index)?;
        let bytes = self.size.bytes();
        let data = self.pixels[index * bytes..][..bytes].to_vec();
        let PictureSize { height, width, channels } = self.size;
        let image = Image::new(width, height, channels, data).map_err(|e| Error::picture(self.picture_name(index), e))?;
        Ok(Sample { image, label })
    }

    fn picture_name(&self, index: usize) -> String {
        format!("{}, picture {index}", self.name)
    }
}
