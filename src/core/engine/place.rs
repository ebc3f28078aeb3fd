//! Versions that are not on this disk get there.
//!
//! What is wanted is found from the rows, never from a queue in memory: an update is placed as it comes, and
//! a pass over the index's table of wanted paths picks up what could not be. Removals come last, children
//! first, so that content that only changed its place is still here when its new place asks for it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use log::{Level, debug, log, warn};

use super::{Engine, Result, local::is_marked_torn, relocate::Waits, remote::is_realised};
use crate::{
    core::{
        entry::{Base, Content, Digest, FileKind, Row, Stamp, Standing, Stat, Version},
        reconcile::{Fate, conflict_name, fate},
        seam::{Action, Apply, ApplyFailure, Output, Source, Time},
        version::NodeId,
    },
    limits::{MAX_BLOCKED, MAX_IN_FLIGHT, MAX_INLINE_BYTES, RETRY_DELAY_MAX, RETRY_DELAY_MIN, STEP_ENTRIES},
    path::RelPath,
    wire::message::Chunk,
};

/// Why a path is blocked whose content no linked node has.
pub(super) const NO_SOURCE: &str = "no node that has it can be reached";

/// What is under way to this disk, and what could not be done.
#[derive(Debug, Default)]
pub(super) struct Placement {
    in_flight: BTreeMap<RelPath, InFlight>,
    blocked: BTreeMap<RelPath, Blocked>,
    /// Paths that may have been changed, as far as is known, and into what.
    half_done: BTreeMap<RelPath, HalfDone>,
    wanted: Pass,
    removals: Pass,
    pub(super) waits: Waits,
    /// The pass over wanted paths waits for a download to end.
    stalled: bool,
}

/// A change to the disk that has been asked for.
#[derive(Debug)]
struct InFlight {
    content: Option<Content>,
    version: Version,
    partial: Option<Digest>,
    /// The path that it is renamed from.
    from: Option<RelPath>,
    /// The path that it changes places with.
    with: Option<RelPath>,
    /// It has the bits and the time that it had before, at another path.
    is_renamed: bool,
}

/// What a change was to put at a path, when it could not be found out whether it did.
#[derive(Debug)]
pub(super) struct HalfDone {
    pub(super) content: Option<Content>,
    pub(super) version: Version,
}

/// A path that could not be brought to its newest version, or not be read.
#[derive(Debug)]
struct Blocked {
    reason: String,
    delay: Duration,
    /// `None` while it may be tried.
    until: Option<Instant>,
    /// It could not be looked at: what this disk holds there is not known, whatever others say of it.
    is_unseen: bool,
}

/// A pass over a table of the index.
#[derive(Debug, Default)]
struct Pass {
    requested: bool,
    running: bool,
    cursor: Option<RelPath>,
}

/// What came of trying to place a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is done, under way, or waits for something that will ask again.
    Going,
    /// Every download is taken.
    NoSlot,
}

impl Pass {
    fn begin(&mut self) -> bool {
        if !self.running && self.requested {
            (self.requested, self.running, self.cursor) = (false, true, None);
        }
        self.running
    }
}

impl Placement {
    /// Whatever is wanted is tried again.
    pub(super) fn kick(&mut self) {
        self.wanted.requested = true;
        self.removals.requested = true;
        self.stalled = false;
    }

    pub(super) fn kick_removals(&mut self) {
        self.removals.requested = true;
    }

    /// What is at this path changes places with another one's file, so that it holds what its row wants.
    pub(super) fn begin_exchange(&mut self, path: &RelPath, row: &Row) {
        let (content, version) = (row.entry.content.clone(), row.entry.version.clone());
        let in_flight =
            InFlight { content, version, partial: None, from: None, with: None, is_renamed: true };
        self.in_flight.insert(path.clone(), in_flight);
    }

    /// A download has ended: the pass over wanted paths goes on where it stood.
    pub(super) fn handle_slot(&mut self) {
        self.stalled = false;
    }

    pub(super) fn is_in_flight(&self, path: &RelPath) -> bool {
        self.in_flight.contains_key(path)
    }

