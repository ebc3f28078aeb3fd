//! What one other node is told: a cursor over the index, never a queue of changes.
//!
//! `sent` says up to where, per origin, the entries that stand in the index have been sent on this
//! link, or are known to be there already. Sending goes from there to this node's own knowledge,
//! own changes first. When nothing is left, the whole knowledge may be told as the receiver's, too
//! ("backed").

mod timers;

use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use self::timers::{Timer, Timers};
use super::{Engine, Result, transfer::Serve};
use crate::{
    core::seam::{Advance, Direction, Time, Transmit},
    model::{
        entry::{Content, Provenance, Row},
        limits::{
            ANNOUNCE_DELAY, EXCHANGE_ALL_INTERVAL, HEAL_DELAY, KEEP_ALIVE_INTERVAL,
            MAX_INLINE_BYTES, MAX_SERVING, RELAY_DELAY,
        },
        path::RelPath,
        version::{Dot, Knowledge, NodeId, Origin, Seq},
    },
    wire::message::Message,
};

/// One other node that is connected, one way or both.
#[derive(Debug)]
pub struct Link {
    /// Where it is.
    pub address: SocketAddr,
    /// It speaks to us.
    pub inbound: bool,
    /// Its name for people, once it said so.
    pub name: Option<String>,
    /// Up to where it knows each origin, once it said so.
    pub known: Option<Knowledge>,
    /// The last thing it said was that all it had to tell has been told.
    pub caught_up: bool,
    /// Its sum over all live rows when it last said it.
    pub digest: Option<u128>,
    /// Ranges and recipes that it waits for.
    pub serving: VecDeque<Serve>,
    /// What we ask it for.
    pub requests: VecDeque<Message<'static>>,
    node: NodeId,
    phase: Phase,
    sent: Knowledge,
    /// The path that was sent last, of all that have this number: one that was given out twice is
    /// that of two.
    last: Option<(Dot, RelPath)>,
    /// Everything is being sent, whatever the node says that it knows.
    sends_all: bool,
    timers: Timers,
    /// What others made and is beyond this is held back while [`Timer::Relay`] runs.
    open: Knowledge,
    exchanged_all_at: Option<Instant>,
}

/// How far the node was told, on the connection on which we speak.
#[derive(Debug)]
enum Phase {
    /// There is none.
    Down,
    /// Not even who we are.
    Unwelcomed,
    /// Not what we know, or it is to be told that anew.
    Welcomed,
    /// This.
    Told(Told),
}

/// The knowledge that was told last.
#[derive(Debug)]
struct Told {
    known: Knowledge,
    backed: bool,
    at: Instant,
}

