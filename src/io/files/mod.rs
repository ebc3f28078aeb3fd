//! The file system, as one trait: all that the program asks of files, in the words of the system
//! calls.
//!
//! Owns no state and makes no decision. [`Kernel`] is the real one; a simulation brings its own,
//! which loses what was not synced, fills up and fails as its seed says. What is built from several
//! calls (a rename that refuses to replace, and its substitutes) is in [`crate::io::files::sys`],
//! on top of either.
//!
//! A file is never named by anything but an open directory and one name in it, save the root
//! itself: no call follows a symbolic link on the way, wherever a path came from.

mod kernel;
pub mod nature;
mod owners;
pub mod sys;

use std::{any::Any, fmt, os::fd::BorrowedFd, os::fd::OwnedFd, path::Path};

use rustix::io::{Errno, Result};

pub use self::{
    kernel::Kernel,
    nature::Nature,
    owners::{Owner, Owners},
};
use crate::model::{entry::Stat, limits::HASH_READ_BYTES};

/// A name in an open directory.
pub type At<'a> = (&'a Handle, &'a [u8]);

/// An open file or directory, closed when it is dropped. Means something only to the file system
/// that gave it out.
#[derive(Debug)]
pub struct Handle(Repr);

#[derive(Debug)]
enum Repr {
    Descriptor(OwnedFd),
    Foreign(Box<dyn Any>),
}

impl Handle {
    /// A handle of a file system other than the kernel's, which finds `inside` in it again by
    /// [`Self::get`].
    pub fn foreign(inside: impl Any) -> Self {
        Self(Repr::Foreign(Box::new(inside)))
    }

    /// What [`Self::foreign`] was given, if it was a `T`.
    pub fn get<T: Any>(&self) -> Option<&T> {
        match &self.0 {
            Repr::Foreign(inside) => inside.downcast_ref(),
            Repr::Descriptor(_) => None,
        }
    }

    /// The kernel's descriptor; `BADF` for a file that the kernel knows nothing of.
    pub fn fd(&self) -> Result<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        match &self.0 {
            Repr::Descriptor(fd) => Ok(fd.as_fd()),
            Repr::Foreign(_) => Err(Errno::BADF),
        }
    }
}

impl From<OwnedFd> for Handle {
    fn from(fd: OwnedFd) -> Self {
        Self(Repr::Descriptor(fd))
    }
}

/// The size of a file system, and what of it this user can still take. Where bytes, or files, are
/// not counted, the whole is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Of the whole.
    pub total_bytes: u64,
    /// Still to be had.
    pub free_bytes: u64,
    /// How many files there can be at all: inodes.
    pub total_files: u64,
    /// Still to be had.
    pub free_files: u64,
}

/// What a file or directory is opened for. A symbolic link in its place is an error each time
/// (`LOOP`, `NOTDIR`), and opening never blocks, not even on a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// A directory, to reach what is in it; where the system can, without the right to read it.
    Search,
    /// A directory, to list it as well.
    List,
    /// A file, to read it.
    Read,
    /// A file, to read and write it.
    ReadWrite,
    /// Either, to look at it and to set its permission bits, whatever they are.
    ForMode,
}

/// The names in a directory while they are read: neither `.` nor `..`, and each that is there all
/// the while once.
pub trait Names {
    /// The directory.
    fn directory(&self) -> &Handle;
    /// The next name; `None` when there are no more.
    fn next_name(&mut self) -> Option<Result<Box<[u8]>>>;
}

/// Files and directories. Errors are the system's: `NOENT`, `EXIST`, `NOSPC`, ...
///
/// A device number given with a call is the root's: a directory that is not on it is
/// `FileKind::Foreign`, and so is whatever something is mounted on. Times are in ns since 1970,
/// lengths and offsets in bytes, modes the lower 12 bits.
pub trait FileSystem: Owners + fmt::Debug {
    // --- Opening

