//! Carries out one change that the core has decided, if the disk still holds what the core thinks it holds.
//!
//! Nothing that a user has is ever removed or overwritten: it is moved to the trash, and what was moved is then
//! compared with what was expected. If it is something else, an edit nobody has noticed yet, it is moved back. A name
//! is never without content in between. Where the file system cannot exchange names, this is approached as
//! far as it goes: the old content gets a second name, or is copied, before the new one takes its place.

use std::{cell::Cell, fmt, io, rc::Rc};

use rustix::io::Errno;

use crate::{
    core::seam::{Action, Apply},
    io::{
        disk::{
            change::{names, stage::Staged},
            root::Root,
            trash::{self, Slot},
        },
        files::{At, FileSystem, Handle, How, sys},
    },
    model::{
        entry::{FileKind, Stamp, Stat},
        limits::HASH_READ_BYTES,
        path::RelPath,
    },
};

/// Why nothing was done.
#[derive(Debug)]
pub enum ApplyError {
    /// The disk holds something else than expected: a local edit that is to be noticed first.
    Unexpected(Option<Stat>),
    /// The directory has something in it.
    NotEmpty,
    /// A parent is missing, or is not a directory.
    Parent,
    /// The temporary file with the new content is gone.
    Content,
    /// The new content may never reach the disk, whatever a later sync says: the system tells of a failed write once.
    NotDurable(io::Error),
    /// The path is the root or in the node's own directory.
    Reserved,
    /// The disk, or this user's part of it, is full.
    NoSpace,
    /// It could not be found out what came of it: new content may have its name.
    HalfDone(Box<ApplyError>),
    /// Anything else that the system says.
    Io {
        /// What was tried.
        op: &'static str,
        /// Where.
        path: RelPath,
        /// Why not.
        error: io::Error,
    },
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected(_) => f.write_str("it was changed meanwhile"),
            Self::NotEmpty => f.write_str("the directory is not empty"),
            Self::Parent => f.write_str("a directory above it is missing"),
            Self::Content => f.write_str("its temporary file is gone"),
            Self::NotDurable(error) => write!(f, "its content cannot be made durable: {error}"),
            Self::Reserved => f.write_str("it is the node's own"),
            Self::NoSpace => f.write_str("the disk is full; make room and it goes on"),
            Self::HalfDone(error) => write!(f, "it may have been changed, but {error}"),
            Self::Io { op, path, error } => write!(f, "cannot {op} {path}: {error}"),
        }
    }
}

impl std::error::Error for ApplyError {}

type Result<T> = std::result::Result<T, ApplyError>;

