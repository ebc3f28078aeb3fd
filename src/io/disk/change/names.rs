//! Names that the file system cannot keep: found out before anything in the tree has them.

use std::io;

use rustix::io::Errno;
use unicode_normalization::UnicodeNormalization;

use crate::{
    io::disk::{
        change::error::{self, ApplyError},
        root::Root,
    },
    model::path::RelPath,
};

type Result<T> = std::result::Result<T, ApplyError>;

/// Would a file be listed under the name that it gets? Costs nothing where the file system keeps
/// every name that it takes.
pub(crate) fn require(root: &Root, path: &RelPath) -> Result<()> {
    if root.nature().is_kept(path.name()) { Ok(()) } else { require_by_trial(root, path) }
}

fn require_by_trial(root: &Root, path: &RelPath) -> Result<()> {
    match root.try_name(path.name()) {
        Ok(Some(listed)) if *listed == *path.name() => Ok(()),
        Ok(listed) => Err(altered(path, listed.as_deref())),
        Err(error) => Err(failed("write", path, error)),
    }
}

/// What was put at the path is not seen there. Is that the file system's doing, whatever was known
/// of it? If it cannot be told, somebody has removed it.
pub(crate) fn require_not_lost(root: &Root, path: &RelPath) -> Result<()> {
    match require_by_trial(root, path) {
        Err(ApplyError::Io { error, .. }) if error.kind() != io::ErrorKind::InvalidFilename => {
            Ok(())
        }
        Err(ApplyError::NoSpace) => Ok(()),
        result => result,
    }
}

/// What the system said when something was to get a name.
pub(crate) fn failed(op: &'static str, path: &RelPath, error: Errno) -> ApplyError {
    match error {
        Errno::INVAL | Errno::ILSEQ | Errno::NAMETOOLONG => {
            let error = io::Error::from(error);
            refused(op, path, format!("this file system takes no such name; rename it ({error})"))
        }
        error => error::failed(op, path, error),
    }
}

/// Another name stands for the same here.
pub(crate) fn taken(path: &RelPath, other: &[u8]) -> ApplyError {
    let other = String::from_utf8_lossy(other);
    let reason = format!(
        "{other:?} is here, and this file system takes both names for one; rename one of them"
    );
    ApplyError::Io {
        op: "write",
        path: path.clone(),
        error: io::Error::new(io::ErrorKind::AlreadyExists, reason),
    }
}

fn altered(path: &RelPath, listed: Option<&[u8]>) -> ApplyError {
    let composed = |name: &[u8]| String::from_utf8_lossy(name).nfc().collect::<String>();
    let reason = match listed {
        Some(listed) if composed(listed) == composed(path.name()) => {
            "this file system stores accents in one way, and the name has them in another; rename \
             it"
            .to_owned()
        }
        Some(listed) => {
            let listed = String::from_utf8_lossy(listed);
            format!("this file system would make {listed:?} of the name; rename it")
        }
        None => "this file system would not list it under any name; rename it".to_owned(),
    };
    refused("write", path, reason)
}

fn refused(op: &'static str, path: &RelPath, reason: String) -> ApplyError {
    ApplyError::Io {
        op,
        path: path.clone(),
        error: io::Error::new(io::ErrorKind::InvalidFilename, reason),
    }
}
