//! Who is there: decides whom to ask for by ARP, where to knock (2194), and which node to dial
//! (2195).
//!
//! Owns what is known of interfaces, addresses and nodes. Pure: no sockets, no clock, no random
//! source but the seed given at the start. Nothing is trusted because of ARP; it is a hint where to
//! knock, and hints are rate limited. What is believed is a [`Greeting`], which the shell passes on
//! only when its tag proved the group key.
//!
//! The shell reports the outcome of every [`Action::Knock`] (greeting, stranger or failure) and of
//! every [`Action::Dial`] (up, then closed; or closed at once). All tables are bounded; see
//! "Finding peers" in [`limits`](crate::model::limits).

mod jitter;
mod nodes;
mod places;
#[cfg(test)]
mod simulation;
pub(crate) mod sweep;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod ways_tests;
mod words;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use heapless::{Deque, Vec};

use crate::{
    model::{
        limits::{
            LINKED_SWEEP_INTERVAL, MAX_DISCOVERY_ACTIONS, MAX_INTERFACES, MAX_SWEEP_KNOCKS,
            SWEEP_BURST, SWEEP_INTERVAL,
        },
        version::NodeId,
    },
    wire::arp::is_host_address,
};

pub use words::{Action, Greeting, Interface, Probe, TooManyPeers};

use jitter::Jitter;
use nodes::{Nodes, Where};
use places::{Pin, Places, with_port};
use sweep::{Stop, Sweep};

/// See the module.
#[derive(Debug)]
pub struct Discovery {
    node: NodeId,
    instance: u64,
    discovery_port: u16,
    probe: Probe,
    jitter: Jitter,
    interfaces: Vec<Interface, MAX_INTERFACES>,
    sweep: Sweep,
    places: Places,
    nodes: Nodes,
    actions: Deque<Action, MAX_DISCOVERY_ACTIONS>,
    deadline: Option<Instant>,
    twin_was_seen: bool,
    said_refused: bool,
}

impl Discovery {
    /// A node that knows of nobody. `discovery_port` is its own and is taken for everybody's;
    /// `seed` is random.
    pub fn new(
        now: Instant,
        node: NodeId,
        instance: u64,
        discovery_port: u16,
        probe: Probe,
        seed: u64,
    ) -> Self {
        Self {
            node,
            instance,
            discovery_port,
            probe,
            jitter: Jitter::new(seed),
            interfaces: Vec::new(),
            sweep: Sweep::new(now),
            places: Places::default(),
            nodes: Nodes::default(),
            actions: Deque::new(),
            deadline: None,
            twin_was_seen: false,
            said_refused: false,
        }
    }

    /// An address that the user named: knocked at once and again until a node answers. Refused
    /// beyond `MAX_PINNED_PLACES`.
    pub fn add_static(&mut self, now: Instant, address: SocketAddr) -> Result<(), TooManyPeers> {
        let is_added = self.places.pin(now, address, Pin::Static, None);
        self.act(now);
        if is_added { Ok(()) } else { Err(TooManyPeers) }
    }

    /// An address that worked in an earlier run: knocked at once and again, ever less often.
    /// Dropped beyond `MAX_PINNED_PLACES`: the sweep has to find it.
    pub fn add_remembered(&mut self, now: Instant, node: NodeId, address: SocketAddr) {
        self.places.pin(now, address, Pin::Remembered, Some(node));
        self.act(now);
    }

    /// Chooses how addresses are found from here on, beginning with a sweep.
    pub fn set_probe(&mut self, now: Instant, probe: Probe) {
        if self.probe != probe {
            self.probe = probe;
            self.sweep.stop();
            self.begin_sweep();
            self.act(now);
        }
    }

    /// A new identity, drawn because of [`Action::TwinSeen`].
    pub fn set_identity(&mut self, node: NodeId, instance: u64) {
        self.node = node;
        self.instance = instance;
        self.twin_was_seen = false;
    }

    /// All interfaces that peers may be on: at the start, and whenever something may have changed.
    /// What is new is swept at once.
    /// Interfaces beyond `MAX_INTERFACES` addresses are left out.
    pub fn handle_interfaces(&mut self, now: Instant, interfaces: &[Interface]) {
        let kept = &interfaces[..interfaces.len().min(MAX_INTERFACES)];
        if kept == self.interfaces.as_slice() {
            return;
        }
        let old = std::mem::take(&mut self.interfaces);
        self.interfaces = kept.iter().cloned().collect();
        old.iter().filter(|gone| !kept.contains(gone)).for_each(|gone| self.sweep.remove(gone));
        for new in kept.iter().filter(|new| !old.contains(new)) {
            if self.probe != Probe::None {
                self.sweep.add(new);
            }
        }
        self.act(now);
    }

