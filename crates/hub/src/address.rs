//! Addresses of files on the network.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::{Error, Result};

/// Where a file of weights lies on the network: `hf://owner/repo[@revision]/file` on the Hugging Face Hub, or
/// `https://host/path`. Plain `http` is for this machine only (`localhost`, `127.0.0.1`, `[::1]`).
///
/// It ends in `.safetensors` or `.pth`, and each part of it is a plain word of letters, digits, `-`, `_`, `.` and `+`, so that it
/// can name a place in a cache too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(pub(crate) Place);

/// The two kinds of an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a model's repository on the hub.
    Hub {
        /// `owner/repo`.
        repo: String,
        /// A branch, a tag or a commit; `main` where none was named.
        revision: String,
        /// The path in the repository.
        file: String,
    },
    /// Anywhere, by the whole address.
    Web(String),
}

impl Address {
    /// The file's own name, without its folder.
    pub fn file_name(&self) -> &str {
        let path = match &self.0 {
            Place::Hub { file, .. } => file,
            Place::Web(url) => url,
        };
        path.rsplit('/').next().unwrap_or(path)
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let place = match text.split_once("://") {
            Some(("hf", path)) => hf(path),
            Some(("https" | "http", _)) => split_url(text).and_then(|(_, path)| {
                words(path)?;
                Ok(Place::Web(text.to_owned()))
            }),
            _ => Err("it begins with neither hf:// nor https://".to_owned()),
        };
        let checked = place.map(Self).and_then(|address| match address.file_name().rsplit_once('.') {
            Some((_, "safetensors" | "pth")) => Ok(address),
            _ => Err("it ends in neither .safetensors nor .pth".to_owned()),
        });
        checked.map_err(|reason| Error::Address { address: text.to_owned(), reason })
    }
}

/// The path of an `hf://` address.
fn hf(path: &str) -> Result<Place, String> {
    let mut parts = path.splitn(3, '/');
    let (Some(owner), Some(repo), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("expected hf://owner/repo[@revision]/file".to_owned());
    };
    let (repo, revision) = repo.split_once('@').unwrap_or((repo, "main"));
    [owner, repo, revision, file].into_iter().try_for_each(words)?;
    Ok(Place::Hub { repo: format!("{owner}/{repo}"), revision: revision.to_owned(), file: file.to_owned() })
}

/// The origin of a web address (`https://host:port`) and its path without the first slash.
pub(crate) fn split_url(url: &str) -> Result<(&str, &str), String> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no ://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(format!("`{host}` is no host"));
    }
    match scheme {
        "https" => {}
        "http" if is_this_machine(host) => {}
        "http" => return Err("plain http is for this machine only, expected https://".to_owned()),
        _ => return Err(format!("`{scheme}` is neither https nor http")),
    }
    Ok((&url[..scheme.len() + 3 + host.len()], path))
}

/// Whether a host, with its port or without, is this machine.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let port = |rest: &str| rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    ["localhost", "127.0.0.1", "[::1]"].into_iter().any(|name| host.strip_prefix(name).is_some_and(port))
}

/// Whether all parts of a path are plain words.
fn words(path: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    match path.split('/').find(|part| part.is_empty() || part.starts_with('.') || !part.chars().all(plain)) {
        None => Ok(()),
        Some(part) => Err(format!("its part `{}` is no plain word of letters, digits, `-`, `_`, `.` and `+`", part.escape_debug())),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Hub { repo, revision, file } if revision == "main" => write!(f, "hf://{repo}/{file}"),
            Place::Hub { repo, revision, file } => write!(f, "hf://{repo}@{revision}/{file}"),
            Place::Web(url) => f.write_str(url),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, words: &str) {
        let error = text.parse::<Address>().unwrap_err().to_string();
        assert!(error.contains(words) && error.lines().count() == 1, "wanted `{words}`: {error}");
    }

    #[test]
    fn addresses_are_read_and_written() {
        for text in [
            "hf://timm/resnet18.tv_in1k/model.safetensors",
            "hf://owner/repo@v1.0/folder/model.safetensors",
            "https://download.pytorch.org/models/resnet18-f37072fd.pth",
            "http://127.0.0.1:8080/a.safetensors",
            "http://[::1]:8080/a.safetensors",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let address: Address = "hf://o/r@main/a/b.pth".parse().unwrap();
        assert_eq!(address.0, Place::Hub { repo: "o/r".into(), revision: "main".into(), file: "a/b.pth".into() });
        assert_eq!((address.to_string().as_str(), address.file_name()), ("hf://o/r/a/b.pth", "b.pth"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        refused("ftp://host/a.pth", "neither hf:// nor https://");
        refused("a.pth", "neither hf:// nor https://");
        refused("hf://owner/a.pth", "expected hf://owner/repo[@revision]/file");
        refused("hf://owner/repo/../a.pth", "its part `..`");
        refused("hf://owner/repo//a.pth", "its part ``");
        refused("hf://owner/repo@/a.pth", "its part ``");
        refused("hf://owner/repo/a.bin", "neither .safetensors nor .pth");
        refused("hf://owner/repo/safetensors", "neither .safetensors nor .pth");
        refused("https://host", "its part ``");
        refused("https:///a.pth", "`` is no host");
        refused("https://me:secret@host/a.pth", "is no host");
        refused("https://host/a b.pth", "its part `a b.pth`");
        refused("https://host/a.pth?x=1", "its part `a.pth?x=1`");
        refused("https://host/a.pth\nX: 1", "its part");
        refused("http://host/a.pth", "plain http is for this machine only");
        refused("http://localhost.evil.org/a.pth", "plain http is for this machine only");
        refused("http://127.0.0.1:80.evil.org/a.pth", "plain http is for this machine only");
    }
}
