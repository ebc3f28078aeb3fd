//! What could not be done: the paths that cannot be written or looked at, why, and when each is
//! tried again.
//!
//! As many as fit into a table are named, each with its reason and a deadline of its own. Of the
//! others no more than a hash is kept. They have one deadline together, at which so many are tried
//! in vain at most, and the rest at the next ones: a directory of thousands of paths that cannot be
//! written costs one line in the log, and next to no time.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hasher},
    iter, mem,
    time::{Duration, Instant},
};

use log::{Level, log, warn};

use super::{Kind, PathState, Paths};
use crate::model::{
    limits::{MAX_CROWD, MAX_CROWD_TRIES, RETRY_DELAY_MAX, RETRY_DELAY_MIN},
    path::RelPath,
};

/// Why a path could not be brought to its newest version, or not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Why {
    /// No linked node has the content.
    NoSource,
    /// A linked node has the content, and cannot read it at present.
    NotNow,
    /// Something on this machine, in words for people.
    Here(String),
}

impl Why {
    pub(in super::super) fn as_str(&self) -> &str {
        match self {
            Self::NoSource => "no node that has it can be reached",
            Self::NotNow => "the node that has it cannot read it at present",
            Self::Here(reason) => reason,
        }
    }

    /// May another node have what was asked for in vain?
    fn is_elsewhere(&self) -> bool {
        matches!(self, Self::NoSource | Self::NotNow)
    }
}

impl From<&str> for Why {
    fn from(reason: &str) -> Self {
        Self::Here(reason.to_owned())
    }
}

/// What lasts for so long is told in the log.
const LASTING: Duration = Duration::from_secs(4);

/// A path that could not be brought to its newest version, or not be looked at.
#[derive(Debug)]
pub(super) struct Retry {
    why: Why,
    delay: Duration,
    /// `None` while it may be tried.
    pub(super) until: Option<Instant>,
    unseen: Option<Unseen>,
    /// Its content is on this disk, and could not be copied.
    has_failed_copy: bool,
}

/// A path could not be looked at: what this disk holds there is not known, whatever others say of
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Unseen {
    /// Nothing can be told of it, or it could not be listed or read.
    Itself,
    /// Nor can anything be told of what is below this directory: something is mounted on it, or it
    /// cannot be reached. Nothing is looked for there. Beyond those that are named that is not kept
    /// in mind: what is below is found to be so by itself.
    Closed,
}

/// Those that did not fit.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// To be tried before the others are tried again.
    waiting: BTreeSet<u64>,
    /// Tried in vain since.
    tried: BTreeSet<u64>,
    /// How many more may be tried in vain until the deadline.
    tries_left: usize,
    delay: Duration,
    until: Option<Instant>,
    is_told: bool,
}

impl Paths {
    /// Leaves the path alone for a while, longer each time.
    pub(in super::super) fn block(&mut self, path: &RelPath, why: impl Into<Why>, now: Instant) {
        if !self.has_place(Kind::Retry, path) {
            return self.crowd.add(path, now);
        }
        self.crowd.remove(path);
        let why = why.into();
        self.edit(path, |state| {
            let last = state.retry.take();
            // That nobody has it is counted by itself: what it was blocked for before is no reason
            // to give it up.
            let counted = last
                .as_ref()
                .filter(|last| mem::discriminant(&last.why) == mem::discriminant(&why));
            let delay =
                counted.map_or(RETRY_DELAY_MIN, |last| (last.delay * 2).min(RETRY_DELAY_MAX));
            let unseen = last.as_ref().and_then(|last| last.unseen);
            let has_failed_copy = last.is_some_and(|last| last.has_failed_copy);
            state.retry =
                Some(Retry { why, delay, until: Some(now + delay), unseen, has_failed_copy });
        });
    }

    /// As [`Self::block`], until the path could be looked at.
    pub(in super::super) fn block_unseen(
        &mut self,
        path: &RelPath,
        (unseen, reason): (Unseen, &str),
        now: Instant,
    ) {
        self.block(path, reason, now);
        // What is closed is so until something can be told of it.
        self.edit_retry(path, |retry| match retry.unseen {
            Some(Unseen::Closed) => {}
            _ => retry.unseen = Some(unseen),
        });
    }

    /// Something can be told of the path. Could it not be entered before?
    pub(in super::super) fn handle_open(&mut self, path: &RelPath) -> bool {
        let was_closed = self.is_closed(path);
        if was_closed {
            // It has not been listed yet.
            self.edit_retry(path, |retry| retry.unseen = Some(Unseen::Itself));
        }
        was_closed
    }

    fn is_closed(&self, path: &RelPath) -> bool {
        self.retry(path).is_some_and(|retry| retry.unseen == Some(Unseen::Closed))
    }

