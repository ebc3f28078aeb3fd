//! The state of one path: as a version that nodes tell each other, and as it was last seen on this
//! disk.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::model::stamp::{Seen, Stamp};
use crate::model::version::{Author, Dot, Origin, VersionVector};

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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

    /// What it is on a disk.
    pub fn kind(&self) -> FileKind {
        match self {
            Self::File { .. } => FileKind::File,
            Self::Directory => FileKind::Directory,
            Self::Symlink { .. } => FileKind::Symlink,
        }
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
    /// Who made the change.
    pub author: Author,
    /// Hybrid logical time: max(wall clock in ms since 1970, that of the version it replaced + 1).
    pub changed: u64,
    /// What the author knew of this path when it made the change, the change itself included.
    pub made_with: VersionVector,
    /// All versions of this path that this one stands for: `made_with` joined with those it won
    /// against. `None` when that is `made_with` alone.
    pub joined: Option<VersionVector>,
    /// The change that brought this content, at this path or where it was before: whoever knows
    /// that has the bytes. `None` when it is this one.
    pub content_since: Option<Dot>,
    /// What the path held before this content came to it, where its author saw that: what was
    /// edited, replaced or deleted. A change of bits or time alone says what the version before it
    /// said.
    pub replaced: Option<Box<Content>>,
}

impl Version {
    /// The change that brought this content.
    pub fn content_since(&self) -> Dot {
        self.content_since.unwrap_or(self.dot)
    }

    /// Did its author replace or delete just this? Of a directory that says nothing: what it holds
    /// are its children.
    pub fn has_replaced(&self, content: Option<&Content>) -> bool {
        content.is_some_and(|content| *content != Content::Directory)
            && self.replaced.as_deref() == content
    }

    /// All versions of the path that this one covers.
    pub fn vector(&self) -> &VersionVector {
        self.joined.as_ref().unwrap_or(&self.made_with)
    }

    /// Stands for all that `vector` covers, too.
    pub fn stand_for(&mut self, vector: &VersionVector) {
        let mut joined = self.vector().clone();
        joined.join(vector);
        self.joined = (joined != self.made_with).then_some(joined);
    }

    /// Was this version made by someone who knew `other`? If not, and it replaces it all the same,
    /// the two were concurrent. What is settled was known to everybody.
    pub fn was_made_knowing(&self, other: &Version) -> bool {
        other.is_settled() || self.made_with.contains(other.dot)
    }

    /// Was it counted under an origin that is retired? Then no vector names that any more, and all
    /// cover it.
    pub fn is_settled(&self) -> bool {
        !self.made_with.contains(self.dot)
    }

    /// Leaves out an origin that is retired; but not while the vector is all that tells that this
    /// version was made without knowing what it has won against.
    pub fn leave_out(&mut self, origin: Origin) {
        let is_told_apart = !self.is_settled()
            && origin != self.dot.origin
            && self.made_with.get(origin) < self.vector().get(origin);
        if !is_told_apart {
            self.made_with.remove(origin);
            if let Some(joined) = &mut self.joined {
                joined.remove(origin);
            }
            self.joined.take_if(|joined| *joined == self.made_with);
        }
    }

    /// Has this version won against `other`, without having been made by someone who knew it?
    pub fn has_won_against(&self, other: &Version) -> bool {
        self.vector().contains(other.dot) && !self.made_with.contains(other.dot)
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
    /// That the path is deleted.
    pub fn tombstone(version: Version) -> Self {
        Self { content: None, mode: 0, mtime_ns: 0, version }
    }

    /// Is the path deleted?
    pub fn is_tombstone(&self) -> bool {
        self.content.is_none()
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
    pub held: Provenance,
    /// Identifies the state without reading it.
    pub seen: Seen,
    /// Permission bits.
    pub bits: Bits,
}

/// What is on this disk, seen from the row's entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provenance {
    /// The newest version: all that the entry says.
    Newest(Content),
    /// Another version; or the newest one, while its bits or its time are still to be set.
    Older(Content, Box<Version>),
    /// What a power cut has left of a file of this version. It is no version's content: whatever
    /// comes differs from it.
    Torn(Box<Version>),
}

impl Provenance {
    /// Content of this version; `None` is the row's entry.
    pub fn of(content: Content, version: Option<Version>) -> Self {
        match version {
            None => Self::Newest(content),
            Some(version) => Self::Older(content, Box::new(version)),
        }
    }
}

impl Base {
    /// The content, if it is that of a version.
    pub fn content(&self) -> Option<&Content> {
        match &self.held {
            Provenance::Newest(content) | Provenance::Older(content, _) => Some(content),
            Provenance::Torn(_) => None,
        }
    }

