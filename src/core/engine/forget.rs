//! Tombstones are dropped once everybody who matters knows them, and they are old, or too many; and
//! what that may miss is put right.
//!
//! Absence with knowledge means deleted. A node that was away for longer than tombstones are kept
//! still holds what was deleted meanwhile, and nothing that it is told says so. So of each origin
//! the highest change of a dropped tombstone is remembered; whoever knows less is asked for
//! everything it has, and what is covered by that, but has no row here any more, is published as
//! deleted.

use std::time::Instant;

use log::{debug, info};

use super::{Engine, Link, Result};
use crate::{
    core::seam::Time,
    index::NodeRecord,
    model::{
        entry::{Entry, Row, Version},
        limits::{
            FORGET_CROWD_INTERVAL, FORGET_HELD_INTERVAL, FORGET_INTERVAL, MAX_NODES,
            MAX_TOMBSTONES, NODE_KEEP, NODE_RECORD_INTERVAL, STEP_ENTRIES, TOMBSTONE_KEEP,
            TOMBSTONES_HELD_FACTOR,
        },
        path::RelPath,
        version::{Knowledge, NodeId},
    },
    wire::message::Message,
};

/// When tombstones are gone through, and how far that is.
#[derive(Debug)]
pub(super) struct Forgetting {
    due_at: Instant,
    record_at: Instant,
    /// When it is looked whether there are too many.
    crowd_at: Instant,
    cursor: Option<RelPath>,
    running: bool,
    dropped: u64,
    /// More tombstones than this are too many; and more than [`TOMBSTONES_HELD_FACTOR`] times that
    /// by far.
    pub(super) most: u64,
}

impl Forgetting {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due_at: now + NODE_RECORD_INTERVAL,
            record_at: now + NODE_RECORD_INTERVAL,
            crowd_at: now + FORGET_CROWD_INTERVAL,
            cursor: None,
            running: false,
            dropped: 0,
            most: MAX_TOMBSTONES,
        }
    }

    /// `is_crowded`: there are too many tombstones.
    pub(super) fn next_timeout(&self, is_crowded: bool) -> Instant {
        let next = self.due_at.min(self.record_at);
        if is_crowded && !self.running { next.min(self.crowd_at) } else { next }
    }

    fn begin(&mut self) {
        (self.running, self.cursor, self.dropped) = (true, None, 0);
    }

    pub(super) fn has_work(&self) -> bool {
        self.running
    }
}

impl Engine {
    pub(super) fn handle_forget_timeout(&mut self, time: Time) -> Result<()> {
        if self.forgetting.record_at <= time.now {
            self.forgetting.record_at = time.now + NODE_RECORD_INTERVAL;
            for node in self.links.keys().copied().collect::<Vec<_>>() {
                self.record_node(node, time)?;
            }
        }
        if self.forgetting.due_at <= time.now {
            self.forgetting.due_at = time.now + FORGET_INTERVAL;
            self.forgetting.begin();
        }
        if self.forgetting.crowd_at <= time.now
            && self.is_crowded_with_tombstones()
            && !self.forgetting.running
        {
            self.forgetting.begin();
        }
        Ok(())
    }

    pub(super) fn is_crowded_with_tombstones(&self) -> bool {
        self.index.summary().tombstones > self.forgetting.most
    }

    /// Goes through some rows, and drops the tombstones that nobody needs.
    pub(super) fn step_forgetting(&mut self, time: Time) -> Result<()> {
        if !self.forgetting.running {
            return Ok(());
        }
        let rows = self.index.rows(self.forgetting.cursor.as_ref(), STEP_ENTRIES)?;
        let known_by_all = self.known_by_all(time)?;
        for (path, row) in &rows {
            let version = &row.entry.version;
            if is_tombstone(row)
                && (is_old(row, time) || self.is_crowded_with_tombstones())
                && (self.is_known_by(&known_by_all, version) || self.is_crowded_out(version))
            {
                self.drop_tombstone(path, version)?;
            }
        }
        if rows.len() < STEP_ENTRIES {
            self.forgetting.running = false;
            let is_held = self.forgetting.dropped == 0;
            let pause = if is_held { FORGET_HELD_INTERVAL } else { FORGET_CROWD_INTERVAL };
            self.forgetting.crowd_at = time.now + pause;
        }
        self.forgetting.cursor = rows.into_iter().next_back().map(|(path, _)| path);
        Ok(())
    }

