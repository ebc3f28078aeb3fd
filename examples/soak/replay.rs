//! One plan again, with all that happens printed.

use std::path::Path;

use super::{
    shrink::{only, shrink},
    simulation::{plan::Plan, run, saved::Saved},
};

/// How many runs may be spent on finding out which actions a failure needs.
const MAX_RUNS: usize = 1000;

/// What is to be replayed, and how.
pub struct Replay<'a> {
    /// A seed, or the path of a file that holds a plan.
    pub plan: &'a str,
    /// Only these of its actions: "1,5,8".
    pub keep: Option<&'a str>,
    /// Only what the failure needs, which is found out first.
    pub shrinks: bool,
    /// The file in which the plan that was replayed in the end is written.
    pub save: Option<&'a str>,
}

/// Replays a plan. What went wrong.
pub fn replay(how: &Replay) -> Result<(), String> {
    let Saved { fault, mut plan } = find(how.plan)?;
    let mut kept: Vec<usize> = match how.keep {
        Some(keep) => indices(keep)?,
        None => (0..plan.actions.len()).collect(),
    };
    plan = only(&plan, &kept);
    if how.shrinks {
        let needed = shrink(&plan, MAX_RUNS);
        kept = needed.iter().map(|at| kept[*at]).collect();
        plan = only(&plan, &needed);
    }
    print_log();
    let failure = run(&plan, true).failure;
    if let Some(path) = how.save {
        Saved { fault, plan }.save(Path::new(path))?;
    }
    let Some(failure) = failure else { return Ok(()) };
    let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
    Err(format!("{}: {failure}\n  --replay {0} --keep {}", how.plan, kept.join(",")))
}

fn find(plan: &str) -> Result<Saved, String> {
    match plan.parse() {
        Ok(seed) => {
            let fault = format!("Seed {seed}; say here what the fault was.");
            Ok(Saved { fault, plan: Plan::new(seed) })
        }
        Err(_) => Saved::load(Path::new(plan)),
    }
}

fn indices(text: &str) -> Result<Vec<usize>, String> {
    let index =
        |at: &str| at.parse().map_err(|_| format!("--keep: {at:?} is not the number of an action"));
    text.split(',').map(index).collect()
}

/// Prints what the nodes log, too.
struct Printer;

impl log::Log for Printer {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        println!("             {}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// From now on, what the nodes log is printed.
fn print_log() {
    if log::set_logger(&Printer).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}
