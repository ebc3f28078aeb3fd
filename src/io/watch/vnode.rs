//! From a kqueue's vnode events to [`Change`]s, and the budget of descriptors.
//!
//! A kqueue watches open descriptors, of directories for what they hold and of files for their
//! content. An event of a directory says that something in it changed, not what: the change names
//! the directory, and the caller lists it. What is renamed does not say where to: its watches are
//! dropped, the directory above has changed too, and when the caller lists that it finds the new
//! name.
//!
//! The queue itself is a [`VnodeQueue`], so that all of this is tested with scripted events.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::io::Errno;

use super::{
    AddError, Watched,
    table::{Key, Row, Table},
};
use crate::{
    core::seam::{Change, Hint},
    model::{
        limits::{KQUEUE_DESCRIPTOR_SHARE, KQUEUE_DIRECTORY_SHARE, MAX_KQUEUE_WATCHES},
        path::RelPath,
    },
};

/// What happened to a watched descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Its bytes, or the entries of a directory.
    Written,
    /// Closed by one that had it open for writing (FreeBSD).
    Closed,
    /// Mode, times, number of links.
    Attributes,
    /// It has another name now.
    Renamed,
    /// It has no name any more.
    Deleted,
    /// Its file system was unmounted.
    Revoked,
}

/// A queue of notes, and the registration of descriptors with it.
pub trait VnodeQueue {
    /// Reports on the descriptor `key` from now on.
    fn register(&mut self, key: Key) -> io::Result<()>;
    /// Reports on it no more. Called before it is closed.
    fn unregister(&mut self, key: Key);
    /// The next note, without waiting.
    fn next(&mut self) -> io::Result<Option<(Key, Note)>>;
}

struct Held {
    fd: OwnedFd,
    directory: bool,
}

/// Watches by descriptor, and turns notes into changes.
pub struct VnodeWatches<Q> {
    /// Where notes come from.
    pub queue: Q,
    table: Table,
    held: HashMap<Key, Held>,
    max_watches: usize,
}

/// How many descriptors may be watched when the process may open `open_files` (`None`: without
/// limit).
pub fn descriptor_budget(open_files: Option<u64>) -> usize {
    let share = open_files.unwrap_or(u64::MAX) / KQUEUE_DESCRIPTOR_SHARE;
    usize::try_from(share).unwrap_or(usize::MAX).min(MAX_KQUEUE_WATCHES)
}

impl<Q: VnodeQueue> VnodeWatches<Q> {
    /// Watches nothing yet, and never more than `max_watches`.
    pub fn new(queue: Q, max_watches: usize) -> Self {
        Self { queue, table: Table::default(), held: HashMap::new(), max_watches }
    }

    /// Number of watches.
    pub fn watch_count(&self) -> usize {
        self.table.len()
    }

    /// Watches `path`, open as `fd`, which is kept open.
    pub fn add(
        &mut self,
        path: &RelPath,
        fd: OwnedFd,
        directory: bool,
    ) -> Result<Watched, AddError> {
        if let Some(row) = self.table.find(path) {
            if self.is_same_file(row, &fd)? {
                return Ok(Watched::AlreadyWatched);
            }
            self.drop_watches(row);
        }
        let parent = match path.parent() {
            None => None,
            Some(parent) => Some(self.table.find(&parent).ok_or(AddError::ParentUnwatched)?),
        };
        // A directory that is not watched costs more than a file that is not: some room is kept for
        // them.
        let reserved = if directory { 0 } else { self.max_watches / KQUEUE_DIRECTORY_SHARE };
        if self.table.len() >= self.max_watches - reserved {
            return Err(AddError::TableFull);
        }
        let key = fd.as_raw_fd();
        self.queue.register(key).map_err(register_error)?;
        self.held.insert(key, Held { fd, directory });
        match parent {
            None => self.table.insert_root(key),
            Some(parent) => self.table.insert(parent, path.name(), key),
        }
        Ok(Watched::Watched)
    }

    /// Drops the watches of `directory` and below.
    pub fn remove_below(&mut self, directory: &RelPath) {
        if let Some(row) = self.table.find(directory) {
            self.drop_watches(row);
        }
    }

