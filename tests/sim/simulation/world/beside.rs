//! Everything else arrives: what cannot be reached on a node, or not be written, holds up nothing
//! that has nothing to do with it.
//!
//! Faults have ended and users are still, but what is out of reach, locked or refused stays so. The
//! nodes must become equal all the same, but for
//!
//! * what is out of reach, locked or refused on any node, and what is below it: nothing can be told
//!   of it, or done there;
//! * the directories above it: they can neither go nor be replaced while it is in them;
//! * while something is out of reach, what a node says to be a problem, and the directories above
//!   that: its content may be what is out of reach, under another name. What is below such a path
//!   is no excuse where it is a directory, nor is what is beside it: one bad name does not stop its
//!   directory. Where it is a file that cannot be moved, nothing can be below it;
//! * what is ignored, and what nobody has any more (see `given_up`);
//! * everything, while a node cannot put the newest ignore rules in place: it goes by others, which
//!   leave other paths alone.
//!
//! And what cannot be written is said: a node is not at its newest versions, or names a problem,
//! as long as the nodes differ.

use std::collections::BTreeSet;

use p2pnetwork::core::ignore::IGNORE_FILE;

use super::{
    super::oracle::{is_above, is_related},
    Checked, FullTree, QUIET, QUIET_WITHIN, World,
};

/// Paths that may differ.
#[derive(Default)]
struct Excuses {
    /// With all that is above and below them.
    related: BTreeSet<Vec<u8>>,
    /// With all that is above them.
    problems: BTreeSet<Vec<u8>>,
    exactly: BTreeSet<Vec<u8>>,
    /// A node goes by other ignore rules than the rest.
    has_other_rules: bool,
}

impl Excuses {
    fn excuse(&self, path: &[u8]) -> bool {
        self.has_other_rules
            || self.exactly.contains(path)
            || self.related.iter().any(|other| is_related(other, path))
            || self.problems.iter().any(|other| other == path || is_above(path, other))
    }
}

impl World {
    pub(super) fn wait_for_the_others(&mut self) -> Checked {
        let by = self.now + QUIET_WITHIN;
        loop {
            self.advance(self.now + QUIET)?;
            let Some(difference) = self.difference_beside()? else { return self.check_said() };
            if self.now > by {
                return Err(format!(
                    "what can be reached is not equal:\n{difference}\n{}",
                    self.show()
                ));
            }
        }
    }

    fn is_anything_closed(&self) -> bool {
        self.machines.iter().any(|machine| !machine.disk.borrow().closed.is_empty())
    }

    fn excuses(&self) -> Result<Excuses, String> {
        let mut excuses = Excuses { exactly: self.ignored().1, ..Excuses::default() };
        excuses.related.extend(self.given_up()?);
        let trees: Vec<_> = (0..self.machines.len()).map(|at| self.tree_of(at)).collect();
        let is_closed = self.is_anything_closed();
        for (machine, tree) in self.machines.iter().zip(&trees) {
            let disk = machine.disk.borrow();
            excuses.related.extend(disk.closed_paths());
            excuses.related.extend(disk.locked_paths());
            excuses.related.extend(trees.iter().flat_map(|tree| disk.refused_paths(tree)));
            let Some(replica) = machine.replica.as_ref().filter(|_| is_closed) else { continue };
            let problems = replica.engine().status().map_err(|error| error.to_string())?.problems;
            excuses.has_other_rules |=
                problems.iter().any(|(path, _)| path.as_bytes() == IGNORE_FILE.as_bytes());
            let problems = problems.iter().map(|(path, _)| path.as_bytes().to_vec());
            let (files, others): (Vec<_>, Vec<_>) =
                problems.partition(|path| matches!(tree.get(path), Some(Some(_))));
            excuses.related.extend(files);
            excuses.problems.extend(others);
        }
        Ok(excuses)
    }

    /// What differs between the nodes and is not excused.
    fn difference_beside(&self) -> Result<Option<String>, String> {
        for machine in &self.machines {
            self.check_schedule(machine.at)?;
            if machine.replica.is_none() {
                return Ok(Some(format!("node {} is down", machine.at)));
            }
        }
        let excuses = self.excuses()?;
        let beside = |at: usize| {
            let mut tree = self.full_tree(at);
            tree.retain(|path, _| !excuses.excuse(path));
            tree
        };
        Ok(self.first_difference(beside))
    }

    fn first_difference(&self, tree_of: impl Fn(usize) -> FullTree) -> Option<String> {
        let first = tree_of(0);
        let mut others = (1..self.machines.len()).map(|at| (at, tree_of(at)));
        let (at, other) = others.find(|(_, tree)| *tree != first)?;
        Some(self.show_difference(&first, &other, at))
    }

    /// Of what was never seen nobody can say anything: only what cannot be written is asked for.
    fn check_said(&self) -> Checked {
        if self.is_anything_closed() {
            return Ok(());
        }
        let (ignored, given_up) = (self.ignored().1, self.given_up()?);
        let all = |at: usize| {
            let mut tree = self.full_tree(at);
            tree.retain(|path, _| !ignored.contains(path) && !given_up.contains(path));
            tree
        };
        let Some(difference) = self.first_difference(all) else { return Ok(()) };
        let statuses = self.machines.iter().filter_map(|machine| machine.replica.as_ref());
        for status in statuses.map(|replica| replica.engine().status()) {
            let status = status.map_err(|error| error.to_string())?;
            if status.wanted > 0 || !status.problems.is_empty() || status.more_problems > 0 {
                return Ok(());
            }
        }
        Err(format!("the nodes are not equal, and none says so:\n{difference}"))
    }
}