    /// Leaves the path alone for a while, longer each time.
    pub(super) fn block(&mut self, path: &RelPath, reason: &str, now: Instant) {
        // That nobody has it is counted by itself: what it was blocked for before is no reason to give it up.
        let last = self.blocked.get(path);
        let last = last.filter(|last| (last.reason == NO_SOURCE) == (reason == NO_SOURCE));
        let delay = last.map_or(RETRY_DELAY_MIN, |last| (last.delay * 2).min(RETRY_DELAY_MAX));
        if self.blocked.len() < MAX_BLOCKED || self.blocked.contains_key(path) {
            let is_unseen = self.blocked.get(path).is_some_and(|last| last.is_unseen);
            let blocked = Blocked { reason: reason.to_owned(), delay, until: Some(now + delay), is_unseen };
            self.blocked.insert(path.clone(), blocked);
        }
    }

    /// As [`Self::block`], until the path could be looked at.
    pub(super) fn block_unseen(&mut self, path: &RelPath, reason: &str, now: Instant) {
        self.block(path, reason, now);
        if let Some(blocked) = self.blocked.get_mut(path) {
            blocked.is_unseen = true;
        }
    }

    /// What is found at the path next may be what this node has put there, without learning that it had. When there are
    /// too many, it counts as a user's.
    fn note_half_done(&mut self, path: &RelPath, half_done: HalfDone) {
        if self.half_done.len() < MAX_BLOCKED {
            self.half_done.insert(path.clone(), half_done);
        }
    }

    /// What this node may have put at the path. Asked once.
    pub(super) fn take_half_done(&mut self, path: &RelPath) -> Option<HalfDone> {
        self.half_done.remove(path)
    }

    /// Paths that could not be written or read, and why.
    pub(super) fn problems(&self) -> impl Iterator<Item = (&RelPath, &str)> {
        self.blocked.iter().map(|(path, blocked)| (path, blocked.reason.as_str()))
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let blocked = self.blocked.values().filter_map(|blocked| blocked.until).min();
        blocked.into_iter().chain(self.waits.next_timeout()).min()
    }

    /// Can it take another update with content?
    pub(super) fn has_room(&self) -> bool {
        self.has_room_for(1)
    }

    pub(super) fn has_room_for(&self, paths: usize) -> bool {
        self.in_flight.len() + paths <= MAX_IN_FLIGHT
    }

    pub(super) fn is_bounded(&self) -> bool {
        [&self.blocked.len(), &self.half_done.len()].into_iter().all(|len| *len <= MAX_BLOCKED)
            && self.in_flight.len() <= MAX_IN_FLIGHT
            && self.waits.is_bounded()
    }

    fn is_blocked(&self, path: &RelPath, now: Instant) -> bool {
        self.blocked.get(path).and_then(|blocked| blocked.until).is_some_and(|until| until > now)
    }

    /// What could not be done is tried again now: whoever was asked meanwhile was not listened to.
    pub(super) fn retry_all(&mut self, now: Instant) {
        self.blocked.values_mut().for_each(|blocked| blocked.until = Some(now));
    }

    /// A path that could not be brought to its newest version is being changed just now: it is looked at later.
    pub(super) fn postpone(&mut self, path: &RelPath, now: Instant) {
        if let Some(blocked) = self.blocked.get_mut(path) {
            blocked.until = Some(now + blocked.delay);
        }
    }

    /// Could it not be written or read?
    pub(super) fn is_problem(&self, path: &RelPath) -> bool {
        self.blocked.contains_key(path)
    }

    /// Has nobody had the path's content, in so many tries that the pause between them is as long as this?
    pub(super) fn is_without_source(&self, path: &RelPath, delay: Duration) -> bool {
        self.blocked.get(path).is_some_and(|blocked| blocked.reason == NO_SOURCE && blocked.delay >= delay)
    }

    /// Another version of the path has come: nothing is wanted any more, or its content may be had where the last
    /// one's could not. What could not be looked at still is to be.
    pub(super) fn handle_newer(&mut self, path: &RelPath, is_wanted: bool, now: Instant) {
        let Some(blocked) = self.blocked.get_mut(path) else { return };
        if blocked.is_unseen {
            blocked.delay = RETRY_DELAY_MIN;
            blocked.until.get_or_insert(now);
        } else if !is_wanted || blocked.reason == NO_SOURCE {
            self.blocked.remove(path);
        }
    }

