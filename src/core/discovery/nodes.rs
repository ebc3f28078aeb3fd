//! The nodes of the group, and when to dial each.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use heapless::index_map::FnvIndexMap;

use super::{
    Greeting,
    jitter::{Jitter, doubled},
    places::with_port,
};
use crate::model::{
    limits::{
        DIAL_DOUBT_AFTER, DIAL_INTERVAL_MIN, LINK_STABLE_AFTER, LINK_SWITCH_AFTER, MAX_NODES,
        NODE_SEEN_LATELY, RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN,
    },
    version::NodeId,
};

/// After this many failures in a row, and each doubling of it, the node is asked on 2194 where it
/// is now.
const FAILURES_BEFORE_ASKING: u32 = 4;

/// Where a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Where {
    /// Where it takes data.
    pub address: SocketAddr,
    /// Where it answers on its discovery port, as far as known.
    pub place: SocketAddr,
}

/// The connection from here to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// There is none; `None`: and none is wanted until the node is seen.
    Idle { dial_at: Option<Instant> },
    /// The shell is at it. When it takes too long, other addresses are asked.
    Dialling { to: Where, since: Instant, doubt_at: Option<Instant> },
    /// It stands.
    Up { to: Where, since: Instant },
    /// The shell was told to end it. Then the node is dialled where it answers.
    Leaving,
}

impl Link {
    fn to(&self) -> Option<Where> {
        match *self {
            Self::Dialling { to, .. } | Self::Up { to, .. } => Some(to),
            Self::Idle { .. } | Self::Leaving => None,
        }
    }
}

/// Nobody knows whether the address of a link still leads to the node, so all of the node's are
/// asked.
#[derive(Debug, Default)]
struct Doubt {
    /// Another one that answers, and since when that is known.
    better: Option<(Instant, Where)>,
}

#[derive(Debug)]
pub struct Node {
    /// Where it said to be last.
    at: Where,
    /// The place that the shell was told to remember.
    pub remembered: Option<SocketAddr>,
    instance: u64,
    link: Link,
    doubt: Option<Doubt>,
    /// When its link came into doubt last.
    doubted: Option<Instant>,
    dialled: Option<Instant>,
    /// Dials that led to no stable link, in a row.
    failures: u32,
    seen: Instant,
}

impl Node {
    fn new(now: Instant, instance: u64, at: Where) -> Self {
        Self {
            at,
            remembered: None,
            instance,
            link: Link::Idle { dial_at: Some(now) },
            doubt: None,
            doubted: None,
            dialled: None,
            failures: 0,
            seen: now,
        }
    }

    /// Where the link leads to, or else where the node is dialled next.
    pub fn address(&self) -> SocketAddr {
        self.link.to().unwrap_or(self.at).address
    }

    fn is_idle(&self) -> bool {
        matches!(self.link, Link::Idle { .. })
    }

    fn greeted(&mut self, now: Instant, instance: u64, at: Where) {
        let has_moved = self.at.address != at.address || self.instance != instance;
        self.at = at;
        self.instance = instance;
        self.seen = now;
        if has_moved {
            self.failures = 0;
        }
        self.dial_soon(now, if has_moved { RECONNECT_DELAY_MIN } else { DIAL_INTERVAL_MIN });
    }

