//! torch's files before 1.6, and since when asked for: five pickles one after the other (a magic number, the protocol, facts of
//! the system, the object, the keys of its storages), then for each key the count of its numbers and the numbers.

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

use safetensors::Dtype;

use super::pickle::{self, Value};
use super::{Contents, Ranges};

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i128 = 1001;

/// Reads the pickles, and finds where the storages lie.
pub(super) fn read(from: &mut (impl Read + Seek)) -> Result<Contents, String> {
    let mut from = BufReader::new(from);
    match pickle::read(&mut from) {
        Ok((Value::Int(MAGIC), _)) => {}
        _ => return Err("it is neither a zip archive nor begins with torch's magic number".to_owned()),
    }
    match pickle::read(&mut from)?.0 {
        Value::Int(PROTOCOL) => {}
        _ => return Err(format!("its protocol is not {PROTOCOL}")),
    }
    let (system, facts) = pickle::read(&mut from)?;
    let is_order = |(key, _): &&(Value, Value)| matches!(key, Value::Text(key) if &**key == "little_endian");
    if let Some((_, Value::Bool(false))) = facts.entries(&system).and_then(|facts| facts.iter().find(is_order)) {
        return Err("its numbers have the byte order \"big\", only \"little\" is read".to_owned());
    }
    let (root, arena) = pickle::read(&mut from)?;
    let (keys, list) = pickle::read(&mut from)?;

    let types: HashMap<&str, Option<Dtype>> = arena.storages().map(|storage| (&*storage.key, storage.dtype)).collect();
    let mut ranges = Ranges::new();
    let mut at = from.stream_position().map_err(|error| error.to_string())?;
    for key in list.items(&keys).ok_or("its keys are no list")? {
        let Value::Text(key) = key else { return Err("a key of a storage is no text".to_owned()) };
        let dtype = types.get(&**key).ok_or_else(|| format!("the storage {key:?} is not used"))?;
        let size = dtype.map_or(1, |dtype| dtype.bitsize() as u64 / 8);
        let mut count = [0; 8];
        from.seek(SeekFrom::Start(at)).and_then(|_| from.read_exact(&mut count)).map_err(|_| format!("the storage {key:?} is missing"))?;
        let begin = at.checked_add(8).ok_or("the file is endless")?;
        at = u64::from_le_bytes(count)
            .checked_mul(size)
            .and_then(|bytes| begin.checked_add(bytes))
            .ok_or_else(|| format!("the storage {key:?} has {} numbers", u64::from_le_bytes(count)))?;
        if ranges.insert(key.to_string(), begin..at).is_some() {
            return Err(format!("the storage {key:?} comes twice"));
        }
    }
    Ok(Contents { format: "torch legacy file", root, arena, ranges })
}
