//! Versions that are not on this disk get there.
//!
//! What is wanted is found from the rows, never from a queue in memory: an update is placed as it
//! comes, and a pass over the index's table of wanted paths picks up what could not be. Removals
//! come last, children first, so that content that only changed its place is still here when its
//! new place asks for it.
//!
//! A pass never stops at a path: what there is no room for is passed by, and looked for from there
//! when there is some.
//!
//! * `parents`: directories, which come before what is in them and go after it.
//! * `respell`: directories of which this disk takes the old name and the new one for one.
//! * `relocate`: content that is on this disk already, at a path that is to go.
//! * `outcome`: what came of a change.
//! * `lost`: versions whose content is nowhere any more.

mod outcome;
mod parents;
mod relocate;
mod respell;
mod unrecoverable;

use std::collections::BTreeMap;

use log::warn;

pub(super) use self::relocate::{Waits, file_digest};
use self::respell::Respellings;
use super::{
    Engine, Result,
    paths::Pending,
    transfer::{SLOTS, Slot},
};
use crate::{
    core::{
        reconcile::{Resolution, conflict_name, resolve},
        seam::{Action, Apply, Output, Source, Time},
    },
    index::is_before,
    model::{
        content::Chunk,
        entry::{Base, Content, Digest, FileKind, Provenance, Row, Standing},
        limits::{MAX_INLINE_BYTES, STEP_ENTRIES},
        path::RelPath,
        version::Author,
    },
};

/// What is under way to this disk, and what could not be done.
#[derive(Debug, Default)]
pub(super) struct Placement {
    wanted: Pass,
    removals: Pass,
    pub(super) waits: Waits,
    respellings: Respellings,
    /// The first wanted file of each kind that found every download of that kind taken, if one did:
    /// from there on they are looked for as soon as one is free.
    starving: BTreeMap<Slot, RelPath>,
    /// Steps that the passes took.
    #[cfg(test)]
    pub(super) steps: u64,
}

/// A pass over a table of the index.
#[derive(Debug, Default)]
struct Pass {
    /// Another one is to follow.
    requested: bool,
    at: Cursor,
}

/// How far a pass has come.
#[derive(Debug, Default, PartialEq, Eq)]
enum Cursor {
    /// None is under way.
    #[default]
    Idle,
    /// At the first path.
    First,
    /// At the one behind this.
    Behind(RelPath),
}

impl Pass {
    fn begin(&mut self) -> bool {
        if !self.is_running() && self.requested {
            (self.requested, self.at) = (false, Cursor::First);
        }
        self.is_running()
    }

    fn is_running(&self) -> bool {
        self.at != Cursor::Idle
    }

    fn is_idle(&self) -> bool {
        !self.requested && !self.is_running()
    }

    fn last(&self) -> Option<&RelPath> {
        if let Cursor::Behind(path) = &self.at { Some(path) } else { None }
    }
}

impl Placement {
    /// Whatever is wanted is tried again.
    pub(super) fn kick(&mut self) {
        self.wanted.requested = true;
        self.removals.requested = true;
    }

    /// There is a directory now that what is wanted in it may have waited for.
    pub(super) fn handle_opened(&mut self) {
        self.wanted.requested = true;
    }

    pub(super) fn kick_removals(&mut self) {
        self.removals.requested = true;
    }

    /// Nobody waits any more for this content to leave another path. Whoever has relied on being
    /// come by when the wait was over is come by now: each path that wants the content does, and
    /// the wait is that of one of them.
    pub(super) fn end_wait(&mut self, digest: &Digest) {
        if self.waits.remove(digest) {
            self.kick();
        }
    }

    /// There is no room for the content of this path, which is wanted.
    pub(super) fn handle_no_slot(&mut self, slot: Slot, path: &RelPath) {
        let first = self.starving.entry(slot).or_insert_with(|| path.clone());
        if is_before(path, first) {
            first.clone_from(path);
        }
    }

    /// Will the path be come by when there is room for its content?
    pub(super) fn is_starving(&self, slot: Slot, path: &RelPath) -> bool {
        self.starving.get(&slot).is_some_and(|first| !is_before(path, first))
    }

