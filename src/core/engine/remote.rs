//! What other nodes say: versions are decided on and stored, knowledge is joined.

use std::time::Instant;

use log::{debug, error, info, warn};

use super::{Engine, Link, Result, transfer::Serve};
use crate::{
    core::{
        reconcile::{Decision, decide},
        seam::{Output, Time},
    },
    model::{
        entry::{Base, Entry, FileKind, Provenance, Row},
        limits::{ANNOUNCE_DELAY, HEAL_DELAY, MAX_ORIGINS},
        path::RelPath,
        version::{Advance, Knowledge, NodeId, Origin},
    },
    wire::message::Message,
};

/// Since when entries are held that this node's knowledge does not cover, and when that is looked
/// at next.
#[derive(Debug, Default)]
pub(super) struct MissingChanges {
    since: Option<Instant>,
    check_at: Option<Instant>,
}

impl Engine {
    /// A node that was killed may have taken some of its changes with it, and others hold what it
    /// made after them. When nobody has anything more to tell, the gap will not be filled: what is
    /// held counts as known. Should that be wrong, equal knowledge with unequal sums tells. So does
    /// what is named of a retired origin beyond its last change: that is settled, too.
    pub(super) fn handle_missing_changes_timeout(&mut self, time: Time) -> Result<()> {
        if self.gaps.check_at.is_some_and(|at| time.now < at) {
            return Ok(());
        }
        self.gaps.check_at = Some(time.now + ANNOUNCE_DELAY);
        let is_stuck =
            !self.links.is_empty() && self.is_caught_up() && self.settled_digest()?.is_none();
        if !is_stuck {
            self.gaps.since = None;
            return Ok(());
        }
        if time.now >= *self.gaps.since.get_or_insert(time.now) + HEAL_DELAY {
            self.gaps.since = None;
            let mut known = self.index.knowledge().clone();
            for dot in self.index.last_components()?.to_vec() {
                match self.index.retired(dot.origin)? {
                    Some(_) => self.retire(dot.origin, dot.seq, time)?,
                    None => known.insert(dot),
                }
            }
            self.join_knowledge(&known, time)?;
        }
        Ok(())
    }

    pub(super) fn handle_message(
        &mut self,
        node: NodeId,
        message: Message,
        time: Time,
    ) -> Result<()> {
        if !self.links.get(&node).is_some_and(Link::is_inbound) {
            return Ok(());
        }
        match message {
            Message::KeepAlive => Ok(()),
            Message::Welcome { name, origin, retired } => {
                self.handle_welcome(node, name, origin, retired, time)
            }
            Message::Knowledge { known, digest, is_complete } => {
                self.handle_knowledge(node, known, digest, is_complete, time)
            }
            Message::Update { path, entry, advance, content } => {
                self.handle_update(node, path, entry, advance, content, time)
            }
            Message::RecipeRequest { path, digest, first } => {
                self.serve(node, Serve::Recipe { path, digest, first });
                Ok(())
            }
            Message::ChunkRequest { path, digest, offset, length } => {
                let end = offset + u64::from(length);
                self.serve(node, Serve::Range { path, digest, offset, end });
                Ok(())
            }
            Message::OfferRequest { digest } => {
                self.handle_offer_request(node, digest);
                Ok(())
            }
            Message::Offer { digest, chunks } => self.handle_offer(node, digest, &chunks, time),
            Message::Recipe { digest, first, total, chunks } => {
                self.handle_recipe(node, digest, first, total, &chunks, time)
            }
            Message::Piece { digest, offset, bytes } => {
                self.handle_piece(node, digest, offset, bytes, time)
            }
            Message::Unavailable { digest } => self.handle_unavailable(node, digest, time),
            Message::NotNow { digest } => self.handle_not_now(node, digest, time),
            Message::Retired { is_first, settled } => {
                self.handle_retired(node, is_first, &settled, time)
            }
            Message::WholeIndexRequest => {
                self.links.entry(node).and_modify(|link| link.send_everything());
                Ok(())
            }
        }
    }

