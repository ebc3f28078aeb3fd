//! Scripted time: one node, step by step and under whatever may happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::model::limits::{
    CONNECT_TIMEOUT, DISCOVERY_PORT, HINT_INTERVAL, HINT_INTERVAL_MAX, MAX_KNOCKS, MAX_NODES,
    MAX_PINNED_PLACES, MAX_PLACES, MAX_SWEEP_ADDRESSES, NODE_SEEN_LATELY, RECONNECT_DELAY_MAX,
    RECONNECT_DELAY_MIN, STRANGER_PAUSE, SYNC_PORT,
};

pub const SECOND: Duration = Duration::from_secs(1);
const SUBNET_BITS: u8 = 24;

pub fn ip(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host)
}

pub fn at(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from((ip(host), port))
}

pub fn door(host: u8) -> SocketAddr {
    at(host, DISCOVERY_PORT)
}

pub fn interface(host: u8) -> Interface {
    let address = ip(host);
    Interface { index: 2, name: "eth0".to_owned(), address, prefix_len: SUBNET_BITS, mac: [2; 6] }
}

pub fn id(name: u8) -> NodeId {
    NodeId([name; 8])
}

pub fn greeting(name: u8) -> Greeting {
    Greeting { node: id(name), instance: u64::from(name), sync_port: SYNC_PORT }
}

/// Node 1 at host 1.
pub fn node(now: Instant, probe: Probe) -> Discovery {
    Discovery::new(now, id(1), 1, DISCOVERY_PORT, probe, 7)
}

pub fn drain(discovery: &mut Discovery) -> std::vec::Vec<Action> {
    std::iter::from_fn(|| discovery.poll_action()).collect()
}

/// Runs until `end` and returns what was done and when; what is started is never heard of.
pub fn run(
    discovery: &mut Discovery,
    now: &mut Instant,
    end: Instant,
) -> std::vec::Vec<(Instant, Action)> {
    let mut done = std::vec::Vec::new();
    loop {
        done.extend(drain(discovery).into_iter().map(|action| (*now, action)));
        match discovery.poll_timeout().filter(|&deadline| deadline <= end) {
            Some(deadline) => *now = (*now).max(deadline),
            None => break,
        }
        discovery.handle_timeout(*now);
    }
    *now = end;
    done
}

/// A node of the test group greeted us; the dial that follows is taken.
pub fn greeted(now: Instant, name: u8) -> Discovery {
    let mut discovery = node(now, Probe::None);
    discovery.handle_greeting(now, at(name, 40_000), greeting(name), true);
    let dial = Action::Dial { node: id(name), address: at(name, SYNC_PORT) };
    assert_eq!(drain(&mut discovery), [dial], "a caller of our group is dialled at once");
    discovery
}

#[test]
fn sweeps_at_start_paced_then_is_quiet_until_the_next() {
    let start = Instant::now();
    let mut now = start;
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_interfaces(now, &[interface(1)]);
    let sweep = run(&mut discovery, &mut now, start + 59 * SECOND);
    assert_eq!(sweep.len(), 253);
    assert!(
        sweep.iter().all(|(_, action)| matches!(action, Action::ArpRequest { interface: 2, .. }))
    );
    assert!(sweep.iter().all(|&(when, _)| when < start + SECOND), "quiet after the sweep");
    for (first, later) in sweep.iter().zip(&sweep[50..]) {
        assert!(later.0 - first.0 >= Duration::from_millis(100), "no more than 500 a second");
    }
    let next = run(&mut discovery, &mut now, start + 75 * SECOND);
    assert_eq!(next.len(), 253);
}

