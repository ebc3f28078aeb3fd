//! Which directories are looked at, and when.
//!
//! One directory is listed at a time, in steps: each entry is compared with its row as it comes,
//! and of each name only a hash is kept, so that the rows that were not listed can be told
//! afterwards. A walk of the whole tree is a cursor over the index's directories: it needs no list
//! of what is still to come.
//!
//! * `listing`: one directory.
//! * `vanished`: directories that are gone.
//! * `missing`: what of that was deleted.

mod listing;
mod missing;
mod vanished;

use std::{
    collections::{BTreeSet, VecDeque},
    hash::{DefaultHasher, Hasher},
    time::Instant,
};

use log::{info, warn};

use self::missing::Missing;
use super::{Engine, Result};
use crate::{
    core::seam::{Output, Time},
    model::{
        entry::Base,
        limits::{
            FULL_SCAN_INTERVAL, MAX_DEGRADED, MAX_FAILED_WALKS, MAX_LIST_QUEUE, MAX_READS,
            POLL_INTERVAL, STEP_ENTRIES,
        },
        path::RelPath,
    },
};

/// What is being looked at, and what will be.
#[derive(Debug)]
pub(super) struct Scan {
    /// The last directory that the walk has begun; `None` when none is under way.
    walk: Option<RelPath>,
    walk_wanted: bool,
    walk_at: Instant,
    /// A walk has ended, and no other was begun since.
    is_between_walks: bool,
    /// Has a walk been through since the start? Until then it is not known what is on the disk.
    walked: bool,
    /// Has what it found been read as well?
    is_first_over: bool,
    /// What of it may be other than its stamps say has been read as well, but for what could not be
    /// listed in so many walks.
    is_known: bool,
    failed_walks: u8,
    /// Something could not be listed in this walk.
    is_unlisted: bool,
    listing: Option<Listing>,
    queue: VecDeque<RelPath>,
    /// Directories that are gone, whose rows are being gone through.
    vanished: VecDeque<Vanished>,
    missing: Missing,
    degraded: BTreeSet<RelPath>,
    all_degraded: bool,
    poll_at: Option<Instant>,
}

/// A directory that is gone.
#[derive(Debug, Clone)]
struct Vanished {
    directory: RelPath,
    /// Where it has gone, if that is known: what is there is listed first, so that it is published
    /// there before it is deleted here.
    renamed_to: Option<RelPath>,
    /// The watch has told of it.
    is_told: bool,
}

/// One directory under way.
#[derive(Debug)]
struct Listing {
    directory: RelPath,
    /// Hashes of the names that were listed; sorted once all are.
    names: Vec<u64>,
    stage: Stage,
    /// The directory is to go, and holds something that is no business of this program.
    is_kept: bool,
}

#[derive(Debug)]
enum Stage {
    /// Its entries come.
    Listing,
    /// All have: the rows behind this name are still to be compared with them.
    Comparing { after: Option<Vec<u8>> },
}

impl Listing {
    fn is_listed(&self) -> bool {
        matches!(self.stage, Stage::Comparing { .. })
    }
}

impl Scan {
    /// `is_undecided`: the last run has left something that is missing.
    pub(super) fn new(is_undecided: bool, now: Instant) -> Self {
        Self {
            walk: None,
            walk_wanted: true,
            walk_at: now + FULL_SCAN_INTERVAL,
            is_between_walks: false,
            walked: false,
            is_first_over: false,
            is_known: false,
            failed_walks: 0,
            is_unlisted: false,
            listing: None,
            queue: VecDeque::new(),
            vanished: VecDeque::new(),
            missing: Missing::left(is_undecided),
            degraded: BTreeSet::new(),
            all_degraded: false,
            poll_at: None,
        }
    }

    /// Is it known what is on the disk?
    pub(super) fn is_walked(&self) -> bool {
        self.walked
    }

    /// Is all known that was there before the first walk?
    pub(super) fn is_first_over(&self) -> bool {
        self.is_first_over
    }

    /// Has everything been looked at that may be other than its stamp says?
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    fn end_walk(&mut self) {
        self.is_between_walks = true;
        self.is_known |= !self.is_unlisted || self.failed_walks >= MAX_FAILED_WALKS;
        self.failed_walks = self.failed_walks.saturating_add(1);
        self.is_unlisted = false;
    }

    /// Do no events tell of what happens in the directory of this path?
    pub(super) fn is_unwatched(&self, path: &RelPath) -> bool {
        self.all_degraded || path.parent().is_some_and(|parent| self.degraded.contains(&parent))
    }

    /// Directories that no events come from.
    pub(super) fn degraded_directories(&self) -> usize {
        self.degraded.len()
    }

