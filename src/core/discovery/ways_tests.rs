//! A node that can be reached at two addresses, one of which fails.

use std::time::Duration;

use super::{
    tests::{SECOND, at, door, drain, greeting, id, interface, ip, node, run},
    *,
};
use crate::model::limits::{DIAL_DOUBT_AFTER, LINK_LATE_AFTER, LINK_SWITCH_AFTER, SYNC_PORT};

/// Its two addresses.
const CABLE: u8 = 2;
const RADIO: u8 = 3;

fn name() -> NodeId {
    id(2)
}

fn dial(host: u8) -> Action {
    Action::Dial { node: name(), address: at(host, SYNC_PORT) }
}

/// Linked over the cable; that it answers by radio, too, is known.
fn linked(now: Instant) -> Discovery {
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_interfaces(now, &[interface(1)]);
    run(&mut discovery, &mut { now }, now + 5 * SECOND);
    for host in [CABLE, RADIO] {
        discovery.handle_sighting(now, ip(host));
        assert_eq!(drain(&mut discovery), [Action::Knock(door(host))]);
        discovery.handle_greeting(now, door(host), greeting(2), false);
        if host == CABLE {
            assert_eq!(drain(&mut discovery), [dial(CABLE)]);
            discovery.handle_outbound_up(now, name());
            drain(&mut discovery);
        }
    }
    assert_eq!(drain(&mut discovery), []);
    discovery
}

fn is_knock(action: &Action, host: u8) -> bool {
    *action == Action::Knock(door(host))
}

/// What is done until then, but for sweeps.
fn until(discovery: &mut Discovery, now: &mut Instant, end: Instant) -> std::vec::Vec<Action> {
    let done = run(discovery, now, end).into_iter().map(|(_, action)| action);
    done.filter(|action| !matches!(action, Action::ArpRequest { .. })).collect()
}

#[test]
fn the_address_of_the_link_is_told_not_the_one_that_greeted_last() {
    let now = Instant::now();
    let mut discovery = linked(now);
    let addresses = |discovery: &Discovery| discovery.nodes().collect::<std::vec::Vec<_>>();
    assert_eq!(addresses(&discovery), [(name(), at(CABLE, SYNC_PORT))]);
    discovery.handle_outbound_closed(now, name());
    assert_eq!(addresses(&discovery), [(name(), at(RADIO, SYNC_PORT))]);
}

#[test]
fn who_lost_its_own_address_asks_everywhere_at_once() {
    let mut now = Instant::now();
    let mut discovery = linked(now);
    discovery.handle_own_address_gone(now, name());
    let asked = drain(&mut discovery);
    assert!(
        asked.len() == 2 && [CABLE, RADIO].iter().all(|&h| asked.iter().any(|a| is_knock(a, h)))
    );
    now += Duration::from_millis(1);
    discovery.handle_greeting(now, door(RADIO), greeting(2), false);
    let end = now + Duration::from_millis(100);
    assert_eq!(until(&mut discovery, &mut now, end), [dial(RADIO)]);
}

#[test]
fn who_is_late_is_asked_and_left_for_the_address_that_answers() {
    let mut now = Instant::now();
    let mut discovery = linked(now);
    now += LINK_LATE_AFTER;
    discovery.handle_late(now, name());
    assert_eq!(drain(&mut discovery).len(), 2);
    discovery.handle_greeting(now, door(RADIO), greeting(2), false);
    assert_eq!(drain(&mut discovery), [], "the other one may answer in a moment");
    let end = now + LINK_SWITCH_AFTER;
    assert_eq!(until(&mut discovery, &mut now, end), [Action::HangUp { node: name() }]);
    discovery.handle_outbound_closed(now, name());
    assert_eq!(drain(&mut discovery), [dial(RADIO)]);
    discovery.handle_outbound_up(now, name());
    let remember = Action::Remember { node: name(), address: door(RADIO) };
    assert_eq!(drain(&mut discovery), [remember]);
}

#[test]
fn who_is_late_and_still_answers_there_is_not_left() {
    for first in [CABLE, RADIO] {
        let mut now = Instant::now();
        let mut discovery = linked(now);
        now += LINK_LATE_AFTER;
        discovery.handle_late(now, name());
        drain(&mut discovery);
        discovery.handle_greeting(now, door(first), greeting(2), false);
        now += LINK_SWITCH_AFTER / 2;
        discovery.handle_greeting(now, door(CABLE + RADIO - first), greeting(2), false);
        let end = now + 30 * SECOND;
        assert_eq!(until(&mut discovery, &mut now, end), [], "{first} answered first");
    }
}

