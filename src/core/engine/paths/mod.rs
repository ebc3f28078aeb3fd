//! What is under way at a path, and what is known of it beside its row: one bounded table for all
//! of it.
//!
//! Owns one [`PathState`] for each path at which something is under way. Knows neither index nor
//! links: the engine asks it whether a path may be read or changed, tells it what happened, and
//! looks at the rows itself.
//!
//! * `disk`: what this node, or a program of the user, is doing to the path at this moment.
//! * `fresh`: files that are read again when the clock has gone on.
//! * `left`: what this node has left there, unseen.
//! * `rest`: large files that were read lately.
//! * `retry`: what could not be done, why, and when it is tried again.
//! * `told`: what the watch has told of.

mod disk;
mod fresh;
mod left;
mod rest;
mod retry;
mod told;

use std::{collections::BTreeMap, time::Instant};

pub(super) use self::{
    disk::{Begun, Pending, ReadDone},
    retry::{Unseen, Why},
};
use self::{
    disk::{Disk, Racy},
    fresh::Fresh,
    rest::Rest,
    retry::{Crowd, Retry},
};
use crate::model::{
    entry::{Bits, Content, Version},
    limits::{MAX_BLOCKED, MAX_IN_FLIGHT, MAX_READS, MAX_SETTLING, MAX_TOLD},
    path::RelPath,
};

/// All paths at which something is under way.
#[derive(Debug, Default)]
pub(super) struct Paths {
    states: BTreeMap<RelPath, PathState>,
    counts: [usize; Kind::ALL.len()],
    /// Those that could not be done and did not fit among the named ones.
    crowd: Crowd,
}

/// What is under way at one path. A path of which nothing is true is not in the table.
#[derive(Debug, Default)]
struct PathState {
    disk: Disk,
    /// What a change may have left there, when it could not be seen whether it was made.
    left: Option<UnknownOutcome>,
    /// It could not be brought to its newest version, or not be looked at.
    retry: Option<Retry>,
    /// The stamp that its file was read with proves nothing for a while.
    racy: Option<Racy>,
    /// It was read in the tick of the clock in which it was written: it is read once more.
    fresh: Option<Fresh>,
    /// It was read lately, and is large.
    rest: Option<Rest>,
    /// The watch has told of it, and it was not looked at since.
    is_told: bool,
    /// Permission bits, which this disk does not keep, of what was kept here beside a version that
    /// won.
    kept: Option<Bits>,
}

/// What may be true of a path. Each is bounded by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Writing,
    Change,
    Left,
    Retry,
    Racy,
    Fresh,
    Rest,
    Told,
    Kept,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Read,
        Self::Writing,
        Self::Change,
        Self::Left,
        Self::Retry,
        Self::Racy,
        Self::Fresh,
        Self::Rest,
        Self::Told,
        Self::Kept,
    ];

    fn limit(self) -> usize {
        match self {
            Self::Read | Self::Racy | Self::Fresh => MAX_READS,
            Self::Writing | Self::Rest => MAX_SETTLING,
            Self::Change => MAX_IN_FLIGHT,
            Self::Told => MAX_TOLD,
            Self::Left | Self::Retry | Self::Kept => MAX_BLOCKED,
        }
    }
}

