//! The sockets that it takes a right to open: all of ARP, and one that asks by IPv6.
//!
//! They are opened at the start, before that right is given up, and go from one run of the loop to
//! the next.

use std::{os::fd::AsRawFd, time::Instant};

use log::debug;
use mio::{Interest, Registry, unix::SourceFd};

use super::ArpSockets;
use crate::{
    core::discovery::Discovery,
    io::{net::echo::EchoSocket, node::token},
    model::limits::{MAX_INTERFACES, MAX_SIGHTINGS_PER_TURN},
};

/// See the module. The default has none.
#[derive(Default)]
pub struct RawSockets {
    pub(super) arp: ArpSockets,
    pub(super) echo: Option<Echo>,
}

impl RawSockets {
    /// Opens what this process may open, and says what it may not.
    pub fn open() -> Self {
        let echo = EchoSocket::open()
            .inspect_err(|error| debug!("no hosts are asked for by IPv6: {error}"));
        Self { arp: ArpSockets::open(), echo: echo.ok().map(Echo::new) }
    }

    /// For another loop with another poll.
    pub fn into_spare(self) -> Self {
        Self { arp: self.arp.into_spare(), echo: self.echo.map(|echo| Echo::new(echo.socket)) }
    }

    /// Those of ARP are registered as they are bound.
    pub(super) fn register(&mut self, registry: &Registry) {
        let Some(echo) = &self.echo else { return };
        let fd = echo.socket.as_raw_fd();
        if let Err(error) = registry.register(&mut SourceFd(&fd), token::ECHO, Interest::READABLE) {
            debug!("no hosts are asked for by IPv6: {error}");
            self.echo = None;
        }
    }

    pub(super) fn has_ready_work(&self) -> bool {
        self.arp.has_ready_work() || self.echo.as_ref().is_some_and(|echo| echo.ready)
    }

    /// Tells `discovery` whom the packets are from that came since.
    pub(super) fn read(&mut self, discovery: &mut Discovery, now: Instant) {
        self.arp.read(discovery, now);
        if let Some(echo) = &mut self.echo {
            echo.read(discovery, now);
        }
    }
}

/// The socket that asks by IPv6.
pub(super) struct Echo {
    socket: EchoSocket,
    /// It may have packets that were not read yet.
    ready: bool,
    /// Interfaces on which it could not ask.
    unsent: heapless::Vec<u32, MAX_INTERFACES>,
}

impl Echo {
    fn new(socket: EchoSocket) -> Self {
        Self { socket, ready: true, unsent: heapless::Vec::new() }
    }

    pub(super) fn handle_ready(&mut self) {
        self.ready = true;
    }

    /// An address that is new is tried for a second or two before anything can be sent from it: the
    /// system tells when it can, and then [`send_rest`](Self::send_rest) is called.
    pub(super) fn send_request(&mut self, interface: u32) {
        if let Err(error) = self.socket.send_request(interface) {
            debug!("cannot ask by IPv6 on interface {interface} yet: {error}");
            if !self.unsent.contains(&interface) {
                // What finds no place is asked in the next sweep.
                let _ = self.unsent.push(interface);
            }
        }
    }

    /// Asks where it could not.
    pub(super) fn send_rest(&mut self) {
        for interface in std::mem::take(&mut self.unsent) {
            self.send_request(interface);
        }
    }

    fn read(&mut self, discovery: &mut Discovery, now: Instant) {
        for _ in 0..MAX_SIGHTINGS_PER_TURN {
            match self.socket.poll_sighting() {
                Ok(Some((address, interface))) => {
                    discovery.handle_scoped_sighting(now, address, interface);
                }
                Ok(None) => {
                    self.ready = false;
                    break;
                }
                Err(error) => debug!("asking by IPv6: {error}"),
            }
        }
    }
}
