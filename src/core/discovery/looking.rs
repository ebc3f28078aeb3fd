//! Looking for addresses that are in use on the networks that this machine is on.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    time::Instant,
};

use super::{Action, Discovery, Interface, Probe, Scope, Trouble, places::Mac, sweep::Stop};
use crate::{
    model::limits::{
        LINKED_SWEEP_INTERVAL, MAX_INTERFACES, MAX_SWEEP_ADDRESSES, MAX_SWEEP_KNOCKS, SWEEP_BURST,
        SWEEP_INTERVAL,
    },
    wire::arp::is_host_address,
};

impl Discovery {
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

    /// The interfaces on which peers may be by IPv6, as
    /// [`handle_interfaces`](Self::handle_interfaces) is told those of IPv4.
    pub fn handle_scopes(&mut self, now: Instant, scopes: &[Scope]) {
        let kept = &scopes[..scopes.len().min(MAX_INTERFACES)];
        if kept.iter().any(|new| !self.scopes.contains(new)) && self.probe != Probe::None {
            self.ask_scopes_at = Some(now);
        }
        self.scopes = kept.iter().copied().collect();
        self.act(now);
    }

    /// The address is in use: an ARP packet or the kernel's neighbour table said so. Anybody can
    /// make us believe that, so it causes a knock at most, and that not often.
    pub fn handle_sighting(&mut self, now: Instant, address: Ipv4Addr) {
        self.sighted(now, SocketAddr::from((address, self.discovery_port)), None);
    }

    /// As [`handle_sighting`](Self::handle_sighting), of an ARP packet, which says who has it.
    pub fn handle_arp(&mut self, now: Instant, address: Ipv4Addr, mac: Mac) {
        let place = SocketAddr::from((address, self.discovery_port));
        self.sighted(now, place, Some(mac));
        self.places.note_holder(now, place, mac);
    }

    /// What is wrong with the network at present.
    pub fn troubles(&self, now: Instant) -> impl Iterator<Item = Trouble> {
        let contested = self.places.contested(now).filter_map(|(place, macs)| match place {
            SocketAddr::V4(place) => Some(Trouble::Contested { address: *place.ip(), macs }),
            SocketAddr::V6(_) => None,
        });
        let narrow = self.nodes.narrow().map(|address| Trouble::Narrow { address });
        let knocks = self.probe == Probe::Connect;
        let partly = self.interfaces.iter().filter(move |_| knocks).filter_map(|interface| {
            let (first, last) = interface.hosts();
            let hosts = u32::from(last).saturating_sub(first.into()).saturating_add(1);
            (hosts as usize > MAX_SWEEP_ADDRESSES + 1).then(|| Trouble::PartlyTried {
                interface: interface.name.clone(),
                near: interface.address,
                hosts,
            })
        });
        contested.chain(narrow).chain(partly)
    }

    /// The link-local address is in use on the interface with this index: an ICMPv6 packet, or the
    /// kernel's neighbour table, said so. As [`handle_sighting`](Self::handle_sighting).
    pub fn handle_scoped_sighting(&mut self, now: Instant, address: Ipv6Addr, interface: u32) {
        let place = SocketAddrV6::new(address, self.discovery_port, 0, interface);
        self.sighted(now, place.into(), None);
    }

    fn sighted(&mut self, now: Instant, place: SocketAddr, mac: Option<Mac>) {
        if self.probe == Probe::None || !self.is_near(place) || self.is_own(place) {
            return;
        }
        let node = self.places.node_at(place);
        node.into_iter().for_each(|node| self.nodes.seen(now, node));
        if !node.is_some_and(|node| self.nodes.is_linked(node)) && self.places.hint(now, place, mac)
        {
            self.act(now);
        }
    }

    pub(super) fn go_on_sweeping(&mut self, now: Instant) {
        if self.sweep.begins(now) {
            self.begin_sweep(now);
        }
        if self.may_sweep() && self.sweep.burst(now) {
            for _ in 0..SWEEP_BURST {
                let Some(stop) = self.may_sweep().then(|| self.sweep.next_stop()).flatten() else {
                    break;
                };
                self.visit(now, stop);
            }
        }
        self.ask_scopes();
        let has_places = !self.interfaces.is_empty() || !self.scopes.is_empty();
        if self.sweep.is_stopped() && self.probe != Probe::None && has_places {
            let pause =
                if self.nodes.any_linked() { LINKED_SWEEP_INTERVAL } else { SWEEP_INTERVAL };
            self.sweep.schedule(now + self.jitter.beyond(pause));
        }
    }

    pub(super) fn begin_sweep(&mut self, now: Instant) {
        if self.probe != Probe::None {
            self.interfaces.iter().for_each(|interface| self.sweep.add(interface));
            self.ask_scopes_at = Some(now);
        }
    }

    /// Asks all of IPv6 when the sweep is through: whoever has both is found by IPv4 before, whose
    /// addresses people can read.
    fn ask_scopes(&mut self) {
        let has_room = self.actions.capacity() - self.actions.len() >= self.scopes.len();
        if self.ask_scopes_at.is_some() && self.may_ask_scopes() && has_room {
            self.ask_scopes_at = None;
            for at in 0..self.scopes.len() {
                self.push(Action::EchoRequest { interface: self.scopes[at].index });
            }
        }
    }

    /// A sweep by knocks takes too long to wait for.
    pub(super) fn may_ask_scopes(&self) -> bool {
        !self.sweep.is_running() || self.probe == Probe::Connect
    }

    pub(super) fn may_sweep(&self) -> bool {
        !self.actions.is_full()
            && (self.probe == Probe::Arp || self.places.in_flight() < MAX_SWEEP_KNOCKS)
    }

    fn visit(&mut self, now: Instant, stop: Stop) {
        let place = SocketAddr::from((stop.target, self.discovery_port));
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

    pub(super) fn is_own(&self, place: SocketAddr) -> bool {
        let is_here = match place {
            SocketAddr::V4(place) => self.interfaces.iter().any(|one| *place.ip() == one.address),
            SocketAddr::V6(place) => self.scopes.iter().any(|one| *place.ip() == one.address),
        };
        is_here && place.port() == self.discovery_port
    }

    /// May it be on one of the networks that this machine is on?
    pub(super) fn is_near(&self, place: SocketAddr) -> bool {
        match place {
            SocketAddr::V4(place) => {
                is_host_address(*place.ip())
                    && self.interfaces.iter().any(|interface| interface.contains(*place.ip()))
            }
            SocketAddr::V6(place) => {
                place.ip().is_unicast_link_local()
                    && self.scopes.iter().any(|scope| scope.index == place.scope_id())
            }
        }
    }
}
