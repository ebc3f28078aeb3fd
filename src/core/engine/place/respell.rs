//! Directories that get another spelling of their name, where this disk takes both for one: case,
//! accents.
//!
//! The new one cannot be made while the old one is there, and the old one can be removed only when
//! all is gone that is to be in the new one. So it is renamed, with all that is in it. Until then
//! what is wanted below the new name stays below the old one. What is not goes first: nothing gets
//! under the new name that another version would then have to win against.

use std::{cell::Cell, collections::BTreeMap};

use unicode_normalization::UnicodeNormalization;

use super::super::{Engine, Result};
use crate::{
    core::seam::{Action, Time},
    model::{
        entry::{Base, Row, Standing},
        limits::{MAX_RESPELLED_PATHS, MAX_RESPELLINGS, MAX_TWIN_LOOKS, RESPELL_PATIENCE},
        path::RelPath,
    },
};

/// New names by the old ones.
#[derive(Debug, Default)]
pub(super) struct Respellings(BTreeMap<RelPath, RelPath>);

impl Respellings {
    /// What is over by now is not told from what is not: it does no harm.
    fn insert(&mut self, from: &RelPath, to: &RelPath) {
        if self.0.len() >= MAX_RESPELLINGS {
            self.0.clear();
        }
        self.0.insert(from.clone(), to.clone());
    }

    /// The directory above the path that is to get another name, and that name.
    fn above(&self, path: &RelPath) -> Option<(RelPath, RelPath)> {
        let mut above = std::iter::successors(path.parent(), RelPath::parent);
        above.find_map(|above| Some((above.clone(), self.0.get(&above)?.clone())))
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.0.len() <= MAX_RESPELLINGS
    }
}

impl Engine {
    /// The directory is on this disk under another spelling: it is renamed, or waits for that.
    /// False when it is to be made.
    pub(super) fn respell(&mut self, path: &RelPath, row: &Row, time: Time) -> Result<bool> {
        let Some((from, held)) = self.twin(path)? else { return Ok(false) };
        if held.standing != Standing::Known || self.is_stuck(path, &held) {
            // As ever: the disk says which name is in the way.
            self.placement.respellings.0.remove(&from);
            return Ok(false);
        }
        self.placement.respellings.insert(&from, path);
        if self.paths.is_due(path) {
            self.placement.kick_removals();
        }
        let stamp = held.base.as_ref().and_then(|base| base.seen.proof());
        match stamp.filter(|_| held.entry.is_tombstone() && self.may_move(&from)) {
            Some(stamp) if self.is_all_wanted(&from, &from, path, &Cell::default())? => {
                self.apply(path, row.clone(), Action::RenameFrom { from, stamp }, None, time)?;
            }
            _ => self.hold_back(path, "another spelling of its name is to go first", time)?,
        }
        Ok(true)
    }

    /// Has the old name stayed for so long that nobody seems to have renamed it?
    fn is_stuck(&self, path: &RelPath, held: &Row) -> bool {
        !held.entry.is_tombstone() && self.paths.has_waited(path, RESPELL_PATIENCE)
    }

    /// The path is to go. Does it, or the directory that it is in, get another name instead?
    pub(super) fn is_respelled(&mut self, path: &RelPath, row: &Row, time: Time) -> Result<bool> {
        if let Some(to) = self.placement.respellings.0.get(path).cloned() {
            if self.is_path_wanted(&to)? {
                self.paths.unblock(&to);
                self.place(&to, None, time)?;
            }
            let is_waiting = self.placement.respellings.0.contains_key(path);
            return Ok(
                is_waiting && self.index.get(&to)?.is_some_and(|to| !to.entry.is_tombstone())
            );
        }
        let above = self.placement.respellings.above(path);
        let (Some((from, to)), Some(base)) = (above, &row.base) else { return Ok(false) };
        // Once the directory has its other name, what was in it is missing here, and is noticed.
        Ok(self.index.get(&to)?.is_some_and(|to| to.is_open_directory())
            || match respelled(path, &from, &to) {
                Some(target) => self.is_wanted_at(&target, base)?,
                None => false,
            })
    }

    /// A directory in the same one whose name differs only in what this disk may not tell apart.
    fn twin(&self, path: &RelPath) -> Result<Option<(RelPath, Row)>> {
        let Some(parent) = path.parent().filter(|_| self.config.alters_names) else {
            return Ok(None);
        };
        let name = folded(path.name());
        let rows = self.index.children(&parent, None, MAX_TWIN_LOOKS)?;
        let is_twin = |(other, row): &(RelPath, Row)| {
            row.base.as_ref().is_some_and(Base::is_directory)
                && other != path
                && folded(other.name()) == name
        };
        Ok(rows.into_iter().find(is_twin))
    }

    /// Is all that this disk holds below `directory` wanted at the other spelling, as it is?
    fn is_all_wanted(
        &self,
        directory: &RelPath,
        from: &RelPath,
        to: &RelPath,
        seen: &Cell<usize>,
    ) -> Result<bool> {
        let has_other = self.any_child(directory, |path, row| {
            seen.set(seen.get() + 1);
            let Some(base) = row.base.as_ref().filter(|_| !row.is_ignored()) else {
                return Ok(false);
            };
            let target = respelled(path, from, to).filter(|_| seen.get() <= MAX_RESPELLED_PATHS);
            let is_wanted = match target {
                Some(target) => self.paths.is_free(path) && self.is_wanted_at(&target, base)?,
                None => false,
            };
            Ok(!is_wanted || base.is_directory() && !self.is_all_wanted(path, from, to, seen)?)
        })?;
        Ok(!has_other)
    }

    /// Is what a path holds all that is to be at another one, where nothing is?
    fn is_wanted_at(&self, to: &RelPath, base: &Base) -> Result<bool> {
        let row = self.index.get(to)?.filter(|row| row.base.is_none() && !row.is_ignored());
        Ok(row.is_some_and(|row| {
            row.entry.content.is_some() && row.entry.content.as_ref() == base.content()
        }))
    }
}

/// The path below `to` of what is below `from`.
fn respelled(path: &RelPath, from: &RelPath, to: &RelPath) -> Option<RelPath> {
    let rest = path.as_bytes().strip_prefix(from.as_bytes())?;
    RelPath::new(&[to.as_bytes(), rest].concat()).ok()
}

/// What is left of a name where neither case nor the form of accents counts.
fn folded(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_lowercase().nfd().collect()
}
