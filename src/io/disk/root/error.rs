//! Why a directory cannot be the root.

use std::{fmt, io, path::PathBuf};

/// Why a directory cannot be the root.
#[derive(Debug)]
pub enum OpenError {
    /// It does not exist.
    Missing(PathBuf),
    /// It is something else than a directory.
    NotADirectory(PathBuf),
    /// This user may not read it.
    Denied(PathBuf),
    /// Anything else that the system says.
    Io(PathBuf, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => {
                write!(f, "{}: no such directory; make it first", path.display())
            }
            Self::NotADirectory(path) => {
                write!(f, "{}: not a directory; name a directory", path.display())
            }
            Self::Denied(path) => {
                write!(
                    f,
                    "{}: permission denied; this user must be able to read it",
                    path.display()
                )
            }
            Self::Io(path, error) => write!(f, "{}: cannot be opened: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}
