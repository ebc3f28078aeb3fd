//! Content that is wanted at one path and is on this disk at another, which is to go: it is
//! renamed. Two files of which each is wanted at the other's path change places.
//!
//! The new path comes first, its old one's tombstone just after. So what is found at another path
//! is not copied at once: it waits a moment for that tombstone. A tombstone, in turn, does not take
//! effect while its content is wanted elsewhere.

use std::{collections::BTreeMap, time::Instant};

use log::debug;

use super::super::{Engine, Result, paths::Pending};
use crate::{
    core::{
        reconcile::Resolution,
        seam::{Action, ApplyFailure, Output, Time},
    },
    model::{
        entry::{Base, Content, Digest, Row, Stamp, Standing},
        limits::{MAX_RENAME_WAITS, RENAME_WAIT},
        path::RelPath,
    },
};

/// Wanted content that is here at another path.
#[derive(Debug, Default)]
pub(in super::super) struct Waits(BTreeMap<Digest, Wait>);

#[derive(Debug)]
struct Wait {
    /// Where it is wanted.
    path: RelPath,
    /// A path that holds it and is to go.
    from: Option<RelPath>,
    state: Waiting,
}

/// How far a wait has come.
#[derive(Debug)]
enum Waiting {
    /// For a moment.
    Until(Instant),
    /// It was long enough.
    Over,
    /// Renaming did not work: it is copied.
    Failed,
}

impl Wait {
    fn until(&self) -> Option<Instant> {
        if let Waiting::Until(until) = self.state { Some(until) } else { None }
    }
}

impl Waits {
    pub(in super::super) fn next_timeout(&self) -> Option<Instant> {
        self.0.values().filter_map(Wait::until).min()
    }

    /// Has one waited for long enough?
    pub(in super::super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let mut any = false;
        for wait in
            self.0.values_mut().filter(|wait| wait.until().is_some_and(|until| until <= now))
        {
            wait.state = Waiting::Over;
            any = true;
        }
        any
    }

    /// Its content is on its way, or is not wanted there any more. True when it had not waited for
    /// long enough.
    pub(in super::super) fn remove(&mut self, digest: &Digest) -> bool {
        self.0.remove(digest).is_some_and(|wait| wait.until().is_some())
    }

    /// Does it wait for a moment still?
    pub(in super::super) fn is_on(&self, digest: &Digest) -> bool {
        self.0.get(digest).is_some_and(|wait| wait.until().is_some())
    }

    pub(in super::super) fn is_bounded(&self) -> bool {
        self.0.len() <= MAX_RENAME_WAITS
    }

    /// False when the table is full.
    fn insert(&mut self, digest: Digest, wait: Wait) -> bool {
        if self.0.len() >= MAX_RENAME_WAITS {
            self.0.retain(|_, wait| wait.until().is_some());
        }
        let has_room = self.0.len() < MAX_RENAME_WAITS;
        if has_room {
            self.0.insert(digest, wait);
        }
        has_room
    }
}

impl Engine {
    /// The content that `path` wants is renamed from a path that is to go, or waits for one to go.
    /// False when it is to be had in another way; `is_here` says that its bytes came along.
    pub(in super::super) fn relocate(
        &mut self,
        path: &RelPath,
        row: &Row,
        digest: Digest,
        resolution: Option<Resolution>,
        is_here: bool,
        time: Time,
    ) -> Result<bool> {
        if self.transfers.is_fetching(&digest) {
            return Ok(false);
        }
        let wait = self.placement.waits.0.get(&digest);
        let failed = wait.is_some_and(|wait| matches!(wait.state, Waiting::Failed));
        let waits = wait.is_none_or(|wait| wait.until().is_some());
        let announced = wait.and_then(|wait| wait.from.clone());
        let Some((holder, _)) = self.holder(path, &digest)? else { return Ok(false) };
        for from in announced.into_iter().chain([holder]).filter(|_| !failed) {
            if let Some(stamp) = self.is_leaving(&from, &digest, time)? {
                self.placement.end_wait(&digest);
                let action = Action::RenameFrom { from, stamp };
                self.apply(path, row.clone(), action, resolution, time)?;
                return Ok(true);
            }
            if resolution == Some(Resolution::Replace)
                && let Some((other, stamp)) = self.wants_in_return(&from, &digest, row, time)?
            {
                self.placement.end_wait(&digest);
                let action = Action::Exchange { with: from.clone(), stamp };
                self.apply(path, row.clone(), action, resolution, time)?;
                self.paths.begin_change(&from, Pending { is_renamed: true, ..Pending::to(&other) });
                return Ok(true);
            }
        }
        if is_here || !waits {
            return Ok(false);
        }
        let state = Waiting::Until(time.now + RENAME_WAIT);
        let wait = Wait { path: path.clone(), from: None, state };
        let waits = self.placement.waits.0.contains_key(&digest)
            || self.placement.waits.insert(digest, wait);
        Ok(waits)
    }

    /// Is nothing being done about the file at this path, and room to give it another name?
    pub(super) fn may_move(&self, path: &RelPath) -> bool {
        self.paths.has_room_for(2) && self.paths.is_free(path)
    }