    /// The same, now that there is something newer; `newest` is what was the newest until now.
    #[must_use]
    pub fn outdated(self, newest: impl FnOnce() -> Version) -> Self {
        let held = match self.held {
            Provenance::Newest(content) => Provenance::Older(content, Box::new(newest())),
            held => held,
        };
        Self { held, ..self }
    }

    /// What tells a file's content from every other; `None` for anything else.
    pub fn digest(&self) -> Option<Digest> {
        self.content()?.digest().copied()
    }

    /// What kind of thing it is.
    pub fn kind(&self) -> FileKind {
        self.content().map_or(FileKind::File, Content::kind)
    }

    /// Is it a directory?
    pub fn is_directory(&self) -> bool {
        self.kind() == FileKind::Directory
    }

    /// Is what is there now what was last seen?
    pub fn is_unchanged(&self, now: &Stat) -> bool {
        self.kind() == now.kind
            && self.seen.proof() == Some(now.stamp)
            && self.bits.found == now.mode
    }

    /// Is it what the row's entry says?
    pub fn is_newest(&self) -> bool {
        matches!(self.held, Provenance::Newest(_))
    }

    /// Is it what a power cut has left of a file?
    pub fn is_torn(&self) -> bool {
        matches!(self.held, Provenance::Torn(_))
    }

    /// The version that it is, or was before it was torn; `None` is the row's entry.
    pub fn version(&self) -> Option<&Version> {
        match &self.held {
            Provenance::Newest(_) => None,
            Provenance::Older(_, version) | Provenance::Torn(version) => Some(version),
        }
    }

    /// See [`Self::version`].
    pub fn version_mut(&mut self) -> Option<&mut Version> {
        match &mut self.held {
            Provenance::Newest(_) => None,
            Provenance::Older(_, version) | Provenance::Torn(version) => Some(version),
        }
    }
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
    /// It was looked for, and is not there, and nothing has told of its deletion: whether it was
    /// deleted is not decided. The base is what was last seen of it.
    Missing,
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

    /// Is it not there, while it is not decided whether it was deleted?
    pub fn is_missing(&self) -> bool {
        self.standing == Standing::Missing
    }

    /// Is the disk to hold something else than it does, the newest version?
    pub fn is_wanted(&self) -> bool {
        match &self.base {
            _ if self.is_ignored() || self.is_missing() => false,
            None => !self.entry.is_tombstone(),
            Some(base) => !base.is_newest(),
        }
    }

    /// Is what a power cut has left of a file all that this disk has of the path?
    pub fn holds_torn(&self) -> bool {
        self.base.as_ref().is_some_and(Base::is_torn)
    }

    /// Is it a directory, here and by its newest version, so that something can be put into it?
    pub fn is_open_directory(&self) -> bool {
        self.entry.content == Some(Content::Directory)
            && self.base.as_ref().is_some_and(Base::is_directory)
    }

    /// The permission bits of what is on this disk, if something is.
    pub fn bits(&self) -> Option<Bits> {
        let base = self.base.as_ref()?;
        let said = if base.is_newest() { self.entry.mode } else { base.bits.said };
        Some(Bits { said, ..base.bits })
    }

    /// The version that is on this disk, or what is left of it, if something is.
    pub fn base_version(&self) -> Option<&Version> {
        self.base.as_ref().map(|base| base.version().unwrap_or(&self.entry.version))
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
