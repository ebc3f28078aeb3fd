//! Which directories are looked at, and when.
//!
//! One directory is listed at a time, in steps: each entry is compared with its row as it comes, and of each
//! name only a hash is kept, so that the rows that were not listed can be told afterwards. A walk of the
//! whole tree is a cursor over the index's directories: it needs no list of what is still to come.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hasher},
    time::{Duration, Instant},
};

use log::{debug, info, warn};

use super::{Engine, Result};
use crate::{
    core::seam::{Listed, ListedEntry, Output, Time},
    model::{
        entry::{Content, FileKind, Row, Stamp, Stat},
        limits::{
            FULL_SCAN_INTERVAL, MAX_CLOSED, MAX_DEGRADED, MAX_FAILED_WALKS, MAX_LIST_QUEUE, MAX_READS,
            MAX_SETTLING, POLL_INTERVAL, RACY_KEEP, REREAD_BYTES_PER_S, REREAD_REST_MIN, SETTLE_BYTES_PER_S,
            SETTLE_MAX, SETTLE_QUIET, STAMP_GRANULARITY, STEP_ENTRIES,
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
    /// Has a walk been through since the start? Until then it is not known what is on the disk.
    walked: bool,
    /// Has what it found been read as well?
    is_first_over: bool,
    /// What of it may be other than its stamps say has been read as well, but for what could not be listed in so many walks.
    is_known: bool,
    failed_walks: u8,
    /// Something could not be listed in this walk.
    is_unlisted: bool,
    listing: Option<Listing>,
    queue: VecDeque<RelPath>,
    /// Directories that are gone, whose rows are being gone through, and where they have gone, if that is known: what
    /// is there is listed first, so that it is stated there before it is deleted here.
    vanished: VecDeque<(RelPath, Option<RelPath>)>,
    /// Files whose content is being read.
    reading: BTreeMap<RelPath, Reading>,
    /// Files that were read in the second in which they were written, on a file system that keeps whole seconds, and
    /// until when that is kept in mind: another write in it leaves the stamp as it is. (Git calls this "racy".) Of finer
    /// times `io::disk::jobs` takes care.
    racy: BTreeMap<RelPath, Racy>,
    /// Files that are being written.
    settling: BTreeMap<RelPath, Settling>,
    /// Large files that were read lately.
    rests: BTreeMap<RelPath, Rest>,
    /// Directories that cannot be entered: something is mounted on them, or nothing can be told of them. Nothing below is
    /// looked for until they can.
    closed: BTreeSet<RelPath>,
    degraded: BTreeSet<RelPath>,
    all_degraded: bool,
    poll_at: Option<Instant>,
}

/// A file of which the stamp says nothing.
#[derive(Debug)]
struct Racy {
    stamp: Stamp,
    until: Instant,
    /// When it was read or written by this node last: what it holds is known as of then.
    known_at: Instant,
}

/// A file that is being read.
#[derive(Debug)]
struct Reading {
    /// It was to be read again meanwhile.
    again: Option<Recheck>,
    /// Since when, in ms since 1970.
    began_ms: u64,
}

/// What has to be shown before what was read is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recheck {
    /// That the file has the stamp that it was read with.
    IfStampDiffers,
    /// Nothing is good enough: it is read again.
    Always,
}

/// A file that is being written, and left alone for a while.
#[derive(Debug)]
struct Settling {
    /// It has to be quiet for this long.
    quiet: Duration,
    /// Until then it is left alone ...
    until: Instant,
    /// ... which is never later than this.
    latest: Instant,
}

/// How soon a large file that was read may be read again. One change is never made to wait; the next is, so that a file
/// that is saved all the time is not read all the time.
#[derive(Debug)]
struct Rest {
    until: Instant,
    /// It was read twice within the time that one rest takes.
    is_due: bool,
}

/// One directory under way.
#[derive(Debug)]
struct Listing {
    directory: RelPath,
    /// Hashes of the names that were listed; sorted once all are.
    names: Vec<u64>,
    /// The last row that was compared with the names, once all are listed.
    missing_after: Option<Vec<u8>>,
    listed: bool,
    /// The directory is to go, and holds something that is no business of this program.
    is_kept: bool,
}

impl Scan {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            walk: None,
            walk_wanted: true,
            walk_at: now + FULL_SCAN_INTERVAL,
            walked: false,
            is_first_over: false,
            is_known: false,
            failed_walks: 0,
            is_unlisted: false,
            listing: None,
            queue: VecDeque::new(),
            vanished: VecDeque::new(),
            reading: BTreeMap::new(),
            settling: BTreeMap::new(),
            racy: BTreeMap::new(),
            rests: BTreeMap::new(),
            closed: BTreeSet::new(),
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

    /// Has it been read, too?
    pub(super) fn is_through(&self) -> bool {
        self.is_known && self.reading.is_empty()
    }

    fn end_walk(&mut self) {
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

    pub(super) fn handle_vanished(&mut self, directory: RelPath, renamed_to: Option<RelPath>) {
        if self.vanished.iter().any(|(gone, _)| *gone == directory) {
            return;
        }
        if self.vanished.len() < MAX_LIST_QUEUE {
            self.vanished.push_back((directory, renamed_to));
        } else {
            self.request_walk();
        }
    }

    pub(super) fn handle_unwatched(&mut self, directory: RelPath) {
        if self.degraded.len() < MAX_DEGRADED {
            if self.degraded.insert(directory) && self.degraded.len() == 1 {
                warn!("no events come from some directories: they are compared every second instead");
            }
        } else {
            self.all_degraded = true;
        }
    }

    /// A directory is there after all. Was it, or one above it, taken for gone?
    pub(super) fn handle_reappeared(&mut self, directory: &RelPath) -> bool {
        let before = self.vanished.len();
        self.vanished.retain(|(gone, _)| gone != directory && !directory.is_below(gone));
        self.vanished.len() < before
    }

    /// A directory cannot be entered. Of those beyond the limit what is below is found closed as well, each by itself.
    pub(super) fn handle_closed(&mut self, directory: &RelPath) {
        self.is_unlisted = true;
        if self.closed.len() < MAX_CLOSED {
            self.closed.insert(directory.clone());
        }
    }

    /// A path can be looked at. Could it not be entered before?
    pub(super) fn handle_open(&mut self, path: &RelPath) -> bool {
        self.closed.remove(path)
    }

    /// The directory that cannot be entered, at or above this one.
    fn closed_above(&self, directory: &RelPath) -> Option<&RelPath> {
        self.closed.iter().find(|closed| *closed == directory || directory.is_below(closed))
    }

    // --- Files being written ---------------------------------------------------------------------------

    pub(super) fn handle_writing(&mut self, path: &RelPath, now: Instant) {
        self.handle_writing_large(path, 0, now);
    }

    /// As [`Self::handle_writing`], of a file of which `size` bytes are known: reading all of it takes a while, which
    /// must not be most of the time.
    pub(super) fn handle_writing_large(&mut self, path: &RelPath, size: u64, now: Instant) {
        let full = self.settling.len() >= MAX_SETTLING && !self.settling.contains_key(path);
        if full {
            self.request_walk();
            return;
        }
        let settling = self.settling.entry(path.clone()).or_insert_with(|| {
            let longest = Duration::from_secs(size / SETTLE_BYTES_PER_S);
            let longest = longest.clamp(SETTLE_MAX, FULL_SCAN_INTERVAL);
            let quiet = longest * SETTLE_QUIET.as_millis() as u32 / SETTLE_MAX.as_millis() as u32;
            Settling { quiet, until: now, latest: now + longest }
        });
        settling.until = (now + settling.quiet).min(settling.latest);
    }

    /// A file of this size was read: if it is large, and was lately, it is left alone for a while, however often it is
    /// saved.
    pub(super) fn handle_was_read(&mut self, path: &RelPath, size: u64, now: Instant) {
        let rest = Duration::from_micros(size.saturating_mul(1_000_000) / REREAD_BYTES_PER_S);
        if rest < REREAD_REST_MIN {
            return;
        }
        if self.rests.len() >= MAX_SETTLING {
            self.rests.retain(|_, rest| rest.until > now);
        }
        let is_due = self.rests.get(path).is_some_and(|last| last.until > now);
        if is_due || self.rests.len() < MAX_SETTLING {
            self.rests.insert(path.clone(), Rest { until: now + rest.min(FULL_SCAN_INTERVAL), is_due });
        }
    }

    /// It was closed by its writer, and was read so lately that it has to wait.
    pub(super) fn must_rest(&mut self, path: &RelPath, now: Instant) -> bool {
        let Some(&Rest { until, is_due }) = self.rests.get(path) else { return false };
        let is_full = self.settling.len() >= MAX_SETTLING && !self.settling.contains_key(path);
        if until <= now || !is_due || is_full {
            return false;
        }
        self.settling.insert(path.clone(), Settling { quiet: SETTLE_QUIET, until, latest: until });
        true
    }

    /// It was closed by its writer, read, or is no file any more.
    pub(super) fn handle_settled(&mut self, path: &RelPath) {
        self.settling.remove(path);
    }

    pub(super) fn is_settling(&self, path: &RelPath) -> bool {
        self.settling.contains_key(path)
    }

    // --- Files being read ------------------------------------------------------------------------------

    /// May the file be read now? If it is being read already, it is looked at again afterwards.
    pub(super) fn begin_read(&mut self, path: &RelPath, limit: usize, now_ms: u64) -> bool {
        if let Some(reading) = self.reading.get_mut(path) {
            reading.again.get_or_insert(Recheck::IfStampDiffers);
            return false;
        }
        if self.reading.len() >= limit {
            self.request_walk();
            return false;
        }
        self.reading.insert(path.clone(), Reading { again: None, began_ms: now_ms });
        true
    }

    /// The file may change, without a trace in its stamp, after it was read, and before that is known.
    pub(super) fn doubt_reading(&mut self, path: &RelPath) {
        if let Some(reading) = self.reading.get_mut(path) {
            reading.again = Some(Recheck::Always);
        }
    }

    /// The file has been read, and found to have this stamp. Is it to be looked at again?
    pub(super) fn handle_read_done(
        &mut self,
        path: &RelPath,
        stamp: Option<&Stamp>,
        now: Instant,
    ) -> Option<Recheck> {
        let Reading { again, began_ms } = self.reading.remove(path)?;
        if let Some(stamp) = stamp {
            self.handle_known(path, stamp, began_ms, now);
        }
        again
    }

    /// What the file with this stamp holds is known, as of `since_ms` since 1970: it was read or written by this node.
    pub(super) fn handle_known(&mut self, path: &RelPath, stamp: &Stamp, since_ms: u64, now: Instant) {
        let before = self.racy.remove(path);
        if !is_fresh(stamp, since_ms) {
            return;
        }
        self.racy.retain(|_, racy| racy.until > now);
        if self.racy.len() < MAX_READS {
            // The clock that the stamp is compared with may stand still.
            let kept = before.filter(|known| known.stamp == *stamp);
            let until = kept.map_or(now + RACY_KEEP, |known| known.until);
            self.racy.insert(path.clone(), Racy { stamp: *stamp, until, known_at: now });
        }
    }

    /// Does the stamp of this file say nothing?
    pub(super) fn is_racy(&self, path: &RelPath, now: Instant) -> bool {
        self.racy.get(path).is_some_and(|racy| racy.until > now)
    }

    /// As [`Self::is_racy`], of the file that is said to be there with this stamp, and was not read in this turn.
    pub(super) fn is_unsure(&self, path: &RelPath, stamp: &Stamp, now: Instant) -> bool {
        let is_unsure = |racy: &Racy| racy.stamp == *stamp && racy.until > now && racy.known_at != now;
        self.racy.get(path).is_some_and(is_unsure)
    }

    pub(super) fn is_reading(&self, path: &RelPath) -> bool {
        self.reading.contains_key(path)
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let settled = self.settling.values().map(|settling| settling.until).min();
        [settled, self.poll_at, Some(self.walk_at)].into_iter().flatten().min()
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.queue.len() <= MAX_LIST_QUEUE
            && self.vanished.len() <= MAX_LIST_QUEUE
            && self.reading.len() <= MAX_READS
            && self.settling.len() <= MAX_SETTLING
            && self.rests.len() <= MAX_SETTLING
            && self.racy.len() <= MAX_READS
            && self.closed.len() <= MAX_CLOSED
            && self.degraded.len() <= MAX_DEGRADED
    }

    fn has_work(&self) -> bool {
        let listed = self.listing.as_ref().is_some_and(|listing| listing.listed);
        let room = self.reading.len() < MAX_READS / 2;
        let idle = self.listing.is_none() && room;
        let more = self.walk_wanted || self.walk.is_some() || !self.queue.is_empty();
        self.next_vanished().is_some() || listed || idle && more
    }

    /// A directory whose rows can be gone through now.
    fn next_vanished(&self) -> Option<usize> {
        let is_ready = |to: &Option<RelPath>| to.as_ref().is_none_or(|to| !self.will_list_below(to));
        self.vanished.iter().position(|(_, to)| is_ready(to))
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
        !self.rules.are_changing() && self.scan.has_work()
    }

    pub(super) fn handle_scan_timeout(&mut self, time: Time) {
        self.scan.is_first_over |= self.scan.walked && self.scan.reading.is_empty();
        if self.paused.is_some() {
            return self.postpone_scan(time);
        }
        self.inspect_settled(time);
        if self.scan.walk_at <= time.now {
            self.scan.walk_at = time.now + FULL_SCAN_INTERVAL;
            self.scan.request_walk();
        }
        let any = self.scan.all_degraded || !self.scan.degraded.is_empty();
        match self.scan.poll_at {
            Some(at) if at <= time.now => {
                self.poll_degraded();
                self.scan.poll_at = any.then_some(time.now + POLL_INTERVAL);
            }
            None if any => self.scan.poll_at = Some(time.now + POLL_INTERVAL),
            _ => {}
        }
    }

    fn postpone_scan(&mut self, time: Time) {
        self.scan.settling.clear();
        self.scan.walk_at = self.scan.walk_at.max(time.now + POLL_INTERVAL);
        self.scan.poll_at = self.scan.poll_at.map(|at| at.max(time.now + POLL_INTERVAL));
    }

    fn inspect_settled(&mut self, time: Time) {
        let due =
            |(path, settling): (&RelPath, &Settling)| (settling.until <= time.now).then(|| path.clone());
        let settled: Vec<_> = self.scan.settling.iter().filter_map(due).collect();
        for path in settled {
            self.scan.settling.remove(&path);
            self.outputs.push_back(Output::Inspect { path });
        }
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

    pub(super) fn handle_listed(&mut self, directory: RelPath, listed: Listed, time: Time) -> Result<()> {
        if self.scan.listing.as_ref().is_none_or(|listing| listing.directory != directory) {
            return Ok(());
        }
        match listed {
            Listed::Batch { entries, watched, last } => {
                if watched {
                    self.scan.degraded.remove(&directory);
                } else {
                    self.scan.handle_unwatched(directory.clone());
                }
                self.compare_batch(&directory, entries, last, time)?;
                // One that could not be entered meanwhile is looked at first: it is that which ends its being closed.
                let is_open = self.scan.closed_above(&directory).is_none();
                if last && is_open && self.index.get(&directory)?.is_none_or(|row| !row.is_wanted()) {
                    self.problems.unblock(&directory);
                }
                Ok(())
            }
            Listed::Gone => {
                self.scan.listing = None;
                self.scan.degraded.remove(&directory);
                if !directory.is_root() {
                    self.outputs.push_back(Output::Inspect { path: directory });
                }
                self.finish_listing();
                Ok(())
            }
            Listed::Unreadable(reason) => {
                self.scan.is_unlisted = true;
                self.block_unseen(&directory, &reason, time)?;
                self.scan.listing = None;
                self.finish_listing();
                Ok(())
            }
        }
    }

    fn compare_batch(
        &mut self,
        directory: &RelPath,
        entries: Vec<ListedEntry>,
        last: bool,
        time: Time,
    ) -> Result<()> {
        self.look_for_what_stays(directory, &entries)?;
        for (name, stat) in entries {
            if let Some(listing) = &mut self.scan.listing {
                listing.names.push(hash(&name));
            }
            match directory.join(&name) {
                Ok(path) if path.is_reserved() => {}
                Ok(path) => self.handle_seen(path, stat.map(Some), time)?,
                Err(error) => warn!("something in {directory} is not synchronised: {error}"),
            }
        }
        if let Some(listing) = self.scan.listing.as_mut().filter(|_| last) {
            listing.names.sort_unstable();
            listing.listed = true;
            if listing.is_kept {
                return self.keep_for_what_stays(directory, time);
            }
        }
        Ok(())
    }

    /// A directory that is to go cannot, if it holds what is ignored or cannot be synchronised.
    fn look_for_what_stays(&mut self, directory: &RelPath, entries: &[ListedEntry]) -> Result<()> {
        let is_to_go = |row: &Row| row.is_wanted() && row.entry.content != Some(Content::Directory);
        if !self.index.get(directory)?.is_some_and(|row| is_to_go(&row)) {
            return Ok(());
        }
        for (name, stat) in entries {
            if let Ok(stat) = stat
                && self.stays(directory, name, stat)?
                && let Some(listing) = &mut self.scan.listing
            {
                listing.is_kept = true;
            }
        }
        Ok(())
    }

    fn stays(&self, directory: &RelPath, name: &[u8], stat: &Stat) -> Result<bool> {
        let Ok(path) = directory.join(name) else { return Ok(true) };
        let row = self.index.get(&path)?;
        let is_other = matches!(stat.kind, FileKind::Foreign | FileKind::Other);
        let is_foreign = is_other && row.as_ref().is_none_or(|row| row.base.is_none());
        Ok(is_foreign || path.is_reserved() || self.is_ignored(&path, row.as_ref(), Some(stat)))
    }

    fn keep_for_what_stays(&mut self, directory: &RelPath, time: Time) -> Result<()> {
        match self.index.get(directory)?.filter(Row::is_wanted) {
            Some(row) => self.keep_directory(directory, row, true, time),
            None => Ok(()),
        }
    }

    /// One bounded step: rows that a listing did not name, rows below what vanished, or the next directory.
    pub(super) fn step_scan(&mut self, time: Time) -> Result<()> {
        if self.paused.is_some() || !self.scan_has_work() {
            return Ok(());
        }
        if let Some(at) = self.scan.next_vanished() {
            return self.step_vanished(at, time);
        }
        if self.scan.listing.as_ref().is_some_and(|listing| listing.listed) {
            return self.step_missing();
        }
        self.begin_next_listing()
    }

    /// What the index says is in the directory but was not listed is looked at by itself.
    fn step_missing(&mut self) -> Result<()> {
        let Some(listing) = &self.scan.listing else { return Ok(()) };
        let rows = self.index.children(&listing.directory, listing.missing_after.as_deref(), STEP_ENTRIES)?;
        for (path, row) in &rows {
            let is_listed = listing.names.binary_search(&hash(path.name())).is_ok();
            if !is_listed && self.may_be_missed(path, row) {
                self.outputs.push_back(Output::Inspect { path: path.clone() });
            }
        }
        let last = rows.last().filter(|_| rows.len() == STEP_ENTRIES).map(|(path, _)| path.name().to_vec());
        match self.scan.listing.as_mut().filter(|_| last.is_some()) {
            Some(listing) => listing.missing_after = last,
            None => {
                self.scan.listing = None;
                self.finish_listing();
            }
        }
        Ok(())
    }

    /// Is something said to be there? What is ignored is not missed, unless it is only because of what was there.
    fn may_be_missed(&self, path: &RelPath, row: &Row) -> bool {
        match row.is_ignored() {
            true => !self.is_ignored(path, Some(row), None) || !self.is_newest_ignored(path, row),
            false => row.base.is_some(),
        }
    }

    /// Has the directory listed when it is seen next, as if it were another one.
    pub(super) fn forget_listing(&mut self, directory: &RelPath) -> Result<()> {
        let Some(mut row) = self.index.get(directory)? else { return Ok(()) };
        match &mut row.base {
            Some(base) if base.content == Content::Directory && base.stamp.inode != 0 => base.stamp.inode = 0,
            _ => return Ok(()),
        }
        self.put(directory, &row)
    }

    /// As [`Self::forget_listing`], of all directories below this one, which is not the one that was there: their watches
    /// have gone with that. When there are many, everything is listed.
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

    /// A directory is gone: so is everything below it, children first.
    fn step_vanished(&mut self, at: usize, time: Time) -> Result<()> {
        let directory = self.scan.vanished[at].0.clone();
        let mut leaf = directory.clone();
        let mut budget = STEP_ENTRIES;
        loop {
            let rows = self.held_children(&leaf, budget)?;
            if let Some(below) = self.first_that_holds(&rows)? {
                leaf = below;
                continue;
            }
            budget = budget.saturating_sub(rows.len().max(1));
            for path in &rows {
                self.observe(path, None, time)?;
            }
            if rows.is_empty() && leaf == directory {
                // Gone, or something else by now; should it be back, nothing is known of what is in it.
                self.scan.vanished.remove(at);
                self.forget_listing(&directory)?;
                self.outputs.push_back(Output::Inspect { path: directory });
                return Ok(());
            }
            if rows.is_empty() {
                self.observe(&leaf, None, time)?;
                leaf = directory.clone();
            }
            if budget == 0 {
                return Ok(());
            }
        }
    }

    fn first_that_holds(&self, paths: &[RelPath]) -> Result<Option<RelPath>> {
        for path in paths {
            if self.holds_something(path)? {
                return Ok(Some(path.clone()));
            }
        }
        Ok(None)
    }

    /// The children that are said to be on this disk, and are not ignored.
    fn held_children(&self, directory: &RelPath, limit: usize) -> Result<Vec<RelPath>> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.index.children(directory, after.as_deref(), limit.max(1))?;
            let is_held = |row: &Row| row.base.is_some() && !row.is_ignored();
            let held: Vec<_> =
                rows.iter().filter(|(_, row)| is_held(row)).map(|(path, _)| path.clone()).collect();
            match rows.last() {
                Some((path, _)) if held.is_empty() => after = Some(path.name().to_vec()),
                _ => return Ok(held),
            }
        }
    }

    /// Is anything in this directory said to be on this disk?
    pub(super) fn holds_something(&self, directory: &RelPath) -> Result<bool> {
        Ok(!self.held_children(directory, 1)?.is_empty())
    }

    fn begin_next_listing(&mut self) -> Result<()> {
        let directory = match self.scan.queue.pop_front() {
            Some(directory) if self.scan.closed_above(&directory).is_some() => return Ok(()),
            Some(directory) => directory,
            None => match self.next_in_walk()? {
                Some(directory) => directory,
                None => return Ok(()),
            },
        };
        if self.index.get(&directory)?.is_some_and(|row| row.is_ignored()) {
            self.scan.degraded.remove(&directory);
            self.finish_listing();
            return Ok(());
        }
        debug!("listing {directory}");
        self.scan.listing = Some(Listing {
            directory: directory.clone(),
            names: Vec::new(),
            missing_after: None,
            listed: false,
            is_kept: false,
        });
        self.outputs.push_back(Output::List { directory });
        Ok(())
    }

    fn next_in_walk(&mut self) -> Result<Option<RelPath>> {
        let next = match self.scan.walk.clone() {
            Some(cursor) => self.next_open_directory(cursor)?,
            None => {
                self.scan.walk_wanted = false;
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
            let Some(closed) = self.scan.closed_above(&next) else { return Ok(Some(next)) };
            // All that begins with it and a slash is passed at once; what begins with it and a dot comes before that.
            let is_below = next != *closed;
            let end = RelPath::new(&[closed.as_bytes(), b"/\xff"].concat()).ok().filter(|_| is_below);
            self.scan.is_unlisted = true;
            cursor = end.map_or(next.clone(), |end| next.max(end));
        }
    }

    /// After each directory: is the first walk through, and all that it found read?
    fn finish_listing(&mut self) {
        let through = self.scan.walk.is_none() && !self.scan.walk_wanted && self.scan.listing.is_none();
        if through && !self.scan.walked {
            self.scan.walked = true;
            self.placement.kick();
            info!("{} paths are here", self.index.summary().live);
        }
    }
}

/// Does the file system keep whole seconds, perhaps in pairs, and could a file be written to in the same again?
fn is_fresh(stamp: &Stamp, now_ms: u64) -> bool {
    is_whole_second(stamp) && is_younger(stamp, now_ms, 2000)
}

/// May a later state of the file have this stamp as well, or another file that has got its inode?
pub(super) fn is_shared(stamp: &Stamp, now_ms: u64) -> bool {
    is_fresh(stamp, now_ms) || is_younger(stamp, now_ms, STAMP_GRANULARITY.as_millis() as i64)
}

/// Is it a time of a file system that keeps whole seconds?
pub(super) fn is_whole_second(stamp: &Stamp) -> bool {
    stamp.ctime_ns % 1_000_000_000 == 0
}

fn is_younger(stamp: &Stamp, now_ms: u64, than_ms: i64) -> bool {
    const CLOCK_WAS_SET_BACK_MS: i64 = 60_000;
    let age_ms = (now_ms as i64).saturating_sub(stamp.ctime_ns / 1_000_000);
    (-CLOCK_WAS_SET_BACK_MS..than_ms).contains(&age_ms)
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_file_that_is_saved_all_the_time_rests() {
        const LARGE: u64 = 1 << 30;
        let (start, path) = (Instant::now(), RelPath::new(b"large").unwrap());
        let mut scan = Scan::new(start);
        let after = |s| start + Duration::from_secs(s);
        scan.handle_was_read(&path, LARGE, start);
        assert!(!scan.must_rest(&path, after(1)), "one change does not wait");
        scan.handle_was_read(&path, LARGE, after(2));
        assert!(scan.must_rest(&path, after(3)), "the next one does");
        assert!(scan.is_settling(&path));
        assert!(!scan.must_rest(&path, after(24)), "1 GiB rests for 21 s");
        scan.handle_was_read(&path, LARGE, after(24));
        assert!(!scan.must_rest(&path, after(25)), "it begins anew");
        scan.handle_was_read(&path, 1 << 20, after(26));
        assert!(!scan.must_rest(&path, after(26)), "small ones never do");
    }
}
