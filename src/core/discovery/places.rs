//! Where a node may answer on its discovery port, and when to knock there next.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use super::jitter::{Jitter, doubled};
use crate::model::{
    limits::{
        AUTHENTICATE_TIMEOUT, CONNECT_TIMEOUT, HINT_INTERVAL, HINT_INTERVAL_MAX, MAX_KNOCKS,
        MAX_PINNED_PLACES, MAX_PLACES, MAX_WAITING_HINTS, RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN,
        STRANGER_PAUSE, SWEEP_INTERVAL,
    },
    version::NodeId,
};

/// Is an address knocked on its own account, not only when something hints at it?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pin {
    /// Only hints.
    Hinted,
    /// It worked in an earlier run.
    Remembered,
    /// The user named it.
    Static,
}

/// The same host, its scope included, at another port.
pub fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

#[derive(Debug)]
struct Place {
    pin: Pin,
    /// Who answered there last.
    node: Option<NodeId>,
    /// We ourselves answered there.
    is_self: bool,
    /// The next knock that has been decided upon.
    knock_at: Option<Instant>,
    /// No hint causes a knock before this.
    not_before: Instant,
    /// A knock is under way and has failed if nothing is heard of it until then.
    answer_by: Option<Instant>,
    /// Knocks without an answer, in a row.
    failures: u32,
}

impl Place {
    fn new(now: Instant) -> Self {
        Self {
            pin: Pin::Hinted,
            node: None,
            is_self: false,
            knock_at: None,
            not_before: now,
            answer_by: None,
            failures: 0,
        }
    }

    fn may_knock(&self, now: Instant) -> bool {
        !self.is_self && self.answer_by.is_none() && self.not_before <= now
    }

    fn is_waiting_hint(&self) -> bool {
        self.pin == Pin::Hinted && self.knock_at.is_some()
    }

    fn is_forgettable(&self) -> bool {
        self.pin == Pin::Hinted && self.knock_at.is_none() && self.answer_by.is_none()
    }
}

/// At most `MAX_PLACES` addresses.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<SocketAddr, Place>);

impl Places {
    /// Knocks there at once and again and again until somebody answers. False when there are too
    /// many such.
    pub fn pin(
        &mut self,
        now: Instant,
        address: SocketAddr,
        pin: Pin,
        node: Option<NodeId>,
    ) -> bool {
        let is_pinned = self.0.get(&address).is_some_and(|place| place.pin != Pin::Hinted);
        let pinned = self.0.values().filter(|place| place.pin != Pin::Hinted).count();
        if !is_pinned && pinned == MAX_PINNED_PLACES {
            return false;
        }
        let Some(place) = self.get_or_insert(now, address) else { return false };
        place.pin = place.pin.max(pin);
        place.node = place.node.or(node);
        if place.answer_by.is_none() {
            place.knock_at = Some(now);
        }
        true
    }

    pub fn is_remembered(&self, address: SocketAddr, node: NodeId) -> bool {
        self.0
            .get(&address)
            .is_some_and(|place| place.pin == Pin::Remembered && place.node == Some(node))
    }

    /// The node is now remembered elsewhere.
    pub fn forget_remembered(&mut self, node: NodeId) {
        for place in self.0.values_mut() {
            if place.pin == Pin::Remembered && place.node == Some(node) {
                place.pin = Pin::Hinted;
                place.knock_at = None;
            }
        }
    }