    /// This machine has a new address, or a network has its carrier again: every node without a
    /// link is tried again, whatever pause it was given.
    pub fn handle_new_address(&mut self, now: Instant) {
        self.places.ask_all(now, |node| self.nodes.is_linked(node));
        self.nodes.dial_all(now);
        self.act(now);
    }

    /// The address is in use: an ARP packet or the kernel's neighbour table said so. Anybody can
    /// make us believe that, so it causes a knock at most, and that not often.
    pub fn handle_sighting(&mut self, now: Instant, address: Ipv4Addr) {
        let place = self.place(address.into());
        if self.probe == Probe::None || !self.is_neighbour(address) || self.is_own(place) {
            return;
        }
        let node = self.places.node_at(place);
        node.into_iter().for_each(|node| self.nodes.seen(now, node));
        if !node.is_some_and(|node| self.nodes.is_linked(node)) && self.places.hint(now, place) {
            self.act(now);
        }
    }

    /// A member of the group said hello: it called us (`inbound`; of `from` only the IP address
    /// counts), or it answered our knock at `from`.
    pub fn handle_greeting(
        &mut self,
        now: Instant,
        from: SocketAddr,
        greeting: Greeting,
        inbound: bool,
    ) {
        if greeting.node == NodeId::ANONYMOUS {
            return;
        }
        if greeting.node == self.node {
            self.handle_own_name(now, from, greeting.instance, inbound);
        } else {
            self.handle_member(now, from, &greeting, inbound);
        }
        self.act(now);
    }

    /// Nobody answered a knock, or not in time.
    pub fn handle_knock_failed(&mut self, now: Instant, address: SocketAddr) {
        self.places.failed(now, address, &mut self.jitter);
        self.act(now);
    }

    /// Somebody answered a knock who is not of our group: left alone for `STRANGER_PAUSE`.
    pub fn handle_stranger(&mut self, now: Instant, address: SocketAddr) {
        self.places.stranger(now, address);
        self.act(now);
    }

    /// The connection to a node stands, and both sides have proved the key.
    pub fn handle_outbound_up(&mut self, now: Instant, id: NodeId) {
        if let Some((node, place)) = self.nodes.up(now, id) {
            let is_known = node.remembered == Some(place) || self.places.is_remembered(place, id);
            if !is_known && !self.actions.is_full() {
                node.remembered = Some(place);
                self.places.forget_remembered(id);
                self.push(Action::Remember { node: id, address: place });
            }
        }
        self.act(now);
    }

    /// The connection to a node is gone, or could not be made.
    pub fn handle_outbound_closed(&mut self, now: Instant, id: NodeId) {
        if self.nodes.closed(now, id, &mut self.jitter) {
            self.places.ask_again(now, id);
        }
        self.act(now);
    }

    /// The connection to a node is gone, or could not be made, since this machine's own address on
    /// it is gone, or the cable of that network: the node is asked for everywhere else at once.
    pub fn handle_own_address_gone(&mut self, now: Instant, id: NodeId) {
        if let Some(place) = self.nodes.lost(now, id, &mut self.jitter) {
            self.places.ask_now(now, id, place);
        }
        self.act(now);
    }

    /// Nothing was heard of a linked node for so long that its keep-alive is late: it is asked at
    /// all of its addresses. If another one than the link's answers, that is dialled instead.
    pub fn handle_late(&mut self, now: Instant, id: NodeId) {
        if let Some(place) = self.nodes.doubt(now, id) {
            self.places.ask_now(now, id, place);
        }
        self.act(now);
    }

    /// A node made a connection to this one (`from` it, of which only the IP address counts), and
    /// proved the key: there it can be reached now. Who calls from another address than the link
    /// leads to may have left that.
    pub fn handle_inbound_up(&mut self, now: Instant, id: NodeId, from: SocketAddr) {
        let place = with_port(from, self.discovery_port);
        if let Some(used) = self.nodes.called(now, id, place) {
            self.places.called(now, place, id);
            self.places.ask_now(now, id, used);
        }
        self.act(now);
    }