#[test]
fn sweeps_are_rare_while_a_node_is_linked() {
    let start = Instant::now();
    let mut now = start;
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_interfaces(now, &[interface(1)]);
    discovery.handle_greeting(now, at(2, 40_000), greeting(2), true);
    discovery.handle_outbound_up(now, id(2));
    let mut requests = |seconds| {
        let actions = run(&mut discovery, &mut now, start + seconds * SECOND);
        actions.iter().filter(|(_, action)| matches!(action, Action::ArpRequest { .. })).count()
    };
    assert!(requests(599) <= 253, "one at the start");
    assert!(requests(730) >= 252, "and the next");
}

#[test]
fn a_changed_address_is_swept_at_once_and_an_unchanged_one_is_not() {
    let mut now = Instant::now();
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_interfaces(now, &[interface(1)]);
    let end = now + 5 * SECOND;
    run(&mut discovery, &mut now, end);
    discovery.handle_interfaces(now, &[interface(1)]);
    assert_eq!(drain(&mut discovery), []);
    let second =
        Interface { index: 3, address: Ipv4Addr::new(10, 9, 0, 1), prefix_len: 16, ..interface(1) };
    discovery.handle_interfaces(now, &[interface(1), second.clone()]);
    let end = now + 5 * SECOND;
    let sweep = run(&mut discovery, &mut now, end);
    assert_eq!(sweep.len(), MAX_SWEEP_ADDRESSES);
    assert!(
        sweep.iter().all(|(_, action)| matches!(action, Action::ArpRequest { interface: 3, .. }))
    );
    discovery.handle_interfaces(now, &[second]);
    let end = now + 80 * SECOND;
    assert!(!run(&mut discovery, &mut now, end).is_empty(), "the next sweep comes all the same");
}

#[test]
fn an_interface_that_goes_in_mid_sweep_does_not_end_sweeping() {
    let mut now = Instant::now();
    let mut discovery = node(now, Probe::Arp);
    let second = Interface { index: 3, address: Ipv4Addr::new(10, 9, 0, 1), ..interface(1) };
    discovery.handle_interfaces(now, &[interface(1), second]);
    let end = now + Duration::from_millis(700);
    run(&mut discovery, &mut now, end);
    discovery.handle_interfaces(now, &[interface(1)]);
    assert_eq!(drain(&mut discovery), []);
    let end = now + 80 * SECOND;
    assert_eq!(run(&mut discovery, &mut now, end).len(), 253);
}

#[test]
fn a_connect_sweep_is_bounded_and_goes_on_as_knocks_end() {
    let mut now = Instant::now();
    let mut discovery = node(now, Probe::Connect);
    discovery.handle_interfaces(now, &[interface(1)]);
    let mut knocked = BTreeSet::new();
    while knocked.len() < 253 {
        let end = now + CONNECT_TIMEOUT;
        let batch = run(&mut discovery, &mut now, end);
        assert!((1..=MAX_SWEEP_KNOCKS).contains(&batch.len()));
        for (_, action) in batch {
            let Action::Knock(place) = action else { panic!("{action:?}") };
            assert!(knocked.insert(place), "{place} twice");
            discovery.handle_knock_failed(now, place);
        }
    }
    assert!(!knocked.contains(&door(1)), "not ourselves");
}

#[test]
fn test_mode_asks_static_peers_alone() {
    let mut now = Instant::now();
    let mut discovery = node(now, Probe::None);
    discovery.handle_interfaces(now, &[interface(1)]);
    discovery.handle_sighting(now, ip(9));
    assert_eq!(discovery.poll_timeout(), None);
    discovery.add_static(now, door(2)).unwrap();
    assert_eq!(drain(&mut discovery), [Action::Knock(door(2))]);
    discovery.handle_knock_failed(now, door(2));
    let mut pauses = std::vec::Vec::new();
    for _ in 0..12 {
        let before = now;
        let deadline = discovery.poll_timeout().unwrap();
        assert_eq!(run(&mut discovery, &mut now, deadline), [(deadline, Action::Knock(door(2)))]);
        discovery.handle_knock_failed(now, door(2));
        pauses.push(now - before);
    }
    assert!(pauses[0] < Duration::from_millis(126), "{pauses:?}");
    assert!(pauses[11] > RECONNECT_DELAY_MAX.mul_f64(0.7), "{pauses:?}");
    assert!(pauses[11] < RECONNECT_DELAY_MAX.mul_f64(1.3), "{pauses:?}");
}

