//! What the disk tells a watch, as inotify would: late, merged, or too much of it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    io,
    rc::Rc,
    time::Duration,
};

use inotify::EventMask;

use super::{
    disk::{Disk, Ino, Name, ROOT},
    files::Open,
};
use p2pnetwork::{
    core::seam::Change,
    io::{
        files::Handle,
        watch::{
            AddError, Watch, Watched,
            table::Key,
            translate::{Event, EventSource, Translator},
        },
    },
    model::path::RelPath,
};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Queued {
    key: Key,
    mask: u32,
    cookie: u32,
    name: Name,
}

/// The queue of one watch, and what it watches.
#[derive(Debug, Default)]
pub struct Events {
    /// How late events come.
    pub delay: Duration,
    /// How many wait at most; then they are lost. 0: no bound.
    pub limit: usize,
    keys: BTreeMap<Ino, Key>,
    inodes: BTreeMap<Key, Ino>,
    next_key: Key,
    cookie: u32,
    queue: VecDeque<(Duration, Queued)>,
}

impl Events {
    /// When there is something to be read.
    pub fn ready_at(&self) -> Option<Duration> {
        self.queue.front().map(|(at, _)| *at)
    }

    /// Nothing is watched any more.
    pub fn restart(&mut self) {
        *self = Self { delay: self.delay, limit: self.limit, ..Self::default() };
    }

    /// Forgets what waits, and says so.
    pub fn overflow(&mut self, now: Duration) {
        self.queue.clear();
        self.push(
            now,
            Queued { key: -1, mask: EventMask::Q_OVERFLOW.bits(), cookie: 0, name: Box::default() },
        );
    }

    fn push(&mut self, now: Duration, event: Queued) {
        if self.limit > 0 && self.queue.len() >= self.limit {
            let is_said = self.queue.back().is_some_and(|(_, last)| last.key == -1);
            if !is_said {
                let overflow = Queued {
                    key: -1,
                    mask: EventMask::Q_OVERFLOW.bits(),
                    cookie: 0,
                    name: Box::default(),
                };
                self.queue.push_back((now, overflow));
            }
            return;
        }
        if self.queue.back().is_none_or(|(_, last)| *last != event) {
            self.queue.push_back((now + self.delay, event));
        }
    }

    fn watch(&mut self, ino: Ino) -> Key {
        if let Some(key) = self.keys.get(&ino) {
            return *key;
        }
        self.next_key += 1;
        self.keys.insert(ino, self.next_key);
        self.inodes.insert(self.next_key, ino);
        self.next_key
    }

    fn unwatch(&mut self, key: Key) {
        if let Some(ino) = self.inodes.remove(&key) {
            self.keys.remove(&ino);
        }
    }
}

impl Disk {
    /// Something happened to a name in a directory.
    pub fn tell(&mut self, directory: Ino, name: &[u8], mask: EventMask) {
        self.tell_with(directory, name, mask, 0);
    }

    pub fn tell_moved(&mut self, from: (Ino, &[u8]), to: (Ino, &[u8]), is_directory: bool) {
        self.events.cookie += 1;
        let cookie = self.events.cookie;
        let kind = if is_directory { EventMask::ISDIR } else { EventMask::empty() };
        self.tell_with(from.0, from.1, EventMask::MOVED_FROM | kind, cookie);
        self.tell_with(to.0, to.1, EventMask::MOVED_TO | kind, cookie);
    }

    /// Something happened to an inode, whatever its names.
    pub fn tell_inode(&mut self, ino: Ino, mask: EventMask) {
        let mut names = Vec::new();
        for directory in self.events.keys.keys() {
            let children =
                self.names(*directory).into_iter().flatten().filter(|(_, child)| **child == ino);
            names.extend(children.map(|(name, _)| (*directory, name.clone())));
        }
        let kind = if self.is_directory(ino) { EventMask::ISDIR } else { EventMask::empty() };
        names.into_iter().for_each(|(directory, name)| self.tell(directory, &name, mask | kind));
    }

    /// A directory is no more: its own watch ends.
    pub fn tell_deleted(&mut self, directory: Ino) {
        if let Some(&key) = self.events.keys.get(&directory) {
            let deleted = EventMask::DELETE_SELF.bits();
            self.events
                .push(self.now, Queued { key, mask: deleted, cookie: 0, name: Box::default() });
            let ignored = EventMask::IGNORED.bits();
            self.events
                .push(self.now, Queued { key, mask: ignored, cookie: 0, name: Box::default() });
            self.events.unwatch(key);
        }
    }

    fn tell_with(&mut self, directory: Ino, name: &[u8], mask: EventMask, cookie: u32) {
        if let Some(&key) = self.events.keys.get(&directory) {
            self.events
                .push(self.now, Queued { key, mask: mask.bits(), cookie, name: name.into() });
        }
    }
}

/// The other end of the queue.
pub struct Source {
    disk: Rc<RefCell<Disk>>,
    current: Option<Queued>,
}

impl EventSource for Source {
    fn peek(&mut self) -> io::Result<Option<Event<'_>>> {
        if self.current.is_none() {
            let disk = &mut *self.disk.borrow_mut();
            if disk.events.ready_at().is_some_and(|at| at <= disk.now) {
                self.current = disk.events.queue.pop_front().map(|(_, event)| event);
            }
        }
        Ok(self.current.as_ref().map(|event| Event {
            key: event.key,
            mask: EventMask::from_bits_truncate(event.mask),
            cookie: event.cookie,
            name: &event.name,
        }))
    }

    fn advance(&mut self) {
        self.current = None;
    }

    fn unwatch(&mut self, key: Key) {
        self.disk.borrow_mut().events.unwatch(key);
    }
}

/// The watch of one run of a node.
pub struct SimWatch {
    disk: Rc<RefCell<Disk>>,
    translator: Translator<Source>,
    max_watches: usize,
}

impl SimWatch {
    pub fn new(disk: Rc<RefCell<Disk>>, max_watches: usize) -> Self {
        let source = Source { disk: Rc::clone(&disk), current: None };
        Self { disk, translator: Translator::new(source), max_watches }
    }
}

impl Watch for SimWatch {
    fn add(&mut self, directory: &RelPath, handle: &Handle) -> Result<Watched, AddError> {
        let table = &self.translator.table;
        if !directory.is_root()
            && directory.parent().and_then(|parent| table.find(&parent)).is_none()
        {
            return Err(AddError::ParentUnwatched);
        }
        if table.len() >= self.max_watches && table.find(directory).is_none() {
            return Err(AddError::Limit);
        }
        let ino = handle.get::<Open>().map_or(ROOT, |open| open.ino);
        let key = {
            let disk = &mut *self.disk.borrow_mut();
            if disk.inodes.get(&ino).is_none_or(|inode| inode.links == 0) {
                return Err(AddError::Gone);
            }
            disk.events.watch(ino)
        };
        self.translator.enter(directory, key)
    }

    fn remove_below(&mut self, directory: &RelPath) {
        self.translator.remove_below(directory);
    }

    fn poll_change(&mut self) -> io::Result<Option<Change>> {
        self.translator.poll_change()
    }

    fn watch_count(&self) -> usize {
        self.translator.table.len()
    }
}
