//! The synchronised directory as this disk holds it: looking, listing and reading.
//!
//! Owns the one open handle of the root. Everything is reached from it, name by name, and no
//! symbolic link or other file system is ever entered, whatever a path says. Nothing here changes a
//! user's file; see [`crate::io::disk::change::apply`].

mod error;
mod listing;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::io::{Errno, Result};

use self::listing::composed;
pub use self::{error::OpenError, listing::Listing};
use crate::{
    io::files::{
        At, FileSystem, Handle, How, Kernel, Nature, Space,
        sys::{self, Abilities, Lack},
    },
    model::{
        entry::{FileKind, Stamp, Stat},
        limits::{MAX_INLINE_BYTES, MAX_SYMLINK_BYTES},
        path::{RelPath, STATE_DIR},
    },
};

/// The root directory, held open.
#[derive(Debug)]
pub struct Root {
    files: Rc<dyn FileSystem>,
    path: PathBuf,
    directory: Handle,
    device: u64,
    inode: u64,
    able: Abilities,
    /// What the file system makes of names and permission bits; `None` while that could not be
    /// found out.
    nature: Cell<Option<Nature>>,
    /// The directory that was opened last: many changes in a row are in the same one.
    last: RefCell<Option<(RelPath, Rc<Handle>)>>,
    /// The directory of temporary files.
    temporary: RefCell<Option<Rc<Handle>>>,
    /// What the disk cannot keep, as far as that was said.
    said: RefCell<BTreeSet<&'static str>>,
}

/// Is the root still what was opened?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootState {
    /// Yes, and the node's own directory is in it.
    Present,
    /// Its path leads nowhere, or cannot be looked at.
    Gone,
    /// The node's own directory is missing from it.
    Stateless,
    /// Its path leads to another directory: something was mounted, unmounted or moved.
    Replaced,
}

impl Root {
    /// Opens an existing directory as the root.
    pub fn open(path: &Path) -> std::result::Result<Self, OpenError> {
        Self::open_on(Rc::new(Kernel), path, Abilities::ALL)
    }

    /// As [`Self::open`], on this file system, of which no more than `able` is asked.
    pub fn open_on(
        files: Rc<dyn FileSystem>,
        path: &Path,
        able: Abilities,
    ) -> std::result::Result<Self, OpenError> {
        Self::try_open(files, path, able).map_err(|error| match error {
            Errno::NOENT => OpenError::Missing(path.into()),
            Errno::NOTDIR => OpenError::NotADirectory(path.into()),
            Errno::ACCESS | Errno::PERM => OpenError::Denied(path.into()),
            error => OpenError::Io(path.into(), error.into()),
        })
    }

    /// Makes the node's own directory in the root, readable for this user alone, when it is not
    /// there yet.
    pub fn make_state_directory(&self) -> io::Result<()> {
        sys::make_directory(self.files(), (&self.directory, STATE_DIR.as_bytes()))?;
        let state = self.open_directory(&self.state_path(&[])?, How::Search)?;
        sys::make_directory(self.files(), (&state, TEMPORARY))?;
        self.find_nature();
        Ok(())
    }

    /// A full disk, for one, does not let it be found out: then nothing is taken for granted, and
    /// it is tried again.
    fn find_nature(&self) {
        let found = self.temporary().and_then(|temporary| self.files.nature(&temporary));
        if let Err(error) = &found {
            log::debug!("it is not known yet what this file system makes of names: {error}");
        }
        self.nature.set(found.ok());
    }

    /// What the file system makes of names and permission bits.
    pub fn nature(&self) -> Nature {
        self.nature.get().unwrap_or(Nature::UNKNOWN)
    }

    /// Is that known?
    pub fn is_nature_known(&self) -> bool {
        self.nature.get().is_some()
    }

    /// A name as the program knows it that the directory has as `listed`.
    fn known_name(&self, listed: Box<[u8]>) -> Box<[u8]> {
        if self.nature().decomposes { composed(listed) } else { listed }
    }

    /// Makes a file of this name in the node's own directory, to see what it is listed as, and
    /// removes it.
    pub(crate) fn try_name(&self, name: &[u8]) -> Result<Option<Box<[u8]>>> {
        let listed =
            self.files.try_name(&*self.temporary()?, name)?.map(|listed| self.known_name(listed));
        if listed.as_deref() != Some(name) {
            // Known now, should it have been taken for another.
            self.nature.set(Some(Nature { alters_names: true, ..self.nature() }));
        }
        Ok(listed)
    }