#[test]
fn there_is_a_limit_to_static_peers() {
    let now = Instant::now();
    let mut discovery = node(now, Probe::None);
    for port in 1..=MAX_PINNED_PLACES as u16 {
        discovery.add_static(now, at(2, port)).unwrap();
        drain(&mut discovery);
    }
    assert_eq!(discovery.add_static(now, at(2, 9_999)), Err(TooManyPeers));
    assert_eq!(discovery.add_static(now, at(2, 1)), Ok(()), "one that is known is no further one");
}

/// One host that is no node, seen ten times a second for an hour.
#[test]
fn an_ordinary_host_is_knocked_about_once_a_minute() {
    let mut now = Instant::now();
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_interfaces(now, &[interface(1)]);
    let mut knocks = 0;
    for _ in 0..36_000 {
        discovery.handle_sighting(now, ip(9));
        let end = now + SECOND / 10;
        for (_, action) in run(&mut discovery, &mut now, end) {
            if action == Action::Knock(door(9)) {
                knocks += 1;
                discovery.handle_knock_failed(now, door(9));
            }
        }
    }
    assert!((60..=3_600 / HINT_INTERVAL_MAX.as_secs() + 4).contains(&knocks), "{knocks} knocks");
}

#[test]
fn a_storm_of_sightings_is_bounded() {
    let start = Instant::now();
    let mut now = start;
    let mut discovery = node(now, Probe::Arp);
    let wide = Interface { prefix_len: 8, ..interface(1) };
    discovery.handle_interfaces(now, &[wide]);
    let mut under_way = BTreeMap::new();
    let mut knocks = 0;
    for forged in 0..8_000u32 {
        discovery.handle_sighting(now, Ipv4Addr::from(0x0a10_0000 + forged));
        let end = now + Duration::from_millis(1);
        for (_, action) in run(&mut discovery, &mut now, end) {
            if let Action::Knock(place) = action {
                knocks += 1;
                assert!(under_way.insert(place, now).is_none(), "{place} twice");
            }
        }
        assert!(under_way.len() <= MAX_KNOCKS);
        assert!(discovery.places.len() <= MAX_PLACES);
        let ended: std::vec::Vec<_> = under_way
            .iter()
            .filter(|(_, since)| now - **since >= CONNECT_TIMEOUT)
            .map(|(&p, _)| p)
            .collect();
        for place in ended {
            under_way.remove(&place);
            discovery.handle_knock_failed(now, place);
        }
    }
    let rounds = (now - start).as_secs() / CONNECT_TIMEOUT.as_secs() + 1;
    assert!(knocks <= rounds as usize * MAX_KNOCKS, "{knocks} knocks");
    discovery.handle_greeting(now, at(2, 40_000), greeting(2), true);
    let dial = Action::Dial { node: id(2), address: at(2, SYNC_PORT) };
    assert!(drain(&mut discovery).contains(&dial), "a true node gets through");
}

#[test]
fn sightings_from_elsewhere_and_of_ourselves_are_ignored() {
    let mut now = Instant::now();
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_interfaces(now, &[interface(1)]);
    let end = now + 5 * SECOND;
    run(&mut discovery, &mut now, end);
    for address in [ip(1), ip(0), ip(255), Ipv4Addr::new(10, 0, 1, 9), Ipv4Addr::new(8, 8, 8, 8)] {
        discovery.handle_sighting(now, address);
        assert_eq!(drain(&mut discovery), [], "{address}");
    }
}

