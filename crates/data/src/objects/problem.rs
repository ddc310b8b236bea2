//! What is wrong with labels: enough to find the place, in words and as data.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Something wrong with a set of labelled pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file of labels, or the picture.
    pub file: PathBuf,
    /// What in the file, where it is not the whole.
    #[serde(flatten)]
    pub subject: Option<Subject>,
    /// What is wrong.
    pub reason: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Odd, but it can be used.
    Warning,
    /// It cannot be used as it is.
    Error,
}

/// What in a file is wrong, with the number that the file gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A picture.
    Picture(u64),
    /// An object.
    Object(u64),
    /// A class.
    Category(u64),
}

impl Problem {
    pub(super) fn error(file: &Path, subject: impl Into<Option<Subject>>, reason: impl Into<String>) -> Self {
        Self { severity: Severity::Error, file: file.to_owned(), subject: subject.into(), reason: reason.into() }
    }

    pub(super) fn warning(file: &Path, subject: impl Into<Option<Subject>>, reason: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, subject, reason) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        match self.subject {
            Some(Subject::Picture(id)) => write!(f, "picture {id}: ")?,
            Some(Subject::Object(id)) => write!(f, "object {id}: ")?,
            Some(Subject::Category(id)) => write!(f, "category {id}: ")?,
            None => {}
        }
        f.write_str(&self.reason)
    }
}
