//! What is found on this disk becomes a version.
//!
//! A local change is a difference from the row's base, never from its entry: what was applied from
//! a peer stands in the base before the watch tells of it, so an echo compares equal and nothing is
//! said.
//!
//! Here it is decided what has to be looked at and read; `state` makes versions of what was found.
//!
//! * `fresh`: files that are read once more.
//! * `race`: two versions of which nobody made one knowing the other.
//! * `rename`: what is known of a file that was only renamed.
//! * `names`: files with several names.
//! * `torn`: what a power cut has left of files.

mod fresh;
mod names;
mod race;
mod rename;
mod state;
mod torn;

use log::info;

pub(super) use self::{rename::Renames, torn::Durable};
use super::{
    Engine, Result,
    paths::{Begun, ReadDone, Unseen},
    transfer::is_small,
};
use crate::{
    core::seam::{COVERED, Found, Hint, Output, Time},
    model::{
        content::{Chunk, ZEROS},
        entry::{Base, Content, FileKind, Row, Standing, Stat},
        limits::SETTLE_UNSEEN_BYTES,
        path::RelPath,
        stamp::Recheck,
    },
};

impl Engine {
    pub(super) fn handle_changed(&mut self, path: RelPath, hint: Hint, time: Time) -> Result<()> {
        if path.is_reserved() || path.is_root() || self.paused.is_some() {
            return Ok(());
        }
        if self.rules.leave_alone_anything(&path) {
            self.follow_ignore_file(&path);
            // Should it be ignored no more, what it holds is what it holds then.
            return self.mark_for_reread(&path);
        }
        self.distrust(&path, time)?;
        if matches!(hint, Hint::Writing | Hint::Closed) {
            // Its stamp need not show it, if that was set, or looked at, in the same instant.
            self.mark_for_reread(&path)?;
        }
        match hint {
            Hint::Writing if self.paths.is_settling(&path) => self.handle_writing(&path, 0, time),
            Hint::Writing => {
                let size = self
                    .index
                    .get(&path)?
                    .and_then(|row| row.base)
                    .map_or(0, |base| base.seen.last().size);
                self.handle_writing(&path, size, time);
                if size > SETTLE_UNSEEN_BYTES {
                    // It may be much shorter by now.
                    self.outputs.push_back(Output::Inspect { path });
                }
            }
            Hint::Created | Hint::Settled | Hint::Closed | Hint::Arrived => {
                match hint {
                    Hint::Created => self.handle_writing(&path, 0, time),
                    _ => self.paths.handle_settled(&path),
                }
                if hint == Hint::Settled {
                    // They hold for what its writer writes next.
                    self.follow_ignore_file(&path);
                }
                if hint == Hint::Arrived {
                    self.forget_listing(&path)?;
                }
                self.paths.note_told(&path);
                self.outputs.push_back(Output::Inspect { path });
            }
        }
        Ok(())
    }

    /// A program writes to a file of which so many bytes are known. When too many are written to,
    /// all is looked at later.
    pub(super) fn handle_writing(&mut self, path: &RelPath, size: u64, time: Time) {
        if !self.paths.handle_writing(path, size, time.now) {
            self.scan.request_walk();
        }
    }

    /// What a file holds may have changed without a trace in its stamp: it is read when it is
    /// looked at next. What is being read, or put there, at this moment is no proof, either.
    pub(super) fn mark_for_reread(&mut self, path: &RelPath) -> Result<()> {
        self.paths.mark_for_reread(path);
        self.recheck(path, |base| !base.is_directory())
    }

    /// What the path holds, if it is such a thing, is found out anew when it is looked at next.
    pub(super) fn recheck(
        &mut self,
        path: &RelPath,
        is_such: impl Fn(&Base) -> bool,
    ) -> Result<()> {
        let Some(mut row) = self.index.get(path)? else { return Ok(()) };
        match &mut row.base {
            Some(base) if is_such(base) && base.seen.proof().is_some() => {
                base.seen = base.seen.unproven();
            }
            _ => return Ok(()),
        }
        self.put(path, &row)
    }

    /// What the path holds is read, whatever its stamp says, as soon as it can be.
    pub(super) fn read_again(&mut self, path: &RelPath) -> Result<()> {
        self.mark_for_reread(path)?;
        self.outputs.push_back(Output::Inspect { path: path.clone() });
        Ok(())
    }

