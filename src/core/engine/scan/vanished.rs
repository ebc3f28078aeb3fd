//! Directories that are gone: so is everything below them, children first.

use super::{
    super::{Engine, Result},
    Vanished,
};
use crate::{
    core::seam::{Output, Time},
    index::Hold,
    model::{entry::Row, limits::STEP_ENTRIES, path::RelPath},
};

impl Engine {
    /// A directory is gone: so is everything below it, children first.
    pub(super) fn step_vanished(&mut self, at: usize, time: Time) -> Result<()> {
        let Vanished { directory, is_told, .. } = self.scan.vanished[at].clone();
        let mut leaf = directory.clone();
        let mut budget = STEP_ENTRIES;
        loop {
            let rows = self.held_children(&leaf, budget, is_told)?;
            if let Some(below) = self.first_that_holds(&rows, is_told)? {
                leaf = below;
                continue;
            }
            budget = budget.saturating_sub(rows.len().max(1));
            for path in &rows {
                self.handle_gone(path, is_told, time)?;
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
                self.handle_gone(&leaf, is_told, time)?;
                leaf = directory.clone();
            }
            if budget == 0 {
                return Ok(());
            }
        }
    }

    fn first_that_holds(&self, paths: &[RelPath], is_told: bool) -> Result<Option<RelPath>> {
        for path in paths {
            if self.has_to_go(path, is_told)? {
                return Ok(Some(path.clone()));
            }
        }
        Ok(None)
    }

    /// The children that are said to be on this disk, and are not ignored. When the directory went
    /// and the watch told of it (`is_told`), what is missing from it went, too, unless it is held.
    fn held_children(
        &self,
        directory: &RelPath,
        limit: usize,
        is_told: bool,
    ) -> Result<Vec<RelPath>> {
        let is_missing_held = !is_told || self.hold() == Hold::Asked;
        let is_held = |row: &Row| !(row.is_ignored() || row.is_missing() && is_missing_held);
        self.children_with_base(directory, limit, is_held)
    }

    fn children_with_base(
        &self,
        directory: &RelPath,
        limit: usize,
        is_one: impl Fn(&Row) -> bool,
    ) -> Result<Vec<RelPath>> {
        let is_held = |row: &Row| row.base.is_some() && is_one(row);
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.index.children(directory, after.as_deref(), limit.max(1))?;
            let held: Vec<_> =
                rows.iter().filter(|(_, row)| is_held(row)).map(|(path, _)| path.clone()).collect();
            match rows.last() {
                Some((path, _)) if held.is_empty() => after = Some(path.name().to_vec()),
                _ => return Ok(held),
            }
        }
    }

    /// Is anything in this directory said to be on this disk, or missing?
    pub(in super::super) fn holds_anything(&self, directory: &RelPath) -> Result<bool> {
        Ok(!self.children_with_base(directory, 1, |row| !row.is_ignored())?.is_empty())
    }

    /// Is there anything in this directory that goes before it, now that it is gone?
    pub(in super::super) fn has_to_go(&self, directory: &RelPath, is_told: bool) -> Result<bool> {
        Ok(!self.held_children(directory, 1, is_told)?.is_empty())
    }
}
