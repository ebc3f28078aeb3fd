//! What came of a change to the disk, and what becomes of a path that could not be changed.

use log::debug;

use super::super::{
    Engine, Result,
    paths::{Pending, UnknownOutcome, Why},
    remote::is_realised,
};
use crate::{
    core::seam::{ApplyFailure, Output, Time},
    model::{
        entry::{Base, Bits, Content, FileKind, Provenance, Seen, Standing, Stat},
        path::RelPath,
        stamp::is_whole_second,
    },
};

const IN_ITS_PLACE: &str =
    "a pipe, a socket or a device is in its place, which is not synchronised; remove it";

impl Engine {
    pub(in super::super) fn handle_applied(
        &mut self,
        path: RelPath,
        result: std::result::Result<Option<Stat>, ApplyFailure>,
        time: Time,
    ) -> Result<()> {
        let Some(mut change) = self.paths.end_change(&path) else { return Ok(()) };
        let leaving = change.from.as_ref().and_then(|from| self.paths.end_change(from));
        change.is_marked_for_reread |= leaving.is_some_and(|leaving| leaving.is_marked_for_reread);
        match result {
            Ok(stat) => self.handle_done(&path, change, stat, time),
            Err(failure)
                if let Some(from) = change.from.as_ref().or(change.with.as_ref()).cloned() =>
            {
                self.paths.end_change(&from);
                self.handle_not_relocated(&path, from, change.content.as_ref(), &failure, time)
            }
            Err(failure) => self.handle_failure(&path, change, failure, time),
        }
    }

    fn handle_done(
        &mut self,
        path: &RelPath,
        mut change: Pending,
        stat: Option<Stat>,
        time: Time,
    ) -> Result<()> {
        self.paths.handle_written(path, time.now);
        self.paths.take_unknown_outcome(path);
        if let Some(digest) = change.partial {
            self.finish_install(&digest);
        }
        match &change.from {
            // What is in it is found at its new name, and taken for what it was at its old one.
            Some(from) if change.content == Some(Content::Directory) => {
                self.handle_renamed(from.clone(), path.clone(), time)?;
            }
            Some(from) => self.handle_relocated(from, time)?,
            None => {}
        }
        let Some(mut row) = self.index.get(path)? else { return Ok(()) };
        let had = |stat: &Stat| row.base.as_ref().is_some_and(|base| base.is_unchanged(stat));
        if !stat.as_ref().is_some_and(had) {
            self.activity.handle_remote(path, change.content.as_ref());
        }
        // Another version may have come while this one was being written.
        let newest = row.entry.version.dot == change.version.dot;
        self.leave_retired_out(&mut change.version)?;
        let version = (!newest).then_some(change.version);
        if let Some(stat) = stat.filter(|stat| stat.kind == FileKind::File) {
            self.paths.handle_known(path, &stat.stamp, time.wall_ms, time.now);
        }
        let held = row.base.take();
        if let (Some(held), Some(stat)) = (&held, stat) {
            self.follow_links(path, held, &stat)?;
        }
        let held = held.and_then(|base| base.content().cloned());
        row.standing = Standing::Known;
        row.base = stat.zip(change.content).map(|(stat, content)| {
            let is_same = held.as_ref() == Some(&content);
            let is_unsure = content != Content::Directory
                && (change.is_marked_for_reread
                    || self.may_have_been_written_to(path, &stat, is_same, change.set_mtime_ns));
            let seen = Seen::at(stat.stamp).unproven_if(is_unsure);
            let bits = Bits { found: stat.mode, said: change.mode };
            Base { held: Provenance::of(content, version), seen, bits }
        });
        // What was renamed has the bits and the time that it had before.
        if newest && change.is_renamed {
            let entry = &row.entry;
            row.base = row.base.map(|base| match is_realised(entry, &base) {
                true => base,
                false => base.outdated(|| entry.version.clone()),
            });
        }
        self.put(path, &row)?;
        if change.is_marked_for_reread {
            self.outputs.push_back(Output::Inspect { path: path.clone() });
        }
        match &row.base {
            Some(base) if base.is_directory() => self.scan.request_listing(path.clone()),
            None => self.placement.kick_removals(),
            _ => {}
        }
        self.place(path, None, time)
    }

