//! What is being done to a path at this moment: by this node, which reads or changes it, or by
//! whoever writes to it.
//!
//! One of these at a time, so that nothing is read while it is changed, and nothing changed while
//! it is read.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{
    Kind, PathState, Paths,
    fresh::Fresh,
    rest::{Rest, rest_after},
};
use crate::{
    core::seam::Time,
    model::{
        entry::{Content, Digest, Row, Stamp, Stat, Version},
        limits::{
            FULL_SCAN_INTERVAL, MAX_IN_FLIGHT, RACY_KEEP, REREAD_REST_MIN, SETTLE_BYTES_PER_S,
            SETTLE_MAX, SETTLE_QUIET,
        },
        path::RelPath,
        stamp::{Recheck, Trust, trust},
    },
};

/// What is being done to a path.
#[derive(Debug, Default)]
pub(super) enum Disk {
    /// Nothing, as far as is known.
    #[default]
    Quiet,
    /// A program writes to it: it is left alone until that is over.
    Writing(Writing),
    /// It was closed, and read so lately that it waits.
    Resting { until: Instant },
    /// This node reads it.
    Reading(Reading),
    /// This node changes it.
    Changing(Box<Pending>),
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Writing {
    /// It has to be quiet for this long.
    quiet: Duration,
    /// Until then it is left alone ...
    until: Instant,
    /// ... which is never later than this.
    latest: Instant,
}

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    /// It is to be looked at again when it was.
    again: Option<Recheck>,
    /// Since when, in ms since 1970.
    began_ms: u64,
    /// It begins only then.
    waits: Option<Fresh>,
    /// It was read before, and this is done once: a clock that stands still would never have gone
    /// on for long enough.
    is_once_more: bool,
}

/// A read has ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct ReadDone {
    /// The file is to be looked at again.
    pub(in super::super) again: Option<Recheck>,
    /// It was read before.
    pub(in super::super) is_once_more: bool,
}

/// A change to the disk that has been asked for.
#[derive(Debug)]
pub(in super::super) struct Pending {
    pub(in super::super) content: Option<Content>,
    pub(in super::super) mode: u16,
    pub(in super::super) version: Version,
    pub(in super::super) partial: Option<Digest>,
    /// The path that it is renamed from.
    pub(in super::super) from: Option<RelPath>,
    /// The time that is set of a file of which nothing else changes but its bits.
    pub(in super::super) set_mtime_ns: Option<i64>,
    /// The path that it changes places with.
    pub(in super::super) with: Option<RelPath>,
    /// It has the bits and the time that it had before, at another path.
    pub(in super::super) is_renamed: bool,
    /// Something was written there meanwhile, which the stamp need not show.
    pub(in super::super) is_marked_for_reread: bool,
}

impl Pending {
    /// What the row wants comes to its path.
    pub(in super::super) fn to(row: &Row) -> Self {
        let (content, mode, version) =
            (row.entry.content.clone(), row.entry.mode, row.entry.version.clone());
        let (set_mtime_ns, partial, from, with) = (None, None, None, None);
        let (is_renamed, is_marked_for_reread) = (false, false);
        Self {
            content,
            mode,
            version,
            set_mtime_ns,
            partial,
            from,
            with,
            is_renamed,
            is_marked_for_reread,
        }
    }
}

/// A file that was read in the second in which it was written, on a file system that keeps whole
/// seconds: another write in it leaves the stamp as it is. (Git calls this "racy".) Of finer times
/// [`Fresh`] takes care.
#[derive(Debug)]
pub(super) struct Racy {
    stamp: Stamp,
    until: Instant,
    /// When it was read or written by this node last: what it holds is known as of then.
    known_at: Instant,
}

impl Disk {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Writing(writing) => Some(writing.until),
            Self::Resting { until } => Some(*until),
            Self::Reading(_) => self.begins_at(),
            Self::Quiet | Self::Changing(_) => None,
        }
    }

    /// When a read that waits begins.
    pub(super) fn begins_at(&self) -> Option<Instant> {
        if let Self::Reading(reading) = self { Some(reading.waits.as_ref()?.at) } else { None }
    }

    /// It begins.
    pub(super) fn begin(&mut self) -> Option<Fresh> {
        if let Self::Reading(reading) = self { reading.waits.take() } else { None }
    }

    /// Is what was read before not known until this read has ended?
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self, Self::Reading(reading) if reading.is_once_more || reading.waits.is_some())
    }

    /// Something may have been written to the path, without a trace in its stamp.
    fn mark_for_reread(&mut self) {
        match self {
            Self::Reading(reading) => reading.again = Some(Recheck::Always),
            Self::Changing(change) => change.is_marked_for_reread = true,
            Self::Quiet | Self::Writing(_) | Self::Resting { .. } => {}
        }
    }
}