    /// The directory that cannot be entered, at or above this one.
    pub(in super::super) fn closed_above(&self, directory: &RelPath) -> Option<RelPath> {
        iter::successors(Some(directory.clone()), RelPath::parent).find(|path| self.is_closed(path))
    }

    /// As [`Self::block`]; its content is not copied from this disk again while there are others to
    /// ask.
    pub(in super::super) fn block_copy(&mut self, path: &RelPath, reason: &str, now: Instant) {
        self.block(path, reason, now);
        self.edit_retry(path, |retry| retry.has_failed_copy = true);
    }

    pub(in super::super) fn has_failed_copy(&self, path: &RelPath) -> bool {
        self.retry(path).is_some_and(|retry| retry.has_failed_copy)
    }

    /// Says that a path cannot be `what` (written, read), and why; not again each time that it is
    /// tried, for the same reason in other words. Those that are not named are told of together.
    pub(in super::super) fn tell(&self, path: &RelPath, what: &str, reason: &str) {
        let before = self.retry(path).map(|retry| retry.why.as_str());
        let is_known = before.is_some_and(|before| gist(before).eq(gist(reason)));
        let level =
            if is_known || !self.has_place(Kind::Retry, path) { Level::Debug } else { Level::Warn };
        log!(level, "{path} cannot be {what}, and is tried again: {reason}");
    }

    /// The path is as it should be.
    pub(in super::super) fn unblock(&mut self, path: &RelPath) {
        if self.retry(path).is_some() {
            self.edit(path, |state| state.retry = None);
        }
        self.crowd.remove(path);
    }

    /// The path was written. If it could not be before, those that are not named may be now, too.
    pub(in super::super) fn handle_written(&mut self, path: &RelPath, now: Instant) {
        if self.is_problem(path) {
            self.crowd.hurry(now);
        }
        match self.is_closed(path) {
            // What is below is to be looked at, too.
            true => self.edit_retry(path, |retry| retry.until = Some(now)),
            false => self.unblock(path),
        }
    }

    /// A path that could not be brought to its newest version is being changed just now, or waits
    /// for something that may never come: it is looked at later.
    pub(in super::super) fn postpone(&mut self, path: &RelPath, is_soon: bool, now: Instant) {
        self.edit_retry(path, |retry| {
            retry.until = Some(now + if is_soon { RETRY_DELAY_MIN } else { retry.delay });
        });
    }

    /// What could not be done is tried again now: whoever was asked meanwhile was not listened to.
    pub(in super::super) fn retry_all(&mut self, now: Instant) {
        self.edit_where(
            Kind::Retry,
            |_| true,
            |_, state| state.retry.iter_mut().for_each(|retry| retry.until = Some(now)),
        );
        self.crowd.retry(now);
    }

    /// Another version of the path has come: nothing is wanted any more, or it is tried at once,
    /// and may be had where the last one could not. What could not be looked at still is to be.
    pub(in super::super) fn handle_newer(&mut self, path: &RelPath, is_wanted: bool, now: Instant) {
        self.crowd.remove(path);
        if self.retry(path).is_some() {
            self.edit(path, |state| {
                state.retry = state.retry.take().and_then(|retry| retry.renewed(is_wanted, now));
            });
        }
    }

    /// Another node is linked, which may have what nobody had: as if nobody had been asked.
    pub(in super::super) fn handle_new_source(&mut self, now: Instant) {
        let is_elsewhere =
            |state: &PathState| state.retry.as_ref().is_some_and(|retry| retry.why.is_elsewhere());
        self.edit_where(Kind::Retry, is_elsewhere, |_, state| {
            let unseen = state.retry.take().filter(|retry| retry.unseen.is_some());
            state.retry = unseen.map(|retry| Retry { delay: RETRY_DELAY_MIN, ..retry });
        });
        self.crowd.retry(now);
    }

    // --- Asked

    /// Is it left alone?
    pub(in super::super) fn is_resting(&self, path: &RelPath, now: Instant) -> bool {
        match self.retry(path) {
            Some(retry) => retry.until.is_some_and(|until| until > now),
            None => self.crowd.is_resting(path),
        }
    }

    /// Could it not be written or read?
    pub(in super::super) fn is_problem(&self, path: &RelPath) -> bool {
        self.retry(path).is_some() || self.crowd.contains(path)
    }

    /// Is it one that may be tried, though nobody has done so yet?
    pub(in super::super) fn is_due(&self, path: &RelPath) -> bool {
        self.retry(path).is_some_and(|retry| retry.until.is_none())
    }

    /// Is there a time at which it is tried?
    pub(in super::super) fn will_be_tried(&self, path: &RelPath) -> bool {
        self.retry(path).is_some_and(|retry| retry.until.is_some()) || self.crowd.contains(path)
    }