#[test]
fn who_only_asks_is_not_dialled() {
    let now = Instant::now();
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_greeting(
        now,
        at(9, 40_000),
        Greeting { node: NodeId::ANONYMOUS, ..greeting(9) },
        true,
    );
    assert_eq!(drain(&mut discovery), []);
    assert_eq!(discovery.nodes().count(), 0);
}

#[test]
fn a_stranger_is_left_alone_for_a_while() {
    let mut now = Instant::now();
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_interfaces(now, &[interface(1)]);
    discovery.handle_sighting(now, ip(9));
    drain(&mut discovery);
    discovery.handle_stranger(now, door(9));
    let end = now + STRANGER_PAUSE - SECOND;
    run(&mut discovery, &mut now, end);
    discovery.handle_sighting(now, ip(9));
    assert_eq!(drain(&mut discovery), []);
    now += 2 * SECOND;
    discovery.handle_sighting(now, ip(9));
    assert!(drain(&mut discovery).contains(&Action::Knock(door(9))));
}

#[test]
fn a_twin_is_reported_once_and_an_own_echo_is_not() {
    let now = Instant::now();
    let mut discovery = node(now, Probe::None);
    discovery.add_static(now, door(5)).unwrap();
    discovery.add_static(now, door(6)).unwrap();
    drain(&mut discovery);
    discovery.handle_greeting(now, door(5), greeting(1), false);
    assert_eq!(drain(&mut discovery), [], "our own echo");
    let twin = Greeting { instance: 99, ..greeting(1) };
    discovery.handle_greeting(now, door(6), twin, false);
    discovery.handle_greeting(now, at(6, 40_000), twin, true);
    assert_eq!(drain(&mut discovery), [Action::TwinSeen]);
    discovery.set_identity(id(77), 77);
    let again = run(&mut discovery, &mut { now }, now + 10 * SECOND);
    assert_eq!(again.len(), 1, "the twin is asked again, the own address is not: {again:?}");
    assert_eq!(again[0].1, Action::Knock(door(6)));
    discovery.handle_greeting(now + 10 * SECOND, door(6), twin, false);
    let dial = Action::Dial { node: id(1), address: at(6, SYNC_PORT) };
    assert_eq!(drain(&mut discovery), [dial], "with another identity it is a peer");
}

#[test]
fn dials_back_off_and_a_link_that_held_resets_that() {
    let mut now = Instant::now();
    let mut discovery = greeted(now, 2);
    let mut pauses = std::vec::Vec::new();
    for _ in 0..12 {
        discovery.handle_outbound_closed(now, id(2));
        let before = now;
        while !drain(&mut discovery).iter().any(|action| matches!(action, Action::Dial { .. })) {
            now = discovery.poll_timeout().unwrap();
            discovery.handle_timeout(now);
        }
        pauses.push(now - before);
    }
    assert!(pauses[0] <= Duration::from_millis(125), "{pauses:?}");
    assert!(pauses.windows(2).take(5).all(|pair| pair[0] < pair[1].mul_f64(0.9)), "{pauses:?}");
    assert!(pauses.iter().all(|&pause| pause <= RECONNECT_DELAY_MAX.mul_f64(1.25)), "{pauses:?}");
    assert!(pauses[11] >= RECONNECT_DELAY_MAX.mul_f64(0.75), "{pauses:?}");

    discovery.handle_outbound_up(now, id(2));
    assert_eq!(drain(&mut discovery), [Action::Remember { node: id(2), address: door(2) }]);
    discovery.handle_outbound_closed(now + SECOND, id(2));
    assert!(
        discovery.poll_timeout().unwrap() > now + 5 * SECOND,
        "a link that fell at once resets nothing"
    );
    now = discovery.poll_timeout().unwrap();
    discovery.handle_timeout(now);
    discovery.handle_outbound_up(now, id(2));
    now += 60 * SECOND;
    discovery.handle_outbound_closed(now, id(2));
    assert!(discovery.poll_timeout().unwrap() - now <= Duration::from_millis(125));
}

