//! Directories that are gone: so is everything below them, children first.

use super::super::{Engine, Result};
use crate::{
    core::seam::{Output, Time},
    model::{entry::Row, limits::STEP_ENTRIES, path::RelPath},
};

impl Engine {
    /// A directory is gone: so is everything below it, children first.
    pub(super) fn step_vanished(&mut self, at: usize, time: Time) -> Result<()> {
        let directory = self.scan.vanished[at].0.clone();
        let mut leaf = directory.clone();
        let mut budget = STEP_ENTRIES;
        loop {
            let rows = self.held_children(&leaf, budget)?;
            if let Some(below) = self.first_that_holds(&rows)? {
                leaf = below;
                continue;
            }
            budget = budget.saturating_sub(rows.len().max(1));
            for path in &rows {
                self.observe(path, None, time)?;
            }
            if rows.is_empty() && leaf == directory {
                // Gone, or something else by now; should it be back, nothing is known of what is in
                // it.
                self.scan.vanished.remove(at);
                self.forget_listing(&directory)?;
                self.outputs.push_back(Output::Inspect { path: directory });
                return Ok(());
            }
            if rows.is_empty() {
                self.observe(&leaf, None, time)?;
                leaf = directory.clone();
            }
            if budget == 0 {
                return Ok(());
            }
        }
    }

    fn first_that_holds(&self, paths: &[RelPath]) -> Result<Option<RelPath>> {
        for path in paths {
            if self.holds_something(path)? {
                return Ok(Some(path.clone()));
            }
        }
        Ok(None)
    }

    /// The children that are said to be on this disk, and are not ignored.
    fn held_children(&self, directory: &RelPath, limit: usize) -> Result<Vec<RelPath>> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.index.children(directory, after.as_deref(), limit.max(1))?;
            let is_held = |row: &Row| row.base.is_some() && !row.is_ignored();
            let held: Vec<_> =
                rows.iter().filter(|(_, row)| is_held(row)).map(|(path, _)| path.clone()).collect();
            match rows.last() {
                Some((path, _)) if held.is_empty() => after = Some(path.name().to_vec()),
                _ => return Ok(held),
            }
        }
    }

    /// Is anything in this directory said to be on this disk?
    pub(in super::super) fn holds_something(&self, directory: &RelPath) -> Result<bool> {
        Ok(!self.held_children(directory, 1)?.is_empty())
    }
}
