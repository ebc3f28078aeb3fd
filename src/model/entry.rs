//! The state of one path: as a version that nodes tell each other, and as it was last seen on this
//! disk.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::version::{Dot, NodeId, Origin, Seq, VersionVector};

/// Identifies content: SHA-256 of the bytes of a file of one chunk, and of a larger one the SHA-256
/// over its chunks' lengths and digests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a live path holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Identifies the bytes.
        digest: Digest,
    },
    /// A directory; its children are paths of their own.
    Directory,
    /// A symbolic link, never followed.
    Symlink {
        /// Where it points, in the bytes of its maker.
        target: Box<[u8]>,
    },
}

impl Content {
    /// Length of a file in bytes; 0 for anything else.
    pub fn size(&self) -> u64 {
        if let Content::File { size, .. } = self { *size } else { 0 }
    }

    /// What tells a file's content from every other; `None` for anything else.
    pub fn digest(&self) -> Option<&Digest> {
        if let Content::File { digest, .. } = self { Some(digest) } else { None }
    }
}

/// When, by whom and knowing what a state was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The change that made this state.
    pub dot: Dot,
    /// The node that made the change.
    pub author: NodeId,
    /// Hybrid logical time: max(wall clock in ms since 1970, that of the version it replaced + 1).
    pub changed: u64,
    /// What the author knew of this path when it made the change, the change itself included.
    pub made_with: VersionVector,
    /// All versions of this path that this one stands for: `made_with` joined with those it won
    /// against. `None` when that is `made_with` alone.
    pub joined: Option<VersionVector>,
}

impl Version {
    /// All versions of the path that this one covers.
    pub fn vector(&self) -> &VersionVector {
        self.joined.as_ref().unwrap_or(&self.made_with)
    }

    /// Was this version made by someone who knew `other`? If not, and it replaces it all the same,
    /// the two were concurrent. What is settled was known to everybody.
    pub fn knew(&self, other: &Version) -> bool {
        other.is_settled() || self.made_with.contains(other.dot)
    }

    /// Was it counted under an origin that is retired? Then no vector names that any more, and all
    /// cover it.
    pub fn is_settled(&self) -> bool {
        !self.made_with.contains(self.dot)
    }

    /// Leaves out an origin that is retired. Gives back up to where it was covered.
    pub fn remove_origin(&mut self, origin: Origin) -> Seq {
        let mut covered = self.made_with.remove(origin);
        if let Some(joined) = &mut self.joined {
            covered = joined.remove(origin).max(covered);
        }
        self.joined.take_if(|joined| *joined == self.made_with);
        covered
    }

    /// Names an origin that is retired elsewhere, as far as it was settled there.
    pub fn insert_known(&mut self, dot: Dot) {
        self.made_with.insert(dot);
        if let Some(joined) = &mut self.joined {
            joined.insert(dot);
        }
        self.joined.take_if(|joined| *joined == self.made_with);
    }
}

/// What is kept the same of a file's mode. The other bits (set-user-ID, set-group-ID, sticky) are
/// each machine's own: nobody else may say what runs with somebody's rights there.
pub const MODE_BITS: u16 = 0o777;

/// The newest version known of one path, as nodes tell it each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What the path holds; `None` is a tombstone.
    pub content: Option<Content>,
    /// Permission bits, of [`MODE_BITS`]; 0 for symbolic links and tombstones.
    pub mode: u16,
    /// Modification time of a file in ns since 1970; 0 for anything else.
    pub mtime_ns: i64,
    /// When, by whom, knowing what.
    pub version: Version,
}

impl Entry {
    /// Is the path deleted?
    pub fn is_tombstone(&self) -> bool {
        self.content.is_none()
    }
}

/// Identifies a state of a file on this disk without reading it. All times in ns since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes; 0 for a directory, whose own length says nothing.
    pub size: u64,
    /// Modification time; 0 for a directory, whose children speak for themselves.
    pub mtime_ns: i64,
    /// Time of the last change of the inode; 0 for a directory.
    pub ctime_ns: i64,
}

impl Stamp {
    /// The stamp of no file: whatever is there differs from it, and is looked at.
    #[must_use]
    pub fn of_no_file(self) -> Self {
        Self { ctime_ns: 0, ..self }
    }

    /// Is it the same file, in whatever state?
    pub fn is_same_file(&self, other: &Stamp) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Is it the same file, longer than it was?
    pub fn has_grown_since(&self, was: &Stamp) -> bool {
        self.is_same_file(was) && self.size > was.size
    }
}

/// What kind of thing a path is on this disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory on the root's own file system.
    Directory,
    /// A symbolic link.
    Symlink,
    /// On another file system, or something is mounted on it. What the directory itself has under
    /// this name is covered: it can be neither seen nor reached, and is not missing.
    Foreign,
    /// A socket, pipe or device: not synchronised.
    Other,
}