/// Carries out one change; gives back what is there then. Missing parents are not made. A directory without the
/// right to write, owned by this user, is given it for the moment, since `0555` is meant for people.
///
/// Only [`crate::io::disk::change::barrier::Barrier`] calls this: it has synced the temporary file and set its bits and time.
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
            Err(ApplyError::HalfDone(Box::new(error)))
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
            self.copy(old, copied)?;
            match sys::rename_new(self.files(), copied, beside.at(), self.root.able()) {
                Err(Errno::EXIST) => Ok(()),
                result => result,
            }
        };
        copy().map_err(|error| self.failed("keep a copy of", error))?;
        beside.is_kept()
    }

    /// The content that was to be kept at this path was kept there before; unless it is another name's.
    fn is_kept(&self) -> Result<()> {
        if self.stat()?.is_some() { Ok(()) } else { Err(self.taken()) }
    }

    /// Gives a temporary file or symbolic link the path's name.
    fn install(&self, temp: &[u8], current: Option<Stat>) -> Result<Option<Stat>> {
        let directory =
            self.root.temporary().map_err(|error| self.failed("reach temporary files for", error))?;
        let staged = Arrival { directory, name: temp };
        let before = self
            .root
            .stat_in(staged.at())
            .map_err(|error| self.failed("find the temporary file of", error))?
            .ok_or(ApplyError::Content)?;
        match current {
            Some(old) if old.kind != FileKind::Directory => self.replace(&staged, &before, &old)?,
            _ => {
                self.make_way(current)?;
                self.move_in(staged.at())?;
            }
        }
        self.settled(&before).or_else(|error| self.take_back(&before, staged.at(), error))
    }

    /// A name that is free, or a directory that is empty, is made way for.
    fn make_way(&self, current: Option<Stat>) -> Result<()> {
        match current {
            None => Ok(()),
            Some(old) if old.kind == FileKind::Directory => self.remove_directory(current).map(|_| ()),
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

    /// Exchanges old and new content. The new one waits in the trash, under the name that the old one then has: so
    /// whenever the power fails, the old content is at one of its two places.
    fn replace(&self, staged: &Arrival<'_>, new: &Stat, old: &Stat) -> Result<()> {
        let able = self.root.able();
        if !able.rename_flags {
            return self.replace_by_link(staged, old);
        }
        let files = self.files();
        let slot = self.place("move to the trash what is to replace", |at| {
            sys::rename_new(files, staged.at(), at, able)
        })?;
        let exchanged = sys::exchange(files, slot.at(), self.at(), able);
        self.has_new.set(exchanged.is_ok());
        match exchanged {
            Ok(()) if self.is_in(&slot, old)? && self.is_here()? => Ok(()),
            Ok(()) => {
                sys::exchange(files, slot.at(), self.at(), able)
                    .map_err(|error| self.failed("put back", error))?;
                self.unstage(&slot, staged, new)?;
                Err(self.unexpected()?)
            }
            Err(error) => {
                self.unstage(&slot, staged, new)?;
                match error {
                    Errno::NOENT => Err(ApplyError::Unexpected(self.stat()?)),
                    error if sys::is_unsupported(error) => self.replace_by_link(staged, old),
                    error => Err(self.failed("replace", error)),
                }
            }
        }
    }

    /// Puts the new content back among the temporary files. Should the place in the trash hold anything else by now,
    /// it is a user's, and it stays there.
    fn unstage(&self, slot: &Slot, staged: &Arrival<'_>, new: &Stat) -> Result<()> {
        if !self.is_in(slot, new)? {
            return Ok(());
        }
        sys::rename_new(self.files(), slot.at(), staged.at(), self.root.able())
            .map_err(|error| self.failed("take back the new content of", error))
    }

    /// Replaces where names cannot be exchanged: the old content gets a second name in the trash first. An editor
    /// that renames over the path in the instant between the comparison and the rename would lose; one that
    /// writes in place would not.
    fn replace_by_link(&self, staged: &Arrival<'_>, old: &Stat) -> Result<()> {
        let (files, able) = (self.files(), self.root.able());
        // Asked first: once it is linked, the file has another stamp than the one expected.
        files
            .check_writable(&self.parent)
            .map_err(|error| self.failed("write to the directory of", error))?;
        let mut linked = Ok(());
        let slot = self.place("link to the trash", |at| {
            linked = sys::link(files, self.at(), at, able);
            match linked {
                Err(error) if sys::is_link_unsupported(error) => self.copy(old, at),
                result => result,
            }
        })?;
        let is_expected = if linked.is_ok() {
            self.is_in(&slot, old)?
        } else {
            self.stat()?.is_some_and(|stat| stat.stamp == old.stamp)
        };
        let replaced = match is_expected {
            true => files.rename(staged.at(), self.at()).map_err(|error| self.failed("replace", error)),
            false => Err(ApplyError::Unexpected(self.stat()?)),
        };
        self.has_new.set(replaced.is_ok());
        if replaced.is_err() {
            // A second name, or a copy of what is still at the path.
            files.unlink(slot.at()).map_err(|error| self.failed("remove the copy of", error))?;
        }
        replaced
    }

    /// Copies the old content to a free name. Only on file systems without links, such as FAT.
    fn copy(&self, old: &Stat, to: At<'_>) -> rustix::io::Result<()> {
        let files = self.files();
        if old.kind == FileKind::Symlink {
            return files.symlink(&files.read_link_at(self.at())?, to);
        }
        let source = files.open_at(self.at(), How::Read)?;
        let copy = files.create_at(to)?;
        let copied = copy_content(files, &source, &copy)
            .and_then(|()| self.root.set_mode(&copy, old.mode))
            .and_then(|()| files.set_mtime_of(&copy, old.stamp.mtime_ns))
            .and_then(|()| files.sync_content(&copy));
        if let Err(error) = copied {
            files.unlink(to)?;
            return Err(error);
        }
        Ok(())
    }

    fn make_directory(&self, mode: u16, current: Option<Stat>) -> Result<Option<Stat>> {
        if current.is_some_and(|stat| stat.kind == FileKind::Directory) {
            return self.set_metadata(mode, None, current);
        }
        self.make_way(current)?;
        match self.files().make_directory(self.at()) {
            Err(Errno::EXIST) => return Err(self.taken()),
            Err(Errno::NOENT) => return Err(ApplyError::Parent),
            result => result.map_err(|error| names::failed("make the directory", self.path, error))?,
        }
        self.has_new.set(true);
        self.root.forget_directories();
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
        self.install(NAME, current)
    }

    fn set_metadata(&self, mode: u16, mtime_ns: Option<i64>, current: Option<Stat>) -> Result<Option<Stat>> {
        let Some(old) = current else { return Err(ApplyError::Unexpected(None)) };
        if old.kind == FileKind::Symlink {
            return Ok(current);
        }
        let files = self.files();
        let look = |opened: &Handle| {
            files.stat_of(opened, self.root.device()).map_err(|error| self.failed("look at", error))
        };
        let opened = files.open_at(self.at(), How::ForMode).map_err(|error| self.failed("open", error))?;
        if look(&opened)?.stamp != old.stamp {
            return Err(ApplyError::Unexpected(self.stat()?));
        }
        self.set_mode(&opened, mode)?;
        let mtime_ns = mtime_ns.filter(|_| old.kind == FileKind::File);
        if let Some(mtime_ns) = mtime_ns {
            // Once the time is set, nothing but the watch tells of an edit meanwhile.
            let now = look(&opened)?;
            if !is_same(&old, &now) {
                return Err(ApplyError::Unexpected(Some(now)));
            }
            let set = files.set_mtime(self.at(), mtime_ns);
            set.map_err(|error| self.refused("set the time of", &opened, error))?;
        }
        let mut set = look(&opened)?;
        if set.mode != mode {
            // Somebody else set them in this instant, and will not know which came first; or FAT rounds them, again.
            self.set_mode(&opened, mode)?;
            set = look(&opened)?;
        }
        if set.stamp.size != old.stamp.size {
            return Err(ApplyError::Unexpected(Some(set)));
        }
        if mtime_ns.is_some_and(|mtime_ns| set.stamp.mtime_ns != mtime_ns) {
            // The file system keeps it less exactly, or the file was written to since: the next look reads it.
            set.stamp = set.stamp.of_no_file();
        }
        Ok(Some(set))
    }

    fn set_mode(&self, opened: &Handle, mode: u16) -> Result<()> {
        let is_set = || self.files().stat_of(opened, self.root.device()).is_ok_and(|stat| stat.mode == mode);
        match self.root.set_mode(opened, mode) {
            Err(Errno::PERM) if is_set() => Ok(()),
            result => result.map_err(|error| self.refused("set the permissions of", opened, error)),
        }
    }

    /// Why bits or time of a file are not set: they are its owner's.
    fn refused(&self, op: &'static str, opened: &Handle, error: Errno) -> ApplyError {
        let user = rustix::process::geteuid().as_raw();
        match self.files().owner(opened).filter(|owner| error == Errno::PERM && *owner != user) {
            Some(owner) => {
                let reason = format!(
                    "it belongs to user {owner}, and p2pnetwork runs as user {user}; give it to that user (chown), or run \
                     p2pnetwork as its owner or as root"
                );
                let error = io::Error::new(io::ErrorKind::PermissionDenied, reason);
                ApplyError::Io { op, path: self.path.clone(), error }
            }
            None => self.failed(op, error),
        }
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

    fn rename_from(&self, from: &RelPath, stamp: Stamp, current: Option<Stat>) -> Result<Option<Stat>> {
        let source = Site::new(self.root, from, self.now_ms)?;
        let Some(before) = source.check(Some(stamp))? else { return Err(ApplyError::Unexpected(None)) };
        self.make_way(current)?;
        self.root.forget_directories();
        if self.is_other_case_of(&source)? {
            self.files().rename(source.at(), self.at()).map_err(|error| self.failed("rename to", error))?;
        } else {
            self.move_in(source.at())?;
        }
        match self.stat()? {
            Some(after) if is_same(&before, &after) && self.is_here()? && source.is_here()? => {
                self.settled(&before).or_else(|error| self.take_back(&before, source.at(), error))
            }
            _ => {
                source.move_in(self.at())?;
                Err(source.unexpected()?)
            }
        }
    }

    fn exchange(&self, with: &RelPath, stamp: Stamp, current: Option<Stat>) -> Result<Option<Stat>> {
        let other = Site::new(self.root, with, self.now_ms)?;
        let (Some(here), Some(there)) = (current, other.check(Some(stamp))?) else {
            return Err(ApplyError::Unexpected(current));
        };
        let exchange = || {
            sys::exchange(self.root.files(), self.at(), other.at(), self.root.able())
                .map_err(|error| self.failed("exchange with another file", error))
        };
        exchange()?;
        match (self.stat()?, other.stat()?) {
            (Some(now), Some(then))
                if is_same(&there, &now)
                    && is_same(&here, &then)
                    && self.is_here()?
                    && other.is_here()? =>
            {
                self.settled(&there)
            }
            _ => {
                exchange()?;
                Err(self.unexpected()?)
            }
        }
    }

    /// Is it the same name to this file system? Then it is free for nobody but what has it.
    fn is_other_case_of(&self, source: &Site<'_>) -> Result<bool> {
        let other = self.root.other_name(self.at()).map_err(|error| self.failed("look at", error))?;
        Ok(self.path.parent() == source.path.parent() && other.as_deref() == Some(source.path.name()))
    }

    fn to_trash(&self, old: &Stat) -> Result<()> {
        let able = self.root.able();
        let slot =
            self.place("move to the trash", |at| sys::rename_new(self.files(), self.at(), at, able))?;
        if self.is_in(&slot, old)? && self.is_here()? {
            return Ok(());
        }
        // Another edit that took the name meanwhile stays; the one that was moved then stays in the trash.
        self.move_in(slot.at())?;
        Err(self.unexpected()?)
    }

    fn place(&self, op: &'static str, take: impl FnMut(At<'_>) -> rustix::io::Result<()>) -> Result<Slot> {
        match trash::place(self.root, self.path, self.now_ms, take) {
            Err(Errno::NOENT) => Err(ApplyError::Unexpected(self.stat()?)),
            result => result.map_err(|error| self.failed(op, error)),
        }
    }

    /// What is there, which is not what was expected. If it is in a directory that has gone from its path: nothing.
    fn unexpected(&self) -> Result<ApplyError> {
        Ok(ApplyError::Unexpected(if self.is_here()? { self.stat()? } else { None }))
    }

    /// Is the directory that was opened the one at its path still? If not, it was renamed meanwhile, and what was done in it
    /// was done to another path.
    fn is_here(&self) -> Result<bool> {
        let Some(parent) = self.path.parent().filter(|parent| !parent.is_root()) else { return Ok(true) };
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

    /// What is at the path now that `placed` was put there. If somebody has touched it already, it is said to be
    /// what was put there, so that the next look sees the edit. But if it cannot be seen there because the file system does
    /// not keep the name, it is not there: nobody has removed it.
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

    fn failed(&self, op: &'static str, error: Errno) -> ApplyError {
        failed(op, self.path, error)
    }
}

/// New content that has no name in the tree yet.
struct Arrival<'a> {
    directory: Rc<Handle>,
    name: &'a [u8],
}

impl Arrival<'_> {
    fn at(&self) -> At<'_> {
        (&self.directory, self.name)
    }
}

