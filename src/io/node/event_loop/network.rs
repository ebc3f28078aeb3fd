//! What this machine has of networks, as it comes and goes.

use std::{net::IpAddr, os::fd::AsRawFd, time::Instant};

use log::{debug, info, warn};
use mio::{Interest, Registry, unix::SourceFd};

use super::{EventLoop, raw_sockets::Echo};
use crate::{
    core::discovery::{Interface, Probe},
    io::{
        net::{
            changes::NetworkChanges,
            interfaces::Networks,
            neighbours::{neighbours, scoped_neighbours},
        },
        node::token,
    },
    model::limits::{INTERFACE_INTERVAL, INTERFACE_INTERVAL_MIN, MAX_INTERFACES},
};

/// When to look, and what was seen.
pub(super) struct Surroundings {
    /// `None` where the system does not tell: then it is looked often enough.
    changes: Option<NetworkChanges>,
    look_at: Instant,
    looked_at: Option<Instant>,
    own: Vec<IpAddr>,
    /// What is wrong, as was said.
    troubles: Vec<String>,
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
        Self {
            changes: changes.ok(),
            look_at: now,
            looked_at: None,
            own: Vec::new(),
            troubles: Vec::new(),
        }
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

    pub(super) fn troubles(&self) -> &[String] {
        &self.troubles
    }

    /// Each is said once for as long as it lasts.
    fn say(&mut self, troubles: Vec<String>) {
        let news = troubles.iter().filter(|trouble| !self.troubles.contains(trouble));
        news.for_each(|trouble| warn!("{trouble}"));
        self.troubles = troubles;
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
        let networks = Networks::read(&self.config.interfaces);
        let (gone, has_new) = self.surroundings.follow(networks.own.clone());
        self.net.handle_addresses_gone(&gone);
        if self.config.scans() {
            self.look_on(&networks.interfaces, now);
            self.discovery.handle_scopes(now, &networks.scopes);
            self.raw.echo.iter_mut().for_each(Echo::send_rest);
        }
        if has_new {
            self.discovery.handle_new_address(now);
        }
        let troubles = self.discovery.troubles(now).map(|trouble| trouble.to_string());
        let troubles = troubles.chain(left_out(&networks.left_out)).collect();
        self.surroundings.say(troubles);
    }

    /// Tells discovery which interfaces there are now, and opens ARP sockets on them.
    fn look_on(&mut self, interfaces: &[Interface], now: Instant) {
        if !self.raw.arp.follow(interfaces, self.poll.registry()) {
            self.discovery.set_probe(now, Probe::Connect);
            self.read_neighbours(now);
        }
        self.discovery.handle_interfaces(now, interfaces);
    }

    /// Whom the kernel has talked to lately.
    fn read_neighbours(&mut self, now: Instant) {
        match neighbours() {
            Ok(seen) => seen.into_iter().for_each(|ip| self.discovery.handle_sighting(now, ip)),
            Err(error) => debug!("the neighbour table cannot be read: {error}"),
        }
        match scoped_neighbours() {
            Ok(seen) => seen.into_iter().for_each(|(ip, interface)| {
                self.discovery.handle_scoped_sighting(now, ip, interface);
            }),
            Err(error) => debug!("the neighbour table of IPv6 cannot be read: {error}"),
        }
    }
}

/// Says which interfaces are not looked on.
fn left_out(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| {
        format!(
            "this machine has more than {MAX_INTERFACES} addresses to look from: {} left out; \
             choose by --interface",
            names.join(", ")
        )
    })
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
