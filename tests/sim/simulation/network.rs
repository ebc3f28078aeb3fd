//! The connections between nodes, each of one direction: ordered, late, and cut off anywhere.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use super::{random::Rng, storage::Fuse};
use p2pnetwork::{
    core::seam::Direction,
    io::node::replica::Links,
    model::{
        limits::{LINK_DEAD_AFTER, MAX_SEND_BUFFER_BYTES, SEND_STALLED_AFTER},
        version::NodeId,
    },
};

/// What a node hears of the network.
#[derive(Debug, Clone)]
pub enum Heard {
    Up { node: NodeId, direction: Direction, address: SocketAddr },
    Down { node: NodeId, direction: Direction },
    Message { node: NodeId, bytes: Vec<u8> },
}

#[derive(Debug)]
struct Sent {
    at: Duration,
    arrives_at: Duration,
    bytes: Vec<u8>,
}

/// What one node says to another.
#[derive(Debug)]
struct Link {
    /// Who they were when it was made.
    speaker: NodeId,
    listener: NodeId,
    /// When they learn that it is up: nothing is said before, and nothing heard.
    speaks_from: Duration,
    hears_from: Duration,
    queue: VecDeque<Sent>,
    bytes: usize,
    heard_at: Duration,
    /// The speaker has ended it: what is in the queue still arrives.
    ended: bool,
    /// The listener is gone without a word: nothing arrives.
    orphaned: bool,
}

/// One link at most from each node to each: a square, since every turn of every node looks at it
/// many times.
#[derive(Debug, Default)]
struct Table {
    nodes: usize,
    links: Vec<Option<Link>>,
}

impl Table {
    fn new(nodes: usize) -> Self {
        Self { nodes, links: (0..nodes * nodes).map(|_| None).collect() }
    }

    fn add_node(&mut self) {
        let old = std::mem::replace(self, Self::new(self.nodes + 1));
        for (at, link) in old.links.into_iter().enumerate() {
            self.links[at / old.nodes * self.nodes + at % old.nodes] = link;
        }
    }

    fn get(&self, (from, to): (usize, usize)) -> Option<&Link> {
        self.links[from * self.nodes + to].as_ref()
    }

    fn get_mut(&mut self, (from, to): (usize, usize)) -> Option<&mut Link> {
        self.links[from * self.nodes + to].as_mut()
    }

    fn insert(&mut self, (from, to): (usize, usize), link: Link) {
        self.links[from * self.nodes + to] = Some(link);
    }

    fn remove(&mut self, (from, to): (usize, usize)) -> Option<Link> {
        self.links[from * self.nodes + to].take()
    }

    fn iter(&self) -> impl Iterator<Item = ((usize, usize), &Link)> {
        let ends = |at: usize| (at / self.nodes, at % self.nodes);
        self.links.iter().enumerate().filter_map(move |(at, link)| Some((ends(at), link.as_ref()?)))
    }

    /// What is said to a node.
    fn to(&self, node: usize) -> impl Iterator<Item = ((usize, usize), &Link)> {
        (0..self.nodes).filter_map(move |from| Some(((from, node), self.get((from, node))?)))
    }

    /// What a node says.
    fn from(&self, node: usize) -> impl Iterator<Item = ((usize, usize), &Link)> {
        (0..self.nodes).filter_map(move |to| Some(((node, to), self.get((node, to))?)))
    }

    /// The ends of all links that a node has.
    fn of(&self, node: usize) -> Vec<(usize, usize)> {
        self.iter()
            .map(|(ends, _)| ends)
            .filter(|(from, to)| *from == node || *to == node)
            .collect()
    }
}

/// All of them.
#[derive(Debug)]
pub struct Network {
    links: Table,
    heard: Vec<VecDeque<(Duration, Heard)>>,
    /// Nothing gets through from the first to the second.
    pub blocked: BTreeSet<(usize, usize)>,
    /// Per direction: the shortest and the longest delay in ms.
    delays: BTreeMap<(usize, usize), (u64, u64)>,
    pub max_delay_ms: u64,
    rng: Rng,
    /// Messages that were not keep-alives.
    pub said: u64,
}

impl Network {
    pub fn new(nodes: usize, max_delay_ms: u64, rng: Rng) -> Self {
        Self {
            links: Table::new(nodes),
            heard: vec![VecDeque::new(); nodes],
            blocked: BTreeSet::new(),
            delays: BTreeMap::new(),
            max_delay_ms,
            rng,
            said: 0,
        }
    }

    pub fn add_node(&mut self) {
        self.heard.push(VecDeque::new());
        self.links.add_node();
    }

    pub fn is_linked(&self, from: usize, to: usize) -> bool {
        self.links.get((from, to)).is_some_and(|link| !link.ended && !link.orphaned)
    }