/// Files that are being written.
impl Paths {
    /// A program writes to a file of which `size` bytes are known: reading all of it takes a while,
    /// which must not be most of the time. False when there are too many of them.
    #[must_use]
    pub(in super::super) fn handle_writing(
        &mut self,
        path: &RelPath,
        size: u64,
        now: Instant,
    ) -> bool {
        if !self.has_place(Kind::Writing, path) {
            return false;
        }
        self.edit(path, |state| match &mut state.disk {
            Disk::Quiet => state.disk = Disk::Writing(Writing::begin(size, now)),
            Disk::Writing(writing) => writing.go_on(now),
            // It is read when its rest is over, whoever writes to it.
            Disk::Resting { .. } => {}
            busy @ (Disk::Reading(_) | Disk::Changing(_)) => busy.mark_for_reread(),
        });
        true
    }

    /// A file that is being written is of this size: less than was thought, perhaps.
    pub(in super::super) fn handle_size(&mut self, path: &RelPath, size: u64, now: Instant) {
        if self.is_settling(path) {
            self.edit(path, |state| {
                if let Disk::Writing(writing) = &mut state.disk {
                    writing.shorten(size, now);
                }
            });
        }
    }

    /// It was closed by its writer, or is no file any more.
    pub(in super::super) fn handle_settled(&mut self, path: &RelPath) {
        if self.is_settling(path) {
            self.edit(path, |state| state.disk = Disk::Quiet);
        }
    }

    /// Is it left alone, since it is being written, or was read so lately?
    pub(in super::super) fn is_settling(&self, path: &RelPath) -> bool {
        self.get(path).is_some_and(|state| state.is(Kind::Writing))
    }

    /// Those that are left alone no longer.
    pub(in super::super) fn take_settled(&mut self, now: Instant) -> Vec<RelPath> {
        let mut settled = Vec::new();
        let is_over = |state: &PathState| state.disk.deadline().is_some_and(|until| until <= now);
        self.edit_where(Kind::Writing, is_over, |path, state| {
            state.disk = Disk::Quiet;
            settled.push(path.clone());
        });
        settled
    }

    /// Nothing can be looked at for now: when it can, everything is.
    pub(in super::super) fn forget_settling(&mut self) {
        self.edit_where(Kind::Writing, |_| true, |_, state| state.disk = Disk::Quiet);
    }

    /// So many bytes of a file were read: if that is much, and was done lately, it is left alone
    /// for a while, however often it is saved.
    pub(in super::super) fn handle_was_read(
        &mut self,
        path: &RelPath,
        read_bytes: u64,
        now: Instant,
    ) {
        let rest = rest_after(read_bytes);
        if rest < REREAD_REST_MIN {
            return;
        }
        if self.count(Kind::Rest) >= Kind::Rest.limit() {
            let is_over =
                |state: &PathState| state.rest.as_ref().is_some_and(|rest| rest.until() <= now);
            self.edit_where(Kind::Rest, is_over, |_, state| state.rest = None);
        }
        let last = self.get(path).and_then(|state| state.rest.as_ref());
        let is_due = last.is_some_and(|last| last.until() > now);
        if self.has_place(Kind::Rest, path) {
            let rest = Rest { read_at: now, rest, is_due };
            self.edit(path, |state| state.rest = Some(rest));
        }
    }

    /// It was closed by its writer, and was read so lately that it has to wait. What is of this
    /// size by now takes no longer to read than that.
    pub(in super::super) fn must_rest(&mut self, path: &RelPath, size: u64, now: Instant) -> bool {
        let rest = self.get(path).and_then(|state| state.rest.as_ref());
        let rest = rest.filter(|rest| rest.is_due && rest_after(size) >= REREAD_REST_MIN);
        let until = rest.map(|rest| rest.read_at + rest.rest.min(rest_after(size)));
        let until = until.filter(|until| *until > now);
        let Some(until) = until.filter(|_| self.has_place(Kind::Writing, path)) else {
            return false;
        };
        self.edit(path, |state| match state.disk {
            Disk::Quiet | Disk::Writing(_) | Disk::Resting { .. } => {
                state.disk = Disk::Resting { until };
                true
            }
            Disk::Reading(_) | Disk::Changing(_) => false,
        })
    }
}

