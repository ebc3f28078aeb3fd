//! What is missing: paths that are not where they were, and of whose deletion nothing has told.
//!
//! Such a path is marked in its row, and nothing is said of it before all that was to be looked at
//! was. Then it is one of a few, and was deleted while nobody looked; or so much is missing at once
//! that part of the disk may be away (a branch of a pool that is not mounted): then it is held, and
//! it is asked whether it was deleted. What is found under another name was moved, and is not
//! counted. What is held ends to be when it is there again; that is looked for.
//!
//! A held row stays what it was: others' versions change its entry and not what is known of this
//! disk. So nothing is placed over it, and when it is back it is compared as ever. Only directories
//! are made anew, when something is to be put into them.

use std::time::Instant;

use log::{info, warn};

use super::super::{Engine, Result};
use crate::{
    core::seam::{Output, Time},
    index::Hold,
    model::{
        entry::{Base, Content, Row, Standing},
        limits::{MISSING_WALK_DELAY, POLL_INTERVAL, STEP_ENTRIES},
        path::RelPath,
        version::Seq,
    },
};

/// What is to be decided on. Which paths it is about is in the index alone.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// Something is missing that was not when that was decided last.
    is_undecided: bool,
    /// Something was found to be missing by itself: whether more is, is found out by a walk.
    walk_at: Option<Instant>,
    /// Something that is held is looked for.
    look_at: Option<Instant>,
    pass: Option<Pass>,
    /// This node's last change before it was begun to look: what it made after that is new.
    since: Seq,
}

/// A pass over all that is missing, children first.
#[derive(Debug)]
struct Pass {
    what: What,
    before: Option<RelPath>,
    /// How many are counted.
    gone: u64,
}

/// What a pass does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Counts those that were not moved. Those that were are deleted.
    Count,
    /// They are published as deleted.
    Delete,
    /// They are wanted.
    Fetch,
}

impl Missing {
    /// Something may have been left to be decided by the last run.
    pub(super) fn left(is_undecided: bool) -> Self {
        Self { is_undecided, ..Self::default() }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.walk_at.into_iter().chain(self.look_at).min()
    }

    pub(super) fn postpone(&mut self, until: Instant) {
        self.walk_at = self.walk_at.map(|at| at.max(until));
        self.look_at = self.look_at.map(|at| at.max(until));
    }

    pub(super) fn is_running(&self) -> bool {
        self.pass.is_some()
    }

    /// It is begun to look. What was found before is still to be decided on, if something is.
    pub(super) fn note_begin(&mut self, seq: Seq) {
        if !self.is_undecided {
            self.since = seq;
        }
    }
}

impl Engine {
    // --- One path

    /// Nothing is at the path any more, and nothing is said to be in it but what is missing.
    /// `is_told`: so the watch says. What is held in a directory holds that, too.
    pub(in super::super) fn handle_gone(
        &mut self,
        path: &RelPath,
        is_told: bool,
        time: Time,
    ) -> Result<()> {
        let is_known = |row: &Row| matches!(row.standing, Standing::Known | Standing::Missing);
        let is_doubted = self.index.get(path)?.is_some_and(|row| is_known(&row));
        match is_doubted && (!is_told || self.holds_anything(path)?) {
            true => self.mark_missing(path),
            false => self.observe(path, None, time),
        }
    }

    /// As [`Self::handle_gone`], of a path that was found so by itself: how much else is missing is
    /// found out by a walk, if nothing tells of this one soon.
    pub(in super::super) fn handle_gone_alone(
        &mut self,
        path: &RelPath,
        is_told: bool,
        time: Time,
    ) -> Result<()> {
        let was_missing = self.index.get(path)?.is_some_and(|row| row.is_missing());
        self.handle_gone(path, is_told, time)?;
        if !was_missing && self.index.get(path)?.is_some_and(|row| row.is_missing()) {
            self.scan.missing.walk_at.get_or_insert(time.now + MISSING_WALK_DELAY);
        }
        Ok(())
    }

    /// The path is not where it was, and whether it was deleted is to be decided.
    pub(super) fn mark_missing(&mut self, path: &RelPath) -> Result<()> {
        let Some(mut row) = self.index.get(path)?.filter(|row| row.base.is_some()) else {
            return Ok(());
        };
        match row.standing {
            Standing::Known => {}
            Standing::Missing | Standing::Ignored | Standing::Unknown => return Ok(()),
        }
        row.standing = Standing::Missing;
        // Should a directory be back, nothing is known of what is in it.
        row.base = row.base.map(|base| match base.is_directory() {
            true => Base { seen: base.seen.unproven(), ..base },
            false => base,
        });
        self.put(path, &row)?;
        self.paths.unblock(path);
        self.scan.missing.is_undecided = true;
        Ok(())
    }