    fn handle_welcome(
        &mut self,
        node: NodeId,
        name: String,
        origin: Origin,
        retired: u64,
        time: Time,
    ) -> Result<()> {
        if let Some(link) = self.links.get_mut(&node) {
            link.name = Some(name.chars().filter(|c| !c.is_control()).collect());
            link.heard.handle_welcome(retired, self.index.summary().retired);
        }
        if origin == self.origin() {
            warn!(
                "another node counts its changes under this node's number (a copied directory): \
                 drawing anew"
            );
            self.draw_origin(time)?;
        }
        Ok(())
    }

    // --- Knowledge

    fn handle_knowledge(
        &mut self,
        node: NodeId,
        known: Knowledge,
        digest: Option<u128>,
        is_complete: bool,
        time: Time,
    ) -> Result<()> {
        let own = self.origin();
        if known.get(own) > self.index.knowledge().get(own) {
            warn!(
                "another node knows changes of this one that it has forgotten itself (a restored \
                 backup?)"
            );
            self.draw_origin(time)?;
        }
        let Some(link) = self.links.get_mut(&node) else { return Ok(()) };
        let first = link.handle_knowledge(&known, digest, is_complete, time.now);
        self.retiring.note_heard(node);
        let known = link.heard.known_here().filter(|_| is_complete);
        if first && link.is_ready() {
            info!("linked with {} ({})", link.display_name(), link.address.ip());
        }
        if let Some(known) = known {
            self.join_knowledge(&known, time)?;
            self.retire_what_is_settled(time)?;
        }
        if first {
            self.look_what_it_lacks(node)?;
        }
        if first {
            self.paths.handle_new_source(time.now);
            self.placement.kick();
        } else if is_complete {
            self.placement.kick();
        }
        self.compare_digests(node, time)
    }

    fn join_knowledge(&mut self, known: &Knowledge, time: Time) -> Result<()> {
        let mine = self.index.knowledge();
        if mine.covers(known) {
            return Ok(());
        }
        let mut joined = mine.clone();
        joined.join(known);
        for dot in known.iter() {
            if self.index.retired(dot.origin)?.is_some() && !self.is_claimed(dot) {
                joined.remove(dot.origin);
            }
        }
        if joined.len() > MAX_ORIGINS {
            error!("more than {MAX_ORIGINS} origins: what this node knows can no longer grow");
            return Ok(());
        }
        self.index.update_summary(|summary| summary.knowledge = joined);
        self.announce_soon(time);
        Ok(())
    }

    /// Equal knowledge must mean equal directories. Where it does not, something is broken that
    /// this cannot tell: everything is exchanged, and the versions decide.
    fn compare_digests(&mut self, node: NodeId, time: Time) -> Result<()> {
        let mine = self.settled_digest()?;
        let Some(link) = self.links.get_mut(&node) else { return Ok(()) };
        let equal_knowledge = link.heard.known_here().as_ref() == Some(self.index.knowledge());
        let differs =
            matches!((mine, link.heard.digest()), (Some(mine), Some(theirs)) if mine != theirs);
        if equal_knowledge && differs && link.exchange_all(time.now) {
            error!(
                "{} knows the same and has something else: exchanging everything",
                link.display_name()
            );
        }
        Ok(())
    }

    // --- Versions

    fn handle_update(
        &mut self,
        node: NodeId,
        path: RelPath,
        entry: Entry,
        advance: Option<Advance>,
        content: Option<&[u8]>,
        time: Time,
    ) -> Result<()> {
        let own = self.origin();
        let version = &entry.version;
        let counted = if version.dot.origin == own { version.dot.seq } else { 0 };
        if version.vector().get(own).max(counted) > self.index.knowledge().get(own) {
            warn!(
                "a node tells of a change of this one that it has forgotten itself (a restored \
                 backup?)"
            );
            self.draw_origin(time)?;
        }
        self.take(node, &path, entry, time)?;
        self.advance(node, advance, time)?;
        let inline = content.map(<[u8]>::to_vec);
        self.place(&path, inline, time)
    }