    /// The file's stamp, if it is to be deleted, holds this content, and nothing is being done
    /// about it.
    fn is_leaving(&self, path: &RelPath, digest: &Digest, time: Time) -> Result<Option<Stamp>> {
        if !self.may_move(path) {
            return Ok(None);
        }
        let row = self
            .index
            .get(path)?
            .filter(|row| row.standing == Standing::Known && row.entry.is_tombstone());
        let leaves = |row: &Row| self.resolution_of(row) == Some(Resolution::Replace);
        let base = row.filter(leaves).and_then(|row| row.base);
        let stamp =
            base.filter(|base| base.digest() == Some(*digest)).and_then(|base| base.seen.proof());
        Ok(stamp.filter(|stamp| !self.paths.is_unsure(path, stamp, time.now)))
    }

    /// The row and the stamp of a file of this content, if it is to have what `row` has, and
    /// nothing is being done about it: both change places.
    fn wants_in_return(
        &self,
        path: &RelPath,
        digest: &Digest,
        row: &Row,
        time: Time,
    ) -> Result<Option<(Row, Stamp)>> {
        if !self.may_move(path) {
            return Ok(None);
        }
        let held = |row: &Row| row.base.as_ref().and_then(Base::digest);
        let is_known = |other: &Row| other.standing == Standing::Known && other.is_wanted();
        let Some(other) = self.index.get(path)?.filter(is_known) else { return Ok(None) };
        let wanted = other.entry.content.as_ref().and_then(file_digest);
        let fits = wanted.is_some() && wanted == held(row) && held(&other) == Some(*digest);
        let stamp = other.base.as_ref().and_then(|base| base.seen.proof());
        let stamp = stamp.filter(|stamp| !self.paths.is_unsure(path, stamp, time.now));
        let is_free = fits && self.resolution_of(&other) == Some(Resolution::Replace);
        Ok(stamp.filter(|_| is_free).map(|stamp| (other, stamp)))
    }

    /// The path is to go. Is its content wanted elsewhere, so that it stays until it was renamed or
    /// copied?
    pub(in super::super) fn is_wanted_elsewhere(
        &mut self,
        path: &RelPath,
        row: &Row,
        time: Time,
    ) -> Result<bool> {
        let Some(digest) = row.base.as_ref().and_then(Base::digest) else {
            return Ok(false);
        };
        if self.transfers.is_copying(&digest) {
            return Ok(true);
        }
        let Some(target) = self.placement.waits.0.get(&digest).map(|wait| wait.path.clone()) else {
            return Ok(false);
        };
        let wants = |row: &Row| row.entry.content.as_ref().and_then(file_digest) == Some(digest);
        if self.is_held_up(&target)
            || !self.index.get(&target)?.is_some_and(|row| row.is_wanted() && wants(&row))
        {
            self.placement.end_wait(&digest);
            return Ok(false);
        }
        self.placement.waits.0.entry(digest).and_modify(|wait| wait.from = Some(path.clone()));
        self.place(&target, None, time)?;
        Ok(true)
    }

    /// Can nothing be put at this path for now, since it, or a directory that it is in, cannot be
    /// written?
    fn is_held_up(&self, path: &RelPath) -> bool {
        let above = std::iter::successors(Some(path.clone()), RelPath::parent);
        above.into_iter().any(|path| self.paths.is_problem(&path))
    }

    /// Is what this path holds being copied? Then it stays until that is done.
    pub(in super::super) fn is_being_copied(&self, row: &Row) -> bool {
        let held = row.base.as_ref().and_then(Base::digest);
        held.is_some_and(|digest| self.transfers.is_copying(&digest))
    }

    /// Is this content neither here nor on its way? Then the path is not changed yet.
    pub(in super::super) fn will_fetch(&self, newest: &Content, is_here: bool) -> bool {
        !is_here && file_digest(newest).is_some_and(|digest| !self.transfers.is_fetching(&digest))
    }

    /// The file at `from` has another name now.
    pub(in super::super) fn handle_relocated(&mut self, from: &RelPath, time: Time) -> Result<()> {
        if let Some(mut row) = self.index.get(from)? {
            row.base = None;
            self.put(from, &row)?;
        }
        self.activity.handle_remote(from, None);
        self.placement.kick();
        self.place(from, None, time)
    }

    /// It could not be renamed: both paths are looked at, and the content is copied.
    pub(in super::super) fn handle_not_relocated(
        &mut self,
        path: &RelPath,
        from: RelPath,
        content: Option<&Content>,
        failure: &ApplyFailure,
        time: Time,
    ) -> Result<()> {
        debug!("{from} cannot be renamed to {path}: {failure:?}");
        let wait = Wait { path: path.clone(), from: None, state: Waiting::Failed };
        let noted = content
            .and_then(file_digest)
            .is_some_and(|digest| self.placement.waits.insert(digest, wait));
        if !noted {
            self.hold_back(path, "its content on this disk cannot be renamed", time)?;
        }
        self.placement.kick();
        self.outputs.extend([path.clone(), from].map(|path| Output::Inspect { path }));
        Ok(())
    }
}

pub(in super::super) fn file_digest(content: &Content) -> Option<Digest> {
    content.digest().copied()
}
