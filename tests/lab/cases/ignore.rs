//! `.p2pignore`: what it names is left alone, on every host, and is neither deleted nor lost when
//! it names it no more.

use std::fs;

use crate::harness::{DEFAULT_BOUND, Host, Lab, wait_until};

/// Both have the rules, and go by them.
fn set_rules(lab: &Lab, rules: &str) {
    let [a, _] = lab.hosts();
    a.write(".p2pignore", rules);
    wait_for_peace(lab);
}

fn drop_rules(lab: &Lab) {
    let [a, _] = lab.hosts();
    a.remove(".p2pignore");
    wait_for_peace(lab);
}

/// What was done before on the first host has been told, and all say that they are in sync and that
/// nothing is wrong.
fn wait_for_peace(lab: &Lab) {
    let [a, b] = lab.hosts();
    let mark = format!("mark-{}", a.tree().len() + b.tree().len());
    for (from, to) in [(a, b), (b, a)] {
        from.write(&mark, from.name());
        let told = || fs::read(to.path(&mark)).is_ok_and(|text| text == from.name().as_bytes());
        wait_until("the mark", DEFAULT_BOUND, told);
    }
    for host in [a, b] {
        wait_until(&format!("{} to be in sync", host.name()), DEFAULT_BOUND, || is_in_peace(host));
    }
    a.remove(&mark);
    wait_until("the mark to go", DEFAULT_BOUND, || {
        !b.has(&mark) && is_in_peace(a) && is_in_peace(b)
    });
}

fn is_in_peace(host: &Host) -> bool {
    let status = host.status();
    status.in_sync && status.wanted == 0 && status.errors.is_empty()
}

#[test]
fn what_was_deleted_while_it_was_ignored_comes_back() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("c/f", "eff");
    a.write("x.o", "object");
    lab.wait_identical();
    set_rules(&lab, "c/\n*.o\n");
    a.remove("c");
    a.remove("x.o");
    wait_for_peace(&lab);
    assert!(b.has("c/f") && b.has("x.o"), "nothing travels");
    drop_rules(&lab);
    lab.wait_identical();
    assert_eq!(
        (a.read("c/f"), b.read("c/f"), a.read("x.o")),
        ("eff".into(), "eff".into(), "object".into())
    );
}

#[test]
fn so_does_it_when_the_rules_go_while_the_node_is_stopped_or_killed() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for round in 0..2 {
        a.write("c/f", "eff");
        lab.wait_identical();
        set_rules(&lab, "c\n");
        a.remove("c");
        wait_for_peace(&lab);
        // What is not durable is as if it had not happened yet.
        wait_until("the rules to be durable", DEFAULT_BOUND, || a.status().durable);
        if round == 0 {
            a.stop()
        } else {
            a.kill()
        }
        a.remove(".p2pignore");
        a.relaunch();
        a.wait_started();
        lab.wait_identical();
        assert_eq!((a.read("c/f"), b.read("c/f")), ("eff".into(), "eff".into()));
    }
    a.assert_no_conflicts();
}

#[test]
fn directories_that_hold_what_is_ignored_are_removed_and_all_are_in_sync() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for i in 0..300 {
        a.write(format!("build/deep/{i}"), format!("object {i}"));
    }
    a.write("src/x.o", "object");
    a.write("src/x.c", "source");
    lab.wait_identical();
    set_rules(&lab, "build/\n*.o\n");
    a.remove("build");
    a.remove("src");
    wait_for_peace(&lab);
    assert!(b.has("build/deep/299") && b.has("src/x.o") && !b.has("src/x.c"));
    a.write("build/deep/7", "another");
    wait_for_peace(&lab);
    drop_rules(&lab);
    lab.wait_identical();
    assert_eq!(
        (b.read("build/deep/7"), a.read("build/deep/8")),
        ("another".into(), "object 8".into())
    );
    assert!(a.has("src/x.o") && !a.has("src/x.c"));
    a.assert_no_conflicts();
}

#[test]
fn one_that_others_delete_and_that_holds_what_is_ignored_here_is_kept() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    set_rules(&lab, "*.o\n");
    a.write("d/e/f", "eff");
    lab.wait_identical();
    b.write("d/e/local.o", "here alone");
    wait_for_peace(&lab);
    a.remove("d");
    wait_for_peace(&lab);
    assert!(a.has("d/e") && b.has("d/e/local.o") && !a.has("d/e/f") && !b.has("d/e/f"));
}

#[test]
fn a_host_that_joins_does_not_want_what_is_ignored() {
    let lab = Lab::new(3);
    let [a, b, c] = lab.hosts();
    a.start();
    b.start();
    a.write("large", crate::harness::noise(5, 300_000));
    a.write("c/small", "small");
    let both = || b.has("large") && b.has("c/small") && is_in_peace(b);
    wait_until("the files", DEFAULT_BOUND, both);
    a.write(".p2pignore", "large\nc\n");
    wait_until("the rules", DEFAULT_BOUND, || {
        b.has(".p2pignore") && is_in_peace(a) && is_in_peace(b)
    });
    c.start();
    lab.wait_linked();
    a.write("after", "the rules");
    for host in [a, b, c] {
        let what = format!("{} to be in sync", host.name());
        wait_until(&what, DEFAULT_BOUND, || host.has("after") && is_in_peace(host));
    }
}

#[test]
fn rules_after_a_byte_order_mark_and_behind_a_link_count() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    set_rules(&lab, "\u{feff}secret\n*.bak\n");
    a.write("secret", "s");
    wait_for_peace(&lab);
    assert!(!b.has("secret"));
    // It becomes a link, and what that leads to changes on the other host.
    a.write("rules", "secret\n");
    wait_for_peace(&lab);
    a.symlink("rules", "new");
    a.rename("new", ".p2pignore");
    wait_for_peace(&lab);
    b.write("rules", "secret\nother\n");
    wait_for_peace(&lab);
    a.write("secret", "still one");
    a.write("other", "o");
    wait_for_peace(&lab);
    assert!(!b.has("other"));
}

#[test]
fn rules_behind_a_link_that_leads_out_of_the_directory_do_not_count_and_those_before_hold() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    set_rules(&lab, "secret\n");
    a.write("secret", "s");
    fs::write(a.outside("rules"), "other\n").unwrap();
    a.symlink("../rules", "new");
    a.rename("new", ".p2pignore");
    wait_until("a problem", DEFAULT_BOUND, || {
        let errors = a.status().errors;
        errors.iter().any(|error| error.error.contains("link to a file in this directory"))
    });
    a.stop();
    a.relaunch();
    a.wait_started();
    lab.wait_linked();
    a.write("secret", "still one");
    a.write("z-later", "no secret");
    wait_until("what is no secret", DEFAULT_BOUND, || b.has("z-later"));
    assert!(!b.has("secret"));
}
