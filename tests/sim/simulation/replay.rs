//! One seed again, with all that happens printed.

use super::{
    plan::Plan,
    run,
    shrink::{only, shrink},
    trace::print_log,
};

/// How many runs may be spent on finding out which actions a failure needs.
const MAX_RUNS: usize = 1000;

/// Replays a seed; of its actions only those in `keep` ("1,5,8"), if given, and only what the failure needs, if that is
/// to be found out first. What went wrong.
pub fn replay(seed: u64, keep: Option<&str>, shrinks: bool) -> Result<(), String> {
    let mut plan = Plan::new(seed);
    let mut kept: Vec<usize> = match keep {
        Some(keep) => keep.split(',').filter_map(|at| at.parse().ok()).collect(),
        None => (0..plan.actions.len()).collect(),
    };
    plan = only(&plan, &kept);
    if shrinks {
        let needed = shrink(&plan, MAX_RUNS);
        kept = needed.iter().map(|at| kept[*at]).collect();
        plan = only(&plan, &needed);
    }
    print_log();
    let Some(failure) = run(&plan, true).failure else { return Ok(()) };
    let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
    Err(format!("seed {seed}: {failure}\n  KEEP={}", kept.join(",")))
}
