//! Runs simulated seeds on and on:
//!
//!     cargo run --profile soak --example soak -- --seeds N [--start S]
//!
//! With `--until-failure` up to the first that fails, with `--kept` after the plans that are kept.
//! Or one again, with what happens: `--replay SEED-OR-FILE [--shrink] [--keep 1,5,8] [--save
//! FILE]`. Or, with `--years 1000`, a group of which each node is killed so many times. See
//! `docs/TESTING.md`.

#[cfg(target_os = "linux")]
#[path = "../../tests/sim/simulation/mod.rs"]
mod simulation;

#[cfg(target_os = "linux")]
#[path = "../../tests/sim/kept.rs"]
mod kept;
#[cfg(target_os = "linux")]
mod replay;
#[cfg(target_os = "linux")]
mod shrink;

#[cfg(target_os = "linux")]
fn main() {
    use std::time::{Duration, Instant};

    use replay::{Replay, replay};
    use simulation::{plan::Plan, run};

    let arguments: Vec<String> = std::env::args().collect();
    let at = |flag: &str| arguments.iter().position(|argument| argument == flag);
    let text = |flag: &str| arguments.get(at(flag)? + 1).map(String::as_str);
    let number = |flag: &str| text(flag)?.parse::<u64>().ok();
    if let Some(plan) = text("--replay") {
        let (keep, save) = (text("--keep"), text("--save"));
        if let Err(failure) =
            replay(&Replay { plan, keep, shrinks: at("--shrink").is_some(), save })
        {
            println!("{failure}");
            std::process::exit(1);
        }
        return;
    }
    if let Some(ends) = number("--years") {
        let failure = simulation::run_years(ends as u32);
        println!("{}", failure.as_deref().unwrap_or("clean"));
        std::process::exit(i32::from(failure.is_some()));
    }
    if at("--kept").is_some() && !runs_kept() {
        std::process::exit(1);
    }
    let (start, count) = (number("--start").unwrap_or(0), number("--seeds").unwrap_or(u64::MAX));
    let (began, mut said_at, mut failed) = (Instant::now(), Instant::now(), 0);
    let mut turns = 0;
    for done in 0..count {
        let seed = start.wrapping_add(done);
        let outcome = run(&Plan::new(seed), false);
        turns += outcome.turns;
        if let Some(failure) = outcome.failure {
            failed += 1;
            println!("seed {seed}: {failure}\n  --replay {seed} --shrink");
        }
        if failed > 0 && at("--until-failure").is_some() {
            break;
        }
        if said_at.elapsed() > Duration::from_secs(10) || done + 1 == count {
            said_at = Instant::now();
            let seconds = began.elapsed().as_secs_f64();
            let rate = (done + 1) as f64 / seconds;
            println!(
                "{} seeds up to {seed}, {failed} failed, {rate:.1} a second, {turns} turns",
                done + 1
            );
        }
    }
    if failed > 0 {
        std::process::exit(1);
    }
}

/// Runs the kept plans. Are all of them clean, up to the first that is not?
#[cfg(target_os = "linux")]
fn runs_kept() -> bool {
    let plans = kept::load_all(&kept::directory()).unwrap_or_else(|error| panic!("{error}"));
    for (path, plan) in plans {
        if let Some(failure) = simulation::run(&plan, false).failure {
            let name = path.file_stem().unwrap_or_default().display();
            println!("plan {name}: {failure}\n  --replay {} --shrink", path.display());
            return false;
        }
    }
    true
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the simulation needs inotify's words, and so Linux");
}