    /// A connection from one to the other is up.
    pub fn link(
        &mut self,
        (from, speaker): (usize, NodeId),
        (to, listener): (usize, NodeId),
        now: Duration,
    ) {
        if let Some(old) = self.links.remove((from, to)) {
            if !old.ended {
                self.tell(
                    from,
                    now,
                    Heard::Down { node: old.listener, direction: Direction::Outbound },
                );
            }
            self.tell(to, now, Heard::Down { node: old.speaker, direction: Direction::Inbound });
        }
        self.replace_twin((from, speaker), (to, listener), now);
        let up = |node, direction, of| Heard::Up { node, direction, address: address(of) };
        let speaks_from = self.tell(from, now, up(listener, Direction::Outbound, to));
        let hears_from = self.tell(to, now, up(speaker, Direction::Inbound, from));
        let link = Link {
            speaker,
            listener,
            speaks_from,
            hears_from,
            queue: VecDeque::new(),
            bytes: 0,
            heard_at: now,
            ended: false,
            orphaned: false,
        };
        self.links.insert((from, to), link);
    }

    /// A node has one connection of each direction with any other, and the newer replaces the
    /// older: also when it is another machine that has the same identity.
    fn replace_twin(
        &mut self,
        (from, speaker): (usize, NodeId),
        (to, listener): (usize, NodeId),
        now: Duration,
    ) {
        let is_twin = |(ends, link): &((usize, usize), &Link)| {
            ends.1 == to && link.speaker == speaker || ends.0 == from && link.listener == listener
        };
        let twins: Vec<(usize, usize)> =
            self.links.iter().filter(is_twin).map(|(ends, _)| ends).collect();
        for ends in twins {
            let Some(old) = self.links.remove(ends) else { continue };
            if !old.ended {
                self.tell(
                    ends.0,
                    now,
                    Heard::Down { node: old.listener, direction: Direction::Outbound },
                );
            }
            self.tell(
                ends.1,
                now,
                Heard::Down { node: old.speaker, direction: Direction::Inbound },
            );
        }
    }

    /// Ends what `from` says to `to`, which hears some of what is on the way, to any byte.
    pub fn cut(&mut self, from: usize, to: usize, now: Duration) {
        let Some(link) = self.links.get_mut((from, to)) else { return };
        if link.ended {
            return;
        }
        link.ended = true;
        let arrives = self.rng.below(link.queue.len() as u64 + 1) as usize;
        link.queue.truncate(arrives);
        let (node, direction) = (link.listener, Direction::Outbound);
        let later = now + Duration::from_millis(self.rng.below(50));
        self.tell(from, later, Heard::Down { node, direction });
    }

    pub fn cut_both(&mut self, a: usize, b: usize, now: Duration) {
        self.cut(a, b, now);
        self.cut(b, a, now);
    }

    /// A node is gone; with `silently`, the others find out by themselves.
    pub fn forget_node(&mut self, node: usize, silently: bool, now: Duration) {
        self.heard[node].clear();
        for (from, to) in self.links.of(node) {
            let Some(link) = self.links.get_mut((from, to)) else { continue };
            if from == node && silently {
                link.ended = false;
                link.orphaned = true;
                link.queue.clear();
            } else if from == node {
                link.ended = true;
            } else if silently && !link.ended {
                link.orphaned = true;
            } else {
                let (was_ended, node, direction) = (link.ended, link.listener, Direction::Outbound);
                self.links.remove((from, to));
                if !was_ended {
                    self.tell(from, now, Heard::Down { node, direction });
                }
            }
        }
    }

    /// A node is back: whoever still speaks to the one that it was learns that it is gone.
    pub fn reset_node(&mut self, node: usize, now: Duration) {
        self.heard[node].clear();
        for (from, to) in self.links.of(node) {
            let Some(link) = self.links.remove((from, to)) else { continue };
            let later = now + Duration::from_millis(self.rng.below(50));
            if to != node {
                self.tell(
                    to,
                    later,
                    Heard::Down { node: link.speaker, direction: Direction::Inbound },
                );
            } else if !link.ended {
                self.tell(
                    from,
                    later,
                    Heard::Down { node: link.listener, direction: Direction::Outbound },
                );
            }
        }
    }

    /// When a node has something to hear.
    pub fn ready_at(&self, node: usize) -> Option<Duration> {
        let told = self.heard[node].front().map(|(at, _)| *at);
        let links = self.links.to(node).filter(|(ends, _)| !self.blocked.contains(ends));
        let arrives = links.filter_map(|(_, link)| match link.queue.front() {
            Some(sent) => Some(sent.arrives_at.max(link.hears_from)),
            None => link.ended.then_some(link.hears_from),
        });
        arrives.chain(told).min()
    }

