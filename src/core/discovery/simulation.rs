//! Several nodes on a simulated subnet, and no real time.

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::Duration,
};

use super::{
    tests::{SECOND, at, door, greeting, id, interface, ip},
    *,
};
use crate::model::limits::{CONNECT_TIMEOUT, DISCOVERY_PORT, SYNC_PORT};

/// A subnet: hosts that run a node, hosts that do not, and nothing at all other addresses.
struct Lan {
    now: Instant,
    hosts: BTreeMap<u8, Discovery>,
    ordinary: BTreeSet<u8>,
    /// Knocks at nobody, by when they fail; who knocked, and where.
    failing: BinaryHeap<std::cmp::Reverse<(Instant, u8, SocketAddr)>>,
    dials: BTreeSet<(u8, u8)>,
    knocks: BTreeMap<u8, usize>,
    sent: usize,
}

impl Lan {
    fn new(ordinary: &[u8]) -> Self {
        Self {
            now: Instant::now(),
            hosts: BTreeMap::new(),
            ordinary: ordinary.iter().copied().collect(),
            failing: BinaryHeap::new(),
            dials: BTreeSet::new(),
            knocks: BTreeMap::new(),
            sent: 0,
        }
    }

    fn start(&mut self, host: u8, probe: Probe) {
        let mut node =
            Discovery::new(self.now, id(host), host.into(), DISCOVERY_PORT, probe, u64::from(host));
        node.handle_interfaces(self.now, &[interface(host)]);
        self.hosts.insert(host, node);
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            while let Some((host, action)) = self.next_action() {
                self.sent += 1;
                self.act(host, action);
            }
            let deadlines = self.hosts.values().filter_map(Discovery::poll_timeout);
            let failure = self.failing.peek().map(|std::cmp::Reverse((when, ..))| *when);
            match deadlines.chain(failure).min().filter(|&deadline| deadline <= end) {
                Some(deadline) => self.now = self.now.max(deadline),
                None => break,
            }
            self.fail_knocks();
            self.hosts.values_mut().for_each(|node| node.handle_timeout(self.now));
        }
        self.now = end;
    }

    fn next_action(&mut self) -> Option<(u8, Action)> {
        self.hosts
            .iter_mut()
            .find_map(|(&host, node)| node.poll_action().map(|action| (host, action)))
    }

    fn fail_knocks(&mut self) {
        let now = self.now;
        while self.failing.peek().is_some_and(|std::cmp::Reverse((when, ..))| *when <= now) {
            if let Some(std::cmp::Reverse((_, host, place))) = self.failing.pop() {
                self.host(host).handle_knock_failed(now, place);
            }
        }
    }

    fn host(&mut self, host: u8) -> &mut Discovery {
        self.hosts.get_mut(&host).unwrap()
    }

    fn act(&mut self, from: u8, action: Action) {
        let now = self.now;
        match action {
            Action::ArpRequest { target, .. } => self.broadcast(from, target.octets()[3]),
            Action::Knock(place) => self.knock(from, place),
            Action::Dial { node, address } => {
                assert_eq!(address, at(node.0[0], SYNC_PORT));
                assert!(self.dials.insert((from, node.0[0])), "{from} dials {node} twice");
                self.host(from).handle_outbound_up(now, node);
            }
            Action::Remember { node, address } => assert_eq!(address, door(node.0[0])),
            Action::TwinSeen | Action::HangUp { .. } | Action::Refused { .. } => {
                panic!("{action:?}")
            }
        }
    }

    fn broadcast(&mut self, from: u8, target: u8) {
        let now = self.now;
        let listening = |node: &Discovery| node.probe == Probe::Arp;
        for (_, node) in
            self.hosts.iter_mut().filter(|(host, node)| **host != from && listening(node))
        {
            node.handle_sighting(now, ip(from));
        }
        if self.hosts.contains_key(&target) || self.ordinary.contains(&target) {
            self.host(from).handle_sighting(now, ip(target));
        }
    }

    fn knock(&mut self, from: u8, place: SocketAddr) {
        let now = self.now;
        let SocketAddr::V4(v4) = place else { panic!("{place}") };
        let host = v4.ip().octets()[3];
        *self.knocks.entry(host).or_default() += 1;
        assert_ne!(from, host, "knocks at itself");
        if self.hosts.contains_key(&host) {
            self.host(host).handle_greeting(now, at(from, 40_000), greeting(from), true);
            self.host(from).handle_greeting(now, place, greeting(host), false);
        } else {
            let takes =
                if self.ordinary.contains(&host) { Duration::ZERO } else { CONNECT_TIMEOUT };
            self.failing.push(std::cmp::Reverse((now + takes, from, place)));
        }
    }

    fn all_pairs(&self) -> BTreeSet<(u8, u8)> {
        let all = self.hosts.keys();
        all.flat_map(|&a| self.hosts.keys().map(move |&b| (a, b))).filter(|(a, b)| a != b).collect()
    }
}

#[test]
fn nodes_find_each_other_and_a_newcomer_at_once() {
    let mut lan = Lan::new(&[100, 254]);
    lan.start(1, Probe::Arp);
    lan.start(2, Probe::Arp);
    lan.start(200, Probe::Arp);
    lan.run(SECOND);
    assert_eq!(lan.dials, lan.all_pairs());
    lan.run(20 * SECOND);
    lan.start(30, Probe::Arp);
    lan.run(Duration::from_millis(1));
    assert_eq!(lan.dials, lan.all_pairs(), "the first request of its sweep is enough");
}

#[test]
fn nothing_is_sent_between_sweeps_and_ordinary_hosts_are_spared() {
    let mut lan = Lan::new(&[100, 254]);
    lan.start(1, Probe::Arp);
    lan.start(2, Probe::Arp);
    lan.run(5 * SECOND);
    let sent = lan.sent;
    lan.run(50 * SECOND);
    assert_eq!(lan.sent, sent);
    lan.run(3_600 * SECOND);
    assert!(lan.knocks[&100] <= 2 * 61, "{:?}", lan.knocks);
    assert_eq!(lan.knocks.get(&50), None, "nobody is there");
    assert!(lan.knocks[&1] + lan.knocks[&2] <= 2, "linked nodes are not asked again");
}

#[test]
fn a_host_without_the_right_to_use_arp_is_found() {
    let mut lan = Lan::new(&[100]);
    lan.start(1, Probe::Arp);
    lan.run(5 * SECOND);
    lan.start(9, Probe::Connect);
    lan.run(5 * SECOND);
    assert_eq!(lan.dials, lan.all_pairs());
}
