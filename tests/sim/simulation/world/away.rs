//! Parts of disks that are away: nothing of them is deleted elsewhere, unless a user says so.
//!
//! A node asks when what is missing is a third of what it has seen, or more. Whether it is so much
//! is counted here by the node's own rows, at every turn: where less is missing at some time, or
//! where users have touched the directory that it was in, what is deleted counts as deleted by a
//! user. What else the node publishes as deleted is a fault.
//!
//! Users are asked about what they have deleted themselves, too, while nothing told of it. They say
//! so.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    super::{
        branches::{Branch, Then},
        disk::{ContentId, Done, Tree},
        oracle::is_above,
        user::Kind,
    },
    Checked, World,
};
use p2pnetwork::{
    core::{engine::Engine, seam::Input},
    index::Hold,
    model::{limits::FULL_SCAN_INTERVAL, path::RelPath},
};

/// So long people take to see that they are asked.
const READING: Duration = Duration::from_secs(5);
/// After that a walk has found what is back.
const FOUND_AGAIN: Duration = Duration::from_secs(FULL_SCAN_INTERVAL.as_secs() + 30);

/// What is away from a machine.
#[derive(Clone)]
pub struct Away {
    branch: Branch,
    then: Then,
    /// What the node did not know of, or users have touched.
    exempt: BTreeSet<Vec<u8>>,
    /// What it has deleted elsewhere, since it was not much.
    let_go: BTreeSet<Vec<u8>>,
    /// The most that it had at a time.
    max_here: u64,
    /// It was looked at what the node knows.
    is_seen: bool,
}

impl Away {
    /// What of it is still owed by the node.
    fn owed(&self) -> impl Iterator<Item = &Vec<u8>> {
        let is_owed =
            |path: &&Vec<u8>| !self.exempt.contains(*path) && !self.let_go.contains(*path);
        self.branch.tree.keys().filter(is_owed)
    }

    /// What it holds.
    pub(super) fn content(&self) -> impl Iterator<Item = ContentId> {
        self.branch.tree.values().flatten().copied()
    }

    /// The tree with what is away.
    fn with(&self, tree: &Tree) -> Tree {
        let kept = self.branch.tree.iter().filter(|(path, _)| !self.let_go.contains(*path));
        let kept: BTreeMap<_, _> = kept.map(|(path, id)| (path.clone(), *id)).collect();
        kept.into_iter().chain(tree.clone()).collect()
    }
}

/// What a node's row says of a path that is away from it.
#[derive(PartialEq, Eq)]
enum Said {
    /// It is live, as far as the node knows.
    Live,
    /// The node has published that it was deleted.
    Deleted,
    Other,
}

impl World {
    pub(super) fn take_away(&mut self, at: usize, which: u32, then: Then, for_ms: u64) -> Checked {
        if self.machines[at].is_off || self.machines[at].away.is_some() {
            return Ok(());
        }
        self.note_deeds(at)?;
        let Some(branch) = self.machines[at].disk_at(self.now).take_away(which) else {
            return Ok(());
        };
        let (exempt, let_go) = (BTreeSet::new(), BTreeSet::new());
        let away = Away { branch, then, exempt, let_go, max_here: 0, is_seen: false };
        self.machines[at].away = Some(away);
        self.machines[at].back_at = Some(self.now + Duration::from_millis(for_ms));
        self.watch_what_is_away(at)
    }

    /// To be called whenever the node may have published something.
    pub(super) fn watch_what_is_away(&mut self, at: usize) -> Checked {
        self.see_question(at);
        let Some(mut away) = self.machines[at].away.take() else { return Ok(()) };
        let watched = self.watch(at, &mut away);
        self.machines[at].away = Some(away);
        watched
    }

