//! What this machine has of networks, as it comes and goes.

use std::{net::IpAddr, os::fd::AsRawFd, time::Instant};

use log::{debug, info};
use mio::{Interest, Registry, unix::SourceFd};

use super::EventLoop;
use crate::{
    core::discovery::Probe,
    io::{
        net::{
            changes::NetworkChanges,
            interfaces::{interfaces, own_addresses},
            neighbours::neighbours,
        },
        node::token,
    },
    model::limits::{INTERFACE_INTERVAL, INTERFACE_INTERVAL_MIN},
};

/// When to look, and what was seen.
pub(super) struct Surroundings {
    /// `None` where the system does not tell: then it is looked often enough.
    changes: Option<NetworkChanges>,
    look_at: Instant,
    looked_at: Option<Instant>,
    own: Vec<IpAddr>,
}

impl Surroundings {
    pub(super) fn new(registry: &Registry, now: Instant) -> Self {
        let changes = NetworkChanges::open().and_then(|changes| {
            let fd = changes.as_raw_fd();
            registry.register(&mut SourceFd(&fd), token::NETWORK, Interest::READABLE)?;
            Ok(changes)
        });
        let changes = changes
            .inspect_err(|error| info!("the system does not tell of changed networks: {error}"));
        Self { changes: changes.ok(), look_at: now, looked_at: None, own: Vec::new() }
    }

    pub(super) fn handle_ready(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.handle_ready();
        }
    }

    pub(super) fn has_ready_work(&self) -> bool {
        self.changes.as_ref().is_some_and(NetworkChanges::has_ready_work)
    }

    /// Hears whether it is time to look.
    pub(super) fn read(&mut self, now: Instant) {
        if self.changes.as_mut().is_some_and(NetworkChanges::take) {
            let soon = self.looked_at.map_or(now, |at| now.max(at + INTERFACE_INTERVAL_MIN));
            self.look_at = self.look_at.min(soon);
        }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.look_at
    }

    /// Which own addresses have gone since, and whether there are new ones.
    fn follow(&mut self, own: Vec<IpAddr>) -> (Vec<IpAddr>, bool) {
        let has_new = own.iter().any(|address| !self.own.contains(address));
        let mut gone = std::mem::replace(&mut self.own, own);
        gone.retain(|address| !self.own.contains(address));
        (gone, has_new)
    }
}

impl EventLoop {
    /// Looks at the interfaces, if it is time.
    pub(super) fn look_around(&mut self, now: Instant) {
        if now < self.surroundings.look_at {
            return;
        }
        self.surroundings.looked_at = Some(now);
        self.surroundings.look_at = now + INTERFACE_INTERVAL;
        let (gone, has_new) = self.surroundings.follow(own_addresses());
        self.net.handle_addresses_gone(&gone);
        if self.config.scans() {
            self.read_interfaces(now);
        }
        if has_new {
            self.discovery.handle_new_address(now);
        }
    }

    /// Tells discovery which interfaces there are now, and opens ARP sockets on them.
    fn read_interfaces(&mut self, now: Instant) {
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
}

#[cfg(test)]
mod tests {
    use mio::Poll;

    use super::*;

    #[test]
    fn what_has_gone_and_come_is_told_once() {
        let poll = Poll::new().unwrap();
        let mut surroundings = Surroundings::new(poll.registry(), Instant::now());
        let [a, b] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        assert_eq!(surroundings.follow(vec![a]), (vec![], true));
        assert_eq!(surroundings.follow(vec![a]), (vec![], false));
        assert_eq!(surroundings.follow(vec![b]), (vec![a], true));
        assert_eq!(surroundings.follow(vec![]), (vec![b], false));
    }
}