    /// Another node is linked, which may have what nobody had: as if nobody had been asked.
    pub(super) fn handle_new_source(&mut self) {
        self.blocked.retain(|_, blocked| blocked.is_unseen || blocked.reason != NO_SOURCE);
        let unseen = self.blocked.values_mut().filter(|blocked| blocked.reason == NO_SOURCE);
        unseen.for_each(|blocked| blocked.delay = RETRY_DELAY_MIN);
        self.kick();
    }

    /// The path is as it should be.
    pub(super) fn unblock(&mut self, path: &RelPath) {
        self.blocked.remove(path);
    }

    fn has_work(&self) -> bool {
        let wanted = (self.wanted.requested || self.wanted.running) && !self.stalled;
        let removals = self.removals.requested || self.removals.running;
        self.in_flight.len() < MAX_IN_FLIGHT && (wanted || removals)
    }
}

impl Engine {
    pub(super) fn placement_has_work(&self) -> bool {
        self.scan.is_walked() && !self.rules.are_changing() && self.placement.has_work()
    }

    /// A path keeps its reason, and its growing delay, until it succeeds; it is tried once a delay.
    pub(super) fn handle_placement_timeout(&mut self, time: Time) {
        if self.placement.waits.handle_timeout(time.now) {
            self.placement.kick();
        }
        for (path, blocked) in &mut self.placement.blocked {
            if blocked.until.is_some_and(|until| until <= time.now) {
                blocked.until = None;
                self.outputs.push_back(Output::Inspect { path: path.clone() });
                self.placement.wanted.requested = true;
                self.placement.removals.requested = true;
            }
        }
    }

    /// One bounded step of the passes: wanted paths, then removals.
    pub(super) fn step_placement(&mut self, time: Time) -> Result<()> {
        for _ in 0..STEP_ENTRIES {
            if self.paused.is_some() || !self.placement_has_work() {
                break;
            }
            if !self.placement.stalled && self.placement.wanted.begin() {
                self.step_wanted(time)?;
            } else if self.placement.removals.begin() {
                self.step_removals(time)?;
            }
        }
        Ok(())
    }

    fn step_wanted(&mut self, time: Time) -> Result<()> {
        let Some(path) = self.index.next_wanted(self.placement.wanted.cursor.as_ref())? else {
            self.placement.wanted.running = false;
            return Ok(());
        };
        if self.try_place(&path, None, time)? == Outcome::NoSlot {
            self.placement.stalled = true;
        } else {
            self.placement.wanted.cursor = Some(path);
        }
        Ok(())
    }

    fn step_removals(&mut self, time: Time) -> Result<()> {
        let Some(path) = self.index.previous_removal(self.placement.removals.cursor.as_ref())? else {
            self.placement.removals.running = false;
            return Ok(());
        };
        self.try_place(&path, None, time)?;
        self.placement.removals.cursor = Some(path);
        Ok(())
    }

    // --- One path --------------------------------------------------------------------------------------

    /// Brings the path to its newest version, if it is not there yet; `content` are a small file's bytes,
    /// when they came along.
    pub(super) fn place(&mut self, path: &RelPath, content: Option<Vec<u8>>, time: Time) -> Result<()> {
        if self.try_place(path, content, time)? == Outcome::NoSlot {
            self.placement.wanted.requested = true;
        }
        Ok(())
    }

    fn try_place(&mut self, path: &RelPath, content: Option<Vec<u8>>, time: Time) -> Result<Outcome> {
        let waits = self.paused.is_some()
            || !self.scan.is_walked()
            || self.placement.is_in_flight(path)
            || self.scan.is_reading(path)
            || self.placement.is_blocked(path, time.now);
        let row = if waits { None } else { self.index.get(path)?.filter(Row::is_wanted) };
        let Some(row) = row else { return Ok(Outcome::Going) };
        if self.placement.in_flight.len() >= MAX_IN_FLIGHT {
            self.placement.kick();
            return Ok(Outcome::Going);
        }
        if self.is_ignored(path, Some(&row), None) {
            return Ok(Outcome::Going);
        }
        if row.standing == Standing::Unknown && row.base.is_some() {
            self.outputs.push_back(Output::Inspect { path: path.clone() });
            return Ok(Outcome::Going);
        }
        match row.entry.content.clone() {
            None => self.place_removal(path, row, time)?,
            Some(newest) => return self.place_live(path, row, newest, content, time),
        }
        Ok(Outcome::Going)
    }