    /// Opens a directory by its path, following links: the root. It can be synced.
    fn open_root(&self, path: &Path) -> Result<Handle>;

    /// Device and inode of what is at a path, following links: is it still the root?
    fn identity_of_path(&self, path: &Path) -> Result<(u64, u64)>;

    /// Opens a directory below `root` by a path of legal names (or `.`), following no symbolic link
    /// and entering no other file system (`XDEV`), in one call. `NOSYS` where there is no such
    /// call; `AGAIN` when something was renamed meanwhile.
    fn open_beneath(&self, root: &Handle, path: &[u8], how: How) -> Result<Handle>;

    /// Opens a name that exists, `.` for the directory itself.
    fn open_at(&self, at: At<'_>, how: How) -> Result<Handle>;

    /// Makes a file that did not exist (`EXIST`), for reading and writing by this user alone.
    fn create_at(&self, at: At<'_>) -> Result<Handle>;

    /// Another handle of the same open file.
    fn try_clone(&self, handle: &Handle) -> Result<Handle>;

    // --- Looking

    /// What a name is, without following it.
    fn stat_at(&self, at: At<'_>, device: u64) -> Result<Stat>;

    /// The name that the directory itself has for what `at` finds: another one where names that
    /// differ by case, or by how their accents are written, lead to the same. `NOENT` when nothing
    /// is found.
    fn true_name(&self, at: At<'_>) -> Result<Box<[u8]>> {
        nature::listed_name(self, at)
    }

    /// What becomes of names and permission bits here, found out in a directory of the program's
    /// own.
    fn nature(&self, temporary: &Handle) -> Result<Nature> {
        nature::find(self, temporary)
    }

    /// The name that a file is listed under which is made under this one, in the same directory;
    /// `None`: under none.
    fn try_name(&self, temporary: &Handle, name: &[u8]) -> Result<Option<Box<[u8]>>> {
        nature::try_name(self, temporary, name)
    }

    /// What an open file is.
    fn stat_of(&self, handle: &Handle, device: u64) -> Result<Stat>;

    /// Device and inode of an open file.
    fn identity(&self, handle: &Handle) -> Result<(u64, u64)>;

    /// Where a symbolic link points; `INVAL` for anything else.
    fn read_link_at(&self, at: At<'_>) -> Result<Box<[u8]>>;

    /// Begins to list a directory opened with [`How::List`].
    fn list(&self, directory: Handle) -> Result<Box<dyn Names>>;

    /// May this user make and remove names in a directory? `ACCESS` or `ROFS` if not.
    fn check_writable(&self, directory: &Handle) -> Result<()>;

    /// Size of the file system, and what this user can still take of it.
    fn space(&self, handle: &Handle) -> Result<Space>;

    /// Does every write show in a file's times, however soon it follows another one?
    fn has_fine_times(&self, _handle: &Handle) -> bool {
        false
    }

    // --- Names

    /// Renames; what has the new name is replaced.
    fn rename(&self, from: At<'_>, to: At<'_>) -> Result<()>;

    /// Renames; `EXIST` when the new name is taken. `INVAL`, `NOSYS` or `NOTSUP` where there is no
    /// such call.
    fn rename_no_replace(&self, from: At<'_>, to: At<'_>) -> Result<()>;

    /// Exchanges two names, in one step or not at all. Errors as those of
    /// [`Self::rename_no_replace`].
    fn exchange(&self, a: At<'_>, b: At<'_>) -> Result<()>;

    /// Gives a file or symbolic link a second name. `EXIST`; `PERM`, `NOTSUP`, ... where there are
    /// no links.
    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()>;

    /// Removes a name that is no directory's.
    fn unlink(&self, at: At<'_>) -> Result<()>;

    /// Removes an empty directory; `NOTEMPTY` or `EXIST` when it is not.
    fn remove_directory(&self, at: At<'_>) -> Result<()>;

    /// Makes a directory for this user alone (0700).
    fn make_directory(&self, at: At<'_>) -> Result<()>;

    /// Makes a symbolic link.
    fn symlink(&self, target: &[u8], at: At<'_>) -> Result<()>;

    // --- Metadata

    /// Sets permission bits of an open file, also of one opened with [`How::Search`] or
    /// [`How::ForMode`].
    fn set_mode(&self, handle: &Handle, mode: u16) -> Result<()>;

    /// Sets a name's modification time, without following it; the access time stays.
    fn set_mtime(&self, at: At<'_>, mtime_ns: i64) -> Result<()>;

    /// Sets an open file's modification time; the access time stays.
    fn set_mtime_of(&self, handle: &Handle, mtime_ns: i64) -> Result<()>;

    // --- Content

    /// Reads at `offset` until `buffer` is full or the file ends; how many bytes.
    fn read_at(&self, file: &Handle, buffer: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of `bytes` at `offset`; of what fails, some may be written.
    fn write_at(&self, file: &Handle, bytes: &[u8], offset: u64) -> Result<()>;

    /// Cuts off, or fills up with zeros.
    fn set_len(&self, file: &Handle, length: u64) -> Result<()>;

    /// Sets room aside for so many bytes, and leaves the length as it is. `NOSYS`, ... where there
    /// is no such call.
    fn reserve(&self, file: &Handle, length: u64) -> Result<()>;

    /// Copies a range between files; a file system that can shares the blocks. `IO` when `from` is
    /// too short.
    fn copy_range(
        &self,
        from: &Handle,
        from_offset: u64,
        to: &Handle,
        to_offset: u64,
        length: u64,
    ) -> Result<()> {
        copy_bytes(self, (from, from_offset), (to, to_offset), length)
    }

    /// Says that a file is about to be read from its beginning to its end.
    fn advise_sequential(&self, _file: &Handle) -> Result<()> {
        Ok(())
    }

    /// Has a range that was written be sent to the disk, and waits for nothing.
    fn advise_written(&self, _file: &Handle, _offset: u64, _length: u64) -> Result<()> {
        Ok(())
    }

    /// Makes a range that `zeros` would fill read as zeros, if possible without room on the disk;
    /// the file is long enough for it afterwards.
    fn write_zeros(&self, file: &Handle, zeros: &[u8], offset: u64) -> Result<()> {
        self.write_at(file, zeros, offset)
    }

    /// Has the file fewer blocks than its length needs?
    fn is_sparse(&self, _file: &Handle) -> bool {
        false
    }

    /// The first byte at or after `offset` that may be other than zero; `None` when there are but
    /// holes up to the end.
    fn next_data(&self, _file: &Handle, offset: u64) -> Option<u64> {
        Some(offset)
    }

    // --- Durability

    /// Makes a file's content durable. Not its name.
    fn sync_content(&self, file: &Handle) -> Result<()>;

    /// Makes the names in a directory opened with [`How::List`] durable.
    fn sync_names(&self, directory: &Handle) -> Result<()> {
        self.sync_all(directory)
    }

    /// Makes everything on the file system of `handle` durable, names included.
    fn sync_all(&self, handle: &Handle) -> Result<()>;
}

/// Copies a range by reading and writing it.
fn copy_bytes<F: FileSystem + ?Sized>(
    files: &F,
    (from, mut from_offset): (&Handle, u64),
    (to, mut to_offset): (&Handle, u64),
    mut length: u64,
) -> Result<()> {
    let mut buffer = vec![0; HASH_READ_BYTES];
    while length > 0 {
        let wanted = buffer.len().min(length as usize);
        if files.read_at(from, &mut buffer[..wanted], from_offset)? < wanted {
            return Err(Errno::IO);
        }
        files.write_at(to, &buffer[..wanted], to_offset)?;
        from_offset += wanted as u64;
        to_offset += wanted as u64;
        length -= wanted as u64;
    }
    Ok(())
}
