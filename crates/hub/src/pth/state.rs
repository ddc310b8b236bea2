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
    let entries = contents.arena.entries(&contents.root).ok_or_else(|| match contents.root {
        Value::Tensor(_) => "it holds a single tensor without a name, not a dictionary of them".to_owned(),
        _ => "it holds no dictionary".to_owned(),
    })?;
    let named: Vec<(&str, &Value)> = entries
        .iter()
        .filter_map(|(key, value)| match key {
            Value::Text(key) => Some((&**key, value)),
            _ => None,
        })
        .collect();
    let mut found = Found::default();
    let root = match choose(contents, &named, key)? {
        Some((chosen, value)) => {
            let beside = named.iter().filter(|(name, _)| *name != chosen);
            found.dropped.extend(beside.map(|(name, _)| format!("{} (beside the weights)", shown(name))));
            found.key = Some(chosen.to_owned());
            value
        }
        None => &contents.root,
    };
    found.take(contents, root, "", DEEPEST)?;
    match found.tensors.is_empty() {
        true => Err(format!("{} holds no tensors", key.map_or("it".to_owned(), |key| format!("its entry {key:?}")))),
        false => Ok(found),
    }
}

/// Which of a file's entries is the state dict; none where the file is one.
fn choose<'a>(contents: &Contents, named: &[(&'a str, &'a Value)], key: Option<&str>) -> Result<Option<(&'a str, &'a Value)>, String> {
    let names = |of: &[(&str, &Value)]| of.iter().take(20).map(|(name, _)| shown(name)).collect::<Vec<_>>().join(", ");
    if let Some(key) = key {
        // Of two entries of the same name, Python keeps the last.
        let found = named.iter().rfind(|(name, _)| *name == key);
        return found.map(|found| Some(*found)).ok_or_else(|| format!("it has no entry {key:?}; its entries are {}", names(named)));
    }
    let has_tensors = |value: &Value| {
        let entries = contents.arena.entries(value);
        entries.is_some_and(|entries| entries.iter().any(|(_, value)| matches!(value, Value::Tensor(_))))
    };
    let candidates: Vec<(&str, &Value)> = named.iter().copied().filter(|(_, value)| has_tensors(value)).collect();
    // Before all else: a checkpoint may have a tensor, such as the best score, beside its weights.
    if let Some(usual) = USUAL.iter().find_map(|usual| candidates.iter().find(|(name, _)| name == usual)) {
        return Ok(Some(*usual));
    }
    match candidates.as_slice() {
        _ if has_tensors(&contents.root) => Ok(None),
        [only] => Ok(Some(*only)),
        [] => Err("there is no dictionary of tensors in it".to_owned()),
        several => Err(format!("several of its entries hold tensors: choose {}", names(several))),
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
