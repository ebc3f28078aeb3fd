//! A part of a disk goes away, as a branch of a pool does that is not mounted: names are gone, and
//! nothing tells of it. Later it is back, or the node is told that all of it was deleted, or that
//! it is to be fetched.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    disk::{Disk, Ino, Inode, Name, ROOT, Tree, What},
    plan::{self, Action, Plan},
    random::Rng,
};
use p2pnetwork::{core::ignore::IGNORE_FILE, model::path::STATE_DIR};

/// In so many seeds of a hundred there are branches.
const PERCENT: u64 = 10;
/// From so many paths on nodes ask: trees are small here.
const MASS: u64 = 4;

/// What becomes of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It is back.
    Back,
    /// It never is, and its users say that it was deleted: if they were asked.
    Accepted,
    /// It never is, and its users want it back from others: if they were asked.
    Refused,
}

/// Branches that go, while their nodes run or are down. From a stream of its own: plans without
/// branches are what they would be.
pub fn add_to(plan: &mut Plan) {
    let mut rng = Rng::new(plan.seed, 9);
    if !rng.chance(PERCENT) {
        return;
    }
    plan.machines.iter_mut().for_each(|machine| machine.mass_missing = MASS);
    let end_ms = plan.actions.last().map_or(0, |action| action.at_ms) + 3000;
    for _ in 0..rng.between(1, 4) {
        let node = rng.below(plan.machines.len() as u64) as usize;
        let then = rng.pick(&[Then::Back, Then::Back, Then::Accepted, Then::Refused]);
        let for_ms = rng.pick(&[50, 3000, 30_000, 700_000]);
        let goes = plan::What::TakeAway { node, which: rng.next() as u32, then, for_ms };
        let (at_ms, down_ms) = (rng.below(end_ms), rng.pick(&[1, 500, 5000]));
        // A stop, a kill, a walk, or nothing that would have it found soon.
        let with = match rng.below(4) {
            0 => [Some(plan::What::Stop { node, down_ms }), Some(goes), None],
            1 => [Some(plan::What::Kill { node, down_ms }), Some(goes), None],
            2 => [Some(goes), Some(plan::What::LoseEvents { node }), None],
            _ => [Some(goes), None, None],
        };
        let place = plan.actions.partition_point(|action| action.at_ms <= at_ms);
        let with = with.into_iter().flatten().map(|what| Action { at_ms, what });
        plan.actions.splice(place..place, with);
    }
}

/// A part of a disk that is away.
#[derive(Clone)]
pub struct Branch {
    /// Its names, with the paths of the directories that they were in.
    names: Vec<(Vec<u8>, Name, Ino)>,
    inodes: BTreeMap<Ino, Inode>,
    /// All that was in it.
    pub tree: Tree,
}

impl Disk {
    /// Half of all paths go: some of what is in the root, or some files of each directory.
    pub fn take_away(&mut self, which: u32) -> Option<Branch> {
        // A power cut brings nothing of it back.
        self.sync_all();
        let is_whole = which.is_multiple_of(2);
        let mut candidates = Vec::new();
        self.walk(ROOT, b"", &mut |path, ino| {
            let is_top = !path.contains(&b'/');
            if (if is_whole { is_top } else { !self.is_directory(ino) })
                && self.may_leave(path, ino)
            {
                candidates.push((path.to_vec(), ino));
            }
        });
        let half = self.tree().len() / 2 + 1;
        let begin = which as usize / 2 % candidates.len().max(1);
        candidates.rotate_left(begin);
        let mut branch = Branch { names: Vec::new(), inodes: BTreeMap::new(), tree: Tree::new() };
        for (path, ino) in candidates {
            if branch.tree.len() >= half {
                break;
            }
            self.move_into(&mut branch, &path, ino);
        }
        (branch.tree.len() >= half).then_some(()).or_else(|| {
            self.put_names_back(&branch);
            None
        })?;
        self.log.push(format!("{} paths are away, in {:?}", branch.tree.len(), branch.tops()));
        Some(branch)
    }

