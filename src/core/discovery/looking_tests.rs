//! Addresses that are seen in use, and what is asked for them.

use std::{
    net::{Ipv6Addr, SocketAddrV6},
    time::Duration,
};

use super::{
    tests::{SECOND, at, door, drain, greeting, id, interface, ip, node, run},
    *,
};
use crate::model::limits::{
    CONTESTED_KEEP, CONTESTED_WITHIN, CROWD, DISCOVERY_PORT, MAX_CROWDED_KNOCKS, MAX_KNOCKS,
    SYNC_PORT,
};

const OWN: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const OTHER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const SCOPE: Scope = Scope { index: 3, address: OWN };
const ASK: Action = Action::EchoRequest { interface: 3 };

fn scoped(address: Ipv6Addr, port: u16) -> SocketAddr {
    SocketAddrV6::new(address, port, 0, 3).into()
}

#[test]
fn hosts_with_ipv6_alone_are_asked_for_at_once_and_again() {
    let start = Instant::now();
    let mut now = start;
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_scopes(now, &[SCOPE]);
    assert_eq!(drain(&mut discovery), [ASK]);
    discovery.handle_scopes(now, &[SCOPE]);
    assert_eq!(drain(&mut discovery), [], "it is not new");
    let again = run(&mut discovery, &mut now, start + 75 * SECOND);
    assert!(again.len() == 1 && again[0].1 == ASK, "{again:?}");
    discovery.handle_scoped_sighting(now, OTHER, 3);
    let door = scoped(OTHER, DISCOVERY_PORT);
    assert_eq!(drain(&mut discovery), [Action::Knock(door)]);
    discovery.handle_greeting(now, door, greeting(2), false);
    let dial = Action::Dial { node: id(2), address: scoped(OTHER, SYNC_PORT) };
    assert_eq!(drain(&mut discovery), [dial]);
}

#[test]
fn who_calls_by_ipv6_is_dialled_on_the_interface_that_it_called_on() {
    let now = Instant::now();
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_greeting(now, scoped(OTHER, 40_000), greeting(2), true);
    let dial = Action::Dial { node: id(2), address: scoped(OTHER, SYNC_PORT) };
    assert_eq!(drain(&mut discovery), [dial]);
}

#[test]
fn only_link_local_addresses_of_others_on_known_interfaces_are_knocked_at() {
    let now = Instant::now();
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_scopes(now, &[SCOPE]);
    drain(&mut discovery);
    let routed = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
    for (address, interface) in [(OWN, 3), (OTHER, 4), (routed, 3)] {
        discovery.handle_scoped_sighting(now, address, interface);
        assert_eq!(drain(&mut discovery), [], "{address} on {interface}");
    }
}

/// So that those who have both are linked where people can read the address.
#[test]
fn ipv6_is_asked_when_the_sweep_of_ipv4_is_through() {
    let start = Instant::now();
    let mut now = start;
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_interfaces(now, &[interface(1)]);
    discovery.handle_scopes(now, &[SCOPE]);
    let done = run(&mut discovery, &mut now, start + 10 * SECOND);
    assert_eq!(done.iter().filter(|(_, action)| *action == ASK).count(), 1);
    let (when, last) = done.last().unwrap();
    assert!(*last == ASK && *when - start < Duration::from_secs(2), "{last:?}");
}

const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 9];
const TWIN: [u8; 6] = [2, 0, 0, 0, 0, 10];

/// After its first sweep.
fn swept(now: Instant) -> Discovery {
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_interfaces(now, &[interface(1)]);
    run(&mut discovery, &mut { now }, now + 5 * SECOND);
    discovery
}

fn knocks(discovery: &mut Discovery) -> std::vec::Vec<SocketAddr> {
    let places = drain(discovery).into_iter().filter_map(|action| match action {
        Action::Knock(place) => Some(place),
        _ => None,
    });
    places.collect()
}