    fn place_removal(&mut self, path: &RelPath, row: Row, time: Time) -> Result<()> {
        let Some(base) = &row.base else { return Ok(()) };
        if self.fate_of(&row) == Some(Fate::Restate) {
            return self.restate(path, row, time);
        }
        let is_directory = base.content == Content::Directory;
        if is_directory && self.has_live_children(path)? {
            return self.keep_directory(path, row, false, time);
        }
        if is_directory && self.has_waiting_children(path)? {
            return Ok(());
        }
        if self.is_wanted_elsewhere(path, &row, time)? {
            return Ok(());
        }
        if !is_directory && self.placement.wanted.running && !self.placement.stalled {
            self.placement.kick_removals();
            return Ok(());
        }
        let action = if is_directory { Action::RemoveDirectory } else { Action::RemoveFile };
        self.apply(path, row, action, None, time)
    }

    /// Something lives in a directory that is to go. If that is certain, the directory lives too. `holds_own` says that it
    /// is this machine's alone.
    pub(super) fn keep_directory(
        &mut self,
        path: &RelPath,
        row: Row,
        holds_own: bool,
        time: Time,
    ) -> Result<()> {
        if !self.is_caught_up() {
            return Ok(());
        }
        debug!("{path} is kept: something lives in it");
        self.state_parent(path, row, holds_own, time)
    }

    fn place_live(
        &mut self,
        path: &RelPath,
        row: Row,
        newest: Content,
        content: Option<Vec<u8>>,
        time: Time,
    ) -> Result<Outcome> {
        let held = row.base.as_ref().map(|base| base.content.clone());
        if held.as_ref() == Some(&newest) {
            return self.place_metadata(path, row, &newest, time);
        }
        if !self.is_parent_coming(path, time)? {
            return Ok(Outcome::Going);
        }
        let fate = self.fate_of(&row);
        if fate == Some(Fate::Restate) {
            self.restate(path, row, time)?;
            return Ok(Outcome::Going);
        }
        if held == Some(Content::Directory) && self.has_live_children(path)? {
            self.keep_directory(path, row, false, time)?;
            return Ok(Outcome::Going);
        }
        if let Content::File { size: 1.., digest } = newest
            && let Some(outcome) = self.relocate(path, &row, digest, fate, content.is_some(), time)?
        {
            return Ok(outcome);
        }
        if self.is_being_copied(&row) && !self.will_fetch(&newest, content.is_some()) {
            return Ok(Outcome::Going);
        }
        let (mode, mtime_ns) = (row.entry.mode, row.entry.mtime_ns);
        let action = match newest {
            Content::Directory => Action::MakeDirectory { mode },
            Content::Symlink { target } => Action::MakeSymlink { target },
            Content::File { size, digest } => match self.source(path, size, digest, content, time)? {
                Ok(source) => Action::WriteFile { source, mode, mtime_ns },
                Err(outcome) => return Ok(outcome),
            },
        };
        self.apply(path, row, action, fate, time)?;
        Ok(Outcome::Going)
    }

    fn place_metadata(
        &mut self,
        path: &RelPath,
        mut row: Row,
        newest: &Content,
        time: Time,
    ) -> Result<Outcome> {
        if let Content::Symlink { .. } = newest {
            if let Some(base) = &mut row.base {
                base.version = None;
            }
            self.put(path, &row)?;
            return Ok(Outcome::Going);
        }
        let mtime_ns = matches!(newest, Content::File { .. }).then_some(row.entry.mtime_ns);
        let action = Action::SetMetadata { mode: row.entry.mode, mtime_ns };
        self.apply(path, row, action, None, time)?;
        Ok(Outcome::Going)
    }