#[test]
fn who_calls_from_elsewhere_is_asked_whether_the_link_still_holds() {
    let mut now = Instant::now();
    let mut discovery = linked(now);
    now += 10 * SECOND;
    discovery.handle_inbound_up(now, name(), at(CABLE, 40_000));
    assert_eq!(drain(&mut discovery), [], "from where the link leads to");
    // From an address that was never seen.
    discovery.handle_inbound_up(now, name(), at(9, 40_000));
    let asked = drain(&mut discovery);
    assert!([CABLE, 9].iter().all(|&host| asked.iter().any(|action| is_knock(action, host))));
    discovery.handle_greeting(now, door(9), greeting(2), false);
    let end = now + LINK_SWITCH_AFTER;
    assert_eq!(until(&mut discovery, &mut now, end), [Action::HangUp { node: name() }]);
    discovery.handle_outbound_closed(now, name());
    assert_eq!(drain(&mut discovery), [dial(9)]);
}

#[test]
fn a_dial_that_takes_long_has_the_other_addresses_asked() {
    let mut now = Instant::now();
    let mut discovery = linked(now);
    now += 60 * SECOND;
    discovery.handle_greeting(now, at(CABLE, 40_000), greeting(2), true);
    discovery.handle_outbound_closed(now, name());
    let end = now + SECOND / 2;
    assert_eq!(until(&mut discovery, &mut now, end), [dial(CABLE)]);
    let end = now + DIAL_DOUBT_AFTER;
    assert!(until(&mut discovery, &mut now, end).iter().any(|action| is_knock(action, RADIO)));
    discovery.handle_greeting(now, door(RADIO), greeting(2), false);
    let end = now + LINK_SWITCH_AFTER;
    assert_eq!(until(&mut discovery, &mut now, end), [Action::HangUp { node: name() }]);
    discovery.handle_outbound_closed(now, name());
    assert_eq!(drain(&mut discovery), [dial(RADIO)]);
}

#[test]
fn who_calls_while_it_is_dialled_in_vain_is_dialled_anew() {
    let mut now = Instant::now();
    let mut discovery = node(now, Probe::None);
    discovery.handle_greeting(now, at(CABLE, 40_000), greeting(2), true);
    assert_eq!(drain(&mut discovery), [dial(CABLE)]);
    discovery.handle_inbound_up(now, name(), at(CABLE, 40_000));
    assert_eq!(drain(&mut discovery), [], "the dial is on its way");
    now += 2 * SECOND;
    discovery.handle_timeout(now);
    drain(&mut discovery);
    discovery.handle_inbound_up(now, name(), at(CABLE, 40_000));
    assert_eq!(drain(&mut discovery), [Action::HangUp { node: name() }]);
    discovery.handle_outbound_closed(now, name());
    assert_eq!(drain(&mut discovery), [dial(CABLE)]);
}

#[test]
fn a_new_address_ends_every_pause() {
    let mut now = Instant::now();
    let mut discovery = linked(now);
    discovery.add_static(now, door(7)).unwrap();
    // Everything fails for long.
    discovery.handle_outbound_closed(now, name());
    let end = now + 120 * SECOND;
    while now < end {
        fail_all(&mut discovery, now);
        now = discovery.poll_timeout().unwrap();
        discovery.handle_timeout(now);
    }
    fail_all(&mut discovery, now);
    now += SECOND / 10;
    discovery.handle_new_address(now);
    let done = drain(&mut discovery);
    assert!(done.contains(&dial(RADIO)), "{done:?}");
    for host in [CABLE, RADIO, 7] {
        assert!(done.iter().any(|action| is_knock(action, host)), "{host}: {done:?}");
    }
}

#[test]
fn a_new_address_ends_the_pause_of_what_was_only_hinted_at() {
    let now = Instant::now();
    let mut discovery = node(now, Probe::Arp);
    discovery.handle_interfaces(now, &[interface(1)]);
    run(&mut discovery, &mut { now }, now + 5 * SECOND);
    discovery.handle_sighting(now, ip(9));
    fail_all(&mut discovery, now);
    discovery.handle_sighting(now, ip(9));
    assert_eq!(drain(&mut discovery), []);
    discovery.handle_new_address(now);
    discovery.handle_sighting(now, ip(9));
    assert_eq!(drain(&mut discovery), [Action::Knock(door(9))]);
}

/// Whatever is tried is in vain.
fn fail_all(discovery: &mut Discovery, now: Instant) {
    for action in drain(discovery) {
        match action {
            Action::Dial { node, .. } => discovery.handle_outbound_closed(now, node),
            Action::Knock(place) => discovery.handle_knock_failed(now, place),
            _ => {}
        }
    }
}
