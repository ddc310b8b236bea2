//! The cache of the Hugging Face Hub, as Python's `huggingface_hub` lays it out
//! (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>): `blobs/` has files by their content, `snapshots/COMMIT/`
//! links to them by their names, `refs/main` says which commit a branch was at.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use ureq::Body;
use ureq::http::Response;

use super::http::text;
use crate::Failure;

/// What the hub says of a file.
pub(super) struct Facts {
    commit: String,
    /// Names the content: its SHA-256, or git's hash for a small file.
    etag: String,
    /// Bytes.
    pub size: Option<u64>,
}

impl Facts {
    /// From the hub's own answer, which comes before the redirect to where the bytes are.
    pub fn of(response: &Response<Body>) -> Result<Self, Failure> {
        let header = |name| text(response.headers(), name);
        let word = |name: &str, value: Option<&str>| {
            let value = value.unwrap_or_default().trim_start_matches("W/").trim_matches('"');
            let plain = (1..=128).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            plain.then(|| value.to_owned()).ok_or_else(|| Failure::Answer(format!("no {name}; it is no Hugging Face Hub")))
        };
        let length = header("content-length").filter(|_| response.status().is_success());
        Ok(Self {
            commit: word("X-Repo-Commit", header("x-repo-commit"))?,
            etag: word("ETag", header("x-linked-etag").or(header("etag")))?,
            size: header("x-linked-size").or(length).and_then(|size| size.parse().ok()),
        })
    }

    /// The content's hash, where the hub states it.
    pub fn sha256(&self) -> Option<&str> {
        let hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        Some(self.etag.as_str()).filter(|etag| etag.len() == 64 && etag.bytes().all(hex))
    }
}

/// A file that is there; a revision may be a commit, which has no ref.
pub(super) fn find(hub: &Path, repo: &str, revision: &str, file: &str) -> Option<PathBuf> {
    let cache = open(hub, repo, revision);
    cache.get(file).or_else(|| Some(cache.pointer_path(revision).join(file)).filter(|path| path.exists()))
}

/// Where a content lies.
pub(super) fn blob(hub: &Path, repo: &str, facts: &Facts) -> PathBuf {
    hub.join(folder(repo)).join("blobs").join(&facts.etag)
}

/// The lock that Python's tools take too.
pub(super) fn lock(hub: &Path, repo: &str, facts: &Facts) -> PathBuf {
    hub.join(".locks").join(folder(repo)).join(format!("{}.lock", facts.etag))
}

/// Gives a content its name in its commit, and the revision its commit.
pub(super) fn link(hub: &Path, repo: &str, revision: &str, file: &str, facts: &Facts) -> io::Result<PathBuf> {
    let cache = open(hub, repo, revision);
    let pointer = cache.pointer_path(&facts.commit).join(file);
    if let Some(folder) = pointer.parent() {
        fs::create_dir_all(folder)?;
    }
    // From snapshots/COMMIT/FOLDERS up to the repository.
    let up: PathBuf = ["..", ".."].into_iter().chain(file.split('/').skip(1).map(|_| "..")).collect();
    match symlink(&up.join("blobs").join(&facts.etag), &blob(hub, repo, facts), &pointer) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if revision != facts.commit {
        cache.create_ref(&facts.commit)?;
    }
    Ok(pointer)
}

#[cfg(unix)]
fn symlink(relative: &Path, _: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, pointer)
}

/// Where links need a privilege, the file itself gets the name, as with Python's tools.
#[cfg(not(unix))]
fn symlink(_: &Path, blob: &Path, pointer: &Path) -> io::Result<()> {
    fs::rename(blob, pointer)
}

fn open(hub: &Path, repo: &str, revision: &str) -> CacheRepo {
    Cache::new(hub.to_owned()).repo(Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned()))
}

fn folder(repo: &str) -> String {
    Repo::model(repo.to_owned()).folder_name()
}
