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
        entry::Stat,
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
                Disk::Changing(change) => change.is_marked_for_reread = true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::MAX_READS;

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
