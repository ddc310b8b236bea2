//! The header of a safetensors file: eight bytes with its length, then JSON that says where each tensor lies in the rest
//! (<https://github.com/huggingface/safetensors>). Read from the file's beginning alone; the tensors are not touched.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::{Error, Result};

/// The longest header that is read, the format's own limit.
const LONGEST: u64 = 100_000_000;

/// What a safetensors file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The texts beside the tensors.
    pub metadata: BTreeMap<String, String>,
    /// The tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// What a header says of one tensor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorInfo {
    /// Its type as the format spells it, `F32`.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its first byte and the one after its last, counted from the end of the header.
    #[serde(rename = "data_offsets")]
    pub offsets: [u64; 2],
}

/// Reads a file's header and checks it: lengths against the file's size before anything is allocated, UTF-8, one tensor a
/// name, known types, shapes that fill their bytes exactly, and tensors that cover the rest of the file without gap or overlap.
///
/// # Errors
/// When the file cannot be read, or with the first thing that is wrong and the tensor that it is wrong with.
pub fn check_header(path: &Path) -> Result<Header> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let failed = |reason| Error::Header { path: path.to_owned(), reason };
    // Asked before opening, because opening a pipe waits for its other end.
    if !fs::metadata(path).map_err(read)?.is_file() {
        return Err(failed("it is no regular file".to_owned()));
    }
    let mut file = File::open(path).map_err(read)?;
    let size = file.metadata().map_err(read)?.len();
    if size < 8 {
        return Err(failed(format!("it has {size} bytes, the length of its header alone takes 8")));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(read)?;
    if length.starts_with(b"PK\x03\x04") || length.starts_with(&[0x80, 2, 0x8a, 10]) {
        return Err(failed("it is a file of torch; make a safetensors file of it with `cirio convert`".to_owned()));
    }
    let length = u64::from_le_bytes(length);
    if length > size - 8 {
        return Err(failed(format!("its header should have {length} bytes, but only {} follow", size - 8)));
    }
    if length > LONGEST {
        return Err(failed(format!("its header has {length} bytes, the limit is {LONGEST}")));
    }
    let mut json = Vec::new();
    file.take(length).read_to_end(&mut json).map_err(read)?;
    let json = std::str::from_utf8(&json).map_err(|error| failed(format!("its header is not UTF-8 at byte {}", error.valid_up_to())))?;
    let header: Header = serde_json::from_str(json).map_err(|error| failed(format!("its header: {error}")))?;
    check_tensors(&header.tensors, size - 8 - length).map_err(failed)?;
    Ok(header)
}

/// Whether the tensors fill `size` bytes exactly, one after the other.
fn check_tensors(tensors: &BTreeMap<String, TensorInfo>, size: u64) -> Result<(), String> {
    for (name, tensor) in tensors {
        let [begin, end] = tensor.offsets;
        if begin > end || end > size {
            return Err(format!("tensor `{name}` should lie at bytes {begin} … {end} of {size}"));
        }
        let Some(bits) = bits(&tensor.dtype) else {
            return Err(format!("tensor `{name}` has the unknown type `{}`", tensor.dtype));
        };
        let needed = tensor.shape.iter().try_fold(bits, |product, &side| product.checked_mul(side));
        if needed.is_none_or(|needed| needed % 8 != 0 || needed / 8 != end - begin) {
            return Err(format!("tensor `{name}` of {} {:?} cannot lie in its {} bytes", tensor.dtype, tensor.shape, end - begin));
        }
    }
    let mut in_order: Vec<(&String, [u64; 2])> = tensors.iter().map(|(name, tensor)| (name, tensor.offsets)).collect();
    in_order.sort_by_key(|&(_, offsets)| offsets);
    let mut filled = 0;
    for (name, [begin, end]) in in_order {
        match begin {
            begin if begin < filled => return Err(format!("tensor `{name}` at bytes {begin} … {end} overlaps the one before it")),
            begin if begin > filled => return Err(format!("bytes {filled} … {begin} before tensor `{name}` belong to no tensor")),
            _ => filled = end,
        }
    }
    match filled == size {
        true => Ok(()),
        false => Err(format!("its last {} bytes belong to no tensor", size - filled)),
    }
}

/// The size of one number of a type.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
        "U16" | "I16" | "F16" | "BF16" => 16,
        "U32" | "I32" | "F32" => 32,
        "U64" | "I64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

impl<'de> Deserialize<'de> for Header {
    /// From JSON; a name that comes twice is refused, where a plain map would keep the last.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header::default();
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    let twice = match name == "__metadata__" {
                        true => {
                            header.metadata = map.next_value()?;
                            std::mem::replace(&mut has_metadata, true)
                        }
                        false => header.tensors.insert(name.clone(), map.next_value()?).is_some(),
                    };
                    if twice {
                        return Err(A::Error::custom(format_args!("`{name}` comes twice")));
                    }
                }
                Ok(header)
            }
        }
        from.deserialize_map(Names)
    }
}
