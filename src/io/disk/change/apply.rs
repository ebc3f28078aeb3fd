//! Carries out one change that the core has decided, if the disk still holds what the core thinks
//! it holds.
//!
//! Nothing that a user has is ever removed or overwritten: it is moved to the trash, and what was
//! moved is then compared with what was expected. If it is something else, an edit nobody has
//! noticed yet, it is moved back. A name is never without content in between. Where the file system
//! cannot exchange names, this is approached as far as it goes: the old content gets a second name,
//! or is copied, before the new one takes its place.

mod metadata;
mod rename;
mod replace;
mod unlock;

use std::{cell::Cell, io, rc::Rc};

use rustix::io::Errno;

use self::unlock::Unlocked;
use crate::{
    core::seam::Action,
    io::{
        disk::{
            change::{
                belonging::Belonging,
                error::{ApplyError, failed},
                names,
                stage::Staged,
            },
            root::Root,
            trash::{self, Slot},
        },
        files::{At, FileSystem, Handle, How, sys},
    },
    model::{
        entry::{FileKind, Stamp, Stat},
        path::RelPath,
    },
};

type Result<T> = std::result::Result<T, ApplyError>;

/// Carries out one change; gives back what is there then. Missing parents are not made. A directory
/// without the right to write, owned by this user, is given it for the moment, since `0555` is
/// meant for people.
///
/// Only [`crate::io::disk::change::sync_batch::SyncBatch`] calls this: it has synced the temporary
/// file and set its bits and time.
pub(crate) fn apply(root: &Root, staged: &Staged, now_ms: u64) -> Result<Option<Stat>> {
    match carry_out(root, staged, now_ms) {
        Err(ApplyError::Io { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {
            let _unlocked = Unlocked::new(root, staged.apply());
            carry_out(root, staged, now_ms)
        }
        result => result,
    }
}

fn carry_out(root: &Root, staged: &Staged, now_ms: u64) -> Result<Option<Stat>> {
    let apply = staged.apply();
    let site = Site::new(root, &apply.path, now_ms)?;
    if let Some(stat) = site.moved_along(apply)? {
        return Ok(Some(stat));
    }
    let mut current = site.check(apply.expect)?;
    if current.is_none() && gives_name(&apply.action) {
        names::require(root, &apply.path)?;
    }
    if let (Some(keep), Some(old)) = (&apply.keep, &current) {
        site.keep(keep, old)?;
        // A second name changes the inode's time, and so the stamp.
        current = site.stat()?;
    }
    let done = match &apply.action {
        Action::WriteFile { .. } => {
            let temp = staged.temp().ok_or(ApplyError::Content)?;
            site.install(temp.as_bytes(), current)
        }
        Action::MakeDirectory { mode } => site.make_directory(*mode, current),
        Action::MakeSymlink { target } => site.make_symlink(target, current),
        Action::SetMetadata { mode, mtime_ns } => site.set_metadata(*mode, *mtime_ns, current),
        Action::RemoveFile => site.remove_file(current),
        Action::RemoveDirectory => site.remove_directory(current),
        Action::RenameFrom { from, stamp } => site.rename_from(from, *stamp, current),
        Action::Exchange { with, stamp } => site.exchange(with, *stamp, current),
    };
    match done {
        Err(error @ ApplyError::Io { .. }) if site.has_new.get() => {
            Err(ApplyError::UnknownOutcome(Box::new(error)))
        }
        done => done,
    }
}

/// Does something have the path's name when it is done?
fn gives_name(action: &Action) -> bool {
    !matches!(action, Action::SetMetadata { .. } | Action::RemoveFile | Action::RemoveDirectory)
}

/// A path, with its parent open.
struct Site<'a> {
    root: &'a Root,
    path: &'a RelPath,
    parent: Rc<Handle>,
    now_ms: u64,
    /// Something new has the name.
    has_new: Cell<bool>,
}

impl<'a> Site<'a> {
    fn new(root: &'a Root, path: &'a RelPath, now_ms: u64) -> Result<Self> {
        if path.is_root() || path.is_reserved() {
            return Err(ApplyError::Reserved);
        }
        match root.parent(path) {
            Ok(parent) => Ok(Self { root, path, parent, now_ms, has_new: Cell::new(false) }),
            Err(error) if sys::is_absent(error) => Err(ApplyError::Parent),
            Err(error) => Err(failed("open the directory of", path, error)),
        }
    }

    fn at(&self) -> At<'_> {
        (&self.parent, self.path.name())
    }

    fn files(&self) -> &dyn FileSystem {
        self.root.files()
    }

    fn stat(&self) -> Result<Option<Stat>> {
        self.root.look(self.at()).map_err(|error| self.failed("look at", error))
    }

    /// Why the name is taken although nothing was there a moment ago.
    fn taken(&self) -> ApplyError {
        match self.root.other_name(self.at()) {
            Ok(Some(other)) => names::taken(self.path, &other),
            Ok(None) => self.stat().map_or_else(|error| error, ApplyError::Unexpected),
            Err(error) => self.failed("look at", error),
        }
    }

    /// What is there, if it is what is expected.
    fn check(&self, expect: Option<Stamp>) -> Result<Option<Stat>> {
        let current = self.stat()?;
        if current.is_some_and(|stat| stat.kind == FileKind::Foreign) {
            return Err(self.failed("change", Errno::XDEV));
        }
        let is_other = current.is_some_and(|stat| stat.kind == FileKind::Other);
        if is_other || current.map(|stat| stat.stamp) != expect {
            return Err(ApplyError::Unexpected(current));
        }
        Ok(current)
    }

    /// Gives what is there a second name; where the file system knows no links, a copy has it.
    fn keep(&self, name: &RelPath, old: &Stat) -> Result<()> {
        let beside = Site::new(self.root, name, self.now_ms)?;
        names::require(self.root, name)?;
        match sys::link(self.files(), self.at(), beside.at(), self.root.able()) {
            Err(Errno::EXIST) => beside.is_kept(),
            Err(error) if sys::is_link_unsupported(error) => self.copy_beside(&beside, old),
            result => result.map_err(|error| self.failed("keep", error)),
        }
    }

    fn copy_beside(&self, beside: &Site<'_>, old: &Stat) -> Result<()> {
        const NAME: &[u8] = b"kept";
        let copy = || {
            let temporary = self.root.temporary()?;
            let copied = (&*temporary, NAME);
            sys::remove(self.files(), copied)?;
            self.copy(old, copied, &beside.belonging(false))?;
            match sys::rename_new(self.files(), copied, beside.at(), self.root.able()) {
                Err(Errno::EXIST) => Ok(()),
                result => result,
            }
        };
        copy().map_err(|error| self.failed("keep a copy of", error))?;
        beside.is_kept()
    }

    /// The content that was to be kept at this path was kept there before; unless it is another
    /// name's.
    fn is_kept(&self) -> Result<()> {
        if self.stat()?.is_some() { Ok(()) } else { Err(self.taken()) }
    }

    /// A name that is free, or a directory that is empty, is made way for.
    fn make_way(&self, current: Option<Stat>) -> Result<()> {
        match current {
            None => Ok(()),
            Some(old) if old.kind == FileKind::Directory => {
                self.remove_directory(current).map(|_| ())
            }
            Some(old) => self.to_trash(&old),
        }
    }

    /// Renames to the path, where nothing must be.
    fn move_in(&self, from: At<'_>) -> Result<()> {
        match sys::rename_new(self.files(), from, self.at(), self.root.able()) {
            Err(Errno::EXIST) => Err(self.taken()),
            // What is renamed was there a moment ago, so it is the parent that was removed.
            Err(Errno::NOENT) => Err(ApplyError::Parent),
            Err(error) => Err(names::failed("rename to", self.path, error)),
            Ok(()) => {
                self.has_new.set(true);
                Ok(())
            }
        }
    }

    fn make_directory(&self, mode: u16, current: Option<Stat>) -> Result<Option<Stat>> {
        if current.is_some_and(|stat| stat.kind == FileKind::Directory) {
            return self.set_metadata(mode, None, current);
        }
        self.make_way(current)?;
        match self.files().make_directory(self.at()) {
            Err(Errno::EXIST) => return Err(self.taken()),
            Err(Errno::NOENT) => return Err(ApplyError::Parent),
            result => {
                result.map_err(|error| names::failed("make the directory", self.path, error))?
            }
        }
        self.has_new.set(true);
        self.root.forget_directories();
        self.belonging(false).give_owner(self.root, self.at());
        let made = self.stat()?;
        if made.is_none() {
            names::require_not_lost(self.root, self.path)?;
        }
        self.set_metadata(mode, None, made)
    }

    fn make_symlink(&self, target: &[u8], current: Option<Stat>) -> Result<Option<Stat>> {
        const NAME: &[u8] = b"symlink";
        let make = || {
            let (files, temporary) = (self.files(), self.root.temporary()?);
            match files.symlink(target, (&temporary, NAME)) {
                // Left from a crash.
                Err(Errno::EXIST) => {
                    files.unlink((&temporary, NAME))?;
                    files.symlink(target, (&temporary, NAME))
                }
                result => result,
            }
        };
        make().map_err(|error| self.failed("make the symbolic link", error))?;
        if let Ok(temporary) = self.root.temporary() {
            self.belonging(current.is_some()).give_owner(self.root, (&temporary, NAME));
        }
        self.install(NAME, current)
    }

    fn remove_file(&self, current: Option<Stat>) -> Result<Option<Stat>> {
        match current {
            None => Ok(None),
            Some(old) if old.kind == FileKind::Directory => Err(ApplyError::Unexpected(current)),
            Some(old) => self.to_trash(&old).map(|()| None),
        }
    }

    fn remove_directory(&self, current: Option<Stat>) -> Result<Option<Stat>> {
        let Some(_) = current else { return Ok(None) };
        self.root.forget_directories();
        match self.files().remove_directory(self.at()) {
            Ok(()) => Ok(None),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(ApplyError::NotEmpty),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(ApplyError::Unexpected(self.stat()?)),
            Err(error) => Err(self.failed("remove the directory", error)),
        }
    }

    fn to_trash(&self, old: &Stat) -> Result<()> {
        let able = self.root.able();
        let slot = self
            .place("move to the trash", |at| sys::rename_new(self.files(), self.at(), at, able))?;
        if self.is_in(&slot, old)? && self.is_here()? {
            return Ok(());
        }
        // Another edit that took the name meanwhile stays; the one that was moved then stays in the
        // trash.
        self.move_in(slot.at())?;
        Err(self.unexpected()?)
    }

    fn place(
        &self,
        op: &'static str,
        take: impl FnMut(At<'_>) -> rustix::io::Result<()>,
    ) -> Result<Slot> {
        match trash::place(self.root, self.path, self.now_ms, take) {
            Err(Errno::NOENT) => Err(ApplyError::Unexpected(self.stat()?)),
            result => result.map_err(|error| self.failed(op, error)),
        }
    }

    /// What is there, which is not what was expected. If it is in a directory that has gone from
    /// its path: nothing.
    fn unexpected(&self) -> Result<ApplyError> {
        Ok(ApplyError::Unexpected(if self.is_here()? { self.stat()? } else { None }))
    }

    /// Is the directory that was opened the one at its path still? If not, it was renamed
    /// meanwhile, and what was done in it was done to another path.
    fn is_here(&self) -> Result<bool> {
        let Some(parent) = self.path.parent().filter(|parent| !parent.is_root()) else {
            return Ok(true);
        };
        let failed = |error| self.failed("look at the directory of", error);
        match self.root.open_directory(&parent, How::Search) {
            Ok(now) => {
                let identity = |directory| self.files().identity(directory).map_err(failed);
                Ok(identity(&now)? == identity(&self.parent)?)
            }
            Err(error) if sys::is_absent(error) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn is_in(&self, slot: &Slot, expected: &Stat) -> Result<bool> {
        let there = self.root.stat_in(slot.at());
        let there = there.map_err(|error| self.failed("look into the trash for", error))?;
        Ok(there.is_some_and(|there| is_same(expected, &there)))
    }

    /// What is at the path now that `placed` was put there. If somebody has touched it already, it
    /// is said to be what was put there, so that the next look sees the edit. But if it cannot be
    /// seen there because the file system does not keep the name, it is not there: nobody has
    /// removed it.
    fn settled(&self, placed: &Stat) -> Result<Option<Stat>> {
        let seen = self.stat()?;
        if seen.is_none() {
            names::require_not_lost(self.root, self.path)?;
        }
        let after = seen.filter(|after| is_same(placed, after) && after.mode == placed.mode);
        Ok(Some(after.unwrap_or(*placed)))
    }

    /// Undoes a rename that gave what was renamed another name, where it is still found.
    fn take_back(&self, placed: &Stat, to: At<'_>, why: ApplyError) -> Result<Option<Stat>> {
        let there = self.root.stat_in(self.at()).map_err(|error| self.failed("look at", error))?;
        if there.is_some_and(|there| is_same(placed, &there)) {
            sys::rename_new(self.files(), self.at(), to, self.root.able())
                .map_err(|error| self.failed("take back", error))?;
            self.has_new.set(false);
        }
        Err(why)
    }

    /// To whom it belongs what is put there.
    fn belonging(&self, replaces: bool) -> Belonging {
        Belonging::of(self.root, self.path, replaces)
    }

    fn failed(&self, op: &'static str, error: Errno) -> ApplyError {
        failed(op, self.path, error)
    }
}

/// Is it the same content? A rename changes the time of the last change of the inode, and nothing
/// else.
fn is_same(a: &Stat, b: &Stat) -> bool {
    let ctime_ns = 0;
    a.kind == b.kind && Stamp { ctime_ns, ..a.stamp } == Stamp { ctime_ns, ..b.stamp }
}

#[cfg(test)]
mod tests;