    /// A deadline of [`Discovery::poll_timeout`] has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.act(now);
        }
    }

    /// When [`Discovery::handle_timeout`] is to be called next. It may lie in the past: then at
    /// once, after the actions were polled.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// The next thing to do; to be called until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The nodes known, and where each takes data: of a linked one, where the link leads to.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, SocketAddr)> {
        self.nodes.iter().map(|(id, node)| (id, node.address()))
    }

    fn handle_own_name(&mut self, now: Instant, from: SocketAddr, instance: u64, inbound: bool) {
        if instance == self.instance {
            if !inbound {
                self.places.mark_self(from);
            }
            return;
        }
        if !inbound {
            self.places.twin_answered(now, from);
        }
        if !self.twin_was_seen && !self.actions.is_full() {
            self.twin_was_seen = true;
            self.push(Action::TwinSeen);
        }
    }

    fn handle_member(
        &mut self,
        now: Instant,
        from: SocketAddr,
        greeting: &Greeting,
        inbound: bool,
    ) {
        let address = with_port(from, greeting.sync_port);
        let place = if inbound { with_port(from, self.discovery_port) } else { from };
        if !inbound {
            self.places.greeted(from, greeting.node);
        } else if matches!(from.ip(), IpAddr::V4(ip) if self.is_neighbour(ip)) {
            self.places.called(now, place, greeting.node);
        }
        if self.nodes.greeted(now, greeting, Where { address, place }, !inbound) {
            self.said_refused &= self.nodes.is_full();
        } else {
            self.refuse(now, greeting.node, place);
        }
    }

    fn refuse(&mut self, now: Instant, node: NodeId, place: SocketAddr) {
        self.places.stranger(now, place);
        if !self.said_refused && !self.actions.is_full() {
            self.said_refused = true;
            self.push(Action::Refused { node });
        }
    }

    /// Does all that is due. What does not fit into the queue of actions stays due.
    fn act(&mut self, now: Instant) {
        while let Some(lost) = self.places.next_lost(now) {
            self.places.failed(now, lost, &mut self.jitter);
        }
        self.leave(now);
        self.dial(now);
        self.knock(now);
        self.go_on_sweeping(now);
        self.deadline = self.next_deadline();
    }

    /// Links whose address does not answer, and dials that take too long.
    fn leave(&mut self, now: Instant) {
        while let Some(node) = self.nodes.next_doubtful_dial(now) {
            self.places.ask_again(now, node);
        }
        while !self.actions.is_full()
            && let Some(node) = self.nodes.next_switch(now)
        {
            self.push(Action::HangUp { node });
        }
    }

    fn dial(&mut self, now: Instant) {
        while !self.actions.is_full()
            && let Some((node, address)) = self.nodes.next_dial(now)
        {
            self.push(Action::Dial { node, address });
        }
    }

    fn knock(&mut self, now: Instant) {
        while !self.actions.is_full()
            && let Some(address) = self.places.next_due(now)
        {
            if self.is_own(address) {
                self.places.mark_self(address);
            } else {
                self.places.knock(now, address);
                self.push(Action::Knock(address));
            }
        }
    }

    fn go_on_sweeping(&mut self, now: Instant) {
        if self.sweep.begins(now) {
            self.begin_sweep();
        }
        if self.may_sweep() && self.sweep.burst(now) {
            for _ in 0..SWEEP_BURST {
                let Some(stop) = self.may_sweep().then(|| self.sweep.next_stop()).flatten() else {
                    break;
                };
                self.visit(now, stop);
            }
        }
        if self.sweep.is_stopped() && self.probe != Probe::None && !self.interfaces.is_empty() {
            let pause =
                if self.nodes.any_linked() { LINKED_SWEEP_INTERVAL } else { SWEEP_INTERVAL };
            self.sweep.schedule(now + self.jitter.beyond(pause));
        }
    }

    fn begin_sweep(&mut self) {
        if self.probe != Probe::None {
            self.interfaces.iter().for_each(|interface| self.sweep.add(interface));
        }
    }

    fn may_sweep(&self) -> bool {
        !self.actions.is_full()
            && (self.probe == Probe::Arp || self.places.in_flight() < MAX_SWEEP_KNOCKS)
    }

    fn visit(&mut self, now: Instant, stop: Stop) {
        let place = self.place(stop.target.into());
        if self.is_own(place) {
            return;
        }
        if self.probe == Probe::Arp {
            let Stop { interface, source, target } = stop;
            self.push(Action::ArpRequest { interface, source, target });
        } else if !self.places.node_at(place).is_some_and(|node| self.nodes.is_linked(node))
            && self.places.try_knock(now, place)
        {
            self.push(Action::Knock(place));
        }
    }

    /// A connect sweep that waits for knocks to end goes on when one is reported.
    fn next_deadline(&self) -> Option<Instant> {
        let is_held_up = self.sweep.is_running() && !self.actions.is_full() && !self.may_sweep();
        let sweep = self.sweep.deadline().filter(|_| !is_held_up);
        [sweep, self.places.deadline(), self.nodes.deadline()].into_iter().flatten().min()
    }

    fn push(&mut self, action: Action) {
        self.actions.push_back(action).expect("whoever decides looks for room first");
    }

    fn place(&self, ip: IpAddr) -> SocketAddr {
        SocketAddr::new(ip, self.discovery_port)
    }

    fn is_own(&self, place: SocketAddr) -> bool {
        place.port() == self.discovery_port
            && self.interfaces.iter().any(|interface| place.ip() == interface.address)
    }

    fn is_neighbour(&self, address: Ipv4Addr) -> bool {
        is_host_address(address)
            && self.interfaces.iter().any(|interface| interface.contains(address))
    }
}