/// A router that answers for the whole subnet, as one does that stands in for it.
#[test]
fn who_answers_for_all_is_knocked_at_last_and_a_few_at_a_time() {
    let now = Instant::now();
    let mut discovery = swept(now);
    let mut knocked = std::vec::Vec::new();
    for host in 2..=254 {
        discovery.handle_arp(now, ip(host), ROUTER);
        knocked.extend(knocks(&mut discovery));
    }
    assert!(knocked.len() <= CROWD + MAX_CROWDED_KNOCKS, "{}", knocked.len());
    assert!(knocked.len() < MAX_KNOCKS / 2);
    // Who answers for itself alone is knocked at once, though the router did so for it, too.
    discovery.handle_arp(now, ip(200), HOST);
    assert_eq!(knocks(&mut discovery), [door(200)]);
    // The others have their turn as knocks end, and nothing spins meanwhile.
    assert!(discovery.poll_timeout().is_some_and(|at| at > now));
    let mut done = knocked.clone();
    while let Some(place) = knocked.pop() {
        discovery.handle_knock_failed(now, place);
        let next = knocks(&mut discovery);
        done.extend(&next);
        knocked.extend(next);
    }
    assert_eq!(done.len(), 252, "all but 200, which was asked");
}

fn contested(discovery: &Discovery, now: Instant) -> std::vec::Vec<Trouble> {
    discovery.troubles(now).collect()
}

#[test]
fn two_machines_with_one_address_are_told_with_both_hardware_addresses() {
    let mut now = Instant::now();
    let mut discovery = swept(now);
    discovery.handle_arp(now, ip(7), HOST);
    discovery.handle_arp(now, ip(7), TWIN);
    assert_eq!(contested(&discovery, now), [], "a card that was replaced");
    now += CONTESTED_WITHIN / 2;
    discovery.handle_arp(now, ip(7), HOST);
    let told = Trouble::Contested { address: ip(7), macs: [TWIN, HOST] };
    assert_eq!(contested(&discovery, now), std::slice::from_ref(&told));
    let text = told.to_string();
    assert!(text.contains("02:00:00:00:00:09") && text.contains("02:00:00:00:00:0a"), "{text}");
    assert_eq!(contested(&discovery, now + CONTESTED_KEEP + SECOND), []);
}

#[test]
fn a_machine_with_two_cards_on_one_network_is_one() {
    let now = Instant::now();
    let mut discovery = swept(now);
    // Either card answers for either address.
    for _ in 0..3 {
        for host in [7, 8] {
            discovery.handle_arp(now, ip(host), HOST);
            discovery.handle_arp(now, ip(host), TWIN);
        }
    }
    // The first address was seen alternating before the second one was seen at all.
    let again = [(7, HOST), (7, TWIN), (8, HOST), (8, TWIN)];
    again.iter().for_each(|&(host, mac)| discovery.handle_arp(now, ip(host), mac));
    assert_eq!(contested(&discovery, now), []);
}

#[test]
fn a_large_subnet_that_is_tried_in_part_is_told_where_arp_may_not_be_used() {
    let now = Instant::now();
    let wide = Interface { prefix_len: 16, ..interface(1) };
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_interfaces(now, std::slice::from_ref(&wide));
    assert_eq!(contested(&discovery, now), []);
    discovery.set_probe(now, Probe::Connect);
    let told = contested(&discovery, now);
    assert_eq!(told.len(), 1);
    let text = told[0].to_string();
    for word in ["1024", "65534", "eth0", "--peer"] {
        assert!(text.contains(word), "no {word} in {text}");
    }
}

#[test]
fn who_loses_large_packets_is_sent_small_ones_and_is_told() {
    let mut now = Instant::now();
    let mut discovery = swept(now);
    discovery.handle_greeting(now, at(2, 40_000), greeting(2), true);
    discovery.handle_outbound_up(now, id(2));
    drain(&mut discovery);
    now += 20 * SECOND;
    discovery.handle_stuck(now, id(2));
    let narrow = Action::Narrow { node: id(2) };
    let dial = Action::Dial { node: id(2), address: at(2, SYNC_PORT) };
    let end = now + SECOND;
    let done = run(&mut discovery, &mut now, end);
    let done: std::vec::Vec<_> = done.into_iter().map(|(_, action)| action).collect();
    assert_eq!(done[..2], [narrow, dial]);
    let told = contested(&discovery, now);
    assert_eq!(told, [Trouble::Narrow { address: at(2, SYNC_PORT) }]);
    assert!(told[0].to_string().contains("MTU"));
    discovery.handle_outbound_up(now, id(2));
    drain(&mut discovery);
    discovery.handle_stuck(now, id(2));
    let end = now + SECOND;
    let again = run(&mut discovery, &mut now, end);
    assert!(!again.iter().any(|(_, action)| *action == narrow), "once");
}