    pub(super) fn handle_seen(
        &mut self,
        path: RelPath,
        stat: std::result::Result<Option<Stat>, String>,
        time: Time,
    ) -> Result<()> {
        if self.paused.is_some() {
            return Ok(());
        }
        if self.paths.is_changing(&path) {
            self.paths.postpone(&path, false, time.now);
            return Ok(());
        }
        match stat {
            // It could not be listed, and maybe can be now. It has no row.
            Ok(_) if path.is_root() => {
                self.scan.request_walk();
                Ok(())
            }
            Ok(Some(stat)) if self.is_covered(&path, &stat)? => {
                self.handle_closed(&path, COVERED, time)
            }
            Ok(stat) => {
                self.handle_open(&path)?;
                let is_there = stat.is_some();
                let is_directory = stat.is_some_and(|stat| stat.kind == FileKind::Directory);
                let unlisted = is_directory && self.paths.is_problem(&path);
                self.compare(path.clone(), stat, time)?;
                let row = self.index.get(&path)?;
                let is_ignored = row.as_ref().is_some_and(|row| row.is_ignored());
                let settled = is_ignored || row.is_none_or(|row| !row.is_wanted());
                if settled && unlisted && !is_ignored {
                    self.scan.request_listing(path.clone());
                } else if settled && !self.paths.is_reading(&path) {
                    self.paths.unblock(&path);
                }
                if is_there {
                    self.paths.forget_told_of(&path);
                }
                self.retry(&path, time)
            }
            Err(reason) => self.handle_closed(&path, &reason, time),
        }
    }

    /// Is something mounted on what the index says is there?
    fn is_covered(&self, path: &RelPath, stat: &Stat) -> Result<bool> {
        // The kind is asked first: this runs for every path that is seen, and a row costs a read of
        // the index.
        if stat.kind != FileKind::Foreign {
            return Ok(false);
        }
        let row = self.index.get(path)?.filter(|row| row.base.is_some());
        Ok(row.is_some_and(|row| !self.is_ignored(path, Some(&row), None)))
    }

    /// Nothing can be told of a path, nor of what is below it, for this reason: all of it is left
    /// as it was.
    fn handle_closed(&mut self, path: &RelPath, reason: &str, time: Time) -> Result<()> {
        self.paths.forget_told_of(path);
        let mut row = self.index.get(path)?;
        if let Some(row) = row.as_mut().filter(|row| row.is_missing()) {
            self.handle_found(path, row)?;
        }
        let is_directory = row.and_then(|row| row.base).is_some_and(|base| base.is_directory());
        let unseen = if is_directory { Unseen::Closed } else { Unseen::Itself };
        if self.block_unseen(path, (unseen, reason), time)? && is_directory {
            self.scan.handle_unlisted();
        }
        Ok(())
    }

    /// A path cannot be looked at, listed or read, which is said once. False where that is no
    /// problem: what is ignored is not to be looked at, and what could not be done there before is
    /// to be done no more.
    pub(super) fn block_unseen(
        &mut self,
        path: &RelPath,
        (unseen, reason): (Unseen, &str),
        time: Time,
    ) -> Result<bool> {
        if self.is_ignored(path, self.index.get(path)?.as_ref(), None) {
            self.paths.unblock(path);
            return Ok(false);
        }
        self.paths.tell(path, "looked at", reason);
        self.paths.block_unseen(path, (unseen, reason), time.now);
        Ok(true)
    }

    /// Something can be told of a path. If that was not so before, all below it is looked at:
    /// nothing was watched there.
    fn handle_open(&mut self, path: &RelPath) -> Result<()> {
        if self.paths.handle_open(path) {
            info!("{path} can be looked at again");
            self.forget_listing(path)?;
            self.placement.kick();
        }
        Ok(())
    }