    /// The next thing that a node hears.
    pub fn hear(&mut self, node: usize, now: Duration) -> Option<Heard> {
        if self.heard[node].front().is_some_and(|(at, _)| *at <= now) {
            return self.heard[node].pop_front().map(|(_, heard)| heard);
        }
        let links = self.links.to(node).filter(|(ends, _)| !self.blocked.contains(ends));
        let known = links.filter(|(_, link)| link.hears_from <= now);
        let arrived = known.filter_map(|(ends, link)| match link.queue.front() {
            Some(sent) => (sent.arrives_at <= now).then_some((sent.arrives_at, ends)),
            None => link.ended.then_some((now, ends)),
        });
        let (_, ends) = arrived.min()?;
        let link = self.links.get_mut(ends)?;
        let speaker = link.speaker;
        link.heard_at = now;
        match link.queue.pop_front() {
            Some(sent) => {
                link.bytes -= sent.bytes.len();
                Some(Heard::Message { node: speaker, bytes: sent.bytes })
            }
            None => {
                self.links.remove(ends);
                Some(Heard::Down { node: speaker, direction: Direction::Inbound })
            }
        }
    }

    /// Gives up on those who were silent for too long, or took nothing for too long.
    pub fn end_silent(&mut self, node: usize, now: Duration) {
        for (from, to) in self.links.of(node) {
            let Some(link) = self.links.get((from, to)) else { continue };
            if to == node
                && now > link.heard_at + LINK_DEAD_AFTER
                && link
                    .queue
                    .front()
                    .is_none_or(|sent| sent.arrives_at > now || self.is_blocked(from, to))
            {
                let speaker = link.speaker;
                let was_there = !link.orphaned && !link.ended;
                if was_there {
                    self.cut(from, to, now + Duration::from_secs(1));
                }
                self.links.remove((from, to));
                self.tell(to, now, Heard::Down { node: speaker, direction: Direction::Inbound });
                self.cut(to, from, now);
                continue;
            }
            let stalled = link.queue.front().is_some_and(|sent| now > sent.at + SEND_STALLED_AFTER);
            if from == node && stalled && !link.ended {
                self.cut(from, to, now);
            }
        }
    }

    /// Time has jumped, and nobody was silent for it.
    pub fn skip_silence(&mut self, now: Duration) {
        for link in self.links.links.iter_mut().flatten() {
            link.heard_at = now;
            link.queue.iter_mut().for_each(|sent| sent.at = now);
        }
    }

    fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains(&(from, to))
    }

    /// In the order in which it is told. When the node hears it.
    fn tell(&mut self, node: usize, at: Duration, heard: Heard) -> Duration {
        let after = self.heard[node].back().map_or(at, |(last, _)| at.max(*last));
        self.heard[node].push_back((after, heard));
        after
    }

    fn delay(&mut self, ends: (usize, usize)) -> Duration {
        let (max, rng) = (self.max_delay_ms, &mut self.rng);
        let (low, high) = *self.delays.entry(ends).or_insert_with(|| {
            let low = rng.below(max + 1);
            (low, rng.between(low, max))
        });
        Duration::from_micros(rng.between(low * 1000, high * 1000) + 50)
    }
}

fn address(of: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, of as u8 + 1), 2195))
}

/// The connections as one node sees them, for a turn.
pub struct Wire<'a> {
    pub network: &'a mut Network,
    pub node: usize,
    pub now: Duration,
    pub fuse: &'a Fuse,
    /// For the trace.
    pub log: Vec<String>,
}

impl Wire<'_> {
    fn find(&self, node: NodeId) -> Option<(usize, usize)> {
        let is_to = |link: &Link| link.listener == node && link.speaks_from <= self.now;
        self.network.links.from(self.node).find(|(_, link)| is_to(link)).map(|(ends, _)| ends)
    }
}

impl Links for Wire<'_> {
    fn room(&self, node: NodeId) -> usize {
        let Some(link) = self.find(node).and_then(|ends| self.network.links.get(ends)) else {
            return 0;
        };
        if link.ended { 0 } else { MAX_SEND_BUFFER_BYTES.saturating_sub(link.bytes) }
    }

    fn send(&mut self, node: NodeId, message: &[u8]) -> bool {
        let Some(ends) = self.find(node) else { return false };
        if self.fuse.is_blown() {
            return true;
        }
        let arrives_at = self.now + self.network.delay(ends);
        let link = self.network.links.get_mut(ends).expect("found above");
        if link.ended {
            return false;
        }
        let last = link.queue.back().map_or(Duration::ZERO, |sent| sent.arrives_at);
        link.bytes += message.len();
        let arrives_at = arrives_at.max(last);
        link.queue.push_back(Sent { at: self.now, arrives_at, bytes: message.to_vec() });
        if message != [0] {
            self.network.said += 1;
            self.log.push(format!("to {}: {} bytes, kind {}", ends.1, message.len(), message[0]));
        }
        true
    }

    fn flush(&mut self, _now: Instant) {}

    fn close(&mut self, node: NodeId) {
        if let Some((from, to)) = self.find(node) {
            self.network.cut_both(from, to, self.now);
        }
    }
}