    /// Where the bytes of a wanted file come from, if they are here.
    fn source(
        &mut self,
        path: &RelPath,
        size: u64,
        digest: Digest,
        content: Option<Vec<u8>>,
        time: Time,
    ) -> Result<std::result::Result<Source, Outcome>> {
        if size == 0 {
            return Ok(Ok(Source::Bytes(Vec::new())));
        }
        if let Some(bytes) = content.filter(|bytes| is_content(bytes, size, &digest)) {
            return Ok(Ok(Source::Bytes(bytes)));
        }
        if self.transfers.take_complete(&digest) {
            return Ok(Ok(Source::Partial(digest)));
        }
        if self.give_up_lost(path, &digest, time)? {
            return Ok(Err(Outcome::Going));
        }
        let outcome = self.fetch(path, size, digest, time)?;
        if outcome == Outcome::Going {
            self.placement.waits.remove(&digest);
        }
        Ok(Err(outcome))
    }

    /// The directory above must be on the disk, or about to be made before this path's turn. One that is
    /// said to be deleted, but has something living in it, is stated anew once it is certain that this is so.
    fn is_parent_coming(&mut self, path: &RelPath, time: Time) -> Result<bool> {
        let Some(parent) = path.parent().filter(|parent| !parent.is_root()) else { return Ok(true) };
        let Some(row) = self.index.get(&parent)? else { return Ok(false) };
        if row.entry.content != Some(Content::Directory) {
            if self.is_caught_up() && !self.placement.is_in_flight(&parent) {
                self.state_parent(&parent, row, false, time)?;
            }
            return Ok(false);
        }
        let is_made = |in_flight: &InFlight| in_flight.content == Some(Content::Directory);
        Ok(row.base.is_some_and(|base| base.content == Content::Directory)
            || self.placement.in_flight.get(&parent).is_some_and(is_made))
    }

    fn has_live_children(&self, directory: &RelPath) -> Result<bool> {
        self.any_child(directory, |_, row| !row.entry.is_tombstone())
    }

    /// Is there something in it that will go, and has not been asked to? The directory's turn comes after it.
    fn has_waiting_children(&self, directory: &RelPath) -> Result<bool> {
        self.any_child(directory, |path, row| {
            row.base.is_some() && !row.is_ignored() && !self.placement.is_in_flight(path)
        })
    }

