//! Files from the network, fetched once and kept.
//!
//! | address | kept in |
//! |---|---|
//! | `hf://owner/repo[@revision]/file` | the cache of the Hugging Face Hub, `~/.cache/huggingface/hub`, which Python's tools share |
//! | `https://host/path` | `~/.cache/cirio/host/path` |
//!
//! A file gets its name when all of it is there and right: it grows in `NAME.part`, which a later try goes on with (`part`), under
//! a lock, so that of two processes that want it one waits for the other. What has its name is not asked for again: a branch
//! that moves on the hub is fetched as it was the first time.
//!
//! Of the crate hf-hub 0.5 the layout of the cache is used ([`hf_hub::Cache`]), not its transfer. That one sends the token to the host
//! which the hub redirects to, goes on with a file even where the server begins anew, checks neither size nor hash before
//! it names a file, and cannot wait for a server that is busy (`api/sync.rs`). hf-hub 1.0 brings reqwest, tokio and the hub's own
//! storage protocol: 236 crates that take ten times as long to build as ureq with rustls, which is 26; hf-hub's layout is four
//! more.

mod http;
mod hub;
mod part;

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use self::http::Client;
use self::hub::Facts;
use self::part::Part;
use crate::address::{Place, split_url};
use crate::{Address, Error, Failure, Progress, Remote, Result, folder};

/// The most bytes of a file whose size nobody states.
const LARGEST: u64 = 1 << 34;

/// The longest wait between two tries, whatever a server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Bytes after which a connection that breaks off counts as the first to do so.
const HEADWAY: u64 = 1 << 20;

/// Settings of downloads.
#[derive(Clone, Debug)]
pub struct Downloads {
    /// Fetch nothing.
    pub offline: bool,
    /// The folder for files from plain addresses, and for conversions of torch's files.
    pub cache: PathBuf,
    /// The folder of the Hugging Face Hub's cache.
    pub hub: PathBuf,
    /// The hub's address, `https://huggingface.co`.
    pub endpoint: String,
    /// Who the user is; told to the hub alone.
    pub token: Option<Token>,
    /// How often a file is tried, from 1.
    pub attempts: u32,
    /// The wait after the first try that fails; it doubles each time, up to a minute.
    pub wait: Duration,
}

/// A secret that stays out of messages.
#[derive(Clone)]
pub struct Token(String);

impl From<String> for Token {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Downloads {
    /// The settings of this machine, by the environment variables that Python's tools of the hub know: `HF_HUB_OFFLINE`,
    /// `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, and `HF_TOKEN` or else the file `token` in `HF_HOME`; and `CIRIO_CACHE`.
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are heeded too.
    pub fn from_env() -> Self {
        let text = |name: &str| folder::set(name).and_then(|value| value.into_string().ok());
        let home = folder::set("HF_HOME").map_or_else(|| folder::caches().join("huggingface"), PathBuf::from);
        let token = text("HF_TOKEN").or_else(|| fs::read_to_string(home.join("token")).ok());
        Self {
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str())),
            cache: folder::cache(),
            hub: folder::set("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()).map(Token),
            attempts: 5,
            wait: Duration::from_secs(1),
        }
    }

    /// The file of an address, if it was fetched before.
    pub fn cached(&self, address: &Address) -> Option<PathBuf> {
        match &address.0 {
            Place::Hub { repo, revision, file } => hub::find(&self.hub, repo, revision, file),
            Place::Web(url) => self.place(url).filter(|path| path.is_file()),
        }
    }

    /// The file of a plain address: its host and path as folders.
    fn place(&self, url: &str) -> Option<PathBuf> {
        let (_, path) = url.split_once("://")?;
        Some(self.cache.join(path.replace(':', "_")))
    }

    /// The file of a source: as it was kept, or else fetched and checked.
    ///
    /// # Errors
    /// When it is not here and cannot be fetched, or is not what it should be.
    pub fn fetch(&self, remote: &Remote, progress: Progress) -> Result<PathBuf> {
        if let Some(path) = self.cached(&remote.address) {
            return Ok(path);
        }
        let fetched = match &remote.address.0 {
            _ if self.offline => Err(Failure::Offline),
            Place::Hub { repo, revision, file } => self.fetch_from_hub(repo, revision, file, remote, progress),
            Place::Web(url) => self.fetch_plain(url, remote, progress),
        };
        fetched.map_err(|failure| Error::Download { address: remote.address.to_string(), failure })
    }

    fn fetch_plain(&self, url: &str, remote: &Remote, progress: Progress) -> Result<PathBuf, Failure> {
        let target = self.place(url).ok_or_else(|| Failure::Answer("it has no path".to_owned()))?;
        let lock = part::beside(&target, ".lock");
        let job = Job { url, token: None, size: None, hash: remote.hash(), content_named: false, remote };
        self.download(&Client::new(), &job, &target, &lock, progress)?;
        Ok(target)
    }