#[test]
fn a_node_long_gone_is_no_longer_dialled_until_it_calls() {
    let start = Instant::now();
    let mut now = start;
    let mut discovery = greeted(now, 2);
    discovery.handle_outbound_closed(now, id(2));
    while let Some(deadline) = discovery.poll_timeout() {
        now = deadline;
        discovery.handle_timeout(now);
        for action in drain(&mut discovery) {
            assert!(matches!(action, Action::Dial { .. }), "{action:?}");
            discovery.handle_outbound_closed(now, id(2));
        }
        assert!(now < start + 2 * NODE_SEEN_LATELY, "still dialling");
    }
    assert!(now > start + NODE_SEEN_LATELY - RECONNECT_DELAY_MAX);
    now += SECOND;
    discovery.handle_greeting(now, at(2, 40_000), greeting(2), true);
    assert_eq!(drain(&mut discovery), [Action::Dial { node: id(2), address: at(2, SYNC_PORT) }]);
}

#[test]
fn a_node_that_moved_is_dialled_where_it_is_now() {
    let mut now = Instant::now();
    let mut discovery = greeted(now, 2);
    discovery.handle_outbound_up(now, id(2));
    drain(&mut discovery);
    discovery.handle_greeting(now, at(9, 40_000), greeting(2), true);
    assert_eq!(drain(&mut discovery), [], "one link a node");
    discovery.handle_outbound_closed(now, id(2));
    now = discovery.poll_timeout().unwrap();
    discovery.handle_timeout(now);
    assert_eq!(drain(&mut discovery), [Action::Dial { node: id(2), address: at(9, SYNC_PORT) }]);
    discovery.handle_outbound_up(now, id(2));
    assert_eq!(drain(&mut discovery), [Action::Remember { node: id(2), address: door(9) }]);
}

#[test]
fn greetings_cannot_hurry_dials() {
    let mut now = Instant::now();
    let mut discovery = greeted(now, 2);
    let mut dials = 0;
    for _ in 0..1_000 {
        discovery.handle_outbound_closed(now, id(2));
        now += Duration::from_millis(10);
        discovery.handle_greeting(now, at(2, 40_000), greeting(2), true);
        discovery.handle_timeout(now);
        dials += drain(&mut discovery).iter().filter(|a| matches!(a, Action::Dial { .. })).count();
    }
    assert!(dials <= 10 + 4, "{dials} dials in 10 s");
}

#[test]
fn a_remembered_node_is_asked_first_and_not_remembered_again() {
    let now = Instant::now();
    let mut discovery = node(now, Probe::Arp);
    discovery.add_remembered(now, id(2), door(2));
    assert_eq!(drain(&mut discovery), [Action::Knock(door(2))]);
    discovery.handle_greeting(now, door(2), greeting(2), false);
    assert_eq!(drain(&mut discovery), [Action::Dial { node: id(2), address: at(2, SYNC_PORT) }]);
    discovery.handle_outbound_up(now, id(2));
    assert_eq!(drain(&mut discovery), []);
    assert_eq!(discovery.nodes().collect::<std::vec::Vec<_>>(), [(id(2), at(2, SYNC_PORT))]);
}

#[test]
fn a_full_table_refuses_and_says_so_once() {
    let now = Instant::now();
    let mut discovery = node(now, Probe::None);
    let mut refused = std::vec::Vec::new();
    for name in 2..MAX_NODES as u8 + 4 {
        discovery.handle_greeting(now, at(name, 40_000), greeting(name), true);
        let actions = drain(&mut discovery);
        refused.extend(actions.into_iter().filter(|a| matches!(a, Action::Refused { .. })));
    }
    assert_eq!(refused, [Action::Refused { node: id(MAX_NODES as u8 + 2) }]);
    assert_eq!(discovery.nodes().count(), MAX_NODES);
    discovery.handle_interfaces(now, &[interface(1)]);
    discovery.set_probe(now, Probe::Arp);
    drain(&mut discovery);
    discovery.handle_sighting(now, ip(MAX_NODES as u8 + 2));
    assert_eq!(drain(&mut discovery), [], "one that was refused is left alone");
}