    pub(super) fn request_walk(&mut self) {
        self.walk_wanted = true;
    }

    pub(super) fn request_listing(&mut self, directory: RelPath) {
        let walk_will_come = self.walk.as_ref().is_some_and(|cursor| *cursor < directory);
        if walk_will_come || self.queue.contains(&directory) {
            return;
        }
        if self.queue.len() < MAX_LIST_QUEUE {
            self.queue.push_back(directory);
        } else {
            self.request_walk();
        }
    }

    pub(super) fn handle_vanished(
        &mut self,
        directory: RelPath,
        renamed_to: Option<RelPath>,
        is_told: bool,
    ) {
        if let Some(gone) = self.vanished.iter_mut().find(|gone| gone.directory == directory) {
            gone.is_told |= is_told;
        } else if self.vanished.len() < MAX_LIST_QUEUE {
            self.vanished.push_back(Vanished { directory, renamed_to, is_told });
        } else {
            self.request_walk();
        }
    }

    pub(super) fn handle_unwatched(&mut self, directory: RelPath) {
        if self.degraded.len() < MAX_DEGRADED {
            if self.degraded.insert(directory) && self.degraded.len() == 1 {
                warn!(
                    "no events come from some directories: they are compared every second instead"
                );
            }
        } else {
            self.all_degraded = true;
        }
    }

    /// A directory is there after all. Was it, or one above it, taken for gone?
    pub(super) fn handle_reappeared(&mut self, directory: &RelPath) -> bool {
        let before = self.vanished.len();
        self.vanished.retain(|Vanished { directory: gone, .. }| {
            gone != directory && !directory.is_below(gone)
        });
        self.vanished.len() < before
    }

    /// What a directory holds cannot be told in this walk.
    pub(super) fn handle_unlisted(&mut self) {
        self.is_unlisted = true;
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let missing = self.missing.next_timeout();
        self.poll_at.into_iter().chain([self.walk_at]).chain(missing).min()
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.queue.len() <= MAX_LIST_QUEUE
            && self.vanished.len() <= MAX_LIST_QUEUE
            && self.degraded.len() <= MAX_DEGRADED
    }

    /// `has_room`: what a listing finds can be read.
    fn has_work(&self, has_room: bool) -> bool {
        let listed = self.listing.as_ref().is_some_and(Listing::is_listed);
        let idle = self.listing.is_none() && has_room;
        let more = self.walk_wanted || self.walk.is_some() || !self.queue.is_empty();
        self.next_vanished().is_some() || listed || idle && more
    }

    /// A directory whose rows can be gone through now.
    fn next_vanished(&self) -> Option<usize> {
        let is_ready =
            |to: &Option<RelPath>| to.as_ref().is_none_or(|to| !self.will_list_below(to));
        self.vanished.iter().position(|gone| is_ready(&gone.renamed_to))
    }

    /// Has all been looked at that was to be, since a walk was begun last?
    fn has_looked(&self) -> bool {
        let is_walked = self.walked && self.walk.is_none();
        let is_idle = self.listing.is_none() && self.queue.is_empty() && self.vanished.is_empty();
        is_walked && is_idle && (!self.walk_wanted || self.is_between_walks)
    }

    /// Is what the timer has asked for last still being compared?
    fn is_polling(&self) -> bool {
        self.walk.is_some() || !self.queue.is_empty() || self.missing.is_running()
    }

    fn will_list_below(&self, top: &RelPath) -> bool {
        let below = |path: &RelPath| path == top || path.is_below(top);
        let end = [top.as_bytes(), b"/\xff"].concat();
        self.listing.as_ref().is_some_and(|listing| below(&listing.directory))
            || self.queue.iter().any(below)
            || self.walk.as_ref().is_some_and(|cursor| cursor.as_bytes() < &end[..])
    }
}

impl Engine {
    pub(super) fn scan_has_work(&self) -> bool {
        !self.rules.are_changing()
            && !self.lost.is_waiting()
            && (self.has_listings() || self.missing_has_work())
    }

    fn has_listings(&self) -> bool {
        self.scan.has_work(self.paths.reads() < MAX_READS / 2)
    }

    /// Has everything been looked at, and read, that may be other than its stamp says?
    pub(super) fn is_walk_through(&self) -> bool {
        self.scan.is_known() && self.paths.reads() == 0
    }

