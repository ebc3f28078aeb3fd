//! What a node is told next, and in which order.
//!
//! Owns no state. Small things come before content; what is retired before whatever leaves it out;
//! knowledge when all that it speaks of was sent.

use super::{
    super::{Engine, Link, Result},
    Phase, Settled, Told,
    timers::Timer,
};
use crate::{
    core::seam::{Time, Transmit},
    model::{
        entry::{Content, Provenance, Row, Version},
        limits::{MAX_INLINE_BYTES, RETIRED_SEGMENT},
        path::RelPath,
        version::{Advance, Dot, Knowledge, NodeId},
    },
    wire::message::Message,
};

impl Engine {
    /// The linked nodes.
    pub fn links(&self) -> impl Iterator<Item = (NodeId, &Link)> {
        self.links.iter().map(|(&node, link)| (node, link))
    }

    /// The next thing to tell a node, to be called while its connection has room. Small things come
    /// before content, so that no save waits behind a large file.
    pub fn poll_transmit(&mut self, node: NodeId, time: Time) -> Result<Option<Transmit>> {
        if !self.links.get(&node).is_some_and(Link::is_outbound) {
            return Ok(None);
        }
        let transmit = match self.next_small(node, time)? {
            Some(transmit) => Some(transmit),
            None => self.next_answer(node)?,
        };
        let link = self.links.get_mut(&node).expect("checked above, and nothing here removes one");
        let transmit = transmit.or(link
            .timers
            .is_due(Timer::KeepAlive)
            .then_some(Transmit::Message(Message::KeepAlive)));
        if transmit.is_some() {
            link.handle_sent(time.now);
        }
        // What cannot be served is read again, and the index says so.
        self.schedule_commit(time);
        self.check_invariants();
        Ok(transmit)
    }

    /// As [`Self::poll_transmit`], without the content of large files: for a connection in which
    /// enough of that waits.
    pub fn poll_urgent(&mut self, node: NodeId, time: Time) -> Result<Option<Transmit>> {
        if !self.links.get(&node).is_some_and(Link::is_outbound) {
            return Ok(None);
        }
        let transmit = self.next_small(node, time)?;
        if let (Some(_), Some(link)) = (&transmit, self.links.get_mut(&node)) {
            link.handle_sent(time.now);
        }
        Ok(transmit)
    }

    pub(in super::super) fn handle_link_timeout(&mut self, time: Time) {
        self.links.values_mut().for_each(|link| link.handle_timeout(time.now));
    }

    /// What this node knows, or holds, has changed: all are told, soon.
    pub(in super::super) fn announce_soon(&mut self, time: Time) {
        self.links.values_mut().for_each(|link| link.announce_soon(time.now));
    }

    fn next_small(&mut self, node: NodeId, time: Time) -> Result<Option<Transmit>> {
        let Some(link) = self.links.get_mut(&node) else { return Ok(None) };
        if matches!(link.phase, Phase::Unwelcomed) {
            return Ok(self.welcome(node));
        }
        if let Some(request) = link.requests.pop_front() {
            return Ok(Some(Transmit::Message(request)));
        }
        if self.rest.is_waking() {
            return Ok(None);
        }
        if link.told().is_none() {
            return self.next_introduction(node, time);
        }
        if !link.untold.is_empty() {
            let settled = link.untold.take_first(RETIRED_SEGMENT);
            return Ok(Some(Transmit::Message(Message::Retired { is_first: false, settled })));
        }
        if let Some(update) = self.next_update(node)? {
            return Ok(Some(update));
        }
        if let Some(update) = self.next_settled_update(node)? {
            return Ok(Some(update));
        }
        self.next_knowledge(node, time)
    }

    // --- Introduction

    fn welcome(&mut self, node: NodeId) -> Option<Transmit> {
        let (name, origin) = (self.config.name.clone(), self.origin());
        let link = self.links.get_mut(&node)?;
        let retired = self.index.summary().retired;
        (link.phase, link.untold) = (Phase::Welcomed { retired }, Knowledge::default());
        Some(Transmit::Message(Message::Welcome { name, origin, retired }))
    }

    /// What comes between the welcome and what is known: which origins are retired here, unless the
    /// same are retired there. So that waits for the other's welcome.
    fn next_introduction(&mut self, node: NodeId, time: Time) -> Result<Option<Transmit>> {
        let Some(link) = self.links.get_mut(&node) else { return Ok(None) };
        let Some(theirs) = link.heard.retired() else {
            return Ok(None);
        };
        let ours = self.index.summary().retired;
        let after = match link.phase {
            // They compare with what we have told.
            Phase::Welcomed { retired } if theirs != ours || retired != ours => None,
            Phase::Listing(after) => after,
            _ => return self.knowledge_for(node, false, time).map(Some),
        };
        let retired = self.index.retired_origins(after, RETIRED_SEGMENT)?;
        link.phase = match retired.last() {
            Some((last, _)) if retired.len() == RETIRED_SEGMENT => Phase::Listing(Some(*last)),
            _ => Phase::Listed,
        };
        let mut settled = Knowledge::default();
        retired.iter().for_each(|(origin, retired)| {
            settled.insert(Dot { origin: *origin, seq: retired.last });
        });
        Ok(Some(Transmit::Message(Message::Retired { is_first: after.is_none(), settled })))
    }

    // --- Updates

    /// The next entry behind the link's cursor. An entry is sent at the last of its components that
    /// the cursor comes to, so that one with many origins is sent once.
    fn next_update(&mut self, node: NodeId) -> Result<Option<Transmit>> {
        loop {
            let Some((advance, path)) = self.next_unsent(node)? else { return Ok(None) };
            if let Some(row) = self.index.get(&path)?.filter(|row| !self.will_be_reached(node, row))
            {
                return self.update_message(node, path, row, Some(advance)).map(Some);
            }
        }
    }