    pub(super) fn any_child(
        &self,
        directory: &RelPath,
        is_one: impl Fn(&RelPath, &Row) -> bool,
    ) -> Result<bool> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.index.children(directory, after.as_deref(), STEP_ENTRIES)?;
            if rows.iter().any(|(path, row)| is_one(path, row)) {
                return Ok(true);
            }
            match rows.last() {
                Some((path, _)) if rows.len() == STEP_ENTRIES => after = Some(path.name().to_vec()),
                _ => return Ok(false),
            }
        }
    }

    pub(super) fn fate_of(&self, row: &Row) -> Option<Fate> {
        let (base, held, newest) = (row.base.as_ref()?, row.base_version()?, &row.entry);
        // A directory that this node states over its own file is stated for what is in it: the file is not replaced
        // by it, unless it is nobody's. (When a user does that, the base is the directory at once.)
        let is_somebodys = [held, &newest.version].iter().all(|version| version.author != NodeId::NOBODY);
        let is_own = newest.version.dot.origin == self.origin() && is_somebodys;
        if is_own && newest.content == Some(Content::Directory) && base.content != Content::Directory {
            return Some(Fate::ConflictCopy);
        }
        // What a power cut has left of a version is not that version: it is never stated, nor kept beside another.
        Some(if is_marked_torn(&base.content) { Fate::Superseded } else { fate(base, held, newest) })
    }

    pub(super) fn apply(
        &mut self,
        path: &RelPath,
        row: Row,
        action: Action,
        fate: Option<Fate>,
        time: Time,
    ) -> Result<()> {
        let keep = row.base_version().filter(|_| fate == Some(Fate::ConflictCopy));
        let keep = keep.and_then(|loser| conflict_name(path, loser));
        if let Some(keep) = &keep {
            warn!("{path} was changed in two places at once: what was here is kept as {keep}");
            self.scan.handle_writing(keep, time.now);
        }
        let partial = match &action {
            Action::WriteFile { source: Source::Partial(digest), .. } => Some(*digest),
            _ => None,
        };
        let from = if let Action::RenameFrom { from, .. } = &action { Some(from.clone()) } else { None };
        let with = if let Action::Exchange { with, .. } = &action { Some(with.clone()) } else { None };
        let is_renamed = from.is_some() || with.is_some();
        if let Some(from) = from.clone() {
            let version = row.entry.version.clone();
            let leaving =
                InFlight { content: None, version, partial: None, from: None, with: None, is_renamed: false };
            self.placement.in_flight.insert(from, leaving);
        }
        let expect = row.base.as_ref().map(|base| base.stamp);
        let (content, version) = (row.entry.content, row.entry.version);
        let in_flight = InFlight { content, version, partial, from, with, is_renamed };
        self.placement.in_flight.insert(path.clone(), in_flight);
        self.outputs.push_back(Output::Apply(Apply { path: path.clone(), expect, keep, action }));
        Ok(())
    }

    // --- What came of it -------------------------------------------------------------------------------

    pub(super) fn handle_applied(
        &mut self,
        path: RelPath,
        result: std::result::Result<Option<Stat>, ApplyFailure>,
        time: Time,
    ) -> Result<()> {
        let Some(in_flight) = self.placement.in_flight.remove(&path) else { return Ok(()) };
        in_flight.from.as_ref().map(|from| self.placement.in_flight.remove(from));
        match result {
            Ok(stat) => self.handle_done(&path, in_flight, stat, time),
            Err(failure) if let Some(from) = in_flight.from.as_ref().or(in_flight.with.as_ref()).cloned() => {
                self.placement.in_flight.remove(&from);
                self.handle_not_relocated(&path, from, in_flight.content.as_ref(), &failure, time);
                Ok(())
            }
            Err(failure) => self.handle_failure(&path, in_flight, failure, time),
        }
    }

    fn handle_done(
        &mut self,
        path: &RelPath,
        in_flight: InFlight,
        stat: Option<Stat>,
        time: Time,
    ) -> Result<()> {
        self.placement.unblock(path);
        self.placement.take_half_done(path);
        if let Some(digest) = in_flight.partial {
            self.finish_download(&digest);
        }
        if let Some(from) = &in_flight.from {
            self.handle_relocated(from, time)?;
        }
        let Some(mut row) = self.index.get(path)? else { return Ok(()) };
        self.activity.handle_remote(path, in_flight.content.as_ref());
        // Another version may have come while this one was being written.
        let newest = row.entry.version.dot == in_flight.version.dot;
        let version = (!newest).then(|| Box::new(in_flight.version));
        if let Some(stat) = stat.filter(|stat| stat.kind == FileKind::File) {
            self.scan.handle_known(path, &stat.stamp, time.wall_ms, time.now);
        }
        let held = row.base.take();
        if let (Some(held), Some(stat)) = (&held, stat) {
            self.follow_links(path, held, &stat)?;
        }
        let held = held.map(|base| base.content);
        row.standing = Standing::Known;
        row.base = stat.zip(in_flight.content).map(|(stat, content)| {
            // What is written in this instant may leave no trace in the stamp: where only bits and time were set, or where
            // the time is that of a second. No event will tell.
            let is_coarse = stat.stamp.mtime_ns % 1_000_000_000 == 0;
            let is_unsure = self.scan.is_unwatched(path) && (held.as_ref() == Some(&content) || is_coarse);
            let stamp = if is_unsure { stat.stamp.of_no_file() } else { stat.stamp };
            Base { content, stamp, mode: stat.mode, version }
        });
        // What was renamed has the bits and the time that it had before.
        if let (Some(base), true) = (&mut row.base, newest && in_flight.is_renamed) {
            base.version = (!is_realised(&row.entry, base)).then(|| Box::new(row.entry.version.clone()));
        }
        self.put(path, &row)?;
        match row.base {
            Some(Base { content: Content::Directory, .. }) => {
                self.scan.request_listing(path.clone());
                self.placement.wanted.requested = true;
            }
            None => self.placement.kick_removals(),
            _ => {}
        }
        self.place(path, None, time)
    }

    /// Another time was set of a file, and so of all its names on this disk: that is no edit of them. (Other bits are,
    /// since each name would have them set back for all.)
    fn follow_links(&mut self, path: &RelPath, held: &Base, now: &Stat) -> Result<()> {
        let is_same_file = (held.stamp.device, held.stamp.inode) == (now.stamp.device, now.stamp.inode);
        let Content::File { digest, .. } = &held.content else { return Ok(()) };
        if now.links < 2 || !is_same_file || held.mode != now.mode {
            return Ok(());
        }
        for other in self.index.paths_with(digest, STEP_ENTRIES)?.into_iter().filter(|other| other != path) {
            let Some(mut row) = self.index.get(&other)? else { continue };
            // That it got another name may not have been seen yet: then it still is to be.
            let was = |base: &&mut Base| Stamp { ctime_ns: held.stamp.ctime_ns, ..base.stamp } == held.stamp;
            if let Some(base) = row.base.as_mut().filter(was) {
                let is_seen = base.stamp == held.stamp;
                base.stamp = if is_seen { now.stamp } else { now.stamp.of_no_file() };
                self.put(&other, &row)?;
            }
        }
        Ok(())
    }

    fn handle_failure(
        &mut self,
        path: &RelPath,
        in_flight: InFlight,
        failure: ApplyFailure,
        time: Time,
    ) -> Result<()> {
        debug!("{path}: {failure:?}");
        if let Some(digest) = &in_flight.partial {
            match failure {
                ApplyFailure::Content => self.drop_download(digest),
                _ => self.transfers.give_back(digest),
            }
        }
        match failure {
            ApplyFailure::Unexpected(stat) => {
                match stat {
                    Some(_) => self.compare(path.clone(), stat, time)?,
                    // Whether it is missing, or the directory as a whole, is not asked when changes are carried out.
                    None => self.outputs.push_back(Output::Inspect { path: path.clone() }),
                }
                self.placement.kick();
                if !self.scan.is_reading(path) && !self.placement.is_in_flight(path) {
                    self.placement.block(path, "it keeps changing", time.now);
                }
            }
            ApplyFailure::NotEmpty => {
                self.placement.block(path, "it holds files that are not synchronised", time.now);
                self.scan.request_listing(path.clone());
            }
            ApplyFailure::Parent => {
                self.placement.block(path, "its directory is not there", time.now);
                // What was in it is not there, either.
                let parent = path.parent().filter(|parent| !parent.is_root());
                let paths = parent.into_iter().chain([path.clone()]);
                self.outputs.extend(paths.map(|path| Output::Inspect { path }));
            }
            ApplyFailure::Content => {
                self.placement.block(path, "its content was not what it should be", time.now);
            }
            ApplyFailure::System(reason) => {
                self.warn_once(path, &reason);
                self.placement.block(path, &reason, time.now);
            }
            ApplyFailure::HalfDone(reason) => {
                self.warn_once(path, &reason);
                self.placement.block(path, &reason, time.now);
                let InFlight { content, version, .. } = in_flight;
                self.placement.note_half_done(path, HalfDone { content, version });
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Says why a path cannot be written; not again each time that it is tried, with other figures in the reason.
    pub(super) fn warn_once(&self, path: &RelPath, reason: &str) {
        let before = self.placement.blocked.get(path).map(|blocked| blocked.reason.as_str());
        let is_known = before.is_some_and(|before| without_figures(before).eq(without_figures(reason)));
        let level = if is_known { Level::Debug } else { Level::Warn };
        log!(level, "{path} cannot be written, and is tried again: {reason}");
    }
}

fn without_figures(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|char| !char.is_ascii_digit())
}

/// Are these the bytes of a file of one chunk that has this digest?
fn is_content(bytes: &[u8], size: u64, digest: &Digest) -> bool {
    bytes.len() as u64 == size && size <= MAX_INLINE_BYTES as u64 && Chunk::of(bytes).digest == *digest
}
