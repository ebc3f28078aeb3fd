//! What is built from several calls on files, with a substitute for those that a system lacks; and
//! what their errors mean. Owns no state and makes no decision.

use std::io;

use rustix::io::{Errno, Result};

use crate::{
    core::seam::COVERED,
    io::files::{At, FileSystem, Handle},
    model::limits::{DISK_RESERVE_BYTES, DISK_RESERVE_FILES, DISK_RESERVE_PART},
};

/// What the file system is asked for. All are tried and have a substitute; a test turns them off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// To open a whole path and refuse symbolic links on it: [`FileSystem::open_beneath`].
    pub resolve_beneath: bool,
    /// Renames that exchange two names or refuse to replace.
    pub rename_flags: bool,
    /// Hard links.
    pub hard_links: bool,
}

impl Abilities {
    /// Everything is tried.
    pub const ALL: Self = Self { resolve_beneath: true, rename_flags: true, hard_links: true };
    /// Nothing is tried: as on FAT under an old kernel.
    pub const NONE: Self = Self { resolve_beneath: false, rename_flags: false, hard_links: false };
}

/// Does the error say that nothing is there, or that the way there is not a directory? Not so
/// `XDEV`: another file system on the way hides what is there.
pub fn is_absent(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::ILSEQ)
}

/// The error in words that say what to do, where the system's own do not.
pub fn told(error: Errno) -> io::Error {
    match error {
        Errno::XDEV => io::Error::new(io::ErrorKind::CrossesDevices, COVERED),
        error => error.into(),
    }
}

/// Renames; fails with `EXIST` when the new name is taken. Without the file system's help the check
/// and the rename of a directory are two steps.
pub fn rename_new(files: &dyn FileSystem, from: At<'_>, to: At<'_>, able: Abilities) -> Result<()> {
    if able.rename_flags {
        match files.rename_no_replace(from, to) {
            Err(error) if is_unsupported(error) => {}
            result => return result,
        }
    }
    // Asked first, since a link that is then taken back has changed the file's stamp.
    files.check_writable(from.0)?;
    match link(files, from, to, able) {
        Ok(()) => return files.unlink(from).or_else(|error| files.unlink(to).and(Err(error))),
        Err(error) if is_link_unsupported(error) => {}
        Err(error) => return Err(error),
    }
    // Which device it is on does not matter: something is there.
    match files.stat_at(to, 0) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => files.rename(from, to),
        Err(error) => Err(error),
    }
}

/// Exchanges two names, in one step or not at all. See [`is_unsupported`].
pub fn exchange(files: &dyn FileSystem, a: At<'_>, b: At<'_>, able: Abilities) -> Result<()> {
    if able.rename_flags { files.exchange(a, b) } else { Err(Errno::NOSYS) }
}

/// Gives a file or symbolic link a second name. See [`is_link_unsupported`].
pub fn link(files: &dyn FileSystem, from: At<'_>, to: At<'_>, able: Abilities) -> Result<()> {
    if able.hard_links { files.link(from, to) } else { Err(Errno::NOTSUP) }
}

/// Does the error of a rename with flags say that there is no such thing here?
pub fn is_unsupported(error: Errno) -> bool {
    error == Errno::INVAL
        || error == Errno::NOSYS
        || error == Errno::NOTSUP
        || error == Errno::OPNOTSUPP
}

/// Does the error of a link say that this cannot be linked?
pub fn is_link_unsupported(error: Errno) -> bool {
    is_unsupported(error) || error == Errno::PERM || error == Errno::MLINK
}

/// Makes a directory for this user alone; one that exists is fine.
pub fn make_directory(files: &dyn FileSystem, at: At<'_>) -> Result<()> {
    match files.make_directory(at) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

/// Removes a name that is no directory's; one that is not there is fine.
pub fn remove(files: &dyn FileSystem, at: At<'_>) -> Result<()> {
    match files.unlink(at) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

/// What a file system lacks for what is received, and the reserve that is left to others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lack {
    /// So many bytes.
    pub bytes: u64,
    /// So many files: inodes.
    pub files: u64,
}

impl Lack {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            files: self.files.saturating_add(other.files),
        }
    }

    /// Is there room?
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Is there so little room on the file system that received content must not take it?
pub fn is_nearly_full(files: &dyn FileSystem, handle: &Handle) -> Result<bool> {
    Ok(!lack(files, handle, 0)?.is_none())
}

/// What the file system lacks for so many bytes of received content.
pub fn lack(files: &dyn FileSystem, handle: &Handle, content_bytes: u64) -> Result<Lack> {
    let space = files.space(handle)?;
    let reserve_bytes = DISK_RESERVE_BYTES.min(space.total_bytes / DISK_RESERVE_PART);
    // File systems that do not count say that they have no blocks at all.
    let needed_bytes =
        if space.total_bytes > 0 { reserve_bytes.saturating_add(content_bytes) } else { 0 };
    let reserve_files = DISK_RESERVE_FILES.min(space.total_files / DISK_RESERVE_PART);
    Ok(Lack {
        bytes: needed_bytes.saturating_sub(space.free_bytes),
        files: reserve_files.saturating_sub(space.free_files),
    })
}
