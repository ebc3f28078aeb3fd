//! Networks that come, go, and fail in part.

use crate::harness::{DEFAULT_BOUND, Host, Lab, noise, wait_until};

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

#[test]
fn hosts_with_ipv6_alone_find_each_other() {
    let lab = Lab::new(2);
    lab.world().use_ipv6_alone(2);
    let [a, b] = start(&lab);
    go_on(&lab, [a, b]);
    assert!(a.status().peers[0].address.starts_with("[fe80::"), "{:?}", a.status().peers);
}

#[test]
fn peers_are_named_by_addresses_of_ipv6() {
    let lab = Lab::new(2);
    lab.world().use_ipv6_alone(2);
    let [a, b] = lab.hosts();
    a.start_with(&["--mode", "test", "--peer", "fd77::2"]);
    let scoped = format!("[{}%eth0]:2194", lab.world().link_local(1));
    b.start_with(&["--mode", "test", "--peer", &scoped]);
    lab.wait_linked();
    go_on(&lab, [a, b]);
    let bare = b.run_fails(&["--peer", "fe80::1"]);
    assert!(bare.code == Some(2) && bare.stderr.contains("%eth0"), "{bare:?}");
}

/// More networks than there are sockets, all before the one that the other host is on.
#[test]
fn a_host_with_many_bridges_is_found_and_says_what_it_leaves_out() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    a.shell(
        "for i in $(seq 18); do
             ip link add br$i type bridge && ip address add 172.$i.0.1/16 dev br$i
             ip link set br$i up
         done",
    );
    // The card has come last, as one on USB does.
    lab.world().shell(
        "ip -n h1 link del eth0
         ip link add eth0 index 200 netns h1 type veth peer name h1 netns switch
         ip -n switch link set h1 master br0 up
         ip -n h1 address add 10.77.0.1/24 brd + dev eth0
         ip -n h1 link set eth0 up",
    );
    a.start();
    b.start();
    lab.wait_linked();
    go_on(&lab, [a, b]);
    wait_until("word of what is left out", DEFAULT_BOUND, || a.has_logged("choose by --interface"));
}

/// A switch that drops large packets and tells nobody.
#[test]
fn large_packets_that_get_lost_become_small_ones() {
    let lab = Lab::new(2);
    // All believe in 9,000 bytes but the port of the switch that leads to the second host.
    let large = "mtu 9000 gso_max_segs 1";
    lab.world().shell(&format!(
        "ip -n switch link set h1 {large}; ip -n h1 link set eth0 {large}
         ip -n h2 link set eth0 {large}"
    ));
    let [a, _] = start(&lab);
    a.write("large", noise(31, 2_000_000));
    lab.wait_identical();
    wait_until("word of the cause", DEFAULT_BOUND, || {
        a.status().network.iter().any(|trouble| trouble.contains("MTU"))
    });
}

#[test]
fn two_machines_with_one_address_are_told() {
    let lab = Lab::new(3);
    let [a, b, c] = lab.hosts();
    c.shell("ip address del 10.77.0.3/24 dev eth0; ip address add 10.77.0.2/24 dev eth0");
    a.start();
    b.start();
    let told =
        || a.status().network.iter().any(|it| it.contains(&b.mac()) && it.contains(&c.mac()));
    wait_until("word of both", DEFAULT_BOUND, || {
        // The system asks who has the address that it is to send to.
        for host in [b, c] {
            host.shell("timeout 1 bash -c '</dev/tcp/10.77.0.9/9'");
        }
        told()
    });
}
