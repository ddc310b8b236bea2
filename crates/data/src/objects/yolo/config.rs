//! As much of YAML as `data.yaml` needs: keys at the beginning of lines, and a text, a list or a table behind each.

use super::MAX_CLASSES;

/// What is used of a `data.yaml`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Config {
    pub path: Option<String>,
    pub train: Vec<String>,
    pub val: Vec<String>,
    pub test: Vec<String>,
    pub names: Option<Vec<String>>,
    /// Whether there are points behind the boxes.
    pub poses: bool,
}

/// An item of a list, or of a table with its key.
type Item = (Option<String>, String);

impl Config {
    /// Reads it, or says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        for (key, items) in keys(text)? {
            let values = || items.iter().map(|item| item.1.clone()).filter(|value| !matches!(value.as_str(), "" | "null" | "~")).collect();
            match key.as_str() {
                "path" => config.path = items.first().map(|item| item.1.clone()),
                "train" => config.train = values(),
                "val" => config.val = values(),
                "test" => config.test = values(),
                "names" => config.names = Some(names(items)?),
                "kpt_shape" => config.poses = true,
                _ => {}
            }
        }
        Ok(config)
    }
}

/// The names in the order of their numbers; one that is left out is its number.
fn names(items: Vec<Item>) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for (key, name) in items {
        let class = key.map_or(Ok(names.len()), |key| key.parse().map_err(|_| format!("the class {key:?}, which is no number")))?;
        if class >= MAX_CLASSES {
            return Err(format!("the class {class}, more than {MAX_CLASSES}"));
        }
        names.extend((names.len()..=class).map(|class| class.to_string()));
        names[class] = name;
    }
    match names.is_empty() {
        true => Err("no names".to_owned()),
        false => Ok(names),
    }
}

/// The keys at the beginning of lines, and what is behind each.
fn keys(text: &str) -> Result<Vec<(String, Vec<Item>)>, String> {
    let mut keys: Vec<(String, Vec<Item>)> = Vec::new();
    let mut lines = text.lines().enumerate().map(|(number, line)| (number + 1, without_comment(line).trim_end()));
    while let Some((number, line)) = lines.next() {
        let unsound = || format!("line {number}: {line:?}");
        match (line.chars().next(), keys.last_mut()) {
            (None, _) => {}
            _ if line == "---" || line == "..." => {}
            // An item of the key before.
            (Some(' ' | '\t' | '-'), Some((_, items))) => items.push(item(line.trim_start())),
            (Some(' ' | '\t' | '-'), None) => return Err(unsound()),
            _ => {
                let (key, value) = line.split_once(':').ok_or_else(unsound)?;
                let mut value = value.trim().to_owned();
                // A list or a table in brackets may go over lines.
                while value.starts_with(['[', '{']) && !value.ends_with([']', '}']) {
                    value.push_str(lines.next().ok_or_else(unsound)?.1.trim());
                }
                let items = match value.strip_prefix(['[', '{']) {
                    Some(inside) => split(inside.trim_end_matches([']', '}'])).into_iter().map(item).collect(),
                    None if value.is_empty() => Vec::new(),
                    None => vec![(None, unquoted(&value))],
                };
                keys.push((unquoted(key), items));
            }
        }
    }
    Ok(keys)
}

/// `- text`, `key: text` or `text`.
fn item(text: &str) -> Item {
    let text = text.strip_prefix('-').unwrap_or(text).trim();
    match text.split_once(':') {
        Some((key, value)) if !key.starts_with(['"', '\'']) || key.ends_with(['"', '\'']) => (Some(unquoted(key)), unquoted(value)),
        _ => (None, unquoted(text)),
    }
}

/// Without white space and quotation marks around it.
fn unquoted(text: &str) -> String {
    let text = text.trim();
    // In double marks YAML escapes as JSON does; in single ones a mark is doubled.
    let single = || Some(text.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'"));
    serde_json::from_str(text).ok().or_else(single).unwrap_or_else(|| text.to_owned())
}

/// Where quotation marks are open before each character.
fn characters(text: &str) -> impl Iterator<Item = (usize, char, bool)> {
    let (mut open, mut escaped) = (None, false);
    text.char_indices().map(move |(at, letter)| {
        let quoted = open.is_some();
        match (open, letter) {
            (None, '"' | '\'') => open = Some(letter),
            (Some('"'), _) if escaped => {}
            (Some(mark), _) if mark == letter => open = None,
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
        (at, letter, quoted)
    })
}

/// A line up to its comment.
fn without_comment(line: &str) -> &str {
    let begins = |at: usize| at == 0 || line[..at].ends_with([' ', '\t']);
    let comment = characters(line).find(|&(at, letter, quoted)| letter == '#' && !quoted && begins(at));
    comment.map_or(line, |(at, ..)| &line[..at])
}

/// The pieces between commas.
fn split(text: &str) -> Vec<&str> {
    let commas = characters(text).filter(|&(_, letter, quoted)| letter == ',' && !quoted).map(|(at, ..)| at);
    let (mut pieces, mut from) = (Vec::new(), 0);
    for at in commas.chain([text.len()]) {
        pieces.push(text[from..at].trim());
        from = at + 1;
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(text: &str) -> Vec<String> {
        Config::parse(text).expect("sound").names.expect("names")
    }

    #[test]
    fn the_ways_to_write_names() {
        for text in [
            "names: [cat, dog]",
            "names: ['cat', \"dog\"] # two",
            "names:\n  0: cat\n  1: dog",
            "names:\n- cat\n- dog\nnc: 2",
            "names:\n  - cat\n\n  # one more\n  - 'dog'",
            "names: {1: dog, 0: cat}",
            "names: [cat,\n  dog]",
            "names:\n  1: dog\n  0: cat",
        ] {
            assert_eq!(names_of(text), ["cat", "dog"], "{text}");
        }
        assert_eq!(names_of("names: ['a, b', \"c: d\", 'e # f']"), ["a, b", "c: d", "e # f"]);
        assert_eq!(names_of(r#"names: ["a \"b\", c", 'it''s']"#), ["a \"b\", c", "it's"]);
        assert_eq!(names_of("names: {2: c}"), ["0", "1", "c"]);
    }

    #[test]
    fn folders_and_the_rest() {
        let text = "# a set\npath: ../data # root\ntrain: images/train\nval:\n  - images/a\n  - images/b\ntest: # none\nnc: 2\nkpt_shape: [17, 3]\n";
        let config = Config::parse(text).expect("sound");
        let expected = Config {
            path: Some("../data".to_owned()),
            train: vec!["images/train".to_owned()],
            val: ["images/a", "images/b"].map(str::to_owned).to_vec(),
            poses: true,
            ..Config::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn what_is_unsound_is_said() {
        for (text, words) in [
            ("no key", "line 1"),
            ("train: a\nnames: [a,\n", "line 2"),
            ("  - a", "line 1"),
            ("names: {a: b}", "\"a\""),
            ("names: {99999999999: b}", "99999999999"),
            ("names: []", "no names"),
        ] {
            let error = Config::parse(text).expect_err("unsound");
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
