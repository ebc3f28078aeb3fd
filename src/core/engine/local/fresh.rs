//! Files that were touched so soon before they are read that a write after that may leave their
//! stamps as they are. Such a file is read when the moment is over; a small one before that, too.

use super::super::{Engine, Result};
use crate::{
    core::seam::{Found, Hint, Output, Time},
    model::{
        entry::{FileKind, Stat},
        limits::STAMP_GRANULARITY,
        path::RelPath,
        stamp::{Trust, trust},
    },
};

impl Engine {
    /// May another write leave the stamp of this file as it is?
    pub(super) fn may_hide_writes(&self, stat: &Stat, time: Time) -> bool {
        !self.config.has_fine_times
            && stat.kind == FileKind::File
            && trust(&stat.stamp, time.wall_ms, STAMP_GRANULARITY) != Trust::Certain
    }

    /// What was found, if that is taken in.
    pub(super) fn known_stat(&self, found: &Found) -> Option<Stat> {
        match found {
            Found::Content { stat, .. } if self.paused.is_none() => Some(*stat),
            _ => None,
        }
    }

    /// The file was read. If a write may go unseen, it is read again when that is over. Of more
    /// than there is room for, nothing is known until everything is looked at.
    pub(super) fn read_once_more(&mut self, path: &RelPath, stat: &Stat, time: Time) -> Result<()> {
        if self.may_hide_writes(stat, time) && !self.paths.read_once_more(path, stat, time.now) {
            self.scan.request_walk();
            return self.mark_for_reread(path);
        }
        Ok(())
    }

    /// It has gone, perhaps to another name: what it holds there is not known.
    pub(super) fn handle_not_read_once_more(&mut self, path: RelPath, time: Time) -> Result<()> {
        self.inspect_old_names(&path);
        self.mark_for_reread(&path)?;
        self.handle_changed(path, Hint::Writing, time)
    }

    /// Files whose moment is over are read.
    pub(in super::super) fn handle_reads_timeout(&mut self, time: Time) {
        let due = self.paths.take_due_reads(time);
        self.outputs.extend(due.into_iter().map(|(path, stat)| Output::Read { path, stat }));
    }

    /// What would be read once more is in doubt: the node stops before that.
    pub(in super::super) fn mark_fresh_files_for_reread(&mut self) -> Result<()> {
        self.paths.fresh_files().iter().try_for_each(|path| self.mark_for_reread(path))
    }
}
