//! The core's changes to the disk, on their way through the batch.
//!
//! Small files' bytes are written to temporary files as the changes come; the names follow in
//! [`Changes::run`], once a turn.

pub mod apply;
pub mod belonging;
pub mod error;
mod names;
pub mod partial;
pub mod stage;
pub mod sync_batch;
pub mod temp;

use std::io;

use self::{
    error::ApplyError,
    stage::{Stage, Staged},
    sync_batch::SyncBatch,
};
use crate::{
    core::seam::{Action, Apply, ApplyFailure},
    io::{disk::root::Root, files::sys::Lack},
    model::{
        entry::{Digest, FileKind, Stamp, Stat},
        path::RelPath,
    },
};

/// What came of one change.
pub struct Done {
    /// Which path.
    pub path: RelPath,
    /// The partial file that it was to get its content from.
    pub partial: Option<Digest>,
    /// What is there now, or why it is what it was.
    pub result: Result<Option<Stat>, ApplyFailure>,
}

/// The changes of this turn, in order.
#[derive(Default)]
pub struct Changes {
    batch: SyncBatch,
    stage: Stage,
    /// What was put into the trash since that was asked last, at most.
    trashed: Lack,
}

impl Changes {
    /// Of a run that has just begun. Names that the last one gave, and did not live to make
    /// durable, are as new as those that this one gives.
    pub fn after_start() -> Self {
        Self { batch: SyncBatch::after_start(), ..Self::default() }
    }

    /// Adds a change. The core has at most `MAX_IN_FLIGHT` under way, which the sync batch has room
    /// for.
    pub fn push(&mut self, root: &Root, change: Apply) -> Result<(), ApplyFailure> {
        let staged = self.stage.prepare(root, change)?;
        self.batch
            .push(staged)
            .map_err(|_| ApplyFailure::System("too many changes at a time".to_owned()))
    }

    /// For how many bytes there was no room since the last time, if so.
    pub fn take_wanted_room(&mut self) -> Option<u64> {
        self.stage.take_wanted_room()
    }

    /// How much was put into the trash since the last time, at most.
    pub fn take_trashed(&mut self) -> Lack {
        std::mem::take(&mut self.trashed)
    }

    /// The partial files that are about to get their names.
    pub fn partials(&self) -> impl Iterator<Item = Digest> {
        self.batch.waiting().filter_map(Staged::partial)
    }

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Makes the contents durable, then gives them their names.
    pub fn run(&mut self, root: &Root, now_ms: u64) -> impl Iterator<Item = Done> {
        let outcomes = self.batch.run(root, now_ms);
        for (staged, _) in outcomes.iter().filter(|(_, outcome)| outcome.is_ok()) {
            if let Some(bytes) = replaced_bytes(staged.apply()) {
                self.trashed.bytes += bytes;
                self.trashed.files += 1;
            }
        }
        outcomes.into_iter().flat_map(|(staged, outcome)| {
            discard(root, &staged, outcome.as_ref().err());
            let change = staged.apply();
            let other = exchanged(root, change, outcome.is_ok());
            let path = change.path.clone();
            let done = Done {
                path,
                partial: staged.partial(),
                result: outcome.map_err(ApplyFailure::from),
            };
            [Some(done), other].into_iter().flatten()
        })
    }

    /// Makes the names durable that were given since the last time.
    pub fn sync_names(&mut self, root: &Root) -> io::Result<()> {
        self.batch.sync_names(root)
    }

    /// Makes everything durable, what users have written included.
    pub fn sync_everything(&mut self, root: &Root) -> io::Result<()> {
        self.batch.sync_everything(root)
    }
}

/// How much a change moves to the trash, if something.
fn replaced_bytes(apply: &Apply) -> Option<u64> {
    match apply.action {
        Action::SetMetadata { .. } | Action::Exchange { .. } | Action::RemoveDirectory => None,
        _ => apply.expect.map(|stamp| stamp.size),
    }
}

/// A small file that did not get its name is written again when it is tried again. A larger one is
/// kept for the next try, unless the disk may have lost some of it.
fn discard(root: &Root, staged: &Staged, error: Option<&ApplyError>) {
    let must_reread = matches!(error, Some(ApplyError::NotDurable(_)));
    if let Some(temp) = staged.temp()
        && (must_reread || staged.partial().is_none() && error.is_some())
        && let Err(error) = temp::remove(root, temp.as_bytes())
    {
        log::debug!("a temporary file stays until the next start: {error}");
    }
}

/// What an exchange that was made has put at its other path.
fn exchanged(root: &Root, change: &Apply, done: bool) -> Option<Done> {
    let Action::Exchange { with, .. } = &change.action else { return None };
    let put = change.expect.filter(|_| done)?;
    let found = root.stat(with).map_err(|error| ApplyFailure::System(error.to_string()));
    Some(Done {
        path: with.clone(),
        partial: None,
        result: found.map(|now| Some(settled(put, now))),
    })
}

/// What is at a path now that the file of this stamp was put there. If somebody has touched it
/// already, or taken it away, it is said to be what was put there, so that the next look sees the
/// edit.
fn settled(put: Stamp, now: Option<Stat>) -> Stat {
    match now {
        Some(now) if Stamp { ctime_ns: put.ctime_ns, ..now.stamp } == put => now,
        now => {
            Stat { kind: FileKind::File, stamp: put, mode: now.map_or(0, |now| now.mode), links: 1 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A save, or a removal, in the instant after two files have changed places.
    #[test]
    fn what_a_user_does_after_an_exchange_is_not_taken_for_what_was_put_there() {
        let put = Stamp { device: 1, inode: 2, size: 3, mtime_ns: 4, ctime_ns: 5 };
        let stat = |stamp| Stat { kind: FileKind::File, stamp, mode: 0o644, links: 1 };
        let renamed = stat(Stamp { ctime_ns: 6, ..put });
        assert_eq!(settled(put, Some(renamed)), renamed);
        let saved = stat(Stamp { inode: 9, ..put });
        assert_eq!(settled(put, Some(saved)).stamp, put);
        assert_eq!(settled(put, None).stamp, put);
    }
}