/// Directories that were given the right to write, until this is dropped.
struct Unlocked<'a> {
    root: &'a Root,
    directories: Vec<(Handle, u16)>,
}

impl<'a> Unlocked<'a> {
    /// The parents of all that is renamed, and a renamed directory itself, whose `..` changes.
    fn new(root: &'a Root, apply: &Apply) -> Self {
        let mut directories = vec![apply.path.parent()];
        match &apply.action {
            Action::RenameFrom { from, .. } => directories.extend([from.parent(), Some(from.clone())]),
            Action::Exchange { with, .. } => directories.push(with.parent()),
            _ => {}
        }
        let directories = directories.into_iter().flatten().filter_map(|path| unlock(root, &path)).collect();
        Self { root, directories }
    }
}

impl Drop for Unlocked<'_> {
    fn drop(&mut self) {
        for (directory, mode) in &self.directories {
            if let Err(error) = self.root.files().set_mode(directory, *mode) {
                log::warn!("cannot set a directory's mode back to {mode:o}: {error}");
            }
        }
    }
}

/// `None` when it would not help: the change then fails as it did before.
fn unlock(root: &Root, path: &RelPath) -> Option<(Handle, u16)> {
    let directory = root.open_directory(path, How::Search).ok()?;
    let stat = root.files().stat_of(&directory, root.device()).ok()?;
    if stat.mode & 0o700 == 0o700 {
        return None;
    }
    root.files().set_mode(&directory, stat.mode | 0o700).ok()?;
    Some((directory, stat.mode))
}

/// Is it the same content? A rename changes the time of the last change of the inode, and nothing else.
fn is_same(a: &Stat, b: &Stat) -> bool {
    let ctime_ns = 0;
    a.kind == b.kind && Stamp { ctime_ns, ..a.stamp } == Stamp { ctime_ns, ..b.stamp }
}

fn copy_content(files: &dyn FileSystem, source: &Handle, copy: &Handle) -> rustix::io::Result<()> {
    let mut buffer = vec![0; HASH_READ_BYTES];
    let mut offset = 0;
    loop {
        let count = files.read_at(source, &mut buffer, offset)?;
        if count == 0 {
            return Ok(());
        }
        files.write_at(copy, &buffer[..count], offset)?;
        offset += count as u64;
    }
}

pub(crate) fn failed(op: &'static str, path: &RelPath, error: Errno) -> ApplyError {
    match error {
        Errno::NOSPC | Errno::DQUOT => ApplyError::NoSpace,
        error => ApplyError::Io { op, path: path.clone(), error: sys::told(error) },
    }
}

#[cfg(test)]
mod tests;
