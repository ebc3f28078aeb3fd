//! kqueue: the system calls, on macOS and the BSDs. What the events mean is `vnode`'s business.
//!
//! The `kqueue` crate lends its descriptor to the poll loop and hands out events without waiting,
//! which is all that is needed. Two of its habits bound the number of watches
//! (`MAX_KQUEUE_WATCHES`): it registers all watches again for each one added, and it walks all of
//! them for each event. It keeps one event at a time; its mutex is never contended.
//!
//! What is watched is opened for events alone where that is possible (macOS), so that it can be
//! unmounted.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::Path,
};

use kqueue::{EventData, EventFilter, FilterFlag, Ident, Vnode};
use rustix::{
    fs::{Mode, OFlags, openat},
    io::Errno,
    process::{Resource, getrlimit},
};

use super::{
    AddError, Watched,
    table::Key,
    vnode::{Note, VnodeQueue, VnodeWatches, descriptor_budget},
};
use crate::{core::seam::Change, model::path::RelPath};

/// Watches directories and files through a kqueue.
pub struct KqueueWatcher {
    watches: VnodeWatches<Queue>,
}

impl KqueueWatcher {
    /// Watches nothing yet. The path is not needed: everything is watched by descriptor.
    pub fn new(_root: &Path) -> io::Result<Self> {
        let budget = descriptor_budget(getrlimit(Resource::Nofile).current);
        Ok(Self { watches: VnodeWatches::new(Queue(kqueue::Watcher::new()?), budget) })
    }

    /// See [`super::Watcher::add`].
    pub fn add(&mut self, directory: &RelPath, fd: BorrowedFd<'_>) -> Result<Watched, AddError> {
        let own = open_for_events(fd).map_err(add_error)?;
        self.watches.add(directory, own, true)
    }

    /// See [`super::Watcher::add_file`].
    pub fn add_file(
        &mut self,
        file: &RelPath,
        directory: BorrowedFd<'_>,
    ) -> Result<Watched, AddError> {
        let flags = EVENTS_ONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let own = openat(directory, file.name(), flags, Mode::empty()).map_err(add_error)?;
        self.watches.add(file, own, false)
    }

    /// See [`super::Watcher::remove_below`].
    pub fn remove_below(&mut self, directory: &RelPath) {
        self.watches.remove_below(directory);
    }

    /// See [`super::Watcher::poll_change`].
    pub fn poll_change(&mut self) -> io::Result<Option<Change>> {
        self.watches.poll_change()
    }

    /// See [`super::Watcher::raw_fd`].
    pub fn raw_fd(&self) -> RawFd {
        self.watches.queue.0.as_raw_fd()
    }

    /// See [`super::Watcher::watch_count`].
    pub fn watch_count(&self) -> usize {
        self.watches.watch_count()
    }
}

/// Opens what is not read, and does not keep its file system from being unmounted: `O_EVTONLY` of
/// Apple's `fcntl.h`, which rustix does not name.
#[cfg(any(target_os = "macos", target_os = "ios"))]
const EVENTS_ONLY: OFlags = OFlags::from_bits_retain(0x8000);
#[cfg(not(any(target_os = "macos", target_os = "ios")))]
const EVENTS_ONLY: OFlags = OFlags::RDONLY;

/// A descriptor of the same directory.
fn open_for_events(directory: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    openat(directory, ".", EVENTS_ONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn add_error(error: Errno) -> AddError {
    match error {
        Errno::MFILE | Errno::NFILE => AddError::Limit,
        Errno::NOENT | Errno::NOTDIR => AddError::Gone,
        _ => AddError::Io(error.into()),
    }
}

struct Queue(kqueue::Watcher);

impl VnodeQueue for Queue {
    fn register(&mut self, key: Key) -> io::Result<()> {
        self.0.add_fd(key, EventFilter::EVFILT_VNODE, notes())?;
        self.0.watch().inspect_err(|_| self.unregister(key))
    }

    fn unregister(&mut self, key: Key) {
        // Fails only when it was never registered; closing the descriptor would unregister it
        // anyway.
        if let Err(error) = self.0.remove_fd(key, EventFilter::EVFILT_VNODE) {
            log::trace!("descriptor {key} was not registered: {error}");
        }
    }

    fn next(&mut self) -> io::Result<Option<(Key, Note)>> {
        while let Some(event) = self.0.poll(None) {
            match (event.ident, event.data) {
                (Ident::Fd(key), EventData::Vnode(vnode)) => {
                    if let Some(note) = note(&vnode) {
                        return Ok(Some((key, note)));
                    }
                }
                // An event of a descriptor that was unregistered in the meantime, or an interrupted
                // call.
                (_, EventData::Error(error)) if is_harmless(&error) => {}
                (_, EventData::Error(error)) => return Err(error),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// The crate makes errors of its own, without a number, of events that it cannot place.
fn is_harmless(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || error.raw_os_error().is_none()
}

fn notes() -> FilterFlag {
    let notes = FilterFlag::NOTE_WRITE
        | FilterFlag::NOTE_EXTEND
        | FilterFlag::NOTE_ATTRIB
        | FilterFlag::NOTE_LINK
        | FilterFlag::NOTE_RENAME
        | FilterFlag::NOTE_REVOKE
        | FilterFlag::NOTE_DELETE;
    #[cfg(target_os = "freebsd")]
    let notes = notes | FilterFlag::NOTE_CLOSE_WRITE;
    notes
}

fn note(vnode: &Vnode) -> Option<Note> {
    match vnode {
        Vnode::Write | Vnode::Extend | Vnode::Truncate => Some(Note::Written),
        Vnode::CloseWrite => Some(Note::Closed),
        Vnode::Attrib | Vnode::Link => Some(Note::Attributes),
        Vnode::Rename => Some(Note::Renamed),
        Vnode::Delete => Some(Note::Deleted),
        Vnode::Revoke => Some(Note::Revoked),
        _ => None,
    }
}
