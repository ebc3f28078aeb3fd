//! Networks that come, go, and fail in part.

use crate::harness::{DEFAULT_BOUND, Host, Lab, wait_until};

/// Says that the way of a link was given up since this machine is not on it any more.
const LEFT: &str = "this machine has left that network";
/// Says that another way is taken, since nothing comes back on the one in use.
const ELSEWHERE: &str = "answers at another address";

fn start(lab: &Lab) -> [&Host; 2] {
    let [a, b] = lab.hosts();
    a.start_with(&["--log", "debug"]);
    b.start_with(&["--log", "debug"]);
    lab.wait_linked();
    [a, b]
}

/// Both know that the other one lacks nothing, whatever way it has come.
fn go_on(lab: &Lab, [a, b]: [&Host; 2]) {
    a.write("from-a", "");
    b.write("from-b", "");
    lab.wait_identical();
}

#[test]
fn an_address_that_changes_is_noticed_at_once() {
    let lab = Lab::new(2);
    let [a, b] = start(&lab);
    b.shell("ip address del 10.77.0.2/24 dev eth0 && ip address add 10.77.0.12/24 dev eth0");
    go_on(&lab, [a, b]);
    assert!(b.has_logged(LEFT), "it waited until its link was silent");
    assert_eq!(a.status().peers[0].address, "10.77.0.12:2195");
}

/// Whether the second network is the one that `host` uses to reach its only peer.
fn uses_second(host: &Host) -> bool {
    host.status().peers[0].address.starts_with("10.78.")
}

/// Two hosts that know each other's addresses on either.
fn on_both_networks(lab: &Lab) -> [&Host; 2] {
    lab.world().add_second_network(2);
    let [a, b] = start(lab);
    // The sweep of the second one is over by then.
    a.wait_for_keep_alives();
    [a, b]
}

#[test]
fn a_network_of_two_that_loses_its_carrier_is_left_at_once() {
    let lab = Lab::new(2);
    let [a, b] = on_both_networks(&lab);
    let second = uses_second(b);
    lab.world().set_port(if second { "second2" } else { "h2" }, false);
    wait_until("the other network", DEFAULT_BOUND, || uses_second(b) != second);
    go_on(&lab, [a, b]);
    assert!(b.has_logged(LEFT), "it waited until its link was silent");
}

#[test]
fn a_network_of_two_that_fails_far_away_is_left_for_the_other_one() {
    let lab = Lab::new(2);
    let [a, b] = on_both_networks(&lab);
    let second = uses_second(b);
    lab.world().forget_port(if second { "second1" } else { "h1" });
    wait_until("the other network", DEFAULT_BOUND, || uses_second(b) != second);
    go_on(&lab, [a, b]);
    assert!(b.has_logged(ELSEWHERE), "it waited until its link was silent");
}

/// A carrier that goes and comes back is word for itself: nothing waits for a pause to end.
#[test]
fn a_carrier_that_comes_back_ends_every_pause() {
    let lab = Lab::new(2);
    let [a, b] = start(&lab);
    lab.cut(b);
    wait_until("the link to be given up", DEFAULT_BOUND, || !a.status().is_linked(b.name()));
    assert!(b.has_logged(LEFT), "it does not know that its cable is out");
    lab.heal(b);
    go_on(&lab, [a, b]);
}
