//! What must hold of users' files, whatever happened: who had what, and what may have become of it.
//!
//! Content is followed by its bytes, wherever it is. A user's action that puts content at a path
//! makes an *instance*, (path, content), which is owed to the users from then on. It is *settled*
//! by a user, on whatever node, on whose disk that content was at that path and who replaced, moved
//! or deleted it there: that user knew it. What is owed must be found in the end: in the tree,
//! maybe as a conflict copy, or in somebody's trash.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    disk::{ContentId, Done, Tree},
    rules::is_ignored,
    user::Kind,
};
use p2pnetwork::core::ignore::IgnoreRules;

type Path = Vec<u8>;

/// What all disks hold in the end.
pub struct Holdings {
    /// The tree, equal on all nodes but for what was given up.
    pub tree: Tree,
    /// In anybody's tree.
    pub live: BTreeSet<ContentId>,
    /// In anybody's trash, or pruned from it because it was old.
    pub trash: BTreeSet<ContentId>,
}

/// Content that a user has put at a path.
#[derive(Debug)]
struct Instance {
    is_settled: bool,
    /// On which node; the last one if several did.
    maker: usize,
    /// The very same content had been at this path before. Who takes it away and puts it back
    /// before the node has looked has changed nothing, as far as the node can tell: whoever else
    /// edits it at that time knows it.
    is_again: bool,
}

/// What is owed.
#[derive(Debug, Default)]
pub struct Oracle {
    instances: BTreeMap<(Path, ContentId), Instance>,
    /// On which nodes users changed something at a path, and in which of all deeds.
    touched: BTreeMap<Path, BTreeSet<(usize, u64)>>,
    /// What a path held after the last deed that concerned it, `None` if nothing.
    left: BTreeMap<Path, Option<ContentId>>,
    deeds: u64,
    /// Lost by a power cut before anybody else had it, or with the state that a backup replaced.
    excused: BTreeSet<ContentId>,
    /// The same, where the content is left at another path.
    lost_there: BTreeSet<(Path, ContentId)>,
    /// What a user has ever taken from a path where it was.
    put_away: BTreeSet<ContentId>,
    /// What users have ever seen on a disk, half-written content included.
    seen: BTreeSet<ContentId>,
    /// What users have begun to write, and had not ended: nobody owes it where they did, though
    /// others may have copied it.
    half_written: BTreeSet<ContentId>,
    /// What power cuts have left of files.
    torn: BTreeSet<ContentId>,
    /// What a node held when it lost its memory. It publishes that unattributed, which competes
    /// with what others have made of it meanwhile by the clocks alone, which never quite agree.
    forgotten: BTreeSet<Path>,
    /// Names that users gave to files which have others on that machine. What is done under one of
    /// them is done to all, and stated for each: like a second deed, which may come when others'
    /// deeds are known.
    linked: BTreeSet<Path>,
    /// Names of files that had others, whoever gave them, also after the file got this name by a
    /// rename or an exchange: one of them may be in the trash, and change there with the others.
    shared: BTreeSet<Path>,
    /// The nodes on which users gave the file at a path another name. Bits and time that one of
    /// these names gets from elsewhere are stated for the others, too: as a deed of that node.
    linked_by: BTreeMap<Path, BTreeSet<usize>>,
    /// Content that was removed on one disk, where it was ignored, and stayed on others.
    stays: BTreeSet<(Path, ContentId)>,
    /// Nodes that lost some memory: killed, cut off from power, put back, copied.
    forgetful: BTreeSet<usize>,
    /// Not on any disk any more when all were equal.
    dead: BTreeSet<ContentId>,
    made: BTreeSet<ContentId>,
    /// All rules that users have written.
    pub rules: Vec<IgnoreRules>,
    /// One machine's directory was copied to another.
    pub has_twins: bool,
    /// A disk failed: a second name that a change has made in a trash may have stayed there.
    pub has_failed: bool,
}

