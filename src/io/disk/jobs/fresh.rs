//! Files that were touched so soon before they are read that a write after that may leave their
//! stamps as they are.
//!
//! Owns which these are, until the moment is over. Must not read them.

use std::{collections::VecDeque, mem, time::Instant};

use crate::{
    core::seam::Time,
    io::disk::root::Root,
    model::{
        entry::{Digest, Stat},
        limits::{MAX_READS, STAMP_GRANULARITY},
        path::RelPath,
        stamp::{Trust, trust},
    },
};

/// A file of which a write may go unseen for a moment. A small one has been read, and is read again
/// when the moment is over; a large one is read only then.
pub struct Fresh {
    at: Instant,
    /// Which file.
    pub path: RelPath,
    /// What it was before it was read, or would have been.
    pub stat: Stat,
    /// What it held, of a small one.
    pub found: Option<Digest>,
}

/// Those files, in the order of their moments.
#[derive(Default)]
pub struct FreshFiles {
    pub(super) waiting: VecDeque<Fresh>,
    /// Does every write show in a file's times, however soon it follows another? Asked once.
    pub(super) has_fine_times: Option<bool>,
}

impl FreshFiles {
    /// Is there no room for one more? Then no file is read that may become one.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_READS
    }

    /// May a write to the file go unseen? Then it is given out again when that is over.
    pub fn handle_read(
        &mut self,
        root: &Root,
        path: &RelPath,
        stat: Stat,
        found: Option<Digest>,
        time: Time,
    ) -> bool {
        if trust(&stat.stamp, time.wall_ms, STAMP_GRANULARITY) == Trust::Certain
            || *self.has_fine_times.get_or_insert_with(|| root.has_fine_times())
        {
            return false;
        }
        let at = time.now + STAMP_GRANULARITY;
        self.waiting.push_back(Fresh { at, path: path.clone(), stat, found });
        true
    }

    /// The next one of which every write shows by now.
    pub fn poll_due(&mut self, now: Instant) -> Option<Fresh> {
        if self.waiting.front()?.at <= now { self.waiting.pop_front() } else { None }
    }

    /// When the next one is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|fresh| fresh.at)
    }

    /// All of them, which are not waited for any more.
    pub fn take_all(&mut self) -> impl Iterator<Item = RelPath> {
        mem::take(&mut self.waiting).into_iter().map(|fresh| fresh.path)
    }
}