    /// Compares what is there with the base, by the stamp alone.
    pub(super) fn compare(&mut self, path: RelPath, stat: Option<Stat>, time: Time) -> Result<()> {
        let mut row = self.index.get(&path)?;
        if self.is_ignored(&path, row.as_ref(), stat.as_ref()) {
            return self.handle_ignored(path, row, stat.is_none(), time);
        }
        let was_ignored = row.as_ref().is_some_and(Row::is_ignored);
        if let Some(row) = row.as_mut().filter(|_| was_ignored) {
            // It was only because of what was there.
            row.standing = Standing::Unknown;
            self.index.put(&path, row)?;
        }
        if let Some(row) = row.as_mut().filter(|row| row.is_missing() && stat.is_some()) {
            self.handle_found(&path, row)?;
        }
        let base = row.as_ref().and_then(|row| row.base.as_ref());
        // What was ignored may have been torn since, or have changed unseen.
        let was_unknown = row.as_ref().is_some_and(|row| row.standing == Standing::Unknown);
        let doubtful = base.zip(stat).is_some_and(|(base, stat)| {
            self.must_reread(&path, base, &stat, time) || was_unknown && stat.kind == FileKind::File
        });
        match (base, stat) {
            (None, None) if was_ignored => self.place(&path, None, time),
            (None, None) => Ok(()),
            (Some(_), None) => self.handle_missing(path, time),
            (Some(base), Some(stat)) if base.is_unchanged(&stat) && !doubtful => {
                self.handle_same(path, row, time)
            }
            // What is covered is not missing.
            (_, Some(Stat { kind: FileKind::Foreign, .. })) => Ok(()),
            (Some(_), Some(Stat { kind: FileKind::Other, .. })) => self.handle_missing(path, time),
            (None, Some(Stat { kind: FileKind::Other, .. })) => Ok(()),
            (_, Some(stat)) if stat.kind == FileKind::Directory => {
                self.handle_directory(path, row, stat, time)
            }
            (Some(base), Some(_)) if base.is_directory() && self.holds_anything(&path)? => {
                // Something else is in the directory's place: what was in it is gone. What it is
                // is found out when that was decided on.
                let is_told = self.paths.is_told(&path);
                if self.has_to_go(&path, is_told)? {
                    let renamed_to = self.renamed_to(&path, time);
                    self.scan.handle_vanished(path, renamed_to, is_told);
                } else {
                    self.handle_in_the_way();
                }
                Ok(())
            }
            (_, Some(stat)) => self.read(path, stat, doubtful, time),
        }
    }

    /// What is there, or was, is left alone. What was there before that may be of a kind that is
    /// not, and so may be the newest version.
    fn handle_ignored(
        &mut self,
        path: RelPath,
        row: Option<Row>,
        is_missing: bool,
        time: Time,
    ) -> Result<()> {
        let Some(held) = row.as_ref().filter(|row| row.base.is_some()) else {
            return self.leave_alone(&path, row);
        };
        if is_missing && !self.is_newest_ignored(&path, held) {
            return self.miss(&path, Row { standing: Standing::Unknown, ..held.clone() }, time);
        }
        if held.is_ignored() || self.is_ignored(&path, Some(held), None) {
            return self.leave_alone(&path, row);
        }
        self.handle_missing(path.clone(), time)?;
        // What was in a directory goes first.
        let now = self.index.get(&path)?.filter(|row| row.base.is_none());
        now.map_or(Ok(()), |row| self.leave_alone(&path, Some(row)))
    }

    /// What is there is what was last seen of it.
    fn handle_same(&mut self, path: RelPath, row: Option<Row>, time: Time) -> Result<()> {
        let Some(row) = row.filter(|row| row.standing == Standing::Unknown) else { return Ok(()) };
        self.put(&path, &Row { standing: Standing::Known, ..row })?;
        self.place(&path, None, time)
    }

    /// Content found by reading.
    pub(super) fn handle_read(&mut self, path: RelPath, found: Found, time: Time) -> Result<()> {
        let (stamp, has_grown) = match &found {
            Found::Content { stat, has_grown, .. } => (Some(&stat.stamp), *has_grown),
            _ => (None, false),
        };
        let ReadDone { again, is_once_more } = self.paths.handle_read_done(&path, stamp, time.now);
        let stat = self.known_stat(&found);
        if is_once_more && stat.is_none() {
            return self.handle_not_read_once_more(path, time);
        }
        self.take_in(&path, found, time)?;
        if self.paused.is_some() {
            return Ok(());
        }
        if let Some(stat) = stat.filter(|_| !is_once_more) {
            self.read_once_more(&path, &stat, time)?;
        }
        if again == Some(Recheck::Always) {
            self.mark_for_reread(&path)?;
        }
        if again.is_some() {
            self.outputs.push_back(Output::Inspect { path: path.clone() });
        }
        if has_grown { self.handle_changed(path, Hint::Writing, time) } else { Ok(()) }
    }

