//! Why a change was not made.
//!
//! Owns the words for it. Knows nothing of how changes are made.

use std::{fmt, io};

use rustix::io::Errno;

use crate::{
    core::seam::ApplyFailure,
    io::files::sys,
    model::{entry::Stat, path::RelPath},
};

/// Why nothing was done.
#[derive(Debug)]
pub enum ApplyError {
    /// The disk holds something else than expected: a local edit that is to be noticed first.
    Unexpected(Option<Stat>),
    /// The directory has something in it.
    NotEmpty,
    /// A parent is missing, or is not a directory.
    Parent,
    /// The temporary file with the new content is gone.
    Content,
    /// The new content may never reach the disk, whatever a later sync says: the system tells of a
    /// failed write once.
    NotDurable(io::Error),
    /// The path is the root or in the node's own directory.
    Reserved,
    /// The disk, or this user's part of it, is full.
    NoSpace,
    /// It could not be found out what came of it: new content may have its name.
    UnknownOutcome(Box<ApplyError>),
    /// Anything else that the system says.
    Io {
        /// What was tried.
        op: &'static str,
        /// Where.
        path: RelPath,
        /// Why not.
        error: io::Error,
    },
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected(_) => f.write_str("it was changed meanwhile"),
            Self::NotEmpty => f.write_str("the directory is not empty"),
            Self::Parent => f.write_str("a directory above it is missing"),
            Self::Content => f.write_str("its temporary file is gone"),
            Self::NotDurable(error) => write!(f, "its content cannot be made durable: {error}"),
            Self::Reserved => f.write_str("it is the node's own"),
            Self::NoSpace => f.write_str("the disk is full; make room and it goes on"),
            Self::UnknownOutcome(error) => write!(f, "it may have been changed, but {error}"),
            Self::Io { op, path, error } => write!(f, "cannot {op} {path}: {error}"),
        }
    }
}

impl std::error::Error for ApplyError {}

/// What the system said when this was tried.
pub(crate) fn failed(op: &'static str, path: &RelPath, error: Errno) -> ApplyError {
    match error {
        Errno::NOSPC | Errno::DQUOT => ApplyError::NoSpace,
        error => ApplyError::Io { op, path: path.clone(), error: sys::told(error) },
    }
}

impl From<ApplyError> for ApplyFailure {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Unexpected(stat) => Self::Unexpected(stat),
            ApplyError::NotEmpty => Self::NotEmpty,
            ApplyError::Parent => Self::Parent,
            ApplyError::Content => Self::Content,
            ApplyError::UnknownOutcome(error) => Self::UnknownOutcome(error.to_string()),
            other => Self::System(other.to_string()),
        }
    }
}