    /// Has nobody had the path's content, in so many tries that the pause between them is as long
    /// as this?
    pub(in super::super) fn is_without_source(&self, path: &RelPath, delay: Duration) -> bool {
        self.retry(path).is_some_and(|retry| retry.why == Why::NoSource && retry.delay >= delay)
    }

    /// Has it been tried in vain so often that the pause is as long as this?
    pub(in super::super) fn has_waited(&self, path: &RelPath, delay: Duration) -> bool {
        self.retry(path).is_some_and(|retry| retry.delay >= delay) || self.crowd.contains(path)
    }

    /// Those that are named, and why.
    pub(in super::super) fn problems(&self) -> impl Iterator<Item = (&RelPath, &str)> {
        self.states
            .iter()
            .filter_map(|(path, state)| Some((path, state.retry.as_ref()?.why.as_str())))
    }

    /// How many there are that are not named.
    pub(in super::super) fn unnamed_problems(&self) -> usize {
        self.crowd.len()
    }

    /// There are more than can be kept count of, and enough were tried: nothing is until the
    /// deadline.
    pub(in super::super) fn is_exhausted(&self) -> bool {
        self.crowd.len() >= MAX_CROWD && self.crowd.tries_left == 0
    }

    // --- Deadlines

    /// Those whose pause is over. A path keeps its reason, and its growing delay, until it
    /// succeeds.
    pub(in super::super) fn take_due(&mut self, now: Instant) -> Vec<RelPath> {
        let is_due = |state: &PathState| {
            state.retry.as_ref().and_then(|retry| retry.until).is_some_and(|until| until <= now)
        };
        let mut due = Vec::new();
        self.edit_where(Kind::Retry, is_due, |path, state| {
            state.retry.iter_mut().for_each(|retry| retry.until = None);
            due.push(path.clone());
        });
        due
    }

    /// May those that are not named be tried again? Those that a pass did not come by since the
    /// last time, though it `is_through`, are none any more.
    pub(in super::super) fn begin_round(&mut self, is_through: bool, now: Instant) -> bool {
        self.crowd.begin_round(is_through, now)
    }

    fn retry(&self, path: &RelPath) -> Option<&Retry> {
        self.get(path)?.retry.as_ref()
    }

    fn edit_retry(&mut self, path: &RelPath, change: impl FnOnce(&mut Retry)) {
        if self.retry(path).is_some() {
            self.edit(path, |state| state.retry.as_mut().map(change));
        }
    }
}

impl Retry {
    /// What is left of it when another version has come.
    fn renewed(mut self, is_wanted: bool, now: Instant) -> Option<Self> {
        if self.unseen.is_some() {
            self.delay = RETRY_DELAY_MIN;
            self.until.get_or_insert(now);
            return Some(self);
        }
        self.until = self.until.map(|until| until.min(now));
        (is_wanted && !self.why.is_elsewhere()).then_some(self)
    }
}

impl Crowd {
    /// When those that are not named are tried again.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.len() <= MAX_CROWD && (self.len() == 0 || self.until.is_some())
    }

    fn len(&self) -> usize {
        self.waiting.len() + self.tried.len()
    }

    fn contains(&self, path: &RelPath) -> bool {
        self.len() > 0 && [&self.waiting, &self.tried].iter().any(|set| set.contains(&hash(path)))
    }

    fn is_resting(&self, path: &RelPath) -> bool {
        let rests = |hash| {
            self.tried.contains(&hash) || self.tries_left == 0 && self.waiting.contains(&hash)
        };
        self.len() > 0 && rests(hash(path))
    }

    fn add(&mut self, path: &RelPath, now: Instant) {
        self.tries_left = self.tries_left.saturating_sub(1);
        let hash = hash(path);
        self.waiting.remove(&hash);
        if self.len() < MAX_CROWD {
            self.tried.insert(hash);
        }
        if self.until.is_none() {
            (self.delay, self.until) = (RETRY_DELAY_MIN, Some(now + RETRY_DELAY_MIN));
        }
    }

    fn remove(&mut self, path: &RelPath) {
        if self.len() == 0 {
            return;
        }
        let hash = hash(path);
        self.waiting.remove(&hash);
        self.tried.remove(&hash);
        if self.len() == 0 {
            *self = Self::default();
        }
    }

    fn retry(&mut self, now: Instant) {
        if self.until.is_some() {
            (self.delay, self.until) = (RETRY_DELAY_MIN, Some(now));
            self.waiting.append(&mut self.tried);
        }
    }

    fn hurry(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until > now + RETRY_DELAY_MIN) {
            (self.delay, self.until) = (RETRY_DELAY_MIN, Some(now + RETRY_DELAY_MIN));
        }
    }

    fn begin_round(&mut self, is_through: bool, now: Instant) -> bool {
        if self.until.is_none_or(|until| until > now) {
            return false;
        }
        if self.tries_left > 0 && is_through {
            self.waiting.clear();
        }
        if self.tries_left > 0 || self.waiting.is_empty() {
            self.waiting.append(&mut self.tried);
        }
        if self.len() == 0 {
            *self = Self::default();
            return false;
        }
        if self.delay >= LASTING && !self.is_told {
            self.is_told = true;
            let count = self.len();
            warn!(
                "{count} more paths cannot be written or read than `status` names: they are tried \
                 again together"
            );
        }
        self.delay = (self.delay * 2).min(RETRY_DELAY_MAX);
        (self.until, self.tries_left) = (Some(now + self.delay), MAX_CROWD_TRIES);
        true
    }
}