    fn take_in(&mut self, path: &RelPath, found: Found, time: Time) -> Result<()> {
        self.inspect_old_names(path);
        if self.paused.is_some() {
            return Ok(());
        }
        match found {
            Found::Content { stat, content, chunks, .. } => {
                self.paths.handle_settled(path);
                self.paths.handle_was_read(path, read_bytes(&stat, &chunks), time.now);
                self.paths.unblock(path);
                self.keep_recipe(&content, &chunks)?;
                self.mark_other_names_for_reread(path, &content, &stat)?;
                self.observe(path, Some((content, stat)), time)?;
            }
            Found::Changed => self.handle_writing(path, 0, time),
            Found::Gone => self.outputs.push_back(Output::Inspect { path: path.clone() }),
            Found::Unreadable(reason) => {
                // There was a reason to read it, which its stamp need not show.
                self.mark_for_reread(path)?;
                self.block_unseen(path, (Unseen::Itself, &reason), time)?;
            }
        }
        Ok(())
    }

    /// What is in a directory goes before the directory.
    fn handle_missing(&mut self, path: RelPath, time: Time) -> Result<()> {
        self.paths.handle_settled(&path);
        let is_told = self.paths.is_told(&path);
        if self.has_to_go(&path, is_told)? {
            let renamed_to = self.renamed_to(&path, time);
            self.scan.handle_vanished(path, renamed_to, is_told);
            return Ok(());
        }
        if self.waits_for_new_name(&path, time) {
            return Ok(());
        }
        self.paths.forget_told_of(&path);
        self.handle_gone_alone(&path, is_told, time)
    }

    fn handle_directory(
        &mut self,
        path: RelPath,
        row: Option<Row>,
        stat: Stat,
        time: Time,
    ) -> Result<()> {
        let base = row.and_then(|row| row.base).filter(Base::is_directory);
        let known = base
            .as_ref()
            .and_then(|base| base.seen.proof())
            .is_some_and(|stamp| stamp.inode == stat.stamp.inode);
        if base.is_some() && !known {
            self.forget_listings_below(&path)?;
        }
        self.paths.handle_settled(&path);
        let reappeared = self.scan.handle_reappeared(&path);
        self.observe(&path, Some((Content::Directory, stat)), time)?;
        if !known || reappeared {
            self.scan.request_listing(path);
        }
        if base.is_none() {
            // What is wanted in it can come.
            self.placement.kick();
        }
        Ok(())
    }

    fn read(&mut self, path: RelPath, stat: Stat, must_read: bool, time: Time) -> Result<()> {
        if stat.kind == FileKind::File && stat.links == 1 && self.paths.is_settling(&path) {
            self.paths.handle_size(&path, stat.stamp.size, time.now);
            return Ok(());
        }
        let must_read = must_read
            || self.paths.is_reading(&path)
            || self.paths.is_racy(&path, time.now)
            || self.was_just_written(&stat);
        let known = if must_read { None } else { self.known_content(&path, &stat, time)? };
        if known.is_some() {
            self.paths.handle_settled(&path);
            return self.observe(&path, known.map(|content| (content, stat)), time);
        }
        let is_free = stat.links == 1 && !self.paths.is_reading(&path);
        if is_free && self.paths.must_rest(&path, stat.stamp.size, time.now) {
            return Ok(());
        }
        let is_fresh = self.may_hide_writes(&stat, time);
        match self.paths.begin_read(&path, &stat, is_fresh, time) {
            Begun::Now => self.outputs.push_back(Output::Read { path, stat }),
            Begun::Later | Begun::Already => {}
            Begun::NoPlace => self.scan.request_walk(),
        }
        Ok(())
    }

    fn keep_recipe(&mut self, content: &Content, chunks: &[Chunk]) -> Result<()> {
        match content {
            Content::File { size, digest } if !is_small(*size) => {
                self.index.put_recipe(digest, chunks)
            }
            _ => Ok(()),
        }
    }
}

/// How much of a file was read: what is in holes was not.
fn read_bytes(stat: &Stat, chunks: &[Chunk]) -> u64 {
    let is_hole = |chunk: &&Chunk| **chunk == ZEROS;
    let in_holes = chunks.iter().filter(is_hole).map(|chunk| u64::from(chunk.length)).sum();
    stat.stamp.size.saturating_sub(in_holes)
}
