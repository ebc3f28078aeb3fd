//! Files that were touched so soon before they are read that a write after that may leave their
//! stamps as they are: they are read when that moment is over.
//!
//! A small one is read at once as well, so that it is told at once. A large one is read only then.

use std::time::Instant;

use super::{
    Kind, PathState, Paths,
    disk::{Disk, Reading},
};
use crate::{
    core::seam::Time,
    model::{
        entry::{Stamp, Stat},
        limits::{MAX_INLINE_BYTES, STAMP_GRANULARITY},
        path::RelPath,
    },
};

/// A file that is read at this time.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) at: Instant,
    stat: Stat,
}

impl Fresh {
    fn new(stat: Stat, now: Instant) -> Self {
        Self { at: now + STAMP_GRANULARITY, stat }
    }

    /// A read that waits for the moment to be over, if the file is large.
    pub(super) fn before(stat: &Stat, now: Instant) -> Option<Self> {
        (stat.stamp.size > MAX_INLINE_BYTES as u64).then(|| Self::new(*stat, now))
    }
}

impl Paths {
    /// A small file was read, and may have been written to since. False when there are too many.
    #[must_use]
    pub(in super::super) fn read_once_more(
        &mut self,
        path: &RelPath,
        stat: &Stat,
        now: Instant,
    ) -> bool {
        if stat.stamp.size > MAX_INLINE_BYTES as u64 {
            return true;
        }
        let has_place = self.has_place(Kind::Fresh, path);
        if has_place {
            self.edit(path, |state| state.fresh = Some(Fresh::new(*stat, now)));
        }
        has_place
    }

    /// Those that are to be read by now. One that is being changed is looked at afterwards.
    pub(in super::super) fn take_due_reads(&mut self, time: Time) -> Vec<(RelPath, Stat)> {
        let now = time.now;
        let mut due = Vec::new();
        let waits =
            |state: &PathState| state.disk.begins_at().is_some_and(|begins_at| begins_at <= now);
        self.edit_where(Kind::Read, waits, |path, state| {
            due.extend(state.disk.begin().map(|fresh| (path.clone(), fresh.stat)));
        });
        let is_over = |state: &PathState| state.fresh.as_ref().is_some_and(|fresh| fresh.at <= now);
        let mut room = Kind::Read.limit() - self.count(Kind::Read);
        self.edit_where(Kind::Fresh, is_over, |path, state| {
            let Some(fresh) = state.fresh.take() else { return };
            match &mut state.disk {
                Disk::Reading(_) => {}
                Disk::Changing(change) => change.is_doubted = true,
                Disk::Quiet | Disk::Writing(_) | Disk::Resting { .. } if room == 0 => {
                    state.fresh = Some(Fresh::new(fresh.stat, now));
                }
                free @ (Disk::Quiet | Disk::Writing(_) | Disk::Resting { .. }) => {
                    *free = Disk::Reading(Reading::once_more(time.wall_ms));
                    room -= 1;
                    due.push((path.clone(), fresh.stat));
                }
            }
        });
        due
    }

    /// Files of which a write may still go unseen.
    pub(in super::super) fn fresh_files(&self) -> Vec<RelPath> {
        let is_fresh = |state: &PathState| state.fresh.is_some() || state.disk.is_fresh();
        let fresh = self.states.iter().filter(|(_, state)| is_fresh(state));
        fresh.map(|(path, _)| path.clone()).collect()
    }
}

/// Does the file system keep whole seconds, perhaps in pairs, and could a file be written to in the
/// same again?
pub(super) fn is_fresh(stamp: &Stamp, now_ms: u64) -> bool {
    is_whole_second(stamp) && is_younger(stamp, now_ms, 2000)
}

/// May a later state of the file have this stamp as well, or another file that has got its inode?
pub(in super::super) fn is_shared(stamp: &Stamp, now_ms: u64) -> bool {
    is_fresh(stamp, now_ms) || is_just_touched(stamp, now_ms)
}

/// Was the file touched in this tick of a clock, or the last one? (Git calls this "racy", too.)
pub(in super::super) fn is_just_touched(stamp: &Stamp, now_ms: u64) -> bool {
    is_younger(stamp, now_ms, STAMP_GRANULARITY.as_millis() as i64)
}

/// Is it a time of a file system that keeps whole seconds?
pub(in super::super) fn is_whole_second(stamp: &Stamp) -> bool {
    stamp.ctime_ns % 1_000_000_000 == 0
}

fn is_younger(stamp: &Stamp, now_ms: u64, than_ms: i64) -> bool {
    const CLOCK_WAS_SET_BACK_MS: i64 = 60_000;
    let age_ms = (now_ms as i64).saturating_sub(stamp.ctime_ns / 1_000_000);
    (-CLOCK_WAS_SET_BACK_MS..than_ms).contains(&age_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::MAX_READS;

    #[test]
    fn a_stamp_of_just_now_says_nothing_unless_the_clock_was_set_back() {
        let stamp = Stamp { device: 1, inode: 1, size: 1, mtime_ns: 0, ctime_ns: 1 << 60 };
        let touched_ms = (stamp.ctime_ns / 1_000_000) as u64;
        assert!(is_just_touched(&stamp, touched_ms));
        assert!(is_just_touched(&stamp, touched_ms + 1));
        assert!(is_just_touched(&stamp, touched_ms - 1));
        assert!(!is_just_touched(&stamp, touched_ms + 20));
        assert!(!is_just_touched(&stamp, touched_ms - 3_600_000));
    }

    #[test]
    fn more_than_can_be_kept_in_mind_are_refused_and_wait_for_room_to_be_read() {
        let (start, mut paths) = (Instant::now(), Paths::default());
        let path = |at: usize| RelPath::new(format!("{at}").as_bytes()).unwrap();
        let stat = super::super::tests::stat(1);
        let at = |now| Time { now, wall_ms: 0 };
        assert!((0..MAX_READS).all(|at| paths.read_once_more(&path(at), &stat, start)));
        assert!(!paths.read_once_more(&path(MAX_READS), &stat, start));
        assert_eq!(paths.take_due_reads(at(start)), [], "not yet");
        let due = start + STAMP_GRANULARITY;
        for number in MAX_READS..MAX_READS + 10 {
            paths.begin_read(&path(number), &stat, false, at(start));
        }
        assert_eq!(paths.take_due_reads(at(due)).len(), MAX_READS - 10);
        assert!(paths.is_bounded() && paths.fresh_files().len() == MAX_READS);
        paths.handle_read_done(&path(MAX_READS), None, due);
        assert_eq!(paths.take_due_reads(at(due + STAMP_GRANULARITY)).len(), 1);
    }
}
