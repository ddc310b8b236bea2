//! A file that grows until all of it is there.
//!
//! Beside it stands the ETag of the version that it is a part of. A later request asks for the rest with `If-Range`: a server that
//! has another version by now, or knows no ranges, sends all of it (RFC 9110, section 13.1.5). Without an ETag we begin anew,
//! unless the place of the file is named by its content, as on the hub.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ureq::Body;
use ureq::http::Response;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG};

use super::Job;
use super::http::{Client, text};
use crate::verify::sha256;
use crate::{Error, Failure, Progress, Transfer, check_header};

/// The part of a file that is there.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    done: u64,
    etag: Option<String>,
}

/// A path with something at its end.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

impl Part {
    /// What is there of a file, from an earlier try or nothing.
    pub fn open(target: &Path) -> io::Result<Self> {
        let path = beside(target, ".part");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let etag = fs::read_to_string(beside(&path, ".etag")).ok().filter(|etag| is_strong(etag));
        Ok(Self { done: file.seek(SeekFrom::End(0))?, file, etag, path })
    }

    /// Bytes that are there.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Asks for the rest and takes it.
    pub fn go_on(&mut self, client: &Client, job: &Job, progress: Progress) -> Result<(), Failure> {
        if job.size == Some(self.done) {
            return Ok(());
        }
        let etag = self.etag.clone();
        let resume = (self.done > 0 && (etag.is_some() || job.content_named)).then_some((self.done, etag.as_deref()));
        let mut response = match client.get(job.url, job.token, resume) {
            Err(Failure::Status(416)) if resume.is_some() => {
                self.begin(None)?;
                return Err(Failure::Broken { done: 0, reason: "the server no longer has the rest".to_owned() });
            }
            Err(Failure::Broken { reason, .. }) => return Err(Failure::Broken { done: self.done, reason }),
            response => response?,
        };
        let total = self.place(&response, resume.is_some())?;
        if let (Some(total), Some(size)) = (total, job.size)
            && total != size
        {
            return Err(Failure::Answer(format!("{total} bytes after it had announced {size}")));
        }
        let total = total.or(job.size);
        if total.is_some_and(|total| total > job.limit()) {
            return Err(Failure::TooLarge { announced: total, limit: job.limit() });
        }
        let name = job.remote.address.to_string();
        self.take(&mut response, total, job.limit(), &mut |done| progress(Transfer { name: &name, done, total }))
    }

    /// Goes to where an answer's bytes belong; says how many bytes the whole file has.
    fn place(&mut self, response: &Response<Body>, resumed: bool) -> Result<Option<u64>, Failure> {
        let headers = response.headers();
        if response.status() != 206 {
            self.begin(text(headers, ETAG.as_str()).filter(|etag| is_strong(etag)))?;
            return Ok(text(headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok()));
        }
        let range = text(headers, CONTENT_RANGE.as_str()).unwrap_or_default();
        match parse_range(range) {
            Some((first, total)) if resumed && first == self.done => Ok(Some(total)),
            _ => Err(Failure::Answer(format!("the range `{}`, asked for bytes from {}", range.escape_debug(), self.done))),
        }
    }

    /// Takes an answer's bytes, not more than there are or may be; `report` is told how many are there.
    fn take(&mut self, response: &mut Response<Body>, total: Option<u64>, limit: u64, report: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        let limit = total.unwrap_or(limit);
        let mut reader = response.body_mut().as_reader();
        let mut piece = vec![0; 1 << 16];
        report(self.done);
        loop {
            let read = match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Broken { done: self.done, reason: error.to_string() }),
            };
            if read as u64 > limit.saturating_sub(self.done) {
                return Err(Failure::TooLarge { announced: None, limit });
            }
            self.write(&piece[..read])?;
            report(self.done);
        }
        match total {
            Some(total) if self.done < total => {
                Err(Failure::Broken { done: self.done, reason: format!("it ended before its {total} bytes") })
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.done += bytes.len() as u64;
        Ok(())
    }

    /// Begins anew with the version of this ETag.
    fn begin(&mut self, etag: Option<&str>) -> io::Result<()> {
        let note = beside(&self.path, ".etag");
        // The note goes first: a part without it is not gone on with.
        match fs::remove_file(&note) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if self.done > 0 {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.done = 0;
        }
        self.etag = etag.map(str::to_owned);
        etag.map_or(Ok(()), |etag| fs::write(note, etag))
    }

    /// Checks the file and gives it its name; a wrong one is thrown away.
    pub fn finish(mut self, job: &Job, target: &Path) -> Result<(), Failure> {
        self.file.sync_all()?;
        if let Err(failure) = self.check(job) {
            self.begin(None)?;
            fs::remove_file(&self.path)?;
            return Err(failure);
        }
        fs::rename(&self.path, target)?;
        // It is of no use any more; that it cannot be removed does no harm.
        let _ = fs::remove_file(beside(&self.path, ".etag"));
        Ok(())
    }

    fn check(&mut self, job: &Job) -> Result<(), Failure> {
        if let Some(expected) = job.hash {
            self.file.rewind()?;
            let found = sha256(&mut self.file)?;
            if !found.starts_with(expected) {
                return Err(Failure::Hash { expected: expected.to_owned(), found });
            }
        }
        match job.remote.address.file_name().ends_with(".safetensors") {
            true => check_header(&self.path).map(|_| ()).map_err(|error| match error {
                Error::Header { reason, .. } => Failure::Unsound(reason),
                error => Failure::Unsound(error.to_string()),
            }),
            false => Ok(()),
        }
    }
}

/// An ETag that means the same bytes: quoted, without `W/`.
fn is_strong(etag: &str) -> bool {
    etag.len() >= 2 && etag.starts_with('"') && etag.ends_with('"') && etag.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The first byte and the size of the whole, from `bytes 5-9/10`.
fn parse_range(range: &str) -> Option<(u64, u64)> {
    let (part, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let (first, last, total): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first <= last && last.checked_add(1) == Some(total)).then_some((first, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, 10)));
        for bad in ["", "bytes */10", "bytes 5-9/*", "bytes 5-8/10", "bytes 9-5/6", "5-9/10", "bytes 5-18446744073709551615/0"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn weak_tags_mean_nothing() {
        assert!(is_strong("\"abc-29\""));
        for weak in ["", "\"", "W/\"abc\"", "abc", "\"a\nb\""] {
            assert!(!is_strong(weak), "{weak:?}");
        }
    }
}