    /// Is it, with all that is in it, a plain part of the tree?
    fn may_leave(&self, path: &[u8], ino: Ino) -> bool {
        let is_own = path == STATE_DIR.as_bytes() || path == IGNORE_FILE.as_bytes();
        let mut is_plain = !is_own && !self.holds_closed(ino);
        let mut look = |at: Ino| {
            let is_shared = !self.is_directory(at) && self.inodes[&at].links > 1;
            let is_open = self.slow.iter().any(|(open, _)| *open == at);
            let is_locked = self.troubles.locked.contains_key(&at);
            is_plain &= !is_shared && !is_open && !is_locked;
        };
        look(ino);
        self.walk(ino, path, &mut |_, at| look(at));
        is_plain
    }

    fn move_into(&mut self, branch: &mut Branch, path: &[u8], ino: Ino) {
        let (parent, name) = split(path);
        let mut below = vec![(path.to_vec(), ino)];
        self.walk(ino, path, &mut |path, ino| below.push((path.to_vec(), ino)));
        for (path, ino) in below {
            branch.tree.insert(path, self.content_id(ino));
            branch.inodes.insert(ino, self.inodes[&ino].clone());
        }
        if let Some(directory) = self.find(parent) {
            self.set_name(directory, name, None);
        }
        branch.names.push((parent.to_vec(), name.into(), ino));
    }

    /// Without anything that tells of it, and durably.
    fn set_name(&mut self, directory: Ino, name: &[u8], ino: Option<Ino>) {
        if let Some(Inode { what: What::Directory(names), .. }) = self.inodes.get_mut(&directory) {
            match ino {
                Some(ino) => drop(names.insert(name.into(), ino)),
                None => drop(names.remove(name)),
            }
            let names = names.clone();
            self.durable_names.insert(directory, names);
            if let Some(inode) = self.inodes.get(&directory).cloned() {
                self.durable.insert(directory, inode);
            }
        }
    }

    fn put_names_back(&mut self, branch: &Branch) {
        for (parent, name, ino) in &branch.names {
            if let Some(directory) = self.find(parent) {
                self.set_name(directory, name, Some(*ino));
            }
        }
    }

    /// The branch is back: what has its names by now is seen in place of what is in it.
    pub fn bring_back(&mut self, branch: &Branch) {
        self.sync_all();
        for (ino, inode) in &branch.inodes {
            self.inodes.entry(*ino).or_insert_with(|| inode.clone());
            let inode = self.inodes[ino].clone();
            if let What::Directory(names) = &inode.what {
                self.durable_names.insert(*ino, names.clone());
            }
            self.durable.insert(*ino, inode);
        }
        for (parent, name, ino) in &branch.names {
            if let Some(directory) = self.directory_at(parent) {
                self.show(directory, name, *ino);
            }
        }
        self.sync_all();
        self.log.push(format!("{} paths are back", branch.tree.len()));
    }

    /// The directory of a path, which is there as a branch has it; `None` where something else is.
    fn directory_at(&mut self, path: &[u8]) -> Option<Ino> {
        if path.is_empty() {
            return Some(ROOT);
        }
        let (parent, name) = split(path);
        let parent = self.directory_at(parent)?;
        let there = self.child(parent, name);
        let ino = there.unwrap_or_else(|| {
            let made = self.make(What::Directory(BTreeMap::new()), 0o755);
            self.inodes.entry(made).and_modify(|inode| inode.links = 1);
            self.durable_names.insert(made, BTreeMap::new());
            self.set_name(parent, name, Some(made));
            made
        });
        self.is_directory(ino).then_some(ino)
    }

    fn show(&mut self, directory: Ino, name: &[u8], ino: Ino) {
        match self.child(directory, name) {
            None => self.set_name(directory, name, Some(ino)),
            Some(there) if there != ino && self.is_directory(there) && self.is_directory(ino) => {
                let names = self.names(ino).cloned().unwrap_or_default();
                names.iter().for_each(|(name, ino)| self.show(there, name, *ino));
            }
            Some(_) => {}
        }
    }
}

impl Branch {
    fn tops(&self) -> BTreeSet<String> {
        let top = |(parent, name, _): &(Vec<u8>, Name, Ino)| {
            String::from_utf8_lossy(if parent.is_empty() { name } else { parent }).into_owned()
        };
        self.names.iter().map(top).collect()
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}
