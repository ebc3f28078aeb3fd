//! What is ready is taken in: signals, the watch, ARP, the network, the control socket.

use std::{net::IpAddr, net::SocketAddr, time::Instant};

use log::{debug, info, warn};
use mio::{Interest, Registry, Token, unix::SourceFd};

use super::{EventLoop, LoopError, Stopped};
use crate::{
    core::{
        discovery::{Action, Discovery, Greeting, Interface, Probe},
        seam::{Direction, Input, Time},
    },
    io::{
        arp_socket::{ArpSocket, ArpSocketError, interfaces},
        neighbours::neighbours,
        net::{CloseReason, NetEvent},
        replica::{Links, Replica},
        token::{self, Source},
    },
    limits::{MAX_INTERFACES, MAX_SIGHTINGS_PER_TURN, MESSAGE_BATCH},
    wire::{hello::Hello, message::Message},
};

/// The raw ARP sockets, one an interface; an interface beyond the table is not listened on.
#[derive(Default)]
pub struct ArpSockets {
    sockets: heapless::Vec<(Interface, ArpSocket, bool), MAX_INTERFACES>,
    /// The right to open them is missing, and that has been said.
    denied: bool,
}

impl ArpSockets {
    /// Has one of them packets that its budget left?
    pub fn has_ready_work(&self) -> bool {
        self.sockets.iter().any(|(_, _, ready)| *ready)
    }

    /// Opens sockets for new interfaces, closes those of gone ones. False when the right to do so is missing.
    fn follow(&mut self, now_there: &[Interface], registry: &Registry) -> bool {
        self.sockets.retain(|(interface, _, _)| now_there.contains(interface));
        for interface in now_there {
            if self.denied || self.sockets.iter().any(|(known, _, _)| known == interface) {
                continue;
            }
            match self.open(interface, registry) {
                Ok(()) => {}
                Err(error @ ArpSocketError::NotPermitted) => {
                    warn!("{error}; until then addresses are tried one by one on port 2194");
                    self.denied = true;
                }
                Err(error) => debug!("no ARP on {}: {error}", interface.name),
            }
        }
        !self.denied
    }

    fn open(&mut self, interface: &Interface, registry: &Registry) -> Result<(), ArpSocketError> {
        use std::os::fd::AsRawFd;
        let socket = ArpSocket::open(interface)?;
        let fd = socket.as_raw_fd();
        if self.sockets.push((interface.clone(), socket, true)).is_err() {
            debug!("more than {MAX_INTERFACES} interfaces: no ARP on {}", interface.name);
            return Ok(());
        }
        // The places of the table may move when an interface goes; any event makes all of them be read.
        let token = Token(token::ARP + self.sockets.len() - 1);
        if let Err(error) = registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
            debug!("no ARP on {}: {error}", interface.name);
            self.sockets.pop();
        }
        Ok(())
    }
}

impl EventLoop {
    pub(super) fn handle_events(&mut self, time: Time) -> Result<(), LoopError> {
        for event in &self.events {
            match token::source(event.token()) {
                Source::Signals => self.signals.handle_ready(),
                Source::Watch => self.replica.handle_watch_ready(),
                Source::Control => {
                    if let Some(control) = &mut self.control {
                        control.handle_event(event.token(), event, time.now);
                    }
                }
                Source::Arp(_) => self.arp.sockets.iter_mut().for_each(|(_, _, ready)| *ready = true),
                Source::Net => self.net.handle_event(event, time.now),
            }
        }
        if self.signals.stop_asked() {
            self.stopped = Some(Stopped::BySignal);
        }
        self.net.handle_ready(time.now);
        self.net.handle_timeout(time.now);
        self.replica.read_watch(&mut self.net, time)?;
        self.read_arp(time.now);
        self.read_net(time)?;
        self.answer_control(time)
    }

    // --- Finding peers ---------------------------------------------------------------------------------

    /// Tells discovery which interfaces there are now, and opens ARP sockets on them.
    pub(super) fn read_interfaces(&mut self, now: Instant) {
        if !self.config.scans() {
            return;
        }
        let now_there = interfaces(&self.config.interfaces);
        let may_use_arp = self.arp.follow(&now_there, self.poll.registry());
        if !may_use_arp {
            self.discovery.set_probe(now, Probe::Connect);
            match neighbours() {
                Ok(seen) => seen.into_iter().for_each(|ip| self.discovery.handle_sighting(now, ip)),
                Err(error) => debug!("the neighbour table cannot be read: {error}"),
            }
        }
        self.discovery.handle_interfaces(now, &now_there);
    }

    fn read_arp(&mut self, now: Instant) {
        for (interface, socket, ready) in self.arp.sockets.iter_mut().filter(|(_, _, ready)| *ready) {
            for _ in 0..MAX_SIGHTINGS_PER_TURN {
                match socket.poll_sighting() {
                    Ok(Some(sighting)) => self.discovery.handle_sighting(now, sighting.sender_ip),
                    Ok(None) => {
                        *ready = false;
                        break;
                    }
                    Err(error) => {
                        debug!("ARP on {}: {error}", interface.name);
                        *ready = false;
                        break;
                    }
                }
            }
        }
    }

