//! What is wrong with labels: enough to find the place, in words and as data.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;

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

/// What in a file is wrong, with the number that the file gives it, or its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A picture.
    Picture(u64),
    /// An object.
    Object(u64),
    /// A class.
    Category(u64),
    /// A line, from 1.
    Line(u64),
    /// A shape, from 1.
    Shape(u64),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Picture(id) => write!(f, "picture {id}"),
            Self::Object(id) => write!(f, "object {id}"),
            Self::Category(id) => write!(f, "category {id}"),
            Self::Line(number) => write!(f, "line {number}"),
            Self::Shape(number) => write!(f, "shape {number}"),
        }
    }
}

impl Problem {
    pub(super) fn error(file: &Path, subject: impl Into<Option<Subject>>, reason: impl Into<String>) -> Self {
        Self { severity: Severity::Error, file: file.to_owned(), subject: subject.into(), reason: reason.into() }
    }

    pub(super) fn warning(file: &Path, subject: impl Into<Option<Subject>>, reason: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, subject, reason) }
    }

    /// A picture that is left out because of an error with `file`, or with the file that the error names.
    pub(super) fn left_out(file: &Path, picture: u64, error: Error) -> Self {
        let (file, reason) = match error {
            Error::Io { path, reason } => (path, reason.to_string()),
            Error::Format { path, found, expected } => (path, format!("found {found}, expected {expected}")),
            Error::Picture { reason, .. } => (file.to_owned(), reason),
            other => (file.to_owned(), other.to_string()),
        };
        Self::error(&file, Subject::Picture(picture), reason)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(subject) = self.subject {
            write!(f, "{subject}: ")?;
        }
        f.write_str(&self.reason)
    }
}
