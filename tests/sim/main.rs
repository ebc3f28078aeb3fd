//! Deterministic simulation: many nodes, hostile schedules, one seed each. See `docs/TESTING.md`.

#![cfg(target_os = "linux")]

mod simulation;

use std::sync::atomic::{AtomicU64, Ordering};

use simulation::{
    plan::Plan,
    run,
    shrink::{only, shrink},
};

/// How many seeds a plain `cargo test` runs.
const SEEDS: u64 = 300;

/// Seeds that show what is not mended yet: see `docs/TESTING.md`. Each goes from here with its fault.
const OPEN: [u64; 0] = [];

/// Every seed of the first few hundred runs clean, but for the open ones, which fail; and each twice the same.
#[test]
fn seeds() {
    let next = AtomicU64::new(0);
    let check = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return failed;
            }
            let plan = Plan::new(seed);
            let (first, second) = (run(&plan, false), run(&plan, false));
            if OPEN.contains(&seed) {
                if first.failure.is_none() {
                    failed.push(format!("seed {seed} runs clean: take it from the list of open ones"));
                }
            } else if let Some(failure) = &first.failure {
                failed.push(format!(
                    "seed {seed}: {failure}\n  SEED={seed} cargo test --test sim replay -- --nocapture"
                ));
            } else if first != second {
                failed.push(format!("seed {seed}: two runs differ"));
            }
        }
    };
    let failed: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(check)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("failures are caught")).collect()
    });
    failed.iter().for_each(|failure| eprintln!("{failure}"));
    assert!(failed.is_empty(), "{} seeds failed", failed.len());
}

/// `SEED=7` replays a seed and prints what happens; `KEEP=1,5,8` only these of its actions; `SHRINK=1` finds out which
/// actions a failure needs, first.
#[test]
fn replay() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SEED").unwrap_or(0);
    let mut plan = Plan::new(seed);
    let keep = std::env::var("KEEP").ok();
    let mut kept: Vec<usize> = match &keep {
        Some(keep) => keep.split(',').filter_map(|at| at.parse().ok()).collect(),
        None => (0..plan.actions.len()).collect(),
    };
    plan = only(&plan, &kept);
    if number("SHRINK").is_some() {
        let needed = shrink(&plan, 1000);
        kept = needed.iter().map(|at| kept[*at]).collect();
        plan = only(&plan, &needed);
    }
    let prints = std::env::var("SEED").is_ok();
    let outcome = run(&plan, prints);
    if let Some(failure) = outcome.failure {
        let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
        // The hook for panics keeps what they say to itself.
        println!(
            "seed {seed}: {failure}\n  SEED={seed} KEEP={} cargo test --test sim replay -- --nocapture",
            kept.join(",")
        );
        std::process::exit(1);
    }
}