impl Oracle {
    /// A user of `node` did something. `stays` tells of what it is that was ignored there, and is
    /// still on another disk: it was not deleted.
    pub fn record(&mut self, node: usize, done: &Done, stays: impl Fn(&[u8], ContentId) -> bool) {
        let Done { kind, before, after, half_written, touched, shared, overwritten } = done;
        self.deeds += 1;
        self.shared.extend(shared.iter().cloned());
        let deed = (node, self.deeds);
        self.seen.extend(after.values().flatten());
        self.half_written.extend(half_written);
        for (path, id) in before.iter().filter(|(path, id)| after.get(*path) != Some(id)) {
            self.touched.entry(path.clone()).or_default().insert(deed);
            match id {
                Some(id) if !after.contains_key(path) && stays(path, *id) => {
                    self.put_away.insert(*id);
                    self.stays.insert((path.clone(), *id));
                }
                Some(id) => {
                    self.put_away.insert(*id);
                    self.settle(path, *id);
                }
                None => {}
            }
        }
        let changed = before.keys().chain(after.keys());
        for path in changed.filter(|path| before.get(*path) != after.get(*path)) {
            self.left.insert(path.clone(), after.get(path).copied().flatten());
        }
        for (path, _) in after.iter().filter(|(path, id)| before.get(*path) != Some(id)) {
            self.settle_what_stays(path);
        }
        for (path, id) in after.iter().filter(|(path, id)| before.get(*path) != Some(id)) {
            self.touched.entry(path.clone()).or_default().insert(deed);
            if *kind == Kind::HardLink {
                self.linked.insert(path.clone());
                for (other, _) in
                    after.iter().filter(|(other, now)| *now == id && shared.contains(*other))
                {
                    self.linked_by.entry(other.clone()).or_default().insert(node);
                }
            }
            // What a user has open, and writes to its end, may be in the trash by then.
            if *kind == Kind::SlowEnd {
                self.shared.insert(path.clone());
            }
            // What is half-written is not stable: nobody can owe it.
            if let Some(id) = id.filter(|id| !half_written.contains(id)) {
                let at = (path.clone(), id);
                let is_again = self.instances.contains_key(&at);
                self.instances.insert(at, Instance { is_settled: false, maker: node, is_again });
                self.made.insert(id);
                self.dead.remove(&id);
            }
        }
        for path in touched {
            self.touched.entry(path.clone()).or_default().insert(deed);
        }
        self.put_away.extend(overwritten);
        for id in overwritten {
            self.settle_everywhere(*id);
        }
        if before == after || matches!(kind, Kind::Chmod | Kind::Touch) {
            // An edit without new content: it outlives what others do at the same time.
            for path in after.keys() {
                self.touched.entry(path.clone()).or_default().insert(deed);
            }
        }
    }

    /// What a user makes where something ignored was removed is made in its place.
    fn settle_what_stays(&mut self, made: &Path) {
        let stays = std::mem::take(&mut self.stays);
        let (replaced, stays) = stays.into_iter().partition(|(path, _)| is_related(path, made));
        self.stays = stays;
        let replaced: BTreeSet<(Path, ContentId)> = replaced;
        replaced.iter().for_each(|(path, id)| self.settle(path, *id));
    }

    /// A user who had this content there knew it and put it away.
    fn settle(&mut self, path: &Path, id: ContentId) {
        if let Some(instance) = self.instances.get_mut(&(path.clone(), id)) {
            instance.is_settled = true;
            return;
        }
        // The program had moved it there (a conflict copy): it is that copy that the user put away.
        self.settle_everywhere(id);
    }

    fn settle_everywhere(&mut self, id: ContentId) {
        let instances = self.instances.iter_mut().filter(|((_, owed), _)| *owed == id);
        instances.for_each(|(_, instance)| instance.is_settled = true);
    }

    /// `lost` was on a node's disk, is not any more without anybody's doing, and is on no other.
    pub fn excuse(&mut self, node: usize, tree: &Tree, lost: impl IntoIterator<Item = ContentId>) {
        self.forget(node, tree);
        self.excused.extend(lost);
    }

    /// Content that nobody has any more, since a part of a disk is never back.
    pub fn give_up(&mut self, lost: impl IntoIterator<Item = ContentId>) {
        self.excused.extend(lost);
    }

    /// A power cut, or a backup, has made `before` of a node `after`, while the others had
    /// `others`. `lost` is not on its disk any more, in the trash neither.
    pub fn handle_loss(
        &mut self,
        before: &Tree,
        after: &Tree,
        others: &[Tree],
        lost: &BTreeSet<ContentId>,
    ) {
        let is_there = |path: &Path, id: ContentId| {
            others.iter().any(|tree| tree.get(path) == Some(&Some(id)))
        };
        for (path, id) in before.iter().filter_map(|(path, id)| Some((path, (*id)?))) {
            if after.get(path) != Some(&Some(id)) && !is_there(path, id) {
                self.lost_there.insert((path.clone(), id));
            }
        }
        // What others hold of it at other paths may be replaced there by users.
        let gone =
            self.instances.keys().filter(|(path, id)| lost.contains(id) && !is_there(path, *id));
        self.lost_there.extend(gone.cloned());
        self.torn.extend(after.values().flatten().filter(|id| !self.seen.contains(id)));
    }

