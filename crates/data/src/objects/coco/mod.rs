//! COCO's JSON: one file with the labels of all pictures (Lin et al., "Microsoft COCO: common objects in context", 2014;
//! <https://cocodataset.org/#format-data>).
//!
//! It has three lists: `images` (`id`, `file_name`, `width`, `height`), `categories` (`id`, `name`, and the names of its `keypoints`) and
//! `annotations` (`id`, `image_id`, `category_id`, `bbox`, `segmentation`, `area`, `iscrowd`, `keypoints`). A `bbox` is x, y, width and height in
//! pixels from the upper left corner of the upper left pixel. A `segmentation` is a list of polygons, each x, y, x, y, …, or a mask of runs
//! (`size` and `counts`), as numbers or as COCO's text. Other entries are passed over. Classes are in the order of the categories' ids.
//!
//! In a folder the labels are looked for as `annotations/instances_train2017.json`, `train/_annotations.coco.json`, `train.json` and the like; their
//! pictures in the first folder of `images/train2017`, `train2017`, `images/train`, `train`, `images`, `data` and the folder itself that has one of them.

mod find;
mod read;
mod results;
mod segmentation;
mod write;

pub(crate) use find::Labels;
pub(super) use find::parts;
pub use read::read;
pub use results::{read_results, write_results};
pub use write::write;

use std::fs::File;
use std::io::{BufReader, Read, Take};
use std::path::Path;

use crate::files::open_regular;
use crate::{Error, Result};

/// The largest file, in bytes: almost twenty times that of COCO's own training part. What is kept of a file takes some two times its bytes.
const MAX_BYTES: u64 = 8 << 30;

/// A file of JSON, to be read from front to back.
fn open_json(path: &Path) -> Result<BufReader<Take<File>>> {
    let (file, length) = open_regular(path)?;
    match length > MAX_BYTES {
        true => Err(Error::format(path, format!("{length} bytes"), format!("COCO's JSON of at most {MAX_BYTES} bytes"))),
        false => Ok(BufReader::new(file.take(MAX_BYTES))),
    }
}
