//! What stands in `segmentation`: polygons or runs. It is told by its first character, so that nothing is read twice.

use std::fmt;

use cirio_coco::Rle;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// The pixels of an object, not yet believed.
#[derive(Debug)]
pub(super) enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs(Runs),
}

/// A mask of runs, not yet believed.
#[derive(Debug, Deserialize)]
pub(super) struct Runs {
    size: [usize; 2],
    counts: Counts,
}

/// The lengths of runs.
#[derive(Debug)]
enum Counts {
    Numbers(Vec<u32>),
    Text(String),
}

impl Runs {
    /// The mask.
    pub(super) fn believed(self) -> cirio_coco::Result<Rle> {
        match self.counts {
            Counts::Numbers(counts) => Rle::new(self.size, counts),
            Counts::Text(text) => Rle::from_text(self.size, &text),
        }
    }
}

impl<'de> Deserialize<'de> for Segmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Segmentation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of polygons, or a mask with size and counts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, polygons: A) -> Result<Segmentation, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(polygons)).map(Segmentation::Polygons)
            }

            fn visit_map<A: MapAccess<'de>>(self, runs: A) -> Result<Segmentation, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(runs)).map(Segmentation::Runs)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Counts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("lengths of runs, as numbers or as COCO's text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Counts, E> {
                Ok(Counts::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, counts: A) -> Result<Counts, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(counts)).map(Counts::Numbers)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