    /// Something is at a path that was missing, or nothing can be told of it.
    pub(in super::super) fn handle_found(&mut self, path: &RelPath, row: &mut Row) -> Result<()> {
        row.standing = Standing::Known;
        self.put(path, row)?;
        if row.is_wanted() {
            self.placement.kick();
        }
        if self.hold() == Hold::Asked && self.scan.walk.is_none() {
            // So may be the others.
            self.scan.request_walk();
        }
        Ok(())
    }

    /// A path that is missing is wanted, whatever it held.
    pub(in super::super) fn want_missing(&mut self, path: &RelPath, row: Row) -> Result<Row> {
        let row = Row { base: None, standing: Standing::Known, ..row };
        self.put(path, &row)?;
        self.placement.kick();
        Ok(row)
    }

    /// A path that is missing was deleted.
    fn delete_missing(&mut self, path: &RelPath, mut row: Row, time: Time) -> Result<()> {
        if self.holds_anything(path)? {
            // Something has come back into it.
            self.outputs.push_back(Output::Inspect { path: path.clone() });
            return self.handle_found(path, &mut row);
        }
        self.observe(path, None, time)
    }

    /// Something else may be in a directory's place, and have waited for what was in that.
    fn inspect_emptied(&mut self, path: &RelPath) -> Result<()> {
        let Some(parent) = path.parent().filter(|parent| !parent.is_root()) else { return Ok(()) };
        let is_there = |row: &Row| row.base.is_some() && row.standing == Standing::Known;
        if self.index.get(&parent)?.is_some_and(|row| is_there(&row))
            && !self.holds_anything(&parent)?
        {
            self.outputs.push_back(Output::Inspect { path: parent });
        }
        Ok(())
    }

