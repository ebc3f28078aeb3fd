//! Versions whose content is nowhere: written here, told to the others, and gone from this disk
//! again, before any of them had it and while this node was killed, so that it forgot.
//!
//! All would wait for it for ever. The node that made the version knows best that there is nothing
//! to wait for. After a power cut it does not know what its own disk has in that place is worth:
//! then whoever holds an earlier version goes first.

use std::time::Duration;

use log::warn;

use super::super::{Engine, Result};
use crate::{
    core::seam::Time,
    model::{
        entry::{Digest, Entry, Row, Standing},
        limits::{LOST_CONTENT_DELAY, NODE_KEEP},
        path::RelPath,
        version::Author,
    },
};

impl Engine {
    /// Gives the newest version of a path up, if nobody can have its content: what is on this disk
    /// is republished, or that nothing is. False when there is hope.
    pub(in super::super) fn give_up_unrecoverable(
        &mut self,
        path: &RelPath,
        digest: &Digest,
        time: Time,
    ) -> Result<bool> {
        if !self.paths.is_without_source(path, LOST_CONTENT_DELAY) {
            return Ok(false);
        }
        let Some(row) = self.index.get(path)? else { return Ok(false) };
        let has_waited =
            self.patience(&row).is_some_and(|delay| self.paths.is_without_source(path, delay));
        if !has_waited || !self.is_unrecoverable(path, digest, &row, time)? {
            return Ok(false);
        }
        warn!("{path} is given up: what others were told of it was gone before any of them had it");
        if row.base.is_some() {
            self.republish(path, row, time)?;
            return Ok(true);
        }
        let replaced = row.entry.version;
        let version =
            self.next_version(Some(replaced.vector()), Some(replaced.changed), time.wall_ms);
        let entry = Entry::tombstone(version);
        self.put_own(path, &Row::new(entry, None), time)?;
        Ok(true)
    }

    /// How long the pause between two tries has to be before this node gives the version up;
    /// `None`: it is for another node. The torn rest of a file is better than nothing, and worse
    /// than any version that another node holds.
    fn patience(&self, row: &Row) -> Option<Duration> {
        if row.holds_torn() {
            return Some(LOST_CONTENT_DELAY * 4);
        }
        if row.standing == Standing::Unknown {
            // It was ignored, and everybody's went meanwhile.
            return Some(LOST_CONTENT_DELAY * 2);
        }
        let is_own = [Author::Node(self.config.node), Author::Unattributed]
            .contains(&row.entry.version.author);
        let is_held = row.base_version().is_some_and(|held| held.author != Author::Unattributed);
        match (is_own, self.torn_before_ns.is_some(), is_held) {
            (true, false, _) => Some(LOST_CONTENT_DELAY),
            (false, _, true) => Some(LOST_CONTENT_DELAY * 2),
            (true, true, _) => Some(LOST_CONTENT_DELAY * 4),
            (false, _, false) => None,
        }
    }

    /// Has every node that is still counted with been asked in vain? If there is none, what is torn
    /// is all that there is.
    fn is_unrecoverable(
        &self,
        path: &RelPath,
        digest: &Digest,
        row: &Row,
        time: Time,
    ) -> Result<bool> {
        let version = &row.entry.version;
        if self.transfers.is_coming(digest, time.now) || self.holder(path, digest)?.is_some() {
            return Ok(false);
        }
        let lately = time.wall_ms.saturating_sub(NODE_KEEP.as_millis() as u64);
        let counted =
            self.index.nodes()?.into_iter().filter(|(_, record)| record.seen_ms >= lately);
        let counted: Vec<_> =
            counted.map(|(node, _)| node).chain(self.links.keys().copied()).collect();
        for node in &counted {
            let link = self.links.get(node).filter(|link| link.is_ready());
            if !link.map_or(Ok(false), |link| self.knows(link, version.dot))? {
                return Ok(false);
            }
        }
        Ok(!counted.is_empty() || row.holds_torn())
    }
}
