//! Paths below the root of the synchronised directory, as bytes.
//!
//! A [`RelPath`] is legal by construction, whoever sent it: no empty, `.` or `..` component, no
//! NUL, bounded lengths. What a peer names can so never leave the directory by its spelling;
//! symbolic links on the way are the disk layer's business.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::limits::{MAX_NAME_BYTES, MAX_PATH_BYTES};

/// The name, below the root, of the directory that holds the node's own state. Never synchronised.
pub const STATE_DIR: &str = ".p2pnetwork";

/// A path below the root: components joined by `/`, in the bytes that the file system uses. The
/// empty path is the root itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct RelPath(Box<[u8]>);

/// Why some bytes are not a path below the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// Longer than [`MAX_PATH_BYTES`].
    TooLong,
    /// A component is empty, `.`, `..`, has a NUL or is longer than [`MAX_NAME_BYTES`].
    BadComponent,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the path is longer than {MAX_PATH_BYTES} bytes"),
            Self::BadComponent => {
                write!(f, "the path has a component that is empty, '.', '..' or too long")
            }
        }
    }
}

impl std::error::Error for PathError {}

impl RelPath {
    /// The root itself.
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// Checks `bytes`; the empty path is the root.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if !bytes.is_empty() && !bytes.split(|&b| b == b'/').all(is_legal_name) {
            return Err(PathError::BadComponent);
        }
        Ok(Self(bytes.into()))
    }

    /// The path's bytes, without a leading or trailing slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Is this the root itself?
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components from the root down; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|name| !name.is_empty())
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<RelPath> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or(&[])
    }

    /// The path of `name` in this directory.
    pub fn join(&self, name: &[u8]) -> Result<RelPath, PathError> {
        if !is_legal_name(name) {
            return Err(PathError::BadComponent);
        }
        if self.is_root() {
            return Ok(Self(name.into()));
        }
        if self.0.len() + 1 + name.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        Ok(Self([&self.0[..], b"/", name].concat().into()))
    }

    /// Is this path below `directory`, at any depth? A path is not below itself.
    pub fn is_below(&self, directory: &RelPath) -> bool {
        directory.is_root() && !self.is_root()
            || self.0.len() > directory.0.len()
                && self.0.starts_with(&directory.0)
                && self.0[directory.0.len()] == b'/'
    }

    /// Does this name the node's own state, or that of a node whose directory is below this one, or
    /// something in it? Keys and a database that is open are nobody else's. Compared without regard
    /// to ASCII case, since on some file systems `.P2PNETWORK` is the same directory.
    pub fn is_reserved(&self) -> bool {
        self.components().any(|name| name.eq_ignore_ascii_case(STATE_DIR.as_bytes()))
    }
}

impl fmt::Display for RelPath {
    /// For people: unprintable and non-UTF-8 bytes are escaped, so that a name cannot forge a log
    /// line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?
                } else {
                    write!(f, "{c}")?
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl TryFrom<Vec<u8>> for RelPath {
    type Error = PathError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, PathError> {
        Self::new(&bytes)
    }
}

impl From<RelPath> for Vec<u8> {
    fn from(path: RelPath) -> Self {
        path.0.into_vec()
    }
}

fn is_legal_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name != b"."
        && name != b".."
        && !name.iter().any(|&b| b == 0 || b == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn refuses_every_way_out() {
        for bad in ["/a", "a/", "a//b", "..", "a/../b", ".", "a/./b", "a\0b"] {
            assert_eq!(RelPath::new(bad.as_bytes()), Err(PathError::BadComponent), "{bad:?}");
        }
        assert_eq!(RelPath::new(&[b'a'; 4096]), Err(PathError::TooLong));
        assert_eq!(RelPath::new(&[b'a'; 256]), Err(PathError::BadComponent));
    }

    #[test]
    fn walks_up_and_down() {
        let leaf = path("a/b/c");
        assert_eq!(leaf.parent(), Some(path("a/b")));
        assert_eq!(leaf.name(), b"c");
        assert_eq!(path("a").parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
        assert_eq!(path("a/b").join(b"c"), Ok(leaf));
        assert_eq!(RelPath::root().join(b"a"), Ok(path("a")));
        assert_eq!(path("a").join(b"../b"), Err(PathError::BadComponent));
    }

    #[test]
    fn below_is_by_component() {
        assert!(path("a/b").is_below(&path("a")));
        assert!(path("a").is_below(&RelPath::root()));
        assert!(!path("ab").is_below(&path("a")));
        assert!(!path("a").is_below(&path("a")));
    }

    #[test]
    fn names_cannot_forge_log_lines() {
        assert_eq!(RelPath::new(b"a\nb\xff").unwrap().to_string(), "a\\nb\\xff");
    }

    #[test]
    fn own_state_is_reserved_in_any_case() {
        assert!(path(".P2PNetwork/x").is_reserved());
        assert!(path("a/.p2pnetwork/identity").is_reserved());
        assert!(!path("a/.p2pnetwork-notes").is_reserved());
    }
}