    /// The next change; `None` when the queue is empty.
    pub fn poll_change(&mut self) -> io::Result<Option<Change>> {
        while let Some((key, note)) = self.queue.next()? {
            if let Some(change) = self.translate(key, note) {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    fn translate(&mut self, key: Key, note: Note) -> Option<Change> {
        let row = self.table.row_of(key)?;
        let path = self.table.path(row)?;
        let directory = self.held.get(&key)?.directory;
        match note {
            Note::Written if !directory => Some(Change::Path { path, hint: Hint::Writing }),
            Note::Closed if !directory => Some(Change::Path { path, hint: Hint::Closed }),
            Note::Written | Note::Closed | Note::Attributes => settled(path),
            Note::Renamed | Note::Deleted | Note::Revoked => {
                self.drop_watches(row);
                match (path.is_root(), directory && note != Note::Deleted) {
                    (true, _) => Some(Change::RootGone),
                    (false, true) => Some(Change::Lost { directory: path }),
                    (false, false) => settled(path),
                }
            }
        }
    }

    fn drop_watches(&mut self, row: Row) {
        let Self { queue, table, held, .. } = self;
        table.remove(row, &mut |key| {
            queue.unregister(key);
            held.remove(&key);
        });
    }

    fn is_same_file(&self, row: Row, fd: &OwnedFd) -> io::Result<bool> {
        let Some(held) = self.held.get(&self.table.key(row)) else {
            return Ok(false);
        };
        let (old, new) = (rustix::fs::fstat(&held.fd)?, rustix::fs::fstat(fd)?);
        Ok((old.st_dev, old.st_ino) == (new.st_dev, new.st_ino))
    }
}

fn settled(path: RelPath) -> Option<Change> {
    Some(Change::Path { path, hint: Hint::Settled })
}

fn register_error(error: io::Error) -> AddError {
    match Errno::from_io_error(&error) {
        Some(Errno::NOMEM | Errno::MFILE | Errno::NFILE) => AddError::Limit,
        Some(Errno::NOENT | Errno::BADF) => AddError::Gone,
        // Some file systems have no such events.
        Some(Errno::INVAL | Errno::NOTSUP | Errno::NODEV) => AddError::Unsupported,
        _ => AddError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, fs};

    use tempfile::TempDir;

    use super::*;

    #[derive(Default)]
    struct Script {
        notes: VecDeque<(Key, Note)>,
        registered: Vec<Key>,
    }

    impl VnodeQueue for Script {
        fn register(&mut self, key: Key) -> io::Result<()> {
            self.registered.push(key);
            Ok(())
        }

        fn unregister(&mut self, key: Key) {
            self.registered.retain(|&other| other != key);
        }

        fn next(&mut self) -> io::Result<Option<(Key, Note)>> {
            Ok(self.notes.pop_front())
        }
    }

    struct Lab {
        root: TempDir,
        watches: VnodeWatches<Script>,
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    impl Lab {
        /// The root, `a/`, `a/b/` and the file `a/f`, all watched.
        fn new() -> Self {
            let root = TempDir::new().unwrap();
            fs::create_dir_all(root.path().join("a/b")).unwrap();
            fs::write(root.path().join("a/f"), "").unwrap();
            let mut lab = Self { root, watches: VnodeWatches::new(Script::default(), 5) };
            for (name, directory) in [("", true), ("a", true), ("a/b", true), ("a/f", false)] {
                assert_eq!(lab.add(name, directory).unwrap(), Watched::Watched);
            }
            lab
        }

        fn add(&mut self, name: &str, directory: bool) -> Result<Watched, AddError> {
            let fd = fs::File::open(self.root.path().join(name)).unwrap().into();
            self.watches.add(&path(name), fd, directory)
        }

        fn note(&mut self, name: &str, note: Note) -> Option<Change> {
            let row = self.watches.table.find(&path(name)).unwrap();
            self.watches.queue.notes.push_back((self.watches.table.key(row), note));
            self.watches.poll_change().unwrap()
        }
    }

    #[test]
    fn directories_are_settled_and_files_are_written() {
        let mut lab = Lab::new();
        assert_eq!(lab.note("a", Note::Written), settled(path("a")));
        let writing = Change::Path { path: path("a/f"), hint: Hint::Writing };
        assert_eq!(lab.note("a/f", Note::Written), Some(writing));
        let closed = Change::Path { path: path("a/f"), hint: Hint::Closed };
        assert_eq!(lab.note("a/f", Note::Closed), Some(closed));
        assert_eq!(lab.note("", Note::Attributes), settled(RelPath::root()));
    }

    #[test]
    fn what_moved_is_lost_with_all_below() {
        let mut lab = Lab::new();
        assert_eq!(lab.note("a", Note::Renamed), Some(Change::Lost { directory: path("a") }));
        assert_eq!((lab.watches.watch_count(), lab.watches.held.len()), (1, 1));
        assert_eq!(lab.watches.queue.registered.len(), 1);
        assert!(matches!(lab.add("a/b", true), Err(AddError::ParentUnwatched)));
    }

    #[test]
    fn a_file_that_was_replaced_is_watched_anew() {
        let mut lab = Lab::new();
        assert_eq!(lab.add("a/f", false).unwrap(), Watched::AlreadyWatched);
        fs::write(lab.root.path().join("a/g"), "").unwrap();
        fs::rename(lab.root.path().join("a/g"), lab.root.path().join("a/f")).unwrap();
        assert_eq!(lab.add("a/f", false).unwrap(), Watched::Watched);
        assert_eq!(lab.note("a/f", Note::Deleted), settled(path("a/f")));
        assert_eq!(lab.watches.held.len(), 3);
    }

    #[test]
    fn the_root_goes_with_everything() {
        for note in [Note::Renamed, Note::Deleted, Note::Revoked] {
            let mut lab = Lab::new();
            assert_eq!(lab.note("", note), Some(Change::RootGone));
            assert_eq!((lab.watches.watch_count(), lab.watches.queue.registered.len()), (0, 0));
        }
    }

    #[test]
    fn the_budget_is_kept() {
        let mut lab = Lab::new();
        fs::write(lab.root.path().join("h"), "").unwrap();
        fs::create_dir(lab.root.path().join("c")).unwrap();
        assert!(
            matches!(lab.add("h", false), Err(AddError::TableFull)),
            "the last place is a directory's"
        );
        assert_eq!(lab.add("c", true).unwrap(), Watched::Watched);
        fs::create_dir(lab.root.path().join("d")).unwrap();
        assert!(matches!(lab.add("d", true), Err(AddError::TableFull)));
        assert_eq!(descriptor_budget(Some(256)), 128);
        assert_eq!(descriptor_budget(None), MAX_KQUEUE_WATCHES);
    }
}