    fn watch(&mut self, at: usize, away: &mut Away) -> Checked {
        let tree = self.tree_of(at);
        let Some(replica) = &self.machines[at].replica else { return Ok(()) };
        let engine = replica.engine();
        away.max_here = away.max_here.max(engine.index().summary().here);
        let said: BTreeMap<Vec<u8>, Said> =
            away.owed().map(|path| (path.clone(), said(engine, path))).collect();
        if !std::mem::replace(&mut away.is_seen, true) {
            let unknown = said.iter().filter(|(_, said)| **said != Said::Live);
            away.exempt.extend(unknown.map(|(path, _)| path.clone()));
        }
        let is_touched = |path: &Vec<u8>| {
            let is_lone =
                |above: &[u8]| !tree.contains_key(above) && !away.branch.tree.contains_key(above);
            tree.contains_key(path) || ancestors(path).any(is_lone)
        };
        let touched: Vec<_> = said.keys().filter(|path| is_touched(path)).cloned().collect();
        away.exempt.extend(touched);
        let gone = said.values().filter(|said| **said != Said::Other).count() as u64;
        let deleted: Vec<Vec<u8>> = said
            .into_iter()
            .filter(|(path, said)| *said == Said::Deleted && !away.exempt.contains(path))
            .map(|(path, _)| path)
            .collect();
        let mass = self.machines[at].style.mass_missing;
        for path in deleted {
            if gone >= mass && gone * 3 >= away.max_here && !is_elsewhere(&tree, away, &path) {
                let name = String::from_utf8_lossy(&path);
                return Err(format!(
                    "node {at} published {name} as deleted, which is only away, with {gone} of {}",
                    away.max_here
                ));
            }
            self.let_go(at, away, path);
        }
        Ok(())
    }

    /// It counts as deleted by a user.
    fn let_go(&mut self, at: usize, away: &mut Away, path: Vec<u8>) {
        let before = away.with(&self.tree_of(at));
        away.let_go.insert(path);
        let after = away.with(&self.tree_of(at));
        self.record(at, Kind::Delete, before, after);
    }

    fn record(&mut self, at: usize, kind: Kind, before: Tree, after: Tree) {
        let shared = self.machines[at].disk.borrow().shared();
        let (half_written, touched, overwritten) = Default::default();
        let done = Done { kind, before, after, half_written, touched, shared, overwritten };
        self.oracle.record(at, &done, |_, _| false);
    }

    // --- The end

    /// What was planned for the branch happens, if it can.
    pub(super) fn end_away(&mut self, at: usize) -> Checked {
        self.machines[at].back_at = None;
        self.note_deeds(at)?;
        self.watch_what_is_away(at)?;
        let Some(mut away) = self.machines[at].away.take() else { return Ok(()) };
        let tree = self.tree_of(at);
        for path in away.branch.tree.keys().filter(|path| away.exempt.contains(*path)) {
            // Who has deleted it there has not touched it here.
            let is_deleted = self.machines[at]
                .replica
                .as_ref()
                .is_some_and(|replica| said(replica.engine(), path) == Said::Deleted);
            if is_deleted && !tree.contains_key(path) {
                away.let_go.insert(path.clone());
            }
        }
        let exempt: BTreeSet<_> = away.let_go.intersection(&away.exempt).cloned().collect();
        if !exempt.is_empty() {
            let after = away.with(&tree);
            let before = Away { let_go: &away.let_go - &exempt, ..away.clone() }.with(&tree);
            self.record(at, Kind::Delete, before, after);
        }
        match away.then {
            Then::Accepted if self.is_asked(at) => {
                self.record(at, Kind::Delete, away.with(&tree), tree);
                self.decide(at, true)?;
            }
            Then::Refused if self.is_asked(at) => {
                self.lose(at, &away);
                self.decide(at, false)?;
            }
            _ => self.bring_back(at, &away),
        }
        self.was_closed = true;
        self.machines[at].answer_from = self.now + FOUND_AGAIN;
        Ok(())
    }

