//! What must hold of users' files, whatever happened: who had what, and what may have become of it.
//!
//! Content is followed by its bytes, wherever it is. A user's action that puts content at a path makes an *instance*,
//! (path, content), which is owed to the users from then on. It is *settled* by a user, on whatever node, on whose disk
//! that content was at that path and who replaced, moved or deleted it there: that user knew it. What is owed must be
//! found in the end: in the tree, maybe as a conflict copy, or in somebody's trash.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    disk::{ContentId, Done, Tree},
    user::Kind,
};

type Path = Vec<u8>;

/// What all disks hold in the end.
pub struct Holdings {
    /// The tree, equal on all nodes.
    pub tree: Tree,
    /// In anybody's trash, or pruned from it because it was old.
    pub trash: BTreeSet<ContentId>,
}

/// What is owed.
#[derive(Debug, Default)]
pub struct Oracle {
    instances: BTreeMap<(Path, ContentId), bool>,
    /// On which nodes users changed something at a path.
    touched: BTreeMap<Path, BTreeSet<usize>>,
    /// Lost by a power cut before anybody else had it, or with the state that a backup replaced.
    excused: BTreeSet<ContentId>,
    /// The same of a path: that another one had the same content is no help to it.
    excused_there: BTreeSet<(Path, ContentId)>,
    /// What a node held when it lost its memory. It states that as nobody's, which competes with what others have made of
    /// it meanwhile by the clocks alone, which never quite agree.
    forgotten: BTreeSet<Path>,
    /// Nodes that lost some memory: killed, cut off from power, put back, copied.
    forgetful: BTreeSet<usize>,
    /// Not on any disk any more when all were equal.
    dead: BTreeSet<ContentId>,
    made: BTreeSet<ContentId>,
    /// One machine's directory was copied to another.
    pub has_twins: bool,
}

impl Oracle {
    /// A user of `node` did something.
    pub fn record(&mut self, node: usize, done: &Done) {
        let Done { kind, before, after, half_written } = done;
        for (path, id) in before.iter().filter(|(path, id)| after.get(*path) != Some(id)) {
            self.touched.entry(path.clone()).or_default().insert(node);
            if let Some(id) = id {
                self.settle(path, *id);
            }
        }
        for (path, id) in after.iter().filter(|(path, id)| before.get(*path) != Some(id)) {
            self.touched.entry(path.clone()).or_default().insert(node);
            // What is half-written is not stable: nobody can owe it.
            if let Some(id) = id.filter(|id| !half_written.contains(id)) {
                self.instances.insert((path.clone(), id), false);
                self.made.insert(id);
                self.dead.remove(&id);
            }
        }
        if before == after || matches!(kind, Kind::Chmod | Kind::Touch) {
            // An edit without new content: it outlives what others do at the same time.
            for path in after.keys() {
                self.touched.entry(path.clone()).or_default().insert(node);
            }
        }
    }

    /// A user who had this content there knew it and put it away.
    fn settle(&mut self, path: &Path, id: ContentId) {
        if let Some(settled) = self.instances.get_mut(&(path.clone(), id)) {
            *settled = true;
            return;
        }
        // The program had moved it there (a conflict copy): it is that copy that the user put away.
        self.instances
            .iter_mut()
            .filter(|((_, owed), _)| *owed == id)
            .for_each(|(_, settled)| *settled = true);
    }

    /// `lost` was on a node's disk, is not any more without anybody's doing, and is on no other.
    pub fn excuse(&mut self, node: usize, tree: &Tree, lost: impl IntoIterator<Item = ContentId>) {
        self.forget(node, tree);
        self.excused.extend(lost);
    }

    /// As [`Self::excuse`], of what was at these paths and is at them nowhere now.
    pub fn excuse_there(&mut self, lost: impl IntoIterator<Item = (Path, ContentId)>) {
        self.excused_there.extend(lost);
    }

    /// What the node remembers is less than what it once knew. What it found on its disk at the next start, and had not
    /// heard of, is nobody's, and goes to the trash when it loses.
    pub fn forget(&mut self, node: usize, tree: &Tree) {
        self.forgetful.insert(node);
        self.forgotten.extend(tree.keys().cloned());
    }

    /// What is on a disk again, by no user's doing: a power cut brought back what was not durably deleted, or
    /// a backup did.
    pub fn revive(&mut self, tree: &Tree) {
        self.dead.retain(|id| !tree.values().any(|there| *there == Some(*id)));
    }

    /// Was anything lost with the machine that it was on?
    pub fn has_excuses(&self) -> bool {
        !self.excused.is_empty()
    }

    /// All nodes were up, at rest and equal.
    pub fn check(&mut self, now: &Holdings) -> Result<(), String> {
        let live: BTreeSet<ContentId> = now.tree.values().flatten().copied().collect();
        for ((path, id), _) in self.instances.iter().filter(|(_, settled)| !**settled) {
            let name = String::from_utf8_lossy(path);
            let there = (path.clone(), *id);
            if live.contains(id) || self.excused.contains(id) || self.excused_there.contains(&there) {
                continue;
            }
            if !now.trash.contains(id) {
                return Err(format!("lost: {name} ({id:x}) is neither live nor in any trash"));
            }
            if let Some(node) = self.sole_author(path) {
                return Err(format!(
                    "{name} ({id:x}) is only in the trash, and nobody but a user of node {node} did anything there"
                ));
            }
        }
        if let Some(id) = live.iter().find(|id| self.dead.contains(id)) {
            let at = now.tree.iter().find(|(_, there)| **there == Some(*id)).map(|(path, _)| path);
            let name = String::from_utf8_lossy(at.expect("found in it"));
            return Err(format!("{name} ({id:x}) is back, and was gone everywhere"));
        }
        self.check_copies(&now.tree)?;
        self.dead = self.made.difference(&live).copied().collect();
        Ok(())
    }

    /// A conflict needs two.
    fn check_copies(&self, tree: &Tree) -> Result<(), String> {
        for (path, id) in tree {
            let Some(at) = find(path, b".sync-conflict-") else { continue };
            let by_user = id.is_none_or(|id| self.instances.contains_key(&(path.clone(), id)));
            // Its extension stands behind the mark: whatever begins like it may be the original.
            let original = &path[..at];
            let concerned = |touched: &[u8]| touched.starts_with(original) || is_above(touched, path);
            let authors: BTreeSet<usize> = self
                .touched
                .iter()
                .filter(|(touched, _)| concerned(touched))
                .flat_map(|(_, nodes)| nodes.iter().copied())
                .collect();
            if !by_user && !self.has_twins && authors.len() < 2 {
                return Err(format!("{} without concurrency", String::from_utf8_lossy(path)));
            }
        }
        Ok(())
    }

    /// The one node whose users did something at, above or below the path, when it never forgot anything.
    fn sole_author(&self, path: &Path) -> Option<usize> {
        let related = self.touched.iter().filter(|(other, _)| is_related(other, path));
        let nodes: BTreeSet<usize> = related.flat_map(|(_, nodes)| nodes.iter().copied()).collect();
        let sole = nodes.first().copied().filter(|_| nodes.len() == 1)?;
        (!self.forgetful.contains(&sole) && !self.forgotten.contains(path)).then_some(sole)
    }
}

fn is_above(above: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&b'/'))
}

fn is_related(a: &[u8], b: &[u8]) -> bool {
    a == b || is_above(a, b) || is_above(b, a)
}

fn find(in_bytes: &[u8], what: &[u8]) -> Option<usize> {
    in_bytes.windows(what.len()).position(|window| window == what)
}
