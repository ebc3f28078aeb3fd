//! What a power cut leaves of a disk, and what a backup puts back.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    disk::{Content, Disk, Ino, Inode, Name, NameChange, ROOT, What},
    random::Rng,
    storage::Fuse,
};

impl Disk {
    /// The content of one file, its bits and its times.
    pub fn sync_file(&mut self, ino: Ino) {
        if let Some(inode) = self.inodes.get(&ino) {
            self.durable.insert(ino, inode.clone());
            self.dirty.remove(&ino);
        }
    }

    /// The names of one directory, with those changes before that these depend on.
    pub fn sync_names(&mut self, directory: Ino) {
        let mut wanted = BTreeSet::from([directory]);
        let mut chosen = vec![false; self.pending.len()];
        for (at, change) in self.pending.iter().enumerate().rev() {
            let concerned = concerned(self, change);
            if concerned.iter().any(|directory| wanted.contains(directory)) {
                chosen[at] = true;
                wanted.extend(concerned);
            }
        }
        let pending = std::mem::take(&mut self.pending);
        for (change, chosen) in pending.into_iter().zip(chosen) {
            if chosen { apply(&mut self.durable_names, &change) } else { self.pending.push(change) }
        }
    }

    /// Everything.
    pub fn sync_all(&mut self) {
        for ino in std::mem::take(&mut self.dirty) {
            if let Some(inode) = self.inodes.get(&ino) {
                self.durable.insert(ino, inode.clone());
            }
        }
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable_names, &change);
        }
    }

    /// The disk after a power cut. Changes of names are atomic, as in any journal, and in order
    /// within a directory; between directories that have nothing to do with each other any may be
    /// lost. Content that was not synced is the old, the new, or torn.
    pub fn crash(&mut self) {
        let loss_percent = self.rng.pick(&[0, 10, 50, 100]);
        let mut lost = BTreeSet::new();
        for change in std::mem::take(&mut self.pending) {
            let concerned = concerned(self, &change);
            let is_lost =
                concerned.iter().any(|at| lost.contains(at)) || self.rng.chance(loss_percent);
            if is_lost { lost.extend(concerned) } else { apply(&mut self.durable_names, &change) }
        }
        let mut inodes = BTreeMap::new();
        self.recover(ROOT, &mut inodes);
        self.inodes = inodes;
        self.settle();
    }

    /// A process that was killed leaves the disk as it is, but for what it held open.
    pub fn kill(&mut self) {
        self.end_run();
        let nameless: Vec<_> =
            self.inodes.iter().filter(|(_, inode)| inode.links == 0).map(|(ino, _)| *ino).collect();
        nameless.into_iter().filter(|ino| *ino != ROOT).for_each(|ino| self.release(ino));
    }

    /// A copy, to be put back later; or the disk of another machine.
    pub fn image(&self, device: u64, fuse: Fuse, rng: Rng) -> Self {
        let mut image = Self::new(device, self.grain, rng, fuse);
        image.inodes = self.inodes.clone();
        image.free = self.free.clone();
        image.skip_inodes(self);
        image.settle();
        image
    }

    /// All times are others, as when they are kept by a clock that is set to another zone.
    pub fn move_times(&mut self, by_ns: i64) {
        for inode in self.inodes.values_mut().chain(self.durable.values_mut()) {
            inode.mtime_ns += by_ns;
            inode.ctime_ns += by_ns;
        }
    }

    /// Puts back what a backup has, as one that saves files does it: other inodes, and the times of
    /// now.
    pub fn renumber(&mut self) {
        let ctime_ns = self.stamp(self.grain.ctime_ns);
        self.inodes.values_mut().for_each(|inode| inode.ctime_ns = ctime_ns);
        let files: Vec<Ino> = self.inodes.keys().copied().filter(|ino| *ino != ROOT).collect();
        let base = files.iter().max().copied().unwrap_or(ROOT) + 1000;
        let moved: BTreeMap<Ino, Ino> =
            files.iter().enumerate().map(|(at, ino)| (*ino, base + at as Ino)).collect();
        let inodes = std::mem::take(&mut self.inodes);
        for (ino, mut inode) in inodes {
            if let What::Directory(names) = &mut inode.what {
                names.values_mut().for_each(|child| *child = moved[child]);
            }
            self.inodes.insert(moved.get(&ino).copied().unwrap_or(ino), inode);
        }
        self.skip_to(base + files.len() as Ino);
        let all: Vec<Ino> = self.inodes.keys().copied().collect();
        all.into_iter().for_each(|ino| self.touch(ino, false));
        self.settle();
    }

    fn recover(&mut self, ino: Ino, into: &mut BTreeMap<Ino, Inode>) {
        if let Some(there) = into.get_mut(&ino) {
            there.links += 1;
            return;
        }
        // A name that outlived an inode that was used again for something else: it is gone, as
        // after fsck.
        let Some(live) = self.inodes.get(&ino).or(self.durable.get(&ino)).cloned() else { return };
        let mut inode = match live.what {
            What::Directory(_) => {
                let names = self.durable_names.get(&ino).cloned().unwrap_or_default();
                into.insert(ino, Inode { links: 1, ..live.clone() });
                let mut kept = BTreeMap::new();
                for (name, child) in names {
                    self.recover(child, into);
                    if into.contains_key(&child) {
                        kept.insert(name, child);
                    }
                }
                Inode { what: What::Directory(kept), ..live }
            }
            _ => self.recover_file(ino, live),
        };
        inode.links = 1;
        into.insert(ino, inode);
    }

    fn recover_file(&mut self, ino: Ino, live: Inode) -> Inode {
        let durable = self.durable.get(&ino).cloned();
        if !self.dirty.contains(&ino) {
            return durable.unwrap_or(live);
        }
        // Only what was written can be torn, not what has merely another name, or other bits.
        let is_written = |durable: &Inode| match (&durable.what, &live.what) {
            (What::File(durable), What::File(live)) => durable.bytes != live.bytes,
            _ => true,
        };
        if durable.as_ref().is_some_and(|durable| !is_written(durable)) {
            return if self.rng.chance(50) { durable.unwrap_or(live) } else { live };
        }
        match (self.rng.below(3), durable, &live.what) {
            (0, Some(durable), _) => durable,
            (1, None, What::File(_)) => {
                Inode { what: What::File(Content::new(Vec::new())), ..live }
            }
            (1 | 2, durable, What::File(content)) => {
                let before = durable.map(|durable| match durable.what {
                    What::File(content) => content.bytes.clone(),
                    _ => Vec::new(),
                });
                let torn = tear(&content.bytes, &before.unwrap_or_default(), &mut self.rng);
                Inode { what: What::File(Content::new(torn)), ..live }
            }
            _ => live,
        }
    }

    /// All that is there is durable.
    fn settle(&mut self) {
        self.closed.clear();
        self.pending.clear();
        self.dirty.clear();
        self.end_run();
        self.durable = self.inodes.clone();
        let directories = self.inodes.iter().filter_map(|(ino, inode)| match &inode.what {
            What::Directory(names) => Some((*ino, names.clone())),
            _ => None,
        });
        self.durable_names = directories.collect();
        self.free.retain(|ino| !self.inodes.contains_key(ino));
    }

    fn end_run(&mut self) {
        // What users hold open stays so.
        self.open.clear();
        for (ino, _) in &self.slow {
            *self.open.entry(*ino).or_default() += 1;
        }
        self.ambush = None;
        self.events.restart();
        self.troubles.is_full = false;
    }
}