    fn bring_back(&mut self, at: usize, away: &Away) {
        let before = self.tree_of(at);
        self.machines[at].disk_at(self.now).bring_back(&away.branch);
        let after = self.tree_of(at);
        // What has its name by now was put in its place; what was let go is made anew.
        let replaced = away.with(&before).into_iter().chain(away.branch.tree.clone());
        let hidden: Tree = replaced
            .filter(|(path, id)| {
                away.branch.tree.get(path) == Some(id) && after.get(path) != Some(id)
            })
            .collect();
        if !hidden.is_empty() {
            let was: Tree = after.clone().into_iter().chain(hidden).collect();
            self.record(at, Kind::RenameOver, was, after.clone());
        }
        let made = after.keys().filter(|path| {
            !before.contains_key(*path)
                && (away.let_go.contains(*path) || !away.branch.tree.contains_key(*path))
        });
        let made: BTreeSet<Vec<u8>> = made.cloned().collect();
        if !made.is_empty() {
            let mut was = after.clone();
            was.retain(|path, _| !made.contains(path));
            self.record(at, Kind::Create, was, after.clone());
        }
        self.oracle.revive(&after);
    }

    /// It is never back: what nobody else has is lost.
    fn lose(&mut self, at: usize, away: &Away) {
        let tree = self.tree_of(at);
        let others: Vec<Tree> = (0..self.machines.len())
            .filter(|other| *other != at)
            .map(|other| self.tree_of(other))
            .collect();
        let left: BTreeSet<_> =
            (0..self.machines.len()).flat_map(|at| self.holdings_of(at)).collect();
        let lost: BTreeSet<_> =
            away.branch.tree.values().flatten().filter(|id| !left.contains(id)).copied().collect();
        self.oracle.handle_loss(&away.with(&tree), &tree, &others, &lost);
        self.oracle.give_up(lost);
    }

    // --- The question

    fn is_asked(&self, at: usize) -> bool {
        let replica = self.machines[at].replica.as_ref();
        replica.is_some_and(|replica| replica.engine().hold() == Hold::Asked)
    }

    pub(super) fn is_anything_asked(&self) -> bool {
        (0..self.machines.len()).any(|at| self.is_asked(at))
    }

    fn see_question(&mut self, at: usize) {
        let machine = &self.machines[at];
        if machine.answer_at.is_none() && machine.away.is_none() && self.is_asked(at) {
            let machine = &mut self.machines[at];
            machine.answer_at = Some(machine.answer_from.max(self.now + READING));
        }
    }

    /// It was users who have deleted what is missing now.
    pub(super) fn answer(&mut self, at: usize) -> Checked {
        self.machines[at].answer_at = None;
        match self.machines[at].away.is_none() && self.is_asked(at) {
            true => self.decide(at, true),
            false => Ok(()),
        }
    }

    fn decide(&mut self, at: usize, were_deleted: bool) -> Checked {
        let text = format!("node {at} is told: deleted {were_deleted}");
        self.trace.note(self.now, &text);
        self.machines[at]
            .tell(Input::MissingDecided { were_deleted }, self.now, self.began)
            .map_err(|error| error.to_string())
    }
}

fn said(engine: &Engine, path: &[u8]) -> Said {
    let row = RelPath::new(path).ok().and_then(|path| engine.index().get(&path).ok().flatten());
    let Some(row) = row else { return Said::Other };
    let is_own = Some(row.entry.version.dot.origin) == engine.index().summary().origin;
    match row.entry.is_tombstone() {
        true if is_own => Said::Deleted,
        true => Said::Other,
        false if row.base.is_some() => Said::Live,
        false => Said::Other,
    }
}

/// Has the same content the same name elsewhere? Then it was moved there, as it seems.
fn is_elsewhere(tree: &Tree, away: &Away, path: &[u8]) -> bool {
    let name = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
    let Some(Some(id)) = away.branch.tree.get(path) else { return false };
    tree.iter().any(|(other, there)| *there == Some(*id) && name(other) == name(path))
}

fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    ends.map(|end| &path[..end]).filter(|above| is_above(above, path))
}