impl Writing {
    fn begin(size: u64, now: Instant) -> Self {
        let longest =
            Duration::from_secs(size / SETTLE_BYTES_PER_S).clamp(SETTLE_MAX, FULL_SCAN_INTERVAL);
        let quiet = longest * SETTLE_QUIET.as_millis() as u32 / SETTLE_MAX.as_millis() as u32;
        let mut writing = Self { quiet, until: now, latest: now + longest };
        writing.go_on(now);
        writing
    }

    /// It is left alone as long as one of this size, if that is shorter.
    fn shorten(&mut self, size: u64, now: Instant) {
        let other = Self::begin(size, now);
        if other.quiet < self.quiet {
            self.quiet = other.quiet;
            self.latest = self.latest.min(other.latest);
            self.go_on(now);
        }
    }

    fn go_on(&mut self, now: Instant) {
        self.until = (now + self.quiet).min(self.latest);
    }
}

impl Reading {
    pub(super) fn once_more(now_ms: u64) -> Self {
        Self { again: None, began_ms: now_ms, waits: None, is_once_more: true }
    }
}

/// Files that this node reads.
impl Paths {
    /// Is there a place for one more read? What is being read already is looked at again
    /// afterwards, and what is being changed is when it was. `is_fresh`: another write may leave
    /// the file's stamp as it is.
    pub(in super::super) fn begin_read(
        &mut self,
        path: &RelPath,
        stat: &Stat,
        is_fresh: bool,
        time: Time,
    ) -> Begun {
        if !self.has_place(Kind::Read, path) {
            return Begun::NoPlace;
        }
        self.edit(path, |state| match &mut state.disk {
            Disk::Reading(reading) => {
                reading.again.get_or_insert(Recheck::IfStampDiffers);
                Begun::Already
            }
            Disk::Changing(change) => {
                change.is_marked_for_reread = true;
                Begun::Already
            }
            free @ (Disk::Quiet | Disk::Writing(_) | Disk::Resting { .. }) => {
                let waits = if is_fresh { Fresh::before(stat, time.now) } else { None };
                let begun = if waits.is_some() { Begun::Later } else { Begun::Now };
                let (began_ms, is_once_more) = (time.wall_ms, false);
                *free = Disk::Reading(Reading { again: None, began_ms, waits, is_once_more });
                begun
            }
        })
    }

    /// Something may be written to the path, without a trace in its stamp, after it was read or
    /// changed, and before that is known.
    pub(in super::super) fn mark_for_reread(&mut self, path: &RelPath) {
        if self.get(path).is_some_and(|state| state.is(Kind::Read) || state.is(Kind::Change)) {
            self.edit(path, |state| state.disk.mark_for_reread());
        }
    }

    /// The file has been read, and found to have this stamp.
    pub(in super::super) fn handle_read_done(
        &mut self,
        path: &RelPath,
        stamp: Option<&Stamp>,
        now: Instant,
    ) -> ReadDone {
        if !self.is_reading(path) {
            return ReadDone::default();
        }
        let Disk::Reading(Reading { again, began_ms, is_once_more, .. }) =
            self.edit(path, |state| mem::take(&mut state.disk))
        else {
            return ReadDone::default();
        };
        if let Some(stamp) = stamp {
            self.handle_known(path, stamp, began_ms, now);
        }
        ReadDone { again, is_once_more }
    }

    pub(in super::super) fn is_reading(&self, path: &RelPath) -> bool {
        self.get(path).is_some_and(|state| state.is(Kind::Read))
    }

    /// How many files are being read, or wait for their turn to be.
    pub(in super::super) fn reads(&self) -> usize {
        self.count(Kind::Read)
    }

    /// What the file with this stamp holds is known, as of `since_ms` since 1970: it was read or
    /// written by this node.
    pub(in super::super) fn handle_known(
        &mut self,
        path: &RelPath,
        stamp: &Stamp,
        since_ms: u64,
        now: Instant,
    ) {
        let before = self.get(path).and_then(|state| state.racy.as_ref());
        let is_fresh = stamp.is_whole_second()
            && trust(stamp, since_ms, stamp.granularity()) != Trust::Certain;
        if !is_fresh && before.is_none() {
            return;
        }
        // The clock that the stamp is compared with may stand still.
        let kept = before.filter(|known| known.stamp == *stamp).map(|known| known.until);
        if is_fresh && self.count(Kind::Racy) >= Kind::Racy.limit() {
            let is_over =
                |state: &PathState| state.racy.as_ref().is_some_and(|racy| racy.until <= now);
            self.edit_where(Kind::Racy, is_over, |_, state| state.racy = None);
        }
        let racy = Racy { stamp: *stamp, until: kept.unwrap_or(now + RACY_KEEP), known_at: now };
        let racy = Some(racy).filter(|_| is_fresh && self.has_place(Kind::Racy, path));
        self.edit(path, |state| state.racy = racy);
    }