    /// Stores another node's version, if it is newer or stands for more.
    fn take(&mut self, node: NodeId, path: &RelPath, entry: Entry, time: Time) -> Result<()> {
        let held = self.index.get(path)?;
        let held = held.map(|row| self.count_anew(node, path, row, &entry)).transpose()?;
        let is_long_deleted = held.is_none() && self.is_long_deleted(&entry)?;
        let entry = self.as_counted_here(node, held.as_ref(), entry)?;
        let row = match held {
            None if is_long_deleted => return self.delete_again(path, entry, time),
            None => Row::new(entry, None),
            Some(row) => match decide(&row.entry, &entry) {
                Decision::Ignore => return Ok(()),
                Decision::Take => replace(row, entry),
                Decision::Merge(merged) => {
                    let [held, other] = [&row.entry, &entry].map(|entry| &entry.version);
                    debug!(
                        "{path}: concurrent versions of {} at {} and of {} at {}",
                        held.author, held.changed, other.author, other.changed
                    );
                    let merged = self.settle_race(&row.entry, &entry, merged);
                    replace(row, merged)
                }
            },
        };
        self.put(path, &row)?;
        if self.is_ignored(path, Some(&row), None) && !self.is_newest_ignored(path, &row) {
            // It is left alone only because of what was last seen there, which may have gone.
            self.outputs.push_back(Output::Inspect { path: path.clone() });
        }
        self.paths.handle_newer(path, row.is_wanted(), time.now);
        let known = self.index.knowledge();
        for (_, link) in self.links.iter_mut().filter(|(other, _)| **other != node) {
            link.hold_relay(known, time.now);
        }
        self.announce_soon(time);
        Ok(())
    }

    fn advance(&mut self, node: NodeId, advance: Option<Advance>, time: Time) -> Result<()> {
        if let Some(link) = self.links.get_mut(&node) {
            link.handle_has(advance);
        }
        let Some(Advance { origin, before, seq }) = advance else { return Ok(()) };
        let known = self.index.knowledge().get(origin);
        let full = known == 0 && self.index.knowledge().len() >= MAX_ORIGINS;
        let grows = before <= known && known < seq && !full;
        if grows && (known > 0 || self.index.retired(origin)?.is_none()) {
            self.index.update_summary(|summary| summary.knowledge.advance(origin, before, seq));
            self.announce_soon(time);
        }
        Ok(())
    }

    /// Is it certain that nothing is on its way that was made before what is here?
    pub(super) fn is_caught_up(&self) -> bool {
        self.links.values().filter(|link| link.is_inbound()).all(Link::is_caught_up)
    }

    /// As [`Self::is_caught_up`], and there is somebody who would have told.
    pub(super) fn has_heard_all(&self) -> bool {
        self.is_caught_up() && self.links.values().any(Link::is_caught_up)
    }

    pub(super) fn close(&mut self, node: NodeId, reason: &str) {
        self.outputs.push_back(Output::Close { node, reason: reason.to_owned() });
    }
}

/// The row with a newer entry: what is on the disk stays what it is, and is now of an older version
/// unless it is just what the newer one says.
fn replace(row: Row, entry: Entry) -> Row {
    let Row { entry: old, base, standing } = row;
    let base = base.map(|mut base| {
        if base.is_newest() {
            base.bits.said = old.mode;
        }
        let is_unchanged = base.is_newest() && is_same_state(&old, &entry);
        match entry.content.clone() {
            Some(content) if is_unchanged || is_realised(&entry, &base) => {
                (base.held, base.bits.said) = (Provenance::Newest(content), entry.mode);
                base
            }
            _ => base.outdated(|| old.version),
        }
    });
    Row { entry, base, standing }
}

/// Do they say the same of the path, whoever made them?
pub(super) fn is_same_state(a: &Entry, b: &Entry) -> bool {
    a.content == b.content && a.mode == b.mode && a.mtime_ns == b.mtime_ns
}

/// Does the disk hold all that the entry says?
pub(super) fn is_realised(entry: &Entry, base: &Base) -> bool {
    let same_mode = entry.mode == base.bits.found;
    entry.content.is_some()
        && entry.content.as_ref() == base.content()
        && match base.kind() {
            FileKind::File => same_mode && entry.mtime_ns == base.seen.last().mtime_ns,
            FileKind::Symlink => true,
            _ => same_mode,
        }
}