    pub fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        self.0.get(&address)?.node
    }

    /// Something says that there may be a node: knocks unless that was done lately. True: there is
    /// one more to do.
    pub fn hint(&mut self, now: Instant, address: SocketAddr) -> bool {
        let is_needless =
            |place: &Place| !place.may_knock(now) || place.knock_at.is_some_and(|at| at <= now);
        if self.0.get(&address).is_some_and(is_needless)
            || self.0.values().filter(|place| place.is_waiting_hint()).count() >= MAX_WAITING_HINTS
        {
            return false;
        }
        let Some(place) = self.get_or_insert(now, address) else { return false };
        place.knock_at = Some(now);
        true
    }

    /// A sweep has come to this address. True: a knock begins.
    pub fn try_knock(&mut self, now: Instant, address: SocketAddr) -> bool {
        let may_knock = self.get_or_insert(now, address).is_some_and(|place| place.may_knock(now));
        if may_knock {
            self.knock(now, address);
        }
        may_knock
    }

    /// The node that answered at these places cannot be reached any more: asks there again.
    pub fn ask_again(&mut self, now: Instant, node: NodeId) {
        for place in self.0.values_mut().filter(|place| place.node == Some(node)) {
            if place.answer_by.is_none() && !place.is_self {
                place.knock_at.get_or_insert(now.max(place.not_before));
            }
        }
    }

    /// As [`ask_again`](Self::ask_again), at once, and at `place`, too, whether the node is known
    /// to be there or not: whoever has reason to, does so, however lately they were asked.
    pub fn ask_now(&mut self, now: Instant, node: NodeId, place: SocketAddr) {
        self.get_or_insert(now, place);
        for (&address, other) in &mut self.0 {
            let is_to_be_asked = other.node == Some(node) || address == place;
            if is_to_be_asked && other.answer_by.is_none() && !other.is_self {
                (other.failures, other.not_before, other.knock_at) = (0, now, Some(now));
            }
        }
    }

    /// The network has changed: what did not answer may do so now, and own addresses may be
    /// another's.
    pub fn ask_all(&mut self, now: Instant, is_linked: impl Fn(NodeId) -> bool) {
        for place in self.0.values_mut() {
            place.is_self = false;
            if place.failures > 0 {
                (place.failures, place.not_before) = (0, now);
            }
            let is_wanted = place.pin != Pin::Hinted || place.node.is_some();
            if is_wanted && place.answer_by.is_none() && !place.node.is_some_and(&is_linked) {
                place.knock_at = Some(now);
            }
        }
    }

    pub fn in_flight(&self) -> usize {
        self.0.values().filter(|place| place.answer_by.is_some()).count()
    }

    /// The place to knock at next, those that the user named first; none while too many knocks are
    /// under way.
    pub fn next_due(&self, now: Instant) -> Option<SocketAddr> {
        if self.in_flight() >= MAX_KNOCKS {
            return None;
        }
        let due = self.0.iter().filter_map(|(&address, place)| {
            let at = place.knock_at.filter(|&at| at <= now && !place.is_self)?;
            Some((std::cmp::Reverse(place.pin), at, address))
        });
        due.min().map(|(_, _, address)| address)
    }

    /// A knock begins.
    pub fn knock(&mut self, now: Instant, address: SocketAddr) {
        if let Some(place) = self.0.get_mut(&address) {
            place.knock_at = None;
            place.not_before = now + HINT_INTERVAL;
            // The shell reports the outcome long before; a lost report must not cost a slot for
            // ever.
            place.answer_by = Some(now + 2 * (CONNECT_TIMEOUT + AUTHENTICATE_TIMEOUT));
        }
    }

    /// A member answered.
    pub fn greeted(&mut self, address: SocketAddr, node: NodeId) {
        if let Some(place) = self.0.get_mut(&address) {
            place.node = Some(node);
            place.knock_at = None;
            place.answer_by = None;
            place.failures = 0;
        }
    }

    /// A member called from there; where it listens is a guess.
    pub fn called(&mut self, now: Instant, address: SocketAddr, node: NodeId) {
        if let Some(place) = self.get_or_insert(now, address)
            && place.pin == Pin::Hinted
            && !place.is_self
        {
            place.node = Some(node);
            place.knock_at = None;
        }
    }

    /// We answered ourselves: never knocked again.
    pub fn mark_self(&mut self, address: SocketAddr) {
        if let Some(place) = self.0.get_mut(&address) {
            place.is_self = true;
            place.knock_at = None;
            place.answer_by = None;
        }
    }

    /// Our twin answered: asked again after it, or we, have drawn a new identity.
    pub fn twin_answered(&mut self, now: Instant, address: SocketAddr) {
        if let Some(place) = self.0.get_mut(&address) {
            place.answer_by = None;
            place.knock_at = Some(now + HINT_INTERVAL);
        }
    }

    /// Nobody answered. A pinned place is knocked again by and by, any other when something hints
    /// at it.
    pub fn failed(&mut self, now: Instant, address: SocketAddr, jitter: &mut Jitter) {
        let Some(place) = self.0.get_mut(&address) else { return };
        let before = doubled(HINT_INTERVAL, place.failures, HINT_INTERVAL_MAX);
        let pause = |longest| doubled(RECONNECT_DELAY_MIN, place.failures, longest);
        let again = match place.pin {
            Pin::Hinted => None,
            Pin::Remembered => Some(pause(SWEEP_INTERVAL)),
            Pin::Static => Some(pause(RECONNECT_DELAY_MAX)),
        };
        place.answer_by = None;
        place.not_before = now + before;
        place.knock_at = again.map(|pause| now + jitter.around(pause));
        place.failures = place.failures.saturating_add(1);
    }

    /// Somebody answered who is none of us: left alone for a while.
    pub fn stranger(&mut self, now: Instant, address: SocketAddr) {
        let Some(place) = self.get_or_insert(now, address) else { return };
        place.node = None;
        place.answer_by = None;
        place.not_before = now + STRANGER_PAUSE;
        place.knock_at = (place.pin != Pin::Hinted).then_some(place.not_before);
    }

    /// A knock that was never heard of again.
    pub fn next_lost(&self, now: Instant) -> Option<SocketAddr> {
        let mut all = self.0.iter();
        all.find(|(_, place)| place.answer_by.is_some_and(|by| by <= now))
            .map(|(&address, _)| address)
    }

    pub fn deadline(&self) -> Option<Instant> {
        let lost = self.0.values().filter_map(|place| place.answer_by).min();
        let due =
            self.0.values().filter(|place| !place.is_self).filter_map(|place| place.knock_at).min();
        let due = due.filter(|_| self.in_flight() < MAX_KNOCKS);
        lost.into_iter().chain(due).min()
    }

    /// Makes room by forgetting what has been left alone for longest; none when all are in use.
    fn get_or_insert(&mut self, now: Instant, address: SocketAddr) -> Option<&mut Place> {
        if !self.0.contains_key(&address) && self.0.len() >= MAX_PLACES {
            let forgettable = self.0.iter().filter(|(_, place)| place.is_forgettable());
            let oldest = *forgettable.min_by_key(|(_, place)| (place.is_self, place.not_before))?.0;
            self.0.remove(&oldest);
        }
        Some(self.0.entry(address).or_insert_with(|| Place::new(now)))
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