#[test]
fn a_static_peer_with_another_port_after_its_restart_is_found_again() {
    let mut now = Instant::now();
    let mut discovery = node(now, Probe::None);
    discovery.add_static(now, door(2)).unwrap();
    drain(&mut discovery);
    discovery.handle_greeting(now, door(2), greeting(2), false);
    let end = now + HINT_INTERVAL + 2 * SECOND;
    while now < end {
        for action in drain(&mut discovery) {
            match action {
                Action::Dial { .. } => discovery.handle_outbound_closed(now, id(2)),
                Action::Knock(place) => {
                    assert_eq!(place, door(2));
                    let restarted = Greeting { instance: 22, sync_port: 9_999, ..greeting(2) };
                    discovery.handle_greeting(now, place, restarted, false);
                    let dial = Action::Dial { node: id(2), address: at(2, 9_999) };
                    let end = now + RECONNECT_DELAY_MIN;
                    let done = run(&mut discovery, &mut now, end);
                    assert!(done.iter().any(|&(_, action)| action == dial), "{done:?}");
                    return;
                }
                _ => panic!("{action:?}"),
            }
        }
        now = discovery.poll_timeout().unwrap();
        discovery.handle_timeout(now);
    }
    panic!("not asked where it is now");
}

#[test]
fn a_lost_report_does_not_hold_a_slot_for_ever() {
    let mut now = Instant::now();
    let mut discovery = node(now, Probe::None);
    discovery.add_static(now, door(2)).unwrap();
    let end = now + 60 * SECOND;
    assert!(run(&mut discovery, &mut now, end).len() > 1);
}

/// Something that the shell may tell, and how long after the one before.
#[derive(Debug, Clone)]
enum Event {
    Interfaces(u8),
    NewAddress,
    OwnAddressesGone,
    Late(u8),
    Inbound { from: u8, name: u8 },
    Sighting(u8),
    Greeting { from: u8, name: u8, instance: u8, inbound: bool },
    KnocksEnd { strangers: bool },
    DialsEnd { up: bool },
    LinksFall,
    Nothing,
}

fn events() -> impl Strategy<Value = (u64, Event)> {
    let event = prop_oneof![
        (0..4u8).prop_map(Event::Interfaces),
        Just(Event::NewAddress),
        Just(Event::OwnAddressesGone),
        (1..9u8).prop_map(Event::Late),
        (0..20u8, 1..9u8).prop_map(|(from, name)| Event::Inbound { from, name }),
        (0..20u8).prop_map(Event::Sighting),
        (0..20u8, 1..9u8, 0..3u8, any::<bool>()).prop_map(|(from, name, instance, inbound)| {
            Event::Greeting { from, name, instance, inbound }
        }),
        any::<bool>().prop_map(|strangers| Event::KnocksEnd { strangers }),
        any::<bool>().prop_map(|up| Event::DialsEnd { up }),
        Just(Event::LinksFall),
        Just(Event::Nothing),
    ];
    (0..20_000u64, event)
}

/// What the shell has under way.
#[derive(Default)]
struct Shell {
    knocks: BTreeSet<SocketAddr>,
    dials: BTreeSet<NodeId>,
    links: BTreeSet<NodeId>,
    /// Told to be given up, which is not reported yet.
    leaving: BTreeSet<NodeId>,
}

