//! One other node: what it said, and what it is told.
//!
//! What it is told is a cursor over the index, never a queue of changes. `sent` says up to where,
//! per origin, the entries that stand in the index have been sent on this link, or are known to be
//! there already. Sending goes from there to this node's own knowledge, own changes first. When
//! nothing is left, the whole knowledge may be told as the receiver's, too ("complete").
//!
//! To what was counted under an origin that is retired no knowledge leads: who lacks some of that
//! is sent all of it, by a cursor of its own.

mod heard;
mod tell;
mod timers;

use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use self::{
    heard::Heard,
    timers::{Timer, Timers},
};
use super::transfer::Serve;
use crate::{
    core::seam::Direction,
    model::{
        limits::{
            ANNOUNCE_DELAY, EXCHANGE_ALL_INTERVAL, HEAL_DELAY, KEEP_ALIVE_INTERVAL, MAX_SERVING,
            RELAY_DELAY,
        },
        path::RelPath,
        version::{Advance, Dot, Knowledge, NodeId, Origin, Seq},
    },
    wire::message::Message,
};

/// One other node that is connected, one way or both.
#[derive(Debug)]
pub struct Link {
    /// Where it is.
    pub address: SocketAddr,
    /// Its name for people, once it said so.
    pub name: Option<String>,
    /// Ranges and recipes that it waits for.
    pub serving: VecDeque<Serve>,
    /// What we ask it for.
    pub requests: VecDeque<Message<'static>>,
    /// What it said, on the connection on which it speaks to us.
    pub(super) heard: Heard,
    node: NodeId,
    phase: Phase,
    sent: Knowledge,
    /// The path that was sent last, of all that have this number: one that was given out twice is
    /// that of two.
    last: Option<(Dot, RelPath)>,
    /// How far it was told what was counted under retired origins, if it is to be told that.
    settled: Settled,
    /// What was retired here since it was told what is.
    untold: Knowledge,
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
    /// Who we are, and the sum over all origins that were retired here then; not which these are.
    Welcomed { retired: u64 },
    /// Those up to this one.
    Listing(Option<Origin>),
    /// Not what we know, or it is to be told that anew.
    Listed,
    /// This.
    Told(Told),
}

/// The knowledge that was told last.
#[derive(Debug)]
struct Told {
    known: Knowledge,
    is_complete: bool,
    at: Instant,
}

/// A cursor over the paths whose newest version was counted under a retired origin.
#[derive(Debug, PartialEq, Eq)]
enum Settled {
    /// The node has them all.
    Known,
    /// They are sent from the first one behind this.
    Behind(Option<RelPath>),
}

impl Link {
    pub(super) fn new(node: NodeId, address: SocketAddr, now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::KeepAlive, now + KEEP_ALIVE_INTERVAL);
        Self {
            address,
            name: None,
            serving: VecDeque::new(),
            requests: VecDeque::new(),
            heard: Heard::default(),
            node,
            phase: Phase::Down,
            sent: Knowledge::default(),
            last: None,
            settled: Settled::Known,
            untold: Knowledge::default(),
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

    /// It speaks to us.
    pub fn is_inbound(&self) -> bool {
        self.heard.is_up()
    }

    /// Both connections are up and the node has said what it knows: it can be told and asked.
    pub fn is_ready(&self) -> bool {
        self.is_outbound() && self.known().is_some()
    }

    /// Up to where it knows each origin, once it said so.
    pub fn known(&self) -> Option<&Knowledge> {
        self.heard.known()
    }

    /// The last thing it said was that all it had to tell has been told.
    pub fn is_caught_up(&self) -> bool {
        self.heard.is_caught_up()
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
            Direction::Inbound => self.heard.handle_up(),
            Direction::Outbound => {
                self.phase = Phase::Unwelcomed;
                self.handle_sent(now);
            }
        }
    }

    pub(super) fn handle_down(&mut self, direction: Direction) {
        match direction {
            Direction::Inbound => {
                self.heard.handle_down();
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
        self.sent = self.known().cloned().filter(|_| !self.sends_all).unwrap_or_default();
        self.last = None;
        if self.settled != Settled::Known {
            self.settled = Settled::Behind(None);
        }
        if self.is_outbound() {
            self.phase = Phase::Unwelcomed;
        }
        self.timers.stop(Timer::Relay);
    }

    fn told(&self) -> Option<&Told> {
        if let Phase::Told(told) = &self.phase { Some(told) } else { None }
    }

    /// What it was told of retired origins is not so any more: it is told all of them.
    pub(super) fn list_anew(&mut self) {
        if matches!(self.phase, Phase::Listing(_) | Phase::Listed | Phase::Told(_)) {
            (self.phase, self.untold) = (Phase::Listing(None), Knowledge::default());
        }
    }

    /// What it was told counts no more.
    fn tell_anew(&mut self) {
        if self.told().is_some() {
            self.phase = Phase::Listed;
        }
    }

    /// All that was counted under retired origins is told: the node lacks some of it.
    pub(super) fn send_settled(&mut self) {
        self.settled = Settled::Behind(None);
    }

    /// An origin, whose last change this is, was retired here, so that `here` is the sum over all:
    /// it is in nothing that the node is told from now on.
    pub(super) fn retire(&mut self, origin: Origin, last: Seq, here: u64) {
        for vector in [&mut self.sent, &mut self.open] {
            vector.remove(origin);
        }
        self.last.take_if(|(dot, _)| dot.origin == origin);
        if let Phase::Told(told) = &mut self.phase {
            told.known.remove(origin);
        }
        let is_listed = match self.phase {
            Phase::Down | Phase::Unwelcomed | Phase::Welcomed { .. } => false,
            Phase::Listing(after) => after.is_some_and(|after| origin <= after),
            Phase::Listed | Phase::Told(_) => true,
        };
        if is_listed {
            self.untold.insert(Dot { origin, seq: last });
        }
        let knew = self.heard.retire(origin, last, here);
        if self.is_ready() && !knew {
            self.send_settled();
        }
    }

    /// The node says up to where it knows: all of it, or what has come up since it said so. Never
    /// less than before on one connection. Was this the first time?
    pub(super) fn handle_knowledge(
        &mut self,
        told: &Knowledge,
        digest: Option<u128>,
        is_complete: bool,
        now: Instant,
    ) -> bool {
        let is_first = self.heard.handle_knowledge(told, digest, is_complete);
        let Some(known) = self.heard.known() else { return is_first };
        let unheard = |told: &Told| {
            told.is_complete && !known.covers(&told.known) && now >= told.at + HEAL_DELAY
        };
        if self.sends_all {
            // Its knowledge is what is in doubt.
        } else if is_first || self.told().is_some_and(unheard) {
            self.sent = known.clone();
            self.tell_anew();
        } else {
            self.sent.join(known);
        }
        is_first
    }

    /// The node itself sent this entry, so it has it.
    pub(super) fn handle_has(&mut self, advance: Option<Advance>) {
        self.heard.handle_has(advance);
        if let Some(Advance { origin, before, seq }) = advance.filter(|_| !self.sends_all) {
            self.sent.advance(origin, before, seq);
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
        self.send_settled();
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
            && let Some(known) = self.heard.known()
            && !self.sends_all
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
