//! Leaves out of a failing plan whatever it fails without: first many actions at once, then one by
//! one (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).

use super::simulation::{
    plan::{Plan, What},
    run,
};

/// What the kinds of failures have in their words. A plan that fails in another way is another
/// failure.
const KINDS: [&str; 10] = [
    "not equal",
    "not in sync",
    "only in the trash",
    "without concurrency",
    "at the same time",
    "lost:",
    "is back",
    "wants",
    "no rest",
    "stands still",
];

/// The indices of the actions that are needed, found in at most so many runs.
pub fn shrink(plan: &Plan, mut budget: usize) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..plan.actions.len()).collect();
    let Some(failure) = run(plan, false).failure else { return kept };
    let is_same =
        |other: &str| KINDS.iter().all(|kind| failure.contains(kind) == other.contains(kind));
    let mut size = kept.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let before = kept.len();
        while at < kept.len() && budget > 0 {
            let end = (at + size).min(kept.len());
            let tried: Vec<usize> = kept[..at].iter().chain(&kept[end..]).copied().collect();
            budget -= 1;
            let fails =
                || run(&only(plan, &tried), false).failure.is_some_and(|failure| is_same(&failure));
            if is_needed(plan, &kept[at..end]) || !fails() { at = end } else { kept = tried }
        }
        if budget == 0 || size == 1 && kept.len() == before {
            return kept;
        }
        size = if size == 1 { 1 } else { size.div_ceil(2) };
    }
}

/// Where users act one at a time, they do because of the rest in between.
fn is_needed(plan: &Plan, actions: &[usize]) -> bool {
    plan.one_at_a_time && actions.iter().any(|at| plan.actions[*at].what == What::Settle)
}

/// The plan with only these of its actions.
pub fn only(plan: &Plan, kept: &[usize]) -> Plan {
    let actions = kept.iter().filter_map(|at| plan.actions.get(*at).copied()).collect();
    Plan { actions, ..plan.clone() }
}