impl PathState {
    fn is(&self, kind: Kind) -> bool {
        match kind {
            Kind::Read => matches!(self.disk, Disk::Reading(_)),
            Kind::Writing => matches!(self.disk, Disk::Writing(_) | Disk::Resting { .. }),
            Kind::Change => matches!(self.disk, Disk::Changing(_)),
            Kind::Left => self.left.is_some(),
            Kind::Retry => self.retry.is_some(),
            Kind::Racy => self.racy.is_some(),
            Kind::Fresh => self.fresh.is_some(),
            Kind::Rest => self.rest.is_some(),
            Kind::Told => self.is_told,
            Kind::Kept => self.kept.is_some(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let retry = self.retry.as_ref().and_then(|retry| retry.until);
        let fresh = self.fresh.as_ref().map(|fresh| fresh.at);
        self.disk.deadline().into_iter().chain(retry).chain(fresh).min()
    }
}

impl Paths {
    /// When something is next due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.states.values().filter_map(PathState::deadline).chain(self.crowd.until()).min()
    }

    pub(super) fn is_bounded(&self) -> bool {
        Kind::ALL.into_iter().all(|kind| self.count(kind) <= kind.limit())
            && self.crowd.is_bounded()
    }

    /// Is nothing under way, and nothing to be tried again?
    pub(super) fn is_idle(&self) -> bool {
        let busy = [Kind::Read, Kind::Fresh, Kind::Writing, Kind::Change, Kind::Left, Kind::Retry];
        busy.into_iter().all(|kind| self.count(kind) == 0) && self.unnamed_problems() == 0
    }

    fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize]
    }

    /// Is there room for one more, or is the path one of them?
    fn has_place(&self, kind: Kind, path: &RelPath) -> bool {
        self.count(kind) < kind.limit() || self.get(path).is_some_and(|state| state.is(kind))
    }

    fn get(&self, path: &RelPath) -> Option<&PathState> {
        self.states.get(path)
    }

    /// The only way to change a path's state: keeps count, and drops what nothing is true of.
    fn edit<T>(&mut self, path: &RelPath, change: impl FnOnce(&mut PathState) -> T) -> T {
        let mut state = self.states.remove(path).unwrap_or_default();
        let before = Kind::ALL.map(|kind| state.is(kind));
        let result = change(&mut state);
        let mut is_any = false;
        for kind in Kind::ALL {
            let is = state.is(kind);
            is_any |= is;
            let count = &mut self.counts[kind as usize];
            *count = *count + usize::from(is) - usize::from(before[kind as usize]);
        }
        if is_any {
            self.states.insert(path.clone(), state);
        }
        result
    }

    /// As [`Self::edit`], of all paths whose state is of this kind, and is one.
    fn edit_where(
        &mut self,
        kind: Kind,
        is_one: impl Fn(&PathState) -> bool,
        mut change: impl FnMut(&RelPath, &mut PathState),
    ) {
        if self.count(kind) == 0 {
            return;
        }
        let is_one = |(_, state): &(&RelPath, &PathState)| state.is(kind) && is_one(state);
        let paths: Vec<RelPath> =
            self.states.iter().filter(is_one).map(|(path, _)| path.clone()).collect();
        for path in paths {
            self.edit(&path, |state| change(&path, state));
        }
    }
}

/// What a change was to put at a path, when it could not be found out whether it did.
#[derive(Debug)]
pub(super) struct UnknownOutcome {
    pub(super) content: Option<Content>,
    pub(super) mode: u16,
    pub(super) version: Version,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{disk::Begun, *};
    use crate::model::{
        entry::{Content, Entry, FileKind, Row, Stamp, Stat, Version},
        version::{Author, Dot, NodeId, Origin},
    };
    use crate::{core::seam::Time, model::limits::MAX_INLINE_BYTES};

    /// All that can happen to one of a few paths.
    #[derive(Debug, Clone)]
    enum Event {
        Writing { size: u64 },
        Settled,
        BeginRead { size: u64, is_fresh: bool },
        Doubt,
        ReadDone { size: u64, is_fresh: bool },
        BeginChange,
        EndChange { unknown_outcome: bool },
        Refused { unseen: Option<Unseen> },
        Unblock,
        Newer { wanted: bool },
        NewSource,
        Wait { ms: u64 },
        Forget,
    }

    fn events() -> impl Strategy<Value = Vec<(u8, Event)>> {
        let sizes = prop::sample::select(vec![1, 1 << 20, 1 << 32]);
        let unseen = [None, Some(Unseen::Itself), Some(Unseen::Closed)];
        let event = prop_oneof![
            sizes.clone().prop_map(|size| Event::Writing { size }),
            Just(Event::Settled),
            (sizes.clone(), any::<bool>())
                .prop_map(|(size, is_fresh)| Event::BeginRead { size, is_fresh }),
            Just(Event::Doubt),
            (sizes, any::<bool>()).prop_map(|(size, is_fresh)| Event::ReadDone { size, is_fresh }),
            Just(Event::BeginChange),
            any::<bool>().prop_map(|unknown_outcome| Event::EndChange { unknown_outcome }),
            prop::sample::select(unseen.to_vec()).prop_map(|unseen| Event::Refused { unseen }),
            Just(Event::Unblock),
            any::<bool>().prop_map(|wanted| Event::Newer { wanted }),
            Just(Event::NewSource),
            (0..100_000u64).prop_map(|ms| Event::Wait { ms }),
            Just(Event::Forget),
        ];
        prop::collection::vec((0..4u8, event), 0..80)
    }