    /// Does what discovery decided.
    pub(super) fn carry_out_discovery(&mut self, time: Time) -> Result<(), LoopError> {
        let now = time.now;
        while let Some(action) = self.discovery.poll_action() {
            match action {
                Action::ArpRequest { interface, source, target } => self.send_arp(interface, source, target),
                Action::Knock(address) => self.net.knock(address, now),
                Action::Dial { node, address } => {
                    if !self.net.dial(node, address, now) {
                        debug!("{node} is linked already");
                    }
                }
                Action::TwinSeen => self.stopped = Some(Stopped::Twin),
                Action::Remember { node, address } => self.replica.remember(node, address, time)?,
                Action::Refused { node } => warn!("{node} is refused: there are too many nodes already"),
            }
        }
        Ok(())
    }

    fn send_arp(&self, index: u32, source: std::net::Ipv4Addr, target: std::net::Ipv4Addr) {
        let socket = self.arp.sockets.iter().find(|(interface, _, _)| interface.index == index);
        if let Some((interface, socket, _)) = socket
            && let Err(error) = socket.send_request(source, target)
        {
            debug!("ARP on {}: {error}", interface.name);
        }
    }

    // --- The network -----------------------------------------------------------------------------------

    fn read_net(&mut self, time: Time) -> Result<(), LoopError> {
        let mut batch = 0;
        loop {
            if !self.replica.engine().has_room() {
                return Ok(self.replica.settle(&mut self.net, time)?);
            }
            let Some(event) = self.net.poll_event(time.now) else { break };
            let closing = handle_net_event(event, &mut self.replica, &mut self.discovery, time)?;
            if let Some((node, reason)) = closing {
                warn!("closing the link with {node}: {reason}");
                self.net.close(node);
            }
            batch += 1;
            if batch % MESSAGE_BATCH == 0 {
                self.replica.settle(&mut self.net, time)?;
            }
        }
        self.replica.settle(&mut self.net, time)?;
        self.carry_out_discovery(time)
    }
}

/// Passes on what happened on the network. Returns a node that broke the protocol, and how.
fn handle_net_event(
    event: NetEvent,
    replica: &mut Replica,
    discovery: &mut Discovery,
    time: Time,
) -> Result<Option<(crate::core::version::NodeId, String)>, LoopError> {
    let now = time.now;
    match event {
        NetEvent::KnockAnswered { address, hello } => {
            discovery.handle_greeting(now, address, greeting(&hello), false);
        }
        NetEvent::Called { ip, hello } => {
            discovery.handle_greeting(now, SocketAddr::new(ip, 0), greeting(&hello), true);
        }
        NetEvent::KnockFailed { address, error } => {
            debug!("{address} does not answer: {error}");
            discovery.handle_knock_failed(now, address);
        }
        NetEvent::Stranger { address, error } => {
            info!("{address} is no node of this group: {error}");
            discovery.handle_stranger(now, address);
        }
        NetEvent::StrangerCalled { ip, error } => say_stranger(ip, &error),
        NetEvent::OutboundUp { node, address } => {
            discovery.handle_outbound_up(now, node);
            replica.handle_input(Input::LinkUp { node, direction: Direction::Outbound, address }, time)?;
        }
        NetEvent::OutboundClosed { node, reason } => {
            debug!("the connection to {node} ended: {reason}");
            discovery.handle_outbound_closed(now, node);
            replica.handle_input(Input::LinkDown { node, direction: Direction::Outbound }, time)?;
        }
        NetEvent::InboundUp { node, address } => {
            replica.handle_input(Input::LinkUp { node, direction: Direction::Inbound, address }, time)?;
        }
        NetEvent::InboundClosed { node, reason } => {
            debug!("the connection from {node} ended: {reason}");
            replica.handle_input(Input::LinkDown { node, direction: Direction::Inbound }, time)?;
            if reason == CloseReason::Silent {
                // Off, or at another address: what we say does not reach it any more, either.
                return Ok(Some((node, reason.to_string())));
            }
        }
        NetEvent::InboundRefused { ip, error } => warn!("{ip} was not let in: {error}"),
        NetEvent::Message { node, bytes } => match Message::decode(bytes) {
            Ok(message) => replica.handle_input(Input::Message { node, message }, time)?,
            Err(error) => return Ok(Some((node, error.to_string()))),
        },
    }
    Ok(None)
}

fn say_stranger(ip: IpAddr, error: &crate::wire::hello::HelloError) {
    info!("{ip} called and is no node of this group: {error}");
}

fn greeting(hello: &Hello) -> Greeting {
    Greeting { node: hello.node, instance: hello.instance, sync_port: hello.sync_port }
}