    /// Have the passes nothing to do, but for what waits for a download to end?
    pub(super) fn is_done(&self) -> bool {
        self.wanted.is_idle() && self.removals.is_idle()
    }

    /// Has everything been come by that was to be since the passes were asked for last?
    fn is_through(&self) -> bool {
        self.is_done() && self.starving.is_empty()
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.waits.is_bounded() && self.respellings.is_bounded()
    }
}

impl Engine {
    pub(super) fn placement_has_work(&self) -> bool {
        let placement = &self.placement;
        self.may_step_placement()
            && !self.rules.are_changing()
            && (!placement.is_done() || self.next_slot().is_some())
    }

    /// Does nothing hold the passes up that has a wake-up of its own: changes under way, or a
    /// deadline?
    fn may_step_placement(&self) -> bool {
        self.scan.is_walked() && self.paths.has_room_for(1) && !self.paths.is_exhausted()
    }

    /// A kind of download of which one is free, and has been found taken.
    fn next_slot(&self) -> Option<Slot> {
        let is_next = |slot: &Slot| {
            self.placement.starving.contains_key(slot) && self.transfers.has_slot(*slot)
        };
        SLOTS.into_iter().find(is_next)
    }

    /// A deadline has its own path tried, once it was looked at; only what is not named is looked
    /// for among all.
    pub(super) fn handle_placement_timeout(&mut self, time: Time) {
        if self.placement.waits.handle_timeout(time.now) {
            self.placement.kick();
        }
        let due = self.paths.take_due(time.now);
        self.outputs.extend(due.into_iter().map(|path| Output::Inspect { path }));
        if self.paths.begin_round(self.placement.is_through(), time.now) {
            self.placement.kick();
        }
    }