    /// What the node remembers is less than what it once knew. What it found on its disk at the
    /// next start, and had not heard of, is unattributed, and goes to the trash when it loses.
    pub fn forget(&mut self, node: usize, tree: &Tree) {
        self.forgetful.insert(node);
        self.forgotten.extend(tree.keys().cloned());
    }

    /// What is on a disk again, by no user's doing: a power cut brought back what was not durably
    /// deleted, or a backup did.
    pub fn revive(&mut self, tree: &Tree) {
        self.dead.retain(|id| !tree.values().any(|there| *there == Some(*id)));
    }

    /// Was anything lost with the machine that it was on?
    pub fn has_excuses(&self) -> bool {
        !self.excused.is_empty()
    }

    /// All nodes were up, at rest and equal but for what these rules name.
    pub fn check(&mut self, now: &Holdings, rules: &IgnoreRules) -> Result<(), String> {
        let live = &now.live;
        for (at, instance) in self.instances.iter().filter(|(_, instance)| !instance.is_settled) {
            let (path, id) = at;
            let name = String::from_utf8_lossy(path);
            if now.trash.contains(id) && self.is_thrown_away(*id) {
                return Err(format!(
                    "{name} ({id:x}) went to a trash, and no user has put it away"
                ));
            }
            if live.contains(id) || self.excused.contains(id) || self.lost_there.contains(at) {
                continue;
            }
            if !now.trash.contains(id) {
                return Err(format!("lost: {name} ({id:x}) is neither live nor in any trash"));
            }
            if let Some(node) = self.sole_author(path) {
                return Err(format!(
                    "{name} ({id:x}) is only in the trash, and nobody but a user of node {node} \
                     did anything there"
                ));
            }
            if self.is_owed_a_copy(path, instance) {
                return Err(format!(
                    "{name} ({id:x}) is only in the trash, and its conflict was with one change"
                ));
            }
        }
        for (path, id) in now.tree.iter().filter_map(|(path, id)| Some((path, (*id)?))) {
            let name = String::from_utf8_lossy(path);
            if !self.seen.contains(&id) && !self.torn.contains(&id) {
                return Err(format!("{name} ({id:x}) is what no user has written"));
            }
        }
        if let Some(id) = live.iter().find(|id| self.dead.contains(id)) {
            let at = now.tree.iter().find(|(_, there)| **there == Some(*id)).map(|(path, _)| path);
            let name = at.map_or("what was given up".into(), |path| String::from_utf8_lossy(path));
            return Err(format!("{name} ({id:x}) is back, and was gone everywhere"));
        }
        self.check_left(&now.tree)?;
        self.check_copies(&now.tree)?;
        // Of a link that was ignored, and is gone everywhere, the target is known all the same.
        let ignored = self.instances.keys().filter(|(path, _)| is_ignored(rules, path, false));
        let ignored: BTreeSet<ContentId> = ignored.map(|(_, id)| *id).collect();
        self.dead =
            self.made.difference(live).filter(|id| !ignored.contains(id)).copied().collect();
        Ok(())
    }

    /// What one node's users alone did stands, whatever other nodes forget meanwhile: what these
    /// hold is older.
    fn check_left(&self, tree: &Tree) -> Result<(), String> {
        let is_plain = |path: &Path| !self.shared.contains(path) && !self.linked.contains(path);
        if self.has_twins || self.has_failed || !self.rules.is_empty() {
            return Ok(());
        }
        for (path, left) in self.left.iter().filter(|(path, _)| is_plain(path)) {
            let Some(Some(id)) = tree.get(path) else { continue };
            let is_known = self.seen.contains(id) && !self.half_written.contains(id);
            if is_known
                && *left != Some(*id)
                && let Some(node) = self.sole_author(path)
            {
                return Err(format!(
                    "{} ({id:x}) is back: the users of node {node}, who alone did anything there, \
                     left {left:x?}",
                    String::from_utf8_lossy(path)
                ));
            }
        }
        Ok(())
    }

