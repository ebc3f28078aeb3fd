//! That nothing waits for what will not come: whatever is wanted moves, or has a time at which it
//! is tried again.

use std::time::Instant;

use super::{Engine, Result, place::file_digest, transfer::Slot};
use crate::model::{entry::Row, path::RelPath};

impl Engine {
    /// Is something being done for the path that will end, and have it asked for again?
    pub(super) fn is_moving(&self, path: &RelPath, row: &Row) -> bool {
        let digest = row.entry.content.as_ref().and_then(file_digest);
        self.paths.is_changing(path)
            || self.paths.is_reading(path)
            || self.paths.is_settling(path)
            || self.is_being_copied(row)
            || digest.is_some_and(|digest| {
                self.transfers.is_moving(&digest) || self.placement.waits.is_on(&digest)
            })
            || Slot::of(row).is_some_and(|slot| self.placement.is_starving(slot, path))
    }

    /// What waits for something that will not come, if anything does. Goes through all that is
    /// wanted; for tests.
    pub fn check_schedule(&self, now: Instant) -> Result<Option<String>> {
        if let Some(fault) = self.find_forgotten(now) {
            return Ok(Some(fault));
        }
        let is_waiting = self.rules.are_changing() || !self.placement.is_done();
        let is_asleep = self.paused.is_some() || !self.scan.is_walked() || is_waiting;
        if is_asleep || !self.outputs.is_empty() {
            return Ok(None);
        }
        let mut cursor = None;
        while let Some(path) = self.index.next_wanted(cursor.as_ref())? {
            if let Some(row) = self.index.get(&path)?
                && !self.has_future(&path, &row)?
            {
                return Ok(Some(format!("{path} is wanted, and nothing will bring it: {row:?}")));
            }
            cursor = Some(path);
        }
        Ok(None)
    }

    /// Will the path be asked for again?
    fn has_future(&self, path: &RelPath, row: &Row) -> Result<bool> {
        if self.is_ignored(path, Some(row), None)
            || self.is_moving(path, row)
            || self.paths.will_be_tried(path)
        {
            return Ok(true);
        }
        // What it is to be put into comes first; and a directory in doubt is settled by what others
        // say.
        let Some(parent) = path.parent().filter(|parent| !parent.is_root()) else {
            return Ok(!self.is_caught_up());
        };
        let Some(parent) = self.index.get(&parent)? else { return Ok(!self.has_heard_all()) };
        let is_there = parent.base.is_some_and(|base| base.is_directory());
        Ok(!is_there || !self.is_caught_up())
    }
}