    /// If there is no link: as soon as it may be, so long after it was dialled last.
    fn dial_soon(&mut self, now: Instant, pause: Duration) {
        let soon = self.dialled.map_or(now, |dialled| now.max(dialled + pause));
        if let Link::Idle { dial_at } = &mut self.link {
            *dial_at = Some(dial_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// It answers there. In doubt this is what decides.
    fn answered(&mut self, now: Instant, at: Where) {
        let Some(doubt) = &mut self.doubt else { return };
        if self.link.to().is_some_and(|to| to.address == at.address) {
            self.doubt = None;
        } else {
            doubt.better.get_or_insert((now, at));
        }
    }

    /// It has called from there, and has proved who it is. True: the link is to be asked after.
    fn called(&mut self, now: Instant, place: SocketAddr) -> bool {
        let address = with_port(place, self.at.address.port());
        let at = Where { address, place };
        self.seen = now;
        match self.link {
            Link::Idle { .. } => {
                (self.at, self.failures) = (at, 0);
                self.dial_soon(now, RECONNECT_DELAY_MIN);
                false
            }
            // What was sent to it while it could not be reached is long lost.
            Link::Dialling { since, .. } if now - since >= DIAL_DOUBT_AFTER => {
                self.doubt = Some(Doubt { better: Some((since, at)) });
                false
            }
            Link::Up { to, .. } => to.address.ip() != place.ip() && self.doubt(now),
            Link::Dialling { .. } | Link::Leaving => false,
        }
    }

    /// True: there is a link that stands, and all addresses are to be asked.
    fn doubt(&mut self, now: Instant) -> bool {
        let is_news = self.doubted.is_none_or(|at| now - at >= DIAL_INTERVAL_MIN);
        let begins = is_news && matches!(self.link, Link::Up { .. });
        if begins {
            (self.doubt, self.doubted) = (Some(Doubt::default()), Some(now));
        }
        begins
    }

    /// When the link is given up for the address that answers.
    fn switch_at(&self) -> Option<Instant> {
        self.doubt.as_ref()?.better.map(|(since, _)| since + LINK_SWITCH_AFTER)
    }

    fn closed(&mut self, now: Instant, jitter: &mut Jitter) {
        self.doubt = None;
        if self.link == Link::Leaving {
            self.link = Link::Idle { dial_at: Some(now) };
            return;
        }
        if let Link::Up { since, .. } = self.link {
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
    /// A node said where it is, `answered`: when it was asked. False: there is no room for it.
    pub fn greeted(
        &mut self,
        now: Instant,
        greeting: &Greeting,
        at: Where,
        answered: bool,
    ) -> bool {
        // One that drew a new identity is at the same address under another name.
        self.0.retain(|&id, node| {
            id == greeting.node || !node.is_idle() || node.at.address != at.address
        });
        if let Some(node) = self.0.get_mut(&greeting.node) {
            if answered {
                node.answered(now, at);
            }
            node.greeted(now, greeting.instance, at);
            return true;
        }
        if self.0.is_full() {
            self.forget_longest_unseen();
        }
        self.0.insert(greeting.node, Node::new(now, greeting.instance, at)).is_ok()
    }

    /// See [`Node::called`]. Where the link leads to that is to be asked after.
    pub fn called(&mut self, now: Instant, id: NodeId, place: SocketAddr) -> Option<SocketAddr> {
        let node = self.0.get_mut(&id)?;
        if node.called(now, place) { node.link.to().map(|to| to.place) } else { None }
    }

    /// The node has not been heard for too long. Where the link leads to that is to be asked after.
    pub fn doubt(&mut self, now: Instant, id: NodeId) -> Option<SocketAddr> {
        let node = self.0.get_mut(&id)?;
        if node.doubt(now) { node.link.to().map(|to| to.place) } else { None }
    }

    /// A node that does not answer its dial: its other addresses are to be asked. Says so once a
    /// dial.
    pub fn next_doubtful_dial(&mut self, now: Instant) -> Option<NodeId> {
        self.0.iter_mut().find_map(|(&id, node)| {
            let Link::Dialling { doubt_at, .. } = &mut node.link else { return None };
            doubt_at.take_if(|at| *at <= now)?;
            node.doubt = Some(Doubt::default());
            Some(id)
        })
    }

    /// A node whose link is to be given up, since it answers elsewhere. It counts as left.
    pub fn next_switch(&mut self, now: Instant) -> Option<NodeId> {
        let is_due = |node: &Node| node.switch_at().is_some_and(|at| at <= now);
        let (&id, node) = self.0.iter_mut().find(|(_, node)| is_due(node))?;
        let (_, better) = node.doubt.take().and_then(|doubt| doubt.better)?;
        (node.at, node.link) = (better, Link::Leaving);
        Some(id)
    }

    /// This machine's address on the way to the node is gone, and so is the link. Where it led to.
    pub fn lost(&mut self, now: Instant, id: NodeId, jitter: &mut Jitter) -> Option<SocketAddr> {
        let node = self.0.get_mut(&id).filter(|node| !node.is_idle())?;
        node.closed(now, jitter);
        (node.failures, node.dialled) = (0, None);
        // Whatever answers first is dialled; if nothing does, it may be for want of a hello.
        node.link = Link::Idle { dial_at: Some(now + LINK_SWITCH_AFTER) };
        Some(node.at.place)
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
        node.link =
            Link::Dialling { to: node.at, since: now, doubt_at: Some(now + DIAL_DOUBT_AFTER) };
        (node.doubt, node.dialled) = (None, Some(now));
        Some((id, node.at.address))
    }

    /// The node, and the place that its link leads to. None for one that is being left.
    pub fn up(&mut self, now: Instant, id: NodeId) -> Option<(&mut Node, SocketAddr)> {
        let node = self.0.get_mut(&id).filter(|node| node.link != Link::Leaving)?;
        let to = node.link.to().unwrap_or(node.at);
        node.link = Link::Up { to, since: now };
        (node.doubt, node.seen) = (None, now);
        Some((node, to.place))
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
        let due = self.0.values().flat_map(|node| {
            let next = match node.link {
                Link::Idle { dial_at: at } | Link::Dialling { doubt_at: at, .. } => at,
                Link::Up { .. } | Link::Leaving => None,
            };
            [next, node.switch_at()]
        });
        due.flatten().min()
    }

    fn forget_longest_unseen(&mut self) {
        let unwanted = self.0.iter().filter(|(_, node)| node.link == Link::Idle { dial_at: None });
        if let Some(id) = unwanted.min_by_key(|(_, node)| node.seen).map(|(&id, _)| id) {
            self.0.swap_remove(&id);
        }
    }
}