    /// A conflict needs two.
    fn check_copies(&self, tree: &Tree) -> Result<(), String> {
        for (path, id) in tree {
            let Some(at) = find(path, b".sync-conflict-") else { continue };
            let by_user = id.is_none_or(|id| self.instances.contains_key(&(path.clone(), id)));
            // Its extension stands behind the mark: whatever begins like it may be the original.
            let original = &path[..at];
            let concerned =
                |touched: &[u8]| touched.starts_with(original) || is_above(touched, path);
            let deeds = self.touched.iter().filter(|(touched, _)| concerned(touched));
            let mut authors: BTreeSet<usize> =
                deeds.flat_map(|(_, deeds)| deeds.iter().map(|(node, _)| *node)).collect();
            let links = self.linked_by.iter().filter(|(linked, _)| linked.starts_with(original));
            authors.extend(links.flat_map(|(_, nodes)| nodes));
            let is_excused = self.has_twins || self.once_held_ignored(original);
            if !by_user && !is_excused && authors.len() < 2 {
                return Err(format!("{} without concurrency", String::from_utf8_lossy(path)));
            }
        }
        Ok(())
    }

    /// Did something in the directory go by rules at some time? It stays elsewhere when a file
    /// takes the directory's place, and so does the directory: the file is kept beside it.
    fn once_held_ignored(&self, directory: &[u8]) -> bool {
        let below =
            |path: &&Path| path.strip_prefix(directory).is_some_and(|rest| rest.contains(&b'/'));
        let is_named = |path: &Path| self.rules.iter().any(|rules| is_ignored(rules, path, false));
        self.touched.keys().filter(below).any(is_named)
    }

    /// The one node whose users did something at, above or below the path, when it never forgot
    /// anything.
    fn sole_author(&self, path: &Path) -> Option<usize> {
        let related = self.touched.iter().filter(|(other, _)| is_related(other, path));
        let nodes: BTreeSet<usize> =
            related.flat_map(|(_, deeds)| deeds.iter().map(|(node, _)| *node)).collect();
        let sole = nodes.first().copied().filter(|_| nodes.len() == 1)?;
        (!self.forgetful.contains(&sole) && !self.forgotten.contains(path)).then_some(sole)
    }

    /// Is it in a trash though nobody has put it away, wherever it was, and the users of one node
    /// alone have done anything there?
    fn is_thrown_away(&self, id: ContentId) -> bool {
        // What a power cut leaves of a file, nothing at all for example, may be what another file
        // is to hold.
        let is_gone =
            [&self.put_away, &self.excused, &self.torn].iter().any(|ids| ids.contains(&id));
        let is_lost = is_gone
            || self.half_written.contains(&id)
            || self.lost_there.iter().any(|(_, lost)| *lost == id);
        // The program has put a copy there; and what has another name may be in the trash by that.
        let is_plain =
            |path: &Path| find(path, b".sync-conflict-").is_none() && !self.shared.contains(path);
        let places = self.instances.keys().filter(|(_, other)| *other == id);
        let is_kept = |(path, _): &(Path, ContentId)| {
            is_plain(path) && self.sole_author(path).is_some() && !self.once_held_ignored(path)
        };
        !is_lost && !self.has_twins && !self.has_failed && { places }.all(is_kept)
    }

    /// Did but one deed of another node's users concern the path? If that was done with this
    /// content on their disk, the content is settled; if not, the two were concurrent. (Of two
    /// deeds the second may be done before the node has heard of the content, and stated when it
    /// has: then it counts as known.)
    fn is_owed_a_copy(&self, path: &Path, instance: &Instance) -> bool {
        let related = self.touched.iter().filter(|(other, _)| is_related(other, path));
        let deeds: BTreeSet<(usize, u64)> =
            related.flat_map(|(_, deeds)| deeds.iter().copied()).collect();
        let others = deeds.iter().filter(|(node, _)| *node != instance.maker).count();
        let is_plain = !instance.is_again && !self.linked.contains(path);
        is_plain && !self.may_be_unattributed(path, &deeds) && others < 2
    }

    /// Was one of the versions that met there unattributed, perhaps, so that it made no copy? A
    /// node that lost its memory states so what it held, and what its users did while it was down
    /// or just before. (Twins are such nodes, too.)
    fn may_be_unattributed(&self, path: &Path, deeds: &BTreeSet<(usize, u64)>) -> bool {
        let was_held = self.forgotten.iter().any(|held| is_related(held, path));
        was_held || deeds.iter().any(|(node, _)| self.forgetful.contains(node))
    }
}

/// Is the first one a directory above the second one?
pub fn is_above(above: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Is it the same path, or is one above the other?
pub fn is_related(a: &[u8], b: &[u8]) -> bool {
    a == b || is_above(a, b) || is_above(b, a)
}

fn find(in_bytes: &[u8], what: &[u8]) -> Option<usize> {
    in_bytes.windows(what.len()).position(|window| window == what)
}