    /// Sets permission bits. Where the file system keeps none, what it makes of them is read back.
    pub(crate) fn set_mode(&self, opened: &Handle, mode: u16) -> Result<()> {
        match self.files.set_mode(opened, mode) {
            Err(error) if self.nature().keeps_bits => Err(error),
            Err(error) if error == Errno::PERM || sys::is_unsupported(error) => Ok(()),
            result => result,
        }
    }

    /// Is it the first time that this is said?
    pub(crate) fn is_news(&self, what: &'static str) -> bool {
        self.said.borrow_mut().insert(what)
    }

    /// Where the root is, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode of the root: what tells it from another directory in its place.
    pub fn id(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Number of the root's file system.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// The size of the root's file system, and what this user can still take of it.
    pub fn space(&self) -> io::Result<Space> {
        Ok(self.files.space(&self.directory)?)
    }

    /// What its file system lacks for so many bytes of received content.
    pub fn lack(&self, content_bytes: u64) -> io::Result<Lack> {
        Ok(sys::lack(self.files(), &self.directory, content_bytes)?)
    }

    /// Looks whether the root is still there. If not, what seems deleted is not deleted.
    pub fn check(&self) -> RootState {
        if !self.is_nature_known() {
            self.find_nature();
        }
        let Ok(now) = self.files.identity_of_path(&self.path) else { return RootState::Gone };
        if now != self.id() {
            return RootState::Replaced;
        }
        match self.files.stat_at((&self.directory, STATE_DIR.as_bytes()), self.device) {
            Ok(stat) if stat.kind == FileKind::Directory => RootState::Present,
            _ => RootState::Stateless,
        }
    }

    /// Forgets directories that were kept open: between turns the tree may change under them.
    pub fn end_of_turn(&self) {
        self.forget_directories();
        self.temporary.replace(None);
    }

    /// What a path is. `None` when nothing is there, be it that a parent is missing or is no
    /// directory; an error when the way there leads over another file system, which hides it.
    pub fn stat(&self, path: &RelPath) -> io::Result<Option<Stat>> {
        if path.is_root() {
            return Ok(Some(self.files.stat_of(&self.directory, self.device)?));
        }
        let parent = match self.parent(path) {
            Ok(parent) => parent,
            Err(error) if sys::is_absent(error) => return Ok(None),
            Err(error) => return Err(sys::told(error)),
        };
        Ok(self.look((&parent, path.name()))?)
    }

    /// Begins to list a directory.
    pub fn list(&self, path: &RelPath) -> io::Result<Listing> {
        let list = || Listing::over(self, self.open_directory(path, How::List)?, path.is_root());
        list().map_err(sys::told)
    }

    /// Begins to list a directory that was opened with [`How::Search`], from now on.
    pub(crate) fn list_opened(&self, directory: &Handle, is_root: bool) -> io::Result<Listing> {
        let opened = self.files.open_at((directory, b"."), How::List)?;
        Ok(Listing::over(self, opened, is_root)?)
    }

    /// Where a symbolic link points. `None` when the path is no symbolic link (any more).
    pub fn read_link(&self, path: &RelPath) -> io::Result<Option<Box<[u8]>>> {
        let target =
            self.parent(path).and_then(|parent| self.files.read_link_at((&parent, path.name())));
        match target {
            Ok(target) if target.len() > MAX_SYMLINK_BYTES => Err(Errno::NAMETOOLONG.into()),
            Ok(target) => Ok(Some(target)),
            Err(error) if sys::is_absent(error) || error == Errno::INVAL => Ok(None),
            Err(error) => Err(sys::told(error)),
        }
    }

    /// Puts the content of a file of at most `MAX_INLINE_BYTES` into `out`. `None`, and `out`
    /// empty, when the path no longer is the file that `expect` says, or stopped being it while it
    /// was read.
    pub fn read_small(
        &self,
        path: &RelPath,
        expect: &Stamp,
        out: &mut Vec<u8>,
    ) -> io::Result<Option<()>> {
        if expect.size > MAX_INLINE_BYTES as u64 {
            out.clear();
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "too large to be sent in a message",
            ));
        }
        self.read_range(path, expect, 0, expect.size as usize, out)
    }

    /// Puts `length` bytes of a file, from `offset`, into `out`. `None`, and `out` empty, when the
    /// path no longer is the file that `expect` says, stopped being it while it was read, or has no
    /// such range.
    pub fn read_range(
        &self,
        path: &RelPath,
        expect: &Stamp,
        offset: u64,
        length: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<Option<()>> {
        out.clear();
        let in_range = offset.checked_add(length as u64).is_some_and(|end| end <= expect.size);
        let Some(file) = self.open_file(path, expect)?.filter(|_| in_range) else {
            return Ok(None);
        };
        out.resize(length, 0);
        let count = self.files.read_at(&file, out, offset)?;
        if count == length && self.files.stat_of(&file, self.device)?.stamp == *expect {
            return Ok(Some(()));
        }
        out.clear();
        Ok(None)
    }

    /// As [`Self::read_range`], of a file that has grown since it was at `was`. What it held then
    /// is still there unless somebody has written into it, too: whoever gets these bytes has to
    /// compare their digest.
    pub fn read_grown(
        &self,
        path: &RelPath,
        was: &Stamp,
        offset: u64,
        length: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<Option<()>> {
        match self.stat(path)? {
            Some(now) if now.kind == FileKind::File && now.stamp.has_grown_since(was) => {
                self.read_range(path, &now.stamp, offset, length, out)
            }
            _ => Ok(None),
        }
    }

    /// Does every write to a file here show in its times, however soon it follows another one?
    pub fn has_fine_times(&self) -> bool {
        self.files().has_fine_times(&self.directory)
    }

    /// Opens a file for reading; `None` when it is not the one expected.
    pub(crate) fn open_file(&self, path: &RelPath, expect: &Stamp) -> io::Result<Option<Handle>> {
        let open = |parent: Rc<Handle>| self.files.open_at((&parent, path.name()), How::Read);
        let file = match self.parent(path).and_then(open) {
            Ok(file) => file,
            // A socket cannot be opened, and neither is it what was expected.
            Err(error) if sys::is_absent(error) || error == Errno::NXIO => return Ok(None),
            Err(error) => return Err(sys::told(error)),
        };
        let stat = self.files.stat_of(&file, self.device)?;
        Ok((stat.kind == FileKind::File && stat.stamp == *expect).then_some(file))
    }

    /// The file system that the root is on.
    pub(crate) fn files(&self) -> &dyn FileSystem {
        &*self.files
    }

    /// The same, for what outlives a call.
    pub(crate) fn share_files(&self) -> Rc<dyn FileSystem> {
        Rc::clone(&self.files)
    }

    /// What the file system is asked for.
    pub(crate) fn able(&self) -> Abilities {
        self.able
    }

    /// The root itself.
    pub(crate) fn directory(&self) -> &Handle {
        &self.directory
    }

    /// What a name in an open directory is; `None` for nothing.
    pub(crate) fn stat_in(&self, at: At<'_>) -> Result<Option<Stat>> {
        match self.files.stat_at(at, self.device) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if sys::is_absent(error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Self::stat_in`], and nothing if the directory does not list it under this name.
    pub(crate) fn look(&self, at: At<'_>) -> Result<Option<Stat>> {
        Ok(if self.is_own_name(at)? { self.stat_in(at)? } else { None })
    }

    /// The name that something has in fact that is found under this one, where file systems alter
    /// names.
    pub(crate) fn other_name(&self, at: At<'_>) -> Result<Option<Box<[u8]>>> {
        Ok(self.true_name(at)?.filter(|name| **name != *at.1))
    }

    /// Is what is found under this name, if anything, listed under it?
    fn is_own_name(&self, at: At<'_>) -> Result<bool> {
        Ok(!self.nature().alters_names || self.true_name(at)?.as_deref() == Some(at.1))
    }

    fn true_name(&self, at: At<'_>) -> Result<Option<Box<[u8]>>> {
        if !self.nature().alters_names {
            return Ok(None);
        }
        match self.files.true_name(at) {
            Ok(name) => Ok(Some(self.known_name(name))),
            Err(error) if sys::is_absent(error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory that holds a path, open for reaching what is in it.
    pub(crate) fn parent(&self, path: &RelPath) -> Result<Rc<Handle>> {
        self.search(&path.parent().ok_or(Errno::ISDIR)?)
    }

    /// A directory, open for reaching what is in it.
    pub(crate) fn search(&self, path: &RelPath) -> Result<Rc<Handle>> {
        if let Some((last, directory)) = &*self.last.borrow()
            && last == path
        {
            return Ok(Rc::clone(directory));
        }
        let directory = Rc::new(self.open_directory(path, How::Search)?);
        self.last.replace(Some((path.clone(), Rc::clone(&directory))));
        Ok(directory)
    }

    /// To be called when a directory was made, moved or removed.
    pub(crate) fn forget_directories(&self) {
        self.last.replace(None);
    }

    /// The directory of temporary files; made anew when somebody removed it.
    pub(crate) fn temporary(&self) -> Result<Rc<Handle>> {
        if let Some(directory) = &*self.temporary.borrow() {
            return Ok(Rc::clone(directory));
        }
        let state = self.open_directory(&self.state_path(&[])?, How::Search)?;
        sys::make_directory(self.files(), (&state, TEMPORARY))?;
        let directory = Rc::new(self.open_directory(&self.state_path(&[TEMPORARY])?, How::Search)?);
        self.temporary.replace(Some(Rc::clone(&directory)));
        Ok(directory)
    }

    /// The path of something in the node's own directory.
    pub(crate) fn state_path(&self, names: &[&[u8]]) -> Result<RelPath> {
        let state = RelPath::root().join(STATE_DIR.as_bytes());
        let path = names.iter().try_fold(state, |path, name| path.map(|path| path.join(name)));
        path.and_then(|path| path).map_err(|_| Errno::NAMETOOLONG)
    }

    fn try_open(files: Rc<dyn FileSystem>, path: &Path, able: Abilities) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|_| Errno::NOENT)?;
        let directory = files.open_root(&path)?;
        let (device, inode) = files.identity(&directory)?;
        let resolve_beneath =
            able.resolve_beneath && files.open_beneath(&directory, b".", How::Search).is_ok();
        Ok(Self {
            files,
            path,
            directory,
            device,
            inode,
            able: Abilities { resolve_beneath, ..able },
            nature: Cell::new(Some(Nature::FAITHFUL)),
            last: RefCell::default(),
            temporary: RefCell::default(),
            said: RefCell::default(),
        })
    }

    /// A directory, opened anew with [`How::Search`] or [`How::List`].
    pub(crate) fn open_directory(&self, path: &RelPath, how: How) -> Result<Handle> {
        let directory = if path.is_root() {
            self.files.open_at((&self.directory, b"."), how)?
        } else if self.able.resolve_beneath && !self.nature().alters_names {
            match self.files.open_beneath(&self.directory, path.as_bytes(), how) {
                // The kernel gives up when something is renamed meanwhile.
                Err(Errno::AGAIN) => self.open_by_name(path, how)?,
                result => result?,
            }
        } else {
            self.open_by_name(path, how)?
        };
        self.refuse_other_device(&directory)?;
        Ok(directory)
    }

    fn open_by_name(&self, path: &RelPath, how: How) -> Result<Handle> {
        let mut directory = self.files.open_at((&self.directory, b"."), How::Search)?;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let how = if names.peek().is_some() { How::Search } else { how };
            if !self.is_own_name((&directory, name))? {
                return Err(Errno::NOENT);
            }
            // What is mounted on it may be of the same device.
            if self.files.stat_at((&directory, name), self.device)?.kind == FileKind::Foreign {
                return Err(Errno::XDEV);
            }
            directory = self.files.open_at((&directory, name), how)?;
            self.refuse_other_device(&directory)?;
        }
        Ok(directory)
    }

    fn refuse_other_device(&self, directory: &Handle) -> Result<()> {
        if self.files.identity(directory)?.0 == self.device { Ok(()) } else { Err(Errno::XDEV) }
    }
}

/// Name of the directory of temporary files in the node's own.
pub(crate) const TEMPORARY: &[u8] = b"tmp";

#[cfg(test)]
mod tests;