impl Link {
    pub(super) fn new(node: NodeId, address: SocketAddr, now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::KeepAlive, now + KEEP_ALIVE_INTERVAL);
        Self {
            address,
            inbound: false,
            name: None,
            known: None,
            caught_up: false,
            digest: None,
            serving: VecDeque::new(),
            requests: VecDeque::new(),
            node,
            phase: Phase::Down,
            sent: Knowledge::default(),
            last: None,
            sends_all: false,
            timers,
            open: Knowledge::default(),
            exchanged_all_at: None,
        }
    }

    /// We speak to it.
    pub fn is_outbound(&self) -> bool {
        !matches!(self.phase, Phase::Down)
    }

    /// Both connections are up and the node has said what it knows: it can be told and asked.
    pub fn is_ready(&self) -> bool {
        self.inbound && self.is_outbound() && self.known.is_some()
    }

    /// Its name, or its id while it has not said it.
    pub fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.node.to_string())
    }

    pub(super) fn handle_up(&mut self, direction: Direction, address: SocketAddr, now: Instant) {
        self.handle_down(direction);
        // Who calls does so from any port; where it listens is known from calling it.
        if direction == Direction::Outbound || !self.is_outbound() {
            self.address = address;
        }
        match direction {
            Direction::Inbound => self.inbound = true,
            Direction::Outbound => {
                self.phase = Phase::Unwelcomed;
                self.handle_sent(now);
            }
        }
    }

    pub(super) fn handle_down(&mut self, direction: Direction) {
        match direction {
            Direction::Inbound => {
                self.inbound = false;
                self.known = None;
                self.caught_up = false;
                self.serving.clear();
            }
            Direction::Outbound => {
                self.phase = Phase::Down;
                self.requests.clear();
                self.restart();
            }
        }
    }

    /// Tells the node everything that it is not known to have, as on a new connection.
    pub(super) fn restart(&mut self) {
        self.sent = self.known.clone().filter(|_| !self.sends_all).unwrap_or_default();
        self.last = None;
        if self.is_outbound() {
            self.phase = Phase::Unwelcomed;
        }
        self.timers.stop(Timer::Relay);
    }

    fn told(&self) -> Option<&Told> {
        if let Phase::Told(told) = &self.phase { Some(told) } else { None }
    }

    /// What it was told counts no more.
    fn tell_anew(&mut self) {
        if self.told().is_some() {
            self.phase = Phase::Welcomed;
        }
    }

    /// The node says up to where it knows. Never less than before on one connection.
    pub(super) fn handle_knowledge(&mut self, known: Knowledge, now: Instant) {
        let unheard =
            |told: &Told| told.backed && !known.covers(&told.known) && now >= told.at + HEAL_DELAY;
        if self.sends_all {
            // Its knowledge is what is in doubt.
        } else if self.known.is_none() || self.told().is_some_and(unheard) {
            self.sent = known.clone();
            self.tell_anew();
        } else {
            self.sent.join(&known);
        }
        self.known = Some(known);
    }

    /// The node itself sent this entry, so it has it.
    pub(super) fn handle_has(&mut self, advance: Advance) {
        let sent = (!self.sends_all).then_some(&mut self.sent);
        for vector in [sent, self.known.as_mut()].into_iter().flatten() {
            vector.advance(advance.origin, advance.before, advance.seq);
        }
    }

    /// Something is being learnt from another node than this one, beyond `known`: if this one still
    /// lacks it a while later, it is told.
    pub(super) fn hold_relay(&mut self, known: &Knowledge, now: Instant) {
        if !self.timers.runs(Timer::Relay) {
            self.timers.set(Timer::Relay, now + RELAY_DELAY);
            self.open.clone_from(known);
        }
    }

    /// Up to where the cursor may go in this origin, of all that this node knows.
    fn limit(&self, origin: Origin, own: Origin, known: &Knowledge) -> Seq {
        let held = self.timers.runs(Timer::Relay) && origin != own;
        if held { self.open.get(origin).min(known.get(origin)) } else { known.get(origin) }
    }

    /// What this node knows, or holds, has changed.
    pub(super) fn announce_soon(&mut self, now: Instant) {
        self.timers.start(Timer::Announce, now + ANNOUNCE_DELAY);
    }

    /// Everything is told again: knowledge was equal and the directories were not.
    pub(super) fn exchange_all(&mut self, now: Instant) -> bool {
        let due = self.exchanged_all_at.is_none_or(|at| now >= at + EXCHANGE_ALL_INTERVAL);
        if due {
            self.exchanged_all_at = Some(now);
            self.send_everything();
        }
        due
    }

    /// The cursor begins again from the first change, and goes through all, also on a new
    /// connection.
    pub(super) fn send_everything(&mut self) {
        self.sent = Knowledge::default();
        self.sends_all = true;
        self.tell_anew();
    }

    fn handle_sent(&mut self, now: Instant) {
        self.timers.set(Timer::KeepAlive, now + KEEP_ALIVE_INTERVAL);
        self.timers.take_due(Timer::KeepAlive);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.timers.handle_timeout(now);
        if self.timers.take_due(Timer::Relay)
            && let Some(known) = self.known.as_ref().filter(|_| !self.sends_all)
        {
            self.sent.join(known);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.is_outbound() { self.timers.next_timeout() } else { None }
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.serving.len() <= MAX_SERVING && self.requests.len() <= MAX_SERVING
    }
}

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

    pub(super) fn handle_link_timeout(&mut self, time: Time) {
        self.links.values_mut().for_each(|link| link.handle_timeout(time.now));
    }

    /// What this node knows, or holds, has changed: all are told, soon.
    pub(super) fn announce_soon(&mut self, time: Time) {
        self.links.values_mut().for_each(|link| link.announce_soon(time.now));
    }

    fn next_small(&mut self, node: NodeId, time: Time) -> Result<Option<Transmit>> {
        let Some(link) = self.links.get_mut(&node) else { return Ok(None) };
        if matches!(link.phase, Phase::Unwelcomed) {
            link.phase = Phase::Welcomed;
            let name = self.config.name.clone();
            return Ok(Some(Transmit::Message(Message::Welcome { name, origin: self.origin() })));
        }
        if let Some(request) = link.requests.pop_front() {
            return Ok(Some(Transmit::Message(request)));
        }
        if self.rest.is_waking() {
            return Ok(None);
        }
        if link.told().is_none() {
            return self.knowledge_for(node, false, time).map(Some);
        }
        if let Some(update) = self.next_update(node)? {
            return Ok(Some(update));
        }
        self.next_knowledge(node, time)
    }

    // --- Updates

    /// The next entry behind the link's cursor. An entry is sent at the last of its components that
    /// the cursor comes to, so that one with many origins is sent once.
    fn next_update(&mut self, node: NodeId) -> Result<Option<Transmit>> {
        loop {
            let Some((advance, path)) = self.next_unsent(node)? else { return Ok(None) };
            if let Some(row) = self.index.get(&path)?.filter(|row| !self.will_be_reached(node, row))
            {
                return Ok(Some(self.update_message(node, path, row, advance)));
            }
        }
    }

    /// Moves the cursor on by one component.
    fn next_unsent(&mut self, node: NodeId) -> Result<Option<(Advance, RelPath)>> {
        let Some(link) = self.links.get_mut(&node) else { return Ok(None) };
        if !link.is_ready() {
            return Ok(None);
        }
        let (own, known) =
            (self.index.summary().origin.unwrap_or(Origin(0)), self.index.knowledge());
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

    fn update_message(&self, node: NodeId, path: RelPath, row: Row, advance: Advance) -> Transmit {
        let inline = row.base.and_then(|base| match &base.held {
            Provenance::Newest(content @ Content::File { size, .. })
                if *size <= MAX_INLINE_BYTES as u64 =>
            {
                base.seen.proof().filter(|_| !self.has_content(node, &path, content))
            }
            _ => None,
        });
        let Advance { origin, before, seq } = advance;
        let message =
            Message::Update { path, entry: row.entry, origin, before, seq, content: None };
        Transmit::Update { message, inline }
    }

    /// Does the node know the change that made this content, at another path?
    fn has_content(&self, node: NodeId, path: &RelPath, content: &Content) -> bool {
        let known = self.links.get(&node).and_then(|link| link.known.as_ref());
        let made_by = self.renames.made_by(path, content);
        made_by.zip(known).is_some_and(|(dot, known)| known.contains(dot))
    }

    // --- Knowledge

    /// Tells what is known when that has changed and has been quiet for a moment. Backed when the
    /// cursor has nothing left to send.
    fn next_knowledge(&mut self, node: NodeId, time: Time) -> Result<Option<Transmit>> {
        let Some(link) = self.links.get_mut(&node) else { return Ok(None) };
        let backed = link.is_ready() && link.sent.covers(self.index.knowledge());
        let first_backed = backed && link.told().is_none_or(|told| !told.backed);
        if !link.timers.take_due(Timer::Announce) && !first_backed {
            return Ok(None);
        }
        link.sends_all &= !backed;
        self.knowledge_for(node, backed, time).map(Some)
    }

    fn knowledge_for(&mut self, node: NodeId, backed: bool, time: Time) -> Result<Transmit> {
        let known = self.index.knowledge().clone();
        let digest = self.settled_digest()?;
        if let Some(link) = self.links.get_mut(&node) {
            link.phase = Phase::Told(Told { known: known.clone(), backed, at: time.now });
        }
        Ok(Transmit::Message(Message::Knowledge { known, digest, backed }))
    }

    /// The sum over all live rows, if knowledge covers them all.
    pub(super) fn settled_digest(&self) -> Result<Option<u128>> {
        let summary = self.index.summary();
        let covered =
            self.index.last_components()?.iter().all(|&dot| summary.knowledge.contains(dot));
        Ok(covered.then_some(summary.live_digest))
    }
}
