//! Which part of a checkpoint is the weights.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Contents;
use super::pickle::Value;
use super::view::Placed;

/// What training scripts call the weights in a checkpoint, the first first.
const USUAL: [&str; 8] = ["state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "ema"];
/// The most tensors of a state dict.
const MOST_TENSORS: usize = 1 << 17;
/// The longest name of a tensor, in bytes.
const LONGEST_NAME: usize = 1 << 10;
/// How deep dictionaries may lie in each other.
const DEEPEST: usize = 16;
/// How many times its file's size a state dict may have: tensors may share their numbers, and each is written whole.
const MOST_GROWTH: u64 = 8;

/// A state dict.
#[derive(Default)]
pub(super) struct Found {
    pub key: Option<String>,
    pub tensors: BTreeMap<String, Placed>,
    pub dropped: Vec<String>,
}

/// The state dict of a file; with `key`, the one in the entry of that name.
pub(super) fn find(contents: &Contents, key: Option<&str>) -> Result<Found, String> {
    let root = contents.arena.entries(&contents.root);
    let entries = root.ok_or_else(|| match contents.arena.tensor(&contents.root) {
        Some(_) => "it holds a single tensor without a name, not a dictionary of them".to_owned(),
        None => "it holds no dictionary".to_owned(),
    })?;
    let has_tensors = |value: &Value| {
        let entries = contents.arena.entries(value);
        entries.is_some_and(|entries| entries.iter().any(|(_, value)| matches!(value, Value::Tensor(_))))
    };
    let named: Vec<(&str, &Value)> = entries
        .iter()
        .filter_map(|(key, value)| match key {
            Value::Text(key) => Some((&**key, value)),
            _ => None,
        })
        .collect();
    let candidates: Vec<&(&str, &Value)> = named.iter().filter(|(_, value)| has_tensors(value)).collect();
    let names = |of: &mut dyn Iterator<Item = &str>| of.take(20).map(shown).collect::<Vec<_>>().join(", ");
    let chosen = match key {
        Some(key) => {
            let found = named.iter().rev().find(|(name, _)| *name == key);
            let known = || names(&mut named.iter().map(|(name, _)| *name));
            Some(found.ok_or_else(|| format!("it has no entry {key:?}; its entries are {}", known()))?)
        }
        None if has_tensors(&contents.root) => None,
        None => {
            let usual = USUAL.iter().find_map(|usual| candidates.iter().find(|(name, _)| name == usual));
            match (usual, candidates.as_slice()) {
                (Some(usual), _) => Some(*usual),
                (None, [only]) => Some(*only),
                (None, []) => return Err("there is no dictionary of tensors in it".to_owned()),
                (None, several) => {
                    return Err(format!(
                        "several of its entries hold tensors: choose {}",
                        names(&mut several.iter().map(|(name, _)| *name))
                    ));
                }
            }
        }
    };
    let mut found = Found { key: chosen.map(|(key, _)| (*key).to_owned()), ..Found::default() };
    if let Some((chosen, _)) = chosen {
        let beside = named.iter().map(|(name, _)| *name).filter(|name| name != chosen);
        found.dropped.extend(beside.map(|name| format!("{} (beside the weights)", shown(name))));
    }
    found.take(contents, chosen.map_or(&contents.root, |(_, value)| value), "", DEEPEST)?;
    match found.tensors.is_empty() {
        true => Err(format!("{} holds no tensors", key.map_or("it".to_owned(), |key| format!("its entry {key:?}")))),
        false => Ok(found),
    }
}

impl Found {
    /// Takes the tensors of a dictionary and of those in it, whose names are joined by dots.
    fn take(&mut self, contents: &Contents, value: &Value, prefix: &str, depth: usize) -> Result<(), String> {
        for (key, value) in contents.arena.entries(value).unwrap_or(&[]) {
            let key: Cow<str> = match key {
                Value::Text(key) => Cow::Borrowed(key),
                Value::Int(key) => Cow::Owned(key.to_string()),
                _ => return Err(format!("a key in {prefix:?} is neither text nor number")),
            };
            if prefix.len() + key.len() > LONGEST_NAME {
                return Err(format!("the name {prefix}{}… has more than {LONGEST_NAME} bytes", shown(&key)));
            }
            let name = format!("{prefix}{key}");
            if self.tensors.len() + self.dropped.len() >= MOST_TENSORS {
                return Err(format!("it has more than {MOST_TENSORS} tensors"));
            }
            if let Some(view) = contents.arena.tensor(value) {
                let bytes = contents.ranges.get(&*view.storage.key);
                let bytes = bytes.ok_or_else(|| format!("tensor `{name}`: its storage {:?} is not in the file", view.storage.key))?;
                let tensor = view.place(bytes).map_err(|reason| format!("tensor `{name}`: {reason}"))?;
                if self.tensors.insert(name.clone(), tensor).is_some() {
                    return Err(format!("the name `{name}` comes twice"));
                }
            } else if contents.arena.entries(value).is_some() {
                let deeper = depth.checked_sub(1).ok_or_else(|| format!("dictionaries lie in each other more than {DEEPEST} deep"))?;
                self.dropped.extend(contents.arena.entries(value).is_some_and(<[_]>::is_empty).then(|| format!("{name} (empty)")));
                self.take(contents, value, &format!("{name}."), deeper)?;
            } else {
                self.dropped.push(format!("{name} (no tensor)"));
            }
        }
        Ok(())
    }

    /// Refuses a small file that would become a huge one.
    pub fn check_size(&self, length: u64) -> Result<(), String> {
        let bytes = self.tensors.values().map(|tensor| u128::from(tensor.count()) * (tensor.dtype.bitsize() as u128 / 8));
        let bytes: u128 = bytes.sum();
        match bytes > u128::from(length) * u128::from(MOST_GROWTH) {
            true => Err(format!("its tensors have {bytes} bytes, more than {MOST_GROWTH} times the file's {length}")),
            false => Ok(()),
        }
    }
}

/// A name as it may be shown: escaped and cut.
fn shown(name: &str) -> String {
    name.chars().take(60).flat_map(char::escape_debug).collect()
}
