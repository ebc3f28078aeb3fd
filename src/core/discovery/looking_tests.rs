//! Addresses that are seen in use, and what is asked for them.

use std::{
    net::{Ipv6Addr, SocketAddrV6},
    time::Duration,
};

use super::{
    tests::{SECOND, drain, greeting, id, interface, node, run},
    *,
};
use crate::model::limits::{DISCOVERY_PORT, SYNC_PORT};

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