impl Shell {
    fn take(&mut self, actions: std::vec::Vec<Action>) {
        for action in actions {
            match action {
                Action::Knock(place) => {
                    assert!(self.knocks.insert(place), "{place} is being knocked")
                }
                Action::Dial { node, .. } => {
                    assert!(!self.links.contains(&node), "{node} is linked");
                    assert!(!self.leaving.contains(&node), "{node} is being left");
                    assert!(self.dials.insert(node), "{node} is being dialled");
                }
                Action::HangUp { node } => {
                    let was_there = self.links.remove(&node) || self.dials.remove(&node);
                    assert!(was_there && self.leaving.insert(node), "{node} is left in vain");
                }
                _ => {}
            }
        }
        assert!(self.knocks.len() <= MAX_KNOCKS);
    }

    fn tell(&mut self, discovery: &mut Discovery, now: Instant, event: Event) {
        match event {
            Event::Interfaces(0) => discovery.handle_interfaces(now, &[]),
            Event::Interfaces(host) => {
                discovery.handle_interfaces(now, &[interface(host), interface(1)])
            }
            Event::NewAddress => discovery.handle_new_address(now),
            Event::OwnAddressesGone => {
                let gone = std::mem::take(&mut self.links);
                gone.into_iter().for_each(|node| discovery.handle_own_address_gone(now, node));
            }
            Event::Late(name) => discovery.handle_late(now, id(name)),
            Event::Inbound { from, name } => {
                discovery.handle_inbound_up(now, id(name), at(from, 40_000));
            }
            Event::Sighting(host) => discovery.handle_sighting(now, ip(host)),
            Event::Greeting { from, name, instance, inbound } => {
                // An answer comes only to a knock.
                if inbound || self.knocks.remove(&door(from)) {
                    let greeting = Greeting { instance: instance.into(), ..greeting(name) };
                    discovery.handle_greeting(now, door(from), greeting, inbound);
                }
            }
            Event::KnocksEnd { strangers: true } => {
                std::mem::take(&mut self.knocks)
                    .into_iter()
                    .for_each(|p| discovery.handle_stranger(now, p));
            }
            Event::KnocksEnd { strangers: false } => {
                let knocks = std::mem::take(&mut self.knocks);
                knocks.into_iter().for_each(|place| discovery.handle_knock_failed(now, place));
            }
            Event::DialsEnd { up: true } => {
                self.links.extend(&self.dials);
                std::mem::take(&mut self.dials)
                    .into_iter()
                    .for_each(|n| discovery.handle_outbound_up(now, n));
            }
            Event::DialsEnd { up: false } => self.close(discovery, now, false),
            Event::LinksFall => self.close(discovery, now, true),
            Event::Nothing => {}
        }
    }

    fn close(&mut self, discovery: &mut Discovery, now: Instant, links: bool) {
        let gone = std::mem::take(if links { &mut self.links } else { &mut self.dials });
        gone.into_iter().for_each(|node| discovery.handle_outbound_closed(now, node));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_there_is_one_knock_a_place_and_one_dial_a_node(
        connect: bool,
        events in prop::collection::vec(events(), 0..120),
    ) {
        let mut now = Instant::now();
        let mut discovery = node(now, if connect { Probe::Connect } else { Probe::Arp });
        discovery.add_static(now, door(7)).unwrap();
        discovery.add_remembered(now, id(8), door(8));
        let mut shell = Shell::default();
        for (pause_ms, event) in events {
            shell.tell(&mut discovery, now, event);
            shell.take(drain(&mut discovery));
            let left = std::mem::take(&mut shell.leaving);
            left.into_iter().for_each(|node| discovery.handle_outbound_closed(now, node));
            shell.take(drain(&mut discovery));
            now += Duration::from_millis(pause_ms);
            // A knock ends in time; see `a_lost_report_does_not_hold_a_slot_for_ever` for one that
            // does not.
            shell.tell(&mut discovery, now, Event::KnocksEnd { strangers: false });
            discovery.handle_timeout(now);
            shell.take(drain(&mut discovery));
        }
        prop_assert!(discovery.nodes().count() <= 8);
    }
}
