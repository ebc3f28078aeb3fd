//! Directories that are there for what is in them: they come before it, go after it, and live on
//! where it does.

use log::debug;

use super::super::{Engine, Result, paths::Pending};
use crate::{
    core::seam::{Output, Time},
    model::{
        entry::{Base, Content, Entry, Row, Standing, Version},
        limits::STEP_ENTRIES,
        path::RelPath,
        version::{Author, Dot},
    },
};

impl Engine {
    /// Something lives in a directory that is to go. If that is certain, the directory lives too.
    /// `holds_own` says that it is this machine's alone.
    pub(in super::super) fn keep_directory(
        &mut self,
        path: &RelPath,
        row: Row,
        holds_own: bool,
        time: Time,
    ) -> Result<()> {
        if !self.is_caught_up() {
            return Ok(());
        }
        debug!("{path} is kept: something lives in it");
        self.publish_parent(path, row, holds_own, time)
    }

    /// The directory above must be on the disk, or about to be made before this path's turn. One
    /// that is said to be deleted, or not known, but has something living in it, is republished
    /// once it is certain that this is so.
    pub(super) fn is_parent_coming(&mut self, path: &RelPath, time: Time) -> Result<bool> {
        let Some(parent) = path.parent().filter(|parent| !parent.is_root()) else {
            return Ok(true);
        };
        let Some(row) = self.index.get(&parent)? else {
            if self.has_heard_all() {
                self.publish_unknown_parent(&parent, time)?;
            }
            return Ok(false);
        };
        if row.is_missing() && self.outputs.contains(&Output::Inspect { path: parent.clone() }) {
            // It was not listed, and is still to be looked at: it may have come since.
            self.placement.kick();
            return Ok(false);
        }
        // One that is missing comes back for what is to be put into it.
        let row = if row.is_missing() { self.want_missing(&parent, row)? } else { row };
        if row.entry.content != Some(Content::Directory) {
            if self.is_caught_up() && !self.paths.is_changing(&parent) {
                self.publish_parent(&parent, row, false, time)?;
            }
            return Ok(false);
        }
        let is_made = |change: &Pending| change.content == Some(Content::Directory);
        Ok(row.base.is_some_and(|base| base.is_directory())
            || self.paths.change(&parent).is_some_and(is_made))
    }

    pub(super) fn has_live_children(&self, directory: &RelPath) -> Result<bool> {
        self.any_child(directory, |_, row| Ok(!row.entry.is_tombstone()))
    }

    /// Is there something in it that will go, and has not been asked to? The directory's turn comes
    /// after it.
    pub(super) fn has_waiting_children(&self, directory: &RelPath) -> Result<bool> {
        self.any_child(directory, |path, row| {
            Ok(row.base.is_some() && !row.is_ignored() && !self.paths.is_changing(path))
        })
    }

    pub(in super::super) fn any_child(
        &self,
        directory: &RelPath,
        is_one: impl Fn(&RelPath, &Row) -> Result<bool>,
    ) -> Result<bool> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.index.children(directory, after.as_deref(), STEP_ENTRIES)?;
            for (path, row) in &rows {
                if is_one(path, row)? {
                    return Ok(true);
                }
            }
            match rows.last() {
                Some((path, _)) if rows.len() == STEP_ENTRIES => after = Some(path.name().to_vec()),
                _ => return Ok(false),
            }
        }
    }

    /// Publishes a directory that lives because something in it does. If that is unattributed, or
    /// what is in the directory's place is, or both are of one machine, on which they cannot have
    /// been at the same time, the directory is unattributed. `holds_own` says that something in it
    /// is this machine's alone.
    pub(in super::super) fn publish_parent(
        &mut self,
        path: &RelPath,
        row: Row,
        holds_own: bool,
        time: Time,
    ) -> Result<()> {
        let known = row.entry.is_tombstone().then(|| row.entry.version.vector().clone());
        let mut version =
            self.next_version(known.as_ref(), Some(row.entry.version.changed), time.wall_ms);
        version.stand_for(row.entry.version.vector());
        let replaced = (row.entry.version.author, row.entry.version.dot);
        let is_one_machines =
            replaced.0 == Author::Unattributed || !self.holds_others(path, replaced)?;
        if !holds_own && is_one_machines {
            version.author = Author::Unattributed;
        }
        let is_held = row.base.as_ref().is_some_and(Base::is_directory);
        let mode = row.bits().filter(|_| is_held).map_or(0o755, |bits| bits.said);
        let entry = Entry { content: Some(Content::Directory), mode, mtime_ns: 0, version };
        let base = row.base.map(|base| base.outdated(|| row.entry.version));
        let row = Row { entry, base, standing: row.standing };
        self.put_own(path, &row, time)?;
        self.place(path, None, time)
    }

    /// Is there something in a directory, at any depth, that somebody else made than who made what
    /// is in its place? The directories in between are asked for what is in them: they may have
    /// been published for that by anybody.
    fn holds_others(&self, directory: &RelPath, (author, dot): (Author, Dot)) -> Result<bool> {
        let is_others = |row: &Row| {
            // Who removed the directory knew of what is ignored in it, and did not remove that.
            let made = row.entry.version.dot;
            let is_left = made.origin == dot.origin && made.seq < dot.seq;
            let is_others = ![Author::Unattributed, author].contains(&row.entry.version.author);
            is_others || is_left || matches!(row.standing, Standing::Ignored | Standing::Unknown)
        };
        self.any_child(directory, |path, row| {
            let is_directory = row.entry.content == Some(Content::Directory);
            Ok(!row.entry.is_tombstone()
                && (is_others(row) || is_directory && self.holds_others(path, (author, dot))?))
        })
    }

    /// Publishes a directory of which no linked node knows, though something in it lives: whoever
    /// knew of it has lost power, and forgotten it, or was cut off before it could tell. So it is
    /// unattributed, and loses against whatever is known of it elsewhere. What it may be read by is
    /// not known, either.
    pub(in super::super) fn publish_unknown_parent(
        &mut self,
        path: &RelPath,
        time: Time,
    ) -> Result<()> {
        let version = Version { author: Author::Unattributed, ..self.next_version(None, None, 0) };
        let entry = Entry { content: Some(Content::Directory), mode: 0o700, mtime_ns: 0, version };
        debug!("{path} is published: something lives in it, and nobody knows of it");
        self.put_own(path, &Row::new(entry, None), time)?;
        self.place(path, None, time)
    }
}
