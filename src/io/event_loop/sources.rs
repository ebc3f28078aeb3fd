//! What is ready is taken in: signals, the watch, ARP, the network, the control socket.

use std::{net::IpAddr, net::SocketAddr, time::Instant};

use super::{EventLoop, LoopError, Stopped};
use crate::{
    core::{
        discovery::{Action, Discovery, Greeting, Probe},
        engine::Engine,
        seam::{Direction, Hint, Input, Time},
    },
    io::{
        arp_socket::interfaces,
        logging,
        neighbours::neighbours,
        net::{CloseReason, NetEvent},
        token::{self, Source},
        watch::{self, Change},
    },
    limits::{MAX_CHANGES_PER_TURN, MESSAGE_BATCH},
    wire::{hello::Hello, message::Message},
};
use log::{debug, info, warn};

impl EventLoop {
    pub(super) fn handle_events(&mut self, time: Time) -> Result<(), LoopError> {
        for event in &self.events {
            match token::source(event.token()) {
                Source::Signals => self.signals.handle_ready(),
                Source::Watch => self.watch_ready = true,
                Source::Control => {
                    if let Some(control) = &mut self.control {
                        control.handle_event(event.token(), event, time.now);
                    }
                }
                Source::Arp(_) => self.arp.handle_ready(),
                Source::Net => self.net.handle_event(event, time.now),
            }
        }
        if self.signals.take_hangup() {
            logging::reopen();
        }
        if self.signals.stop_asked() {
            self.stopped = Some(Stopped::BySignal);
        }
        self.net.handle_ready(time.now);
        self.net.handle_timeout(time.now);
        self.read_watch(time)?;
        self.arp.read(&mut self.discovery, time.now);
        self.read_net(time)?;
        self.answer_control(time)
    }

    // --- The watch -------------------------------------------------------------------------------------

    pub(super) fn read_watch(&mut self, time: Time) -> Result<(), LoopError> {
        if !self.watch_ready {
            return Ok(());
        }
        for _ in 0..MAX_CHANGES_PER_TURN {
            match self.watcher.poll_change() {
                Ok(Some(change)) => self.handle_change(change, time)?,
                Ok(None) => {
                    self.watch_ready = false;
                    break;
                }
                Err(error) => {
                    warn!("the file watch fails, everything is compared: {error}");
                    self.watch_ready = false;
                    self.engine.handle_input(Input::EventsLost, time)?;
                    break;
                }
            }
        }
        self.settle(time)
    }

    fn handle_change(&mut self, change: Change, time: Time) -> Result<(), LoopError> {
        match change {
            Change::Path { path, hint } => {
                let hint = match hint {
                    watch::Hint::Settled => Hint::Settled,
                    watch::Hint::Writing => Hint::Writing,
                    watch::Hint::Created => Hint::Created,
                };
                self.engine.handle_input(Input::Changed { path, hint }, time)?;
            }
            Change::Renamed { from, to, .. } => {
                self.engine.handle_input(Input::Renamed { from, to }, time)?;
            }
            Change::Overflow => {
                info!("more changed than the watch could tell: everything is compared");
                self.engine.handle_input(Input::EventsLost, time)?;
            }
            Change::Lost { directory } => self.engine.handle_input(Input::WatchLost { directory }, time)?,
            Change::RootGone => self.check_root(time)?,
        }
        Ok(())
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

    /// Does what discovery decided.
    pub(super) fn carry_out_discovery(&mut self, time: Time) -> Result<(), LoopError> {
        let now = time.now;
        while let Some(action) = self.discovery.poll_action() {
            match action {
                Action::ArpRequest { interface, source, target } => {
                    self.arp.send_request(interface, source, target)
                }
                Action::Knock(address) => self.net.knock(address, now),
                Action::Dial { node, address } => {
                    if !self.net.dial(node, address, now) {
                        debug!("{node} is linked already");
                    }
                }
                Action::TwinSeen => self.stopped = Some(Stopped::Twin),
                Action::Remember { node, address } => self.engine.remember(node, address, time)?,
                Action::Refused { node } => warn!("{node} is refused: there are too many nodes already"),
            }
        }
        Ok(())
    }

    // --- The network -----------------------------------------------------------------------------------

    fn read_net(&mut self, time: Time) -> Result<(), LoopError> {
        let mut batch = 0;
        loop {
            if !self.engine.has_room() {
                return self.settle(time);
            }
            let Some(event) = self.net.poll_event(time.now) else { break };
            let closing = handle_net_event(event, &mut self.engine, &mut self.discovery, time)?;
            if let Some((node, reason)) = closing {
                warn!("closing the link with {node}: {reason}");
                self.net.close_inbound(node);
                self.net.close_outbound(node);
            }
            batch += 1;
            if batch % MESSAGE_BATCH == 0 {
                self.settle(time)?;
            }
        }
        self.settle(time)?;
        self.carry_out_discovery(time)
    }
}

/// Passes on what happened on the network. Returns a node that broke the protocol, and how.
fn handle_net_event(
    event: NetEvent,
    engine: &mut Engine,
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
            engine.handle_input(Input::LinkUp { node, direction: Direction::Outbound, address }, time)?;
        }
        NetEvent::OutboundClosed { node, reason } => {
            debug!("the connection to {node} ended: {reason}");
            discovery.handle_outbound_closed(now, node);
            engine.handle_input(Input::LinkDown { node, direction: Direction::Outbound }, time)?;
        }
        NetEvent::InboundUp { node, address } => {
            engine.handle_input(Input::LinkUp { node, direction: Direction::Inbound, address }, time)?;
        }
        NetEvent::InboundClosed { node, reason } => {
            debug!("the connection from {node} ended: {reason}");
            engine.handle_input(Input::LinkDown { node, direction: Direction::Inbound }, time)?;
            if reason == CloseReason::Silent {
                // Off, or at another address: what we say does not reach it any more, either.
                return Ok(Some((node, reason.to_string())));
            }
        }
        NetEvent::InboundRefused { ip, error } => warn!("{ip} was not let in: {error}"),
        NetEvent::Message { node, bytes } => match Message::decode(bytes) {
            Ok(message) => engine.handle_input(Input::Message { node, message }, time)?,
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
