//! Versions whose content is nowhere: written here, told to the others, and gone from this disk again, before any of
//! them had it and while this node was killed, so that it forgot.
//!
//! All would wait for it for ever. The node that made the version knows best that there is nothing to wait for.

use log::warn;

use super::{Engine, Result};
use crate::{
    core::{
        entry::{Digest, Entry, Row},
        seam::Time,
        version::NodeId,
    },
    limits::{LOST_CONTENT_DELAY, NODE_KEEP},
    path::RelPath,
};

impl Engine {
    /// Gives the newest version of a path up, if nobody can have its content: what is on this disk is stated anew, or
    /// that nothing is. False when there is hope.
    pub(super) fn give_up_lost(&mut self, path: &RelPath, digest: &Digest, time: Time) -> Result<bool> {
        if !self.placement.is_without_source(path, LOST_CONTENT_DELAY) {
            return Ok(false);
        }
        let Some(row) = self.index.get(path)? else { return Ok(false) };
        if !self.is_lost(path, digest, &row, time)? {
            return Ok(false);
        }
        warn!("{path} is given up: what others were told of it was gone from here before any of them had it");
        self.placement.unblock(path);
        if row.base.is_some() {
            self.restate(path, row, time)?;
            return Ok(true);
        }
        let replaced = row.entry.version;
        let version = self.next_version(Some(replaced.vector()), Some(replaced.changed), time.wall_ms);
        let entry = Entry { content: None, mode: 0, mtime_ns: 0, version };
        self.put_own(path, &Row { entry, base: None }, time)?;
        Ok(true)
    }

    /// Did this node make the version, and has every node that is still counted with been asked in vain?
    fn is_lost(&self, path: &RelPath, digest: &Digest, row: &Row, time: Time) -> Result<bool> {
        let version = &row.entry.version;
        let is_own = [self.config.node, NodeId::NOBODY].contains(&version.author);
        if !is_own || self.transfers.is_fetching(digest) || self.holder(path, digest)?.is_some() {
            return Ok(false);
        }
        let has_said_no = |node: &NodeId| {
            let known =
                self.links.get(node).filter(|link| link.is_ready()).and_then(|link| link.known.as_ref());
            known.is_some_and(|known| known.contains(version.dot))
        };
        let lately = time.wall_ms.saturating_sub(NODE_KEEP.as_millis() as u64);
        let counted = self.index.nodes()?.into_iter().filter(|(_, record)| record.seen_ms >= lately);
        let counted: Vec<_> = counted.map(|(node, _)| node).chain(self.links.keys().copied()).collect();
        Ok(!counted.is_empty() && counted.iter().all(has_said_no))
    }
}