    /// Might a file that was just put in place have been written to since, without a trace in its
    /// stamp? `is_same`: only its bits and its time were set; `set_ns`: to which time, in ns since
    /// 1970.
    fn may_have_been_written_to(
        &self,
        path: &RelPath,
        stat: &Stat,
        is_same: bool,
        set_ns: Option<i64>,
    ) -> bool {
        // What is written in this instant may leave no trace where only bits and time were set, or
        // where the time is that of a second. No event will tell.
        let is_coarse = is_whole_second(stat.stamp.mtime_ns);
        let is_unseen = self.scan.is_unwatched(path) && (is_same || is_coarse);
        // The file system keeps the time less exactly, or the file was written to since.
        is_unseen || set_ns.is_some_and(|set_ns| set_ns != stat.stamp.mtime_ns)
    }

    fn handle_failure(
        &mut self,
        path: &RelPath,
        change: Pending,
        failure: ApplyFailure,
        time: Time,
    ) -> Result<()> {
        debug!("{path}: {failure:?}");
        if let Some(digest) = &change.partial {
            match failure {
                ApplyFailure::Content => self.drop_whole(digest),
                _ => self.end_install(digest),
            }
        }
        match failure {
            ApplyFailure::Unexpected(stat) => {
                match stat {
                    Some(_) => self.compare(path.clone(), stat, time)?,
                    // Whether it is missing, or the directory as a whole, is not asked when changes
                    // are carried out.
                    None => self.outputs.push_back(Output::Inspect { path: path.clone() }),
                }
                self.placement.kick();
                if !self.paths.is_reading(path) && !self.paths.is_changing(path) {
                    match stat {
                        Some(Stat { kind: FileKind::Other, .. }) => {
                            self.refuse(path, IN_ITS_PLACE, time)?;
                        }
                        _ => self.hold_back(path, "it keeps changing", time)?,
                    }
                }
            }
            ApplyFailure::NotEmpty => {
                self.hold_back(path, "it holds files that are not synchronised", time)?;
                self.scan.request_listing(path.clone());
            }
            ApplyFailure::Parent => {
                self.hold_back(path, "its directory is not there", time)?;
                // What was in it is not there, either.
                let parent = path.parent().filter(|parent| !parent.is_root());
                let paths = parent.into_iter().chain([path.clone()]);
                self.outputs.extend(paths.map(|path| Output::Inspect { path }));
            }
            ApplyFailure::Content => {
                self.hold_back(path, "its content was not what it should be", time)?;
            }
            ApplyFailure::System(reason) | ApplyFailure::NotWritable(reason) => {
                self.refuse(path, &reason, time)?;
            }
            ApplyFailure::UnknownOutcome(reason) => {
                self.refuse(path, &reason, time)?;
                let Pending { content, mode, version, .. } = change;
                self.paths.note_unknown_outcome(path, UnknownOutcome { content, mode, version });
            }
        }
        Ok(())
    }

    /// A path that could not be brought to its newest version is tried again, if its pause is over.
    /// If nothing comes of it, and nothing is waited for that says when it has come, there is
    /// another pause.
    pub(in super::super) fn retry(&mut self, path: &RelPath, time: Time) -> Result<()> {
        if !self.paths.is_due(path) {
            return Ok(());
        }
        self.place(path, None, time)?;
        let row = self.index.get(path)?;
        if self.paths.is_due(path) && !row.is_some_and(|row| self.is_moving(path, &row)) {
            // There was no room for it, or its turn comes after that of others.
            let is_soon = !self.placement.is_done();
            self.paths.postpone(path, is_soon, time.now);
        }
        Ok(())
    }

    /// The path cannot be written, for this reason: that is told, and it is left alone for a while.
    pub(in super::super) fn refuse(
        &mut self,
        path: &RelPath,
        reason: &str,
        time: Time,
    ) -> Result<()> {
        if self.is_path_wanted(path)? {
            self.paths.tell(path, "written", reason);
            self.paths.block(path, reason, time.now);
        }
        Ok(())
    }

    /// The path cannot be brought to its newest version for now: it is left alone for a while.
    pub(in super::super) fn hold_back(
        &mut self,
        path: &RelPath,
        why: impl Into<Why>,
        time: Time,
    ) -> Result<()> {
        if self.is_path_wanted(path)? {
            self.paths.block(path, why, time.now);
        }
        Ok(())
    }

    /// What fails may have begun long ago: another version has come since, or the rules name the
    /// path. Nobody is to be told then, and there is nothing to try again.
    pub(in super::super) fn is_path_wanted(&self, path: &RelPath) -> Result<bool> {
        Ok(self.index.get(path)?.is_some_and(|row| row.is_wanted()))
    }
}
