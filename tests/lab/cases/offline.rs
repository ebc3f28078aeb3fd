//! What was done while a node, or all of them, did not run.

use std::{env, time::Duration};

use crate::harness::{DEFAULT_BOUND, Lab, noise, wait_identical, wait_until};

#[test]
fn deletes_made_while_the_node_was_stopped_travel() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for name in ["a", "b", "keep", "d/x", "d/y"] {
        a.write(name, name);
    }
    lab.wait_identical();
    a.stop();
    a.remove("a");
    a.remove("d");
    a.start();
    lab.wait_identical();
    assert!(!b.has("a") && !b.has("d"));
    b.stop();
    b.remove("b");
    b.start();
    lab.wait_identical();
    assert_eq!(a.tree().keys().collect::<Vec<_>>(), [b"keep"]);
}

#[test]
fn deletes_made_elsewhere_while_the_node_was_stopped_reach_it() {
    let lab = Lab::running(3);
    let [a, b, c] = lab.hosts();
    a.write("go/deep", "x");
    a.write("stay", "y");
    lab.wait_identical();
    c.stop();
    a.remove("go");
    wait_identical(&[a, b], DEFAULT_BOUND);
    // Nobody who saw the delete being made is there when c comes back.
    a.stop();
    c.start();
    wait_identical(&[b, c], DEFAULT_BOUND);
    assert!(!c.has("go") && c.has("stay"));
    a.start();
    lab.wait_identical();
    assert!(!a.has("go"), "what was deleted everywhere came back");
}

#[test]
fn every_kind_of_change_made_while_stopped_travels() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("edit", "base");
    a.write("rename", noise(1, 100_000));
    a.write("mode", "base");
    a.write("d/move", "base");
    a.symlink("x", "link");
    lab.wait_identical();
    b.stop();
    b.write("edit", "edited while nobody looked");
    b.rename("rename", "renamed");
    b.chmod("mode", 0o600);
    b.rename("d", "e");
    b.remove("link");
    b.symlink("y", "link");
    b.write("new/file", "new");
    b.start();
    lab.wait_identical();
    assert_eq!(a.read("edit"), "edited while nobody looked");
    assert!(
        a.has("renamed") && !a.has("rename") && a.has("e/move") && !a.has("d") && a.has("new/file")
    );
    a.assert_no_conflicts();
}

#[test]
fn both_stopped_and_changed_meet_again() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("both", "base");
    a.write("edited-and-deleted", "base");
    lab.wait_identical();
    a.stop();
    b.stop();
    a.write("both", "edit on a");
    b.write("both", "other edit on b");
    a.remove("edited-and-deleted");
    b.write("edited-and-deleted", "edit on b");
    a.write("only-a", "a");
    b.write("only-b", "b");
    a.start();
    b.start();
    lab.wait_identical();
    assert_eq!(a.conflict_copies().len(), 1);
    assert_eq!(a.read("edited-and-deleted"), "edit on b");
    assert!(a.has("only-b") && b.has("only-a"));
}

#[test]
fn restart_sends_nothing_anew() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("blob", noise(4, 5_000_000));
    for i in 0..100 {
        a.write(format!("many/{i}"), noise(i, 10_000));
    }
    lab.wait_identical();
    b.stop();
    let before = b.received();
    b.start();
    lab.wait_linked();
    lab.wait_identical();
    let received = b.received() - before;
    assert!(received < 300_000, "{received} bytes came although nothing had changed");
}

#[test]
fn node_killed_at_rest_remembers() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("old", "old");
    a.write("gone", "gone");
    lab.wait_identical();
    wait_until("the node to have written its index", DEFAULT_BOUND, || a.status().durable);
    a.kill();
    a.write("made-while-dead", "x");
    a.remove("gone");
    b.write("old", "edited on b");
    a.start();
    lab.wait_identical();
    assert_eq!(a.read("old"), "edited on b");
    assert!(b.has("made-while-dead") && !b.has("gone"));
    a.assert_no_conflicts();
}

/// Each end by SIGKILL right after a save is a new origin: those before are retired again.
/// `P2PNETWORK_KILLS` asks for more than a few of each node.
#[test]
fn nodes_killed_right_after_a_save_know_few_origins() {
    const MAX_ORIGINS: u64 = 10;
    let kills = env::var("P2PNETWORK_KILLS").map_or(8, |text| text.parse().unwrap());
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for round in 0..kills {
        for (victim, other) in [(a, b), (b, a)] {
            let saved = format!("{round} on {}", victim.name());
            victim.write("saved", &saved);
            wait_until("the save", DEFAULT_BOUND, || {
                other.has("saved") && other.read("saved") == saved.as_str()
            });
            victim.kill();
            victim.start();
            lab.wait_identical();
            let origins = [a, b].map(|host| host.status().origins);
            assert!(origins.iter().all(|origins| *origins < MAX_ORIGINS), "{round}: {origins:?}");
        }
    }
    a.assert_no_conflicts();
}

#[test]
fn nodes_killed_again_and_again_while_files_are_saved_lose_nothing() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    for round in 0..6_u64 {
        let victim = if round % 2 == 0 { a } else { b };
        for i in 0..40 {
            a.write(format!("a/{i}"), noise(round * 100 + i, 3000));
            b.write(format!("b/{i}"), noise(round * 1000 + i, 3000));
        }
        std::thread::sleep(Duration::from_millis(30 * round));
        victim.kill();
        victim.start();
    }
    lab.wait_identical();
    for i in 0..40 {
        assert_eq!(
            b.read(format!("a/{i}")).as_bytes(),
            String::from_utf8_lossy(&noise(500 + i, 3000)).as_bytes()
        );
        assert_eq!(
            a.read(format!("b/{i}")).as_bytes(),
            String::from_utf8_lossy(&noise(5000 + i, 3000)).as_bytes()
        );
    }
    a.assert_no_conflicts();
}

#[test]
fn address_that_worked_is_tried_first() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    b.stop();
    a.stop();
    // Without ARP nobody can be found, only remembered.
    lab.world().switch_arp_off(2);
    a.start();
    b.start();
    lab.wait_linked();
    b.write("x", "");
    lab.wait_identical();
}