    pub(super) fn handle_scan_timeout(&mut self, time: Time) -> Result<()> {
        self.scan.is_first_over |= self.scan.walked && self.paths.reads() == 0;
        if self.paused.is_some() {
            self.postpone_scan(time);
            return Ok(());
        }
        self.inspect_settled(time);
        self.handle_missing_timeout(time)?;
        if self.scan.walk_at <= time.now {
            self.scan.walk_at = time.now + FULL_SCAN_INTERVAL;
            self.scan.request_walk();
        }
        let any = self.scan.all_degraded || !self.scan.degraded.is_empty();
        match self.scan.poll_at {
            Some(at) if at <= time.now => {
                // One round ends before the next begins, so that what is missing can be decided on.
                if !self.scan.is_polling() {
                    self.poll_degraded();
                }
                self.scan.poll_at = any.then_some(time.now + POLL_INTERVAL);
            }
            None if any => self.scan.poll_at = Some(time.now + POLL_INTERVAL),
            _ => {}
        }
        Ok(())
    }

    fn postpone_scan(&mut self, time: Time) {
        self.paths.forget_settling();
        self.scan.walk_at = self.scan.walk_at.max(time.now + POLL_INTERVAL);
        self.scan.poll_at = self.scan.poll_at.map(|at| at.max(time.now + POLL_INTERVAL));
        self.scan.missing.postpone(time.now + POLL_INTERVAL);
    }

    fn inspect_settled(&mut self, time: Time) {
        let settled = self.paths.take_settled(time.now);
        self.outputs.extend(settled.into_iter().map(|path| Output::Inspect { path }));
    }

    /// The 1 s timer: directories without events are listed again.
    fn poll_degraded(&mut self) {
        if self.scan.all_degraded {
            self.scan.all_degraded = false;
            self.scan.degraded.clear();
            return self.scan.request_walk();
        }
        for directory in self.scan.degraded.clone() {
            self.scan.request_listing(directory);
        }
    }

    /// One bounded step: rows that a listing did not name, rows below what vanished, or the next
    /// directory.
    pub(super) fn step_scan(&mut self, time: Time) -> Result<()> {
        if self.paused.is_some() || !self.scan_has_work() {
            return Ok(());
        }
        if self.scan.missing.is_running() {
            return self.step_decision(time);
        }
        if let Some(at) = self.scan.next_vanished() {
            return self.step_vanished(at, time);
        }
        if self.scan.listing.as_ref().is_some_and(Listing::is_listed) {
            return self.step_missing();
        }
        match self.missing_has_work() {
            true => self.step_decision(time),
            false => self.begin_next_listing(),
        }
    }

    /// Has the directory listed when it is seen next, as if it were another one.
    pub(super) fn forget_listing(&mut self, directory: &RelPath) -> Result<()> {
        self.recheck(directory, Base::is_directory)
    }

    /// As [`Self::forget_listing`], of all directories below this one, which is not the one that
    /// was there: their watches have gone with that. When there are many, everything is listed.
    pub(super) fn forget_listings_below(&mut self, directory: &RelPath) -> Result<()> {
        let end = [directory.as_bytes(), b"/\xff"].concat();
        let mut cursor = directory.clone();
        for _ in 0..STEP_ENTRIES {
            match self.index.next_directory(&cursor)? {
                Some(next) if next.as_bytes() < &end[..] => cursor = next,
                _ => return Ok(()),
            }
            if cursor.is_below(directory) {
                self.forget_listing(&cursor)?;
            }
        }
        self.scan.request_walk();
        Ok(())
    }

    fn next_in_walk(&mut self) -> Result<Option<RelPath>> {
        let next = match self.scan.walk.clone() {
            Some(cursor) => self.next_open_directory(cursor)?,
            None => {
                (self.scan.walk_wanted, self.scan.is_between_walks) = (false, false);
                Some(RelPath::root())
            }
        };
        self.scan.walk.clone_from(&next);
        if next.is_none() {
            self.scan.end_walk();
            self.finish_listing();
        }
        Ok(next)
    }

    /// The next directory in the order of paths that may be entered, as far as is known.
    fn next_open_directory(&mut self, mut cursor: RelPath) -> Result<Option<RelPath>> {
        loop {
            let Some(next) = self.index.next_directory(&cursor)? else { return Ok(None) };
            let Some(closed) = self.paths.closed_above(&next) else { return Ok(Some(next)) };
            // All that begins with it and a slash is passed at once; what begins with it and a dot
            // comes before that.
            let is_below = next != closed;
            let end =
                RelPath::new(&[closed.as_bytes(), b"/\xff"].concat()).ok().filter(|_| is_below);
            self.scan.is_unlisted = true;
            cursor = end.map_or(next.clone(), |end| next.max(end));
        }
    }

    /// After each directory: is the first walk through, and all that it found read?
    fn finish_listing(&mut self) {
        let through =
            self.scan.walk.is_none() && !self.scan.walk_wanted && self.scan.listing.is_none();
        if through && !self.scan.walked {
            self.scan.walked = true;
            self.placement.kick();
            info!("{} paths are here", self.index.summary().live);
        }
    }
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}