    /// One bounded step of the passes: wanted paths, those of them that waited for room, then
    /// removals.
    pub(super) fn step_placement(&mut self, time: Time) -> Result<()> {
        for _ in 0..STEP_ENTRIES {
            if self.paused.is_some() || !self.may_step_placement() {
                break;
            }
            #[cfg(test)]
            (self.placement.steps += 1);
            if self.placement.wanted.begin() {
                self.step_wanted(time)?;
            } else if let Some(slot) = self.next_slot() {
                self.step_starving(slot, time)?;
            } else if self.placement.removals.begin() {
                self.step_removals(time)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn step_wanted(&mut self, time: Time) -> Result<()> {
        let Some(path) = self.index.next_wanted(self.placement.wanted.last())? else {
            self.placement.wanted.at = Cursor::Idle;
            return Ok(());
        };
        self.place(&path, None, time)?;
        self.placement.wanted.at = Cursor::Behind(path);
        Ok(())
    }

    /// A download of this kind is free: the next path that wants one is looked for where the last
    /// one found none. So what waits is gone through once, however many times something becomes
    /// free.
    fn step_starving(&mut self, slot: Slot, time: Time) -> Result<()> {
        let Some(path) = self.placement.starving.remove(&slot) else { return Ok(()) };
        if self.index.get(&path)?.and_then(|row| Slot::of(&row)) == Some(slot) {
            self.place(&path, None, time)?;
        }
        if let Some(next) = self.index.next_wanted(Some(&path))? {
            self.placement.handle_no_slot(slot, &next);
        }
        Ok(())
    }

    fn step_removals(&mut self, time: Time) -> Result<()> {
        let Some(path) = self.index.previous_removal(self.placement.removals.last())? else {
            self.placement.removals.at = Cursor::Idle;
            return Ok(());
        };
        self.place(&path, None, time)?;
        self.placement.removals.at = Cursor::Behind(path);
        Ok(())
    }

    // --- One path

    /// Brings the path to its newest version, if it is not there yet; `content` are a small file's
    /// bytes, when they came along.
    pub(super) fn place(
        &mut self,
        path: &RelPath,
        content: Option<Vec<u8>>,
        time: Time,
    ) -> Result<()> {
        let waits = self.paused.is_some()
            || !self.scan.is_walked()
            || !self.paths.may_change(path, time.now);
        let row = if waits { None } else { self.index.get(path)?.filter(Row::is_wanted) };
        let Some(row) = row else { return Ok(()) };
        if !self.paths.has_room_for(1) {
            self.placement.kick();
            return Ok(());
        }
        if self.is_ignored(path, Some(&row), None) {
            return Ok(());
        }
        let is_known = row.standing == Standing::Known;
        if row.base.as_ref().is_some_and(|base| !is_known || base.seen.proof().is_none()) {
            // What is there is found out first. What is being written is looked at when that is
            // over.
            self.paths.postpone(path, true, time.now);
            if !self.paths.is_settling(path) {
                self.outputs.push_back(Output::Inspect { path: path.clone() });
            }
            return Ok(());
        }
        let is_unsure = |base: &Base| {
            // Of a link nobody can change the target: another one has its name then.
            base.kind() == FileKind::File && self.paths.is_unsure(path, base.seen.last(), time.now)
        };
        if row.base.as_ref().is_some_and(is_unsure) {
            // It may have been written to since, in the second in which it was read, and nothing
            // told of it. Whoever replaces it is to know what.
            return self.read_again(path);
        }
        match row.entry.content.clone() {
            None => self.place_removal(path, row, time),
            Some(newest) => self.place_live(path, row, newest, content, time),
        }
    }

    fn place_removal(&mut self, path: &RelPath, row: Row, time: Time) -> Result<()> {
        let Some(base) = &row.base else { return Ok(()) };
        if self.resolution_of(&row) == Some(Resolution::Republish) {
            return self.republish(path, row, time);
        }
        if self.is_respelled(path, &row, time)? {
            return Ok(());
        }
        let is_directory = base.is_directory();
        if is_directory && self.has_live_children(path)? {
            return self.keep_directory(path, row, false, time);
        }
        if is_directory && self.has_waiting_children(path)? {
            return Ok(());
        }
        if self.is_wanted_elsewhere(path, &row, time)? {
            return Ok(());
        }
        if !is_directory && self.placement.wanted.is_running() {
            self.placement.kick_removals();
            return Ok(());
        }
        let action = if is_directory { Action::RemoveDirectory } else { Action::RemoveFile };
        self.apply(path, row, action, None, time)
    }

    fn place_live(
        &mut self,
        path: &RelPath,
        row: Row,
        newest: Content,
        content: Option<Vec<u8>>,
        time: Time,
    ) -> Result<()> {
        let held = row.base.as_ref().and_then(|base| base.content().cloned());
        if held.as_ref() == Some(&newest) {
            return self.place_metadata(path, row, &newest, time);
        }
        if !self.is_parent_coming(path, time)? {
            return Ok(());
        }
        if held.is_none() && newest == Content::Directory && self.respell(path, &row, time)? {
            return Ok(());
        }
        let resolution = self.resolution_of(&row);
        if resolution == Some(Resolution::Republish) {
            return self.republish(path, row, time);
        }
        if held == Some(Content::Directory) && self.has_live_children(path)? {
            return self.keep_directory(path, row, false, time);
        }
        if let Content::File { size: 1.., digest } = newest
            && self.relocate(path, &row, digest, resolution, content.is_some(), time)?
        {
            return Ok(());
        }
        if self.is_being_copied(&row) && !self.will_fetch(&newest, content.is_some()) {
            return Ok(());
        }
        let (mode, mtime_ns) = (row.entry.mode, row.entry.mtime_ns);
        let action = match newest {
            Content::Directory => Action::MakeDirectory { mode },
            Content::Symlink { target } => Action::MakeSymlink { target },
            Content::File { size, digest } => {
                match self.source(path, size, digest, content, time)? {
                    Some(source) => Action::WriteFile { source, mode, mtime_ns },
                    None => return Ok(()),
                }
            }
        };
        self.apply(path, row, action, resolution, time)
    }

    fn place_metadata(
        &mut self,
        path: &RelPath,
        mut row: Row,
        newest: &Content,
        time: Time,
    ) -> Result<()> {
        if let Content::Symlink { .. } = newest {
            if let Some(base) = &mut row.base {
                base.held = Provenance::Newest(newest.clone());
            }
            return self.put(path, &row);
        }
        let mtime_ns = matches!(newest, Content::File { .. }).then_some(row.entry.mtime_ns);
        let action = Action::SetMetadata { mode: row.entry.mode, mtime_ns };
        self.apply(path, row, action, None, time)
    }

    /// Where the bytes of a wanted file come from, if they are here. If not, they are asked for.
    fn source(
        &mut self,
        path: &RelPath,
        size: u64,
        digest: Digest,
        content: Option<Vec<u8>>,
        time: Time,
    ) -> Result<Option<Source>> {
        if size == 0 {
            return Ok(Some(Source::Bytes(Vec::new())));
        }
        if let Some(bytes) = content.filter(|bytes| is_content(bytes, size, &digest)) {
            return Ok(Some(Source::Bytes(bytes)));
        }
        if self.transfers.is_whole(&digest) {
            let is_free = self.transfers.begin_install(&digest, path);
            return Ok(is_free.then_some(Source::Partial(digest)));
        }
        if !self.give_up_unrecoverable(path, &digest, time)? {
            self.fetch(path, size, digest, time)?;
        }
        Ok(None)
    }

    pub(super) fn resolution_of(&self, row: &Row) -> Option<Resolution> {
        let (base, held, newest) = (row.base.as_ref()?, row.base_version()?, &row.entry);
        // A directory that this node publishes over its own file is published for what is in it:
        // the file is not replaced by it, unless it is unattributed. (When a user does that, the
        // base is the directory at once.)
        let is_somebodys =
            [held, &newest.version].iter().all(|version| version.author != Author::Unattributed);
        let is_own = newest.version.dot.origin == self.origin() && is_somebodys;
        if is_own && newest.content == Some(Content::Directory) && !base.is_directory() {
            return Some(Resolution::KeepCopy);
        }
        Some(resolve(base, held, newest))
    }

    pub(super) fn apply(
        &mut self,
        path: &RelPath,
        row: Row,
        action: Action,
        resolution: Option<Resolution>,
        time: Time,
    ) -> Result<()> {
        let keep = row.base_version().filter(|_| resolution == Some(Resolution::KeepCopy));
        let keep = keep.and_then(|loser| conflict_name(path, loser));
        if let Some(keep) = &keep {
            warn!("{path} was changed in two places at once: what was here is kept as {keep}");
            self.handle_writing(keep, 0, time);
            self.paths.note_kept(keep, row.bits());
        }
        let partial = match &action {
            Action::WriteFile { source: Source::Partial(digest), .. } => Some(*digest),
            _ => None,
        };
        let from =
            if let Action::RenameFrom { from, .. } = &action { Some(from.clone()) } else { None };
        let with =
            if let Action::Exchange { with, .. } = &action { Some(with.clone()) } else { None };
        let is_renamed = from.is_some() || with.is_some();
        if let Some(from) = from.clone() {
            self.paths.begin_change(&from, Pending { content: None, ..Pending::to(&row) });
        }
        self.wake(time);
        let expect = row.base.as_ref().and_then(|base| base.seen.proof());
        debug_assert_eq!(expect.is_some(), row.base.is_some(), "{path} was to be looked at first");
        let set_mtime_ns =
            if let Action::SetMetadata { mtime_ns, .. } = &action { *mtime_ns } else { None };
        let change = Pending { partial, from, with, is_renamed, set_mtime_ns, ..Pending::to(&row) };
        self.paths.begin_change(path, change);
        self.outputs.push_back(Output::Apply(Apply { path: path.clone(), expect, keep, action }));
        Ok(())
    }
}

/// Are these the bytes of a file of one chunk that has this digest?
fn is_content(bytes: &[u8], size: u64, digest: &Digest) -> bool {
    bytes.len() as u64 == size
        && size <= MAX_INLINE_BYTES as u64
        && Chunk::of(bytes).digest == *digest
}