    fn row() -> Row {
        let dot = Dot { origin: Origin(1), seq: 1 };
        let version = Version {
            dot,
            author: Author::Node(NodeId([1; 8])),
            changed: 1,
            made_with: dot.into(),
            joined: None,
            content_since: None,
            replaced: None,
        };
        Row::new(
            Entry { content: Some(Content::Directory), mode: 0o755, mtime_ns: 0, version },
            None,
        )
    }

    /// A file, with a time of a file system that keeps whole seconds.
    pub(super) fn stat(size: u64) -> Stat {
        let stamp = Stamp { device: 1, inode: 1, size, mtime_ns: 0, ctime_ns: 0 };
        Stat { kind: FileKind::File, stamp, mode: 0o644, links: 1 }
    }

    fn happen(paths: &mut Paths, path: &RelPath, event: Event, now: &mut Instant) {
        match event {
            Event::Writing { size } => assert!(paths.handle_writing(path, size, *now)),
            Event::Settled => paths.handle_settled(path),
            Event::BeginRead { size, is_fresh } => {
                let was_free = paths.is_free(path) && !paths.must_rest(path, u64::MAX, *now);
                let begun = was_free.then(|| {
                    paths.begin_read(path, &stat(size), is_fresh, Time { now: *now, wall_ms: 0 })
                });
                let waits = is_fresh && size > MAX_INLINE_BYTES as u64;
                assert!(begun.is_none_or(|begun| (begun == Begun::Now) != waits));
            }
            Event::Doubt => paths.mark_for_reread(path),
            Event::ReadDone { size, is_fresh } => {
                let was_read = paths.is_reading(path);
                let done = paths.handle_read_done(path, Some(&stat(size).stamp), *now);
                assert!(was_read || done == ReadDone::default());
                paths.handle_was_read(path, size, *now);
                let may_be_read_again = !is_fresh || paths.read_once_more(path, &stat(size), *now);
                assert!(may_be_read_again);
            }
            Event::BeginChange if paths.may_change(path, *now) => {
                paths.begin_change(path, Pending::to(&row()))
            }
            Event::BeginChange => {}
            Event::EndChange { unknown_outcome } => {
                let change = paths.end_change(path).filter(|_| unknown_outcome);
                let left = change.map(|Pending { content, mode, version, .. }| UnknownOutcome {
                    content,
                    mode,
                    version,
                });
                left.into_iter().for_each(|left| paths.note_unknown_outcome(path, left));
            }
            Event::Refused { unseen: Some(unseen) } => {
                paths.block_unseen(path, (unseen, "a reason"), *now)
            }
            Event::Refused { unseen: None } => paths.block(path, Why::NoSource, *now),
            Event::Unblock => paths.unblock(path),
            Event::Newer { wanted } => paths.handle_newer(path, wanted, *now),
            Event::NewSource => paths.handle_new_source(*now),
            Event::Wait { ms } => {
                *now += Duration::from_millis(ms);
                paths.take_settled(*now);
                paths.take_due(*now);
                let read = paths.take_due_reads(Time { now: *now, wall_ms: 0 });
                assert!(read.iter().all(|(path, _)| paths.is_reading(path)));
                assert!(paths.next_timeout().is_none_or(|at| at > *now), "what is due is done");
            }
            Event::Forget => {
                paths.take_unknown_outcome(path);
                paths.take_kept(path);
                paths.forget_settling();
            }
        }
    }

    proptest! {
        #[test]
        fn one_thing_at_a_time_is_done_to_a_path_and_all_is_counted(events in events()) {
            let (mut paths, mut now) = (Paths::default(), Instant::now());
            for (at, event) in events {
                let path = RelPath::new(&[b'a' + at]).expect("a letter is a name");
                happen(&mut paths, &path, event, &mut now);
                for kind in Kind::ALL {
                    let counted = paths.states.values().filter(|state| state.is(kind)).count();
                    prop_assert_eq!(paths.count(kind), counted, "{:?}", kind);
                }
                prop_assert!(paths.states.values()
                    .all(|state| Kind::ALL.iter().any(|kind| state.is(*kind))));
                let [reads, changes] = [paths.is_reading(&path), paths.is_changing(&path)];
                prop_assert!(!(reads && changes) && paths.is_free(&path) == (!reads && !changes));
                prop_assert!(paths.is_bounded());
            }
        }
    }
}
