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
