//! [`decide`] against a model of what it is to compute: an entry is a set of changes, two entries
//! together are the union, and what a path holds is the change with the largest (`changed`, `dot`)
//! of the set. The model has no vectors.
//!
//! Some nodes edit one path, tell each other, put on their disk what they were told, keep what they
//! have against it, and forget, as a node does that is killed: it counts on under another origin,
//! from what it was earlier.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::{
    entry::{Bits, Content, Digest, Provenance, Seen, Stamp},
    version::{Dot, NodeId, Origin},
};

const NODES: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    /// A user changes what is on the disk.
    Edit { node: usize, content: Option<u8>, clock: u64 },
    /// What is on the disk is published above the newest version, as an edit against a concurrent
    /// delete.
    Restate { node: usize, clock: u64 },
    /// The newest version is put on the disk.
    Place { node: usize },
    /// One node sends another its newest version.
    Tell { from: usize, to: usize },
    /// A node is as it was some steps ago, and counts anew.
    Forget { node: usize, steps: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let content = prop::option::weighted(0.8, 0..3_u8);
    let step = prop_oneof![
        4 => (0..NODES, content, 0..20_u64)
            .prop_map(|(node, content, clock)| Step::Edit { node, content, clock }),
        1 => (0..NODES, 0..20_u64).prop_map(|(node, clock)| Step::Restate { node, clock }),
        3 => (0..NODES).prop_map(|node| Step::Place { node }),
        5 => (0..NODES, 0..NODES).prop_map(|(from, to)| Step::Tell { from, to }),
        1 => (0..NODES, 1..6_usize).prop_map(|(node, steps)| Step::Forget { node, steps }),
    ];
    prop::collection::vec(step, 0..60)
}

/// One change, by its place in the history.
type Change = usize;
type Set = BTreeSet<Change>;

struct Made {
    dot: Dot,
    changed: u64,
    content: Option<Content>,
    /// The changes that its author knew, its own ones under the same origin included.
    made_with: Set,
}

/// The real entry and the set that it is to stand for.
#[derive(Debug, Clone, PartialEq)]
struct Both {
    entry: Entry,
    set: Set,
}

/// As a row of the index: what is on the disk, unless that is nothing, and the newest version.
#[derive(Debug, Clone, Default)]
struct Node {
    disk: Option<Both>,
    newest: Option<Both>,
}

#[derive(Default)]
struct History {
    made: Vec<Made>,
    nodes: [Node; NODES],
    /// What each node was after each step.
    past: Vec<[Node; NODES]>,
    origins: [u64; NODES],
    /// Every version that ever was the newest of a node, and so told to others.
    told: Vec<Both>,
    /// Every version that ever was on a disk.
    placed: Vec<Both>,
}

impl History {
    fn of(steps: &[Step]) -> Self {
        let mut history =
            Self { origins: std::array::from_fn(|node| node as u64 + 1), ..Self::default() };
        history.past.push(history.nodes.clone());
        for step in steps {
            history.take(step);
            history.remember();
        }
        history
    }

