//! torch's files since 1.6: a zip archive with `NAME/data.pkl`, the pickle, and `NAME/data/KEY`, the numbers of each storage,
//! stored as they are.

use std::io::{Read, Seek};
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::pickle;
use super::{Contents, Ranges};

/// Reads the pickle, and finds where the storages lie.
pub(super) fn read(from: &mut (impl Read + Seek)) -> Result<Contents, String> {
    let mut archive = ZipArchive::new(from).map_err(|error| format!("its zip archive: {error}"))?;
    let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let folders: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix("/data.pkl")).collect();
    let folder = match folders.as_slice() {
        [folder] => *folder,
        [] => return Err("it is a zip archive without a data.pkl, so torch did not write it".to_owned()),
        _ => return Err(format!("it is a zip archive with {} data.pkl", folders.len())),
    };
    if let Some(name) = names.iter().find(|name| name.strip_prefix(folder) == Some("/byteorder")) {
        let mut order = String::new();
        let entry = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
        entry.take(16).read_to_string(&mut order).map_err(|error| format!("{name}: {error}"))?;
        if order != "little" {
            return Err(format!("its numbers have the byte order {order:?}, only \"little\" is read"));
        }
    }
    let pickle = format!("{folder}/data.pkl");
    let entry = archive.by_name(&pickle).map_err(|error| format!("{pickle}: {error}"))?;
    let (root, arena) = pickle::read(&mut std::io::BufReader::new(entry))?;

    let mut ranges = Ranges::new();
    for storage in arena.storages() {
        if !ranges.contains_key(&*storage.key) {
            let name = format!("{folder}/data/{}", storage.key);
            ranges.insert(storage.key.to_string(), stored(&mut archive, &name)?);
        }
    }
    Ok(Contents { format: "torch zip archive", root, arena, ranges })
}

/// Where the bytes of an entry lie in the file.
fn stored(archive: &mut ZipArchive<impl Read + Seek>, name: &str) -> Result<Range<u64>, String> {
    let entry = archive.by_name(name).map_err(|error| format!("the storage {name:?}: {error}"))?;
    if entry.compression() != CompressionMethod::Stored || entry.encrypted() || entry.size() != entry.compressed_size() {
        return Err(format!("the storage {name:?} is compressed or encrypted, which torch does not do"));
    }
    let begin = entry.data_start().ok_or_else(|| format!("the storage {name:?} is nowhere"))?;
    let end = begin.checked_add(entry.size()).ok_or_else(|| format!("the storage {name:?} is endless"))?;
    Ok(begin..end)
}
