//! Waiting for a condition, with a bound, and saying what was wrong when it is not met.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    host::Host,
    tree::{Reader, Tree, difference},
};

/// Bound for everything that is waited for, be it milliseconds or seconds when all is well; large,
/// since a loaded machine is not a failure.
pub const DEFAULT_BOUND: Duration = Duration::from_secs(180);

/// A node is at rest when nothing has happened for a minute.
pub const REST_BOUND: Duration = Duration::from_secs(300);
/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Lines of difference that a failure shows.
const DIFFERENCE_LINES: usize = 20;

/// Polls until `condition` holds; panics, naming `what`, when `bound` has passed.
pub fn wait_until(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < bound, "waited {bound:?} for {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Polls until the directories of `hosts` are equal and the running ones among them say that they
/// are in sync with each other; returns how long it took. Every look also checks that no node has a
/// second thread.
pub fn wait_identical(hosts: &[&Host], bound: Duration) -> Duration {
    let start = Instant::now();
    let mut reader = Reader::default();
    loop {
        hosts.iter().for_each(|host| host.assert_one_thread());
        let look = Instant::now();
        let trees: Vec<_> = hosts.iter().map(|host| reader.read(host.root())).collect();
        let equal = trees.windows(2).all(|pair| matches!(pair, [Ok(a), Ok(b)] if a == b));
        // In sync first and unchanged afterwards: equal in passing is not enough.
        if equal
            && are_in_sync(hosts)
            && reader.read(hosts[0].root()).is_ok_and(|tree| same(&tree, &trees))
        {
            return start.elapsed();
        }
        if start.elapsed() > bound {
            let trees: Vec<_> = trees.into_iter().map(|tree| tree.unwrap_or_default()).collect();
            panic!("not identical after {bound:?}:\n{}", report(hosts, &trees));
        }
        // A look at a large tree must not take the processor from the nodes.
        thread::sleep(POLL_INTERVAL.max(look.elapsed() * 2));
    }
}

fn same(tree: &Tree, trees: &[std::io::Result<Tree>]) -> bool {
    trees.iter().all(|other| other.as_ref().is_ok_and(|other| other == tree))
}

fn are_in_sync(hosts: &[&Host]) -> bool {
    let running: Vec<_> = hosts.iter().filter(|host| host.is_running()).collect();
    running.iter().all(|host| {
        let Some(status) = host.try_status() else { return false };
        let others = running.iter().filter(|other| other.name() != host.name());
        status.wanted == 0
            && others.into_iter().all(|other| {
                status.is_linked(other.name())
                    && status.peer(other.name()).is_some_and(|peer| peer.in_sync)
            })
    })
}

fn report(hosts: &[&Host], trees: &[Tree]) -> String {
    let mut text = String::new();
    for (host, tree) in hosts.iter().zip(trees).skip(1) {
        text += &format!("{} / {}:\n", hosts[0].name(), host.name());
        text += &difference(&trees[0], tree, DIFFERENCE_LINES);
    }
    for host in hosts {
        text += &format!("{}: {:?}\n", host.name(), host.try_status());
    }
    text
}
