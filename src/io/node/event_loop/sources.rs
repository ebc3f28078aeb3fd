//! What is ready is taken in: signals, the watch, ARP, the network, the control socket.

use std::net::{IpAddr, SocketAddr};

use log::{debug, info, warn};

use super::{EventLoop, LoopError, Stopped};
use crate::{
    core::{
        discovery::{Action, Discovery, Greeting},
        seam::{Direction, Input, Time},
    },
    io::{
        net::{CloseReason, NetEvent},
        node::{
            process::logging,
            replica::{Links, Replica},
            token::{self, Source},
        },
    },
    model::limits::MESSAGE_BATCH,
    wire::{hello::Hello, message::Message},
};

impl EventLoop {
    pub(super) fn handle_events(&mut self, time: Time) -> Result<(), LoopError> {
        for event in &self.events {
            match token::source(event.token()) {
                Source::Signals => self.signals.handle_ready(),
                Source::Watch => self.replica.handle_watch_ready(),
                Source::Network => self.surroundings.handle_ready(),
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
        self.replica.read_watch(&mut self.net, time)?;
        self.surroundings.read(time.now);
        self.arp.read(&mut self.discovery, time.now);
        self.read_net(time)?;
        self.answer_control(time)
    }

    // --- Finding peers

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
                Action::HangUp { node } => {
                    info!("{node} answers at another address, and no more at the one in use");
                    self.net.close_outbound(node);
                }
                Action::TwinSeen => self.stopped = Some(Stopped::Twin),
                Action::Remember { node, address } => {
                    self.replica.handle_input(Input::Reached { node, address }, time)?;
                }
                Action::Refused { node } => {
                    warn!("{node} is refused: there are too many nodes already")
                }
            }
        }
        Ok(())
    }

    // --- The network

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
) -> Result<Option<(crate::model::version::NodeId, String)>, LoopError> {
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
            replica.handle_input(
                Input::LinkUp { node, direction: Direction::Outbound, address },
                time,
            )?;
        }
        NetEvent::OutboundClosed { node, reason } => {
            debug!("the connection to {node} ended: {reason}");
            match reason {
                CloseReason::AddressGone => discovery.handle_own_address_gone(now, node),
                _ => discovery.handle_outbound_closed(now, node),
            }
            replica.handle_input(Input::LinkDown { node, direction: Direction::Outbound }, time)?;
        }
        NetEvent::Late { node } => discovery.handle_late(now, node),
        NetEvent::InboundUp { node, address } => {
            discovery.handle_inbound_up(now, node, address);
            replica.handle_input(
                Input::LinkUp { node, direction: Direction::Inbound, address },
                time,
            )?;
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
