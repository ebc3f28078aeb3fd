//! inotify: the system calls, and one buffer of events. What the events mean is `translate`'s
//! business.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::{Path, PathBuf},
};

use inotify::{EventMask, Inotify, WatchMask};
use rustix::io::Errno;

use super::{
    AddError, Watched,
    table::Key,
    translate::{Event, EventSource, Translator},
};
use crate::{
    core::seam::Change,
    model::{
        limits::{INOTIFY_BUFFER_BYTES, MAX_WATCHES},
        path::RelPath,
    },
};

/// Watches directories through inotify.
pub struct InotifyWatcher {
    root: PathBuf,
    translator: Translator<Queue>,
    max_watches: usize,
}

impl InotifyWatcher {
    /// Watches nothing yet.
    pub fn new(root: &Path) -> io::Result<Self> {
        let translator = Translator::new(Queue::new()?);
        Ok(Self { root: root.to_owned(), translator, max_watches: MAX_WATCHES })
    }

    /// The same with a limit of its own, for tests.
    #[cfg(test)]
    fn with_limit(root: &Path, max_watches: usize) -> io::Result<Self> {
        Ok(Self { max_watches, ..Self::new(root)? })
    }

    /// See [`super::Watcher::add`].
    pub fn add(&mut self, directory: &RelPath, fd: BorrowedFd<'_>) -> Result<Watched, AddError> {
        let table = &self.translator.table;
        if !directory.is_root()
            && directory.parent().and_then(|parent| table.find(&parent)).is_none()
        {
            return Err(AddError::ParentUnwatched);
        }
        if table.len() >= self.max_watches && table.find(directory).is_none() {
            return Err(AddError::TableFull);
        }
        let key = self.add_to_kernel(directory, fd)?;
        self.translator.enter(directory, key)
    }

    /// A directory's watch covers the content of its files.
    pub fn add_file(
        &mut self,
        _file: &RelPath,
        _directory: BorrowedFd<'_>,
    ) -> Result<Watched, AddError> {
        Ok(Watched::AlreadyWatched)
    }

    /// See [`super::Watcher::remove_below`].
    pub fn remove_below(&mut self, directory: &RelPath) {
        self.translator.remove_below(directory);
    }

    /// See [`super::Watcher::poll_change`].
    pub fn poll_change(&mut self) -> io::Result<Option<Change>> {
        self.translator.poll_change()
    }

    /// See [`super::Watcher::raw_fd`].
    pub fn raw_fd(&self) -> RawFd {
        self.translator.source.inotify.as_raw_fd()
    }

    /// See [`super::Watcher::watch_count`].
    pub fn watch_count(&self) -> usize {
        self.translator.table.len()
    }

    /// By the caller's descriptor, so that no link swapped into the path leads astray. Without
    /// `/proc` by the path, of which then only the last component is kept from being followed: a
    /// link swapped in higher up costs wrong hints, no more, since whatever is read is opened anew
    /// without following links.
    fn add_to_kernel(&mut self, directory: &RelPath, fd: BorrowedFd<'_>) -> Result<Key, AddError> {
        let mut mask = events() | WatchMask::ONLYDIR | WatchMask::EXCL_UNLINK;
        if directory.is_root() {
            mask |= WatchMask::MOVE_SELF;
        }
        let mut watches = self.translator.source.inotify.watches();
        let by_fd = watches.add(format!("/proc/self/fd/{}", fd.as_raw_fd()), mask);
        let added = match by_fd {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.root.join(os_path(directory));
                watches.add(path, mask | WatchMask::DONT_FOLLOW)
            }
            other => other,
        };
        added.map(|watch| watch.get_watch_descriptor_id()).map_err(add_error)
    }
}

fn events() -> WatchMask {
    WatchMask::CREATE
        | WatchMask::MODIFY
        | WatchMask::CLOSE_WRITE
        | WatchMask::ATTRIB
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
}

fn os_path(path: &RelPath) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

fn add_error(error: io::Error) -> AddError {
    match Errno::from_io_error(&error) {
        Some(Errno::NOSPC) => AddError::Limit,
        Some(Errno::NOENT | Errno::NOTDIR) => AddError::Gone,
        _ => AddError::Io(error),
    }
}