/// The length of one and the bytes of either, a page at a time.
fn tear(new: &[u8], old: &[u8], rng: &mut Rng) -> Vec<u8> {
    let length = rng.pick(&[
        new.len(),
        new.len(),
        old.len(),
        rng.clone().below(new.len() as u64 + 1) as usize,
    ]);
    let mut torn = vec![0; length];
    for begin in (0..length).step_by(4096) {
        let from = if rng.chance(50) { new } else { old };
        let end = from.len().min(length).min(begin + 4096);
        if begin < end {
            torn[begin..end].copy_from_slice(&from[begin..end]);
        }
    }
    torn
}

/// The directories that a change is about, those that it moves among them.
fn concerned(disk: &Disk, change: &NameChange) -> Vec<Ino> {
    let named =
        change.sets.iter().filter_map(|(_, _, ino)| *ino).filter(|ino| disk.is_directory(*ino));
    change.sets.iter().map(|(directory, _, _)| *directory).chain(named).collect()
}

fn apply(names: &mut BTreeMap<Ino, BTreeMap<Name, Ino>>, change: &NameChange) {
    for (directory, name, ino) in &change.sets {
        let names = names.entry(*directory).or_default();
        match ino {
            Some(ino) => drop(names.insert(name.clone(), *ino)),
            None => drop(names.remove(name)),
        }
    }
}
