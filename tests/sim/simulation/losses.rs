//! Nodes that lose their index, and keep their identity: it is removed while they are down, or was
//! damaged when they ended.

use serde::{Deserialize, Serialize};

use super::{
    plan::{self, Action},
    random::Rng,
};

/// In so many seeds of a hundred there are such nodes.
const PERCENT: u64 = 10;

/// How a node ends before it loses its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// In an orderly way.
    Stopped,
    /// In the middle of anything.
    Killed,
}

/// Losses among what the plan has happen. From a stream of its own: plans without them are what
/// they would be.
pub fn add_to(actions: &mut Vec<Action>, machines: usize, one_at_a_time: bool, seed: u64) {
    let mut rng = Rng::new(seed, 11);
    if !rng.chance(PERCENT) {
        return;
    }
    for _ in 0..rng.between(1, 3) {
        let at = rng.below(actions.len() as u64 + 1) as usize;
        let at_ms = actions.get(at).or(actions.last()).map_or(0, |action| action.at_ms);
        let node = rng.below(machines as u64) as usize;
        let end = rng.pick(&[Ended::Stopped, Ended::Killed]);
        let down_ms = rng.pick(&[1, 500, 5000, 40_000]);
        actions.insert(at, Action { at_ms, what: plan::What::LoseIndex { node, end, down_ms } });
        if one_at_a_time {
            actions.insert(at + 1, Action { at_ms, what: plan::What::Settle });
        }
    }
}