/// Events of the last read. Their names stay in the buffer.
struct Queue {
    inotify: Inotify,
    buffer: Box<[u8]>,
    events: Vec<BufferedEvent>,
    next: usize,
}

#[derive(Clone, Copy)]
struct BufferedEvent {
    key: Key,
    mask: EventMask,
    cookie: u32,
    name_start: u16,
    name_length: u16,
}

impl Queue {
    fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init()?,
            buffer: vec![0; INOTIFY_BUFFER_BYTES].into(),
            events: Vec::new(),
            next: 0,
        })
    }

    /// Reads once. At most one event for each 16 bytes of the buffer comes of it.
    fn fill(&mut self) -> io::Result<()> {
        self.events.clear();
        self.next = 0;
        let start = self.buffer.as_ptr().addr();
        let events = match self.inotify.read_events(&mut self.buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            other => other?,
        };
        self.events.extend(events.map(|event| {
            BufferedEvent {
                key: event.wd.get_watch_descriptor_id(),
                mask: event.mask,
                cookie: event.cookie,
                name_start: event
                    .name
                    .map_or(0, |name| (name.as_encoded_bytes().as_ptr().addr() - start) as u16),
                name_length: event.name.map_or(0, |name| name.len() as u16),
            }
        }));
        Ok(())
    }
}

impl EventSource for Queue {
    fn peek(&mut self) -> io::Result<Option<Event<'_>>> {
        if self.next == self.events.len() {
            self.fill()?;
        }
        Ok(self.events.get(self.next).map(|event| {
            let name_end = usize::from(event.name_start) + usize::from(event.name_length);
            Event {
                key: event.key,
                mask: event.mask,
                cookie: event.cookie,
                name: &self.buffer[event.name_start.into()..name_end],
            }
        }))
    }

    fn advance(&mut self) {
        self.next += 1;
    }

    fn unwatch(&mut self, key: Key) {
        // Fails only when the kernel has dropped the watch already, with its directory: just as
        // well. Not through the crate, whose descriptors are four times as large and would have to
        // be kept in the table.
        if let Err(error) = rustix::fs::inotify::remove_watch(self.inotify.as_fd(), key) {
            log::trace!("watch {key} was gone already: {error}");
        }
    }
}

impl<S: EventSource> Translator<S> {
    /// Puts a directory that the source watches under `key` into the table. The kernel names a
    /// directory that it watches already by the watch that it has.
    pub fn enter(&mut self, directory: &RelPath, key: Key) -> Result<Watched, AddError> {
        let occupant = self.table.find(directory);
        let known = self.table.row_of(key);
        if known.is_some() && known == occupant {
            return Ok(Watched::AlreadyWatched);
        }
        if directory.is_root() {
            self.clear();
            self.table.insert_root(key);
            return Ok(Watched::Watched);
        }
        self.enter_below_root(directory, key)
    }

    /// A watch that is known by another path has moved here, and its events are still on their way
    /// or lost.
    fn enter_below_root(&mut self, directory: &RelPath, key: Key) -> Result<Watched, AddError> {
        let parent_path = directory.parent().ok_or(AddError::Unsupported)?;
        let parent = self.table.find(&parent_path).ok_or(AddError::ParentUnwatched)?;
        let known = self.table.row_of(key);
        if known.is_some_and(|row| self.table.is_within(parent, row)) {
            // A directory within itself: the root bound below the root, or renames not yet heard
            // of.
            return Err(AddError::Io(Errno::LOOP.into()));
        }
        if let Some(stale) = self.table.find(directory) {
            // Takes `key` out of the table too when `x/y` was moved over `x`.
            self.drop_watches_but(stale, Some(key));
        }
        let Some(row) = self.table.row_of(key) else {
            self.table.insert(parent, directory.name(), key);
            return Ok(Watched::Watched);
        };
        self.table.relocate(row, parent, directory.name());
        Ok(Watched::AlreadyWatched)
    }
}

#[cfg(test)]
#[path = "inotify_tests.rs"]
mod tests;
