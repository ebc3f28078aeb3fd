//! The raw ARP sockets of a node, one an interface.
//!
//! All are opened at the start, before the process gives up the right to open any, and go from
//! interface to interface as those come and go, also from one run of the loop to the next.

use std::{net::Ipv4Addr, os::fd::AsRawFd, time::Instant};

use log::{debug, warn};
use mio::{Interest, Registry, Token, unix::SourceFd};

use crate::{
    core::discovery::{Discovery, Interface},
    io::{
        net::arp::{ArpSocket, ArpSocketError, SpareSocket},
        node::token,
    },
    model::limits::{MAX_INTERFACES, MAX_SIGHTINGS_PER_TURN},
    wire::arp::ArpSighting,
};

/// The sockets; an interface beyond the table is not listened on.
#[derive(Default)]
pub struct ArpSockets {
    bound: heapless::Vec<Bound, MAX_INTERFACES>,
    spare: heapless::Vec<SpareSocket, MAX_INTERFACES>,
    /// The right to use them is missing, and that has been said.
    denied: bool,
}

struct Bound {
    interface: Interface,
    socket: ArpSocket,
    /// It may have packets that were not read yet.
    ready: bool,
}

impl ArpSockets {
    /// Opens sockets for all interfaces that there may ever be. Says so if it may not.
    pub fn open() -> Self {
        let mut sockets = Self::default();
        while !sockets.spare.is_full() {
            match SpareSocket::open() {
                Ok(spare) => sockets.keep(spare),
                Err(error) => {
                    sockets.deny(&error);
                    break;
                }
            }
        }
        sockets
    }

    /// All of them, of no interface any more: for another loop with another poll.
    pub fn into_spare(mut self) -> Self {
        while let Some(bound) = self.bound.pop() {
            self.keep(bound.socket.release());
        }
        self
    }

    /// Has one of them packets that its budget left?
    pub fn has_ready_work(&self) -> bool {
        self.bound.iter().any(|bound| bound.ready)
    }

    /// One of them has packets. Which one is not asked: places in the table change as interfaces
    /// go.
    pub fn handle_ready(&mut self) {
        self.bound.iter_mut().for_each(|bound| bound.ready = true);
    }

    /// Binds sockets to new interfaces, releases those of gone ones. False when the right to use
    /// any is missing.
    pub fn follow(&mut self, now_there: &[Interface], registry: &Registry) -> bool {
        let mut at = 0;
        while let Some(bound) = self.bound.get(at) {
            if now_there.contains(&bound.interface) {
                at += 1;
            } else {
                self.release(at, registry);
            }
        }
        for interface in now_there {
            if !self.denied && !self.bound.iter().any(|bound| bound.interface == *interface) {
                self.bind(interface, registry);
            }
        }
        !self.denied
    }

    /// Tells `discovery` whom the packets are from that came since.
    pub fn read(&mut self, discovery: &mut Discovery, now: Instant) {
        for bound in self.bound.iter_mut().filter(|bound| bound.ready) {
            for _ in 0..MAX_SIGHTINGS_PER_TURN {
                match bound.socket.poll_sighting() {
                    Ok(Some(ArpSighting { sender_ip, sender_mac, .. })) => {
                        discovery.handle_arp(now, sender_ip, sender_mac);
                    }
                    Ok(None) => {
                        bound.ready = false;
                        break;
                    }
                    Err(error) => {
                        debug!("ARP on {}: {error}", bound.interface.name);
                        bound.ready = false;
                        break;
                    }
                }
            }
        }
    }

    /// Asks who has `target`, on the interface with this index.
    pub fn send_request(&self, index: u32, source: Ipv4Addr, target: Ipv4Addr) {
        if let Some(bound) = self.bound.iter().find(|bound| bound.interface.index == index)
            && let Err(error) = bound.socket.send_request(source, target)
        {
            debug!("ARP on {}: {error}", bound.interface.name);
        }
    }

    fn bind(&mut self, interface: &Interface, registry: &Registry) {
        let Some(spare) = self.spare.pop() else {
            debug!("more than {MAX_INTERFACES} interfaces: no ARP on {}", interface.name);
            return;
        };
        let socket = match ArpSocket::bind(spare, interface) {
            Ok(socket) => socket,
            Err((error, spare)) => {
                self.keep(spare);
                match error {
                    ArpSocketError::NotPermitted => self.deny(&error),
                    ArpSocketError::Failed { .. } => debug!("{error}"),
                }
                return;
            }
        };
        let (fd, token) = (socket.as_raw_fd(), Token(token::ARP + self.bound.len()));
        if let Err(error) = registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
            debug!("no ARP on {}: {error}", interface.name);
            self.keep(socket.release());
            return;
        }
        let bound = Bound { interface: interface.clone(), socket, ready: true };
        assert!(self.bound.push(bound).is_ok(), "there are no more sockets than places");
    }

    fn release(&mut self, at: usize, registry: &Registry) {
        let bound = self.bound.swap_remove(at);
        if let Err(error) = registry.deregister(&mut SourceFd(&bound.socket.as_raw_fd())) {
            debug!("ARP on {}: {error}", bound.interface.name);
        }
        self.keep(bound.socket.release());
    }

    fn keep(&mut self, spare: SpareSocket) {
        assert!(self.spare.push(spare).is_ok(), "there are no more sockets than places");
    }

    fn deny(&mut self, error: &ArpSocketError) {
        warn!("{error}; until then addresses are tried one by one on port 2194");
        self.denied = true;
    }
}
