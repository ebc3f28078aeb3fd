//! Who finds whom, and who is kept out.

use crate::harness::{DEFAULT_BOUND, Lab, host::Ended, wait_until};

/// Packets of one sweep: each address of the subnet, but the own.
const SWEEP_PACKETS: u64 = 253;

#[test]
fn hosts_find_each_other_by_arp() {
    let lab = Lab::new(3);
    let [a, b, witness] = lab.hosts();
    let before = witness.packets_heard();
    a.start();
    b.start();
    lab.wait_linked();
    wait_until("a sweep of the subnet", DEFAULT_BOUND, || witness.packets_heard() - before >= 200);
    let [of_a, of_b] = [a, b].map(|host| host.status());
    let address = |status: &crate::harness::status::Status| status.peers[0].address.clone();
    assert_eq!(address(&of_a), format!("{}:2195", b.address()));
    assert_eq!(address(&of_b), format!("{}:2195", a.address()));
}

#[test]
fn newcomer_is_found_at_once() {
    let lab = Lab::new(3);
    let [a, b, witness] = lab.hosts();
    let before = witness.packets_heard();
    a.start();
    let swept = || witness.packets_heard() - before;
    wait_until("the first sweep to be over", DEFAULT_BOUND, || swept() >= SWEEP_PACKETS);
    // Only the newcomer's own, which everybody hears, can tell of it.
    b.start();
    wait_until("the newcomer to be linked", DEFAULT_BOUND, || a.status().is_linked(b.name()));
    assert!(swept() < 2 * SWEEP_PACKETS + SWEEP_PACKETS / 2, "it was found by a second sweep");
}

#[test]
fn test_mode_uses_its_peers_and_no_arp() {
    let lab = Lab::new(3);
    let [a, b, witness] = lab.hosts();
    lab.world().switch_arp_off(2);
    let before = witness.packets_heard();
    a.start_with(&["--mode", "test", "--peer", &b.address()]);
    b.start_with(&["--mode", "1", "--peer", &format!("{}:2194", a.address())]);
    b.write("found", "by --peer");
    lab.wait_linked();
    wait_until("the file", DEFAULT_BOUND, || a.has("found"));
    // A sweep would be over by then.
    a.wait_for_keep_alives();
    b.wait_for_keep_alives();
    let heard = witness.packets_heard() - before;
    assert!(heard < 20, "{heard} packets reached a host that nobody was told of");
}

#[test]
fn test_mode_finds_nobody_else() {
    let lab = Lab::new(3);
    let [a, b, c] = lab.hosts();
    a.start_with(&["--mode", "test", "--peer", &b.address()]);
    b.start_with(&["--mode", "test", "--peer", &a.address()]);
    c.start_with(&["--mode", "test", "--peer", "10.77.0.99"]);
    wait_until("a and b to be linked", DEFAULT_BOUND, || a.status().is_linked(b.name()));
    a.wait_for_keep_alives();
    let before = c.packets_told();
    wait_until("c to look for its own peer again and again", DEFAULT_BOUND, || {
        c.packets_told() - before > 5
    });
    assert!(c.status().peers.is_empty(), "{:?}", c.status().peers);
    assert_eq!(a.status().peers.len(), 1);
}

#[test]
fn host_without_cap_net_raw_is_found() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    b.without_net_raw();
    lab.start_all();
    b.write("x", "from the host without rights");
    lab.wait_identical();
    assert!(b.has_logged("CAP_NET_RAW"), "it does not say what it lacks");
    assert!(!a.has_logged("CAP_NET_RAW"));
}

#[test]
fn two_hosts_without_cap_net_raw_find_each_other() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    a.without_net_raw();
    b.without_net_raw();
    lab.start_all();
    a.write("x", "");
    lab.wait_identical();
}

#[test]
fn open_hosts_need_no_code() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    a.spawn(&["--open"]);
    b.spawn(&["--open"]);
    lab.wait_linked();
    a.write("x", "");
    lab.wait_identical();
    assert!(b.has_logged("anyone"), "it does not say who can read and write");
}

