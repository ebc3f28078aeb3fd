//! Leaves out of a failing plan whatever it fails without: first many actions at once, then one by one
//! (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).

use super::{plan::Plan, run};

/// The indices of the actions that are needed, found in at most so many runs.
pub fn shrink(plan: &Plan, mut budget: usize) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..plan.actions.len()).collect();
    let mut size = kept.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let before = kept.len();
        while at < kept.len() && budget > 0 {
            let end = (at + size).min(kept.len());
            let tried: Vec<usize> = kept[..at].iter().chain(&kept[end..]).copied().collect();
            budget -= 1;
            if run(&only(plan, &tried), false).failure.is_some() { kept = tried } else { at = end }
        }
        if budget == 0 || size == 1 && kept.len() == before {
            return kept;
        }
        size = if size == 1 { 1 } else { size.div_ceil(2) };
    }
}

/// The plan with only these of its actions.
pub fn only(plan: &Plan, kept: &[usize]) -> Plan {
    let actions = kept.iter().filter_map(|at| plan.actions.get(*at).copied()).collect();
    Plan { actions, ..plan.clone() }
}