fn hash(path: &RelPath) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(path.as_bytes());
    hasher.finish()
}

/// What the system has said, without what it was asked to do, and without figures.
fn gist(reason: &str) -> impl Iterator<Item = char> {
    let said = reason.rsplit(": ").next().unwrap_or(reason);
    said.chars().filter(|char| !char.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::MAX_BLOCKED;

    fn path(at: usize) -> RelPath {
        RelPath::new(format!("{at}").as_bytes()).expect("a number is a name")
    }

    fn blocked(count: usize, now: Instant) -> Paths {
        let mut paths = Paths::default();
        (0..count).for_each(|at| paths.block(&path(at), "refused", now));
        paths
    }

    /// So many of those that are not named are tried in vain in a round.
    fn try_all(paths: &mut Paths, count: usize, now: Instant) -> Vec<usize> {
        let free = |paths: &Paths, at: &usize| !paths.is_resting(&path(*at), now);
        let mut tried = Vec::new();
        for at in MAX_BLOCKED..count {
            if free(paths, &at) {
                paths.block(&path(at), "refused", now);
                tried.push(at);
            }
        }
        tried
    }

    #[test]
    fn those_that_are_not_named_are_tried_in_turns() {
        let start = Instant::now();
        let count = MAX_BLOCKED + MAX_CROWD_TRIES * 2 + 10;
        let mut paths = blocked(count, start);
        assert_eq!(
            (paths.problems().count(), paths.unnamed_problems()),
            (MAX_BLOCKED, count - MAX_BLOCKED)
        );
        assert_eq!(try_all(&mut paths, count, start), Vec::<usize>::new(), "all rest");
        let mut seen = Vec::new();
        for round in 1..=3 {
            let now = start + RETRY_DELAY_MAX * round;
            assert!(paths.begin_round(true, now));
            let tried = try_all(&mut paths, count, now);
            assert!(tried.len() <= MAX_CROWD_TRIES);
            seen.extend(tried);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count - MAX_BLOCKED, "each had its turn");
        assert!(paths.is_bounded());
    }

    #[test]
    fn who_succeeds_or_is_not_met_again_is_counted_no_more() {
        let start = Instant::now();
        let count = MAX_BLOCKED + 3;
        let mut paths = blocked(count, start);
        paths.unblock(&path(count - 1));
        paths.handle_newer(&path(count - 2), true, start);
        assert!(!paths.is_resting(&path(count - 2), start), "a newer version is tried at once");
        assert_eq!(paths.unnamed_problems(), 1);
        assert!(paths.begin_round(true, start + RETRY_DELAY_MIN));
        assert!(!paths.begin_round(true, start + RETRY_DELAY_MAX), "nobody came by it");
        assert_eq!(paths.unnamed_problems(), 0);
        assert!(paths.next_timeout().is_some_and(|at| at == start + RETRY_DELAY_MIN));
    }

    #[test]
    fn when_one_succeeds_the_others_are_tried_soon() {
        let start = Instant::now();
        let mut paths = blocked(MAX_BLOCKED + 2, start);
        let later = start + RETRY_DELAY_MAX;
        assert!(paths.begin_round(false, later));
        try_all(&mut paths, MAX_BLOCKED + 2, later);
        let now = later + Duration::from_millis(1);
        paths.handle_written(&path(0), now);
        assert!(paths.begin_round(false, now + RETRY_DELAY_MIN));
        assert!(!paths.is_resting(&path(MAX_BLOCKED + 1), now + RETRY_DELAY_MIN));
    }

    #[test]
    fn more_than_can_be_counted_wait_for_the_deadline() {
        let start = Instant::now();
        let paths = blocked(MAX_BLOCKED + MAX_CROWD + 5, start);
        assert!(paths.is_bounded() && paths.is_exhausted());
        assert_eq!(paths.next_timeout(), Some(start + RETRY_DELAY_MIN));
    }
}
