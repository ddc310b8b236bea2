//! Tensors as views of storages.

use std::ops::Range;
use std::rc::Rc;

use safetensors::Dtype;

use super::known::{Known, whole};
use super::pickle::{Arena, Value};

/// The most dimensions of a tensor, torch's own limit.
const MOST_DIMENSIONS: usize = 64;

/// Numbers that tensors are views of.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    /// Its name in the file.
    pub key: Rc<str>,
    /// The type of its numbers; none where it is counted in bytes.
    pub dtype: Option<Dtype>,
    /// Where it begins in the storage of that name.
    pub offset: u64,
    /// How many numbers it has.
    pub count: u64,
}

/// A tensor as the pickle describes it; nothing is checked yet.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub storage: Storage,
    pub dtype: Dtype,
    /// Its first number's place in the storage.
    pub offset: u64,
    pub shape: Vec<usize>,
    /// Numbers from one index to the next, for each dimension.
    pub strides: Vec<u64>,
}

impl View {
    /// From the arguments of `_rebuild_tensor_v2`: storage, offset, sizes, strides, …; of `_rebuild_tensor_v3`: the type as
    /// the seventh.
    pub fn from_arguments(arena: &Arena, arguments: &[Value], typed: bool) -> Result<Self, String> {
        let [storage, Value::Int(offset), sizes, strides, rest @ ..] = arguments else {
            return Err("a tensor is made of unknown arguments".to_owned());
        };
        let storage = arena.storage(storage).ok_or("a tensor is no view of a storage")?.clone();
        let dtype = match (typed, rest, storage.dtype) {
            (true, [_, _, Value::Known(Known::Type(dtype)), ..], _) => *dtype,
            (true, ..) => return Err("a tensor has an unknown type".to_owned()),
            (false, _, dtype) => dtype.unwrap_or(Dtype::U8),
        };
        let (shape, strides) = (numbers(arena, sizes)?, numbers(arena, strides)?);
        if shape.len() != strides.len() {
            return Err(format!("a tensor has {} sizes and {} strides", shape.len(), strides.len()));
        }
        let shape = shape.into_iter().map(|side| usize::try_from(side).map_err(|_| format!("a tensor has a side of {side}")));
        Ok(Self { storage, dtype, offset: whole(*offset)?, shape: shape.collect::<Result<_, _>>()?, strides })
    }

    /// Its place in a file where its storage lies at `bytes`.
    ///
    /// # Errors
    /// When it reaches beyond the storage, or has more numbers than the part that it covers: an expanded view.
    pub fn place(&self, bytes: &Range<u64>) -> Result<Placed, String> {
        let size = self.dtype.bitsize() as u64 / 8;
        let counted = self.storage.dtype.map_or(1, |dtype| dtype.bitsize() as u64 / 8);
        let beyond = || {
            let Self { shape, strides, offset, .. } = self;
            format!("sizes {shape:?} with strides {strides:?} from {offset} reach beyond its storage of {} bytes", bytes.end - bytes.start)
        };
        let count = self.shape.iter().try_fold(1u64, |count, &side| count.checked_mul(side as u64)).ok_or_else(beyond)?;
        if count == 0 {
            return Ok(Placed {
                dtype: self.dtype,
                shape: self.shape.clone(),
                strides: self.strides.clone(),
                bytes: bytes.start..bytes.start,
            });
        }
        let reach = self.shape.iter().zip(&self.strides).try_fold(1u64, |reach, (&side, stride)| {
            let side = side as u64 - 1;
            reach.checked_add(side.checked_mul(*stride)?)
        });
        let place = || {
            let begin = self.storage.offset.checked_mul(counted)?.checked_add(self.offset.checked_mul(size)?)?;
            let end = begin.checked_add(reach?.checked_mul(size)?)?;
            let limit = self.storage.offset.checked_add(self.storage.count)?.checked_mul(counted)?.min(bytes.end - bytes.start);
            (end <= limit).then_some(bytes.start + begin..bytes.start + end)
        };
        let place = place().ok_or_else(beyond)?;
        if count > (place.end - place.start) / size {
            return Err(format!("sizes {:?} with strides {:?} are a view that shows numbers more than once", self.shape, self.strides));
        }
        Ok(Placed { dtype: self.dtype, shape: self.shape.clone(), strides: self.strides.clone(), bytes: place })
    }
}

fn numbers(arena: &Arena, value: &Value) -> Result<Vec<u64>, String> {
    let items = arena.items(value).filter(|items| items.len() <= MOST_DIMENSIONS);
    let items = items.ok_or_else(|| format!("a tensor's sizes are no list of at most {MOST_DIMENSIONS} numbers"))?;
    let number = |item: &Value| match item {
        Value::Int(number) => whole(*number),
        _ => Err("a tensor's size is no number".to_owned()),
    };
    items.iter().map(number).collect()
}

/// A tensor whose bytes are known to lie in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    strides: Vec<u64>,
    /// From its first number to its last, in the file.
    pub bytes: Range<u64>,
}

impl Placed {
    /// How many numbers it has. The product cannot overflow: it was compared with the file's length.
    pub fn count(&self) -> u64 {
        if self.bytes.is_empty() { 0 } else { self.shape.iter().map(|&side| side as u64).product() }
    }

    /// How many of the last dimensions lie in one piece, and the numbers of such a piece.
    fn piece(&self) -> (usize, u64) {
        let mut length = 1;
        let mut dimensions = 0;
        for (&side, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if stride != length && side != 1 {
                break;
            }
            length *= side as u64;
            dimensions += 1;
        }
        (dimensions, length)
    }

    /// True when its numbers lie one after the other.
    pub fn is_contiguous(&self) -> bool {
        self.piece().0 == self.shape.len() || self.bytes.is_empty()
    }

    /// The bytes of its pieces, in order, counted from its first byte.
    pub fn pieces(&self) -> impl Iterator<Item = Range<usize>> {
        let size = self.dtype.bitsize() / 8;
        let (last, length) = self.piece();
        let outer = self.shape.len() - last;
        let (shape, strides) = (&self.shape[..outer], &self.strides[..outer]);
        let mut index = vec![0; outer];
        let mut next = Some(0).filter(|_| !self.bytes.is_empty());
        std::iter::from_fn(move || {
            let at = next?;
            next = advance(&mut index, shape, strides, at);
            let begin = at as usize * size;
            Some(begin..begin + length as usize * size)
        })
    }
}

/// The place of the next index, the last dimension first.
fn advance(index: &mut [usize], shape: &[usize], strides: &[u64], mut at: u64) -> Option<u64> {
    for ((index, &side), &stride) in index.iter_mut().zip(shape).zip(strides).rev() {
        *index += 1;
        if *index < side {
            return Some(at + stride);
        }
        at -= (side as u64 - 1) * stride;
        *index = 0;
    }
    None
}
