//! The keys of the tables.
//!
//! A row's key is `parent NUL name`: the direct children of a directory are neighbours, and a
//! directory comes before all that is in it (NUL sorts before the `/` of a deeper parent).

use super::IndexError;
use crate::model::{
    entry::Digest,
    path::RelPath,
    version::{Dot, Origin},
};

/// The key of a path's row.
pub fn row(path: &RelPath) -> Vec<u8> {
    let bytes = path.as_bytes();
    let name_at = bytes.len() - path.name().len();
    [&bytes[..name_at.saturating_sub(1)], b"\0", path.name()].concat()
}

/// The path of a row's key.
pub fn path_of_row(key: &[u8]) -> Result<RelPath, IndexError> {
    let at = key.iter().position(|&b| b == 0).ok_or(IndexError::Corrupt("key"))?;
    let (parent, name) = (&key[..at], &key[at + 1..]);
    path(parent)?.join(name).map_err(|_| IndexError::Corrupt("key"))
}

/// Exclusive bounds of the keys of a directory's direct children behind `after`.
pub fn children(directory: &RelPath, after: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
    let low = [directory.as_bytes(), b"\0", after.unwrap_or_default()].concat();
    (low, [directory.as_bytes(), b"\x01"].concat())
}

/// What a row has to do with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is on this disk.
    Held,
    /// It is to come here.
    Wanted,
    /// It was on this disk when its path was not ignored yet, or not missing.
    Away,
}

/// The key under which `path` uses content.
pub fn digest(digest: &Digest, using: Use, path: &RelPath) -> Vec<u8> {
    [&digest.0[..], &[using as u8], path.as_bytes()].concat()
}

/// The key of a component that stands at `path`.
pub fn component(dot: Dot, path: &[u8]) -> Vec<u8> {
    [&dot.origin.0.to_be_bytes()[..], &dot.seq.to_be_bytes(), path].concat()
}

/// What the key of a component stands for, and the path.
pub fn split_component(key: &[u8]) -> Result<(Dot, &[u8]), IndexError> {
    let (dot, path) = key.split_at_checked(16).ok_or(IndexError::Corrupt("key"))?;
    let number = |at: usize| dot[at..at + 8].try_into().map(u64::from_be_bytes);
    match (number(0), number(8)) {
        (Ok(origin), Ok(seq)) => Ok((Dot { origin: Origin(origin), seq }, path)),
        _ => Err(IndexError::Corrupt("key")),
    }
}

/// The key of (device, inode).
pub fn inode((device, inode): (u64, u64)) -> [u8; 16] {
    (u128::from(device) << 64 | u128::from(inode)).to_be_bytes()
}

/// The key of an origin.
pub fn origin(origin: Origin) -> [u8; 8] {
    origin.0.to_be_bytes()
}

/// The 8 bytes of a number or a node that are all of a key.
pub fn eight(key: &[u8]) -> Result<[u8; 8], IndexError> {
    key.try_into().map_err(|_| IndexError::Corrupt("key"))
}

/// The key of one part of a recipe.
pub fn segment(digest: &Digest, segment: u32) -> Vec<u8> {
    [&digest.0[..], &segment.to_be_bytes()].concat()
}

/// A path that a table holds as it is.
pub fn path(bytes: &[u8]) -> Result<RelPath, IndexError> {
    RelPath::new(bytes).map_err(|_| IndexError::Corrupt("path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_before_children_and_siblings_together() {
        let keys: Vec<_> = ["a", "b", "a/c", "a/b", "a/b/c", "a!"]
            .map(|p| row(&RelPath::new(p.as_bytes()).unwrap()))
            .into();
        let mut sorted = keys.clone();
        sorted.sort();
        let paths: Vec<_> =
            sorted.iter().map(|key| path_of_row(key).unwrap().to_string()).collect();
        assert_eq!(paths, ["a", "a!", "b", "a/b", "a/c", "a/b/c"]);
    }
}