    fn remember(&mut self) {
        let before = self.past.last().expect("the beginning is in it");
        for (before, now) in before.iter().zip(&self.nodes) {
            self.told.extend(now.newest.clone().filter(|_| now.newest != before.newest));
            self.placed.extend(now.disk.clone().filter(|_| now.disk != before.disk));
        }
        self.past.push(self.nodes.clone());
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Edit { node, content, clock } => self.edit(node, content, clock),
            Step::Restate { node, clock } => self.republish(node, clock),
            Step::Place { node } => {
                let newest = self.nodes[node].newest.clone();
                self.nodes[node].disk = newest.filter(|newest| !newest.entry.is_tombstone());
            }
            Step::Tell { from, to } => {
                if let Some(told) = self.nodes[from].newest.clone() {
                    self.nodes[to].newest = Some(self.join(self.nodes[to].newest.as_ref(), &told));
                }
            }
            Step::Forget { node, steps } => {
                let then = self.past.len().saturating_sub(steps + 1);
                self.nodes[node] = self.past[then][node].clone();
                self.origins[node] += NODES as u64;
            }
        }
    }

    fn edit(&mut self, node: usize, content: Option<u8>, clock: u64) {
        let Node { disk, newest } = self.nodes[node].clone();
        if disk.is_none() && content.is_none() {
            return;
        }
        // As when a path is made where a deletion is known.
        let known = disk.or(newest.clone().filter(|newest| newest.entry.is_tombstone()));
        let content = content.map(|byte| Content::File { size: 1, digest: Digest([byte; 32]) });
        let edited = self.make(node, known.as_ref(), None, content, clock);
        let newest = self.join(newest.as_ref(), &edited);
        let disk = Some(edited.clone()).filter(|edited| !edited.entry.is_tombstone());
        self.nodes[node] = Node { disk, newest: Some(newest) };
    }

    fn republish(&mut self, node: usize, clock: u64) {
        let Node { disk: Some(disk), newest: Some(newest) } = self.nodes[node].clone() else {
            return;
        };
        let content = disk.entry.content.clone();
        let restated = self.make(node, Some(&disk), Some(&newest), content, clock);
        self.nodes[node] = Node { disk: Some(restated.clone()), newest: Some(restated) };
    }

    /// A change made knowing `known`, that stands for `above`, too.
    fn make(
        &mut self,
        node: usize,
        known: Option<&Both>,
        above: Option<&Both>,
        content: Option<Content>,
        clock: u64,
    ) -> Both {
        let origin = Origin(self.origins[node]);
        let seq = self.made.iter().filter(|made| made.dot.origin == origin).count() as u64 + 1;
        let (dot, this) = (Dot { origin, seq }, self.made.len());
        let replaced = above.or(known).map(|replaced| replaced.entry.version.changed);
        let changed = replaced.map_or(clock, |replaced| clock.max(replaced + 1));
        let mut made_with = known.map(|known| known.set.clone()).unwrap_or_default();
        made_with.extend((0..this).filter(|&own| self.made[own].dot.origin == origin));
        made_with.insert(this);
        let set: Set =
            made_with.iter().chain(above.iter().flat_map(|above| &above.set)).copied().collect();
        self.made.push(Made { dot, changed, content: content.clone(), made_with });

        let mut made_with =
            known.map(|known| known.entry.version.vector().clone()).unwrap_or_default();
        made_with.insert(dot);
        let joined = above.map(|above| {
            let mut joined = made_with.clone();
            joined.join(above.entry.version.vector());
            joined
        });
        let author = Author::Node(NodeId([node as u8 + 1; 8]));
        let joined = joined.filter(|joined| *joined != made_with);
        let version = Version {
            dot,
            author,
            changed,
            made_with,
            joined,
            content_since: None,
            replaced: None,
        };
        Both { entry: Entry { content, mode: 0o644, mtime_ns: 0, version }, set }
    }

    /// What a node holds that held the one and is told the other.
    fn join(&self, held: Option<&Both>, told: &Both) -> Both {
        let Some(held) = held else { return told.clone() };
        let set: Set = held.set.union(&told.set).copied().collect();
        let entry = match decide(&held.entry, &told.entry) {
            Decision::Ignore => held.entry.clone(),
            Decision::Take => told.entry.clone(),
            Decision::Merge(merged) => merged,
        };
        Both { entry, set }
    }

    fn winner(&self, set: &Set) -> &Made {
        let rank = |change: &&Change| (self.made[**change].changed, self.made[**change].dot);
        &self.made[*set.iter().max_by_key(rank).expect("an entry stands for a change at least")]
    }

    /// The entry is what the model says that its set is.
    fn check(&self, both: &Both) -> Result<(), TestCaseError> {
        let (version, winner) = (&both.entry.version, self.winner(&both.set));
        prop_assert_eq!((version.dot, version.changed), (winner.dot, winner.changed));
        prop_assert_eq!(&both.entry.content, &winner.content);
        for (change, made) in self.made.iter().enumerate() {
            prop_assert_eq!(
                version.vector().contains(made.dot),
                both.set.contains(&change),
                "{:?}",
                made.dot
            );
            prop_assert_eq!(
                version.made_with.contains(made.dot),
                winner.made_with.contains(&change)
            );
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_entry_is_the_set_that_it_stands_for(steps in steps()) {
        let history = History::of(&steps);
        for both in &history.told {
            history.check(both)?;
        }
    }

    #[test]
    fn one_replaces_the_other_exactly_when_it_stands_for_all_of_it(steps in steps()) {
        let history = History::of(&steps);
        for held in &history.told {
            for told in &history.told {
                let decision = decide(&held.entry, &told.entry);
                let (covered, covers) =
                    (told.set.is_subset(&held.set), told.set.is_superset(&held.set));
                let as_modelled = match decision {
                    Decision::Ignore => covered,
                    Decision::Take => covers && !covered,
                    Decision::Merge(_) => !covers && !covered,
                };
                prop_assert!(as_modelled, "{held:?} told {told:?}: {decision:?}");
                history.check(&history.join(Some(held), told))?;
            }
        }
    }

    #[test]
    fn all_together_are_the_union_in_any_order(steps in steps(), order in any::<u64>()) {
        let history = History::of(&steps);
        let mut entries = history.told.clone();
        let mut state = order;
        for at in (1..entries.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            entries.swap(at, (state >> 33) as usize % (at + 1));
        }
        let fold = |entries: &[Both]| {
            entries.iter()
                .fold(None, |held: Option<Both>, told| Some(history.join(held.as_ref(), told)))
        };
        // In two halves that are then put together, as by two nodes that meet.
        let (one, other) = entries.split_at(entries.len() / 2);
        let halves = match (fold(one), fold(other)) {
            (one, Some(other)) => Some(history.join(one.as_ref(), &other)),
            (one, None) => one,
        };
        let (whole, halves) =
            (fold(&history.told).map(|both| both.entry), halves.map(|both| both.entry));
        prop_assert_eq!(whole, halves);
    }

    /// What is on a disk is kept exactly when the author of the version that replaces it did not
    /// know it, unless both hold the same, or are of one author, who forgot.
    #[test]
    fn a_copy_is_kept_exactly_of_what_was_not_known(steps in steps()) {
        let history = History::of(&steps);
        let stamp = Stamp { device: 1, inode: 1, size: 1, mtime_ns: 0, ctime_ns: 0 };
        for held in &history.placed {
            for newest in history.told.iter().filter(|newest| newest.set.is_superset(&held.set)) {
                let content = held.entry.content.clone().expect("nothing is not on a disk");
                let (content, seen) = (Provenance::Newest(content), Seen::at(stamp));
                let base = Base { held: content, seen, bits: Bits::kept(0o644) };
                let resolution = resolve(&base, &held.entry.version, &newest.entry);
                let change = history.made.iter()
                    .position(|made| made.dot == held.entry.version.dot);
                let change = change.expect("whatever is held was made");
                let was_known = history.winner(&newest.set).made_with.contains(&change);
                let (of_held, of_newest) = (held.entry.version.author, newest.entry.version.author);
                let is_excused = held.entry.content == newest.entry.content || of_held == of_newest;
                let is_replaced = resolution == Resolution::Replace;
                prop_assert_eq!(is_replaced, was_known || is_excused, "{:?} {:?}",
                    held, newest);
            }
        }
    }
}
