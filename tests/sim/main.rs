//! Deterministic simulation: many nodes, hostile schedules, one seed each. See `docs/TESTING.md`.

#![cfg(target_os = "linux")]

mod kept;
mod simulation;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use simulation::{plan::Plan, run, run_years};

/// How many seeds a plain `cargo test` runs; `SEEDS=20` runs fewer, as a slow machine may want.
const SEEDS: usize = 300;

/// Runs one again, and tells what happens.
const REPLAY: &str = "cargo run --profile soak --example soak -- --replay";

/// Every seed of the first few hundred, and every plan that was kept because it has found a fault,
/// runs clean, and twice the same.
#[test]
fn seeds() {
    let kept = kept::load_all(&kept::directory()).unwrap_or_else(|error| panic!("{error}"));
    let (next, count) = (AtomicUsize::new(0), seed_count());
    let check = || {
        let mut failed = Vec::new();
        while let Some((name, plan)) = nth(next.fetch_add(1, Ordering::Relaxed), count, &kept) {
            failed.extend(
                check_twice(&plan)
                    .err()
                    .map(|failure| format!("{name}: {failure}\n  {REPLAY} {name}")),
            );
        }
        failed
    };
    let failed: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(check)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("failures are caught")).collect()
    });
    failed.iter().for_each(|failure| eprintln!("{failure}"));
    assert!(failed.is_empty(), "{} plans failed", failed.len());
}

/// How often each node of a group is killed in a plain `cargo test`.
const ENDS: u32 = 8;

/// Whatever the number of restarts, nobody knows more origins than the group needs.
#[test]
fn years() {
    if let Some(failure) = run_years(ENDS) {
        panic!("{failure}");
    }
}

/// The first `count` are drawn from their seeds, the others are the kept ones. Each with what
/// replays it.
fn nth(at: usize, count: usize, kept: &[(PathBuf, Plan)]) -> Option<(String, Plan)> {
    match at.checked_sub(count) {
        None => Some((at.to_string(), Plan::new(at as u64))),
        Some(at) => kept.get(at).map(|(path, plan)| (path.display().to_string(), plan.clone())),
    }
}

fn check_twice(plan: &Plan) -> Result<(), String> {
    let (first, second) = (run(plan, false), run(plan, false));
    match first.failure.clone() {
        Some(failure) => Err(failure),
        None if first != second => Err("two runs differ".to_owned()),
        None => Ok(()),
    }
}

fn seed_count() -> usize {
    std::env::var("SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS)
}