    /// Fetches by the hub's way: first the file's facts, then the file under the name of its content, then a link to it.
    fn fetch_from_hub(&self, repo: &str, revision: &str, file: &str, remote: &Remote, progress: Progress) -> Result<PathBuf, Failure> {
        let endpoint = self.endpoint.trim_end_matches('/');
        split_url(endpoint).map_err(|reason| Failure::Unreachable(format!("HF_ENDPOINT is `{endpoint}`: {reason}")))?;
        let url = format!("{endpoint}/{repo}/resolve/{revision}/{file}");
        let (client, token) = (Client::new(), self.token.as_ref());
        let mut patience = Patience::new(self);
        let facts = loop {
            match client.head(&url, token).and_then(|answer| Facts::of(&answer)) {
                Ok(facts) => break facts,
                Err(failure) => patience.wait(failure)?,
            }
        };
        let blob = hub::blob(&self.hub, repo, &facts);
        let lock = hub::lock(&self.hub, repo, &facts);
        let hash = remote.hash().or(facts.sha256());
        let job = Job { url: &url, token, size: facts.size, hash, content_named: facts.sha256().is_some(), remote };
        self.download(&client, &job, &blob, &lock, progress)?;
        Ok(hub::link(&self.hub, repo, revision, file, &facts)?)
    }

    /// Fetches a file to its place, unless it is there; one process at a time.
    fn download(&self, client: &Client, job: &Job, target: &Path, lock: &Path, progress: Progress) -> Result<(), Failure> {
        for folder in [target, lock].into_iter().filter_map(Path::parent) {
            fs::create_dir_all(folder)?;
        }
        let lock = File::create(lock)?;
        lock.lock()?; // until it goes out of scope
        if target.is_file() {
            return Ok(());
        }
        let mut part = Part::open(target)?;
        let mut patience = Patience::new(self);
        let mut furthest = part.done();
        while let Err(failure) = part.go_on(client, job, progress) {
            if part.done() >= furthest.saturating_add(HEADWAY) {
                furthest = part.done();
                patience = Patience::new(self);
            }
            patience.wait(failure)?;
        }
        part.finish(job, target)
    }
}

/// A file that is to be fetched.
struct Job<'a> {
    url: &'a str,
    token: Option<&'a Token>,
    /// Its size, where that is known before.
    size: Option<u64>,
    /// What its SHA-256 begins with, where that is known.
    hash: Option<&'a str>,
    /// Whether its place is named by its content, so that a part of it is never one of another version.
    content_named: bool,
    remote: &'a Remote,
}

impl Job<'_> {
    /// The most bytes that it may have: a twentieth more than it should.
    fn limit(&self) -> u64 {
        let about = self.remote.mib.map(|mib| ((1.05 * mib + 1.0) * f64::from(1 << 20)) as u64);
        about.unwrap_or(LARGEST)
    }
}

/// How often to try still, and how long to wait before.
struct Patience {
    left: u32,
    wait: Duration,
}

impl Patience {
    fn new(settings: &Downloads) -> Self {
        Self { left: settings.attempts.saturating_sub(1), wait: settings.wait }
    }

    /// Waits before the next try, where one more may help; else gives the failure back.
    fn wait(&mut self, failure: Failure) -> Result<(), Failure> {
        thread::sleep(self.next(failure)?);
        Ok(())
    }

    /// How long to wait before the next try.
    fn next(&mut self, failure: Failure) -> Result<Duration, Failure> {
        let asked = match &failure {
            Failure::Busy { retry_after, .. } => *retry_after,
            Failure::Broken { .. } => None,
            _ => return Err(failure),
        };
        self.left = self.left.checked_sub(1).ok_or(failure)?;
        let own = self.wait;
        self.wait = own.saturating_mul(2);
        Ok(asked.unwrap_or(own).min(LONGEST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_or_are_as_asked_and_end() {
        let seconds = Duration::from_secs;
        let broken = || Failure::Broken { done: 0, reason: String::new() };
        let busy = |after| Failure::Busy { status: 429, retry_after: Some(seconds(after)) };
        let mut patience = Patience { left: 5, wait: seconds(20) };
        let waits = [broken(), broken(), broken(), busy(3), busy(99_999)].map(|failure| patience.next(failure).unwrap());
        assert_eq!(waits, [20, 40, 60, 3, 60].map(seconds));
        assert!(patience.next(broken()).is_err());
        assert!(Patience { left: 5, wait: seconds(1) }.next(Failure::NotFound).is_err());
    }
}