    /// Is what was at the path at another one now? Then that has the same inode; or the same
    /// content and name, and is new.
    fn has_moved(&self, path: &RelPath, base: &Base) -> Result<bool> {
        let Some(content) = base.content() else { return Ok(false) };
        let holds = |row: &Row| {
            !row.is_missing() && row.base.as_ref().and_then(Base::content) == Some(content)
        };
        if let Some(at) = self.index.path_at(base.seen.last())?.filter(|at| at != path)
            && self.index.get(&at)?.is_some_and(|row| holds(&row))
        {
            return Ok(true);
        }
        let Content::File { size: 1.., digest } = content else { return Ok(false) };
        for other in self.index.paths_with(digest, STEP_ENTRIES)? {
            let row = self.index.get(&other)?.filter(holds);
            if other.name() == path.name() && row.is_some_and(|row| self.is_new(&row)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_new(&self, row: &Row) -> bool {
        let dot = row.entry.version.dot;
        dot.origin == self.origin() && dot.seq > self.scan.missing.since
    }

    // --- All of them

    /// What becomes of what is missing.
    pub fn hold(&self) -> Hold {
        self.index.summary().hold
    }

    fn set_hold(&mut self, hold: Hold) {
        self.index.update_summary(|summary| summary.hold = hold);
    }

    /// Are so many too many to be taken for deleted?
    fn is_mass(&self, gone: u64) -> bool {
        gone >= self.config.mass_missing && gone.saturating_mul(3) >= self.index.summary().here
    }

    /// The user says whether what is held was deleted.
    pub(in super::super) fn handle_missing_decided(&mut self, were_deleted: bool) {
        if self.hold() == Hold::Asked {
            self.set_hold(if were_deleted { Hold::Accepted } else { Hold::Refused });
        }
    }

    pub(super) fn handle_missing_timeout(&mut self, time: Time) -> Result<()> {
        let missing = &mut self.scan.missing;
        if missing.walk_at.take_if(|at| *at <= time.now).is_some()
            && self.index.previous_missing(None)?.is_some()
        {
            self.scan.request_walk();
        }
        let is_asked = self.hold() == Hold::Asked;
        let missing = &mut self.scan.missing;
        let is_due = missing.look_at.is_some_and(|at| at <= time.now);
        if is_due || missing.look_at.is_some() != is_asked {
            missing.look_at = is_asked.then_some(time.now + POLL_INTERVAL);
        }
        let path = if is_due && is_asked { self.index.previous_missing(None)? } else { None };
        self.outputs.extend(path.map(|path| Output::Inspect { path }));
        Ok(())
    }

    /// Is there something to be decided, and can it be?
    pub(super) fn missing_has_work(&self) -> bool {
        let (missing, counted) = (&self.scan.missing, self.index.summary().missing);
        if missing.pass.is_some() {
            return true;
        }
        // What is still to be read may be what is missing, under another name.
        let is_read = self.paths.reads() == 0;
        let is_looked_for = missing.walk_at.is_none() && self.scan.has_looked();
        match self.hold() {
            Hold::Accepted | Hold::Refused => self.scan.has_looked(),
            Hold::Asked => is_looked_for && (counted == 0 || missing.is_undecided && is_read),
            Hold::Undecided => {
                is_looked_for && missing.is_undecided && (is_read || !self.is_mass(counted))
            }
        }
    }

    /// One bounded step.
    pub(super) fn step_decision(&mut self, time: Time) -> Result<()> {
        let mut pass = match self.scan.missing.pass.take() {
            Some(pass) => pass,
            None => self.begin_pass(),
        };
        for _ in 0..STEP_ENTRIES {
            let Some(path) = self.index.previous_missing(pass.before.as_ref())? else {
                return self.finish_pass(&pass);
            };
            if let Some(row) = self.index.get(&path)? {
                pass.gone += u64::from(self.decide_on(&path, row, pass.what, time)?);
            }
            pass.before = Some(path);
        }
        self.scan.missing.pass = Some(pass);
        Ok(())
    }

    fn begin_pass(&mut self) -> Pass {
        self.scan.missing.is_undecided = false;
        let counted = self.index.summary().missing;
        let what = match self.hold() {
            Hold::Accepted => What::Delete,
            Hold::Refused => What::Fetch,
            Hold::Asked if counted > 0 => What::Count,
            Hold::Undecided if self.is_mass(counted) => What::Count,
            Hold::Asked | Hold::Undecided => What::Delete,
        };
        Pass { what, before: None, gone: 0 }
    }

    /// True if it is to be counted.
    fn decide_on(&mut self, path: &RelPath, row: Row, what: What, time: Time) -> Result<bool> {
        match what {
            // Of what is back, only what others have deleted meanwhile was still to be.
            What::Delete if self.hold() == Hold::Asked && !row.entry.is_tombstone() => {}
            What::Delete => self.delete_missing(path, row, time)?,
            What::Fetch => drop(self.want_missing(path, row)?),
            What::Count => {
                let Some(base) = &row.base else { return Ok(false) };
                if !self.has_moved(path, base)? {
                    return Ok(!row.entry.is_tombstone());
                }
                // A directory of which not all has moved is held with the rest.
                if !self.holds_anything(path)? {
                    self.observe(path, None, time)?;
                }
            }
        }
        self.inspect_emptied(path)?;
        Ok(false)
    }

    fn finish_pass(&mut self, pass: &Pass) -> Result<()> {
        self.placement.kick();
        let (hold, is_mass) = (self.hold(), self.is_mass(pass.gone));
        match (pass.what, hold) {
            (What::Count, Hold::Undecided) if is_mass => {
                self.set_hold(Hold::Asked);
                self.say_held(pass.gone)?;
            }
            (What::Count, Hold::Undecided) => self.begin_deletion(),
            (What::Count, Hold::Asked) if pass.gone == 0 => {
                self.set_hold(Hold::Undecided);
                self.begin_deletion();
            }
            (What::Count, _) => {}
            (What::Delete | What::Fetch, Hold::Undecided) => {}
            (What::Delete | What::Fetch, before) => {
                match before {
                    Hold::Asked => info!("what was missing is back"),
                    Hold::Refused => info!("what was missing is to be fetched"),
                    _ => info!("what was missing was deleted"),
                }
                self.set_hold(Hold::Undecided);
            }
        }
        Ok(())
    }

    fn begin_deletion(&mut self) {
        self.scan.missing.pass = Some(Pass { what: What::Delete, before: None, gone: 0 });
    }

    fn say_held(&self, gone: u64) -> Result<()> {
        let here = self.index.summary().here;
        let example = self.index.missing(1)?.into_iter().next();
        let example = example.map(|path| format!(", {path} for one")).unwrap_or_default();
        warn!(
            "{gone} of {here} paths are missing all at once{example}: other machines are told \
             nothing of that until they are back, or 'p2pnetwork deletions' was told whether they \
             were deleted"
        );
        Ok(())
    }
}