/// What `lstat` says of a path on this disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// File, directory, ...
    pub kind: FileKind,
    /// Identifies the state.
    pub stamp: Stamp,
    /// Permission bits, of [`MODE_BITS`].
    pub mode: u16,
    /// Number of hard links.
    pub links: u64,
}

/// Permission bits of a path on this disk. In the index they are one number, which is that of the
/// bits found wherever the disk keeps what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub struct Bits {
    /// As the file system gave them back: FAT, for one, rounds them.
    pub found: u16,
    /// As the version that is there says, which is what they are everywhere else.
    pub said: u16,
}

impl Bits {
    /// What the disk has is what the version says.
    pub fn kept(mode: u16) -> Self {
        Self { found: mode, said: mode }
    }

    /// What the next version says, now that `found` is there: only bits that have changed since are
    /// an edit. Where the disk does not keep any, none is.
    pub fn handed_on(self, found: u16, keeps_bits: bool) -> u16 {
        let changed = if keeps_bits { self.found ^ found } else { 0 };
        self.said & !changed | found & changed
    }
}

impl From<u32> for Bits {
    fn from(stored: u32) -> Self {
        let found = stored as u16;
        Self { found, said: found ^ (stored >> 16) as u16 }
    }
}

impl From<Bits> for u32 {
    fn from(bits: Bits) -> Self {
        Self::from(bits.found) | Self::from(bits.found ^ bits.said) << 16
    }
}

/// What was last seen of a path on this disk, and which version that was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// What the path held.
    pub content: Content,
    /// Identifies the state without reading it.
    pub stamp: Stamp,
    /// Permission bits.
    pub bits: Bits,
    /// The version that this content is; `None` when it is the row's entry.
    pub version: Option<Box<Version>>,
}

/// How what is on this disk stands to a path's row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// The disk is compared with the row: what is missing was deleted.
    #[default]
    Known,
    /// The ignore rules name the path: it is left alone. The base is what was last seen of it.
    Ignored,
    /// It was ignored, and was not looked at since: what is there is compared with the base, and
    /// what is missing was not deleted, but is to be fetched.
    Unknown,
}

/// Everything the index keeps of one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The newest version known.
    pub entry: Entry,
    /// What is on this disk; `None` when nothing is.
    pub base: Option<Base>,
    /// Is that so? Kept behind the others, and only when it is not [`Standing::Known`].
    #[serde(skip)]
    pub standing: Standing,
}

impl Row {
    /// The row of a path that is on this disk as `base` says.
    pub fn new(entry: Entry, base: Option<Base>) -> Self {
        Self { entry, base, standing: Standing::Known }
    }

    /// Do the ignore rules leave the path alone?
    pub fn is_ignored(&self) -> bool {
        self.standing == Standing::Ignored
    }

    /// Is the disk to hold something else than it does, the newest version?
    pub fn is_wanted(&self) -> bool {
        match &self.base {
            _ if self.is_ignored() => false,
            None => !self.entry.is_tombstone(),
            Some(base) => base.version.is_some(),
        }
    }

    /// Is it a directory, here and by its newest version, so that something can be put into it?
    pub fn is_open_directory(&self) -> bool {
        let held = self.base.as_ref().map(|base| &base.content);
        [self.entry.content.as_ref(), held]
            .iter()
            .all(|content| *content == Some(&Content::Directory))
    }

    /// The permission bits of what is on this disk, if something is.
    pub fn bits(&self) -> Option<Bits> {
        let base = self.base.as_ref()?;
        let said = if base.version.is_none() { self.entry.mode } else { base.bits.said };
        Some(Bits { said, ..base.bits })
    }

    /// The version that is on this disk, if something is.
    pub fn base_version(&self) -> Option<&Version> {
        self.base.as_ref().map(|base| base.version.as_deref().unwrap_or(&self.entry.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bits_that_were_changed_are_handed_on_as_an_edit() {
        let rounded = Bits { found: 0o644, said: 0o600 };
        assert_eq!(rounded.handed_on(0o644, true), 0o600);
        assert_eq!(rounded.handed_on(0o444, true), 0o400, "made read-only");
        assert_eq!(rounded.handed_on(0o755, false), 0o600, "mounted with another mask");
        assert_eq!(Bits { found: 0o444, said: 0o555 }.handed_on(0o644, true), 0o755);
        assert_eq!(Bits::kept(0o755).handed_on(0o640, true), 0o640);
    }

    #[test]
    fn bits_are_stored_as_they_were_before_two_kinds_were_told_apart() {
        for found in [0, 0o7, 0o644, 0o777, 0o4755] {
            assert_eq!(u32::from(Bits::kept(found)), u32::from(found));
            let rounded = Bits { found, said: 0o600 };
            assert_eq!(Bits::from(u32::from(rounded)), rounded);
        }
    }
}
