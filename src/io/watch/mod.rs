//! Tells that something on the disk may have changed: inotify, kqueue, or nothing at all.
//!
//! Whatever the source, what comes out is a [`Change`]: a hint to look, never a fact. This module
//! owns the watches and the table of which directory each stands for; it reads no file, lists no
//! directory and knows nothing of the index. A directory that cannot be watched, see [`AddError`],
//! is the caller's to compare on the timer.
//!
//! Order matters to the caller: a directory is added first and listed after that, so that nothing
//! made in between is missed, and a parent is added before its children. A directory that was
//! renamed is added again all the same: `AlreadyWatched` says that it has moved with its watch,
//! `Watched` that it has to be listed like a new one (it replaced another, or the two were
//! exchanged).

#[cfg(target_os = "linux")]
pub mod inotify;
#[cfg(any(
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
pub mod kqueue;
pub mod table;
#[cfg(target_os = "linux")]
pub mod translate;
#[cfg(any(not(target_os = "linux"), test))]
pub mod vnode;

use std::{
    fmt, io,
    os::fd::{BorrowedFd, RawFd},
    path::Path,
};

use crate::{core::seam::Change, io::files::Handle, model::path::RelPath};

#[cfg(target_os = "linux")]
use self::inotify::InotifyWatcher as NativeWatcher;
#[cfg(not(target_os = "linux"))]
use self::kqueue::KqueueWatcher as NativeWatcher;

/// Where events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Linux.
    Inotify,
    /// macOS and the BSDs.
    Kqueue,
    /// Nowhere: every directory is compared on the timer.
    Polling,
}

impl Backend {
    /// The one that this system has.
    pub const fn native() -> Self {
        if cfg!(target_os = "linux") { Self::Inotify } else { Self::Kqueue }
    }
}

/// Says whether a watch is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// From now on: what is there now has to be listed.
    Watched,
    /// It was before, with this same directory at this same path or one that it has moved from.
    AlreadyWatched,
}

/// Why a directory is not watched. The caller leaves it, and all below, to the timer.
#[derive(Debug)]
pub enum AddError {
    /// The system's limit: `fs.inotify.max_user_watches` on Linux, open files with kqueue.
    Limit,
    /// This program's own: `MAX_WATCHES`, with kqueue the share of the descriptors.
    TableFull,
    /// There is no directory any more.
    Gone,
    /// The directory above is not watched, so that a rename of this one would go unseen.
    ParentUnwatched,
    /// Never: reserved for the node's own state, or no events here at all.
    Unsupported,
    /// Anything else, as the system said it.
    Io(io::Error),
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit if cfg!(target_os = "linux") => f.write_str(
                "the system's limit of watches is reached; raise fs.inotify.max_user_watches",
            ),
            Self::Limit => {
                f.write_str("the system's limit of open files is reached; raise it (ulimit -n)")
            }
            Self::TableFull => f.write_str("this program's own limit of watches is reached"),
            Self::Gone => f.write_str("it is no longer there"),
            Self::ParentUnwatched => f.write_str("the directory above is not watched"),
            Self::Unsupported => f.write_str("there are no events for it"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AddError {}

impl From<io::Error> for AddError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Events of a file system that is not the kernel's. What its methods are to do stands at those of
/// [`Watcher`].
#[allow(missing_docs, reason = "see Watcher")]
pub trait Watch {
    fn add(&mut self, directory: &RelPath, handle: &Handle) -> Result<Watched, AddError>;
    fn watches_files(&self) -> bool {
        false
    }
    fn add_file(&mut self, _file: &RelPath, _directory: &Handle) -> Result<Watched, AddError> {
        Ok(Watched::AlreadyWatched)
    }
    fn remove_below(&mut self, directory: &RelPath);
    fn poll_change(&mut self) -> io::Result<Option<Change>>;
    fn watch_count(&self) -> usize;
}

/// The watches of one root, whatever the source of events.
pub enum Watcher {
    /// inotify or kqueue.
    Native(Box<NativeWatcher>),
    /// Something else, such as a simulation.
    Foreign(Box<dyn Watch>),
    /// No events.
    Polling,
}

impl Watcher {
    /// Watches nothing yet, not even `root`: that is added like any other directory, and first.
    ///
    /// Fails with `Unsupported` when this system does not have the back end, or as the system says
    /// (with `EMFILE` at its limit of inotify instances, `fs.inotify.max_user_instances`).
    pub fn new(backend: Backend, root: &Path) -> io::Result<Self> {
        match backend {
            Backend::Polling => Ok(Self::Polling),
            _ if backend == Backend::native() => {
                Ok(Self::Native(Box::new(NativeWatcher::new(root)?)))
            }
            _ => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("this system has no {backend:?} events; choose --os auto"),
            )),
        }
    }

    /// Watches `directory`, which the caller has opened as `handle` without following links, and
    /// may close afterwards.
    pub fn add(&mut self, directory: &RelPath, handle: &Handle) -> Result<Watched, AddError> {
        match self {
            _ if directory.is_reserved() => Err(AddError::Unsupported),
            Self::Native(native) => native.add(directory, descriptor(handle)?),
            Self::Foreign(foreign) => foreign.add(directory, handle),
            Self::Polling => Err(AddError::Unsupported),
        }
    }

    /// Is each file to be added as well, since a directory's watch does not tell of what is written
    /// to the files in it (kqueue)?
    pub fn watches_files(&self) -> bool {
        match self {
            Self::Native(_) => cfg!(not(target_os = "linux")),
            Self::Foreign(foreign) => foreign.watches_files(),
            Self::Polling => false,
        }
    }

    /// Watches the content of `file`, which is in `directory`. One that cannot be watched is
    /// compared on the timer, with all of its directory.
    pub fn add_file(&mut self, file: &RelPath, directory: &Handle) -> Result<Watched, AddError> {
        match self {
            _ if file.is_reserved() => Err(AddError::Unsupported),
            Self::Native(native) => native.add_file(file, descriptor(directory)?),
            Self::Foreign(foreign) => foreign.add_file(file, directory),
            Self::Polling => Err(AddError::Unsupported),
        }
    }

    /// Watches nothing below `directory` any more, nor itself.
    pub fn remove_below(&mut self, directory: &RelPath) {
        match self {
            Self::Native(native) => native.remove_below(directory),
            Self::Foreign(foreign) => foreign.remove_below(directory),
            Self::Polling => {}
        }
    }

    /// The next change; `None` until the descriptor becomes readable again.
    pub fn poll_change(&mut self) -> io::Result<Option<Change>> {
        match self {
            Self::Native(native) => native.poll_change(),
            Self::Foreign(foreign) => foreign.poll_change(),
            Self::Polling => Ok(None),
        }
    }

    /// What to poll for readability; `None` without events.
    pub fn raw_fd(&self) -> Option<RawFd> {
        match self {
            Self::Native(native) => Some(native.raw_fd()),
            Self::Foreign(_) | Self::Polling => None,
        }
    }

    /// Number of watches.
    pub fn watch_count(&self) -> usize {
        match self {
            Self::Native(native) => native.watch_count(),
            Self::Foreign(foreign) => foreign.watch_count(),
            Self::Polling => 0,
        }
    }
}

fn descriptor(handle: &Handle) -> Result<BorrowedFd<'_>, AddError> {
    handle.fd().map_err(|_| AddError::Unsupported)
}