    fn is_known_by(&self, nodes: &[Knowledge], version: &Version) -> bool {
        nodes.iter().all(|known| known.covers(version.vector()))
            && !(version.is_settled() && self.is_lacked(version.dot.origin))
    }

    /// There are so many that a node which is away is not waited for.
    fn is_crowded_out(&self, version: &Version) -> bool {
        if self.index.summary().tombstones <= TOMBSTONES_HELD_FACTOR * self.forgetting.most {
            return false;
        }
        let linked: Vec<Knowledge> = self.links.values().filter_map(Link::known).cloned().collect();
        linked.len() == self.links.len() && self.is_known_by(&linked, version)
    }

    fn drop_tombstone(&mut self, path: &RelPath, version: &Version) -> Result<()> {
        self.forgetting.dropped += 1;
        self.index.remove(path)?;
        self.index.update_summary(|summary| summary.dropped.join(version.vector()));
        Ok(())
    }

    /// What each node that was seen lately is known to know.
    pub(super) fn known_by_all(&self, time: Time) -> Result<Vec<Knowledge>> {
        let linked = |node: &NodeId| self.links.get(node).and_then(Link::known).cloned();
        let nodes = self.counted_nodes(time)?.into_iter();
        Ok(nodes.map(|(node, record)| linked(&node).unwrap_or(record.knowledge)).collect())
    }

    /// The nodes that were seen lately.
    pub(super) fn counted_nodes(&self, time: Time) -> Result<Vec<(NodeId, NodeRecord)>> {
        let lately = time.wall_ms.saturating_sub(NODE_KEEP.as_millis() as u64);
        let nodes = self.index.nodes()?.into_iter();
        Ok(nodes.filter(|(_, record)| record.seen_ms >= lately).collect())
    }

    /// Keeps what is known of a linked node. The one that was not seen for longest makes room.
    pub(super) fn record_node(&mut self, node: NodeId, time: Time) -> Result<()> {
        let Some(link) = self.links.get(&node) else { return Ok(()) };
        let nodes = self.index.nodes()?;
        let old = nodes.iter().find(|(known, _)| *known == node).map(|(_, record)| record.clone());
        let is_new = old.is_none();
        let mut record = old.unwrap_or_default();
        record.name = link.display_name();
        record.seen_ms = time.wall_ms;
        if let Some(known) = link.known() {
            record.knowledge.clone_from(known);
        }
        if is_new && nodes.len() >= MAX_NODES {
            let oldest =
                nodes.iter().min_by_key(|(_, record)| record.seen_ms).map(|(node, _)| *node);
            oldest.map_or(Ok(()), |oldest| self.index.remove_node(oldest))?;
        }
        self.index.put_node(node, &record)
    }

    /// A node says what it knows: may it hold something of which the tombstone was dropped here?
    pub(super) fn ask_for_everything(&mut self, node: NodeId, is_behind: bool) {
        let dropped = &self.index.summary().dropped;
        let Some(link) = self.links.get_mut(&node) else { return };
        if is_behind || link.known().is_some_and(|known| !known.covers(dropped)) {
            debug!("{} was away for long: it is asked for all that it has", link.display_name());
            link.requests.push_back(Message::WholeIndexRequest);
        }
    }

    /// Is this a version of something that was deleted so long ago that its tombstone was dropped?
    pub(super) fn is_long_deleted(&self, entry: &Entry) -> Result<bool> {
        let summary = self.index.summary();
        let version = &entry.version;
        if entry.is_tombstone() {
            return Ok(false);
        }
        for dot in version.vector().iter().chain([version.dot]) {
            let was_dropped = summary.dropped.contains(dot) && summary.knowledge.contains(dot);
            // Of what is settled everybody knew, and it is not here.
            if !was_dropped && !self.index.is_settled(dot)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says so anew.
    pub(super) fn delete_again(&mut self, path: &RelPath, entry: Entry, time: Time) -> Result<()> {
        info!("{path} was deleted long ago: deleted where it still was");
        let mut version = self.next_version(
            Some(entry.version.vector()),
            Some(entry.version.changed),
            time.wall_ms,
        );
        version.replaced = entry.content.map(Box::new);
        self.put_own(path, &Row::new(Entry::tombstone(version), None), time)
    }
}

/// And is nothing left at the path?
fn is_tombstone(row: &Row) -> bool {
    row.entry.is_tombstone() && row.base.is_none()
}

fn is_old(row: &Row, time: Time) -> bool {
    let age_ms = time.wall_ms.saturating_sub(row.entry.version.changed);
    age_ms > TOMBSTONE_KEEP.as_millis() as u64
}