    /// Moves the cursor on by one component.
    fn next_unsent(&mut self, node: NodeId) -> Result<Option<(Advance, RelPath)>> {
        let own = self.origin();
        let Some(link) = self.links.get_mut(&node) else { return Ok(None) };
        if !link.is_ready() {
            return Ok(None);
        }
        let known = self.index.knowledge();
        let others = known.iter().map(|dot| dot.origin).filter(|origin| *origin != own);
        for origin in std::iter::once(own).chain(others) {
            let (before, limit) = (link.sent.get(origin), link.limit(origin, own, known));
            let last = link
                .last
                .take_if(|(dot, _)| dot.origin == origin)
                .filter(|(dot, _)| dot.seq == before);
            if before >= limit && last.is_none() {
                continue;
            }
            let last = last.map(|(_, path)| path);
            match self.index.next_component(origin, before, last.as_ref())? {
                Some((seq, path)) if seq <= limit => {
                    link.sent.advance(origin, before, seq);
                    link.last = Some((Dot { origin, seq }, path.clone()));
                    return Ok(Some((Advance { origin, before, seq }, path)));
                }
                _ => link.sent.advance(origin, before, limit),
            }
        }
        Ok(None)
    }

    /// Will the cursor come to another component of this row? Not to one beyond this node's own
    /// knowledge.
    fn will_be_reached(&self, node: NodeId, row: &Row) -> bool {
        let Some(link) = self.links.get(&node) else { return false };
        let (own, known) = (self.origin(), self.index.knowledge());
        let ahead = |dot: Dot| {
            link.sent.get(dot.origin) < dot.seq && dot.seq <= link.limit(dot.origin, own, known)
        };
        row.entry.version.vector().iter().any(ahead)
    }

    /// The next entry of an origin that is retired, for a node that may lack it.
    fn next_settled_update(&mut self, node: NodeId) -> Result<Option<Transmit>> {
        let Some(link) = self.links.get_mut(&node).filter(|link| link.is_ready()) else {
            return Ok(None);
        };
        let Settled::Behind(after) = &link.settled else { return Ok(None) };
        let Some(path) = self.index.next_settled(after.as_ref())? else {
            link.settled = Settled::Known;
            return Ok(None);
        };
        link.settled = Settled::Behind(Some(path.clone()));
        let row = self.index.get(&path)?;
        row.map(|row| self.update_message(node, path, row, None)).transpose()
    }

    fn update_message(
        &self,
        node: NodeId,
        path: RelPath,
        row: Row,
        advance: Option<Advance>,
    ) -> Result<Transmit> {
        let inline = match row.base.as_ref().map(|base| (&base.held, base.seen.proof())) {
            Some((Provenance::Newest(content), proof))
                if is_small_file(content) && !self.has_content(node, &row.entry.version)? =>
            {
                proof
            }
            _ => None,
        };
        let message = Message::Update { path, entry: row.entry, advance, content: None };
        Ok(Transmit::Update { message, inline })
    }

    /// Has the node the content of this version, from another version or another path?
    fn has_content(&self, node: NodeId, version: &Version) -> Result<bool> {
        match (version.content_since, self.links.get(&node)) {
            (Some(since), Some(link)) => self.knows(link, since),
            _ => Ok(false),
        }
    }

    /// Is the node known to have this change?
    pub(in super::super) fn knows(&self, link: &Link, dot: Dot) -> Result<bool> {
        Ok(link.heard.knows(dot, false) || link.heard.knows(dot, self.index.is_settled(dot)?))
    }

    // --- Knowledge

    /// Tells what is known when that has changed and has been quiet for a moment. Complete when the
    /// cursor has nothing left to send.
    fn next_knowledge(&mut self, node: NodeId, time: Time) -> Result<Option<Transmit>> {
        let Some(link) = self.links.get_mut(&node) else { return Ok(None) };
        let is_complete = link.is_ready()
            && link.settled == Settled::Known
            && link.sent.covers(self.index.knowledge());
        let is_first_complete = is_complete && link.told().is_none_or(|told| !told.is_complete);
        if !link.timers.take_due(Timer::Announce) && !is_first_complete {
            return Ok(None);
        }
        link.sends_all &= !is_complete;
        self.knowledge_for(node, is_complete, time).map(Some)
    }

    fn knowledge_for(&mut self, node: NodeId, is_complete: bool, time: Time) -> Result<Transmit> {
        let known = self.index.knowledge().clone();
        let digest = self.settled_digest()?;
        let mut news = known.clone();
        if let Some(link) = self.links.get_mut(&node) {
            if let Some(told) = link.told() {
                news = known.beyond(&told.known);
            }
            link.phase = Phase::Told(Told { known, is_complete, at: time.now });
        }
        Ok(Transmit::Message(Message::Knowledge { known: news, digest, is_complete }))
    }

    /// The sum over all live rows, if knowledge covers them all.
    pub(in super::super) fn settled_digest(&self) -> Result<Option<u128>> {
        let summary = self.index.summary();
        for dot in self.index.last_components()? {
            if !summary.knowledge.contains(*dot) && !self.index.is_settled(*dot)? {
                return Ok(None);
            }
        }
        Ok(Some(summary.live_digest))
    }
}

fn is_small_file(content: &Content) -> bool {
    matches!(content, Content::File { size, .. } if *size <= MAX_INLINE_BYTES as u64)
}