    /// Does the stamp of this file say nothing?
    pub(in super::super) fn is_racy(&self, path: &RelPath, now: Instant) -> bool {
        self.get(path).and_then(|state| state.racy.as_ref()).is_some_and(|racy| racy.until > now)
    }

    /// As [`Self::is_racy`], of the file that is said to be there with this stamp, and was not read
    /// in this turn.
    pub(in super::super) fn is_unsure(&self, path: &RelPath, stamp: &Stamp, now: Instant) -> bool {
        let is_unsure =
            |racy: &Racy| racy.stamp == *stamp && racy.until > now && racy.known_at != now;
        self.get(path).and_then(|state| state.racy.as_ref()).is_some_and(is_unsure)
    }
}

/// What came of asking for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Begun {
    /// It is read now.
    Now,
    /// It is read in a moment.
    Later,
    /// Something is under way there, after which it is looked at.
    Already,
    /// Too many files wait to be read.
    NoPlace,
}

/// Changes that this node makes.
impl Paths {
    /// May the path be read or changed by this node, as far as it is not at it already?
    pub(in super::super) fn is_free(&self, path: &RelPath) -> bool {
        self.get(path).is_none_or(|state| !state.is(Kind::Read) && !state.is(Kind::Change))
    }

    /// May the path be changed now? If not, it is asked for again when that which is in the way is
    /// over.
    pub(in super::super) fn may_change(&self, path: &RelPath, now: Instant) -> bool {
        self.is_free(path) && !self.is_resting(path, now)
    }

    /// Asks for a change of a path that [is free](Self::is_free).
    pub(in super::super) fn begin_change(&mut self, path: &RelPath, change: Pending) {
        debug_assert!(self.is_free(path), "{path} is read or changed already");
        self.edit(path, |state| {
            let is_written = matches!(state.disk, Disk::Writing(_));
            let change = Pending {
                is_marked_for_reread: change.is_marked_for_reread || is_written,
                ..change
            };
            state.disk = Disk::Changing(Box::new(change));
        });
    }

    /// The change is over, in whatever way.
    pub(in super::super) fn end_change(&mut self, path: &RelPath) -> Option<Pending> {
        if !self.is_changing(path) {
            return None;
        }
        match self.edit(path, |state| mem::take(&mut state.disk)) {
            Disk::Changing(change) => Some(*change),
            _ => None,
        }
    }

    pub(in super::super) fn is_changing(&self, path: &RelPath) -> bool {
        self.change(path).is_some()
    }

    pub(in super::super) fn change(&self, path: &RelPath) -> Option<&Pending> {
        match &self.get(path)?.disk {
            Disk::Changing(change) => Some(change),
            _ => None,
        }
    }

    /// Can so many more paths be changed?
    pub(in super::super) fn has_room_for(&self, changes: usize) -> bool {
        self.count(Kind::Change) + changes <= MAX_IN_FLIGHT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_file_that_is_saved_all_the_time_rests() {
        const LARGE: u64 = 1 << 30;
        let (start, path) = (Instant::now(), RelPath::new(b"large").unwrap());
        let mut paths = Paths::default();
        let after = |s| start + Duration::from_secs(s);
        paths.handle_was_read(&path, LARGE, start);
        assert!(!paths.must_rest(&path, LARGE, after(1)), "one change does not wait");
        paths.handle_was_read(&path, LARGE, after(2));
        assert!(!paths.must_rest(&path, 100, after(3)), "what is small by now does not");
        assert!(paths.must_rest(&path, LARGE, after(3)), "the next one does");
        assert!(paths.is_settling(&path));
        assert!(!paths.must_rest(&path, LARGE, after(24)), "1 GiB rests for 21 s");
        paths.handle_was_read(&path, LARGE, after(24));
        assert!(!paths.must_rest(&path, LARGE, after(25)), "it begins anew");
        paths.handle_was_read(&path, 1 << 20, after(26));
        assert!(!paths.must_rest(&path, 1 << 20, after(26)), "small ones never do");
    }
}