#[test]
fn wrong_key_is_kept_out() {
    let lab = Lab::new(3);
    let [a, b, intruder] = lab.hosts();
    a.write("secret", "of the group");
    intruder.write("poison", "of another group");
    a.start();
    b.start();
    intruder.spawn(&[]);
    lab_linked(&lab);
    wait_until("the log to tell of it", DEFAULT_BOUND, || a.has_logged("another group"));
    a.wait_for_keep_alives();
    assert!(!intruder.has("secret") && !a.has("poison") && !b.has("poison"));
    assert!(intruder.status().peers.is_empty() && a.status().peer(intruder.name()).is_none());
    // Kept out once, welcome later.
    intruder.stop();
    std::fs::remove_dir_all(intruder.state()).unwrap();
    intruder.start();
    lab.wait_linked();
    lab.wait_identical();
    assert!(intruder.has("secret") && a.has("poison"));
}

#[test]
fn noise_on_both_ports_does_no_harm() {
    let lab = Lab::new(3);
    let [a, b, stranger] = lab.hosts();
    a.start();
    b.start();
    lab_linked(&lab);
    for port in [2194, 2195] {
        for _ in 0..20 {
            let target = format!("/dev/tcp/{}/{port}", a.address());
            stranger.shell(&format!(
                "timeout 1 bash -c 'exec 3<>{target}; head -c 5000 /dev/urandom >&3'"
            ));
        }
    }
    // Connections that say nothing must not take the places of those that do.
    let silent = format!(
        "for i in $(seq 20); do (exec 3<>/dev/tcp/{}/2195; sleep 8) & done; wait",
        a.address()
    );
    stranger.shell(&silent);
    b.write("x", "still here");
    wait_until("the file", DEFAULT_BOUND, || a.has("x"));
    b.stop();
    b.start();
    lab_linked(&lab);
}

#[test]
fn scan_lists_who_is_there() {
    let lab = Lab::new(3);
    let [a, b, c] = lab.hosts();
    a.start();
    // A host that takes longer to answer than a scan waits is listed as less than it is: then the
    // next one tells.
    wait_until("a scan to see who is there", DEFAULT_BOUND, || {
        let scan = c.p2pnetwork(&["scan"]);
        assert_eq!(scan.code, Some(0), "{scan:?}");
        assert!(!scan.stdout.contains("10.77.0.99"), "{scan:?}");
        row(&scan, &a.address()).starts_with(&format!("{} port 2194 is open", a.mac()))
            && row(&scan, &b.address()) == format!("{} no", b.mac())
    });
    c.start();
    c.stop();
    wait_until("a scan of a member to know members", DEFAULT_BOUND, || {
        let scan = c.p2pnetwork(&["scan", "--dir", c.path("").to_str().unwrap()]);
        row(&scan, &a.address()).starts_with(&format!("{} yes", a.mac()))
    });
}

/// What a scan says of an address; nothing if it does not list it.
fn row(scan: &Ended, address: &str) -> String {
    let of_address = |line: &&str| line.split_whitespace().next() == Some(address);
    let line = scan.stdout.lines().find(of_address).unwrap_or_default();
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

#[test]
fn scan_without_rights_says_how_to_get_them_and_goes_on_without() {
    let lab = Lab::new(2);
    let [a, b] = lab.hosts();
    a.start();
    b.without_net_raw();
    wait_until("a scan to see who is there", DEFAULT_BOUND, || {
        let scan = b.p2pnetwork(&["scan"]);
        assert_eq!(scan.code, Some(0), "{scan:?}");
        assert!(scan.stdout.contains("setcap cap_net_raw"), "{scan:?}");
        row(&scan, &a.address()).contains("port 2194 is open")
    });
}

#[test]
fn cable_pulled_for_long_and_put_back() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    lab.cut(b);
    a.write("while-apart", "x");
    wait_until("the link to be given up", DEFAULT_BOUND, || !a.status().is_linked(b.name()));
    lab.heal(b);
    lab.wait_identical();
    assert!(b.has("while-apart"));
}

/// Waits until `h1` and `h2` are linked, whoever else is there.
fn lab_linked(lab: &Lab) {
    let [a, b, _] = lab.hosts();
    wait_until("h1 and h2 to be linked", DEFAULT_BOUND, || {
        a.status().is_linked(b.name()) && b.status().is_linked(a.name())
    });
}
