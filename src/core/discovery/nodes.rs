//! The nodes of the group, and when to dial each.

use std::{net::SocketAddr, time::Instant};

use heapless::index_map::FnvIndexMap;

use super::{
    Greeting,
    jitter::{Jitter, doubled},
};
use crate::model::{
    limits::{
        DIAL_INTERVAL_MIN, LINK_STABLE_AFTER, MAX_NODES, NODE_SEEN_LATELY, RECONNECT_DELAY_MAX,
        RECONNECT_DELAY_MIN,
    },
    version::NodeId,
};

/// After this many failures in a row, and each doubling of it, the node is asked on 2194 where it
/// is now.
const FAILURES_BEFORE_ASKING: u32 = 4;

/// The connection from here to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// There is none; `None`: and none is wanted until the node is seen.
    Idle { dial_at: Option<Instant> },
    /// The shell is at it.
    Dialling,
    /// It stands.
    Up { since: Instant },
}

#[derive(Debug)]
pub struct Node {
    /// Where it takes data.
    pub address: SocketAddr,
    /// Where it answers on its discovery port, as far as known.
    pub place: SocketAddr,
    /// The place that the shell was told to remember.
    pub remembered: Option<SocketAddr>,
    instance: u64,
    link: Link,
    dialled: Option<Instant>,
    /// Dials that led to no stable link, in a row.
    failures: u32,
    seen: Instant,
}

impl Node {
    fn is_idle(&self) -> bool {
        matches!(self.link, Link::Idle { .. })
    }

    fn greeted(
        &mut self,
        now: Instant,
        greeting: &Greeting,
        address: SocketAddr,
        place: SocketAddr,
    ) {
        let has_moved = self.address != address || self.instance != greeting.instance;
        self.address = address;
        self.place = place;
        self.instance = greeting.instance;
        self.seen = now;
        if has_moved {
            self.failures = 0;
        }
        let pause = if has_moved { RECONNECT_DELAY_MIN } else { DIAL_INTERVAL_MIN };
        let soon = self.dialled.map_or(now, |dialled| now.max(dialled + pause));
        if let Link::Idle { dial_at } = &mut self.link {
            *dial_at = Some(dial_at.map_or(soon, |at| at.min(soon)));
        }
    }

    fn closed(&mut self, now: Instant, jitter: &mut Jitter) {
        if let Link::Up { since } = self.link {
            self.seen = now;
            if now - since >= LINK_STABLE_AFTER {
                self.failures = 0;
            }
        }
        let pause = doubled(RECONNECT_DELAY_MIN, self.failures, RECONNECT_DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        let is_lately = now - self.seen <= NODE_SEEN_LATELY;
        self.link = Link::Idle { dial_at: is_lately.then(|| now + jitter.around(pause)) };
    }

    fn is_to_be_asked(&self) -> bool {
        self.link == Link::Idle { dial_at: None }
            || self.failures >= FAILURES_BEFORE_ASKING && self.failures.is_power_of_two()
    }
}

/// At most `MAX_NODES`; a further one takes the place of one that is not wanted until it is seen,
/// or is refused.
#[derive(Debug, Default)]
pub struct Nodes(FnvIndexMap<NodeId, Node, MAX_NODES>);

impl Nodes {
    /// A node said where it is. False: there is no room for it.
    pub fn greeted(
        &mut self,
        now: Instant,
        greeting: &Greeting,
        address: SocketAddr,
        place: SocketAddr,
    ) -> bool {
        // One that drew a new identity is at the same address under another name.
        self.0
            .retain(|&id, node| id == greeting.node || !node.is_idle() || node.address != address);
        if let Some(node) = self.0.get_mut(&greeting.node) {
            node.greeted(now, greeting, address, place);
            return true;
        }
        if self.0.is_full() {
            self.forget_longest_unseen();
        }
        let node = Node {
            address,
            place,
            remembered: None,
            instance: greeting.instance,
            link: Link::Idle { dial_at: Some(now) },
            dialled: None,
            failures: 0,
            seen: now,
        };
        self.0.insert(greeting.node, node).is_ok()
    }

    /// Its address was seen in use.
    pub fn seen(&mut self, now: Instant, id: NodeId) {
        if let Some(node) = self.0.get_mut(&id) {
            node.seen = now;
        }
    }

    /// The next node to dial, and where. It counts as dialled.
    pub fn next_dial(&mut self, now: Instant) -> Option<(NodeId, SocketAddr)> {
        let is_due =
            |node: &Node| matches!(node.link, Link::Idle { dial_at: Some(at) } if at <= now);
        let (&id, node) = self.0.iter_mut().find(|(_, node)| is_due(node))?;
        node.link = Link::Dialling;
        node.dialled = Some(now);
        Some((id, node.address))
    }

    pub fn up(&mut self, now: Instant, id: NodeId) -> Option<&mut Node> {
        let node = self.0.get_mut(&id)?;
        node.link = Link::Up { since: now };
        node.seen = now;
        Some(node)
    }

    /// True: the node should be asked where it is now.
    pub fn closed(&mut self, now: Instant, id: NodeId, jitter: &mut Jitter) -> bool {
        let Some(node) = self.0.get_mut(&id).filter(|node| !node.is_idle()) else { return false };
        node.closed(now, jitter);
        node.is_to_be_asked()
    }

    /// The network has changed: all that have no link are dialled at once.
    pub fn dial_all(&mut self, now: Instant) {
        for node in self.0.values_mut().filter(|node| node.is_idle()) {
            node.failures = 0;
            node.link = Link::Idle { dial_at: Some(now) };
        }
    }

    /// Is there a link to it, or one on its way?
    pub fn is_linked(&self, id: NodeId) -> bool {
        self.0.get(&id).is_some_and(|node| !node.is_idle())
    }

    /// Is there a link to anybody?
    pub fn any_linked(&self) -> bool {
        self.0.values().any(|node| !node.is_idle())
    }

    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.0.iter().map(|(&id, node)| (id, node))
    }

    pub fn deadline(&self) -> Option<Instant> {
        let dials = self.0.values().filter_map(|node| match node.link {
            Link::Idle { dial_at } => dial_at,
            Link::Dialling | Link::Up { .. } => None,
        });
        dials.min()
    }

    fn forget_longest_unseen(&mut self) {
        let unwanted = self.0.iter().filter(|(_, node)| node.link == Link::Idle { dial_at: None });
        if let Some(id) = unwanted.min_by_key(|(_, node)| node.seen).map(|(&id, _)| id) {
            self.0.swap_remove(&id);
        }
    }
}
